"""patch() and unpatch(): on twice, off twice, the SDK's own functions restored, and other libraries' wrappers left."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import openai
import pytest
import wrapt
from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

import openai_continue
from openai_continue import Continuation, SettingsError
from openai_continue.testing import Emulator
from tests.support.bodies import ask
from tests.support.ways import ASYNC, DEEPINFRA, SYNC, Way, settled, sync_and_async

METHODS: list[tuple[Any, str]] = [
    (SyncAPIClient, "request"),
    (AsyncAPIClient, "request"),
    (BaseClient, "_build_request"),
    (SyncAPIClient, "_process_response"),
    (AsyncAPIClient, "_process_response"),
]
ORIGINALS = [inspect.getattr_static(owner, name) for owner, name in METHODS]
ROUNDS = 4
#: Finish reason and requests of an answer that is continued, and of one that is not.
WHOLE, TRUNCATED = ("stop", ROUNDS), ("length", 1)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the SDK's functions, whatever a test has left on them."""
    yield
    put(ORIGINALS)
    openai_continue.unpatch()


def put(functions: list[Any]) -> None:
    """Set the methods."""
    for (owner, name), function in zip(METHODS, functions, strict=True):
        setattr(owner, name, function)


def current() -> list[Any]:
    return [inspect.getattr_static(owner, name) for owner, name in METHODS]


def is_restored() -> bool:
    """Return whether each method is the SDK's own; fail if only some are."""
    restored = {now is original for now, original in zip(current(), ORIGINALS, strict=True)}
    assert len(restored) == 1
    return True in restored


def layers() -> set[int]:
    """Return the numbers of wrappers on the methods."""
    return {sum(1 for _ in wrapped_by(function)) for function in current()}


def wrapped_by(function: Any) -> Iterator[Any]:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
        yield function


async def ending(emulator: Emulator) -> tuple[str, int]:
    """Ask with clients of the SDK, sync and async; return finish reason and requests, which must be the same."""
    endings = []
    for way in (SYNC, ASYNC):
        emulator.clear()
        client = way.plain_client(emulator.base_url)
        completion = await settled(client.chat.completions.create(**ask("Patched?")))
        await settled(client.close())
        endings.append((completion.choices[0].finish_reason, len(emulator.requests)))
    assert endings[0] == endings[1]
    return endings[0]


async def test_patch_and_unpatch(emulator: Emulator) -> None:
    """``patch()`` continues, ``unpatch()`` leaves the SDK's own functions, the very same."""
    assert not openai_continue.is_patched()
    assert await ending(emulator) == TRUNCATED

    openai_continue.patch(DEEPINFRA)
    assert openai_continue.is_patched()
    assert await ending(emulator) == WHOLE
    assert not is_restored()

    openai_continue.unpatch()
    assert not openai_continue.is_patched()
    assert is_restored()
    assert await ending(emulator) == TRUNCATED


async def test_patch_twice(emulator: Emulator) -> None:
    """Patched twice is patched once; one ``unpatch()`` undoes it, and another one does no harm."""
    openai_continue.patch(DEEPINFRA)
    once = current()
    openai_continue.patch(DEEPINFRA)

    assert once == current()
    assert layers() == {1}
    assert await ending(emulator) == WHOLE
    openai_continue.unpatch()
    openai_continue.unpatch()
    assert is_restored()


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_patch_again_replaces_the_settings(way: Way, emulator: Emulator) -> None:
    """The settings of the last ``patch()`` hold, also for clients that exist already."""
    client = way.client(emulator.base_url)
    openai_continue.patch(Continuation(provider="deepinfra", max_rounds=2))

    completion = await settled(client.chat.completions.create(**ask("Replaced.")))
    openai_continue.patch(Continuation(provider="openai"))
    left_alone = await settled(client.chat.completions.create(**ask("Replaced.")))
    await settled(client.close())

    assert (completion.continuation["stopped_by"], len(completion.continuation["rounds"])) == ("max_rounds", 2)
    assert not hasattr(left_alone, "continuation")


def test_patch_without_settings(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings, ``patch()`` reads them from the environment."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "3")
    openai_continue.patch()

    with SYNC.plain_client(emulator.base_url) as client:
        completion = client.chat.completions.create(**ask("Environment."))

    assert len(completion.continuation["rounds"]) == 3


@pytest.mark.parametrize("settings", [True, {"max_rounds": 3}, "deepinfra"])
def test_patch_when_settings_are_of_a_wrong_kind(settings: Any) -> None:
    """``patch()`` takes a Continuation or nothing; if it gets something else, it says so and patches nothing."""
    with pytest.raises(SettingsError, match="accepted is a Continuation, or None"):
        openai_continue.patch(settings)

    assert not openai_continue.is_patched()
    assert is_restored()


def test_patch_when_the_environment_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is an error of ``patch()``, and what was in force stays in force."""
    openai_continue.patch(DEEPINFRA)
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "many")

    with pytest.raises(SettingsError):
        openai_continue.patch()

    assert openai_continue.is_patched()


def test_patch_from_many_threads() -> None:
    """Patched from many threads at once, every method has one wrapper, and none after as many unpatchings."""
    start = threading.Barrier(8)

    def race(change: Any) -> None:
        start.wait()
        change()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, [openai_continue.patch] * 8))
        assert layers() == {1}
        list(pool.map(race, [openai_continue.unpatch] * 8))
        assert is_restored()
        for _ in range(20):
            list(pool.map(race, [openai_continue.patch, openai_continue.unpatch] * 4))

    assert layers() == ({1} if openai_continue.is_patched() else {0})


# Wrappers of other libraries.


class Theirs:
    """Another library's wrappers on the same methods."""

    def __init__(self) -> None:
        self.calls = 0
        for owner, name in METHODS:
            wrapt.wrap_function_wrapper(owner, name, self)

    def __call__(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        self.calls += 1
        return wrapped(*args, **kwargs)


async def test_unpatch_when_wrapped_by_others(emulator: Emulator) -> None:
    """A wrapper outside ours goes on working when ours is taken back, and ours does nothing; it is used again."""
    openai_continue.patch(DEEPINFRA)
    theirs = Theirs()
    assert await ending(emulator) == WHOLE

    theirs.calls = 0
    openai_continue.unpatch()
    assert not openai_continue.is_patched()
    assert await ending(emulator) == TRUNCATED
    # Three methods for each of the two calls.
    assert theirs.calls == 2 * 3

    openai_continue.patch(DEEPINFRA)
    assert layers() == {2}
    assert await ending(emulator) == WHOLE


async def test_patch_when_others_are_inside(emulator: Emulator) -> None:
    """A wrapper inside ours sees every round's request, and is still there after ``unpatch()``."""
    theirs = Theirs()
    inner = current()
    openai_continue.patch(DEEPINFRA)

    assert await ending(emulator) == WHOLE
    assert theirs.calls == 2 * 3 * ROUNDS
    openai_continue.unpatch()
    assert all(now is before for now, before in zip(current(), inner, strict=True))


async def test_patch_when_ours_was_torn_off(emulator: Emulator) -> None:
    """If another library's uninstrumenting took our wrapper for its own, ``patch()`` puts it on again."""
    openai_continue.patch(DEEPINFRA)
    put([function.__wrapped__ for function in current()])
    assert await ending(emulator) == TRUNCATED

    openai_continue.patch(DEEPINFRA)
    assert await ending(emulator) == WHOLE
    openai_continue.unpatch()
    assert is_restored()


@pytest.mark.parametrize("number", [3, 4], ids=["sync", "async"])
async def test_response_side_that_was_torn_off(emulator: Emulator, number: int) -> None:
    """If only a response side was torn off, the next request puts it back."""
    openai_continue.patch(DEEPINFRA)
    owner, name = METHODS[number]
    setattr(owner, name, ORIGINALS[number])

    assert await ending(emulator) == WHOLE
    assert layers() == {1}


async def test_patch_when_others_put_back_what_they_saved(emulator: Emulator) -> None:
    """If another library puts back a function that it saved while ours was on, ours does nothing, and is used again."""
    openai_continue.patch(DEEPINFRA)
    saved = current()
    openai_continue.unpatch()
    put(saved)
    assert await ending(emulator) == TRUNCATED

    openai_continue.patch(DEEPINFRA)
    assert await ending(emulator) == WHOLE
    assert layers() == {1}


@sync_and_async
async def test_wrappers_of_request_see_one_call(way: Way, emulator: Emulator) -> None:
    """A wrapper on the ``request`` of a client's class or of one client sees one call, not its rounds."""
    openai_continue.patch(DEEPINFRA)
    calls: list[str] = []

    class Counted(openai.AsyncOpenAI if way.is_async else openai.OpenAI):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("class")
            return super().request(*args, **kwargs)

    client: Any = Counted(api_key="key", base_url=emulator.base_url, http_client=way.http_client())
    of_class = client.request

    def request(*args: Any, **kwargs: Any) -> Any:
        calls.append("instance")
        return of_class(*args, **kwargs)

    client.request = request
    completion = await settled(client.chat.completions.create(**ask("Counted.")))
    await settled(client.close())

    assert len(completion.continuation["rounds"]) == ROUNDS
    assert calls == ["instance", "class"]


# Activation by import, and the kill switch.


@pytest.mark.parametrize("word", ["1", "0"])
async def test_auto(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Importing ``openai_continue.auto`` patches with the settings of the environment; ``OPENAI_CONTINUE=0`` wins."""
    monkeypatch.setenv("OPENAI_CONTINUE", word)
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.delitem(sys.modules, "openai_continue.auto", raising=False)

    import_module("openai_continue.auto")

    assert openai_continue.is_patched()
    assert await ending(emulator) == (WHOLE if word == "1" else TRUNCATED)


def test_auto_when_a_variable_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable makes the import fail with an error that names it."""
    monkeypatch.setenv("OPENAI_CONTINUE_TRIMS", "perhaps")
    monkeypatch.delitem(sys.modules, "openai_continue.auto", raising=False)

    with pytest.raises(SettingsError, match="OPENAI_CONTINUE_TRIMS='perhaps'"):
        import_module("openai_continue.auto")

    assert not openai_continue.is_patched()


@sync_and_async
@pytest.mark.parametrize("word", ["0", "false", "no", "off", " OFF "])
async def test_kill_switch(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """``OPENAI_CONTINUE=0`` wins over a patch and over our clients, also when it is set later."""
    client = way.client(emulator.base_url)
    monkeypatch.setenv("OPENAI_CONTINUE", word)
    killed = await settled(client.chat.completions.create(**ask("Killed.")))
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    alive = await settled(client.chat.completions.create(**ask("Killed.")))
    await settled(client.close())

    assert (killed.choices[0].finish_reason, alive.choices[0].finish_reason) == ("length", "stop")
    assert not hasattr(killed, "continuation")
    assert len(emulator.requests) == 1 + ROUNDS
