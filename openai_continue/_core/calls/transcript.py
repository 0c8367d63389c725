"""An answer with tool calls as its model writes it: the text, then the calls in the model's own syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

from ..chunks import delta_of, has_lists, text_of
from ..json import Json, as_string
from ..text.characters import CUT_CHARACTER, has_lone_surrogates, paired
from ..text.evidence import Evidence
from ..text.seam import Seam
from ..text.text import Text
from .calls import Calls, calls_in, expects_value, is_json
from .model_text import ModelText
from .reader import Reader, first_mark
from .server_calls import SentCalls, ServerCalls
from .tools import Tools
from .writer import Writer, head

# An escape in a JSON string, and what it stands for.
_ESCAPE = re.compile(r"\\(.)")
# JSON without blanks, as llama.cpp writes arguments that are no JSON in the syntax of the model.
_COMPACT = re.compile(r'\{"(?:[^"\\]|\\.)*":[^ ]')
# The first name in an object.
_FIRST_KEY = re.compile(r'\s*\{\s*"([^"\\]+)"')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}

#: How servers end an answer with tool calls.
ENDS_OF_CALLS = ("tool_calls", "function_call", "stop")


class CallEnd(Enum):
    """How the tool calls of a round ended."""

    #: What the server says holds, or there are none.
    NONE = "none"
    #: They are whole.
    WHOLE = "whole"
    #: They were cut.
    CUT = "cut"
    #: They were cut, and the server calls it something else.
    HIDDEN = "hidden"
    #: The same, and it has perhaps closed the last of them. The text that is sent begins anew with its arguments.
    CLOSED = "closed"
    #: The round did not continue them. They are as they were before it.
    FAILED = "failed"

    @property
    def hides_cut(self) -> bool:
        """Whether the server called a cut tool call something else than cut."""
        return self in (CallEnd.HIDDEN, CallEnd.CLOSED)


class CallTranscript:
    """
    One choice whose last tool call was cut.

    What goes back is ``raw``, the text of the model. The rest comes as such text, or as calls that the server has read,
    which become text again. It meets the text so far at a seam, as any answer does. Then a reader of the syntax shows
    which arguments are new.
    """

    def __init__(self, tools: Tools, calls: Calls, raw: str, strings: Sequence[Mapping[str, bool]] = ()) -> None:
        self._syntax = tools.syntax
        self._tools = tools
        self._calls = calls
        #: The answer as the model writes it.
        self.raw = Text("content")
        self.raw.add(raw)
        self._is_compact = any(_COMPACT.match(call.arguments) for call in [*calls][:1])
        # What the server took for strings.
        self._strings = strings
        self._reader = self._new_reader()
        self._model_text = ModelText(self._reader, wants_one=tools.wants_one, seed=raw)
        #: Whether a whole answer shows a call that was cut as this text, and not as a call.
        self.shows_raw = False
        #: The text before the calls; and without the whitespace around it.
        self.text = self._bare_text = ""
        # Where the arguments of the last call begin in the text.
        self._start = len(raw)
        self._returned: ServerCalls | None = None
        # The last chunk of the running round, for what ends it.
        self._last: Json | None = None
        # Whether it brought content.
        self._has_text = False
        self._before: tuple[int, str, str] = (0, "", "")
        # Whether the server's calls do not go on from those so far, or text followed calls that were whole.
        self._has_strayed = False
        # Whether the calls were whole when the running round began.
        self._was_closed = False

    def _new_reader(self) -> Reader:
        return self._tools.reader(self._strings, compact=self._is_compact)

    @classmethod
    def of_calls(cls, tools: Tools, calls: Calls, text: str, *, streamed: bool, trusted: bool) -> CallTranscript | None:
        """
        Return the turn of an answer whose calls the server has read, or None if they cannot be continued.

        ``trusted``: whether the server is known not to close half arguments. Else whole ones are not continued.
        """
        cut, syntax = calls.last, tools.syntax
        for call in calls:
            call.arguments = paired(call.arguments)
        # A parser may give the half of a name.
        known = all(call.is_json and call.is_listed and tools.has(call.name) for call in calls)
        if not known or cut.arguments.endswith(CUT_CHARACTER) or has_lone_surrogates(cut.arguments):
            return None
        if is_json(cut.arguments) and not trusted:
            return None
        raw, writer, start = tools.after(text), Writer(syntax), 0
        strings: list[Mapping[str, bool]] = []
        for place, call in enumerate(calls):
            raw += head(syntax, call.name, place)
            start, writer = len(raw), Writer(syntax)
            raw += writer.feed(call.arguments)
            # A model that is to close whole arguments itself may close them twice: its tokens were other ones.
            closes = call is not cut or (syntax.parameters is None and is_json(cut.arguments))
            raw += syntax.tail if closes else ""
            strings.append(writer.strings)
        turn = cls(tools, calls, raw, strings)
        turn.text, turn._start = text, start
        is_all = writer.consumed == len(cut.arguments)
        return turn if turn._model_text.follow(raw, list(calls), is_all=is_all, is_out=streamed) else None

    @classmethod
    def of_text(cls, tools: Tools, calls: Calls, raw: str) -> CallTranscript | None:
        """Return the turn of a whole answer that shows a cut call as text, or None if its text is no call."""
        turn = cls(tools, calls, raw)
        turn.shows_raw = True
        delta = turn._model_text.take(raw)
        turn.text = delta.get("content", "")
        calls.take(delta)
        if turn._is_broken or not (turn._reader.is_in_call or len(calls)):
            calls.drop_from(0)
            return None
        return turn

    @property
    def ends_token(self) -> bool:
        """
        Whether the text ends where a token did.

        A server that has read it keeps back what may be half an escape or half a mark.
        """
        return self.shows_raw if self._returned is None else not self._returned.has_calls and self._has_text

    @property
    def is_ahead(self) -> bool:
        """Whether more was sent than the model has written: the mark before arguments that had not begun."""
        count, arguments, _ = self._before
        return count > 0 and arguments.strip() in ("", "{")

    # The running round.

    def start_round(self, seam: Seam) -> None:
        """Begin a round that continues this turn."""
        raw = self.raw.text
        self._before = len(self._calls), self._calls.last.arguments if len(self._calls) else "", raw
        sent, start = raw[: len(raw) - len(seam.held)], self._model_text.start or self._start
        is_open = self._reader.is_in_call
        # What was held back may be what closes the last call.
        reopened = len(self._calls) > 0 and not is_open and self._ends_within_call(sent)
        evidence = seam.evidence
        if evidence is not None and self._syntax.parameters is None:
            evidence = Evidence(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), evidence.before))
        is_within = is_open or reopened
        starts = (*seam.starts, *self._beginnings(sent[start:] if is_within else None))
        seam = replace(seam, replaces=False, evidence=evidence, starts=starts, first=seam.first or is_within)
        self.raw.start_round(seam)
        calls = list(self._calls)
        if calls:
            closes = seam.held if reopened else None
            sent_calls = SentCalls(calls, raw[:start], sent, is_open=is_within, closes=closes)
            self._returned = ServerCalls(self._new_reader(), sent_calls)
        self._last, self._has_text = None, False
        self._was_closed, self._bare_text = not is_open, self.text.strip()

    def _beginnings(self, arguments: str | None) -> list[str]:
        """Return how a round begins that begins the call again. ``arguments``: as sent, if they are to go on."""
        if not len(self._calls):
            return []
        begins = [head(self._syntax, self._calls.last.name, 0).strip()]
        if arguments is not None:
            begins += filter(None, (first_mark(self._syntax), self._syntax.head.partition("{")[0].strip()))
            key = _FIRST_KEY.match(self._calls.last.arguments)
            if self._syntax.parameters is None and key is not None and not expects_value(arguments):
                # Neither the half of a string nor a value goes on with an object.
                begins += ['{"name":', f'{{"{key[1]}":']
        return begins

    def _ends_within_call(self, text: str) -> bool:
        reader = self._new_reader()
        reader.feed(text)
        return reader.is_in_call

    def take(self, chunk: Json) -> list[Json]:
        """Take a chunk of the round; return the chunks for the caller, whose deltas are of tool calls."""
        self._last = chunk
        delta = delta_of(chunk)
        calls, text = calls_in(delta), as_string(delta.get("content")) or ""
        if self._is_copy(text, beside=bool(calls)):
            text = ""
        out = self._take_text(chunk, text)
        self._has_text = self._has_text or bool(text)
        if calls and self._returned is not None:
            out += self._take_returned(self._returned, chunk, calls)
        return out

    def _take_returned(self, returned: ServerCalls, chunk: Json, calls: Sequence[Json]) -> list[Json]:
        """Take calls that the server has read; text that came before them has come to its end."""
        out = self._shown(self.raw.settle()) if self._has_text else []
        is_open, between = self._reader.is_in_call, self._syntax.between
        text = returned.take(calls, is_open=is_open or not self._has_text)
        self._has_strayed = self._has_strayed or returned.is_broken
        is_parted = self.raw.text.endswith(between) and (self._has_text or not self.raw.seam.held)
        if not is_open and between.isspace() and text.startswith(between) and is_parted:
            # What parts two calls came with the text, or was sent.
            text = text[len(between) :]
        return out if self._is_broken else out + self._take_text(chunk, text)

    @property
    def was_read(self) -> bool:
        """Whether the server gave calls of the running round as such."""
        return self._returned is not None and self._returned.has_calls

    def _is_copy(self, text: str, *, beside: bool) -> bool:
        """Whether content is the text before the calls once more. ``beside``: whether calls came with it."""
        may_be = beside or bool(self.raw.seam.echo)
        return may_be and bool(self._bare_text) and text.strip() == self._bare_text

    def _take_text(self, chunk: Json, text: str) -> list[Json]:
        if not text:
            return []
        item = {**chunk["choices"][0], "delta": {"content": text}}
        return self._shown(self.raw.take({**chunk, "choices": [item]}))

    def _shown(self, chunks: Sequence[Json]) -> list[Json]:
        """Return chunks of the text of the model as chunks of tool calls."""
        out: list[Json] = []
        for chunk in chunks:
            delta = self._read(text_of(chunk))
            if delta or has_lists(chunk):
                out.append({**chunk, "choices": [{**chunk["choices"][0], "delta": delta}]})
        return out

    def _read(self, text: str) -> Json:
        """Read a piece of the text of the model; return what is new as a delta for the caller."""
        was_broken, ids = self._is_broken, None if self._returned is None else self._returned.ids
        delta = self._model_text.take(text, ids=ids)
        if was_broken:
            delta.pop("tool_calls", None)
        self._calls.take(delta)
        self._was_closed = self._was_closed and not any("id" in call for call in calls_in(delta))
        text = delta.pop("content", "")
        if not text.strip():
            return delta
        # Nothing but a further call follows arguments that were whole before the round.
        self._has_strayed = self._has_strayed or self._was_closed
        return {"content": text, **delta}

    @property
    def _is_broken(self) -> bool:
        """Whether what came does not go on from the calls so far."""
        return self._has_strayed or self._model_text.is_broken

    # The end of a round.

    def settle(self, *, natural: bool) -> list[Json]:
        """
        Settle the seam of a round that brings no more; return the chunks for the caller.

        ``natural``: whether the server says that the answer has ended by itself.
        """
        out = self._shown(self.raw.settle())
        if not natural:
            return out
        if self._returned is not None and self._last is not None and self._reader.is_in_call:
            closes = self._returned.close()
            self._has_strayed = self._has_strayed or self._returned.is_broken
            out += self._take_text(self._last, closes)
        return out + self._shown(self.raw.end_round(goes_on=False))

    def end_round(self, *, goes_on: bool) -> list[Json]:
        """End a round; return the chunks for the caller."""
        return self._shown(self.raw.end_round(goes_on=goes_on))

    @property
    def is_whole(self) -> bool:
        """Whether every call has come to its end and is of its tool's schema."""
        if self._is_broken or not len(self._calls):
            return False
        is_open = (self._reader.is_in_call and not self._reader.has_arguments) or self._reader.has_rest
        is_open = is_open or self._has_half
        return (self._model_text.is_over or not is_open) and all(self._tools.fits(call) for call in self._calls)

    @property
    def _is_closed(self) -> bool:
        """Whether the arguments of the last call are JSON, whole or closed."""
        return bool(len(self._calls)) and is_json(self._calls.last.arguments)

    def judged(self, finish_reason: str | None, *, used_up: bool, trusted: bool) -> CallEnd:
        """
        Return how the calls of a round ended.

        ``used_up``: whether the round used all tokens that it could. ``trusted``: whether the server knows where calls
        end.
        """
        if self._is_broken:
            return CallEnd.FAILED
        if finish_reason not in ENDS_OF_CALLS:
            return CallEnd.NONE
        if self.is_whole and (not used_up or finish_reason == "stop" or trusted):
            return CallEnd.WHOLE
        if used_up and self.was_read and self._is_closed:
            return CallEnd.CLOSED
        # Half arguments that the server has read show that they were cut.
        is_cut = used_up or self._has_half or (self.was_read and not self._is_closed)
        return CallEnd.CUT if is_cut else CallEnd.FAILED

    def shown(self, listed: list[Json], *, is_cut: bool) -> Json:
        """
        Return what the message of a whole answer shows of this turn.

        ``listed``: the calls as the server listed them; ``is_cut``: whether the answer was cut.
        """
        if self.shows_raw and is_cut:
            # As the server shows a call that was cut.
            return {"content": self.raw.text}
        content = {"content": self.text or None} if self.shows_raw else {}
        return {**content, "tool_calls": self._calls.merged(listed)}

    @property
    def _has_half(self) -> bool:
        return self._returned is not None and self._returned.has_half and not self._tools.wants_one

    def fail(self) -> None:
        """Give up: the calls are as they were before the running round, as far as the caller has not seen more."""
        count, arguments, raw = self._before
        self._calls.drop_from(count)
        if count:
            self._calls.last.arguments = arguments
        self.raw = Text("content")
        self.raw.add(raw)
