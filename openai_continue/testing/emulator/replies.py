"""
Replies as JSON: whole answers, and the events of a stream.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from .habits import Habits
from .model import Kind, Part, Reply

DONE = b"data: [DONE]\n\n"


class Event(NamedTuple):
    """One SSE event, and how many tokens were written for it."""

    data: bytes
    tokens: int = 0
    is_end: bool = False
    """It carries a finish reason, or comes behind those that do."""


def dump(value: object) -> bytes:
    """Write JSON as servers do: compact, and not escaping what UTF-8 can say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def event(value: object) -> bytes:
    """Write an SSE event."""
    return b"data: " + dump(value) + b"\n\n"


@lru_cache(maxsize=256)
def _dumped(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(dump(text) for text in texts)


@dataclass(frozen=True)
class Answer:
    """All choices of one response, and what the response says beside them."""

    replies: Sequence[Reply]
    echo: str
    """What the content repeats of the prefill."""
    misfiles: bool
    """Content goes into the reasoning field."""
    head: dict[str, Any]
    """The id and its like."""
    usage: dict[str, Any]
    habits: Habits
    top_logprobs: int | None
    """None: no logprobs at all."""

    def whole(self) -> dict[str, Any]:
        """Give the completion."""
        choices = [self._choice(index, reply) for index, reply in enumerate(self.replies)]
        body = {**self.head, "object": "chat.completion", "choices": choices}
        return body if self.habits.usage == "never" else {**body, "usage": self.usage}

    def _choice(self, index: int, reply: Reply) -> dict[str, Any]:
        content, reasoning = reply.text("content"), reply.text("reasoning")
        if content is not None:
            content = self.echo + content
        if self.misfiles:
            content, reasoning = None, content
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._field != "content" and (reasoning or self.misfiles):
            message[self._field] = reasoning
        arguments = reply.text("arguments")
        if arguments is not None:
            function = {"name": reply.turn.tool, "arguments": arguments}
            message["tool_calls"] = [{"id": reply.turn.call_id, "type": "function", "function": function}]
        entries = list(chain.from_iterable(map(self._logprobs, reply.parts)))
        logprobs = None if self.top_logprobs is None else {"content": entries}
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reply.finish}

    @property
    def _field(self) -> str:
        """The name of the reasoning field."""
        return self.habits.thinks if self.habits.thinks in {"reasoning", "reasoning_content"} else "content"

    def _logprobs(self, part: Part) -> list[dict[str, Any]]:
        if self.top_logprobs is None or part.kind != "content":
            return []
        return [_logprob(token, self.top_logprobs) for token in part.tokens]

    def events(self, chunk_tokens: int, *, usage_on_finish: bool, usage_behind: bool) -> Iterator[Event]:
        """Give the events of the stream but `[DONE]`, the choices taking turns."""
        streams = [self._events(index, reply, chunk_tokens) for index, reply in enumerate(self.replies)]
        while streams:
            for stream in list(streams):
                following = next(stream)
                if following.is_end:
                    streams.remove(stream)
                if following.is_end and not streams and usage_on_finish:
                    data = following.data[: -len(b"}\n\n")] + b',"usage":' + dump(self.usage) + b"}\n\n"
                    following = following._replace(data=data)
                yield following
        if usage_behind:
            chunk: dict[str, Any] = {
                **self.head,
                "object": "chat.completion.chunk",
                "choices": [],
                "usage": self.usage,
            }
            yield Event(event(chunk), is_end=True)

    def _events(self, index: int, reply: Reply, chunk_tokens: int) -> Iterator[Event]:
        head = event({**self.head, "object": "chat.completion.chunk", "choices": []})[: -len(b"]}\n\n")]
        head += b'{"index":%d,"delta":' % index
        yield Event(head + b'{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n')
        for piece in _split(self.echo, self.habits.echo_pieces):
            yield Event(head + b'{"content":%s},"logprobs":null,"finish_reason":null}]}\n\n' % dump(piece))
        end = b'"finish_reason":%s}]}\n\n' % dump(reply.finish)
        held: tuple[bytes, bytes, int] | None = None
        for following in self._deltas(reply, chunk_tokens):
            if held:
                yield Event(b'%s%s,"logprobs":%s,"finish_reason":null}]}\n\n' % (head, *held[:2]), held[2])
            held = following
        delta, logprobs, tokens = held or (b"{}", b"null", 0)
        if held and not (self.habits.finish_with_text and delta.startswith(b'{"content"')) and delta != b"{}":
            yield Event(b'%s%s,"logprobs":%s,"finish_reason":null}]}\n\n' % (head, delta, logprobs), tokens)
            delta, logprobs, tokens = b"{}", b"null", 0
        yield Event(b'%s%s,"logprobs":%s,%s' % (head, delta, logprobs, end), tokens, is_end=True)

    def _deltas(self, reply: Reply, chunk_tokens: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Give deltas with their logprobs and token counts; the last one may be empty, for tokens that show no text."""
        waiting = 0
        entries: list[dict[str, Any]] = []
        started = False
        for part in reply.parts:
            if part.kind == "arguments" and not started:
                started = True
                function = {"name": reply.turn.tool, "arguments": ""}
                call = {"index": 0, "id": reply.turn.call_id, "type": "function", "function": function}
                yield dump({"tool_calls": [call]}), b"null", waiting
                waiting = 0
            before, behind = self._wrapping(part.kind)
            quiet = not before
            for at, text in enumerate(_dumped(_grouped(part.texts, chunk_tokens))):
                size = min(chunk_tokens, len(part.tokens) - at * chunk_tokens)
                waiting += size
                if self.top_logprobs is not None and part.kind == "content":
                    written = part.tokens[at * chunk_tokens : at * chunk_tokens + size]
                    entries += [_logprob(token, self.top_logprobs) for token in written]
                if quiet or text == b'""':
                    continue
                yield before + text + behind, dump({"content": entries}) if entries else b"null", waiting
                waiting, entries = 0, []
        if waiting or entries:
            yield b"{}", dump({"content": entries}) if entries else b"null", waiting

    def _wrapping(self, kind: Kind) -> tuple[bytes, bytes]:
        if kind == "hidden":
            return b"", b""
        if kind == "arguments":
            return b'{"tool_calls":[{"index":0,"function":{"arguments":', b"}}]}"
        field = self._field if kind == "reasoning" or self.misfiles else "content"
        return b'{"%s":' % field.encode(), b"}"


def _grouped(texts: tuple[str, ...], size: int) -> tuple[str, ...]:
    if size == 1:
        return texts
    return tuple("".join(texts[at : at + size]) for at in range(0, len(texts), size))


def _split(text: str, pieces: int) -> list[str]:
    size = -(-len(text) // pieces) or 1
    return [text[at : at + size] for at in range(0, len(text), size)]


def _logprob(token: bytes, top: int) -> dict[str, Any]:
    value = -(zlib.crc32(token) % 1000) / 1000
    first = _top_logprob(token, value)
    others = [_top_logprob(f" other{rank}".encode(), value - rank) for rank in range(1, top)]
    return {**first, "top_logprobs": [first, *others][:top]}


def _top_logprob(token: bytes, value: float) -> dict[str, Any]:
    try:
        text = token.decode()
    except UnicodeDecodeError:
        # OpenAI's way of showing a token that is part of a character.
        text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
    return {"token": text, "logprob": value, "bytes": list(token)}
