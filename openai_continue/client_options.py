"""
The arguments of the SDK's clients, by name, for type checkers: all that any supported version of the SDK takes.

The SDK itself refuses at run time what its version does not have. tests/test_clients.py compares the names with the
installed SDK, and type checkers compare the types, since ``clients.py`` hands these arguments on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import openai

if TYPE_CHECKING:
    from openai._base_client import URL  # type: ignore[attr-defined]  # pyright: ignore[reportPrivateImportUsage]


class _Options(TypedDict, total=False):
    """What a new client and a copy, sync and async, take alike."""

    admin_api_key: str | None
    # Types that only newer versions of the SDK have.
    workload_identity: Any
    provider: Any
    organization: str | None
    project: str | None
    webhook_secret: str | None
    base_url: str | URL | openai.NotGiven | None
    data_residency: Literal["global", "us", "eu", "ae", "au", "in", "jp"] | None
    websocket_base_url: str | URL | None
    timeout: float | openai.Timeout | openai.NotGiven | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None


class _NewOptions(_Options, total=False):
    max_retries: int
    _strict_response_validation: bool
    _enforce_credentials: bool


class _CopyOptions(_Options, total=False):
    max_retries: int | openai.NotGiven
    set_default_headers: Mapping[str, str] | None
    set_default_query: Mapping[str, object] | None
    _enforce_credentials: bool | None
    _extra_kwargs: Mapping[str, Any]


class ClientOptions(_NewOptions, total=False):
    """The arguments of ``openai.OpenAI``."""

    api_key: str | Callable[[], str] | None
    http_client: openai.DefaultHttpxClient | None


class CopyOptions(_CopyOptions, total=False):
    """The arguments of ``copy()`` and ``with_options()`` of ``openai.OpenAI``."""

    api_key: str | Callable[[], str] | None
    http_client: openai.DefaultHttpxClient | None


class AsyncClientOptions(_NewOptions, total=False):
    """The arguments of ``openai.AsyncOpenAI``."""

    api_key: str | Callable[[], Awaitable[str]] | None
    http_client: openai.DefaultAsyncHttpxClient | None


class AsyncCopyOptions(_CopyOptions, total=False):
    """The arguments of ``copy()`` and ``with_options()`` of ``openai.AsyncOpenAI``."""

    api_key: str | Callable[[], Awaitable[str]] | None
    http_client: openai.DefaultAsyncHttpxClient | None
