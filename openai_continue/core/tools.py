"""Tool calls that were cut: by the request, or by the marks in a text that a server could not read as a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .jsons import as_object

#: What opens a tool call in the model's own syntax. From the tool parsers of vLLM (vllm/tool_parsers) and llama.cpp
#: (common/chat.cpp): Hermes and Qwen, Llama 3, Mistral, DeepSeek, Kimi K2, MiniMax M2, Qwen3-Coder, Gemma, LFM2, GLM.
_OPENINGS = (
    "<tool_call>",
    "<tool_calls>",
    "<|tool_call",
    "<function=",
    "<function_calls>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "<｜tool▁call",
    "<｜DSML｜",
    "<minimax:tool_call>",
    "<start_function_call>",
)
# Fewer characters at the end of a text begin too many other things.
_SHORTEST_BEGINNING = 5


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether a request leaves the model no choice but to call a tool. vLLM then gives half a call back as content."""
    choice = body.get("tool_choice")
    return choice == "required" or as_object(choice) is not None


def opens_call(text: str) -> bool:
    """Whether a text holds the opening of a tool call, or ends in the beginning of one."""
    return any(
        opening in text or any(text.endswith(opening[:size]) for size in range(_SHORTEST_BEGINNING, len(opening)))
        for opening in _OPENINGS
    )
