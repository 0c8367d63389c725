"""The chat that a request for a response is, for a chat template: messages, tools, and the fields that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..calls.calls import calls_in
from ..json import Json, as_object, as_string
from .response_items import call_of, listed

# Fields that ``/completions`` does not have, or has in another form.
_OF_RESPONSE = frozenset(
    (
        *("input", "instructions", "text", "include", "store", "previous_response_id", "truncation", "background"),
        *("metadata", "reasoning", "max_tool_calls", "max_output_tokens", "stream_options", "prompt_cache_key"),
        *("safety_identifier", "service_tier", "include_reasoning", "enable_response_messages"),
    )
)


def chat_of(body: Mapping[str, Any]) -> Json | None:
    """Return the body of the chat that this request is; None if it has what no message has, or a stored beginning."""
    messages: list[Json] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    for item in listed(body.get("messages")):
        message = _message(item)
        if message is None or body.get("previous_response_id"):
            return None
        calls, last = calls_in(message), messages[-1] if messages else {}
        if calls and last.get("role") == "assistant":
            # Servers put calls that follow each other, or a text, into one message.
            messages[-1] = {**last, "tool_calls": [*calls_in(last), *calls]}
        else:
            messages.append(message)
    chat: Json = {name: value for name, value in body.items() if name not in _OF_RESPONSE}
    tools = [{"type": "function", "function": _without_type(tool)} for tool in listed(body.get("tools"))]
    chat.update({"messages": messages, **({"tools": tools} if tools else {})})
    if "message.output_text.logprobs" in (body.get("include") or ()):
        chat["logprobs"] = True
    effort = (as_object(body.get("reasoning")) or {}).get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
        # vLLM, responses/protocol.py.
        switches = as_object(body.get("chat_template_kwargs")) or {}
        chat["chat_template_kwargs"] = {"enable_thinking": effort != "none", **switches}
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    return chat


def _message(item: Json) -> Json | None:
    """Return an item of the input as a message, or None if it is none."""
    kind = item.get("type", "message")
    if kind == "function_call":
        call = call_of(item)
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{name: call[name] for name in call if name != "item"}],
        }
    if kind == "function_call_output":
        output = as_string(item.get("output"))
        return None if output is None else {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    content: object = item.get("content")
    if isinstance(content, list):
        parts = listed(cast("list[Any]", content))
        content = parts[0].get("text") if len(parts) == 1 else None
    if kind != "message" or not isinstance(content, str):
        return None
    return {"role": item.get("role"), "content": content}


def _without_type(tool: Json) -> Json:
    return {name: value for name, value in tool.items() if name != "type"}
