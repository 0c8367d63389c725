"""One text of a choice (its answer, or its thoughts) over all rounds, and the chunks of it that are held back."""

from __future__ import annotations

from collections.abc import Sequence

from ..chunks import merged, text_of, token_bytes_of, without_end, without_start
from ..json import Json
from .characters import (
    CUT_CHARACTER,
    MOST_CUT,
    ends_in_surrogate,
    half_character,
    has_surrogates,
    paired,
    without_cut_character,
)
from .document import Document
from .evidence import CERTAIN, Weight
from .marks import ends_in_half
from .opening import Opening
from .repetition import LOOP_CHARACTERS, LoopWatch
from .seam import Seam, Stopped
from .stops import StopSearch, swallowed

# Characters of a round's beginning that are kept, to weigh them with a count that comes late.
_LOOKED_AT = 400
# Most whitespace after a document that a round is read on for, so that its usage comes too. Some models write no end.
_MOST_BLANKS = 16


class Text:
    """
    Chunks in, chunks out: those whose text is settled.

    A chunk is held back while the text ends in what may be half a stop string or half a character, and while it is
    open how much of a round's beginning repeats the text so far. Then it goes out as it came. Most text of a stream
    never passes ``take()``: once ``flows`` is True, the fast path (``_sdk/flow.py``) passes it on and calls ``add()``.

    ``is_whole``: whether the caller gets a whole answer. Then all is held back until the answer has ended, so that a
    later round may still take back what an earlier one has brought.

    ``max_repetition``: the setting.
    """

    def __init__(
        self,
        field: str,
        *,
        stops: Sequence[str] = (),
        keeps_stops: bool = False,
        is_whole: bool = False,
        max_repetition: int | None = None,
    ) -> None:
        #: The field of a delta that carries this text: "content", or the one that carries the thoughts.
        self.field = field
        self._stops = stops
        self._keeps_stops = keeps_stops
        self._is_whole = is_whole
        self._max_repetition = max_repetition
        # Looks for a loop; None: all of a round comes at once, or it is a first one that is not watched.
        self._watch = None if is_whole or max_repetition is None else LoopWatch(max_repetition)
        # Characters at the end of the text that may be part of a stop string.
        self._reach = max((len(stop) for stop in stops), default=1)
        self._parts: list[str] = []
        # Whether halves of characters have come, which may belong together.
        self._has_surrogates = False
        self._held_back: list[Json] = []
        # The first bytes of a character whose logprobs have come and whose text has not.
        self._half = b""
        #: Where the running round meets the text so far.
        self.seam = Seam()
        # The beginning of the running round until its seam is settled, then None.
        self._opening: Opening | None = None
        # Looks for stop strings that begin before the running round; None if there are none, or no text before it.
        self._search: StopSearch | None = None
        #: Whether the server is not told the stop strings in the running round: it showed nothing of the one before.
        self.untold = False
        #: The stop string that ended the text here, and not on the server; or None.
        self.stop_string: str | None = None
        #: The JSON document that it is, from the first continuation on; None if it is none.
        self.document: Document | None = None
        # Whitespace that came after its end.
        self._blanks_after = 0
        #: Whether a document was asked for and more than one came, so that no grammar binds the server: plain text.
        self.is_plain = False
        #: Characters that the running round added.
        self.added = 0
        #: Characters of the running round that repeated the text so far and were dropped.
        self.dropped = 0
        #: Characters of what was held back that the running round wrote again, and nothing else.
        self.confirmed = 0
        #: Whether they end in whitespace, so that the text up to them cannot be sent.
        self.ends_in_blank = False
        #: Why no more of the running round is taken, or None.
        self.stopped: Stopped | None = None
        #: What the beginning of the running round shows of a new turn.
        self.weight = Weight()
        # By how many tokens its prompt is too long, by the server's own count, or None; and how the round begins.
        self._surplus: int | None = None
        self._beginning = ""

    @property
    def text(self) -> str:
        """The text so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def held_back(self) -> list[Json]:
        """The chunks that are not out, and whose text is a part of the answer so far."""
        return self._held_back

    @property
    def document_ended(self) -> bool:
        """Whether the JSON document that the text is has come to its end."""
        return self.document is not None and self.document.has_ended

    @property
    def most_hidden(self) -> int:
        """Most tokens that the beginning of a stop string has: one for each byte. 0: there is no stop string."""
        return max((len(stop.encode("utf-8", "replace")) for stop in self._stops), default=0)

    @property
    def added_text(self) -> str:
        """The text that the running round added."""
        if self._parts and len(self._parts[-1]) == self.added:
            # It came as one piece, which may be large.
            return self._parts[-1]
        return self.text[-self.added :] if self.added > 0 else ""

    @property
    def is_looping(self) -> bool:
        """Whether the text ends in a loop, as far as it is watched."""
        return self._watch is not None and self._watch.is_looping

    def beside(self, field: str) -> Text:
        """Return a new text of the same choice."""
        return Text(field, is_whole=self._is_whole, max_repetition=self._max_repetition)

    def start_round(self, seam: Seam, *, document: str | None = None) -> None:
        """
        Begin a continuation that meets the text so far at this seam.

        ``document``: the end of the text so far, if it is the beginning of a JSON document.
        """
        text = self.text
        self.seam = seam
        self._opening = Opening(seam) if seam.is_open else None
        before = text[-self._reach :] if self._stops else ""
        self._search = StopSearch(self._stops, before, within=self.untold) if before else None
        self.added = self.dropped = self.confirmed = 0
        self.ends_in_blank = False
        self.weight, self._surplus, self._beginning = Weight(), None, ""
        self.stopped = None
        if not self._is_whole:
            self._watch = self._watch or LoopWatch(self._max_repetition or LOOP_CHARACTERS)
            self._watch.go_on_from(text)
        if document is not None and self.document is None:
            self.document = Document()
            self.document.feed(document)

    def take(self, chunk: Json) -> list[Json]:
        """Take a chunk; return the chunks that may go out now."""
        if self._opening is None:
            return self._join([chunk])
        may_settle = self._opening.take(chunk, text_of(chunk, self.field))
        return self._settle(self._opening, ended=False) if may_settle else []

    @property
    def flows(self) -> bool:
        """Whether a further chunk that carries only text goes out as it came, unless it ends in half a character."""
        waits = self._stops or self._held_back or self._half or self._opening is not None
        return not waits and self.document is None and self.stopped is None

    def add(self, text: str) -> None:
        """Add text that the fast path has passed on. Only while ``flows`` is True."""
        self._parts.append(text)
        self.added += len(text)
        if self._watch is not None:
            self._watch.take(text)

    def end_round(self, *, goes_on: bool) -> list[Json]:
        """
        End a round; return the chunks that may go out now.

        ``goes_on``: whether another round follows. If none does, all chunks go out.
        """
        out = self.settle()
        if not goes_on or not (self._is_whole or self._ends_in_half_stop()):
            out += self._release()
        self._half = b""
        if self._has_surrogates:
            self._parts, self._has_surrogates = [paired(self.text)], False
        return out

    def settle(self, *, by_itself: bool = False) -> list[Json]:
        """
        Settle the seam of a round that brings no more text; return the chunks that may go out now.

        ``by_itself``: whether the server ended the answer, with ``"stop"``.
        """
        if self._opening is None:
            return []
        if by_itself and self._stops and not (self._keeps_stops or self.untold):
            new = self.seam.without_echo(self._opening.text)
            self._shorten(swallowed(self.seam.held, new, self._stops))
        return self._settle(self._opening, ended=True)

    def note_new_thoughts(self) -> None:
        """Note that the model thought again in this round, so that it may begin the answer again too."""
        if self._opening is not None:
            self._opening.thought_again = True

    def take_count(self, surplus: int | None) -> None:
        """
        Take the count of the round's prompt; it is weighed with the text, even if that is out.

        ``surplus``: by how many tokens it is too long, or None if the count says nothing of a new turn.
        """
        if self._opening is not None:
            self._opening.is_counted = True
        if surplus is None or surplus == self._surplus:
            return
        self._surplus = surplus
        weight = self.seam.weigh(self._beginning, ended=True, surplus=surplus) if self._opening is None else None
        if weight is not None and self.stopped is None:
            self.weight = weight
            if weight.points >= self.seam.enough:
                self.refuse_round(Stopped.RESTARTED)

    def refuse_round(self, reason: Stopped) -> None:
        """Take no more of the running round. Its beginning is dropped; text that is out already stays."""
        self.stopped = reason
        self.dropped += 0 if self._opening is None else len(self._opening.text)
        self._opening = None

    def drop_opening(self, *, unless_text: bool) -> None:
        """
        Drop the beginning of a round that broke off before its seam was settled.

        ``unless_text``: only if it must be an echo. Else it may be text, and another round can write it again.
        """
        opening = self._opening
        if opening is not None and (not unless_text or self.seam.is_within_echo(opening.text)):
            self._opening, self.dropped = None, len(opening.text)

    def drop_cut_character(self) -> int:
        """Drop what the token limit left of a character at the end; return the number of U+FFFD that were dropped."""
        # What is out stays, and what an earlier seam has left.
        held_back = sum(len(text_of(chunk, self.field)) for chunk in self._held_back)
        tail = self._tail(MOST_CUT)
        cut = min(len(tail) - len(without_cut_character(tail)), held_back, max(self.added, 0))
        self._shorten(cut)
        if self._half:
            self._held_back = merged(self._held_back, self.field)
        return cut

    def _settle(self, opening: Opening, *, ended: bool) -> list[Json]:
        if self.seam.waits and not (opening.is_counted or ended):
            return []
        new, chunks = opening.text, opening.chunks
        copy = self.seam.copied(new, ended=ended, surplus=self._surplus, thought_again=opening.thought_again)
        fresh = self.seam.without_echo(new)
        if copy is None:
            opening.wait(is_blank=fresh.isspace())
            return []
        self._opening = None
        self._beginning = fresh[:_LOOKED_AT]
        self.weight = self.seam.weigh(fresh, ended=True, surplus=self._surplus) or Weight()
        if copy is Stopped.RESTARTED and self.weight.points < self.seam.enough:
            self.weight = Weight(CERTAIN)
        if copy is Stopped.REFUSED and self._may_replace(fresh):
            # A new sample of the tail is as right as the old one.
            self._shorten(len(self.seam.held))
            self.added = 0
            return self._join(without_start(chunks, len(new) - len(fresh), self.field))
        if isinstance(copy, Stopped):
            self.stopped = copy
            self.dropped = len(new)
            return []
        self.dropped = copy
        again = without_cut_character(fresh)
        if self.seam.exact and self.seam.held.startswith(again):
            self.confirmed, self.ends_in_blank = len(again), again[-1:].isspace()
        return self._join(without_start(chunks, copy, self.field))

    def _may_replace(self, fresh: str) -> bool:
        """Whether the text ``fresh`` may stand instead of the tail. Two words are never joined."""
        # The end of a document and stop strings are found by what was there before.
        counted = self._stops or self.document is not None
        return self.seam.replaces and not counted and not fresh[:1].isalnum()

    def _join(self, chunks: list[Json]) -> list[Json]:
        if self.stopped is not None:
            return []
        self._held_back += chunks
        for chunk in chunks:
            self._half = half_character(self._half + token_bytes_of(chunk))
        text = self._text_of(chunks)
        if text:
            self.add(text)
            self._has_surrogates = self._has_surrogates or has_surrogates(text)
            self._end_with_document(text)
            self._stop_across_seam(text)
        if self._is_whole or (self.stopped is None and (self._half or self._is_open_ended())):
            return []
        return self._release()

    def _text_of(self, chunks: Sequence[Json]) -> str:
        return "".join(text_of(chunk, self.field) for chunk in chunks)

    def _end_with_document(self, text: str) -> None:
        """
        Drop what follows the end of the document, and take no more if it is lost.

        If only whitespace follows, the round goes on: its end with the usage is still to come.
        """
        if self.document is None:
            return
        end = self.document.feed(text)
        if end is not None:
            self._shorten(len(text) - end)
            self._blanks_after += len(text) - end
        if end is not None and (text[end:].strip() or self._blanks_after > _MOST_BLANKS):
            self.stopped = Stopped.DOCUMENT_END
        elif self.document.is_lost:
            self.stopped = Stopped.DOCUMENT_LOST

    def _stop_across_seam(self, text: str) -> None:
        found = None if self._search is None else self._search.find(text)
        if found is not None:
            start, end, self.stop_string = found
            # A document may have ended before it.
            self._shorten(max(self.added - (end if self._keeps_stops else start), 0))
            self.stopped = Stopped.STOP_STRING

    def _shorten(self, excess: int) -> None:
        """Drop the last ``excess`` characters."""
        if not excess:
            return
        self.added -= excess
        self._held_back = without_end(self._held_back, excess, self.field)
        while excess > 0:
            part = self._parts.pop()
            if len(part) > excess:
                self._parts.append(part[: len(part) - excess])
            excess -= len(part)

    def _is_open_ended(self) -> bool:
        tail = self._tail(self._reach)
        return tail.endswith(CUT_CHARACTER) or ends_in_surrogate(tail) or self._ends_in_half_stop()

    def _ends_in_half_stop(self) -> bool:
        return bool(self._stops) and ends_in_half(self._tail(self._reach), self._stops)

    def _tail(self, length: int) -> str:
        """Return the last ``length`` characters of the text without joining all of it."""
        tail = ""
        for part in reversed(self._parts):
            tail = part + tail
            if len(tail) >= length:
                break
        return tail[-length:]

    def _release(self) -> list[Json]:
        out, self._held_back = self._held_back, []
        return out
