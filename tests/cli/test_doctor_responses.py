"""What ``openai-continue doctor`` asks at ``/responses``, and what it says of it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from openai_continue._cli.doctor.advice import Case
from openai_continue._cli.doctor.probes import PROBES, Findings
from openai_continue._cli.doctor.questions import RESPONSE_MARKS
from openai_continue._tables.providers import named
from tests.cli.doctoring import Changed, told, use

CONTINUES, NEW, ECHOES = "continues", "new turn", "echoes"
VLLM: dict[str, Any] = {"marker": "continue_final_message", "usage": "asked", "limit_field": "both"}
KINDS: dict[str, tuple[dict[str, Any], str, list[str], bool]] = {
    # How the chat endpoint differs, the result, what became of each mark, and whether the cap shows.
    "deepinfra": ({}, "continues", [NEW, CONTINUES, NEW], False),
    "vllm": (VLLM, "continues", [NEW, CONTINUES, CONTINUES], True),
    "llama.cpp": ({"echo": "unflagged", "usage": "asked"}, "hides", [ECHOES] * 3, False),
    "ollama": ({"usage": "asked"}, "hides", [CONTINUES] * 3, False),
    "sglang": ({"usage": "asked"}, "hides", [NEW] * 3, False),
    "openai": ({}, "not continued", [NEW] * 3, False),
}


def sentence(result: str, row: str) -> str:
    return PROBES["responses"][result].sentence.format(row=row)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.spread(6)
def test_kinds(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Three questions tell the six kinds of server apart: is it there, does a mark work, and what is the cap."""
    habits, result, marks, shows_cap = KINDS[kind]
    code, out = told(capsys, {**habits, "responses": kind}, "--json")
    said = json.loads(out)

    assert (code, said["responses"]) == (0, result)
    assert said["response_marks"] == dict(zip(["nothing", *RESPONSE_MARKS], marks, strict=True))
    assert (said["response_cap"] or 0) == (4096 - 32 if shows_cap else 0)
    assert sentence(result, said["provider"]) in said["advice"]
    assert said["errors"] == []


@pytest.mark.parametrize("kind", ["vllm", "deepinfra"])
def test_the_row_decides(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that goes on by another mark than that of its row is one whose responses are left alone."""
    habits = {"responses": "deepinfra", **VLLM} if kind == "vllm" else {"responses": kind}
    _, out = told(capsys, habits)

    assert sentence("left alone" if kind == "vllm" else "continues", kind) in out
    assert "marked by status" in out


@pytest.mark.parametrize("misfiles", [None, "both"])
def test_a_model_that_thinks(misfiles: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer that a parser files as thoughts is one that goes on."""
    habits = {**VLLM, "thinks": "reasoning", "template": "qwen3", "misfiles": misfiles, "responses": "vllm"}
    _, out = told(capsys, habits, "--json")

    assert json.loads(out)["response_marks"]["status"] == CONTINUES


def test_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without the endpoint is asked once, and that is no error."""
    use(Changed({}, {}, missing="/responses"), monkeypatch)
    code, out = told(capsys, {}, "--json")
    said = json.loads(out)

    assert (code, said["responses"], said["response_marks"], said["errors"]) == (0, "not there", {}, [])
    assert "This server has no /responses. Let your framework ask for chat completions." in said["advice"]


def test_a_server_that_continues_no_chat_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Where chats cannot be continued, nothing is asked or said of responses."""
    code, out = told(capsys, {"ignores_prefill": True}, "--json")
    said = json.loads(out)

    assert (code, said["responses"]) == (3, None)
    assert not any("/responses" in one for one in said["advice"])


@pytest.mark.parametrize("result", PROBES["responses"])
def test_each_result_has_a_sentence(result: str) -> None:
    """Whatever the questions come to, there is a sentence that can be filled in."""
    found = Findings(marks={"nothing": CONTINUES}, responses=result)
    advice = Case(found, named("vllm"), "example.org", True, "m").advice

    assert PROBES["responses"][result].sentence.partition("{")[0] in " ".join(advice)
    assert "{" not in " ".join(advice)


def test_the_command_that_settles_the_row_of_deepinfra() -> None:
    """On DeepInfra's own host the doctor names the command whose output settles the row, which is by schema."""
    found = Findings(marks={"nothing": CONTINUES}, responses="continues")
    said = Case(found, named("deepinfra"), "api.deepinfra.com", True, "org/Model").advice
    (line,) = [one for one in said if "openai-continue doctor" in one]
    words = shlex.split(line[line.index("openai-continue doctor") :])

    assert words[2:] == ["--base-url", "https://api.deepinfra.com/v1/openai", "--model", "org/Model", "--yes", "--json"]
    elsewhere = Case(found, named("deepinfra"), "example.org", False, "org/Model").advice
    assert not any("openai-continue doctor" in one for one in elsewhere)
