"""A first round that fails does so as without us, but for DeepInfra's error inside a stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.testing import Fault
from tests.support.answers import outcome
from tests.support.asking import BREAKS, ERRORS, ask_it, play, play_plain, server, truth
from tests.support.bodies import ask
from tests.support.overflows import (
    AT_LEAST,
    NONE_LEFT,
    ROOM_LEFT,
    TOO_LONG,
    TOO_LONG_AT_LEAST,
    WITHOUT_NUMBERS,
)
from tests.support.script import DONE, LOST, Pieces, Script, chunk, cut_round, event, reply, usage
from tests.support.ways import DEEPINFRA, OUR_ASYNC, SYNC, Way, entered, http, listed, settled, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")


#: Kinds of faults, whole and streamed; DeepInfra's error inside a stream is raised as the error that it is.
FAULTS = [
    (kind, way, streamed)
    for kind in (*ERRORS, *BREAKS, "hang", "empty", "no_done", "slow")
    for way, streamed in ((SYNC, False), (OUR_ASYNC, True))
    if (kind, streamed) != ("error_frame", True)
]


@pytest.mark.parametrize(("kind", "way", "streamed"), FAULTS, ids=[f"{one[0]}-{one[2]}" for one in FAULTS])
async def test_fault_in_the_first_round(way: Way, streamed: bool, kind: Any) -> None:
    """Every fault gives the exception, or the answer, that the SDK gives without us."""
    with server(Fault(kind), tokens=12) as emulator:
        options = {"max_retries": 0, **({"timeout": 0.3} if kind == "hang" else {})}
        client = way.plain_client(emulator.base_url, **options)
        without = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())
        emulator.clear()
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, heal_streams=False), **options)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert without.kind == seen.kind
    assert (without.text, without.finish_reason) == (seen.text, seen.finish_reason)
    assert len(emulator.requests) == 1
    assert not hasattr(seen.error, "partial_completion")


async def test_error_frame(way: Way) -> None:
    """DeepInfra's frame in the middle of a stream is raised as the error that it names, after the text before it."""
    with server(Fault("error_frame", after_tokens=8)) as emulator:
        seen = await ask_it(way, emulator)

    assert isinstance(seen.error, openai.InternalServerError)
    assert "The engine died" in str(seen.error)
    assert truth(emulator, 8) == seen.text
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("message", ["no prefill", "", '{"error": 5}', "[1]", r"\ud800"])
async def test_error_frame_without_json(way: Way, message: str) -> None:
    """A frame whose message is no JSON is an error too, whatever characters it has."""
    frame = event({"error_type": "x", "error_message": message}).replace(b"\\\\ud800", b"\\ud800")
    script = Script([frame])

    seen = await play(way, script)

    assert isinstance(seen.error, openai.APIError)
    assert len(script.bodies) == 1


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
BROKEN: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "no text": ([], {}),
    "one round allowed": ([chunk("One ")], {"settings": replace(DEEPINFRA, max_rounds=1)}),
    "a choice that never came": ([chunk("One")], {"n": 2}),
    "thoughts that cannot go back": ([chunk(None, reasoning_content="Hm")], {}),
    "tool call": ([chunk("Calling"), chunk(None, tool_calls=[CALL])], {}),
    "json": ([chunk('{"a": 1, ')], {"response_format": {"type": "json_object"}}),
    "refusal": ([chunk("", refusal="I")], {}),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("end", [[LOST], []], ids=["lost", "ended"])
async def test_broken_stream_that_cannot_be_healed(way: Way, name: str, end: list[Any]) -> None:
    """A stream that breaks off where nothing can go on from it fails as without us."""
    pieces, options = BROKEN[name]
    script = Script([*pieces, *end])
    body = {key: value for key, value in options.items() if key != "settings"}

    without = await play_plain(way, Script([*pieces, *end]), **body)
    seen = await play(way, script, **options)

    assert without.kind == seen.kind
    assert [one.model_dump() for one in without.raw] == [one.model_dump() for one in seen.raw]
    assert len(script.bodies) == 1


async def test_error_event_when_lines_are_read(way: Way) -> None:
    """An error event in a first round ends it also for code that reads lines: the lines are given as they came."""
    pieces = [chunk("One "), chunk(None, "length", index=1), event({"error": {"message": "died"}}), DONE]
    script = Script(pieces)
    client = way.client("http://x/v1", transport=script, max_retries=0)

    async with entered(client.chat.completions.with_streaming_response.create(**ask(n=2), stream=True)) as made:
        lines = await listed(made.iter_lines())

    assert b"".join(pieces).decode().replace("\n\n", "") == "".join(lines)
    assert len(script.bodies) == 1


# How often the first round is asked for.

_LARGE = 50_000
CONTEXTS = {
    "room left": ROOM_LEFT,
    "at least": AT_LEAST,
    "without numbers": WITHOUT_NUMBERS,
    "too long": TOO_LONG,
    "too long, at least": TOO_LONG_AT_LEAST,
    "none left": NONE_LEFT,
    "too large for the context": (
        f"'max_tokens' is too large: {_LARGE}. This model's maximum context length is 32768 tokens and your request "
        f"has 100 input tokens ({_LARGE} > 32768 - 100)."
    ),
}


def refusing(status: int, message: str = "no", **headers: str) -> Callable[[], Any]:
    return lambda: http.Response(status, headers=headers, json={"error": {"message": message, "code": status}})


def raising(kind: type[Exception]) -> Callable[[], Any]:
    def fail() -> Any:
        raise kind("gone")

    return fail


def saying(*pieces: Any, kind: str = "text/event-stream") -> Callable[[], Any]:
    return lambda: http.Response(200, headers={"content-type": kind}, stream=Pieces(pieces))


#: What the server makes of each request.
FIRST_ERRORS: dict[str, Callable[[], Any]] = {
    **{
        f"context, {status}: {name}": refusing(status, reply)
        for name, reply in CONTEXTS.items()
        for status in (400, 500)
    },
    **{str(status): refusing(status) for status in (400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503)},
    "about prefill": refusing(400, "assistant prefill is not supported"),
    "about an unknown field": refusing(422, "Extra inputs are not permitted: foo"),
    "429, wait": refusing(429, **{"retry-after": "0.01"}),
    "500, do not retry": refusing(500, **{"x-should-retry": "false"}),
    "400, retry": refusing(400, **{"x-should-retry": "true"}),
    "connection refused": raising(http.ConnectError),
    "reset": raising(http.ReadError),
    "closed": raising(http.RemoteProtocolError),
    "connect timeout": raising(http.ConnectTimeout),
    "read timeout": raising(http.ReadTimeout),
    "pool timeout": raising(http.PoolTimeout),
    "body reset": saying(http.ReadError("gone"), kind="application/json"),
    "body timeout": saying(http.ReadTimeout("gone"), kind="application/json"),
    "no JSON": saying(b"<html>", kind="application/json"),
    "nothing": saying(kind="application/json"),
    "no choices": saying(b'{"choices": null}', kind="application/json"),
    "error event": saying(event({"error": {"message": ROOM_LEFT}}), DONE),
}


class Failing:
    """A server that fails each request in the same way, and counts them."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self.requests = 0
        self.transport = http.MockTransport(self)

    def __call__(self, request: Any) -> Any:
        self.requests += 1
        return self._answer()


async def failed(make: Any, answer: Callable[[], Any], *, streamed: bool, **options: Any) -> Any:
    """Ask twice by one client; return what was raised, and the number of requests."""
    server = Failing(answer)
    client = make("http://x/v1", transport=server.transport, **options)
    answers = [await outcome(client, streamed=streamed, **ask(max_tokens=_LARGE)) for _ in range(2)]
    await settled(client.close())
    errors = [(*one.kind, getattr(one.error, "status_code", None), getattr(one.error, "body", None)) for one in answers]
    return server.requests, errors


@two_ways
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("name", FIRST_ERRORS)
async def test_requests_for_a_first_error(way: Way, streamed: bool, name: str, retries: int) -> None:
    """An error of the first round is raised after as many requests as without us, and is the same error."""
    answer = FIRST_ERRORS[name]
    plain = await failed(way.plain_client, answer, streamed=streamed, max_retries=retries)
    ours = await failed(way.client, answer, streamed=streamed, max_retries=retries)

    assert plain == ours


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("name", CONTEXTS)
async def test_requests_for_an_error_frame(way: Way, name: str, retries: int) -> None:
    """An error of the context inside a stream is raised after one request, which the SDK does not repeat."""
    told = json.dumps({"error": {"message": CONTEXTS[name], "code": 400}})
    frame = event({"error_type": "BadRequestError", "error_message": told})
    requests, errors = await failed(way.client, saying(frame, DONE), streamed=True, max_retries=retries)

    assert requests == 2
    assert [(kind, status) for kind, _, status, _ in errors] == [("BadRequestError", 400)] * 2


@two_ways
async def test_requests_for_what_we_added(way: Way, streamed: bool) -> None:
    """Apart from those: what only we added is left out of one more request, without which the call would have worked."""
    bodies: list[Any] = []

    class Old(Script):
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            bodies.append(self.bodies[-1])
            refused = "stream_options" in self.bodies[-1]
            return refusing(400, "stream_options: Extra inputs are not permitted")() if refused else response

    script = Old(*[reply("x", finish="stop")] * 2)
    client = way.client(
        "http://x/v1", transport=script, continuation=replace(DEEPINFRA, provider="vllm"), max_retries=0
    )
    seen = await outcome(client, streamed=streamed, **ask(max_tokens=100))

    assert seen.ending[:2] == ("x", "stop")
    assert ([True, False] if streamed else [False]) == ["stream_options" in body for body in bodies]
    assert {"stream_options"} >= set(bodies[0]) - {*ask(), "max_tokens", "stream"}


@two_ways
async def test_requests_for_too_large_a_number(way: Way, streamed: bool) -> None:
    """Apart from those too: a number that the server never gives is a total, and is asked for in rounds that it takes."""

    class Capped(Script):
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            refused = self.bodies[-1]["max_tokens"] > 16_384
            return refusing(400, "max_tokens: at most 16384 completion tokens")() if refused else response

    script = Capped(reply("x"), cut_round("One ", usage=usage(10, 16_384)), reply("two", finish="stop"))
    client = way.client("http://x/v1", transport=script, max_retries=0)
    seen = await outcome(client, streamed=streamed, **ask(max_tokens=_LARGE))

    assert seen.ending[:2] == ("One two", "stop")
    assert [body["max_tokens"] for body in script.bodies] == [_LARGE, 16_384, 16_384]
