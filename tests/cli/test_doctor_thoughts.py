"""What ``openai-continue doctor`` finds out about thoughts that were cut, and about chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openai_continue._cli import main
from openai_continue._cli.doctor.probes import PROBES
from openai_continue.testing import Emulator, Habits
from tests.cli.doctoring import TEMPLATE, Changed, told, use

VLLM: dict[str, Any] = {"marker": "continue_final_message", "usage": "asked", "thinks": "reasoning"}
LLAMA: dict[str, Any] = {"echo": "unflagged", "usage": "asked", "thinks": "reasoning_content", "template": "qwen3"}
ANSWERS = {"on_reasoning_cut": "answer"}

THOUGHTS: list[tuple[dict[str, Any], str, tuple[str, str], dict[str, Any]]] = [
    # The habits, the model, what the chat and the request for an answer come to, and the settings beside the row.
    ({**VLLM, "template": "qwen3", "think_blanks": "kept"}, "m", ("no way", "answers"), ANSWERS),
    ({**VLLM, "template": "glm", "think_blanks": "kept"}, "m", ("no way", "no answer"), {}),
    ({**VLLM, "template": "r1"}, "deepseek-ai/DeepSeek-R1", ("continues", "no answer"), {}),
    ({**LLAMA, "think_blanks": "stripped"}, "m", ("continues", "thinks"), {}),
    ({"thinks": "reasoning_content", "template": "qwen3"}, "m", ("no way", "no answer"), {}),
    (
        {"thinks": "reasoning_content", "template": "qwen3", "thinking_switch": "both"},
        "m",
        ("no way", "answers"),
        ANSWERS,
    ),
]


@pytest.mark.parametrize("options", [[], ["--stream"]], ids=["whole", "stream"])
@pytest.mark.parametrize(("habits", "model", "found", "settings"), THOUGHTS)
def test_thoughts(
    habits: dict[str, Any],
    model: str,
    found: tuple[str, str],
    settings: dict[str, Any],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Which ways there are for thoughts that were cut, and the setting that helps."""
    code, out = told(capsys, habits, *options, "--json", model=model)
    said = json.loads(out)
    advice = " ".join(said["advice"])

    assert code == 0
    assert found == (said["thoughts"], said["answer_after_thoughts"])
    assert settings.items() <= said["settings"].items()
    assert ("on_reasoning_cut" in said["settings"]) is bool(settings)
    assert PROBES["thoughts"][found[0]].sentence in advice
    assert ("OPENAI_CONTINUE_ON_REASONING_CUT=answer" in advice) is bool(settings)
    assert ("OPENAI_CONTINUE_TEMPLATE=auto" in advice) is (found[0] != "continues")


def test_a_model_that_does_not_think(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not asked."""
    _, out = told(capsys, {}, "--json")
    said = json.loads(out)

    assert (said["thoughts"], said["answer_after_thoughts"], said["template"]) == (None, None, None)


def test_the_requests(capsys: pytest.CaptureFixture[str]) -> None:
    """One request for the thoughts and one for the answer: the first answers have the cut."""
    with Emulator(tokens=500, habits=Habits(**LLAMA)) as emulator:
        main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes"])
        bodies = [one.body for one in emulator.requests]

    marks = [body.get("continue_final_message") for body in bodies]
    assert (marks.count("reasoning_content"), marks.count("content")) == (1, 1)
    assert "Thoughts that are cut go on." in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--stream"]], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"trims": True},
        {**VLLM, "template": "qwen3", "think_blanks": "kept"},
        {**VLLM, "template": "glm", "think_blanks": "kept"},
        {**VLLM, "template": "r1", "misfiles": "both"},
        {**LLAMA, "think_blanks": "stripped"},
    ],
    ids=str,
)
def test_the_template_of_the_server(
    habits: dict[str, Any], options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the server's own template, answers and thoughts go on, and the setting is named."""
    code, out = told(capsys, habits, *options, "--template", TEMPLATE, "--json", folder=tmp_path)
    said = json.loads(out)
    path = str(tmp_path / "template.jinja")

    assert (code, said["template"], said["settings"]["template"]) == (0, "continues", path)
    assert f"(OPENAI_CONTINUE_TEMPLATE={path})" in " ".join(said["advice"])
    assert "on_reasoning_cut" not in said["settings"]


def test_a_server_that_refuses_the_prefill_but_has_completions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Answers go on with the template alone, so the exit code is 0."""
    code, out = told(capsys, {"refuses_prefill": True}, "--template", TEMPLATE, folder=tmp_path)

    assert code == 0
    assert "By the chat they cannot, so set template=" in out
    assert "Continuation(provider='vllm', template=" in out


def test_another_template(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A template that makes another prompt is found out by its number of tokens."""
    after = "{{ 'Think before you answer, step by step.' }}"
    code, out = told(capsys, {}, "--template", TEMPLATE, folder=tmp_path, after=after)

    assert code == 0
    assert PROBES["template"]["another prompt"].sentence in out
    assert "settings: Continuation(provider='deepinfra') " in out


def test_a_server_without_completions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 there is said."""
    use(Changed({}, {}, missing="/completions"), monkeypatch)
    code, out = told(capsys, {}, "--template", TEMPLATE, folder=tmp_path)

    assert code == 0
    assert "This server has no /completions. Leave OPENAI_CONTINUE_TEMPLATE unset." in out


@pytest.mark.parametrize(
    ("habits", "words"),
    [
        ({"usage": "never"}, "it is unknown whether the template is its own"),
        ({"marker": "prefix", "strict_marker": True, "echo": "always"}, "not known to continue a text at /completions"),
    ],
)
def test_a_template_that_cannot_be_judged(
    habits: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Usage is needed, and a row that has /completions."""
    _, out = told(capsys, habits, "--template", TEMPLATE, folder=tmp_path)

    assert words in out
    assert "template=" not in out


def test_a_template_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A bad path ends with 1 and the accepted forms, before anything is sent."""
    with Emulator() as emulator:
        missing = str(tmp_path / "missing.jinja")
        arguments = ["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes", "--template", missing]

        assert main(arguments) == 1
        assert len(emulator.requests) == 0
    assert "accepted are 'auto' and the path of a chat template" in capsys.readouterr().err
