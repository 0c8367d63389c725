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
from tests.conftest import DEEPINFRA, SYNC, Way, ask, settled

METHODS: list[tuple[Any, str]] = [
    (SyncAPIClient, "request"),
    (AsyncAPIClient, "request"),
    (BaseClient, "_build_request"),
    (SyncAPIClient, "_process_response"),
    (AsyncAPIClient, "_process_response"),
]
ORIGINALS = [inspect.getattr_static(owner, name) for owner, name in METHODS]
TRUNCATED, WHOLE, ROUNDS = "length", "stop", 4


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the SDK's functions, whatever a test has left on them."""
    yield
    for (owner, name), original in zip(METHODS, ORIGINALS, strict=True):
        setattr(owner, name, original)
    openai_continue.unpatch()


def current() -> list[Any]:
    return [inspect.getattr_static(owner, name) for owner, name in METHODS]


def restored() -> list[bool]:
    return [now is original for now, original in zip(current(), ORIGINALS, strict=True)]


def layers(function: Any) -> int:
    """Count the wrappers on a function."""
    count = 0
    while hasattr(function, "__wrapped__"):
        function, count = function.__wrapped__, count + 1
    return count


async def ending(way: Way, emulator: Emulator) -> tuple[str, int]:
    """Ask with a client of the SDK; give the finish reason and the number of requests."""
    emulator.clear()
    client = way.plain_client(emulator.base_url)
    completion = await settled(client.chat.completions.create(**ask("Patched?")))
    await settled(client.close())
    return completion.choices[0].finish_reason, len(emulator.requests)


async def test_patch_and_unpatch(colour: Way, emulator: Emulator) -> None:
    """``patch()`` continues, ``unpatch()`` leaves the SDK's own functions, the very same."""
    assert not openai_continue.is_patched()
    assert (TRUNCATED, 1) == await ending(colour, emulator)

    openai_continue.patch(DEEPINFRA)
    assert openai_continue.is_patched()
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)
    assert [False] * len(METHODS) == restored()

    openai_continue.unpatch()
    assert not openai_continue.is_patched()
    assert [True] * len(METHODS) == restored()
    assert (TRUNCATED, 1) == await ending(colour, emulator)


async def test_patch_when_patched(colour: Way, emulator: Emulator) -> None:
    """Patched twice is patched once; one ``unpatch()`` undoes it, and another one does no harm."""
    openai_continue.patch(DEEPINFRA)
    once = current()
    openai_continue.patch(DEEPINFRA)

    assert once == current()
    assert [1] * len(METHODS) == [layers(function) for function in current()]
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)
    openai_continue.unpatch()
    openai_continue.unpatch()
    assert [True] * len(METHODS) == restored()


async def test_patch_again_replaces_the_settings(colour: Way, emulator: Emulator) -> None:
    """The settings of the last ``patch()`` hold, for clients that exist already too."""
    client = colour.client(emulator.base_url)
    openai_continue.patch(Continuation(provider="deepinfra", max_rounds=2))

    completion = await settled(client.chat.completions.create(**ask("Replaced.")))
    openai_continue.patch(Continuation(provider="openai"))
    left_alone = await settled(client.chat.completions.create(**ask("Replaced.")))
    await settled(client.close())

    assert (TRUNCATED, "max_rounds") == (completion.choices[0].finish_reason, completion.continuation["stopped_by"])
    assert 2 == len(completion.continuation["rounds"])
    assert not hasattr(left_alone, "continuation")


def test_patch_when_settings_are_none(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings, ``patch()`` reads them from the environment."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "3")
    openai_continue.patch()
    client = SYNC.plain_client(emulator.base_url)

    completion = client.chat.completions.create(**ask("Environment."))
    client.close()

    assert 3 == len(completion.continuation["rounds"])


@pytest.mark.parametrize("settings", [True, {"max_rounds": 3}, "deepinfra"])
def test_patch_when_settings_are_of_a_wrong_kind(settings: Any) -> None:
    """``patch()`` takes a Continuation or nothing, says so, and patches nothing else."""
    with pytest.raises(SettingsError, match="accepted is a Continuation, or None"):
        openai_continue.patch(settings)

    assert not openai_continue.is_patched()
    assert [True] * len(METHODS) == restored()


def test_patch_when_the_environment_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is an error of ``patch()``, and what was in force stays in force."""
    openai_continue.patch(DEEPINFRA)
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "many")

    with pytest.raises(SettingsError):
        openai_continue.patch()

    assert openai_continue.is_patched()


def test_patch_from_many_threads(emulator: Emulator) -> None:
    """Patched from many threads at once, every method has one wrapper, and none after as many unpatchings."""
    start = threading.Barrier(8)

    def race(change: Any) -> None:
        start.wait()
        change()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, [lambda: openai_continue.patch(DEEPINFRA)] * 8))
        assert [1] * len(METHODS) == [layers(function) for function in current()]
        list(pool.map(race, [openai_continue.unpatch] * 8))
        assert [True] * len(METHODS) == restored()
        for _ in range(20):
            list(pool.map(race, [lambda: openai_continue.patch(DEEPINFRA), openai_continue.unpatch] * 4))

    assert {layers(function) for function in current()} == ({1} if openai_continue.is_patched() else {0})


# Wrappers of other libraries.


class Theirs:
    """Another library's wrappers on the same methods."""

    def __init__(self) -> None:
        self.calls = 0

    def wrap(self) -> None:
        for owner, name in METHODS:
            wrapt.wrap_function_wrapper(owner, name, self)

    def __call__(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        self.calls += 1
        return wrapped(*args, **kwargs)


async def test_unpatch_when_wrapped_by_others(colour: Way, emulator: Emulator) -> None:
    """A wrapper outside ours goes on working when ours is taken back, and ours does nothing; it is used again."""
    theirs = Theirs()
    openai_continue.patch(DEEPINFRA)
    theirs.wrap()
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)

    theirs.calls = 0
    openai_continue.unpatch()
    assert not openai_continue.is_patched()
    assert (TRUNCATED, 1) == await ending(colour, emulator)
    assert 3 == theirs.calls

    openai_continue.patch(DEEPINFRA)
    assert [2] * len(METHODS) == [layers(function) for function in current()]
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)


async def test_patch_when_others_are_inside(colour: Way, emulator: Emulator) -> None:
    """A wrapper inside ours sees every round's request, and is still there after ``unpatch()``."""
    theirs = Theirs()
    theirs.wrap()
    inner = current()
    openai_continue.patch(DEEPINFRA)

    assert (WHOLE, ROUNDS) == await ending(colour, emulator)
    assert 3 * ROUNDS == theirs.calls
    openai_continue.unpatch()
    assert all(now is before for now, before in zip(current(), inner, strict=True))


async def test_patch_when_ours_was_torn_off(colour: Way, emulator: Emulator) -> None:
    """Where another library's uninstrumenting took our wrapper for its own, ``patch()`` puts it on again."""
    openai_continue.patch(DEEPINFRA)
    for owner, name in METHODS:
        setattr(owner, name, inspect.getattr_static(owner, name).__wrapped__)
    assert (TRUNCATED, 1) == await ending(colour, emulator)

    openai_continue.patch(DEEPINFRA)
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)
    openai_continue.unpatch()
    assert [True] * len(METHODS) == restored()


async def test_patch_when_others_put_back_what_they_saved(colour: Way, emulator: Emulator) -> None:
    """Where another library puts back a function that it saved while ours was on, ours is inert, and then in use."""
    openai_continue.patch(DEEPINFRA)
    saved = current()
    openai_continue.unpatch()
    for (owner, name), function in zip(METHODS, saved, strict=True):
        setattr(owner, name, function)
    assert (TRUNCATED, 1) == await ending(colour, emulator)

    openai_continue.patch(DEEPINFRA)
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)
    assert [1] * len(METHODS) == [layers(function) for function in current()]


async def test_wrappers_of_request_see_one_call(colour: Way, emulator: Emulator) -> None:
    """A wrapper on the ``request`` of a client's class or of one client sees one call, not its rounds."""
    openai_continue.patch(DEEPINFRA)
    calls: list[str] = []

    class Counted(openai.AsyncOpenAI if colour.is_async else openai.OpenAI):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("class")
            return super().request(*args, **kwargs)

    client: Any = Counted(api_key="key", base_url=emulator.base_url, http_client=colour.http_client())
    of_class = client.request

    def request(*args: Any, **kwargs: Any) -> Any:
        calls.append("instance")
        return of_class(*args, **kwargs)

    client.request = request
    completion = await settled(client.chat.completions.create(**ask("Counted.")))
    await settled(client.close())

    assert ROUNDS == len(completion.continuation["rounds"])
    assert ["instance", "class"] == calls


# Activation by import, and the kill switch.


async def test_auto(colour: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing ``openai_continue.auto`` patches, with the settings of the environment."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.delitem(sys.modules, "openai_continue.auto", raising=False)

    import_module("openai_continue.auto")

    assert openai_continue.is_patched()
    assert (WHOLE, ROUNDS) == await ending(colour, emulator)


async def test_auto_when_killed(colour: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OPENAI_CONTINUE=0`` wins over the import."""
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.delitem(sys.modules, "openai_continue.auto", raising=False)

    import_module("openai_continue.auto")

    assert (TRUNCATED, 1) == await ending(colour, emulator)


def test_auto_when_a_variable_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable makes the import fail with an error that names it."""
    monkeypatch.setenv("OPENAI_CONTINUE_TRIMS", "perhaps")
    monkeypatch.delitem(sys.modules, "openai_continue.auto", raising=False)

    with pytest.raises(SettingsError, match="OPENAI_CONTINUE_TRIMS='perhaps'"):
        import_module("openai_continue.auto")

    assert not openai_continue.is_patched()


@pytest.mark.parametrize("value", ["0", "false", "no", "off", " OFF "])
async def test_kill_switch(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """``OPENAI_CONTINUE=0`` wins over a patch and over our clients, also when it is set later."""
    client = way.client(emulator.base_url)
    monkeypatch.setenv("OPENAI_CONTINUE", value)
    killed = await settled(client.chat.completions.create(**ask("Killed.")))
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    alive = await settled(client.chat.completions.create(**ask("Killed.")))
    await settled(client.close())

    assert (TRUNCATED, WHOLE) == (killed.choices[0].finish_reason, alive.choices[0].finish_reason)
    assert not hasattr(killed, "continuation")
    assert 1 + ROUNDS == len(emulator.requests)
