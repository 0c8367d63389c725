"""
Tool calls that a server has read in a later round, back as the text that the model wrote.

Some servers read the prefill and the new text together. They give the cut call again from its beginning, or only what
is new of its arguments; and perhaps the calls before it too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..json import Json, as_object, as_string
from ..text.document import Document
from .calls import Call, expects_value, is_json
from .reader import Reader
from .writer import Writer, head

# How an object begins, and what may be the beginning of that.
_OBJECT = re.compile(r'\s*\{\s*(?:\}|"(?:[^"\\]|\\.){0,200}"\s*:)', re.DOTALL)
_HALF_OBJECT = re.compile(r'\s*\{\s*(?:"(?:[^"\\]|\\.){0,200}(?:\\|"\s*)?)?\Z', re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class SentCalls:
    """The calls so far, and what of the model's text was sent back."""

    calls: Sequence[Call]
    #: The text up to the arguments of the last call, and all that was sent.
    before: str
    sent: str
    #: Whether that ends within the last call.
    is_open: bool
    #: The rest of that call, if all of it is known: what was held back of its end. Else None.
    closes: str | None


class ServerCalls:
    """The calls of one round. ``reader``: a new one. ``known``: what was sent back."""

    def __init__(self, reader: Reader, known: SentCalls) -> None:
        calls, before, sent = known.calls, known.before, known.sent
        self._syntax = syntax = reader.syntax
        self._earlier = [call.arguments for call in (calls[:-1] if known.is_open else calls)]
        self._cut = calls[-1].name
        self._before = before
        self._sent = sent
        self._closes = known.closes
        self._known = _arguments_in(sent, reader, len(calls)) if syntax.parameters else sent[len(before) :]
        #: The ids of calls that are new, in order.
        self.ids: list[str | None] = []
        #: Whether a call ended within its arguments and another one followed, or the cut call is not among them, or it
        #: was written again with other arguments.
        self.is_broken = False
        self._count = len(calls)
        # The call that comes now: by index and id; its name; what it is ("open": the cut one, "new", or None: not known
        # yet, or one of the earlier calls once more).
        self._key: tuple[object, str | None] | None = None
        self._name = ""
        self._kind: str | None = None
        self._place = -1
        self._arguments = ""
        self._writer: Writer | None = None
        # Whether the cut call is still to come, and whether it came from its beginning.
        self._is_open, self._is_again = known.is_open, False
        # Characters of the output that were sent, and that are left out.
        self._skip = 0
        # What the model has written, if it writes the cut call from its beginning, how much of that was sent, or None
        # if it does not; and whether it can go on with an object where it was cut.
        self._again: Writer | None = None
        self._repeated: int | None = None
        self._object = Document()
        self._is_nested = False
        # Characters of an earlier call that came again, or None if it is another one.
        self._same: int | None = 0

    @property
    def has_calls(self) -> bool:
        """Whether the server gave any call of this round as one."""
        return self._key is not None

    @property
    def has_half(self) -> bool:
        """Whether a further call has come to its name, and no text of it is known yet."""
        return self._key is not None and self._kind is None and self._is_further

    def take(self, calls: Sequence[Json], *, is_open: bool) -> str:
        """Take calls of a message or delta; return the text. ``is_open``: whether the cut call is still open."""
        self._is_open = self._is_open and is_open
        out = ""
        for call in calls:
            if self.is_broken:
                return ""
            index, id_ = call.get("index"), as_string(call.get("id"))
            function = as_object(call.get("function")) or {}
            if self._key is None or self._key[0] != index or (id_ and id_ != self._key[1]) or "index" not in call:
                out += self._switch((index, id_), as_string(function.get("name")) or "")
            out += self._pour(as_string(function.get("arguments")) or "")
        return out

    def close(self) -> str:
        """Take the end of a round that the server says is whole; return the text that is missing."""
        if self._key is None:
            return ""
        out = self._settle()
        if self._kind == "open" and is_json(self._arguments) and not self._is_whole:
            # A call of its own.
            self.is_broken = True
        return out + (self._tail() if self._kind is not None and self._is_whole else "")

    def _tail(self) -> str:
        """Return the text after the arguments, as far as it was not sent."""
        is_known = self._kind == "open" and self._writer is None and self._closes is not None
        return self._closes or "" if is_known else self._rest(self._syntax.tail)

    @property
    def _is_whole(self) -> bool:
        if self._kind == "open" and self._closes is not None and not self._arguments:
            return True
        from_start = self._is_again or self._kind == "new"
        return is_json(self._arguments if from_start else self._known + self._arguments)

    def _switch(self, key: tuple[object, str | None], name: str) -> str:
        """Begin another call."""
        out = "" if self._key is None else self._settle()
        if self._kind is not None:
            self.is_broken = self.is_broken or not self._is_whole
            out += self._tail()
        index = key[0] if isinstance(key[0], int) else 0
        self._place = max(self._place + 1, min(index, len(self._earlier)))
        self._key, self._name, self._arguments, self._kind, self._same = key, name, "", None, 0
        return out + self._passed() if self._place >= len(self._earlier) else out

    def _passed(self) -> str:
        """Return the rest of the cut call, if a parser has found no more arguments of it and gives the next one."""
        index = 0 if self._key is None or not isinstance(self._key[0], int) else self._key[0]
        is_next = index > len(self._earlier) or self._name not in ("", self._cut)
        if not self._is_open or self._closes is None or not is_next:
            return ""
        self._is_open = False
        return self._closes

    def _pour(self, arguments: str) -> str:
        self._arguments += arguments
        if self._same is not None:
            known = self._earlier[self._place] if self._place < len(self._earlier) else ""
            self._same = self._same + len(arguments) if known.startswith(arguments, self._same) else None
        if self.is_broken or (self._kind is None and (self._is_earlier() or not (self._arguments or self._is_new))):
            return ""
        return self._written(arguments)

    @property
    def _is_new(self) -> bool:
        """Whether this is a further call whose beginning is known from its name, before any of its arguments."""
        return self._is_further and not self._syntax.head.endswith("{name}")

    @property
    def _is_further(self) -> bool:
        return bool(self._name) and not self._is_open and self._place >= len(self._earlier)

    def _is_earlier(self) -> bool:
        """Whether this may be an earlier call once more."""
        return self._same is not None and self._place < len(self._earlier)

    def _settle(self) -> str:
        """Take the end of a call; return what was not known to be its text."""
        return self._written("") if self._kind is not None or not self._is_earlier() else ""

    def _written(self, arguments: str) -> str:
        passed = self._passed() if self._kind is None else ""
        if self._kind is None and not self._is_open:
            return passed + self._begun()
        if self._writer is not None:
            return self._rest(self._writer.feed(arguments))
        self._kind, self._is_open = "open", False
        self.is_broken = self.is_broken or self._name not in ("", self._cut)
        full = self._full(arguments)
        if full is None:
            return ""
        self._writer = Writer(self._syntax)
        self._skip = len(self._sent)
        return self._rest(self._before) + self._rest(self._writer.feed(full))

    def _begun(self) -> str:
        """Return the beginning of a new call."""
        self._kind, self._writer, self._skip = "new", Writer(self._syntax), 0
        self.ids.append(None if self._key is None else self._key[1])
        self._count += 1
        return head(self._syntax, self._name, self._count - 1) + self._writer.feed(self._arguments)

    def _full(self, arguments: str) -> str | None:
        """
        Return the arguments from their beginning, or None if it is not clear yet whether they came so.

        ``arguments``: the last piece of them.
        """
        came = self._arguments
        if not came or came.isspace():
            return None
        if self._again is None:
            self._again, arguments = Writer(self._syntax), came
            self._repeated = len(self._before) if came.lstrip().startswith("{") else None
        end = None if self._object.has_ended else self._object.feed(arguments)
        if self._repeated is not None:
            written = self._again.feed(arguments) + ("" if end is None else self._syntax.tail)
            rest = len(self._sent) - self._repeated
            self._is_again = len(written) >= rest and written.startswith(self._sent[self._repeated :])
            if self._is_again or self._sent.startswith(written, self._repeated):
                self._repeated += len(written)
                return came if self._is_again else None
            self._repeated, self._is_nested = None, expects_value(self._known)
        return None if self._may_be_new(came) else self._known + came

    def _may_be_new(self, came: str) -> bool:
        """
        Whether these arguments may be those of a whole new call, though they are to go on from the cut ones.

        Sets ``is_broken`` if they are: an object follows neither the half of a string nor a value.
        """
        if self._key is None or not (self._name or self._key[1]):
            return False
        if _OBJECT.match(came) is None:
            return _HALF_OBJECT.match(came) is not None
        self.is_broken = not self._is_nested
        # What follows an object within the arguments are the rest of them.
        return self.is_broken or not self._object.has_ended or is_json(came)

    def _rest(self, text: str) -> str:
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        return text[skipped:]


def _arguments_in(text: str, reader: Reader, count: int) -> str:
    """Return the arguments of the call with this number in a text of the model."""
    found = reader.read(text)
    return found[-1][1] if len(found) == count else ""
