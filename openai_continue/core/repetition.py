"""Telling an answer that is caught in a loop from one that repeats itself for a reason."""

from __future__ import annotations

#: Characters at the end of an answer that must be one block repeated, and no less than a full round of them.
LOOP_CHARACTERS = 16_384
#: How often, for a long passage may well stand twice.
LOOP_REPEATS = 4
# Most answers are told by whether their last few characters stand before them again.
_SAMPLE = 64


def is_looping(text: str, round_characters: int) -> bool:
    """Tell whether the answer ends in one block, repeated for a whole round; the cost is linear in that end."""
    length = max(LOOP_CHARACTERS, round_characters)
    if len(text) < length:
        return False
    # The end backwards: what repeats at its end repeats at this beginning.
    end = text[: -length - 1 : -1]
    longest_block = length // LOOP_REPEATS
    if end.find(end[:_SAMPLE], 1, longest_block + _SAMPLE) < 0:
        return False
    block = end.find(end[: length - longest_block], 1)
    return 0 < block <= longest_block and end.startswith(end[block:])
