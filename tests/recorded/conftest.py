"""
One cassette for each case, in the folder ``cassettes``. The sync and the async client replay the same one.

``--record-mode=rewrite`` records them again: from DeepInfra if ``DEEPINFRA_API_KEY`` is set, if not from a vLLM that is
started for it. Responses always come from vLLM. The sync client records, then the async client replays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openai_continue
from openai_continue import Continuation
from tests.recorded.capped import Capped
from tests.recorded.deepinfra import DeepInfra
from tests.support.ways import Way, http

ROOT = Path(__file__).resolve().parents[2]
CASSETTES = ROOT / "cassettes"
BASE_URL = "https://api.deepinfra.com/v1/openai"
KEY = os.environ.get("DEEPINFRA_API_KEY", "")
#: A vLLM somewhere. Nothing is sent there.
VLLM_URL = "https://vllm.example/v1"
VLLM = "vLLM 0.32.0 on CPU with the model of tests/measure/engine, behind tests/recorded"


@pytest.fixture(scope="module")
def vcr_cassette_dir() -> str:
    return str(CASSETTES)


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest) -> str:
    """The name of the case, with ``_streamed`` if it is streamed. Sync and async have the same name."""
    name = request.node.originalname.removeprefix("test_")
    return f"{name}_streamed" if request.node.callspec.params.get("streamed") else name


@pytest.fixture
def records(color: Way, record_mode: str) -> bool:
    return record_mode != "none" and not color.is_async


@pytest.fixture
def vcr_config(
    openai_continue_vcr_config: dict[str, Any], default_cassette_name: str, records: bool
) -> Iterator[dict[str, Any]]:
    config = {**openai_continue_vcr_config, "ignore_localhost": True}
    yield config if records else config | {"record_mode": "none"}
    # The cassette has been written by now, unless the test failed.
    path = CASSETTES / f"{default_cassette_name}.chat.yaml"
    text = path.read_text(encoding="utf-8") if records and path.exists() else ""
    if text.startswith("version:"):
        source = f"{VLLM}/capped.py" if VLLM_URL in text else "DeepInfra" if KEY else f"{VLLM}/deepinfra.py"
        path.write_text(f"# Recorded from {source}.\n{text}", encoding="utf-8")


@pytest.fixture(autouse=True)
def _whole_cassette(openai_continue_cassette: Any) -> None:
    """Every recorded request is sent again, and no other."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once: a replay need not wait."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


@pytest.fixture(scope="session")
def _vllm() -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "tests" / "measure" / "engine"))
    import servers

    with servers.vllm() as base_url:
        yield base_url


@pytest.fixture
def deepinfra(request: pytest.FixtureRequest, color: Way, records: bool) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a client of DeepInfra that continues. ``busy`` is the number of a request that gets a 429."""

    def make(busy: int | None = None, **settings: Any) -> Any:
        if not records:
            # Without our transport, so that a request that is not on the cassette gets no answer.
            return color.client(BASE_URL, continuation=Continuation(**settings))
        if KEY:
            return color.client(BASE_URL, continuation=Continuation(**settings), api_key=KEY)
        there = DeepInfra(request.getfixturevalue("_vllm"), "tinylist", busy)
        return color.client(BASE_URL, continuation=Continuation(**settings), transport=http.MockTransport(there.answer))

    yield make
    openai_continue.unpatch()


@pytest.fixture
def vllm(request: pytest.FixtureRequest, color: Way, records: bool) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a client of vLLM that continues. ``busy`` is the number of a request that gets a 429."""

    def make(busy: int | None = None, **settings: Any) -> Any:
        continuation = Continuation(provider="vllm", **settings)
        if not records:
            return color.client(VLLM_URL, continuation=continuation)
        there = Capped(request.getfixturevalue("_vllm"), busy)
        return color.client(VLLM_URL, continuation=continuation, transport=http.MockTransport(there.answer))

    yield make
    openai_continue.unpatch()
