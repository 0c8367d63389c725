"""
Whole answers made of streamed rounds: the setting ``stream_rounds``.

The caller asks for a whole answer. The requests ask for streams, so that no read timeout meets a long answer, and what
has arrived is kept when the connection breaks. The chunks are folded into one completion.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import anyio
import openai

from .._core.backoff import wait_before_heal
from .._core.chunks import choices_of
from .._core.folding import Folded
from .._core.json import as_object, dump, load
from .call import Call
from .connection import asend, send
from .errors import broken_off, frame_error, invalid_response, transport_error
from .response import decoded, set_rate_limits, with_content
from .sse import DONE, EventReader
from .stream import AsyncStream, Stream
from .whole import amerged_whole, merged_whole

# Statuses after which the SDK tries again, besides those from 500 on: a timeout, a conflict, too many requests.
_PASSING = (408, 409, 429)


def folded(call: Call, response: Any, *, is_unread: bool) -> Any:
    """Return a response with the whole answer. ``is_unread``: the caller reads the body."""
    tries = 0
    while _is_stream(response):
        stream, folding = Stream(call, response), _Folding(call, response)
        stream.given_by(response)
        try:
            for piece in stream:
                folding.take(piece)
            return folding.response(stream.rate_limits, is_unread=is_unread)
        except Exception as error:
            raised = folding.translated(error)
            if not folding.may_begin_again(raised, tries):
                raise raised from error
        finally:
            stream.close()
        tries += 1
        time.sleep(wait_before_heal(tries))
        # The first request says how the caller wants the answer.
        call, first = call.again(), response.request
        response = send(call, call.first_request())
        response.request = first
    # The server does not stream. A hook may have read its answer.
    is_read = response.is_stream_consumed
    content = response.content if is_read else decoded(response, b"".join(response.iter_raw()))
    return merged_whole(*_unstreamed(call, response, content, is_unread=is_unread), is_unread=is_unread)


async def afolded(call: Call, response: Any, *, is_unread: bool) -> Any:
    """Async twin of ``folded``."""
    tries = 0
    while _is_stream(response):
        stream, folding = AsyncStream(call, response), _Folding(call, response)
        stream.given_by(response)
        try:
            async for piece in stream:
                folding.take(piece)
            return folding.response(stream.rate_limits, is_unread=is_unread)
        except Exception as error:
            raised = folding.translated(error)
            if not folding.may_begin_again(raised, tries):
                raise raised from error
        finally:
            await stream.aclose()
        tries += 1
        await anyio.sleep(wait_before_heal(tries))
        call, first = call.again(), response.request
        response = await asend(call, call.first_request())
        response.request = first
    is_read = response.is_stream_consumed
    content = response.content if is_read else decoded(response, b"".join([p async for p in response.aiter_raw()]))
    return await amerged_whole(*_unstreamed(call, response, content, is_unread=is_unread), is_unread=is_unread)


class _Folding:
    """What the two loops share."""

    def __init__(self, call: Call, response: Any) -> None:
        self._call = call
        self._first = response
        self._events = EventReader()
        self._folded = Folded()
        self._endpoint = call.plan.endpoint

    def take(self, piece: bytes) -> None:
        """Take bytes of the merged stream. Raise the SDK's error if there is one in place of a chunk."""
        for event in self._events.feed(piece):
            data = event.data
            chunk = None if data is None or data.startswith(DONE) else as_object(load(data))
            if chunk is None:
                continue
            if chunk.get("error") and choices_of(chunk) is None:
                raise frame_error(self._call.client, chunk, self._first)
            self._folded.take(self._endpoint.taken(chunk))

    def translated(self, error: Exception) -> Exception:
        """Return the SDK's error for one that reading raised, as a request for a whole answer raises it."""
        return transport_error(error, self._first)

    def may_begin_again(self, error: Exception, tries: int) -> bool:
        """
        Whether the first request is sent again after ``tries`` times, as the SDK does for a whole answer.

        Nobody has seen what came of it.
        """
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        passing = isinstance(error, openai.APIConnectionError) or (status or 0) >= 500 or status in _PASSING
        may_try = passing and tries < self._call.max_retries and not self._call.rounds.continued
        return may_try and self._call.may_wait(wait_before_heal(tries + 1))

    def response(self, limits: list[tuple[str, str]], *, is_unread: bool) -> Any:
        """Return the response with the whole answer. ``limits``: the newest headers of the rate limits, if any."""
        if self._folded.is_empty:
            raise invalid_response(self._first)
        if self._folded.is_open:
            raise broken_off(self._first)
        completion = self._endpoint.given_whole(self._folded.completion())
        made = with_content(self._first, dump(completion), read=not is_unread)
        made.headers["content-type"] = "application/json"
        set_rate_limits(made, limits)
        return made


def _is_stream(response: Any) -> bool:
    return "event-stream" in response.headers.get("content-type", "")


def _unstreamed(call: Call, response: Any, content: bytes, *, is_unread: bool) -> tuple[Call, Any]:
    """Return the call without streamed rounds, and its first response with the body that was read."""
    call.close_progress()
    made = with_content(response, content, read=not is_unread)
    return Call(call.client, call.options, replace(call.plan, settings=call.plan.unfolded), response.request), made
