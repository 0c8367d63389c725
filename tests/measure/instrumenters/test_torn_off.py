"""Another library may remove our wrapper together with its own. The next request puts ours back."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import wrapt
from openai._base_client import AsyncAPIClient, SyncAPIClient

import openai_continue
from openai_continue.testing import Emulator
from tests.support.answers import joined
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, Way, listed, settled

METHODS: list[tuple[Any, str]] = [(SyncAPIClient, "_process_response"), (AsyncAPIClient, "_process_response")]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the SDK's functions after each test."""
    originals = [inspect.getattr_static(owner, name) for owner, name in METHODS]
    yield
    openai_continue.unpatch()
    for (owner, name), original in zip(METHODS, originals, strict=True):
        setattr(owner, name, original)


def wrap() -> list[str]:
    """Wrap as ddtrace does; return the list to which the wrapper adds the name of each call."""
    calls: list[str] = []

    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        calls.append(wrapped.__name__)
        return wrapped(*args, **kwargs)

    for owner, name in METHODS:
        wrapt.wrap_function_wrapper(owner, name, wrapper)
    return calls


def unwrap() -> None:
    """Remove the outermost wrapper, whoever put it there, as ddtrace and OpenTelemetry do."""
    for owner, name in METHODS:
        setattr(owner, name, getattr(owner, name).__wrapped__)


@pytest.mark.parametrize("they_are_first", [True, False])
@pytest.mark.parametrize("streamed", [False, True])
async def test_torn_off(color: Way, emulator: Emulator, they_are_first: bool, streamed: bool) -> None:
    """Answers are whole after the other library is uninstalled, whichever of the two was installed first."""
    body = ask("Torn off.", stream=streamed)
    if they_are_first:
        wrap()
    openai_continue.patch(DEEPINFRA)
    if not they_are_first:
        wrap()
    client = color.plain_client(emulator.base_url)
    await settled(client.chat.completions.create(**ask("Before.", max_tokens=1)))

    unwrap()
    answer = await settled(client.chat.completions.create(**body))
    text = joined(await listed(answer)) if streamed else answer.choices[0].message.content
    await settled(client.close())

    assert emulator.uncapped(body) == text


async def test_torn_off_and_unpatched(color: Way, emulator: Emulator) -> None:
    """After ``unpatch()`` nothing is put back."""
    wrap()
    openai_continue.patch(DEEPINFRA)
    unwrap()
    openai_continue.unpatch()
    client = color.plain_client(emulator.base_url)

    completion = await settled(client.chat.completions.create(**ask("Unpatched.")))
    await settled(client.close())

    assert (completion.choices[0].finish_reason, len(emulator.requests)) == ("length", 1)
