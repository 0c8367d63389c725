"""
What a server has seen and done. Tests read it from other threads.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .faults import Fault
from .habits import Habits
from .template import Prompt, length

#: Host and port.
Address: TypeAlias = "tuple[str, int]"


@dataclass
class Logged:
    """
    A request for a completion, and how it was answered.

    The fields from ``status`` on are filled in while the request is answered.
    """

    #: The number of the request, counted from 1 since the start or ``clear()``.
    number: int
    path: str
    #: The names are in lower case.
    headers: dict[str, str]
    #: The client's end of the TCP connection. Requests on the same connection have the same one.
    connection: Address
    #: The body as sent; empty if it could not be read.
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    #: The HTTP status; 0 before the answer begins.
    status: int = 0
    prompt_tokens: int = 0
    #: The tokens of all choices; of a stream that broke off, those that were sent.
    completion_tokens: int = 0
    #: The finish reason of each choice; empty if the answer did not end.
    finish_reasons: tuple[str, ...] = ()

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice, or None if the answer did not end."""
        return self.finish_reasons[0] if self.finish_reasons else None


class Line:
    """A TCP connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        #: Set when the connection is gone.
        self.closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self.transport.is_closing()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        # With lingering switched on and no time to linger, the kernel sends RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def peer(transport: asyncio.Transport) -> Address:
    """Return the client's end of a connection."""
    host, port = transport.get_extra_info("peername")[:2]
    return (host, port)


class Ledger:
    """The requests, the connections, and how often each fault has been shown."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._requests: list[Logged] = []
        self._struck = [0] * len(faults)
        self._prefixes: set[int] = set()
        self._texts: set[str] = set()
        #: The items of the responses that the server keeps, by their ids.
        self.stored: dict[str, list[Any]] = {}
        self._lines: dict[Address, Line] = {}
        #: How many connections were accepted, how many requests are being answered, how many prefills derailed.
        self.connections = 0
        self.running = 0
        self.derailed = 0

    @property
    def requests(self) -> list[Logged]:
        """The requests in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def lines(self) -> list[Line]:
        """The connections that are open."""
        with self._lock:
            return list(self._lines.values())

    def clear(self) -> None:
        """Forget the requests and the faults shown. Connections stay."""
        with self._lock:
            self._requests.clear()
            self._struck = [0] * len(self._faults)
            self._prefixes.clear()
            self.derailed = 0

    def opened(self, transport: asyncio.Transport) -> None:
        """Add a connection."""
        with self._lock:
            self.connections += 1
            self._lines[peer(transport)] = Line(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Remove a connection."""
        with self._lock:
            line = self._lines.get(peer(transport))
            # If the address was used again at once, the entry belongs to the newer connection.
            if line is not None and line.transport is transport:
                del self._lines[peer(transport)]
                line.closed.set()

    def line(self, address: Address) -> Line | None:
        """Return an open connection, or None if it is closed."""
        with self._lock:
            return self._lines.get(address)

    def arrived(self, path: str, headers: dict[str, str], connection: Address) -> Logged:
        """Add a request, and return its entry."""
        with self._lock:
            logged = Logged(len(self._requests) + 1, path, headers, connection)
            self._requests.append(logged)
            return logged

    def began(self) -> None:
        """Count one more request that is being answered."""
        with self._lock:
            self.running += 1

    def ended(self) -> None:
        """Count one request less that is being answered."""
        with self._lock:
            self.running -= 1

    def went_off(self, choices: int) -> None:
        """Count choices whose prefill is a text that the model did not write."""
        with self._lock:
            self.derailed += choices

    def strike(self, logged: Logged) -> Fault | None:
        """Return the fault that a request meets, or None. If several fit, the first one is met."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if isinstance(fault.round, int):
                    if fault.round <= logged.number < fault.round + fault.times:
                        return fault
                elif self._struck[index] < fault.times and fault.round(logged.body):
                    self._struck[index] += 1
                    return fault
            return None

    def cached_tokens(self, prompts: Sequence[Prompt], habits: Habits) -> int:
        """Return how many tokens of the prompts were in an earlier request, without what the model wrote."""
        with self._lock:
            known = 0
            for prompt in prompts:
                if hash(prompt.opening) in self._prefixes:
                    known += length(prompt.opening, habits)
                self._prefixes.add(hash(prompt.opening))
            return known

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts of text completions that began a new text, the shortest ones first. ``clear()`` keeps them."""
        with self._lock:
            return tuple(sorted(self._texts, key=len))

    def began_texts(self, prompts: Sequence[Prompt]) -> None:
        """Remember the prompts of text completions."""
        with self._lock:
            self._texts.update(prompt.opening for prompt in prompts if prompt.source == "text")
