"""Stop strings that begin in one round and end in the next. No engine sees these: it matches within one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast


def stop_strings(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop strings of a request."""
    stop = body.get("stop")
    several = cast("list[Any]", stop) if isinstance(stop, (list, tuple)) else [stop]
    return tuple(one for one in several if isinstance(one, str) and one)


def keeps_stops(body: Mapping[str, Any]) -> bool:
    """Whether the server leaves the stop string in the text, a field of vLLM's."""
    return body.get("include_stop_str_in_output") is True


def ends_in_half(text: str, stops: Sequence[str]) -> bool:
    """Whether the text ends in the beginning of a stop string."""
    return any(text.endswith(stop[:length]) for stop in stops for length in range(1, len(stop)))


def straddling_stop(before: str, new: str, stops: Sequence[str], *, kept: bool = False) -> int | None:
    """
    Return where ``before + new`` ends if a stop string begins in ``before`` and ends in ``new``, else None.

    ``kept``: whether the stop string stays in the text (vLLM's ``include_stop_str_in_output``).
    """
    found: list[tuple[int, int]] = []
    for stop in stops:
        start = max(len(before) - len(stop) + 1, 0)
        place = (before[start:] + new[: len(stop) - 1]).find(stop)
        if place >= 0:
            found.append((start + place + len(stop), start + place))
    # As in an engine: the stop string that is complete first wins, and of several at one place the longest.
    return min(found)[0 if kept else 1] if found else None


def swallowed(held: str, new: str, stops: Sequence[str]) -> int:
    """
    Return how many characters at the end of the text were the beginning of a stop string.

    ``held`` was held back, and ``new`` is the text of a whole round that the server ended by itself. If ``held`` did
    not come back, a stop string that begins in it may have ended the round without being seen.
    """
    missing = held[len(new) :]
    swallows = held.startswith(new) and any(stop.startswith(missing) for stop in stops)
    return len(missing) if swallows else 0
