"""What every test gets: the SDK as it was, none of our variables, and no network but the loopback interface."""

from __future__ import annotations

import gc
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import hypothesis
import openai
import pytest

import openai_continue
from openai_continue.testing import Emulator

#: The SDK's HTTP library: openai 3.0 went from httpx to httpx2.
http: Any = import_module("httpx" if openai.VERSION < "3" else "httpx2")
#: For the emulator, which no row of the provider table knows by its host.
DEEPINFRA = openai_continue.Continuation(provider="deepinfra")

# For ``--hypothesis-profile``; the suite itself has a tenth of it.
hypothesis.settings.register_profile("thorough", max_examples=1000)

_LOCAL = ("127.0.0.1", "::1", "localhost")
# Reading the certificates takes longer than most tests.
_TLS = ssl.create_default_context()


def pytest_report_header() -> str:
    return f"openai: {version('openai')}, wrapt: {version('wrapt')}, HTTP: {http.__name__} {version(http.__name__)}"


@pytest.fixture(scope="session", autouse=True)
def _only_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse connections to other machines, and clear what would lead there."""
    if request.config.getoption("--record-mode", None) and "DEEPINFRA_API_KEY" in os.environ:
        yield
        return

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL:
                msg = f"a test wants to connect to {address[0]}"
                raise RuntimeError(msg)
            return original(self, address)

        return connect

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (None, *_LOCAL):
            msg = f"a test wants to know the address of {host}"
            raise RuntimeError(msg)
        return resolved(host, *args, **kwargs)

    resolved = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("connect", "connect_ex"):
            monkeypatch.setattr(socket.socket, name, guarded(name))
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        for name in list(os.environ):
            if name.startswith(("OPENAI_", "AZURE_OPENAI_")) or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _unpatched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no patch, and start without our variables."""
    for name in list(os.environ):
        if name.startswith("OPENAI_CONTINUE"):
            monkeypatch.delenv(name)
    yield
    openai_continue.unpatch()


# Sync and async in one test: tests are coroutines, and what may be awaitable is given to these.


async def settled(value: Any) -> Any:
    """Await what is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def listed(items: Any) -> list[Any]:
    """Exhaust an iterator of either kind."""
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter a context manager of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


def joined(chunks: list[Any], index: int = 0) -> str:
    """Join the text that a stream brought for a choice."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def ask(prompt: str, **fields: Any) -> dict[str, Any]:
    """Make the body of a request."""
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


@dataclass(frozen=True)
class Way:
    """A way to a client that continues: sync or async, of the SDK under ``patch()`` or of ours."""

    is_async: bool
    is_ours: bool

    def client(self, base_url: str, *, transport: Any = None, **kwargs: Any) -> Any:
        """Make a client; patch where that is the way. With a transport, nothing goes over the network."""
        if self.is_ours:
            kwargs.setdefault("continuation", DEEPINFRA)
            kind = openai_continue.AsyncOpenAI if self.is_async else openai_continue.OpenAI
        else:
            openai_continue.patch(kwargs.pop("continuation", DEEPINFRA))
            kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return kind(**{"api_key": "key", "base_url": base_url, "http_client": self.http_client(transport), **kwargs})

    def plain_client(self, base_url: str, *, transport: Any = None, **kwargs: Any) -> Any:
        """Make a client of the SDK."""
        kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return kind(**{"api_key": "key", "base_url": base_url, "http_client": self.http_client(transport), **kwargs})

    def http_client(self, transport: Any = None) -> Any:
        """Make a client of the SDK's HTTP library."""
        kind = http.AsyncClient if self.is_async else http.Client
        return kind(transport=transport, verify=_TLS, timeout=20)


SYNC, ASYNC = Way(is_async=False, is_ours=False), Way(is_async=True, is_ours=False)
OUR_SYNC, OUR_ASYNC = Way(is_async=False, is_ours=True), Way(is_async=True, is_ours=True)


@pytest.fixture(params=[SYNC, ASYNC, OUR_SYNC, OUR_ASYNC], ids=["sync", "async", "our-sync", "our-async"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to a client that continues."""
    way: Way = request.param
    return way


@pytest.fixture(params=[SYNC, ASYNC], ids=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Way:
    """Both colours of the SDK's own client."""
    way: Way = request.param
    return way


@pytest.fixture(scope="session")
def _session_emulator() -> Iterator[Emulator]:
    with Emulator(cap=48, tokens=180) as emulator:
        yield emulator


@pytest.fixture
def emulator(_session_emulator: Emulator) -> Emulator:
    """A server whose answers of 180 tokens take four rounds."""
    _session_emulator.clear()
    return _session_emulator


@pytest.fixture
async def client(way: Way, emulator: Emulator) -> AsyncIterator[Any]:
    """A client of that server, had in each way."""
    client = way.client(emulator.base_url)
    yield client
    await settled(client.close())


def pytest_collection_finish() -> None:
    """Leave what is there before the first test out of every later garbage collection, for many tests collect."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what takes minutes or must be installed, unless ``-m`` names its marker."""
    unasked = [name for name in ("activation", "chaos", "engine") if name not in config.getoption("markexpr")]
    deselected = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
