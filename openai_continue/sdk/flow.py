"""
The long middle of a stream: chunks that differ in their text alone, taken by the block and not one by one.

What such an event looks like around its text is learnt from one that was taken the long way. A block is of the flow if
it is made of such events and of nothing else, to the byte; every other block goes the long way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from json import decoder
from typing import cast

from ..core.characters import CUT_CHARACTER
from ..core.chunks import delta_of
from ..core.jsons import Json
from . import wire

# The C function that json itself reads strings with: a text and the place behind an opening quote in, the string and
# the place behind its closing quote out. It is what the SDK reads these events with right after.
_scan = cast("Callable[[str, int], tuple[str, int]]", decoder.scanstring)  # type: ignore[attr-defined]  # pyright: ignore
_OPENINGS = {field: re.compile(rf'"{field}": ?"') for field in ("content", "reasoning_content", "reasoning")}
# Stands for the text where an event is tried out; without a character that JSON would escape.
_MARK = "<openai-continue: text>"


@dataclass(frozen=True, slots=True)
class _Form:
    """What stands around the texts of a block; ``start`` and ``stop`` are the lengths of what is at its ends."""

    before: str
    behind: str
    between: str
    start: int
    stop: int

    @classmethod
    def of(cls, before: str, behind: str) -> _Form:
        return cls(before, behind, behind + before, len(before), len(behind))

    def texts(self, events: str, text: str, end: int) -> list[str]:
        """
        Return the texts of a block of such events; raise ValueError where it is made of anything else.

        ``text``: that of the first, and ``end``: where it ends.
        """
        texts, last = [text], len(events) - self.stop
        skipped = len(self.between) - 1
        while events.startswith(self.between, end - 1):
            text, end = _scan(events, end + skipped)
            if not text or text[-1] == CUT_CHARACTER:
                raise ValueError
            texts.append(text)
        if end - 1 != last:
            raise ValueError
        return texts


class Flow:
    """The events of one round that bring text alone; knows none at first."""

    def __init__(self) -> None:
        #: What stood before and behind the text of the last event, if that may be of a flow.
        self._shape: tuple[str, str] | None = None
        # What is known to stand there in every event of the flow, as it comes and, where it is changed, as it goes out.
        self._incoming: _Form | None = None
        self._outgoing: _Form | None = None
        # Whether what was learnt of one event did not hold for the next one. To learn is dear where each has an id of
        # its own, so that it then takes two.
        self._wary = False
        # The text that was taken and not asked for yet.
        self._taken = StringIO()
        #: How many events brought it.
        self.events = 0

    def learn(self, raw: bytes, chunk: Json, ready: Sequence[Json], field: str | None) -> None:
        """
        Look at an event that was taken the long way, and at the chunks that are certain by it.

        ``field``: where its text is, if its like need not go the long way.
        """
        shape = _shape(raw, field) if field is not None and len(ready) == 1 else None
        before, self._shape = self._shape, shape
        if shape != before:
            self._wary = self._wary or self._incoming is not None
            self._incoming = None
        if shape is None or field is None or self._incoming is not None or (self._wary and shape != before):
            return
        self._try_out(shape, chunk, ready[0], field)

    def _try_out(self, shape: tuple[str, str], chunk: Json, ready: Json, field: str) -> None:
        tried = wire.data_of(_MARK.join(shape).encode())
        if tried is None or wire.load(tried) != _marked(chunk, field):
            return
        self._outgoing = None
        if ready is not chunk:
            parts = wire.write_event(_marked(ready, field)).decode().split(_MARK)
            if len(parts) != 2:
                return
            self._outgoing = _Form.of(*parts)
        self._incoming = _Form.of(*shape)

    def take(self, block: bytes) -> bytes | None:
        """Take a block of whole events, and return it as it goes out; None where one of them is not of the flow."""
        # This is the work on nearly every chunk of a stream, done while the SDK's own fills the processor's caches:
        # what counts is how few steps it has, and that the SDK takes the same ones.
        form = self._incoming
        if form is None:
            return None
        try:
            events = block.decode()
            if not events.startswith(form.before) or not events.endswith(form.behind):
                return None
            text, end = _scan(events, form.start)
            # What may be half a character at the end, and no text at all, must be seen.
            if not text or text[-1] == CUT_CHARACTER:
                return None
            count = 1
            if end - 1 != len(events) - form.stop:
                texts = form.texts(events, text, end)
                text, count = "".join(texts), len(texts)
            if not text.isascii():
                # Fails for half of a surrogate pair, whose other half may be in the next chunk.
                text.encode()
        except ValueError:
            return None
        self._taken.write(text)
        self.events += count
        out = self._outgoing
        if out is None:
            return block
        between = events[form.start : len(events) - form.stop].replace(form.between, out.between)
        return f"{out.before}{between}{out.behind}".encode()

    def text(self) -> tuple[str, int]:
        """Return the text of the events that were taken since the last time, and how many they were."""
        taken = self._taken.getvalue(), self.events
        self._taken, self.events = StringIO(), 0
        return taken


def _shape(raw: bytes, field: str) -> tuple[str, str] | None:
    """Return what stands before and behind the text of an event."""
    try:
        event = raw.decode()
        opening = _OPENINGS[field].search(event)
        if opening is None or "\r" in event:
            return None
        _, end = _scan(event, opening.end())
    except ValueError:
        return None
    return event[: opening.end()], event[end - 1 :]


def _marked(chunk: Json, field: str) -> Json:
    item = chunk["choices"][0]
    return {**chunk, "choices": [{**item, "delta": {**delta_of(chunk), field: _MARK}}]}
