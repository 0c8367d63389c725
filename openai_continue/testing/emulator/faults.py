"""
What can go wrong between a server and its client, as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind: TypeAlias = Literal[
    "429",
    "500",
    "503",
    "reset",
    "early_end",
    "hang",
    "slow",
    "empty",
    "no_choices",
    "null_choices",
    "not_json",
    "error_frame",
    "error_event",
    "no_done",
    "half_frame",
]


@dataclass(frozen=True)
class Fault:
    """
    A failure that the server acts out on some requests.

    The kinds, in a stream (and in a whole answer, where that differs):

    - "429", "500", "503": the status, with an error body; "429" has `Retry-After: 0`.
    - "reset": the connection is reset after so many tokens (in mid-body).
    - "early_end": ends in order, but without finish reason and `[DONE]` (the body is shorter than its content-length).
    - "hang": sends nothing more for 30 s, or until the client goes.
    - "slow": as ever, but in drips of a few bytes.
    - "empty": no text, finish reason "length". "no_choices", "null_choices": `choices` is `[]`, or null.
    - "not_json": something else than JSON.
    - "error_frame": DeepInfra's `{"error_type", "error_message"}` after so many tokens; "error_event": the same with
      `{"error": {...}}` (both: status 500).
    - "no_done": all chunks but `[DONE]`. "half_frame": ends in the middle of a frame (both: as "early_end").
    """

    kind: Kind
    round: int | Callable[[Mapping[str, Any]], bool] = 1
    """Which requests: the number of the first (from 1, since the start or `clear()`), or a test on the body."""
    times: int = 1
    """How many requests, counted from that one (or of those that pass the test)."""
    after_tokens: int = 5
    """How many tokens come first, where the kind says so."""
