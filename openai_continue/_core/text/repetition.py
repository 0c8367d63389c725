"""
Loops: a text whose end is one block, repeated over and over.

The block may drift: a number in it counts on, or a date moves, and nothing else changes. Rows of data do that too, and
for a reason, so only prose is taken for such a loop. ``tests/measure/engine/loops.py`` has the figures.
"""

from __future__ import annotations

import re

#: Fewest characters at the end of an answer that must be a loop, unless the caller names another number.
LOOP_CHARACTERS = 16_384
#: Fewest repeats of the block. A long passage may have a reason to stand twice.
LOOP_REPEATS = 4
#: How many times as many characters a loop needs whose block drifts, up to ``LOOP_CHARACTERS``.
DRIFT = 4
# Characters of a quick check, which most answers fail: their last characters do not recur before. And characters before
# them in which a block that drifts must recur.
_SAMPLE, _NEAR = 64, 1536
# Characters between two looks at a text.
_STEP = 512
# Most digits and most signs of prose, for each character; and the end of a sentence.
_MOST_OTHER = 0.1
_DIGIT, _SIGN = re.compile(r"\d"), re.compile(r"[^\w\s，。、：；！？]|_")
_END = re.compile(r"[.!?…][\"'”’»)*]*\s|[。！？]")
# What drifts: numbers and dates.
_MOVES = (
    r"(?:\d+|\b(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b)"
)
_MOVING, _NUMBER = re.compile(rf"{_MOVES}(?:[\s,./:-]*{_MOVES})*"), re.compile(r"\d+")
# How many of the numbers must count on as those before them, and the digits of a number that are looked at.
_MOST_COUNT, _DIGITS = 0.8, 15


def is_looping(text: str, round_characters: int, characters: int | None = None) -> bool:
    """
    Whether an answer that was cut ends in a loop of so many characters.

    None: ``LOOP_CHARACTERS``, and a block that does not drift must fill the last round, of ``round_characters``.
    """
    least = characters or LOOP_CHARACTERS
    return _period(text, least if characters else max(least, round_characters)) > 0 or _drifts(text, least)


class LoopWatch:
    """Watches the end of a text that comes in pieces. ``characters``: fewest of a loop."""

    def __init__(self, characters: int) -> None:
        self._characters = characters
        self._kept = max(characters, LOOP_CHARACTERS)
        self._tail = ""
        # The pieces that are still to be looked at, and their length.
        self._new: list[str] = []
        self._length = 0
        #: Whether the text ends in a loop.
        self.is_looping = False

    def go_on_from(self, text: str) -> None:
        """Watch what follows upon a text. That itself is no loop yet: what comes next may leave it."""
        self._tail, self._new, self._length = text[-self._kept :], [], 0
        self.is_looping = False

    def take(self, text: str) -> None:
        """Take a piece of the text."""
        self._new.append(text)
        self._length += len(text)
        if self._length >= _STEP:
            self._tail = (self._tail + "".join(self._new))[-self._kept :]
            self._new, self._length = [], 0
            self.is_looping = _period(self._tail, self._characters) > 0 or _drifts(self._tail, self._characters)


def _period(text: str, length: int) -> int:
    """
    Return the length of the block that the last ``length`` characters repeat, or 0. The cost is linear in them.

    It is repeated ``LOOP_REPEATS`` times, so a long block needs more than ``length``, up to ``LOOP_CHARACTERS``.
    """
    most = max(length, LOOP_CHARACTERS)
    # Without a copy of the text, which may be large.
    start = max(len(text) - most // LOOP_REPEATS - _SAMPLE, 0)
    if len(text) < length or text.rfind(text[-_SAMPLE:], start, len(text) - 1) < 0:
        return 0
    # Reversed, so that what repeats at the end of the answer repeats at the beginning of this.
    end = text[: -most - 1 : -1]
    block = end.find(end[: length - length // LOOP_REPEATS], 1)
    length = max(length, LOOP_REPEATS * block)
    return block if block > 0 and len(end) >= length and end.startswith(end[block:length]) else 0


def _drifts(text: str, characters: int) -> bool:
    """Whether a text ends in prose that is one block again and again, in which only numbers count on."""
    least = max(characters, min(DRIFT * characters, LOOP_CHARACTERS))
    if len(text) < least or not _is_prose(text[-_STEP:]):
        return False
    near = _without_moves(text[-_NEAR:])
    if near.rfind(near[-_SAMPLE:], 0, len(near) - 1) < 0:
        return False
    end = text[-least:]
    still = _without_moves(end)
    # It may begin within a number.
    block = _period(still, max(len(still) - _SAMPLE, 0))
    return block > 0 and _counts_on(end, len(still) / block)


def _without_moves(text: str) -> str:
    return _MOVING.sub("0", text)


def _counts_on(text: str, blocks: float) -> bool:
    """Whether the numbers of each block are as far from those of the block before as those were. Data is not."""
    numbers = [int(number[-_DIGITS:]) for number in _NUMBER.findall(text)]
    each = round(len(numbers) / blocks)
    steps = [after - before for before, after in zip(numbers, numbers[each:], strict=False)]
    same = [after == before for before, after in zip(steps, steps[each:], strict=False)]
    return sum(same) >= _MOST_COUNT * len(same)


def _is_prose(step: str) -> bool:
    is_text = max(len(_DIGIT.findall(step)), len(_SIGN.findall(step))) <= _MOST_OTHER * _STEP
    return is_text and _END.search(step) is not None
