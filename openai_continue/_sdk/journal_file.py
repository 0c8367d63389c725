"""
The journal: one file for each unfinished answer, so that the answer outlives its process.

A file holds the responses so far, one record a line: a checksum, a blank, and JSON. The checksum is that of the file's
name and of all records up to this one, so it does not fit if a line was changed, lost, doubled or moved. A first line
says what the file is; each round has a line with its request's digest and its response's head, lines of data, and a
line that ends it. A process that was killed may leave a last line without its end, which is dropped.

The text of answers is in these files: they are readable by their owner only, and those of others are not read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .private_files import open_own

#: The ending of a journal's file, and of one that was set aside.
SUFFIX, BAD = ".answer", ".unreadable"
_FORMAT = 2
#: Most bytes of a file. A streamed token has some 300, so a quarter of a million tokens fit in.
LIMIT = 128 * 1024 * 1024
# Hexadecimal digits of a checksum.
_DIGITS = 16


class Mark(NamedTuple):
    """A place between two records."""

    #: In bytes from the beginning of the file.
    place: int
    #: The hash of all that is before it.
    hash: Any


@dataclass(slots=True, repr=False)
class Recorded:
    """A round in a journal."""

    #: The digest of the request's body.
    request: str
    status: int
    headers: dict[str, str]
    #: Where the round begins in the file.
    start: Mark
    data: bytes = b""
    #: Whether the response came to its end.
    ended: bool = False
    #: Output tokens of the answer up to here.
    tokens: int = 0


@dataclass(slots=True, repr=False)
class Contents:
    """What a file holds."""

    model: str = ""
    rounds: list[Recorded] = field(default_factory=list[Recorded])
    #: Where the records end; None: there is none.
    end: Mark | None = None


class UnreadableError(ValueError):
    """A file that is no journal, or one that was changed. Its message says which."""


def read(path: Path) -> Contents:
    """Return what a file holds. Raise UnreadableError, ForeignError if the file is not ours, or any other OSError."""
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > LIMIT:
            msg = f"is longer than {LIMIT // 1024**2} MB"
            raise UnreadableError(msg)
        return _Reader(path).contents_of(file)


class _Reader:
    """Reads one file, from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        self._hash = _named(path)
        self._contents = Contents()
        self._data: list[bytes] = []

    def contents_of(self, file: BinaryIO) -> Contents:
        place = 0
        for line in file:
            if not line.endswith(b"\n"):
                # It was being written when the process ended.
                break
            start = Mark(place, self._hash.copy())
            record = line[_DIGITS + 1 :]
            self._hash.update(record)
            if line[: _DIGITS + 1] != _checksum(self._hash):
                msg = "is damaged, or of another version"
                raise UnreadableError(msg)
            self._take(record, start)
            place += len(line)
            self._contents.end = Mark(place, self._hash)
        self._end_data()
        return self._contents

    def _take(self, record: bytes, start: Mark) -> None:
        try:
            entry: Any = json.loads(record)
            if not start.place:
                self._take_head(entry)
            elif "round" in entry:
                self._end_data()
                headers = {str(name): str(value) for name, value in entry["headers"].items()}
                one = Recorded(str(entry["request"]), int(entry["status"]), headers, start)
                self._contents.rounds.append(one)
            elif "data" in entry and self._contents.rounds:
                self._data.append(str(entry["data"]).encode("utf-8", "surrogateescape"))
            else:
                one = self._contents.rounds[-1]
                one.ended, one.tokens = bool(entry["ended"]), int(entry["tokens"])
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError, ValueError) as error:
            msg = "is no journal"
            raise UnreadableError(msg) from error

    def _take_head(self, entry: Any) -> None:
        if entry["format"] != _FORMAT:
            raise ValueError
        self._contents.model = str(entry["model"])

    def _end_data(self) -> None:
        """Give the data of a round to it, all at once: to add up piece by piece would take the square of the time."""
        if self._data:
            self._contents.rounds[-1].data, self._data = b"".join(self._data), []


def _named(path: Path) -> Any:
    """Return the hash with which a file begins: a file under another name holds another answer."""
    return sha256(path.name.encode("utf-8", "surrogateescape") + b"\n")


def _checksum(hash_: Any) -> bytes:
    digits: str = hash_.hexdigest()[:_DIGITS]
    return digits.encode() + b" "


class Writer:
    """Appends to one file. Raise OSError if that cannot be done."""

    def __init__(self, path: Path, model: str, *, keep: Mark | None) -> None:
        """``keep``: where the records end that are kept; None begins the file from its beginning."""
        self._path = path
        self._model = model
        self._keep = keep
        self._file: BinaryIO | None = None
        self._hash: Any = None
        self._length = 0
        self._pending: list[bytes] = []
        self._is_closed = False

    def keep(self, mark: Mark) -> None:
        """Keep only the records before a mark, if nothing was written yet."""
        self._keep = mark

    def begin(self, number: int, request: str, status: int, headers: Mapping[str, str]) -> None:
        """Begin a round."""
        # What is left of a round that broke off belongs to that round.
        self._put_pending()
        self._put({"round": number, "request": request, "status": status, "headers": dict(headers)})

    def add(self, data: bytes) -> None:
        """Add data of the round, to be written later."""
        self._pending.append(data)

    def end(self, tokens: int) -> None:
        """End the round; write all of it. ``tokens``: output tokens of the answer so far."""
        self._put_pending()
        self._put({"ended": True, "tokens": tokens})
        self.flush()
        if self._file is not None:
            # A process that is killed loses nothing that the system has; a machine that stops loses one round.
            os.fsync(self._file.fileno())

    def flush(self) -> None:
        """Write what there is."""
        self._put_pending()
        if self._file is not None:
            self._file.flush()

    def close(self, *, drop: bool = False) -> None:
        """Write what is left, unless ``drop`` says not to, and close the file."""
        try:
            if not drop and not self._is_closed:
                self.flush()
        finally:
            self._is_closed = True
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def _put_pending(self) -> None:
        if self._pending:
            data, self._pending = b"".join(self._pending), []
            self._put({"data": data.decode("utf-8", "surrogateescape")})

    def _put(self, entry: Mapping[str, Any]) -> None:
        if self._is_closed:
            msg = "the file is closed"
            raise OSError(msg)
        if self._file is None:
            self._file = self._opened()
        record = json.dumps(entry).encode() + b"\n"
        self._length += _DIGITS + 1 + len(record)
        if self._length > LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._hash.update(record)
        self._file.write(_checksum(self._hash) + record)

    def _opened(self) -> BinaryIO:
        keep = self._keep or Mark(0, _named(self._path))
        file = os.fdopen(open_own(self._path, os.O_RDWR | os.O_CREAT), "r+b", buffering=1024 * 1024)
        try:
            file.truncate(keep.place)
            file.seek(keep.place)
        except BaseException:
            file.close()
            raise
        self._file, self._hash, self._length = file, keep.hash.copy(), keep.place
        if not keep.place:
            self._put({"format": _FORMAT, "model": self._model})
        return file


def unfinished(folder: Path) -> Iterator[tuple[Path, Contents | None, float]]:
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
