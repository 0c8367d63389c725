"""
Removing secrets before VCR writes a cassette.

Only the headers that a replay needs are kept. API keys, tokens and passwords in bodies and addresses are replaced.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

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
# Also the matcher's wildcard: what replaced a secret of the recording stands for any text of a replay.
SCRUBBED = "SCRUBBED"

# The names of secrets, in any case, with "-", "_" or nothing between their words. More may stand before them.
_NAMES = (
    *(f"{whose} key" for whose in ("api", "access", "account", "encryption", "private", "secret", "signing")),
    *(f"{what} token" for what in ("access", "api", "auth", "bearer", "csrf", "id", "refresh", "security", "session")),
    *("authorization", "cookie", "credential", "credentials", "passphrase", "passwd", "password", "secret"),
)
# Everyday words: names of secrets in an address, where no "token" of logprobs and no "code" of a program stands.
_WORDS = ("auth", "code", "key", "sig", "signature", "token")
_LITERALS = tuple(name.replace(" ", between).encode() for name in _NAMES for between in ("", "-", "_"))


def _any(names: tuple[str, ...]) -> bytes:
    return rb"(?:%b)" % "|".join(name.replace(" ", "[-_]?") for name in names).encode()


# The values of these headers are replaced in bodies too.
_SECRET_HEADER = re.compile(
    "^(?!.*rate-?limit).*(key|token|secret|auth(?!enticate)|jwt|cookie|passw|credential|organi[sz]ation|project)",
    re.IGNORECASE,
)
# A form, which is a body, begins with a name.
_SECRET_OF_QUERY = re.compile(
    rb"((?:\A|[?&;#]|\\u0026)(?:[\w.-]*(?:%b)|(?:[\w.-]*[_-])?%b)=)[^&;#\s\"\\]+" % (_any(_NAMES), _any(_WORDS)),
    re.IGNORECASE,
)
_SECRET_FIELDS = tuple(
    re.compile(pattern % _any(_NAMES), re.IGNORECASE)
    for pattern in (
        # A field of JSON, and one of JSON within a string of JSON (within another ...), such as the arguments of a tool
        # call: each string puts more backslashes before a quote. A value may be the first one of a list.
        rb'(%b(\\*)"\s*:\s*(?:\[\s*)?\2")(?:[^"\\]|\2\2\\\\|\2\2\\"|\\+[^"\\])+',
        # Text, but not code such as api_key=os.environ["KEY"] and api_key=None.
        rb"(%b=)(?!None\b|null\b|[\w.]*[(\[])[^&;#\s\"'\\(){}\[\],]+",
        rb'(name="[\w.-]*%b"[^\r\n]*(?:\r?\n[^\r\n]+)*\r?\n\r?\n)[^\r\n]+',
    )
)
# Shorter values of secret headers may be words, like "none", and stay in bodies.
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
    )
)


class Scrubber:
    """Removes secrets from requests and responses, before they are recorded and before they are compared."""

    def __init__(self) -> None:
        self._secrets: frozenset[bytes] = frozenset()

    def request(self, request: Any) -> Any:
        """Return a VCR request without secrets, and remember its key, so that later bodies lose it too."""
        self._remember(request.headers)
        request.headers = _kept(request.headers, _KEPT_OF_REQUESTS)
        request.uri = _clean(request.uri.encode(), self._secrets).decode()
        if isinstance(request.body, bytes):
            request.body = _clean_again(request.body, self._secrets)
        return request

    def response(self, response: Any) -> Any:
        """Return a VCR response without secrets, decompressed."""
        self._remember({name: " ".join(values) for name, values in response["headers"].items()})
        headers = _kept({name.lower(): value for name, value in response["headers"].items()}, _KEPT_OF_RESPONSES)
        body = response["body"]["string"]
        if headers.get("content-encoding") in (["gzip"], ["deflate"]):
            plain = _decompressed(body)
            if plain is not None:
                body = plain
                del headers["content-encoding"]
        if "location" in headers:
            headers["location"] = [_clean(value.encode(), self._secrets).decode() for value in headers["location"]]
        return {**response, "headers": headers, "body": {"string": _clean(body, self._secrets)}}

    def _remember(self, headers: Mapping[str, object]) -> None:
        """Remember the values of secret headers, as they are and as an address has them."""
        for name, value in headers.items():
            if _SECRET_HEADER.search(name):
                words = [word for word in re.split(r"[\s;=]+", str(value)) if len(word) >= _SHORTEST_SECRET]
                self._secrets |= {form.encode() for word in words for form in (word, quote(word, safe=""))}


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
    for secret in sorted(secrets, key=len, reverse=True):
        body = body.replace(secret, SCRUBBED.encode())
    lower = body.lower()
    # The patterns of names are slow, and nearly no body has such a name.
    named = _SECRET_FIELDS if any(name in lower for name in _LITERALS) else ()
    for pattern in (*_KEYS, _SECRET_OF_QUERY, *named):
        body = pattern.sub(rb"\1" + SCRUBBED.encode(), body)
    return body


# VCR scrubs a request each time it looks into the cassette.
_clean_again = lru_cache(maxsize=256)(_clean)
