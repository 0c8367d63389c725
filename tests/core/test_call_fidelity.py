"""Tool calls that were cut anywhere, of every syntax and every kind of server: those of the uncapped answer, or less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._core.round import Failure
from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.calls import EMULATED, Writes, dumped, row, tool, written
from tests.support.driving import DRIVES, Drive, rounds_of, streamed
from tests.support.engine import Engine
from tests.testing.emulator.test_calls import TOOLS

Json = dict[str, Any]

#: What a server makes of a cut call and of its rest, and the row of the provider table.
KINDS: dict[str, tuple[Json, str]] = {
    "text": ({}, "deepinfra"),
    "raw": ({"cut_calls": "content"}, "deepinfra"),
    "deltas": ({"calls_in_prefill": "deltas"}, "llama.cpp"),
    "one piece": ({"calls_in_prefill": "whole"}, "deepinfra"),
    "closed": ({"cut_calls": "closed"}, "deepinfra"),
    "hidden": ({"hides_cut_calls": "both"}, "deepinfra"),
    "vllm": ({"cut_calls": "content", "usage": "asked"}, "vllm"),
}
#: vLLM's newer parsers.
TAGGED = {"cut_calls": "complete", "hides_cut_calls": "whole", "drops_unwanted_calls": True}
#: Whose calls may end in "length" though they could go on: the server gives a value only when it is whole, closes what
#: is cut, or cuts it where it looks whole.
NOT_ALWAYS = {"one piece", "closed", "vllm"}
#: The first one is less than the longest value that is no string.
CAPS = [24, 45, 70, 110]
ASKED = "Write 12 tokens, then call the tool write_file twice with 40 tokens."


def called(answer: Answer) -> list[tuple[str, str]]:
    return [(one["function"]["name"], one["function"]["arguments"]) for one in answer.tool_calls]


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", EMULATED)
def test_every_syntax_and_server(syntax: Any, kind: str, drive: Drive) -> None:
    """The calls are those of the uncapped answer; or the answer ends in "length" and says so, with what came."""
    habits, provider = KINDS[kind]
    if kind == "vllm" and row(EMULATED[syntax]).choice == "auto":
        habits = {**habits, **TAGGED}
    # Llama's calls have no mark, so they do not follow a text.
    body = ask(
        ASKED.partition("then ")[2] if syntax == "llama3" else ASKED,
        model=EMULATED[syntax].replace("llama-3", "llama-3.1"),
        tools=TOOLS,
    )
    for cap in CAPS:
        engine = Engine(habits=Habits(calls=syntax, **habits), cap=cap)
        truth = engine.uncapped(body)
        known = {"provider": provider, "continue_tool_calls": True, "round_tokens": cap}
        answer = drive(engine, body, **known)
        if answer.finish_reason == "tool_calls":
            assert (truth.text.rstrip(), called(truth), 0) == (answer.text.rstrip(), called(answer), engine.derailed), (
                cap
            )
            assert len({one["id"] for one in answer.tool_calls}) == 2
            continue
        assert answer.finish_reason == "length"
        assert answer.stopped_by in ("tool_call", "empty")
        assert kind in NOT_ALWAYS or (24, "empty") == (cap, answer.stopped_by), cap
        # A cut call may be text, as the server shows it.
        assert answer.text.startswith(truth.text.rstrip())
        assert [name for name, _ in called(truth)][: len(answer.tool_calls)] == [name for name, _ in called(answer)]


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize(
    "model", ["google/gemma-4-31B-it", "LiquidAI/LFM2.5-1.2B-Instruct", "google/functiongemma-270m-it"]
)
def test_families_in_no_row(model: str, drive: Drive) -> None:
    """A cut call of a family whose syntax nobody knows is left as it came, and the answer says so."""
    engine = Engine(habits=Habits(calls="functiongemma"), cap=40)
    answer = drive(
        engine, ask(ASKED.partition("then ")[2], model=model, tools=TOOLS), provider="vllm", continue_tool_calls=True
    )

    assert (answer.finish_reason, answer.stopped_by, len(engine.bodies)) == ("length", "tool_call", 1)
    assert [name for name, _ in called(answer)] == ["write_file"]


def test_partial_answer_with_a_hidden_cut() -> None:
    """A call that was cut ends in "length", whatever the server called it, in the partial answer of an error too."""
    engine = Engine(habits=Habits(calls="hermes", hides_cut_calls="both"), cap=45)
    rounds = rounds_of(ask(ASKED, model="hermes", tools=TOOLS), continue_tool_calls="hermes", on_error="raise")
    first = rounds.next_request()
    assert first is not None
    answer = engine.completion(first.body)
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    rounds.receive(first, answer)
    later = rounds.next_request()
    assert later is not None

    assert rounds.fail(later, Failure("InternalServerError", 500)).raises
    assert rounds.completion()["choices"][0]["finish_reason"] == "length"


# Any arguments, cut anywhere.

ATOMS = [
    *("word", " other", "x", "12", "true", "\n# Title", "def f(x):", ". Sure, here", "\n```json", "日本語", "é", "🦊", "👩🏽\u200d🚀", "\u2028"),
    *("\n", "\n\n", "  ", "\t", "\r\n", " ", "\\", "\\n", "\\u00e9", '"', "'", '\\"', "\x00"),
    *("{", "}", "[", "]", ", ", ": ", '"}', "}}", "</", "</para", "<parameter=a>", "<tool_call>", "</tool_call>", "</function>"),
]  # fmt: skip
STRINGS = st.lists(st.sampled_from(ATOMS), max_size=12).map("".join)
OTHERS = st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, -1e-7, 1e20])
VALUES = STRINGS | st.recursive(
    OTHERS | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b c", "é"]), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.dictionaries(st.sampled_from(["path", "n", "x-y", "content"]), VALUES, max_size=4), min_size=1, max_size=2
)


PROPERTIES = ("hermes", "qwen3-coder", "deepseek-v3.1")
#: A server that is known to leave half arguments as they are.
VLLM = replace(providers.named("vllm"), call_syntaxes=PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
@given(
    given_=CALLS,
    place=st.integers(0, 400),
    sizes=st.lists(st.integers(10, 60), max_size=6),
    written_as=st.sampled_from([{}, {"ascii_only": True}, {"compact": True}]),
    drive=st.sampled_from(DRIVES),
    shows_raw=st.booleans(),
)
@settings(max_examples=80)
@pytest.mark.spread(1)
def test_any_arguments(
    name: str, given_: list[Json], place: int, sizes: list[int], written_as: Json, drive: Drive, shows_raw: bool
) -> None:
    """Wherever the rounds are cut, their join is what the model wrote; the prefills are its own text."""
    syntax, names = row(name), ["save", "run"][: len(given_)]
    as_json = written_as if syntax.parameters is None else {}
    tools = [tool(called_, arguments) for called_, arguments in zip(names, given_, strict=True)]
    expected = [(called_, dumped(arguments, **as_json)) for called_, arguments in zip(names, given_, strict=True)]
    raw = written(syntax, *expected)
    begun = raw.index("{" if syntax.parameters is None else "\n", raw.index("save")) + 1
    first = min(begun + place % (len(raw) - begun), len(raw) - 1)
    server = Writes(syntax, tools, raw, [first, *sizes, 10_000], shows_raw=shows_raw and drive is not streamed)
    body = ask(model="x", tools=tools)
    answer = drive(server, body, provider=VLLM, continue_tool_calls=name, max_rounds=1000)

    assert (answer.finish_reason, called(answer)) == ("tool_calls", expected)
