"""
The usage of an answer: where servers put it, and the sum over several rounds.

Most have it at the top of a completion or chunk; Moonshot in the choice of the last chunk; Groq in ``x_groq``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .json import Json, as_object

_GROQ = "x_groq"
# Words in the names of numbers that are no amounts: rates, shares, times of day, and what holds for the whole. The last
# round's is kept.
_NO_AMOUNT = frozenset(
    ("per", "rate", "ratio", "share", "speed", "tps", "throughput", "percent", "percentage", "average", "avg", "mean")
) | {"max", "min", "limit", "remaining", "at", "created", "end", "timestamp", "id", "version"}
# The same for numbers of the beginning. The first round's is kept.
_OF_BEGINNING = frozenset(["first", "ttft", "start", "started", "queue", "queued"])
# The words of a name in snake_case or camelCase.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


# What is said of the prompt, under any name.
_OF_PROMPT = re.compile(r"prompt|input|cache")


@dataclass(frozen=True, slots=True)
class Counts:
    """What the usage of a round shows of the next prompt."""

    #: Tokens of the prompt, or None if the server reports no usage.
    prompt: int | None = None
    #: The tokens that were written after it, and their text.
    used: int = 0
    text: str = field(default="", repr=False)
    #: Whether the round ended at the number of tokens asked for, or at the cap, by the server's count. So that is the
    #: server's own: those who estimate hit the number only by chance.
    is_own: bool = False
    #: Whether the round may have ended because the context was full: it used fewer tokens than were asked for.
    may_be_full: bool = False


def usage_of(answer: Mapping[str, Any]) -> Json | None:
    """Return the usage in a completion or chunk, wherever it is, or None if it has none."""
    top = as_object(answer.get("usage"))
    if top is not None:
        return top
    groq = as_object((as_object(answer.get(_GROQ)) or {}).get("usage"))
    if groq is not None:
        return groq
    total: Json | None = None
    for item in _items(answer):
        total = add_usage(total, as_object(item.get("usage")))
    return total


def with_usage(answer: Json, usage: Json) -> Json:
    """Return a completion or chunk with another usage, in each place where it has one."""
    changed = dict(answer)
    if as_object(answer.get("usage")) is not None:
        changed["usage"] = usage
    groq = as_object(answer.get(_GROQ))
    if groq is not None and as_object(groq.get("usage")) is not None:
        changed[_GROQ] = {**groq, "usage": usage}
    if any(as_object(item.get("usage")) is not None for item in _items(answer)):
        changed["choices"] = [
            item if as_object(item.get("usage")) is None else {**item, "usage": usage} for item in _items(answer)
        ]
    return changed


def without_usage(answer: Json) -> Json:
    """Return a completion or chunk without its usage; the same object if it has none."""
    if "usage" in answer:
        answer = {name: value for name, value in answer.items() if name != "usage"}
    groq = as_object(answer.get(_GROQ))
    if groq is not None and "usage" in groq:
        answer = {**answer, _GROQ: {name: value for name, value in groq.items() if name != "usage"}}
    if any("usage" in item for item in _items(answer)):
        items = [{name: value for name, value in item.items() if name != "usage"} for item in _items(answer)]
        answer = {**answer, "choices": items}
    return answer


def add_usage(so_far: Mapping[str, Any] | None, more: Mapping[str, Any] | None) -> Json | None:
    """
    Return the sum of two usage objects, field by field; nested objects and the provider's own fields too.

    The sum is what was billed: the prompt of every round counts. What is no amount (a flag, a text, a rate, a time of
    day) is as the last round has it.
    """
    if so_far is None or more is None:
        known = so_far if more is None else more
        return None if known is None else dict(known)
    return {name: _add(name, so_far.get(name), more.get(name)) for name in dict.fromkeys((*so_far, *more))}


def _add(name: str, one: object, other: object) -> object:
    first, second = as_object(one), as_object(other)
    if first is not None and second is not None:
        return add_usage(first, second)
    if _is_number(one) and _is_number(other):
        words = [word.lower() for word in _WORD.findall(name)]
        if not _OF_BEGINNING.isdisjoint(words) and words[-1] != "tokens":
            return one
        is_amount = _NO_AMOUNT.isdisjoint(words) and "/" not in name
        return cast(object, one + other if is_amount else other)  # type: ignore[operator]
    return one if other is None else other


def as_one_call(usage: Json, first: Json | None) -> Json:
    """
    Return a summed usage as one call without a cap would have it.

    The prompt, and its details, count once: they are those of the first round. Costs stay summed.
    """
    if first is None:
        return usage
    once = {name: first[name] if _OF_PROMPT.match(name) and name in first else usage[name] for name in usage}
    counts = [once.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if "total_tokens" in once and all(_is_number(count) for count in counts):
        once["total_tokens"] = sum(cast("list[int]", counts))
    return once


def _items(answer: Mapping[str, Any]) -> list[Json]:
    items = answer.get("choices")
    return [item for item in cast("list[Any]", items) if isinstance(item, dict)] if isinstance(items, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
