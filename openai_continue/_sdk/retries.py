"""
The tries of a further round.

They are the SDK's own. Under a budget in time they are made here, one by one, by the SDK's rules: within a request the
SDK sleeps as long as the server says, and each try has the timeout of the first.
"""

from __future__ import annotations

from typing import Any

import openai

from .._core.round import Request
from .call import Call
from .errors import OverlongRoundError, got_nothing
from .private_parts import model_copy


class Tries:
    """The tries of a further round, and the waits between them."""

    def __init__(self, call: Call, request: Request) -> None:
        self._call = call
        self._options = call.options_of(request)
        self._left: int = self._options.get_max_retries(call.client.max_retries)
        self._got_nothing = False

    def options(self) -> Any:
        """Return the SDK's options of the next try."""
        left = self._call.left()
        if left is None:
            return self._options
        if self._options.idempotency_key is None:
            # The SDK uses one for all tries.
            self._options.idempotency_key = self._call.client._idempotency_key()
        options = model_copy(self._options)
        own = self._call.client.timeout if isinstance(options.timeout, openai.NotGiven) else options.timeout
        options.max_retries, options.timeout = 0, at_most(own, left)
        return options

    def wait(self, error: openai.OpenAIError, *, has_begun: bool = False) -> float | None:
        """
        Return the seconds to wait before another try, or None if there is none: the error is to be raised.

        ``has_begun``: whether a response was being read, so that the SDK has made no retry by itself.
        """
        seconds = 0.0
        if isinstance(error, openai.APIConnectionError) and got_nothing(error) and not self._got_nothing:
            # llama-server closes the connection of each stream without a word, so that the next round meets a closed
            # one.
            self._got_nothing = True
        elif (has_begun or self._call.left() is not None) and self._left > 0 and self._is_passing(error):
            headers = error.response.headers if isinstance(error, openai.APIStatusError) else None
            seconds = self._call.client._calculate_retry_timeout(self._left, self._options, headers)
            self._left -= 1
        else:
            return None
        return seconds if self._call.may_wait(seconds) else None

    def _is_passing(self, error: openai.OpenAIError) -> bool:
        if isinstance(error, openai.APIStatusError):
            return bool(self._call.client._should_retry(error.response))
        return isinstance(error, openai.APIConnectionError) and not isinstance(error, OverlongRoundError)


def at_most(timeout: Any, seconds: float) -> Any:
    """Return a timeout of the SDK (a number, None or httpx's object) in which no part is more than ``seconds``."""
    if timeout is None or isinstance(timeout, (int, float)):
        return seconds if timeout is None else min(timeout, seconds)
    parts = {name: getattr(timeout, name) for name in ("connect", "read", "write", "pool")}
    return type(timeout)(**{name: seconds if own is None else min(own, seconds) for name, own in parts.items()})
