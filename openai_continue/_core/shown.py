"""
Whether a chat template shows the messages of a request in the prompt that it makes.

Templates trim what was said, or write it as JSON; some put what the system says before the last question, leave the
thoughts of earlier answers out, and the text beside their tool calls. All else that is missing was dropped, so that the
template is of another model, or none at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from .json import Json, as_object, as_string
from .text.reasoning import CLOSE

_OF_SYSTEM = ("system", "developer")


def shows_messages(prompt: str, body: Mapping[str, Any]) -> bool:
    """Whether the text of every message of a request is in its prompt, in the order of the messages."""
    seen, place = _bare(prompt), 0
    for message in cast("Sequence[object]", body.get("messages") or ()):
        known = as_object(message) or {}
        text = _said(known)
        if not _bare(text):
            continue
        is_of_system = known.get("role") in _OF_SYSTEM
        found = [(seen.find(form, 0 if is_of_system else place), len(form)) for form in _forms(text)]
        ends = [start + length for start, length in found if start >= 0]
        if not ends:
            return False
        place = place if is_of_system else min(ends)
    return True


def _said(message: Json) -> str:
    """Return the text of a message that a template must show, or ""."""
    content: object = message.get("content")
    if isinstance(content, list):
        parts = [as_object(part) or {} for part in cast("list[object]", content)]
        content = "".join(as_string(part.get("text")) or "" for part in parts)
    text = as_string(content) or ""
    if message.get("role") != "assistant":
        return text
    return "" if message.get("tool_calls") else text.rpartition(CLOSE)[2]


def _forms(text: str) -> Iterator[str]:
    """Return a text as it stands in a prompt, without whitespace: as it is, and as JSON."""
    yield _bare(text)
    yield _bare(json.dumps(text, ensure_ascii=False)[1:-1])
    yield _bare(json.dumps(text)[1:-1])


def _bare(text: str) -> str:
    return "".join(text.split())
