"""What a continued call reports: one Round for each request, and the object ``continuation`` on the merged answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamReport:
    """Counts of characters that were thrown away where two rounds meet. All other text is in the answer."""

    #: Characters at the end of the answer so far that were not sent back; the model writes them again.
    held_back: int = 0
    #: U+FFFD characters that were dropped from the end of the answer so far: the token limit had cut a character.
    cut: int = 0
    #: Characters at the beginning of the new round that were dropped, because the answer has them already.
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One request and its response. ``on_round`` is called with it, and the report lists it."""

    #: The ``id`` of the round's completion, if there is one.
    id: str | None
    #: The response's ``x-request-id`` header, if there is one.
    request_id: str | None
    #: The model that the server says it used. A gateway may use another one in a later round.
    model: str | None
    #: Index of the choice that the round wrote, or None for the first round of a request with ``n > 1``.
    choice: int | None
    #: The server's own; "length" if any of several choices was cut; None if the round broke off.
    finish_reason: str | None
    #: The server's own usage object, or None if it sent none. Tokens.
    usage: dict[str, Any] | None
    #: Where this round meets the one before it; None for the first round.
    seam: SeamReport | None


def report(
    rounds: Sequence[Round],
    stopped_by: str,
    error: dict[str, Any] | None,
    usage: dict[str, Any] | None,
    resumed: int = 0,
) -> dict[str, Any]:
    """
    Return the JSON object that the merged answer carries as ``continuation``.

    Its shape, with one entry of "rounds" for each request::

        {
            "rounds": [
                {"id": "a", "request_id": "b", "model": "m", "choice": 0, "finish_reason": "length", "usage": {...},
                 "seam": None},
                {..., "finish_reason": "stop", "seam": {"held_back": 1, "cut": 0, "dropped": 1}},
            ],
            "stopped_by": "stop",
            "error": None,
            "usage": {...},
            "prompt_tokens": {"first": 20, "last": 16404},
        }

    ``error``: ``{"type": ..., "status": ..., "request_id": ...}`` of the failure that ended the answer, or None.
    ``usage``: the sum over all rounds, which was billed, or None. ``prompt_tokens``: those of the first and of the last
    round, in tokens; None if the server did not count them. ``resumed``: how many rounds came from the journal; the
    object has it only if there are any.
    """
    listed = [{**_shown(each), "seam": None if each.seam is None else _shown(each.seam)} for each in rounds]
    prompts = [(each.usage or {}).get("prompt_tokens") for each in rounds]
    ends = {"first": prompts[0], "last": prompts[-1]} if prompts else {"first": None, "last": None}
    shown = {"rounds": listed, "stopped_by": stopped_by, "error": error, "usage": usage, "prompt_tokens": ends}
    return {**shown, "resumed": resumed} if resumed else shown


def _shown(value: Round | SeamReport) -> dict[str, Any]:
    # asdict() would copy each usage object deeply.
    return {field.name: getattr(value, field.name) for field in fields(value)}
