"""
The two loops over streams, sync and async, and what they share. They differ only in ``await``, and decide nothing.

A merged stream is an iterator over bytes: those of the first round, then those of each further round, as one stream of
server-sent events. ``close()`` works from any thread or task. It sets a flag and closes the running round's response.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import openai

from .._core.json import Json
from .._core.round import Request
from .bounded import count_down, slice_compressed
from .call import Call
from .connection import Watch, adrain, apause, asend, drain, pause, send, timely
from .errors import broken_off, failure_of, reading_errors, transport_error, with_partial
from .journal import asave, save
from .reading import Reading, written
from .response import apieces, elapsed, module_of, pieces, rate_limits, request_id_of, stream_class, with_stream
from .sse import DONE_EVENT


def merged_stream(call: Call, response: Any) -> Any:
    """Return a response whose stream goes on where the stream of ``response`` is cut."""
    kind = stream_class(Stream, module_of(response).SyncByteStream)
    merged: Stream = kind(call, response)
    return merged.given_by(with_stream(response, merged))


def amerged_stream(call: Call, response: Any) -> Any:
    """Async twin of ``merged_stream``."""
    kind = stream_class(AsyncStream, module_of(response).AsyncByteStream)
    merged: AsyncStream = kind(call, response)
    return merged.given_by(with_stream(response, merged))


class _Streaming:
    """What the two loops share: everything that needs no waiting."""

    def __init__(self, call: Call, response: Any) -> None:
        self._call = call
        self._rounds = call.rounds
        #: The request of the round that is being opened or read; None after the last one.
        self._request = call.rounds.next_request()
        self._first = self._running = response
        self._reading = Reading(call, response, self._request)
        self._errors = reading_errors(response)
        #: Bytes for the caller, and the error to raise after them.
        self._ready: list[bytes] = []
        self._error: Exception | None = None
        #: Whether the budget in time is spent.
        self._is_late = False
        # Whether the time for reading is bound.
        self._is_timed = call.plan.settings.max_seconds is not None
        # Whether each piece is looked at for the time, or for the progress bar.
        self._is_watched = self._is_timed or call.progress is not None
        #: Seconds to wait before the next round.
        self._pause = 0.0
        self._over = False
        #: Set by ``close()`` from any thread or task. No round is begun after it.
        self._closed = threading.Event()
        self._elapsed = timedelta()
        # Bytes that the running round may still bring; None: it is the first.
        self._left: int | None = None
        #: The headers of the rate limits in the newest response after the first.
        self.rate_limits: list[tuple[str, str]] = []
        self._journal = call.journal
        if not call.is_resumed:
            call.keep()
        # The response that reads from this stream. If they held each other, they and the text would stay until garbage
        # is collected some time.
        self._given_by: Callable[[], Any] = _nobody

    def given_by(self, response: Any) -> Any:
        """Return the response that reads from this stream, which is told how long all rounds took."""
        self._given_by = weakref.ref(response)
        return response

    def _pop(self) -> bytes:
        ready, self._ready = self._ready, []
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def _put(self, chunks: list[Json]) -> None:
        if chunks:
            self._ready.append(self._given(written(chunks)))

    def _given(self, data: bytes) -> bytes:
        """Return bytes for the caller, which are noted for the journal."""
        if self._journal is not None:
            self._journal.give(data)
        return data

    def _raise_error(self) -> None:
        """Raise what ended the stream, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _settle(self) -> Request | None:
        """Take the end of the running round; return the request of the next one, or None if there is none."""
        if self._request is None:
            return None
        reading = self._reading
        reading.feed_text()
        ends = reading.has_end and self._rounds.ends_with_stream
        if self._rounds.finished or (not self._is_late and (self._rounds.enough or ends)):
            self._put(self._rounds.end_of_stream(self._request))
            self._pause = 0.0
            return self._next()
        broke_off = reading.fault is None and not reading.end and not self._is_left()
        return self._fail(reading.fault, request_id_of(self._running), broke_off=broke_off)

    def _break(self, error: Exception) -> Request | None:
        """Take an error in the middle of a round; return the request of the next one. Raise what nothing can heal."""
        # In a first round, an error that the SDK does not expect is not for us to judge.
        foreign = self._request is not None and self._request.number == 1 and not isinstance(error, self._errors)
        if self._request is None or foreign or self._is_left():
            self._over = True
            raise error
        self._reading.feed_text()
        if self._rounds.finished:
            return self._settle()
        if self._request.number > 1:
            # The first round fails as it does without us: openai < 3 lets the transport's error through.
            error = transport_error(error, self._running)
        return self._fail(error, request_id_of(self._running), broke_off=True)

    def _is_left(self) -> bool:
        """Return whether the caller has closed the stream or the client, which looks like a break from here."""
        return self._closed.is_set() or bool(self._call.client.is_closed())

    def _fail(
        self, error: Exception | None, request_id: str | None = None, *, broke_off: bool = False
    ) -> Request | None:
        """Take the failure of a round (None: its stream just ended); return the request of the next one."""
        if self._request is None:
            return None
        if isinstance(error, openai.APIStatusError):
            self.rate_limits = rate_limits(error.response) or self.rate_limits
        self._is_late = self._is_late or self._call.is_late
        if self._is_late:
            self._put(self._rounds.stop("max_seconds"))
            return self._next()
        decision = self._rounds.fail(self._request, failure_of(error, request_id, broke_off=broke_off))
        self._put(decision.chunks)
        if decision.raises:
            if error is None and self._request.number > 1:
                error = broken_off(self._running)
            if error is not None:
                self._error = with_partial(error, self._call.client, self._rounds, self._running)
            self._over = error is not None
        if self._call.may_wait(decision.after):
            self._pause = decision.after
        return self._next()

    def _next(self) -> Request | None:
        """Return the request of the next round; at the end of the answer put what is left for the caller."""
        as_it_came = self._reading.end + self._reading.rest()
        # Until the next round is opened, and after the last one, whatever comes is passed on.
        self._reading = Reading(self._call, self._first, None)
        if self._rounds.goes_on:
            self._call.keep()
        self._put(self._call.stop_if_spent())
        self._request = self._rounds.next_request()
        self._call.report_rounds()
        if self._request is None:
            self._put_end(as_it_came)
        return self._request

    def _put_end(self, as_it_came: bytes) -> None:
        """Put the end of the merged stream; ``as_it_came``: the end of the only round."""
        last = self._rounds.last_chunks()
        self._call.report_end()
        if not self._rounds.continued:
            self._put(last)
            self._ready += [as_it_came] if as_it_came else []
            return
        if self._error is None:
            self._put(last)
            self._ready.append(DONE_EVENT)
            self._over = True

    def _is_spent(self) -> bool:
        """Return whether the budget in time is spent, so that no more of the running round is read."""
        if self._request is not None and not self._is_late:
            if self._call.progress is not None:
                self._reading.feed_text()
                self._call.progress.show()
            self._is_late = self._call.is_late
        return self._is_late

    def _take(self, piece: bytes) -> bytes:
        """Take a piece of the running round; return the bytes that may go out now."""
        if self._left is not None:
            self._left = count_down(self._left, piece, self._running)
        out = self._reading.take(piece)
        return out if self._journal is None else self._given(out)

    def _end_call(self) -> None:
        """End what is open beside the stream."""
        self._call.close_progress()
        if self._journal is not None:
            self._journal.leave()

    def _let_go(self) -> None:
        """
        Let go of a round that is over, whose request holds all of the text.

        The first response stands in until the next one is there.
        """
        # A response and its stream hold each other, until garbage is collected some time.
        self._running.request = self._first.request
        self._running = self._first

    def _opened(self, request: Request, response: Any) -> None:
        self._running = response
        self._left = self._call.most_bytes(request)
        slice_compressed(response)
        self.rate_limits = rate_limits(response) or self.rate_limits
        self._reading = Reading(self._call, response, request)
        self._call.keep()

    def _quietly(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that keeps the error of a transport to itself, if the answer goes on or went on."""
        return contextlib.suppress(*((Exception,) if self._rounds.continued else ()))

    def _note_elapsed(self) -> None:
        if self._running is not self._first or not self._elapsed:
            self._elapsed += elapsed(self._running)
        response = self._given_by()
        if response is not None:
            response.elapsed = self._elapsed


def _nobody() -> None:
    """Return no response, where none reads from a stream yet."""


class Stream(_Streaming):
    """The bytes of a merged stream. Who asks for them again gets what is left."""

    def __init__(self, call: Call, response: Any) -> None:
        super().__init__(call, response)
        self._pieces: Iterator[bytes] = pieces(response)
        self._watch = Watch()

    def __iter__(self) -> Iterator[bytes]:
        try:
            while not self._over:
                try:
                    for piece in self._pieces:
                        out = self._take(piece)
                        if self._journal is not None and self._journal.is_due:
                            save(self._journal)
                        if self._reading.is_over or (self._is_watched and self._is_spent()):
                            self._ready.append(out)
                            break
                        if out:
                            yield out
                        if self._over:
                            return
                        if self._is_timed and self._request is not None:
                            self._watch.start(self._running, self._call.left())
                    else:
                        self._over = self._over or self._request is None
                except Exception as error:
                    request = self._break(error)
                else:
                    request = self._end_round()
                save(self._journal)
                self._go_on(request)
                if out := self._pop():
                    yield out
            self._raise_error()
        except BaseException:
            # Cancelled, or left: nobody may close it.
            self._watch.stop()
            self._end_call()
            save(self._journal)
            raise

    def _end_round(self) -> Request | None:
        """Take the end of a round, whose bytes may still be on their way; return the request of the next one."""
        # Bytes after the end of the answer have all the time of the caller's own timeout.
        self._watch.stop()
        at_end = bool(self._reading.end)
        request = self._settle()
        if self._is_late:
            self._leave()
        elif at_end and self._rounds.continued:
            drain(self._call, self._running)
        return request

    def _go_on(self, request: Request | None) -> None:
        """Open the next round; do nothing if there is none, or the stream is closed meanwhile."""
        while request is not None:
            self._leave()
            self._pieces = iter(())
            self._let_go()
            if pause(self._closed, self._pause):
                return
            request = self._open(request)

    def _open(self, request: Request) -> Request | None:
        """Open a round; return the request to try next if it could not be opened, else None."""
        try:
            response = send(self._call, request)
        except Exception as error:
            return self._fail(error)
        self._opened(request, response)
        self._pieces = pieces(response)
        if self._is_timed:
            self._watch.start(response, self._call.left())
        if self._closed.is_set():
            response.close()
        return None

    def _leave(self) -> None:
        self._watch.stop()
        with self._quietly():
            self._running.close()
        self._note_elapsed()

    def close(self) -> None:
        """Close the running round; safe from any thread."""
        self._over = True
        self._closed.set()
        self._end_call()
        try:
            self._leave()
        finally:
            save(self._journal)


class AsyncStream(_Streaming):
    """Async twin of ``Stream``."""

    def __init__(self, call: Call, response: Any) -> None:
        super().__init__(call, response)
        self._pieces: AsyncIterator[bytes] = self._timely(apieces(response))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while not self._over:
                try:
                    async for piece in self._pieces:
                        out = self._take(piece)
                        if self._journal is not None and self._journal.is_due:
                            await asave(self._journal)
                        if self._reading.is_over or (self._is_watched and self._is_spent()):
                            self._ready.append(out)
                            break
                        if out:
                            yield out
                        if self._over:
                            return
                    else:
                        self._over = self._over or self._request is None
                except Exception as error:
                    request = self._break(error)
                else:
                    request = await self._end_round()
                await asave(self._journal)
                await self._go_on(request)
                if out := self._pop():
                    yield out
            self._raise_error()
        except BaseException:
            # Cancelled, or left: nobody may close it.
            self._end_call()
            await asave(self._journal)
            raise

    async def _end_round(self) -> Request | None:
        """Take the end of a round, whose bytes may still be on their way; return the request of the next one."""
        at_end = bool(self._reading.end)
        request = self._settle()
        if self._is_late:
            await self._leave()
        elif at_end and self._rounds.continued:
            await adrain(self._call, self._running)
        return request

    async def _go_on(self, request: Request | None) -> None:
        """Open the next round; do nothing if there is none, or the stream is closed meanwhile."""
        while request is not None:
            await self._leave()
            self._pieces = _nothing()
            self._let_go()
            if await apause(self._closed, self._pause):
                return
            request = await self._open(request)

    async def _open(self, request: Request) -> Request | None:
        """Open a round; return the request to try next if it could not be opened, else None."""
        try:
            response = await asend(self._call, request)
        except Exception as error:
            return self._fail(error)
        self._opened(request, response)
        self._pieces = self._timely(apieces(response))
        if self._closed.is_set():
            await response.aclose()
        return None

    def _timely(self, read: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return timely(lambda: None if self._request is None else self._call.left(), read) if self._is_timed else read

    async def _leave(self) -> None:
        with self._quietly():
            await self._running.aclose()
        self._note_elapsed()

    async def aclose(self) -> None:
        """Close the running round; safe from any task."""
        self._over = True
        self._closed.set()
        self._end_call()
        try:
            await self._leave()
        finally:
            await asave(self._journal)


async def _nothing() -> AsyncIterator[bytes]:
    for piece in iter(bytes, b""):
        yield piece
