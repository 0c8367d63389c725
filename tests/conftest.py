"""What every test gets: the SDK as it was, none of our variables, and no network but the loopback interface."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import Any

import hypothesis
import pytest

import openai_continue
from openai_continue.testing import Emulator
from tests.support.waiting import no_waiting
from tests.support.ways import ASYNC, OUR_ASYNC, OUR_SYNC, SYNC, Way, http, settled

# A fixture that tests name.
__all__ = ["no_waiting"]

# The suite tries the same examples each time. Ten times as many fresh ones: ``--hypothesis-profile fresh``, by hand.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fresh", derandomize=False, deadline=None, max_examples=1000)
hypothesis.settings.load_profile("same")

_LOCAL = ("127.0.0.1", "::1", "localhost")


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


@pytest.fixture(params=[SYNC, ASYNC, OUR_SYNC, OUR_ASYNC], ids=["sync", "async", "our-sync", "our-async"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to a client that continues. Use it where the four are the point; else a mark of tests/support/ways.py."""
    way: Way = request.param
    return way


@pytest.fixture(params=[SYNC, ASYNC], ids=["sync", "async"])
def color(request: pytest.FixtureRequest) -> Way:
    """Both colors of the SDK's own client."""
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


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in one process what shares an engine or an environment, or writes cassettes."""
    together = any(name in config.getoption("markexpr") for name in ("activation", "engine"))
    if together or config.getoption("--record-mode", None) not in (None, "none"):
        config.option.numprocesses = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what takes minutes or must be installed, unless ``-m`` names its marker."""
    unasked = [name for name in ("activation", "chaos", "engine") if name not in config.getoption("markexpr")]
    deselected = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sum of what came of all cases of test_chaos.py."""
    tally: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        tally.update(dict(report.user_properties).get("chaos", {}))
    if tally:
        counted = ", ".join(f"{number} {came}" for came, number in tally.most_common())
        terminalreporter.write_line(f"chaos: {tally.total()} cases, {counted}")


@pytest.fixture
def without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be as after ``pip install openai-continue`` without the extra ``schema``."""
    for name in ("jsonschema", "jsonschema.validators", "referencing"):
        monkeypatch.setitem(sys.modules, name, None)
