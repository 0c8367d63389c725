"""
The long middle of a stream: chunks that differ in their text alone, taken by the block and not one by one.

What such an event looks like around its text is learnt from two that were taken the long way. A block is of the flow if
it is made of such events and of nothing else, to the byte; every other block goes the long way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from json import decoder
from typing import NamedTuple, cast

from . import wire
from .chunks import delta_of
from .merge import CUT_CHARACTER, Json

# The C function that json itself reads strings with: a text and the place behind an opening quote in, the string and
# the place behind its closing quote out.
_scan = cast("Callable[[str, int], tuple[str, int]]", decoder.scanstring)  # type: ignore[attr-defined]  # pyright: ignore
_OPENINGS = {field: re.compile(rf'"{field}": ?"') for field in ("content", "reasoning_content", "reasoning")}
# Stands for the text where an event is tried out; without a character that JSON would escape.
_MARK = "<openai-continue: text>"


class Run(NamedTuple):
    """A block of the flow."""

    texts: list[str]
    #: The block as it goes out.
    data: bytes


class _Form(NamedTuple):
    """What stands around the texts of a block."""

    before: str
    behind: str
    between: str

    @classmethod
    def of(cls, before: str, behind: str) -> _Form:
        return cls(before, behind, behind + before)


class Flow:
    """The events of one round that bring text alone; knows none at first."""

    def __init__(self) -> None:
        #: What stood before and behind the text of the last event, if that may be of a flow.
        self._shape: tuple[str, str] | None = None
        # What is known to stand there in every event of the flow, as it comes and, where it is changed, as it goes out.
        self._incoming: _Form | None = None
        self._outgoing: _Form | None = None

    def learn(self, raw: bytes, chunk: Json, ready: Sequence[Json], field: str | None) -> None:
        """
        Look at an event that was taken the long way, and at the chunks that are certain by it.

        ``field``: where its text is, if its like need not go the long way.
        """
        shape = _shape(raw, field) if field is not None and len(ready) == 1 else None
        before, self._shape = self._shape, shape
        if shape is None or shape != before:
            # Trying it out is dear where every event has an id of its own.
            self._incoming = None
        elif self._incoming is None and field is not None:
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

    def take(self, block: bytes) -> Run | None:
        """Take a block of whole events; None where one of them is not of the flow."""
        form = self._incoming
        if form is None or len(block) < len(form.between):
            return None
        texts: list[str] = []
        try:
            events = block.decode()
            if not events.startswith(form.before) or not events.endswith(form.behind):
                return None
            written = events[len(form.before) : -len(form.behind)].split(form.between)
            for each in written:
                text, end = _scan(each + '"', 0)
                # What may be half a character is held back, and a chunk without text is none of this round's.
                if end <= len(each) or not text or text.endswith(CUT_CHARACTER):
                    return None
                texts.append(text)
        except ValueError:
            return None
        if self._outgoing is None:
            return Run(texts, block)
        return Run(
            texts, f"{self._outgoing.before}{self._outgoing.between.join(written)}{self._outgoing.behind}".encode()
        )


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
