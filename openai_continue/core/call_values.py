"""Values of arguments other than plain strings, from JSON to the syntax of a model and back; and JSON's own strings."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from ..call_syntaxes import Parameters
from .document import Document

#: A complete piece of a JSON string: characters, or an escape, which is two for a character beyond U+FFFF.
UNIT = re.compile(r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]')
#: The same of a string as Python writes it, in double quotes.
PYTHON_UNIT = re.compile(r'[^"\\]+|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU])')
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|([A-Za-z_][\w.\-]*)(?=\s*:)')
_SCALAR = re.compile(r"\s*([^\s,}\])]+)(?=\s*[,}\])])")


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
        return repr(value)
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
    """Finds the end of a value that comes in pieces and is no plain string: an object, a list, or one word."""

    def __init__(self) -> None:
        self._document: Document | None = None

    def feed(self, text: str, new: int) -> int | None:
        """Return where the value ends in ``text``, whose last ``new`` characters are new; None if it does not."""
        start = text.lstrip()[:1]
        if start and start in "{[":
            if self._document is None:
                self._document, new = Document(), len(text)
            end = self._document.feed(text[len(text) - new :])
            return None if end is None else len(text) - new + end
        found = _SCALAR.match(text)
        return None if found is None else found.end()
