"""What a terminal shows of the commands: narrow and wide, without colour, as a dumb one, in ASCII, and in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from openai_continue.testing import Emulator
from tests.cli.commands import ran, read_terminal, started

#: Arguments of commands that print something. ADDRESS becomes the emulator's, FOLDER an empty folder.
SENTENCES = [
    ["--help"],
    *([command, "--help"] for command in ("demo", "write", "doctor", "journal", "run")),
    ["batch", "next", "--help"],
    ["batch", "join", "--help"],
    ["doctor", "--env"],
    ["journal", "FOLDER"],
    ["write", "Hello.", "--model", "m", "--base-url", "ADDRESS", "--output", "FOLDER/book"],
    ["write", "Hello.", "--model", "m", "--base-url", "ADDRESS", "--max-tokens", "20", "--output", "FOLDER/book"],
]
TABLES = [
    ["demo", "--tokens", "50"],
    ["demo", "--tokens", "50", "--stream", "--async"],
    ["doctor", "--model", "m", "--base-url", "ADDRESS", "--yes"],
]
#: Arguments of commands that end in an error, and their exit codes.
ERRORS = [
    (["writ"], 2),
    (["write", "Hello."], 2),
    (["write", "--file", "FOLDER/a prompt", "--model", "m", "--base-url", "ADDRESS"], 1),
    (["write", "Hello.", "--model", "m", "--api-key-env", "NO_SUCH_KEY"], 1),
    (["write", "Hello.", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"], 1),
    (["doctor", "--model", "m", "--base-url", "ADDRESS"], 2),
    (["doctor", "--model", "m", "--base-url", "ADDRESS", "--template", "FOLDER/a template"], 1),
    (["journal", "FOLDER/no folder"], 1),
    (["batch", "next", "FOLDER/a batch", "FOLDER/its output", "--output", "FOLDER/next"], 1),
    (["run", "no_such_app.py"], 2),
    (["run", "-m", "no_such_package"], 1),
    (["demo", "--tokens", "0"], 2),
]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
#: What a line may begin with that is longer than the terminal: it is there to be copied.
COPIED = ("settings: ", "variables: ")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*[349][0-9](?:;[0-9]+)*m")


@pytest.fixture(params=SENTENCES, ids=lambda words: " ".join(words[:2]))
def sentences(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> list[str]:
    """A command that prints sentences."""
    return placed(request.param, emulator, tmp_path)


@pytest.fixture(params=TABLES, ids=lambda words: " ".join(words[:1] + words[3:4]))
def table(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> list[str]:
    """A command that prints a table."""
    return placed(request.param, emulator, tmp_path)


def placed(command: list[str], emulator: Emulator, folder: Path) -> list[str]:
    """Return the command with the address of a server and a folder in it."""
    return [word.replace("ADDRESS", emulator.base_url).replace("FOLDER", str(folder)) for word in command]


def terminal_of(width: int) -> tuple[int, int]:
    """Return both ends of a terminal with so many columns: ours, and that of the command."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    return ours, theirs


def shown(command: list[str], width: int, **env: str) -> tuple[int, str]:
    """Run a command on a terminal with so many columns; return its exit code and all that was written."""
    ours, theirs = terminal_of(width)
    variables = {"TERM": "xterm-256color", "DEEPINFRA_API_KEY": "key", "OPENAI_API_KEY": "key", **PROVIDER, **env}
    with started(*command, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        written = read_terminal(ours)
    os.close(ours)
    return process.returncode, written


PROVIDER = {"OPENAI_CONTINUE_PROVIDER": "deepinfra"}


def lines(written: str) -> list[str]:
    """Return the lines that stay: a carriage return begins one again."""
    return [SEQUENCE.sub("", line).rpartition("\r")[2] for line in written.split("\n")]


def too_long(written: str, width: int) -> list[str]:
    """Return the lines that a terminal would break within a word. One word alone cannot be broken anywhere else."""
    long = [line for line in lines(written) if len(line) > width and not line.startswith(COPIED)]
    return [line for line in long if len(line.split()) > 1]


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.spread(2)
def test_sentences(sentences: list[str], width: int) -> None:
    """A terminal shows the words that go to a pipe, each in one piece, and no line is longer than it is wide."""
    code, written = shown(sentences, width)
    piped = ran(*sentences, env={"DEEPINFRA_API_KEY": "key", **PROVIDER})

    assert code == piped[0]
    assert too_long(written, width) == []
    if sentences[0] != "write":
        assert " ".join(lines(written)).split() == (piped[1] + piped[2]).split()


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize(
    ("command", "code"), ERRORS, ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None
)
@pytest.mark.spread(2)
def test_errors(command: list[str], code: int, width: int, emulator: Emulator, tmp_path: Path) -> None:
    """An error is a sentence that the terminal does not break within a word, without a number of the system's."""
    ended, written = shown(placed(command, emulator, tmp_path), width)

    assert ended == code
    assert too_long(written, width) == []
    assert "Traceback" not in written
    assert "Errno" not in written


def test_the_width_is_that_of_stderr(tmp_path: Path) -> None:
    """If stdout is a pipe, a sentence on stderr is as wide as the terminal that shows it."""
    ours, theirs = terminal_of(40)
    with started("journal", str(tmp_path / "no folder"), stderr=theirs) as process:
        os.close(theirs)
        written = read_terminal(ours)
    os.close(ours)

    assert process.returncode == 1
    assert " ".join(written.split()) == f"openai-continue journal: there is no folder {tmp_path}/no folder"
    assert too_long(written, 40) == []


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.spread(1)
def test_tables(table: list[str], width: int) -> None:
    """Nothing of a table, of the code above it, or of a sentence below it is cut off."""
    code, written = shown(table, width)

    assert code == 0
    assert too_long(written, width) == []
    assert "…" not in written


@pytest.mark.thorough
def test_without_colour(table: list[str]) -> None:
    """With NO_COLOR nothing is coloured, and a dumb terminal gets no sequences at all."""
    assert COLOUR.findall(shown(table, 80, NO_COLOR="1")[1]) == []
    assert SEQUENCE.findall(shown(table, 80, TERM="dumb")[1]) == []


@pytest.mark.thorough
def test_colour(table: list[str]) -> None:
    """Elsewhere a terminal gets colours, so that the test above sees them."""
    assert (COLOUR.findall(shown(table, 80)[1]) != []) == (table[0] == "demo")


@pytest.mark.parametrize("command", [*SENTENCES, *TABLES], ids=lambda words: " ".join(words[:2]))
@pytest.mark.spread(1)
def test_ascii(command: list[str], emulator: Emulator, tmp_path: Path) -> None:
    """Where the encoding is ASCII, a command ends as elsewhere, and writes nothing else."""
    code, out, err = ran(*placed(command, emulator, tmp_path), env={"DEEPINFRA_API_KEY": "key", **PROVIDER, **ASCII})

    assert code in (0, 3)
    assert (out + err).isascii()
    assert "Traceback" not in err


@pytest.mark.thorough
def test_a_pipe(table: list[str]) -> None:
    """A pipe gets no sequences of a terminal, and no line that is drawn again."""
    code, out, err = ran(*table, env={"DEEPINFRA_API_KEY": "key", **PROVIDER})

    assert code == 0
    assert SEQUENCE.findall(out + err) == []
    assert "\r" not in out + err


def test_the_bar_does_not_run_into_the_text(emulator: Emulator) -> None:
    """On a terminal that shows the text itself there is no bar, and the summary begins a line of its own."""
    command = ["write", "Write 30 tokens.", "--model", "m", "--base-url", emulator.base_url]
    code, written = shown(command, 40)
    text = emulator.uncapped({"model": "m", "messages": [{"role": "user", "content": "Write 30 tokens."}]})

    assert code == 0
    assert written.startswith(text)
    assert written[len(text) :].lstrip("\n").startswith("whole: ")
    assert "\r" not in written


@pytest.mark.thorough
def test_what_is_logged_does_not_run_into_the_text(emulator: Emulator, tmp_path: Path) -> None:
    """What the library logs while the text comes is said after it."""
    (tmp_path / "file").write_text("This is no folder.")
    command = [
        "write",
        "Write 30 tokens.",
        "--model",
        "m",
        "--base-url",
        emulator.base_url,
        "--journal",
        str(tmp_path / "file"),
    ]
    code, written = shown(command, 200)
    text = emulator.uncapped({"model": "m", "messages": [{"role": "user", "content": "Write 30 tokens."}]})
    logged, summary, _ = written.removeprefix(text).lstrip("\n").split("\n")

    assert code == 0
    assert written.startswith(text)
    assert logged.startswith(f"the journal in {tmp_path / 'file'} cannot be used")
    assert summary.startswith("whole: ")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--port", "99999", "--port: got 99999, accepted is a whole number from 0 to 65,535"),
        ("--port", "USED", "Address already in use"),
        ("--chunk-tokens", "0", "--chunk-tokens: got 0, accepted is a whole number from 1"),
    ],
)
@pytest.mark.thorough
def test_a_bad_option_of_the_emulator(option: str, value: str, why: str, emulator: Emulator) -> None:
    """The emulator's own command says in a sentence what it cannot do."""
    used = str(urlsplit(emulator.base_url).port)
    command = [sys.executable, "-m", "openai_continue.testing", option, value.replace("USED", used)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
