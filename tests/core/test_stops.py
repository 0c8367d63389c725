"""Stop strings that begin in one round and end in the next."""

from __future__ import annotations

import pytest

from openai_continue.core.stops import ends_in_half, straddling_stop, swallowed


@pytest.mark.parametrize(
    ("before", "new", "stops", "kept"),
    [
        ("text EN", "D of", ["END"], 5),
        ("text EN", "d of", ["END"], None),
        ("text END", " of", ["END"], None),
        ("text", " END", ["END"], None),
        ("text", "END", ["END"], None),
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


@pytest.mark.parametrize(
    ("held", "new", "stops", "expected"),
    [
        ("  ", "", ["  b"], 2),
        ("  ", " ", [" b"], 1),
        ("  ", "", [" b"], 0),
        ("  ", "", ["b"], 0),
        ("  ", "  and", ["  b"], 0),
        ("", "", [" b"], 0),
        (".\n\n", ".", ["\n\nHuman:"], 2),
    ],
)
def test_stop_in_what_was_held_back(held: str, new: str, stops: list[str], expected: int) -> None:
    """A stop string that begins in what was held back ends a round unseen, and the text before it."""
    assert expected == swallowed(held, new, stops)
