"""``openai-continue doctor``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import openai
import pytest

from openai_continue.cli import main
from openai_continue.cli.doctor import matching_row
from openai_continue.cli.examination import MARKS, MOST_BY_DEFAULT, Doctor, Findings
from openai_continue.testing import Emulator, Habits

#: Each kind of server: the row that continues it, and how it differs from DeepInfra.
HABITS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("deepinfra", {}),
    "trims": ("deepinfra", {"trims": True}),
    "usage never": ("deepinfra", {"usage": "never"}),
    "thinks in a field, r1": ("deepinfra", {"thinks": "reasoning_content", "template": "r1"}),
    "thinks in a field, qwen3": ("deepinfra", {"thinks": "reasoning", "template": "qwen3"}),
    "thinks inline": ("deepinfra", {"thinks": "inline", "template": "r1"}),
    "flags": ("vllm", {"marker": "continue_final_message", "usage": "asked", "limit_field": "both"}),
    "misfiles": (
        "vllm",
        {"marker": "continue_final_message", "usage": "asked", "thinks": "reasoning", "misfiles": "both"},
    ),
    "trims, usage asked": ("tgi", {"trims": True, "usage": "asked"}),
    "prefix, echo": ("mistral", {"marker": "prefix", "strict_marker": True, "echo": "always"}),
    "prefix": ("deepseek", {"marker": "prefix", "usage": "trailing"}),
    "partial": ("moonshot", {"marker": "partial"}),
    "echo": ("llama.cpp", {"echo": "unflagged", "usage": "asked"}),
    "restarts": ("openai", {"ignores_prefill": True}),
    "refuses": ("openai", {"refuses_prefill": True}),
}


def examined(**habits: Any) -> Findings:
    """Return what the doctor finds on a server with these habits."""
    tokens = 3000 if "default_tokens" in habits else 500
    with (
        Emulator(tokens=tokens, context=4096, habits=dataclasses.replace(Habits(), **habits)) as emulator,
        openai.OpenAI(base_url=emulator.base_url, api_key="key", max_retries=0) as client,
    ):
        return Doctor(client, "m").examine()


@pytest.mark.parametrize("name", HABITS)
def test_doctor_names_the_row_of_a_server_by_its_habits(name: str) -> None:
    """The doctor names the row that continues a server of unknown host, within 1,000 tokens."""
    row, habits = HABITS[name]
    found = examined(**habits)

    matched = matching_row(found, "127.0.0.1", "/v1/openai")
    assert row == matched.name
    assert (habits.get("trims", False) and habits.get("usage") != "never") == bool(found.trims)
    assert found.context_length == 4096
    assert found.completion_tokens < 1000
    assert found.stops_at_default is False


@pytest.mark.parametrize(
    ("default", "stops", "tokens"), [(100, True, 100), (None, False, MOST_BY_DEFAULT), (2048, False, MOST_BY_DEFAULT)]
)
def test_doctor_finds_a_small_default_of_max_tokens(default: int | None, stops: bool, tokens: int) -> None:
    """A default of 100 tokens is found. An answer with a larger default is not read to its end."""
    found = examined(default_tokens=default)

    assert (stops, tokens) == (found.stops_at_default, found.default_tokens)


def test_marks_are_those_of_the_table() -> None:
    """The doctor tries each mark of the provider table once, the way without marks first."""
    assert ["nothing", "continue_final_message", "prefix", "partial"] == list(MARKS)
    assert {"add_generation_prompt": False, "continue_final_message": True} == MARKS[
        "continue_final_message"
    ].body_marks
    assert [{}, {}, {"prefix": True}, {"partial": True}] == [row.message_marks for row in MARKS.values()]


ROWS = [
    # What the server does with each mark, whether it trims, its usage in streams, and the row.
    ({}, False, "never", "openai"),
    ({"nothing": "restarts", "prefix": "new turn"}, True, "never", "openai"),
    ({"nothing": "continues"}, False, "never", "deepinfra"),
    ({"nothing": "continues"}, True, "on the last chunk", "deepinfra"),
    ({"nothing": "continues"}, True, "never", "tgi"),
    ({"nothing": "echoes", "prefix": "continues"}, True, "never", "llama.cpp"),
    ({"continue_final_message": "continues", "prefix": "continues"}, True, "never", "vllm"),
    ({"continue_final_message": "echoes"}, False, "never", "llama.cpp"),
    ({"nothing": "refused", "prefix": "continues"}, True, "never", "deepseek"),
    ({"prefix": "echoes"}, True, "never", "mistral"),
    ({"partial": "continues"}, True, "never", "moonshot"),
    ({"partial": "echoes"}, False, "never", "moonshot"),
]


@pytest.mark.parametrize(("marks", "trims", "usage", "row"), ROWS)
def test_matching_row(marks: dict[str, str], trims: bool, usage: str, row: str) -> None:
    """Findings lead to one row; a host that is in the table has the row of its own."""
    judged = {name: marks.get(name, "new turn") for name in MARKS}
    found = Findings(marks=judged, trims=trims, usage_in_streams=usage)
    named = [matching_row(found, *address) for address in (("example.org", "/v1"), ("api.mistral.ai", "/v1"))]

    assert [row, "mistral"] == [one.name for one in named]


def test_doctor_prints_what_it_found_as_json(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the findings, the row and the settings to stdout, and the price to stderr."""
    code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--json", "--yes"])

    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (code, said["provider"], said["settings"]) == (0, "deepinfra", {"provider": "deepinfra"})
    assert "output tokens" in err


def test_doctor_prints_a_table(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The table ends with the settings to use."""
    code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes"])

    out = capsys.readouterr().out
    assert code == 0
    assert "Continuation(provider='deepinfra')" in out


def test_doctor_without_an_answer_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint without an answer ends with 1, and its errors are named."""
    with Emulator() as emulator:
        address = emulator.base_url.replace("/openai", "/nowhere")

        assert main(["doctor", "--model", "m", "--base-url", address, "--yes"]) == 1
    assert "NotFoundError 404" in capsys.readouterr().err
