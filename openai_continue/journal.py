"""
The journal: one file for each unfinished answer, so that the answer outlives its process.

A file holds the responses so far, as JSON lines. A first line says what it is; each round has a line with its request's
digest and its response's head, lines of data, and a line that ends it. What a process that was killed has left half
written is dropped. The text of answers is in these files: they are readable by their owner only.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

#: The ending of a journal's file, and of one that could not be read.
SUFFIX, BAD = ".answer", ".unreadable"
_FORMAT = 1
#: Seconds between two writes while a round streams.
INTERVAL = 1.0


@dataclass(slots=True, repr=False)
class Recorded:
    """A round in a journal."""

    #: The digest of the request's body.
    request: str
    status: int
    headers: dict[str, str]
    data: bytes = b""
    #: Whether the response came to its end.
    ended: bool = False
    #: Output tokens of the answer up to here.
    tokens: int = 0
    #: Where the round begins in the file, in bytes.
    place: int = 0


@dataclass(slots=True, repr=False)
class Contents:
    """What a file holds."""

    model: str = ""
    rounds: list[Recorded] = field(default_factory=list[Recorded])
    #: The length of what is whole, in bytes.
    length: int = 0


class UnreadableError(ValueError):
    """A file that is no journal, or one that was changed."""


def read(path: Path) -> Contents:
    """Return what a file holds. Raises UnreadableError, or OSError."""
    contents = Contents()
    raw = path.read_bytes()
    # A line without its end was being written when the process ended.
    whole = raw[: raw.rfind(b"\n") + 1]
    place = 0
    for line in whole.splitlines(keepends=True):
        _take(contents, line, place, first=place == 0)
        place += len(line)
    contents.length = place
    return contents


def _take(contents: Contents, line: bytes, place: int, *, first: bool) -> None:
    try:
        entry: Any = json.loads(line)
        if first:
            if entry["format"] != _FORMAT:
                raise UnreadableError
            contents.model = str(entry["model"])
        elif "round" in entry:
            headers = {str(name): str(value) for name, value in entry["headers"].items()}
            contents.rounds.append(Recorded(str(entry["request"]), int(entry["status"]), headers, place=place))
        elif "data" in entry:
            contents.rounds[-1].data += str(entry["data"]).encode("utf-8", "surrogateescape")
        else:
            contents.rounds[-1].ended = bool(entry["ended"])
            contents.rounds[-1].tokens = int(entry["tokens"])
    except UnreadableError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UnreadableError from error


class Writer:
    """Appends to one file. Raises OSError if that cannot be done."""

    def __init__(self, path: Path, model: str, *, keep: int) -> None:
        """``keep``: bytes at the beginning of the file to keep. 0 begins it anew."""
        self._path = path
        self._model = model
        self._keep = keep
        self._file: BinaryIO | None = None
        self._pending: list[bytes] = []
        self._written_at = 0.0
        self._is_closed = False

    def keep(self, length: int) -> None:
        """Keep only so many bytes of the file, if nothing was written yet."""
        self._keep = length

    def begin(self, number: int, request: str, status: int, headers: Mapping[str, str]) -> None:
        """Begin a round."""
        # What is left of a round that broke off belongs to that round.
        self._flush()
        self._written_at = time.monotonic()
        self._put({"round": number, "request": request, "status": status, "headers": dict(headers)})

    def add(self, data: bytes) -> None:
        """Add data of the round. It is written every few seconds."""
        self._pending.append(data)
        if time.monotonic() - self._written_at >= INTERVAL:
            self._flush()

    def end(self, tokens: int) -> None:
        """End the round; write all of it. ``tokens``: output tokens of the answer so far."""
        self._flush(last={"ended": True, "tokens": tokens})

    def close(self, *, drop: bool = False) -> None:
        """Write what is left, unless ``drop`` says not to, and close the file."""
        if self._pending and not drop and not self._is_closed:
            self._flush()
        self._is_closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put(self, entry: Mapping[str, Any]) -> None:
        if self._is_closed:
            msg = "the file is closed"
            raise OSError(msg)
        if self._file is None:
            self._file = self._opened()
        self._file.write(json.dumps(entry).encode() + b"\n")

    def _opened(self) -> BinaryIO:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=1024 * 1024)
        file.truncate(self._keep)
        file.seek(self._keep)
        if not self._keep:
            file.write(json.dumps({"format": _FORMAT, "model": self._model}).encode() + b"\n")
        return file

    def _flush(self, last: Mapping[str, Any] | None = None) -> None:
        if self._pending:
            self._put({"data": b"".join(self._pending).decode("utf-8", "surrogateescape")})
            self._pending = []
        if last is not None:
            self._put(last)
        if self._file is not None:
            # A process that is killed loses nothing that the system has; a machine that stops loses one round.
            self._file.flush()
            if last is not None:
                os.fsync(self._file.fileno())
        self._written_at = time.monotonic()


def unfinished(folder: Path) -> Iterator[tuple[Path, Contents | None, float]]:
    """Yield each file of a folder, what it holds (None: unreadable), and its age in seconds; the oldest first."""
    found: list[tuple[float, Path]] = []
    for path in folder.glob(f"*{SUFFIX}"):
        # An answer may end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path))
    for written_at, path in sorted(found):
        age = time.time() - written_at
        try:
            yield path, read(path), age
        except (UnreadableError, OSError):
            yield path, None, age
