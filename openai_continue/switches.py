"""Switching continuation off for a stretch of code."""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType

_disabled: ContextVar[bool] = ContextVar("openai_continue_disabled", default=False)


def is_disabled() -> bool:
    """Tell whether this context is inside ``disabled()``."""
    return _disabled.get()


class disabled:  # noqa: N801
    """
    Context manager, sync and async alike: requests started inside are the SDK's own.

    Tasks started inside inherit it, plain threads do not.
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_disabled.get())
        _disabled.set(True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Set, not reset: an async fixture leaves in another context than it entered, where a token is refused.
        _disabled.set(self._before.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
