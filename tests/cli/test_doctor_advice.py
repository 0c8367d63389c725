"""What ``openai-continue doctor`` tells a user to do."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_continue._cli.doctor.advice import Case
from openai_continue._cli.doctor.probes import COST, PROBES, Findings
from openai_continue._cli.doctor.questions import MARKS
from openai_continue._tables.providers import named
from tests.cli.doctoring import TEMPLATE, Changed, told, use

#: vLLM, as it answers a client that knows nothing of it.
VLLM: dict[str, Any] = {"marker": "continue_final_message", "usage": "asked", "limit_field": "both"}

ADVICE: list[tuple[dict[str, Any], str, int, list[str]]] = [
    # The habits, the model, the exit code, and what is said.
    (
        VLLM,
        "m",
        0,
        [
            "127.0.0.1 is in no row of the provider table, so OPENAI_CONTINUE=1 alone leaves its answers as they are: "
            "set OPENAI_CONTINUE_PROVIDER=vllm too, or provider='vllm' in the code.",
            "variables: OPENAI_CONTINUE=1 OPENAI_CONTINUE_PROVIDER=vllm",
        ],
    ),
    (
        {"refuses_prefill": True},
        "m",
        3,
        [
            "This server cannot continue this model's answers: it refuses the text sent back. OPENAI_CONTINUE=1 leaves "
            "them as they are: name a larger max_tokens in the request.",
            "with the setting template: openai-continue doctor --template auto",
            "serve the model with vLLM, llama-server or SGLang",
            "settings: none needed",
        ],
    ),
    (
        {"ignores_prefill": True},
        "m",
        3,
        ["it takes the text sent back as a finished turn. OPENAI_CONTINUE=1 leaves them as they are"],
    ),
    (
        {"trims": True},
        "m",
        0,
        [
            "The chat template trims the end of the text sent back: set trims=True (OPENAI_CONTINUE_TRIMS=1).",
            "Nothing is trimmed with the setting template: openai-continue doctor --template auto",
            "OPENAI_CONTINUE_TRIMS=1",
        ],
    ),
    ({"trims": True, "usage": "asked"}, "m", 0, ["trims the end of the text sent back: the row tgi knows that."]),
    (
        {**VLLM, "thinks": "reasoning", "misfiles": "both"},
        "m",
        0,
        [
            "The server's parser files the rest of an answer as thoughts (in reasoning): the row vllm "
            "(OPENAI_CONTINUE_PROVIDER=vllm) puts it back into the answer."
        ],
    ),
    # A server that needs no marks would have the row of DeepInfra, which knows no such parser.
    ({"thinks": "reasoning", "misfiles": "both"}, "m", 0, ["the row vllm (OPENAI_CONTINUE_PROVIDER=vllm) puts it"]),
    (
        {},
        "Qwen/Qwen3-32B",
        0,
        [
            "A tool call that was cut goes on. Set continue_tool_calls=True (OPENAI_CONTINUE_CONTINUE_TOOL_CALLS=1) "
            "for that."
        ],
    ),
    (
        {"calls": "glm45"},
        "Qwen/Qwen3-32B",
        0,
        # A stream that goes on with a text which is no call shows what it wrote.
        ["A tool call that was cut ", ", so it is left as it is."],
    ),
    ({}, "m", 0, ["name its row of call_syntaxes.py in continue_tool_calls"]),
    (
        {"default_tokens": 100},
        "m",
        0,
        [
            "Without max_tokens this server ends an answer after about 100 tokens, and max_rounds=16 of them are "
            "1,600: name max_tokens in the request, or set round_tokens=2048 (OPENAI_CONTINUE_ROUND_TOKENS=2048)."
        ],
    ),
]


@pytest.mark.parametrize("options", [[], ["--stream"]], ids=["both", "stream"])
@pytest.mark.parametrize(
    ("habits", "model", "code", "words"), ADVICE, ids=[f"{model} {habits}" for habits, model, *_ in ADVICE]
)
def test_advice(
    habits: dict[str, Any],
    model: str,
    code: int,
    words: list[str],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sentences name the setting, whole and streamed alike, and the exit code says whether answers go on."""
    tokens = 3000 if "default_tokens" in habits else 500
    ended, out = told(capsys, habits, *options, model=model, tokens=tokens)

    assert ended == code
    assert [word for word in words if word not in out] == []


def test_a_cap_is_no_default(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that gives no more, whatever it is asked for, is not asked for more."""
    code, out = told(capsys, {}, cap=100)

    assert code == 0
    assert "Whatever max_tokens is, this server ends an answer after about 100 tokens" in out
    assert "set a larger max_rounds" in out
    assert "round_tokens" not in out


ENDS = {"length": "stop"}
LIES: list[tuple[dict[str, str], dict[str, str], list[str], int, str]] = [
    # What becomes of the ends of whole answers and of streams, the options, the exit code, and what is said.
    (
        ENDS,
        ENDS,
        [],
        3,
        "Answers that max_tokens has cut do not end in 'length' here, so nobody can see that they were cut, and "
        "OPENAI_CONTINUE=1 leaves them as they are: name a larger max_tokens in the request. - To have long answers "
        "continued, serve the model with vLLM",
    ),
    (ENDS, ENDS, ["--stream"], 3, "Streams that max_tokens has cut do not end in 'length' here"),
    (
        ENDS,
        {},
        [],
        0,
        "but streams do: set stream_rounds=True (OPENAI_CONTINUE_STREAM_ROUNDS=1), which makes whole answers of streams",
    ),
    ({}, ENDS, [], 0, "but whole answers do: leave out stream=True where answers are long."),
    ({}, ENDS, ["--stream"], 3, "Streams that max_tokens has cut do not end in 'length' here"),
    (ENDS, {}, ["--stream"], 0, "Continuation(provider='deepinfra')"),
    (
        {"stop": "length"},
        {"stop": "length"},
        [],
        0,
        "Answers that have ended by themselves say 'length' here. Each of them costs one more request, which may add "
        'text to it: switch calls with short answers off, with extra_body={"continuation": False}.',
    ),
    ({}, {"stop": "length"}, ["--stream"], 0, "Answers that have ended by themselves say 'length' here."),
]


@pytest.mark.parametrize(("whole", "streamed", "options", "code", "words"), LIES)
def test_a_server_that_lies_about_the_end(
    whole: dict[str, str],
    streamed: dict[str, str],
    options: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers whose cut nobody can see are not continued; which ones these are is found out."""
    use(Changed(whole, streamed), monkeypatch)
    ended, out = told(capsys, {}, *options)

    assert ended == code
    assert words in out


@pytest.mark.parametrize("name", ["plain", "echo", "thinks"])
def test_a_server_that_does_not_lie(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said of ends that are as they should be."""
    habits = {"plain": {}, "echo": {"echo": "unflagged", "usage": "asked"}, "thinks": {"thinks": "reasoning_content"}}
    _, out = told(capsys, habits[name], "--json")
    said = json.loads(out)

    assert (said["hides_cuts"], said["claims_cuts"]) == ("none", False)
    assert "'length'" not in out


def case(row: str | None = "deepinfra", *, host_known: bool = True, **found: Any) -> Case:
    """Return a case with these findings; else the server continues."""
    findings = Findings(**{"marks": {"nothing": "continues"}, **found})
    return Case(findings, None if row is None else named(row), "example.org", host_known, "m")


CASES: list[tuple[Case, bool, str]] = [
    (case(), True, "Nothing needs to be set but OPENAI_CONTINUE=1, or patch() in the code."),
    (case(None), False, "It could not be found out whether this server continues"),
    (case(streamed="restarts"), True, "Whole answers go on, but streams do not: leave out stream=True"),
    (
        case(answer_arrives_in="reasoning", stream_arrives_in="content"),
        True,
        "as thoughts (in reasoning): set stream_rounds=True (OPENAI_CONTINUE_STREAM_ROUNDS=1), since streams have it",
    ),
    (
        case(answer_arrives_in="reasoning", stream_arrives_in="reasoning"),
        False,
        "as thoughts (in reasoning), so answers that were cut end there: start the server without its reasoning parser",
    ),
    (
        case(thoughts="refused", answer_after_thoughts="no way"),
        True,
        "no setting helps here, so name a max_tokens with room for the thoughts",
    ),
    (case(thoughts="unknown"), True, "The model did not think the same twice"),
    (case(tool_calls="closed"), True, "This server closes the arguments of a call that was cut"),
]


@pytest.mark.parametrize(("known", "continues", "words"), CASES)
def test_cases(known: Case, continues: bool, words: str) -> None:
    """The findings that no habit of the emulator leads to."""
    assert known.continues is continues
    assert words in " ".join(known.advice)


def test_each_sentence_names_what_to_use() -> None:
    """No advice without a setting, a variable, or what else to do."""
    told_to = re.compile(
        r"OPENAI_CONTINUE|on_reasoning_cut|max_tokens|max_rounds|stream=True|serve |start the server|extra_body"
    )
    several = [one for one, *_ in CASES[2:6]] + [replace(case(claims_cuts=True, hides_cuts="streamed"), streamed=True)]

    assert [said for one in several for said in one.advice if not told_to.search(said)] == []


def test_advice_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the sentences as a list."""
    code, out = told(capsys, VLLM, "--json")
    said = json.loads(out)

    assert code == 0
    assert "set OPENAI_CONTINUE_PROVIDER=vllm too" in said["advice"][0]
    assert said["streamed"] == "continues"


def test_a_server_that_refuses_stream_options(capsys: pytest.CaptureFixture[str]) -> None:
    """What the library can do without is no reason to say that the server refuses the text sent back."""
    code, out = told(capsys, {"usage": "asked", "refuses_stream_options": 422}, "--stream", "--json")

    assert code == 0
    assert json.loads(out)["marks"] == dict.fromkeys(MARKS, "continues")


COSTLY: list[dict[str, Any]] = [
    {},
    VLLM,
    {"refuses_prefill": True},
    {"ignores_prefill": True},
    {"default_tokens": 250},
    {"thinks": "reasoning_content", "think_tokens": 600},
    {**VLLM, "thinks": "reasoning", "template": "qwen3"},
    {"thinks": "inline", "template": "r1"},
    {"echo": "unflagged", "usage": "asked", "thinks": "reasoning_content", "template": "qwen3"},
    {"usage": "asked", "refuses_stream_options": 422},
]


@pytest.mark.parametrize("options", [["--stream"], ["--template", TEMPLATE]], ids=["stream", "template"])
@pytest.mark.parametrize("habits", COSTLY, ids=str)
def test_cost(habits: dict[str, Any], options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An examination costs no more than it says before."""
    _, out = told(capsys, habits, *options, "--json", model="Qwen/Qwen3-32B", folder=tmp_path, tokens=3000)
    said = json.loads(out)
    tokens, requests = (int(number.replace(",", "")) for number in re.findall(r"to ([\d,]+) (?:output|requests)", COST))

    assert said["completion_tokens"] <= tokens
    assert said["requests"] <= requests


def test_each_result_has_a_sentence() -> None:
    """Whatever a question about a cut comes to, the table has a sentence for it that can be filled in."""
    fields = ("thoughts", "answer_after_thoughts", "template", "tool_calls")
    cases = {
        (name, result): replace(case(**{"thoughts": "no way", name: result}), template="a.jinja")
        for name in fields
        for result in PROBES[name]
        if result != "to be set"
    }

    said = {key: " ".join(one.advice) for key, one in cases.items()}
    unsaid = [key for key in said if PROBES[key[0]][key[1]].sentence.partition("{")[0] not in said[key]]
    assert unsaid == []
    assert [key for key, text in said.items() if "{" in text] == []
