"""Budgets: what the rounds have cost, and when a budget is spent."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue import Continuation, report_of
from openai_continue._core.budget import Bill, cost_of, is_over_cost, seconds_left
from openai_continue._core.estimate import tokens_of_prompt
from openai_continue._core.round import Failure
from openai_continue._core.rounds import Rounds
from tests.support.bodies import ask
from tests.support.driving import rounds_of
from tests.support.script import Script, cut_round, last_round, reply, usage

NAN, INF = float("nan"), float("inf")


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
        ({"estimated_cost": NAN, "cost": 2}, 2.0),
        ({"cost": NAN}, None),
        ({"cost": INF}, None),
        ({"cost": -INF}, None),
        ({"cost": -0.001}, None),
        ({"cost": 10**400}, None),
        ({"cost": "2"}, None),
        ({"cost": "nan"}, None),
        ({"cost": True}, None),
        ({"cost": [2]}, None),
        ({"cost": {}}, None),
        ({"cost": {"total_cost": 2}}, None),
        ({"cost": {"cost": 2}, "estimated_cost": {"cost": 2}}, None),
        # OpenRouter with a key of the caller's own: its fee, and what the provider charges.
        ({"cost": 0.1, "cost_details": {"upstream_inference_cost": 2}}, 2.1),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 2}}, 2.0),
        ({"cost": 2, "is_byok": False, "cost_details": {"upstream_inference_cost": 2}}, 2.0),
        ({"cost": 2, "cost_details": {"upstream_inference_cost": None}}, 2.0),
        ({"cost": 2, "cost_details": {"upstream_inference_cost": NAN}}, 2.0),
        ({"cost": 2, "cost_details": "free"}, 2.0),
        ({"cost_details": {"upstream_inference_cost": 2}}, None),
    ],
)
def test_cost_of(counted: Any, cost: float | None) -> None:
    """Servers name a cost in one of two ways; anything but an amount of money is none."""
    assert cost_of(counted) == cost


@pytest.mark.parametrize(
    ("most", "cost", "is_over"),
    [(None, 9.0, False), (None, None, False), (1, 0.9, False), (1, 1.0, True), (1, 1.1, True), (1, None, True)],
)
def test_is_over_cost(most: float | None, cost: float | None, is_over: bool) -> None:
    """A cost that nobody knows counts as spent."""
    assert is_over_cost(Continuation(max_cost=most), cost) == is_over


@pytest.mark.parametrize(("most", "seconds", "left"), [(None, 1e9, None), (2, 1.5, 0.5), (2, 2, 0), (2, 1e9, 0)])
def test_seconds_left(most: float | None, seconds: float, left: float | None) -> None:
    """What is left is never less than nothing."""
    assert seconds_left(Continuation(max_seconds=most), seconds) == left


ROUND = usage(100, 100, estimated_cost=0.2)


@pytest.mark.parametrize(
    ("before", "tokens", "price"),
    [
        ([], (100, 100), None),
        ([usage(100, 100)], (100, 100), None),
        ([usage(0, 0, cost=1)], (100, 100), None),
        ([ROUND], (100, 100), 0.2),
        ([ROUND], (100, 0), 0.1),
        # Nearly all of the cost may be that of the answer.
        ([ROUND], (0, 100), 0.2),
        ([ROUND], (300, 100), 0.4),
        ([ROUND, usage(300, 100, estimated_cost=0.4)], (100, 100), 0.3),
        ([usage(100, 0, cost=1)], (50, 50), 1),
        ([usage(100, 100, cost=0)], (1000, 1000), 0),
    ],
)
def test_price(before: list[Any], tokens: tuple[int, int], price: float | None) -> None:
    """A price is the most that the rounds before allow, if a token of an answer costs no less than one of a prompt."""
    bill = Bill()
    for counted in before:
        bill.add(counted)

    assert bill.price(*tokens) == (None if price is None else pytest.approx(price))


@pytest.mark.parametrize(
    ("rounds", "cost", "total"),
    [
        # What came to its end, or (usage, prompt, answer) of what did not.
        ([], 0, None),
        ([ROUND], 0.2, ROUND),
        ([ROUND, ROUND], 0.4, usage(200, 200, estimated_cost=0.4)),
        ([None], None, None),
        ([ROUND, None], None, ROUND),
        ([ROUND, usage(100, 100)], None, usage(200, 200, estimated_cost=0.2)),
        ([ROUND, usage(100, 100, estimated_cost=NAN)], None, usage(200, 200, estimated_cost=NAN)),
        ([ROUND, (None, 100, 50)], 0.35, usage(200, 150, estimated_cost=0.35)),
        ([ROUND, (None, 100, 50), ROUND], 0.55, usage(300, 250, estimated_cost=0.55)),
        ([ROUND, (usage(100, 50), 1, 1)], 0.35, usage(200, 150, estimated_cost=0.35)),
        ([ROUND, (usage(100, 50, estimated_cost=0.1), 1, 1)], 0.3, usage(200, 150, estimated_cost=0.3)),
        ([usage(1, 1, cost=2), (None, 1, 1)], 4, usage(2, 2, cost=4)),
        # Nobody knows a price.
        ([(None, 100, 50)], None, usage(100, 50)),
        ([usage(100, 100), (None, 100, 50)], None, usage(200, 150)),
        ([None, (None, 100, 50)], None, None),
        # It is known later.
        ([(None, 100, 50), ROUND], None, usage(200, 150, estimated_cost=0.35)),
        ([(None, 100, 50), usage(100, 100, cost=0.2)], None, usage(200, 150, cost=0.35)),
        # Names are the server's own.
        (
            [{"prompt_tokens": 1, "completion_tokens": 1}, (None, 1, 1)],
            None,
            {"prompt_tokens": 2, "completion_tokens": 2},
        ),
    ],
)
def test_bill(rounds: list[Any], cost: float | None, total: Any) -> None:
    """Broken rounds are estimated; a round without a cost makes the sum unknown, for good."""
    bill = Bill()
    for each in rounds:
        bill.add(each[0], each[1:]) if isinstance(each, tuple) else bill.add(each)

    assert bill.cost == (None if cost is None else pytest.approx(cost))
    assert bill.usage == (None if total is None else pytest.approx(total, nan_ok=True))


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"messages": [{"role": "user", "content": "12345678"}, {"role": "assistant", "content": None}]}, 2),
        (
            {"messages": [{"content": [{"type": "text", "text": "12345678"}, {"type": "image_url", "image_url": {}}]}]},
            2,
        ),
        ({"messages": "12345678"}, 2),
        ({"messages": [7, None, {"content": {"text": "1234"}}]}, 1),
        ({"prompt": "12345678"}, 2),
        ({"prompt": ["12345678", "1234"]}, 3),
        ({"prompt": [7, 8, 9]}, 0),
    ],
)
def test_tokens_of_prompt(body: Any, tokens: int) -> None:
    """Texts count; images and what is no text do not."""
    assert tokens_of_prompt(body) == tokens


def test_whole_rounds() -> None:
    """Between rounds the sum counts; time is looked at first."""
    script = Script(*[cut_round(f"Part {number}. ", usage=usage(10, 5, estimated_cost=0.4)) for number in range(3)])
    rounds, seen = rounds_of(ask(), max_cost=1, max_seconds=7), list[Any]()
    for _ in range(3):
        request = rounds.next_request()
        assert request is not None
        rounds.receive(request, script.completion(request.body))
        assert rounds.goes_on
        seen.append((rounds.over_budget(1), rounds.over_budget(7)))

    assert seen == [(None, "max_seconds")] * 2 + [("max_cost", "max_seconds")]
    assert rounds.stop("max_cost") == []
    assert rounds.next_request() is None
    answer = rounds.completion()
    assert (
        answer["choices"][0]["message"]["content"].rstrip(),
        answer["choices"][0]["finish_reason"],
        answer["continuation"]["stopped_by"],
    ) == ("Part 0. Part 1. Part 2.", "length", "max_cost")


def test_running_round() -> None:
    """The cost is looked at between two rounds: one that has begun comes to its end, whatever it costs."""
    dear = usage(15, 7, estimated_cost=9)
    script = Script(
        cut_round("One", usage=usage(10, 5, estimated_cost=0.15)),
        cut_round(*[" two"] * 7, usage=dear),
        last_round(" three"),
    )
    rounds = rounds_of({**ask(), "stream": True}, max_cost=0.33)

    assert [_stream(rounds, script) for _ in range(2)] == [None, "max_cost"]
    rounds.stop("max_cost")
    assert rounds.completion()["choices"][0]["message"]["content"] == "One" + " two" * 7
    assert rounds.answer.bill.cost == pytest.approx(9.15)


COSTS = usage(10, 10, estimated_cost=0.01)
BROKEN = Failure("APIConnectionError", broke_off=True)


def _stream(rounds: Rounds, script: Script, *, breaks: bool = False) -> str | None:
    """Drive one streamed round, which may break off before its end chunk; return which budget is spent after it."""
    request = rounds.next_request()
    assert request is not None
    chunks = script.chunks(request.body)
    for chunk in chunks[:-1] if breaks else chunks:
        rounds.feed(request, chunk)
        if rounds.enough:
            break
    if breaks:
        rounds.fail(request, BROKEN)
    else:
        rounds.end_of_stream(request)
    return rounds.over_budget(0) if rounds.goes_on else "ended"


WORDS = [" word"] * 10


def test_broken_rounds_are_billed() -> None:
    """A round that breaks off costs its prompt and what it brought, at the price of the rounds before."""
    script = Script(cut_round(*WORDS, usage=COSTS), *[cut_round(*WORDS, usage=COSTS) for _ in range(9)])
    rounds = rounds_of({**ask(), "stream": True}, max_cost=0.05)
    seen = [_stream(rounds, script)]
    while seen[-1] is None:
        seen.append(_stream(rounds, script, breaks=True))

    # 20, 30, 40 tokens at 0.0005 each: 0.01, 0.025, 0.045, ...
    assert seen == [None, None, None, "max_cost"]
    rounds.stop("max_cost")
    report = report_of(rounds.last_chunks()[-1])
    assert report is not None
    assert [(each.finish_reason, each.estimated) for each in report.rounds] == [("length", False), *[(None, True)] * 3]
    assert [each.usage and each.usage["prompt_tokens"] for each in report.rounds] == [10, 20, 30, 40]
    assert report.usage == pytest.approx(usage(100, 40, estimated_cost=0.07))
    assert (report.prompt_tokens.first, report.prompt_tokens.last) == (10, None)


def test_first_round_breaks() -> None:
    """Nobody knows yet what a first round that breaks off has cost, so the budget cannot be kept."""
    rounds = rounds_of({**ask("12345678"), "stream": True}, max_cost=5)

    assert _stream(rounds, Script(cut_round(*WORDS)), breaks=True) == "max_cost"
    rounds.stop("max_cost")
    report = report_of(rounds.last_chunks()[-1])
    assert report is not None
    assert report.usage == usage(2, 10)
    assert report.rounds[0].estimated


def test_usage_of_a_broken_first_round() -> None:
    """Without a budget the answer goes on, and the sum holds the estimate."""
    script = Script(cut_round(*WORDS), last_round(" end.", usage=usage(30, 2)))
    rounds = rounds_of({**ask("12345678"), "stream": True})

    assert [_stream(rounds, script, breaks=True), _stream(rounds, script)] == [None, "ended"]
    assert rounds.answer.usage == usage(2 + 30, 10 + 2)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "second",
    [None, usage(10, 10), *[usage(10, 10, estimated_cost=bad) for bad in (NAN, INF, -1, "0.01", None, True, {}, [])]],
    ids=repr,
)
def test_cost_in_the_first_round_only(second: Any, streamed: bool) -> None:
    """A later round without a cost ends the answer, as a first one does."""
    script = Script(cut_round("One", usage=COSTS), cut_round(" two", usage=second), last_round(" three.", usage=COSTS))
    rounds = rounds_of({**ask(), "stream": streamed}, max_cost=1)
    seen = [_stream(rounds, script) if streamed else _whole(rounds, script) for _ in range(2)]

    assert seen == [None, "max_cost"]


def _whole(rounds: Rounds, script: Script) -> str | None:
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, script.completion(request.body))
    return rounds.over_budget(0) if rounds.goes_on else "ended"


@pytest.mark.parametrize(
    ("failure", "asks"),
    [
        # Refused for its number of tokens: it is asked again, and nothing of it is billed.
        (Failure("BadRequestError", 400, text="max_tokens must be at most 100"), True),
        (Failure("InternalServerError", 500), False),
        (Failure("APITimeoutError"), False),
    ],
)
def test_rounds_that_cost_nothing(failure: Failure, asks: bool) -> None:
    """A round that the server refused, or that brought no answer, is not billed."""
    rounds = rounds_of(ask(max_tokens=500), max_cost=1)
    script = Script(cut_round("One", usage=COSTS), last_round(" two.", usage=COSTS))

    assert _whole(rounds, script) is None
    request = rounds.next_request()
    assert request is not None
    rounds.fail(request, failure)
    assert rounds.goes_on == asks
    assert (rounds.answer.bill.cost, rounds.answer.usage) == (0.01, COSTS)


def test_rounds_that_were_thrown_away() -> None:
    """A new turn is no part of the answer, but it was billed: whole as the server says, streamed by estimate."""
    start = " ".join(f"word{number}" for number in range(40))
    totals: list[Any] = []
    for streamed in (False, True):
        script = Script(
            cut_round(start, usage=usage(10, 60, cost=0.07)), last_round(start, usage=usage(80, 60, cost=0.14))
        )
        rounds = rounds_of({**ask(), "stream": streamed}, max_cost=1)
        seen = [_stream(rounds, script) if streamed else _whole(rounds, script) for _ in range(2)]
        assert seen == [None, "ended"]
        assert rounds.stopped_by == "restart"
        totals.append(rounds.answer.usage)

    assert totals[0] == pytest.approx(usage(90, 120, cost=0.21))
    # The stream is left when it shows what it is: at least its prompt, and no more than all of it.
    assert totals[1]["prompt_tokens"] == 10 + 70
    assert 60 <= totals[1]["completion_tokens"] <= 120
    assert 0.14 <= totals[1]["cost"] <= 0.22


def test_several_choices() -> None:
    """With two choices each round of each is billed; the prompt of a later round is that of its own choice."""
    first = {
        "choices": [{"index": index, "message": {"content": "One"}, "finish_reason": "length"} for index in (0, 1)]
    }
    script = Script(*[cut_round(" two", usage=COSTS) for _ in range(5)])
    rounds = rounds_of(ask(n=2), max_cost=0.035)
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, {**first, "usage": usage(10, 20, estimated_cost=0.015)})
    seen = [rounds.over_budget(0)]
    while seen[-1] is None:
        seen.append(_whole(rounds, script))

    assert seen == [None, None, "max_cost"]
    assert rounds.answer.bill.cost == pytest.approx(0.035)


def test_tool_calls_and_thoughts_are_estimated() -> None:
    """What broke off within thoughts or arguments was billed, too."""
    arguments = {
        "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "x" * 40}}]
    }
    for delta, least in (({"reasoning_content": "thought " * 10}, 10), (arguments, 10)):
        rounds = rounds_of({**ask("12345678"), "stream": True, "tools": [{}]}, max_seconds=1)
        request = rounds.next_request()
        assert request is not None
        for chunk in Script(reply(delta)).chunks(request.body)[:-1]:
            rounds.feed(request, chunk)
        rounds.stop("max_seconds")
        assert rounds.answer.usage is not None
        assert rounds.answer.usage["completion_tokens"] >= least


def test_time_binds_once_an_answer_has_begun() -> None:
    """The first round is the caller's own, until something of its answer is there."""
    script = Script(cut_round("One"), last_round(" two."))
    rounds = rounds_of({**ask(), "stream": True}, max_seconds=3)
    request = rounds.next_request()
    assert request is not None
    assert (rounds.seconds_left(1), rounds.over_budget(9)) == (None, None)
    for chunk in script.chunks(request.body):
        rounds.feed(request, chunk)
        assert (rounds.seconds_left(1), rounds.over_budget(9)) == (2, "max_seconds")
    rounds.end_of_stream(request)
    assert rounds.next_request() is not None
    assert (rounds.seconds_left(1), rounds.over_budget(9)) == (2, "max_seconds")
