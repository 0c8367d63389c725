"""
The fast path of responses: events that differ only in their text and in their number, taken by the block.

What ``flow.py`` says of chunks holds here too. The events of a response are numbered from 0 (``sequence_number``), so
their form has two gaps, for the text and for the number, in this order or the other. Events whose numbers do not follow
each other are parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from .._core.json import Json, load
from .._core.text.characters import CUT_CHARACTER
from .flow import MARK, scan
from .sse import data_of, write_event

_TEXT, _NUMBER = "delta", "sequence_number"
_OPENING = re.compile(rf'"{_TEXT}": ?"')
_COUNT = re.compile(rf'"{_NUMBER}": ?(\d+)')
# The number of an event that is tried out. No event of a stream has it.
_MARKED = 909_090_909_090


@dataclass(frozen=True, slots=True)
class _Form:
    """What stands around the text and the number of an event."""

    first: str
    between: str
    last: str
    #: Whether the number stands before the text.
    counts_first: bool

    @classmethod
    def of(cls, event: str) -> _Form | None:
        """Return the form of an event, or None if it has not the two gaps."""
        opening = _OPENING.search(event)
        if opening is None or "\r" in event:
            return None
        start = opening.end()
        _, end = scan(event, start)
        before, after = _COUNT.search(event, 0, start), _COUNT.search(event, end - 1)
        if (before is None) == (after is None):
            return None
        if before is not None:
            return cls(event[: before.start(1)], event[before.end(1) : start], event[end - 1 :], counts_first=True)
        place = cast("re.Match[str]", after)
        return cls(event[:start], event[end - 1 : place.start(1)], event[place.end(1) :], counts_first=False)

    def edges(self, number: int) -> tuple[str, str]:
        """Return what stands before and after the text of the event with this number."""
        if self.counts_first:
            return f"{self.first}{number}{self.between}", self.last
        return self.first, f"{self.between}{number}{self.last}"


class CountedFlow:
    """The form of the events of one round that bring only text; nothing is known of it at first."""

    def __init__(self) -> None:
        # The form of the events as they come; and as they go out, if they are changed.
        self._incoming: _Form | None = None
        self._outgoing: _Form | None = None
        # The number of the next event, and how much more it is as it goes out.
        self._number = 0
        self._shift = 0
        self._taken: list[str] = []
        #: The number of events whose text was taken since the last ``text()``.
        self.events = 0
        #: The characters of that text.
        self.length = 0

    def learn(self, raw: bytes, chunk: Json, ready: Sequence[Json], field: str | None) -> None:
        """Look at an event that was parsed, and at those that go out for it, as ``Flow`` does."""
        form = None
        if field == _TEXT and len(ready) == 1:
            try:
                form = _Form.of(raw.decode())
            except ValueError:
                form = None
        if form is None or form != self._incoming:
            self._incoming = None if form is None or not _is_form(form, chunk) else form
            self._outgoing = None
        if self._incoming is None:
            return
        self._number = chunk[_NUMBER] + 1
        # The core gives an event that it does not change back as the same object: see reading.Chunk.
        if ready[0] is not chunk:
            self._learn_outgoing(ready[0])

    def _learn_outgoing(self, event: Json) -> None:
        self._outgoing = _Form.of(write_event(_marked(event)).decode())
        self._shift = event.get(_NUMBER, 0) + 1 - self._number
        if self._outgoing is None:
            self._incoming = None

    def take(self, block: bytes) -> bytes | None:
        """Take a block of whole events; return it as it goes out, or None if an event in it is not of the flow."""
        # The hot path: runs for nearly every event.
        form = self._incoming
        if form is None or not block:
            return None
        try:
            events = block.decode()
            before, after = form.edges(self._number)
            if not events.startswith(before):
                return None
            text, end = scan(events, len(before))
            # The core must see what may be half a character at the end, and an event without text.
            if not text or text[-1] == CUT_CHARACTER or not events.startswith(after, end - 1):
                return None
            spelled = [events[len(before) : end - 1]]
            place = end - 1 + len(after)
            if place != len(events):
                text += "".join(self._further(form, events, place, spelled))
            if not text.isascii():
                # Raises for half of a surrogate pair, whose other half may be in the next event.
                text.encode()
        except ValueError:
            return None
        self._taken.append(text)
        self.events += len(spelled)
        self.length += len(text)
        first, self._number = self._number, self._number + len(spelled)
        return block if self._outgoing is None else _written(self._outgoing, spelled, first + self._shift)

    def _further(self, form: _Form, events: str, place: int, spelled: list[str]) -> Iterator[str]:
        """
        Give the texts of the events from a place on. Raise ValueError if anything else is there.

        ``spelled``: the texts as they are written, to which theirs are added.
        """
        while place < len(events):
            before, after = form.edges(self._number + len(spelled))
            start = place + len(before)
            if not events.startswith(before, place):
                raise ValueError
            text, end = scan(events, start)
            if not text or text[-1] == CUT_CHARACTER or not events.startswith(after, end - 1):
                raise ValueError
            spelled.append(events[start : end - 1])
            yield text
            place = end - 1 + len(after)

    def text(self) -> tuple[str, int]:
        """Return the text that was taken since the last time, and the number of events that brought it."""
        taken = "".join(self._taken), self.events
        self._taken, self.events, self.length = [], 0, 0
        return taken


def _written(form: _Form, spelled: Sequence[str], number: int) -> bytes:
    """Return the bytes of events with these texts, from a number on."""
    parts: list[str] = []
    for place, text in enumerate(spelled):
        before, after = form.edges(number + place)
        parts += (before, text, after)
    return "".join(parts).encode()


def _is_form(form: _Form, event: Json) -> bool:
    """Whether a mark in the place of the text is the text, and a number in that of the number is the number."""
    before, after = form.edges(_MARKED)
    tried = data_of(f"{before}{MARK}{after}".encode())
    return tried is not None and load(tried) == _marked(event)


def _marked(event: Json) -> Json:
    return {**event, _TEXT: MARK, _NUMBER: _MARKED}
