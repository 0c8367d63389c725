"""
The replies of the model as JSON: a whole answer, or the events of a stream.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from .checks import Body
from .habits import Habits
from .model import Part, PartKind, Reply
from .parsing import Reading
from .template import Prompt

DONE = b"data: [DONE]\n\n"


def dump(value: object) -> bytes:
    """Return a value as the JSON of servers: compact, with nothing escaped that UTF-8 can encode."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def event(value: object) -> bytes:
    """Return a value as one SSE event."""
    return b"data: " + dump(value) + b"\n\n"


class StreamEvent(NamedTuple):
    """One event of a stream."""

    #: The bytes to send.
    data: bytes
    #: How many tokens the model wrote for it.
    tokens: int = 0
    #: Whether it carries a finish reason, or follows one.
    is_end: bool = False


class _Piece(NamedTuple):
    """What one chunk says about one choice."""

    delta: dict[str, Any]
    logprobs: dict[str, Any] | None = None
    #: How many tokens the model wrote for it.
    tokens: int = 0
    finish: str | None = None


@dataclass(frozen=True)
class Completion:
    """All choices of one response, and the fields beside them."""

    replies: Sequence[Reply]
    #: The request, and its prompt.
    body: Body
    prompt: Prompt
    #: The copy of the prefill that the content begins with.
    echo: str
    #: Whether the content goes into the reasoning field.
    misfiles: bool
    #: The fields of the response before its choices: ``id``, ``object``, ``created``, ``model``, ...
    head: dict[str, Any]
    usage: dict[str, Any]
    #: Whether the usage is on the chunk with the last finish reason, and whether it is on a chunk of its own after it.
    usage_on_finish: bool
    usage_after: bool
    habits: Habits
    #: How many alternatives each token has in the logprobs; None if there are no logprobs.
    top_logprobs: int | None

    def whole(self) -> dict[str, Any]:
        """Return the whole answer, an object of the API's form ``chat.completion``."""
        choices = [self._choice(index, reply) for index, reply in enumerate(self.replies)]
        body = {**self.head, "choices": choices}
        return body if self.habits.usage == "never" else {**body, "usage": self.usage}

    def _choice(self, index: int, reply: Reply) -> dict[str, Any]:
        content, reasoning = reply.text("content"), reply.text("reasoning")
        reading = self._reading(reply)
        raw, calls = reading.whole()
        if raw:
            content = (content or "") + raw
        if reading.echo is not None:
            content = reading.echo or None
        elif content is not None:
            content = self.echo + content
        if self.misfiles:
            content, reasoning = None, content
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._field != "content" and (reasoning or self.misfiles):
            message[self._field] = reasoning
        if calls:
            message["tool_calls"] = calls
        entries = [entry for part in reply.parts for entry in self._logprobs(part.kind, part.tokens)]
        logprobs = None if self.top_logprobs is None else {"content": entries}
        finish = reading.finish
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def _reading(self, reply: Reply) -> Reading:
        return Reading(reply, self.body, self.prompt, self.habits)

    @property
    def finishes(self) -> tuple[str, ...]:
        """The finish reason of each choice."""
        return tuple(self._reading(reply).finish for reply in self.replies)

    @property
    def _field(self) -> str:
        """The name of the field for thoughts."""
        return self.habits.thinks if self.habits.thinks in {"reasoning", "reasoning_content"} else "content"

    def _logprobs(self, kind: PartKind, tokens: Sequence[bytes]) -> list[dict[str, Any]]:
        if self.top_logprobs is None or kind != "content":
            return []
        return [_logprob(token, self.top_logprobs) for token in tokens]

    def events(self, chunk_tokens: int) -> Iterator[StreamEvent]:
        """Return the events of the stream, ``chunk_tokens`` tokens each, except ``[DONE]``. The choices take turns."""
        running = {index: self._pieces(reply, chunk_tokens) for index, reply in enumerate(self.replies)}
        while running:
            for index, pieces in list(running.items()):
                piece = next(pieces)
                if piece.finish is not None:
                    del running[index]
                choice = {"index": index, "delta": piece.delta, "logprobs": piece.logprobs}
                chunk = {**self.head, "choices": [{**choice, "finish_reason": piece.finish}]}
                if self.usage_on_finish and not running:
                    chunk["usage"] = self.usage
                yield StreamEvent(event(chunk), piece.tokens, piece.finish is not None)
        if self.usage_after:
            yield StreamEvent(event({**self.head, "choices": [], "usage": self.usage}), is_end=True)

    def _pieces(self, reply: Reply, chunk_tokens: int) -> Iterator[_Piece]:
        """Return the pieces of one choice. The last one has the finish reason."""
        yield _Piece({"role": "assistant", "content": ""})
        reading = self._reading(reply)
        for text in _split(self.echo if reading.echo is None else "", self.habits.echo_pieces):
            yield _Piece({"content": text})
        last = _Piece({})
        for piece in self._written(reply, reading, chunk_tokens):
            if last.delta:
                yield last
            last = piece
        if last.delta and not (self.habits.finish_with_text and "content" in last.delta):
            yield last
            last = _Piece({})
        yield last._replace(finish=reading.finish)

    def _written(self, reply: Reply, reading: Reading, chunk_tokens: int) -> Iterator[_Piece]:
        """Return the pieces that the model wrote. The last one has an empty delta if its tokens show no text."""
        waiting = 0
        entries: list[dict[str, Any]] = []
        for part in reply.parts:
            for tokens, text in _grouped(part, chunk_tokens):
                waiting += len(tokens)
                entries += self._logprobs(part.kind, tokens)
                for delta in self._deltas(part.kind, text, reading):
                    yield _Piece(delta, {"content": entries} if entries else None, waiting)
                    waiting, entries = 0, []
        for delta in reading.deltas("", is_last=True):
            yield _Piece(delta, None, waiting)
            waiting = 0
        if waiting or entries:
            yield _Piece({}, {"content": entries} if entries else None, waiting)

    def _deltas(self, kind: PartKind, text: str, reading: Reading) -> Iterator[dict[str, Any]]:
        """Return what a stream shows for some tokens."""
        if kind == "calls":
            for delta in reading.deltas(text):
                yield self._delta("content", delta["content"]) if "content" in delta else delta
        elif kind != "hidden" and text:
            yield self._delta(kind, text)

    def _delta(self, kind: PartKind, text: str) -> dict[str, Any]:
        return {self._field if kind == "reasoning" or self.misfiles else "content": text}


def compose(body: Body, prompt: Prompt, replies: Sequence[Reply], *, habits: Habits, cached_tokens: int) -> Completion:
    """
    Return the response to a request that the model answers with ``replies``.

    ``cached_tokens`` is what its usage reports as the cached part of the prompt.
    """
    streamed = bool(body.get("stream"))
    options = cast("Body", body.get("stream_options") or {})
    reports = options.get("include_usage", habits.usage != "asked") is not False
    return Completion(
        replies=replies,
        body=body,
        prompt=prompt,
        echo=prompt.prefill if _echoes(body, prompt, habits) else "",
        misfiles=_misfiles(prompt, replies, habits, streamed=streamed),
        head={
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk" if streamed else "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "system_fingerprint": "fp_emulator",
        },
        usage=_usage(prompt, replies, habits, cached_tokens),
        usage_on_finish=reports and habits.usage in {"finish", "both", "zero"},
        usage_after=reports and habits.usage in {"trailing", "both", "asked"},
        habits=habits,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def _echoes(body: Body, prompt: Prompt, habits: Habits) -> bool:
    streamed = bool(body.get("stream"))
    echoes = {
        None: False,
        "always": True,
        "whole": not streamed,
        "unflagged": not (streamed and body.get("continue_final_message")),
    }
    last = cast("Body", body["messages"][-1])
    return prompt.is_continued and echoes[habits.echo] and last["role"] == "assistant"


def _misfiles(prompt: Prompt, replies: Sequence[Reply], habits: Habits, *, streamed: bool) -> bool:
    # A parser that waits for the end of a think block takes a continued answer without one for thoughts.
    is_answer = prompt.is_continued and all(reply.reasoning_tokens == 0 for reply in replies)
    return is_answer and (habits.misfiles == "both" or (habits.misfiles == "whole" and not streamed))


def _usage(prompt: Prompt, replies: Sequence[Reply], habits: Habits, cached_tokens: int) -> dict[str, Any]:
    if habits.usage == "zero":
        return dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    completion = sum(reply.completion_tokens for reply in replies)
    thinking = sum(reply.reasoning_tokens for reply in replies)
    said = {
        None: completion,
        "zeros": 0,
        "without_thoughts": completion - thinking,
        "half": completion // 2,
        "double": completion * 2,
    }[habits.miscounts]
    asked = 0 if habits.miscounts == "zeros" else prompt.tokens
    usage: dict[str, Any] = {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "estimated_cost": round(prompt.tokens * 4e-8 + completion * 1.2e-7, 10),
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    if habits.thinks:
        usage["completion_tokens_details"] = {"reasoning_tokens": 0 if habits.miscounts == "zeros" else thinking}
    return usage


def _grouped(part: Part, size: int) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """Return the tokens of each chunk, and their text."""
    for at in range(0, len(part.tokens), size):
        yield part.tokens[at : at + size], "".join(part.texts[at : at + size])


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
        # OpenAI shows a token that is part of a character like this.
        text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
    return {"token": text, "logprob": value, "bytes": list(token)}
