"""
Whose request it is: two accounts that ask the same thing must not get each other's answers from a journal.

All headers count but those that differ from one try to the next, for any header may name a tenant: keys, organisation,
project, cookies, and what a gateway reads. So does the address, which may hold a password or a key.
"""

from __future__ import annotations

from typing import Any

from .._tables.request_scoped import is_scoped_header, is_scoped_query

# The beginnings of headers that say nothing of the account: what the SDK and the HTTP client say of themselves, and
# traces.
_PASSING = (
    "accept",
    "b3",
    "baggage",
    "connection",
    "content-",
    "host",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "user-agent",
    "x-amzn-trace-id",
    "x-b3-",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-datadog-",
    "x-stainless-",
)
# The beginnings of cookies that a load balancer or a bot filter gives with its responses, another one each time:
# Cloudflare, AWS, Azure, Google Cloud.
_BALANCING = ("__cf", "_cfuvid", "awsalb", "arraffinity", "gclb", "gcilb")


def account_of(client: Any, request: Any) -> list[Any] | None:
    """
    Return what tells the account of an HTTP request from others, with its secrets; None if that shows only later.

    Workload identities and the SDK's providers sign a request when it is sent.
    """
    if getattr(client, "workload_identity", None) or getattr(client, "_provider_runtime", None):
        return None
    auth = _credentials(client.custom_auth) or _credentials(client._client.auth)
    if auth is None and (client.custom_auth or client._client.auth):
        return None
    url, headers = request.url, request.headers.copy()
    for name in filter(is_scoped_query, request.url.params):
        url = url.copy_remove_param(name)
    cookies = _lasting(headers.pop("cookie", ""))
    pairs = sorted((name.lower(), value) for name, value in headers.multi_items())
    lasting = [pair for pair in pairs if not (pair[0].startswith(_PASSING) or is_scoped_header(pair[0]))]
    return [str(url), lasting, cookies, auth]


def _lasting(cookies: str) -> list[str]:
    """Return the cookies that stay the same from one try to the next."""
    pairs = [pair.strip() for pair in cookies.split(";")]
    return [pair for pair in pairs if pair and not pair.lower().startswith(_BALANCING)]


def _credentials(auth: Any) -> list[Any] | None:
    """Return the user and password that an auth object of the HTTP client holds, or None if it holds none as text."""
    found = {
        name: repr(value) for name, value in getattr(auth, "__dict__", {}).items() if isinstance(value, (str, bytes))
    }
    return [type(auth).__qualname__, found] if found else None
