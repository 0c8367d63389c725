"""
Reading a request body: what a server refuses, and how many tokens it grants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from .habits import Habits

#: A JSON object that is only read: the body of a request, or a message in it.
Body: TypeAlias = Mapping[str, Any]

# https://deepinfra.com/docs/openapi: ChatCompletionsIn.max_tokens and n.
_MOST_TOKENS = 1_000_000
_MOST_CHOICES = 4
_MOST_STOPS = 16


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the emulator
    """A request that the server answers with an error."""

    def __init__(self, message: str, *, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        #: The HTTP status of the answer, and its JSON body.
        self.status = 400
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": 400}}


class Invalid(Refused):
    """A body that fails validation. The answer is FastAPI's 422."""

    def __init__(self, where: Sequence[str | int], message: str, kind: str = "missing") -> None:
        super().__init__(message)
        self.status = 422
        self.body = {"detail": [{"type": kind, "loc": ["body", *where], "msg": message, "input": None}]}


class ContextOverflow(Refused):
    """Prompt and answer do not fit into the context."""


def validated(raw: bytes) -> dict[str, Any]:
    """Return the body of a request as an object. Raises ``Refused`` if a server would not take it."""
    try:
        read: Any = json.loads(raw)
    except ValueError:
        raise Invalid([0], "JSON decode error", "json_invalid") from None
    if not isinstance(read, dict):
        raise Invalid(
            [], "Input should be a valid dictionary or object to extract fields from", "model_attributes_type"
        )
    body = cast("dict[str, Any]", read)
    for name in ("model", "messages"):
        if body.get(name) is None:
            raise Invalid([name], "Field required")
    if "continuation" in body:
        # The key of this library: its client should have removed it.
        msg = "Unknown field: continuation"
        raise Refused(msg, kind="invalid_request_error", param="continuation")
    _check_messages(body["messages"])
    _check_number(body, "n", 1, _MOST_CHOICES)
    _check_number(body, "top_logprobs", 0, 20)
    if len(stop_strings(body)) > _MOST_STOPS:
        raise Invalid(["stop"], f"List should have at most {_MOST_STOPS} items after validation", "too_long")
    return body


def _check_messages(value: object) -> None:
    if not isinstance(value, list):
        raise Invalid(["messages"], "Input should be a valid list", "list_type")
    if not value:
        raise Invalid(["messages"], "List should have at least 1 item after validation, not 0", "too_short")
    for at, message in enumerate(cast("Sequence[object]", value)):
        if not isinstance(message, Mapping) or not isinstance(cast("Body", message).get("role"), str):
            raise Invalid(["messages", at, "role"], "Field required")
        if not isinstance(cast("Body", message).get("content"), str | list | None):
            raise Invalid(["messages", at, "content"], "Input should be a valid string", "string_type")


def _check_number(body: Body, name: str, least: int, most: int) -> None:
    value: Any = body.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid([name], "Input should be a valid integer", "int_type")
    if value < least:
        raise Invalid([name], f"Input should be greater than or equal to {least}", "greater_than_equal")
    if value > most:
        raise Invalid([name], f"Input should be less than or equal to {most}", "less_than_equal")


def stop_strings(body: Body) -> list[str]:
    """Return the stop strings of a request: none, one or several."""
    stop: Any = body.get("stop")
    return [stop] if isinstance(stop, str) else list(cast("Sequence[str]", stop or ()))


def requested_tokens(body: Body, habits: Habits) -> int | None:
    """
    Return the token limit of a request, or None if it has none in a field that the server reads.

    Raises ``Refused`` if the limit is no positive integer or too large.
    """
    names = ("max_completion_tokens", "max_tokens") if habits.limit_field == "both" else (habits.limit_field,)
    for name in names:
        value: Any = body.get(name)
        if value is None:
            continue
        if isinstance(value, int) and value <= 0:
            msg = f"max_tokens must be at least 1, got {value}. (parameter=max_tokens, value={value})"
            raise Refused(msg, param="max_tokens")
        _check_number(body, name, 1, _MOST_TOKENS)
        return cast("int", value)
    return None


def token_limit(requested: int | None, prompt: int, *, cap: int, context: int, habits: Habits) -> int:
    """
    Return how many tokens the answer may have.

    The cap is silent: a request for more tokens is not refused, but it gets ``cap`` tokens. All numbers are tokens.
    Raises ``ContextOverflow`` with vLLM's messages.
    """
    room = context - prompt
    _check_room(requested, room, context)
    if requested is None:
        return min(habits.default_tokens or cap, cap, room)
    if requested > room and habits.overflow != "clamp":
        # vLLM stops reading a prompt that is one token too long, so it can only say "at least".
        least = context - requested + 1
        msg = (
            f"This model's maximum context length is {context} tokens. However, you requested {requested} output "
            f"tokens and your prompt contains at least {least} input tokens, for a total of at least {context + 1} "
            "tokens. Please reduce the length of the input prompt or the number of requested output tokens. "
            f"(parameter=input_tokens, value={least})"
        )
        raise ContextOverflow(msg, param="input_tokens")
    return min(requested, cap, room)


def _check_room(requested: int | None, room: int, context: int) -> None:
    """Refuse what no server clamps: a prompt that fills the context, or a limit larger than the context."""
    if room < 0:
        msg = (
            f"This model's maximum context length is {context} tokens. However, your prompt contains at least "
            f"{context + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            f"length of the input prompt. (parameter=input_tokens, value={context + 1})"
        )
        raise ContextOverflow(msg, param="input_tokens")
    if room == 0:
        msg = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
        raise ContextOverflow(msg, param="max_tokens")
    if requested is not None and requested > context:
        msg = (
            f"max_tokens={requested} cannot be greater than max_model_len={context}. "
            f"Please request fewer output tokens. (parameter=max_tokens, value={requested})"
        )
        raise ContextOverflow(msg, param="max_tokens")
