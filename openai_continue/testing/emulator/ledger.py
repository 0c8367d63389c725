"""
What a server has seen and done, for tests to read from other threads.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .model import conversation_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .faults import Fault
    from .model import Body

Address: TypeAlias = "tuple[str, int]"


@dataclass
class Logged:
    """
    A request for a completion, and how it was answered.

    The last four fields are filled in when the answer has ended.
    """

    number: int
    """From 1, since the start or `clear()`."""
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    connection: Address
    """The client's end of the TCP connection: equal for requests on the same connection."""
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    """As sent; empty if it could not be read."""
    status: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Of all choices; of a stream that broke off, what was sent."""
    finish_reasons: tuple[str, ...] = ()

    @property
    def finish_reason(self) -> str | None:
        """That of the first choice."""
        return self.finish_reasons[0] if self.finish_reasons else None


class Line:
    """A TCP connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Tell whether either side has closed it."""
        return self.transport.is_closing()

    def reset(self) -> None:
        """Close with a TCP reset."""
        # With lingering on and no time for it, the kernel sends RST for FIN.
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def peer(transport: asyncio.Transport) -> Address:
    """Give the client's end of a connection."""
    host, port = transport.get_extra_info("peername")[:2]
    return (host, port)


class Ledger:
    """Requests, connections, and what is left of the faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._requests: list[Logged] = []
        self._struck = [0] * len(faults)
        self._prefixes: set[int] = set()
        self._lines: dict[Address, Line] = {}
        self.connections = 0
        self.running = 0
        self.derailed = 0

    @property
    def requests(self) -> list[Logged]:
        """Requests in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def lines(self) -> list[Line]:
        """The connections open now."""
        with self._lock:
            return list(self._lines.values())

    def clear(self) -> None:
        """Forget requests and strikes; connections stay."""
        with self._lock:
            self._requests.clear()
            self._struck = [0] * len(self._faults)
            self._prefixes.clear()
            self.derailed = 0

    def opened(self, transport: asyncio.Transport) -> None:
        """Enter a connection."""
        with self._lock:
            self.connections += 1
            self._lines[peer(transport)] = Line(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Strike out a connection."""
        with self._lock:
            line = self._lines.get(peer(transport))
            # Where the address was used again at once, the entry is the newer connection's.
            if line is not None and line.transport is transport:
                del self._lines[peer(transport)]
                line.closed.set()

    def line(self, address: Address) -> Line | None:
        """Find an open connection."""
        with self._lock:
            return self._lines.get(address)

    def arrived(self, path: str, headers: dict[str, str], connection: Address) -> Logged:
        """Enter a request."""
        with self._lock:
            logged = Logged(len(self._requests) + 1, path, headers, connection)
            self._requests.append(logged)
            return logged

    def began(self) -> None:
        """Count a request as being answered."""
        with self._lock:
            self.running += 1

    def ended(self) -> None:
        """Count it no longer."""
        with self._lock:
            self.running -= 1

    def went_off(self) -> None:
        """Count a prompt that ends in a text which the model did not write."""
        with self._lock:
            self.derailed += 1

    def strike(self, logged: Logged) -> Fault | None:
        """Give the fault that a request meets; the first of several."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if isinstance(fault.round, int):
                    if fault.round <= logged.number < fault.round + fault.times:
                        return fault
                elif self._struck[index] < fault.times and fault.round(logged.body):
                    self._struck[index] += 1
                    return fault
            return None

    def cached_tokens(self, messages: Sequence[Body]) -> int:
        """Count the tokens of the conversation that were in a prompt before."""
        with self._lock:
            known = 0
            for end in (len(messages), len(messages) - 1):
                key = hash(json.dumps(messages[:end], sort_keys=True, default=str))
                if not known and end and key in self._prefixes:
                    known = conversation_tokens(messages[:end])
                self._prefixes.add(key)
            return known
