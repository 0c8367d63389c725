"""
Connections: sending a further round, reading a round to its end, and waiting before the next one.

Further rounds go through the base class's ``request``, so that wrappers on a subclass or an instance see one call, and
inside ``disabled()``, so that our own wrappers leave them alone.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import openai

from .._core.round import Request
from ..switches import disabled
from .bounded import abounded, bounded
from .call import Call
from .error_bodies import with_short_errors, with_short_errors_async
from .errors import reading_errors, transport_error
from .journal import asave, save
from .private_parts import AsyncAPIClient, SyncAPIClient, http
from .redirects import Redirects
from .response import elapsed, with_content
from .retries import Tries

#: Seconds that a server gets between ``[DONE]`` and the end of its stream, so that its connection is used again.
PATIENCE = 0.1
# Seconds between two looks at whether a stream that waits for its next round was closed.
_GLANCE = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a whole further round, and its body, read."""

    response: Any
    content: bytes = field(repr=False)

    def read(self) -> Any:
        """Return the response with its body, for who looks into it."""
        made = with_content(self.response, self.content, read=True)
        made.elapsed = elapsed(self.response)
        return made


def send(call: Call, request: Request) -> Any:
    """Send a further round; return its bare HTTP response, unread. Raise whatever keeps the SDK from it."""
    save(call.journal)
    return _send(call, Tries(call, request))


async def asend(call: Call, request: Request) -> Any:
    """Async twin of ``send``."""
    await asave(call.journal)
    return await _asend(call, Tries(call, request))


def send_whole(call: Call, request: Request) -> Reply:
    """Send a further round; return what came of it. What breaks off meanwhile is sent again, as the SDK does."""
    save(call.journal)
    tries = Tries(call, request)
    while True:
        response = _send(call, tries)
        try:
            return _read(call, request, response)
        except openai.OpenAIError as error:
            seconds = tries.wait(error, has_begun=True)
            if seconds is None:
                raise
        time.sleep(seconds)


async def asend_whole(call: Call, request: Request) -> Reply:
    """Async twin of ``send_whole``."""
    await asave(call.journal)
    tries = Tries(call, request)
    while True:
        response = await _asend(call, tries)
        try:
            return await _aread(call, request, response)
        except openai.OpenAIError as error:
            seconds = tries.wait(error, has_begun=True)
            if seconds is None:
                raise
        await anyio.sleep(seconds)


def _send(call: Call, tries: Tries) -> Any:
    with disabled():
        while True:
            try:
                return _request(call, tries.options())
            except openai.OpenAIError as error:
                seconds = tries.wait(error)
                if seconds is None:
                    raise
            time.sleep(seconds)


async def _asend(call: Call, tries: Tries) -> Any:
    with disabled():
        while True:
            try:
                with anyio.fail_after(call.left()):
                    return await _arequest(call, tries.options())
            except openai.OpenAIError as error:
                seconds = tries.wait(error)
                if seconds is None:
                    raise
            await anyio.sleep(seconds)


def _request(call: Call, options: Any) -> Any:
    """Make the SDK send a further round, which follows no redirect to another host."""
    redirects, client = Redirects(call, options), with_short_errors(call)
    while True:
        with redirects:
            return SyncAPIClient.request(client, http.Response, redirects.options, stream=True)


async def _arequest(call: Call, options: Any) -> Any:
    """Async twin of ``_request``."""
    redirects, client = Redirects(call, options), with_short_errors_async(call)
    while True:
        with redirects:
            return await AsyncAPIClient.request(client, http.Response, redirects.options, stream=True)


def _read(call: Call, request: Request, response: Any) -> Reply:
    """Read the body of a response. Raise the SDK's error if that fails, or takes longer than what is left."""
    watch = Watch()
    watch.start(response, call.left())
    try:
        content = b"".join(bounded(response, call.most_bytes(request)))
    except reading_errors(response) as error:
        raise transport_error(error, response) from error
    finally:
        watch.stop()
        response.close()
    if watch.is_late:
        raise openai.APITimeoutError(request=response.request)
    return Reply(response, content)


async def _aread(call: Call, request: Request, response: Any) -> Reply:
    """Async twin of ``_read``."""
    try:
        with anyio.fail_after(call.left()):
            content = b"".join([piece async for piece in abounded(response, call.most_bytes(request))])
    except reading_errors(response) as error:
        raise transport_error(error, response) from error
    finally:
        await response.aclose()
    return Reply(response, content)


class Watch:
    """
    Ends the reading of a response when its time is up, from a thread of its own.

    A blocking read has no deadline of its own that could be changed later; shutting the socket down ends it. Stop the
    watch before the response is closed: after that the connection may be another request's.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        #: Whether the time was up.
        self.is_late = False

    def start(self, response: Any, seconds: float | None) -> None:
        """Give a response ``seconds`` from now; do nothing if it has no socket of its own, or the watch runs."""
        connection = _socket_of(response)
        if self._timer is not None or seconds is None or connection is None:
            return
        self._timer = threading.Timer(seconds, self._end, [response, connection])
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Let the response have its time."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()

    def _end(self, response: Any, connection: socket.socket) -> None:
        self.is_late = True
        if not response.is_closed:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


async def timely(left: Callable[[], float | None], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """
    Give the pieces of a response until its time is up. A ``Watch`` does the same for sync ones.

    ``left``: returns how many seconds are left; None for no limit.
    """
    is_over = False
    while not is_over:
        piece = None
        with anyio.move_on_after(left()):
            piece = await anext(pieces, None)
        is_over = piece is None
        if piece is not None:
            yield piece


def pause(event: threading.Event, seconds: float) -> bool:
    """Wait ``seconds``, or until any thread sets the event; return whether it is set."""
    return event.wait(seconds)


async def apause(event: threading.Event, seconds: float) -> bool:
    """Async twin of ``pause``."""
    if not seconds:
        # Between most rounds there is no wait, and a scope that is cancelled at once costs more than this look.
        return event.is_set()
    with anyio.move_on_after(seconds):
        while not event.is_set():
            await anyio.sleep(min(seconds, _GLANCE))
    return event.is_set()


def drain(call: Call, response: Any) -> None:
    """Read a round to its end, so that its connection is used again; a server that lingers loses the connection."""
    if response.is_closed or _socket_of(response) is None:
        return
    late = Watch()
    late.start(response, _patience(call))
    try:
        # A transport may raise an error of its own.
        with contextlib.suppress(Exception):
            # Read to its end below iter_bytes(), a response is not closed. So its connection is still ours, and no
            # other thread's, when its time is up.
            for _ in response.stream:
                pass
    finally:
        late.stop()


async def adrain(call: Call, response: Any) -> None:
    """Async twin of ``drain``."""
    if response.is_closed or response.http_version != "HTTP/1.1":
        return
    with contextlib.suppress(Exception), anyio.move_on_after(_patience(call)):
        async for _ in response.stream:
            pass


def _patience(call: Call) -> float:
    left = call.left()
    return PATIENCE if left is None else min(PATIENCE, left)


def _socket_of(response: Any) -> socket.socket | None:
    """Return the socket of a response, or None if it has none, or shares it with others."""
    if response.http_version != "HTTP/1.1":
        return None
    network = response.extensions.get("network_stream")
    found = None if network is None else network.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None
