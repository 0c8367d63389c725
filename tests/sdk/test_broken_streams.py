"""A stream that breaks off goes on from the text received, unless its reader has left it."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from openai_continue import Continuation
from openai_continue.testing import Fault, Habits
from tests.support.answers import joined, outcome
from tests.support.asking import BREAKS, CAP, ROUNDS, ask_it, chunks_of, play, server, truth
from tests.support.bodies import ask
from tests.support.script import DONE, LOST, Script, chunk
from tests.support.waiting import wait_first
from tests.support.ways import ASYNC, DEEPINFRA, OUR_SYNC, SYNC, Way, http, listed, settled

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("kind", [*BREAKS, "no_done"])
async def test_break(way: Way, kind: Any, number: int) -> None:
    """A stream that breaks off in any round becomes the whole answer; one that only lacks its end mark is no break."""
    with server(Fault(kind, round=number, after_tokens=16)) as emulator:
        seen = await ask_it(way, emulator)

    assert (truth(emulator), "stop", "stop") == seen.ending
    assert (seen.error, emulator.derailed) == (None, 0)
    is_broken = kind != "no_done"
    assert ROUNDS + is_broken == len(seen.rounds) == len(emulator.requests)
    broken = seen.rounds[number - 1]
    assert (None if is_broken else "stop" if number == 4 else "length") == broken["finish_reason"]
    # The server counts at the end of a round.
    assert broken.get("estimated", False) == is_broken
    assert broken["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http.ReadTimeout("late"), "APITimeoutError"),
        (http.ReadError("lost"), "APIConnectionError"),
        (http.RemoteProtocolError("peer closed connection"), "APIConnectionError"),
        (http.DecodingError("no gzip"), "APIConnectionError"),
        (ssl.SSLError("bad record"), "APIConnectionError"),
        (anyio.EndOfStream(), "APIConnectionError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_errors_of_the_transport(way: Way, error: Exception, kind: str) -> None:
    """Whatever the transport raises in a break, it is healed, or raised and reported by the SDK's name for it."""
    later = [chunk("and "), error]
    healed = await play(way, Script([chunk("One "), error], later, [chunk("two", "stop"), DONE]))
    settings = replace(DEEPINFRA, on_error="raise", heal_streams=False)
    raised = await play(way, Script([chunk("One "), chunk(None, "length"), DONE], later), settings=settings)

    assert (healed.text, healed.error) == ("One and two", None)
    assert kind == type(raised.error).__name__
    partial = raised.error.partial_completion
    assert ("One and ", kind) == (partial.choices[0].message.content, partial.continuation["error"]["type"])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["reset", "early_end"])
async def test_break_of_a_compressed_stream(way: Way, kind: Any, number: int) -> None:
    """A compressed stream that breaks off is healed as any other."""
    with server(Fault(kind, round=number, after_tokens=16), habits=Habits(gzip=True)) as emulator:
        seen = await ask_it(way, emulator)

    assert (None, truth(emulator), "stop") == (seen.error, seen.text, seen.finish_reason)


async def test_stream_that_never_gets_on(way: Way) -> None:
    """A server that breaks every round before its first word is asked four times, and then the partial is given."""
    with server(Fault("early_end", round=2, times=100, after_tokens=0)) as emulator:
        seen = await ask_it(way, emulator)

    assert (truth(emulator, CAP), "length", "error") == seen.ending
    assert len(emulator.requests) == 1 + 4


async def test_stream_that_breaks_again_and_again(way: Way) -> None:
    """After new text a break is a new one; only the limit of rounds ends the healing."""
    with server(Fault("early_end", times=100, after_tokens=8)) as emulator:
        seen = await ask_it(way, emulator, max_rounds=10)

    assert truth(emulator, 80).startswith(seen.text)
    assert truth(emulator, 70) in seen.text
    assert (seen.finish_reason, seen.stopped_by, len(emulator.requests)) == ("length", "error", 10)


async def test_total_holds_over_healed_rounds(way: Way) -> None:
    """The text of a broken round counts: the caller's total is neither exceeded nor missed."""
    faults = [Fault("reset", round=1, after_tokens=17), Fault("early_end", round=3, after_tokens=9)]
    with server(*faults, chunk_tokens=1) as emulator:
        seen = await ask_it(way, emulator, max_tokens=100)

    # A blank held back at a seam is written and paid for twice.
    assert truth(emulator, 100).startswith(seen.text)
    assert seen.text.startswith(truth(emulator, 96))
    assert seen.finish_reason == "length"
    assert sum(request.completion_tokens for request in emulator.requests) <= 100
    assert [request.body["max_tokens"] for request in emulator.requests] == [100, 83, 43, 34]


@pytest.mark.parametrize("total", [None, 60])
async def test_break_of_two_choices(way: Way, total: int | None) -> None:
    """Each choice of a broken stream goes on from its own text, and has its own part of the caller's total."""
    limit = {} if total is None else {"max_tokens": total}
    with server(Fault("reset", after_tokens=50), chunk_tokens=1) as emulator:
        seen = await ask_it(way, emulator, n=2, **limit)

    for index in range(2):
        text = joined(seen.raw, index)
        assert emulator.uncapped(ask("Fault.", **limit), index).startswith(text)
        assert text.startswith(emulator.uncapped(ask("Fault.", max_tokens=57 if total else 10_000), index))
    assert (seen.error, emulator.derailed) == (None, 0)


@pytest.mark.parametrize("after", [10, 60])
async def test_break_of_a_thinking_model(way: Way, after: int) -> None:
    """A break in the thoughts is healed if they can go back, and a break in the answer too."""
    habits = Habits(thinks="reasoning_content", template="qwen3", marker="prefix")
    with server(Fault("reset", after_tokens=after), habits=habits) as emulator:
        seen = await ask_it(way, emulator, provider="deepseek", round_tokens=CAP)

    deltas = [choice.delta for one in seen.raw for choice in one.choices]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert (emulator.uncapped_reasoning(ask("Fault.")), truth(emulator), "stop") == (thoughts, *seen.ending[:2])
    assert (seen.error, emulator.derailed) == (None, 0)


# Where a break falls.


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("after", range(0, 40, 4))
async def test_break_at_any_token(trims: bool, after: int) -> None:
    """Wherever a round breaks off, the seam is as good as at the cap."""
    faults = [Fault("early_end", round=number, after_tokens=after) for number in (1, 3)]
    with server(*faults, habits=Habits(trims=trims), chunk_tokens=1) as emulator:
        seen = await ask_it(OUR_SYNC, emulator, trims=trims, temperature=0)

    assert (emulator.uncapped(ask("Fault.", temperature=0)) if after else "") == seen.text
    assert emulator.derailed == 0


async def test_break_within_a_character(way: Way) -> None:
    """A break in the middle of a character, of a chunk or of a line leaves the chunks that were whole."""
    whole = chunk("größer")
    character = whole.index("ö".encode())
    for cut in (0, 3, character, character + 1, character + 2, len(whole) - 2, len(whole) - 1):
        script = Script([chunk("Was ist "), whole[:cut], LOST], [chunk("größer?", "stop"), DONE])

        seen = await play(way, script)

        assert (seen.error, seen.text, seen.finish_reason) == (None, "Was ist größer?", "stop")
        assert script.sent_back == ["Was ist"]


@pytest.mark.parametrize("end", [[LOST], []], ids=["lost", "ended"])
@pytest.mark.parametrize(("finish_reason", "text"), [("stop", "One "), ("length", "One and two")])
async def test_break_after_the_end(way: Way, end: list[Any], finish_reason: str, text: str) -> None:
    """A stream that breaks off between its end and [DONE] has ended: in "stop", or in "length" and is continued."""
    script = Script([chunk("One "), chunk(None, finish_reason), *end], [chunk("and two", "stop")])

    seen = await play(way, script)

    assert (None, text, "stop") == (seen.error, seen.text, seen.finish_reason)
    assert (finish_reason == "length") + 1 == len(script.bodies)


async def test_break_at_the_total(way: Way) -> None:
    """A break after the last token that the caller allows is no error: the text is there, and ends in "length"."""
    script = Script([chunk("One "), chunk("two "), chunk("three"), LOST])

    seen = await play(way, script, max_tokens=3)

    assert (seen.error, *seen.ending) == (None, "One two three", "length", "max_tokens")
    assert len(script.bodies) == 1


@pytest.mark.parametrize("end", [[LOST], [], [chunk("One")[:30]]], ids=["lost", "ended", "half"])
async def test_break_within_the_echo(way: Way, end: list[Any]) -> None:
    """If a server repeats what was sent back and breaks off in the middle of it, nothing of that is doubled."""
    first = [chunk("One two three four. "), chunk(None, "length"), DONE]
    last = [chunk("One two three "), chunk("four. Five."), chunk(None, "stop"), DONE]
    script = Script(first, [chunk("One two "), chunk("thr"), *end], last)

    seen = await play(way, script, settings=Continuation(provider="mistral"))

    assert (seen.error, seen.text, seen.finish_reason) == (None, "One two three four. Five.", "stop")
    assert script.sent_back == ["One two three four."] * 2


@pytest.mark.parametrize(
    ("last", "end", "finish_reason"), [(" three.", " Two three.", "stop"), (None, " Two", "length")]
)
async def test_break_of_a_round_that_started_over(way: Way, last: str | None, end: str, finish_reason: str) -> None:
    """A round's text is not taken while it may be the answer's beginning again; the next round decides."""
    start = "A beginning of the answer that is long enough to be known when it comes again."
    first = [chunk(start), chunk(" Two"), chunk(None, "length"), DONE]
    script = Script(first, [chunk(start[:20]), LOST], [chunk(last or start), chunk(None, "stop"), DONE])

    seen = await play(way, script)

    assert (None, start + end, finish_reason) == (seen.error, seen.text, seen.finish_reason)


async def test_empty_round_after_a_heal(way: Way) -> None:
    """A heal is no excuse for a round without text that does not end."""
    empty = [chunk(""), chunk(None, "length"), DONE]
    script = Script([chunk("One"), LOST], *[empty] * 16)

    assert (await play(way, script)).ending == ("One", "length", "empty")
    assert len(script.bodies) == 2


# Leaving a broken stream.


@pytest.mark.parametrize("end", [[], [LOST]], ids=["ended", "lost"])
async def test_client_that_is_closed(way: Way, end: list[Any]) -> None:
    """Closing the client ends a stream, in good order or not; that is no break, and the end is the SDK's own."""
    script = Script([chunk("One "), lambda: leave(), *end])  # noqa: PLW0108
    client = way.client("http://x/v1", transport=script, max_retries=0)

    def leave() -> bytes:
        if way.is_async:
            client._client._state = type(client._client._state).CLOSED
        else:
            client.close()
        return chunk("two")

    seen = await outcome(client, streamed=True, **ask())

    assert seen.ending == ("One two", None, None)
    assert bool(end) == (seen.error is not None)
    assert len(script.bodies) == 1


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["thread", "task"])
async def test_close_while_waiting_to_heal(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """``close()`` from another thread or task ends the wait before a heal, and no round begins."""
    wait_first(monkeypatch, 30)
    script = Script([chunk("One "), LOST], [chunk("two")])
    client = way.client("http://x/v1", transport=script, max_retries=0)
    stream = await settled(client.chat.completions.create(**ask(), stream=True))
    started = time.monotonic()
    if way.is_async:
        asyncio.get_running_loop().call_later(0.5, lambda: asyncio.ensure_future(stream.close()))
    else:
        threading.Timer(0.5, stream.close).start()

    assert joined(await listed(stream)) == "One "
    assert time.monotonic() - started < 20
    assert len(script.bodies) == 1


async def test_cancellation_while_waiting_to_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancellation in the wait before a heal goes through, and no round begins."""
    wait_first(monkeypatch, 30)
    script = Script([chunk("One "), LOST], [chunk("two")])
    client = ASYNC.client("http://x/v1", transport=script, max_retries=0)
    reading = asyncio.ensure_future(chunks_of(client, **ask()))
    await asyncio.sleep(0.5)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(script.bodies) == 1
    assert script.streams[0].closed


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interruption_is_no_break(kind: type[BaseException], streamed: bool) -> None:
    """An interruption of the program goes through, whole and streamed."""

    def interrupt() -> bytes:
        raise kind

    choice = {"index": 0, "message": {"role": "assistant", "content": "One "}, "finish_reason": "length"}
    first = [chunk("One ", "length"), DONE] if streamed else [json.dumps({"id": "c", "choices": [choice]}).encode()]
    script = Script(first, [chunk("two"), interrupt])
    client = SYNC.client("http://x/v1", transport=script, max_retries=0)

    with pytest.raises(kind):
        for _ in client.chat.completions.create(**ask(), stream=streamed):
            pass
    assert len(script.bodies) == 2
