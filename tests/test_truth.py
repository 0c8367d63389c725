"""The whole truth: whatever the cap, a joined answer is the text that a server without cap would have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Habits, Logged
from openai_continue.testing.emulator.tokens import count
from tests.conftest import ASYNC, DEEPINFRA, SYNC, Way, ask, joined, listed, settled

FOUR_WAYS = [(SYNC, False), (SYNC, True), (ASYNC, False), (ASYNC, True)]
four_ways = pytest.mark.parametrize(
    ("way", "streamed"), FOUR_WAYS, ids=["sync-whole", "sync-stream", "async-whole", "async-stream"]
)
CAP = 16_384


@dataclass(frozen=True)
class Answer:
    """An answer, however it came."""

    text: str
    finish_reason: str
    usage: dict[str, Any]
    #: The report; None where there is none.
    report: dict[str, Any] | None


async def answer_of(client: Any, *, streamed: bool, **body: Any) -> Answer:
    """Ask, and bring the answer of either form into one."""
    answer = await settled(client.chat.completions.create(**body, stream=streamed))
    if not streamed:
        choice = answer.choices[0]
        usage = answer.usage.model_dump(exclude_unset=True)
        return Answer(choice.message.content, choice.finish_reason, usage, getattr(answer, "continuation", None))
    chunks = await listed(answer)
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    usages = [chunk.usage.model_dump(exclude_unset=True) for chunk in chunks if chunk.usage]

    assert 1 == len(ends)
    assert [usages[0]] * len(usages) == usages
    return Answer(joined(chunks), ends[0], usages[0], getattr(chunks[-1], "continuation", None))


def check_bill(answer: Answer, requests: list[Logged]) -> None:
    """Check that usage is the sum of what the server wrote down, and that all rounds shared a connection."""
    assert sum(request.prompt_tokens for request in requests) == answer.usage["prompt_tokens"]
    assert sum(request.completion_tokens for request in requests) == answer.usage["completion_tokens"]
    total = sum(request.prompt_tokens + request.completion_tokens for request in requests)
    assert total == answer.usage["total_tokens"]
    costs = [round_["usage"]["estimated_cost"] for round_ in answer.report["rounds"]] if answer.report else []
    assert not costs or pytest.approx(sum(costs)) == answer.usage["estimated_cost"]
    assert 1 == len({request.connection for request in requests})


def check_rounds(answer: Answer, requests: list[Logged], *, cap: int, tokens: int) -> None:
    """Check that no request was sent that could be spared."""
    assert answer.report is not None
    assert len(requests) == len(answer.report["rounds"])
    assert [cap] * (len(requests) - 1) == [request.completion_tokens for request in requests[:-1]]
    if not any(round_["seam"] and round_["seam"]["held_back"] for round_ in answer.report["rounds"]):
        # The end of the answer is a token too.
        assert math.ceil((tokens + 1) / cap) == len(requests)


#: The last two end just before the cap and at it, where the end of the answer takes a request of its own.
CAPS = [(1, 60), (3, 200), (7, 500), (64, 1000), (401, 3000), (997, 2990), (100, 299), (100, 300)]


@four_ways
@pytest.mark.parametrize(("cap", "tokens"), CAPS)
async def test_whole_truth(way: Way, streamed: bool, cap: int, tokens: int) -> None:
    """Any cap gives the uncapped text, in the fewest requests, over one connection, at the price that was billed."""
    body = ask(f"Write {tokens} tokens.")
    with Emulator(cap=cap, chunk_tokens=1 if tokens <= 1000 else 10) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, max_rounds=10_000))
        answer = await answer_of(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(body) == answer.text
    assert tokens == emulator.tokens_of(body) == count(answer.text)
    assert "stop" == answer.finish_reason
    assert 0 == emulator.derailed
    check_rounds(answer, emulator.requests, cap=cap, tokens=tokens)
    check_bill(answer, emulator.requests)


@four_ways
async def test_without_a_limit_none_is_sent(way: Way, streamed: bool, emulator: Emulator) -> None:
    """Where the caller names no limit, no round does; the rest of the body is the same in each."""
    client = way.client(emulator.base_url)

    await answer_of(client, streamed=streamed, **ask("No limit."), temperature=0.5, seed=3)
    await settled(client.close())

    bodies = [
        {name: request.body[name] for name in request.body if name != "messages"} for request in emulator.requests
    ]
    assert [{"model": "m", "temperature": 0.5, "seed": 3, "stream": streamed}] * 4 == bodies


# Limits of the caller's.


@pytest.fixture(scope="module")
def large() -> Iterator[Emulator]:
    """A server with DeepInfra's own cap."""
    with Emulator(cap=CAP, tokens=52_000, chunk_tokens=256) as emulator:
        yield emulator


@four_ways
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_limit_is_a_total(way: Way, streamed: bool, name: str) -> None:
    """The caller's limit holds for all rounds together, by the name that the provider knows."""
    body = ask("Write 400 tokens.")
    with Emulator(cap=100) as emulator:
        settings = replace(DEEPINFRA, round_tokens=100)
        client = way.client(emulator.base_url, continuation=settings)
        answer = await answer_of(client, streamed=streamed, **body, **{name: 350})
        await settled(client.close())

    requests = emulator.requests
    assert [100, 100, 100, 50] == [request.body["max_tokens"] for request in requests]
    assert not any("max_completion_tokens" in request.body for request in requests)
    assert emulator.uncapped(body).startswith(answer.text)
    assert 345 <= count(answer.text) <= 350
    assert ("length", 350) == (answer.finish_reason, answer.usage["completion_tokens"])
    assert answer.report is not None
    assert "max_tokens" == answer.report["stopped_by"]
    check_bill(answer, requests)


@four_ways
async def test_limit_that_is_not_reached(way: Way, streamed: bool) -> None:
    """An answer that ends before the caller's limit ends by itself."""
    body = ask("Write 250 tokens.", max_tokens=300)
    with Emulator(cap=100) as emulator:
        client = way.client(emulator.base_url)
        answer = await answer_of(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(body) == answer.text
    assert "stop" == answer.finish_reason
    assert [300, 200, 100] == [request.body["max_tokens"] for request in emulator.requests]


@four_ways
async def test_limit_of_fifty_thousand(way: Way, streamed: bool, large: Emulator) -> None:
    """50,000 tokens are asked for as 16384, 16384, 16384 and 848, and no more than 50,000 come."""
    large.clear()
    body = ask("Fifty thousand.")
    client = way.client(large.base_url)

    answer = await answer_of(client, streamed=streamed, **body, max_tokens=50_000)
    await settled(client.close())

    assert [CAP, CAP, CAP, 848] == [request.body["max_tokens"] for request in large.requests]
    assert large.uncapped(body).startswith(answer.text)
    assert 49_990 <= count(answer.text) <= 50_000
    assert ("length", 50_000) == (answer.finish_reason, answer.usage["completion_tokens"])


@four_ways
@pytest.mark.parametrize("limit", [500, CAP])
async def test_limit_within_one_round(way: Way, streamed: bool, limit: int, large: Emulator) -> None:
    """A limit at or under the cap is the caller's own: "length" is the honest end, in one request, without a report."""
    large.clear()
    body = ask("Within.", max_tokens=limit)
    client = way.client(large.base_url)

    answer = await answer_of(client, streamed=streamed, **body)
    await settled(client.close())

    assert large.uncapped(body) == answer.text
    assert limit == count(answer.text)
    assert ("length", None) == (answer.finish_reason, answer.report)
    assert [{**body, "stream": streamed}] == [request.body for request in large.requests]


@four_ways
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_cap_is_no_limit(way: Way, streamed: bool, name: str, large: Emulator) -> None:
    """With ``cap_is_limit=False`` a limit of exactly the cap means as much as there is; any other is a limit."""
    large.clear()
    body = ask("Write 20000 tokens.")
    client = way.client(large.base_url, continuation=replace(DEEPINFRA, cap_is_limit=False))

    whole = await answer_of(client, streamed=streamed, **body, **{name: CAP})
    limited = await answer_of(client, streamed=streamed, **body, **{name: CAP - 1})
    await settled(client.close())

    assert large.uncapped(body) == whole.text
    assert "stop" == whole.finish_reason
    assert 3 == len(large.requests)
    assert CAP - 1 == count(limited.text)
    assert ("length", None) == (limited.finish_reason, limited.report)


@four_ways
async def test_settings_limit(way: Way, streamed: bool) -> None:
    """``max_tokens`` of the settings is the total where the request names none, and yields where it does."""
    with Emulator(cap=100) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, max_tokens=150))
        settings = await answer_of(client, streamed=streamed, **ask("Write 400 tokens."))
        callers = await answer_of(client, streamed=streamed, **ask("Write 400 tokens."), max_tokens=250)
        await settled(client.close())

    assert (150, 250) == (settings.usage["completion_tokens"], callers.usage["completion_tokens"])
    assert [150, 50, 250, 150, 50] == [request.body["max_tokens"] for request in emulator.requests]


@four_ways
@pytest.mark.parametrize("rounds", [1, 2, 5])
async def test_max_rounds(way: Way, streamed: bool, rounds: int, emulator: Emulator) -> None:
    """After ``max_rounds`` requests the answer so far comes with "length", and the report says why."""
    body = ask("Write 2000 tokens.")
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, max_rounds=rounds))

    answer = await answer_of(client, streamed=streamed, **body)
    await settled(client.close())

    assert rounds == len(emulator.requests)
    assert emulator.uncapped(body).startswith(answer.text)
    assert "length" == answer.finish_reason
    assert answer.report is not None
    assert ("max_rounds", rounds) == (answer.report["stopped_by"], len(answer.report["rounds"]))


@four_ways
async def test_default_of_max_rounds(way: Way, streamed: bool) -> None:
    """Sixteen requests is what a call makes at most, unless it is told otherwise."""
    with Emulator(cap=10) as emulator:
        client = way.client(emulator.base_url)
        answer = await answer_of(client, streamed=streamed, **ask("Write 200 tokens."))
        await settled(client.close())

    assert 16 == len(emulator.requests)
    assert "length" == answer.finish_reason


@four_ways
async def test_conversation(way: Way, streamed: bool) -> None:
    """Further rounds go behind the whole conversation, as one growing message whose beginning stays the same."""
    messages = [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Write 300 tokens."},
    ]
    with Emulator(cap=64) as emulator:
        client = way.client(emulator.base_url)
        answer = await answer_of(client, streamed=streamed, model="m", messages=messages)
        await settled(client.close())

    assert emulator.uncapped({"messages": messages}) == answer.text
    first, *later = [request.body["messages"] for request in emulator.requests]
    assert messages == first
    assert [messages] * 4 == [sent[:-1] for sent in later]
    prefills = [sent[-1]["content"] for sent in later]
    assert all(answer.text.startswith(prefill) for prefill in prefills)
    assert prefills == sorted(prefills, key=len)
    assert {"assistant"} == {sent[-1]["role"] for sent in later}


HABITS: dict[str, tuple[Habits, Continuation]] = {
    "usage behind": (Habits(usage="trailing"), DEEPINFRA),
    "usage twice": (Habits(usage="both"), DEEPINFRA),
    "text in the end": (Habits(finish_with_text=True, usage="both"), DEEPINFRA),
    "comments": (Habits(comments=True), DEEPINFRA),
    "characters dropped": (Habits(cut_characters="dropped"), DEEPINFRA),
    "characters replaced": (Habits(cut_characters="replaced"), DEEPINFRA),
    "trims": (Habits(trims=True), replace(DEEPINFRA, trims=True)),
    "vllm": (
        Habits(marker="continue_final_message", limit_field="both", overflow="clamp", finish_with_text=True),
        Continuation(provider="vllm"),
    ),
    "mistral": (
        Habits(marker="prefix", strict_marker=True, echo="always", echo_pieces=5),
        Continuation(provider="mistral"),
    ),
}


@four_ways
@pytest.mark.parametrize("habit", HABITS)
async def test_habits_of_servers(way: Way, streamed: bool, habit: str) -> None:
    """The text is the uncapped one on servers of other habits too."""
    body = ask("Write 400 tokens.")
    habits, settings = HABITS[habit]
    with Emulator(cap=23, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=replace(settings, max_rounds=1000))
        answer = await answer_of(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(body) == answer.text
    assert "stop" == answer.finish_reason
    assert 0 == emulator.derailed
