"""Budgets in time and money: when an answer that could go on ends with what has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..settings import Continuation
from .round import Running

# How servers name what a request costs. https://deepinfra.com/docs: estimated_cost; https://openrouter.ai/docs: cost.
_NAMES = ("estimated_cost", "cost")


def cost_of(usage: Mapping[str, Any] | None) -> float | None:
    """Return the cost in a usage, or None if the server names none."""
    costs = ((usage or {}).get(name) for name in _NAMES)
    return next((float(cost) for cost in costs if isinstance(cost, (int, float)) and not isinstance(cost, bool)), None)


def is_over_cost(settings: Continuation, cost: float | None, *, known: bool) -> bool:
    """
    Whether the budget in money is spent.

    ``known``: whether the cost should be known by now. If it is not, nobody can keep the budget, so it counts as spent.
    """
    if settings.max_cost is None:
        return False
    return known if cost is None else cost >= settings.max_cost


def is_over_time(settings: Continuation, seconds: float) -> bool:
    """Whether the budget in time is spent."""
    return settings.max_seconds is not None and seconds >= settings.max_seconds


def cost_so_far(usage: Mapping[str, Any] | None, running: Running | None) -> float | None:
    """
    Return what the rounds so far have cost, the running one estimated; None if that is not known.

    ``usage``: the sum of the rounds that are over.
    """
    spent = cost_of(usage)
    if running is None:
        return spent
    own = cost_of(running.usage)
    if own is not None or running.choice is None:
        return own if spent is None else spent + (own or 0.0)
    more = _priced(usage, (running.choice.context or 0) + running.choice.chunks)
    return None if spent is None or more is None else spent + more


def _priced(usage: Mapping[str, Any] | None, tokens: int) -> float | None:
    """
    Return what ``tokens`` more cost, at the price of the tokens in ``usage``; None if it has none.

    Prompt and answer are priced alike. A later round has a longer prompt, whose tokens are cheaper, so that it costs
    less than this.
    """
    cost = cost_of(usage)
    counted = [(usage or {}).get(name) for name in ("prompt_tokens", "completion_tokens")]
    total = sum(count for count in counted if isinstance(count, int))
    return None if cost is None or total <= 0 else cost * tokens / total
