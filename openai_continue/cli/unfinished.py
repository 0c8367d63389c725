"""List the unfinished answers in a journal's folder, and remove old ones. Content is never shown."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..journal import BAD, Contents, unfinished

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file."""

    file: str
    #: None: the file cannot be read.
    model: str | None
    rounds: int
    tokens: int
    #: Hours since it was last written.
    hours: float
    removed: bool

    def line(self) -> str:
        """Return the entry for people."""
        what = "unreadable" if self.model is None else f"{self.model}, {self.rounds} rounds, {self.tokens:,} tokens"
        return f"{self.file[:12]}  {self.hours:8.1f} h  {what}{'  (removed)' if self.removed else ''}"


def run(folder: Path, *, older_than: float | None, as_json: bool) -> int:
    """
    List the unfinished answers; return the exit code.

    ``older_than``: days; those that were not written since then are removed, and so are files that were set aside.
    """
    if not folder.is_dir():
        print(f"openai-continue journal: there is no folder {folder}", file=sys.stderr)
        return 1
    if older_than is not None:
        _remove_set_aside(folder, older_than)
    entries: list[_Entry] = []
    for path, contents, age in unfinished(folder):
        removed = older_than is not None and age >= older_than * _DAY and _is_removed(path)
        entries.append(_entry(path, contents, age, removed=removed))
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
    else:
        print("\n".join(entry.line() for entry in entries) or "no unfinished answers")
    return 0


def _is_removed(path: Path) -> bool:
    """Remove a file, unless a running call has it; return whether it is gone."""
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        # Without it no call of this environment has a journal.
        path.unlink(missing_ok=True)
        return True
    lock: Any = FileLock(path.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def _remove_set_aside(folder: Path, days: float) -> None:
    for path in folder.glob(f"*{BAD}"):
        if time.time() - path.stat().st_mtime >= days * _DAY:
            path.unlink(missing_ok=True)


def _entry(path: Path, contents: Contents | None, age: float, *, removed: bool) -> _Entry:
    rounds = [] if contents is None else contents.rounds
    tokens = max((one.tokens for one in rounds), default=0)
    model = None if contents is None else contents.model
    return _Entry(path.name, model, len(rounds), tokens, round(age / 3600, 2), removed)
