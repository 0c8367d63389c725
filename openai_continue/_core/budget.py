"""
Budgets in time and money: what an answer was billed, and when it ends with what has arrived.

A server counts a round at its end. What a round cost that broke off, or that was left before its end, is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..settings import Continuation
from .json import Json, as_object
from .usage import add_usage

# More than this is no amount of money; an integer may be more than a float can be.
_ENDLESS = 1e300
# How servers name what a request costs. https://deepinfra.com/docs: estimated_cost; https://openrouter.ai/docs: cost.
_NAMES = ("estimated_cost", "cost")


def cost_of(usage: Mapping[str, Any] | None) -> float | None:
    """Return the cost in a usage, or None if the server names none, or one that no request can have."""
    known = usage or {}
    cost = next((cost for cost in map(_amount, map(known.get, _NAMES)) if cost is not None), None)
    # OpenRouter, with a key of the caller's own: ``cost`` is its fee, and the provider charges the caller.
    upstream = _amount((as_object(known.get("cost_details")) or {}).get("upstream_inference_cost"))
    return cost if cost is None or upstream is None or known.get("is_byok") is False else cost + upstream


def _amount(value: object) -> float | None:
    """Return an amount of money, or None if the value is none: a text, an object, NaN, infinity, less than nothing."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < _ENDLESS else None


class Bill:
    """What the rounds of an answer were billed, as far as it can be known."""

    def __init__(self) -> None:
        #: What the rounds have cost, broken ones by estimate; None if nobody knows what one of them has cost.
        self.cost: float | None = 0.0
        self._usage: Json | None = None
        # Whether a round came to its end, and its server counted nothing.
        self._is_uncounted = False
        # Whether a server counted a round.
        self._is_counted = False
        # The tokens of the prompts and of the answers whose cost the server named, and that cost.
        self._priced = (0, 0, 0.0)
        # The tokens of broken rounds that came before any price was known.
        self._unpriced = (0, 0)

    @property
    def usage(self) -> Json | None:
        """The usage of all rounds, broken ones by estimate; None if the server counts none."""
        if self._is_uncounted and not self._is_counted:
            return None
        cost = self.price(*self._unpriced) if any(self._unpriced) else None
        return self._usage if cost is None else add_usage(self._usage, {self._cost_name: cost})

    def add(self, usage: Json | None, brought: tuple[int, int] | None = None) -> Json | None:
        """
        Add a round that is over; return its usage, which is another object than the server's if it is an estimate.

        ``brought``: the tokens of the prompt and of the answer, by estimate, if the round did not come to its end.
        """
        self._is_counted = self._is_counted or usage is not None
        self._is_uncounted = self._is_uncounted or (usage is None and brought is None)
        usage = usage if brought is None else self._estimated(usage, *brought)
        self._usage = add_usage(self._usage, usage)
        cost = cost_of(usage)
        if brought is None and cost is not None:
            prompts, answers, before = self._priced
            prompts, answers = prompts + _count(usage, "prompt_tokens"), answers + _count(usage, "completion_tokens")
            self._priced = prompts, answers, before + cost
        self.cost = None if self.cost is None or cost is None else self.cost + cost
        return usage

    def _estimated(self, usage: Json | None, prompt: int, answer: int) -> Json | None:
        """Return the usage of a round that did not come to its end, with the server's own counts if there are any."""
        if usage is None:
            usage = {"prompt_tokens": prompt, "completion_tokens": answer}
            if self._usage is None or "total_tokens" in self._usage:
                usage["total_tokens"] = prompt + answer
        if cost_of(usage) is not None:
            return usage
        prompt, answer = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        cost = self.price(prompt, answer)
        if cost is None:
            self._unpriced = self._unpriced[0] + prompt, self._unpriced[1] + answer
            return usage
        return {**usage, self._cost_name: cost}

    @property
    def _cost_name(self) -> str:
        return next((name for name in _NAMES if name in (self._usage or {})), _NAMES[0])

    def price(self, prompt: int, answer: int) -> float | None:
        """
        Return the most that these tokens can cost at the prices of the rounds so far, or None if no price is known.

        A token of an answer costs no less than one of a prompt, and a prompt costs something or nothing.
        """
        prompts, answers, cost = self._priced
        if not prompts + answers:
            return None
        share = (prompt + answer) / (prompts + answers)
        return cost * (max(share, answer / answers) if answers else share)


def _count(usage: Mapping[str, Any] | None, name: str) -> int:
    value = (usage or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def is_over_cost(settings: Continuation, cost: float | None) -> bool:
    """
    Whether the budget in money is spent.

    ``cost``: what the rounds so far have cost. If it is not known, nobody can keep the budget, so it counts as spent.
    """
    return settings.max_cost is not None and (cost is None or cost >= settings.max_cost)


def seconds_left(settings: Continuation, seconds: float) -> float | None:
    """Return how many seconds of the budget are left after ``seconds``, 0 or more; None if there is no budget."""
    return None if settings.max_seconds is None else max(settings.max_seconds - seconds, 0.0)
