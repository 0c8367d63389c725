"""
The methods under ``create`` through which every call of the SDK goes.

``request`` makes the attempts, ``_build_request`` the HTTP request of each, ``_process_response`` the caller's object:
for create, parse, stream, raw and streaming responses, Azure, and frameworks that post by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from ..core.choice import choices_wanted
from ..settings import Continuation
from ..switches import is_disabled
from . import drivers
from .calls import Call, body_of, fitting_options, options_to_build


class ContinuesItself:
    """Marks the clients that continue by subclass, which ``patch()`` leaves to themselves."""


def request(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, cast_to: Any, options: Any, **kwargs: Any
) -> Any:
    """Make the request; once more with what fits where our cap was too much for the context."""
    try:
        return wrapped(cast_to, options, **kwargs)
    except openai.APIStatusError as error:
        fitting = fitting_options(client, options, settings, error)
        if fitting is None:
            raise
    return wrapped(cast_to, fitting, **kwargs)


async def arequest(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, cast_to: Any, options: Any, **kwargs: Any
) -> Any:
    """Do as ``request``."""
    try:
        return await wrapped(cast_to, options, **kwargs)
    except openai.APIStatusError as error:
        fitting = fitting_options(client, options, settings, error)
        if fitting is None:
            raise
    return await wrapped(cast_to, fitting, **kwargs)


def build_request(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, options: Any, **kwargs: Any
) -> Any:
    """Build the request of a round."""
    return wrapped(options_to_build(client, options, settings), **kwargs)


def process_response(wrapped: Callable[..., Any], client: Any, settings: Continuation | None, **kwargs: Any) -> Any:
    """Give the caller's object of a whole answer."""
    call = _call(client, settings, **kwargs)
    if call is not None:
        response = kwargs["response"]
        if kwargs["stream"]:
            kwargs["response"] = drivers.stream(call, response)
        else:
            kwargs["response"] = drivers.whole(call, response, unread=_is_unread(client, response))
        # What the rounds needed is not needed by the SDK, which reads what they brought.
        del call
    return wrapped(**kwargs)


async def aprocess_response(
    wrapped: Callable[..., Any], client: Any, settings: Continuation | None, **kwargs: Any
) -> Any:
    """Do as ``process_response``."""
    call = _call(client, settings, **kwargs)
    if call is not None:
        response = kwargs["response"]
        if kwargs["stream"]:
            kwargs["response"] = drivers.astream(call, response)
        else:
            kwargs["response"] = await drivers.awhole(call, response, unread=_is_unread(client, response))
        del call
    return await wrapped(**kwargs)


def _call(
    client: Any, settings: Continuation | None, *, options: Any, response: Any, stream: bool, **_: Any
) -> Call | None:
    """Return the call that a response answers; None where nothing can be there to continue."""
    # A further round is answered while continuation is disabled.
    body = None if settings is None or is_disabled() else body_of(options)
    if body is None:
        return None
    is_read = not stream and not _is_unread(client, response)
    if is_read and drivers.is_plainly_whole(response.content, choices=choices_wanted(body)):
        return None
    return Call.of(client, options, settings)


def _is_unread(client: Any, response: Any) -> bool:
    """Tell whether the caller is to read the body, as in ``with_streaming_response``; a hook may have read it."""
    return not response.is_stream_consumed and bool(client._should_stream_response_body(request=response.request))
