"""A response that is made in advance and served from memory, so that only the client takes time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import openai

from tests.measure.bench.prepared import HTTPX, MODEL, WORDS, options_with
from tests.support.response_server import ResponseServer, Written


class PreparedResponse:
    """One answer that is not cut, whole and in blocks of events."""

    def __init__(self, tokens: int, per_block: int = 1) -> None:
        words = random.Random(tokens).choices(WORDS, k=tokens)
        self.tokens = tokens
        self.text = "".join(words)
        events = list(ResponseServer(Written(text=words)).events({"input": "x"}))
        written = [f"event: {event['type']}\ndata: {_json(event)}\n\n".encode() for event in events]
        self._body = _json(events[-1]["response"]).encode()
        self._blocks = [b"".join(written[place : place + per_block]) for place in range(0, len(written), per_block)]

    def client(self) -> Any:
        """Return a client of the SDK that gets this answer."""
        return openai.OpenAI(**options_with(HTTPX.Client(transport=HTTPX.MockTransport(self._respond))))

    def _respond(self, request: Any) -> Any:
        if b'"stream":true' in request.content:
            return HTTPX.Response(200, headers={"content-type": "text/event-stream"}, stream=_Stream(self._blocks))
        headers = {"content-type": "application/json"}
        return HTTPX.Response(200, headers=headers, stream=HTTPX.ByteStream(self._body))


class _Stream(HTTPX.SyncByteStream):  # type: ignore[misc]
    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._blocks


def one_response(client: Any) -> str:
    """Return the text of one whole response."""
    text: str = client.responses.create(model=MODEL, input="x").output_text
    return text


def one_response_stream(client: Any) -> str:
    """Return the text of one streamed response."""
    events = client.responses.create(model=MODEL, input="x", stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
