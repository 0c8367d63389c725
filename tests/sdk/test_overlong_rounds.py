"""A further round that brings more than its tokens can have costs neither memory nor text."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

import openai
import pytest

from openai_continue._sdk.errors import OverlongRoundError
from tests.support.answers import Answer, outcome
from tests.support.asking import play
from tests.support.bodies import ask
from tests.support.fake_time import FakeTime, fake_time
from tests.support.script import LOST, Pieces, Script, chunk, cut_round, reply
from tests.support.ways import DEEPINFRA, Way, http, settled, sync_and_async, two_ways

__all__ = ["fake_time"]

pytestmark = pytest.mark.usefixtures("no_waiting")

MIB = 1024 * 1024
#: Tokens for which a round may have no more than the least number of bytes.
FEW, LEAST = 100, 16 * MIB
GONE = "a further round brought more bytes than its tokens can have; it was not read to its end"
BEFORE = chunk("two ")
#: Text that is no loop, however often it comes: its block is too long for one.
BLOCK = "".join(f"{number:04} " for number in range(13_000))


class Flood:
    """Pieces without an end; it counts what was taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.taken += len(piece)
            yield piece


@lru_cache
def bomb(before: bytes = b"", encoding: str = "gzip") -> bytes:
    """Return a small piece that is large when it is decompressed."""
    deflate = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    blank = b" " * MIB
    return b"".join([deflate.compress(before), *(deflate.compress(blank) for _ in range(100)), deflate.flush()])


def spaces() -> Iterable[bytes]:
    return repeat(b" " * 65_536)


def chunks() -> Iterable[bytes]:
    return chain([BEFORE], repeat(chunk(BLOCK)))


#: Whether the body is compressed, and its pieces: of a whole answer, and of a stream after some text.
WHOLE: dict[str, tuple[bool, Callable[[], Iterable[bytes]]]] = {
    "no end": (False, spaces),
    "one piece": (False, lambda: [json.dumps({"choices": [], "x": "y" * 17 * MIB}).encode()]),
    "bomb": (True, lambda: [bomb()]),
    "bomb after a completion": (True, lambda: [bomb(b'{"id": "x", "choices": []}')]),
}
STREAMS: dict[str, tuple[bool, Callable[[], Iterable[bytes]]]] = {
    "line without an end": (False, lambda: chain([BEFORE, b"data: "], spaces())),
    "comment without an end": (False, lambda: chain([BEFORE, b": "], spaces())),
    "event without an end": (False, lambda: chain([BEFORE], repeat(b"data: x\n" * 8192))),
    "comments": (False, lambda: chain([BEFORE], repeat(b": wait %b\n\n" % (b"." * 8192)))),
    "empty lines": (False, lambda: chain([BEFORE], repeat(b"\n\n" * 32_768))),
    "bomb": (True, lambda: [bomb(BEFORE + b"data: ")]),
}


async def flooded(
    way: Way, pieces: Iterable[Any], *, streamed: bool, encoding: str | None, status: int = 200, **options: Any
) -> tuple[Answer, Pieces]:
    """Ask a server whose second round is a flood. ``status``: that of its response."""

    class Server(Script):
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            if len(self.bodies) == 2:
                response.headers.update({} if encoding is None else {"content-encoding": encoding})
                response.status_code = status
            return response

    script = Server(cut_round("One "), pieces)
    client = way.client("http://x/v1", transport=script, max_retries=2, **options)
    seen = await outcome(client, streamed=streamed, **ask(max_tokens=FEW))
    await settled(client.close())
    assert len(script.bodies) == 2
    return seen, script.streams[1]


def check(seen: Answer, text: str) -> None:
    assert (text, "length", "error") == seen.ending
    told = {"type": "OverlongRoundError", "status": None, "request_id": seen.report["error"]["request_id"]}
    assert {**told, "message": GONE} == seen.report["error"]


@sync_and_async
@pytest.mark.parametrize(
    ("name", "streamed"), [*((name, False) for name in WHOLE), *((name, True) for name in STREAMS)]
)
@pytest.mark.spread(6)
async def test_round(way: Way, name: str, streamed: bool) -> None:
    """A round that is too long is a failed round: what came before it stays, and nothing is asked again or healed."""
    packed, pieces = (STREAMS if streamed else WHOLE)[name]
    flood = Flood(pieces())
    seen, body = await flooded(way, flood, streamed=streamed, encoding="gzip" if packed else None)

    check(seen, "One two " if streamed else "One ")
    assert flood.taken <= LEAST + 2 * MIB
    assert body.closed


@sync_and_async
@pytest.mark.spread(1)
async def test_stream_of_text(way: Way) -> None:
    """Chunks of text without an end are taken as far as a round may go."""
    flood = Flood(chunks())
    seen, body = await flooded(way, flood, streamed=True, encoding=None)

    blocks = len(seen.text.removeprefix("One two ")) // len(BLOCK)
    assert "One two " + BLOCK * blocks == seen.text
    check(seen, seen.text)
    assert LEAST - MIB < len(seen.text) <= flood.taken <= LEAST + MIB
    assert body.closed


@two_ways
async def test_error_that_is_raised(way: Way, streamed: bool) -> None:
    """``on_error="raise"`` raises an error of the SDK's kind."""
    settings = replace(DEEPINFRA, on_error="raise")
    seen, _ = await flooded(way, Flood(spaces()), streamed=streamed, encoding=None, continuation=settings)

    assert isinstance(seen.error, OverlongRoundError)
    assert isinstance(seen.error, openai.APIConnectionError)
    assert seen.error.partial_completion.choices[0].message.content == "One "


def packed(encoding: str) -> bytes:
    return gzip.compress(bomb()) if encoding == "gzip, gzip" else bomb(encoding=encoding)


ENCODINGS = ["gzip", "deflate", "gzip, gzip"]


@two_ways
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_memory_of_a_bomb(way: Way, streamed: bool, encoding: str) -> None:
    """A bomb of 100 MiB in one small piece takes no more memory than what a round may have, and what reads it."""
    pieces = [packed(encoding)]
    tracemalloc.start()
    try:
        seen, _ = await flooded(way, pieces, streamed=streamed, encoding=encoding)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    check(seen, "One ")
    assert peak < 3 * LEAST


def check_refused(seen: Answer) -> None:
    assert seen.ending == ("One ", "length", "error")
    assert (seen.report["error"]["type"], seen.report["error"]["status"]) == ("PermissionDeniedError", 403)


@two_ways
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_memory_of_an_error_that_is_a_bomb(way: Way, streamed: bool, encoding: str) -> None:
    """The body of an error is read no further than an error is long; its status counts."""
    pieces = [packed(encoding)]
    tracemalloc.start()
    try:
        seen, body = await flooded(way, pieces, streamed=streamed, encoding=encoding, status=403)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    check_refused(seen)
    assert peak < 3 * LEAST
    assert body.closed


@two_ways
async def test_error_without_an_end(way: Way, streamed: bool) -> None:
    """An error that does not end costs no more than its beginning."""
    flood = Flood(spaces())
    seen, body = await flooded(way, flood, streamed=streamed, encoding=None, status=403)

    check_refused(seen)
    assert flood.taken <= 2 * MIB
    assert body.closed


@two_ways
async def test_error_that_drips(way: Way, streamed: bool, fake_time: FakeTime) -> None:
    """An error whose body comes drop by drop is read no longer than the time that is left."""

    def drop() -> bytes:
        fake_time.now += 1.0
        return b" "

    settings = replace(DEEPINFRA, max_seconds=10.0)
    before = fake_time.now
    seen, body = await flooded(way, repeat(drop), streamed=streamed, encoding=None, status=403, continuation=settings)

    assert seen.ending == ("One ", "length", "max_seconds")
    assert fake_time.now - before == 10.0
    assert body.closed


@two_ways
async def test_long_round_that_is_none_too_long(way: Way, streamed: bool) -> None:
    """A round of a megabyte of text comes whole."""
    text = "".join(f"{number} " for number in range(150_000))
    script = Script(cut_round("One "), reply(text, finish="stop"))
    seen = await play(way, script, streamed=streamed)

    assert ("One " + text, "stop", "stop") == seen.ending


# Reading a whole round: what breaks while it is read is made again, as the SDK does for a whole answer.

BREAKS = {"lost": (LOST, "APIConnectionError"), "late": (http.ReadTimeout("late"), "APITimeoutError")}


@sync_and_async
@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_whole_round_that_breaks_while_it_is_read(way: Way, name: str, retries: int) -> None:
    """The request of a whole round is made again as often as the client's retries allow."""
    error, kind = BREAKS[name]
    script = Script(cut_round("One "), [b'{"id"', error], [b"", error], reply("two", finish="stop"))
    client = way.client("http://x/v1", transport=script, max_retries=retries)
    seen = await outcome(client, streamed=False, **ask())
    await settled(client.close())

    assert 2 + retries == len(script.bodies)
    assert all(body.closed for body in script.streams[1:])
    if retries == 2:
        assert seen.ending == ("One two", "stop", "stop")
    else:
        assert ("One ", "length", "error", kind) == (*seen.ending, seen.report["error"]["type"])
