"""Whether a raw prompt is the one that the first round had: its number of tokens shows it."""

from __future__ import annotations

# A prompt may have one token more than it had as a chat, if its end is split into other tokens.
_MORE = 1
# Fewer: the end that a parser left out (a tag and the whitespace beside it), a character that was cut.
_FEWER = 12
# Samples have tokens that a tokenizer would not choose: of so many one is missing when the text is read again.
_RARE = 50


# More, if the thoughts are closed: the tag and the newlines around it.
_CLOSING = 6


def is_same_prompt(tokens: int, before: int, written: int, *, held: str, closes: bool) -> bool:
    """
    Whether a raw prompt of ``tokens`` tokens is the prompt and the answer after the round before it.

    ``before``: the tokens of these two; ``written``: those of the answer. ``held``: the end of the answer that was not
    sent, of which each byte may have been a token. ``closes``: whether a closing tag was sent after it.
    """
    fewer = len(held.encode("utf-8", "replace")) + _FEWER + written // _RARE
    return before - fewer <= tokens <= before + (_CLOSING if closes else _MORE)
