"""
Responses from a journal, as if the server gave them.

The core takes them once for a trial: what does not lead to a next request is not used.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from .._core.json import Json, load
from .._core.round import Failure, Request
from .._core.rounds import Rounds
from .._tables.request_scoped import is_scoped_field
from .journal_file import Recorded
from .reading import Reading
from .response import module_of, stream_class

if TYPE_CHECKING:
    from .options import Plan

# Fields of a body that a refusal changes; they do not change what the answer goes on from.
_NEGOTIATED = ("max_tokens", "max_completion_tokens", "stream_options")
# Most bytes of a recorded response that are taken at once.
_PIECE = 64 * 1024


def digest(value: object) -> str:
    """Return the digest of a value, in hexadecimal digits."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def body_digest(body: Json) -> str:
    """Return the digest of a round's body, without what a server may have refused in the process before."""
    return digest(lasting({name: value for name, value in body.items() if name not in _NEGOTIATED}))


def lasting(body: Json) -> Json:
    """Return a body without the names of one HTTP request, which the next try of the same request may change."""
    return {name: value for name, value in body.items() if not is_scoped_field(name)}


@dataclass(slots=True)
class _Trial:
    """A call that is only tried."""

    client: Any
    rounds: Rounds


def usable(client: Any, plan: Plan, recorded: list[Recorded], http_request: Any) -> int:
    """Return how many of the recorded rounds lead to a next request."""
    # What a trial shows is learnt when the rounds are taken.
    trial, used = _Trial(client, replace(plan, learned=replace(plan.learned)).rounds()), 0
    for number, one in enumerate(recorded, start=1):
        request = trial.rounds.next_request()
        if request is None or request.number != number or body_digest(request.body) != one.request:
            break
        _replay(trial, request, response_to(one, http_request), one.data)
        if not trial.rounds.goes_on:
            break
        used = number
    return used


def _replay(trial: _Trial, request: Request, response: Any, data: bytes) -> None:
    """Take a recorded round as the loops take a round from the server."""
    rounds = trial.rounds
    if "event-stream" not in response.headers.get("content-type", ""):
        rounds.receive(request, load(data))
        return
    reading = Reading(trial, response, request)
    for piece in _pieces(data):
        reading.take(piece)
        if reading.is_over:
            break
    reading.feed_text()
    if reading.fault is not None or (reading.end and not reading.has_end):
        # The round has failed, so it is asked for again.
        return
    if rounds.finished or rounds.enough or (reading.has_end and rounds.ends_with_stream):
        rounds.end_of_stream(request)
    else:
        rounds.fail(request, Failure("APIConnectionError", broke_off=True))


def response_to(recorded: Recorded, http_request: Any) -> Any:
    """Return a recorded response as one to an HTTP request."""
    module = module_of(http_request)
    stream = stream_class(_Stream, module.ByteStream)(recorded.data)
    return module.Response(recorded.status, headers=recorded.headers, stream=stream, request=http_request)


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[place : place + _PIECE] for place in range(0, len(data), _PIECE))


class _Stream:
    """The bytes of a recorded response, in pieces, so that an event loop does other things between them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return _pieces(self._data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in _pieces(self._data):
            yield piece
            await anyio.lowlevel.checkpoint()
