"""
Where two rounds meet: what is sent back of the text so far, and how much of the new text is a copy of it.

Tokenizers fuse punctuation and the newlines behind it, and put a blank in front of the word it belongs to. So a
partial answer goes back with its newlines and without its trailing blanks; the model writes the blanks again, and one
copy is kept. Where the server's chat template trims the message, it makes no difference which whitespace is sent: then
all of it is held back, and at temperature 0 the punctuation before it too, so that every token of the prompt stays as
it was generated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_BLANKS = " \t"
_WHITE_SPACE = re.compile(r"\s*")


class Opening(Enum):
    """What the beginning of a round shows, where it shows no continuation."""

    #: The answer begins anew: the server took the message sent back for a finished turn.
    RESTARTED = "restarted"
    #: The text held back did not come back as it was.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, repr=False)
class Seam:
    """What was not sent of the text so far, and what the beginning of the new text is compared with."""

    #: The end of the text, which the model is to write again.
    held: str = ""
    #: True: ``held`` is more than whitespace and must come back as it was; whitespace may come back otherwise.
    exact: bool = False
    #: Whether the server's template trims.
    trims: bool = False
    #: What was sent, where the server repeats it at the beginning of its answer.
    echo: str = ""
    #: Beginnings of the answer, of which meeting one again means that the answer begins anew.
    starts: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the beginning of a round must be seen before any of it is certain."""
        return bool(self.held or self.echo or self.starts)

    def copied(self, new: str, *, ended: bool) -> int | Opening | None:
        """Return how many leading characters of a round are there already; None: too little has come to tell."""
        place = self._echoed(new, ended=ended)
        if place is None:
            return None
        new = new[place:]
        fresh = new.lstrip()
        if any(fresh.startswith(start) for start in self.starts):
            return Opening.RESTARTED
        if not ended and any(start.startswith(fresh) for start in self.starts):
            return None
        copy = self._held_again(new, ended=ended)
        return place + copy if isinstance(copy, int) else copy

    def swallowed(self, new: str, stops: Sequence[str]) -> int:
        """
        Return how many characters at the end of the text were the beginning of a stop string.

        ``new`` is a whole round that the server ended by itself. Where the text held back did not come again, a stop
        string that begins in it may have ended the round, unseen.
        """
        new = new[self._echoed(new, ended=True) or 0 :]
        missing = self.held[len(new) :]
        swallows = self.held.startswith(new) and any(stop.startswith(missing) for stop in stops)
        return len(missing) if swallows else 0

    def _echoed(self, new: str, *, ended: bool) -> int | None:
        """Return the length of the echo; some servers trim it."""
        if not self.echo:
            return 0
        forms = self._forms
        if not ended and self.is_within_echo(new):
            return None
        return max((len(form) for form in forms if new.startswith(form)), default=0)

    def is_within_echo(self, new: str) -> bool:
        """Tell whether this may be the beginning of an echo that is still to come."""
        return bool(self.echo) and any(len(new) < len(form) and form.startswith(new) for form in self._forms)

    @property
    def _forms(self) -> tuple[str, ...]:
        return self.echo, self.echo.rstrip(), self.echo.lstrip(), self.echo.strip()

    def _held_again(self, new: str, *, ended: bool) -> int | Opening | None:
        if not self.held or new.startswith(self.held):
            return len(self.held)
        if self.exact:
            if not self.held.startswith(new):
                return Opening.REFUSED
            return len(new) if ended else None
        rest = new.lstrip() if self.trims else new.lstrip(_BLANKS)
        if not rest and not ended:
            return None
        # The new whitespace stands where it extends the old; else the old stands.
        return len(new) - len(rest)


def start_of(text: str) -> int:
    """Return where a text begins behind its white space; unlike ``lstrip()``, without a copy of all that follows."""
    found = _WHITE_SPACE.match(text)
    return found.end() if found else 0


def held_whitespace(text: str, *, trims: bool) -> str:
    """Return the whitespace at the end of the text that is not sent back; never the whole text."""
    bare = text.rstrip() if trims else text.rstrip(_BLANKS)
    return text[len(bare) :] if bare else ""


def held_to_word(text: str) -> str:
    """Return the whitespace at the end of the text with the punctuation before it, back to a word if there is one."""
    end = len(text.rstrip())
    if end == len(text):
        return ""
    while end and not (text[end - 1].isalnum() or text[end - 1] == "_"):
        end -= 1
    return text[end:] if end else held_whitespace(text, trims=True)


def evidence(text: str, length: int) -> str:
    """Return the beginning of an answer, if it is long enough and does not recur: else it is no sign of a restart."""
    place = start_of(text)
    start = text[place : place + length]
    return start if len(start) == length and text.find(start, text.find(start) + 1) < 0 else ""
