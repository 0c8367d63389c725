from __future__ import annotations

from collections.abc import Iterator

import pytest

from openai_continue.testing import Emulator
from tests.testing.emulator.asking import CLIENT


@pytest.fixture(scope="session", autouse=True)
def _close_client() -> Iterator[None]:
    yield
    CLIENT.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Emulator]:
    """DeepInfra with a cap of 300 tokens, and answers of 1,000."""
    with Emulator(cap=300, tokens=1000) as emulator:
        yield emulator
