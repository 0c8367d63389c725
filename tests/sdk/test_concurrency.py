"""Many calls at once while the library is switched on and off next to them: no mixed texts, no leaks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import disabled
from openai_continue._sdk import connection
from openai_continue.testing import Emulator
from tests.support.answers import joined
from tests.support.asking import chunks_of, create, text_of
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, http, listed

CAP, ROUNDS = 20, 4
#: A thousand take about twenty seconds.
STREAMS = int(os.environ.get("STREAMS", "100"))
THREADS = 16
#: The answer after one round, after two, and whole: what calls may give.
ONE, TWO, WHOLE = CAP, 2 * CAP, 10_000


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server whose answers take four rounds."""
    with Emulator(cap=CAP, tokens=70, chunk_tokens=5) as emulator:
        yield emulator


@contextmanager
def flipping() -> Iterator[None]:
    """Patch and unpatch all the time, with other settings each time."""
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            openai_continue.patch(DEEPINFRA)
            time.sleep(0.001)
            openai_continue.patch(replace(DEEPINFRA, max_rounds=2))
            time.sleep(0.001)
            openai_continue.unpatch()
            time.sleep(0.001)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        openai_continue.unpatch()


def check_text(emulator: Emulator, number: int, text: str, *stages: int) -> None:
    """Check that a text is the call's own of one of these sizes, but for blanks that were held back at a seam."""
    known = [emulator.uncapped(ask(f"Call {number}.", max_tokens=size)) for size in stages]

    assert any(one.startswith(text) and text.startswith(one[:-12]) for one in known), text


async def check_left(emulator: Emulator) -> None:
    """Check that nothing is running any more, and no connection is open."""
    end = time.monotonic() + 60
    while (emulator.running or emulator.open_connections) and time.monotonic() < end:
        await asyncio.sleep(0.005)
    assert 0 == emulator.running == emulator.open_connections == emulator.derailed


def limits(client: Any) -> Any:
    """Return an HTTP client that has a connection for everyone, as the server has."""
    return client(limits=http.Limits(max_connections=None), timeout=60, verify=False)


@pytest.mark.thorough
async def test_many_streams_of_our_client(emulator: Emulator) -> None:
    """Many streams of one client at once get their own texts, whole, while patch() comes and goes."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))

    async def one(number: int) -> str:
        chunks = await chunks_of(client, **ask(f"Call {number}."))
        assert chunks[-1].continuation["stopped_by"] == "stop"
        return joined(chunks)

    with flipping():
        texts = await asyncio.gather(*map(one, range(STREAMS)))
    await client.close()

    assert [emulator.uncapped(ask(f"Call {number}.")) for number in range(STREAMS)] == texts
    assert len(emulator.requests) == ROUNDS * STREAMS
    await check_left(emulator)


@pytest.mark.thorough
async def test_many_streams_under_flipping_switches(emulator: Emulator) -> None:
    """Each of many streams gets the beginning of its own text that some setting in force allows."""
    client = openai.AsyncOpenAI(base_url=emulator.base_url, api_key="k", http_client=limits(http.AsyncClient))

    async def one(number: int) -> None:
        off = number % 4 == 0
        with disabled() if off else nullcontext():
            stream = await create(client, **ask(f"Call {number}."), stream=True)
        # The switch counts when the request starts, not while the stream is read.
        with disabled() if number % 4 == 1 else nullcontext():
            text = joined(await listed(stream))
        check_text(emulator, number, text, *((ONE,) if off else (ONE, TWO, WHOLE)))

    with flipping():
        await asyncio.gather(*map(one, range(STREAMS)))
    await client.close()

    await check_left(emulator)


@pytest.mark.thorough
async def test_switches_of_neighbors(emulator: Emulator) -> None:
    """A task inside disabled() or with settings of its own changes nothing for its neighbors."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))
    bodies: list[tuple[dict[str, Any], int]] = [
        ({}, WHOLE),
        ({"extra_body": {"continuation": False}}, ONE),
        ({"extra_body": {"continuation": {"max_rounds": 2}}}, TWO),
        ({"n": 1}, WHOLE),
    ]

    async def one(number: int) -> None:
        more, stage = bodies[number % 4]
        streamed = number % 3 == 0
        async with disabled() if number % 5 == 0 else nullcontext():
            made = await create(client, **ask(f"Call {number}."), stream=streamed, **more)
        text = joined(await listed(made)) if streamed else text_of(made)
        check_text(emulator, number, text, ONE if number % 5 == 0 else stage)

    await asyncio.gather(*map(one, range(STREAMS)))
    await client.close()

    assert all("continuation" not in request.body for request in emulator.requests)
    await check_left(emulator)


@pytest.mark.parametrize("ours", [False, True], ids=["patched", "ours"])
@pytest.mark.spread(1)
async def test_many_threads(emulator: Emulator, ours: bool) -> None:
    """Sixteen threads with one client, whole and streamed, get their own texts while the switches flip."""
    client = OUR_SYNC.client(emulator.base_url) if ours else SYNC.plain_client(emulator.base_url)

    def one(number: int) -> None:
        off = number % 5 == 0
        with disabled() if off else nullcontext():
            made = client.chat.completions.create(**ask(f"Call {number}."), stream=number % 2 == 0)
        text = joined(list(made)) if number % 2 == 0 else text_of(made)
        check_text(emulator, number, text, *((ONE,) if off else (WHOLE,) if ours else (ONE, TWO, WHOLE)))

    with flipping(), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(STREAMS)))
    client.close()

    await check_left(emulator)


@pytest.mark.thorough
async def test_impatient_threads(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that does not wait for its round's end shuts no other thread's connection: that would cost a request."""
    monkeypatch.setattr(connection, "PATIENCE", 0.005)
    client = SYNC.client(emulator.base_url)

    def one(number: int) -> str:
        return joined(list(client.chat.completions.create(**ask(f"Call {number}."), stream=True)))

    with ThreadPoolExecutor(THREADS) as pool:
        texts = list(pool.map(one, range(48)))
    client.close()

    assert [emulator.uncapped(ask(f"Call {number}.")) for number in range(48)] == texts
    assert len(emulator.requests) == 48 * ROUNDS
    await check_left(emulator)


@pytest.mark.thorough
async def test_streams_that_are_left_at_any_time(emulator: Emulator) -> None:
    """Streams that are closed, cancelled or dropped among many others leave no connection and no request behind."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))

    async def one(number: int) -> None:
        stream = await create(client, **ask(f"Call {number}."), stream=True)
        count = 0
        async for _ in stream:
            count += 1
            if count == number % 20:
                break
        if number % 3:
            await stream.close()

    async def cancelled(number: int) -> None:
        task = asyncio.ensure_future(one(number))
        await asyncio.sleep(0.001 * (number % 50))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(one(number) if number % 2 else cancelled(number) for number in range(STREAMS)))
    await client.close()

    await check_left(emulator)
