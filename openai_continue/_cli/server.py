"""The server that a command asks: its address, the key that it gets, and what is said of its errors."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

import openai

from .._sdk.private_parts import http
from .._tables.providers import Provider, at_address
from ..errors import SettingsError

DEEPINFRA = "https://api.deepinfra.com/v1/openai"
#: What a server that needs no key gets, since the SDK sends none without one.
NO_KEY = "none"
_DEEPINFRA_KEY, _SDK_KEY, _SDK_URL = "DEEPINFRA_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"
# Characters that a key has at least.
_KEY_LENGTH = 8
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and the key that it gets."""

    #: It may hold a name and a password.
    base_url: str = field(repr=False)
    #: The same for people: without a name, a password and a query.
    address: str
    host: str
    #: The row of its host, or None if the provider table has none.
    row: Provider | None
    key: str = field(repr=False)

    def said(self, error: openai.OpenAIError) -> str:
        """Return an error for people, with the address and without the key."""
        why = _reason(error) if isinstance(error, openai.APIConnectionError) else ""
        text = f"{type(error).__name__}: {error} ({why}{self.address})"
        if isinstance(error, openai.AuthenticationError):
            text += f". The key is read from {_SDK_KEY}; --api-key-env names another variable"
        # A shorter one is a word such as "none" or "test".
        return text.replace(self.key, "...") if len(self.key) >= _KEY_LENGTH else text


def server_of(base_url: str | None, key_variable: str | None = None) -> Server:
    """
    Return the server to ask. Raise SettingsError if its address or its key cannot be used.

    ``base_url``: None takes the address of ``OPENAI_BASE_URL``, else DeepInfra's. ``key_variable``: the variable that
    holds the key; None takes the one that belongs to the host.
    """
    given = base_url if base_url is not None else os.environ.get(_SDK_URL, "").strip() or None
    # The SDK's own reading of the address, so that the key goes to the host that was looked at.
    url = _url(DEEPINFRA if given is None else given, _SDK_URL if base_url is None else "--base-url")
    row = at_address(url.host, url.path)
    if key_variable is None:
        key = _key(_variables(row, is_named=given is not None), url.host, is_needed=row is not None)
    else:
        key = _key([key_variable], url.host, is_needed=True)
    address = f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}{url.path}"
    return Server(given or DEEPINFRA, address, url.host, row, key)


def _url(text: str, source: str) -> Any:
    try:
        url = http.URL(text)
    except Exception:  # InvalidURL, or what else a bad address makes it raise
        url = http.URL("")
    if url.scheme in ("http", "https") and url.host and (url.port is None or url.port in _PORTS):
        return url
    # It may hold a password.
    shown = re.sub(r"//.*@", "//...@", text)
    msg = f"{source}: got {shown!r}, accepted is an address such as http://127.0.0.1:8000/v1"
    raise SettingsError(msg)


def _variables(row: Provider | None, *, is_named: bool) -> list[str]:
    """
    Return the variables that may hold the key for a row's host, the first one first.

    DeepInfra's key goes to DeepInfra only. ``OPENAI_API_KEY`` goes where the user says, as in the SDK, and so not to
    the address that is ours by default. ``is_named``: whether the user named one.
    """
    if row is None or row.name != "deepinfra":
        return [_SDK_KEY]
    return [_DEEPINFRA_KEY, _SDK_KEY] if is_named else [_DEEPINFRA_KEY]


def _key(names: list[str], host: str, *, is_needed: bool) -> str:
    """Return the key in the first of these variables that is set, or NO_KEY if none is and none ``is_needed``."""
    name = next((name for name in names if os.environ.get(name, "").strip()), None)
    if name is None:
        if not is_needed:
            return NO_KEY
        msg = f"No key for {host}: set {' or '.join(names)}, or name the variable that holds it with --api-key-env"
        raise SettingsError(msg)
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        msg = f"{name}: it has characters that no key has; accepted are printable ASCII characters"
        raise SettingsError(msg)
    return key


def _reason(error: BaseException) -> str:
    """Return what the system said of a connection that failed, or "". Other causes may hold the key."""
    looked_at: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in looked_at:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{cause.strerror}; "
        looked_at.append(cause)
        cause = cause.__cause__ or cause.__context__
    return ""
