"""
Removing secrets before VCR writes a cassette.

Only the headers that a replay needs are kept. API keys in bodies and addresses are replaced.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Any

_KEPT_OF_REQUESTS = {"accept", "content-type"}
# The SDK reads these headers of a response. The HTTP client reads the encoding.
_KEPT_OF_RESPONSES = {
    "content-encoding",
    "content-type",
    "location",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
}
_SCRUBBED = b"SCRUBBED"
# The values of these headers are replaced in bodies too, unless they are so short that they may be words, like "none".
_SECRET_HEADER = re.compile("key|token|secret|auth|cookie|organi[sz]ation|project", re.IGNORECASE)
_SHORTEST_SECRET = 8
# Prefixes of API keys. They match at the start of a word (not in "task-..."), or after the JSON escape of a line end.
_BEGINNINGS = (rb"sk-", rb"gsk_", rb"hf_", rb"xai-", rb"AIza", rb"eyJ")
# One pattern for each literal: re finds a literal ten times as fast as a set of alternatives.
_KEYS = tuple(
    re.compile(pattern)
    for pattern in (
        *(rb"()%b(?:(?<=\\[nrt]%b)|(?<!\w%b))[\w.-]{16,}" % (3 * (begin,)) for begin in _BEGINNINGS),
        rb"(Bearer )[\w.~+/=-]{20,}",
        rb"(://)[^/@\s\"\\]+(?=@)",
        rb"(api_?key\"\s*:\s*\")[^\"\\]+",
        rb"(api[-_]?key=)[^&\s\"\\]+",
    )
)


class Scrubber:
    """Removes secrets from requests and responses, before they are recorded and before they are compared."""

    def __init__(self) -> None:
        self._secrets: frozenset[bytes] = frozenset()

    def request(self, request: Any) -> Any:
        """Return a VCR request without secrets, and remember its key, so that later bodies lose it too."""
        for name, value in request.headers.items():
            if _SECRET_HEADER.search(name):
                words = (word.encode() for word in re.split(r"[\s;=]+", str(value)))
                self._secrets |= {word for word in words if len(word) >= _SHORTEST_SECRET}
        request.headers = _kept(request.headers, _KEPT_OF_REQUESTS)
        request.uri = _clean(request.uri.encode(), self._secrets).decode()
        if isinstance(request.body, bytes):
            request.body = _clean_again(request.body, self._secrets)
        return request

    def response(self, response: Any) -> Any:
        """Return a VCR response without secrets, decompressed."""
        headers = _kept({name.lower(): value for name, value in response["headers"].items()}, _KEPT_OF_RESPONSES)
        body = response["body"]["string"]
        if headers.get("content-encoding") in (["gzip"], ["deflate"]):
            plain = _decompressed(body)
            if plain is not None:
                body = plain
                del headers["content-encoding"]
        return {**response, "headers": headers, "body": {"string": _clean(body, self._secrets)}}


def _kept(headers: Any, names: set[str]) -> dict[str, Any]:
    return {name: headers[name] for name in headers if name.lower() in names}


def _decompressed(body: bytes) -> bytes | None:
    """Return the decompressed body, or None if it ends too early or is not compressed."""
    try:
        # Adding 32 makes zlib detect gzip and zlib by their headers.
        reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = reader.decompress(body)
    except zlib.error:
        return None
    return plain if reader.eof else None


def _clean(body: bytes, secrets: frozenset[bytes]) -> bytes:
    for secret in secrets:
        body = body.replace(secret, _SCRUBBED)
    for key in _KEYS:
        body = key.sub(rb"\1" + _SCRUBBED, body)
    return body


# VCR scrubs a request each time it looks into the cassette.
_clean_again = lru_cache(maxsize=256)(_clean)
