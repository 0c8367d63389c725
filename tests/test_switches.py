"""What switches continuation off, or changes it for one call: disabled(), and the key of extra_body."""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import openai_continue
from openai_continue import Continuation, SettingsError, disabled
from openai_continue.switches import complain, is_disabled, is_strict
from openai_continue.testing import Emulator
from tests.support.answers import joined
from tests.support.asking import chunks_of, create, rounds_in
from tests.support.bodies import ask
from tests.support.ways import Way, listed, settled, sync_and_async, two_ways

ROUNDS = 4


async def rounds_of(client: Any, **fields: Any) -> int:
    """Ask, and return the rounds of the answer."""
    return rounds_in(await create(client, **ask("How often?"), **fields))


# disabled().


@sync_and_async
async def test_disabled(client: Any) -> None:
    """Requests inside ``disabled()`` are the SDK's own, those after it are continued."""
    with disabled():
        assert await rounds_of(client) == 1
    async with disabled():
        assert await rounds_of(client) == 1
    assert await rounds_of(client) == ROUNDS


def test_disabled_when_nested() -> None:
    """Leaving an inner ``disabled()`` leaves the outer one in force, also if it is the same object, or one raises."""
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

    assert seen == [False, True]


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


@pytest.mark.usefixtures("_off_async")
async def test_disabled_in_an_async_fixture() -> None:
    """An async fixture may hold it; its teardown is the test."""


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


@sync_and_async
async def test_disabled_while_a_stream_is_read(client: Any, emulator: Emulator) -> None:
    """It is read when the request starts: a stream goes on as it began, wherever it is read."""
    with disabled():
        plain = await create(client, **ask("Elsewhere."), stream=True)
    plain_chunks = await listed(plain)
    continued = await create(client, **ask("Elsewhere."), stream=True)
    with disabled():
        chunks = await listed(continued)

    assert emulator.uncapped(ask("Elsewhere.")) == joined(chunks)
    assert [choice.finish_reason for chunk in plain_chunks for choice in chunk.choices][-1] == "length"
    assert len(emulator.requests) == 1 + ROUNDS


@sync_and_async
async def test_no_context_leaks_from_a_stream(way: Way, client: Any) -> None:
    """Between the chunks of a continued stream, the reader's own requests are continued, and nothing is disabled."""
    stream = await create(client, **ask("Leaks."), stream=True)
    chunks = aiter(stream) if way.is_async else iter(stream)
    seen, counts = set(), set()
    for number in range(1, 150):
        await anext(chunks) if way.is_async else next(chunks)
        seen.add(is_disabled())
        if number % 60 == 0:
            counts.add(await rounds_of(client))
    await settled(stream.close())

    assert (seen, counts) == ({False}, {ROUNDS})


@sync_and_async
async def test_unpatch_while_a_stream_is_read(way: Way, emulator: Emulator) -> None:
    """A stream that began under a patch is continued by it, though ``unpatch()`` is called while it is read."""
    client = way.client(emulator.base_url)

    stream = await create(client, **ask("Meanwhile."), stream=True)
    openai_continue.unpatch()
    chunks = await listed(stream)
    await settled(client.close())

    assert emulator.uncapped(ask("Meanwhile.")) == joined(chunks)


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


@two_ways
@pytest.mark.parametrize(("wish", "rounds"), WISHES, ids=[str(wish)[:20] for wish, _ in WISHES])
async def test_wish_of_one_call(client: Any, emulator: Emulator, wish: object, rounds: int, streamed: bool) -> None:
    """``extra_body={"continuation": ...}`` decides about one call: off, as usual, or with other settings."""
    if streamed:
        answer = (await chunks_of(client, **ask("Wish."), extra_body={"continuation": wish}))[-1]
    else:
        answer = await create(client, **ask("Wish."), extra_body={"continuation": wish})

    assert rounds == rounds_in(answer) == len(emulator.requests)


@sync_and_async
async def test_wish_of_one_call_about_limits(client: Any, emulator: Emulator) -> None:
    """A call's own settings hold in its first request already, and over those of the client."""
    settings = {"round_tokens": 30, "max_tokens": 70, "on_round": None}

    completion = await create(client, **ask("Own."), extra_body={"continuation": settings})

    assert [request.body["max_tokens"] for request in emulator.requests] == [30, 30, 10]
    assert completion.continuation["stopped_by"] == "max_tokens"


BAD_WISHES: list[tuple[Any, str]] = [
    ("yes", "extra_body\\['continuation'\\]: got 'yes', accepted are True, False, a Continuation or a dict"),
    (1, "extra_body\\['continuation'\\]: got 1, accepted are True"),
    ([], "extra_body\\['continuation'\\]: got \\[\\], accepted are True"),
    ({"rounds": 3}, "continuation: got unknown 'rounds', accepted are provider, round_tokens, max_tokens"),
    ({"max_rounds": 0}, "max_rounds: got 0, accepted is a whole number from 1 to 1,000,000,000"),
    ({1: 2}, "continuation: got unknown '1', accepted are provider"),
]


@two_ways
@pytest.mark.parametrize(("wish", "message"), BAD_WISHES, ids=[str(wish) for wish, _ in BAD_WISHES])
async def test_bad_wish_of_one_call(client: Any, emulator: Emulator, wish: Any, message: str, streamed: bool) -> None:
    """A bad value of the key is an error before anything is sent."""
    with pytest.raises(SettingsError, match=message):
        await create(client, **ask("Bad."), stream=streamed, extra_body={"continuation": wish})

    assert emulator.requests == []


@sync_and_async
async def test_wish_and_the_other_switches(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish for continuation does not overrule ``disabled()`` or ``OPENAI_CONTINUE=0``."""
    with disabled():
        assert await rounds_of(client, extra_body={"continuation": True}) == 1
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    assert await rounds_of(client, extra_body={"continuation": True}) == 1


# strict.


@pytest.mark.parametrize(
    ("wish", "strict"), [("strict", True), (" STRICT ", True), ("1", False), ("0", False), (None, False)]
)
def test_is_strict(monkeypatch: pytest.MonkeyPatch, wish: str | None, strict: bool) -> None:
    """Only that word means it."""
    if wish is not None:
        monkeypatch.setenv("OPENAI_CONTINUE", wish)

    assert strict == is_strict()


def test_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    """A complaint is one line on stderr, once for each text."""
    for what in ("first of two", "second of two", "first of two"):
        complain(what)

    assert capsys.readouterr() == ("", "openai_continue: first of two\nopenai_continue: second of two\n")


def test_complaint_that_nobody_can_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stderr, or with a closed one, nothing is said elsewhere and nothing fails."""
    closed = io.StringIO()
    closed.close()
    for number, stderr in enumerate((None, closed)):
        monkeypatch.setattr(sys, "stderr", stderr)
        complain(f"unread {number}")

    assert capsys.readouterr().out == ""
