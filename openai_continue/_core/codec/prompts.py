"""The prompts of a text completion, and whether it can be continued at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def is_completion(body: Mapping[str, Any]) -> bool:
    """Whether a body asks for a text completion, and not for a chat completion."""
    return "prompt" in body and "messages" not in body


def prompts_of(body: Mapping[str, Any]) -> list[str]:
    """Return the prompts of a text completion; none if they are not texts."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    items = cast("list[Any]", prompt) if isinstance(prompt, list) else []
    return items if all(isinstance(item, str) for item in items) else []


def choices_per_prompt(body: Mapping[str, Any]) -> int:
    """Return how many choices a request asks for of each prompt."""
    wanted = body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def left_alone(body: Mapping[str, Any]) -> str | None:
    """Return what keeps a text completion from being continued, in words, or None if nothing does."""
    best, asked = body.get("best_of"), body.get("max_tokens")
    reasons = {
        "a prompt that is not text, such as token ids": not prompts_of(body),
        # The text goes into another one.
        "a suffix": bool(body.get("suffix")),
        "best_of": isinstance(best, int) and best > choices_per_prompt(body),
        "a beam search": bool(body.get("use_beam_search")),
        # vLLM: prompts of vectors beside those of text.
        "prompt_embeds": bool(body.get("prompt_embeds")),
        # Each round has its own, with places in its own text. 0 asks for those of the text without others.
        "logprobs": body.get("logprobs") is not None and body.get("logprobs") is not False,
        "no output tokens": isinstance(asked, (int, float)) and asked < 1,
    }
    return next((what for what, is_so in reasons.items() if is_so), None)
