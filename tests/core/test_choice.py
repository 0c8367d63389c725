"""What bars a choice from going on: tool calls and all that is not text. None is stitched, none is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, streamed
from tests.support.script import Script, cut, said

CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "save", "arguments": ""}}
CUT_CALL = {**CALL, "function": {"name": "run", "arguments": '{"code": "pri'}}
TOOL = {"type": "function", "function": {"name": "run", "parameters": {"type": "object"}}}
START = "The answer has a beginning that no other part of it resembles: not even this.\n"
USER = {"role": "user", "content": "x"}


def arguments(text: str) -> dict[str, Any]:
    """Return a delta that brings more of the arguments."""
    return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}


BARS = {
    **{
        f"cut in {next(iter(delta))}": Case([cut("Well: ", delta)], **length("Well: ", stopped_by))
        for delta, stopped_by in (
            ({"tool_calls": [CALL]}, "tool_call"),
            ({"function_call": {"name": "save", "arguments": "{"}}, "tool_call"),
            ({"refusal": "I cannot"}, "unsupported"),
            ({"audio": {"id": "a"}}, "unsupported"),
        )
    },
    "hermes #72329: an endless loop, past the guard": Case(
        [cut("Let me see.", {"tool_calls": [CUT_CALL]})], **length("Let me see.", "tool_call"), body={"tools": [TOOL]}
    ),
    **{
        f"cc-connect #1444, llama.cpp #27626: a cut call was sent back, {len(messages)} messages": Case(
            [cut("so", {"tool_calls": [CUT_CALL]})],
            **length("so", "tool_call"),
            body={"messages": messages, "tools": [TOOL]},
        )
        for messages in ([USER], [USER, {"role": "assistant", "content": "Well: ", "tool_calls": [CUT_CALL]}])
    },
    "a last message with tool calls cannot grow": Case(
        [cut("one ")],
        **length("one ", "unsupported"),
        body={"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]},
    ),
    "a call of a server that begins again is none of the first answer's": Case(
        [cut(START), said(START, "more", {"tool_calls": [CALL]}, finish="tool_calls")], **length(START, "restart")
    ),
}


@cases(BARS)
def test_bar(case: Case, drive: Drive) -> None:
    """An answer that is cut in anything but text is returned as it is, after one request."""
    answer, _ = case.check(drive)

    assert case.stopped_by != "restart" or [] == answer.tool_calls


CALLS = {
    "a later round is nothing but the call": Case(
        [cut("I save it."), said({"tool_calls": [CALL]}, finish="tool_calls")], "I save it.", "tool_calls", "tool_calls"
    ),
    "text that is filed under thoughts, before a call": Case(
        [
            cut({"reasoning": "well"}, "I save "),
            said({"reasoning": "it."}, {"tool_calls": [CALL]}, finish="tool_calls"),
        ],
        "I save it.",
        "tool_calls",
        "tool_calls",
        thoughts="well",
        known={"provider": "vllm"},
    ),
}


@cases(CALLS)
def test_call_in_a_later_round(case: Case, drive: Drive) -> None:
    """A whole call in a later round comes after all text."""
    answer, _ = case.check(drive)

    assert ["call-1"] == [call["id"] for call in answer.tool_calls]


def test_call_after_what_was_held_back() -> None:
    """A call that follows upon the blanks held back comes out after all text, with its deltas as they came."""
    last = said("  ", {"tool_calls": [CALL]}, arguments("{"), arguments("}"), finish="tool_calls")
    answer = streamed(Script(cut("I save it.  "), last))

    assert ("I save it.  ", "tool_calls", "tool_calls") == answer.said
    assert "{}" == answer.tool_calls[0]["function"]["arguments"]


@drives
def test_cut_call_is_not_stitched(drive: Drive) -> None:
    """open-interpreter #291, cline #2291, #4370: cut arguments were run, or joined to ``{"code":"pri{"language":``."""
    answer = drive(Script(cut({"tool_calls": [CUT_CALL]})), ask(tools=[TOOL]))

    assert ("length", '{"code": "pri') == (answer.finish_reason, answer.tool_calls[0]["function"]["arguments"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.tool_calls[0]["function"]["arguments"])
