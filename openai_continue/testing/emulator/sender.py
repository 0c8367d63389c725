"""
Sending one response over ASGI: compressed or plain, in one piece or in drips, to its end or to a broken connection.
"""

from __future__ import annotations

import asyncio
import gzip
import uuid
import zlib
from collections.abc import Sequence

from starlette.types import Send

from .ledger import Line, Logged

# A reset destroys what is on its way to the client, so we wait until it has arrived.
_BEFORE_RESET_SECONDS = 0.03
_DRIP_BYTES = 7
_DRIPS = 500
_DRIP_SECONDS = 0.001


class Sender:
    """Sends the response to one request."""

    def __init__(self, send: Send, line: Line, logged: Logged, *, compresses: bool) -> None:
        self._send = send
        self._line = line
        self._logged = logged
        self._compresses = compresses
        # What compresses the pieces of a body; None if they are sent as they are.
        self._compressor = zlib.compressobj(wbits=31) if compresses else None
        self._drips = _DRIPS

    @property
    def is_closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self._line.is_closed

    def packed(self, body: bytes) -> bytes:
        """Return a whole body as it goes over the network. Its pieces are then written as they are."""
        self._compressor = None
        return gzip.compress(body) if self._compresses else body

    def leave_plain(self) -> None:
        """Do not compress this response. Call it before ``start()``."""
        self._compresses, self._compressor = False, None

    async def start(
        self, status: int, kind: str, *, length: int | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send the status and the headers. ``kind`` is the content type."""
        self._logged.status = status
        sent = [(b"content-type", kind.encode()), (b"x-request-id", uuid.uuid4().hex.encode()), *headers]
        if length is not None:
            sent.append((b"content-length", str(length).encode()))
        if self._compresses:
            sent += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body. ``more`` is False for the last one."""
        if self._compressor:
            data = self._compressor.compress(data)
            data += self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def drip(self, data: bytes) -> None:
        """Write a few bytes at a time, cutting frames and characters. After ``_DRIPS`` writes, the rest at once."""
        while data and self._drips:
            self._drips -= 1
            await self.write(data[:_DRIP_BYTES])
            data = data[_DRIP_BYTES:]
            await self.pause(_DRIP_SECONDS)
        await self.write(data)

    async def reset(self) -> None:
        """Reset the connection, after the client has got what was sent."""
        await self.pause(_BEFORE_RESET_SECONDS)
        self._line.reset()
        await self._line.closed.wait()

    async def close(self) -> None:
        """Close the connection, whether the response has ended or not."""
        self._line.transport.close()
        await self._line.closed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the client stays."""
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._line.closed.wait(), seconds)
        except asyncio.TimeoutError:
            return
