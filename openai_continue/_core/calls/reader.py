"""Tool calls in the syntax of a model, read as they come: text in pieces in, calls with arguments as JSON out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from ..._tables.call_syntaxes import CallSyntax, Parameters
from ..json import Json, as_object
from ..text.document import Document
from .calls import functions_in
from .values import escaped, read_value, type_of

# What a mark may be followed by that is to be seen before it is known, at most.
_LONGEST_MARK = 400


class Event(NamedTuple):
    """What was read: "text" outside of calls, the "name" of a new call, a piece of its "arguments", or its "end"."""

    kind: str
    text: str = ""
    #: Characters of the input up to and with this event.
    place: int = 0


@lru_cache(maxsize=64)
def _pattern(mark: str) -> re.Pattern[str]:
    """Return the expression of a mark, whose whitespace may vary."""
    parts = re.split(r"(\{name\}|\{key\}|\{index\}|\{is_string\}|\s+|[{}:,])", mark)
    holes = {"{name}": r"(?P<name>[\w.\-]+)", "{key}": r"(?P<key>[^<>\"=:]+?)", "{index}": r"\d+"}
    holes["{is_string}"] = r"(?P<is_string>\w+)"
    return re.compile("".join(holes.get(part) or _loosely(part) for part in parts if part).replace("><", r">\s*<"))


def _loosely(part: str) -> str:
    if part.isspace():
        return r"\s*"
    return rf"\s*{re.escape(part)}\s*" if part in "{}:," else re.escape(part)


def first_mark(syntax: CallSyntax) -> str:
    """Return the mark by which the first call of an answer is found."""
    found = re.match(r"\s*([^\s\[{]+|\{\"name\":)", syntax.opens + syntax.head)
    return "" if found is None else found[1].partition("{")[0] or found[1]


class Reader:
    """
    Reads the calls of one answer.

    ``tools``: those of the request, which say what is a string. ``strings``: whether it is one, for each call and name
    that is known already. ``compact``: whether the JSON has no blanks.
    """

    def __init__(
        self,
        syntax: CallSyntax,
        tools: object = None,
        *,
        strings: Sequence[Mapping[str, bool]] = (),
        compact: bool = False,
    ) -> None:
        self._separators = (",", ":") if compact else (", ", ": ")
        #: The row of the table.
        self.syntax = syntax
        self._tools = _properties(tools)
        self._strings = strings
        self._mark = first_mark(syntax)
        # Without a mark of its own, a call is known only at the beginning of the answer.
        self._is_bare = self._mark.startswith("{")
        self._buffer = ""
        self._new = 0
        self._is_blank = False
        self._place = 0
        self._state: Callable[[list[Event]], bool] = self._text
        self._seen_text = False
        self._name = ""
        self._document = Document()
        self._key = ""
        self._count = 0
        #: How many calls have begun.
        self.calls = 0
        #: Whether what came is no call of this syntax.
        self.is_broken = False

    def feed(self, text: str) -> list[Event]:
        """Take a piece of the answer; return what it shows."""
        if self.is_broken:
            return []
        is_blank = self._is_blank and text.isspace()
        self._buffer += text
        if is_blank:
            return []
        self._new = len(text)
        events: list[Event] = []
        while not self.is_broken and self._state(events):
            pass
        # More blanks before a mark, or before a text that may be one, show nothing.
        self._is_blank = self._state in (self._text, self._tail, self._between) and self._buffer.isspace()
        return events

    def rest(self) -> str:
        """Return text that may have been the beginning of a call, and was none: the answer has ended."""
        return self._take(len(self._buffer)) if self._state == self._text else ""

    @property
    def is_in_call(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._state not in (self._text, self._after, self._between)

    @property
    def has_arguments(self) -> bool:
        """Whether the arguments of the last call have come to their end, but perhaps not the mark after them."""
        return self.calls > 0 and self._state in (self._tail, self._between, self._after)

    @property
    def has_rest(self) -> bool:
        """Whether a mark after the last call has begun."""
        return self._state == self._between and bool(self._buffer.strip())

    # Steps. Each returns whether there may be another one.

    def _take(self, length: int) -> str:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        self._place += length
        self._new = min(self._new, len(self._buffer))
        return taken

    def _text(self, events: list[Event]) -> bool:
        place = self._bare_start() if self._is_bare else self._buffer.find(self._mark)
        if place is None:
            return False
        if place >= 0:
            self._put(events, "text", self._take(place))
            self._state = self._head
            return True
        keep = 0 if self._is_bare else _overlap(self._buffer, self._mark)
        self._put(events, "text", self._take(len(self._buffer) - keep))
        return False

    def _bare_start(self) -> int | None:
        """Return 0 if the answer is a call without a mark, -1 if it is a text, or None if more must be seen."""
        head = _pattern(self.syntax.head.partition("{name}")[0])
        if self._seen_text:
            return -1
        if head.match(self._buffer.lstrip()):
            return len(self._buffer) - len(self._buffer.lstrip())
        bare = "".join(self._buffer.split())
        wanted = "".join(self.syntax.head.partition("{name}")[0].split())
        return None if wanted.startswith(bare) else -1

    def _put(self, events: list[Event], kind: str, text: str) -> None:
        if text:
            self._seen_text = self._seen_text or kind == "text"
            events.append(Event(kind, text, self._place))

    def _head(self, events: list[Event]) -> bool:
        opens = self.syntax.opens if self.calls == 0 else ""
        found = _pattern(opens + self.syntax.head).match(self._buffer)
        return self._begin(events, found)

    def _begin(self, events: list[Event], found: re.Match[str] | None) -> bool:
        # A name that ends the buffer may go on.
        if found is None or found.end("name") == len(self._buffer):
            return self._wait()
        self._take(found.end())
        self._name = found["name"]
        self.calls += 1
        self._count, self._document = 0, Document()
        events.append(Event("name", self._name, self._place))
        self._state = self._json if self.syntax.parameters is None else self._parameter
        return True

    def _wait(self) -> bool:
        """Wait for the rest of a mark; give up if it does not come."""
        self.is_broken = len(self._buffer) > _LONGEST_MARK
        return False

    def _json(self, events: list[Event]) -> bool:
        if self._count == 0:
            self._take(len(self._buffer) - len(self._buffer.lstrip()))
            self.is_broken = bool(self._buffer) and self._buffer[0] != "{"
            if self.is_broken or not self._buffer:
                return False
            self._count = 1
        end = self._document.feed(self._buffer)
        self._put(events, "arguments", self._take(len(self._buffer) if end is None else end))
        if end is None:
            return False
        self._state = self._tail
        return True

    def _tail(self, events: list[Event]) -> bool:
        found = _pattern(" " + self.syntax.tail.strip()).match(self._buffer)
        if found is None:
            self.is_broken = not "".join(self.syntax.tail.split()).startswith("".join(self._buffer.split()))
            return False
        self._take(found.end())
        events.append(Event("end", "", self._place))
        self._state = self._between
        return True

    def _between(self, events: list[Event]) -> bool:
        """Take what follows a call: another one, the end of them all, or a text."""
        bare = self._buffer.lstrip()
        if not bare:
            return False
        closes = self.syntax.closes.strip()
        if closes and bare.startswith(closes):
            self._take(len(self._buffer) - len(bare) + len(closes))
            self._state = self._after
            return True
        following = _pattern(" " + self.syntax.between + self.syntax.head).match(self._buffer)
        if following is not None:
            return self._begin(events, following)
        start = first_mark(self.syntax) if not self.syntax.opens else self.syntax.head.partition("{")[0].strip()
        begins = any(mark.startswith(bare[: len(mark)]) for mark in (start, closes) if mark)
        if begins or (self.syntax.between.strip() and bare.startswith(self.syntax.between.strip())):
            return self._wait()
        if closes:
            self.is_broken = True
            return False
        self._state = self._after
        return True

    def _after(self, events: list[Event]) -> bool:
        """Take the text after the calls."""
        self._put(events, "text", self._take(len(self._buffer)))
        return False

    # Arguments one by one.

    @property
    def _parameters(self) -> Parameters:
        parameters = self.syntax.parameters
        assert parameters is not None  # noqa: S101 - the states below are only of such syntaxes
        return parameters

    def _parameter(self, events: list[Event]) -> bool:
        tail = _pattern(" " + self.syntax.tail.strip()).match(self._buffer)
        if tail is not None:
            self._put(events, "arguments", "}" if self._count else "{}")
            self._state = self._tail
            return True
        bare = self._parameters.opens.removesuffix("\n")
        found = _pattern(" " + bare).match(self._buffer)
        newline = bare != self._parameters.opens
        # What follows shows whether the value begins with the newline of the mark.
        if found is None or len(self._buffer) - found.end() < newline:
            return self._wait()
        self._take(found.end() + (newline and self._buffer[found.end()] == "\n"))
        self._open(events, found.groupdict())
        return True

    def _open(self, events: list[Event], found: Mapping[str, str | None]) -> None:
        self._key = (found.get("key") or "").strip()
        comma, colon = self._separators
        self._put(events, "arguments", ("{" if self._count == 0 else comma) + f'"{escaped(self._key)}"{colon}')
        self._count += 1
        marked = found.get("is_string")
        is_string = marked == "true" if marked else self._types_of_value == frozenset({"string"})
        if is_string:
            self._put(events, "arguments", '"')
        self._state = self._string if is_string else self._value

    @property
    def _types_of_value(self) -> frozenset[str]:
        """The types that a value may have here; none if any may come."""
        if self.calls <= len(self._strings) and self._strings[self.calls - 1].get(self._key):
            return frozenset({"string"})
        return self._tools.get(self._name, {}).get(self._key) or frozenset()

    def _string(self, events: list[Event]) -> bool:
        mark = self._parameters.closes.strip()
        place = self._buffer.find(mark)
        newline = "\n" if self._parameters.closes.startswith("\n") else ""
        if place < 0:
            keep = max(_overlap(self._buffer, newline + mark), _overlap(self._buffer, mark))
            self._put(events, "arguments", escaped(self._take(len(self._buffer) - keep)))
            return False
        self._put(events, "arguments", escaped(self._take(place).removesuffix(newline)) + '"')
        self._take(len(mark))
        self._state = self._parameter
        return True

    def _value(self, events: list[Event]) -> bool:
        """Take a value that is no string, or that may be one, up to the mark after it."""
        mark = self._parameters.closes.strip()
        place = self._buffer.find(mark, max(0, len(self._buffer) - self._new - len(mark)))
        if place < 0:
            self._new = 0
            return False
        text = self._take(place)
        self._take(len(mark))
        return self._put_value(events, text.removesuffix("\n") if self._parameters.closes.startswith("\n") else text)

    def _put_value(self, events: list[Event], text: str) -> bool:
        value = read_value(text, self._separators)
        is_marked = "{is_string}" in self._parameters.opens
        if "string" in self._types_of_value and value is not None and not is_marked:
            found = type_of(json.loads(value))
            is_other = found in self._types_of_value or (found == "integer" and "number" in self._types_of_value)
            value = value if is_other else None
        self._put(events, "arguments", f'"{escaped(text)}"' if value is None else value)
        self._state = self._parameter
        return True


def _overlap(text: str, mark: str) -> int:
    """Return the length of the end of a text that may be the beginning of a mark."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)


def _properties(tools: object) -> dict[str, dict[str, frozenset[str]]]:
    """Return for each tool and parameter the types that its values may have; none if any may come."""
    known: dict[str, dict[str, frozenset[str]]] = {}
    for function in functions_in(tools):
        properties = as_object((as_object(function.get("parameters")) or {}).get("properties")) or {}
        known[str(function.get("name"))] = {key: _types(as_object(value) or {}) for key, value in properties.items()}
    return known


def _types(schema: Json) -> frozenset[str]:
    """Return the types of a schema's values; none if it does not name them."""
    named = schema.get("type")
    if isinstance(named, (str, list)):
        return frozenset([named] if isinstance(named, str) else map(str, cast("list[Any]", named)))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset(map(type_of, cast("list[Any]", values)))
    others = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(others, list):
        return frozenset()
    each = [_types(as_object(other) or {}) for other in cast("list[Any]", others)]
    return frozenset[str]().union(*each) if all(each) else frozenset()
