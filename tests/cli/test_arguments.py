"""The arguments of the command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from openai_continue._cli import main


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["write", "x", "--model", "m", "--max-tokens", "0"], "--max-tokens: got 0"),
        (["write", "x", "--model", "m", "--resume", "a"], "--resume is gone; --journal FOLDER keeps an unfinished"),
        (["write", "x", "--model", "m", "--resume"], "--resume is gone"),
        (["write", "x", "--model", "m", "--file", "y"], "not both"),
        (["write", "x", "--model", "m", "--max-seconds", "long"], "--max-seconds: invalid float value: 'long'"),
        (["write", "x", "--model", "m", "--max-cost", "$1"], "--max-cost: invalid float value: '$1'"),
        (["demo", "--live"], "--live needs --model"),
        (["demo", "--tokens", "0"], "--tokens: got 0"),
        (["run", "-m"], "name a package"),
        (["run"], "name a program"),
        (["doctor"], "name the model with --model"),
        (["batch"], "the following arguments are required: part"),
        (["batch", "next", "input"], "the following arguments are required: OUTPUT, -o/--output"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad argument ends with 2 and a message that says what to do."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("name", ["max-seconds", "max-cost"])
def test_bad_budgets(
    name: str, amount: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget that is no amount is refused before anything is sent."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")

    assert main(["write", "x", "--model", "m", f"--{name}={amount}"]) != 0
    assert f"{name.replace('-', '_')}: got" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "write", "doctor", "batch", "batch next", "batch join", "run"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself, ``run`` too, which passes other options on to the program."""
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])

    assert f"usage: openai-continue {command}" in capsys.readouterr().out


@pytest.mark.thorough
def test_missing_extra() -> None:
    """Without the extra ``cli``, the message names the package that is missing and how to install it."""
    code = "import sys; sys.modules['rich'] = None; from openai_continue._cli import main; main(['demo'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr

    assert "needs rich" in said
    assert "pip install 'openai-continue[cli]'" in said
