"""The chunks of a stream folded into a completion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue._core.folding import Folded

Json = dict[str, Any]
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def folded(*deltas: Json, **ends: Any) -> Json:
    """Return the first choice of the completion of these deltas."""
    choice: Json = completion(*({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas), {"index": 0, "delta": {}, "finish_reason": "stop", **ends})["choices"][0]  # fmt: skip
    return choice


def completion(*items: Json) -> Json:
    made = Folded()
    for item in items:
        made.take({**HEAD, "choices": [item]})
    return made.completion()


def call(index: int | None, id_: str | None = None, name: str | None = None, arguments: str | None = None) -> Json:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {"index": index, "id": id_, "type": "function" if id_ else None, "function": function}
    return {"tool_calls": [{key: value for key, value in fields.items() if value is not None}]}


def whole_call(id_: str, name: str, arguments: str) -> Json:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([{"role": "assistant", "content": ""}, {"content": "One"}, {"content": " two"}], {"content": "One two"}),
        ([{"role": "assistant", "content": ""}], {"content": ""}),
        ([], {"content": ""}),
        ([{"content": "x", "annotations": None}], {"content": "x", "annotations": None}),
        ([{"content": None}, {"content": "x"}, {"content": None}], {"content": "x"}),
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}, {"content": "x"}], {"reasoning_content": "ab", "content": "x"}),
        ([{"reasoning": "a"}], {"reasoning": "a", "content": None}),
        ([{"refusal": "N"}, {"refusal": "o"}], {"refusal": "No", "content": None}),
        ([{"citations": ["a"]}, {"content": "x", "citations": ["b"]}], {"citations": ["a", "b"], "content": "x"}),
        ([call(0, "a", "f", ""), call(0, arguments="{"), call(0, arguments="}")], {"content": None, "tool_calls": [whole_call("a", "f", "{}")]}),
        ([{"content": "x"}, call(0, "a", "f", "{}")], {"content": "x", "tool_calls": [whole_call("a", "f", "{}")]}),
        ([call(0, "a", "f", "1"), call(1, "b", "g", "2"), call(0, arguments="3"), call(1, arguments="4")], {"content": None, "tool_calls": [whole_call("a", "f", "13"), whole_call("b", "g", "24")]}),
        # Each delta repeats the id.
        ([call(0, "a", "f", "1"), call(0, "a", arguments="2")], {"content": None, "tool_calls": [whole_call("a", "f", "12")]}),
        # Two calls under one index.
        ([call(0, "a", "f", "1"), call(0, "b", "g", "2"), call(0, arguments="3")], {"content": None, "tool_calls": [whole_call("a", "f", "1"), whole_call("b", "g", "23")]}),
        # Without an index.
        ([call(None, "a", "f", "1"), call(None, arguments="2"), call(None, "b", "g", "3")], {"content": None, "tool_calls": [whole_call("a", "f", "12"), whole_call("b", "g", "3")]}),
        ([{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}], {"content": None, "function_call": {"name": "f", "arguments": "{}"}}),
    ],
)  # fmt: skip
def test_message(deltas: list[Json], message: Json) -> None:
    """Texts and arguments are joined, by call; anything else is as the chunks have it; no text is null beside more."""
    assert {"role": "assistant", **message} == folded(*deltas)["message"]


def test_fields() -> None:
    """What names the answer is the first chunk's; usage and the end are as they came last."""
    made = Folded()
    assert made.is_empty
    made.take({**HEAD, "choices": [], "prompt_filter_results": [{"a": 1}]})
    assert made.is_empty
    made.take({**HEAD, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], "usage": None})
    made.take(
        {**HEAD, "id": "d", "created": 2, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native": 1}]}
    )
    made.take({**HEAD, "choices": [], "usage": {"total_tokens": 3}, "provider": "p"})
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "logprobs": None, "finish_reason": "stop", "native": 1}  # fmt: skip

    assert not made.is_empty
    assert {
        **HEAD,
        "object": "chat.completion",
        "prompt_filter_results": [{"a": 1}],
        "usage": {"total_tokens": 3},
        "provider": "p",
        "choices": [choice],
    } == made.completion()


def test_choices() -> None:
    """Choices come in any order, each with its own text and logprobs."""
    token = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    items = [
        {"index": 1, "delta": {"content": "b"}, "finish_reason": None, "logprobs": {"content": [token]}},
        {"index": 0, "delta": {"content": "a"}, "finish_reason": "length"},
        {"index": 1, "delta": {"content": "c"}, "finish_reason": "stop", "logprobs": {"content": [token]}},
    ]
    first, second = completion(*items)["choices"]

    assert (
        first["index"],
        first["message"]["content"],
        first["finish_reason"],
        first["logprobs"],
    ) == (0, "a", "length", None)
    assert (second["index"], second["message"]["content"], second["finish_reason"]) == (1, "bc", "stop")
    assert [token, token] == second["logprobs"]["content"]


@given(st.lists(st.sampled_from(["", "a", "\n", "日", "\ud83d"]), max_size=8))
def test_any_pieces(pieces: list[str]) -> None:
    """However a text is cut, it is the same; the chunks are not changed."""
    deltas = [{"content": piece} for piece in pieces]
    assert "".join(pieces) == folded(*deltas)["message"]["content"]
    assert [{"content": piece} for piece in pieces] == deltas
