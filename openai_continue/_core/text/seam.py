"""
The place where two rounds meet: what is held back of the text so far, and how much of the new text is a copy of it.

Every token of the prompt must stay as it was generated. Most tokenizers fuse punctuation and the newlines after it, and
all put a blank in front of the word that it belongs to. So a partial answer goes back with its newlines and without its
trailing blanks. The model writes the blanks again, and one copy is kept. That is exact for the tokenizers of the
families "keeps" (families.py). Others split newlines from punctuation, and some chat templates trim the message, so
that the server never sees trailing whitespace. If the tokenizer or the template is not known, the text is cut back to a
word instead. That is exact for every tokenizer with every template, but the model must write the tail again as it
was. ``tests/measure/engine/token_seams.py`` measures each rule on real tokenizers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from .characters import without_cut_character
from .evidence import ENOUGH, Evidence, Weight

_BLANKS = " \t"
_WHITE_SPACE = re.compile(r"\s*")
_TAG = re.compile(r"</?\w+\Z")
_LONGEST_TAG = 24


class Stopped(Enum):
    """Why no more text of the running round is taken."""

    STOP_STRING = "stop string"
    DOCUMENT_END = "document end"
    #: Nothing that follows makes the text the JSON document that was asked for.
    DOCUMENT_LOST = "document lost"
    #: The answer begins again: the server took the prefill for a finished turn.
    RESTARTED = "restarted"
    #: The model thinks again instead of going on.
    THOUGHT_ANEW = "thought anew"
    #: The held-back text did not come back as it was.
    REFUSED = "refused"
    #: The server's chat template left out the thoughts that were sent with the answer.
    WITHOUT_THOUGHTS = "without thoughts"
    #: The prompt was not that of the first round: its chat template is another one.
    WRONG_PROMPT = "wrong prompt"
    #: The prompt did not fit, and the server left out its beginning.
    SHORT_PROMPT = "short prompt"


#: Nothing of such a round is part of the answer.
NOT_CONTINUED = (
    Stopped.RESTARTED,
    Stopped.THOUGHT_ANEW,
    Stopped.REFUSED,
    Stopped.WITHOUT_THOUGHTS,
    Stopped.WRONG_PROMPT,
    Stopped.SHORT_PROMPT,
)


@dataclass(frozen=True, slots=True, repr=False)
class Seam:
    """What was held back of the text so far, and what the beginning of the new text is compared with."""

    #: The end of the text that was not sent. The model is to write it again.
    held: str = ""
    #: True: ``held`` is more than whitespace and must come back as it was. Whitespace may come back changed.
    exact: bool = False
    #: Whether a whole answer: what comes instead of ``held`` may replace it, because the caller has not seen it.
    replaces: bool = False
    #: Whether the server's chat template trims the prefill.
    trims: bool = False
    #: The prefill, if the server repeats it at the beginning of its answer, else "".
    echo: str = ""
    #: Beginnings that cannot come again. A round that begins with one of them is a restart.
    starts: tuple[str, ...] = ()
    #: The beginning of the answer, which shows a restart if the model has thought again before it, else "".
    start: str = ""
    #: Whether no round has gone on from the text yet. A server that has is trusted, unless something is suspicious.
    first: bool = True
    #: The opening tag of a think block, if a round that begins with it thinks again, else "".
    block: str = ""
    #: Weighs how the round goes on from the text before the seam, or None; and the points that show a restart.
    evidence: Evidence | None = None
    enough: int = ENOUGH
    #: The counts of tokens that show that the server has not read all of the prompt.
    short: Container[int] = ()
    #: Whether no text may go out before the tokens of the prompt are known, or the round is over.
    waits: bool = False
    #: Whether the thoughts were sent beside the answer.
    with_thoughts: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the beginning of the round must be seen before any of its text may go out."""
        return bool(self.held or self.echo or self.starts or self.start or self.block or self.evidence or self.waits)

    def copied(
        self, new: str, *, ended: bool, surplus: int | None = None, thought_again: bool = False
    ) -> int | Stopped | None:
        """
        Return how many leading characters of a round repeat the text so far, or None if too little has come to tell.

        ``new``: the text of the round so far. ``ended``: whether no more of it comes. ``surplus``: by how many tokens
        its prompt is too long, by the server's own count, or None. ``thought_again``: whether thoughts came before the
        text. Returns why, if the round is no continuation.
        """
        place = self._echoed(new, ended=ended)
        if place is None:
            return None
        new = new[place:]
        begin = start_of(new)
        if self.block and new.startswith(self.block, begin):
            return Stopped.THOUGHT_ANEW
        starts = (*(self.starts if self.first or thought_again else ()), *((self.start,) if thought_again else ()))
        starts = tuple(filter(None, starts))
        if any(new.startswith(start, begin) for start in starts):
            return Stopped.RESTARTED
        # As much of its beginning as can be less than one of these.
        fresh = new[begin : begin + max(map(len, (*starts, self.block)))]
        if thought_again and ended and fresh and any(start.startswith(fresh) for start in starts):
            return Stopped.RESTARTED
        if not ended and any(start.startswith(fresh) for start in (*starts, self.block) if start):
            return None
        weight = self.weigh(new, ended=ended, surplus=surplus)
        if weight is None:
            return None
        if weight.points >= self.enough:
            return Stopped.RESTARTED
        copy = self._held_again(new, ended=ended)
        return place + copy if isinstance(copy, int) else copy

    def weigh(self, new: str, *, ended: bool, surplus: int | None) -> Weight | None:
        """Return what the beginning of the round shows, or None if more of it must be seen. ``new``: no echo."""
        if self.evidence is None:
            return Weight()
        return self.evidence.weigh(new, held=self.held, surplus=surplus, ended=ended)

    def without_echo(self, new: str) -> str:
        """Return the text of a whole round without the echo of the prefill."""
        return new[self._echoed(new, ended=True) or 0 :]

    def is_within_echo(self, new: str) -> bool:
        """Whether this text may be the beginning of an echo that is still to come."""
        return bool(self.echo) and any(len(new) < len(form) and form.startswith(new) for form in self._forms)

    def echo_in_pieces(self) -> Echo | None:
        """Return what compares the beginning of a round with the echo, a piece at a time; None if there is none."""
        return Echo(self._forms) if self.echo else None

    def _echoed(self, new: str, *, ended: bool) -> int | None:
        """Return the length of the echo in characters, or None if it may still be coming. Some servers trim it."""
        if not self.echo:
            return 0
        forms = self._forms
        if not ended and self.is_within_echo(new):
            return None
        return max((len(form) for form in forms if new.startswith(form)), default=0)

    @property
    def _forms(self) -> tuple[str, ...]:
        return self.echo, self.echo.rstrip(), self.echo.lstrip(), self.echo.strip()

    def _held_again(self, new: str, *, ended: bool) -> int | Stopped | None:
        if not self.held or new.startswith(self.held):
            return len(self.held)
        if self.exact:
            if not self.held.startswith(without_cut_character(new)):
                return Stopped.REFUSED
            return len(new) if ended else None
        copy = start_of(new)
        if not (self.trims or self.held.strip(_BLANKS)):
            # Newlines come back only if they were held back too.
            copy -= len(new[:copy].lstrip(_BLANKS))
        if copy == len(new) and not ended:
            return None
        # New whitespace that extends the old is kept, else the old is; but a deeper indentation is the model's.
        old, fresh = (white.rpartition("\n") for white in (self.held, new[:copy]))
        deeper = bool(old[1] and fresh[1]) and fresh[2].startswith(old[2])
        return copy - (len(fresh[2]) - len(old[2]) if deeper else 0)


class Echo:
    """The forms of an echo that a round may still begin with. Each piece of the round is compared once."""

    def __init__(self, forms: tuple[str, ...]) -> None:
        self._forms = forms
        self._place = 0

    def may_go_on(self, piece: str) -> bool:
        """Take a piece of the round; return whether the text so far may be the beginning of an echo, and no more."""
        start, self._place = self._place, self._place + len(piece)
        self._forms = tuple(one for one in self._forms if len(one) > self._place and one.startswith(piece, start))
        return bool(self._forms)


def start_of(text: str) -> int:
    """Return how many whitespace characters a text begins with. ``lstrip()`` would copy the rest."""
    found = _WHITE_SPACE.match(text)
    return found.end() if found else 0


def held_whitespace(text: str, *, trims: bool) -> str:
    """Return the whitespace at the end of the text that is held back; never the whole text."""
    bare = text.rstrip() if trims else text.rstrip(_BLANKS)
    return text[len(bare) :] if bare else ""


def held_to_word(text: str, *, trims: bool, ends_token: bool = True) -> str:
    """
    Return the whitespace at the end of the text and the punctuation before it, back to a word; the tail.

    ``ends_token``: whether the text ends where a token did. Else its end is held back without whitespace too.

    A tag goes with the bracket that closes it, because ``</li>`` may be one token. Without a word, and if the text does
    not end in whitespace, it returns what ``held_whitespace()`` does.
    """
    end = len(text.rstrip())
    if end == len(text) and ends_token:
        return ""
    while True:
        while end and not _is_of_word(text[end - 1]):
            end -= 1
        tag = _TAG.search(text, max(end - _LONGEST_TAG, 0), end) if text[end : end + 1] == ">" else None
        if tag is None:
            break
        end = tag.start()
    return text[end:] if end else held_whitespace(text, trims=trims)


def _is_of_word(character: str) -> bool:
    # Unlike isalnum(), this counts the marks of Arabic, Hindi and Thai, whose tokens they are part of.
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def evidence(text: str, length: int) -> str:
    """Return the first ``length`` characters of an answer, or "" if it is shorter or they recur in it."""
    place = start_of(text)
    start = text[place : place + length]
    return start if len(start) == length and text.find(start, place + 1) < 0 else ""
