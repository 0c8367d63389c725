"""Stop strings that begin in one round and end in the next."""

from __future__ import annotations

import pytest

from openai_continue.core.stops import ends_in_half, straddling_stop


@pytest.mark.parametrize(
    ("before", "new", "stops", "kept"),
    [
        ("text EN", "D of", ["END"], 5),
        ("text EN", "d of", ["END"], None),
        ("text END", " of", ["END"], None),
        ("text", " END", ["END"], None),
        ("a", "bc", ["abc"], 0),
        ("text\n", "\nHuman:", ["\n\nHuman:"], 4),
        ("xab", "cd", ["bcd", "abc"], 1),
        ("xab", "cd", ["bc", "abcd"], 2),
        ("xab", "cd", ["bc", "abc"], 1),
    ],
)
def test_straddling_stop(before: str, new: str, stops: list[str], kept: int | None) -> None:
    """A stop string over the seam ends the text before it; the one that is complete first wins, then the longest."""
    assert kept == straddling_stop(before, new, stops)


@pytest.mark.parametrize(
    ("text", "half"), [("", False), ("text E", True), ("text EN", True), ("text END", False), ("text ENd", False)]
)
def test_ends_in_half(text: str, half: bool) -> None:
    """Any proper beginning of a stop string at the end of the text may become the whole one."""
    assert half == ends_in_half(text, ["zz", "END"])
