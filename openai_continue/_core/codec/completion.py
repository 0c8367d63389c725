"""Text completions (``client.completions.create``): their prompts and shape, and whether one can be continued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..._tables.providers import Provider
from ..json import Json
from .plain_shape import PlainShape
from .text_shape import as_chat, as_completion


class CompletionShape(PlainShape):
    """A text completion. It goes on from its prompt and all of its text."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        #: The prompts that the answers go on from, and how many choices the request asks for.
        self.prompts = prompts_of(body)
        self.wanted = choices_per_prompt(body) * len(self.prompts)

    def row(self, provider: Provider) -> Provider:
        """Return a provider's row as it is for text completions."""
        return provider.for_completions

    def field(self, _: str) -> str:
        """Return "text": a text completion has no other."""
        return "text"

    def taken(self, chunk: Json) -> Json:
        """Return a chunk in the shape of chat."""
        return cast(Json, as_chat(chunk))

    def taken_whole(self, answer: object) -> object:
        """Return a whole answer as one chunk of chat; what is none as it is."""
        return as_chat(answer)

    def given(self, chunks: list[Json]) -> list[Json]:
        """Return chunks in the shape of text completions."""
        return [as_completion(chunk, "delta") for chunk in chunks]

    def given_whole(self, completion: Json) -> Json:
        """Return a completion in the shape of text completions."""
        return as_completion(completion, "message")


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
