"""What a model writes, read as servers read it: thoughts, the answer, tool calls. Text in pieces in, deltas out."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from ..chunks import delta_of, text_of
from ..json import Json
from ..text.marks import overlap
from ..text.reasoning import CLOSE
from .calls import Call
from .reader import Event, Reader

_THOUGHTS = "reasoning_content"


class ModelText:
    """
    Reads the text of a round after a raw prompt, or of an answer whose tool calls go on.

    ``reader``: reads the calls; None if the model may call no tools. ``gap``: what is left out between the thoughts and
    the answer; None if the text does not begin within thoughts. ``mark``: what shows that the prompt is not in the
    model's own syntax, or "". ``wants_one``: whether a further call is left out. ``seed``: what the id of the first
    call is made of.

    What may be half a tag or half of a call's beginning is kept; the model writes it again if the round is cut there.
    """

    def __init__(
        self,
        reader: Reader | None,
        *,
        gap: str | None = None,
        mark: str = "",
        wants_one: bool = False,
        seed: str = "",
    ) -> None:
        self._reader = reader
        self._mark, self._seen = mark, ""
        self._is_thinking = gap is not None
        # What may still come of it.
        self._gap = gap or ""
        # Text that may be the beginning of a closing tag.
        self._waiting: str = ""
        self._wants_one, self._seed = wants_one, seed
        # The id of the round after a raw prompt.
        self._id = ""
        # The calls that the caller has, and how many calls were read.
        self._calls: list[Call] = []
        self._read = 0
        # Arguments of the last call that the caller has, and that the reader has yet to show.
        self._owed = ""
        # Whether what was read is not what the caller has.
        self._differs = False
        #: Where the arguments of the last call that was read begin in the text; 0 if there is none.
        self.start = 0
        #: Whether a further call came that the caller does not want.
        self.is_over = False

    @property
    def is_broken(self) -> bool:
        """Whether the model began a call that cannot be read, or the calls are not those that the caller has."""
        return self._differs or (self._reader is not None and self._reader.is_broken)

    def shows_mark(self, text: str) -> bool:
        """Whether the round has written the mark. ``text``: what it has written last."""
        self._seen = self._seen[-len(self._mark) :] + text
        return bool(self._mark) and self._mark in self._seen

    # Pieces of text.

    def follow(self, text: str, calls: Sequence[Call], *, is_all: bool, is_out: bool) -> bool:
        """
        Read the text of calls that the caller has; return whether it shows them, and may go on.

        ``is_all``: whether it has all arguments of the last call. ``is_out``: whether the caller has seen these. Else
        they become what is read.
        """
        reader, cut = self._reader, calls[-1]
        if reader is None:
            return False
        shown = reader.read(text)
        names = [call.name for call in calls]
        if reader.is_broken or [name for name, _ in shown] != names[: len(shown)]:
            return False
        self._calls, self._read = list(calls), len(shown)
        known = shown[-1][1] if len(shown) == len(names) else ""
        if reader.syntax.parameters is not None and not is_out:
            cut.arguments = known
        elif cut.arguments.startswith(known):
            self._owed = cut.arguments[len(known) :]
        elif not is_all:
            return False
        return reader.is_in_call or reader.has_arguments

    def take(self, text: str, *, ends: bool = False, ids: list[str | None] | None = None) -> Json:
        """
        Take a piece of text; return what it adds, as a delta.

        ``ends``: whether the answer ends with it, by itself. ``ids``: the server's ids of new calls, in order.
        """
        delta: Json = {}
        if self._is_thinking:
            thoughts, text = self._thoughts(text, ends=ends)
            if thoughts:
                delta[_THOUGHTS] = thoughts
        while not self._is_thinking and self._gap and text:
            text, self._gap = (text[1:], self._gap[1:]) if text[0] == self._gap[0] else (text, "")
        if self._reader is None:
            return {**delta, "content": text} if text else delta
        for event in self._reader.feed(text):
            if self.is_over:
                break
            self._take_event(event, delta, ids or [])
            if self._differs:
                break
        rest = self._reader.rest() if ends else ""
        if rest:
            delta["content"] = delta.get("content", "") + rest
        return delta

    def rest(self) -> Json:
        """Return as a delta what was kept because a tag or a call might begin with it: the answer ends here."""
        thoughts, self._waiting = self._waiting, ""
        text = "" if self._reader is None else self._reader.rest()
        return {**({_THOUGHTS: thoughts} if thoughts else {}), **({"content": text} if text else {})}

    def _thoughts(self, text: str, *, ends: bool) -> tuple[str, str]:
        """Return what a piece adds to the thoughts, and what of it follows them."""
        text = self._waiting + text
        thoughts, closed, after = text.partition(CLOSE)
        self._waiting = ""
        if closed:
            self._is_thinking = False
        elif not ends:
            end = len(text) - overlap(text, CLOSE)
            thoughts, self._waiting = text[:end], text[end:]
        return thoughts, after

    # Calls.

    def _take_event(self, event: Event, delta: Json, ids: list[str | None]) -> None:
        if event.kind == "text":
            delta["content"] = delta.get("content", "") + event.text
        elif self._differs:
            return
        elif event.kind == "name":
            self._begin(event, delta, ids)
        elif event.kind == "arguments":
            self._grow(event.text, delta)
        else:
            self._differs = bool(self._owed)

    def _begin(self, event: Event, delta: Json, ids: list[str | None]) -> None:
        self._read, self.start = self._read + 1, event.place
        if self._read <= len(self._calls):
            # The beginning of the cut call was held back, and comes again.
            self._differs = event.text != self._calls[-1].name
            return
        if self._wants_one and self._calls:
            self.is_over = True
            return
        index = max((call.index for call in self._calls), default=-1) + 1
        call = Call(index, self._next_id(event.text, index, ids), event.text)
        self._calls.append(call)
        self._owed = ""
        opening: Json = {"index": index, "id": call.id, "type": "function", "function": call.said}
        delta.setdefault("tool_calls", []).append(opening)

    def _next_id(self, name: str, index: int, ids: list[str | None]) -> str:
        """Return the id of a call: the server's, or one that is made of what came before."""
        given = ids.pop(0) if ids else None
        if given:
            return given
        if not self._id and self._reader is not None and "{index}" in self._reader.syntax.head:
            # Kimi's own ids, by which its template names the results.
            return f"functions.{name}:{index}"
        seed = f"{self._id or (self._calls[-1].id if self._calls else self._seed)} {index}"
        return f"call_{sha256(seed.encode('utf-8', 'replace')).hexdigest()[:24]}"

    def _grow(self, arguments: str, delta: Json) -> None:
        """Add arguments of the last call, without those that the caller has already."""
        owed = self._owed
        if owed.startswith(arguments):
            self._owed = owed[len(arguments) :]
            return
        self._owed, self._differs = "", not arguments.startswith(owed)
        if self._differs:
            return
        added, index = arguments[len(owed) :], self._calls[-1].index
        calls: list[Json] = delta.setdefault("tool_calls", [])
        if calls and calls[-1]["index"] == index:
            calls[-1]["function"]["arguments"] += added
        else:
            calls.append({"index": index, "function": {"arguments": added}})

    # Chunks of a raw prompt.

    def chunk(self, chunk: Json) -> Json:
        """Return a chunk of raw text as a chat chunk."""
        self._id = str(chunk.get("id"))
        item: Json = chunk["choices"][0]
        reason = item.get("finish_reason")
        delta = self.take(text_of(chunk), ends=reason not in (None, "", "length"))
        if self.is_broken and reason:
            reason = "length"
        elif reason == "stop" and self._read:
            reason = "tool_calls"
        shaped = {**item, "delta": {**delta_of(chunk), "content": None, **delta}, "finish_reason": reason}
        return {**chunk, "choices": [shaped]}
