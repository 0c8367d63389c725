"""The draft: what is to go back to the server of an answer that was cut."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..plan import Source


class Hold(IntEnum):
    """How much of the end of the text is held back for the model to write again."""

    NOTHING = 0
    WHITESPACE = 1
    #: Punctuation before the whitespace too; it must come back as it was.
    TO_WORD = 2


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """What is to go back of one choice, and how far its end is known."""

    #: The answer, and the thoughts in a field of their own.
    content: str
    thoughts: str = ""
    #: What the next round goes on from.
    source: Source = Source.ANSWER
    hold: Hold = Hold.TO_WORD
    #: Whether no text was continued yet, so that the server may still show that it begins again.
    unproven: bool = True
    #: The characters of the tail that the model has written again.
    confirmed: int = 0
    #: Whether the text ends where a token did.
    ends_token: bool = True
    #: Whether the thoughts were cut, and the answer is written without more of them.
    early: bool = False
    #: Whether the caller gets a stream, so that nothing can be taken back.
    streamed: bool = False

    @property
    def is_thinking(self) -> bool:
        """Whether the round goes on with thoughts in a field of their own."""
        return bool(self.thoughts) and not self.content and not self.early
