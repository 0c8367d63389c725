"""A JSON object or array that comes in pieces: where it ends, and whether what came can still become one."""

from __future__ import annotations

import re

#: Whitespace of JSON.
BLANKS = " \t\n\r"
# What comes next outside of strings, after whitespace: a mark, a word (a number, true, ...), or what is none of JSON.
_TOKEN = re.compile(rf'[{BLANKS}]*([{{}}\[\],:"]|[-+.\w]+|\Z|.)', re.DOTALL)
_MARKS = '{}[],:"'
# What a string has, and the beginning of an escape at the end of a piece.
_CHARACTERS = re.compile(r'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
# Words as json.loads() takes them.
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_HALF_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?:\.[0-9]+)?[eE][-+]?[0-9]*)?)?")
_DIGITS = re.compile(r"([0-9])[0-9]+")
# The first characters that may come next. "0" stands for any word.
_VALUE, _ITEM, _NAME, _FIRST_NAME = '{["0', '{["0]', '"', '"}'
# In what is no JSON: brackets and strings. A backslash escapes the next character.
_BRACKETS = re.compile(r'[{}\[\]"\\]')


class JsonValue:
    """
    Reads one object or array. Each piece is read once.

    What is no JSON has an end, too: that of its first bracket.
    """

    def __init__(self) -> None:
        #: Whether nothing that follows makes it JSON.
        self.is_lost = False
        # What closes the brackets that are open.
        self._closers: list[str] = []
        self._expected = "{["
        self._in_string = False
        # The end of the last piece, if it may go on: a word, or an escape. Its digits are as few as matter.
        self._half = ""

    def feed(self, text: str) -> int | None:
        """Take a piece; return how many of its characters belong to the value if it ends here, else None."""
        known = len(self._half)
        text, self._half = self._half + text, ""
        place = 0
        while place < len(text) and not self.is_lost:
            place = self._string(text, place) if self._in_string else self._token(text, place)
            if not (self._closers or self.is_lost or self._half):
                return place - known
        end = self._skip(text, place) if self.is_lost else None
        return None if end is None else end - known

    def _string(self, text: str, place: int) -> int:
        """Read on within a string; return the place after what was read."""
        found = _CHARACTERS.match(text, place)
        place = place if found is None else found.end()
        if text.startswith('"', place):
            self._in_string = False
            return place + 1
        return self._keep(text, place) if _HALF_ESCAPE.match(text, place) else self._lose(text, place)

    def _token(self, text: str, place: int) -> int:
        """Read on outside of a string; return the place after what was read."""
        found = _TOKEN.match(text, place)
        token = "" if found is None else found[1]
        end = len(text) if found is None else found.end()
        if not token:
            return end
        kind = token if token in _MARKS else "0"
        if kind not in self._expected:
            return self._lose(text, end - len(token))
        if kind != "0":
            self._take(kind)
        elif end == len(text) and _is_half(token):
            return self._keep(text, end - len(token))
        elif token in _LITERALS or _NUMBER.fullmatch(token):
            self._expected = "," + self._closers[-1]
        else:
            return self._lose(text, end - len(token))
        return end

    def _take(self, mark: str) -> None:
        if mark == "{":
            self._closers.append("}")
            self._expected = _FIRST_NAME
        elif mark == "[":
            self._closers.append("]")
            self._expected = _ITEM
        elif mark == ",":
            self._expected = _NAME if self._closers[-1] == "}" else _VALUE
        elif mark == ":":
            self._expected = _VALUE
        elif mark == '"':
            self._in_string = True
            self._expected = ":" if self._expected in (_NAME, _FIRST_NAME) else "," + self._closers[-1]
        else:
            self._closers.pop()
            self._expected = "," + self._closers[-1] if self._closers else ""

    def _keep(self, text: str, place: int) -> int:
        """Keep the end of the piece for the next one."""
        self._half = text[place:] if self._in_string else _DIGITS.sub(r"\1", text[place:])
        return len(text)

    def _lose(self, text: str, place: int) -> int:
        """Note that it is no JSON from this place on."""
        self.is_lost = place < len(text)
        return place

    def _skip(self, text: str, place: int) -> int | None:
        """Read on in what is no JSON; return where the first bracket is closed, or None if it is not."""
        found = _BRACKETS.search(text, place)
        while found is not None:
            mark, place = found.group(), found.end()
            if mark == "\\":
                if self._in_string and place == len(text):
                    self._half = mark
                place += self._in_string
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string and mark in "{[":
                self._closers.append(mark)
            elif not self._in_string:
                self._closers.pop()
                if not self._closers:
                    return place
            found = _BRACKETS.search(text, place)
        return None


def _is_half(word: str) -> bool:
    """Whether a word may go on, or is whole and may end."""
    return _HALF_NUMBER.fullmatch(word) is not None or any(literal.startswith(word) for literal in _LITERALS)
