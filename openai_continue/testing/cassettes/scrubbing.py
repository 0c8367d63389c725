"""
Scrubbing for VCR: of headers only those are kept that a replay needs, and bodies and addresses lose their keys.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Any

_KEPT_OF_REQUESTS = {"accept", "content-type"}
# The SDK reads these of a response, and the HTTP client the encoding.
_KEPT_OF_RESPONSES = {
    "content-encoding",
    "content-type",
    "location",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
}
_SCRUBBED = b"SCRUBBED"
# Headers whose value is looked for in bodies too. Shorter ones are words such as "none", which stand in any text.
_SECRET_HEADER = re.compile("key|token|secret|auth|cookie|organi[sz]ation|project", re.IGNORECASE)
_SHORTEST_SECRET = 8
# What keys begin with, in no word ("task-…"), though behind the escape of a line's end in JSON.
_BEGINNINGS = (rb"sk-", rb"gsk_", rb"hf_", rb"xai-", rb"AIza", rb"eyJ")
# Each begins with a literal to look for, which re does ten times as fast as with alternatives.
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
    """Takes secrets out of what is recorded, and out of what is compared with it."""

    def __init__(self) -> None:
        self._secrets: frozenset[bytes] = frozenset()

    def request(self, request: Any) -> Any:
        """Scrub a request, and remember its key for the bodies to come."""
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
        """Scrub a response, and decompress it, so that it can be read."""
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
    """Decompress a body; None where it has no end, or is none."""
    try:
        # 32 more bits: gzip or zlib, whichever its head says.
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


# VCR scrubs a request anew for each look into the cassette.
_clean_again = lru_cache(maxsize=256)(_clean)
