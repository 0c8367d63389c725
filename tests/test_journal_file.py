"""The file of a journal: whatever is done to it, what is read is what was written last, or nothing."""

from __future__ import annotations

import os
import random
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from openai_continue._sdk import journal_file
from openai_continue._sdk.journal_file import Kept
from tests.support.journals import sealed

KEPT = Kept("model", 2, 30, answer={"choices": [{"text": "One 日本 🦊 \ud83e and \\n"}]}, state={"number": 2})
#: What an earlier version has left: several lines, each with its checksum.
EARLIER = [b'{"format": 2, "model": "model"}\n', b'{"round": 1, "request": "digest", "status": 200, "headers": {}}\n']


def written(path: Path, kept: Kept = KEPT) -> bytes:
    """Write a file; return its bytes."""
    journal_file.write(path, kept, sync=False)
    return path.read_bytes()


def put(path: Path, raw: bytes) -> None:
    """Give a file other bytes. To empty it first would make some file systems write it out each time."""
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()


def content(path: Path) -> Kept | str | None:
    """Return what a file holds, or "refused"."""
    try:
        return journal_file.read(path)
    except journal_file.UnreadableError:
        return "refused"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The newest content comes back as it was, and nothing else is left in the folder."""
    path = tmp_path / "a.answer"
    written(path, Kept("another", 1, 3, answer={"choices": [1] * 1000}, state={"number": 1}))
    raw = written(path)

    assert KEPT == journal_file.read(path)
    assert [path] == list(tmp_path.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert raw == sealed(path.name, raw[17:])


#: Ways to damage a file, at each of its bytes.
DAMAGES: dict[str, Callable[[bytes], list[bytes]]] = {
    "bit": lambda raw: [raw[:i] + bytes([raw[i] ^ 1 << i % 8]) + raw[i + 1 :] for i in range(len(raw))],
    "digit or letter": lambda raw: [raw[:i] + (b"1" if raw[i : i + 1] != b"1" else b"2") + raw[i + 1 :] for i in range(len(raw))],
    "cut": lambda raw: [raw[:i] for i in range(1, len(raw))],
    "hole": lambda raw: [raw[:i] + raw[i + 1 :] for i in range(len(raw))],
    "long hole": lambda raw: [raw[:i] + raw[i + 100 :] for i in range(1, len(raw))],
    "inserted": lambda raw: [raw[:i] + b"x" + raw[i:] for i in range(len(raw) + 1)],
    "line end": lambda raw: [raw[:i] + b"\n" + raw[i:] for i in range(len(raw) + 1)],
    "NULs": lambda raw: [raw[:i] + bytes(len(raw[i : i + 40])) + raw[i + 40 :] for i in range(len(raw))],
    "NULs to the end": lambda raw: [raw[:i] + bytes(len(raw) - i) for i in range(len(raw))],
    "NULs after": lambda raw: [raw + bytes(count) for count in (1, 100, 4096)],
    "twice": lambda raw: [raw[:i] + raw for i in range(1, len(raw) + 1)],
    "its own beginning after it": lambda raw: [raw + raw[:i] for i in range(1, len(raw))],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage(damage: str, tmp_path: Path) -> None:
    """A file that was damaged anywhere is refused."""
    path = tmp_path / "a.answer"
    for damaged in DAMAGES[damage](written(path)):
        put(path, damaged)
        assert content(path) == "refused", damaged


def test_damage_in_several_places(tmp_path: Path) -> None:
    """So it is with several damages at once."""
    path, dice = tmp_path / "a.answer", random.Random(1)
    raw = written(path)
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(len(damaged) - 10)
            match dice.randrange(3):
                case 0:
                    damaged[place] ^= dice.randrange(1, 256)
                case 1:
                    damaged[place:place] = damaged[: dice.randint(1, 300)]
                case _:
                    del damaged[place + 9 :]
            damaged += b"\n" * 20
        put(path, damaged)
        assert content(path) == "refused"


def test_empty_file(tmp_path: Path) -> None:
    """An empty file holds nothing, and is no damaged one."""
    path = tmp_path / "a.answer"
    path.touch(mode=0o600)

    assert journal_file.read(path) is None


def test_file_of_another_name(tmp_path: Path) -> None:
    """A file that was renamed to that of another request is not taken for its answer."""
    written(tmp_path / "a.answer")
    (tmp_path / "a.answer").rename(tmp_path / "b.answer")

    assert content(tmp_path / "b.answer") == "refused"


def test_file_of_an_earlier_version(tmp_path: Path) -> None:
    """What an earlier version has left is refused, however much of it there is."""
    path = tmp_path / "a.answer"
    for count in (1, 2):
        path.write_bytes(b"".join(sealed(path.name, line) for line in EARLIER[:count]))
        assert content(path) == "refused"


def test_process_that_is_killed_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as it was; what is left of the new one is in nobody's way."""
    path = tmp_path / "a.answer"
    written(path)
    path.with_suffix(".new").write_bytes(b"half")
    assert KEPT == journal_file.read(path)

    newer = Kept("model", 3, 40, answer={"choices": []}, state={"number": 3})
    written(path, newer)
    assert newer == journal_file.read(path)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_disk_that_fails(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be written, the one before is as it was, and no other is left."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.answer"
    written(path)
    monkeypatch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="No space left"):
        journal_file.write(path, Kept("model", 3, 40, answer={}, state={}), sync=True)

    assert KEPT == journal_file.read(path)
    assert [path] == list(tmp_path.iterdir())


def test_longest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would make a file longer than one that is read is not written; the one before is kept."""
    monkeypatch.setattr(journal_file, "LIMIT", 2000)
    path = tmp_path / "a.answer"
    written(path)
    with pytest.raises(OSError, match="too large"):
        journal_file.write(path, Kept("model", 3, 40, answer={"text": "x" * 2000}, state={}), sync=False)

    assert KEPT == journal_file.read(path)
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
