"""Requests rendered through the chat templates of real models: the prompt ends in the text as the model wrote it."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openai_continue._tables import families
from openai_continue.testing.emulator.tokens import shown, tokenize
from tests.support.bodies import ask
from tests.support.driving import Drive, drives
from tests.support.script import Script, reply

TEMPLATES = Path(__file__).parent.parent / "templates"
#: A model for each template, by whose name its habits are known.
MODELS = {
    "cohere": "CohereLabs/aya-expanse-8b",
    "deepseek_r1_distill": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "gemma": "google/gemma-2-9b-it",
    "gemma3": "google/gemma-3-27b-it",
    "glm4moe": "zai-org/GLM-4.5",
    "llama3": "meta-llama/Meta-Llama-3-70B-Instruct",
    "llama3_1": "meta-llama/Meta-Llama-3.1-405B-Instruct",
    "nemotron_3_nano": "nvidia/Nemotron-3-Nano-30B-A3B",
    "phi3_5": "microsoft/Phi-3.5-mini-instruct",
    "qwen2_5": "Qwen/Qwen2.5-72B-Instruct",
    "qwen3": "Qwen/Qwen3-235B-A22B",
    "qwen3_5_think": "Qwen/Qwen3.5-397B-A17B",
}
TEXT = (
    "# Title\n\nA word, “quoted”:\n\n```python\ndef f(x):\n    if x:\n        return   1\n\n\n    return\t2\n```\n"
    "- one\n  - two  \n\n| a | b |\n|---|---|\n| 1 |   |\n\n日本語。\n\n\nThe end."
)
THOUGHTS = "Okay, so the user wants\na text. First:\n\n1. this,\n2. that"
EMPTY_BLOCK = "<think>\n\n</think>\n\n"
each_template = pytest.mark.parametrize("name", MODELS)


@lru_cache
def environment() -> Any:
    """Return what transformers renders with (utils/chat_template_utils.py)."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols])
    made.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = lambda _: "01 Jan 2026"
    return made


def _raise(message: str) -> None:
    raise ValueError(message)


@lru_cache
def template(name: str) -> Any:
    return environment().from_string((TEMPLATES / f"{name}.jinja").read_text("utf-8"))


def rendered(name: str, messages: list[dict[str, Any]], **flags: Any) -> str:
    prompt: str = template(name).render(messages=messages, bos_token="<s>", eos_token="</s>", tools=None, **flags)
    return prompt


def begun(name: str, messages: list[dict[str, Any]]) -> str:
    """Render for a fresh answer."""
    return rendered(name, messages, add_generation_prompt=True)


def continued(name: str, messages: list[dict[str, Any]]) -> str:
    """Render as transformers does with ``continue_final_message``, and so vLLM."""
    tag = "CONTINUE_FINAL_MESSAGE_TAG "
    messages = copy.deepcopy(messages)
    final = messages[-1]["content"]
    messages[-1]["content"] = final + tag
    prompt = rendered(name, messages, add_generation_prompt=False)
    if tag.strip() not in prompt or final.strip() not in prompt:
        msg = "the final message does not appear in the chat after applying the chat template"
        raise ValueError(msg)
    end = prompt.rindex(tag.strip())
    return prompt[:end] if prompt[end : end + len(tag)] == tag else prompt[:end].rstrip()


def continued_by_tgi(name: str, messages: list[dict[str, Any]]) -> str:
    """Render as TGI does: as ever, then cut after the last message (router/src/infer/chat_template.rs)."""
    prompt = begun(name, messages)
    content = messages[-1]["content"]
    return prompt[: prompt.rindex(content) + len(content)].rstrip()


def continued_by_sglang(name: str, messages: list[dict[str, Any]]) -> str:
    """Render as SGLang does: for a fresh answer, with the text after it (serving_chat.py)."""
    return begun(name, messages[:-1]) + str(messages[-1]["content"])


class Templated:
    """A server with a real template, whose model goes on with the part of its text that the prompt ends in."""

    def __init__(self, name: str, render: Any = continued, *, cap: int, thinks: bool = False) -> None:
        self._name = name
        self._render = render
        self._cap = cap
        self._thinks = thinks
        self.prompts: list[str] = []

    def _written(self, body: dict[str, Any]) -> tuple[str, str]:
        """Return the thoughts and the answer that the model sees before it writes."""
        messages = body["messages"]
        if messages[-1]["role"] != "assistant":
            return "", ""
        prompt = self._render(self._name, messages)
        self.prompts.append(prompt)
        # If the thoughts went back next to the answer, they are in it.
        header = continued(self._name, [*messages[:-1], {**messages[-1], "content": "X"}]).removesuffix("X")
        fresh = begun(self._name, messages[:-1])
        beginnings = [one for one in (fresh, f"{fresh}\n</think>\n\n", header) if prompt.startswith(one)]
        written = prompt[max(map(len, beginnings)) :]
        if self._thinks and not TEXT.startswith(written):
            return written.removeprefix("<think>\n"), ""
        return "", written

    def _round(self, body: dict[str, Any]) -> Any:
        thoughts, answer = self._written(body)
        assert THOUGHTS.startswith(thoughts), (thoughts, self.prompts[-1])
        assert TEXT.startswith(answer), (answer, self.prompts[-1])
        room = self._cap
        pieces: list[Any] = []
        if self._thinks and not answer:
            tokens = shown(tokenize(THOUGHTS[len(thoughts) :]))[:room]
            pieces += [{"reasoning_content": token} for token in tokens]
            room -= len(tokens)
        tokens = shown(tokenize(TEXT[len(answer) :]))
        pieces += tokens[:room]
        return reply(*pieces, finish="length" if len(tokens) > room else "stop")

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        return Script(self._round(body)).completion(body)

    def chunks(self, body: dict[str, Any]) -> Any:
        return Script(self._round(body)).chunks(body)


def question(name: str, **fields: Any) -> dict[str, Any]:
    return ask("Write.", model=MODELS[name], **fields)


@each_template
def test_every_template_has_its_row(name: str) -> None:
    """Each template in the folder has a model in the table, and renders."""
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == set(MODELS)
    assert begun(name, ask("Write.")["messages"])


@each_template
def test_family(name: str) -> None:
    """Which templates trim, open a think block or keep one is as the tables of families say."""
    messages = ask("Write.")["messages"]

    def goes_back_as(content: str) -> str:
        try:
            return continued(name, [*messages, {"role": "assistant", "content": content}])
        except ValueError:
            return "refused"

    model = MODELS[name]
    assert families.trims(model) == goes_back_as("word\n\n").endswith("word")
    assert families.is_of("opening", model) == begun(name, messages).endswith("<think>\n")
    if families.is_of("opening", model):
        opened = goes_back_as("<think>\nword")
        assert families.is_of("taking", model) == (opened == begun(name, messages) + "word")
    if families.is_of("r1", model):
        assert goes_back_as(f"{EMPTY_BLOCK}word") == "refused"


@drives
@each_template
@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("cap", [4, 7, 20])
def test_answer(name: str, temperature: int, cap: int, drive: Drive) -> None:
    """Whatever the template does to the message, the prompt ends in the answer so far, and the text is as it was."""
    server = Templated(name, cap=cap)
    answer = drive(server, question(name, temperature=temperature), provider="vllm", max_rounds=99)

    assert answer.ending == (TEXT, "stop", "stop")
    assert all("</think><think>" not in prompt.replace("\n", "") for prompt in server.prompts)


@drives
@each_template
@pytest.mark.parametrize("cap", [4, 7, 20])
def test_answer_by_tgi(name: str, cap: int, drive: Drive) -> None:
    """TGI's way of rendering gives the same, because its row says that it trims."""
    answer = drive(Templated(name, continued_by_tgi, cap=cap), question(name), provider="tgi", max_rounds=99)

    assert answer.ending == (TEXT, "stop", "stop")


@drives
@each_template
@pytest.mark.parametrize("cap", [26, 40])
def test_answer_by_sglang(name: str, cap: int, drive: Drive) -> None:
    """With SGLang, an answer never lands in the think block that the generation prompt opens."""
    opens = families.is_of("opening", MODELS[name])
    server = Templated(name, continued_by_sglang, cap=cap, thinks=opens)
    answer = drive(server, question(name), provider="sglang", max_rounds=99)

    assert (TEXT, "stop", "stop", THOUGHTS if opens else "") == (*answer.ending, answer.thoughts)
    assert not opens or all(EMPTY_BLOCK in prompt for prompt in server.prompts)


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "nemotron_3_nano"])
@drives
def test_thoughts(name: str, drive: Drive) -> None:
    """Cut thoughts go back as the prompt had them: after the opening tag, which is there once."""
    server = Templated(name, cap=9, thinks=True)
    answer = drive(server, question(name), provider="vllm", max_rounds=99)

    assert (answer.text, answer.thoughts) == (TEXT, THOUGHTS)
    assert server.prompts[0].count("<think>") == 1
    assert server.prompts[0].startswith(begun(name, ask("Write.")["messages"]))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "glm4moe"])
@drives
def test_thoughts_that_stay(name: str, drive: Drive) -> None:
    """If an open block would come after a closed one, cut thoughts are not sent."""
    server = Templated(name, cap=9, thinks=True)
    answer = drive(server, question(name), provider="vllm")

    assert (*answer.ending[1:], server.prompts) == ("length", "reasoning", [])
    messages = [*ask("Write.")["messages"], {"role": "assistant", "content": "<think>\nOkay"}]
    assert continued(name, messages).count("<think>") == 2


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "glm4moe", "nemotron_3_nano"])
def test_answer_after_thoughts(name: str) -> None:
    """An answer goes back after a think block that the template closes; with its thoughts, after them."""
    for thoughts in ("", "well"):
        last = {"role": "assistant", "content": "word", **({"reasoning_content": thoughts} if thoughts else {})}
        prompt = continued(name, [*ask("Write.")["messages"], last])

        assert prompt.replace("\n", "").endswith(f"<think>{thoughts}</think>word")
