"""Ends in doubt through clients: behind a gateway that calls each cut "stop", answers are whole at every endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._sdk import call
from openai_continue._tables import providers
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.answers import Answer, outcome
from tests.support.bodies import ask
from tests.support.responses import check_events, response_outcome
from tests.support.script import DONE, Script, event, usage
from tests.support.ways import DEEPINFRA, SYNC, Way, settled, streamed_or_not, sync_and_async

pytestmark = pytest.mark.usefixtures("no_waiting")

CAP = 40
#: The row of DeepInfra as it would be with a small cap.
ROW = replace(providers.named("deepinfra"), cap=CAP)
RENAMES = Habits(ends="stop")
BODIES: dict[str, dict[str, Any]] = {
    "chat": ask("Write 150 tokens."),
    "completions": {"model": "m", "prompt": "Write 150 tokens."},
    "responses": {"model": "m", "input": "Write 150 tokens."},
}
NUMBERS = {"chat": "max_tokens", "completions": "max_tokens", "responses": "max_output_tokens"}
#: Ways of a server to report usage in a stream, and what a request asks for.
USAGES: dict[str, dict[str, Any]] = {
    "finish": {},
    "trailing": {},
    "both": {},
    "asked": {"stream_options": {"include_usage": True}},
}
each_endpoint = pytest.mark.parametrize("endpoint", BODIES)


@pytest.fixture(autouse=True)
def _row(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(providers, "PROVIDERS", (ROW, *providers.PROVIDERS))
    call.say_may_be_cut.cache_clear()
    yield
    call.say_may_be_cut.cache_clear()


async def asked(
    way: Way, emulator: Emulator, body: dict[str, Any], *, streamed: bool, settings: Continuation | None = DEEPINFRA
) -> Answer:
    """Ask with a new client; settings of None: with the SDK's own."""
    if settings is None:
        client = way.plain_client(emulator.base_url, max_retries=0)
    else:
        client = way.client(emulator.base_url, continuation=settings, max_retries=0)
    seen = await (response_outcome if "input" in body else outcome)(client, streamed=streamed, **body)
    await settled(client.close())
    assert seen.error is None
    return seen


def sized(endpoint: str, tokens: int) -> dict[str, Any]:
    """Return a request for a text of this length."""
    return json.loads(json.dumps(BODIES[endpoint]).replace("150", str(tokens)))


@sync_and_async
@streamed_or_not
@each_endpoint
async def test_renamed_cuts(endpoint: str, way: Way, streamed: bool) -> None:
    """Cuts that are called "stop" or "completed" are continued: the text is whole, and nobody sees a seam."""
    body = BODIES[endpoint]
    with Emulator(cap=CAP, habits=RENAMES) as emulator:
        seen = await asked(way, emulator, body, streamed=streamed)

        assert seen.ending == (emulator.uncapped(body), "stop", "stop")
        assert [one["finish_reason"] for one in seen.rounds] == ["stop"] * 4
        assert len(emulator.requests) == 4
    if streamed and endpoint == "responses":
        check_events(seen.raw)


@pytest.mark.parametrize("usage", USAGES)
@streamed_or_not
async def test_places_of_usage(usage: Any, streamed: bool) -> None:
    """Wherever a server reports usage, a renamed cut is known by it."""
    body = {**BODIES["chat"], **(USAGES[usage] if streamed else {})}
    with Emulator(cap=CAP, habits=replace(RENAMES, usage=usage)) as emulator:
        seen = await asked(SYNC, emulator, body, streamed=streamed)

        assert seen.ending == (emulator.uncapped(body), "stop", "stop")


@sync_and_async
@streamed_or_not
@each_endpoint
@pytest.mark.parametrize("ends", ["stop", None])
async def test_answers_that_end_at_the_cap(ends: Any, endpoint: str, way: Way, streamed: bool) -> None:
    """An answer that had ended at exactly the cap stays as it was, but for the second round in usage and report."""
    body = sized(endpoint, CAP - 1)
    with Emulator(cap=CAP, habits=Habits(ends=ends)) as emulator:
        plain = await asked(way, emulator, body, streamed=streamed, settings=None)
        seen = await asked(way, emulator, body, streamed=streamed)

        assert (seen.text, seen.finish_reason) == (plain.text, "stop") == (emulator.uncapped(body), "stop")
        assert seen.stopped_by == "stop"
        assert [one["usage"]["completion_tokens"] for one in seen.rounds] == [CAP, 1]
    if streamed and endpoint == "responses":
        check_events(seen.raw)


@sync_and_async
@streamed_or_not
@each_endpoint
@pytest.mark.parametrize("kind", ["500", "429", "empty", "no_choices", "error_frame", "reset"])
async def test_next_round_that_fails(kind: Any, endpoint: str, way: Way, streamed: bool) -> None:
    """If the next round fails, the answer is as it is without the library, though errors are to be raised."""
    settings = replace(DEEPINFRA, on_error="raise")
    fault = Fault(kind, 2, 1000, after_tokens=0)
    with Emulator(cap=CAP, habits=RENAMES) as emulator:
        plain = await asked(way, emulator, BODIES[endpoint], streamed=streamed, settings=None)
    with Emulator(cap=CAP, habits=RENAMES, faults=[fault]) as emulator:
        seen = await asked(way, emulator, BODIES[endpoint], streamed=streamed, settings=settings)

    assert (seen.text, seen.finish_reason) == (plain.text, "stop")
    assert seen.stopped_by in ("error", "empty", "stop")


@sync_and_async
@pytest.mark.parametrize("on_error", ["raise", "partial"])
async def test_next_round_that_brings_text_and_fails(on_error: Any, way: Way) -> None:
    """If the next round brings text, the first one was cut, and the error of the next one counts."""
    settings = replace(DEEPINFRA, on_error=on_error, heal_streams=False)
    with Emulator(cap=CAP, habits=RENAMES, faults=[Fault("error_frame", 2, 1000, after_tokens=20)]) as emulator:
        client = way.client(emulator.base_url, continuation=settings, max_retries=0)
        seen = await outcome(client, streamed=True, **BODIES["chat"])
        await settled(client.close())

    assert (seen.error is not None) == (on_error == "raise")
    if on_error == "partial":
        assert seen.ending[1:] == ("length", "error")


def of(delta: dict[str, Any], finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}
    )


LONG = "This is a text of more than forty characters"
#: Streams that end in "stop", to the byte as they came: how many tokens the server counts is below the cap.
TAILS: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "usage beside an empty delta": ({}, [of({}, "stop"), of({"role": "assistant"}, usage=usage(10, CAP - 1))]),
    "a field after the end": ({}, [of({}, "stop"), of({}, filtered=True), of({}, usage=usage(10, CAP - 1))]),
    "half a stop string": ({"stop": ["END"]}, [of({"content": " E"}, "stop"), of({}, usage=usage(10, CAP - 1))]),
}


@sync_and_async
@pytest.mark.parametrize("name", TAILS)
async def test_stream_that_is_not_cut_comes_as_it_is(name: str, way: Way) -> None:
    """The order and the parts of the last chunks are those of the server."""
    fields, tail = TAILS[name]
    answers = []
    for client in (way.plain_client, way.client):
        script = Script([of({"role": "assistant", "content": LONG}), *tail, DONE])
        known = {} if client == way.plain_client else {"continuation": DEEPINFRA}
        one = client("http://x/v1", transport=script, **known)
        answers.append((await outcome(one, streamed=True, **BODIES["chat"], **fields)).raw)
        await settled(one.close())
        assert len(script.bodies) == 1

    assert answers[0] == answers[1]


@sync_and_async
@streamed_or_not
@pytest.mark.parametrize("habits", [{"ignores_prefill": True}, {"refuses_prefill": True}], ids=str)
async def test_servers_that_do_not_continue(habits: Any, way: Way, streamed: bool) -> None:
    """A server that begins again, or refuses, costs one request at most for each answer, which stays as it was."""
    with Emulator(cap=CAP, habits=replace(RENAMES, **habits)) as emulator:
        plain = await asked(way, emulator, BODIES["chat"], streamed=streamed, settings=None)
        emulator.clear()
        seen = await asked(way, emulator, BODIES["chat"], streamed=streamed)

        assert (seen.text, seen.finish_reason) == (plain.text, "stop")
        assert seen.stopped_by in ("restart", "unsupported", "error")
        assert len(emulator.requests) <= 3


@sync_and_async
@streamed_or_not
@each_endpoint
async def test_own_number(endpoint: str, way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that ends in "stop" at the caller's number is as it came, and one INFO line says that it may be cut."""
    caplog.set_level("INFO", "openai_continue")
    name = NUMBERS[endpoint]
    body = {**BODIES[endpoint], name: 30}
    with Emulator(cap=CAP, habits=replace(RENAMES, limit_field="both")) as emulator:
        plain = await asked(way, emulator, body, streamed=streamed, settings=None)
        for _ in range(2):
            seen = await asked(way, emulator, body, streamed=streamed)
            assert (seen.text, seen.finish_reason, seen.report) == (plain.text, "stop", None)
        assert len(emulator.requests) == 3

    model = body["model"]
    assert caplog.messages == [
        f"an answer of {model} ended in 'stop' at exactly the {name} of its request, so it may be cut"
    ]


@streamed_or_not
@each_endpoint
async def test_own_number_in_a_later_round(endpoint: str, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """If a later round ends so, the report says it too, and no more is bought than the number."""
    caplog.set_level("INFO", "openai_continue")
    body = {**BODIES[endpoint], NUMBERS[endpoint]: 100}
    with Emulator(cap=CAP, habits=RENAMES) as emulator:
        seen = await asked(SYNC, emulator, body, streamed=streamed)

        assert sum(request.completion_tokens for request in emulator.requests) == 100
        assert (seen.finish_reason, seen.stopped_by) == ("stop", "max_tokens")
        assert emulator.uncapped(BODIES[endpoint]).startswith(seen.text)
    assert [message for message in caplog.messages if "may be cut" in message] != []


@sync_and_async
@each_endpoint
async def test_bytes_of_raw_answers(endpoint: str, way: Way) -> None:
    """Whole answers that are believed, or that end at the caller's number, come to the byte as the server sent them."""
    for more, tokens in (({}, CAP - 2), ({NUMBERS[endpoint]: 30}, 150), ({NUMBERS[endpoint]: CAP}, 150)):
        body = {**sized(endpoint, tokens), **more}
        with Emulator(cap=CAP, habits=RENAMES) as emulator:
            client = way.client(emulator.base_url, continuation=DEEPINFRA)
            resource = {"chat": client.chat.completions, "completions": client.completions}
            raw = await settled(resource.get(endpoint, client.responses).with_raw_response.create(**body))
            await settled(client.close())

            assert len(emulator.requests) == 1
            assert b'"continuation"' not in raw.content
            assert int(raw.headers["content-length"]) == len(raw.content)


@streamed_or_not
@each_endpoint
async def test_finished_answers_that_are_called_cut(endpoint: str, streamed: bool) -> None:
    """A server that lies the other way gives the whole text, and its word for the end stays."""
    body = BODIES[endpoint]
    with Emulator(cap=CAP, habits=Habits(ends="length")) as emulator:
        seen = await asked(SYNC, emulator, body, streamed=streamed)

        assert seen.ending == (emulator.uncapped(body), "length", "empty")
