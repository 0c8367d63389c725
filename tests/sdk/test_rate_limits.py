"""What the headers of a raw response say of the caller's rate limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.bodies import ask
from tests.support.script import Script, cut_round, reply
from tests.support.ways import DEEPINFRA, Way, entered, http, listed, settled

ROUNDS = (cut_round("One "), cut_round("two "), reply("three", finish="stop"))


class Limited(Script):
    """A server that names its limits in each response: what is left goes down by 10 with each request."""

    def __init__(self, *rounds: Any, silent: int = 0) -> None:
        super().__init__(*rounds)
        self._silent = silent

    def handle_request(self, request: Any) -> Any:
        response = super().handle_request(request)
        number = len(self.bodies)
        left = str(100 - 10 * number)
        response.headers["x-other"] = str(number)
        streams = self.bodies[-1].get("stream")
        response.headers["content-type"] = "text/event-stream" if streams else "application/json"
        if number != self._silent:
            response.headers["X-RateLimit-Remaining-Tokens"] = left
            response.headers["ratelimit"] = f"remaining={left}"
            # Some headers are in the first response only.
            response.headers["anthropic-ratelimit-reset"] = "soon" if number == 1 else ""
        return response


def limits(response: Any) -> list[str | None]:
    names = ("x-ratelimit-remaining-tokens", "ratelimit", "anthropic-ratelimit-reset", "x-other", "x-request-id")
    return [response.headers.get(name) for name in names]


@pytest.mark.parametrize("stream_rounds", [False, True], ids=["whole rounds", "streamed rounds"])
async def test_whole_answer(way: Way, stream_rounds: bool) -> None:
    """A whole answer has the headers of the first response, but the rate limits of the last one."""
    client = way.client(
        "http://x/v1", transport=Limited(*ROUNDS), continuation=replace(DEEPINFRA, stream_rounds=stream_rounds)
    )
    raw = await settled(client.chat.completions.with_raw_response.create(**ask()))

    assert raw.parse().choices[0].message.content == "One two three"
    assert limits(raw) == ["70", "remaining=70", "", "1", "req-1"]


async def test_whole_answer_that_the_caller_reads(way: Way) -> None:
    """So it is where the caller reads the body."""
    client = way.client("http://x/v1", transport=Limited(*ROUNDS))
    async with entered(client.chat.completions.with_streaming_response.create(**ask())) as response:
        await settled(response.read())

    assert limits(response) == ["70", "remaining=70", "", "1", "req-1"]


async def test_last_response_without_limits(way: Way) -> None:
    """If the last response names no limits, those of the newest that does stay."""
    client = way.client("http://x/v1", transport=Limited(*ROUNDS, silent=3))
    raw = await settled(client.chat.completions.with_raw_response.create(**ask()))

    assert limits(raw) == ["80", "remaining=80", "", "1", "req-1"]


@pytest.mark.parametrize("stream_rounds", [False, True], ids=["whole rounds", "streamed rounds"])
async def test_refused_round(way: Way, stream_rounds: bool) -> None:
    """A round that is refused for its rate has the newest state of all."""

    class Busy(Limited):
        def handle_request(self, request: Any) -> Any:
            if len(self.bodies) == 1:
                headers = {"x-ratelimit-remaining-tokens": "0"}
                return http.Response(429, headers=headers, json={"error": {"message": "slow down"}})
            return super().handle_request(request)

    client = way.client(
        "http://x/v1",
        transport=Busy(*ROUNDS),
        continuation=replace(DEEPINFRA, stream_rounds=stream_rounds),
        max_retries=0,
    )
    raw = await settled(client.chat.completions.with_raw_response.create(**ask()))

    assert (raw.parse().choices[0].message.content, raw.parse().choices[0].finish_reason) == ("One ", "length")
    assert limits(raw) == ["0", None, None, "1", "req-1"]


async def test_streamed_answer(way: Way) -> None:
    """A stream has given its headers before the further rounds: they are those of the first response."""
    client = way.client("http://x/v1", transport=Limited(*ROUNDS))
    async with entered(client.chat.completions.with_streaming_response.create(**ask(), stream=True)) as response:
        await listed(response.iter_bytes())

    assert limits(response) == ["90", "remaining=90", "soon", "1", "req-1"]


async def test_answer_of_one_round(way: Way) -> None:
    """An answer that is not continued has the headers of its response."""
    client = way.client("http://x/v1", transport=Limited(reply("One", finish="stop")))
    raw = await settled(client.chat.completions.with_raw_response.create(**ask()))

    assert limits(raw) == ["90", "remaining=90", "soon", "1", "req-1"]
