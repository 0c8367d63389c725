"""The pytest plugin: ``openai_continue_emulator``, a server of long answers for tests without key and network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import Emulator


@pytest.fixture
def openai_continue_emulator() -> Iterator[Emulator]:
    """Run an emulator with DeepInfra's cap; its ``base_url`` goes to the client."""
    # A pytest11 plugin is imported by every pytest run of its environment: nothing but pytest at module level.
    from .server import Emulator

    with Emulator() as emulator:
        yield emulator
