"""Lines that are broken between words where a terminal would break them within one."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TextIO


def wrapped(line: str, stream: TextIO) -> str:
    """Return a line as a terminal is to show it; as it is if ``stream`` is none."""
    if not stream.isatty():
        return line
    # That of this stream: the other one may be a pipe. A terminal that does not know its width says 0.
    width = os.get_terminal_size(stream.fileno()).columns or 80
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def tell(line: str) -> None:
    """Print a line on stderr."""
    print(wrapped(line, sys.stderr), file=sys.stderr)


def said(error: Exception) -> str:
    """Return what an error says; that of the system without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
