"""
On which side of the think block a cut fell, and in what form thoughts and answer go back.

Thoughts come in a field of their own (``reasoning_content``, ``reasoning``) or inline, as ``<think>`` in the content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .jsons import as_string
from .seam import start_of

OPEN, CLOSE = "<think>", "</think>"
FIELDS = ("reasoning_content", "reasoning")
_QUOTES = ("'", '"', "`")

# Families of models by their chat templates, seen by rendering those that llama.cpp and TRL ship: providers.py.
_FAMILIES = {
    "r1": re.compile(r"deepseek-?r1|r1-distill", re.IGNORECASE),
    # Keep an open think block in the message sent back; the others put it behind a closed one.
    "taking": re.compile(r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3", re.IGNORECASE),
    # Open the block in the generation prompt, so that the model's own words hold the closing tag alone.
    "opening": re.compile(
        r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3|qwq|qwen-?3\.[5-9]|qwen-?3.*thinking|glm-?4\.7", re.IGNORECASE
    ),
}


def field_of(delta: Mapping[str, Any]) -> str | None:
    """Return the name of the field in which a message or delta brings thoughts."""
    return next((name for name in FIELDS if as_string(delta.get(name))), None)


def is_of(family: str, model: object) -> bool:
    """Tell whether a model belongs to a family."""
    return isinstance(model, str) and _FAMILIES[family].search(model) is not None


@dataclass(frozen=True, slots=True, repr=False)
class Inline:
    """Content parted at its think block."""

    #: True: the block is still open; ``answer`` is empty.
    thinking: bool
    thoughts: str
    answer: str
    #: The white space between the block and the answer.
    gap: str = ""

    @classmethod
    def of(cls, content: str, model: object = None) -> Inline:
        """Part content; without a block it is all answer."""
        if "<" not in content:
            # To search a long text for one character takes a tenth of the time.
            return cls(False, "", content)
        opened = content.startswith(OPEN, start_of(content))
        thoughts, closed, answer = content.partition(CLOSE)
        if closed and (opened or (OPEN not in content and _closes(thoughts, answer, model))):
            bare = answer.lstrip()
            return cls(False, thoughts.lstrip().removeprefix(OPEN).strip("\n"), bare, answer[: len(answer) - len(bare)])
        return cls(opened, content if opened else "", "" if opened else content)


def _closes(before: str, behind: str, model: object) -> bool:
    """
    Tell whether a closing tag without an opening one closes thoughts; a text about such tags has them too.

    It has a line of its own, or stands unquoted in the answer of a model whose prompt opens the block.
    """
    own_line = (not before or before.endswith("\n")) and (not behind or behind.lstrip(" ").startswith("\n"))
    quoted = before[-1:] in _QUOTES or behind[:1] in _QUOTES
    return own_line or (is_of("opening", model) and not quoted)
