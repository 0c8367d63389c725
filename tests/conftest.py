"""What every test gets: the SDK as it was, none of our variables, and no network but the loopback interface."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from importlib.metadata import version
from typing import Any
from zlib import crc32

import hypothesis
import pytest

import openai_continue
from openai_continue.testing import Emulator
from tests.support.waiting import no_waiting
from tests.support.ways import ASYNC, OUR_ASYNC, OUR_SYNC, SYNC, Way, http, settled

# A fixture that tests name.
__all__ = ["no_waiting"]

# The suite tries the same examples each time, and more of them in CI. Fresh ones: ``--hypothesis-profile fresh``.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.register_profile("many", derandomize=True, deadline=None, max_examples=100)
hypothesis.settings.register_profile("fresh", derandomize=False, deadline=None, max_examples=1000)
hypothesis.settings.load_profile("many" if "CI" in os.environ else "same")

#: What is deselected unless ``-m`` names it: it takes minutes, or must be installed.
UNASKED = ("activation", "chaos", "engine", "thorough")
#: How many cases of a test run by default, by its folder; elsewhere three. The rules, in tests/core, have no such bound.
MOST_CASES = {"core": None, "cli": 2, "emulator": 2, "live": 1}

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
        # No test speaks TLS, and reading the certificates for a client takes longer than most tests.
        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is there before the first test out of every garbage collection, for many tests collect."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in one process what shares an engine or an environment, or writes cassettes."""
    together = any(name in config.getoption("markexpr") for name in ("activation", "engine"))
    if together or config.getoption("--record-mode", None) not in (None, "none"):
        config.option.numprocesses = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as thorough the cases beyond the spread of a test; deselect what is marked, unless ``-m`` names its marker."""
    markers: str = config.getoption("markexpr")
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    # Another marker, such as chaos, is asked for with all its cases.
    for cases in tests.values() if not markers or "thorough" in markers else ():
        for item in set(cases).difference(_spread(cases)):
            item.add_marker("thorough")
    unasked = [name for name in UNASKED if name not in markers]
    deselected = {item for item in items if any(map(item.get_closest_marker, unasked))}
    if deselected:
        config.hook.pytest_deselected(items=list(deselected))
        items[:] = [item for item in items if item not in deselected]


def _spread(cases: list[pytest.Item]) -> list[pytest.Item]:
    """Return cases of a test that together have each value of each parameter; no more than run by default."""
    seen: set[Any] = set()
    found: list[pytest.Item] = []
    # At first the cases in which every value is new.
    for enough in (all, any):
        for case in cases:
            values = _values(case)
            if enough(value not in seen for value in values):
                found.append(case)
                seen.update(values)
    mark = cases[0].get_closest_marker("spread")
    if mark is not None:
        return found[: mark.args[0]]
    most = MOST_CASES.get(cases[0].path.parent.name, 3)
    # If a test runs one case, the tests take turns in which one that is: sync, async, whole, streamed.
    turn = crc32(cases[0].nodeid.partition("[")[0].encode()) % len(found) if most == 1 else 0
    return [*found[turn:], *found[:turn]][:most]


def _values(case: pytest.Item) -> list[Any]:
    """Return the values of a case: one for each ``parametrize`` of its test, and one for each fixture that has several."""
    params: dict[str, Any] = dict(case.callspec.params) if hasattr(case, "callspec") else {}
    found: list[Any] = []
    for mark in case.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        found.append(tuple((name.strip(), id(params.pop(name.strip()))) for name in names))
    return found + [(name, id(value)) for name, value in params.items()]


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
