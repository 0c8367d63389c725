"""List the unfinished answers in a journal's folder, and remove old ones. Content is never shown."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .._sdk.journal_file import BAD, NEW, Kept, UnreadableError, read, unfinished
from .wrapping import tell

_DAY = 86_400.0
# The name of a journal's file, without its ending: a digest.
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file."""

    file: str
    #: None: the file cannot be read.
    model: str | None
    rounds: int
    tokens: int
    #: Hours since it was last written; 0 if its time is in the future.
    hours: float
    removed: bool

    def line(self) -> str:
        """Return the entry for people."""
        what = "unreadable" if self.model is None else f"{self.model}, {self.rounds} rounds, {self.tokens:,} tokens"
        return f"{self.file[:12]}  {self.hours:8.1f} h  {what}{'  (removed)' if self.removed else ''}"


def run(folder: Path, *, older_than: float | None, as_json: bool) -> int:
    """
    List the unfinished answers; return the exit code.

    Raises OSError for a folder that cannot be read. ``older_than``: days; those that were not written since then are
    removed, and so are files that were set aside.
    """
    if not folder.is_dir():
        tell(f"openai-continue journal: there is no folder {folder}")
        return 1
    # glob() gives nothing for a folder that cannot be read, which may have answers.
    os.listdir(folder)
    # Without its locks, nothing shows whether a running call has a file.
    if older_than is not None and lacks_filelock("journal"):
        return 2
    if older_than is not None:
        for path in folder.glob(f"*{BAD}"):
            _is_removed(path, older_than)
    entries: list[_Entry] = []
    for path, kept, age in unfinished(folder):
        removed = older_than is not None and _is_removed(path, older_than)
        entries.append(_entry(path, kept, age, removed=removed))
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
    else:
        print("\n".join(entry.line() for entry in entries) or "no unfinished answers")
    return 0


def lacks_filelock(command: str) -> bool:
    """Return whether filelock is missing; say how to install it."""
    if find_spec("filelock") is not None:
        return False
    tell(f"openai-continue {command} needs filelock: pip install 'openai-continue[journal]'")
    return True


def _is_removed(path: Path, days: float) -> bool:
    """Remove a journal's file that was not written for some days, unless a running call has it; return whether."""
    from filelock import FileLock, Timeout

    if not _is_old(path, days):
        return False
    lock: Any = FileLock(path.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            # A call may have had it since.
            if not _is_old(path, days):
                return False
            path.unlink()
            for suffix in (NEW, ".lock"):
                path.with_suffix(suffix).unlink(missing_ok=True)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        # NotImplementedError: the file system knows no locks.
        tell(f"{path.name} cannot be removed ({type(error).__name__})")
        return False
    return True


def _is_old(path: Path, days: float) -> bool:
    """Whether this is a journal's file, of ours, that was not written for some days."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
        return False
    return time.time() - found.st_mtime >= days * _DAY and _is_journal(path)


def _is_journal(path: Path) -> bool:
    """Whether a file is a journal's, by its name or by what is in it; others may have files in the folder."""
    if _DIGEST.fullmatch(path.stem):
        return True
    try:
        return read(path) is not None
    except (UnreadableError, OSError):
        return False


def _entry(path: Path, kept: Kept | None, age: float, *, removed: bool) -> _Entry:
    hours = max(0.0, round(age / 3600, 2))
    if kept is None:
        return _Entry(path.name, None, 0, 0, hours, removed)
    return _Entry(path.name, kept.model, kept.rounds, kept.tokens, hours, removed)
