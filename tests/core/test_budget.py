"""Budgets: what the rounds have cost, and when a budget is spent."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue.core.budget import cost_of, is_over_cost, is_over_time
from tests.support.bodies import ask
from tests.support.driving import rounds_of
from tests.support.script import Script, cut, end, usage


@pytest.mark.parametrize(
    ("counted", "cost"),
    [
        (None, None),
        ({}, None),
        ({"estimated_cost": 0.5}, 0.5),
        ({"cost": 2}, 2.0),
        ({"estimated_cost": 0}, 0.0),
        ({"estimated_cost": 0.5, "cost": 2}, 0.5),
        ({"estimated_cost": None, "cost": 2}, 2.0),
        ({"cost": "2"}, None),
        ({"cost": True}, None),
        ({"cost": {}}, None),
    ],
)
def test_cost_of(counted: Any, cost: float | None) -> None:
    """Servers name a cost in one of two ways; anything but a number is none."""
    assert cost == cost_of(counted)


@pytest.mark.parametrize(
    ("most", "cost", "known", "is_over"),
    [
        (None, 9.0, True, False),
        (None, None, True, False),
        (1, 0.9, True, False),
        (1, 1.0, True, True),
        (1, 1.1, False, True),
        (1, None, True, True),
        (1, None, False, False),
    ],
)
def test_is_over_cost(most: float | None, cost: float | None, known: bool, is_over: bool) -> None:
    """A cost that should be known and is not counts as spent."""
    assert is_over == is_over_cost(Continuation(max_cost=most), cost, known=known)


@pytest.mark.parametrize(("most", "seconds", "is_over"), [(None, 1e9, False), (2, 1.9, False), (2, 2, True)])
def test_is_over_time(most: float | None, seconds: float, is_over: bool) -> None:
    assert is_over == is_over_time(Continuation(max_seconds=most), seconds)


def test_whole_rounds() -> None:
    """Between rounds the sum counts; time is looked at first."""
    script = Script(*[cut(f"Part {number}. ", usage=usage(10, 5, estimated_cost=0.4)) for number in range(3)])
    rounds, seen = rounds_of(ask(), max_cost=1, max_seconds=7), list[Any]()
    for _ in range(3):
        request = rounds.next_request()
        assert request is not None
        rounds.receive(request, script.completion(request.body))
        assert rounds.goes_on
        seen.append((rounds.over_budget(1), rounds.over_budget(7)))

    assert [(None, "max_seconds")] * 2 + [("max_cost", "max_seconds")] == seen
    assert [] == rounds.stop("max_cost")
    assert rounds.next_request() is None
    answer = rounds.completion()
    assert ("Part 0. Part 1. Part 2.", "length", "max_cost") == (
        answer["choices"][0]["message"]["content"].rstrip(),
        answer["choices"][0]["finish_reason"],
        answer["continuation"]["stopped_by"],
    )


def test_running_round() -> None:
    """A later round that streams counts by its chunks, at the price of the rounds before; the first one does not."""
    script = Script(
        cut("One", usage=usage(10, 5, estimated_cost=0.15)),
        end(*[" two"] * 7, usage=usage(15, 5, estimated_cost=0.2)),
    )
    rounds, seen = rounds_of({**ask(), "stream": True}, max_cost=0.33), list[Any]()
    request = rounds.next_request()
    assert request is not None
    for chunk in script.chunks(request.body):
        rounds.feed(request, chunk)
        assert rounds.over_budget(0) is None
    rounds.end_of_stream(request)
    request = rounds.next_request()
    assert request is not None
    for chunk in script.chunks(request.body):
        rounds.feed(request, chunk)
        seen.append(rounds.over_budget(0))

    # 0.01 for each token: 0.15 before, 0.15 for the prompt.
    place = seen.index("max_cost")
    assert 2 <= place <= 5
    assert {None} == set(seen[:place])
