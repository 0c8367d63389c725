"""Where a JSON document ends that comes in pieces."""

from __future__ import annotations

import re

# A backslash escapes the next character, which may be the first one of the next piece.
_MARKS = re.compile(r'[{}\[\]"\\]')


class Document:
    """Finds the end of a JSON object or array that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._ended = False

    def feed(self, text: str) -> int | None:
        """Take a piece; return how many of its characters belong to the document if it ends here, else None."""
        if self._ended:
            return 0
        place = 0
        if self._escaped and text:
            self._escaped, place = False, 1
        found = _MARKS.search(text, place)
        while found is not None:
            mark, place = found.group(), found.end()
            if mark == "\\":
                if place == len(text):
                    self._escaped = self._in_string
                place += self._in_string
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string and (self._depth or mark in "{["):
                self._depth += 1 if mark in "{[" else -1
                if self._depth == 0:
                    self._ended = True
                    return place
            found = _MARKS.search(text, place)
        return None
