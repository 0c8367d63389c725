"""
The prompts of text completions: what a text asks for, and how much of it the model has written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from .chatml import START, read
from .checks import Body
from .habits import Habits
from .model import Model
from .template import Prompt, length
from .thinking import is_opened, tags
from .vocabulary import decoded

# How many characters no text begins with by chance.
_SURE = 12


def text_prompts(body: Body, model: Model, known: Sequence[str]) -> list[Prompt]:
    """
    Return the prompts of a text completion.

    ``known``: the prompts of earlier requests, the shortest ones first. A text that one of them begins may go on with
    what the model wrote after it.
    """
    asked = body["prompt"]
    if isinstance(asked, str):
        return [_of_text(asked, body, model, known)]
    several = cast("Sequence[str] | Sequence[Sequence[int]]", [asked] if isinstance(asked[0], int) else asked)
    return [
        _of_text(one, body, model, known) if isinstance(one, str) else _of_ids(one, body, model, known)
        for one in several
    ]


def _of_ids(ids: Sequence[int], body: Body, model: Model, known: Sequence[str]) -> Prompt:
    return replace(_of_text(decoded(ids), body, model, known), tokens=len(ids), ids=tuple(ids))


def _of_text(text: str, body: Body, model: Model, known: Sequence[str]) -> Prompt:
    tokens = length(text, model.habits)
    if text.startswith(START):
        return replace(raw_prompt(text, model.habits), tokens=tokens)
    fresh = Prompt(({"role": "user", "content": text},), (), text, text, tokens, source="text")
    for opening in known:
        if not text.startswith(opening) or text == opening:
            continue
        message = {"role": "user", "content": opening}
        split = replace(fresh, messages=(message,), opening=opening, prefill=text[len(opening) :])
        turn = model.turn(body, split)
        if not turn.is_derailed or _is_begun(body, split, model):
            return split
    return fresh


def _is_begun(body: Body, prompt: Prompt, model: Model) -> bool:
    """Whether what follows the opening begins as the model does, even if it goes on with other words."""
    begun = replace(prompt, prefill=prompt.prefill[:_SURE])
    return len(prompt.prefill) >= _SURE and not model.turn(body, begun).is_derailed


def raw_prompt(text: str, habits: Habits) -> Prompt:
    """Return the prompt of a text in the form of the chat template."""
    conversation = read(text)
    fresh = Prompt(
        conversation.messages, conversation.tools, text, conversation.opening, length(text, habits), source="raw"
    )
    if conversation.begun is None:
        # The model would go on with the words of another.
        return replace(fresh, prefill="\0")
    opened, closed = tags(habits)
    begun = conversation.begun
    if habits.thinks and begun.startswith(opened + closed):
        return replace(fresh, prefill=begun.removeprefix(opened + closed), block="all")
    if is_opened(habits) and begun.startswith(opened):
        return replace(fresh, prefill=begun.removeprefix(opened), block="opening")
    return replace(fresh, prefill=begun)
