"""Streamed rounds on llama-server, which closes each connection without saying so. A part of connections.py."""

from __future__ import annotations

import asyncio

import connections
import install_llama
import pytest

pytestmark = pytest.mark.engine

# A skipped test would be an error of the engines' stage.
if install_llama.installed():

    @pytest.mark.parametrize("way", ["llama.cpp, sync", "llama.cpp, async"])
    def test_no_round_fails_without_retries(llama_server: str, way: str) -> None:
        """Without the SDK's retries. Each answer has 197 rounds or more."""
        if way.endswith("async"):
            tally = asyncio.run(connections.measure_asynchronously(llama_server, 300))
        else:
            tally = connections.measure(llama_server, 300)

        assert tally.errors == []
        assert len(tally.texts) == 1
