"""A loop is left while it streams: its connection is free, and the caller has all that came."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.texts import document
from tests.support.answers import Answer, live, outcome
from tests.support.bodies import ask
from tests.support.responses import respond
from tests.support.script import Script, chunk, cut_round
from tests.support.ways import DEEPINFRA, Way, settled, sync_and_async

START = document("before a loop", 200)
LOOP = "Step 7. I will now write the file, and then I will run the tests again.\n"
TEXT = START + LOOP * 5000
#: Tokens of a round that is not left.
CAP = 50_000
#: Characters that a stream may bring after its loop is as long as that: it is looked at in steps.
LATE = 2000


async def asked(way: Way, emulator: Emulator, *, streamed: bool, **settings: Any) -> Answer:
    """Ask by one client, which is closed afterwards."""
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **settings), max_retries=0)
    try:
        return await live(client, ask(), streamed=streamed)
    finally:
        await settled(client.close())


@sync_and_async
@pytest.mark.parametrize("kind", ["stream", "streamed rounds"])
async def test_first_round(way: Way, kind: str) -> None:
    """With the setting, the first round is left, of a stream and of a whole answer that is made of streams."""
    with Emulator(cap=CAP, text=TEXT, token_delay=1e-5) as emulator:
        settings = {"max_repetition": 2000, "stream_rounds": kind == "streamed rounds"}
        answer = await asked(way, emulator, streamed=kind == "stream", **settings)
        (request,) = emulator.requests

    assert TEXT.startswith(answer.text)
    assert answer.ending[1:] == ("length", "repetition")
    assert 2000 <= len(answer.text) - len(START) < 2000 + LATE
    # The server could not send it all.
    assert request.finish_reason is None
    assert request.completion_tokens < CAP


@sync_and_async
async def test_wide_chunks(way: Way) -> None:
    """However much a chunk brings, a round is left soon after its loop is long enough."""
    script = Script(cut_round("One "), repeat(chunk(LOOP * 5)))
    client = way.client("http://x/v1", transport=script)
    answer = await outcome(client, streamed=True, **ask())
    await settled(client.close())

    assert answer.ending[1:] == ("length", "repetition")
    assert 16_384 <= len(answer.text) < 16_384 + LATE
    assert script.streams[1].closed


@sync_and_async
async def test_later_round(way: Way) -> None:
    """Without it, a later one is, at 16,384 characters."""
    with Emulator(cap=4000, text=TEXT) as emulator:
        answer = await asked(way, emulator, streamed=True)
        requests = emulator.requests

    assert TEXT.startswith(answer.text)
    assert answer.ending[1:] == ("length", "repetition")
    assert 16_384 <= len(answer.text) - len(START) < 16_384 + LATE
    assert ["length", None] == [one["finish_reason"] for one in answer.rounds]
    assert len(requests) == 2


@sync_and_async
async def test_whole_answer(way: Way) -> None:
    """A whole answer is looked at between its rounds."""
    with Emulator(cap=1000, text=TEXT) as emulator:
        answer = await asked(way, emulator, streamed=False, max_repetition=2000)

    assert TEXT.startswith(answer.text)
    assert (answer.ending[1:], len(emulator.requests)) == (("length", "repetition"), 1)


@sync_and_async
async def test_response(way: Way) -> None:
    """A response is left as a chat is."""
    with Emulator(cap=CAP, text=TEXT, habits=Habits(responses="vllm"), token_delay=1e-5) as emulator:
        settings = replace(DEEPINFRA, provider="vllm", max_repetition=2000)
        client = way.client(emulator.base_url, continuation=settings, max_retries=0)
        response: Any = await respond(client, {"model": "m", "input": "x"}, streamed=True)
        await settled(client.close())

    assert TEXT.startswith(response.output_text)
    assert (response.status, response.continuation["stopped_by"]) == ("incomplete", "repetition")
    assert 2000 <= len(response.output_text) - len(START) < 2000 + LATE


@sync_and_async
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_loop_without_the_setting(way: Way, streamed: bool) -> None:
    """A first round that ends by itself is the caller's, whatever it repeats."""
    text = START + LOOP * 300
    with Emulator(cap=CAP, text=text) as emulator:
        answer = await asked(way, emulator, streamed=streamed)

    assert answer.ending == (text, "stop", None)
