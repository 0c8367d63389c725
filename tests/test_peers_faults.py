"""What users of other continuing tools complained of: loops, errors, limits and truncation. One test a complaint."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_continue.core import recovery
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.texts import document
from tests.conftest import ASYNC, SYNC, Way, ask, settled
from tests.outcomes import DONE, Outcome, Script, chunk, outcome

CAP, TOKENS, ROUNDS = 40, 150, 4
ways = pytest.mark.parametrize(
    ("way", "streamed"), [(SYNC, False), (ASYNC, True)], ids=["sync-whole", "async-streamed"]
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.001)


def server(*faults: Fault, **options: Any) -> Emulator:
    return Emulator(**{"cap": CAP, "tokens": TOKENS, "chunk_tokens": 4, "faults": faults, **options})


async def get(way: Way, emulator: Emulator, *, streamed: bool, **body: Any) -> Outcome:
    """Ask an emulator."""
    client = way.client(emulator.base_url, max_retries=0)
    seen = await outcome(client, streamed=streamed, **{**ask("Peers."), **body})
    await settled(client.close())
    return seen


async def play(way: Way, *texts: str, finish_reason: Any = "length") -> tuple[Outcome, Script]:
    """Ask a server that says these texts, each a round that ends so."""
    script = Script(*[[chunk(text), chunk(None, finish_reason), DONE] for text in texts])
    client = way.client("http://x/v1", transport=script, max_retries=0)
    return await outcome(client, streamed=True, **ask("x")), script


@ways
async def test_cap_on_rounds_that_counts(way: Way, streamed: bool) -> None:
    """An endless paid loop, for the cap on rounds checked a counter that nobody incremented: bolt.diy #2187."""
    with server(text=lambda body, choice: document("endless", 5000)) as emulator:
        seen = await get(way, emulator, streamed=streamed)

    assert 16 == len(emulator.requests)
    assert ("length", "max_rounds") == (seen.finish_reason, seen.stopped_by)


async def test_length_of_a_short_answer_that_was_complete() -> None:
    """A provider says "length" of short complete answers, and the same line is sent again and again: hermes #58087."""
    seen, script = await play(SYNC, "All done.", "", "")
    line = "All done, and this line is long enough to be known again when it is sent once more."
    again, same = await play(ASYNC, line, line, line, line)

    assert ("All done.", "empty", 2) == (seen.text, seen.stopped_by, len(script.seen))
    assert (line, "restart", 2) == (again.text, again.stopped_by, len(same.seen))


@ways
async def test_length_with_a_tool_call(way: Way, streamed: bool) -> None:
    """ "length" with a tool call went past the guard; 117 messages and no edits: hermes #72329."""
    tools = [{"type": "function", "function": {"name": "edit", "parameters": {}}}]
    with server() as emulator:
        await get(way, emulator, streamed=streamed, messages=ask("Please call the tool.")["messages"], tools=tools)

    assert 1 == len(emulator.requests)


@ways
async def test_answer_that_is_written_again_each_round(way: Way, streamed: bool) -> None:
    """The model rewrites the long answer from the top every round, for ever: WeKnora #3446."""
    with server(habits=Habits(ignores_prefill=True)) as emulator:
        seen = await get(way, emulator, streamed=streamed)

    assert emulator.uncapped(ask("Peers.", max_tokens=CAP)) == seen.text
    assert ("length", "restart", 2) == (seen.finish_reason, seen.stopped_by, len(emulator.requests))


@pytest.mark.parametrize("finish_reason", [None, "unknown", "eos_token"])
async def test_finish_reason_that_nobody_knows(finish_reason: str | None) -> None:
    """An endless loop where finish_reason is null or unknown: opencode #49008, #18813, Aether #683."""
    seen, script = await play(SYNC, "One", "two", "three", finish_reason=finish_reason)
    later = Script([chunk("One "), chunk(None, "length"), DONE], [chunk("two"), chunk(None, finish_reason), DONE])
    client = ASYNC.client("http://x/v1", transport=later, max_retries=0)
    partial = await outcome(client, streamed=True, **ask("x"))

    assert ("One", finish_reason, 1) == (seen.text, seen.finish_reason, len(script.seen))
    assert ("One two", finish_reason or "length", 2) == (partial.text, partial.finish_reason, len(later.seen))


async def test_let_me_check() -> None:
    """A loop of "Let me check…", for which a cap of two was added: RustyClaw #13."""
    seen, script = await play(SYNC, *["Let me check... " * 1200] * 16)

    assert ("length", "repetition") == (seen.finish_reason, seen.stopped_by)
    assert 1 == len(script.seen)


@ways
async def test_degenerate_repetition(way: Way, streamed: bool) -> None:
    """Degenerate repetition was continued and delivered as more than thirty messages: hermes #86581, #100716."""
    text = document("before", 3000) + "I will now write the file.\n" * 20_000
    with server(cap=4000, text=text, chunk_tokens=200) as emulator:
        seen = await get(way, emulator, streamed=streamed)

    assert text.startswith(seen.text)
    assert ("length", "repetition", 2) == (seen.finish_reason, seen.stopped_by, len(emulator.requests))


@ways
async def test_thoughts_that_ate_the_budget(way: Way, streamed: bool) -> None:
    """Reasoning ate the whole budget; there was nothing to continue, and it was a success: opencode #17471, #42900."""
    habits = Habits(thinks="reasoning_content", think_tokens=100)
    with server(habits=habits) as emulator:
        seen = await get(way, emulator, streamed=streamed)

    assert ("length", "reasoning", 1) == (seen.finish_reason, seen.stopped_by, len(emulator.requests))
    assert not seen.text


@ways
async def test_thoughts_longer_than_a_round(way: Way, streamed: bool) -> None:
    """High reasoning effort always exhausted the continuations, where thoughts can go on: hermes #90422."""
    habits = Habits(thinks="reasoning_content", think_tokens=100, template="qwen3", marker="prefix")
    with server(habits=habits) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        body = ask("Peers.", extra_body={"continuation": {"provider": "deepseek"}})
        seen = await outcome(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(ask("Peers.")) == seen.text
    assert ("stop", 0) == (seen.finish_reason, emulator.derailed)


@ways
async def test_rounds_of_one_size(way: Way, streamed: bool) -> None:
    """A continuation got a smaller max_tokens than the first round: hermes #26427, #22381."""
    with server() as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        for limit in ({}, {"max_tokens": 3 * CAP}):
            body = ask("Peers.", extra_body={"continuation": {"round_tokens": CAP}}, **limit)
            await outcome(client, streamed=streamed, **body)
        await settled(client.close())

    asked = [request.body["max_tokens"] for request in emulator.requests]
    assert [CAP] * ROUNDS + [CAP] * 3 == asked[: ROUNDS + 3]


@ways
async def test_limit_that_shrinks_as_the_prompt_grows(way: Way, streamed: bool) -> None:
    """Max_tokens was not clamped again as the prompt grew, and the context overflowed: qwen-code #7896."""
    with server(context=130, habits=Habits(overflow="400")) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        body = ask("Peers.", extra_body={"continuation": {"round_tokens": CAP}})
        seen = await outcome(client, streamed=streamed, **body)
        await settled(client.close())

    assert ("length", "context", None) == (seen.finish_reason, seen.stopped_by, seen.error)
    last = [request for request in emulator.requests if request.status == 200][-1]
    assert 130 == last.prompt_tokens + last.completion_tokens


@ways
async def test_prompt_that_fills_the_window(way: Way, streamed: bool) -> None:
    """A prompt that filled the window was tried four times, longer each time, with the wrong blame: hermes #106120."""
    prompt = ask("Long. " * 100, max_tokens=30_000)
    with server(context=50) as emulator:
        seen = await get(way, emulator, streamed=streamed, **prompt)

    assert isinstance(seen.error, openai.BadRequestError)
    assert "maximum context length is 50 tokens" in str(seen.error)
    assert 1 == len(emulator.requests)


@ways
async def test_second_answer_of_a_client(way: Way, streamed: bool) -> None:
    """A counter was not reset, so later answers got fewer rounds, and an old prefix: hermes #1717, #79100."""
    with server() as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        for number in range(5):
            seen = await outcome(client, streamed=streamed, **ask(f"Answer {number}."))

            assert emulator.uncapped(ask(f"Answer {number}.")) == seen.text
            assert ROUNDS * (number + 1) == len(emulator.requests)
        await settled(client.close())


@ways
async def test_truncation_is_no_success(way: Way, streamed: bool) -> None:
    """What was cut was given as finished, and 59 edits were lost: opencode #42900, #40146, CLIProxyAPI #5439."""
    for fault in (
        Fault("500", round=3, times=9),
        Fault("empty", round=3, times=9),
        Fault("no_choices", round=3, times=9),
    ):
        with server(fault) as emulator:
            seen = await get(way, emulator, streamed=streamed)

        assert "length" == seen.finish_reason
        assert seen.stopped_by in ("error", "empty")


@ways
async def test_partial_is_kept(way: Way, streamed: bool) -> None:
    """The partial was thrown away, and the user paid again: NOOA #345, claude-code #24055."""
    with server(Fault("500", round=3, times=9)) as emulator:
        seen = await get(way, emulator, streamed=streamed)
        emulator.clear()
        client = way.client(emulator.base_url, max_retries=0)
        body = ask("Peers.", extra_body={"continuation": {"on_error": "raise"}})
        raised = await outcome(client, streamed=streamed, **body)
        await settled(client.close())

    assert seen.text.startswith(emulator.uncapped(ask("Peers.", max_tokens=CAP)))
    assert emulator.uncapped(ask("Peers.", max_tokens=2 * CAP)).startswith(seen.text)
    assert seen.text == raised.error.partial_completion.choices[0].message.content


@ways
async def test_partial_of_nothing(way: Way, streamed: bool) -> None:
    """ "continue exactly where you left off" after nothing at all repeats a lost action: hermes #112421."""
    with server(Fault("empty", times=9)) as emulator:
        seen = await get(way, emulator, streamed=streamed)

    assert (1, "length", "empty") == (len(emulator.requests), seen.finish_reason, seen.stopped_by)


async def test_prompt_does_not_pile_up(way: Way) -> None:
    """Retries appended the truncated output each time, and the prompt grew: instructor #2210."""
    faults = [Fault("reset", round=number, after_tokens=8) for number in (1, 3, 4)]
    with server(*faults) as emulator:
        seen = await get(way, emulator, streamed=True)

    assert emulator.uncapped(ask("Peers.")) == seen.text
    assert [["user"], *[["user", "assistant"]] * (len(emulator.requests) - 1)] == [
        [message["role"] for message in request.body["messages"]] for request in emulator.requests
    ]
    assert all(seen.text.startswith(request.body["messages"][-1]["content"]) for request in emulator.requests[1:])
