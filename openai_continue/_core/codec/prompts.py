"""The prompts of a text completion, and whether it can be continued at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

#: A text, or the ids of its tokens.
Start: TypeAlias = "str | list[int]"


def is_completion(body: Mapping[str, Any]) -> bool:
    """Whether a body asks for a text completion, and not for a chat completion."""
    return "prompt" in body and "messages" not in body


def prompts_of(body: Mapping[str, Any]) -> list[Start]:
    """Return the prompts of a text completion; none if they are no texts and no ids."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    items = cast("list[Any]", prompt) if isinstance(prompt, list) else []
    if items and all(map(_is_id, items)):
        return [items]
    known = all(isinstance(item, str) or _are_ids(item) for item in items)
    return items if known else []


def has_ids(body: Mapping[str, Any]) -> bool:
    """Whether a prompt of a text completion is ids of tokens."""
    return is_completion(body) and any(not isinstance(prompt, str) for prompt in prompts_of(body))


def choices_per_prompt(body: Mapping[str, Any]) -> int:
    """Return how many choices a request asks for of each prompt."""
    wanted = body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def may_go_on(body: Mapping[str, Any]) -> bool:
    """
    Whether a text completion may be continued.

    Not if its text goes into another one (``suffix``), if it is the best of several, if its prompt is no text, or if no
    text is asked for: ``max_tokens=0`` with ``echo`` asks for the logprobs of the prompt.
    """
    best = body.get("best_of")
    is_best = isinstance(best, int) and best > choices_per_prompt(body)
    asked = body.get("max_tokens")
    none = isinstance(asked, (int, float)) and asked < 1
    # vLLM: prompts of vectors beside those of text.
    others = ("suffix", "use_beam_search", "prompt_embeds")
    return bool(prompts_of(body)) and not (is_best or none or any(body.get(name) for name in others))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_ids(values: object) -> bool:
    items = cast("list[object]", values) if isinstance(values, list) else []
    return bool(items) and all(map(_is_id, items))
