"""
Redirects of further rounds. A round that leaves the host of the first one is refused before anything is sent there.

The HTTP client would send the text with a 307 or 308, and every header but ``Authorization``: ``api-key``,
``x-api-key``, headers of the caller's own. So the SDK is asked not to follow redirects, and those that stay are
followed here, to the request that the HTTP client would have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import openai
from openai import NotGiven, Omit

from .call import Call
from .errors import RedirectError
from .private_parts import model_copy

# Most redirects of a request: the HTTP client's own number.
_MAX_REDIRECTS = 20
_PORTS = {"http": 80, "https": 443}


class Redirects:
    """The redirects of one further round."""

    def __init__(self, call: Call, options: Any) -> None:
        self._client = call.client
        own = options.follow_redirects
        self._left = _MAX_REDIRECTS if (self._client._client.follow_redirects if own is None else own) else 0
        # Where the first round was answered: the SDK may have followed a redirect of its own.
        self._answered = call.answered_at
        #: The SDK's options of the next request.
        self.options = model_copy(options)
        self.options.follow_redirects = False

    def __enter__(self) -> None:
        """Begin a request."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        """Take a redirect; any other error, and one redirect too many, is raised."""
        hop = error.response.next_request if isinstance(error, openai.APIStatusError) else None
        if hop is None or not self._left or not isinstance(error, openai.APIStatusError):
            return False
        self._follow(hop, error)
        return True

    def _follow(self, hop: Any, error: openai.APIStatusError) -> None:
        """Set the options for the request that the HTTP client would make. Raise RedirectError."""
        leaves = not _is_same_host(error.response.request.url, hop.url)
        if leaves and (not _is_same_host(self._answered, hop.url) or self._signs()):
            raise RedirectError(hop.url.netloc.decode(), error.response) from None
        self._left -= 1
        options = model_copy(self.options)
        options.url, options.method = str(hop.url), hop.method.lower()
        # The address of a redirect is all of the address.
        options.params = {name: Omit() for name in {**self._client.default_query, **options.params}}
        if "authorization" not in hop.headers:
            given = cast("Mapping[str, Any] | NotGiven", options.headers)
            kept = {} if isinstance(given, NotGiven) else {n: given[n] for n in given if n.lower() != "authorization"}
            options.headers = {**kept, "Authorization": Omit()}
        self.options = options

    def _signs(self) -> bool:
        """Return whether the client signs each request with a key, which a request made anew would have."""
        by_security = getattr(self._client, "_custom_auth", None)
        signs = self._client.custom_auth if by_security is None else by_security(self.options.security)
        return signs is not None or getattr(self._client._client, "auth", None) is not None


def _is_same_host(before: Any, after: Any) -> bool:
    """Return whether an address is at the host of another one, by the same scheme, or by https where it was http."""
    upgraded = (before.scheme, _port(before), after.scheme, _port(after)) == ("http", 80, "https", 443)
    same = (before.scheme, _port(before)) == (after.scheme, _port(after))
    return bool(before.host == after.host) and (same or upgraded)


def _port(url: Any) -> int | None:
    return url.port or _PORTS.get(url.scheme)
