"""
The private parts of the SDK that this library relies on. No other module imports a private name of the SDK.

They are checked once, when this module is first imported: by ``patch()``, or with our clients. A version of the SDK
that lacks one is a clear error there, and no traceback within a call.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import openai

from ..errors import SettingsError

#: By module and class: the parts, each with the parameters that are given to it by name.
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "openai._base_client:BaseClient": {
        "_build_request": (),
        "_calculate_retry_timeout": (),
        "_client": (),
        "_idempotency_key": (),
        "_make_status_error_from_response": (),
        "_process_response_data": ("cast_to", "data", "response"),
        "_should_retry": (),
        "_should_stream_response_body": ("request",),
        "custom_auth": (),
    },
    "openai._base_client:SyncAPIClient": {
        "_process_response": ("options", "response", "stream"),
        "request": ("stream",),
    },
    "openai._base_client:AsyncAPIClient": {
        "_process_response": ("options", "response", "stream"),
        "request": ("stream",),
    },
    "openai._compat": {"model_copy": ()},
    "openai._models:FinalRequestOptions": {
        "extra_json": (),
        "follow_redirects": (),
        "get_max_retries": (),
        "headers": (),
        "idempotency_key": (),
        "json_data": (),
        "max_retries": (),
        "method": (),
        "params": (),
        "post_parser": (),
        "timeout": (),
        "url": (),
    },
}


def check() -> None:
    """Raise SettingsError if the installed SDK lacks a part."""
    missing = [name for path, parts in PARTS.items() for name in _missing(path, parts)]
    if missing:
        msg = (
            f"openai {openai.__version__} has no {', no '.join(missing)}; this library relies on that. Install a newer "
            "openai-continue, or a version of openai that this one supports"
        )
        raise SettingsError(msg)


def _missing(path: str, parts: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield what is missing of a module or class: the parts, or itself."""
    module, _, name = path.partition(":")
    shown = path.replace(":", ".")
    try:
        found = import_module(module)
        owner: object = getattr(found, name) if name else found
    except (ImportError, AttributeError):
        yield shown
        return
    # Attributes of instances and fields of models are not on the class itself.
    kinds = inspect.getmro(owner) if isinstance(owner, type) else ()
    annotated = {attribute for kind in kinds for attribute in inspect.get_annotations(kind)}
    for part, parameters in parts.items():
        if part not in annotated and not hasattr(owner, part):
            yield f"{shown}.{part}"
        elif parameters:
            yield from (f"{shown}.{part}({name}=)" for name in _refused(getattr(owner, part), parameters))


def _refused(function: Callable[..., object], parameters: tuple[str, ...]) -> list[str]:
    """Return those of the parameters that a function does not take by name."""
    taken = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        # A wrapper of another library.
        return []
    return [name for name in parameters if name not in taken]


check()

from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient  # noqa: E402 - they are checked above
from openai._compat import model_copy  # noqa: E402

__all__ = ["AsyncAPIClient", "BaseClient", "SyncAPIClient", "http", "model_copy"]

_names = (kind.__module__.partition(".")[0] for kind in openai.DefaultHttpxClient.__mro__)
#: The SDK's own module of HTTP: httpx, or httpx2 since openai 3. It may be another one than that of the client.
http: Any = sys.modules[next(name for name in _names if name in ("httpx", "httpx2"))]
