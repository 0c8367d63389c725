"""
The two loops over whole responses, sync and async. They differ only in ``await``, and decide nothing.

Whatever keeps a further round from coming, an error of the SDK or any other (of a closed client, a token provider, a
lone surrogate in UTF-8), must not cost the answer so far.
"""

from __future__ import annotations

import re
from typing import Any

import openai

from .._core.codec.endpoints import endpoint_of
from .._core.codec.responses import is_response
from .._core.json import Json, dump, load
from .._core.limit import ALL_NAMES
from .._core.round import Request
from .call import Call
from .connection import Reply, asend_whole, send_whole
from .errors import failure_of, invalid_response, with_partial
from .response import decoded, elapsed, rate_limits, request_id_of, set_rate_limits, unread, with_content

_KEY = b'"finish_reason"'
_REASON = re.compile(rb'"finish_reason"\s*:\s*(?:"(\w*)"|null)')
_NOT_CUT = re.compile(rb'"incomplete_details"\s*:\s*null')
# The names of the count of output tokens, and the count, from its name on.
_OF_COMPLETION, _OF_RESPONSE = b'"completion_tokens"', b'"output_tokens"'
_COUNT = re.compile(rb'"\w+"\s*:\s*(\d{1,20})')
# Fields of a request without which its answer is one choice, and a text.
_MAY_BE_MORE = frozenset({"n", "prompt", "tools", "functions"})
# Bytes in which the reason stands if it stands before the text.
_HEAD = 512


def is_plainly_whole(content: bytes, body: Json, cap: int | None = None) -> bool:
    """
    Return whether the bytes of an answer show that no choice was cut. Most are whole, and need not be parsed.

    ``body``: that of the request. With tools, an answer may be a call that was cut and is called something else.
    ``cap``: most tokens that the server gives. An answer with as many, or as the request asks for, may be cut, too.
    """
    if not _is_called_whole(content, body):
        return False
    # A token has a byte at least.
    if (cap is None or len(content) < cap) and body.keys().isdisjoint(ALL_NAMES):
        return True
    place = content.rfind(_OF_RESPONSE if is_response(body) else _OF_COMPLETION)
    count = None if place < 0 else _COUNT.match(content, place)
    return count is None or int(count[1]) not in (cap, *map(body.get, ALL_NAMES))


def _is_called_whole(content: bytes, body: Json) -> bool:
    if is_response(body):
        if body.get("tools") and b'"arguments"' in content:
            return False
        # As below, the text is not searched if it need not be.
        ends = (0, _HEAD), (max(len(content) - _HEAD, 0), len(content))
        return any(_NOT_CUT.search(content, *end) for end in ends) or b'"incomplete"' not in content
    may_be_more = not _MAY_BE_MORE.isdisjoint(body)
    if may_be_more and (endpoint_of(body).wanted > 1 or body.get("tools") or body.get("functions")):
        return b'"length"' not in content and b'"arguments"' not in content
    # The key cannot be in a text, where its quotes are escaped. It stands before the text or after it, and the text may
    # be long: to search all of it would cost a tenth of the SDK's own time.
    reason = _REASON.search(content, 0, _HEAD)
    place = len(content)
    while reason is None and place > 0:
        place = content.rfind(_KEY, 0, place)
        reason = _REASON.match(content, place) if place >= 0 else None
    return reason is None or reason[1] != b"length"


def merged_whole(call: Call, response: Any, *, is_unread: bool) -> Any:
    """Return the response, or if it was cut, one with the merged answer. ``is_unread``: the caller reads the body."""
    try:
        raw = b"".join(response.iter_raw()) if is_unread else None
        merging = _Merging(call, response, raw)
        request = merging.start()
        while request is not None:
            try:
                reply = send_whole(call, request)
            except Exception as error:
                merging.fail(request, error)
            else:
                merging.receive(request, reply)
            request = merging.next_request()
        return merging.response()
    finally:
        call.close_progress()


async def amerged_whole(call: Call, response: Any, *, is_unread: bool) -> Any:
    """Async twin of ``merged_whole``."""
    try:
        raw = b"".join([piece async for piece in response.aiter_raw()]) if is_unread else None
        merging = _Merging(call, response, raw)
        request = merging.start()
        while request is not None:
            try:
                reply = await asend_whole(call, request)
            except Exception as error:
                merging.fail(request, error)
            else:
                merging.receive(request, reply)
            request = merging.next_request()
        return merging.response()
    finally:
        call.close_progress()


class _Merging:
    """What the two loops share. ``raw``: the first response's undecoded body, if the caller was to read it."""

    def __init__(self, call: Call, response: Any, raw: bytes | None) -> None:
        self._call = call
        self._rounds = call.rounds
        self._first = response
        self._raw = raw
        self._elapsed = elapsed(response)
        # The headers of the rate limits in the newest response.
        self._limits: list[tuple[str, str]] = []

    def start(self) -> Request | None:
        """Take the first response; return the request of the next round, or None if there is none."""
        content = self._first.content if self._raw is None else decoded(self._first, self._raw)
        if self._raw is not None and is_plainly_whole(content, self._call.body, self._call.plan.provider.cap):
            return None
        request = self._rounds.next_request()
        if request is not None:
            self._rounds.receive(request, load(content), request_id_of(self._first))
        return self.next_request()

    def receive(self, request: Request, reply: Reply) -> None:
        """Take what came of a further round; raise if it is no completion and the settings say so."""
        self._elapsed += elapsed(reply.response)
        self._limits = rate_limits(reply.response) or self._limits
        if self._rounds.receive(request, load(reply.content), request_id_of(reply.response)).raises:
            raise self._with_partial(invalid_response(reply.read()))

    def fail(self, request: Request, error: Exception) -> None:
        """Take the error of a further round; raise it if the settings say so, and it is not that its time was up."""
        if isinstance(error, openai.APIStatusError):
            self._limits = rate_limits(error.response) or self._limits
        if self._call.is_late:
            self._rounds.stop("max_seconds")
        elif self._rounds.fail(request, failure_of(error)).raises:
            raise self._with_partial(error)

    def next_request(self) -> Request | None:
        """Return the request of the next round, or None if the answer has ended."""
        self._call.keep_whole()
        self._call.stop_if_spent()
        request = self._rounds.next_request()
        self._call.report_rounds()
        return request

    def response(self) -> Any:
        """Return the merged response, or the first one if nothing was continued."""
        self._call.report_end()
        if not self._rounds.continued:
            return self._first if self._raw is None else unread(self._first, self._raw)
        merged = with_content(self._first, dump(self._rounds.completion()), read=self._raw is None)
        merged.elapsed = self._elapsed
        set_rate_limits(merged, self._limits)
        return merged

    def _with_partial(self, error: Exception) -> Exception:
        return with_partial(error, self._call.client, self._rounds, self._first)
