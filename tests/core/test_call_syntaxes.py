"""Tool calls as each family of models writes them: whose they are, and what is written is what is read."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.calls.reader import Reader
from openai_continue._tables import call_syntaxes
from openai_continue._tables.call_syntaxes import SYNTAXES, CallSyntax
from openai_continue.testing.emulator import calls as emulated
from openai_continue.testing.emulator import syntaxes as emulated_syntaxes
from tests.core.test_templates import rendered
from tests.support.calls import EMULATED, dumped, each_syntax, read, row, split, tool, written

#: The syntax of each model. None: no row, because the family writes calls otherwise, or its text cannot go back.
MODELS: dict[str | None, list[str]] = {
    "qwen3-coder": [
        "Qwen/Qwen3-Coder-480B-A35B-Instruct-Turbo",
        "qwen3coder",
        "Qwen/Qwen3.5-397B-A17B",
        "nvidia/Nemotron-3-Nano-30B-A3B",
    ],
    "hermes": [
        "Qwen/Qwen2.5-Coder-32B-Instruct",
        "Qwen/Qwen3-235B-A22B-Thinking-2507",
        "qwen3:8b",
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        "Qwen/QwQ-32B",
        "NousResearch/Hermes-3-Llama-3.1-405B",
    ],
    "glm-4.5": ["zai-org/GLM-4.5-Air", "zai-org/GLM-4.6V"],
    "glm-4.7": ["zai-org/GLM-4.7", "zai-org/GLM-5"],
    "deepseek-v3.2": ["deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3.2-Speciale"],
    "deepseek-v3.1": ["deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-ai/DeepSeek-V3.2-Exp"],
    "deepseek-v3": [
        "deepseek-ai/DeepSeek-V3-0324",
        "deepseek-ai/DeepSeek-V3",
        "deepseek-ai/DeepSeek-R1-0528",
        "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",
    ],
    "kimi-k2": ["moonshotai/Kimi-K2-Instruct-0905", "moonshotai/Kimi-K2-Thinking"],
    "minimax-m2": ["MiniMaxAI/MiniMax-M2.1"],
    "llama-3": ["meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct-Turbo"],
    None: [
        "openai/gpt-oss-120b",
        "deepseek-ai/DeepSeek-R1",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "deepseek-chat",
        "google/gemma-3-27b-it",
        "google/gemma-4-31B-it",
        "LiquidAI/LFM2.5-1.2B-Instruct",
        "google/functiongemma-270m-it",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "MiniMaxAI/MiniMax-M1-80k",
        "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
        "Qwen/Qwen2-72B-Instruct",
        "Qwen/Qwen-32B",
        "zai-org/GLM-4-9B",
        "gpt-5",
        "",
    ],
}


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, models in MODELS.items() for model in models])
def test_models(name: str | None, model: str) -> None:
    """The row is found by the name of the model, in any case of letters."""
    for spelled in (model, model.lower(), model.upper()):
        found = call_syntaxes.of_model(spelled)
        assert name == (None if found is None else found.name), spelled


def test_every_row_has_models() -> None:
    assert {syntax.name for syntax in SYNTAXES} == set(MODELS) - {None} == set(EMULATED.values())
    # FunctionGemma is in no row of ours.
    assert {*EMULATED, "functiongemma"} == set(emulated_syntaxes.SYNTAXES)
    assert call_syntaxes.named("hermes") is row("hermes")
    assert call_syntaxes.named("functiongemma") is None


ARGUMENTS: dict[str, Any] = {
    "path": "a b.txt",
    "n": 12,
    "o": {"a": [1, "x"], "b": {"c": 1.5}},
    "content": 'l1\nl2 "q" \\ \t it\'s </para\n',
}
TEMPLATES = {
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "qwen3_5_think": "qwen3-coder",
    "glm4moe": "glm-4.5",
    "llama3_1": "llama-3",
}


@pytest.mark.parametrize(("template", "name"), TEMPLATES.items())
def test_as_the_template(template: str, name: str) -> None:
    """Calls are written as the model's chat template writes those of a finished turn, which the model was trained on."""
    calls = [("save", ARGUMENTS), ("run", {"command": "ls"})]
    if name == "llama-3":
        # Its template takes one call, and no text.
        calls = calls[:1]
    listed = [{"type": "function", "function": {"name": called, "arguments": given}} for called, given in calls]
    turn = {"role": "assistant", "content": "Here.", "tool_calls": listed}
    prompt = rendered(template, [{"role": "user", "content": "x"}, turn])

    text = "" if name == "llama-3" else "Here."
    assert written(row(name), *[(called, dumped(given)) for called, given in calls], text=text) in prompt


@pytest.mark.parametrize(("other", "name"), EMULATED.items())
def test_as_the_emulator(other: Any, name: str) -> None:
    """The emulator's table of the syntaxes is made from other sources: vLLM's parsers and templates of llama.cpp."""
    arguments = {**ARGUMENTS, "ok": True, "none": None, "list": ["x", 'y"]', {"z": False}], "empty": {}}
    model = emulated.written(
        other, (emulated.Wanted("save", arguments), emulated.Wanted("run", {})), after_text=name != "llama-3"
    )
    ours = written(row(name), *[(call.name, call.arguments) for call in model.calls])
    assert model.raw == (row(name).gap if name != "llama-3" else "") + ours


#: Arguments that are awkward in some syntax.
AWKWARD: dict[str, dict[str, Any]] = {
    "none": {},
    "one word": {"a": "b"},
    "every type": {"n": -1.5e-7, "i": 10**20, "t": True, "f": False, "none": None, "o": {}, "l": [], "s": ""},
    "nested": {"o": {"a": [1, "x", {"b": [None, True, [{}]]}], "é": {"c d": ["", "}", "]", '"']}}, "z": "end"},
    "list of strings": {"l": ["it's", 'a "b"', "[", "}}", "\\", "\n", "a, b: c", "', '"], "s": "\\"},
    "like tags": {"a": "</", "b": "</parameter", "c": "</arg_value", "d": "<|DSML|", "e": "\n</para", "f": "</invoke>"},
    "like syntax": {"a": '<|"|', "b": '"}', "c": ")]", "d": "}\n", "e": "}; ", "f": "\n```", "g": '{"a": "'},
    "like values": {"a": "12", "b": "true", "c": "null", "d": '{"x": 1}', "e": "[]"},
    "white space": {"a": "\n", "b": "\n\n x \n\n", "c": " ", "d": "\t\r\n", "e": "x\n"},
    "characters": {"a": "é 日本 🦊 👩🏽\u200d🚀", "b": "\u2028\ufffd\x7f", "c": "\x00", "d": "\\u00e9 \\n", "e": "/"},
    "names": {"x-y": 1, "_n.1": "a", "éà": [], "Content": "b"},
}


@each_syntax
@pytest.mark.parametrize("name", AWKWARD)
def test_round_trip(name: str, syntax: CallSyntax) -> None:
    """What is written is read as the same calls, in whatever pieces it comes."""
    arguments = AWKWARD[name]
    tools = [tool("save", arguments), tool("other", arguments)]
    for ascii_only, compact in ((False, False), (True, False), (False, True)):
        given = dumped(arguments, ascii_only=ascii_only, compact=compact)
        expected = given if syntax.parameters is None else dumped(arguments, compact=compact)
        text = "" if syntax.name == "llama-3" else "Here < it is."
        raw = written(syntax, ("save", given), ("other", given), text=text)
        for seed in range(8):
            reader = Reader(syntax, tools, compact=compact)
            said, calls = read(reader, split(raw, seed))
            assert (text, [("save", expected), ("other", expected)]) == (said.rstrip("\n"), calls)
            assert (reader.is_broken, reader.is_in_call, reader.calls) == (False, False, 2)
