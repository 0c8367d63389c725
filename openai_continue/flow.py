"""
The long middle of a stream: chunks that differ in their text alone, taken by the block and not one by one.

What such an event looks like around its text is learnt from one that was taken the long way. A block is of the flow if
it is made of such events and of nothing else, to the byte; every other block goes the long way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import decoder
from typing import cast

from . import wire
from .chunks import delta_of
from .merge import Json

# The C function that json itself reads strings with: a text and the place behind an opening quote in, the string and
# the place behind its closing quote out.
_scan = cast("Callable[[str, int], tuple[str, int]]", decoder.scanstring)  # type: ignore[attr-defined]  # pyright: ignore
_OPENINGS = {field: re.compile(rf'"{field}": ?"') for field in ("content", "reasoning_content", "reasoning")}
# Stands for the text where an event is tried out; without a character that JSON would escape.
_MARK = "<openai-continue: text>"
# A text as it stands in JSON. There is one (a chunk without is none of this round's), it does not end in what may be
# half a character, which is held back, and no surrogate is escaped, for a pair may be parted between two chunks.
# Written so that no step of it can be taken in two ways.
_PLAIN = rb'[^"\\\x00-\x1f]*'
_ESCAPED = rb'\\(?:["\\/bfnrt]|u(?!d[89a-f])[0-9a-f]{4})'
_TEXT = re.compile(rb'(?!")%b(?:(?i:%b)%b)*(?<!\xef\xbf\xbd)(?<!\\u(?i:fffd))' % (_PLAIN, _ESCAPED, _PLAIN))


@dataclass(frozen=True, slots=True)
class _Form:
    """What stands around the texts of a block; ``start`` and ``stop`` are the lengths of what is at its ends."""

    before: bytes
    behind: bytes
    between: bytes
    start: int
    stop: int

    @classmethod
    def of(cls, before: bytes, behind: bytes) -> _Form:
        return cls(before, behind, behind + before, len(before), len(behind))


class Flow:
    """The events of one round that bring text alone; knows none at first."""

    def __init__(self) -> None:
        #: What stood before and behind the text of the last event, if that may be of a flow.
        self._shape: tuple[bytes, bytes] | None = None
        # What is known to stand there in every event of the flow, as it comes and, where it is changed, as it goes out.
        self._incoming: _Form | None = None
        self._outgoing: _Form | None = None
        # Whether what was learnt of one event did not hold for the next one. To learn is dear where each has an id of
        # its own, so that it then takes two.
        self._wary = False
        # The text that was taken and not asked for yet, as it stands in JSON.
        self._taken = bytearray()
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

    def _try_out(self, shape: tuple[bytes, bytes], chunk: Json, ready: Json, field: str) -> None:
        tried = wire.data_of(_MARK.encode().join(shape))
        if tried is None or wire.load(tried) != _marked(chunk, field):
            return
        self._outgoing = None
        if ready is not chunk:
            parts = wire.write_event(_marked(ready, field)).split(_MARK.encode())
            if len(parts) != 2:
                return
            self._outgoing = _Form.of(*parts)
        self._incoming = _Form.of(*shape)

    def take(self, block: bytes) -> bytes | None:
        """Take a block of whole events, and return it as it goes out; None where one of them is not of the flow."""
        # This is the work on nearly every chunk of a stream, done with the SDK's own in the processor's caches: what
        # counts is how few steps it has. So the texts wait, as they are, for ``text()``.
        form = self._incoming
        if form is None or not block.startswith(form.before) or not block.endswith(form.behind):
            return None
        if not block.isascii() and not _is_utf8(block):
            return None
        found = _TEXT.match(block, form.start)
        if found is None:
            return None
        if found.end() != len(block) - form.stop:
            return self._take_several(block, form, found)
        text = found[0]
        self._taken += text
        self.events += 1
        out = self._outgoing
        return block if out is None else out.before + text + out.behind

    def _take_several(self, block: bytes, form: _Form, first: re.Match[bytes]) -> bytes | None:
        texts, place, end = [first[0]], first.end(), len(block) - form.stop
        while place != end:
            if not block.startswith(form.between, place):
                return None
            found = _TEXT.match(block, place + len(form.between))
            if found is None:
                return None
            texts.append(found[0])
            place = found.end()
        self._taken += b"".join(texts)
        self.events += len(texts)
        out = self._outgoing
        return block if out is None else out.before + out.between.join(texts) + out.behind

    def text(self) -> tuple[str, int]:
        """Return the text of the events that were taken since the last time, and how many they were."""
        taken = cast(str, json.loads(b'"%b"' % bytes(self._taken))), self.events
        self._taken, self.events = bytearray(), 0
        return taken


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shape(raw: bytes, field: str) -> tuple[bytes, bytes] | None:
    """Return what stands before and behind the text of an event."""
    try:
        event = raw.decode()
        opening = _OPENINGS[field].search(event)
        if opening is None or "\r" in event:
            return None
        _, end = _scan(event, opening.end())
    except ValueError:
        return None
    return event[: opening.end()].encode(), event[end - 1 :].encode()


def _marked(chunk: Json, field: str) -> Json:
    item = chunk["choices"][0]
    return {**chunk, "choices": [{**item, "delta": {**delta_of(chunk), field: _MARK}}]}
