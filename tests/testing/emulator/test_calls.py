"""Tool calls in the syntax of each family, cut anywhere: what servers make of them, and what follows a cut one."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.habits import CallSyntax
from openai_continue.testing.emulator.syntaxes import SYNTAXES
from tests.testing.emulator.asking import chunks_of, post, streamed_or_not

WRITE = {
    "path": {"type": "string"},
    "count": {"type": "integer"},
    "content": {"type": "string"},
    "force": {"type": "boolean"},
    "meta": {"type": "object"},
    "tags": {"type": "array", "items": {"type": ["string", "null"]}},
    "mode": {"enum": ["fast", "slow"]},
}
TOOLS = [
    {"type": "function", "function": {"name": "write_file", "parameters": {"type": "object", "properties": WRITE}}},
    {"type": "function", "function": {"name": "run", "parameters": {"properties": {"command": {"type": "string"}}}}},
]
each_syntax = pytest.mark.parametrize("syntax", sorted(SYNTAXES))
ASKED = "Write 20 tokens, then call the tool write_file twice with 210 tokens."

Called = list[tuple[str, str]]


def body_of(words: str = ASKED, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": words}], "tools": TOOLS, **fields}


def continued(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {**body, "messages": [*body["messages"], {"role": "assistant", "content": text}]}


def read(emulator: Emulator, body: dict[str, Any], *, stream: bool) -> tuple[str, dict[int, list[str]], str]:
    """Return the content, the calls by index (id, name, arguments), and the finish reason."""
    response = post(emulator, **body, stream=stream)
    assert response.status_code == 200, response.text
    calls: dict[int, list[str]] = {}
    if not stream:
        (choice,) = response.json()["choices"]
        for index, call in enumerate(choice["message"].get("tool_calls") or ()):
            calls[index] = [call["id"], call["function"]["name"], call["function"]["arguments"]]
        return choice["message"]["content"] or "", calls, choice["finish_reason"]
    content = finish = ""
    for choice in (choice for chunk in chunks_of(response) for choice in chunk["choices"]):
        content += choice["delta"].get("content") or ""
        finish = choice["finish_reason"] or finish
        for call in choice["delta"].get("tool_calls") or ():
            if "id" in call:
                assert call["index"] not in calls
                calls[call["index"]] = [call["id"], call["function"]["name"], ""]
            calls[call["index"]][2] += call["function"]["arguments"]
    return content, calls, finish


def names_and_arguments(calls: dict[int, list[str]]) -> Called:
    return [(name, arguments) for _, name, arguments in (calls[index] for index in sorted(calls))]


def cuts(emulator: Emulator, body: dict[str, Any]) -> list[int]:
    """Return token counts: each one around the ends of the calls, where the syntax is, and some others."""
    tokens = emulator.tokens_of(body)
    return sorted({*range(20, 60, 5), *range(60, tokens, 67), *range(tokens - 5, tokens + 1)})


def test_every_syntax_has_a_name() -> None:
    assert sorted(get_args(CallSyntax)) == sorted(SYNTAXES)


@each_syntax
def test_the_truth(syntax: Any) -> None:
    """The arguments fit the schema, the long text is awkward, and a number asks for its length."""
    with Emulator(habits=Habits(calls=syntax)) as emulator:
        (first, one), (second, other) = emulator.uncapped_calls(body_of())
        arguments = json.loads(one)
        raw = emulator.uncapped_raw(body_of())

        assert (first, second) == ("write_file", "run")
        assert list(arguments) == list(WRITE)
        assert [type(value) for value in arguments.values()] == [str, int, str, bool, dict, list, str]
        assert arguments["mode"] == "fast"
        assert all(
            mark in arguments["content"] for mark in ('"', "\\", "\t", "\r\n", "\u2028", "é", "👩🏽\u200d🚀", "</param")
        )
        assert arguments["content"].endswith("\n")
        assert json.loads(other)["command"] != arguments["content"]
        assert raw.startswith(emulator.uncapped(body_of()))
        assert raw.count("write_file") == 1
        names = [name for name, _ in emulator.uncapped_calls(body_of("Please call the tool run with 50 tokens."))]
        assert names == ["run"]
        assert emulator.tokens_of(body_of("call the tool run with 3000 tokens")) > 3000


@streamed_or_not
@each_syntax
@pytest.mark.parametrize("shows", ["parsed", "closed", "content", "complete"])
def test_cut_calls(syntax: Any, shows: Any, stream: bool) -> None:
    """A cut call shows a beginning of its arguments, JSON if the server closes them, or the raw syntax as content."""
    body = body_of()
    with Emulator(habits=Habits(calls=syntax, cut_calls=shows), chunk_tokens=7) as emulator:
        expected, text, raw = emulator.uncapped_calls(body), emulator.uncapped(body), emulator.uncapped_raw(body)
        seen = set()
        for cut in cuts(emulator, body):
            content, calls, finish = read(emulator, {**body, "max_tokens": cut}, stream=stream)
            called = names_and_arguments(calls)
            assert finish == "length"
            if shows == "content" and not stream and not calls and content != text:
                assert content == emulator.uncapped_raw({**body, "max_tokens": cut})
                assert raw.startswith(content)
                seen.add("raw")
                continue
            assert content == text
            assert called == emulator.uncapped_calls({**body, "max_tokens": cut}) or shows in ("closed", "complete")
            for (name, arguments), (known, full) in zip(called, expected, strict=False):
                assert name == known
                if shows == "closed" or (shows == "complete" and not stream and SYNTAXES[syntax].values):
                    given = json.loads(arguments)
                    assert list(given) == list(json.loads(full))[: len(given)]
                    assert shows == "closed" or all(json.loads(full)[key] == value for key, value in given.items())
                elif shows == "complete":
                    assert full.startswith((arguments, arguments[:-1] + ",")) or arguments == "{}"
                else:
                    assert full.startswith(arguments)
                seen.add(arguments == full)
        assert seen >= ({True, "raw"} if shows == "content" and not stream else {True, False})
        assert read(emulator, body, stream=stream)[2] == "tool_calls"
        assert names_and_arguments(read(emulator, body, stream=stream)[1]) == expected


@streamed_or_not
@each_syntax
def test_rest_as_content(syntax: Any, stream: bool) -> None:
    """Without the beginning of a call in its sight, the parser takes the rest for text. Some find the next call."""
    body = body_of()
    with Emulator(habits=Habits(calls=syntax), chunk_tokens=4) as emulator:
        expected, raw = emulator.uncapped_calls(body), emulator.uncapped_raw(body)
        for cut in cuts(emulator, body):
            before = emulator.uncapped_raw({**body, "max_tokens": cut})
            for prefill in (before, before[:-3]):
                content, calls, finish = read(emulator, continued(body, prefill), stream=stream)
                called = names_and_arguments(calls)
                if not calls:
                    assert (prefill + content, finish) == (raw, "stop")
                else:
                    assert called in (expected, expected[1:])
                    assert raw.startswith(prefill + content)
                    assert finish == "tool_calls"
        assert emulator.derailed == 0
        # The white space before the first call is no part of it.
        text = emulator.uncapped(body)
        for gap in ("", " ", "\n\n\n"):
            begun = text + gap + raw[len(text) :].lstrip()[:30]
            assert raw.endswith(read(emulator, continued(body, begun), stream=False)[0][:200]) or emulator.derailed == 0


@streamed_or_not
@each_syntax
@pytest.mark.parametrize("shows", ["parsed", "closed"])
def test_rest_as_deltas(syntax: Any, shows: Any, stream: bool) -> None:
    """A parser that reads the prefill gives all calls in a whole answer, and goes on with the open one in a stream."""
    body = body_of()
    habits = Habits(calls=syntax, cut_calls=shows, calls_in_prefill="deltas")
    with Emulator(habits=habits, chunk_tokens=5) as emulator:
        expected, text = emulator.uncapped_calls(body), emulator.uncapped(body)
        ids = set()
        for cut in cuts(emulator, body)[4:]:
            prefill = emulator.uncapped_raw({**body, "max_tokens": cut})
            had = emulator.uncapped_calls({**body, "max_tokens": cut})
            content, calls, finish = read(emulator, continued(body, prefill), stream=stream)
            assert finish == "tool_calls"
            for index, (call_id, name, arguments) in calls.items():
                ids.add(call_id)
                before = had[index][1] if stream and index < len(had) else ""
                assert (name, before + arguments) == expected[index]
            if stream:
                assert content in ("", text[len(prefill) :])
                assert set(range(len(expected))) - set(calls) <= {
                    index for index, one in enumerate(had) if one == expected[index]
                }
            else:
                assert (content, len(calls)) == (text, 2)
            again = read(emulator, {**continued(body, prefill), "max_tokens": 10}, stream=stream)
            assert again[2] == ("length" if cut + 10 <= emulator.tokens_of(body) else "tool_calls")
        assert emulator.derailed == 0
        assert len(ids) > 2 or syntax == "kimi_k2"


@streamed_or_not
@each_syntax
def test_rest_in_one_piece(syntax: Any, stream: bool) -> None:
    """Some parsers give a call when it is closed, with the index that it has in the response, and nothing of a cut one."""
    body = body_of()
    with Emulator(habits=Habits(calls=syntax, calls_in_prefill="whole"), chunk_tokens=6) as emulator:
        expected = emulator.uncapped_calls(body)
        for cut in cuts(emulator, body)[4:]:
            prefill = emulator.uncapped_raw({**body, "max_tokens": cut})
            _, calls, _ = read(emulator, continued(body, prefill), stream=stream)
            called = names_and_arguments(calls)
            assert called == expected[len(expected) - len(called) :]
            assert sorted(calls) == list(range(len(calls)))
        begun = emulator.uncapped_raw({**body, "max_tokens": 60})
        assert read(emulator, {**continued(body, begun), "max_tokens": 50}, stream=stream) == ("", {}, "length")


@streamed_or_not
def test_switches_of_the_request(stream: bool) -> None:
    """``tool_choice: "none"`` leaves the syntax in the content, and without parallel calls only the first one comes."""
    with Emulator() as emulator:
        raw, expected = emulator.uncapped_raw(body_of()), emulator.uncapped_calls(body_of())
        none = body_of(tool_choice="none")
        assert read(emulator, none, stream=stream) == (raw, {}, "stop")
        assert read(emulator, continued(none, raw[:200]), stream=stream) == (raw[200:], {}, "stop")
        assert read(emulator, {**none, "max_tokens": 99}, stream=stream)[1:] == ({}, "length")
        with Emulator(habits=Habits(drops_unwanted_calls=True)) as dropping:
            assert read(dropping, none, stream=stream) == (dropping.uncapped(none), {}, "stop")
            first = raw[: raw.index("\n<tool_call>", 200) + 1]
            assert read(dropping, continued(none, raw[:200]), stream=stream) == (first[200:], {}, "stop")
        _, calls, finish = read(emulator, body_of(parallel_tool_calls=False), stream=stream)
        assert (names_and_arguments(calls), finish) == (expected[:1], "tool_calls")


@pytest.mark.parametrize("hides", [None, "whole", "both"])
def test_hides_cut_calls(hides: Any) -> None:
    """A server may say that a cut call is complete."""
    body = body_of(max_tokens=60)
    with Emulator(habits=Habits(hides_cut_calls=hides)) as emulator:
        ends = [read(emulator, body, stream=stream)[2] for stream in (False, True)]
        assert (
            ends == {None: ["length", "length"], "whole": ["tool_calls", "length"], "both": ["tool_calls"] * 2}[hides]
        )
        assert emulator.requests[-1].finish_reason == ends[-1]
        # Cut before the name of the tool, there is no call to show.
        assert read(emulator, {**body, "max_tokens": 21}, stream=False)[2] == "length"


@pytest.mark.parametrize(
    "habits", [Habits(ignores_prefill=True), Habits(trims=True), Habits(cut_characters="replaced")]
)
def test_other_habits(habits: Habits) -> None:
    """A server that takes a prefill for a finished turn begins the same call again. One that trims goes on."""
    body = body_of()
    with Emulator(habits=habits) as emulator:
        raw = emulator.uncapped_raw({**body, "max_tokens": 150})
        content, calls, _ = read(emulator, continued(body, raw + "\n" * habits.trims), stream=False)
        if habits.ignores_prefill:
            assert (content, names_and_arguments(calls)) == (emulator.uncapped(body), emulator.uncapped_calls(body))
        else:
            assert emulator.uncapped_raw(body).startswith(raw.rstrip() + content[:50])
        assert emulator.derailed == 0
        whole, streamed = (read(emulator, {**body, "max_tokens": 88}, stream=stream) for stream in (False, True))
        assert streamed == whole


def test_derailed() -> None:
    """A call that the model did not write is no beginning of its own."""
    with Emulator() as emulator:
        read(
            emulator, continued(body_of(), emulator.uncapped(body_of()) + '\n<tool_call>{"name": "write'), stream=False
        )
        assert emulator.derailed == 1
