"""The progress bar of a call: tokens, rounds, tokens a second. It never shows content."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from .._core.rounds import Rounds
from ..settings import Continuation

logger = logging.getLogger("openai_continue")


class Progress:
    """
    A bar on stderr, or in a notebook.

    ``always``: also where stderr is no terminal.
    """

    def __init__(self, rounds: Rounds, tqdm: Any, *, always: bool) -> None:
        self._rounds = rounds
        # None: only on a terminal. In a notebook tqdm shows it in any case.
        self._bar: Any = tqdm(
            desc="openai-continue", unit=" tokens", leave=False, disable=False if always else None, dynamic_ncols=True
        )

    @classmethod
    def of(cls, rounds: Rounds, settings: Continuation) -> Progress | None:
        """Return the bar of a call, or None if it is to have none."""
        if not settings.progress:
            return None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            _warn()
            return None
        return cls(rounds, tqdm, always=settings.progress == "always")

    def show(self) -> None:
        """Show how far the answer is."""
        self._bar.update(max(self._rounds.tokens - self._bar.n, 0))
        self._bar.set_postfix_str(f"round {self._rounds.number}", refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


@lru_cache(maxsize=1)
def _warn() -> None:
    logger.warning("progress needs tqdm: pip install 'openai-continue[progress]'; no progress is shown")
