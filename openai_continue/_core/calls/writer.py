"""A tool call as its model writes it, from the arguments that a server gives as JSON, whole or cut anywhere."""

from __future__ import annotations

import json
import re

from ..._tables.call_syntaxes import CallSyntax, Parameters
from .values import UNIT, ValueEnd, unescaped

# The bracket of the object or a comma, and the name of a parameter. What follows shows whether its value is a string.
_KEY = re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*(?=\S)')


def head(syntax: CallSyntax, name: str, index: int) -> str:
    """Return what stands before the arguments of a call; ``index``: its place among the calls of the answer."""
    before = syntax.opens if index == 0 else syntax.between
    return before + syntax.head.replace("{name}", name).replace("{index}", str(index))


class Writer:
    """Writes the arguments of one call: JSON in pieces in, the syntax of the model out."""

    def __init__(self, syntax: CallSyntax) -> None:
        self._parameters = syntax.parameters
        #: How many characters of the JSON the output holds. What follows them is a name or a value that is not whole.
        self.consumed = 0
        #: The names of its parameters, and whether their values are strings.
        self.strings: dict[str, bool] = {}
        self._rest = ""
        # What comes next of the object: a name, a string, or another value.
        self._next = "name"
        self._end = ValueEnd()

    def feed(self, arguments: str) -> str:
        """Take a piece of the JSON; return what the model would have written for it."""
        if self._parameters is None:
            self.consumed += len(arguments)
            return arguments
        self._rest += arguments
        out: list[str] = []
        while (step := self._step(self._parameters)) is not None:
            out.append(step)
        return "".join(out)

    def _step(self, parameters: Parameters) -> str | None:
        """Return the next part of the output, or None if more of the JSON is needed."""
        if self._next == "name":
            return self._name(parameters)
        return self._string(parameters) if self._next == "string" else self._value(parameters)

    def _take(self, length: int, following: str, out: str = "") -> str:
        self._rest, self._next = self._rest[length:], following
        self.consumed += length
        return out

    def _name(self, parameters: Parameters) -> str | None:
        found = _KEY.match(self._rest)
        if found is None:
            return None
        is_string = self._rest[found.end()] == '"'
        key = str(json.loads(found[1], strict=False))
        self.strings[key] = is_string
        opens = parameters.opens.replace("{key}", key)
        opens = opens.replace("{is_string}", str(is_string).lower())
        self._end = ValueEnd()
        return self._take(found.end() + is_string, "string" if is_string else "value", opens)

    def _string(self, parameters: Parameters) -> str | None:
        if self._rest.startswith('"'):
            return self._take(1, "name", parameters.closes)
        found = UNIT.match(self._rest)
        if found is None:
            return None
        return self._take(found.end(), "string", unescaped(found[0]))

    def _value(self, parameters: Parameters) -> str | None:
        end = self._end.feed(self._rest)
        if end is None:
            return None
        try:
            value = json.loads(self._rest[:end], strict=False)
        except ValueError:
            return None
        return self._take(end, "name", json.dumps(value, ensure_ascii=False) + parameters.closes)
