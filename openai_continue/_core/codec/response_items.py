"""
A response of the Responses endpoint as a chat completion, and back: its items, its usage, and how it ended.

A chat has one message: the thoughts of an item "reasoning", the text of an item "message", and the calls of the items
"function_call". What a chat has no place for is marked, so that such an answer is not continued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..calls.calls import calls_in
from ..json import Json, as_object, as_string

#: The field of a message or delta in which thoughts are.
THOUGHTS = "reasoning_content"
#: The type of a part of text, by that of the item that it is in.
PARTS: Mapping[str, str] = {"message": "output_text", "reasoning": "reasoning_text"}
# The field of an answer in the shape of chat that holds the response as it came. The core joins lists of the rounds, so
# it is in a tuple.
_BODY = "response"
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
# The names of usage here and in chats.
_USAGE = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}
_USAGE_BACK = {chat: own for own, chat in _USAGE.items()}
# What names a response, and its names in chats.
_NAMES = {"id": "id", "model": "model", "created_at": "created"}


def listed(value: object) -> list[Json]:
    """Return the objects in a list; none if it is no list."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


#: The fields of a message or delta which say that chat has no place for what came.
BARRED: Mapping[str, Any] = {"refusal": "unsupported"}


def body_in(answer: Json) -> Json:
    """Return the response that an answer in the shape of chat holds, or {} if it holds none."""
    # JSON has no tuples.
    held = listed(list(cast("tuple[Any]", answer.get(_BODY) or ())))
    return held[0] if held else {}


def holding(response: Json) -> Json:
    """Return the field of an answer in the shape of chat that holds a response."""
    return {_BODY: (response,)}


def names_of(response: Json) -> Json:
    """Return what names a response, as a chat completion has it."""
    return {chat: response[own] for own, chat in _NAMES.items() if own in response}


def usage_as_chat(usage: object) -> Json | None:
    """Return the usage of a response under the names of chat, or None if it has none."""
    known = as_object(usage)
    return None if known is None else {_USAGE.get(name, name): value for name, value in known.items()}


def usage_as_response(usage: object) -> Json | None:
    """Return usage under the names of this endpoint, or None if there is none."""
    known = as_object(usage)
    return None if known is None else {_USAGE_BACK.get(name, name): value for name, value in known.items()}


def finish_reason_of(response: Json) -> str | None:
    """
    Return how a response ended, in the words of chat; None if it does not say so.

    Only its body says whether it was cut, and no event.
    """
    status = as_string(response.get("status"))
    if status is None:
        return None
    if status == "completed":
        has_calls = any(item.get("type") == "function_call" for item in listed(response.get("output")))
        return "tool_calls" if has_calls else "stop"
    if status == "failed":
        return "error"
    reason = as_string((as_object(response.get("incomplete_details")) or {}).get("reason"))
    return "length" if reason == "max_output_tokens" else reason or status


def end_of(response: Json) -> Json:
    """Return how a response ended, as a choice of a chat has it; with what chat has no words for."""
    reason = finish_reason_of(response)
    if is_natural(reason) or reason == "length":
        return {"finish_reason": reason}
    return {
        "finish_reason": reason,
        "status": response.get("status"),
        "details": response.get("incomplete_details"),
    }


def is_natural(finish_reason: object) -> bool:
    """Whether a response that ended so is completed."""
    return finish_reason in ("stop", "tool_calls", "function_call")


def ended(response: Json, end: Json) -> Json:
    """Return a response with the status of an answer with this end, a choice of a chat."""
    if is_natural(end.get("finish_reason")):
        return {**response, "status": "completed", "incomplete_details": None}
    if end.get("finish_reason") == "length":
        return {**response, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return {**response, "status": end.get("status"), "incomplete_details": end.get("details")}


def message_of(output: Sequence[Json]) -> tuple[Json, list[Any]]:
    """Return the items of an answer as the message of a chat, and the logprobs of its text."""
    message: Json = {"role": "assistant", "content": ""}
    logprobs: list[Any] = []
    order = [as_string(item.get("type")) or "" for item in output]
    calls = [item for item in output if item.get("type") == "function_call"]
    for item in output:
        kind = item.get("type")
        texts = listed(item.get("content"))
        if kind == "reasoning":
            message[THOUGHTS] = message.get(THOUGHTS, "") + "".join(map(_text_of, texts))
        elif kind == "message":
            message["content"] += "".join(map(_text_of, texts))
            logprobs += [entry for part in texts for entry in part.get("logprobs") or ()]
            annotations = [each for part in texts for each in part.get("annotations") or ()]
            message.update({"annotations": annotations} if annotations else {})
    if calls:
        message["tool_calls"] = [call_of(item) for item in calls]
    return {**message, **({} if _is_chat(output, order) else BARRED)}, logprobs


def _is_chat(output: Sequence[Json], order: list[str]) -> bool:
    """Whether all items have a place in one message: thoughts, a text, calls, in this order, each of the first once."""
    texts = order[: len(order) - order.count("function_call")]
    parts = [part for item in output for part in listed(item.get("content"))]
    single = all(len(listed(item.get("content"))) <= 1 and not item.get("summary") for item in output)
    known = all(part.get("type") in PARTS.values() for part in parts)
    return texts in ([], ["message"], ["reasoning"], ["reasoning", "message"]) and single and known


def _text_of(part: Json) -> str:
    return as_string(part.get("text")) or ""


def call_of(item: Json) -> Json:
    """Return an item "function_call" as a tool call of a chat, with the item as it came."""
    function = {"name": item.get("name"), "arguments": as_string(item.get("arguments")) or ""}
    return {"id": item.get("call_id"), "type": "function", "function": function, "item": item}


def new_item(kind: str, id_: str) -> Json:
    """Return an item that begins, if no server has sent one of its type."""
    if kind == "reasoning":
        return {"id": id_, "type": kind, "summary": [], "status": "in_progress"}
    return {"id": id_, "type": kind, "role": "assistant", "content": [], "status": "in_progress"}


def new_part(kind: str) -> Json:
    """Return the part of an item of this type that begins."""
    part: Json = {"type": PARTS[kind], "text": ""}
    return {**part, "annotations": [], "logprobs": []} if kind == "message" else part


def grown_part(part: Json, text: str, lists: Mapping[str, Sequence[Any]]) -> Json:
    """
    Return a part with all of its text.

    ``lists``: its logprobs and annotations. A server that shows none in such a place shows none of the whole either.
    """
    more = {name: list(each) for name, each in lists.items() if each and part.get(name)}
    if more.get("logprobs"):
        more["logprobs"] = as_detailed(more["logprobs"], like=listed(part["logprobs"]))
    return {**part, "text": text, **more}


def as_detailed(entries: Sequence[Any], *, like: Sequence[Json]) -> list[Any]:
    """Return logprobs with the bytes of their tokens, if those that the server has in such a place have them."""
    if not any("bytes" in entry for entry in like):
        return list(entries)
    return [_with_bytes(entry) for entry in entries]


def _with_bytes(entry: Any) -> Any:
    known = as_object(entry)
    if known is None:
        return entry
    token = as_string(known.get("token")) or ""
    tops = known.get("top_logprobs")
    detailed = {"bytes": list(token.encode("utf-8", "replace")), **known}
    if isinstance(tops, list):
        detailed["top_logprobs"] = list(map(_with_bytes, cast("list[Any]", tops)))
    return detailed


def grown_item(item: Json, text: str, lists: Mapping[str, Sequence[Any]], *, status: str) -> Json:
    """Return an item with all of the text of its last part, or all of its arguments, and with this status."""
    kind = as_string(item.get("type")) or ""
    if item.get("status") is not None:
        item = {**item, "status": status}
    if kind == "function_call":
        return {**item, "arguments": text}
    if kind not in PARTS:
        return item
    parts = listed(item.get("content"))
    if not parts:
        if not text:
            return item
        # Such a part shows all that there is.
        part = {**new_part(kind), "text": text}
        return {**item, "content": [{**part, **{name: list(each) for name, each in lists.items() if name in part}}]}
    if parts[-1].get("type") != PARTS[kind]:
        return item
    return {**item, "content": [*parts[:-1], grown_part(parts[-1], text, lists)]}


def as_completion(response: Json) -> Json:
    """Return a whole response in the shape of chat, without its other fields."""
    message, logprobs = message_of(listed(response.get("output")))
    choice: Json = {"index": 0, "message": message, **end_of(response)}
    if logprobs:
        choice["logprobs"] = {"content": logprobs}
    usage = usage_as_chat(response.get("usage"))
    return {**names_of(response), "choices": [choice], **({} if usage is None else {"usage": usage})}


def as_response(completion: Json, body: Json) -> Json:
    """Return a completion as a whole response. ``body``: the first round's response, whose items grow."""
    choice, output = listed(completion["choices"])[0], listed(body.get("output"))
    message = as_object(choice.get("message")) or {}
    known, _ = message_of(output)
    logprobs = (as_object(choice.get("logprobs")) or {}).get("content") or ()
    lists = {"logprobs": logprobs, "annotations": message.get("annotations") or ()}
    items = list(output)
    for kind, name in (("reasoning", THOUGHTS), ("message", "content")):
        text = as_string(message.get(name)) or ""
        if text != known.get(name, ""):
            _grow(items, kind, text, lists if kind == "message" else {}, prefix=str(body.get("id")))
    _grow_calls(items, calls_in(message), prefix=str(body.get("id")))
    if items and is_natural(choice.get("finish_reason")) and items[-1].get("status") is not None:
        items[-1] = {**items[-1], "status": "completed"}
    made = ended({**body, "output": items, "usage": usage_as_response(completion.get("usage"))}, choice)
    report = completion.get("continuation")
    return made if report is None else {**made, "continuation": report}


def id_of(item: Json | None) -> str:
    """Return the id of an item, or "" if it has none."""
    return as_string((item or {}).get("id")) or ""


def item_id(kind: str, response_id: str, index: int) -> str:
    """Return the id of an item that no server has named."""
    return f"{_PREFIXES.get(kind, kind)}_{response_id.removeprefix('resp_')}_{index}"


def item_of(call: Json, id_: str) -> Json:
    """Return a tool call of a chat as an item without arguments; the server's own, if it has sent one."""
    known = as_object(call.get("item"))
    if known is None:
        name = (as_object(call.get("function")) or {}).get("name")
        known = {"id": id_, "type": "function_call", "call_id": call.get("id"), "name": name, "status": "completed"}
    return {**known, "arguments": ""}


def _grow(items: list[Json], kind: str, text: str, lists: Mapping[str, Sequence[Any]], *, prefix: str) -> None:
    """Give the item of a type all of its text; add one if there is none."""
    place = next((place for place, item in enumerate(items) if item.get("type") == kind), len(items))
    if place == len(items):
        items.append(new_item(kind, item_id(kind, prefix, place)))
    known = items[place]
    status = "completed" if known.get("status") == "in_progress" else str(known.get("status"))
    items[place] = grown_item(known, text, lists, status=status)


def _grow_calls(items: list[Json], calls: Sequence[Json], *, prefix: str) -> None:
    """Give the items of the tool calls all of their arguments; add those that came later."""
    places = [place for place, item in enumerate(items) if item.get("type") == "function_call"]
    for number, call in enumerate(calls):
        arguments = as_string((as_object(call.get("function")) or {}).get("arguments")) or ""
        if number < len(places):
            items[places[number]] = {**items[places[number]], "arguments": arguments}
        else:
            made = item_of(call, item_id("function_call", prefix, len(items)))
            items.append({**made, "arguments": arguments})
