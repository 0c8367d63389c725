"""Values of arguments other than plain strings, from JSON to the syntax of a model and back; and JSON's own strings."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from ..._tables.call_syntaxes import Parameters

#: A complete piece of a JSON string: characters, or an escape, which is two for a character beyond U+FFFF.
UNIT = re.compile(r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]')
#: The same of a string as Python writes it, in double quotes.
PYTHON_UNIT = re.compile(r'[^"\\]+|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU])')
# A name without quotes, next to those that have some.
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|([^\s"{}\[\],:][^"{}\[\],:]*?)(?=\s*:)')
_SCALAR = re.compile(r"\s*([^\s,}\])]+)(?=\s*[,}\])])")


def type_of(value: Any) -> str:
    """Return the type of a value, as JSON schemas name it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names[type(value)]


def unescaped(unit: str) -> str:
    """Return what a piece of a JSON string stands for."""
    return str(json.loads(f'"{unit}"', strict=False)) if unit[0] == "\\" else unit


def unescaped_python(unit: str) -> str:
    """Return what a piece of a string of Python stands for."""
    return str(ast.literal_eval(f'"{unit}"')) if unit[0] == "\\" else unit


def escaped(text: str) -> str:
    """Return a text as it stands within the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def written_value(value: Any, parameters: Parameters) -> str:
    """Return a value in the syntax of a model. A string within it is in its quotes."""
    if parameters.values == "python":
        return _python(value)
    return _gemma(value, parameters.quote) if parameters.values == "gemma" else json.dumps(value, ensure_ascii=False)


def read_value(text: str, parameters: Parameters, separators: tuple[str, str]) -> str | None:
    """Return a value that a model wrote as JSON, or None if it is no value."""
    try:
        if parameters.values == "python":
            value = ast.literal_eval(text.strip())
        else:
            value = json.loads(_json_of_gemma(text, parameters.quote) if parameters.values == "gemma" else text)
        return json.dumps(value, ensure_ascii=False, separators=separators)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _python(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_python(key)}: {_python(each)}" for key, each in value.items()) + "}"  # pyright: ignore
    if isinstance(value, list):
        return "[" + ", ".join(map(_python, value)) + "]"  # pyright: ignore
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _gemma(value: Any, quote: str) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_gemma(each, quote)}" for key, each in value.items()) + "}"  # pyright: ignore
    if isinstance(value, list):
        return "[" + ",".join(_gemma(each, quote) for each in value) + "]"  # pyright: ignore
    return f"{quote}{value}{quote}" if isinstance(value, str) else json.dumps(value)


def _json_of_gemma(text: str, quote: str) -> str:
    parts = text.split(quote)
    parts[1::2] = [json.dumps(part, ensure_ascii=False) for part in parts[1::2]]
    return _NAME.sub(lambda found: f'"{found[1]}"' if found[1] else found[0], "".join(parts))


class ValueEnd:
    """Finds the end of a value that comes in pieces: an object, a list, a string, or one word."""

    def __init__(self, values: str = "json", quote: str = '"') -> None:
        self._quotes = (quote, "'") if values == "python" else (quote,)
        escapes = () if values == "gemma" else (r"\\.",)
        self._marks = re.compile("|".join((*escapes, *map(re.escape, self._quotes), r"[{}\[\]]")), re.DOTALL)
        self._longest = max(len(quote), 2)
        # Up to where the value was read, the quote of the string that is open there, and how many brackets are.
        self._place = 0
        self._quote = ""
        self._depth = 0

    def feed(self, text: str) -> int | None:
        """Return where the value ends in ``text``, which is longer each time; None if it does not."""
        if not text.lstrip().startswith(("{", "[", *self._quotes)):
            found = _SCALAR.match(text)
            return None if found is None else found.end()
        for mark in self._marks.finditer(text, self._place):
            self._place = mark.end()
            if self._take(mark[0]):
                return self._place
        # A mark may be cut at the end of the text.
        self._place = max(self._place, len(text) - self._longest + 1)
        return None

    def _take(self, mark: str) -> bool:
        """Take a mark; return whether the value ends after it."""
        if mark[0] == "\\":
            return False
        if mark in self._quotes:
            if self._quote not in ("", mark):
                return False
            self._quote = "" if self._quote else mark
            return not self._quote and self._depth == 0
        if not self._quote:
            self._depth += 1 if mark in "{[" else -1
        return not self._quote and self._depth == 0
