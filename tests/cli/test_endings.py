"""How the commands end: pipes that nobody reads, full disks, closed descriptors, Ctrl-C, and questions to nobody."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_continue.testing import Emulator
from tests.cli.commands import SECONDS, ran, read_terminal, started

#: Arguments of commands that print something. ADDRESS becomes the emulator's, FOLDER an empty folder.
COMMANDS = [
    ["--help"],
    ["write", "--help"],
    ["run", "--help"],
    ["doctor", "--env"],
    ["doctor", "--env", "--json"],
    ["doctor", "--model", "m", "--base-url", "ADDRESS", "--yes"],
    ["doctor", "--model", "m", "--base-url", "ADDRESS", "--yes", "--json"],
    ["demo", "--tokens", "50"],
    ["journal", "FOLDER"],
    ["journal", "FOLDER", "--json"],
    ["write", "Hello.", "--model", "m", "--base-url", "ADDRESS", "--provider", "deepinfra", "--json"],
]


@pytest.fixture(params=COMMANDS, ids=lambda words: " ".join(words[:2] + words[-1:]))
def command(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> list[str]:
    """A command, with the address of a server and a folder in it."""
    places = {"ADDRESS": emulator.base_url, "FOLDER": str(tmp_path)}
    return [places.get(word, word) for word in request.param]


@pytest.mark.spread(1)
def test_a_pipe_that_nobody_reads(command: list[str]) -> None:
    """If nobody reads what a command prints, it ends without a word, with the exit code of a tool that SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = ran(*command, stdout=writer)
    os.close(writer)

    assert code == 141, err
    assert err.partition("This asks m at ")[0] == ""


@pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("number", [0, 1, 3, 8, 9])
@pytest.mark.thorough
def test_a_full_disk(number: int, env: dict[str, str], emulator: Emulator, tmp_path: Path) -> None:
    """If what a command prints cannot be written, the system's reason is said, and the exit code is 1."""
    places = {"ADDRESS": emulator.base_url, "FOLDER": str(tmp_path)}
    with Path("/dev/full").open("w") as full:
        code, _, err = ran(*[places.get(word, word) for word in COMMANDS[number]], stdout=full, env=env)

    assert (code, err) == (1, "openai-continue: No space left on device\n")


@pytest.mark.parametrize("words", [["doctor", "--env"], ["journal", "."], ["demo", "--tokens", "50"]], ids=" ".join)
def test_a_closed_stdout(words: list[str]) -> None:
    """With a closed stdout a command says so and does nothing."""
    assert ran(*words, closed=1) == (1, "", "openai-continue: stdout is closed\n")


def test_a_program_has_its_pipes_for_itself(tmp_path: Path) -> None:
    """What a program that ``run`` runs does with a closed pipe is what it does under Python."""
    app = tmp_path / "app.py"
    app.write_text("print('x' * 100_000, flush=True)\n")
    ends = []
    for arguments in (["-m", "openai_continue", "run", str(app)], [str(app)]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        ends.append((done.returncode, done.stderr.splitlines()[-1]))

    assert ends[0] == ends[1]


@pytest.fixture
def silent() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes a request and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(60)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", listener


@pytest.mark.parametrize("words", [["write", "Hello."], ["doctor", "--yes"]], ids=" ".join)
@pytest.mark.thorough
def test_an_interruption(words: list[str], silent: tuple[str, socket.socket]) -> None:
    """Ctrl-C ends a command that waits, with 130 and without a traceback."""
    address, listener = silent
    process = started(*words, "--model", "m", "--base-url", address)
    connection, _ = listener.accept()
    with connection:
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    assert b"Traceback" not in err


# The doctor asks before it spends tokens.

COST = "for up to 1,600 output tokens and about 2,500 input tokens in 12 to 28 requests."


@pytest.mark.parametrize("closed", [None, 0], ids=["no terminal", "closed"])
@pytest.mark.thorough
def test_the_doctor_asks_nobody(closed: int | None, emulator: Emulator) -> None:
    """Without a terminal to ask, and without --yes, the doctor says what it would cost, and spends nothing."""
    code, out, err = ran("doctor", "--model", "m", "--base-url", emulator.base_url, closed=closed)

    assert (code, emulator.requests) == (2, [])
    assert f"This asks m at {emulator.base_url} {COST}" in out
    assert err == "Nothing was asked: stdin is no terminal, so add --yes to spend these tokens.\n"


@pytest.mark.parametrize(
    ("answer", "code"), [("n\n", 130), ("what?\n", 130), ("\x04", 130), ("\x03", 130), ("\n", 0), ("Yes\n", 0)]
)
@pytest.mark.thorough
def test_the_doctor_asks_at_a_terminal(answer: str, code: int, emulator: Emulator) -> None:
    """At a terminal the doctor asks; the end of the input and Ctrl-C are no. The question is not in what is piped."""
    master, terminal = pty.openpty()
    process = started(
        *["doctor", "--model", "m", "--base-url", emulator.base_url, "--json"],
        stdin=terminal,
        stderr=terminal,
        start_new_session=True,
        env={"TERM": "dumb", "COLUMNS": "40"},
        terminal=terminal,
    )
    os.close(terminal)
    shown = ""
    while "Go on? [Y/n] " not in shown:
        shown += os.read(master, 4096).decode()
    os.write(master, answer.encode())
    out, _ = process.communicate(timeout=SECONDS)
    shown += read_terminal(master)
    os.close(master)

    assert (process.returncode, bool(emulator.requests)) == (code, code == 0), shown
    assert out.decode().startswith('{"completion_tokens": ') if code == 0 else out == b""
    assert "Traceback" not in shown
    assert COST.partition(" ")[0] in shown


# Prompts.


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        ([""], "the argument"),
        ([" \n\t"], "the argument"),
        (["-"], "stdin"),
        ([], "stdin"),
        (["--file", "/dev/null"], "/dev/null"),
    ],
)
@pytest.mark.thorough
def test_an_empty_prompt(arguments: list[str], source: str, emulator: Emulator, tmp_path: Path) -> None:
    """A prompt without a word is refused, wherever it comes from, and nothing is asked or written."""
    path = tmp_path / "answer"
    code, _, err = ran("write", *arguments, "--model", "m", "--base-url", emulator.base_url, "-o", str(path))

    assert (code, emulator.requests, path.exists()) == (2, [], False)
    assert f"the prompt in {source} is empty; give one as an argument, with --file, or on stdin" in err


@pytest.mark.thorough
def test_a_prompt_from_a_closed_stdin(emulator: Emulator) -> None:
    """A closed stdin has no prompt."""
    code, _, err = ran("write", "--model", "m", "--base-url", emulator.base_url, closed=0)

    assert code == 2
    assert "the prompt in stdin is empty" in err


@pytest.mark.parametrize("way", ["argument", "stdin", "stdin in C"])
@pytest.mark.thorough
def test_a_prompt_that_is_no_text(way: str, emulator: Emulator, tmp_path: Path) -> None:
    """Bytes that are no text are refused in a sentence."""
    path = tmp_path / "prompt"
    path.write_bytes(b"Caf\xe9")
    prompt = [os.fsdecode(b"Caf\xe9")] if way == "argument" else []
    env = {"PYTHONIOENCODING": "utf-8:strict"} if way == "stdin" else {"LC_ALL": "C"}
    with path.open("rb") as file:
        code, _, err = ran("write", *prompt, "--model", "m", "--base-url", emulator.base_url, stdin=file, env=env)

    assert (code, emulator.requests) == (2, [])
    assert f"the prompt in {way.removesuffix(' in C')} is no text in " in err.replace("the argument", "argument")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [["doctor"], ["write", "x"], ["write", "x", "--model", "m", "--system"]], ids=len)
def test_arguments_that_are_no_text(command: list[str]) -> None:
    """A model and a system prompt are text, too."""
    code, _, err = ran(*command, *([] if "--system" in command else ["--model"]), os.fsdecode(b"\xff"))

    assert code == 2
    assert "it is no text in the encoding of the terminal" in err


@pytest.mark.parametrize("words", [["--yes"], ["--yes", "--json"]], ids=" ".join)
@pytest.mark.thorough
def test_names_that_an_encoding_does_not_have(words: list[str], emulator: Emulator) -> None:
    """A name that the encoding of stdout does not have is shown as a ?."""
    arguments = ["doctor", "--model", "modèle", "--base-url", emulator.base_url, *words]
    code, out, err = ran(*arguments, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "40"})

    assert code == 0, err
    # Python's stderr shows any character as an escape sequence.
    assert "mod\\xe8le" in err if "--json" in words else "mod?le" in out


@pytest.mark.parametrize("name", ["", " "])
@pytest.mark.parametrize("option", ["--model", "--api-key-env"])
def test_an_empty_name(option: str, name: str, emulator: Emulator) -> None:
    """A model, or the variable of the key, without a name is refused."""
    code, _, err = ran("write", "Hello.", "--model", "m", "--base-url", emulator.base_url, option, name)

    assert (code, emulator.requests) == (2, [])
    assert f"{option}: got an empty name" in err


# Answers that nobody continues.


@pytest.mark.parametrize(
    ("arguments", "env", "why"),
    [
        ([], {}, "127.0.0.1 is in no row of the provider table, so its answer was not continued. Name the row"),
        (["--provider", "openai"], {}, "m at 127.0.0.1 continues no answers, so this one was not continued."),
        (["--provider", "deepinfra", "--model", "openai/gpt-5"], {}, "openai/gpt-5 at 127.0.0.1 continues no answers"),
        (["--provider", "deepinfra"], {"OPENAI_CONTINUE": "0"}, "OPENAI_CONTINUE switches continuation off."),
        (["--provider", "deepinfra", "--max-tokens", "50"], {}, "--max-tokens 50 ended the answer."),
    ],
)
@pytest.mark.thorough
def test_why_an_answer_is_cut(arguments: list[str], env: dict[str, str], why: str, emulator: Emulator) -> None:
    """An answer that was cut and not continued says why, and what to do."""
    code, out, err = ran("write", "Hello.", "--model", "m", "--base-url", emulator.base_url, *arguments, env=env)

    assert (code, len(emulator.requests)) == (3, 1)
    assert why in err
    assert "cut by length: " in err
    assert out


@pytest.mark.thorough
def test_a_whole_answer_of_an_unknown_host() -> None:
    """An answer that was not cut says nothing of the host."""
    with Emulator(cap=100, tokens=50) as emulator:
        code, _, err = ran("write", "Hello.", "--model", "m", "--base-url", emulator.base_url)

    assert (code, err.splitlines()[0][:7]) == (0, "whole: "), err
