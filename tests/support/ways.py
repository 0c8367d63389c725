"""The ways to an answer: sync or async, the SDK under ``patch()`` or our clients, whole or streamed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import openai
import pytest

import openai_continue

#: The SDK's HTTP library: openai 3.0 went from httpx to httpx2.
http: Any = import_module("httpx" if openai.VERSION < "3" else "httpx2")
#: The provider must be named for the emulator, whose host is in no row of the provider table.
DEEPINFRA = openai_continue.Continuation(provider="deepinfra")


@dataclass(frozen=True)
class Way:
    """A way to a client that continues: sync or async, the SDK's client under ``patch()`` or ours."""

    is_async: bool
    is_ours: bool

    def client(self, base_url: str, *, transport: Any = None, **kwargs: Any) -> Any:
        """Return a client that continues; patch the SDK if the client is the SDK's. A transport replaces the network."""
        if self.is_ours:
            kwargs.setdefault("continuation", DEEPINFRA)
            kind = openai_continue.AsyncOpenAI if self.is_async else openai_continue.OpenAI
        else:
            openai_continue.patch(kwargs.pop("continuation", DEEPINFRA))
            kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return kind(**{"api_key": "key", "base_url": base_url, "http_client": self.http_client(transport), **kwargs})

    def plain_client(self, base_url: str, *, transport: Any = None, **kwargs: Any) -> Any:
        """Return a client of the SDK; nothing is patched."""
        kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return kind(**{"api_key": "key", "base_url": base_url, "http_client": self.http_client(transport), **kwargs})

    def http_client(self, transport: Any = None) -> Any:
        """Return a client of the SDK's HTTP library."""
        kind = http.AsyncClient if self.is_async else http.Client
        return kind(transport=transport, timeout=60)


SYNC, ASYNC = Way(is_async=False, is_ours=False), Way(is_async=True, is_ours=False)
OUR_SYNC, OUR_ASYNC = Way(is_async=False, is_ours=True), Way(is_async=True, is_ours=True)

# Marks. Patched clients and ours are the same (tests/sdk proves it once), so most tests need no more than two ways.

#: ``streamed``: whole or streamed.
streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
#: ``way`` and ``streamed``: sync and whole under ``patch()``; async and streamed by our client.
two_ways = pytest.mark.parametrize(
    ("way", "streamed"), [(SYNC, False), (OUR_ASYNC, True)], ids=["sync-whole", "our-async-stream"]
)
#: ``way``: sync under ``patch()``, async by our client.
sync_and_async = pytest.mark.parametrize("way", [SYNC, OUR_ASYNC], ids=["sync", "our-async"])


# Sync and async in one test: tests are coroutines, and these helpers take values that may be awaitable.


async def settled(value: Any) -> Any:
    """Return a value, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def listed(items: Any) -> list[Any]:
    """Return the items of a sync or async iterable."""
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter a sync or async context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value
