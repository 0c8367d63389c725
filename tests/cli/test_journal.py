"""``openai-continue journal``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from openai_continue._cli import journal, main
from openai_continue._sdk import journal_file

SECRET = "the text of an answer"


def left(folder: Path, name: str, *, days: float = 0.0) -> Path:
    """Leave an unfinished answer of two rounds behind, which was last written so many days ago."""
    path = folder / f"{name}{journal_file.SUFFIX}"
    answer = {"choices": [{"message": {"content": SECRET}}]}
    journal_file.write(path, journal_file.Kept("a-model", 2, 200, answer, {"number": 2}), sync=False)
    os.utime(path, times=(time.time() - days * 86_400,) * 2)
    return path


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer has a line: model, age, rounds, tokens; never its text. A damaged file is named too."""
    left(tmp_path, "a", days=2)
    (tmp_path / f"b{journal_file.SUFFIX}").write_bytes(b"nothing\n")

    assert main(["journal", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert main(["journal", str(tmp_path), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)

    assert SECRET not in said
    assert "48.0 h  a-model, 2 rounds, 200 tokens" in said
    assert "unreadable" in said
    known, damaged = entries
    assert tuple(known[name] for name in ("model", "rounds", "tokens", "removed")) == ("a-model", 2, 200, False)
    assert round(known["hours"]) == 48
    assert damaged["model"] is None


def test_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old answers and old files that were set aside go; new ones stay, and so does one that a running call has."""
    old, new, used = left(tmp_path, "old", days=8), left(tmp_path, "new"), left(tmp_path, "used", days=8)
    # It is known by its name, a digest: what is in it is damaged.
    aside = left(tmp_path, "a" * 64, days=8).rename(tmp_path / f"{'a' * 64}{journal_file.BAD}")
    with FileLock(used.with_suffix(".lock")):
        assert main(["journal", str(tmp_path), "--remove-older-than", "7", "--json"]) == 0

    removed = {entry["file"]: entry["removed"] for entry in json.loads(capsys.readouterr().out)}
    assert {old.name: True, used.name: False, new.name: False} == removed
    assert tuple(path.exists() for path in (old, aside, used, new)) == (False, False, True, True)


def test_nothing_to_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is said to be so. A folder that is not there is an error."""
    assert main(["journal", str(tmp_path)]) == 0
    assert "no unfinished answers" in capsys.readouterr().out
    assert main(["journal", str(tmp_path / "gone")]) == 1
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--remove-older-than", "0"]], ids=str)
def test_a_folder_that_cannot_be_read(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have answers, so it is not said to have none."""

    def refuse(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, "listdir", refuse)

    assert main(["journal", str(tmp_path), *more]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["-1", "-0.5", "nan", "inf", "1e999", "a week", ""])
def test_remove_what_is_no_age(days: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no number of days is an error that says what is accepted, and nothing is removed."""
    old = left(tmp_path, "a" * 64, days=8)
    with pytest.raises(SystemExit, match="2"):
        main(["journal", str(tmp_path), f"--remove-older-than={days}"])

    assert f"--remove-older-than: got {days!r}, accepted is a number from 0" in capsys.readouterr().err
    assert old.exists()


#: What others may have in the folder.
OTHERS = {
    "a text": lambda path: path.with_suffix(".answer").write_text("Forty-two.\n"),
    "an empty file": lambda path: path.with_suffix(".answer").write_text(""),
    "JSON": lambda path: path.with_suffix(".answer").write_text('{"format": 7}\n'),
    "a text set aside by others": lambda path: path.with_suffix(".unreadable").write_text("Forty-two.\n"),
    "a folder": lambda path: path.with_suffix(".unreadable").mkdir(),
    "a link": lambda path: path.with_name("a" * 64 + ".unreadable").symlink_to(path.with_suffix(".txt")),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_remove_leaves_the_files_of_others(kind: str, tmp_path: Path) -> None:
    """A file that is no journal's stays, whatever its name ends in, and so does what a link leads to."""
    path = tmp_path / "other"
    path.with_suffix(".txt").write_text("A book.")
    OTHERS[kind](path)
    before = sorted(path.name for path in tmp_path.iterdir())
    for one in tmp_path.iterdir():
        os.utime(one, times=(0, 0), follow_symlinks=False)

    assert main(["journal", str(tmp_path), "--remove-older-than", "1"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_remove_a_damaged_journal(tmp_path: Path) -> None:
    """A file with a journal's name is a journal, even if nothing in it can be read."""
    damaged = [tmp_path / f"{'a' * 64}{journal_file.SUFFIX}", tmp_path / f"{'b' * 64}{journal_file.BAD}"]
    for path in damaged:
        path.write_bytes(b"\x00")
        os.utime(path, times=(0, 0))

    assert main(["journal", str(tmp_path), "--remove-older-than", "1"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_remove_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without filelock nobody knows whether a running call has a file, so nothing is removed."""
    old = left(tmp_path, "old", days=8)
    monkeypatch.setattr(journal, "find_spec", lambda name: None)

    assert main(["journal", str(tmp_path), "--remove-older-than", "1"]) == 2
    assert "pip install 'openai-continue[journal]'" in capsys.readouterr().err
    assert old.exists()


def test_time_in_the_future(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose time is in the future has no negative age, and is not old."""
    ahead = left(tmp_path, "ahead", days=-25_508)

    assert main(["journal", str(tmp_path), "--remove-older-than", "0", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["hours"], entry["removed"]) == (0.0, False)
    assert main(["journal", str(tmp_path)]) == 0
    assert "ahead.answer       0.0 h  a-model" in capsys.readouterr().out
    assert ahead.exists()
