"""Marks that are cut: the end of a text may be the beginning of a tag, a stop string, or what opens a tool call."""

from __future__ import annotations

from collections.abc import Sequence


def overlap(text: str, mark: str) -> int:
    """Return the length of the longest end of a text that is a beginning of a mark, and not all of it."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)


def ends_in_half(text: str, marks: Sequence[str]) -> bool:
    """Whether the text ends in the beginning of one of these marks."""
    return any(overlap(text, mark) for mark in marks)
