"""The emulator's model without its HTTP: a thousand answers a second, under any pattern of caps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from openai_continue.testing import Habits
from openai_continue.testing.emulator.habits import DEEPINFRA
from tests import drive
from tests.support.answers import Answer, Json


class Engine(drive.Engine):
    """``cap``: of each request, or of the requests in order; the last one holds for all that follow."""

    def __init__(
        self, text: Any = None, *, habits: Habits = DEEPINFRA, cap: int | Sequence[int] = 16_384, **more: Any
    ) -> None:
        self._caps: Sequence[int] = [cap] if isinstance(cap, int) else cap
        super().__init__(text, habits=habits, **more)

    @property
    def cap(self) -> int:
        return self._caps[min(max(len(self.bodies) - 1, 0), len(self._caps) - 1)]

    @cap.setter
    def cap(self, value: int) -> None:
        """The pattern stays."""

    def uncapped(self, body: Json, choice: int = 0) -> Answer:
        """Return the answer of a server without any limit of its own."""
        habits = replace(self.habits, default_tokens=None)
        free = Engine(self.model.text, habits=habits, cap=10**9, tokens=self.model.size, context=10**9)
        return Answer.of_completion(free.completion({**body, "n": choice + 1}), choice)


#: Texts that are awkward at a seam.
AWKWARD = [
    "one  two   three    four",
    "def f(x):\n    if x:\n        return   1\n\n\n\n    return\t\t2\n",
    "a\r\nb\r\n\r\n\tc\r\nend",
    "start\n\n\n\n\n\n\n\n\n\nend",
    "  leading, and trailing",
    "- a\n  - b\n    - c\n\t- d",
    "}\n}\n}\n}\n}\n}",
    "|---|---|\n|---|---|\n|---|---|\nx",
    "0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    "same line\nsame line\nsame line\nsame line\nsame line",
    "日本語、🦊🦊👩‍👩‍👧‍👦 🇨🇦é́ x",
    "He said: \u201cYes.\u201d — \u2026 and 'no'.\n\nThen; \"never\"!\n",
    "real \ufffd in \ufffd\ufffd the middle",
]
