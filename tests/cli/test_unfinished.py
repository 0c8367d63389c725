"""``openai-continue journal``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from openai_continue import journal
from openai_continue.cli import main

SECRET = "the text of an answer"


def left(folder: Path, name: str, *, days: float = 0.0) -> Path:
    """Leave an unfinished answer of two rounds behind, which was last written so many days ago."""
    path = folder / f"{name}{journal.SUFFIX}"
    writer = journal.Writer(path, "a-model", keep=0)
    for number, tokens in ((1, 100), (2, 200)):
        writer.begin(number, "digest", 200, {})
        writer.add(SECRET.encode())
        writer.end(tokens)
    writer.close()
    os.utime(path, times=(time.time() - days * 86_400,) * 2)
    return path


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer has a line: model, age, rounds, tokens; never its text. A damaged file is named too."""
    left(tmp_path, "a", days=2)
    (tmp_path / f"b{journal.SUFFIX}").write_bytes(b"nothing\n")

    assert main(["journal", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert main(["journal", str(tmp_path), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)

    assert SECRET not in said
    assert "48.0 h  a-model, 2 rounds, 200 tokens" in said
    assert "unreadable" in said
    known, damaged = entries
    assert ("a-model", 2, 200, False) == tuple(known[name] for name in ("model", "rounds", "tokens", "removed"))
    assert 48 == round(known["hours"])
    assert damaged["model"] is None


def test_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old answers and old files that were set aside go; new ones stay, and so does one that a running call has."""
    old, new, used = left(tmp_path, "old", days=8), left(tmp_path, "new"), left(tmp_path, "used", days=8)
    aside = left(tmp_path, "aside", days=8).rename(tmp_path / f"aside{journal.BAD}")
    with FileLock(used.with_suffix(".lock")):
        assert main(["journal", str(tmp_path), "--remove-older-than", "7", "--json"]) == 0

    removed = {entry["file"]: entry["removed"] for entry in json.loads(capsys.readouterr().out)}
    assert {old.name: True, used.name: False, new.name: False} == removed
    assert (False, False, True, True) == tuple(path.exists() for path in (old, aside, used, new))


def test_nothing_to_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is said to be so. A folder that is not there is an error."""
    assert main(["journal", str(tmp_path)]) == 0
    assert "no unfinished answers" in capsys.readouterr().out
    assert main(["journal", str(tmp_path / "gone")]) == 1
    assert "there is no folder" in capsys.readouterr().err
