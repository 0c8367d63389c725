"""Summing the usage of several rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .jsons import Json

_NUMBERS = (int, float)


def add_usage(so_far: Mapping[str, Any] | None, more: Mapping[str, Any] | None) -> Json | None:
    """
    Return the sum of two usage objects, field by field; nested objects and the provider's own fields too.

    The sum is what was billed: the prompt of every round counts.
    """
    if so_far is None or more is None:
        known = so_far if more is None else more
        return None if known is None else dict(known)
    return {name: _add(so_far.get(name), more.get(name)) for name in dict.fromkeys((*so_far, *more))}


def _add(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict):
        return add_usage(cast(Json, one), cast(Json, other))
    if isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS):
        return one + other
    return cast(object, one if other is None else other)
