"""An answer is known to be whole by its bytes: a cut answer is never taken for a whole one."""

from __future__ import annotations

import json
from itertools import permutations, product
from typing import Any

import pytest

from openai_continue.sdk.whole import is_plainly_whole

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

        assert not is_plainly_whole(content, choices=len(ends))


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_whole_answer(choices: int, form: dict[str, Any]) -> None:
    """A whole answer is known as one, though its text is about lengths."""
    message = {"role": "assistant", "content": 'Its "length" is "finish_reason": "length".'}
    items = [{"index": index, "message": message, "finish_reason": "stop"} for index in range(choices)]

    assert is_plainly_whole(json.dumps({"choices": items}, **form).encode(), choices=choices)


def test_answer_without_an_end() -> None:
    """An answer without a finish reason is looked at closely if the word "length" is anywhere in it."""
    assert is_plainly_whole(b'{"choices":[]}', choices=1)
    assert not is_plainly_whole(b'{"choices":[],"x":"length"}', choices=1)
