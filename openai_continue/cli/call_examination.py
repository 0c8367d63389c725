"""Ask one endpoint, with two small requests, whether it continues a tool call that was cut."""

from __future__ import annotations

import copy
from typing import Any

from .. import call_syntaxes
from ..core.call_tools import Tools
from ..core.rounds import Rounds
from ..core.tools import is_json
from ..providers import Provider
from ..settings import Continuation
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
#: What each result means.
SAID = {
    "continues": "A tool call that was cut goes on.",
    "differs": "A tool call that was cut goes on with other arguments than it would have had, so it is left as it is.",
    "not continued": "A tool call that was cut does not go on.",
    "closed": "This server closes the arguments of a call that was cut, so nobody can see where it was cut.",
    "no call": "The model called no tool, so it is unknown whether a call that was cut goes on.",
    "syntax unknown": (
        "It is unknown how this model writes tool calls, so those that are cut are left as they are. If you know it, "
        "name its row of call_syntaxes.py in continue_tool_calls."
    ),
    "failed": "The question about tool calls got no answer.",
}
#: What is known of the body by the SDK. The rest goes into its ``extra_body``.
_KNOWN = ("model", "messages", "tools", "tool_choice", "max_tokens", "temperature")


def examine_calls(doctor: Doctor, row: Provider) -> str:
    """
    Return what becomes of a cut tool call: a key of SAID.

    The model is asked for a call, and then to go on from two thirds of it.
    """
    syntax = call_syntaxes.of_model(doctor.model)
    if syntax is None:
        return "syntax unknown"
    messages = [{"role": "user", "content": PROMPT}]
    body = {"model": doctor.model, "messages": messages, "tools": [TOOL], "max_tokens": 4 * TOKENS, "temperature": 0}
    whole = doctor.send(body)
    if whole is None:
        return "failed"
    text, is_call = _written(whole)
    if is_call and is_json(text) and whole["choices"][0].get("finish_reason") == "length":
        return "closed"
    cut = _cut(whole)
    if cut is None or not (is_call or Tools(syntax, [TOOL]).may_open(text)):
        return "no call"
    without_limit = {name: value for name, value in body.items() if name != "max_tokens"}
    rounds = Rounds(without_limit, row, Continuation(continue_tool_calls=True, trims=doctor.found.trims))
    first = rounds.next_request()
    if first is not None:
        rounds.receive(first, cut)
    later = rounds.next_request()
    if later is None:
        return "not continued"
    fields = {**later.body, "max_tokens": TOKENS}
    known = {name: fields.pop(name) for name in _KNOWN if name in fields}
    reply = doctor.send({**known, "extra_body": fields})
    if reply is None:
        return "failed"
    rounds.receive(later, reply)
    return _judged(_written(whole)[0], _written(cut)[0], _written(rounds.completion())[0])


def _written(reply: dict[str, Any]) -> tuple[str, bool]:
    """Return the arguments of a call, or the content that shows it as text, and whether it is a call."""
    message: dict[str, Any] = reply["choices"][0].get("message") or {}
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    if calls:
        return str(calls[-1].get("function", {}).get("arguments") or ""), True
    return str(message.get("content") or ""), False


def _cut(whole: dict[str, Any]) -> dict[str, Any] | None:
    """Return an answer whose call is cut at two thirds, at the end of a word; None if there is not enough to cut."""
    text, is_call = _written(whole)
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
