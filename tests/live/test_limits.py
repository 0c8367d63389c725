"""Whose token limit it is, on servers with other caps than the row says, and with usage that is told in other places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.tokens import count
from tests.support.answers import Answer, live
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, Way, settled, streamed_or_not, sync_and_async, two_ways

CAP, WANTED = 16_384, 50_000
SIZES: dict[str, int] = {"chunk_tokens": 256}
#: The server; the requests of the first call of a client, and of the next one; whole and streamed.
CAPS: dict[str, tuple[dict[str, Any], tuple[int, int], tuple[int, int]]] = {
    "silent": ({}, (4, 4), (4, 4)),
    "openai": ({"habits": Habits(over_cap="openai")}, (5, 4), (5, 4)),
    "deepseek": ({"habits": Habits(over_cap="deepseek")}, (5, 4), (5, 4)),
    "pydantic": ({"habits": Habits(over_cap="pydantic")}, (5, 4), (5, 4)),
    "between": ({"habits": Habits(over_cap="between")}, (5, 4), (5, 4)),
    # Then the row's cap is asked for.
    "nameless": ({"habits": Habits(over_cap="nameless")}, (5, 4), (5, 4)),
    "of whole answers": ({"habits": Habits(over_cap="stream")}, (5, 4), (1, 1)),
    "none": ({"cap": 1_000_000}, (1, 1), (1, 1)),
    "none, and no prefill": ({"cap": 1_000_000, "habits": Habits(refuses_prefill=True)}, (1, 1), (1, 1)),
}


@sync_and_async
@streamed_or_not
@pytest.mark.parametrize(("server", "whole", "stream"), CAPS.values(), ids=CAPS)
@pytest.mark.spread(1)
async def test_fifty_thousand(server: Any, whole: Any, stream: Any, way: Way, streamed: bool) -> None:
    """``max_tokens=50_000`` gives 50,000 tokens in the fewest requests, whatever the server makes of the number."""
    body = ask("Write 52000 tokens.", max_tokens=WANTED)
    with Emulator(**{"cap": CAP, **SIZES, **server}) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        for requests in stream if streamed else whole:
            emulator.clear()
            answer = await live(client, body, streamed=streamed)

            assert emulator.uncapped(body).startswith(answer.text)
            assert answer.finish_reason == "length"
            # What is held back at a seam is written twice.
            assert WANTED - 3 <= count(answer.text) <= WANTED
            assert (answer.usage or {})["completion_tokens"] == WANTED
            assert requests == len(emulator.requests)
            assert requests > 1 or answer.report is None
        await settled(client.close())

    assert emulator.derailed == 0


async def asked_in_turn(client: Any, emulator: Emulator, bodies: list[dict[str, Any]], streamed: list[bool]) -> Any:
    """Ask one by one; return the limits of the requests for each answer."""
    limits: list[list[int]] = []
    for body, stream in zip(bodies, streamed, strict=True):
        emulator.clear()
        answer = await live(client, body, streamed=stream)
        assert emulator.uncapped(body).startswith(answer.text)
        assert ("length", body["max_tokens"]) == (answer.finish_reason, (answer.usage or {})["completion_tokens"])
        limits.append([request.body["max_tokens"] for request in emulator.requests])
    await settled(client.close())
    return limits


@sync_and_async
async def test_what_is_learnt(way: Way) -> None:
    """The most that a server takes is remembered for the model, by the client that learnt it."""
    body = ask("Write 500 tokens.", max_tokens=350)
    bodies = [body, body, {**body, "model": "another"}, {**body, "max_tokens": 90}, body]
    with Emulator(cap=100, habits=Habits(over_cap="openai")) as emulator:
        streamed = [False, False, False, False, True]
        limits = await asked_in_turn(way.client(emulator.base_url), emulator, bodies, streamed)
        fresh = await asked_in_turn(way.client(emulator.base_url), emulator, [body], [False])

    rounds = [100, 100, 100, 50]
    # Some servers take more in a stream, so that is found out for itself.
    assert [[350, *rounds], rounds, [350, *rounds], [90], [350, *rounds]] == limits
    assert [[350, *rounds]] == fresh


@sync_and_async
async def test_limit_of_whole_answers(way: Way) -> None:
    """Fireworks: what it takes in a whole answer is no limit of a stream."""
    body = ask("Write 500 tokens.", max_tokens=350)
    with Emulator(cap=100, habits=Habits(over_cap="stream")) as emulator:
        client = way.client(emulator.base_url)
        limits = await asked_in_turn(client, emulator, [body] * 4, [True, False, False, True])

    assert limits == [[350], [350, 100, 100, 100, 50], [100, 100, 100, 50], [350]]


@two_ways
@pytest.mark.thorough
async def test_limit_that_nothing_helps(way: Way, streamed: bool) -> None:
    """If the server refuses the smaller number too, its first error is raised, and the number is not remembered."""
    with Emulator(cap=10, habits=Habits(over_cap="nameless")) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="max_tokens参数非法"):
                await live(client, ask(max_tokens=WANTED), streamed=streamed)
        await settled(client.close())

    assert [request.body["max_tokens"] for request in emulator.requests] == [WANTED, CAP] * 2


@two_ways
@pytest.mark.parametrize("fields", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.thorough
async def test_limit_under_a_name_that_is_ignored(fields: Any, way: Way, streamed: bool) -> None:
    """``ChatOpenAI(max_tokens=100)`` sends ``max_completion_tokens``: a server that ignores it gives what it gave before."""
    body = ask("Write 1000 tokens.", max_completion_tokens=100, **(fields if streamed else {}))
    with Emulator(cap=600, **SIZES) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())

    assert emulator.uncapped(ask("Write 1000 tokens.", max_tokens=600)) == answer.text
    assert answer.ending[1:] == ("length", None)
    assert [{**body, "stream": streamed}] == [request.body for request in emulator.requests]


@two_ways
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.thorough
async def test_stream_options_that_are_refused(status: Any, way: Way, streamed: bool) -> None:
    """Usage that is asked for to count a total is left out if the server refuses that, and it is remembered."""
    settings = replace(DEEPINFRA, provider="vllm", trims=False)
    habits = Habits(refuses_stream_options=status, usage="asked", limit_field="both", marker="continue_final_message")
    body = ask("Write 52000 tokens.", max_tokens=WANTED)
    with Emulator(cap=CAP, habits=habits, **SIZES) as emulator:
        client = way.client(emulator.base_url, continuation=settings, max_retries=0)
        for refused in ([status], []) if streamed else ([], []):
            emulator.clear()
            answer = await live(client, body, streamed=streamed)

            assert emulator.uncapped(ask("Write 52000 tokens.")).startswith(answer.text)
            # Without usage, the tokens are estimated from the text.
            assert WANTED // 2 <= count(answer.text) <= WANTED + CAP
            assert [*refused, 200, 200] == [request.status for request in emulator.requests][: len(refused) + 2]
        await settled(client.close())


# What usage says.

PLACES = ["finish", "trailing", "both", "asked", "never"]


@two_ways
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("usage", ["billed", "one_call"])
async def test_usage(usage: str, place: Any, way: Way, streamed: bool) -> None:
    """As of one call, the prompt counts once; what was billed is in the report. Both wherever the server puts usage."""
    body = ask("Write 250 tokens.", **({"stream_options": {"include_usage": True}} if streamed else {}))
    with Emulator(cap=100, habits=Habits(usage=place)) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, usage=usage))
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        first, *_, last = emulator.requests
        completion = sum(request.completion_tokens for request in emulator.requests)
        prompts = sum(request.prompt_tokens for request in emulator.requests)

    assert emulator.uncapped(body) == answer.text
    report = answer.report or {}
    if place == "never":
        assert (answer.usage, report["usage"]) == (None, None)
        assert report["prompt_tokens"] == {"first": None, "last": None}
        return
    assert {"first": first.prompt_tokens, "last": last.prompt_tokens} == report["prompt_tokens"]
    prompt = prompts if usage == "billed" else first.prompt_tokens
    check_usage(answer.usage or {}, prompt, completion, answer)
    check_usage(report["usage"], prompts, completion, answer)
    if streamed:
        # Each place where the caller gets it says the same.
        shown = [chunk["usage"] for chunk in answer.raw if chunk.get("usage")]
        assert [answer.usage] * (2 if place == "both" else 1) == shown


def check_usage(usage: dict[str, Any], prompt: int, completion: int, answer: Answer) -> None:
    """Check the sums of a usage; costs are always those of all rounds."""
    expected = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    assert {name: usage[name] for name in expected} == expected
    assert pytest.approx(sum(one["usage"]["estimated_cost"] for one in answer.rounds)) == usage["estimated_cost"]


@two_ways
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_limit_of_the_first_round(name: str, way: Way, streamed: bool) -> None:
    """``request_limit="round"``: the number limits the first round only; later ones get what the server gives."""
    body = ask("Write 1000 tokens.", **{name: 100})
    settings = replace(DEEPINFRA, request_limit="round", usage="one_call")
    with Emulator(cap=450, habits=Habits(limit_field="both")) as emulator:
        client = way.client(emulator.base_url, continuation=settings)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        given = [request.completion_tokens for request in emulator.requests]

    assert (emulator.uncapped(ask("Write 1000 tokens.")), "stop", "stop") == answer.ending
    assert given[:2] == [100, 450]
    assert [request.body.get(name) for request in emulator.requests][:3] == [100, None, None]
    assert emulator.requests[0].prompt_tokens == (answer.usage or {})["prompt_tokens"]
    assert sum(given) == (answer.usage or {})["completion_tokens"]
