"""The plan of a further round: what it goes on from, and where it meets the text so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .text.seam import Seam


class Source(Enum):
    """What a further round goes on from."""

    ANSWER = "the answer"
    #: Thoughts that were cut.
    REASONING = "the thoughts"
    #: A tool call that was cut.
    CALL = "a tool call"
    #: Thoughts that were cut, too; but they are closed, so that the answer begins.
    AFTER_REASONING = "the answer to thoughts that were cut"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a further round goes on from, and how."""

    source: Source = Source.ANSWER
    #: Where it meets the text so far.
    seam: Seam = field(default_factory=Seam, repr=False)
    #: The token limit that it names, or None if it names none.
    asked: int | None = None
    #: Whether its prompt is raw, and whether tool calls are read in what comes of it.
    is_raw: bool = False
    reads_calls: bool = False
    #: Whether a document was asked for and more than one came, so that no grammar binds the server: plain text.
    is_plain: bool = False
    #: The end of the text so far, if it is the beginning of a JSON document; else None.
    document: str | None = field(default=None, repr=False)
