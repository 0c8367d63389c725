"""Many calls at once while the library is switched on and off beside them: no mixed texts, no leaks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import disabled
from openai_continue.testing import Emulator
from tests.conftest import DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, ask, http, joined

CAP, ROUNDS = 20, 4
#: A thousand take about twenty seconds.
STREAMS = int(os.environ.get("STREAMS", "200"))
THREADS = 16


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server whose answers take four rounds."""
    with Emulator(cap=CAP, tokens=70, chunk_tokens=5) as emulator:
        yield emulator


@contextmanager
def flipping() -> Iterator[None]:
    """Patch and unpatch all the while, with other settings each time."""
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


def prompt(number: int) -> str:
    return f"Call {number}."


def stages(emulator: Emulator, number: int) -> list[str]:
    """Give what an answer may read after one round, after two, and whole."""
    return [emulator.uncapped(ask(prompt(number), max_tokens=size)) for size in (CAP, 2 * CAP, 10_000)]


def check_stages(emulator: Emulator, number: int, text: str, *, allowed: tuple[int, ...]) -> None:
    """Check that a text is one of these, but for blanks, which are held back at a seam and then have no room."""
    known = stages(emulator, number)

    assert any(known[stage].startswith(text) and text.startswith(known[stage][:-12]) for stage in allowed), text


async def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until it is so, but not for ever."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.005)
    return condition()


async def check_left(emulator: Emulator) -> None:
    """Check that nothing is running, and no connection open."""
    assert await eventually(lambda: emulator.running == 0 and emulator.open_connections == 0)
    assert 0 == emulator.derailed


def limits(client: Any) -> Any:
    """Make an HTTP client that has a connection for everyone, as the server has."""
    return client(limits=http.Limits(max_connections=None), timeout=60, verify=False)


async def test_many_streams_of_a_subclass(emulator: Emulator) -> None:
    """Hundreds of streams of one client at once get their own texts, whole, while patch() comes and goes."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))

    async def one(number: int) -> str:
        chunks = [chunk async for chunk in await client.chat.completions.create(**ask(prompt(number)), stream=True)]
        assert "stop" == chunks[-1].continuation["stopped_by"]
        return joined(chunks)

    with flipping():
        texts = await asyncio.gather(*map(one, range(STREAMS)))
    await client.close()

    assert [stages(emulator, number)[-1] for number in range(STREAMS)] == texts
    assert ROUNDS * STREAMS == len(emulator.requests)
    await check_left(emulator)


async def test_many_streams_under_flipping_switches(emulator: Emulator) -> None:
    """Each of hundreds of streams gets a beginning of its own text, of as many rounds as some setting in force allows."""
    client = openai.AsyncOpenAI(base_url=emulator.base_url, api_key="k", http_client=limits(http.AsyncClient))

    async def one(number: int) -> None:
        off = number % 4 == 0
        with disabled() if off else nullcontext():
            stream = await client.chat.completions.create(**ask(prompt(number)), stream=True)
        # The switch counts when the request starts, not while the stream is read.
        with disabled() if number % 4 == 1 else nullcontext():
            text = joined([chunk async for chunk in stream])
        check_stages(emulator, number, text, allowed=(0,) if off else (0, 1, 2))

    with flipping():
        await asyncio.gather(*map(one, range(STREAMS)))
    await client.close()

    await check_left(emulator)


async def test_switches_of_neighbours(emulator: Emulator) -> None:
    """A task inside disabled() or with settings of its own changes nothing for its neighbours."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))
    bodies: list[tuple[Any, tuple[int, ...]]] = [
        ({}, (2,)),
        ({"extra_body": {"continuation": False}}, (0,)),
        ({"extra_body": {"continuation": {"max_rounds": 2}}}, (1,)),
        ({"n": 1}, (2,)),
    ]

    async def one(number: int) -> None:
        more, allowed = bodies[number % 4]
        streamed = number % 3 == 0
        async with disabled() if number % 5 == 0 else nullcontext():
            made = await client.chat.completions.create(**ask(prompt(number)), stream=streamed, **more)
        text = joined([chunk async for chunk in made]) if streamed else made.choices[0].message.content
        check_stages(emulator, number, text, allowed=(0,) if number % 5 == 0 else allowed)

    await asyncio.gather(*map(one, range(STREAMS // 2)))
    await client.close()

    assert all("continuation" not in request.body for request in emulator.requests)
    await check_left(emulator)


@pytest.mark.parametrize("ours", [False, True], ids=["patched", "subclass"])
async def test_many_threads(emulator: Emulator, ours: bool) -> None:
    """Sixteen threads with one client, whole and streamed, get their own texts while the switches flip."""
    way = OUR_SYNC if ours else SYNC
    client = (way.client if ours else way.plain_client)(emulator.base_url)

    def one(number: int) -> None:
        off = number % 5 == 0
        with disabled() if off else nullcontext():
            made = client.chat.completions.create(**ask(prompt(number)), stream=number % 2 == 0)
        text = joined(list(made)) if number % 2 == 0 else made.choices[0].message.content
        check_stages(emulator, number, text, allowed=(0,) if off else (2,) if ours else (0, 1, 2))

    with flipping(), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(STREAMS // 2)))
    client.close()

    await check_left(emulator)


async def test_streams_that_are_left_at_any_time(emulator: Emulator) -> None:
    """Streams that are closed, cancelled or dropped among many others leave no connection and no request behind."""
    client = OUR_ASYNC.client(emulator.base_url, http_client=limits(http.AsyncClient))

    async def one(number: int) -> None:
        stream = await client.chat.completions.create(**ask(prompt(number)), stream=True)
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

    await asyncio.gather(*(one(number) if number % 2 else cancelled(number) for number in range(STREAMS // 2)))
    await client.close()

    await check_left(emulator)


def test_patching_from_many_threads() -> None:
    """patch() and unpatch() from many threads leave the SDK as it was, or wrapped once."""
    before = [vars(owner)[name] for owner, name in _methods()]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: (openai_continue.patch, openai_continue.unpatch)[number % 2](), range(400)))
    openai_continue.patch()
    depths = [_depth(vars(owner)[name]) for owner, name in _methods()]
    openai_continue.unpatch()

    assert [1] * len(depths) == depths
    assert before == [vars(owner)[name] for owner, name in _methods()]


def _methods() -> list[tuple[Any, str]]:
    from openai_continue.patching import _WRAPPED

    return [(owner, name) for owner, name, _ in _WRAPPED]


def _depth(function: Any) -> int:
    depth = 0
    while hasattr(function, "_self_wrapper"):
        function, depth = function.__wrapped__, depth + 1
    return depth
