"""The text of one choice over all its rounds, and the chunks of it that wait until they are certain."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from . import seam
from .chunks import cut_from, cut_to, lead_of, merged, text_of
from .merge import Json
from .structured import Document


class Stopped(Enum):
    """Why nothing more is taken of the running round."""

    STOP_STRING = "stop string"
    DOCUMENT_END = "document end"
    RESTARTED = "restarted"
    REFUSED = "refused"


class Answer:
    """
    Text in, certain text out; a whole answer is a stream of one chunk.

    A chunk waits while the text so far ends in what may be half a stop string or half a character, and while it is
    open how much of a round's beginning repeats what is there. Then it goes out as it came.
    """

    def __init__(self, field: str, *, stops: Sequence[str] = ()) -> None:
        #: The field of a delta that carries the text: "content", or where the thoughts are.
        self.field = field
        self._stops = stops
        self._reach = max((len(stop) for stop in stops), default=1)
        self._parts: list[str] = []
        self._waiting: list[Json] = []
        #: Bytes that the logprobs of a round are ahead of its text: the beginning of a character.
        self._lead = 0
        # The running round: its seam with what was, and the chunks of its beginning until that is settled.
        self.joint = seam.Joint()
        self._opening: list[Json] | None = None
        self._before = ""
        self._round_text = ""
        self._document: Document | None = None
        #: Characters that the running round added, and those that repeated what was there.
        self.added = 0
        self.dropped = 0
        self.stopped: Stopped | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def start_round(self, joint: seam.Joint, *, ends_with_document: bool = False) -> None:
        """Begin a continuation, whose text is to be joined at this seam."""
        text = self.text
        self.joint = joint
        self._opening = [] if joint.held or joint.echo or joint.start else None
        self._before = text[-self._reach :] if self._stops else ""
        self._round_text = ""
        self.added = self.dropped = 0
        self.stopped = None
        if ends_with_document and self._document is None:
            self._document = Document()
            self._document.feed(text)

    def take(self, chunk: Json) -> list[Json]:
        """Take a chunk; return the chunks that are certain by it."""
        if self._opening is not None:
            self._opening.append(chunk)
            return self._settle(self._opening, ended=False)
        return self._join([chunk])

    def end_round(self, *, goes_on: bool) -> list[Json]:
        """End a round; return the chunks that are certain by it, which is all of them where the answer ends."""
        ready = self.settle()
        if not goes_on or not self._ends_in_half_stop():
            ready += self._release()
        self._lead = 0
        return ready

    def settle(self) -> list[Json]:
        """Take it that no more comes of a round's beginning."""
        return [] if self._opening is None else self._settle(self._opening, ended=True)

    def drop_cut_character(self) -> int:
        """Take the rest of a character that the cap cut off the text; return the number of U+FFFD."""
        text = self.text
        bare = seam.without_cut_character(text)
        cut = len(text) - len(bare)
        if cut:
            self._parts = [bare]
            self.added -= cut
            self._waiting = cut_to(self._waiting, cut, self.field)
        if self._lead > 0:
            self._waiting = merged(self._waiting, self.field)
        return cut

    def _settle(self, opening: list[Json], *, ended: bool) -> list[Json]:
        copy = self.joint.copied("".join(text_of(chunk, self.field) for chunk in opening), ended=ended)
        if copy is None:
            return []
        self._opening = None
        if isinstance(copy, seam.Opening):
            self.stopped = Stopped[copy.name]
            self.dropped = sum(len(text_of(chunk, self.field)) for chunk in opening)
            return []
        self.dropped = copy
        return self._join(cut_from(opening, copy, self.field))

    def _join(self, chunks: list[Json]) -> list[Json]:
        if self.stopped is not None:
            return []
        self._waiting += chunks
        for chunk in chunks:
            self._lead += lead_of(chunk, self.field)
        text = "".join(text_of(chunk, self.field) for chunk in chunks)
        if text:
            self._parts.append(text)
            self.added += len(text)
            self._end_with_document(text)
            self._stop_across_seam(text)
        if self.stopped is None and (self._lead > 0 or self._awaits()):
            return []
        return self._release()

    def _end_with_document(self, text: str) -> None:
        """Cut off what follows the end of the document."""
        end = None if self._document is None else self._document.feed(text)
        if end is not None:
            self._shorten(len(text) - end)
            self.stopped = Stopped.DOCUMENT_END

    def _stop_across_seam(self, text: str) -> None:
        if len(self._round_text) >= len(self._before):
            return
        self._round_text += text
        kept = seam.straddling_stop(self._before, self._round_text, self._stops)
        if kept is not None:
            self._shorten(self.added + len(self._before) - kept)
            self.stopped = Stopped.STOP_STRING

    def _shorten(self, excess: int) -> None:
        if excess:
            text = self.text
            self._parts = [text[: len(text) - excess]]
            self._waiting = cut_to(self._waiting, excess, self.field)

    def _awaits(self) -> bool:
        return self._tail().endswith(seam.CUT_CHARACTER) or self._ends_in_half_stop()

    def _ends_in_half_stop(self) -> bool:
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
