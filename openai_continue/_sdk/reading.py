"""
The bytes of one round's stream to the bytes for the caller: events, the fast path, and error frames.

How text passes. A piece of bytes is first tried as one block of whole events: ``EventReader.block`` cuts it,
``Flow.take`` checks it and returns the bytes that go out; its text is remembered in the flow. If the block is not of
the flow, its events are taken one by one: each is parsed, ``Rounds.feed`` returns the chunks that may go out, and
``Flow.learn`` looks at what became of it. Before that the remembered text goes to ``Rounds.feed_text``, so that the
core gets all text in order. Nearly all chunks of an answer take the first way, which makes a stream cost 1.02 of the
SDK's own time; if all took the second way, it would cost 1.45.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from .._core.chunks import choices_of, delta_of, without_error
from .._core.json import Json, as_object, load
from .._core.round import Request
from .._core.rounds import Rounds
from .counted_flow import CountedFlow
from .errors import frame_error, is_error_frame
from .flow import Flow
from .response import request_id_of
from .sse import DONE, KEEP_ALIVES, Event, EventReader, write_event

# Characters of the flow that wait for the core: a small part of a long text, and no step for each event.
_MOST_WAITING = 1024


class Chunk(dict[str, Any]):
    """
    A chunk of the first round with the event that brought it, so that it can go out to the byte as it came.

    The core gives a chunk that it does not change back as the same object, at once or later. Whatever it changes is a
    new, plain dict, as ``{**chunk}`` makes it, and is written again. So the bytes as they came go out if and only if
    nothing was changed; copying a chunk for no reason loses them.
    """

    __slots__ = ("raw",)

    def __init__(self, chunk: Json, raw: bytes) -> None:
        super().__init__(chunk)
        self.raw = raw


def written(chunks: Iterable[Json]) -> bytes:
    """Return the bytes of chunks for the caller: as they came, or written if they were changed."""
    return b"".join([chunk.raw if isinstance(chunk, Chunk) else write_event(chunk) for chunk in chunks])


class Asking(Protocol):
    """The call whose rounds are read, or a trial of one."""

    client: Any
    rounds: Rounds


class Reading:
    """
    Reads the stream of one round. ``request``: the round's request, or None to pass on all bytes unread.

    Call ``take()`` with each piece of bytes until ``is_over``. Then, or when the stream ends or breaks, call
    ``feed_text()``, which reports the text that the fast path has passed on since the last chunk.
    """

    def __init__(self, call: Asking, response: Any, request: Request | None) -> None:
        self._client = call.client
        self._rounds = call.rounds
        self._response = response
        self._request = request
        self._is_first = request is not None and request.number == 1
        self._events = EventReader()
        self._flow = CountedFlow() if call.rounds.endpoint.counts_chunks else Flow()
        # Whether ``end`` is an error event that the SDK raises by itself.
        self._is_refused = False
        #: Whether no more of this round is to be read.
        self.is_over = False
        #: The bytes of ``[DONE]``, or of an error event that the SDK raises, with all that came after it; or b"".
        self.end = b""
        #: The error that came in place of a chunk, to be raised.
        self.fault: Exception | None = None

    def take(self, piece: bytes) -> bytes:
        """Take a piece of the stream; return the bytes that may go out now."""
        block = self._events.block(piece)
        out = self._flow.take(block)
        if out is not None:
            if block is not piece:
                self._events.skip(piece)
            if self._flow.length > _MOST_WAITING:
                self.feed_text()
            return out
        return piece if self._request is None else self._take_events(self._request, piece)

    def feed_text(self) -> None:
        """Give the core the text that has passed through the flow."""
        if self._flow.events and self._request is not None:
            self._rounds.feed_text(self._request, *self._flow.text())
            self.is_over = self.is_over or self._rounds.enough

    @property
    def has_end(self) -> bool:
        """Whether the round came to its end mark, which ends the answer even if no finish reason came."""
        return bool(self.end) and not self._is_refused

    def rest(self) -> bytes:
        """Return the bytes of an event that has no end yet."""
        return self._events.rest()

    def _take_events(self, request: Request, piece: bytes) -> bytes:
        """Take a piece that is not all of the flow."""
        ready: list[bytes] = []
        events = iter(self._events.feed(piece))
        for event in events:
            out = self._flow.take(event.raw)
            if out is None:
                self.feed_text()
                out = self._take_event(request, event)
            ready.append(out)
            if self.is_over:
                break
        if self.end:
            self.end += b"".join([event.raw for event in events])
        elif self._events.is_overrun and not self.is_over:
            self._fail({})
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def _take_event(self, request: Request, event: Event) -> bytes:
        if not self._is_first and event.raw.isspace():
            return b""
        data = event.data
        if data is not None and data.strip() in KEEP_ALIVES:
            return self._pass_on(request, event)
        is_done = data is not None and data.startswith(DONE)
        chunk = None if data is None or is_done else as_object(load(data))
        self._is_refused = self._is_first and chunk is not None and bool(chunk.get("error"))
        if is_done or self._is_refused:
            self.end, self.is_over = event.raw, True
            return b""
        if data is not None and is_error_frame(chunk, first=self._is_first):
            return self._take_error(request, chunk or {})
        if chunk is None or not self._rounds.endpoint.reads(chunk):
            return event.raw if event.is_comment and not self._is_first else self._pass_on(request, event)
        return self._take_chunk(request, chunk, event.raw)

    def _pass_on(self, request: Request, event: Event) -> bytes:
        """Take an event of the first round that is no chunk; it goes out in its place among the chunks."""
        return written(self._rounds.feed(request, Chunk({}, event.raw))) if self._is_first else b""

    def _take_error(self, request: Request, frame: Json) -> bytes:
        """Take an error frame, and before it the text that it carries."""
        items = [without_error(item)[0] for item in choices_of(frame) or []]
        out = b""
        if any(delta_of({"choices": [item]}) or item.get("text") for item in items):
            chunk = {name: value for name, value in frame.items() if name != "error"}
            out = written(self._rounds.feed(request, {**chunk, "choices": items}))
        self._fail(frame)
        return out

    def _take_chunk(self, request: Request, chunk: Json, raw: bytes) -> bytes:
        chunk = Chunk(chunk, raw) if self._is_first else chunk
        ready = self._rounds.feed(request, chunk, request_id_of(self._response))
        self._flow.learn(raw, chunk, ready, self._rounds.flows(request))
        self.is_over = self._rounds.enough
        return written(ready)

    def _fail(self, frame: Json) -> None:
        """End the round and keep the error of an error frame; the loop raises it, or goes on without."""
        self.fault, self.is_over = frame_error(self._client, frame, self._response), True
