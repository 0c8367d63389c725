"""JSON values: the type of an object, and narrowing a value to what it must be."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

Json: TypeAlias = dict[str, Any]


def as_object(value: object) -> Json | None:
    """Return the value if it is a JSON object, else None."""
    return cast(Json, value) if isinstance(value, dict) else None


def as_string(value: object) -> str | None:
    """Return the value if it is a string, else None."""
    return value if isinstance(value, str) else None
