"""
The journal's file: one for each unfinished answer, so that the answer outlives its process.

A file has one line: a checksum, a blank, and JSON. The checksum is that of the file's name and of the JSON, so it does
not fit if the line was changed or cut, or if the file is that of another answer. A file is replaced as a whole, so a
process that is killed leaves either the one before or the new one.

The text of answers is in these files: they are readable by their owner only, and those of others are not read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from .._core.json import Json, as_object
from .private_files import make_own, open_own

#: The ending of a journal's file, of one that is being written, and of one that was set aside.
SUFFIX, NEW, BAD = ".answer", ".new", ".unreadable"
_FORMAT = 3
#: Most bytes of a file. A token with logprobs has some 500, so a quarter of a million tokens fit in.
LIMIT = 128 * 1024 * 1024
# Hexadecimal digits of a checksum.
_DIGITS = 16


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """What a file holds."""

    model: str
    #: The rounds, and the output tokens, of the answer so far.
    rounds: int
    tokens: int
    #: The answer as its caller has it, and the core's state beside it.
    answer: Json
    state: Json


class UnreadableError(ValueError):
    """A file that is no journal, or one that was changed. Its message says which."""


def read(path: Path) -> Kept | None:
    """
    Return what a file holds, or None if it is empty.

    Raise UnreadableError, ForeignError if the file is not ours, or any other OSError.
    """
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > LIMIT:
            msg = f"is longer than {LIMIT // 1024**2} MB"
            raise UnreadableError(msg)
        raw = file.read()
    if not raw:
        return None
    checksum, record = raw[: _DIGITS + 1], raw[_DIGITS + 1 :]
    del raw
    if checksum != _checksum(path, record):
        msg = "is damaged, or of another version"
        raise UnreadableError(msg)
    try:
        return _kept(json.loads(record))
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        msg = "is no journal"
        raise UnreadableError(msg) from error


def _kept(entry: Any) -> Kept:
    if entry["format"] != _FORMAT or not (as_object(entry["answer"]) and as_object(entry["state"])):
        raise ValueError
    counts = int(entry["rounds"]), int(entry["tokens"])
    return Kept(str(entry["model"]), *counts, answer=entry["answer"], state=entry["state"])


def write(path: Path, kept: Kept, *, sync: bool) -> None:
    """
    Let a file hold this and nothing else. Raise OSError if that cannot be done; the file is then as it was.

    ``sync``: whether it is to be there if the machine stops, and not only if the process is killed.
    """
    entry = {field.name: getattr(kept, field.name) for field in fields(kept)}
    record = json.dumps({"format": _FORMAT, **entry}).encode() + b"\n"
    if _DIGITS + 1 + len(record) > LIMIT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    new = path.with_suffix(NEW)
    try:
        with os.fdopen(make_own(new), "wb") as file:
            file.write(_checksum(path, record) + record)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _checksum(path: Path, record: bytes) -> bytes:
    """Return the checksum of a record: under another name it would be that of another answer."""
    hash_ = sha256(path.name.encode("utf-8", "surrogateescape") + b"\n")
    hash_.update(record)
    return hash_.hexdigest()[:_DIGITS].encode() + b" "


def unfinished(folder: Path) -> Iterator[tuple[Path, Kept | None, float]]:
    """Yield each file of a folder, what it holds (None: unreadable), and its age in seconds; the oldest first."""
    found: list[tuple[float, Path]] = []
    for path in folder.glob(f"*{SUFFIX}"):
        # An answer may end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append((path.lstat().st_mtime, path))
    for written_at, path in sorted(found):
        age = time.time() - written_at
        try:
            yield path, read(path), age
        except (UnreadableError, OSError):
            yield path, None, age
