"""
The bodies of further rounds as JSON, of which nothing is written twice.

Each holds the caller's messages and the whole answer so far; the SDK would write all of that anew in every round. They
are written when the SDK builds the request, behind the hooks of clients and other libraries that change its options.
"""

from __future__ import annotations

import importlib
import operator
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from . import wire
from .chunks import obj
from .merge import Json

try:
    _sdk_dumps: Callable[[Any], bytes] | None = importlib.import_module("openai._utils._json").openapi_dumps
except ImportError:
    _sdk_dumps = None
# Stand for what is put in afterwards; without a character that JSON would escape.
_MESSAGES, _TEXT = "<openai-continue: messages>", "<openai-continue: text>"
_MARKS = re.compile(f'"{_MESSAGES}",|"{_TEXT}"'.encode())


@dataclass(frozen=True, slots=True, repr=False)
class _Written:
    """A body, the place where its text ends, and what it was written of."""

    body: bytes
    end: int
    messages: list[Any]
    frame: tuple[bytes, bytes]
    text: str

    def begins(self, messages: list[Any], frame: tuple[bytes, bytes], text: str) -> bool:
        """Tell whether another body begins as this one, up to the end of its text."""
        same = len(messages) == len(self.messages) and all(map(operator.is_, messages, self.messages))
        return same and frame == self.frame and text.startswith(self.text)


class BodyWriter:
    """Writes the bodies of one call's further rounds; ``dumps`` is the SDK's, to the byte."""

    def __init__(self, dumps: Callable[[Any], bytes]) -> None:
        self._dumps = dumps
        self._last: _Written | None = None

    @classmethod
    def of_sdk(cls) -> BodyWriter | None:
        """Return one that writes as the SDK does; None: this SDK takes no body that is written, as openai < 2.17."""
        return None if _sdk_dumps is None else cls(_sdk_dumps)

    def write(self, body: Json) -> bytes:
        """Write a body; a message is looked at once, and the last one at each time."""
        everything = body.get("messages")
        last = obj(cast("list[Any]", everything)[-1]) if isinstance(everything, list) and everything else None
        texts = {name: value for name, value in (last or {}).items() if isinstance(value, str)}
        if last is None or not texts:
            return self._dumps(body)
        field = max(texts, key=lambda name: len(texts[name]))
        shell = _MARKS.split(self._dumps({**body, "messages": [_MESSAGES, {**last, field: _TEXT}]}))
        if len(shell) != 3:
            # The caller writes what stands for something here.
            return self._dumps(body)
        messages, frame, text = cast("list[Any]", everything)[:-1], (shell[0], shell[1]), texts[field]
        start, known = self._start(messages, frame, text)
        new = self._written(text[known:])
        whole = b"".join((start, new, b'"', shell[2]))
        self._last = _Written(whole, len(start) + len(new), messages, frame, text)
        return whole

    def _written(self, text: str) -> bytes:
        """Return a text as it stands between quotation marks; it is the same by whomever it is written."""
        try:
            return wire.dump_text(text)[1:-1]
        except ValueError:
            return self._dumps(text)[1:-1]

    def _start(self, messages: list[Any], frame: tuple[bytes, bytes], text: str) -> tuple[bytes | memoryview[int], int]:
        """Return how a body begins, and how many characters of its text are in that; let go of the last one's text."""
        last, self._last = self._last, None
        if last is not None and last.begins(messages, frame, text):
            return memoryview(last.body)[: last.end], len(last.text)
        history = self._dumps(messages)[1:-1] + b"," if messages else b""
        return b"".join((frame[0], history, frame[1], b'"')), 0


_at_work: ContextVar[BodyWriter | None] = ContextVar("openai_continue_body_writer", default=None)


@contextmanager
def writing(writer: BodyWriter | None) -> Generator[None]:
    """Have the requests that are built inside written by it; None leaves that to the SDK."""
    before = _at_work.get()
    _at_work.set(writer)
    try:
        yield
    finally:
        _at_work.set(before)


def writer_at_work() -> BodyWriter | None:
    """Return who writes the requests that are built here."""
    return _at_work.get()
