"""
A part of the sweep (sweep.py), and the findings of the doctor, for every kind of chat template.

On vLLM, and on llama-server if it is built: ``python tests/engine/install_llama.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import install_llama
import openai
import pytest
import servers
import sweep

from openai_continue.cli.doctor import matching_row
from openai_continue.cli.examination import Doctor

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.engine

#: The shortest of the sweep's answers: 240 tokens.
PROMPT = sweep.PROMPTS[servers.MODEL][0]
ENGINES = ["vllm", "llama.cpp"] if install_llama.installed() else ["vllm"]


@pytest.fixture(scope="module", params=[(engine, name) for engine in ENGINES for name in sweep.TEMPLATES], ids=":".join)
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """The name of an engine, its template, and its ``base_url``."""
    name, template = request.param
    with sweep.server(name, template) as base_url:
        yield name, template, base_url


def test_answers_equal_the_uncapped_one(engine: tuple[str, str, str]) -> None:
    """At seven caps, whole and streamed. An answer may stop if the cut fell between its thoughts and its text."""
    name, template, base_url = engine
    tally = sweep.sweep(base_url, name, sweep.caps(7), trims=sweep.trims(name, template), prompts=[PROMPT])

    assert tally.asked == 14
    assert tally.differing == []
    assert tally.stopped <= (2 if (name, template) == ("vllm", "r1rc") else 0)


def test_doctor_names_the_row(engine: tuple[str, str, str]) -> None:
    """The doctor names the row of the provider table, and whether the template trims."""
    name, template, base_url = engine
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        found = Doctor(client, servers.MODEL).examine()

    row = matching_row(found, "127.0.0.1", "/v1")
    assert row.name == name
    assert found.trims is sweep.trims(name, template)
    # llama-server refuses no number of tokens, so its error never names its context.
    assert found.context_length == (16384 if name == "vllm" else None)
