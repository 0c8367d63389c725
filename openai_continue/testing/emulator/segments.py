"""
The stretches of what the model writes, and how it goes on from a beginning of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

#: "hidden" text costs tokens, but the server's parsers remove it: the tags around thoughts. "calls" is what the model
#: writes to call tools.
PartKind: TypeAlias = Literal["content", "reasoning", "calls", "hidden"]


class Segment(NamedTuple):
    """A stretch of an answer."""

    kind: PartKind
    text: str
    #: What is written already of the same stretch.
    before: str = ""


def after(segments: Sequence[Segment], beginning: str) -> list[Segment] | None:
    """Return what follows a beginning of segments, or None if they do not begin so."""
    rest: list[Segment] = []
    left = beginning
    for segment in segments:
        kind, whole = segment.kind, segment.text
        text, bare = whole, left.lstrip()
        # The model goes on with a call whatever white space is before it.
        if kind == "calls" and bare:
            left, text = bare, whole.lstrip()
        # If a segment ends where the beginning does, its empty end is kept: "" is not null.
        if left.startswith(text) and left != text:
            left = left[len(text) :]
        elif text.startswith(left):
            rest.append(_end(segment, text[len(left) :]))
            left = ""
        elif kind == "calls" and not bare:
            rest.append(_end(segment, text.lstrip()))
            left = ""
        else:
            return None
    return None if left else rest


def _end(segment: Segment, text: str) -> Segment:
    """Return the end of a segment that begins with a text."""
    return segment._replace(text=text, before=segment.text[: len(segment.text) - len(text)])
