"""A later round that fails costs nothing of the answer: the caller gets everything that arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from openai_continue.testing import Fault
from tests.support.answers import joined, outcome
from tests.support.asking import BREAKS, CAP, ERRORS, ROUNDS, ask_it, play, server, truth
from tests.support.bodies import KNOWN, ask
from tests.support.script import DONE, Script, chunk, event, said
from tests.support.ways import DEEPINFRA, Way, http, settled, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")


@two_ways
@pytest.mark.parametrize("kind", [*ERRORS, *BREAKS])
async def test_error_in_a_later_round(way: Way, streamed: bool, kind: Any) -> None:
    """The caller gets the partial answer and a report of the error; ``on_error="raise"`` raises it with the partial."""
    with server(Fault(kind, round=2)) as emulator:
        kept = await ask_it(way, emulator, streamed=streamed, heal_streams=False)
        emulator.clear()
        raised = await ask_it(way, emulator, streamed=streamed, heal_streams=False, on_error="raise")

    assert 2 == len(emulator.requests)
    assert kept.text.startswith(truth(emulator, CAP))
    assert truth(emulator).startswith(kept.text)
    assert (None, "length", "error") == (kept.error, kept.finish_reason, kept.stopped_by)
    assert ["length", None] == [round_["finish_reason"] for round_ in kept.rounds]
    assert isinstance(raised.error, openai.APIError)
    partial = raised.error.partial_completion
    assert (ChatCompletion, kept.text) == (type(partial), partial.choices[0].message.content)
    assert ("length", "assistant") == (partial.choices[0].finish_reason, partial.choices[0].message.role)
    assert (KNOWN, True) == (partial.model, partial.id.startswith("chatcmpl-"))
    assert (raised.text, raised.finish_reason) == ((kept.text, None) if streamed else ("", None))
    # The report names the error that would have been raised, and none of its text.
    assert kept.report is not None
    for report in (kept.report, partial.continuation):
        assert "error" == report["stopped_by"]
        assert (type(raised.error).__name__, ERRORS.get(kind)) == (report["error"]["type"], report["error"]["status"])
        assert {"type", "status", "request_id"} == set(report["error"])
    assert getattr(raised.error, "status_code", None) in (ERRORS.get(kind), 200)
    assert kept.report["error"]["request_id"] or kind in BREAKS


@two_ways
async def test_errors_that_the_sdk_retries(way: Way, streamed: bool) -> None:
    """Each round has the SDK's own retries: errors that these mend change nothing."""
    with server(*[Fault("503", round=number) for number in (1, 3, 5, 7)]) as emulator:
        seen = await ask_it(way, emulator, streamed=streamed, max_retries=1)

    assert (truth(emulator), "stop", "stop") == seen.said
    assert 2 * ROUNDS == len(emulator.requests)


ERRORS_OF_OTHERS = [
    RuntimeError("Cannot send a request, as the client has been closed."),
    KeyError("no key"),
    OSError(9, "bad"),
    UnicodeEncodeError("utf-8", "x", 0, 1, "no"),
]


@two_ways
@pytest.mark.parametrize("error", ERRORS_OF_OTHERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["options", "transport"])
async def test_error_of_others(way: Way, streamed: bool, error: Exception, place: str) -> None:
    """An error of the caller's key provider, of a hook or of the transport costs nothing of the answer."""
    calls = 0

    def fail(_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error

    async def afail(value: Any) -> None:
        fail(value)

    async def aprepare(options: Any) -> Any:
        fail(options)
        return options

    def prepare(options: Any) -> Any:
        fail(options)
        return options

    with server() as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        if place == "options":
            client._prepare_options = aprepare if way.is_async else prepare
        else:
            client._client.event_hooks = {"request": [afail if way.is_async else fail]}
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert (truth(emulator, CAP), "length", "error") == seen.said
    assert seen.report is not None
    # Some versions of the SDK call any error of the transport by a name of their own.
    names = {type(error).__name__} | ({"APIConnectionError"} if place == "transport" else set())
    assert seen.report["error"]["type"] in names
    assert 1 == len(emulator.requests)


SILENT = "Server disconnected without sending a response."


@two_ways
@pytest.mark.parametrize(
    ("error", "asked_again"),
    [
        (http.RemoteProtocolError(SILENT), True),
        (http.RemoteProtocolError("peer closed connection without sending complete message body"), False),
        (http.ReadTimeout("late"), False),
        (http.ConnectError("refused"), False),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_connection_that_the_server_had_closed(
    way: Way, streamed: bool, error: Exception, asked_again: bool
) -> None:
    """A further request that got nothing is sent again at once, once, without the SDK's retries. Others are not."""
    failures = [error, error]

    class Closing(Script):
        def handle_request(self, request: Any) -> Any:
            if self.bodies and failures:
                raise failures.pop()
            return super().handle_request(request)

    for times in (1, 2):
        failures[:] = [error] * times
        script = Closing(said("One ", finish="length"), said("two.", finish="stop"))
        client = way.client("http://x/v1", transport=script, max_retries=0)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

        whole = asked_again and times == 1
        assert (("One two.", "stop", "stop") if whole else ("One ", "length", "error")) == seen.said


@two_ways
async def test_strict_client(way: Way, streamed: bool) -> None:
    """If the client insists on valid answers, the partial completion is one."""
    with server(Fault("500", round=2)) as emulator:
        settings = replace(DEEPINFRA, on_error="raise")
        options = {"max_retries": 0, "_strict_response_validation": True}
        client = way.client(emulator.base_url, continuation=settings, **options)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert isinstance(seen.error, openai.InternalServerError)
    assert truth(emulator, CAP) == seen.error.partial_completion.choices[0].message.content


# What a stream may bring in a later round.


async def test_error_next_to_choices(way: Way) -> None:
    """A chunk with an error next to its choices (OpenRouter) is an error in a later round too."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    last = event({"id": "c", "choices": [choice], "error": {"code": 502, "message": "died"}})

    seen = await play(way, Script([chunk("One "), chunk(None, "length")], [chunk("and"), last, DONE]))

    assert (None, "One and", "length", "error") == (seen.error, *seen.said)
    assert seen.report is not None
    assert {"type": "InternalServerError", "status": 502, "request_id": "req-2"} == seen.report["error"]


async def test_error_after_the_end(way: Way) -> None:
    """An error frame after the end of an answer changes nothing."""
    frame = event({"error_type": "x", "error_message": "late"})
    script = Script([chunk("One "), chunk(None, "length"), frame], [chunk("and two"), chunk(None, "stop"), frame])

    seen = await play(way, script)

    assert (None, "One and two", "stop", "stop") == (seen.error, *seen.said)


async def test_pings(way: Way) -> None:
    """What is neither a chunk nor an error is passed over."""
    pings = [b": ping\n\n", event({"type": "ping"}), event({"id": "c", "choices": None}), b"event: ping\n\n"]
    later = [*pings, chunk("and two"), *pings, chunk(None, "stop"), DONE]

    seen = await play(way, Script([chunk("One "), chunk(None, "length")], later))

    assert (None, "One and two", "stop", "stop") == (seen.error, *seen.said)


async def test_text_that_waits_is_not_lost(way: Way) -> None:
    """Text held back, since it may be half of a stop string, is given when a later round fails."""
    texts = [chunk(f"{name} EN", index=index) for index, name in enumerate("AB")]
    ends = [chunk(None, "length", index=index) for index in range(2)]

    seen = await play(way, Script([*texts, *ends, DONE]), n=2, stop=["END"])

    assert ["A EN", "B EN"] == [joined(seen.raw, index) for index in range(2)]
    choices = [choice for one in seen.raw for choice in one.choices]
    assert ["length", "length"] == [choice.finish_reason for choice in choices if choice.finish_reason]
    assert (None, "error") == (seen.error, seen.stopped_by)
