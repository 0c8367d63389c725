"""Where a JSON document ends that comes in pieces; it may stand in a Markdown fence."""

from __future__ import annotations

import re

# A backslash escapes the next character, which may be the first one of the next piece.
_MARKS = re.compile(r'[{}\[\]"\\]')
_FENCE = "```"


class Document:
    """Finds the end of a JSON object or array that comes in pieces. A fence opened before it is a part of it."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._ended = False
        # What came before the document, until it begins; what came after it of the closing fence.
        self._before = ""
        self._after: str | None = None

    def feed(self, text: str) -> int | None:
        """Take a piece; return how many of its characters belong to the document if it ends here, else None."""
        if self._ended:
            return 0
        if self._after is not None:
            return self._close_fence(text, 0)
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
                if not self._depth:
                    self._before += text[: found.start()]
                self._depth += 1 if mark in "{[" else -1
                if self._depth == 0:
                    return self._close(text, place)
            found = _MARKS.search(text, place)
        if not self._depth:
            self._before += text
        return None

    def _close(self, text: str, place: int) -> int | None:
        """Take the end of the object or array, at ``place``; return where the document ends, or None."""
        if _FENCE not in self._before:
            self._ended = True
            return place
        self._after = ""
        return self._close_fence(text, place)

    def _close_fence(self, text: str, place: int) -> int | None:
        """Take what follows the object or array in a fence, from ``place`` on: whitespace and the closing fence."""
        while place < len(text):
            seen = (self._after or "") + text[place]
            if not _FENCE.startswith(seen.lstrip()) and seen.strip() != _FENCE:
                self._ended = True
                return place
            self._after, place = seen, place + 1
        return None

    @property
    def has_ended(self) -> bool:
        """Whether the document is complete. Whitespace may still follow the closing fence."""
        return self._ended or _FENCE in (self._after or "")


def without_fence(text: str) -> str:
    """Return a JSON document without the Markdown fence around it; the text as it is if there is none."""
    found = re.search(r"[{\[]", text)
    if found is None or _FENCE not in text[: found.start()]:
        return text
    return text[found.start() :].rstrip().removesuffix(_FENCE)
