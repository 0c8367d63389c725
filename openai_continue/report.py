"""What a continued call tells about itself: one Round a request, and the report on the merged answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamReport:
    """
    What was written twice where two rounds meet, in characters.

    These are paid for and thrown away; nothing else is.
    """

    #: Blanks at the end of the answer so far that were not sent back, for the model to write again.
    held_back: int = 0
    #: U+FFFD at the end of the answer so far, left by a character that the cap cut.
    cut: int = 0
    #: What the round wrote again and the answer does not repeat.
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One request and its response, as ``on_round`` gets it and the report lists it."""

    id: str | None
    request_id: str | None
    #: Index of the choice that was continued; None: the first round of a request with ``n > 1``.
    choice: int | None
    finish_reason: str | None
    #: The server's own usage object; None where it sent none.
    usage: dict[str, Any] | None
    #: None on the first round.
    seam: SeamReport | None


def report(rounds: Sequence[Round], stopped_by: str, error: dict[str, Any] | None) -> dict[str, Any]:
    """Return the JSON object that stands as ``continuation`` on the merged answer."""
    listed = [{**_shown(each), "seam": None if each.seam is None else _shown(each.seam)} for each in rounds]
    return {"rounds": listed, "stopped_by": stopped_by, "error": error}


def _shown(value: Round | SeamReport) -> dict[str, Any]:
    # Not asdict(), which copies each usage through and through.
    return {field.name: getattr(value, field.name) for field in fields(value)}
