"""
The four loops: whole and streamed, sync and async. They differ in ``await`` alone, and decide nothing.

Further rounds go through the base class's ``request``, so that wrappers on a subclass or an instance see one call, and
inside ``disabled()``, so that our own wrappers leave them alone. Whatever keeps a round from being had, an error of the
SDK's or any other (of a closed client, a token provider, a lone surrogate in UTF-8), must not cost the answer so far.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import anyio
import openai
from openai._base_client import AsyncAPIClient, SyncAPIClient

from ..core.jsons import as_object
from ..core.round import Request
from . import wire
from .calls import Call, failure_of, is_failure
from .flow import Flow

#: Seconds that a server gets between ``[DONE]`` and the end of its stream, for its connection to be used again.
PATIENCE = 0.1
# Seconds between two looks whether a stream was closed that waits for its next round.
_GLANCE = 0.05


def is_plainly_whole(content: bytes, *, choices: int) -> bool:
    """Tell by its bytes that no choice of an answer was cut; most are whole, and need not even be parsed."""
    # Most servers write it behind the text, so that for an only choice there is little to search.
    start = max(content.rfind(b'"finish_reason":'), 0) if choices == 1 else 0
    return content.find(b'"length"', start) < 0


def whole(call: Call, response: Any, *, unread: bool) -> Any:
    """Return the response, or one that is whole."""
    raw = b"".join(response.iter_raw()) if unread else None
    merging = _Whole(call, response, raw)
    request = merging.start()
    while request is not None:
        try:
            reply = _send(call, request, stream=False)
        except Exception as error:
            merging.fail(request, error)
        else:
            merging.receive(request, reply)
        request = merging.next_request()
    return merging.response()


async def awhole(call: Call, response: Any, *, unread: bool) -> Any:
    """Do as ``whole``."""
    raw = b"".join([piece async for piece in response.aiter_raw()]) if unread else None
    merging = _Whole(call, response, raw)
    request = merging.start()
    while request is not None:
        try:
            reply = await _asend(call, request, stream=False)
        except Exception as error:
            merging.fail(request, error)
        else:
            merging.receive(request, reply)
        request = merging.next_request()
    return merging.response()


def stream(call: Call, response: Any) -> Any:
    """Return a response whose stream flows on where this one is cut."""
    kind = wire.stream_class(Stream, wire.module_of(response).SyncByteStream)
    merged: Stream = kind(call, response)
    merged.response = wire.with_stream(response, merged)
    return merged.response


def astream(call: Call, response: Any) -> Any:
    """Do as ``stream``."""
    kind = wire.stream_class(AsyncStream, wire.module_of(response).AsyncByteStream)
    merged: AsyncStream = kind(call, response)
    merged.response = wire.with_stream(response, merged)
    return merged.response


def _send(call: Call, request: Request, *, stream: bool) -> Any:
    with call.further_round():
        return SyncAPIClient.request(call.client, call.response_type, call.options_of(request), stream=stream)


async def _asend(call: Call, request: Request, *, stream: bool) -> Any:
    with call.further_round():
        return await AsyncAPIClient.request(call.client, call.response_type, call.options_of(request), stream=stream)


def _failures(response: Any) -> tuple[type[Exception], ...]:
    """Return what reading may fail with: the SDK's errors, and the transport's, which openai < 3 lets through."""
    return (openai.OpenAIError, wire.module_of(response).HTTPError, ssl.SSLError, anyio.EndOfStream)


class _Whole:
    """What the two loops over whole responses share."""

    def __init__(self, call: Call, response: Any, raw: bytes | None) -> None:
        self._call = call
        self._rounds = call.rounds
        self._first = response
        self._raw = raw
        self._elapsed = wire.elapsed(response)

    def start(self) -> Request | None:
        """Take the first response."""
        content = self._first.content if self._raw is None else wire.decoded(self._first, self._raw)
        if self._raw is not None and is_plainly_whole(content, choices=self._rounds.wanted):
            return None
        request = self._rounds.next_request()
        if request is not None:
            self._rounds.receive(request, wire.load(content), self._first.headers.get("x-request-id"))
        return self.next_request()

    def receive(self, request: Request, reply: Any) -> None:
        """Take the response of a further round; raise where it is none and the settings wish it."""
        self._elapsed += wire.elapsed(reply)
        decision = self._rounds.receive(request, wire.load(reply.content), reply.headers.get("x-request-id"))
        if decision.raises:
            raise self._call.with_partial(openai.APIResponseValidationError(response=reply, body=None), self._first)

    def fail(self, request: Request, error: Exception) -> None:
        """Take the error of a further round; raise it where the settings wish it."""
        if self._rounds.fail(request, failure_of(error)).raises:
            raise self._call.with_partial(error, self._first)

    def next_request(self) -> Request | None:
        """Return the request of the next round."""
        request = self._rounds.next_request()
        self._call.tell()
        return request

    def response(self) -> Any:
        """Return the first response where nothing was continued, else the merged one."""
        if not self._rounds.continued:
            return self._first if self._raw is None else wire.unread(self._first, self._raw)
        self._call.tell_end()
        content = wire.dump(self._rounds.completion())
        merged = wire.with_content(self._first, content, read=self._raw is None)
        merged.elapsed = self._elapsed
        return merged


class _Streaming:
    """What the two loops over streams share."""

    def __init__(self, call: Call, response: Any) -> None:
        self._call = call
        self._rounds = call.rounds
        self._request = call.rounds.next_request()
        self._first = self._running = response
        self._reader = wire.EventReader()
        self._flow = Flow()
        self._failures = _failures(response)
        #: Bytes for the caller, and the error to raise when they are gone.
        self._ready: list[bytes] = []
        self._error: Exception | None = None
        #: The running round's end mark as it came, with what came behind it; and whether it is no mark but an error
        #: that the SDK raises by itself.
        self._end = b""
        self._is_refused = False
        #: What came in place of a chunk: an error in a response that had begun as a good one.
        self._fault: Exception | None = None
        #: Seconds to wait before the next round.
        self._wait = 0.0
        self._over = False
        #: Set by ``close()`` from any thread or task; no round is begun after it.
        self._closed = threading.Event()
        self._elapsed = timedelta()
        #: The response that reads from this stream.
        self.response: Any = None

    def _pop(self) -> bytes:
        ready, self._ready = self._ready, []
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def _raise_error(self) -> None:
        """Raise what ended the stream, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _feed_text(self) -> None:
        """Tell the rounds of the text that has passed by."""
        if self._flow.events and self._request is not None:
            self._rounds.feed_text(self._request, *self._flow.text())

    def _take(self, data: bytes) -> bool:
        """Take a piece of the running round that is not all of the flow; return whether the round is over by it."""
        request = self._request
        if request is None:
            self._ready.append(data)
            return False
        given = self._flow.take(self._reader.block(data))
        if given is not None:
            self._reader.skip(data)
            self._ready.append(given)
            return False
        events = iter(self._reader.feed(data))
        for event in events:
            given = self._flow.take(event.raw)
            if given is not None:
                self._ready.append(given)
                continue
            self._feed_text()
            said, is_done = event.data, event.is_done
            chunk = None if said is None or is_done else as_object(wire.load(said))
            self._is_refused = request.number == 1 and chunk is not None and bool(chunk.get("error"))
            if is_done or self._is_refused:
                self._end = b"".join((event.raw, *(later.raw for later in events)))
                return True
            if said is not None and is_failure(chunk, first=request.number == 1):
                self._fault = self._call.error_of(chunk or {}, self._running)
                return True
            if chunk is None or not isinstance(chunk.get("choices"), list):
                self._ready += [event.raw] if event.is_comment or request.number == 1 else []
                continue
            if request.number == 1:
                chunk = wire.Chunk(chunk, event.raw)
            certain = self._rounds.feed(request, chunk, self._request_id)
            self._put(certain)
            self._flow.learn(event.raw, chunk, certain, self._rounds.flows(request, chunk))
            if self._rounds.enough:
                return True
        if self._reader.is_overrun:
            self._fault = self._call.error_of({}, self._running)
        return self._reader.is_overrun

    def _settle(self) -> Request | None:
        """Take the end of the running round; return the request of the next one."""
        if self._request is None:
            return None
        self._feed_text()
        fault, self._fault = self._fault, None
        has_end = bool(self._end) and not self._is_refused and self._request.number == 1
        if self._rounds.finished or self._rounds.enough or has_end:
            self._put(self._rounds.end_of_stream(self._request))
            self._wait = 0.0
            return self._next()
        if fault is not None:
            return self._fail(fault, self._request_id)
        return self._fail(None, self._request_id, broke_off=not self._end and not self._is_left())

    def _break(self, error: Exception) -> Request | None:
        """Take an error in the middle of a round; return the request of the next one."""
        if self._request is None or self._is_left():
            self._over = True
            raise error
        self._feed_text()
        if self._rounds.finished:
            return self._settle()
        if self._request.number > 1:
            # The first round fails as without us: openai < 3 lets the transport's error through.
            error = wire.sdk_error(error, self._running)
        return self._fail(error, self._request_id, broke_off=True)

    @property
    def _request_id(self) -> str | None:
        request_id: str | None = self._running.headers.get("x-request-id")
        return request_id

    def _is_left(self) -> bool:
        """Tell whether the caller has closed the stream or the client, which looks like a break from here."""
        return self._closed.is_set() or bool(self._call.client.is_closed())

    def _fail(
        self, error: Exception | None, request_id: str | None = None, *, broke_off: bool = False
    ) -> Request | None:
        """Take the failure of a round; None: its stream just ended. Return the request of the next one."""
        if self._request is None:
            return None
        decision = self._rounds.fail(self._request, failure_of(error, request_id, broke_off=broke_off))
        self._put(decision.chunks)
        if decision.raises:
            if error is None and self._request.number > 1:
                error = openai.APIConnectionError(message="The stream broke off.", request=self._running.request)
            self._error = None if error is None else self._call.with_partial(error, self._running)
            self._over = error is not None
        self._wait = decision.after
        return self._next()

    def _next(self) -> Request | None:
        as_it_came = self._end + self._reader.rest()
        self._reader, self._flow, self._end = wire.EventReader(), Flow(), b""
        self._request = self._rounds.next_request()
        self._call.tell()
        if self._request is not None:
            return self._request
        last = self._rounds.last_chunks()
        if self._rounds.continued:
            self._call.tell_end()
            if self._error is None:
                self._put(last)
                self._ready.append(wire.DONE_EVENT)
                self._over = True
            return None
        self._put(last)
        if as_it_came:
            self._ready.append(as_it_came)
        return None

    def _put(self, chunks: list[dict[str, Any]]) -> None:
        self._ready += [chunk.raw if isinstance(chunk, wire.Chunk) else wire.write_event(chunk) for chunk in chunks]

    def _let_go(self) -> None:
        """
        Let go of a round that is over, whose request holds all of the text.

        The first one stands in for the running one until there is another.
        """
        # A response and its stream hold each other, until garbage is collected some time.
        self._running.request = self._first.request
        self._running = self._first

    def _note_elapsed(self) -> None:
        if self._running is not self._first or not self._elapsed:
            self._elapsed += wire.elapsed(self._running)
        if self.response is not None:
            self.response.elapsed = self._elapsed


class Stream(_Streaming):
    """The bytes of a merged stream; who asks for them again gets what is left."""

    def __init__(self, call: Call, response: Any) -> None:
        super().__init__(call, response)
        self._pieces: Iterator[bytes] = wire.pieces(response)

    def __iter__(self) -> Iterator[bytes]:
        while not self._over:
            take, is_between = self._flow.take, True
            try:
                for piece in self._pieces:
                    if is_between and (given := take(piece)) is not None:
                        yield given
                    elif self._take(piece):
                        break
                    else:
                        is_between = self._reader.is_between
                        if self._ready:
                            yield self._pop()
                    if self._over:
                        return
                else:
                    self._over = self._over or self._request is None
            except self._failures as error:
                request = self._break(error)
            else:
                request = self._end_round()
            self._go_on(request)
            if self._ready:
                yield self._pop()
        self._raise_error()

    def _end_round(self) -> Request | None:
        """Take the end of a round that may still be on its way, behind its end mark; return the request of the next."""
        at_end = bool(self._end)
        request = self._settle()
        if at_end and self._rounds.continued:
            _drain(self._running)
        return request

    def _go_on(self, request: Request | None) -> None:
        """Begin the next round."""
        while request is not None:
            self._leave()
            self._pieces = iter(())
            self._let_go()
            if self._closed.wait(self._wait):
                return
            request = self._begin(request)

    def _begin(self, request: Request) -> Request | None:
        """Open a round; return the request to try after it where it could not be opened."""
        try:
            response = _send(self._call, request, stream=True)
        except Exception as error:
            return self._fail(error)
        self._running, self._pieces = response, wire.pieces(response)
        if self._closed.is_set():
            response.close()
        return None

    def _leave(self) -> None:
        self._running.close()
        self._note_elapsed()

    def close(self) -> None:
        """Close the running round; safe from any thread."""
        self._over = True
        self._closed.set()
        self._leave()


class AsyncStream(_Streaming):
    """Do as ``Stream``."""

    def __init__(self, call: Call, response: Any) -> None:
        super().__init__(call, response)
        self._pieces: AsyncIterator[bytes] = wire.apieces(response)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._over:
            take, is_between = self._flow.take, True
            try:
                async for piece in self._pieces:
                    if is_between and (given := take(piece)) is not None:
                        yield given
                    elif self._take(piece):
                        break
                    else:
                        is_between = self._reader.is_between
                        if self._ready:
                            yield self._pop()
                    if self._over:
                        return
                else:
                    self._over = self._over or self._request is None
            except self._failures as error:
                request = self._break(error)
            else:
                request = await self._end_round()
            await self._go_on(request)
            if self._ready:
                yield self._pop()
        self._raise_error()

    async def _end_round(self) -> Request | None:
        """Take the end of a round that may still be on its way, behind its end mark; return the request of the next."""
        at_end = bool(self._end)
        request = self._settle()
        if at_end and self._rounds.continued:
            await _adrain(self._running)
        return request

    async def _go_on(self, request: Request | None) -> None:
        """Begin the next round."""
        while request is not None:
            await self._leave()
            self._pieces = _nothing()
            self._let_go()
            if await _wait(self._closed, self._wait):
                return
            request = await self._begin(request)

    async def _begin(self, request: Request) -> Request | None:
        """Open a round; return the request to try after it where it could not be opened."""
        try:
            response = await _asend(self._call, request, stream=True)
        except Exception as error:
            return self._fail(error)
        self._running, self._pieces = response, wire.apieces(response)
        if self._closed.is_set():
            await response.aclose()
        return None

    async def _leave(self) -> None:
        await self._running.aclose()
        self._note_elapsed()

    async def aclose(self) -> None:
        """Close the running round; safe from any task."""
        self._over = True
        self._closed.set()
        await self._leave()


async def _nothing() -> AsyncIterator[bytes]:
    for piece in iter(bytes, b""):
        yield piece


async def _wait(event: threading.Event, seconds: float) -> bool:
    """Wait for an event that any thread may set; return whether it is set."""
    if not seconds:
        # Between most rounds there is no wait, and a scope that is cancelled at once is dear.
        return event.is_set()
    with anyio.move_on_after(seconds):
        while not event.is_set():
            await anyio.sleep(min(seconds, _GLANCE))
    return event.is_set()


def _drain(response: Any) -> None:
    """Read a round to its end, so that its connection is used again; a server that lingers loses the connection."""
    connection = _socket_of(response)
    if response.is_closed or response.http_version != "HTTP/1.1" or connection is None:
        return
    # A blocking read has no deadline of its own that could be changed here; shutting the socket down ends it.
    late = threading.Timer(PATIENCE, _shut_down, [connection])
    late.start()
    try:
        with contextlib.suppress(*_drained(response)):
            # Read to its end below iter_bytes(), a response is not closed: its connection is still ours, and no other
            # thread's when the timer fires.
            for _ in response.stream:
                pass
    finally:
        late.cancel()
        late.join()


async def _adrain(response: Any) -> None:
    """Do as ``_drain``."""
    if response.is_closed or response.http_version != "HTTP/1.1":
        return
    with contextlib.suppress(*_drained(response)), anyio.move_on_after(PATIENCE):
        async for _ in response.stream:
            pass


def _drained(response: Any) -> tuple[type[Exception], ...]:
    """Return what may end the draining of a round beside its end; a stream made by hand may be read once alone."""
    return (*_failures(response), wire.module_of(response).StreamConsumed)


def _socket_of(response: Any) -> socket.socket | None:
    network = response.extensions.get("network_stream")
    found = None if network is None else network.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
