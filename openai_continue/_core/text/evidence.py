"""
Evidence that a round is a new turn, and not a continuation. Each sign has points; the tables below are all of them.

A server that takes the prefill for a finished turn opens a new one. Then the answer begins again, or the model says
something else. No sign is certain: names have capitals within them (Git|Hub), texts repeat themselves, and gateways
estimate their counts, with 3 or 4 tokens for each message. So capitals, headings and list items have no points, and a
count has points only if it is the server's own (``Counts.is_own``). ``tests/measure/engine/false_alarms.py`` counts the
false alarms on real tokenizers, ``tests/measure/engine/new_turns.py`` the new turns noticed on real engines.
"""

from __future__ import annotations

import re
from bisect import bisect
from functools import cached_property
from typing import NamedTuple

#: Points that end an answer, if nobody knows that the server continues; if it is known; and those of a certain sign.
ENOUGH, ENOUGH_IF_KNOWN, CERTAIN = 2, 5, 6
#: Points of a sign that the server goes on.
GOES_ON = -6
#: By how many tokens the prompt is longer than the prompt and the answer before it. A closed turn and the header of a
#: new one are 5 to 12 tokens; fewer are put there by some templates too (an empty think block: 4).
COUNTS = ((range(-3, 1), GOES_ON), (range(3, 5), 1), (range(5, 13), 3))
#: A copy of earlier text, directly after open text: where that is, its least characters and blanks, and the points.
COPIES = (("any", 40, 4, CERTAIN), ("start", 24, 2, 4), ("unfinished", 20, 3, 4), ("earlier", 24, 3, 4))
#: The same after closed text: characters of the start, or all of a shorter text, but no fewer than the second number.
COPY_AFTER_CLOSED, LEAST_COPY = 180, 64
_GREETINGS = ("Sure", "Certainly", "Of course", "Absolutely", "Okay", "Hello", "Hi", "Thank you", "Thanks", "Great")
#: Directly after a letter: how assistants take up an answer that was cut, greet, or open a file. In English, because
#: new turns were seen with English chat models. The first one that fits counts.
PHRASES = (
    *((f"{words} for", 4) for words in ("I apologize", "I apologise", "I'm sorry", "Apologies", "Sorry")),
    *((f"{words} {what}", 4) for words in ("Here's the", "Here is the") for what in ("rest", "continuation")),
    *((words, 4) for words in ("Continuing from", "Picking up where", "Let me continue", "I'll continue")),
    *((f"{word}{mark} ", 2) for word in _GREETINGS for mark in ",!."),
    *((words, 2) for words in ("I'm sorry", "I'd be happy", "Thank you for", "As an AI", "You're right", "Let me ")),
    *((words, 2) for words in ("Here's ", "Here is ", "Here are ", "It seems ", "It looks ", "<!DOCTYPE", "```")),
)
#: The same after a lower-case letter and before a word in lower case, in a text without names such as "getName". Names
#: end in other words too ("LinkedIn", "AllInOne").
OPENERS = tuple((f"{word} ", 2) for word in ["The", "These", "There", "This", "However,", "You", "Your", "It's", "I'm"])

_HUMP, _HUMPS_REACH = re.compile(r"[a-z][A-Z]"), 400
_OPEN = re.compile(r"[^\W_]|[,;]")
# What no new turn begins with: whitespace, and punctuation that closes or parts.
_CLOSES = re.compile(r"[\s,.;:!?%)\]}…»”’]")
_ESCAPE = re.compile(r"\\\w")
_UNIT = re.compile(r"(?:\A|\n)\s*|(?<=[.!?]) +")
_LAST_LINES = 20


class Weight(NamedTuple):
    """The points of all signs together, and whether one of them proves that the server went on."""

    points: int = 0
    proves: bool = False


class Evidence:
    """Weighs the beginning of a round that goes on from ``before``, the text that was sent."""

    def __init__(self, before: str) -> None:
        self.before = before

    def weigh(self, new: str, *, held: str = "", surplus: int | None = None, ended: bool = True) -> Weight | None:
        """
        Return the weight of a round that begins with ``new``, or None if more of it must be seen.

        ``held``: the end of the answer that was not sent. ``surplus``: by how many tokens its prompt is longer than
        that and the answer before it, by the server's own count; None: not counted. ``ended``: whether no more comes.
        """
        came_back = bool(held.strip()) and new.startswith(held)
        is_direct = bool(new) and not came_back and _CLOSES.match(new) is None
        is_open = _OPEN.match(self.before[-1:]) is not None
        if is_open and not ended and new.isspace():
            return None
        # Whitespace by itself is no text.
        goes_on = came_back or (is_open and bool(new.strip()) and not is_direct)
        text = GOES_ON if goes_on else self._copied_or_said(new, is_open=is_open, ended=ended) if is_direct else 0
        if text is None or not (new or ended):
            return None
        counted = 0 if surplus is None else next((points for counts, points in COUNTS if surplus in counts), 0)
        fits = counted < 0
        return Weight(text + (counted if fits or is_direct else 0), goes_on or (fits and not held))

    def _copied_or_said(self, new: str, *, is_open: bool, ended: bool) -> int | None:
        """Return the points of a text that begins directly, or None if more of it must be seen."""
        if not is_open:
            return self._again_after_closed(new, ended=ended)
        if (self.before[-1].isdigit() and new[0].isdigit()) or _ESCAPE.match(self.before[-2:]):
            return 0
        points = 0
        for place, text in self._earlier(new):
            same = next((n for n, (old, one) in enumerate(zip(text, new, strict=False)) if old != one), -1)
            same = min(len(new), len(text)) if same < 0 else same
            if not ended and same == len(new) < COPIES[0][1]:
                return None
            blanks = sum(map(str.isspace, new[:same]))
            for where, least, least_blanks, given in COPIES:
                if where in ("any", place) and same >= least and blanks >= least_blanks:
                    points = max(points, given)
        said = self._said(new, ended=ended) if self.before[-1].isalpha() else 0
        return None if said is None else max(points, said)

    def _earlier(self, new: str) -> list[tuple[str, str]]:
        """Return the earlier texts that the new one may be a copy of, with their places."""
        units, earlier = self._units
        place = bisect(earlier, new)
        return [
            ("start", self.before[:COPY_AFTER_CLOSED]),
            *(("unfinished", self.before[start:]) for start in units),
            *(("earlier", text) for text in earlier[max(place - 1, 0) : place + 1]),
        ]

    @cached_property
    def _units(self) -> tuple[list[int], list[str]]:
        """The places where the unfinished line and sentence begin, and the beginnings of all earlier ones, sorted."""
        found = [(one.end(), not one.start() or "\n" in one[0]) for one in _UNIT.finditer(self.before)]
        starts = [start for start, _ in found]
        last = {starts[-1], max(start for start, is_line in found if is_line)}
        reach = COPIES[0][1]
        return sorted(last), sorted({self.before[start : start + reach] for start in starts if start not in last})

    def _said(self, new: str, *, ended: bool) -> int | None:
        """Return the points of the words that a text begins with, or None if more of it must be seen."""
        before = self.before
        has_hump = not before[-1].islower() or _HUMP.search(before[-_HUMPS_REACH:]) is not None
        for phrase, points in (*PHRASES, *(() if has_hump else OPENERS)):
            if not ended and len(new) <= len(phrase) and phrase.startswith(new):
                return None
            follows = (phrase, points) not in OPENERS or new[len(phrase) :][:1].islower()
            is_new = phrase != "```" or "```" not in before[before.rfind("\n") + 1 :]
            if new.startswith(phrase) and follows and is_new:
                return points
        return 0

    def _again_after_closed(self, new: str, *, ended: bool) -> int | None:
        start = self.before[:COPY_AFTER_CLOSED].rstrip()
        if not ended and len(new) < len(start) and start.startswith(new):
            return None
        if len(start) < LEAST_COPY or not new.startswith(start) or start in self.before[1:]:
            return 0
        first, *others = self.before.splitlines()
        return 0 if any(line.startswith(first[: COPIES[1][1]]) for line in others[-_LAST_LINES:]) else CERTAIN
