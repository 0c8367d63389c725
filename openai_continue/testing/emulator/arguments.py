"""
What the model calls tools with: values that fit the schema of a tool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from . import texts
from .calls import Wanted
from .checks import Body


@lru_cache(maxsize=64)
def planned(functions: str, key: str, size: int, *, byte_fallback: bool) -> tuple[Wanted, ...]:
    """
    Return one call of each function, with arguments that a key decides. ``functions`` is JSON.

    Each property of its parameters gets a value, and the last string a text of ``size`` tokens. Without properties, the
    arguments are a JSON document of ``size`` tokens.
    """
    read = cast("Sequence[Body]", json.loads(functions))
    keys = [f"{key} {number}" if number else key for number in range(len(read))]
    return tuple(_call(one, key, size, byte_fallback=byte_fallback) for one, key in zip(read, keys, strict=True))


def _call(function: Body, key: str, size: int, *, byte_fallback: bool) -> Wanted:
    name = str(function["name"])
    schema = cast("Body", function.get("parameters") or {})
    properties = cast("Mapping[str, Body]", schema.get("properties") or {})
    if not properties:
        text = texts.json_document(f"tool {key}", size, byte_fallback=byte_fallback)
        return Wanted(name, json.loads(text), text)
    strings = [one for one, inner in properties.items() if _kind(inner) == "string" and not inner.get("enum")]
    arguments = {one: _value(inner, f"{one} {key}") for one, inner in properties.items()}
    if strings:
        arguments[strings[-1]] = texts.awkward_document(f"tool {key}", size, byte_fallback=byte_fallback)
    return Wanted(name, arguments)


def _kind(schema: Body) -> str:
    """Return the type of a value, the first one if there are several, or "string" if the schema names none."""
    kind: Any = schema.get("type") or "string"
    return str(kind) if isinstance(kind, str) else str(cast("Sequence[str]", kind)[0])


def _value(schema: Body, key: str) -> object:
    """Return a short value that fits a schema."""
    if schema.get("enum"):
        return cast("Sequence[object]", schema["enum"])[0]
    number = int(hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:4], 16)
    kind = _kind(schema)
    if kind == "object":
        properties = cast("Mapping[str, Body]", schema.get("properties") or {})
        if properties:
            return {name: _value(inner, f"{name} {key}") for name, inner in properties.items()}
        return {"mode": "0644", "owner": {"name": 'Zoë \\ "Z"'}, "count": number}
    if kind == "array":
        items = cast("Body", schema.get("items") or {})
        return [_value(items, f"{place} {key}") for place in range(2)]
    values = {"integer": number, "number": number + 0.5, "boolean": number % 2 == 0, "null": None}
    return values.get(kind, f"notes/{number:04x} é.md")
