"""Stop strings that begin in one round and end in the next."""

from __future__ import annotations

from collections.abc import Sequence


def ends_in_half(text: str, stops: Sequence[str]) -> bool:
    """Tell whether the text ends in the beginning of a stop string."""
    return any(text.endswith(stop[:length]) for stop in stops for length in range(1, len(stop)))


def straddling_stop(before: str, new: str, stops: Sequence[str]) -> int | None:
    """
    Return how many characters of ``before`` remain, where a stop string begins in it and ends in ``new``.

    Engines match stop strings on the text of one request alone; no engine sees these.
    """
    found: list[tuple[int, int]] = []
    for stop in stops:
        start = max(len(before) - len(stop) + 1, 0)
        place = (before[start:] + new[: len(stop) - 1]).find(stop)
        if place >= 0:
            found.append((start + place + len(stop), start + place))
    # As in an engine, the string that is complete first ends the text; of those complete at once, the longest.
    return min(found)[1] if found else None
