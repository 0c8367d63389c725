"""
Loops: a text whose end is one block, repeated over and over.

The block may drift: a number in it counts on, or a date moves. Rows of data do that too, and for a reason, so only
prose is taken for such a loop. ``tests/measure/engine/loops.py`` has the figures.
"""

from __future__ import annotations

import re
from collections import deque

#: Fewest characters at the end of an answer that must be a loop, unless the caller names another number.
LOOP_CHARACTERS = 16_384
#: Fewest repeats of the block. A long passage may have a reason to stand twice.
LOOP_REPEATS = 4
#: How many times as many characters a loop needs whose block drifts, up to ``LOOP_CHARACTERS``.
DRIFT = 4
# Characters of a quick check, which most answers fail: their last characters do not recur before.
_SAMPLE = 64
# Characters between two looks at a text. A block that drifts is no longer: a licence text is longer, and the notices of
# a package may repeat that with other names.
_STEP = 512
# A step of prose that repeats itself has so many words. For each of them, so many runs of three words may be new since
# the step before it, and so many since some steps before: the names of days come again, those of people need not.
_FEWEST, _MOST_NEW, _MOST_NEW_SINCE, _STEPS = 16, 0.2, 0.1, 4
# Most digits and most signs of prose, for each character; and the end of a sentence.
_MOST_OTHER = 0.1
_DIGIT, _SIGN = re.compile(r"\d"), re.compile(r"[^\w\s，。、：；！？]|_")
_END = re.compile(r"[.!?…][\"'”’»)*]*\s|[。！？]")
# Words; all numbers are the same one.
_WORD, _NUMBER = re.compile(r"[^\W_]+"), re.compile(r"\d+")


def is_looping(text: str, round_characters: int, characters: int | None = None) -> bool:
    """
    Whether an answer that was cut ends in a loop of so many characters.

    None: ``LOOP_CHARACTERS``, and a block that does not drift must fill the last round, of ``round_characters``.
    """
    least = characters or LOOP_CHARACTERS
    if len(text) < least:
        return False
    watch = LoopWatch(least)
    watch.go_on_from(text)
    return watch.drifts or _is_periodic(text, least if characters else max(least, round_characters))


class LoopWatch:
    """Watches the end of a text that comes in pieces. ``characters``: fewest of a loop."""

    def __init__(self, characters: int) -> None:
        self._characters = characters
        self._most_drift = max(characters, min(DRIFT * characters, LOOP_CHARACTERS))
        self._kept = max(characters, LOOP_CHARACTERS)
        self._tail = ""
        # The pieces that are still to be looked at, and their length.
        self._new: list[str] = []
        self._length = 0
        # What is less than a step; the runs of words in the last steps, and the last two words.
        self._rest = ""
        self._steps: deque[set[tuple[str, ...]]] = deque([set()], _STEPS)
        self._words: list[str] = []
        # Characters up to here that are prose which repeats itself, and whether the last step does: one between two
        # others need not, as a month ends.
        self._drift, self._repeats = 0, False
        #: Whether the text ends in a loop.
        self.is_looping = False

    def go_on_from(self, text: str) -> None:
        """Watch what follows upon a text. That itself is no loop yet: what comes next may leave it."""
        if not self._words:
            # All of a text that repeats itself, and little of any other.
            for size in (2 * _STEP, self._kept + 2 * _STEP):
                self._drift = 0
                self._take_steps(text[-size:])
                if not self._drift:
                    break
        self._tail, self._new, self._length = text[-self._kept :], [], 0
        self.is_looping = False

    @property
    def drifts(self) -> bool:
        """Whether the text ends in a loop that may drift."""
        return self._drift >= self._most_drift

    def take(self, text: str) -> None:
        """Take a piece of the text."""
        self._new.append(text)
        self._length += len(text)
        if self._length >= _STEP:
            self._look()

    def _look(self) -> None:
        new = "".join(self._new)
        self._new, self._length = [], 0
        self._tail = (self._tail + new)[-self._kept :]
        self._take_steps(new)
        self.is_looping = self.drifts or _is_periodic(self._tail, self._characters)

    def _take_steps(self, new: str) -> None:
        text = self._rest + new
        whole = len(text) - len(text) % _STEP
        for place in range(0, whole, _STEP):
            self._take_step(text[place : place + _STEP])
        self._rest = text[whole:]

    def _take_step(self, step: str) -> None:
        """See whether a step of the text is prose, and repeats what stands in it or before it."""
        words = self._words + _WORD.findall(_NUMBER.sub("0", step))
        runs: set[tuple[str, ...]] = set(zip(words, words[1:], words[2:], strict=False))
        new = runs - self._steps[-1]
        repeats = len(words) >= _FEWEST and len(new) <= _MOST_NEW * len(words)
        repeats = repeats and len(new.difference(*self._steps)) <= _MOST_NEW_SINCE * len(words)
        self._drift = self._drift + _STEP if (repeats or self._repeats) and _is_prose(step) else 0
        self._repeats = repeats
        self._steps.append(runs)
        self._words = words[-2:]


def _is_prose(step: str) -> bool:
    is_text = max(len(_DIGIT.findall(step)), len(_SIGN.findall(step))) <= _MOST_OTHER * _STEP
    return is_text and _END.search(step) is not None


def _is_periodic(text: str, length: int) -> bool:
    """
    Whether the last ``length`` characters are one block, repeated. The cost is linear in them.

    It is repeated ``LOOP_REPEATS`` times, so a long block needs more than ``length``, up to ``LOOP_CHARACTERS``.
    """
    most = max(length, LOOP_CHARACTERS)
    # Without a copy of the text, which may be large.
    start = max(len(text) - most // LOOP_REPEATS - _SAMPLE, 0)
    if len(text) < length or text.rfind(text[-_SAMPLE:], start, len(text) - 1) < 0:
        return False
    # Reversed, so that what repeats at the end of the answer repeats at the beginning of this.
    end = text[: -most - 1 : -1]
    block = end.find(end[: length - length // LOOP_REPEATS], 1)
    length = max(length, LOOP_REPEATS * block)
    return block > 0 and len(end) >= length and end.startswith(end[block:length])
