"""``openai-continue write``."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openai_continue._cli import main
from openai_continue.testing import Emulator, Fault
from tests.cli.commands import SECONDS, size_of, started, uncapped, wait_for, writing


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
    """The answer goes to stdout, the progress to stderr, and the exit code says that the answer is whole."""
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
    assert [first.read_bytes(), second.read_bytes()] == [expected, expected]


def test_write_says_by_its_exit_code_that_an_answer_is_cut(write: Callable[..., int], tmp_path: Path) -> None:
    """An answer that ended at the caller's limit is not whole."""
    assert write("Write it.", "-o", str(tmp_path / "cut"), "--max-tokens", "120") == 3


@pytest.mark.parametrize(
    ("arguments", "stopped_by", "rounds"),
    [
        (["--max-seconds", "1e-9"], "max_seconds", 1),
        (["--max-cost", "2e-5"], "max_cost", 2),
        (["--max-cost", "1e-9", "--max-seconds", "100"], "max_cost", 1),
        (["--max-cost", "1", "--max-seconds", "100"], "stop", 5),
    ],
)
def test_write_keeps_to_its_budgets(
    arguments: list[str],
    stopped_by: str,
    rounds: int,
    write: Callable[..., int],
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An answer that a budget ends is not whole; what was written is its beginning."""
    code = write("Write it.", "--json", *arguments)
    said, expected = json.loads(capsys.readouterr().out), truth(emulator, "Write it.")

    assert (0 if stopped_by == "stop" else 3, stopped_by, rounds) == (code, said["stopped_by"], said["rounds"])
    assert expected.startswith(said["text"])
    assert (stopped_by == "stop") == (expected == said["text"])
    assert rounds == len(emulator.requests)


@pytest.mark.parametrize("name", ["MAX_SECONDS", "MAX_COST"])
def test_write_takes_its_budgets_from_the_environment(
    name: str, write: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable holds unless an argument says otherwise."""
    monkeypatch.setenv(f"OPENAI_CONTINUE_{name}", "1e-9")
    argument = "--" + name.lower().replace("_", "-")

    assert [write("x", "-o", str(tmp_path / "a")), write("x", "-o", str(tmp_path / "b"), argument, "100")] == [3, 0]


def test_write_prints_json_for_scripts(
    write: Callable[..., int], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json and no file, stdout is one JSON object with the text in it."""
    code = write("Write it.", "--json")

    said = json.loads(capsys.readouterr().out)
    assert (0, truth(emulator, "Write it."), 5) == (code, said["text"], said["rounds"])
    assert {"finish_reason": "stop", "stopped_by": "stop", "exit_code": 0}.items() <= said.items()


@pytest.mark.thorough
def test_write_keeps_what_came_when_it_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends with 130, and the file has the text that had arrived."""
    file = tmp_path / "answer"
    with Emulator(cap=100, tokens=2_000, token_delay=0.01, events_per_write=1) as emulator:
        command = [sys.executable, "-m", "openai_continue", "write", "Write it.", "--model", "m", "-o", str(file)]
        process = subprocess.Popen(
            [*command, "--provider", "deepinfra", "--base-url", emulator.base_url],
            env={"DEEPINFRA_API_KEY": "key", "PATH": ""},
            stderr=subprocess.PIPE,
            # A shell starts background jobs, perhaps this suite, with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        wait_for(lambda: size_of(file) > 200)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
        expected = truth(emulator, "Write it.")

    written = file.read_bytes().decode()
    assert process.returncode == 130, err
    assert len(written) > 100
    assert expected.startswith(written)


def test_write_without_a_key_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key nothing is sent."""
    monkeypatch.delenv("DEEPINFRA_API_KEY", raising=False)

    assert main(["write", "x", "--model", "m"]) == 1
    assert "DEEPINFRA_API_KEY" in capsys.readouterr().err


def test_write_reports_an_error_of_the_server(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """An error in the first round is printed, and ends with 1."""
    address = emulator.base_url.replace("/openai", "/nowhere")

    assert main(["write", "x", "--model", "m", "--provider", "deepinfra", "--base-url", address]) == 1
    assert "NotFoundError" in capsys.readouterr().err


# An answer that outlives its process.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.spread(1)
def test_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    """After a kill, the same command begins with the text that was kept, and asks for the rest only."""
    folder, file = tmp_path / "journal", tmp_path / "answer"
    with Emulator(cap=50, tokens=200, faults=[Fault("hang", round=3)]) as emulator:
        arguments = writing(emulator, "--journal", str(folder), "-o", str(file))
        process = started(*arguments)
        wait_for(lambda: len(emulator.requests) >= 3)
        process.send_signal(number)
        process.communicate(timeout=60)
        asked, kept = len(emulator.requests), list(folder.glob("*.answer"))
        code = main(arguments)
        expected, bodies = uncapped(emulator), [one.body for one in emulator.requests]

    assert (code, len(kept)) == (0, 1)
    assert file.read_text() == expected
    assert bodies[asked]["messages"][-1]["role"] == "assistant"
    assert len(bodies[asked]["messages"][-1]["content"]) > len(expected) // 8
    # An answer that has ended is not kept.
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("provider", ["", "openai"])
def test_a_journal_for_an_answer_that_is_left_alone(
    provider: str, emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that the library leaves alone cannot be kept: nothing is asked, and a sentence says what to do."""
    why = {"": "127.0.0.1 is in no row of the provider table, so its answer is not kept. Name the row of its server"}
    assert main(writing(emulator, "--journal", str(tmp_path), provider=provider)) == 1
    said = why.get(provider, "m at 127.0.0.1 continues no answers, so this one is not kept.")
    assert f"openai-continue write: --journal: {said}" in capsys.readouterr().err
    assert emulator.requests == []


def test_a_journal_without_filelock(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the package that locks files, nothing is asked, and the extra to install is named."""
    monkeypatch.setitem(sys.modules, "filelock", None)
    assert main(writing(emulator, "--journal", str(tmp_path))) == 2
    assert "write --journal needs filelock: pip install 'openai-continue[journal]'" in capsys.readouterr().err
    assert emulator.requests == []
