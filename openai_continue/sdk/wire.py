"""
JSON and server-sent events to and from HTTP responses.

Responses are httpx's or httpx2's: openai 3.x brings httpx2, yet takes a client of either. What is made here is always
of the module that the first response came from, and this module imports neither.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, cast

import openai

try:
    # Ten times as fast with a long text as json, which stands in where openai has pydantic 1.
    from pydantic_core import to_json
except ImportError:

    def to_json(value: Any) -> bytes:  # type: ignore[misc]
        """Write JSON."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# "\r" at the end of a piece may be half of "\r\n"; then the next event begins with an empty line, which says nothing.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
# Written twice, not as {2}: so the search is one for a set of bytes, and four times as fast.
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_LONGEST_END = 4
_DONE = b"[DONE]"
#: Levels of JSON that are read; Python's own limit is that of its stack.
MAX_DEPTH = 100
_SHORT = 4096
#: Bytes of an event; a chunk of a stream has some hundreds.
MAX_EVENT = 64 * 1024 * 1024


def dump(value: object) -> bytes:
    """Write JSON; lone surrogates, which UTF-8 does not know, as escapes."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":")).encode()


def load(content: bytes) -> object:
    """Read JSON; None where it is none, or is nested so deep that it could not be written again."""
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    # To count brackets is quick in a chunk, and slow in a long answer.
    may_be_deep = len(content) > _SHORT or content.count(b"[") + content.count(b"{") > MAX_DEPTH
    return None if may_be_deep and _is_deep(value) else value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def write_event(chunk: object) -> bytes:
    """Write one chunk as a server-sent event."""
    return b"data: " + dump(chunk) + b"\n\n"


DONE_EVENT = b"data: " + _DONE + b"\n\n"


class Event(NamedTuple):
    """A server-sent event as it came."""

    raw: bytes

    @property
    def data(self) -> bytes | None:
        """The data of this event; None where it has none (a comment)."""
        return data_of(self.raw)

    @property
    def is_done(self) -> bool:
        """Whether this is the end mark of the stream."""
        data = self.data
        return data is not None and data.startswith(_DONE)

    @property
    def is_comment(self) -> bool:
        """Whether this says nothing and keeps the connection open."""
        return all(line.startswith(b":") for line in self.raw.splitlines() if line)


class Chunk(dict[str, Any]):
    """A chunk that knows the event that brought it; what is made of it is another, and does not."""

    __slots__ = ("raw",)

    def __init__(self, chunk: dict[str, Any], raw: bytes) -> None:
        super().__init__(chunk)
        self.raw = raw


class EventReader:
    """Cuts a byte stream into events, however the bytes were split."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        #: Whether no event has begun that has no end yet.
        self.is_between = True
        #: Whether an event was longer than any may be; its beginning is thrown away, and the rest not to be read.
        self.is_overrun = False

    def block(self, data: bytes) -> bytes:
        """Return the events that a piece of the stream would complete, without taking it; b"" where it is not plain."""
        end = data.rfind(b"\n\n") + 2
        return b"" if end < 2 else bytes(self._buffer) + data[:end]

    def skip(self, data: bytes) -> None:
        """Take a piece of the stream whose events were taken as a ``block``."""
        self._buffer[:] = data[data.rfind(b"\n\n") + 2 :]
        self._searched = 0
        self.is_between = not self._buffer

    def feed(self, data: bytes) -> list[Event]:
        """Take a piece of the stream; give the events that it completes."""
        events: list[Event] = []
        buffer = self._buffer
        buffer += data
        start = 0
        found = _EVENT_END.search(buffer, self._searched)
        while found is not None:
            raw = bytes(buffer[start : found.end()])
            start = found.end()
            events.append(Event(raw))
            found = _EVENT_END.search(buffer, start)
        del buffer[:start]
        if len(buffer) > MAX_EVENT:
            self.is_overrun = True
            buffer.clear()
        self._searched = max(len(buffer) - _LONGEST_END, 0)
        self.is_between = not buffer
        return events

    def rest(self) -> bytes:
        """Return the bytes of an event that has no end yet."""
        return bytes(self._buffer)


def data_of(raw: bytes) -> bytes | None:
    """Return the data of an event; None where it has none."""
    # A list of lines is made for odd events alone.
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2]
    values = [line[5:].removeprefix(b" ") for line in raw.splitlines() if line.startswith(b"data:")]
    return b"\n".join(values) if values else None


def module_of(response: object) -> Any:
    """Return httpx or httpx2, whichever the response belongs to."""
    for kind in type(response).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    msg = f"got a response of {type(response)!r}, accepted are responses of httpx and httpx2"
    raise TypeError(msg)


@lru_cache(maxsize=8)
def stream_class(kind: type, base: type) -> type:
    """Make a class a stream of that module, which its responses insist upon."""
    return type(kind.__name__, (kind, base), {})


def with_content(response: Any, content: bytes, *, read: bool) -> Any:
    """Return a response like this one with another body, read or still to be read."""
    module = module_of(response)
    body = {"content": content} if read else {"stream": module.ByteStream(content)}
    made = _like(response, **body)
    if not read:
        made.headers["content-length"] = str(len(content))
    return made


def with_stream(response: Any, stream: Any) -> Any:
    """Return a response like this one that reads from a stream of bytes without content-encoding."""
    return _like(response, stream=stream)


def unread(response: Any, raw: bytes) -> Any:
    """Return the response as it was before its raw body was read."""
    module = module_of(response)
    return _made(response, response.headers, stream=module.ByteStream(raw))


def pieces(response: Any) -> Any:
    """Return an iterator over the body of a streamed response."""
    return iter(response.stream) if _is_bare(response) else response.iter_bytes()


def apieces(response: Any) -> Any:
    """Do as ``pieces``."""
    return aiter(response.stream) if _is_bare(response) else response.aiter_bytes()


def _is_bare(response: Any) -> bool:
    """
    Tell whether the body can be read below the response's own loops, which are four generators at each piece.

    They decode, count, and close the response at its end; who reads below closes it.
    """
    return not (response.is_closed or response.is_stream_consumed or "content-encoding" in response.headers)


def refused(response: Any, status: int, body: object) -> Any:
    """Return the response that a server sends which refuses by its HTTP status."""
    headers = {"content-type": "application/json"}
    made = module_of(response).Response(status, headers=headers, content=dump(body), request=response.request)
    made.headers.update({name: value for name, value in response.headers.items() if name.startswith("x-")})
    return made


def decoded(response: Any, raw: bytes) -> bytes:
    """Return the body that a raw, maybe compressed body stands for."""
    content: bytes = _made(response, response.headers, content=raw).content
    return content


def sdk_error(error: Exception, response: Any) -> Exception:
    """Return the SDK's error for one of the transport's."""
    if isinstance(error, openai.OpenAIError):
        return error
    late = isinstance(error, module_of(response).TimeoutException)
    made = (openai.APITimeoutError if late else openai.APIConnectionError)(request=response.request)
    made.__cause__ = error
    return made


def elapsed(response: Any) -> timedelta:
    """Return how long a response took; nothing where it does not say."""
    try:
        taken: timedelta = response.elapsed
    except RuntimeError:
        # Of a response that is not closed, or was made by hand.
        return timedelta()
    return taken


def _like(response: Any, **body: Any) -> Any:
    headers = response.headers.copy()
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    return _made(response, headers, **body)


def _made(response: Any, headers: Any, **body: Any) -> Any:
    made = module_of(response).Response(
        response.status_code,
        headers=headers,
        request=response.request,
        extensions=response.extensions,
        history=response.history,
        default_encoding=response.default_encoding,
        **body,
    )
    made.next_request = response.next_request
    return made
