"""OpenAI and AsyncOpenAI: the SDK's clients with one more argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import openai
from typing_extensions import Self, Unpack

from ._sdk import hooks
from ._sdk.activation import settings_in_force
from .client_options import AsyncClientOptions, AsyncCopyOptions, ClientOptions, CopyOptions
from .errors import SettingsError
from .settings import Continuation

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _show_arguments_of(original: Callable[..., Any]) -> Callable[[_Method], _Method]:
    """Make editors and ``help()`` show the arguments of the SDK's own method, and ``continuation``."""

    def show(method: _Method) -> _Method:
        own = inspect.signature(method)
        named = {**inspect.signature(original).parameters, "continuation": own.parameters["continuation"]}
        setattr(method, "__signature__", own.replace(parameters=list(named.values())))  # noqa: B010
        return method

    return show


class OpenAI(hooks.ContinuesItself, openai.OpenAI):
    """
    The SDK's client, whose truncated answers are continued.

    ``continuation``: True reads the settings from the environment, False makes it the SDK's client, patched or not.
    ``copy()`` and ``with_options()`` keep it and take it. Raises SettingsError if a setting is bad.
    """

    @_show_arguments_of(openai.OpenAI.__init__)
    def __init__(self, *, continuation: Continuation | bool = True, **options: Unpack[ClientOptions]) -> None:
        self._continuation = _settings_of(continuation)
        super().__init__(**options)

    @_show_arguments_of(openai.OpenAI.copy)
    def copy(self, *, continuation: Continuation | bool | None = None, **options: Unpack[CopyOptions]) -> Self:
        """Return a client with other options."""
        return super().copy(**_with_settings(self._continuation, continuation, options))

    with_options = copy

    def request(self, cast_to: Any, options: Any, **kwargs: Any) -> Any:
        """Make a request of any kind; see the SDK."""
        return hooks.request(super().request, self, self._continuation, cast_to, options, **kwargs)

    def _build_request(self, options: Any, **kwargs: Any) -> Any:
        return hooks.build_request(super()._build_request, self, self._continuation, options, **kwargs)

    def _process_response(self, **kwargs: Any) -> Any:
        return hooks.process_response(super()._process_response, self, **kwargs)


class AsyncOpenAI(hooks.ContinuesItself, openai.AsyncOpenAI):
    """The async twin of ``OpenAI``."""

    @_show_arguments_of(openai.AsyncOpenAI.__init__)
    def __init__(self, *, continuation: Continuation | bool = True, **options: Unpack[AsyncClientOptions]) -> None:
        self._continuation = _settings_of(continuation)
        super().__init__(**options)

    @_show_arguments_of(openai.AsyncOpenAI.copy)
    def copy(self, *, continuation: Continuation | bool | None = None, **options: Unpack[AsyncCopyOptions]) -> Self:
        """Return a client with other options."""
        return super().copy(**_with_settings(self._continuation, continuation, options))

    with_options = copy

    async def request(self, cast_to: Any, options: Any, **kwargs: Any) -> Any:
        """Make a request of any kind; see the SDK."""
        return await hooks.arequest(super().request, self, self._continuation, cast_to, options, **kwargs)

    def _build_request(self, options: Any, **kwargs: Any) -> Any:
        return hooks.build_request(super()._build_request, self, self._continuation, options, **kwargs)

    async def _process_response(self, **kwargs: Any) -> Any:
        return await hooks.aprocess_response(super()._process_response, self, **kwargs)


def _settings_of(continuation: Continuation | bool) -> Continuation | None:
    if continuation is False:
        return None
    if continuation is True or isinstance(continuation, Continuation):  # pyright: ignore[reportUnnecessaryIsInstance]
        return settings_in_force(None if continuation is True else continuation)
    msg = f"continuation: got {continuation!r}, accepted are True, False or a Continuation"
    raise SettingsError(msg)


def _with_settings(
    kept: Continuation | None, given: Continuation | bool | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of ``copy()`` with the settings among those that it hands to the new client."""
    extra = {**options.get("_extra_kwargs", {})}
    extra.setdefault("continuation", (kept or False) if given is None else given)
    return {**options, "_extra_kwargs": extra}
