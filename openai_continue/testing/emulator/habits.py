"""
How servers differ, as data. The default is DeepInfra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Habits:
    """
    The ways of one kind of server.
    """

    trims: bool = False
    """The chat template trims the prefill's end (Llama 3, Gemma, GLM): the model goes on from the trimmed text."""

    echo: Literal["always", "whole", "unflagged"] | None = None
    """
    The answer to a prefill begins with a copy of it: "always" (Mistral), "whole" (not when streamed), "unflagged"
    (llama.cpp, PR #23089: always when whole; streamed unless the body sets `continue_final_message`).
    """

    echo_pieces: int = 1
    """In how many chunks a stream sends that copy."""

    marker: Literal["continue_final_message", "prefix", "partial"] | None = None
    """
    What makes a trailing assistant message a prefill, without which it is a finished turn and the answer is a new
    one: the body's `continue_final_message: true` together with `add_generation_prompt: false` (vLLM; the first alone
    is a 400), or the message's `prefix: true` (DeepSeek, Mistral) or `partial: true` (Moonshot, DashScope). None:
    nothing is needed (DeepInfra, TGI, llama.cpp).
    """

    strict_marker: bool = False
    """A trailing assistant message without the marker is a 400 (Mistral)."""

    ignores_prefill: bool = False
    """A trailing assistant message is a finished turn, and the same answer begins anew (OpenAI)."""

    refuses_prefill: bool = False
    """A trailing assistant message is a 400 (Claude 4.6 and later)."""

    limit_field: Literal["max_tokens", "max_completion_tokens", "both"] = "max_tokens"
    """The name of the token limit that is read; the other one is ignored (DeepInfra knows `max_tokens` alone)."""

    default_tokens: int | None = None
    """The limit where the request names none (Moonshot 1024, Fireworks 2048). None: what fits, up to the cap."""

    overflow: Literal["400", "frame", "clamp"] | None = None
    """
    Prompt and `max_tokens` together exceed the context: a 400 (vLLM until mid-2026), HTTP 200 with one SSE frame
    `{"error_type", "error_message"}` in a stream, or a silent clamp to the room left (vLLM 0.32 and later). None:
    "frame" when streamed and "400" when not (DeepInfra; see github.com/sst/opencode issue 38108).
    """

    usage: Literal["finish", "trailing", "both", "asked", "never"] = "finish"
    """
    Where a stream reports usage: on the chunk with the finish reason (DeepInfra), on one of its own without choices, on
    both, on one of its own if `stream_options.include_usage` asks (vLLM, OpenAI), or "never", neither when whole.
    """

    finish_with_text: bool = False
    """The chunk with the finish reason carries the last text (vLLM), instead of an empty delta."""

    thinks: Literal["inline", "reasoning_content", "reasoning"] | None = None
    """
    The model thinks before it answers: `<think>` tags in the content (DeepSeek-R1 without a parser), or a field of
    its own (`reasoning_content`: DeepInfra, DeepSeek, SGLang; `reasoning`: vLLM 0.33, OpenRouter).
    """

    think_tokens: int = 40
    """How long the thought is."""

    template: Literal["r1", "qwen3", "raises"] = "r1"
    """
    How the chat template of a thinking model reads a prefill. "r1": opens `<think>` itself; reads a closed or open
    block in the content; a bare answer is continued; `reasoning_content` is not read. "qwen3": a bare answer is
    continued; reads `reasoning_content`, alone to go on with the thought; an open `<think>` in the content comes out
    doubled, so the model derails. "raises": as "r1", but a closed block in the content is a 400 (DeepSeek-R1
    distills, GLM 4.6, on vLLM).
    """

    misfiles: Literal["whole", "both"] | None = None
    """A continued answer arrives as reasoning, content null (vLLM's deepseek_r1 parser): if whole, or streamed too."""

    grammar_follows: bool = False
    """
    With `response_format`, the grammar is led through the prefill, which is continued (llama.cpp since 2026). Otherwise
    it starts at its root, and a second document begins (vLLM, SGLang, TGI).
    """

    chatters_after_json: bool = False
    """Without `response_format`, the model writes on behind the end of a JSON document that it continued."""

    cut_characters: Literal["dropped", "replaced"] | None = None
    """
    Rare characters are spelled in several tokens, and the limit may fall inside one: what is there of it is left out
    (vLLM), or stands as U+FFFD at the end (SGLang). None: every token is whole characters.
    """

    comments: bool = False
    """Streams hold SSE comments (OpenRouter)."""

    gzip: bool = False
    """Answers are compressed for clients that accept it, streams too."""


DEEPINFRA = Habits()
