"""The emulated texts are awkward, as long as asked for, and may be cut at every token."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue.testing import Emulator
from openai_continue.testing.emulator.texts import document, json_document, thought
from openai_continue.testing.emulator.tokens import count, shown, tokenize

AWKWARD = "".join(document(f"key {number}", 900) for number in range(3))
#: What has broken joins of cut answers.
BREAKERS = (
    *("\n## ", "**", "| № |", "|---|", "```python\n", "    return   {", "\t\t", "\r\n", "\n\n\n\n", "  \n", "}\n}\n}"),
    *("0, 0, 0,", "…", "“quoted”", "don't", "日本語", "カタカナ", "한국어", "السلامُ", "क्षत्रिय", "\u00a0", "\u200d"),
    *("👩‍👩‍👧‍👦", "🇨🇦", "👍🏽", "1️⃣", "𠮷", "...\n...\n...\n", '\\"‘no’\\"', "C:\\\\new", "  \n  "),
    *("Crème brûlée", unicodedata.normalize("NFD", "Crème brûlée")),
)


@given(
    st.one_of(st.text(), st.text(alphabet="aB é\u0301日カ한👩\u200d🏽 \t\n\r'.,}{0_<think>/²")),
    st.booleans(),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_tokens_left_to_right(text: str, byte_fallback: bool, data: st.DataObject) -> None:
    """Tokens make up the text, and the text after each of their boundaries has the rest of the tokens."""
    tokens = tokenize(text, byte_fallback=byte_fallback)
    cut = data.draw(st.integers(0, len(tokens)))

    assert b"".join(tokens).decode("utf-8", "surrogatepass") == text
    if byte_fallback:
        assert "".join(shown(tokens)) == text
    else:
        assert count(text) == len(tokens)
        assert tokenize(b"".join(tokens[cut:]).decode("utf-8", "surrogatepass")) == tokens[cut:]


def test_tokens_of_document_at_every_boundary() -> None:
    """The awkward text may be cut at each boundary too."""
    tokens = tokenize(document("cuts", 700))

    assert all(tokenize(b"".join(tokens[cut:]).decode()) == tokens[cut:] for cut in range(len(tokens)))


def test_tokens_are_realistic() -> None:
    """English has three to five characters a token, Chinese one or two."""
    english = "The quick brown fox doesn't jump over the lazy dog; the extraordinary conversation continues. " * 5

    assert 3 < len(english) / count(english) < 5.5
    assert 1 < len("天地玄黄宇宙洪荒") / count("天地玄黄宇宙洪荒") <= 2


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 65, 66, 67, 500, 20_000])
def test_texts_have_the_wished_length(size: int, byte_fallback: bool) -> None:
    """Documents and thoughts have the length asked for, to the token, and do not end in white space."""
    for write in (document, thought):
        text = write("length", size, byte_fallback=byte_fallback)
        assert len(tokenize(text, byte_fallback=byte_fallback)) == size
        assert text == text.rstrip()


@pytest.mark.parametrize("size", [1, 50, 100, 101, 102, 103, 5000])
def test_json_documents(size: int) -> None:
    """JSON documents are valid, and have the length asked for if that is possible."""
    text = json_document("length", size)

    assert set(json.loads(text)) == {"title", "items", "check"}
    assert len(tokenize(text)) == max(size, len(tokenize(json_document("length", 1))))


def test_text_is_awkward() -> None:
    """The text contains everything that has broken joins."""
    assert [breaker for breaker in BREAKERS if breaker not in AWKWARD] == []


@pytest.mark.thorough
def test_texts_soon_differ() -> None:
    """Other prompts, seeds and choices have texts that differ within 20 characters."""
    emulator = Emulator()
    bodies = [
        {"messages": [{"role": "user", "content": f"Write {n}."}], "seed": seed}
        for n in range(20)
        for seed in (None, 1)
    ]
    starts = [emulator.uncapped(body, choice)[:20] for body in bodies for choice in range(4)]

    assert len(set(starts)) == len(starts)
