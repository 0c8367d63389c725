"""How long to wait before a broken stream is gone on from."""

from __future__ import annotations

#: Seconds before the first heal, and most seconds before any: the SDK's own delays between retries.
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0


def wait_before_heal(heals: int) -> float:
    """Return the seconds to wait before the heal with this number, from 1."""
    return min(FIRST_WAIT * 2.0 ** (heals - 1), LONGEST_WAIT)
