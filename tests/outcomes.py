"""What a caller gets, in a form that can be compared; and servers that send what they are told to, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.conftest import http, settled


@dataclass
class Outcome:
    """What a caller gets."""

    text: str = ""
    finish_reason: str | None = None
    report: dict[str, Any] | None = None
    error: Any = None
    #: The completion, or the chunks.
    raw: Any = None

    @property
    def kind(self) -> tuple[str, str | None]:
        """The error in a form that can be compared."""
        return type(self.error).__name__, None if self.error is None else str(self.error)

    @property
    def stopped_by(self) -> str | None:
        return None if self.report is None else self.report["stopped_by"]


async def outcome(client: Any, *, streamed: bool, **body: Any) -> Outcome:
    """Ask, and note what comes of it."""
    seen = Outcome(raw=[])
    try:
        made = await settled(client.chat.completions.create(**body, stream=streamed))
        if streamed:
            await _read(made, seen)
        else:
            seen.raw = made
            seen.report = getattr(made, "continuation", None)
            seen.text, seen.finish_reason = made.choices[0].message.content, made.choices[0].finish_reason
    except Exception as error:
        seen.error = error
    return seen


async def _read(stream: Any, seen: Outcome) -> None:
    def take(chunk: Any) -> None:
        seen.raw.append(chunk)
        seen.text += "".join(text for text in _texts(chunk) if isinstance(text, str))
        seen.report = getattr(chunk, "continuation", None)
        for choice in chunk.choices:
            seen.finish_reason = choice.finish_reason or seen.finish_reason

    if hasattr(stream, "__aiter__"):
        async for chunk in stream:
            take(chunk)
    else:
        for chunk in stream:
            take(chunk)


class Pieces(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc, name-defined]
    """A body that comes in pieces, one of which may be an error or something to do."""

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


class Script(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """A server that answers each request with the next body."""

    def __init__(self, *bodies: Iterable[Any]) -> None:
        self._bodies = iter(bodies)
        self.seen: list[dict[str, Any]] = []
        self.streams: list[Pieces] = []

    def handle_request(self, request: Any) -> Any:
        self.seen.append(json.loads(request.content))
        body = next(self._bodies, None)
        if body is None:
            msg = "no further request was expected"
            raise http.ConnectError(msg)
        self.streams.append(Pieces(body))
        return http.Response(200, headers={"x-request-id": f"req-{len(self.seen)}"}, stream=self.streams[-1])

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        return self.handle_request(request)

    @property
    def sent_back(self) -> list[Any]:
        """What of the answer went back with each further request."""
        return [body["messages"][-1]["content"] for body in self.seen[1:]]


def _texts(chunk: Any) -> list[Any]:
    """Give the texts of a chunk's first choice, which a bad server may make of anything."""
    return [choice.delta.content for choice in chunk.choices if choice.index == 0]


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(content: str | None = None, finish_reason: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    """Make a chunk as it comes over the wire."""
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": {**delta, **more}, "finish_reason": finish_reason}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


DONE = b"data: [DONE]\n\n"
LOST = http.ReadError("lost")
