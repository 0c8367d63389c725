"""A server that says what a test tells it to: to ``Rounds`` as dicts, to a client as bytes over a transport."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.ways import http

Json = dict[str, Any]


@dataclass
class Reply:
    """
    One round of a script: its pieces, as a stream brings them.

    A piece may be a function of the text that was sent back, for what depends on how much of it was held back.
    """

    pieces: Sequence[str | Json | Callable[[str], str | Json]]
    finish: str | None = "length"
    usage: Json | None = field(default_factory=lambda: usage(10, 5))
    #: Fields of the choice, next to message and finish_reason.
    fields: Json = field(default_factory=dict[str, Any])


def reply(*pieces: str | Json | Callable[[str], str | Json], finish: str | None = "length", **fields: Any) -> Reply:
    """Return a round: strings are content, dicts are whole deltas."""
    counted = fields.pop("usage", usage(10, 5))
    return Reply(pieces, finish, counted, fields)


def cut_round(*pieces: str | Json | Callable[[str], str | Json], **fields: Any) -> Reply:
    """Return a round that the server's cap cuts."""
    return reply(*pieces, finish="length", **fields)


def last_round(*pieces: str | Json, **fields: Any) -> Reply:
    """Return a round that ends by itself."""
    return reply(*pieces, finish="stop", **fields)


def usage(prompt: int, completion: int, **fields: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **fields}


class Script(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """
    A server that answers each request with the next round, whatever it is asked.

    A round is what ``reply()`` returns, or the pieces of a body as they go over the wire: bytes, exceptions to raise,
    functions to call.
    """

    def __init__(self, *rounds: Reply | Iterable[Any]) -> None:
        self._rounds = iter(rounds)
        #: The bodies of the requests, in order.
        self.bodies: list[Json] = []
        #: The bodies of the answers that a client was sent.
        self.streams: list[Pieces] = []

    def _next(self, body: Json) -> Any:
        self.bodies.append(copy.deepcopy(body))
        this = next(self._rounds, None)
        if not isinstance(this, Reply):
            return this
        pieces = [piece(body["messages"][-1]["content"]) if callable(piece) else piece for piece in this.pieces]
        return replace(this, pieces=pieces)

    @property
    def sent_back(self) -> list[Any]:
        """The content of the last message of each request but the first."""
        return [body["messages"][-1]["content"] for body in self.bodies[1:]]

    # As dicts.

    def completion(self, body: Json) -> Json:
        this = self._next(body)
        assert isinstance(this, Reply), f"round {len(self.bodies)} was not expected: {body}"
        return self._completion(this)

    def chunks(self, body: Json) -> list[Json]:
        this = self._next(body)
        assert isinstance(this, Reply), f"round {len(self.bodies)} was not expected: {body}"
        return self._chunks(this)

    def _completion(self, this: Reply) -> Json:
        message: Json = {"role": "assistant", "content": None}
        for delta in map(_delta, this.pieces):
            for name, value in delta.items():
                if name == "tool_calls":
                    message[name] = _with_calls(message.get(name) or [], value)
                    continue
                joins = isinstance(value, str) and isinstance(message.get(name), str)
                message[name] = message[name] + value if joins else value
        item = {"index": 0, "message": message, "finish_reason": this.finish, **this.fields}
        return {**self._head("chat.completion"), "choices": [item], **_usage_of(this)}

    def _chunks(self, this: Reply) -> list[Json]:
        head = self._head("chat.completion.chunk")
        deltas = [{"role": "assistant", "content": ""}, *map(_delta, this.pieces)]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        end = {"index": 0, "delta": {}, "finish_reason": this.finish, **this.fields}
        return [*chunks, {**head, "choices": [end], **_usage_of(this)}]

    def _head(self, kind: str) -> Json:
        number = len(self.bodies)
        return {"id": f"id-{number}", "object": kind, "created": number, "model": "m"}

    # As bytes.

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        this = self._next(body)
        if this is None:
            msg = "no further request was expected"
            raise http.ConnectError(msg)
        if not isinstance(this, Reply):
            pieces = this
        elif body.get("stream"):
            pieces = [*map(event, self._chunks(this)), DONE]
        else:
            pieces = [json.dumps(self._completion(this)).encode()]
        self.streams.append(Pieces(pieces))
        return http.Response(200, headers={"x-request-id": f"req-{len(self.bodies)}"}, stream=self.streams[-1])

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        return self.handle_request(request)


def _with_calls(calls: list[Json], deltas: list[Json]) -> list[Json]:
    """Return the calls of a whole message with those of one more delta."""
    calls = list(calls)
    for delta in deltas:
        if delta.get("id") or "type" in delta or not calls:
            calls.append({name: value for name, value in delta.items() if name != "index"})
        else:
            function = calls[-1]["function"]
            arguments = function.get("arguments", "") + delta["function"]["arguments"]
            calls[-1] = {**calls[-1], "function": {**function, "arguments": arguments}}
    return calls


def _delta(piece: str | Json | Callable[[str], str | Json]) -> Json:
    assert not callable(piece)
    return {"content": piece} if isinstance(piece, str) else piece


def _usage_of(this: Reply) -> Json:
    return {} if this.usage is None else {"usage": this.usage}


class Pieces(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc, name-defined]
    """A body that comes in pieces; a piece may be an error to raise or a function to call."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = pieces
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece() if callable(piece) else piece

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def event(value: Any) -> bytes:
    """Return a JSON value as a server-sent event; half a character is escaped."""
    try:
        written = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        written = json.dumps(value).encode()
    return b"data: " + written + b"\n\n"


def chunk(content: str | None = None, finish_reason: str | None = None, *, index: int = 0, **fields: Any) -> bytes:
    """Return a chunk as it comes over the wire; further arguments are fields of the delta."""
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": {**delta, **fields}, "finish_reason": finish_reason}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


DONE = b"data: [DONE]\n\n"
LOST = http.ReadError("lost")
