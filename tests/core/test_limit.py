"""Whose token limit it is: the caller's is a total, asked for round by round."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._core.codec.body import first_body
from openai_continue._core.codec.endpoints import endpoint_of
from openai_continue._core.learned import Learned
from openai_continue._core.limit import Limit, is_limited
from openai_continue._core.setup import Setup
from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round

CAP = 16_384
PER_ROUND = {"request_limit": "round"}
#: The caller's fields, the settings, and what the first and the second round ask for.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "none": ({}, {}, [{}, {}]),
    "under the cap": ({"max_tokens": 10}, {}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    "over the cap": ({"max_tokens": 40_000}, {}, [{"max_tokens": 40_000}, {"max_tokens": 39_995}]),
    "the new name": ({"max_completion_tokens": 10}, {}, [{"max_completion_tokens": 10}, {"max_tokens": 5}]),
    "both": (
        {"max_tokens": 10, "max_completion_tokens": 99},
        {},
        [{"max_tokens": 10, "max_completion_tokens": 99}, {"max_tokens": 5}],
    ),
    "a float, as some callers have it": ({"max_tokens": 10.0}, {}, [{"max_tokens": 10.0}, {"max_tokens": 5}]),
    "null": ({"max_tokens": None}, {}, [{"max_tokens": None}, {}]),
    "a total in the settings": ({}, {"max_tokens": 8}, [{"max_tokens": 8}, {"max_tokens": 3}]),
    "both totals": ({"max_tokens": 10}, {"max_tokens": 8}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    "tokens a round; hermes #26427, #22381: as many in each": (
        {},
        {"round_tokens": 7},
        [{"max_tokens": 7}, {"max_tokens": 7}],
    ),
    "tokens a round, a total": ({"max_tokens": 10}, {"round_tokens": 7}, [{"max_tokens": 7}, {"max_tokens": 5}]),
    "the cap": ({"max_tokens": CAP}, {}, [{"max_tokens": CAP}, {"max_tokens": CAP - 5}]),
    "for a round": ({"max_tokens": 128}, PER_ROUND, [{"max_tokens": 128}, {}]),
    "for a round, by the new name": ({"max_completion_tokens": 128}, PER_ROUND, [{"max_completion_tokens": 128}, {}]),
    "for a round, and tokens a round": (
        {"max_tokens": 128},
        {**PER_ROUND, "round_tokens": 7},
        [{"max_tokens": 7}, {"max_tokens": 7}],
    ),
    "for a round, and a total in the settings": (
        {"max_tokens": 6},
        {**PER_ROUND, "max_tokens": 8},
        [{"max_tokens": 6}, {"max_tokens": 3}],
    ),
    "for a round, where a small default is known": (
        {"max_tokens": 128},
        {**PER_ROUND, "provider": "moonshot"},
        [{"max_tokens": 128}, {"max_tokens": CAP}],
    ),
}


@drives
@pytest.mark.parametrize(("body", "settings", "sent"), LIMITS.values(), ids=LIMITS)
def test_limit(body: dict[str, Any], settings: dict[str, Any], sent: list[dict[str, Any]], drive: Drive) -> None:
    """The caller's limit is a total under either name; each round asks for what is left of it, up to the cap."""
    server = Script(cut_round("one "), last_round("two"))
    drive(server, ask(**body), **settings)

    names = ("max_tokens", "max_completion_tokens")
    assert sent == [{name: one[name] for name in names if name in one} for one in server.bodies]


REACHED = {
    # If only the caller's own round was sent, there is no report.
    **{
        f"at once: {total}": Case([cut_round("one ")], **length("one ", None), body={"max_tokens": total})
        for total in (3, 5)
    },
    # That a limit of the settings ended it, nothing but the report tells.
    **{
        f"at once, by the settings: {total}": Case(
            [cut_round("one ")], **length("one ", "max_tokens"), body={}, known={"max_tokens": total}
        )
        for total in (3, 5)
    },
    "at once, by the settings, and the request's holds for a round": Case(
        [cut_round("one ")],
        **length("one ", "max_tokens"),
        body={"max_tokens": 9},
        known={**PER_ROUND, "max_tokens": 5},
    ),
    **{
        f"in the second round: {total}": Case(
            [cut_round("one "), cut_round("two ")], **length("one two ", "max_tokens"), body={"max_tokens": total}
        )
        for total in (9, 10)
    },
    **{
        f"no number of tokens: {value!r}": Case(
            [cut_round("one ")], **length("one ", "unsupported"), body={"max_tokens": value}
        )
        for value in (0, -1, 10.5, "10", True, [10], {})
    },
}


@cases(REACHED)
def test_limit_that_is_reached(case: Case, drive: Drive) -> None:
    """At the caller's total the answer ends in "length"; what is no number goes to the server as it is."""
    _, server = case.check(drive)

    assert {**case.known, **case.body}["max_tokens"] == server.bodies[0]["max_tokens"]


@drives
def test_limit_without_usage(drive: Drive) -> None:
    """Without usage, a cut round is taken to have used what was asked for."""
    server = Script(cut_round("one ", usage=None), cut_round("two ", usage=None), cut_round("three", usage=None))
    answer = drive(server, ask(max_tokens=25), round_tokens=10)

    assert [body["max_tokens"] for body in server.bodies] == [10, 10, 5]
    assert (*answer.ending, answer.usage) == ("one two three", "length", "max_tokens", None)


@drives
def test_limit_without_usage_of_a_server_that_gives_more(drive: Drive) -> None:
    """If more text came than the row's cap allows, the text is counted, and not the cap."""
    engine = Engine("word" * 4000, habits=Habits(usage="never"))
    row = replace(providers.named("deepinfra"), cap=100)
    answer = drive(engine, ask(max_tokens=900), provider=row)

    assert engine.given == [900]
    assert answer.ending[1:] == ("length", None)


@drives
@pytest.mark.parametrize("cap", [60, 16_384])
def test_limit_if_usage_leaves_the_thoughts_out(cap: int, drive: Drive) -> None:
    """Gemma behind DeepInfra: text and thoughts together are what was asked for, or the cap, so they were used."""
    habits = Habits(thinks="reasoning_content", think_tokens=20, miscounts="without_thoughts")
    engine = Engine(habits=habits, cap=cap)
    row = replace(providers.named("deepinfra"), cap=cap)
    drive(engine, ask(max_tokens=90), provider=row)

    assert sum(engine.given) == 90


@drives
def test_limit_of_several_choices(drive: Drive) -> None:
    """The caller's limit holds for each choice, though the server counts them together, and stops them earlier."""
    text = "".join(f" word{number}" for number in range(60)).strip()
    engine = Engine(text, cap=10)
    answer = drive(engine, ask(n=2, max_tokens=25), 1)

    assert text.startswith(answer.text)
    assert answer.finish_reason == "length"
    assert [body["max_tokens"] for body in engine.bodies] == [25, 15, 15, 5, 5]


@pytest.mark.parametrize(
    ("row", "name"), [("deepinfra", "max_tokens"), ("vllm", "max_completion_tokens"), ("groq", "max_completion_tokens")]
)
def test_limit_by_the_providers_name(row: str, name: str) -> None:
    """The caller's own request is not changed; later rounds name the limit as the provider reads it."""
    limit = Limit.of({"max_completion_tokens": 7}, providers.named(row), Continuation())

    assert limit.on_first({"max_completion_tokens": 7}) == {"max_completion_tokens": 7}
    assert {name: 3} == limit.on_later({"max_completion_tokens": 7}, 3)


@drives
def test_least_tokens_are_for_the_whole_answer(drive: Drive) -> None:
    """vLLM's ``min_tokens`` and ``echo`` are for the whole answer: not counted or repeated again in each round."""
    server = Script(cut_round("one "), cut_round("two "), last_round("three"))
    drive(server, ask(min_tokens=7, echo=True), provider="vllm")

    assert [body["min_tokens"] for body in server.bodies] == [7, 2, 0]
    assert [body.get("echo") for body in server.bodies] == [True, None, None]


#: Limits in a request and in the settings, and the most tokens that the server was found to take.
NAMED: list[dict[str, Any]] = [{}, {"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": "many"}]
SET: list[dict[str, Any]] = [{}, {"max_tokens": 3}, {"round_tokens": 3}]


@pytest.mark.parametrize("provider", providers.PROVIDERS, ids=lambda row: row.name)
def test_every_first_round_that_differs_is_limited(provider: providers.Provider) -> None:
    """A request that is sent without looking closer is one whose first round is the caller's own, to the field."""
    differing, missed = list[object](), list[object]()
    for named, given, taken, streamed in product(NAMED, SET, (None, 2), (False, True)):
        body, settings, learned = ask(**named, stream=streamed), Continuation(**given), Learned()
        learned.take_most(taken, streamed=streamed)
        case = named, given, taken, streamed
        if first_body(Setup(body, endpoint_of(body), provider, settings, learned)) != body:
            differing.append(case)
            missed += [] if is_limited(body, settings, learned.most(streamed=streamed)) else [case]

    assert [] == missed
    assert ({"max_tokens": 5}, {}, 2, False) in differing
