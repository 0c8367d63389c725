"""Server-sent events: cutting a stream of bytes into events, and writing events."""

from __future__ import annotations

import re
from typing import NamedTuple

from .._core.json import Json, dump

# "\r" at the end of a piece may be half of "\r\n". Then the next event begins with an empty line, which says nothing.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
# Written twice, not as {2}: the search is then one for a set of bytes, and four times as fast.
# Empty lines that follow belong to the event: a server may send millions of them.
_EVENT_END = re.compile(_LINE_END + _LINE_END + rb"[\r\n]*")
_LONGEST_END = 4
#: The data of the event that ends a stream.
DONE = b"[DONE]"
DONE_EVENT = b"data: " + DONE + b"\n\n"
#: The data of events that only keep the connection open.
KEEP_ALIVES = (b"", b"null", b"{}")
#: Most bytes of an event. A chunk of a stream has a few hundred.
MAX_EVENT = 64 * 1024 * 1024


class Event(NamedTuple):
    """A server-sent event as it came."""

    raw: bytes

    @property
    def data(self) -> bytes | None:
        """The data of this event, or None if it has none, as a comment."""
        return data_of(self.raw)

    @property
    def is_comment(self) -> bool:
        """Whether this event has no fields, and only keeps the connection open."""
        return all(line.startswith(b":") for line in self.raw.splitlines() if line)


class EventReader:
    """Cuts a stream of bytes into events. The result does not depend on how the bytes were split."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        #: Whether an event was longer than ``MAX_EVENT``. Its bytes were dropped; stop reading.
        self.is_overrun = False

    def block(self, data: bytes) -> bytes:
        r"""Return the events up to the last "\n\n" of a piece, without taking the piece; b"" if it has none."""
        end = data.rfind(b"\n\n") + 2
        return b"" if end < 2 else bytes(self._buffer) + data[:end]

    def skip(self, data: bytes) -> None:
        """Take a piece whose events were taken as a ``block``."""
        self._buffer[:] = data[data.rfind(b"\n\n") + 2 :]
        self._searched = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take a piece of the stream; return the events that it completes."""
        events: list[Event] = []
        buffer = self._buffer
        buffer += data
        start = 0
        found = _EVENT_END.search(buffer, self._searched)
        while found is not None:
            raw = bytes(buffer[start : found.end()])
            start = found.end()
            events.append(Event(raw))
            found = _EVENT_END.search(buffer, start)
        del buffer[:start]
        if len(buffer) > MAX_EVENT:
            self.is_overrun = True
            buffer.clear()
        self._searched = max(len(buffer) - _LONGEST_END, 0)
        return events

    def rest(self) -> bytes:
        """Return the bytes of an event that has no end yet."""
        return bytes(self._buffer)


def data_of(raw: bytes) -> bytes | None:
    """Return the data of an event, its lines joined by newlines, or None if it has none."""
    # Nearly every event is one line of data; only the others are split into lines.
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2]
    values = [line[5:].removeprefix(b" ") for line in raw.splitlines() if line.startswith(b"data:")]
    return b"\n".join(values) if values else None


def write_event(chunk: Json) -> bytes:
    """Write a chunk as a server-sent event; one of a response is named by its type."""
    kind = None if "choices" in chunk else chunk.get("type")
    name = b"" if kind is None else b"event: " + str(kind).encode() + b"\n"
    return name + b"data: " + dump(chunk) + b"\n\n"
