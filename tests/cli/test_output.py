"""Where ``openai-continue write`` puts the text: files, pipes and terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import stat
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openai_continue._cli import main
from openai_continue._cli.output import Filed, NotWrittenError
from openai_continue.testing import Emulator, Fault
from tests.cli.commands import SECONDS, ran, read_terminal, size_of, started, uncapped, wait_for, writing

BOOK = "An old book.\n" * 100


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """A server that takes half a second for a round, so that an answer of five can be stopped in the middle."""
    with Emulator(cap=50, tokens=225, token_delay=0.01, events_per_write=1) as emulator:
        yield emulator


@pytest.fixture(params=[5_000])
def slower(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A server that writes for most of a minute, so that a busy machine has the time to stop it. The cap is a parameter."""
    with Emulator(cap=request.param, tokens=5_000, token_delay=0.01, events_per_write=1) as emulator:
        yield emulator


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A file that has text already."""
    path = tmp_path / "book.md"
    path.write_text(BOOK)
    return path


def beside(book: Path) -> list[Path]:
    return [path for path in book.parent.iterdir() if path.name.endswith(".partial")]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# A file that has text.


def test_a_book_is_replaced(emulator: Emulator, book: Path) -> None:
    """The whole answer takes the place of what was in the file; its mode stays, and nothing is left beside it."""
    book.chmod(0o640)

    assert main(writing(emulator, "-o", str(book))) == 0
    assert book.read_text() == uncapped(emulator)
    assert stat.S_IMODE(book.stat().st_mode) == 0o640
    assert list(book.parent.iterdir()) == [book]


def test_a_link_stays_a_link(emulator: Emulator, book: Path, tmp_path: Path) -> None:
    """The file that a link leads to is replaced, in its own folder."""
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(book)

    assert main(writing(emulator, "-o", str(link))) == 0
    assert (link.is_symlink(), book.read_text()) == (True, uncapped(emulator))
    assert list(link.parent.iterdir()) == [link]


def test_the_mode_of_a_new_file(emulator: Emulator, tmp_path: Path) -> None:
    """A new file has the mode that any new file has."""
    plain, path = tmp_path / "plain", tmp_path / "answer"
    plain.touch()

    assert main(writing(emulator, "-o", str(path))) == 0
    assert path.stat().st_mode == plain.stat().st_mode


#: What ends an answer before anything has come.
NOTHING: dict[str, Callable[[Emulator], list[str]]] = {
    "wrong port": lambda emulator: ["--base-url", f"http://127.0.0.1:{free_port()}/v1"],
    "wrong path": lambda emulator: ["--base-url", emulator.base_url.replace("/openai", "/nowhere")],
    "bad address": lambda _: ["--base-url", "nowhere"],
    "no key": lambda _: ["--api-key-env", "UNSET"],
    "bad row": lambda _: ["--provider", "azure"],
    "bad budget": lambda _: ["--max-cost", "0"],
}


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("why", NOTHING)
def test_a_book_stays_if_nothing_came(
    why: str, emulator: Emulator, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that fails at once leaves the file as it was, and nothing beside it."""
    assert main([*writing(emulator, "-o", str(book)), *NOTHING[why](emulator)]) == 1
    assert book.read_text() == BOOK
    assert list(book.parent.iterdir()) == [book]
    assert capsys.readouterr().err


def test_no_file_if_nothing_came(emulator: Emulator, tmp_path: Path) -> None:
    """A call that fails at once makes no new file either."""
    assert main([*writing(emulator, "-o", str(tmp_path / "new")), *NOTHING["wrong path"](emulator)]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_waiting")
def test_the_error_names_the_address(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the connection names host and port."""
    port = free_port()
    assert main([*writing(emulator), "--base-url", f"http://127.0.0.1:{port}/v1"]) == 1
    said = f"APIConnectionError: Connection error. (Connection refused; http://127.0.0.1:{port}/v1)\n"
    assert said in capsys.readouterr().err


def test_a_first_round_that_breaks_off(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first round breaks off and cannot be healed, the file is as it was, and the text is beside it."""
    monkeypatch.setenv("OPENAI_CONTINUE_HEAL_STREAMS", "0")
    with Emulator(cap=100, tokens=450, faults=[Fault("reset", after_tokens=50)]) as emulator:
        code = main(writing(emulator, "-o", str(book)))
        expected = uncapped(emulator)

    (partial,) = beside(book)
    text = partial.read_text()
    assert (code, book.read_text()) == (1, BOOK)
    assert text
    assert expected.startswith(text)


def test_the_text_beside_is_named(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the text is that came is said."""
    monkeypatch.setenv("OPENAI_CONTINUE_HEAL_STREAMS", "0")
    with Emulator(cap=100, tokens=450, faults=[Fault("reset", after_tokens=50)]) as emulator:
        main(writing(emulator, "-o", str(book)))

    (partial,) = beside(book)
    assert f"{book} is as it was. The text that came is in {partial}." in capsys.readouterr().err


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", ["reset", "error_event", "early_end", "500"])
def test_a_later_round_that_fails(fault: str, book: Path) -> None:
    """After the first round the file has all that came."""
    faults = [Fault(fault, round=3, times=99)]  # type: ignore[arg-type]
    with Emulator(cap=100, tokens=450, faults=faults) as emulator:
        code = main(writing(emulator, "-o", str(book)))
        expected = uncapped(emulator)

    assert (code, beside(book)) == (3, [])
    assert len(book.read_text()) > 200
    assert expected.startswith(book.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("slower", "is_first"), [(5_000, True), (50, False)], ids=["first round", "later round"], indirect=["slower"]
)
@pytest.mark.thorough
def test_a_signal(number: signal.Signals, is_first: bool, slower: Emulator, book: Path) -> None:
    """A signal loses neither the old text before the first round has ended, nor the new one after."""
    process = started(*writing(slower, "-o", str(book)))
    wait_for(lambda: any(map(size_of, beside(book))) if is_first else book.read_text() != BOOK)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    partial = beside(book)

    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    assert (len(partial), book.read_text() == BOOK) == ((1, True) if is_first else (0, False))
    text = (partial[0] if is_first else book).read_text()
    assert text
    assert uncapped(slower).startswith(text)
    assert err.decode().splitlines()[-1].startswith("interrupted: ")
    if is_first:
        assert str(partial[0]) in err.decode()


@pytest.mark.thorough
def test_a_kill_in_the_first_round(slower: Emulator, book: Path) -> None:
    """A process that is killed without a word leaves the old text, and the new one beside it."""
    process = started(*writing(slower, "-o", str(book)))
    wait_for(lambda: any(map(size_of, beside(book))))
    process.kill()
    process.communicate()

    (partial,) = beside(book)
    assert book.read_text() == BOOK
    assert uncapped(slower).startswith(partial.read_text())


@pytest.mark.parametrize("limit", [["--max-tokens", "50"], ["--max-cost", "1e-9"]], ids=" ".join)
def test_a_limit_of_the_user(limit: list[str], emulator: Emulator, book: Path) -> None:
    """An answer that ends at the user's own limit is the answer that the file gets."""
    assert main(writing(emulator, "-o", str(book), *limit)) == 3
    assert beside(book) == []
    assert uncapped(emulator).startswith(book.read_text())


def test_an_empty_answer(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer without text takes the place of nothing."""
    with Emulator(faults=[Fault("empty", times=99)]) as emulator:
        assert main(writing(emulator, "-o", str(book))) == 3

    assert (book.read_text(), beside(book)) == (BOOK, [])
    assert f"{book} is as it was." in capsys.readouterr().err


# Files that cannot be written, and what is no regular file.


def test_where_nothing_can_be_written(emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is an error before anything is asked."""
    for path in (tmp_path, tmp_path / "nowhere" / "book", tmp_path / "loop"):
        if path.name == "loop":
            path.symlink_to(path)
        assert main(writing(emulator, "-o", str(path))) == 1
        assert str(path) in capsys.readouterr().err
    assert emulator.requests == []


def test_text_that_cannot_take_its_place(emulator: Emulator, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file cannot be replaced, as one that is mounted cannot, the whole text stays beside it; the exit code is 1."""

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    assert main(writing(emulator, "-o", str(book))) == 1

    (partial,) = beside(book)
    assert (book.read_text(), partial.read_text()) == (BOOK, uncapped(emulator))


def test_a_full_disk(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Text that cannot be written ends the answer with 1, and a sentence."""
    assert main(writing(emulator, "-o", "/dev/full")) == 1
    err = capsys.readouterr().err
    assert "The text could not be written to /dev/full: No space left on device." in err
    assert "failed: " in err
    assert len(emulator.requests) == 1


@pytest.mark.thorough
def test_a_file_that_is_none(emulator: Emulator, tmp_path: Path) -> None:
    """A pipe with a name takes the text as it comes, and stays one."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    process = started(*writing(emulator, "-o", str(path)))
    with path.open() as reader:
        text = reader.read()
    process.communicate(timeout=SECONDS)

    assert (process.returncode, text) == (0, uncapped(emulator))
    assert path.is_fifo()


@pytest.mark.thorough
def test_a_descriptor_as_a_file(emulator: Emulator) -> None:
    """/dev/stdout is a link to a pipe without a name; the text goes there."""
    code, out, err = ran(*writing(emulator, "-o", "/dev/stdout"))

    assert (code, out) == (0, uncapped(emulator))
    assert "whole: " in err


def test_any_character_goes_to_a_file(tmp_path: Path) -> None:
    """Half of a pair of surrogates, which a server may send, is kept too."""
    path = tmp_path / "answer"
    path.write_text(BOOK)
    filed = Filed(path)
    for text in ("a\ud83d", "\ude00b", "\r\n"):
        filed.write(text)
    filed.accept()
    filed.close()

    assert path.read_bytes().decode("utf-8", "surrogatepass") == "a\ud83d\ude00b\r\n"


def test_a_file_that_is_closed_meanwhile(tmp_path: Path) -> None:
    """An error of the system names the file."""
    filed = Filed(tmp_path / "answer")
    os.close(filed._file.fileno())
    with pytest.raises(NotWrittenError, match=r"could not be written to .*answer: Bad file descriptor"):
        filed.write("x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        filed.close()


# stdout.


@pytest.mark.parametrize("slower", [2_500], indirect=True)
@pytest.mark.thorough
def test_a_reader_that_goes(slower: Emulator) -> None:
    """If the reader of stdout goes, the answer ends, without a traceback, and no further round is paid."""
    process = started(*writing(slower))
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.stdout = None
    err = process.communicate(timeout=SECONDS)[1].decode()

    assert process.returncode == 141
    assert "The text could not be written to stdout: Broken pipe." in err
    assert "Traceback" not in err
    assert "whole" not in err
    assert len(slower.requests) == 1


@pytest.mark.thorough
def test_stdout_that_is_full(emulator: Emulator) -> None:
    """A full disk behind stdout is said, and the exit code is 1."""
    with Path("/dev/full").open("w") as full:
        code, _, err = ran(*writing(emulator), stdout=full)

    assert code == 1
    assert "The text could not be written to stdout: No space left on device." in err
    assert "Traceback" not in err


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_stdout_that_is_closed(more: list[str], emulator: Emulator) -> None:
    """With a closed stdout nothing is asked; a file takes the text as ever."""
    code, _, err = ran(*writing(emulator, *more), closed=1)

    assert (code, err, emulator.requests) == (1, "openai-continue: stdout is closed\n", [])


@pytest.mark.thorough
def test_stdout_that_is_closed_beside_a_file(emulator: Emulator, tmp_path: Path) -> None:
    """A file takes the text as ever."""
    path = tmp_path / "answer"
    code, _, err = ran(*writing(emulator, "-o", str(path)), closed=1)

    assert (code, path.read_text()) == (0, uncapped(emulator)), err


@pytest.mark.thorough
def test_stderr_that_is_closed(emulator: Emulator) -> None:
    """With a closed stderr, stdout has the text and nothing else."""
    code, out, _ = ran(*writing(emulator), closed=2)

    assert (code, out) == (0, uncapped(emulator))


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
@pytest.mark.thorough
def test_an_encoding_without_a_character(encoding: str) -> None:
    """A character that the encoding of stdout does not have becomes a ?, and that is said at the end."""
    text = "Zoë pays 5 € for a 🦊. " * 40
    with Emulator(cap=100, text=text) as emulator:
        code, out, err = ran(*writing(emulator), env={"PYTHONIOENCODING": f"{encoding}:strict"}, encoding=encoding)
        _, told, _ = ran(*writing(emulator, "--json"), env={"PYTHONIOENCODING": encoding})

    expected = text.encode(encoding, "replace").decode(encoding)
    assert (code, out) == (0, expected)
    assert f"{expected.count('?')} characters that {encoding} does not have were replaced by ?." in err
    assert json.loads(told)["text"] == text


@pytest.mark.thorough
def test_the_locale_c() -> None:
    """Under LC_ALL=C, which Python 3.7 and later take for UTF-8, the text is whole."""
    text = "5 € for a 🦊. " * 40
    with Emulator(cap=100, text=text) as emulator:
        code, out, err = ran(*writing(emulator), env={"LC_ALL": "C"})

    assert (code, out) == (0, text)
    assert "replaced" not in err


# JSON.


@pytest.mark.parametrize("slower", [50], indirect=True)
@pytest.mark.thorough
def test_json_after_a_signal(slower: Emulator) -> None:
    """After SIGTERM the summary has the text that came, and the rounds."""
    process = started(*writing(slower, "--json"))
    wait_for(lambda: len(slower.requests) >= 2 and slower.requests[1].completion_tokens > 10)
    process.terminate()
    out, err = process.communicate(timeout=SECONDS)
    said = json.loads(out)

    assert (process.returncode, said["exit_code"]) == (143, 143), err
    assert said["rounds"] >= 2
    assert len(said["text"]) > 100
    assert uncapped(slower).startswith(said["text"])


# Terminals.


@pytest.mark.thorough
def test_everything_on_a_terminal(slow: Emulator) -> None:
    """On a terminal the text is shown as it is, with no other character in it; the summary has its own line."""
    master, terminal = pty.openpty()
    process = started(*writing(slow), stdin=terminal, stdout=terminal, stderr=terminal, env={"TERM": "xterm"})
    os.close(terminal)
    shown = read_terminal(master)
    os.close(master)

    assert process.wait(timeout=SECONDS) == 0
    text, _, summary = shown.partition("\nwhole: ")
    assert text.rstrip("\n") == uncapped(slow).rstrip("\n")
    assert summary.count("\n") == 1


@pytest.mark.parametrize("kind", ["file", "pipe"])
@pytest.mark.thorough
def test_progress(kind: str, slow: Emulator, tmp_path: Path) -> None:
    """Progress is shown on a terminal if the text goes to a file; a pipe may lead to the same terminal."""
    path = tmp_path / "answer"
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with path.open("wb") as file:
        stdout = file if kind == "file" else subprocess.PIPE
        process = started(*writing(slow), stdout=stdout, stderr=terminal, env={"TERM": "xterm"})
        os.close(terminal)
        out, _ = process.communicate(timeout=SECONDS)
        shown = read_terminal(master)
        os.close(master)

    assert process.returncode == 0
    assert (out or path.read_bytes()).decode() == uncapped(slow)
    assert ("openai-continue: " in shown) == (kind == "file")
    assert shown.count("tokens, round") == 1
    assert "whole: " in shown


@pytest.mark.thorough
def test_no_color_in_a_pipe(emulator: Emulator) -> None:
    """Pipes get no escape sequences."""
    _, out, err = ran(*writing(emulator), env={"TERM": "xterm-256color"})

    assert "\x1b" not in out + err
