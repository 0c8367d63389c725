"""
The think block: its tags, who writes them, and what a parser makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from .checks import Body
from .habits import Habits
from .segments import PartKind, Segment

THINK = "<think>"
THINK_END = "</think>"


class Block(NamedTuple):
    """The think block of an answer."""

    #: What the chat template may have written already.
    opening: tuple[Segment, ...]
    thoughts: tuple[Segment, ...]
    closing: tuple[Segment, ...]

    @property
    def opened(self) -> tuple[Segment, ...]:
        """What the model writes after the opening."""
        return self.thoughts + self.closing


def tags(habits: Habits) -> tuple[str, str]:
    """Return what opens and what closes a think block, with the blanks that the model writes around it."""
    return (THINK, f"{THINK_END}\n") if habits.template == "glm" else (f"{THINK}\n", f"\n{THINK_END}\n\n")


def is_opened(habits: Habits) -> bool:
    """Whether the chat template opens the think block at the end of the prompt."""
    return habits.thinks not in {None, "inline"} and habits.template in {"r1", "raises"}


def knows(habits: Habits, switch: str) -> bool:
    """Whether a request can switch the thoughts off in this way."""
    return habits.thinks is not None and habits.thinking_switch in {switch, "both"}


def is_off(body: Body, habits: Habits) -> bool:
    """Whether a request asks for an answer without thoughts, in a way that the server knows."""
    if knows(habits, "reasoning_effort") and body.get("reasoning_effort") == "none":
        return True
    options: object = body.get("chat_template_kwargs")
    switched = cast("Body", options).get("enable_thinking") if isinstance(options, dict) else None
    return knows(habits, "enable_thinking") and switched is False


def block(habits: Habits, thought: str) -> Block:
    """Return the think block of a thought, as the server's parser reads it."""
    opening, closing = tags(habits)
    if habits.thinks == "inline":
        return Block((Segment("content", opening),), (Segment("content", thought),), (Segment("content", closing),))
    thoughts = (Segment("reasoning", thought),)
    if habits.think_blanks != "kept":
        return Block((Segment("hidden", opening),), thoughts, (Segment("hidden", closing),))
    before, _, behind = closing.partition(THINK_END)
    return Block(
        _some(("hidden", THINK), ("reasoning", opening.removeprefix(THINK))),
        thoughts,
        _some(("reasoning", before), ("hidden", THINK_END), ("content", behind)),
    )


def unpadded(answer: Sequence[Segment]) -> list[Segment]:
    """Return an answer whose first blanks the server's parser removes."""
    first, *others = answer
    bare = first.text.lstrip()
    blanks = Segment("hidden", first.text[: len(first.text) - len(bare)])
    return [*answer] if first.kind != "content" or not blanks.text else [blanks, first._replace(text=bare), *others]


def _some(*segments: tuple[PartKind, str]) -> tuple[Segment, ...]:
    return tuple(Segment(kind, text) for kind, text in segments if text)
