"""JSON values: the type of an object, narrowing a value to what it must be, reading and writing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

try:
    # For a long answer, half the time of json to write it, and a quarter to read it.
    from pydantic_core import from_json, to_json
except ImportError:
    # openai takes pydantic 1 too, which has neither.
    def from_json(data: bytes) -> Any:  # type: ignore[misc]
        """Read JSON."""
        return json.loads(data)

    def to_json(value: Any) -> bytes:  # type: ignore[misc]
        """Write a value as compact JSON in UTF-8."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


Json: TypeAlias = dict[str, Any]

#: Most levels of nesting that are read. Python's own limit is the size of its stack.
MAX_DEPTH = 100
_NESTED: tuple[type, ...] = (dict, list, tuple)
# Up to this length in bytes it is quicker to count the brackets of a text than to walk the value.
_SHORT = 4096


def as_object(value: object) -> Json | None:
    """Return the value if it is a JSON object, else None."""
    # Asked many times a round: cast() would be a call.
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def as_string(value: object) -> str | None:
    """Return the value if it is a string, else None."""
    return value if isinstance(value, str) else None


def copied(value: Json) -> Json:
    """Return a copy of an object in which lists and objects are copied too, and all else is the same."""
    return {name: _copied(each) if isinstance(each, _NESTED) else each for name, each in value.items()}


def _copied(value: Any) -> object:
    if isinstance(value, dict):
        return copied(cast(Json, value))
    return [_copied(each) if isinstance(each, _NESTED) else each for each in cast("list[Any]", value)]


def dump(value: object) -> bytes:
    """Write a value as compact JSON in UTF-8. If it holds lone surrogates, escape all that is not ASCII."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":")).encode()


def load(content: bytes) -> object:
    """Read JSON. Return None if it is not JSON, or is nested deeper than ``MAX_DEPTH`` levels."""
    try:
        value = _read(content)
    except (ValueError, RecursionError):
        return None
    may_be_deep = len(content) > _SHORT or content.count(b"[") + content.count(b"{") > MAX_DEPTH
    return None if may_be_deep and _is_deep(value) else value


def _read(content: bytes) -> object:
    try:
        return from_json(content)
    except ValueError:
        # It takes no lone surrogates and no byte order mark.
        return json.loads(content)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
