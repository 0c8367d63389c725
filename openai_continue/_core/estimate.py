"""The tokens of a text, estimated from its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

# Bytes of a token, on average, without whitespace: some 4 in English and in Chinese.
_BYTES_OF_TOKEN = 4
_WHITESPACE = " \n\t"
# The fields of a request with its prompt.
_PROMPTS = ("messages", "prompt", "input", "instructions")


def tokens_of(text: str) -> int:
    """Return the tokens of a text, roughly."""
    whitespace = sum(map(text.count, _WHITESPACE))
    return (len(text.encode("utf-8", "replace")) - whitespace) // _BYTES_OF_TOKEN


def fits(tokens: int, text: str) -> bool:
    """Whether a number of output tokens fits a text: 60 % of the estimate or more."""
    # Nearly always the number of characters is enough to see it: whitespace makes the estimate only smaller.
    if 3 * len(text) <= 5 * _BYTES_OF_TOKEN * tokens and text.isascii():
        return True
    return 3 * tokens_of(text) <= 5 * tokens and (tokens > 0 or not text)


def tokens_of_prompt(body: Mapping[str, Any]) -> int:
    """Return the tokens of the texts in the prompt of a request, roughly."""
    return sum(tokens_of(text) for name in _PROMPTS for text in _texts(body.get(name)))


def _texts(value: object) -> Iterator[str]:
    """Give the texts in a prompt; of a message its content, without images and the like."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in cast("list[object]", value):
            yield from _texts(each)
    elif isinstance(value, dict):
        known = cast("dict[str, object]", value)
        yield from _texts(known.get("content", known.get("text")))
