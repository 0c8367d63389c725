"""The clock by which the budget in time is kept."""

from __future__ import annotations

import time


def now() -> float:
    """Return the seconds since some moment, which is always the same in a process."""
    return time.monotonic()
