"""Characters that a token limit cut in half."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue._core.text.characters import half_character, without_cut_character


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("a\ufffd", "a"),
        ("a\ufffd\ufffd\ufffd", "a"),
        ("a\ufffd\ufffd\ufffd\ufffd", "a\ufffd"),
        ("\ufffd", ""),
        ("a\ufffdb", "a\ufffdb"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_without_cut_character(text: str, bare: str) -> None:
    """Up to three U+FFFD at the end are the bytes of one cut character; in the middle they are text."""
    assert bare == without_cut_character(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_half_character(text: str) -> None:
    """The beginning of a character is found at any byte."""
    written = text.encode()
    for end in range(len(written) + 1):
        whole_ones = written[:end].decode(errors="ignore").encode()

        assert written[len(whole_ones) : end] == half_character(written[:end])
