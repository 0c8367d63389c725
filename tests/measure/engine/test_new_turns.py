"""A part of new_turns.py: a llama-server that takes the text sent back for a finished turn."""

from __future__ import annotations

import install_llama
import new_turns
import pytest
import servers
import sweep

pytestmark = pytest.mark.engine

# A skipped test would be an error of the engines' stage.
if install_llama.installed():

    @pytest.mark.parametrize("template", ["llama.cpp, plain", "llama.cpp, trim"])
    def test_new_turns_in_whole_answers_are_noticed(template: str) -> None:
        """Each of them, by the tokens of its prompt, and no text of it is in the answer."""
        prompts = sweep.PROMPTS[servers.MODEL]
        with new_turns.server("llama.cpp", template.split()[1], servers.MODEL) as base_url:
            tally = new_turns.measure(
                base_url, ["ollama"], servers.MODEL, prompts, new_turns.CAPS[servers.MODEL], reports=True
            )["whole"]

        assert tally.cut == tally.noticed == 21
        assert tally.unnoticed == tally.stopped == []
