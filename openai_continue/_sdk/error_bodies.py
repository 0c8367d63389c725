"""
The bodies of errors of further rounds, read no further than an error is long.

The SDK reads the body of an error to its end, and nothing of its own says how far. So a further round is sent by a copy
of the SDK's client, whose HTTP client ends such a body early. The status says the most of what there is to know.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

from .bounded import is_compressed_twice
from .call import Call
from .response import module_of, stream_class

# Most bytes of an error's body, as they come: the message, and the request that some servers repeat. Compressed ones
# become a thousand times as many.
_MOST, _MOST_COMPRESSED = 1024 * 1024, 8 * 1024


def with_short_errors(call: Call) -> Any:
    """Return the client of a call for one further round."""
    client = copy.copy(call.client)
    client._client = _Sender(call)
    return client


def with_short_errors_async(call: Call) -> Any:
    """Async twin of ``with_short_errors``."""
    client = copy.copy(call.client)
    client._client = _AsyncSender(call)
    return client


class _Sender:
    """The HTTP client of a call, but for the bodies of errors."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._client = call.client._client

    def __getattr__(self, name: str) -> Any:
        """Return what the HTTP client has under a name."""
        return getattr(self._client, name)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; return the response, unread."""
        return _shortened(self._client.send(request, **options), self._call)


class _AsyncSender(_Sender):
    """Async twin of ``_Sender``."""

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request; return the response, unread."""
        return _shortened(await self._client.send(request, **options), self._call)


def _shortened(response: Any, call: Call) -> Any:
    if not (response.is_success or response.is_closed):
        # The module's own stream of bytes, which is sync and async.
        response.stream = stream_class(_Beginning, module_of(response).ByteStream)(response, call)
    return response


class _Beginning:
    """The beginning of the body of an error, as far as the time of the call goes."""

    def __init__(self, response: Any, call: Call) -> None:
        self._stream = response.stream
        self._left = _MOST_COMPRESSED if "content-encoding" in response.headers else _MOST
        if is_compressed_twice(response):
            self._left = 0
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            yield self._part(data)
            if self._is_enough:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield self._part(data)
            if self._is_enough:
                return

    def _part(self, data: bytes) -> bytes:
        part = data[: self._left]
        self._left -= len(part)
        return part

    @property
    def _is_enough(self) -> bool:
        return not self._left or self._call.is_late

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
