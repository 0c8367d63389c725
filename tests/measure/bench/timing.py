"""Measuring two sides in turns, and printing a row for each figure."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import openai_continue

SETTINGS = openai_continue.Continuation(provider="deepinfra", max_rounds=1000)

#: Asks one question, and returns the text of the answer.
Ask = Callable[[], str]


class Took(NamedTuple):
    """Seconds."""

    cpu: float
    wall: float


def timed(work: Callable[[], object]) -> Took:
    """Return how long some work takes."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)


def timed_patched(work: Callable[[], object]) -> Took:
    """Return how long some work takes while the SDK is patched."""
    openai_continue.patch(SETTINGS)
    try:
        return timed(work)
    finally:
        openai_continue.unpatch()


class Comparison(NamedTuple):
    """
    Two sides that ask the same: ``ours`` while the SDK is patched, ``theirs`` while it is not.

    Their texts are compared with ``truth`` outside of the time measured. Of their text only the first 100 characters
    are compared, because a loop by hand may go wrong at a seam.
    """

    what: str
    ours: Ask
    theirs: Ask
    truth: str
    #: The most that the ratio of CPU times may be.
    target: float
    #: How many calls are measured together.
    calls: int = 1
    #: How many ``unit`` make up a call; the times printed are for one of them.
    parts: int = 1
    unit: str = "call"

    def measure(self, repeats: int) -> None:
        """Let the sides take turns ``repeats`` times, and print the medians of their ratios."""
        self._our_time()
        pairs: list[tuple[Took, Took]] = []
        for number in range(repeats):
            if number % 2:
                ours, theirs = self._our_time(), self._their_time()
            else:
                theirs, ours = self._their_time(), self._our_time()
            pairs.append((ours, theirs))
        cpu = statistics.median(ours.cpu / theirs.cpu for ours, theirs in pairs)
        wall = statistics.median(ours.wall / theirs.wall for ours, theirs in pairs)
        each = [statistics.median(pair[side].cpu for pair in pairs) / self.calls / self.parts * 1e6 for side in (0, 1)]
        figures = f"cpu {cpu:5.3f}  wall {wall:5.3f}  ({each[0]:,.1f} against {each[1]:,.1f} us a {self.unit})"
        row(self.what, figures, f"<= {self.target}", good=cpu <= self.target)

    def _our_time(self) -> Took:
        return self._time(timed_patched, self.ours, self.truth)

    def _their_time(self) -> Took:
        return self._time(timed, self.theirs, self.truth[:100])

    def _time(self, measure: Callable[[Callable[[], object]], Took], ask: Ask, truth: str) -> Took:
        texts: list[str] = []
        took = measure(lambda: texts.extend(ask() for _ in range(self.calls)))
        for text in texts:
            check(text[: len(truth)], truth)
        return took


def check(text: str, truth: str) -> None:
    """Raise ``AssertionError`` if a text is not the right one."""
    if text != truth:
        msg = f"got a text of {len(text)} characters, expected one of {len(truth)}"
        raise AssertionError(msg)


def row(what: str, figures: str, target: str, *, good: bool) -> None:
    """Print one line. It begins with ``!`` if the target is missed."""
    say(f"{'' if good else '!':1} {what:42} {target:8} {figures}")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
