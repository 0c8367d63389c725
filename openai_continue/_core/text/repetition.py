"""Loops: an answer whose end is one block, repeated over and over."""

from __future__ import annotations

#: Fewest characters at the end of an answer that must be one block, repeated.
LOOP_CHARACTERS = 16_384
#: Fewest repeats of the block. A long passage may have a reason to stand twice.
LOOP_REPEATS = 4
# Characters of a quick check, which most answers fail: their last characters do not recur before.
_SAMPLE = 64


def is_looping(text: str, round_characters: int) -> bool:
    """
    Whether the answer ends in one block that is repeated for a whole round and for at least ``LOOP_CHARACTERS``.

    ``round_characters``: the length of the last round. The cost is linear in it.
    """
    length = max(LOOP_CHARACTERS, round_characters)
    if len(text) < length:
        return False
    longest_block = length // LOOP_REPEATS
    # Without a copy of the text, which may be large.
    if text.rfind(text[-_SAMPLE:], len(text) - longest_block - _SAMPLE, len(text) - 1) < 0:
        return False
    # Reversed, so that what repeats at the end of the answer repeats at the beginning of this.
    end = text[: -length - 1 : -1]
    block = end.find(end[: length - longest_block], 1)
    return 0 < block <= longest_block and end.startswith(end[block:])
