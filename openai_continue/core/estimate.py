"""The output tokens of a text, estimated from its bytes."""

from __future__ import annotations

# Bytes of a token, on average, without whitespace: some 4 in English and in Chinese.
_BYTES_OF_TOKEN = 4
_WHITESPACE = " \n\t"


def tokens_of(text: str) -> int:
    """Return the tokens of a text, roughly."""
    whitespace = sum(map(text.count, _WHITESPACE))
    return (len(text.encode("utf-8", "replace")) - whitespace) // _BYTES_OF_TOKEN


def fits(tokens: int, text: str) -> bool:
    """Whether a number of output tokens fits a text: 60 % of the estimate or more."""
    # Nearly always the number of characters is enough to see it.
    if len(text) <= _BYTES_OF_TOKEN * tokens and text.isascii():
        return True
    return 3 * tokens_of(text) <= 5 * tokens and (tokens > 0 or not text)
