"""
Requests for responses: the chat requests that servers make of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from .checks import Body, NotFound, Refused
from .habits import Habits
from .response_kinds import KINDS, ResponseKind

_OPEN = {"in_progress", "incomplete"}
_TEXT_PARTS = {"input_text", "output_text", "text", "reasoning_text", "summary_text"}


def response_habits(habits: Habits) -> Habits:
    """Return the habits of the chat endpoint behind ``/responses``."""
    kind = KINDS[habits.responses]
    return replace(
        habits,
        marker=None if kind.continues == "always" else "continue_final_message",
        strict_marker=False,
        limit_field="max_output_tokens",
        overflow=habits.overflow or kind.overflow,
        echo="unflagged" if kind.is_llama else None,
    )


def as_chat(body: Body, habits: Habits, stored: Mapping[str, Sequence[Body]]) -> dict[str, Any]:
    """
    Return the chat request that a server makes of a request for a response. ``stored``: the items of earlier responses.

    Raises ``Refused`` if the server would refuse it.
    """
    kind = KINDS[habits.responses]
    _check(body, kind)
    read = {name: value for name, value in body.items() if name not in kind.ignores and value is not None}
    earlier = _earlier(body.get("previous_response_id"), kind, stored)
    items = [*earlier, *input_items(body)]
    wanted = cast("Body", cast("Body", read.get("text") or {}).get("format") or {})
    effort = cast("Body", read.get("reasoning") or {}).get("effort")
    switched = {} if effort is None else {"enable_thinking": effort != "none"}
    same = ("model", "stream", "seed", "stop", "temperature", "tool_choice", "parallel_tool_calls")
    chat: dict[str, Any] = {
        **{name: read[name] for name in (*same, *_kept_stop(habits)) if name in read},
        "chat_template_kwargs": {**switched, **cast("Body", read.get("chat_template_kwargs") or {})},
        "messages": _messages(read.get("instructions"), items, kind),
        "max_output_tokens": read.get("max_output_tokens"),
        "tools": _chat_tools(read.get("tools", []), kind),
        "reasoning_effort": effort,
        "response_format": {"type": wanted["type"]} if wanted else None,
        "logprobs": "message.output_text.logprobs" in cast("Sequence[str]", read.get("include") or ()),
        "top_logprobs": read.get("top_logprobs"),
    }
    if kind.is_llama:
        chat.update({name: read.get(name) for name in ("continue_final_message", "add_generation_prompt")})
        _check_flags(read)
    elif _is_continued(read, items, kind):
        chat.update(continue_final_message=True, add_generation_prompt=False)
    return {name: value for name, value in chat.items() if value is not None}


def input_items(body: Body) -> list[Body]:
    """Return the input of a request as a list of items."""
    given: object = body["input"]
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(cast("Sequence[Body]", given))


def _kept_stop(habits: Habits) -> tuple[str, ...]:
    return (habits.keeps_stops,) if habits.keeps_stops else ()


def _check(body: Body, kind: ResponseKind) -> None:
    """Refuse what no server of this kind takes. Raises ``Refused``."""
    given: object = body.get("input")
    if not isinstance(given, str):
        _objects(given or None, "'input' must be a string or array of objects", "input")
    for name in ("text", "reasoning", "chat_template_kwargs"):
        if not isinstance(body.get(name) or {}, Mapping):
            msg = f"Input should be a valid dictionary: {name}"
            raise _bad(msg, name)
    if kind.refuses_background and body.get("background"):
        msg = "background can only be used when `store` is true"
        if body.get("store", True):
            msg = (
                "This vLLM engine does not support `store=True` and therefore does not support the background mode. To "
                "enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when "
                "launching the vLLM server."
            )
        raise _bad(msg, "background")
    if body.get("tool_choice") == "required" and not body.get("tools"):
        msg = "Tool choice 'required' must be specified with 'tools' parameter."
        raise _bad(msg, "tool_choice")


def _check_flags(body: Body) -> None:
    """Refuse llama.cpp's two flags if they contradict each other. Raises ``Refused``."""
    if body.get("continue_final_message") and body.get("add_generation_prompt", True):
        msg = "Cannot set both add_generation_prompt and continue_final_message to true."
        raise _bad(msg)


def _earlier(name: object, kind: ResponseKind, stored: Mapping[str, Sequence[Body]]) -> Sequence[Body]:
    """Return the items of the response that a request goes on from. Raises ``Refused``."""
    if not name or kind.previous == "ignored":
        return ()
    if kind.previous == "refused":
        msg = "llama.cpp does not support 'previous_response_id'."
        raise _bad(msg)
    if kind.previous == "unknown" or name not in stored:
        msg = f"Response with id '{name}' not found."
        raise NotFound(msg, kind="invalid_request_error", param="response_id")
    return stored[str(name)]


def _is_continued(body: Body, items: Sequence[Body], kind: ResponseKind) -> bool:
    """Whether the last item is the beginning of the answer."""
    last = items[-1]
    if kind.continues == "status":
        return last.get("type", "message") in {"message", "reasoning"} and last.get("status") in _OPEN
    return kind.continues == "flag" and last.get("role") == "assistant" and body.get("continue_final_message") is True


def _messages(instructions: object, items: Sequence[Body], kind: ResponseKind) -> list[dict[str, Any]]:
    """Return the messages of a chat. Thoughts, text and calls in a row are one message of the assistant."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        message = _message(item, kind)
        last = messages[-1] if messages else {}
        name = next(name for name in ("tool_calls", "reasoning", "content") if name in message)
        if message["role"] != "assistant" or last.get("role") != "assistant":
            messages.append(message)
        elif name == "tool_calls":
            last["tool_calls"] = [*last.get("tool_calls", ()), *message["tool_calls"]]
        elif last.get(name) is None:
            last[name] = message[name]
        else:
            messages.append(message)
    if kind.is_llama and messages[-1].get("tool_calls"):
        msg = "Cannot continue an assistant message that contains tool calls."
        raise _bad(msg)
    return messages


def _message(item: Body, kind: ResponseKind) -> dict[str, Any]:
    """Return one item as a message of a chat. Raises ``Refused``."""
    name = item.get("type", "message")
    if name == "reasoning":
        return {"role": "assistant", "reasoning": _thoughts(item, kind)}
    if name == "function_call":
        function = {"name": _string(item, "name"), "arguments": _string(item, "arguments")}
        return {
            "role": "assistant",
            "tool_calls": [{"id": _string(item, "call_id"), "type": "function", "function": function}],
        }
    if name == "function_call_output":
        return {"role": "tool", "content": _text(item.get("output")), "tool_call_id": _string(item, "call_id")}
    if name != "message" or (kind.is_llama and "type" not in item and item.get("role") == "assistant"):
        msg = "Cannot determine type of 'item'" if kind.is_llama else f"Unsupported input item type: {name}"
        raise _bad(msg, "input")
    role, content = _string(item, "role"), item.get("content")
    if kind.reads_one_part and role == "assistant" and isinstance(content, list):
        content = cast("list[object]", content)[:1]
    return {"role": role, "content": _text(content)}


def _thoughts(item: Body, kind: ResponseKind) -> str:
    """Return the thoughts of a reasoning item: its content, else its summary. Raises ``Refused``."""
    if kind.thoughts == "summary":
        return str(item.get("encrypted_content") or "")
    if item.get("encrypted_content"):
        msg = "Encrypted content is not supported."
        raise _bad(msg, "input")
    summary, content = item.get("summary"), item.get("content")
    if not isinstance(summary, list) or (kind.is_llama and not content):
        msg = "item['content'] is not an array" if kind.is_llama else "Field required: summary"
        raise _bad(msg, "input")
    return _text(cast("list[object]", content or summary)[:1])


def _text(content: object) -> str:
    """Return the text of a content: a string, or a list of parts. Raises ``Refused``."""
    if isinstance(content, str):
        return content
    parts = _objects(content, "Input should be a valid string or a list of parts: content", "input")
    if not all(isinstance(part.get("text"), str) and part.get("type") in _TEXT_PARTS for part in parts):
        msg = "'type' must be one of 'input_text', 'output_text', with a 'text'"
        raise _bad(msg, "input")
    return "".join(str(part["text"]) for part in parts)


def _string(item: Body, name: str, param: str = "input") -> str:
    value = item.get(name)
    if not isinstance(value, str):
        msg = f"Input should be a valid string: {name}"
        raise _bad(msg, param)
    return value


def _chat_tools(tools: object, kind: ResponseKind) -> list[Body]:
    """Return tools in the form of a chat request. Raises ``Refused``."""
    functions: list[Body] = []
    for tool in _objects(tools, "'tools' must be an array of objects", "tools"):
        if tool.get("type") != "function":
            msg = "'type' of tool must be 'function'" if kind.is_llama else f"Unsupported tool type: {tool.get('type')}"
            raise _bad(msg, "tools")
        _string(tool, "name", "tools")
        functions.append({name: value for name, value in tool.items() if name != "type"})
    return [{"type": "function", "function": function} for function in functions]


def _objects(value: object, message: str, param: str) -> list[Body]:
    """Return a list of objects. Raises ``Refused``, with this message, if the value is none."""
    given = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(one, Mapping) for one in given):
        raise _bad(message, param)
    return cast("list[Body]", given)


def _bad(message: str, param: str | None = None) -> Refused:
    return Refused(message, kind="invalid_request_error", param=param)
