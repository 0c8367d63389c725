"""A part of the sweep of thoughts (thoughts_sweep.py), early answers, and text completions, on both engines."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import install_llama
import openai
import pytest
import servers
import think_texts
import thoughts_sweep

import openai_continue
from openai_continue import Continuation, report_of

pytestmark = pytest.mark.engine

CAPS = {"llama.cpp": (5, 16, 33, 101), "vllm": (33, 101)}
#: All kinds of questions with the first number, and one or more with the second.
MOST = 4
#: Numbers whose thoughts are longer than EARLY.
LONG = (42, 6)
EARLY = 20
#: vLLM takes a minute for each template; thoughts_sweep.py asks it with all of them.
SERVED = [("vllm", "qwen3")]
SERVED += [("llama.cpp", template) for template in thoughts_sweep.TEMPLATES] if install_llama.installed() else []


every_server = pytest.mark.parametrize("served", SERVED, ids=" ".join, indirect=True, scope="module")
thinking_servers = pytest.mark.parametrize(
    "served",
    [each for each in SERVED if each[1] in thoughts_sweep.THINKING],
    ids=" ".join,
    indirect=True,
    scope="module",
)
#: Text completions have no template.
one_server_each = pytest.mark.parametrize(
    "served", [each for each in SERVED if each[1] == "qwen3"], ids=" ".join, indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """An engine, the template it has, and its ``base_url``."""
    engine, template = request.param
    with thoughts_sweep.server(engine, template) as base_url:
        yield engine, template, base_url


@every_server
def test_thoughts_and_answers_equal_the_uncapped_ones(served: tuple[str, str, str]) -> None:
    """By raw prompts, at every cap; or the answer says that it is cut."""
    engine, template, base_url = served
    asked = thoughts_sweep.questions(template)[:MOST]
    jobs = servers.AT_A_TIME[engine]
    tally = thoughts_sweep.sweep(base_url, engine, template, CAPS[engine], asked=asked, raw=True, jobs=jobs)

    assert tally.asked == len(asked) * len(thoughts_sweep.WAYS) * len(CAPS[engine])
    assert tally.silent == []
    assert tally.equal > tally.asked // 2


@pytest.mark.parametrize("served", [("vllm", "qwen3")], ids=" ".join, indirect=True, scope="module")
@pytest.mark.parametrize("raw", [False, True], ids=["items", "raw prompt"])
def test_responses_with_thoughts_equal_the_uncapped_ones(served: tuple[str, str, str], raw: bool) -> None:
    """vLLM files an answer that goes on as thoughts, and it is put back. By items, cut thoughts stop, and say so."""
    engine, template, base_url = served
    asked = thoughts_sweep.questions(template)[:MOST]
    jobs = servers.AT_A_TIME[engine]
    tally = thoughts_sweep.sweep(
        base_url, engine, template, CAPS[engine], endpoint="responses", asked=asked, raw=raw, jobs=jobs
    )

    assert tally.asked == len(asked) * len(thoughts_sweep.WAYS) * len(CAPS[engine])
    assert tally.silent == []
    assert tally.equal > (tally.asked // 2 if raw else 0)


@thinking_servers
@pytest.mark.parametrize("by", ["chat", "raw prompt"])
def test_early_answers(served: tuple[str, str, str], by: str) -> None:
    """Thoughts that were cut are closed, and the answer is the one that the model knows."""
    engine, template, base_url = served
    path = str(thoughts_sweep.template_file(template)) if by == "raw prompt" else None
    settings = Continuation(
        provider=engine, on_reasoning_cut="answer", round_tokens=EARLY, max_rounds=100, template=path
    )
    asked = list(itertools.product(thoughts_sweep.WAYS, LONG))

    def ask(way: str, number: int) -> thoughts_sweep.Answer:
        messages = [{"role": "user", "content": think_texts.thinking_prompt(number)}]
        request = {"model": servers.THOUGHTS_MODEL, "messages": messages, "temperature": 0}
        return thoughts_sweep.ask(way, base_url, request, settings)

    with ThreadPoolExecutor(servers.AT_A_TIME[engine]) as pool:
        answers = list(pool.map(lambda each: ask(*each), asked))

    for (way, number), answer in zip(asked, answers, strict=True):
        report = report_of({"continuation": answer.report})
        expected = think_texts.answer(number).strip(), "stop"
        assert (answer.text.strip(), answer.finish_reason) == expected, (way, number)
        assert answer.thoughts.strip()
        # A parser may drop blanks before what may begin a tag.
        assert "".join(answer.thoughts.split()) in "".join(think_texts.thoughts(number).split())
        assert report is not None
        assert report.answered_early


@one_server_each
@pytest.mark.parametrize("kind", ["text", "ids", "list"])
def test_text_completions(served: tuple[str, str, str], kind: str) -> None:
    """A text completion equals the uncapped one, whatever its prompt is."""
    engine, _, base_url = served
    text = f"<|im_start|>user\n{think_texts.thinking_prompt(42)}<|im_end|>\n<|im_start|>assistant\n"
    prompt: Any = {"text": text, "ids": _ids(engine, base_url, text), "list": [text, text + "<think>"]}[kind]
    request: dict[str, Any] = {"model": servers.THOUGHTS_MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 400}
    with openai.OpenAI(base_url=base_url, api_key="none") as plain:
        right = {choice.index: choice.text for choice in plain.completions.create(**request).choices}

    def ask(cap: int, streamed: bool) -> dict[int, str]:
        settings = Continuation(provider=engine, round_tokens=cap, max_rounds=400)
        found = dict.fromkeys(right, "")
        with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=settings) as client:
            answer: Any = client.completions.create(**request, stream=streamed)
            for part in answer if streamed else [answer]:
                for choice in part.choices:
                    found[choice.index] += choice.text
        return found

    asked = list(itertools.product([5, 7, 16], [False, True]))
    with ThreadPoolExecutor(servers.AT_A_TIME[engine]) as pool:
        for each, found in zip(asked, pool.map(lambda each: ask(*each), asked), strict=True):
            assert found == right, each


def _ids(engine: str, base_url: str, text: str) -> list[int]:
    """Return the ids of the tokens of a text, as the engine knows them."""
    body = {"content": text, "prompt": text, "model": servers.THOUGHTS_MODEL, "parse_special": True}
    address = base_url.removesuffix("/v1") + "/tokenize"
    request = urllib.request.Request(address, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        ids: list[int] = json.load(response)["tokens"]
    return ids
