"""The text of one choice over all its rounds, and the chunks of it that wait until they are certain."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from . import seam
from .characters import CUT_CHARACTER, half_character, without_cut_character
from .chunks import cut_from, cut_to, merged, text_of, written_of
from .jsons import Json
from .stops import ends_in_half, straddling_stop
from .structured import Document


class Stopped(Enum):
    """Why nothing more is taken of the running round."""

    STOP_STRING = "stop string"
    DOCUMENT_END = "document end"
    RESTARTED = "restarted"
    REFUSED = "refused"


class Text:
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
        #: The beginning of a character whose tokens have come and whose text has not.
        self._half = b""
        # The running round: its seam with what was, and the chunks of its beginning until that is settled.
        self.joint = seam.Seam()
        self._opening: list[Json] | None = None
        self._before = ""
        self._round_text = ""
        self._document: Document | None = None
        #: Whether the document that the text is has come to its end.
        self.document_ended = False
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

    def start_round(self, joint: seam.Seam, *, document: str | None = None) -> None:
        """
        Begin a continuation, whose text is to be joined at this seam.

        ``document``: the part of the text so far that is the beginning of a JSON document, with which the text ends.
        """
        text = self.text
        self.joint = joint
        self._opening = [] if joint.is_open else None
        self._before = text[-self._reach :] if self._stops else ""
        self._round_text = ""
        self.added = self.dropped = 0
        self.stopped = None
        if document is not None and self._document is None:
            self._document = Document()
            self.document_ended = self._document.feed(document) is not None

    def take(self, chunk: Json) -> list[Json]:
        """Take a chunk; return the chunks that are certain by it."""
        if self._opening is not None:
            self._opening.append(chunk)
            return self._settle(self._opening, ended=False)
        return self._join([chunk])

    @property
    def flows(self) -> bool:
        """Whether a further chunk of text alone goes out as it came, unless it ends in half a character."""
        waits = self._stops or self._waiting or self._half or self._opening is not None
        return not waits and self._document is None and self.stopped is None

    def add(self, text: str) -> None:
        """Take the text of chunks that need not be seen, as ``flows`` says."""
        self._parts.append(text)
        self.added += len(text)

    def end_round(self, *, goes_on: bool) -> list[Json]:
        """End a round; return the chunks that are certain by it, which is all of them where the answer ends."""
        ready = self.settle()
        if not goes_on or not self._ends_in_half_stop():
            ready += self._release()
        self._half = b""
        return ready

    def settle(self, *, by_itself: bool = False) -> list[Json]:
        """Take it that no more comes of a round's beginning; ``by_itself``: the server has ended the answer."""
        if self._opening is None:
            return []
        if by_itself and self._stops:
            self._shorten(self.joint.swallowed(self._text_of(self._opening), self._stops))
        return self._settle(self._opening, ended=True)

    def drop_opening(self, *, unless_text: bool) -> None:
        """
        Drop the beginning of a round that broke off before it showed what it is.

        ``unless_text``: only where it must be an echo; else it may be text, which another round can write again.
        """
        new = self._text_of(self._opening or [])
        if self._opening is not None and (not unless_text or self.joint.is_within_echo(new)):
            self._opening, self.dropped = None, len(new)

    def drop_cut_character(self) -> int:
        """Take the rest of a character that the cap cut off what waits of the text; return the number of U+FFFD."""
        # What does not wait is the caller's already: an earlier seam has left it, or the answer came behind it.
        waiting = self._text_of(self._waiting)
        cut = len(waiting) - len(without_cut_character(waiting))
        if cut:
            text = self.text
            self._parts = [text[: len(text) - cut]]
            self.added -= cut
            self._waiting = cut_to(self._waiting, cut, self.field)
        if self._half:
            self._waiting = merged(self._waiting, self.field)
        return cut

    def _settle(self, opening: list[Json], *, ended: bool) -> list[Json]:
        new = self._text_of(opening)
        copy = self.joint.copied(new, ended=ended)
        if copy is None:
            return []
        self._opening = None
        if isinstance(copy, seam.Opening):
            self.stopped = Stopped[copy.name]
            self.dropped = len(new)
            return []
        self.dropped = copy
        return self._join(cut_from(opening, copy, self.field))

    def _join(self, chunks: list[Json]) -> list[Json]:
        if self.stopped is not None:
            return []
        self._waiting += chunks
        for chunk in chunks:
            self._half = half_character(self._half + written_of(chunk))
        text = self._text_of(chunks)
        if text:
            self._parts.append(text)
            self.added += len(text)
            self._end_with_document(text)
            self._stop_across_seam(text)
        if self.stopped is None and (self._half or self._awaits()):
            return []
        return self._release()

    def _text_of(self, chunks: Sequence[Json]) -> str:
        return "".join(text_of(chunk, self.field) for chunk in chunks)

    def _end_with_document(self, text: str) -> None:
        """
        Cut off what follows the end of the document.

        White space may be all that follows, and the round's end with its usage comes behind it: it is waited for.
        """
        end = None if self._document is None else self._document.feed(text)
        if end is None:
            return
        self.document_ended = True
        self._shorten(len(text) - end)
        if text[end:].strip():
            self.stopped = Stopped.DOCUMENT_END

    def _stop_across_seam(self, text: str) -> None:
        if not self._before or len(self._round_text) >= self._reach:
            return
        self._round_text += text
        kept = straddling_stop(self._before, self._round_text, self._stops)
        if kept is not None:
            self._shorten(self.added + len(self._before) - kept)
            self.stopped = Stopped.STOP_STRING

    def _shorten(self, excess: int) -> None:
        if excess:
            text = self.text
            self._parts = [text[: len(text) - excess]]
            self.added -= excess
            self._waiting = cut_to(self._waiting, excess, self.field)

    def _awaits(self) -> bool:
        return self._tail().endswith(CUT_CHARACTER) or self._ends_in_half_stop()

    def _ends_in_half_stop(self) -> bool:
        return bool(self._stops) and ends_in_half(self._tail(), self._stops)

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
