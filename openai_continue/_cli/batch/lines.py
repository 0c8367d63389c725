"""The files of a batch, read and written line by line."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..._core.json import Json, as_object, load

#: What the lines of each kind of file look like.
REQUEST = '{"custom_id": "...", "method": "POST", "url": "/v1/chat/completions", "body": {...}}'
ANSWER = '{"custom_id": "...", "response": {"status_code": 200, "body": {...}}, "error": null}'
KEPT = "what batch next has written"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BatchError(Exception):
    """A file that cannot be used. The message names the file and the line, and shows none of what is in it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and where it stands."""

    path: Path
    number: int
    #: The bytes before it.
    offset: int

    def text(self) -> str:
        """Read it."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return _text(file.readline())

    def refusal(self, what: str, accepted: str) -> BatchError:
        """Return the error of a line that cannot be used."""
        return BatchError(f"{self}: {what}; accepted is {accepted}")

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.path}, line {self.number}"


def _text(raw: bytes) -> str:
    return raw.removeprefix(_BYTE_ORDER_MARK).strip().decode()


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except ValueError:
        return False
    return True


def lines_of(path: Path, accepted: str) -> Iterator[tuple[Line, str, Json]]:
    """Give each line of a file that is not empty, its text and its object. Raise BatchError for one that has none."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line, offset = Line(path, number, offset), offset + len(raw)
            if not raw.strip():
                continue
            found = as_object(load(raw.removeprefix(_BYTE_ORDER_MARK))) if _is_text(raw) else None
            if found is None:
                what = "it is no JSON object. If the file has broken off, fetch it again"
                raise line.refusal(what, f"one a line, such as {accepted}")
            yield line, _text(raw), found


def by_custom_id(paths: Sequence[Path], accepted: str, *names: str) -> dict[str, Line]:
    """Return the line of each ``custom_id``. Raise BatchError if it is no text, comes twice, or lacks these names."""
    found: dict[str, Line] = {}
    for path in paths:
        for line, _, fields in lines_of(path, accepted):
            missing = [name for name in ("custom_id", *names) if name not in fields]
            if missing:
                raise line.refusal(f"it has no {', no '.join(map(repr, missing))}", accepted)
            name = fields["custom_id"]
            if not isinstance(name, str) or not name:
                raise line.refusal('its "custom_id" is no text', accepted)
            if name in found:
                raise line.refusal(f'its "custom_id" is that of {found[name]}, too', "each once")
            found[name] = line
    return found


def refuse_in_use(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Raise BatchError if a file that is to be written is one that is read, or is there and is no regular file."""
    in_use = {os.path.realpath(path) for path in read}
    for path in written:
        if path.exists() and not path.is_file():
            msg = f"{path}: it is no regular file; accepted is one, or a new name"
            raise BatchError(msg)
        if os.path.realpath(path) in in_use:
            msg = f"{path}: it is read, and would be replaced; give another name with -o"
            raise BatchError(msg)


@contextmanager
def replacing(*paths: Path) -> Generator[list[BinaryIO], None, None]:
    """
    Give a new file for each path. At the end of the block they take the places of the paths, the first one last.

    Nothing is replaced if the block raises, or if the first file is empty.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    partial = [path.with_name(f"{path.name}.{os.getpid()}.partial") for path in targets]
    try:
        with ExitStack() as stack:
            files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in partial]
            yield files
            has_something = files[0].tell() > 0
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        if has_something:
            for new, old in zip(reversed(partial), reversed(targets), strict=True):
                new.replace(old)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
