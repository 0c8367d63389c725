"""An answer is known to be whole by its bytes: a cut answer is never taken for a whole one."""

from __future__ import annotations

import json
from itertools import permutations, product
from typing import Any

import pytest

from openai_continue._sdk.whole import is_plainly_whole

#: Messages that contain what looks like an end.
MESSAGES: list[dict[str, Any]] = [
    {"content": 'of "finish_reason": "stop", and \\"finish_reason\\":"stop"'},
    {"content": "x", "tool_calls": [{"function": {"arguments": '{"finish_reason":"stop"}', "name": "finish_reason"}}]},
]
LOGPROBS: list[Any] = [None, {"content": [{"token": "finish_reason", "top_logprobs": [{"token": "stop"}]}]}]
FORMS: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 2}, {"separators": (" ,", " : ")}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("ends", [["length"], ["stop", "length"], ["length", "stop"], ["length", "length"]], ids=str)
def test_cut_answer(ends: list[str], form: dict[str, Any]) -> None:
    """An answer with a cut choice is not whole, in whatever order its fields come, and whatever else names an end."""
    for message, logprobs, order in product(MESSAGES, LOGPROBS, permutations(range(4))):
        choices = []
        for index, end in enumerate(ends):
            fields = [("index", index), ("message", message), ("finish_reason", end), ("logprobs", logprobs)]
            choices.append(dict(fields[place] for place in order))
        content = json.dumps({"choices": choices, "usage": {"completion_tokens": 1}}, **form).encode()

        assert not is_plainly_whole(content, {"n": len(ends)})


@pytest.mark.parametrize("request_", [{}, {"n": 2}, {"tools": [{}]}], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_whole_answer(request_: dict[str, Any], form: dict[str, Any]) -> None:
    """A whole answer is known as one, though its text is about lengths, in whatever order its fields come."""
    message = {"role": "assistant", "content": 'Its "length" is "finish_reason": "length".' + "x" * 1000}
    fields = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": LOGPROBS[1]}
    for order in permutations(fields):
        content = json.dumps({"choices": [{name: fields[name] for name in order}]}, **form).encode()

        assert is_plainly_whole(content, request_)


def test_tool_call_is_looked_at() -> None:
    """With tools in the request, a call is not whole before its arguments are looked at."""
    call = {"function": {"name": "f", "arguments": "{"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    content = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()

    assert not is_plainly_whole(content, {"tools": [{}]})
    assert not is_plainly_whole(content, {"functions": [{}]})


@pytest.mark.parametrize("content", [b'{"choices":[]}', b"", b'{"choices":[],"x":"length"}', b'{"finish_reason":null}'])
def test_answer_without_an_end(content: bytes) -> None:
    """An answer without a finish reason is not known to be cut."""
    assert is_plainly_whole(content, {})


USAGE: list[dict[str, Any]] = [{"completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 3}}, {}]
#: Fields of a request, a cap, and whether 20 tokens may be a cut under another name.
LIMITS: list[tuple[dict[str, Any], int | None, bool]] = [
    ({}, None, False),
    ({}, 20, True),
    ({}, 21, False),
    ({"max_tokens": 20}, None, True),
    ({"max_completion_tokens": 20.0}, 100, True),
    ({"max_tokens": 19}, None, False),
    ({"max_tokens": [20]}, None, False),
    ({"max_tokens": None}, None, False),
]


@pytest.mark.parametrize(("body", "cap", "is_looked_at"), LIMITS, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_number_of_tokens(form: dict[str, Any], body: dict[str, Any], cap: int | None, is_looked_at: bool) -> None:
    """An answer with as many tokens as the cap, or as were asked for, is looked at; what its text says counts nothing."""
    message = {"role": "assistant", "content": 'Its "completion_tokens": 20, and "output_tokens": 20.'}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    for usage, names in product(USAGE, (("choices", "usage"), ("usage", "choices"))):
        fields = {"choices": [choice], "usage": usage}
        content = json.dumps({name: fields[name] for name in names}, **form).encode()

        assert is_plainly_whole(content, body, cap) == (not is_looked_at or usage == {})


def test_number_of_tokens_of_a_response() -> None:
    """A response has other names for the number and for the count."""
    content = json.dumps({"status": "completed", "output": [], "usage": {"output_tokens": 20}}).encode()

    assert not is_plainly_whole(content, {"input": "x", "max_output_tokens": 20})
    assert not is_plainly_whole(content, {"input": "x"}, 20)
    assert is_plainly_whole(content, {"input": "x", "max_output_tokens": 21}, 19)
