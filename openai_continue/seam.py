"""
Where two rounds meet: what is sent back of the text so far, and how much of the new text is a copy of it.

Tokenizers fuse punctuation and the newlines behind it, and put a blank in front of the word it belongs to. So a
partial answer goes back with its newlines and without its trailing blanks; the model writes the blanks again, and one
copy is kept. Where the server's chat template trims the message, it makes no difference which whitespace is sent: then
all of it is held back, and at temperature 0 the punctuation before it too, so that every token of the prompt stays as
it was generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

CUT_CHARACTER = "\ufffd"
_BLANKS = " \t"


class Opening(Enum):
    """What the beginning of a round shows, where it shows no continuation."""

    #: The answer begins anew: the server took the message sent back for a finished turn.
    RESTARTED = "restarted"
    #: The text held back did not come back as it was.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Joint:
    """What was not sent of the text so far, and what the beginning of the new text is compared with."""

    #: The end of the text, which the model is to write again.
    held: str = ""
    #: True: ``held`` is more than whitespace and must come back as it was; whitespace may come back otherwise.
    exact: bool = False
    #: Whether the server's template trims.
    trims: bool = False
    #: What was sent, where the server repeats it at the beginning of its answer.
    echo: str = ""
    #: The beginning of the answer, where meeting it again means that the answer begins anew.
    start: str = ""

    def copied(self, new: str, *, ended: bool) -> int | Opening | None:
        """Return how many leading characters of a round are there already; None: too little has come to tell."""
        place = self._echoed(new, ended=ended)
        copy = None if place is None else self._held_again(new[place:], ended=ended)
        if place is None or not isinstance(copy, int):
            return copy if place is not None else None
        place += copy
        fresh = new[place:].lstrip()
        if self.start:
            if fresh.startswith(self.start):
                return Opening.RESTARTED
            if self.start.startswith(fresh) and not ended:
                return None
        return place

    def _echoed(self, new: str, *, ended: bool) -> int | None:
        """Return the length of the echo; some servers trim it."""
        if not self.echo:
            return 0
        bare = self.echo.rstrip()
        if len(new) < len(self.echo) and not ended and (self.echo.startswith(new) or new.startswith(bare)):
            return None
        if new.startswith(self.echo):
            return len(self.echo)
        return len(bare) if new.startswith(bare) else 0

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
    start = text.lstrip()[:length]
    return start if len(start) == length and text.find(start, text.find(start) + 1) < 0 else ""


def without_cut_character(text: str) -> str:
    """Drop the U+FFFD (three at most, one a byte) that a server writes for a character that the cap cut."""
    bare = text[-3:].rstrip(CUT_CHARACTER)
    return text[: max(len(text) - 3, 0)] + bare


def ends_in_half(text: str, stops: Sequence[str]) -> bool:
    """Tell whether the text ends in the beginning of a stop string."""
    return any(text.endswith(stop[:length]) for stop in stops for length in range(1, len(stop)))


def straddling_stop(before: str, new: str, stops: Sequence[str]) -> int | None:
    """
    Return how many characters of ``before`` remain, where a stop string begins in it and ends in ``new``.

    Engines match stop strings on the text of one request alone; no engine sees these.
    """
    found: list[int] = []
    for stop in stops:
        start = max(len(before) - len(stop) + 1, 0)
        place = (before[start:] + new[: len(stop) - 1]).find(stop)
        if place >= 0:
            found.append(start + place)
    return min(found, default=None)
