"""The command openai-continue: write, doctor and demo, against the emulator."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_continue.cli import main
from openai_continue.cli.doctor import MOST_BY_DEFAULT, Doctor, matching_row
from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.habits import DEEPINFRA


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    with Emulator(cap=100, tokens=450) as running:
        yield running


@pytest.fixture
def write(emulator: Emulator) -> Callable[..., int]:
    def run(*arguments: str) -> int:
        return main(["write", "--model", "m", "--provider", "deepinfra", "--base-url", emulator.base_url, *arguments])

    return run


def truth(emulator: Emulator, prompt: str, system: str | None = None) -> str:
    messages = [{"role": "system", "content": system}] if system else []
    return emulator.uncapped({"model": "m", "messages": [*messages, {"role": "user", "content": prompt}]})


def test_write_streams_the_whole_answer_to_stdout(
    write: Callable[..., int], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer goes to stdout, the last line of progress to stderr, and the exit code says that it is whole."""
    code = write("Write it.", "--system", "Be long.")

    out, err = capsys.readouterr()
    assert (0, truth(emulator, "Write it.", "Be long.")) == (code, out)
    assert "whole: " in err
    assert "round 5" in err


def test_write_reads_the_prompt_from_a_file_and_from_stdin(
    write: Callable[..., int], emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is an argument, a file, or stdin."""
    prompt, first, second = tmp_path / "prompt.txt", tmp_path / "first", tmp_path / "second"
    prompt.write_text("From afar.", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("From afar."))

    assert [write("--file", str(prompt), "-o", str(first)), write("-o", str(second))] == [0, 0]
    expected = truth(emulator, "From afar.").encode()
    assert [expected, expected] == [first.read_bytes(), second.read_bytes()]


def test_write_says_by_its_exit_code_that_an_answer_is_cut(write: Callable[..., int], tmp_path: Path) -> None:
    """An answer that ended at the caller's limit is not whole."""
    assert write("Write it.", "-o", str(tmp_path / "cut"), "--max-tokens", "120") == 3


@pytest.mark.parametrize("length", range(120, 126))
def test_write_resumes_a_partly_written_file(
    write: Callable[..., int], emulator: Emulator, tmp_path: Path, length: int
) -> None:
    """A file that was cut anywhere, in blanks too, becomes the whole answer."""
    file = tmp_path / "answer"
    expected = truth(emulator, "Write it.")
    file.write_bytes(expected[:length].encode())

    code = write("Write it.", "--resume", str(file))

    assert (0, expected) == (code, file.read_bytes().decode())


def test_write_prints_json_for_scripts(
    write: Callable[..., int], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json and no file, stdout is one JSON object with the text in it."""
    code = write("Write it.", "--json")

    said = json.loads(capsys.readouterr().out)
    assert (0, truth(emulator, "Write it."), 5) == (code, said["text"], said["rounds"])
    assert {"finish_reason": "stop", "stopped_by": "stop", "exit_code": 0}.items() <= said.items()


def test_write_keeps_what_came_when_it_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends with 130, and the file has what was shown."""
    file = tmp_path / "answer"
    with Emulator(cap=100, tokens=2_000, token_delay=0.01, events_per_write=1) as emulator:
        command = [sys.executable, "-m", "openai_continue", "write", "Write it.", "--model", "m", "-o", str(file)]
        process = subprocess.Popen(
            [*command, "--provider", "deepinfra", "--base-url", emulator.base_url],
            env={"DEEPINFRA_API_KEY": "key", "PATH": ""},
            stderr=subprocess.PIPE,
            # A shell's background job, as this suite may be, ignores it, and hands that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        end = time.monotonic() + 20
        while time.monotonic() < end and not (file.exists() and file.stat().st_size > 200):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        expected = truth(emulator, "Write it.")

    written = file.read_bytes().decode()
    assert process.returncode == 130, err
    assert len(written) > 100
    assert expected.startswith(written)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["write", "x", "--model", "m", "--max-tokens", "0"], "--max-tokens: got 0"),
        (["write", "x", "--model", "m", "-o", "a", "--resume", "b"], "--resume"),
        (["write", "x", "--model", "m", "--resume", "/nonexistent/file"], "there is no file"),
        (["write", "x", "--model", "m", "--file", "y"], "not both"),
        (["demo", "--live"], "--live needs --model"),
        (["demo", "--tokens", "0"], "--tokens: got 0"),
        (["run", "-m"], "name a package"),
        (["run"], "name a program"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad argument ends with 2 and a message that says what to do."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert complaint in capsys.readouterr().err


def test_write_without_a_key_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key nothing is sent."""
    monkeypatch.delenv("DEEPINFRA_API_KEY", raising=False)

    assert main(["write", "x", "--model", "m"]) == 1
    assert "DEEPINFRA_API_KEY" in capsys.readouterr().err


def test_write_reports_an_error_of_the_server(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """An error in the first round is told, and ends with 1."""
    address = emulator.base_url.replace("/openai", "/nowhere")

    assert main(["write", "x", "--model", "m", "--provider", "deepinfra", "--base-url", address]) == 1
    assert "NotFoundError" in capsys.readouterr().err


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


@pytest.mark.parametrize("name", HABITS)
def test_doctor_names_the_row_of_a_server_by_its_habits(name: str) -> None:
    """Every habit leads to the row that continues it, for a host that nobody knows."""
    row, habits = HABITS[name]
    with Emulator(tokens=500, context=4096, habits=dataclasses.replace(DEEPINFRA, **habits)) as emulator:
        client = openai.OpenAI(base_url=emulator.base_url, api_key="key", max_retries=0)
        found = Doctor(client, "m").examine()
        client.close()

    matched = matching_row(found, "127.0.0.1", "/v1/openai")
    assert matched is not None
    assert row == matched.name
    assert (habits.get("trims", False) and habits.get("usage") != "never") == bool(found.trims)
    assert found.context_length == 4096
    assert found.completion_tokens < 1000
    assert found.stops_at_default is False


def test_doctor_finds_a_small_default_of_max_tokens() -> None:
    """A server that gives 100 tokens where none are asked for is found out; one that gives more is left early."""
    for default, stops in ((100, True), (None, False), (2048, False)):
        habits = dataclasses.replace(DEEPINFRA, default_tokens=default)
        with Emulator(tokens=3000, habits=habits) as emulator:
            client = openai.OpenAI(base_url=emulator.base_url, api_key="key", max_retries=0)
            found = Doctor(client, "m").examine()
            client.close()

        assert (stops, 100 if stops else MOST_BY_DEFAULT) == (found.stops_at_default, found.default_tokens)


def test_doctor_prints_what_it_found_as_json(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the findings, the row and the settings, and says first what it costs."""
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
    """An endpoint that answers nothing is no endpoint to examine."""
    with Emulator() as emulator:
        address = emulator.base_url.replace("/openai", "/nowhere")

        assert main(["doctor", "--model", "m", "--base-url", address, "--yes"]) == 1
    assert "NotFoundError 404" in capsys.readouterr().err


def test_demo_ends_with_0_where_the_texts_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo shows the answer that was cut beside the whole one, in three requests."""
    code = main(["demo", "--tokens", "17000", "--stream", "--async"])

    out = capsys.readouterr().out
    assert code == 0
    assert "16,384" in out
    assert [word for word in ("length", "stop") if word in out] == ["length", "stop"]


def test_habits_are_those_of_deepinfra_by_default() -> None:
    """The table above starts from the emulator's own default."""
    assert Habits() == DEEPINFRA
