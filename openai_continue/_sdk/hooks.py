"""
The three methods under ``create`` through which every call of the SDK goes.

``request`` makes the attempts, ``_build_request`` the HTTP request of each, ``_process_response`` the caller's object:
for create, parse, stream, raw and streaming responses, Azure, and frameworks that post by themselves.

The first argument of each function here is the SDK's own method; ``settings`` are the client's, None if it is not to
continue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
from anyio import to_thread

from .._core.outcome import REFUSED
from ..settings import Continuation
from .call import Call
from .folded import afolded, folded
from .journal import asave, save
from .options import (
    Plan,
    attach,
    body_of,
    early_plan,
    first_options,
    is_own,
    may_have_template,
    plan_of,
    plan_that_fits,
    planned,
    take_plan,
    without_key,
)
from .resuming import AsyncSender, Sender
from .stream import amerged_stream, merged_stream
from .whole import amerged_whole, is_plainly_whole, merged_whole

# Most attempts at a first round.
_MAX_ATTEMPTS = 4


class ContinuesItself:
    """Marks the clients that continue by subclass, which ``patch()`` leaves to themselves."""


def request(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, cast_to: Any, options: Any, **kwargs: Any
) -> Any:
    """
    Make the request; if the server refuses its token limit, or what we added, make it again with what it takes.

    An answer that another process has begun goes on from its journal.
    """
    attempts = _Attempts(options, kwargs, early_plan(client, options, settings))
    if not attempts.have_journal:
        return _attempted(wrapped, cast_to, attempts)
    sender = Sender(client)
    try:
        return _attempted(sender.method(wrapped), cast_to, attempts)
    except BaseException:
        # For the next try of the same request.
        if sender.journal is not None:
            sender.journal.leave()
        raise
    finally:
        save(sender.journal)


async def arequest(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, cast_to: Any, options: Any, **kwargs: Any
) -> Any:
    """Async twin of ``request``."""
    await _read_template(client, options, settings)
    attempts = _Attempts(options, kwargs, early_plan(client, options, settings))
    if not attempts.have_journal:
        return await _aattempted(wrapped, cast_to, attempts)
    sender = AsyncSender(client)
    try:
        return await _aattempted(sender.method(wrapped), cast_to, attempts)
    except BaseException:
        # For the next try of the same request.
        if sender.journal is not None:
            sender.journal.leave()
        raise
    finally:
        await asave(sender.journal)


async def _read_template(client: Any, options: Any, settings: Continuation | None) -> None:
    """Read the chat template of a call in a thread, so that it is known when the request is built."""
    body = body_of(options) if may_have_template(options, settings) else None
    if body is not None:
        await to_thread.run_sync(plan_of, client, options, body, settings)


def _attempted(wrapped: Callable[..., Any], cast_to: Any, attempts: _Attempts) -> Any:
    while attempts.error is None:
        try:
            return wrapped(cast_to, attempts.options, **attempts.kwargs)
        except openai.APIStatusError as error:  # noqa: PERF203
            if not attempts.take(error):
                raise
    raise attempts.error


async def _aattempted(wrapped: Callable[..., Any], cast_to: Any, attempts: _Attempts) -> Any:
    while attempts.error is None:
        try:
            return await wrapped(cast_to, attempts.options, **attempts.kwargs)
        except openai.APIStatusError as error:  # noqa: PERF203
            if not attempts.take(error):
                raise
    raise attempts.error


def build_request(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, options: Any, **kwargs: Any
) -> Any:
    """
    Build an HTTP request, which has our key in no case. That of a completion carries the plan of the call.

    Raise SettingsError.
    """
    body = body_of(options)
    if body is None:
        return wrapped(without_key(options), **kwargs)
    plan = plan_of(client, options, body, settings)
    built = wrapped(first_options(options, body, plan), **kwargs)
    if plan is not None:
        attach(built, plan)
    return built


def process_response(wrapped: Callable[..., Any], client: Any, **kwargs: Any) -> Any:
    """Return the caller's object, made from the whole answer."""
    call = _call(client, **kwargs)
    if call is not None:
        response = kwargs["response"]
        if call.plan.folds:
            kwargs["stream"] = False
            kwargs["response"] = folded(call, response, is_unread=_is_unread(client, response))
        elif kwargs["stream"]:
            kwargs["response"] = merged_stream(call, response)
        else:
            kwargs["response"] = merged_whole(call, response, is_unread=_is_unread(client, response))
        # Free the state of the rounds before the SDK parses the merged response.
        del call
    return wrapped(**kwargs)


async def aprocess_response(wrapped: Callable[..., Any], client: Any, **kwargs: Any) -> Any:
    """Async twin of ``process_response``."""
    call = _call(client, **kwargs)
    if call is not None:
        response = kwargs["response"]
        if call.plan.folds:
            kwargs["stream"] = False
            kwargs["response"] = await afolded(call, response, is_unread=_is_unread(client, response))
        elif kwargs["stream"]:
            kwargs["response"] = amerged_stream(call, response)
        else:
            kwargs["response"] = await amerged_whole(call, response, is_unread=_is_unread(client, response))
        del call
    return await wrapped(**kwargs)


def _call(client: Any, *, options: Any, response: Any, stream: bool, **_: Any) -> Call | None:
    """Return the call that a response answers, or None if nothing can be there to continue."""
    plan = take_plan(response.request)
    if plan is None:
        return None
    is_read = not stream and not plan.folds and not _is_unread(client, response)
    if is_read and is_plainly_whole(response.content, plan.body, plan.provider.cap):
        if plan.journal is not None:
            plan.journal.finish()
        return None
    return Call(client, options, plan, response.request)


class _Attempts:
    """The attempts at a first round that a server refuses for its token limit, or for what we added."""

    def __init__(self, options: Any, kwargs: dict[str, Any], plan: Plan | None) -> None:
        #: The options of the next attempt, and its other arguments.
        self.options, self.kwargs = options, kwargs
        self._given = kwargs
        #: Whether the answer is kept in a journal.
        self.have_journal = plan is not None and plan.settings.journal is not None
        if plan is not None:
            self._go_by(plan)
        #: The error to raise, if there is no next attempt: that of the caller's own request, if it was made.
        self.error: Exception | None = None
        self._own: Exception | None = None
        self._left = _MAX_ATTEMPTS - 1

    def take(self, error: openai.APIStatusError) -> bool:
        """Take the error of an attempt; return False for any other, such as one of a later round."""
        plan = take_plan(error.request)
        if plan is None:
            return False
        if self._own is None and is_own(plan):
            self._own = error
        again = plan_that_fits(plan, error) if self._left else None
        if again is None:
            self.error = self._own or error
            if plan.limit is not None and error.status_code in REFUSED:
                plan.forget_most()
        else:
            self._go_by(again)
            self._left -= 1
        return True

    def _go_by(self, plan: Plan) -> None:
        self.options = planned(self.options, plan)
        # A stream that is to become a whole answer is not for the SDK to read.
        self.kwargs = {**self._given, "stream": True} if plan.folds else self._given


def _is_unread(client: Any, response: Any) -> bool:
    """Return whether the caller is to read the body, as in ``with_streaming_response``; a hook may have read it."""
    return not response.is_stream_consumed and bool(client._should_stream_response_body(request=response.request))
