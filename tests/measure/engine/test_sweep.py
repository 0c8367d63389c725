"""
A part of the sweep (sweep.py), and the findings of the doctor, for every kind of chat template.

On vLLM, and on llama-server if it is built: ``python tests/measure/engine/install_llama.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import install_llama
import openai
import pytest
import servers
import sweep

from openai_continue._cli.doctor.command import matching_row
from openai_continue._cli.doctor.questions import Doctor

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.engine

TEMPLATES = sweep.TEMPLATES[servers.MODEL]
ENGINES = ["vllm", "llama.cpp"] if install_llama.installed() else ["vllm"]
#: The fixtures of the servers with the plain template, which all tests share.
SHARED = {"vllm": "vllm", "llama.cpp": "llama_server"}
#: The shortest of the test model's answers, 240 tokens; of the chat model's, an HTML page and a program.
PROMPTS = {model: prompts[: 1 if model == servers.MODEL else 2] for model, prompts in sweep.PROMPTS.items()}


@pytest.fixture(scope="module", params=[(engine, name) for engine in ENGINES for name in TEMPLATES], ids=":".join)
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """The name of an engine that serves the test model, its template, and its ``base_url``."""
    name, template = request.param
    if template == "plain":
        yield name, template, request.getfixturevalue(SHARED[name])
        return
    with sweep.server(name, template) as base_url:
        yield name, template, base_url


def test_answers_equal_the_uncapped_one(engine: tuple[str, str, str]) -> None:
    """At seven caps, whole and streamed. An answer may stop if the cut fell between its thoughts and its text."""
    name, template, base_url = engine
    tally = sweep.sweep(base_url, name, sweep.caps(7), prompts=PROMPTS[servers.MODEL], jobs=servers.AT_A_TIME[name])

    assert tally.asked == 14
    assert tally.silent == []
    assert len(tally.stopped) <= (2 if (name, template) == ("vllm", "r1rc") else 0)


def test_responses_equal_the_uncapped_one(vllm: str) -> None:
    """On vLLM, at four caps, whole and streamed."""
    several = [5, 13, 48, 119]
    tally = sweep.sweep(
        vllm,
        "vllm",
        several,
        endpoint="responses",
        prompts=PROMPTS[servers.MODEL],
        jobs=servers.AT_A_TIME["vllm"],
    )

    assert tally.asked == 8
    assert tally.silent == []
    assert tally.stopped == []


# A server that trims is the harder one. llama-server appends the text as it is, whatever the template.
@pytest.mark.parametrize(
    ("name", "template"), [(name, "trim" if name == "vllm" else "plain") for name in ENGINES], ids=ENGINES
)
def test_answers_of_a_real_chat_model_equal_the_uncapped_one(name: str, template: str) -> None:
    """The default settings: the library does not know whether the template trims."""
    with sweep.server(name, template, servers.CHAT_MODEL) as base_url:
        tally = sweep.sweep(
            base_url,
            name,
            [16, 64],
            model=servers.CHAT_MODEL,
            prompts=PROMPTS[servers.CHAT_MODEL],
            jobs=servers.AT_A_TIME[name],
        )

    assert tally.asked == 8
    assert tally.silent == []
    assert tally.stopped == []


def test_doctor_names_the_row(engine: tuple[str, str, str]) -> None:
    """The doctor names the row of the provider table, and whether the template trims."""
    name, template, base_url = engine
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        found = Doctor(client, servers.MODEL).examine()

    row = matching_row(found, None)
    assert row is not None
    assert row.name == name
    assert found.trims is sweep.trims(name, template)
    # llama-server refuses no number of tokens, so its error never names its context.
    assert found.context_length == (16384 if name == "vllm" else None)


# A skipped test would be an error of the engines' stage.
if install_llama.installed():

    @pytest.mark.parametrize("model", [servers.MODEL, servers.CHAT_MODEL], ids="llama.cpp, {}".format)
    @pytest.mark.parametrize("prefills", [True, False], ids=["prefills", "does not"])
    def test_doctor_tells_a_copy_from_a_restart(model: str, *, prefills: bool) -> None:
        """llama-server copies the message sent back. With ``--no-prefill-assistant`` only a marked one is continued."""
        with (
            servers.llama_server(model=model, max_model_len=8192, prefills=prefills) as base_url,
            openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client,
        ):
            found = Doctor(client, model).examine()

        row = matching_row(found, None)
        assert found.marks["continue_final_message"] == "echoes"
        assert found.marks["nothing"] in (["echoes"] if prefills else ["restarts", "new turn"])
        assert row is not None
        assert row.name == "llama.cpp"
