"""The tail: the end of a text that is not sent, so that the model writes it again."""

from __future__ import annotations

from ..._tables.families import is_of
from ..text.reasoning import Inline
from ..text.seam import Seam, held_to_word, held_whitespace
from .draft import Draft, Hold


class Tail:
    """
    How much of a text is held back at the seams of one codec.

    ``trims``: whether the server trims what is sent; None: nobody knows.
    """

    def __init__(self, model: object, *, trims: bool | None) -> None:
        #: Whether no whitespace is sent at the end: the chat template may trim it, or the tokenizer splits it off.
        self.trims = trims is not False or is_of("bare", model)
        # Known to stay the same if sent without trailing blanks; so less need be written again.
        known = trims is False and is_of("keeps", model)
        #: How much is held back by default. Up to the last word, every token of any tokenizer stays the same, with any
        #: template. The model must write the rest, the tail, again: a stream is left at the first other character.
        self.hold = Hold.WHITESPACE if known else Hold.TO_WORD

    def less(self, hold: Hold) -> Hold | None:
        """Return the next smaller hold, or None if less cannot be held back without doubling it."""
        least = Hold.WHITESPACE if self.trims else Hold.NOTHING
        return Hold(hold - 1) if hold > least else None

    def cut(self, text: str, draft: Draft, inline: Inline) -> tuple[str, Seam]:
        """Return the beginning of a text of this draft that may be sent, and the seam that the rest of it makes."""
        # An open think tag has no word to go back to.
        exact = draft.hold is Hold.TO_WORD and not inline.thinking
        held = self._held(text, draft, inline, exact=exact)
        # What came back of the tail ended with a token, so it may be sent.
        held = held[draft.confirmed :] if exact else held
        # Blanks between words that are held back by default may always come back changed. In a whole answer, they are
        # kept if they do not come back.
        exact_blanks = draft.streamed and (draft.ends_token or self.hold is Hold.TO_WORD)
        exact = exact and (exact_blanks or bool(held.strip()))
        return text[: len(text) - len(held)], Seam(
            held=held, exact=exact, replaces=not draft.streamed, trims=self.trims
        )

    def _held(self, text: str, draft: Draft, inline: Inline, *, exact: bool) -> str:
        """Return the end of the text that is held back."""
        if self.trims and inline.thoughts and not inline.thinking and not text:
            return inline.gap
        if draft.hold is Hold.NOTHING:
            return ""
        if exact:
            return held_to_word(text, trims=self.trims, ends_token=draft.ends_token)
        return held_whitespace(text, trims=self.trims)
