"""
Tool calls that were cut: by the request, by the marks in a text that a server could not read, or by their arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from .jsons import Json, as_object, as_string

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


class Calls:
    """The arguments of the tool calls of one choice, as they come in whole messages or in deltas."""

    def __init__(self) -> None:
        # By index, and by how many calls came under it: some servers give several calls one index.
        self._arguments: dict[tuple[int, int], str] = {}
        self._ids: dict[int, list[str]] = {}

    def take(self, delta: Json) -> bool:
        """Take a message or delta; return whether a call is in it."""
        calls = delta.get("tool_calls")
        listed = [as_object(call) or {} for call in cast("list[Any]", calls)] if isinstance(calls, list) else []
        for place, call in enumerate(listed):
            index = call.get("index")
            # Other tools ("custom") take a text, in which no cut can be seen.
            if as_object(call.get("function")) is not None:
                self._add(index if isinstance(index, int) else place, call["function"], as_string(call.get("id")))
        old = as_object(delta.get("function_call"))
        if old:
            # The one call of the old interface.
            self._add(-1, old)
        return bool(listed or old)

    def _add(self, index: int, function: object, id_: str | None = None) -> None:
        ids = self._ids.setdefault(index, [])
        if id_ and id_ not in ids:
            ids.append(id_)
        key = index, len(ids)
        arguments = as_string((as_object(function) or {}).get("arguments"))
        self._arguments[key] = self._arguments.get(key, "") + (arguments or "")

    def __bool__(self) -> bool:
        return bool(self._arguments)

    @property
    def are_broken(self) -> bool:
        """Whether the arguments of a call are no JSON. A call without any has none to be cut in."""
        return any(arguments.strip() and not _is_json(arguments) for arguments in self._arguments.values())


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


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
