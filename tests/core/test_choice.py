"""What bars a choice from going on: tool calls and all that is not text. None is stitched, none is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, streamed
from tests.support.script import Script, cut_round, reply, usage

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
        f"cut in {next(iter(delta))}": Case([cut_round("Well: ", delta)], **length("Well: ", stopped_by))
        for delta, stopped_by in (
            ({"tool_calls": [CALL]}, "tool_call"),
            ({"function_call": {"name": "save", "arguments": "{"}}, "tool_call"),
            ({"refusal": "I cannot"}, "unsupported"),
            ({"audio": {"id": "a"}}, "unsupported"),
        )
    },
    "hermes #72329: an endless loop, past the guard": Case(
        [cut_round("Let me see.", {"tool_calls": [CUT_CALL]})],
        **length("Let me see.", "tool_call"),
        body={"tools": [TOOL]},
    ),
    **{
        f"cc-connect #1444, llama.cpp #27626: a cut call was sent back, {len(messages)} messages": Case(
            [cut_round("so", {"tool_calls": [CUT_CALL]})],
            **length("so", "tool_call"),
            body={"messages": messages, "tools": [TOOL]},
        )
        for messages in ([USER], [USER, {"role": "assistant", "content": "Well: ", "tool_calls": [CUT_CALL]}])
    },
    "a last message with tool calls cannot grow": Case(
        [cut_round("one ")],
        **length("one ", "unsupported"),
        body={"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]},
    ),
    "a call of a server that begins again is none of the first answer's": Case(
        [cut_round(START), reply(START, "more", {"tool_calls": [CALL]}, finish="tool_calls")],
        **length(START, "restart"),
    ),
}


@cases(BARS)
def test_bar(case: Case, drive: Drive) -> None:
    """An answer that is cut in anything but text is returned as it is, after one request."""
    answer, _ = case.check(drive)

    assert case.stopped_by != "restart" or [] == answer.tool_calls


CALLS = {
    "a later round is nothing but the call": Case(
        [cut_round("I save it."), reply({"tool_calls": [CALL]}, finish="tool_calls")],
        "I save it.",
        "tool_calls",
        "tool_calls",
    ),
    "text that is filed under thoughts, before a call": Case(
        [
            cut_round({"reasoning": "well"}, "I save "),
            reply({"reasoning": "it."}, {"tool_calls": [CALL]}, finish="tool_calls"),
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

    assert [call["id"] for call in answer.tool_calls] == ["call-1"]


def test_call_after_what_was_held_back() -> None:
    """A call that follows upon the blanks held back comes out after all text, with its deltas as they came."""
    last = reply("  ", {"tool_calls": [CALL]}, arguments("{"), arguments("}"), finish="tool_calls")
    answer = streamed(Script(cut_round("I save it.  "), last))

    assert answer.ending == ("I save it.  ", "tool_calls", "tool_calls")
    assert answer.tool_calls[0]["function"]["arguments"] == "{}"


@drives
def test_cut_call_is_not_stitched(drive: Drive) -> None:
    """open-interpreter #291, cline #2291, #4370: cut arguments were run, or joined to ``{"code":"pri{"language":``."""
    answer = drive(Script(cut_round({"tool_calls": [CUT_CALL]})), ask(tools=[TOOL]))

    assert (answer.finish_reason, answer.tool_calls[0]["function"]["arguments"]) == ("length", '{"code": "pri')
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.tool_calls[0]["function"]["arguments"])


# A cut call that is called something else.

OLD = {"function_call": {"name": "run", "arguments": '{"code": "pri'}}
GOOD = {"tool_calls": [{**CUT_CALL, "function": {"name": "run", "arguments": '{"code": "print()"}'}}]}
BROKEN = {"tool_calls": [CUT_CALL]}
SECOND = {"tool_calls": [{**CUT_CALL, "index": 1, "id": "call-2"}]}
CUSTOM = {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": '{"SELECT'}}]}
NONE = {"tool_calls": [CALL]}
CAP = 16_384
#: The deltas of the call, how the server calls its end, its usage, further fields of the body, whether it was cut.
NAMED: dict[str, tuple[list[Any], str, Any, Any, bool]] = {
    **{
        f"{name}, called {finish}": ([delta], finish, usage(10, 5), {}, True)
        for name, delta in (("broken", BROKEN), ("of old", OLD))
        for finish in ("stop", "tool_calls", "function_call")
    },
    "without usage": ([BROKEN], "tool_calls", None, {}, True),
    "the second is broken": ([GOOD, SECOND], "tool_calls", usage(10, 5), {}, True),
    "closed by the server, the cap": ([GOOD], "tool_calls", usage(10, CAP), {}, True),
    "closed by the server, the caller's limit": ([GOOD], "stop", usage(10, 100), {"max_tokens": 100}, True),
    "closed by the server, a limit that is a float": ([GOOD], "stop", usage(10, 100), {"max_tokens": 100.0}, True),
    "good": ([GOOD], "tool_calls", usage(10, 5), {}, False),
    "good, called stop": ([GOOD], "stop", usage(10, 5), {}, False),
    "good, without usage": ([GOOD], "tool_calls", None, {"max_tokens": 100}, False),
    "good, less than the limit": ([GOOD], "tool_calls", usage(10, 99), {"max_tokens": 100}, False),
    "without arguments": ([NONE], "tool_calls", usage(10, 5), {}, False),
    "custom": ([CUSTOM], "tool_calls", usage(10, 5), {}, False),
    "custom, the cap": ([CUSTOM], "tool_calls", usage(10, CAP), {}, False),
    "filtered": ([BROKEN], "content_filter", usage(10, 5), {}, False),
}


#: Not in a later round: the limit there is what is left, and a whole round of the script holds one delta of calls.
IN_ROUNDS = [
    pytest.param(name, later, id=f"{name}-{'later' if later else 'first'}")
    for name, (deltas, _, _, body, _) in NAMED.items()
    for later in ([False] if body or len(deltas) > 1 else [False, True])
]


@drives
@pytest.mark.parametrize(("name", "later"), IN_ROUNDS)
def test_call_that_is_called_something_else(name: str, later: bool, drive: Drive) -> None:
    """A cut call ends in "length", in the first round or a later one; a good one ends as it came."""
    deltas, finish, counted, body, is_cut = NAMED[name]
    if len(deltas) > 1:
        deltas = deltas if drive is streamed else [{"tool_calls": [*deltas[0]["tool_calls"], *deltas[1]["tool_calls"]]}]
    rounds = [reply(*deltas, finish=finish, usage=counted)]
    server = Script(*([cut_round("Well: "), *rounds] if later else rounds))
    answer = drive(server, ask(tools=[TOOL], **body))

    stopped_by = "tool_call" if is_cut else finish if later else None
    assert ("length" if is_cut else finish, stopped_by) == answer.ending[1:]
    assert (2 if later else 1) == len(server.bodies)


@pytest.mark.parametrize("place", ["before the end", "after the end", "with the call", "none"])
@pytest.mark.parametrize("counted", [5, CAP])
def test_usage_of_a_call(place: str, counted: int) -> None:
    """The usage that shows a cut may come after its end; the chunks of a good call are the server's own."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    none = {"index": 0, "delta": {}, "finish_reason": None}
    chunks = [
        {**head, "choices": [{**none, "delta": GOOD}]},
        {**head, "choices": [{**none, "finish_reason": "tool_calls"}]},
    ]
    only = {**head, "choices": [], "usage": usage(10, counted)}
    chunks = {
        "before the end": [chunks[0], only, chunks[1]],
        "after the end": [*chunks, only],
        "with the call": [
            {
                **chunks[0],
                "choices": [{**none, "delta": GOOD, "finish_reason": "tool_calls"}],
                "usage": usage(10, counted),
            }
        ],
        "none": chunks,
    }[place]

    class Stream:
        def chunks(self, _: Any) -> Any:
            return chunks

        def completion(self, _: Any) -> Any:
            raise AssertionError

    answer = streamed(Stream(), ask(tools=[TOOL]))

    is_cut = counted == CAP and place != "none"
    assert ("length" if is_cut else "tool_calls", "tool_call" if is_cut else None) == answer.ending[1:]
    assert is_cut or all(one is other for one, other in zip(answer.raw, chunks, strict=True))


@drives
def test_one_of_two_choices_is_a_cut_call(drive: Drive) -> None:
    """With several choices, a call with broken arguments is cut, and the other one is not."""
    items = [("length", BROKEN), ("tool_calls", GOOD)]
    key = "message" if drive is not streamed else "delta"
    answer_ = {"id": "c", "choices": [{"index": index, key: {"role": "assistant", "content": None, **delta},
               "finish_reason": "tool_calls"} for index, (_, delta) in enumerate(items)], "usage": usage(10, 2 * CAP)}  # fmt: skip

    class Both:
        def chunks(self, _: Any) -> Any:
            return [answer_]

        def completion(self, _: Any) -> Any:
            return answer_

    assert [end_ for end_, _ in items] == [
        drive(Both(), ask(tools=[TOOL], n=2), index).finish_reason for index in range(2)
    ]
