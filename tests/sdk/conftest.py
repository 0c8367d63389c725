"""Two ways to a client for every test of the SDK's side; ``test_ways.py`` proves that all others give the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.ways import OUR_ASYNC, SYNC, Way, settled


@pytest.fixture(params=[SYNC, OUR_ASYNC], ids=["sync", "our-async"])
def way(request: pytest.FixtureRequest) -> Way:
    """The SDK's sync client under ``patch()``, and our async one."""
    way: Way = request.param
    return way


@pytest.fixture(autouse=True)
async def _closed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Close every HTTP client that a test makes."""
    made: list[Any] = []
    make: Callable[..., Any] = Way.http_client

    def http_client(self: Way, *args: Any) -> Any:
        made.append(make(self, *args))
        return made[-1]

    monkeypatch.setattr(Way, "http_client", http_client)
    yield
    for client in made:
        await settled((client.aclose if hasattr(client, "aclose") else client.close)())
