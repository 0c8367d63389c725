"""Where a JSON document ends that comes in pieces; it may stand in a Markdown fence, with text before that."""

from __future__ import annotations

import re

from .json_value import BLANKS, JsonValue

# What opens a fence around a document: "```json". The document follows.
_OPENING = re.compile(r"(`{3,}|~{3,})[ \t]*[\w+.-]*\s*\Z")
_LONGEST_OPENING = 200
# A JSON value that is neither an object nor an array.
_SCALAR = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null)')


class Document:
    """
    Finds the end of a JSON object or array that comes in pieces.

    A document is the first thing in the text, or the first thing in a fence. The fence is a part of it. Brackets
    elsewhere are ordinary text.
    """

    def __init__(self) -> None:
        # The object or array, once it has begun.
        self._value: JsonValue | None = None
        self._ended = False
        # What came before the document, until it begins; what opened its fence; what came after it of the closing one.
        self._before = ""
        self._fence = ""
        self._after: str | None = None

    def feed(self, text: str) -> int | None:
        """Take a piece; return how many of its characters belong to the document if it ends here, else None."""
        if self._ended:
            return 0
        if self._after is not None:
            return self._close_fence(text, 0)
        place = 0
        if self._value is None:
            begin = self._begin(text)
            if begin is None:
                return None
            self._value, place = JsonValue(), begin
        end = self._value.feed(text[place:])
        return None if end is None else self._close(text, place + end)

    def _begin(self, text: str) -> int | None:
        """Return where the object or array begins in a piece, or None if it does not."""
        known = self._before + text
        for found in re.finditer(r"[{\[]", text):
            fence = _fence_before(known, len(self._before) + found.start())
            if fence is not None:
                self._fence = fence
                return found.start()
        # Only whether it is blank, and its end, matter.
        self._before = known[-_LONGEST_OPENING:] if known.strip(BLANKS) else known[-1:]
        return None

    def _close(self, text: str, place: int) -> int | None:
        """Take the end of the object or array, at ``place``; return where the document ends, or None."""
        if not self._fence:
            self._ended = True
            return place
        self._after = ""
        return self._close_fence(text, place)

    def _close_fence(self, text: str, place: int) -> int | None:
        """Take what follows the object or array in a fence, from ``place`` on: whitespace and the closing fence."""
        while place < len(text):
            seen = (self._after or "") + text[place]
            if not self._fence.startswith(seen.lstrip()) and seen.strip() != self._fence:
                self._ended = True
                return place
            # Of whitespace, any amount may stand there.
            self._after, place = seen.strip(), place + 1
        return None

    @property
    def has_ended(self) -> bool:
        """Whether the document is complete. Whitespace may still follow the closing fence."""
        return self._ended or bool(self._fence and self._fence in (self._after or ""))

    @property
    def is_lost(self) -> bool:
        """Whether it has begun, and nothing that follows makes it JSON. Before that, a document in a fence may come."""
        return self._value is not None and self._value.is_lost


def goes_on(text: str) -> bool:
    """Whether more than blanks follows the first JSON value of a text: another value, or prose."""
    end = Document().feed(text)
    if end is None:
        found = _SCALAR.match(text)
        end = len(text) if found is None else found.end()
    return bool(text[end:].strip())


def without_fence(text: str) -> str:
    """Return a JSON document without the Markdown fence around it; the text as it is if there is none."""
    for found in re.finditer(r"[{\[]", text):
        fence = _fence_before(text, found.start())
        if fence is not None:
            return text[found.start() :].rstrip().removesuffix(fence) if fence else text
    return text


def _fence_before(text: str, place: int) -> str | None:
    """Return the fence that is opened directly before a place, "" if nothing is there, or None."""
    if not text[:place].strip(BLANKS):
        return ""
    found = _OPENING.search(text, max(place - _LONGEST_OPENING, 0), place)
    return None if found is None else found.group(1)
