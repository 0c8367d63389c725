"""
The words of ``OPENAI_CONTINUE``, and what switches continuation off: the variable, and ``disabled()``.

Imported at the start of Python if the variable is set: stdlib only, and cheap.
"""

from __future__ import annotations

import os
import sys
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
#: On; an activation that fails raises its error, and a host whose answers are left alone is named on stderr.
STRICT = "strict"

#: The lines that were printed.
_complaints: set[str] = set()
_disabled: ContextVar[bool] = ContextVar("openai_continue_disabled", default=False)


def word() -> str:
    """Return the word that ``OPENAI_CONTINUE`` is set to, in lower case; "" if it is not set."""
    return os.environ.get(VARIABLE, "").strip().lower()


def killed() -> bool:
    """Return whether ``OPENAI_CONTINUE`` is set to off, which wins over everything."""
    return word() in OFF


def is_strict() -> bool:
    """Return whether ``OPENAI_CONTINUE`` is set to ``strict``: what is not continued must not go unnoticed."""
    return word() == STRICT


def complain(what: str) -> None:
    """
    Print a line on stderr, once; never raise.

    It is not a warning and not a log record. Filters may hide those, or turn them into errors, and then a request fails
    that works without this library.
    """
    if what in _complaints:
        return
    _complaints.add(what)
    # Programs without a console have no stderr, and daemons may have closed it.
    if sys.stderr is not None:
        from contextlib import suppress

        with suppress(OSError, ValueError):
            print(f"openai_continue: {what}", file=sys.stderr)  # noqa: T201


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
