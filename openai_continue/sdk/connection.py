"""
Connections: sending a further round, reading a round to its end, and waiting before the next one.

Further rounds go through the base class's ``request``, so that wrappers on a subclass or an instance see one call, and
inside ``disabled()``, so that our own wrappers leave them alone.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import anyio
import openai
from openai import _base_client  # pyright: ignore[reportPrivateUsage]
from openai._base_client import AsyncAPIClient, SyncAPIClient

from ..core.round import Request
from ..switches import disabled
from .call import Call
from .errors import got_nothing
from .resuming import asave, save

#: Seconds that a server gets between ``[DONE]`` and the end of its stream, so that its connection is used again.
PATIENCE = 0.1
# Seconds between two looks at whether a stream that waits for its next round was closed.
_GLANCE = 0.05


def send(call: Call, request: Request, *, stream: bool) -> Any:
    """
    Send a further round; return its bare HTTP response. Raise whatever keeps the SDK from it.

    A request that got nothing at all is sent once more, at once: llama-server closes the connection of each stream
    without a word, so that the next round meets a closed one.
    """
    save(call.journal)
    recorded = call.recorded(request, read=not stream)
    if recorded is not None:
        return recorded
    with disabled():
        try:
            return SyncAPIClient.request(call.client, _response_type(), call.options_of(request), stream=stream)
        except openai.APIConnectionError as error:
            if not got_nothing(error):
                raise
        return SyncAPIClient.request(call.client, _response_type(), call.options_of(request), stream=stream)


async def asend(call: Call, request: Request, *, stream: bool) -> Any:
    """Async twin of ``send``."""
    await asave(call.journal)
    recorded = call.recorded(request, read=not stream)
    if recorded is not None:
        return recorded
    with disabled():
        try:
            return await AsyncAPIClient.request(call.client, _response_type(), call.options_of(request), stream=stream)
        except openai.APIConnectionError as error:
            if not got_nothing(error):
                raise
        return await AsyncAPIClient.request(call.client, _response_type(), call.options_of(request), stream=stream)


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


def drain(response: Any) -> None:
    """Read a round to its end, so that its connection is used again; a server that lingers loses the connection."""
    connection = _socket_of(response)
    if response.is_closed or response.http_version != "HTTP/1.1" or connection is None:
        return
    # A blocking read has no deadline of its own that could be changed here; shutting the socket down ends it.
    late = threading.Timer(PATIENCE, _shut_down, [connection])
    late.start()
    try:
        # A transport may raise an error of its own.
        with contextlib.suppress(Exception):
            # Read to its end below iter_bytes(), a response is not closed. So its connection is still ours, and no
            # other thread's, when the timer fires.
            for _ in response.stream:
                pass
    finally:
        late.cancel()
        late.join()


async def adrain(response: Any) -> None:
    """Async twin of ``drain``."""
    if response.is_closed or response.http_version != "HTTP/1.1":
        return
    with contextlib.suppress(Exception), anyio.move_on_after(PATIENCE):
        async for _ in response.stream:
            pass


def _response_type() -> Any:
    """Return the type that makes the SDK give its bare HTTP response."""
    base: Any = _base_client
    # openai 3.0 replaced httpx by httpx2; it knows its own module's class whatever the client's module is.
    return (getattr(base, "httpx", None) or base.httpx2).Response


def _socket_of(response: Any) -> socket.socket | None:
    network = response.extensions.get("network_stream")
    found = None if network is None else network.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
