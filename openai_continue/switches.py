"""
The words of ``OPENAI_CONTINUE``, and what switches continuation off: the variable, and ``disabled()``.

Imported at the start of Python if the variable is set: stdlib only, and cheap.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

# Type checkers know the name; importing the module typing would cost more than the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: The environment variable that switches continuation on and off.
VARIABLE = "OPENAI_CONTINUE"
#: The words for on and off of every variable, in lower case.
ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")
#: On, and an activation that fails raises its error.
STRICT = "strict"

_disabled: ContextVar[bool] = ContextVar("openai_continue_disabled", default=False)


def word() -> str:
    """Return the word that ``OPENAI_CONTINUE`` is set to, in lower case; "" if it is not set."""
    return os.environ.get(VARIABLE, "").strip().lower()


def killed() -> bool:
    """Return whether ``OPENAI_CONTINUE`` is set to off, which wins over everything."""
    return word() in OFF


def is_disabled() -> bool:
    """Return whether this context is inside ``disabled()``."""
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
