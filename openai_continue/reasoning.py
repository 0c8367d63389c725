"""
On which side of the think block a cut fell, and in what form thoughts and answer go back.

Thoughts come in a field of their own (``reasoning_content``, ``reasoning``) or inline, as ``<think>`` in the content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .chunks import string

OPEN, CLOSE = "<think>", "</think>"
FIELDS = ("reasoning_content", "reasoning")

# Templates that keep an open think block in the message sent back, seen by rendering the templates that llama.cpp
# ships with transformers 5.23; the others put it behind a closed one.
_TAKES_OPEN_BLOCK = re.compile(r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3", re.IGNORECASE)
# Templates whose generation prompt opens the block: the model's own words hold the closing tag alone.
_OPENS_BLOCK = re.compile(
    r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3|qwq|qwen-?3\.5|qwen-?3.*thinking|glm-?4\.7", re.IGNORECASE
)
_R1 = re.compile(r"deepseek-?r1|r1-distill", re.IGNORECASE)


def field_of(delta: Mapping[str, Any]) -> str | None:
    """Return the name of the field in which a message or delta brings thoughts."""
    return next((name for name in FIELDS if string(delta.get(name))), None)


def takes_open_block(model: object) -> bool:
    """Tell whether thoughts that were cut can go on inline, by the model's template."""
    return isinstance(model, str) and _TAKES_OPEN_BLOCK.search(model) is not None


def wants_closed_block(model: object) -> bool:
    """Tell whether an answer goes back behind an empty think block where the provider documents that form."""
    return isinstance(model, str) and _R1.search(model) is not None


@dataclass(frozen=True, slots=True)
class Inline:
    """Content parted at its think block."""

    #: True: the block is still open; ``answer`` is empty.
    thinking: bool
    thoughts: str
    answer: str

    @classmethod
    def of(cls, content: str, model: object = None) -> Inline:
        """Part content; without a block it is all answer."""
        opened = content.lstrip().startswith(OPEN)
        thoughts, closed, answer = content.partition(CLOSE)
        if closed and (opened or (OPEN not in content and (_opens_block(model) or _on_its_own(thoughts, answer)))):
            return cls(False, thoughts.lstrip().removeprefix(OPEN).strip("\n"), answer.lstrip())
        return cls(opened, content if opened else "", "" if opened else content)


def _opens_block(model: object) -> bool:
    return isinstance(model, str) and _OPENS_BLOCK.search(model) is not None


def _on_its_own(before: str, behind: str) -> bool:
    """Tell whether a closing tag has a line of its own; a text about such tags has it in the middle of one."""
    return (not before or before.endswith("\n")) and (not behind or behind.lstrip(" ").startswith("\n"))
