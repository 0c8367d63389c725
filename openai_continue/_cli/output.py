"""Where an answer goes as it arrives: to a file, to stdout, or nowhere yet."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

#: The exit code if the reader of stdout has gone, as that of a Unix tool that SIGPIPE ends.
READER_GONE = 141


class NotWrittenError(Exception):
    """The text could not be written; ``__cause__`` is the OSError."""


class Output:
    """Takes an answer piece by piece; nothing that it has taken is lost with the process."""

    #: Whether a line on the terminal cannot run into the text.
    is_apart = True

    def __init__(self) -> None:
        #: What the user has to know about the text, in sentences.
        self.notes: list[str] = []

    def write(self, text: str) -> None:
        """Write at once. Raises NotWrittenError."""
        raise NotImplementedError

    def accept(self) -> None:
        """Accept the answer, since its first round has ended. Raises NotWrittenError."""

    def close(self) -> None:
        """End the output."""


class Kept(Output):
    """The text is kept, to be printed within the JSON summary."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        """See Output."""
        self.texts.append(text)


class Printed(Output):
    """The text goes to stdout. A character that its encoding does not have becomes a "?"."""

    def __init__(self) -> None:
        super().__init__()
        self.is_apart = False
        with suppress(OSError, ValueError):
            # A pipe may lead to the terminal, as with tee.
            self.is_apart = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
        self._replaced = 0
        self._ends_line = True

    def write(self, text: str) -> None:
        """See Output."""
        encoding = sys.stdout.encoding or "utf-8"
        written = text.encode(encoding, "replace").decode(encoding)
        self._replaced += sum(one != other for one, other in zip(text, written, strict=False))
        self._ends_line = text.endswith("\n")
        try:
            sys.stdout.write(written)
            sys.stdout.flush()
        except OSError as error:
            msg = f"The text could not be written to stdout: {error.strerror}."
            raise NotWrittenError(msg) from error

    def close(self) -> None:
        """See Output."""
        if self._replaced:
            self.notes.append(
                f"{self._replaced} characters that {sys.stdout.encoding} does not have were replaced by ?. Write to a "
                "file with -o, or set PYTHONIOENCODING=utf-8."
            )
        if not self._ends_line and sys.stderr.isatty():
            print(file=sys.stderr)


class Filed(Output):
    """
    The text goes to a file.

    What is in the file stays there until the first round of the answer has ended: up to then the text goes to a file
    beside it, which then takes its place.
    """

    def __init__(self, path: Path) -> None:
        """Raise OSError if the file cannot be written."""
        super().__init__()
        self._beside: Path | None = None
        self._accepted = self._has_text = False
        try:
            before: os.stat_result | None = path.stat()
        except FileNotFoundError:
            before = None
        self._is_new = before is None
        # Only a regular file has content to keep, and can be replaced; /dev/stdout cannot.
        self.is_apart = before is None or stat.S_ISREG(before.st_mode)
        # A link stays a link. That of a pipe (/dev/stdout, /dev/fd/3) leads to a name that cannot be opened.
        self._path = Path(os.path.realpath(path)) if self.is_apart else path
        if before is None or not self.is_apart or not before.st_size:
            self._file = self._path.open("xb" if before is None else "ab", buffering=0)
        else:
            # Raises the error that writing to the file itself would raise.
            self._path.open("ab").close()
            self._open_beside(before)

    def _open_beside(self, before: os.stat_result) -> None:
        descriptor, name = tempfile.mkstemp(".partial", f"{self._path.name[:40]}.", self._path.parent)
        self._beside, self._file = Path(name), os.fdopen(descriptor, "wb", buffering=0)
        with suppress(OSError, AttributeError):
            os.chown(name, before.st_uid, before.st_gid)
        os.chmod(name, stat.S_IMODE(before.st_mode))

    def write(self, text: str) -> None:
        """See Output."""
        data = text.encode("utf-8", "surrogatepass")
        try:
            while data:
                data = data[self._file.write(data) :]
                self._has_text = True
        except OSError as error:
            msg = f"The text could not be written to {self._beside or self._path}: {error.strerror}."
            raise NotWrittenError(msg) from error

    def accept(self) -> None:
        """See Output."""
        self._accepted = True
        if self._beside is None or not self._has_text:
            return
        try:
            os.fsync(self._file.fileno())
            self._beside.replace(self._path)
        except OSError as error:
            msg = f"The text could not take the place of {self._path}: {error.strerror}."
            raise NotWrittenError(msg) from error
        self._beside = None

    def close(self) -> None:
        """See Output."""
        self._file.close()
        if self._beside is not None and self._has_text:
            self.notes.append(f"{self._path} is as it was. The text that came is in {self._beside}.")
        elif self._beside is not None:
            self._beside.unlink(missing_ok=True)
            self.notes.append(f"{self._path} is as it was.")
        elif self._is_new and not self._has_text and not self._accepted:
            self._path.unlink(missing_ok=True)
