"""Any text that is awkward at a seam, and any caps, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from openai_continue._core.text.ends import may_end
from tests.support.answers import Answer
from tests.support.servers import Kind

#: What texts are made of.
ATOMS = [
    *("word", " other", "x", "return", "_", "0, 0, 0,", "|---|", "END", "}\n", "- [ ] \n"),
    *("\n", "\n\n", "\n\n\n\n", "  ", "    ", "\t", "\r\n", "  \n", " ", "\u00a0"),
    *(".", ",", ":", ";", '"', "'", "#", "-", "}", "{", "— ", "…", "؟"),
    *("日本語", "字", "é", "e\u0301", "🦊", "👩‍🚀", "🇨🇦", "𠮷", "\u2028"),
]
texts = st.lists(st.sampled_from(ATOMS), max_size=60).map(lambda parts: f"{''.join(parts).strip()}end")


def pattern_for(draw: Any, kind: Kind) -> tuple[int, ...]:
    """Draw the caps of the requests in order; the last one holds for all that follow."""
    caps = [cap for cap in (1, 2, 3, 5, 6, 7, 11, 20, 40) if cap >= kind.least]
    return kind.pattern(*draw(st.lists(st.sampled_from(caps), min_size=1, max_size=6)))


def is_as_it_was(answer: Answer, expected: Answer, kind: Kind, text: str) -> bool:
    """
    Whether an answer is the uncapped one.

    If the template trims, a round may have room for nothing but the white space that is not sent back; then, and only
    then, the answer may end there, even in the beginning of a stop string. Nor is an end believed that comes at once
    after a text that may go on.
    """
    if answer.ending[1:] == ("length", "empty") and answer.text == expected.text and not may_end(answer.text):
        return True
    if answer.ending[1:] == ("length", "empty") and kind.bare:
        return text.startswith(answer.text)
    return (expected.text, expected.thoughts, expected.finish_reason) == (
        answer.text,
        answer.thoughts,
        answer.finish_reason,
    )
