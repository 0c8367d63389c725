"""
The fast path: chunks that differ only in their text, taken by the block and not one by one.

How such an event looks around its text is learnt from one that was parsed. A block belongs to the flow if it consists
of such events and of nothing else, to the byte; every other block is parsed (reading.py, which says how text passes). A
stream costs 1.02 of the SDK's own time with the fast path, and 1.45 without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import decoder
from typing import cast

from .._core.chunks import delta_of
from .._core.json import Json, load
from .._core.text.characters import CUT_CHARACTER
from .sse import data_of, write_event

#: The C function with which json reads strings: from a text and the place after an opening quote, to the string and the
# place after its closing quote. The SDK reads these events with it right after us.
scan = cast("Callable[[str, int], tuple[str, int]]", decoder.scanstring)  # type: ignore[attr-defined]  # pyright: ignore
_OPENINGS = {field: re.compile(rf'"{field}": ?"') for field in ("content", "reasoning_content", "reasoning", "text")}
#: Replaces the text of an event that is tried out. It has no character that JSON would escape.
MARK = "<openai-continue: text>"


@dataclass(frozen=True, slots=True)
class _Form:
    """The bytes around the texts of a block, as text; ``start`` and ``stop``: the lengths of its two ends."""

    before: str
    after: str
    between: str
    start: int
    stop: int

    @classmethod
    def of(cls, before: str, after: str) -> _Form:
        return cls(before, after, after + before, len(before), len(after))

    def texts(self, events: str, text: str, end: int) -> list[str]:
        """
        Return the texts of a block of such events. Raise ValueError if anything else is in it.

        ``text``: the first event's, read already; ``end``: the place after its closing quote.
        """
        texts, last = [text], len(events) - self.stop
        skipped = len(self.between) - 1
        while events.startswith(self.between, end - 1):
            text, end = scan(events, end + skipped)
            if not text or text[-1] == CUT_CHARACTER:
                raise ValueError
            texts.append(text)
        if end - 1 != last:
            raise ValueError
        return texts


class Flow:
    """The form of the events of one round that bring only text; nothing is known of it at first."""

    def __init__(self) -> None:
        # The text before and after the text of the last event that was parsed, if its like may be taken by the block.
        self._shape: tuple[str, str] | None = None
        # The same of every event of the flow: as it comes, and if it is changed, as it goes out.
        self._incoming: _Form | None = None
        self._outgoing: _Form | None = None
        # The texts that were taken since the last ``text()``.
        self._taken: list[str] = []
        #: The number of events that brought it.
        self.events = 0
        #: The characters of that text.
        self.length = 0

    def learn(self, raw: bytes, chunk: Json, ready: Sequence[Json], field: str | None) -> None:
        """
        Look at an event that was parsed, and at the chunks that go out for it.

        ``field``: the field of its text, if events that differ only in this text need not be parsed, else None.
        """
        shape = _shape(raw, field) if field is not None and len(ready) == 1 else None
        if shape is None or shape != self._shape:
            self._incoming = None
        self._shape = shape
        if shape is not None and field is not None and self._incoming is None:
            self._try_out(shape, chunk, ready[0], field)

    def _try_out(self, shape: tuple[str, str], chunk: Json, ready: Json, field: str) -> None:
        """Put a mark in the place of the text; keep the form if the mark then is the text of the chunk."""
        tried = data_of(MARK.join(shape).encode())
        if tried is None or load(tried) != _marked(chunk, field):
            return
        self._outgoing = None
        # The core gives a chunk that it does not change back as the same object: see reading.Chunk.
        if ready is not chunk:
            parts = write_event(_marked(ready, field)).decode().split(MARK)
            if len(parts) != 2:
                return
            self._outgoing = _Form.of(*parts)
        self._incoming = _Form.of(*shape)

    def take(self, block: bytes) -> bytes | None:
        """Take a block of whole events; return it as it goes out, or None if an event in it is not of the flow."""
        # The hot path: runs for nearly every chunk.
        form = self._incoming
        if form is None:
            return None
        try:
            events = block.decode()
            if not events.startswith(form.before) or not events.endswith(form.after):
                return None
            text, end = scan(events, form.start)
            # The core must see what may be half a character at the end, and an event without text.
            if not text or text[-1] == CUT_CHARACTER:
                return None
            count = 1
            if end - 1 != len(events) - form.stop:
                texts = form.texts(events, text, end)
                text, count = "".join(texts), len(texts)
            if not text.isascii():
                # Raises for half of a surrogate pair, whose other half may be in the next chunk.
                text.encode()
        except ValueError:
            return None
        self._taken.append(text)
        self.events += count
        self.length += len(text)
        out = self._outgoing
        if out is None:
            return block
        between = events[form.start : len(events) - form.stop].replace(form.between, out.between)
        return f"{out.before}{between}{out.after}".encode()

    def text(self) -> tuple[str, int]:
        """Return the text that was taken since the last time, and the number of events that brought it."""
        taken = "".join(self._taken), self.events
        self._taken, self.events, self.length = [], 0, 0
        return taken


def _shape(raw: bytes, field: str) -> tuple[str, str] | None:
    """Return the text before and after the text of an event, or None if its text is not found."""
    try:
        event = raw.decode()
        opening = _OPENINGS[field].search(event)
        if opening is None or "\r" in event:
            return None
        _, end = scan(event, opening.end())
    except ValueError:
        return None
    return event[: opening.end()], event[end - 1 :]


def _marked(chunk: Json, field: str) -> Json:
    """Return the chunk with the mark as its text."""
    item = chunk["choices"][0]
    # A text completion has its text in the choice.
    marked = {field: MARK} if field in item else {"delta": {**delta_of(chunk), field: MARK}}
    return {**chunk, "choices": [{**item, **marked}]}
