"""A server on loopback that answers rightly at first, and then has one fault; it knows what it gave and its price."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

#: Tokens of a round, and of the question.
CAP, QUESTION = 100, 20
#: What a token of a prompt and of an answer costs.
PRICES = 1e-6, 4e-6
# Seconds after which a server that says nothing gives up.
_PATIENCE = 60.0


def words(first: int, last: int) -> list[str]:
    """Return the tokens of the answer with these numbers."""
    return [f" w{number}" for number in range(first, last)]


@dataclass
class Exchange:
    """One request and what became of it."""

    body: Json
    handler: Any
    #: The number of the request, from 1.
    number: int
    #: Tokens that were sent.
    given: int = 0

    @property
    def written(self) -> int:
        """The tokens of the answer that the request sends back."""
        last = self.body["messages"][-1]
        return len(last["content"].split()) if last["role"] == "assistant" else 0

    @property
    def cost(self) -> float:
        """What the server charges for the round: its prompt, and what it has given."""
        return PRICES[0] * (QUESTION + self.written) + PRICES[1] * self.given

    def usage(self, cost: Any) -> Json:
        prompt = QUESTION + self.written
        usage: Json = {"prompt_tokens": prompt, "completion_tokens": self.given, "total_tokens": prompt + self.given}
        return usage if cost is None else {**usage, "estimated_cost": cost}

    # What a server does.

    def head(self, status: int = 200, **headers: str) -> None:
        """Begin the response; its body ends with the connection."""
        self.handler.send_response(status)
        self.handler.send_header("content-type", "text/event-stream" if self.body.get("stream") else "application/json")
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("transfer-encoding", "chunked")
        self.handler.end_headers()

    def send(self, data: bytes) -> None:
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.handler.wfile.flush()

    def say(self, value: object) -> None:
        self.send(b"data: " + json.dumps(value).encode() + b"\n\n")

    def speak(self, tokens: int) -> None:
        """Give tokens of the answer in a stream."""
        for word in words(self.written + self.given, self.written + self.given + tokens):
            self.say(_chunk({"content": word}, None))
            self.given += 1

    def finish(self, cost: Any) -> None:
        """End a round as its server does: at the cap, with usage."""
        if self.body.get("stream"):
            self.speak(CAP - self.given)
            self.say({**_chunk({}, "length"), "usage": self.usage(cost)})
            self.send(b"data: [DONE]\n\n")
        else:
            text = "".join(words(self.written, self.written + CAP))
            self.given = CAP
            item = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
            named = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
            self.send(json.dumps({**named, "choices": [item], "usage": self.usage(cost)}).encode())
        self.send(b"")

    def wait(self, seconds: float) -> None:
        """Do nothing for some seconds, or until the client has left."""
        self.handler.connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            self.handler.connection.recv(1)

    def stop(self) -> None:
        """Close the connection in the middle of the response."""
        self.handler.close_connection = True


def _chunk(delta: Json, finish_reason: str | None) -> Json:
    item = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [item]}


Act = Callable[[Exchange], None]


def right(exchange: Exchange) -> None:
    """A round without a fault."""
    exchange.head()
    exchange.finish(exchange.cost + PRICES[1] * (CAP - exchange.given))


def costing(cost: Any) -> Act:
    """A round whose server names this cost, or none."""

    def act(exchange: Exchange) -> None:
        exchange.head()
        exchange.finish(cost)

    return act


def retry_after(exchange: Exchange) -> None:
    """A server that has no time, and says when it will have some."""
    exchange.head(429, retry_after="12")
    exchange.send(b"{}")
    exchange.send(b"")


def silent(exchange: Exchange) -> None:
    """A server that takes the request and says nothing."""
    exchange.wait(_PATIENCE)
    exchange.stop()


def stalled(exchange: Exchange) -> None:
    """A server that stops in the middle of its answer; a whole one in the middle of its body."""
    exchange.head()
    if exchange.body.get("stream"):
        exchange.speak(10)
    else:
        exchange.send(b'{"id": ')
    silent(exchange)


def dripping(exchange: Exchange) -> None:
    """A server that sends what is no text, to keep the connection open."""
    exchange.head()
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        exchange.send(b": wait\n\n" if exchange.body.get("stream") else b" ")
        time.sleep(0.4)


def slow(exchange: Exchange) -> None:
    """A server that takes 0.8 seconds for each round."""
    exchange.wait(0.8)
    right(exchange)


def lingering(exchange: Exchange) -> None:
    """A whole answer, whose server leaves the stream open for a second after its end."""
    exchange.head()
    exchange.say(_chunk({"content": "One"}, "stop"))
    exchange.send(b"data: [DONE]\n\n")
    for _ in range(2):
        exchange.wait(0.6)
        exchange.send(b": over\n\n")
    exchange.send(b"")


def broken(exchange: Exchange) -> None:
    """A stream that breaks off after most of its text."""
    exchange.head()
    exchange.speak(90)
    exchange.stop()


def broken_early(exchange: Exchange) -> None:
    """A stream that breaks off after its first words."""
    exchange.head()
    exchange.speak(8)
    exchange.stop()


def broken_at_once(exchange: Exchange) -> None:
    """A stream that breaks off before any text."""
    exchange.head()
    exchange.send(b": wait\n\n")
    exchange.stop()


@dataclass
class FaultyServer:
    """A server whose first rounds are as ``acts`` says; all later ones are as the last of them."""

    acts: list[Act]
    exchanges: list[Exchange] = field(default_factory=list[Exchange])

    @property
    def spent(self) -> float:
        """What all requests have cost."""
        return sum(exchange.cost for exchange in self.exchanges if exchange.given)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve; give the base URL."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = len(server.exchanges) + 1
                exchange = Exchange(body, self, number)
                server.exchanges.append(exchange)
                try:
                    server.acts[min(number, len(server.acts)) - 1](exchange)
                except OSError:
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        served.daemon_threads = True
        # Wait for no exchange: one may be silent for a minute.
        served.block_on_close = False
        # A client that leaves resets its connection.
        served.handle_error = lambda request, address: None  # type: ignore[method-assign, misc, assignment]
        thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}/v1"
        finally:
            served.shutdown()
            served.server_close()
