"""Values of arguments as JSON: their types, the pieces of their strings, and where they end."""

from __future__ import annotations

import json
import re
from typing import Any

#: A complete piece of a JSON string: characters, or an escape, which is two for a character beyond U+FFFF.
UNIT = re.compile(r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]')
_SCALAR = re.compile(r"\s*([^\s,}\]]+)(?=\s*[,}\]])")
# What may end a value, or begin a part of it; an escape is none, whatever it stands for.
_MARKS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)


def type_of(value: Any) -> str:
    """Return the type of a value, as JSON schemas name it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names[type(value)]


def unescaped(unit: str) -> str:
    """Return what a piece of a JSON string stands for."""
    return str(json.loads(f'"{unit}"', strict=False)) if unit[0] == "\\" else unit


def escaped(text: str) -> str:
    """Return a text as it stands within the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def read_value(text: str, separators: tuple[str, str]) -> str | None:
    """Return a value that a model wrote as JSON, with these separators, or None if it is no value."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=separators)
    except (ValueError, RecursionError):
        return None


class ValueEnd:
    """Finds the end of a value that comes in pieces: an object, a list, a string, or one word."""

    def __init__(self) -> None:
        # Up to where the value was read, whether a string is open there, and how many brackets are.
        self._place = 0
        self._is_quoted = False
        self._depth = 0

    def feed(self, text: str) -> int | None:
        """Return where the value ends in ``text``, which is longer each time; None if it does not."""
        if not text.lstrip().startswith(("{", "[", '"')):
            found = _SCALAR.match(text)
            return None if found is None else found.end()
        for mark in _MARKS.finditer(text, self._place):
            self._place = mark.end()
            if self._take(mark[0]):
                return self._place
        # An escape may be cut at the end of the text.
        self._place = max(self._place, len(text) - 1)
        return None

    def _take(self, mark: str) -> bool:
        """Take a mark; return whether the value ends after it."""
        if mark[0] == "\\":
            return False
        if mark == '"':
            self._is_quoted = not self._is_quoted
        elif not self._is_quoted:
            self._depth += 1 if mark in "{[" else -1
        return not self._is_quoted and self._depth == 0
