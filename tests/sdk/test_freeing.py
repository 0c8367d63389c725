"""What a call held is freed at its end, and not when garbage is collected some time: it has all of the text."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from openai_continue.testing import Emulator
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, Way, listed, settled

CALLS = {
    "chat": ask("Free it."),
    "text": {"model": "m", "prompt": "Free it."},
    "response": {"model": "m", "input": "Free it."},
}


def held() -> Counter[str]:
    """Count the objects of this library, also those that nobody can reach any more."""
    objects: list[object] = gc.get_objects()
    kinds = [type(one) for one in objects]
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("openai_continue._"))


@pytest.fixture
def _without_collecting() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collecting")
@pytest.mark.parametrize("kind", list(CALLS))
@pytest.mark.parametrize("answer", ["whole", "folded", "streamed"])
async def test_everything_is_freed(way: Way, emulator: Emulator, kind: str, answer: str) -> None:
    """After an answer, which the caller does not keep, there is nothing that was not there before."""
    # DeepInfra's row continues no text completions.
    row = "vllm" if kind == "text" else "deepinfra"
    settings = replace(DEEPINFRA, provider=row, stream_rounds=answer == "folded")
    client = way.client(emulator.base_url, continuation=settings)
    door = {"chat": client.chat.completions, "text": client.completions, "response": client.responses}[kind]

    async def call() -> None:
        given: Any = await settled(door.create(**CALLS[kind], stream=answer == "streamed"))
        if answer == "streamed":
            await listed(given)

    await call()
    before = held()
    emulator.clear()
    await call()
    # The event loop closes the generators of the SDK.
    await asyncio.sleep(0)
    left = held() - before

    assert len(emulator.requests) == 4
    assert Counter() == left
