"""
Signs that a round is a new answer and not a continuation.

A server that takes the prefill for a finished turn opens a new one. Then the answer begins again, or the model says
something else. The signs:
- the beginning of the answer comes again (seam.py): enough;
- the new text cannot go on from the old one: a sentence, a heading, a fence or a greeting begins within a word or
  within a sentence: enough;
- the prompt of the round is a few tokens longer than the prompt and the answer before it: the closed turn and the
  header of the new one are 3 to 12 tokens. Some servers count otherwise, so this is not enough if the text begins as no
  answer does, with whitespace or with punctuation that closes something.
"""

from __future__ import annotations

import re

#: Tokens of a closed turn and the header of a new one. More comes from servers that count otherwise.
_TURN = range(3, 13)
#: Characters of a round that are looked at, and of the text before it.
LOOKED_AT = 40
CONTEXT = 400

# How assistants open an answer. In English: these servers were seen with English chat models.
_GREETING = re.compile(
    r"(?:Sure|Certainly|Of course|Absolutely|Okay|OK|Hello|Hi|Thank you|Thanks|Great)[,!.]"
    r"|(?:I'm sorry|I apologize|I'd be happy|Thank you for|Let me|As an AI|Here(?:'s| is| are)"
    r"|It (?:seems|looks|appears)|You(?:'re| are) (?:right|welcome)) "
)
_HEADING = re.compile(r"#{1,6} \S|\*\*[A-Z]|```\w*\n|<!DOCTYPE|<html|---\n")
# "The sun was ...": a capital, then more words in lower case.
_SENTENCE = re.compile(r"[A-Z](?:[a-z]+)?(?:'[a-z]+)?,? (?:[a-z]+ )*[a-z]+ ")
# In a text with names such as "getName", a capital within a word is common.
_CAMEL = re.compile(r"[a-z][A-Z]")
_WITHIN_SENTENCE = re.compile(r"[\w,;] ?\Z")
# What no answer begins with: whitespace, and punctuation that closes or parts.
_GOES_ON = re.compile(r"[\s,.;:!?%)\]}…»”’]")
# A piece of text that is one token at least: a word, or punctuation with the newlines after it.
_PIECE = re.compile(r"\w+|[^\w\s]+\s*|\s*\n\s*")
# What a round of a new answer may begin with, if the text before it is open.
_SUSPICIOUS = re.compile(r"[A-Z#*`<-]")


def opens_turn(prompt_tokens: int, before: int, *, held: str) -> bool:
    """
    Whether a round's ``prompt_tokens`` show a new turn.

    ``before``: the tokens of the prompt and the answer after the round before it. ``held``: the end of the answer that
    was not sent.
    """
    missing = max(len(_PIECE.findall(held)), 1) if held else 0
    return prompt_tokens - before + missing in _TURN


def opens_answer(new: str) -> bool:
    """Whether a text, the beginning of a round, may be the beginning of an answer."""
    return bool(new) and _GOES_ON.match(new) is None


def is_open_question(before: str, new: str) -> bool:
    """Whether more of a round must be seen to judge it; ``new`` is its beginning, ``before`` the text that was sent."""
    return len(new) < LOOKED_AT and _WITHIN_SENTENCE.search(before) is not None and bool(_SUSPICIOUS.match(new))


def breaks_off(before: str, new: str) -> bool:
    """Whether the text cannot go on so; ``new`` is the beginning of the round, ``before`` the end of the text sent."""
    if not new or _WITHIN_SENTENCE.search(before) is None:
        return False
    if _GREETING.match(new) and (before[-1].isalnum() or before.endswith((", ", "; "))):
        return True
    sentence = before[-1].islower() and _SENTENCE.match(new) and not _CAMEL.search(before)
    return bool(_HEADING.match(new) or sentence)
