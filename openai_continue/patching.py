"""patch() and unpatch(): the methods of the SDK that are wrapped, and nothing else."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from ._sdk.activation import settings_in_force
from .errors import SettingsError
from .settings import Continuation

if TYPE_CHECKING:
    from ._sdk import hooks
else:

    class _Hooks:
        """The module ``hooks``, which is imported at the first request: with the core it takes 80 ms."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(import_module("._sdk.hooks", __package__), name)
            # Each request asks for it again.
            setattr(self, name, value)
            return value

    hooks = _Hooks()

_lock = threading.Lock()
_settings: Continuation | None = None
# What ``methods()`` returns; nothing before the first ``patch()``.
_methods: tuple[tuple[Any, str, Callable[..., Any]], ...] = ()


def patch(settings: Continuation | None = None) -> None:
    """
    Let every client of the SDK in this process continue truncated answers, also clients that exist already.

    Idempotent and safe from any thread; a second call replaces the settings. ``None`` reads them from the environment.
    Raises SettingsError if a setting is bad, or the SDK lacks a part that is needed, and then leaves everything as it
    is. ``OPENAI_CONTINUE=0`` makes a bad variable, or such an SDK, a line on stderr, and nothing is patched.
    """
    global _settings  # noqa: PLW0603
    if settings is not None and not isinstance(settings, Continuation):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"settings: got {settings!r}, accepted is a Continuation, or None"
        raise SettingsError(msg)
    wanted = settings_in_force(settings)
    if wanted is None:
        return
    with _lock:
        _wrap()
        _settings = wanted


def unpatch() -> None:
    """
    Take back ``patch()``; idempotent.

    A wrapper of ours that another library has wrapped in turn stays where it is, and does nothing.
    """
    global _settings  # noqa: PLW0603
    with _lock:
        _settings = None
        for owner, name, _ in _methods:
            outermost = inspect.getattr_static(owner, name)
            if _is_ours(outermost):
                setattr(owner, name, outermost.__wrapped__)


def is_patched() -> bool:
    """Return whether ``patch()`` is in force."""
    return _settings is not None


def _request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return hooks.request(wrapped, client, _settings_for(client), *args, **kwargs)


async def _arequest(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await hooks.arequest(wrapped, client, _settings_for(client), *args, **kwargs)


def _settings_for(client: Any) -> Continuation | None:
    # Our own subclasses have done the work before they call the base class's method.
    return None if isinstance(client, hooks.ContinuesItself) else _settings


def _build_request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _mend()
    return hooks.build_request(wrapped, client, _settings_for(client), *args, **kwargs)


def _should_stream(wrapped: Callable[..., bool], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return hooks.should_stream(wrapped, *args, **kwargs)


def _process_response(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return hooks.process_response(wrapped, client, *args, **kwargs)


async def _aprocess_response(
    wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return await hooks.aprocess_response(wrapped, client, *args, **kwargs)


# By class and name: the methods, and what is called in their place.
_WRAPPED: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("SyncAPIClient", "request", _request),
    ("AsyncAPIClient", "request", _arequest),
    ("BaseClient", "_build_request", _build_request),
    ("BaseClient", "_should_stream_response_body", _should_stream),
    ("SyncAPIClient", "_process_response", _process_response),
    ("AsyncAPIClient", "_process_response", _aprocess_response),
)
_WRAPPERS = frozenset(wrapper for _, _, wrapper in _WRAPPED)


def methods() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """Return the methods that are wrapped: class, name, and what is called in their place. Raise SettingsError."""
    parts = import_module("._sdk.private_parts", __package__)
    return tuple((getattr(parts, owner), name, wrapper) for owner, name, wrapper in _WRAPPED)


def _wrap() -> None:
    global _methods  # noqa: PLW0603
    _methods = methods()
    for owner, name, wrapper in _methods:
        if not _is_wrapped(owner, name):
            wrapt.wrap_function_wrapper(owner, name, wrapper)


def _mend() -> None:
    """
    Put back what another library took off: ddtrace's unpatch() removes the outermost wrapper, whosever it is.

    Every request is built before its response is processed, so no answer is missed.
    """
    # Asked at every request.
    *_, (sync, name, _), (async_, _, _) = _methods
    if _is_wrapped(sync, name) and _is_wrapped(async_, name):
        return
    with _lock:
        if _settings is not None:
            _wrap()


def _is_ours(function: Any) -> bool:
    wrapper = getattr(function, "_self_wrapper", None)
    return isinstance(function, wrapt.FunctionWrapper) and wrapper in _WRAPPERS


def _is_wrapped(owner: Any, name: str) -> bool:
    """Return whether one of our wrappers is anywhere among those that others have put on."""
    # Asked at every request: all of them are methods of the class itself, and inspect.getattr_static() is slow.
    function: Any = owner.__dict__[name]
    while function is not None:
        if _is_ours(function):
            return True
        function = getattr(function, "__wrapped__", None)
    return False
