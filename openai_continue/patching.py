"""patch() and unpatch(): the methods of the SDK that are wrapped, and nothing else."""

from __future__ import annotations

import inspect
import operator
import threading
from collections.abc import Callable
from typing import Any

import wrapt
from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

from . import startup
from .errors import SettingsError
from .sdk import hooks
from .settings import Continuation

_lock = threading.Lock()
_settings: Continuation | None = None


def patch(settings: Continuation | None = None) -> None:
    """
    Let every client of the SDK in this process continue truncated answers, also clients that exist already.

    Idempotent and safe from any thread; a second call replaces the settings. ``None`` reads them from the environment.
    Raises SettingsError where a setting is bad.
    """
    global _settings  # noqa: PLW0603
    if settings is not None and not isinstance(settings, Continuation):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"settings: got {settings!r}, accepted is a Continuation, or None"
        raise SettingsError(msg)
    wanted = Continuation.from_env() if settings is None else settings
    with _lock:
        _wrap()
        _settings = wanted


def unpatch() -> None:
    """
    Take back ``patch()``; idempotent.

    A wrapper that another library has wrapped in turn stays where it is, and does nothing.
    """
    global _settings  # noqa: PLW0603
    with _lock:
        _settings = None
        for owner, name, _ in _WRAPPED:
            outermost = inspect.getattr_static(owner, name)
            if _is_ours(outermost):
                setattr(owner, name, outermost.__wrapped__)


def is_patched() -> bool:
    """Tell whether ``patch()`` is in force."""
    return _settings is not None


def _request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return hooks.request(wrapped, client, _settings_for(client), *args, **kwargs)


async def _arequest(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await hooks.arequest(wrapped, client, _settings_for(client), *args, **kwargs)


def _build_request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _settings is not None:
        _mend()
    return hooks.build_request(wrapped, client, _settings_for(client), *args, **kwargs)


def _process_response(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return hooks.process_response(wrapped, client, _settings_for(client), *args, **kwargs)


async def _aprocess_response(
    wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return await hooks.aprocess_response(wrapped, client, _settings_for(client), *args, **kwargs)


def _wrap() -> None:
    for owner, name, wrapper in _WRAPPED:
        if not _is_wrapped(owner, name):
            wrapt.wrap_function_wrapper(owner, name, wrapper)


def _mend() -> None:
    """
    Put back what another library took off: ddtrace's unpatch() removes the outermost wrapper, whosever it is.

    Every request is built before its response is processed, so no answer is missed.
    """
    global _known  # noqa: PLW0603
    if all(map(operator.is_, _methods(), _known)):
        return
    with _lock:
        if _settings is not None:
            _wrap()
            _known = _methods()


def _settings_for(client: Any) -> Continuation | None:
    # Our own subclasses have done the work before they call the base class's method.
    return None if isinstance(client, hooks.ContinuesItself) else _settings


_WRAPPED: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (SyncAPIClient, "request", _request),
    (AsyncAPIClient, "request", _arequest),
    (BaseClient, "_build_request", _build_request),
    (SyncAPIClient, "_process_response", _process_response),
    (AsyncAPIClient, "_process_response", _aprocess_response),
)


def _methods() -> list[Any]:
    """Return what stands in the place of each wrapped method; made of views, for it is asked at every request."""
    return [space[name] for space, name in _PLACES]


_PLACES = [(vars(owner), name) for owner, name, _ in _WRAPPED]
#: The methods as they were when all of them were last seen to be wrapped, which takes longer than to compare them.
_known: list[Any] = [None for _ in _WRAPPED]


def _is_ours(function: Any) -> bool:
    wrapper = getattr(function, "_self_wrapper", None)
    return isinstance(function, wrapt.FunctionWrapper) and any(wrapper is ours for _, _, ours in _WRAPPED)


def _is_wrapped(owner: Any, name: str) -> bool:
    """Tell whether one of our wrappers is anywhere among those that others have put on."""
    # All of them are methods of the class itself; inspect.getattr_static() is dear to ask at every request.
    function: Any = owner.__dict__[name]
    while function is not None:
        if _is_ours(function):
            return True
        function = getattr(function, "__wrapped__", None)
    return False


# Where this module is the first to import openai, the hook of OPENAI_CONTINUE=1 came before patch() was there.
startup.init()
