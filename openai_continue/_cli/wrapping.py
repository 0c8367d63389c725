"""Lines that are broken between words where a terminal would break them within one."""

from __future__ import annotations

import shutil
import textwrap
from typing import TextIO


def wrapped(line: str, stream: TextIO) -> str:
    """Return a line as a terminal is to show it; as it is if ``stream`` is none."""
    if not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
