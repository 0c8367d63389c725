"""The waits before a broken stream is healed and before the SDK tries again."""

from __future__ import annotations

import pytest

from openai_continue._core import backoff


def wait_first(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the seconds before the first heal; each further one in a row waits twice as long."""
    monkeypatch.setattr(backoff, "FIRST_WAIT", seconds)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a millisecond instead of half a second, before heals and before the SDK's retries."""
    wait_first(monkeypatch, 0.001)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
