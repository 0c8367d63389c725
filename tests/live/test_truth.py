"""The whole truth: whatever the cap, a joined answer is the text that a server without cap would have written."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from openai_continue.testing import Emulator, Fault, Habits, Logged
from openai_continue.testing.emulator.texts import document
from openai_continue.testing.emulator.tokens import count
from tests.support.answers import Answer, live, outcome
from tests.support.bodies import KNOWN, ask
from tests.support.script import DONE, Script, chunk
from tests.support.ways import DEEPINFRA, Way, settled, sync_and_async, two_ways

CAP = 16_384
STOP, MAX_TOKENS, OWN = ("stop", "stop"), ("length", "max_tokens"), ("length", None)


async def asked(way: Way, emulator: Emulator, *bodies: dict[str, Any], streamed: bool, **settings: Any) -> list[Answer]:
    """Ask by one client, which is closed afterwards."""
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **settings))
    answers = [await live(client, body, streamed=streamed) for body in bodies]
    await settled(client.close())
    return answers


def check_bill(answer: Answer, requests: list[Logged]) -> None:
    """Check that usage is the sum of what the server wrote down, and that all rounds shared a connection."""
    assert answer.usage is not None
    assert sum(request.prompt_tokens for request in requests) == answer.usage["prompt_tokens"]
    assert sum(request.completion_tokens for request in requests) == answer.usage["completion_tokens"]
    total = sum(request.prompt_tokens + request.completion_tokens for request in requests)
    assert total == answer.usage["total_tokens"]
    costs = [round_["usage"]["estimated_cost"] for round_ in answer.rounds]
    assert not costs or pytest.approx(sum(costs)) == answer.usage["estimated_cost"]
    assert len({request.connection for request in requests}) == 1


def check_rounds(answer: Answer, requests: list[Logged], *, cap: int, tokens: int) -> None:
    """Check that no request was sent that could be spared."""
    assert len(requests) == len(answer.rounds)
    assert [cap] * (len(requests) - 1) == [request.completion_tokens for request in requests[:-1]]
    if not any(round_["seam"] and round_["seam"]["held_back"] for round_ in answer.rounds):
        # The end of the answer is a token too.
        assert math.ceil((tokens + 1) / cap) == len(requests)


#: The last two end just before the cap and at it, where the end of the answer takes a request of its own.
CAPS = [(1, 60), (3, 200), (7, 500), (64, 1000), (401, 3000), (997, 2990), (100, 299), (100, 300)]


@two_ways
@pytest.mark.parametrize(("cap", "tokens"), CAPS)
async def test_whole_truth(way: Way, streamed: bool, cap: int, tokens: int) -> None:
    """Any cap gives the uncapped text, in the fewest requests, over one connection, at the price that was billed."""
    body = ask(f"Write {tokens} tokens.")
    with Emulator(cap=cap, chunk_tokens=1 if tokens <= 1000 else 10) as emulator:
        (answer,) = await asked(way, emulator, body, streamed=streamed, max_rounds=10_000)

    assert (emulator.uncapped(body), "stop", 0) == (answer.text, answer.finish_reason, emulator.derailed)
    assert tokens == emulator.tokens_of(body) == count(answer.text)
    check_rounds(answer, emulator.requests, cap=cap, tokens=tokens)
    check_bill(answer, emulator.requests)


@two_ways
async def test_without_a_limit_none_is_sent(way: Way, streamed: bool, emulator: Emulator) -> None:
    """If the caller names no limit, no round does; the rest of the body is the same in each."""
    await asked(way, emulator, ask("No limit.", temperature=0.5, seed=3), streamed=streamed)

    bodies = [
        {name: request.body[name] for name in request.body if name != "messages"} for request in emulator.requests
    ]
    body = {"model": KNOWN, "temperature": 0.5, "seed": 3, "stream": streamed}
    assert [body, *[{**body, "continue_final_message": True}] * 3] == bodies


@two_ways
async def test_conversation(way: Way, streamed: bool) -> None:
    """Later rounds go after the whole conversation, as one growing message whose beginning stays the same."""
    messages = [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Write 300 tokens."},
    ]
    with Emulator(cap=64) as emulator:
        (answer,) = await asked(way, emulator, ask(messages=messages), streamed=streamed)

    assert emulator.uncapped(ask(messages=messages)) == answer.text
    first, *later = [request.body["messages"] for request in emulator.requests]
    assert messages == first
    assert [messages] * 4 == [sent[:-1] for sent in later]
    prefills = [sent[-1]["content"] for sent in later]
    assert all(answer.text.startswith(prefill) for prefill in prefills)
    assert prefills == sorted(prefills, key=len)
    assert {sent[-1]["role"] for sent in later} == {"assistant"}


@two_ways
async def test_second_answer_of_a_client(way: Way, streamed: bool, emulator: Emulator) -> None:
    """hermes #1717, #79100: a counter was not reset, so later answers got fewer rounds, and an old prefix."""
    bodies = [ask(f"Answer {number}.") for number in range(5)]
    answers = await asked(way, emulator, *bodies, streamed=streamed)

    assert [emulator.uncapped(body) for body in bodies] == [answer.text for answer in answers]
    assert [len(answer.rounds) for answer in answers] == [4] * 5


# Limits of the caller's and of the settings'.

#: The server's cap; the tokens wanted; the caller's fields; the settings; what each request asks for; the end.
LIMITS: dict[str, tuple[int, int, dict[str, int], dict[str, Any], list[int | None], tuple[str, str | None]]] = {
    "a total": (100, 400, {"max_tokens": 350}, {"round_tokens": 100}, [100, 100, 100, 50], MAX_TOKENS),
    "by the new name": (
        100,
        400,
        {"max_completion_tokens": 350},
        {"round_tokens": 100},
        [100, 100, 100, 50],
        MAX_TOKENS,
    ),
    "not reached": (100, 250, {"max_tokens": 300}, {}, [300, 200, 100], STOP),
    "of the settings": (100, 400, {}, {"max_tokens": 150}, [150, 50], MAX_TOKENS),
    "of the settings, within a round": (CAP, 52_000, {}, {"max_tokens": 500}, [500], MAX_TOKENS),
    "the caller's, over the settings'": (
        100,
        400,
        {"max_tokens": 250},
        {"max_tokens": 150},
        [250, 150, 50],
        MAX_TOKENS,
    ),
    "hermes #26427, #22381: rounds of one size": (100, 399, {}, {"round_tokens": 100}, [100] * 4, STOP),
    "fifty thousand": (CAP, 52_000, {"max_tokens": 50_000}, {}, [50_000, 33_616, 17_232, 848], MAX_TOKENS),
    # The caller's own limit is the honest end, in one request, without a report.
    "within a round": (CAP, 52_000, {"max_tokens": 500}, {}, [500], OWN),
    "the cap": (CAP, 52_000, {"max_tokens": CAP}, {}, [CAP], OWN),
    "for the first request": (CAP, 20_000, {"max_tokens": 128}, {"request_limit": "round"}, [128, None, None], STOP),
    "for the first request, by a name that is ignored": (
        *(CAP, 20_000, {"max_completion_tokens": 128}, {"request_limit": "round"}, [None, None], STOP),
    ),
}


@two_ways
@pytest.mark.parametrize(("cap", "tokens", "fields", "settings", "numbers", "end"), LIMITS.values(), ids=LIMITS)
@pytest.mark.thorough
async def test_limit(
    cap: int, tokens: int, fields: Any, settings: Any, numbers: Any, end: Any, way: Way, streamed: bool
) -> None:
    """A limit holds for all rounds together; each asks for what is left, by the name that the provider knows."""
    body = ask(f"Write {tokens} tokens.")
    with Emulator(cap=cap, chunk_tokens=1 if cap == 100 else 256) as emulator:
        (answer,) = await asked(way, emulator, {**body, **fields}, streamed=streamed, **settings)

    assert numbers == [request.body.get("max_tokens") for request in emulator.requests]
    assert not any("max_completion_tokens" in request.body for request in emulator.requests[1:])
    assert emulator.uncapped(body).startswith(answer.text)
    assert end == answer.ending[1:]
    total = tokens if end == STOP else next(iter(fields.values()), settings.get("max_tokens"))
    assert total - 10 <= count(answer.text) <= total
    assert end == STOP or total == (answer.usage or {})["completion_tokens"]
    check_bill(answer, emulator.requests)
    if end == OWN:
        assert [{**body, **fields, "stream": streamed}] == [request.body for request in emulator.requests]


@two_ways
@pytest.mark.parametrize("rounds", [1, 2, 5, None])
@pytest.mark.thorough
async def test_max_rounds(way: Way, streamed: bool, rounds: int | None) -> None:
    """bolt.diy #2187: after ``max_rounds`` requests, 16 by default, the answer so far comes with "length"."""
    body = ask("Write 2000 tokens.")
    with Emulator(cap=20) as emulator:
        settings = {} if rounds is None else {"max_rounds": rounds}
        (answer,) = await asked(way, emulator, body, streamed=streamed, **settings)

    assert (rounds or 16) == len(emulator.requests) == len(answer.rounds)
    assert emulator.uncapped(body).startswith(answer.text)
    assert answer.ending[1:] == ("length", "max_rounds")


@two_ways
@pytest.mark.thorough
async def test_loop(way: Way, streamed: bool) -> None:
    """hermes #86581, #100716: degenerate repetition was continued and delivered as more than thirty messages."""
    text = document("before", 3000) + "I will now write the file.\n" * 20_000
    with Emulator(cap=4000, text=text, chunk_tokens=200) as emulator:
        (answer,) = await asked(way, emulator, ask(), streamed=streamed)

    assert text.startswith(answer.text)
    assert (*answer.ending[1:], len(emulator.requests)) == ("length", "repetition", 2)


# What is cut or fails is no success, and loses nothing: tests of faults have the rest.


@sync_and_async
@pytest.mark.parametrize("finish_reason", [None, "unknown", "eos_token"])
async def test_unknown_end_of_a_later_round(way: Way, finish_reason: str | None) -> None:
    """
    opencode #49008, #18813, Aether #683: an endless loop if finish_reason is null or unknown.

    vllm-mlx #628: null at a natural end, and then the end mark.
    """
    script = Script([chunk("One "), chunk(None, "length"), DONE], [chunk("two"), chunk(None, finish_reason), DONE])
    client = way.client("http://x/v1", transport=script, max_retries=0)
    answer = await outcome(client, streamed=True, **ask())

    assert ("One two", finish_reason or "stop", 2) == (answer.text, answer.finish_reason, len(script.bodies))


@two_ways
@pytest.mark.parametrize(
    "fault", [Fault("500", round=3, times=9), Fault("empty", round=3, times=9), Fault("no_choices", round=3, times=9)]
)
async def test_partial_is_kept(fault: Fault, way: Way, streamed: bool) -> None:
    """opencode #42900, #40146, CLIProxyAPI #5439, NOOA #345, claude-code #24055: the partial was lost, or a success."""
    with Emulator(cap=40, tokens=150, chunk_tokens=4, faults=[fault]) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        kept = await outcome(client, streamed=streamed, **ask())
        emulator.clear()
        raised = await outcome(client, streamed=streamed, **ask(extra_body={"continuation": {"on_error": "raise"}}))
        await settled(client.close())

    assert kept.text.startswith(emulator.uncapped(ask(max_tokens=40)))
    assert emulator.uncapped(ask(max_tokens=80)).startswith(kept.text)
    assert ("length", "empty" if fault.kind == "empty" else "error") == kept.ending[1:]
    if fault.kind != "empty":
        assert kept.text == raised.error.partial_completion.choices[0].message.content


@two_ways
async def test_partial_of_nothing(way: Way, streamed: bool) -> None:
    """hermes #112421: "continue exactly where you left off" after nothing at all repeats a lost action."""
    with Emulator(cap=40, tokens=150, faults=[Fault("empty", times=9)]) as emulator:
        (answer,) = await asked(way, emulator, ask(), streamed=streamed)

    assert (len(emulator.requests), *answer.ending[1:]) == (1, "length", "empty")


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("trims", [False, True])
@sync_and_async
async def test_prompt_does_not_pile_up(way: Way, trims: bool) -> None:
    """instructor #2210: retries appended the truncated output each time, and the prompt grew."""
    faults = [Fault("reset", round=number, after_tokens=8) for number in (1, 3, 4)]
    body = ask(temperature=0)
    with Emulator(cap=40, tokens=150, chunk_tokens=4, faults=faults, habits=Habits(trims=trims)) as emulator:
        (answer,) = await asked(way, emulator, body, streamed=True, trims=trims)

    assert emulator.uncapped(body) == answer.text
    roles = [[message["role"] for message in request.body["messages"]] for request in emulator.requests]
    assert [["user"], *[["user", "assistant"]] * (len(emulator.requests) - 1)] == roles
    assert all(answer.text.startswith(request.body["messages"][-1]["content"]) for request in emulator.requests[1:])
