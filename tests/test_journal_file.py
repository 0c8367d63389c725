"""The file of a journal: whatever is done to it, what is read is the truth up to some record, or nothing."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from openai_continue._sdk import journal_file
from tests.support.journals import records, sealed

PIECES = [
    b'data: {"a": "One"}\n\n',
    "data: 日本 🦊\n\n".encode()[:9],
    "data: 日本 🦊\n\n".encode()[9:],
    b"\xff\x00 and \\n",
]
HEADERS = {"content-type": "text/event-stream"}
#: The state of a file: model, and its rounds.
State = tuple[str, tuple[tuple[object, ...], ...]]


def written(path: Path) -> bytes:
    """Write a file of a round and another one that broke off; return its bytes."""
    writer = journal_file.Writer(path, "model", keep=None)
    for number in (1, 2):
        writer.begin(number, f"digest {number}", 200, HEADERS)
        for piece in PIECES:
            writer.add(piece)
            writer.flush()
        if number == 1:
            writer.end(10 * number)
    writer.close()
    return path.read_bytes()


def put(path: Path, raw: bytes) -> None:
    """Give a file other bytes. To empty it first would make some file systems write it out each time."""
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()


def state(path: Path) -> State | None:
    """Return what a file says, or None if it is refused."""
    try:
        contents = journal_file.read(path)
    except journal_file.UnreadableError:
        return None
    return contents.model, tuple(
        (one.request, one.status, tuple(one.headers.items()), one.data, one.ended, one.tokens)
        for one in contents.rounds
    )


def truth() -> list[State]:
    """Return the states of the file after each of its records, the empty file first."""
    states: list[State] = [("", ()), ("model", ())]
    rounds: tuple[tuple[object, ...], ...] = ()
    for number in (1, 2):
        for count in range(len(PIECES) + 1):
            head = f"digest {number}", 200, tuple(HEADERS.items()), b"".join(PIECES[:count])
            states.append(("model", (*rounds, (*head, False, 0))))
        rounds = *rounds, (*head, True, 10 * number)
        if number == 1:
            states.append(("model", rounds))
    return states


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Each record brings the file to its next state."""
    path = tmp_path / "a.answer"
    raw = written(path)
    states = []
    for count in range(len(records(raw)) + 1):
        path.write_bytes(b"".join(raw.splitlines(keepends=True)[:count]))
        states.append(state(path))

    assert states == truth()
    assert sealed(path.name, records(raw)) == raw


def lines_moved(raw: bytes) -> list[bytes]:
    """Return the file with each line lost, doubled, and exchanged with each other one."""
    lines = raw.splitlines(keepends=True)
    found = []
    for place in range(len(lines)):
        found.append(b"".join(lines[:place] + lines[place + 1 :]))
        found.append(b"".join(lines[: place + 1] + lines[place:]))
        for other in range(place + 1, len(lines)):
            swapped = list(lines)
            swapped[place], swapped[other] = lines[other], lines[place]
            found.append(b"".join(swapped))
    return found


#: Ways to damage a file, and how many places each has in a file of so many bytes.
DAMAGES: dict[str, Callable[[bytes], list[bytes]]] = {
    "bit": lambda raw: [raw[:i] + bytes([raw[i] ^ 1 << i % 8]) + raw[i + 1 :] for i in range(len(raw))],
    "digit or letter": lambda raw: [raw[:i] + (b"1" if raw[i : i + 1] != b"1" else b"2") + raw[i + 1 :] for i in range(len(raw))],
    "cut": lambda raw: [raw[:i] for i in range(len(raw))],
    "hole": lambda raw: [raw[:i] + raw[i + 1 :] for i in range(len(raw))],
    "long hole": lambda raw: [raw[:i] + raw[i + 100 :] for i in range(len(raw))],
    "inserted": lambda raw: [raw[:i] + b"x" + raw[i:] for i in range(len(raw) + 1)],
    "line end": lambda raw: [raw[:i] + b"\n" + raw[i:] for i in range(len(raw) + 1)],
    "NULs": lambda raw: [raw[:i] + bytes(len(raw[i : i + 40])) + raw[i + 40 :] for i in range(len(raw))],
    "NULs to the end": lambda raw: [raw[:i] + bytes(len(raw) - i) for i in range(len(raw))],
    "NULs after": lambda raw: [raw + bytes(count) for count in (1, 100, 4096)],
    "twice": lambda raw: [raw[:i] + raw for i in range(1, len(raw))],
    "its own beginning after it": lambda raw: [raw + raw[:i] for i in range(1, len(raw))],
    "lines": lines_moved,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage(damage: str, tmp_path: Path) -> None:
    """A file that was damaged anywhere gives what it said before some record, or is refused; never anything else."""
    path = tmp_path / "a.answer"
    raw, states = written(path), truth()
    for damaged in DAMAGES[damage](raw):
        put(path, damaged)
        read = state(path)
        assert read is None or read in states, damaged
        # What is lost is no more than the damage reached: all records before it are the file's own.
        assert read is None or damaged.startswith(b"".join(raw.splitlines(keepends=True)[: states.index(read)]))


def test_damage_in_several_places(tmp_path: Path) -> None:
    """So it is with several damages at once."""
    path, dice = tmp_path / "a.answer", random.Random(1)
    raw, states = written(path), truth()
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(len(damaged) - 10)
            match dice.randrange(4):
                case 0:
                    damaged[place] = dice.randrange(256)
                case 1:
                    del damaged[place : place + dice.randint(1, 300)]
                case 2:
                    damaged[place:place] = damaged[: dice.randint(1, 300)]
                case _:
                    del damaged[place + 9 :]
            damaged += b"\n" * 20
        put(path, damaged)
        assert state(path) in (None, *states)


def test_file_of_another_name(tmp_path: Path) -> None:
    """A file that was renamed to that of another request is not taken for its answer."""
    written(tmp_path / "a.answer")
    (tmp_path / "a.answer").rename(tmp_path / "b.answer")

    assert state(tmp_path / "b.answer") is None


def test_going_on_after_a_mark(tmp_path: Path) -> None:
    """A file whose last round is dropped goes on from there."""
    path = tmp_path / "a.answer"
    written(path)
    writer = journal_file.Writer(path, "model", keep=journal_file.read(path).rounds[1].start)
    writer.begin(2, "another", 200, {})
    writer.add(b"end")
    writer.end(77)
    writer.close()

    rounds = journal_file.read(path).rounds
    assert [one.request for one in rounds] == ["digest 1", "another"]
    assert (rounds[1].data, rounds[1].ended, rounds[1].tokens) == (b"end", True, 77)


def test_longest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would make a file longer than one that is read is not written; all before it is kept."""
    monkeypatch.setattr(journal_file, "LIMIT", 2000)
    path = tmp_path / "a.answer"
    writer = journal_file.Writer(path, "model", keep=None)
    writer.begin(1, "digest", 200, {})
    with pytest.raises(OSError, match="too large"):
        for _ in range(100):
            writer.add(b"x" * 100)
            writer.flush()
    writer.close(drop=True)

    assert 1800 < path.stat().st_size <= 2000
    assert len(journal_file.read(path).rounds[0].data) >= 1000
    path.write_bytes(path.read_bytes() + b"x" * 2000)
    with pytest.raises(journal_file.UnreadableError, match="longer than"):
        journal_file.read(path)


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file of 300 MB costs neither time nor memory."""
    path = tmp_path / "a.answer"
    written(path)
    os.truncate(path, 300 * 1024 * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(journal_file.UnreadableError, match="longer than 128 MB"):
            journal_file.read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 1024 * 1024


def test_memory(tmp_path: Path) -> None:
    """A file of many records is read in little more than twice the memory of its text."""
    path = tmp_path / "a.answer"
    writer = journal_file.Writer(path, "model", keep=None)
    writer.begin(1, "digest", 200, {})
    for _ in range(4000):
        writer.add(b"x" * 1000)
        writer.flush()
    writer.close()
    tracemalloc.start()
    try:
        data = journal_file.read(path).rounds[0].data
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert data == b"x" * 4_000_000
    assert most < 2.5 * len(data)
