"""
Reading the response to a further round, no further than its tokens can be long.

A server that sends more (a compressed nothing, a line without an end, another file) must cost neither the memory nor
the time of the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from .errors import OverlongRoundError
from .response import apieces, module_of, pieces, stream_class

# Bytes of a compressed response that are decompressed at a time: gzip makes a thousand times as many of them at most.
_SLICE = 1024


def bounded(response: Any, most: int) -> Iterator[bytes]:
    """Give the decoded bytes of a response. Raise OverlongRoundError if they are more than ``most``."""
    slice_compressed(response)
    for piece in pieces(response):
        most = count_down(most, piece, response)
        yield piece


async def abounded(response: Any, most: int) -> AsyncIterator[bytes]:
    """Async twin of ``bounded``."""
    slice_compressed(response)
    async for piece in apieces(response):
        most = count_down(most, piece, response)
        yield piece


def count_down(left: int, piece: bytes, response: Any) -> int:
    """Return how many bytes are left after a piece. Raise OverlongRoundError if there were fewer."""
    if len(piece) > left:
        raise OverlongRoundError(response.request)
    return left - len(piece)


def slice_compressed(response: Any) -> None:
    """Let the pieces of a compressed response be small, so that none becomes a large one."""
    if "content-encoding" in response.headers:
        # The module's own stream of bytes, which is sync and async.
        response.stream = stream_class(_Slices, module_of(response).ByteStream)(response)


def is_compressed_twice(response: Any) -> bool:
    """Whether a byte of a response may become a million: no server means that."""
    return "," in response.headers.get("content-encoding", "")


class _Slices:
    """The stream of a response in small pieces. Raise OverlongRoundError if it was compressed twice."""

    def __init__(self, response: Any) -> None:
        self._stream = response.stream
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        self._check()
        for data in self._stream:
            yield from _sliced(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._check()
        async for data in self._stream:
            for piece in _sliced(data):
                yield piece

    def _check(self) -> None:
        if is_compressed_twice(self._response):
            raise OverlongRoundError(self._response.request)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


def _sliced(data: bytes) -> Iterator[bytes]:
    return (data[at : at + _SLICE] for at in range(0, len(data), _SLICE))
