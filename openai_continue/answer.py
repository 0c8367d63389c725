"""The text of one choice over all its rounds, and the chunks of it that wait until they are certain."""

from __future__ import annotations

from collections.abc import Sequence

from . import seam
from .chunks import cut_from, cut_to, text_of
from .merge import Json


class Answer:
    """
    Text in, certain text out; a whole answer is a stream of one chunk.

    A chunk waits while the text so far ends in what may be half a stop string or half a character, and while it is
    open how much of a round's beginning repeats what was held back. Then it goes out as it came.
    """

    def __init__(self, *, stops: Sequence[str], trims: bool) -> None:
        self._stops = stops
        self._trims = trims
        self._reach = max((len(stop) for stop in stops), default=1)
        self._parts: list[str] = []
        self._waiting: list[Json] = []
        self._opening: list[Json] = []
        #: The end of the text before this round, where a stop string may begin that ends in this round.
        self._before = ""
        self._round_text = ""
        #: The end of the text that the running round was not sent.
        self.held = ""
        #: Characters that the running round added, and those of it that repeated what was there.
        self.added = 0
        self.dropped = 0
        #: True: a stop string across the seam has ended the answer.
        self.stopped = False
        self._open = False

    @property
    def text(self) -> str:
        """The answer so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def start_round(self, *, send_blanks: bool) -> str:
        """Begin a continuation; return the text to send back."""
        text = self.text
        self.held = "" if send_blanks else seam.held_back(text, trims=self._trims)
        self._before = text[-self._reach :] if self._stops else ""
        self._round_text = ""
        self.added = self.dropped = 0
        self._open = bool(self.held)
        return text[: len(text) - len(self.held)]

    def take(self, chunk: Json) -> list[Json]:
        """Take a chunk of this choice; return the chunks that are certain by it."""
        if self._open:
            self._opening.append(chunk)
            return self._settle(ended=False)
        return self._join([chunk])

    def end_round(self, *, goes_on: bool) -> list[Json]:
        """End a round; return the chunks that are certain by it, which is all of them where the answer ends."""
        ready = self._settle(ended=True) if self._open else []
        if goes_on and not self._half_stop():
            return ready + self._release()
        if not goes_on:
            return ready + self._release()
        return ready

    def drop_cut_character(self) -> int:
        """Take the rest of a character that the cap cut off the text; return the number of U+FFFD."""
        text = self.text
        bare = seam.without_cut_character(text)
        cut = len(text) - len(bare)
        if cut:
            self._parts = [bare]
            self._waiting = cut_to(self._waiting, cut)
        return cut

    def _settle(self, *, ended: bool) -> list[Json]:
        opening = "".join(map(text_of, self._opening))
        copy = seam.copied(opening, self.held, trims=self._trims, ended=ended)
        if copy is None:
            return []
        chunks, self._opening, self._open = cut_from(self._opening, copy), [], False
        self.dropped = copy
        return self._join(chunks)

    def _join(self, chunks: list[Json]) -> list[Json]:
        if self.stopped:
            return []
        self._waiting += chunks
        text = "".join(map(text_of, chunks))
        if text:
            self._parts.append(text)
            self.added += len(text)
            if len(self._round_text) < len(self._before):
                self._round_text += text
                self._stop_across_seam()
        if not self.stopped and self._awaits():
            return []
        return self._release()

    def _stop_across_seam(self) -> None:
        kept = seam.straddling_stop(self._before, self._round_text, self._stops)
        if kept is None:
            return
        text = self.text
        bare = text[: len(text) - self.added - len(self._before) + kept]
        self._waiting = cut_to(self._waiting, len(text) - len(bare))
        self._parts, self.stopped = [bare], True

    def _awaits(self) -> bool:
        return self._tail().endswith(seam.CUT_CHARACTER) or self._half_stop()

    def _half_stop(self) -> bool:
        return bool(self._stops) and seam.ends_in_half(self._tail(), self._stops)

    def _tail(self) -> str:
        """Return the end of the text without joining all of it."""
        tail = ""
        for part in reversed(self._parts):
            tail = part + tail
            if len(tail) >= self._reach:
                break
        return tail[-self._reach :]

    def _release(self) -> list[Json]:
        ready, self._waiting = self._waiting, []
        return ready
