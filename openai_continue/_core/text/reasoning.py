"""
On which side of the think block a cut fell.

Thoughts come in a field of their own (``reasoning_content``, ``reasoning``) or inline, as ``<think>`` in the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._tables.families import is_of
from ..json import as_string
from .seam import start_of

OPEN, CLOSE = "<think>", "</think>"
FIELDS = ("reasoning_content", "reasoning")
#: The same thoughts once more, as a list (OpenRouter).
DETAILS = "reasoning_details"
_QUOTES = ("'", '"', "`")


def field_of(delta: Mapping[str, Any]) -> str | None:
    """Return the name of the field in which a message or delta carries thoughts, or None if it has none."""
    return next((name for name in FIELDS if as_string(delta.get(name))), None)


def fields_of(delta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all fields in which a message or delta carries thoughts. Some servers use both."""
    return tuple(name for name in FIELDS if as_string(delta.get(name)))


def without_thoughts(delta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a message or delta without thoughts."""
    return {name: value for name, value in delta.items() if name not in FIELDS and name != DETAILS}


@dataclass(frozen=True, slots=True, repr=False)
class Inline:
    """Content, parted at its think block."""

    #: Whether the block is still open. Then ``answer`` is empty.
    thinking: bool
    thoughts: str
    answer: str
    #: The white space between the block and the answer.
    gap: str = ""

    @classmethod
    def of(cls, content: str, model: object = None) -> Inline:
        """Part content at its think block. Without one, all of it is answer."""
        if "<" not in content:
            return cls(False, "", content)
        opened = content.startswith(OPEN, start_of(content))
        thoughts, closed, answer = content.partition(CLOSE)
        if closed and (opened or (OPEN not in content and _closes(thoughts, answer, model))):
            bare = answer.lstrip()
            return cls(False, thoughts.lstrip().removeprefix(OPEN).strip("\n"), bare, answer[: len(answer) - len(bare)])
        return cls(opened, content if opened else "", "" if opened else content)


def has_opening(text: str) -> bool:
    """Whether a text holds the opening tag. A search for its first character takes a tenth of the time."""
    return "<" in text and OPEN in text


def _closes(before: str, after: str, model: object) -> bool:
    """
    Whether a closing tag without an opening one closes thoughts. A text about such tags has them too.

    It does if it has a line of its own, or stands unquoted in the answer of a model whose prompt opens the block.
    """
    own_line = (not before or before.endswith("\n")) and (not after or after.lstrip(" ").startswith("\n"))
    quoted = before[-1:] in _QUOTES or after[:1] in _QUOTES
    return own_line or (is_of("opening", model) and not quoted)
