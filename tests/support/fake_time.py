"""A clock that stands still unless somebody waits; what was waited for is noted."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from openai_continue._sdk import clock, connection, folded, stream


@dataclass
class FakeTime:
    """The time of the budget ``max_seconds``, and of all waits of the library and of the SDK."""

    now: float = 1000.0
    #: The waits, in order.
    waits: list[float] = field(default_factory=list[float])

    def wait(self, seconds: float) -> None:
        if seconds:
            self.waits.append(seconds)
        self.now += seconds

    async def await_(self, seconds: float) -> None:
        self.wait(seconds)

    def pause(self, event: Any, seconds: float) -> bool:
        self.wait(seconds)
        return bool(event.is_set())

    async def apause(self, event: Any, seconds: float) -> bool:
        return self.pause(event, seconds)


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Replace the clock and the waits."""
    fake = FakeTime()
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: fake.now))
    for module in (connection, folded):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=fake.wait))
    monkeypatch.setattr(stream, "pause", fake.pause)
    monkeypatch.setattr(stream, "apause", fake.apause)
    monkeypatch.setattr("openai._base_client.time", SimpleNamespace(sleep=fake.wait, time=lambda: fake.now))
    monkeypatch.setattr(anyio, "sleep", fake.await_)
    return fake
