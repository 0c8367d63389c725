"""
Failures between a server and its client, as data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "402",
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
    "choice_error",
    "no_done",
    "data_null",
    "half_frame",
    "thinks_anew",
    "other_model",
]


@dataclass(frozen=True)
class Fault:
    """
    A failure that the emulator shows on some requests.

    Kinds that fail before the answer begins:

    - ``"402"``, ``"429"``, ``"500"``, ``"503"``: this HTTP status with an error body. 402 is a spending limit; 429 has
      the header ``Retry-After: 0``.

    Kinds that break a stream after ``after_tokens`` tokens, and what a whole answer does instead:

    - ``"reset"``: a TCP reset (whole: in the middle of the body).
    - ``"hang"``: nothing more for 30 seconds, or until the client leaves (whole: the same).
    - ``"early_end"``: a clean end without finish reason and ``[DONE]`` (whole: a body shorter than its content-length).
    - ``"half_frame"``: an end in the middle of a frame (whole: as ``"early_end"``).
    - ``"error_frame"``: DeepInfra's ``{"error_type": ..., "error_message": ...}`` (whole: status 500).
    - ``"error_event"``: ``{"error": {...}}`` (whole: status 500).
    - ``"choice_error"``: OpenRouter's finish reason ``"error"``, with an ``error`` in the choice (whole: the same,
      after so many tokens).

    Kinds that change the answer:

    - ``"no_done"``: a stream without ``[DONE]`` (whole: as ``"early_end"``).
    - ``"data_null"``: the right answer, and before each event ``data: null``, which keeps the connection open.
    - ``"slow"``: the right answer in pieces of seven bytes.
    - ``"empty"``: no text, with the finish reason ``"length"``.
    - ``"no_choices"``, ``"null_choices"``: ``choices`` is ``[]``, or null.
    - ``"not_json"``: an HTML page.
    - ``"thinks_anew"``: a prefill is not continued; the model thinks, and begins the answer again.
    - ``"other_model"``: the right answer, under the name of another model.

    On ``/responses``, the last event takes the place of ``[DONE]``. ``"error_event"`` is the event ``error``, and
    ``"choice_error"`` the event ``response.failed`` (whole: the status ``"failed"``). ``"no_choices"`` and
    ``"null_choices"`` are about ``output``, and the response has no status.
    """

    kind: Kind
    #: The number of the first request that fails, counted from 1 since the start or ``clear()``; or a function that
    #: returns whether a request with this body fails.
    round: int | Callable[[Mapping[str, Any]], bool] = 1
    #: How many requests fail: from that number on, or among those for which the function returned True.
    times: int = 1
    #: How many tokens come before the break.
    after_tokens: int = 5
