"""The beginning of a round: its chunks, until it is known how much of them repeats the text so far."""

from __future__ import annotations

from ..json import Json
from .seam import Seam


class Opening:
    """The beginning of a round that meets the text so far at ``seam``."""

    def __init__(self, seam: Seam) -> None:
        self.chunks: list[Json] = []
        self._pieces: list[str] = []
        # What it may still be an echo of, and whether it is blank, so that more blanks do not settle it.
        self._echo = seam.echo_in_pieces()
        self._is_blank = False
        #: Whether the tokens of the prompt were counted, and whether the model thought again.
        self.is_counted = self.thought_again = False

    @property
    def text(self) -> str:
        """Its text."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def take(self, chunk: Json, piece: str) -> bool:
        """Take a chunk with a piece of text; return whether that may settle the seam. Only what is new is looked at."""
        self.chunks.append(chunk)
        self._pieces.append(piece)
        is_echo = self._echo is not None and self._echo.may_go_on(piece)
        return not (is_echo or (self._is_blank and not piece.strip()))

    def wait(self, *, is_blank: bool) -> None:
        """Note that it settles nothing. ``is_blank``: whether it has come to no more than blanks, after an echo."""
        self._is_blank = is_blank
