"""Who is continued, and who is not: clients of ours, disabled(), and the key of extra_body."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation, SettingsError, disabled
from openai_continue.switches import is_disabled
from openai_continue.testing import Emulator
from tests.conftest import (
    ASYNC,
    DEEPINFRA,
    OUR_ASYNC,
    OUR_SYNC,
    SYNC,
    Way,
    ask,
    joined,
    listed,
    settled,
)

ROUNDS = 4


async def rounds_of(client: Any, **fields: Any) -> int:
    """Ask, and count the rounds of the answer."""
    completion = await settled(client.chat.completions.create(**ask("How often?"), **fields))
    report = getattr(completion, "continuation", None)
    return len(report["rounds"]) if report else 1


@pytest.fixture(params=[OUR_SYNC, OUR_ASYNC], ids=["our-sync", "our-async"])
def ours(request: pytest.FixtureRequest) -> Way:
    """Both colours of our own client."""
    way: Way = request.param
    return way


# Clients of ours.


async def test_client_with_settings(ours: Way, emulator: Emulator) -> None:
    """A client of ours continues with its settings, without a patch, and no other client does."""
    settings = Continuation(provider="deepinfra", max_rounds=3)
    client = ours.client(emulator.base_url, continuation=settings)
    plain = ours.plain_client(emulator.base_url)

    counts = [await rounds_of(client), await rounds_of(plain)]
    await settled(client.close())
    await settled(plain.close())

    assert [3, 1] == counts
    assert not openai_continue.is_patched()


async def test_client_with_true(ours: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``continuation=True``, which is the default, reads the environment when the client is made."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "2")
    clients = [ours.client(emulator.base_url, continuation=True)]
    kind = openai_continue.AsyncOpenAI if ours.is_async else openai_continue.OpenAI
    clients.append(kind(api_key="key", base_url=emulator.base_url, http_client=ours.http_client()))
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "3")

    counts = [await rounds_of(client) for client in clients]
    for client in clients:
        await settled(client.close())

    assert [2, 2] == counts


@pytest.mark.parametrize("patched", [False, True])
async def test_client_with_false(ours: Way, emulator: Emulator, patched: bool) -> None:
    """``continuation=False`` makes it the SDK's client, patched or not."""
    if patched:
        openai_continue.patch(DEEPINFRA)
    client = ours.client(emulator.base_url, continuation=False)

    count = await rounds_of(client)
    await settled(client.close())

    assert 1 == count


@pytest.mark.parametrize("bad", [None, 1, "yes", {"max_rounds": 2}])
def test_client_with_a_bad_argument(ours: Way, bad: Any) -> None:
    """Anything else is an error that says what is accepted, also of a copy's argument."""
    message = "continuation: got .*, accepted are True, False or a Continuation"
    with pytest.raises(SettingsError, match=message):
        ours.client("http://127.0.0.1:9/v1", continuation=bad, http_client=None)
    if bad is not None:
        client = ours.client("http://127.0.0.1:9/v1")
        with pytest.raises(SettingsError, match=message):
            client.with_options(continuation=bad)


def test_client_with_a_bad_environment(ours: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is an error of the client that reads it, and of none that has settings."""
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "0")

    with pytest.raises(SettingsError, match="OPENAI_CONTINUE_MAX_ROUNDS='0'"):
        ours.client("http://127.0.0.1:9/v1", continuation=True, http_client=None)
    ours.client("http://127.0.0.1:9/v1", continuation=DEEPINFRA)
    ours.client("http://127.0.0.1:9/v1", continuation=False)


@pytest.mark.parametrize("copy", ["copy", "with_options"])
async def test_copies_of_a_client(ours: Way, emulator: Emulator, copy: str) -> None:
    """Copies keep the settings of their client, and take others, which their own copies keep."""

    def copied(client: Any, **options: Any) -> Any:
        return getattr(client, copy)(**options)

    client = ours.client(emulator.base_url, continuation=Continuation(provider="deepinfra", max_rounds=2))
    clients = [client, copied(client), copied(client, timeout=5, continuation=False)]
    clients += [copied(clients[-1]), copied(clients[-1], continuation=DEEPINFRA)]
    clients += [copied(clients[-1], max_retries=0)]

    counts = [await rounds_of(one) for one in clients]
    await settled(client.close())

    assert [2, 2, 1, 1, ROUNDS, ROUNDS] == counts
    assert all(type(one) is type(client) for one in clients)
    assert (5, 0) == (clients[2].timeout, clients[-1].max_retries)


async def test_copy_that_reads_the_environment(ours: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``with_options(continuation=True)`` reads the environment."""
    client = ours.client(emulator.base_url, continuation=False)
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")

    count = await rounds_of(client.with_options(continuation=True))
    await settled(client.close())

    assert ROUNDS == count


async def test_client_under_patch(ours: Way, emulator: Emulator) -> None:
    """Under ``patch()`` a client of ours continues once, with its own settings."""
    openai_continue.patch(Continuation(provider="deepinfra", max_rounds=2))
    client = ours.client(emulator.base_url)
    body = ask("Under patch.", max_tokens=150)

    completion = await settled(client.chat.completions.create(**body))
    chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))
    await settled(client.close())

    assert completion.choices[0].message.content == joined(chunks)
    assert 4 == len(completion.continuation["rounds"]) == len(chunks[-1].continuation["rounds"])
    assert [150, 102, 54, 6] * 2 == [request.body["max_tokens"] for request in emulator.requests]


def test_client_is_the_sdks(ours: Way) -> None:
    """Our clients are the SDK's, with its arguments and one more, which is known by name alone."""
    client = ours.client("http://127.0.0.1:9/v1", default_headers={"x-mine": "yes"}, max_retries=7)

    assert isinstance(client, openai.AsyncOpenAI if ours.is_async else openai.OpenAI)
    assert (7, "yes") == (client.max_retries, client.default_headers["x-mine"])
    with pytest.raises(TypeError):
        type(client)(True)


# disabled().


async def test_disabled(client: Any) -> None:
    """Requests inside ``disabled()`` are the SDK's own, those after it are continued."""
    with disabled():
        inside = await rounds_of(client)
    async with disabled():
        inside_async = await rounds_of(client)
    after = await rounds_of(client)

    assert (1, 1, ROUNDS) == (inside, inside_async, after)


def test_disabled_when_nested() -> None:
    """Leaving an inner ``disabled()`` leaves the outer one in force, also where it is the same object, or one raises."""
    seen = [is_disabled()]
    outer = disabled()
    with outer:
        seen.append(is_disabled())
        with disabled():
            seen.append(is_disabled())
        seen.append(is_disabled())
        with outer:
            seen.append(is_disabled())
        seen.append(is_disabled())
        with pytest.raises(KeyError), disabled():
            raise KeyError
        seen.append(is_disabled())
    seen.append(is_disabled())

    assert [False, *[True] * 6, False] == seen


async def test_disabled_in_tasks() -> None:
    """Tasks started inside inherit it and keep it; tasks started before do not get it."""
    before_may_look, later_may_look = asyncio.Event(), asyncio.Event()

    async def look(when: asyncio.Event) -> bool:
        await when.wait()
        return is_disabled()

    before = asyncio.create_task(look(before_may_look))
    async with disabled():
        inside = asyncio.create_task(look(later_may_look))
        await asyncio.sleep(0)
        before_may_look.set()
        assert not await before
    later_may_look.set()

    assert await inside
    assert not is_disabled()


async def test_disabled_in_threads() -> None:
    """Plain threads do not inherit it; those of ``asyncio.to_thread()`` do."""
    seen: list[bool] = []
    with disabled():
        thread = threading.Thread(target=lambda: seen.append(is_disabled()))
        thread.start()
        thread.join()
        seen.append(await asyncio.to_thread(is_disabled))

    assert [False, True] == seen


def test_disabled_when_left_in_another_context() -> None:
    """It may be entered in one context and left in another, as async fixtures do."""
    manager = disabled()
    there = contextvars.copy_context()
    there.run(manager.__enter__)

    manager.__exit__(None, None, None)

    assert not is_disabled()
    assert there.run(is_disabled)


@pytest.fixture
async def _off_async() -> AsyncIterator[None]:
    async with disabled():
        yield


@pytest.fixture
def _off() -> Iterator[None]:
    with disabled():
        yield


@pytest.mark.usefixtures("_off_async")
async def test_disabled_in_an_async_fixture() -> None:
    """An async fixture may hold it; its teardown is the test."""


@pytest.mark.usefixtures("_off")
def test_disabled_in_a_fixture() -> None:
    """A fixture may hold it around a test."""
    assert is_disabled()


def test_disabled_in_a_generator() -> None:
    """Inside a generator it holds for whoever runs it between the pieces, as every ContextVar does, and ends with it."""

    @contextmanager
    def quiet() -> Iterator[None]:
        with disabled():
            yield

    @asynccontextmanager
    async def quiet_async() -> AsyncIterator[None]:
        async with disabled():
            yield

    async def inside() -> bool:
        async with quiet_async():
            return is_disabled()

    with quiet():
        assert is_disabled()
    assert asyncio.run(inside())
    assert not is_disabled()


async def test_disabled_when_a_stream_is_read_elsewhere(client: Any, emulator: Emulator) -> None:
    """It is asked when the request starts: a stream goes on as it began, wherever it is read."""
    body = ask("Elsewhere.")
    with disabled():
        plain = await settled(client.chat.completions.create(**body, stream=True))
    plain_chunks = await listed(plain)
    continued = await settled(client.chat.completions.create(**body, stream=True))
    with disabled():
        chunks = await listed(continued)

    assert emulator.uncapped(body) == joined(chunks)
    assert "length" == [choice.finish_reason for chunk in plain_chunks for choice in chunk.choices][-1]
    assert 1 + ROUNDS == len(emulator.requests)


async def test_no_context_leaks_from_a_stream(client: Any) -> None:
    """Between the chunks of a continued stream, the reader's own requests are continued, and nothing is disabled."""
    stream = await settled(client.chat.completions.create(**ask("Leaks."), stream=True))
    seen = {is_disabled()}
    counts = set()
    if isinstance(client, openai.AsyncOpenAI):
        number = 0
        async for _ in stream:
            seen.add(is_disabled())
            number += 1
            if number % 60 == 0:
                counts.add(await rounds_of(client))
    else:
        for number, _ in enumerate(stream, 1):
            seen.add(is_disabled())
            if number % 60 == 0:
                counts.add(await rounds_of(client))

    assert ({False}, {ROUNDS}) == (seen, counts)


async def test_unpatch_while_a_stream_is_read(colour: Way, emulator: Emulator) -> None:
    """A stream that began under a patch is continued by it, though it is taken back meanwhile."""
    body = ask("Meanwhile.")
    client = colour.client(emulator.base_url)

    stream = await settled(client.chat.completions.create(**body, stream=True))
    openai_continue.unpatch()
    chunks = await listed(stream)
    await settled(client.close())

    assert emulator.uncapped(body) == joined(chunks)


# The key of extra_body.

WISHES: list[tuple[object, int]] = [
    (None, ROUNDS),
    (True, ROUNDS),
    (False, 1),
    ({}, ROUNDS),
    ({"max_rounds": 3}, 3),
    (Continuation(provider="deepinfra", max_rounds=2), 2),
    ({"provider": "openai"}, 1),
]


@pytest.mark.parametrize(("wish", "rounds"), WISHES, ids=[str(wish)[:20] for wish, _ in WISHES])
async def test_wish_of_one_call(client: Any, emulator: Emulator, wish: object, rounds: int) -> None:
    """``extra_body={"continuation": …}`` decides about one call: off, as ever, or with other settings."""
    count = await rounds_of(client, extra_body={"continuation": wish})
    stream = client.chat.completions.create(**ask("Again."), stream=True, extra_body={"continuation": wish})
    chunks = await listed(await settled(stream))
    report = getattr(chunks[-1], "continuation", None)

    assert rounds == count
    assert rounds == (len(report["rounds"]) if report else 1)
    assert 2 * rounds == len(emulator.requests)


async def test_wish_of_one_call_about_limits(client: Any, emulator: Emulator) -> None:
    """A call's own settings hold in its first request already, and over those of the client."""
    settings = {"round_tokens": 30, "max_tokens": 70, "on_round": None}

    completion = await settled(client.chat.completions.create(**ask("Own."), extra_body={"continuation": settings}))

    assert [30, 30, 10] == [request.body["max_tokens"] for request in emulator.requests]
    assert "max_tokens" == completion.continuation["stopped_by"]


BAD_WISHES: list[tuple[Any, str]] = [
    ("yes", "extra_body\\['continuation'\\]: got 'yes', accepted are True, False, a Continuation or a dict"),
    (1, "extra_body\\['continuation'\\]: got 1, accepted are True"),
    ([], "extra_body\\['continuation'\\]: got \\[\\], accepted are True"),
    ({"rounds": 3}, "continuation: got unknown 'rounds', accepted are provider, round_tokens, max_tokens"),
    ({"max_rounds": 0}, "max_rounds: got 0, accepted is a whole number from 1"),
    ({1: 2}, "continuation: got unknown '1', accepted are provider"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("wish", "message"), BAD_WISHES, ids=[str(wish) for wish, _ in BAD_WISHES])
async def test_bad_wish_of_one_call(client: Any, emulator: Emulator, wish: Any, message: str, streamed: bool) -> None:
    """A wish that is none is an error before anything is sent."""
    with pytest.raises(SettingsError, match=message):
        await settled(client.chat.completions.create(**ask("Bad."), stream=streamed, extra_body={"continuation": wish}))

    assert [] == emulator.requests


CALLS: list[Callable[..., Any]] = [
    lambda client, **fields: client.chat.completions.parse(**fields),
    lambda client, **fields: client.chat.completions.with_raw_response.create(**fields),
    lambda client, **fields: client.beta.chat.completions.parse(**fields),
]


@pytest.mark.parametrize("call", CALLS, ids=["parse", "raw", "beta"])
async def test_wish_through_other_doors(client: Any, emulator: Emulator, call: Callable[..., Any]) -> None:
    """The key works through any door that takes ``extra_body``."""
    await settled(call(client, **ask("Doors."), extra_body={"continuation": {"round_tokens": 47}}))

    assert [47] * ROUNDS == [request.body["max_tokens"] for request in emulator.requests]


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_wish_and_the_other_switches(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish for continuation does not overrule ``disabled()`` or ``OPENAI_CONTINUE=0``."""
    client = way.client(emulator.base_url)
    wish = {"continuation": True}

    with disabled():
        in_disabled = await rounds_of(client, extra_body=wish)
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    killed = await rounds_of(client, extra_body=wish)
    await settled(client.close())

    assert (1, 1) == (in_disabled, killed)
