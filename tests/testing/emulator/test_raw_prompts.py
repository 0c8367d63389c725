"""Rendered prompts at `POST /completions`: the model goes on with all that it has written, tags and tool calls too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.habits import CallSyntax
from openai_continue.testing.emulator.tokens import count
from tests.testing.emulator.asking import ASK, BODY, ask, post, streamed_or_not
from tests.testing.emulator.test_text_completions import complete, completed

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "save",
        "description": "Säve <it>.",
        "parameters": {"properties": {"path": {}, "mode": {"type": "object"}, "content": {"type": "string"}}},
    },
}
CALL: dict[str, Any] = {
    **BODY,
    "tools": [TOOL],
    "messages": [{**ASK, "content": "Write 20 tokens, then call the tool twice with 210 tokens."}],
}
SHORT: dict[str, Any] = {**BODY, "messages": [{**ASK, "content": "Write 90 tokens."}]}
LONG: dict[str, Any] = {
    **BODY,
    "tools": [TOOL],
    "messages": [
        {"role": "system", "content": "Be kind.\n"},
        {"role": "user", "content": [{"type": "text", "text": "Save "}, {"type": "text", "text": "it."}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "save", "arguments": '{"path":"é"}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "Saved."},
        {"role": "user", "content": "Write 50 tokens."},
    ],
}


def rendered(emulator: Emulator, body: dict[str, Any], **options: Any) -> str:
    """Render as vLLM does: with the filter of transformers, and the arguments of calls as objects."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    messages = json.loads(json.dumps(body["messages"]))
    for message in messages:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    template = environment.from_string(emulator.chat_template)
    return template.render(messages=messages, tools=body.get("tools"), add_generation_prompt=True, **options)


THINKING = {
    "plain": Habits(),
    "r1": Habits(thinks="reasoning_content", think_tokens=30),
    "qwen3": Habits(thinks="reasoning", template="qwen3", think_tokens=30, thinking_switch="both"),
    "glm": Habits(thinks="reasoning", template="glm", think_tokens=30, thinking_switch="enable_thinking"),
    "inline": Habits(thinks="inline", think_tokens=30),
}
thinking = pytest.mark.parametrize("habits", THINKING.values(), ids=THINKING)


@thinking
@pytest.mark.parametrize("body", [SHORT, CALL, LONG], ids=["short", "call", "long"])
def test_template(habits: Habits, body: dict[str, Any], tmp_path: Path) -> None:
    """The template renders the prompt of a chat request, to the letter and to the token."""
    with Emulator(habits=habits) as emulator:
        prompt = rendered(emulator, body)
        assert prompt == emulator.prompt_of(body)

        chat, raw = post(emulator, **body).json(), complete(emulator, prompt).json()
        assert chat["usage"]["prompt_tokens"] == raw["usage"]["prompt_tokens"] == count(prompt)
        assert chat["usage"]["completion_tokens"] == raw["usage"]["completion_tokens"]
        assert raw["choices"][0]["text"] == emulator.raw(body)
        assert raw["choices"][0]["finish_reason"] == "stop"


def test_form_of_prompts() -> None:
    """The prompt is ChatML, and R1's template opens the think block."""
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    start = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ends = {"plain": "", "r1": "<think>\n", "qwen3": "", "glm": "", "inline": ""}
    for name, habits in THINKING.items():
        assert Emulator(habits=habits).prompt_of(body) == start + ends[name]


@thinking
@pytest.mark.thorough
def test_every_cut(habits: Habits) -> None:
    """The model goes on after every beginning of its turn, and what it writes has the parts of the chat answer."""
    with Emulator(habits=habits) as emulator:
        prompt, whole = emulator.prompt_of(SHORT), emulator.raw(SHORT)
        thoughts, answer = emulator.uncapped_reasoning(SHORT), emulator.uncapped(SHORT)
        assert whole.endswith(answer)
        form = {
            "plain": "{1}",
            "r1": "{0}\n</think>\n\n{1}",
            "qwen3": "<think>\n{0}\n</think>\n\n{1}",
            "glm": "<think>{0}</think>\n{1}",
            "inline": "{1}",
        }
        name = next(name for name, one in THINKING.items() if one == habits)
        assert form[name].format(thoughts, answer) == whole
        for cut in range(len(whole)):
            assert completed(emulator, prompt + whole[:cut]) == (whole[cut:], "stop")
        assert emulator.derailed == 0


@pytest.mark.parametrize("calls", ["hermes", "qwen3_coder", "deepseek_v31", "kimi_k2"])
@pytest.mark.thorough
def test_every_cut_of_calls(calls: CallSyntax) -> None:
    """Tool calls come in the model's own syntax, and go on after every cut."""
    with Emulator(habits=Habits(calls=calls, thinks="reasoning", think_tokens=10, template="qwen3")) as emulator:
        prompt, whole = rendered(emulator, CALL), emulator.raw(CALL)
        assert whole.endswith(emulator.uncapped_raw(CALL))
        assert [name for name, _ in emulator.uncapped_calls(CALL)] == ["save", "save"]
        for cut in range(0, len(whole), 5):
            assert completed(emulator, prompt + whole[:cut]) == (whole[cut:], "stop")
        assert emulator.derailed == 0


@streamed_or_not
@thinking
def test_second_round(habits: Habits, stream: bool) -> None:
    """A chat request is cut; the rest of the turn comes from the rendered prompt and what was written."""
    with Emulator(cap=50, habits=habits) as emulator:
        text, _ = ask(emulator, stream=stream, messages=SHORT["messages"])
        opening = emulator.raw(SHORT)
        written = opening[: opening.index(text) + len(text)] if text else opening[:20]
        rest, finish = written, "length"
        while finish == "length":
            piece, finish = completed(emulator, emulator.prompt_of(SHORT) + rest, stream=stream)
            rest += piece
        assert rest == opening
        assert emulator.derailed == 0


@thinking
def test_wrong_endings(habits: Habits) -> None:
    """A text that the model did not write derails it, as does a prompt without the header of the answer."""
    with Emulator(habits=habits) as emulator:
        prompt, whole = emulator.prompt_of(SHORT), emulator.raw(SHORT)
        wrong = [
            prompt + "x",
            prompt + whole[:60] + "\n\n\n",
            prompt + whole + "<|im_end|>",
            prompt[: prompt.index("<|im_start|>assistant")],
            prompt[:30],
        ]
        for number, one in enumerate(wrong):
            assert completed(emulator, one)[0].startswith("⟦derailed")
            assert emulator.derailed == number + 1


def test_seeds_choices_and_documents() -> None:
    """The seed and the choice decide as in a chat request; so does the form that the answer has to have."""
    with Emulator(tokens=90) as emulator:
        prompt = emulator.prompt_of(BODY)
        for seed in (None, 7):
            for choice in range(3):
                whole = emulator.uncapped({**BODY, "seed": seed}, choice)
                assert completed(emulator, prompt, n=3, seed=seed, index=choice)[0] == whole
                assert completed(emulator, prompt + whole[:33], seed=seed)[0] == whole[33:]
        document = emulator.uncapped({**BODY, "response_format": {"type": "json_object"}})
        assert completed(emulator, prompt + document[:40])[0] == document[40:]
        assert completed(emulator, prompt, response_format={"type": "json_object"})[0] == document
