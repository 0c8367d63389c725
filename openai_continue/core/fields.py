"""How the fields of several rounds become those of one answer: a written rule for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from .jsons import Json


def joined(so_far: Mapping[str, Any], more: Mapping[str, Any], *, apart: Sequence[str]) -> Json:
    """
    Return the fields of two rounds as one, without those named in ``apart``.

    Lists grow with the text, so those of both follow each other. What is said of the prompt is as the first round has
    it, and anything else as the last one has it.
    """
    fields = {**so_far}
    for name, value in more.items():
        known = fields.get(name)
        if name in apart or (value is None and known is not None) or (known is not None and name.startswith("prompt")):
            continue
        grows = isinstance(known, list) and isinstance(value, list)
        fields[name] = [*cast("list[Any]", known), *cast("list[Any]", value)] if grows else value
    return fields
