"""Ask one endpoint, with two small requests, whether it continues a tool call that was cut."""

from __future__ import annotations

import copy

from ..._core.calls.calls import is_json
from ..._core.calls.tools import Tools
from ..._core.json import Json
from ..._tables import call_syntaxes
from ..._tables.providers import Provider
from ...settings import Continuation
from .answering import Answer
from .endpoint import message_of
from .examination import TOKENS, Doctor

#: The arguments are long, and the same each time.
PROMPT = (
    "Please call the tool write_file: path numbers.txt, content the numbers from 1 to 200 in words, one number a line."
)
_PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
}
TOOL = {
    "type": "function",
    "function": {"name": "write_file", "description": "Write a file.", "parameters": _PARAMETERS},
}
#: What each result means, and what to do.
SAID = {
    "continues": "A tool call that was cut goes on.",
    "differs": "A tool call that was cut goes on with other arguments than it would have had, so it is left as it is.",
    "not continued": "A tool call that was cut does not go on, so it is left as it is.",
    "closed": "This server closes the arguments of a call that was cut, so nobody can see where it was cut.",
    "no call": "The model called no tool, so it is unknown whether a call that was cut goes on.",
    "syntax unknown": (
        "It is unknown how this model writes tool calls, so those that are cut are left as they are. If you know it, "
        "name its row of call_syntaxes.py in continue_tool_calls."
    ),
    "failed": "The question about tool calls got no answer.",
}


def examine_calls(doctor: Doctor, row: Provider) -> str:
    """
    Return what becomes of a cut tool call: a key of SAID.

    The model is asked for a call, and then to go on from two thirds of it.
    """
    syntax = call_syntaxes.of_model(doctor.model)
    if syntax is None:
        return "syntax unknown"
    messages = [{"role": "user", "content": PROMPT}]
    body = {"model": doctor.model, "messages": messages, "tools": [TOOL], "temperature": 0}
    whole = doctor.endpoint.send({**body, "max_tokens": 4 * TOKENS})
    if whole is None:
        return "failed"
    text, is_call = _written(message_of(whole))
    if is_call and is_json(text) and whole["choices"][0].get("finish_reason") == "length":
        return "closed"
    cut = _cut(whole)
    if cut is None or not (is_call or Tools(syntax, [TOOL]).may_open(text)):
        return "no call"
    settings = Continuation(continue_tool_calls=True, trims=doctor.found.trims)
    answer = Answer(doctor.endpoint, body, cut, row, settings)
    outcome = answer.go_on()
    if outcome != "sent":
        return "not continued" if outcome == "no way" else "failed"
    return _judged(text, _written(message_of(cut))[0], _written(answer.message)[0])


def _written(message: Json) -> tuple[str, bool]:
    """Return the arguments of a call, or the content that shows it as text, and whether it is a call."""
    calls: list[Json] = message.get("tool_calls") or []
    if calls:
        return str(calls[-1].get("function", {}).get("arguments") or ""), True
    return str(message.get("content") or ""), False


def _cut(whole: Json) -> Json | None:
    """Return an answer whose call is cut at two thirds, at the end of a word; None if there is not enough to cut."""
    text, is_call = _written(message_of(whole))
    end = 2 * len(text) // 3
    while end and not text[end - 1].isalnum():
        end -= 1
    if end < 2 * TOKENS // 3:
        return None
    cut = copy.deepcopy(whole)
    cut.pop("usage", None)
    cut["choices"][0]["finish_reason"] = "length"
    message = cut["choices"][0]["message"]
    if is_call:
        message["tool_calls"][-1]["function"]["arguments"] = text[:end]
    else:
        message["content"] = text[:end]
    return cut


def _judged(whole: str, cut: str, joined: str) -> str:
    if len(joined) <= len(cut):
        return "not continued"
    return "continues" if joined.startswith(whole) or whole.startswith(joined) else "differs"
