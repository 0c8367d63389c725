"""The text of a model as deltas: in any pieces, after a raw prompt and after calls that the caller has."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.calls.calls import Call
from openai_continue._core.calls.model_text import ModelText
from openai_continue._core.calls.tools import Tools
from openai_continue._core.text.marks import overlap
from openai_continue._tables.call_syntaxes import CallSyntax
from tests.support.answers import Answer
from tests.support.calls import dumped, each_syntax, row, split, tool, written

Json = dict[str, Any]

GIVEN: Json = {"path": "a.txt", "n": 12, "content": "x\ny"}
TOOLS = [tool("save", GIVEN), tool("run", {"command": ""})]
CALLED = [("save", dumped(GIVEN)), ("run", dumped({"command": "ls </"}))]


def reader_of(syntax: CallSyntax) -> Any:
    return Tools(syntax, TOOLS).reader()


def folded(deltas: list[Json]) -> tuple[str, str, list[tuple[str, str]], list[str]]:
    """Return the thoughts, the text, the calls and their ids that these deltas make."""
    answer = Answer.of_chunks([{"choices": [{"index": 0, "delta": delta}]} for delta in deltas])
    functions = [call["function"] for call in answer.tool_calls]
    calls = [(function["name"], function["arguments"]) for function in functions]
    return answer.thoughts, answer.text, calls, [call["id"] for call in answer.tool_calls]


@each_syntax
@pytest.mark.parametrize("gap", [None, "", "\n\n"])
def test_a_raw_answer_in_any_pieces(gap: str | None, syntax: CallSyntax) -> None:
    """Thoughts, text and calls are told apart wherever the pieces end, and the ids are the same."""
    text = "" if syntax.name == "llama-3" else "I save it."
    raw = written(syntax, *CALLED, text=text)
    thoughts = "" if gap is None else "Is it </thin or\n</think? "
    if gap is not None:
        raw = f"{thoughts}</think>\n\n{raw}"
    said = ("" if gap != "" else "\n\n") + (text + syntax.gap if text else "")
    found = list[Any]()
    for seed in range(6):
        model_text = ModelText(reader_of(syntax), gap=gap)
        chunks = [
            {"id": "c", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            for piece in split(raw, seed)
        ]
        found.append(folded([model_text.chunk(chunk)["choices"][0]["delta"] for chunk in chunks]))
    assert (thoughts, said, CALLED) == found[0][:3]
    assert len(set(found[0][3])) == len(CALLED)
    assert [found[0]] * 6 == found


@each_syntax
def test_arguments_that_the_caller_has_are_not_given_twice(syntax: CallSyntax) -> None:
    """Wherever the text of known calls is cut, what is read after it is the rest of the last call's arguments."""
    raw = written(syntax, *CALLED)
    arguments = dict(CALLED)["run"]
    for cut in range(raw.index("ls </"), len(raw)):
        for known in (arguments[:4], arguments):
            calls = [Call(0, "call-0", *CALLED[0]), Call(1, "call-1", "run", known)]
            model_text = ModelText(reader_of(syntax))
            if not model_text.follow(raw[:cut], calls, is_all=False, is_out=True):
                # The text shows more than the caller has.
                assert known != arguments
                continue
            deltas = [model_text.take(piece) for piece in raw[cut:]]
            got = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())]
            assert arguments == known + "".join(got)
            assert not model_text.is_broken


def test_calls_that_are_not_those_of_the_caller() -> None:
    """Another name, or other arguments than the caller has, show that the model did not go on."""
    syntax = row("glm-4.7")
    half = '{"command": "l'
    for known, rest, is_broken in (
        (half, "<arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>", False),
        (half, "<arg_key>command</arg_key><arg_value>rm</arg_value></tool_call>", True),
        (half, "</tool_call>", True),
        (half, "_all<arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>", True),
        ("{}", "</tool_call>", False),
        ("{} ", "</tool_call>", True),
    ):
        model_text = ModelText(reader_of(syntax))
        assert model_text.follow("<tool_call>run", [Call(0, "c", "run", known)], is_all=False, is_out=True)
        model_text.take(rest)
        assert is_broken == model_text.is_broken, (known, rest)


def further(syntax: CallSyntax, ids: list[str | None], *, wants_one: bool = False) -> list[str]:
    """Return the ids of two calls that come after one that the caller has."""
    first, *others = [("save", dumped(GIVEN)), *CALLED]
    known = written(syntax, first).removesuffix(syntax.closes)
    model_text = ModelText(reader_of(syntax), wants_one=wants_one)
    assert model_text.follow(known, [Call(0, "call-0", *first)], is_all=True, is_out=True)
    delta = model_text.take(written(syntax, first, *others)[len(known) :], ids=ids)
    assert model_text.is_over == wants_one
    return [call["id"] for call in delta.get("tool_calls", ())]


def test_ids_of_further_calls() -> None:
    """A further call has the server's id, or Kimi's own, or one that is made; none is given if the caller wants one."""
    assert ["id-1", "id-2"] == further(row("hermes"), ["id-1", "id-2"])
    assert ["functions.save:1", "functions.run:2"] == further(row("kimi-k2"), [])
    made = further(row("hermes"), [])
    assert made == further(row("qwen3-coder"), [])
    given, other = further(row("hermes"), ["id-1", None])
    assert ("id-1", True) == (given, other.startswith("call_"))
    assert len({*made, "call-0"}) == 3
    assert [] == further(row("hermes"), ["id-1"], wants_one=True)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("a", 0), ("a<", 1), ("a</thin", 6), ("</think>", 0), ("<</", 2), ("</think></", 2), ("think>", 0)],
)
def test_overlap(text: str, size: int) -> None:
    """The longest end of a text that begins the mark counts, and a whole mark is none."""
    assert size == overlap(text, "</think>")
