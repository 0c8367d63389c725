"""The server that the commands ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openai_continue.testing import Emulator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator whose answers of 450 tokens take five rounds, and a key for it."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    with Emulator(cap=100, tokens=450) as running:
        yield running
