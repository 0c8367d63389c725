"""
HTTP responses: reading them, and making one like another with a different body.

Responses are httpx's or httpx2's: openai 3 brings httpx2, yet takes a client of either. A response that is made here is
always of the module that the first response came from. This module imports neither.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from functools import lru_cache
from typing import Any

# "x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-reset", "RateLimit-Policy", "x-rate-limit-reset".
_RATE_LIMIT = re.compile("rate-?limit", re.IGNORECASE)


def module_of(message: object) -> Any:
    """Return the module that a response or request belongs to, httpx or httpx2. Raise TypeError for any other."""
    for kind in type(message).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    msg = f"got a response of {type(message)!r}, accepted are responses of httpx and httpx2"
    raise TypeError(msg)


@lru_cache(maxsize=8)
def stream_class(kind: type, base: type) -> type:
    """Return ``kind`` as a subclass of a module's stream class, which that module's responses require."""
    return type(kind.__name__, (kind, base), {})


def with_content(response: Any, content: bytes, *, read: bool) -> Any:
    """Return a response like this one with another body. ``read``: whether the body counts as read already."""
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


def decoded(response: Any, raw: bytes) -> bytes:
    """Return the body of a response whose raw, perhaps compressed, bytes are ``raw``."""
    content: bytes = _made(response, response.headers, content=raw).content
    return content


def pieces(response: Any) -> Any:
    """Return an iterator over the decoded bytes of a streamed response."""
    return iter(response.stream) if _is_bare(response) else response.iter_bytes()


def apieces(response: Any) -> Any:
    """Async twin of ``pieces``."""
    return aiter(response.stream) if _is_bare(response) else response.aiter_bytes()


def request_id_of(response: Any) -> str | None:
    """Return the server's id of the request, or None if the response has none."""
    request_id: str | None = response.headers.get("x-request-id")
    return request_id


def rate_limits(response: Any) -> list[tuple[str, str]]:
    """Return the headers of a response that say what is left of the caller's rate limits."""
    return [(name, value) for name, value in response.headers.multi_items() if _RATE_LIMIT.search(name)]


def set_rate_limits(response: Any, newest: list[tuple[str, str]]) -> None:
    """Replace the headers of the rate limits by newer ones, if there are any: each round uses up more."""
    if not newest:
        return
    for name, _ in rate_limits(response):
        response.headers.pop(name, None)
    module = module_of(response)
    response.headers = module.Headers([*response.headers.multi_items(), *newest])


def elapsed(response: Any) -> timedelta:
    """Return how long a response took, or zero if it does not say."""
    try:
        taken: timedelta = response.elapsed
    except RuntimeError:
        # The response is not closed yet, or was made by hand.
        return timedelta()
    return taken


def _is_bare(response: Any) -> bool:
    """
    Return whether the body can be read from the response's own stream.

    That saves four generators at each piece, which decode, count, and close the response at its end. Who reads the
    stream closes the response.
    """
    return not (response.is_closed or response.is_stream_consumed or "content-encoding" in response.headers)


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
