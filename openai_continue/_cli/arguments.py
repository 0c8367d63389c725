"""The parser of the command, and what its arguments accept."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from .wrapping import tell

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Parser(argparse.ArgumentParser):
    """The parser of the command and, as argparse makes them, of each subcommand."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Raise OSError if it cannot be written; argparse would say nothing, with an exit code of 0."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """End with what is wrong; argparse would not break the line."""
        self.print_usage(sys.stderr)
        tell(f"{self.prog}: error: {message}")
        raise SystemExit(2)


def from_0(text: str) -> float:
    """Return the number that an argument is."""
    with suppress(ValueError):
        number = float(text)
        if 0 <= number < math.inf:
            return number
    msg = f"got {text!r}, accepted is a number from 0"
    raise argparse.ArgumentTypeError(msg)


def text(value: str) -> str:
    """Return an argument that is sent to a server."""
    if is_text(value):
        return value
    msg = "it is no text in the encoding of the terminal"
    raise argparse.ArgumentTypeError(msg)


def name(value: str) -> str:
    """Return an argument that names something."""
    if value.strip():
        return text(value)
    msg = "got an empty name"
    raise argparse.ArgumentTypeError(msg)


def is_text(value: str) -> bool:
    """Whether a server can read it. Python reads bytes that are no characters as half a pair of surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
