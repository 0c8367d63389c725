"""
Reading a request body: what a server refuses, and how many tokens it grants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from .habits import Habits
from .response_kinds import KINDS

#: A JSON object that is only read: the body of a request, or a message in it.
Body: TypeAlias = Mapping[str, Any]
#: What a path answers: chat requests, text completions, or responses.
Endpoint: TypeAlias = Literal["chat", "text", "response"]

# https://deepinfra.com/docs/openapi: ChatCompletionsIn.max_tokens and n.
_MOST_TOKENS = 1_000_000
_MOST_CHOICES = 4
_MOST_STOPS = 16


# Habits.over_cap, but "pydantic".
_OVER_CAP = {
    "openai": (
        "max_tokens is too large: {asked}. This model supports at most {cap} completion tokens, whereas you provided "
        "{asked}."
    ),
    "deepseek": "Invalid max_tokens value, the valid range of max_tokens is [1, {cap}]",
    "between": "max_tokens (current value: {asked}) must be between 1 and {cap}",
    "nameless": "max_tokens参数非法。请检查文档。",
    "stream": "Requests with max_tokens > {cap} must have stream=true",
}


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the emulator
    """A request that the server answers with an error."""

    def __init__(self, message: str, *, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        #: The HTTP status of the answer, and its JSON body.
        self.status = 400
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": 400}}


class NotFound(Refused):
    """A request that names what the server does not have."""

    def __init__(self, message: str, *, kind: str, param: str) -> None:
        super().__init__(message, kind=kind, param=param)
        self.status = self.body["error"]["code"] = 404


class Invalid(Refused):
    """A body that fails validation. The answer is FastAPI's 422."""

    def __init__(self, where: Sequence[str | int], message: str, kind: str = "missing") -> None:
        super().__init__(message)
        self.status = 422
        self.body = {"detail": [{"type": kind, "loc": ["body", *where], "msg": message, "input": None}]}


class ContextOverflow(Refused):
    """Prompt and answer do not fit into the context."""


def endpoint_of(path: str) -> Endpoint:
    """Return the endpoint of a path."""
    if path.endswith("/responses"):
        return "response"
    return "chat" if path.endswith("/chat/completions") else "text"


def validated(raw: bytes, endpoint: Endpoint) -> dict[str, Any]:
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
    for name in ("model", "messages") if endpoint == "chat" else ("model",):
        if body.get(name) is None:
            raise Invalid([name], "Field required")
    if "continuation" in body:
        # The key of this library: its client should have removed it.
        msg = "Unknown field: continuation"
        raise Refused(msg, kind="invalid_request_error", param="continuation")
    if endpoint == "chat":
        _check_messages(body["messages"])
        _check_number(body, "top_logprobs", 0, 20)
    elif endpoint == "text":
        _check_prompt(body.get("prompt"))
        _check_number(body, "logprobs", 0, 20)
    else:
        _check_number(body, "top_logprobs", 0, 20)
    _check_number(body, "n", 1, _MOST_CHOICES)
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


def _check_prompt(value: object) -> None:
    """Refuse what is no prompt of a text completion. Raises ``Refused``."""
    if value is None or value == []:
        msg = "Either prompt or prompt_embeds must be provided and non-empty."
        raise Refused(msg, param="prompt")
    if not isinstance(value, str) and not _is_list(value, str) and not _is_list(value, int):
        lists = cast("Sequence[object]", value) if isinstance(value, list) else [value]
        if not all(one and _is_list(one, int) for one in lists):
            msg = "prompt must be a string, array of strings, array of tokens, or array of token arrays"
            raise Refused(msg, kind="invalid_request_error", param="prompt")


def _is_list(value: object, kind: type) -> bool:
    """Whether a value is a list of strings, or of integers."""
    if not isinstance(value, list):
        return False
    return all(isinstance(one, kind) and not isinstance(one, bool) for one in cast("Sequence[object]", value))


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


def granted_tokens(body: Body, prompt: int, *, cap: int, context: int, habits: Habits) -> int:
    """Return how many tokens the answer to a request may have, after a prompt of so many. Raises ``Refused``."""
    _check_options(body, habits)
    requested = requested_tokens(body, habits)
    _check_cap(body, requested, cap=cap, habits=habits)
    if habits.over_cap == "stream" and body.get("stream"):
        cap = context
    default = (habits.default_text_tokens if "prompt" in body else None) or habits.default_tokens
    return token_limit(requested, prompt, cap=cap, context=context, habits=habits, default=default)


def _check_options(body: Body, habits: Habits) -> None:
    """Refuse ``stream_options`` if this server does. Raises ``Refused``."""
    if habits.refuses_stream_options is None or body.get("stream_options") is None:
        return
    if habits.refuses_stream_options == 422:
        raise Invalid(["stream_options", "include_usage"], "Extra inputs are not permitted", "extra_forbidden")
    msg = "Extra parameters ['stream_options'] are not allowed when extra-parameters is not set or set to be 'error'."
    raise Refused(msg)


def _check_cap(body: Body, requested: int | None, *, cap: int, habits: Habits) -> None:
    """Refuse a request for more than ``cap`` tokens, if this server does. Raises ``Refused``."""
    if habits.over_cap is None or requested is None or requested <= cap:
        return
    if habits.over_cap == "pydantic":
        raise Invalid(["max_tokens"], f"Input should be less than or equal to {cap}", "less_than_equal")
    if habits.over_cap != "stream" or not body.get("stream"):
        raise Refused(_OVER_CAP[habits.over_cap].format(asked=requested, cap=cap), kind="invalid_request_error")


def token_limit(  # noqa: PLR0913 - all are given by name
    requested: int | None, prompt: int, *, cap: int, context: int, habits: Habits, default: int | None
) -> int:
    """
    Return how many tokens the answer may have.

    The cap is silent: a request for more tokens gets ``cap`` tokens. ``default`` is for a request without a limit. All
    numbers are tokens. Raises ``ContextOverflow`` with vLLM's messages.
    """
    room = context - prompt
    if habits.limit_field == "max_output_tokens":
        if KINDS[habits.responses].is_llama:
            return min(requested or cap, cap, _llama_room(room, context))
        _check_response_room(requested, room, context)
    _check_room(requested, room, context)
    if requested is None:
        return min(default or cap, cap, room)
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


def _llama_room(room: int, context: int) -> int:
    """Return the room for an answer of llama.cpp, which clamps any limit to it. Raises ``ContextOverflow``."""
    if room <= 0:
        msg = (
            f"request ({context - room} tokens) exceeds the available context size ({context} tokens), "
            "try increasing it"
        )
        raise ContextOverflow(msg, kind="exceed_context_size_error")
    return room


def _check_response_room(requested: int | None, room: int, context: int) -> None:
    """Refuse the same as ``_check_room()``, where vLLM has other words for it on ``/responses``."""
    if room == 0:
        msg = f"The engine prompt length {context} exceeds the max_model_len {context}. Please reduce prompt."
        raise ContextOverflow(msg, kind="invalid_request_error", param="input")
    if room > 0 and requested is not None and requested > context:
        msg = (
            f"max_output_tokens={requested} cannot be greater than max_model_len={context}. "
            f"Please request fewer output tokens. (parameter=max_output_tokens, value={requested})"
        )
        raise ContextOverflow(msg, param="max_output_tokens")


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
