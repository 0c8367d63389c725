"""
What the model writes to call tools, and how much of it a server understands at each character.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .habits import CallSyntax
from .syntaxes import SYNTAXES, Syntax, Values


@dataclass(frozen=True, eq=False)
class Wanted:
    """A call that the model has in mind."""

    name: str
    arguments: Mapping[str, Any]
    #: The arguments as JSON if the model does not write them in the usual form.
    text: str | None = None


@dataclass(frozen=True)
class Call:
    """A call as a server understands it. Offsets count the characters of ``Calls.raw``."""

    name: str
    #: The position of the call among the calls of the turn.
    index: int
    #: The arguments as JSON, as a server gives them when the call is closed.
    arguments: str
    #: Where the syntax of the call begins, where the server has read its name, and where it is closed.
    begin: int
    named: int
    closed: int
    #: The offsets at which the server understands more of the arguments, and the length of what it then knows.
    _offsets: Sequence[int]
    _lengths: Sequence[int]
    #: Where each parameter is complete, and the length of the arguments up to it. Empty for arguments in JSON.
    _complete: Sequence[tuple[int, int]]

    def known(self, end: int) -> str:
        """Return the arguments that a server knows after ``end`` characters."""
        at = bisect_right(self._offsets, end)
        return self.arguments[: self._lengths[at - 1]] if at else ""

    def complete(self, end: int) -> str:
        """Return the complete parameters after ``end`` characters, as JSON. Arguments in JSON come as they are."""
        if not self._complete:
            return self.known(end)
        lengths = [length for offset, length in self._complete if offset <= end]
        return self.arguments[: lengths[-1]] + "}" if lengths else "{}"


@dataclass(frozen=True)
class Calls:
    """The calls of a turn."""

    #: The text as the model writes it, with the white space between the answer's text and the first call.
    raw: str = ""
    calls: tuple[Call, ...] = ()
    #: Whether a parser that has not seen the beginning of the calls finds a call that begins later.
    finds_next: bool = True

    def open_at(self, end: int) -> Call | None:
        """Return the call that is begun and not closed after ``end`` characters, or None if there is none."""
        return next((call for call in self.calls if call.begin < end < call.closed), None)


@lru_cache(maxsize=64)
def written(syntax: CallSyntax, wanted: tuple[Wanted, ...], *, after_text: bool) -> Calls:
    """Return calls in the syntax of a family. ``after_text``: whether the answer has a text before them."""
    form = SYNTAXES[syntax]
    pen = _Pen(form)
    pen.write((form.gap if after_text else "") + form.begin)
    calls: list[Call] = []
    for index, one in enumerate(wanted):
        if index:
            pen.write(form.between)
        calls.append(pen.call(one, index))
    pen.write(form.end)
    return Calls("".join(pen.raw), tuple(calls), form.finds_next)


class _Pen:
    """Writes the calls of a turn, and notes what a server knows after each piece of them."""

    def __init__(self, form: Syntax) -> None:
        self._form = form
        self.raw: list[str] = []
        self._at = 0
        # The arguments of the call that is being written.
        self._known: list[str] = []
        self._length = 0
        self._offsets: list[int] = []
        self._lengths: list[int] = []
        self._complete: list[tuple[int, int]] = []
        # What the server knows only when more follows: whether a number has ended.
        self._pending = ""

    def call(self, wanted: Wanted, index: int) -> Call:
        """Write one call."""
        form, begin = self._form, self._at
        self._known, self._offsets, self._lengths, self._complete, self._length = [], [], [], [], 0
        self.write(form.opening.format(name=wanted.name, index=index))
        named = self._at + form.name_ahead
        self.write(form.middle)
        if form.values is None:
            self._verbatim(wanted.text or _json(wanted.arguments, form.escapes))
        else:
            self._parameters(wanted.arguments, form.values)
        self.write(form.ending, "" if form.values is None else "}" if wanted.arguments else "{}")
        closed = self._at
        self.write(form.tail)
        arguments = "".join(self._known)
        marks = tuple(self._offsets), tuple(self._lengths), tuple(self._complete)
        return Call(wanted.name, index, arguments, begin, named, closed, *marks)

    def write(self, raw: str, known: str = "") -> None:
        """Write a piece of syntax. ``known`` is what the server adds to the arguments when it has read it."""
        if not raw:
            self._pending += known
            return
        self.raw.append(raw)
        self._at += len(raw)
        self._note(self._at, self._pending + known)
        self._pending = ""

    def _note(self, offset: int, known: str) -> None:
        if known:
            self._known.append(known)
            self._length += len(known)
            self._offsets.append(offset)
            self._lengths.append(self._length)

    def _verbatim(self, text: str) -> None:
        """Write arguments that the server passes on as they are."""
        for character in text:
            self.write(character, character)

    def _parameters(self, arguments: Mapping[str, Any], values: Values) -> None:
        for number, (key, value) in enumerate(arguments.items()):
            if number:
                self.write(values.separator)
            known = f"{', ' if number else '{'}{_quoted(key)}: "
            if isinstance(value, str):
                self.write(values.string_opening.format(key=key), known + '"')
                self._string(value, values)
                self.write(values.string_closing, '"')
            else:
                self.write(values.opening.format(key=key), known)
                written = json.dumps(value, ensure_ascii=False)
                self.write(written)
                self.write(values.closing, written)
            self._complete.append((self._at, self._length + len(self._pending)))

    def _string(self, text: str, values: Values) -> None:
        """Write a string. The server holds back what may be the beginning of the tag that closes it."""
        begin = self._at
        self.raw.append(text)
        self._at += len(text)
        free = 0
        for read, held in enumerate(_held(text + values.string_closing[:-1], values.string_closing), start=1):
            while free < min(read - held, len(text)):
                self._note(begin + read, _escaped(text[free]))
                free += 1
        for character in text[free:]:
            self._note(self._at + len(values.string_closing), _escaped(character))


def _held(text: str, tag: str) -> Iterator[int]:
    """Return, for each character of a text, how many characters up to it may be the beginning of a tag."""
    # The automaton of Knuth, Morris and Pratt: where to go on if the next character does not match.
    back = [0] * len(tag)
    for at in range(1, len(tag)):
        length = back[at - 1]
        while length and tag[at] != tag[length]:
            length = back[length - 1]
        back[at] = length + (tag[at] == tag[length])
    length = 0
    for character in text:
        while length and (length == len(tag) or character != tag[length]):
            length = back[length - 1]
        length += length < len(tag) and character == tag[length]
        yield length


@lru_cache(maxsize=4096)
def _escaped(character: str) -> str:
    """Return a character as it is within a JSON string."""
    return json.dumps(character, ensure_ascii=False)[1:-1]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(value: object, escapes: str) -> str:
    """Return arguments as JSON with escapes for some characters, or for all that are not ASCII."""
    text = json.dumps(value, ensure_ascii=escapes == "all")
    for character in () if escapes == "all" else escapes:
        text = text.replace(character, json.dumps(character)[1:-1])
    return text
