"""A part of the sweep of tool calls (call_sweep.py), in four ways, on both engines and in both syntaxes."""

from __future__ import annotations

import call_sweep
import call_texts
import install_llama
import pytest
import servers

pytestmark = pytest.mark.engine

CAPS = {"llama.cpp": (5, 16, 33, 101), "vllm": (33, 101)}
#: The shortest of the answers with one call after a text, and of those with two calls.
PROMPTS = {
    syntax: [next(p for p in call_sweep.prompts(syntax) if word in p) for word in ("Say it", "two")]
    for syntax in call_texts.SYNTAXES
}


@pytest.mark.parametrize("syntax", call_texts.SYNTAXES)
@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"] if install_llama.installed() else ["vllm"])
def test_calls_equal_the_uncapped_ones(engine: str, syntax: str) -> None:
    """Or the answer says that it is cut."""
    asked = PROMPTS[syntax]
    with call_sweep.server(engine, syntax) as base_url:
        tally = call_sweep.sweep(base_url, engine, syntax, CAPS[engine], asked=asked, jobs=servers.AT_A_TIME[engine])

    assert tally.asked == len(asked) * len(call_sweep.WAYS) * len(CAPS[engine])
    assert tally.other == []
