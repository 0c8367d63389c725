"""An answer in rounds that is made in advance and served from memory, so that only the client takes time."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import openai

MODEL = "deepseek-ai/DeepSeek-V3.2"
# httpx or httpx2: the SDK is built on one of them.
HTTPX: Any = next(
    sys.modules[kind.__module__.partition(".")[0]]
    for kind in openai.DefaultHttpxClient.__mro__
    if kind.__module__.startswith("httpx")
)
# About 4.5 characters a token, as in English.
WORDS = (" the", " answer", " of", " a", " model", " is", " cut", " at", " its", " longest", " output", ",", " and")


class Prepared:
    """The responses of all rounds: bodies of whole ones, blocks of streamed ones, as a network brings them."""

    def __init__(
        self,
        rounds: int,
        tokens: int,
        *,
        per_chunk: int = 1,
        per_block: int = 8,
        reason_first: bool = False,
        echoes: bool = False,
    ) -> None:
        """
        Make ``rounds`` rounds of ``tokens`` tokens, in chunks of ``per_chunk`` tokens and blocks of ``per_block`` chunks.

        ``reason_first``: whether the ``finish_reason`` stands before the text of a whole answer. ``echoes``: whether a
        streamed round begins with the text so far.
        """
        self.tokens = rounds * tokens
        # Two rounds never begin alike, because that looks like an answer that begins again.
        words = random.Random(tokens)
        texts = [
            ["".join(words.choices(WORDS, k=per_chunk)) for _ in range(tokens // per_chunk)] for _ in range(rounds)
        ]
        self.text = "".join("".join(pieces) for pieces in texts)
        ends = ["length"] * (rounds - 1) + ["stop"]
        self.bodies = [
            _whole(number, "".join(texts[number]), tokens, end, reason_first=reason_first)
            for number, end in enumerate(ends)
        ]
        streamed = [list(chain.from_iterable(texts[: number + 1])) for number in range(rounds)] if echoes else texts
        self.blocks = [
            list(_blocks(number, streamed[number], tokens, end, per_block)) for number, end in enumerate(ends)
        ]
        # The size of a request shows how much of the text it sends back, and so which round it asks for.
        self._sizes = list(accumulate(sum(map(len, text)) for text in texts[:-1]))
        #: CPU seconds between the last byte of a round and the next request.
        self.gaps: list[float] = []
        self._ended = 0.0

    def client(self) -> Any:
        """Return a client of the SDK that gets this answer."""
        return openai.OpenAI(**options_with(HTTPX.Client(transport=HTTPX.MockTransport(self._respond))))

    def async_client(self) -> Any:
        """Return an async client of the SDK that gets this answer."""
        return openai.AsyncOpenAI(**options_with(HTTPX.AsyncClient(transport=HTTPX.MockTransport(self._respond))))

    def since_end(self) -> float:
        """Return the CPU seconds since the last byte of a round."""
        return time.process_time() - self._ended

    def end(self) -> None:
        """Note that the last byte of a round is about to be read."""
        self._ended = time.process_time()

    def _respond(self, request: Any) -> Any:
        if self._ended:
            self.gaps.append(self.since_end())
        number = bisect_right(self._sizes, len(request.content))
        if b'"stream":true' not in request.content and b'"stream": true' not in request.content:
            headers = {"content-type": "application/json"}
            return HTTPX.Response(200, headers=headers, stream=HTTPX.ByteStream(self.bodies[number]))
        stream = _Stream(self.blocks[number], self)
        return HTTPX.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


class _Stream(HTTPX.SyncByteStream, HTTPX.AsyncByteStream):  # type: ignore[misc]
    """The blocks of a streamed round."""

    def __init__(self, blocks: list[bytes], answer: Prepared) -> None:
        self._blocks, self._answer = blocks, answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._blocks[:-1]
        self._answer.end()
        yield self._blocks[-1]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            await asyncio.sleep(0)
            yield block


def options_with(http_client: Any) -> dict[str, Any]:
    return {"api_key": "none", "base_url": "https://api.deepinfra.com/v1/openai", "http_client": http_client}


def _head(number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number:032x}", "object": kind, "created": 1_760_000_000 + number, "model": MODEL}


def _usage(number: int, tokens: int) -> dict[str, Any]:
    prompt = 12 + number * tokens
    counts = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    return {**counts, "prompt_tokens_details": None, "estimated_cost": 0.0042}


def _whole(number: int, text: str, tokens: int, end: str, *, reason_first: bool) -> bytes:
    message = {"role": "assistant", "content": text, "reasoning_content": None, "name": None, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
    if reason_first:
        # As some servers sort them.
        choice = {name: choice[name] for name in sorted(choice)}
    return _json({**_head(number, "chat.completion"), "choices": [choice], "usage": _usage(number, tokens)})


def _blocks(number: int, pieces: Sequence[str], tokens: int, end: str, size: int) -> Iterator[bytes]:
    head = _head(number, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return b"data: " + _json({**head, "choices": [choice], **more}) + b"\n\n"

    events = [event({"role": "assistant", "content": ""}), *(event({"content": piece}) for piece in pieces)]
    for place in range(0, len(events), size):
        yield b"".join(events[place : place + size])
    yield event({}, end, usage=_usage(number, tokens)) + b"data: [DONE]\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
