"""A part of the sweep of thoughts (thoughts_sweep.py), whole and streamed, on both engines and with every template."""

from __future__ import annotations

import dataclasses

import install_llama
import pytest
import thoughts_sweep

from openai_continue import Continuation

KNOWN = any(field.name == "template" for field in dataclasses.fields(Continuation))
pytestmark = [pytest.mark.engine, pytest.mark.skipif(not KNOWN, reason="there is no setting template yet")]

CAPS = {"llama.cpp": (5, 16, 33, 101), "vllm": (33, 101)}
#: All kinds of questions with the first number, and one or more with the second.
MOST = 4


@pytest.mark.parametrize("template", thoughts_sweep.TEMPLATES)
@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"] if install_llama.installed() else ["vllm"])
def test_thoughts_and_answers_equal_the_uncapped_ones(engine: str, template: str) -> None:
    """Or the answer says that it is cut."""
    asked = thoughts_sweep.questions(template)[:MOST]
    with thoughts_sweep.server(engine, template) as base_url:
        tally = thoughts_sweep.sweep(
            base_url, engine, template, CAPS[engine], asked=asked, raw=True, jobs=len(asked) if engine == "vllm" else 1
        )

    assert tally.asked == len(asked) * len(thoughts_sweep.WAYS) * len(CAPS[engine])
    assert tally.silent == []
    assert tally.equal > tally.asked // 2
