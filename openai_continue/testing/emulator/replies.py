"""
What the responses of all endpoints have in common: a whole body, or the events of a stream.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypedDict, cast

from .checks import Body
from .faults import Kind
from .habits import Habits
from .model import Part, Reply
from .template import Prompt
from .tokens import tokenize
from .vocabulary import END, ids_of

DONE = b"data: [DONE]\n\n"
# What vLLM says when its engine dies.
DIED = {"message": "The engine died", "type": "InternalServerError", "param": None, "code": 500}
# What OpenRouter sets on a choice whose backend failed.
_CHOICE_ERROR = {"finish_reason": "error", "native_finish_reason": "error", "error": {"code": 502, "message": "Died"}}


def dump(value: object) -> bytes:
    """Return a value as the JSON of servers: compact, with nothing escaped that UTF-8 can encode."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def event(value: object) -> bytes:
    """Return a value as one SSE event."""
    return b"data: " + dump(value) + b"\n\n"


def said(finish: str, habits: Habits) -> str:
    """Return the finish reason that the server gives for one."""
    return habits.ends or finish if finish in {"stop", "length"} else finish


class StreamEvent(NamedTuple):
    """One event of a stream."""

    #: The bytes to send.
    data: bytes
    #: How many tokens the model wrote for it.
    tokens: int = 0
    #: Whether it carries a finish reason, or follows one.
    is_end: bool = False


class Piece(NamedTuple):
    """What one chunk says about one choice."""

    #: Its text, in the form of the endpoint.
    fields: dict[str, Any]
    logprobs: dict[str, Any] | None = None
    #: The tokens that the model wrote for it.
    tokens: tuple[bytes, ...] = ()
    finish: str | None = None


class Common(TypedDict):
    """The fields that every response gets in the same way."""

    replies: Sequence[Reply]
    body: Body
    prompts: Sequence[Prompt]
    usage: dict[str, Any]
    usage_on_finish: bool
    usage_after: bool
    habits: Habits


@dataclass(frozen=True)
class Response(ABC):
    """All choices of one response, and the fields beside them."""

    #: The replies to the first prompt, then those to the second one, ...
    replies: Sequence[Reply]
    #: The request, and its prompts.
    body: Body
    prompts: Sequence[Prompt]
    usage: dict[str, Any]
    #: Whether the usage is on the chunk with the last finish reason, and whether it is on a chunk of its own after it.
    usage_on_finish: bool
    usage_after: bool
    habits: Habits
    #: The fields of the response before its choices: ``id``, ``object``, ``created``, ``model``, ...
    head: dict[str, Any]

    #: Whether the token ids of a prompt are in its choices. If not, they are beside them.
    ids_in_choices: ClassVar[bool]

    @property
    @abstractmethod
    def finishes(self) -> tuple[str, ...]:
        """The finish reason of each choice."""

    @abstractmethod
    def blank(self) -> dict[str, Any]:
        """Return what a choice without any text has, in a stream or not."""

    @abstractmethod
    def choice(self, index: int) -> dict[str, Any]:
        """Return a choice of the whole answer."""

    @abstractmethod
    def pieces(self, index: int, chunk_tokens: int) -> Iterator[Piece]:
        """Return the pieces of one choice of a stream. The last one has the finish reason."""

    def prompt(self, index: int) -> Prompt:
        """Return the prompt of a choice."""
        return self.prompts[index * len(self.prompts) // len(self.replies)]

    def whole(self, fault: Kind | None = None) -> dict[str, Any]:
        """Return the whole answer, an object of the API, without what a fault removes."""
        body = self._whole()
        if fault == "empty":
            for choice in body["choices"]:
                choice.update(**self.blank(), finish_reason="length")
        elif fault == "choice_error":
            for choice in body["choices"]:
                choice.update(_CHOICE_ERROR)
        elif fault in {"no_choices", "null_choices"}:
            body["choices"] = [] if fault == "no_choices" else None
        return body

    def _whole(self) -> dict[str, Any]:
        choices = [{**self.choice(index), **self._stop(index)} for index in range(len(self.replies))]
        body = {**self.head, "choices": choices}
        if self.habits.usage != "never":
            body["usage"] = self.usage
        for index, choice in enumerate(choices) if self._wants_ids else ():
            parts = self.replies[index].parts
            choice["token_ids"] = self._written_ids(
                index, [token for part in parts for token in part.tokens], is_end=True
            )
            (choice if self.ids_in_choices else body)["prompt_token_ids"] = self._prompt_ids(index)
        return body

    def events(self, chunk_tokens: int) -> Iterator[StreamEvent]:
        """Return the events of the stream, ``chunk_tokens`` tokens each, except ``[DONE]``. The choices take turns."""
        running = {index: self.pieces(index, chunk_tokens) for index in range(len(self.replies))}
        # The choices whose prompts a chunk still has to show.
        unshown = set(running) if self.ids_in_choices else {0}
        while running:
            for index, pieces in list(running.items()):
                piece = next(pieces)
                if piece.finish is not None:
                    del running[index]
                choice = {"index": index, **piece.fields, "logprobs": piece.logprobs, "finish_reason": piece.finish}
                choice.update({} if piece.finish is None else self._stop(index))
                chunk = {**self.head, "choices": [choice]}
                if self._wants_ids:
                    choice["token_ids"] = self._written_ids(index, piece.tokens, is_end=piece.finish is not None)
                    if index in unshown:
                        (choice if self.ids_in_choices else chunk)["prompt_token_ids"] = self._prompt_ids(index)
                        unshown.remove(index)
                if self.usage_on_finish and not running:
                    chunk["usage"] = self.usage
                yield StreamEvent(event(chunk), len(piece.tokens), piece.finish is not None)
        if self.usage_after:
            yield StreamEvent(event({**self.head, "choices": [], "usage": self.usage}), is_end=True)

    @property
    def end(self) -> bytes:
        """The last event of the stream."""
        return DONE

    def spoilt_stream(self, fault: Kind | None) -> bytes | None:
        """Return all of a stream that has no text because of a fault, or None if there is no such fault."""
        blank = {"index": 0, **self.blank(), "logprobs": None, "finish_reason": "length"}
        choices: dict[Kind | None, list[object] | None] = {"empty": [blank], "no_choices": [], "null_choices": None}
        return event({**self.head, "choices": choices[fault]}) + DONE if fault in choices else None

    def failure(self, fault: Kind | None) -> bytes:
        """Return the event in which a stream ends because of a fault."""
        if fault == "choice_error":
            return event({**self.head, "choices": [{"index": 0, **self.blank(), **_CHOICE_ERROR}]}) + DONE
        return event({"error": DIED})

    def _stop(self, index: int) -> dict[str, Any]:
        """Return the field of a choice that names what ended it, if the server has one."""
        reply, name = self.replies[index], self.habits.names_stop
        ended = ids_of([END])[0] if reply.is_ended and name == "matched_stop" else reply.stop
        return {} if name is None else {name: ended}

    @property
    def _wants_ids(self) -> bool:
        return bool(self.body.get("return_token_ids"))

    def _written_ids(self, index: int, tokens: Sequence[bytes], *, is_end: bool) -> list[int]:
        """Return the ids of tokens that the model wrote. Like vLLM's, they have its end token."""
        return ids_of([*tokens, END] if is_end and self.replies[index].is_ended else tokens)

    def _prompt_ids(self, index: int) -> list[int]:
        """Return the ids of the prompt of a choice."""
        prompt = self.prompt(index)
        if prompt.ids is not None:
            return list(prompt.ids)
        return ids_of(tokenize(prompt.text, byte_fallback=self.habits.cut_characters is not None))


def common(
    body: Body, prompts: Sequence[Prompt], replies: Sequence[Reply], *, habits: Habits, cached_tokens: int
) -> Common:
    """Return the fields that the response to a request has on every endpoint."""
    options = cast("Body", body.get("stream_options") or {})
    reports = options.get("include_usage", habits.usage != "asked") is not False
    return Common(
        replies=replies,
        body=body,
        prompts=prompts,
        usage=_usage(sum(prompt.tokens for prompt in prompts), replies, habits, cached_tokens),
        usage_on_finish=reports and habits.usage in {"finish", "both", "zero"},
        usage_after=reports and habits.usage in {"trailing", "both", "asked"},
        habits=habits,
    )


def head(body: Body, kind: str, prefix: str) -> dict[str, Any]:
    """Return the fields of a response before its choices."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": "fp_emulator",
    }


def _usage(asked: int, replies: Sequence[Reply], habits: Habits, cached_tokens: int) -> dict[str, Any]:
    """Return what the server says about the tokens of a request. ``asked`` is those of its prompts."""
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
    reported = 0 if habits.miscounts == "zeros" else asked
    usage: dict[str, Any] = {
        "prompt_tokens": reported,
        "completion_tokens": said,
        "total_tokens": reported + said,
        "estimated_cost": round(asked * 4e-8 + completion * 1.2e-7, 10),
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    if habits.thinks:
        usage["completion_tokens_details"] = {"reasoning_tokens": 0 if habits.miscounts == "zeros" else thinking}
    return usage


def grouped(part: Part, size: int) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """Return the tokens of each chunk, and their text."""
    for at in range(0, len(part.tokens), size):
        yield part.tokens[at : at + size], "".join(part.texts[at : at + size])


def logprob_of(token: bytes) -> float:
    """Return the logarithm of the probability of a token: any number, but always the same."""
    return -(zlib.crc32(token) % 1000) / 1000


def token_text(token: bytes) -> str:
    """Return a token as logprobs show it."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        # OpenAI shows a token that is part of a character like this.
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
