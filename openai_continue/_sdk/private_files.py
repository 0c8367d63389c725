"""
Files that are ours only: no other user can plant text in them, read them, or make us wait or write elsewhere.

A file is opened without following a link and without waiting, then looked at: a regular file with one name, of our own
user, that nobody else may change. What others may read, a copy from a backup perhaps, is closed to them. Windows knows
neither owners nor modes of this kind; its folders have access lists, which the files inherit.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

# Flags that a system lacks are left out. Without O_BINARY, Windows changes the ends of lines.
_SAFELY = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_OTHERS, _WRITING = stat.S_IRWXG | stat.S_IRWXO, stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


class ForeignError(OSError):
    """A file or folder that another user may have made or changed. Its message says why."""


def check_folder(folder: Path) -> None:
    """Raise ForeignError if another user can put files in the place of ours, and OSError if there is no folder."""
    user = _user()
    if user is None:
        return
    # The folder may be a link, which its owner can lead elsewhere.
    if not {os.lstat(folder).st_uid, os.stat(folder).st_uid} <= {user, _ROOT}:
        msg = "belongs to another user"
        raise ForeignError(msg)
    mode = folder.stat().st_mode
    # In a folder with the sticky bit, only the owner of a file renames or removes it.
    if mode & _WRITING and not mode & stat.S_ISVTX:
        msg = f"can be written by others (mode {stat.S_IMODE(mode):04o}); chmod 700 keeps it yours"
        raise ForeignError(msg)


def open_own(path: Path, flags: int) -> int:
    """
    Return the descriptor of a file of ours; ``flags`` with O_CREAT make one, readable by us only.

    Raise ForeignError if the file is not ours, and any other OSError if it cannot be opened.
    """
    # A device acts when it is opened, and another user's file may not let itself be opened.
    with contextlib.suppress(FileNotFoundError):
        _check(os.lstat(path))
    descriptor = os.open(path, flags | _SAFELY, 0o600)
    try:
        # Another file may have come in its place since.
        status = os.fstat(descriptor)
        _check(status)
        if _user() is not None and status.st_mode & _OTHERS:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_own(path: Path) -> int:
    """Return the descriptor of a new file, readable by us only, in place of one that is left there. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)


def remove_own(path: Path) -> None:
    """Remove a file of ours, and no other one."""
    with contextlib.suppress(OSError):
        _check(os.lstat(path))
        path.unlink()


def set_aside(path: Path, suffix: str) -> None:
    """Rename a file, whoever's it is, so that it ends in ``suffix``. No other file is replaced. Raise OSError."""
    aside, number = path.with_suffix(suffix), 0
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.stem}-{number}{suffix}")
    path.rename(aside)


def _check(status: os.stat_result) -> None:
    """Raise ForeignError if a file is not ours only."""
    user, mode = _user(), status.st_mode
    msg = ""
    if not stat.S_ISREG(mode):
        msg = "is a link" if stat.S_ISLNK(mode) else "is no regular file"
    elif status.st_nlink > 1:
        msg = "has a second name, a hard link"
    elif user is not None and status.st_uid != user:
        msg = "belongs to another user"
    elif user is not None and mode & _WRITING:
        msg = f"can be written by others (mode {stat.S_IMODE(mode):04o})"
    if msg:
        raise ForeignError(msg)


def _user() -> int | None:
    """Return the user that our files belong to, or None if the system has no such users."""
    return os.geteuid() if hasattr(os, "geteuid") else None
