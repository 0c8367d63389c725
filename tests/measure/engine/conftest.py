"""Tests on real engines: deselected unless ``-m`` names the marker ``engine``; then a missing engine is an error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The engines are for scripts too, which import them from their own folder.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@pytest.fixture(scope="session")
def vllm() -> Iterator[str]:
    """The ``base_url`` of a vLLM with the plain chat template, one for all tests."""
    with _or_fail(servers.vllm()) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def llama_server() -> Iterator[str]:
    """The ``base_url`` of a llama-server with the plain chat template, one for all tests."""
    with _or_fail(servers.llama_server()) as base_url:
        yield base_url


@contextmanager
def _or_fail(engine: AbstractContextManager[str]) -> Iterator[str]:
    """Make one clear line of an engine that is missing, for each test that wants it."""
    try:
        with engine as base_url:
            yield base_url
    except servers.EngineError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
