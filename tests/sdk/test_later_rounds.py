"""Nothing lost: errors, broken streams and limits, in any round."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from dataclasses import replace
from typing import Any

import anyio
import openai
import pytest
from openai.types.chat import ChatCompletion

from openai_continue import Continuation, providers
from openai_continue.core import recovery
from openai_continue.core.round import Failure
from openai_continue.core.rounds import Rounds
from openai_continue.testing import Emulator, Fault, Habits
from tests.conftest import ASYNC, DEEPINFRA, OUR_SYNC, SYNC, Way, ask, entered, http, joined, listed, settled
from tests.outcomes import DONE, LOST, Outcome, Script, chunk, event, outcome

ROUNDS = 4
CAP, TOKENS = 40, 150
streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
#: The kinds that break a stream off, so that it can be healed.
BREAKS = ["reset", "early_end", "half_frame"]
#: The others that leave a round without its end.
ERRORS = ["429", "500", "503", "not_json", "no_choices", "null_choices", "error_frame", "error_event"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than tests want to."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.001)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


def server(*faults: Fault, **options: Any) -> Emulator:
    """Make a server whose answers take four rounds."""
    return Emulator(**{"cap": CAP, "tokens": TOKENS, "chunk_tokens": 4, "faults": faults, **options})


async def ask_it(
    way: Way, emulator: Emulator, *, streamed: bool, prompt: str = "Fault.", max_retries: int = 0, **more: Any
) -> Outcome:
    """Ask such a server by a client that is closed afterwards."""
    settings = {name: more.pop(name) for name in list(more) if name in Continuation.__dataclass_fields__}
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **settings), max_retries=max_retries)
    seen = await outcome(client, streamed=streamed, **ask(prompt, **more))
    await settled(client.close())
    return seen


def first_round(emulator: Emulator, prompt: str = "Fault.") -> str:
    """Give the text that a first round brings."""
    return emulator.uncapped(ask(prompt, max_tokens=emulator.cap))


# Scripted servers, for what no emulator would do.


async def play(way: Way, script: Script, *, settings: Continuation = DEEPINFRA, **body: Any) -> Outcome:
    """Stream from a scripted server."""
    client = way.client("http://x/v1", transport=script, continuation=settings, max_retries=0)
    return await outcome(client, streamed=True, **{**ask("x"), **body})


# Errors in a later round.


@streamed_or_not
@pytest.mark.parametrize("kind", ERRORS)
async def test_error_in_a_later_round(colour: Way, streamed: bool, kind: Any) -> None:
    """The caller gets all that arrived, in "length"; the report names the error, and nothing of what it said."""
    with server(Fault(kind, round=2)) as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed)

    assert None is seen.error
    assert seen.text.startswith(first_round(emulator))
    assert emulator.uncapped(ask("Fault.")).startswith(seen.text)
    assert ("length", "error", 2) == (seen.finish_reason, seen.stopped_by, len(emulator.requests))
    assert seen.report is not None
    assert ["length", None] == [round_["finish_reason"] for round_ in seen.report["rounds"]]
    error = seen.report["error"]
    assert {"type", "status", "request_id"} == set(error)
    assert issubclass(getattr(openai, error["type"]), openai.APIError)
    status = {"429": 429, "500": 500, "503": 503, "error_frame": 500, "error_event": 400 + 100}.get(kind)
    assert status == error["status"]
    assert error["request_id"]


@streamed_or_not
async def test_error_report_is_that_of_the_raised_error(colour: Way, streamed: bool) -> None:
    """Type, status and request id in the report are those of the error that ``on_error="raise"`` raises."""
    for kind in ERRORS:
        with server(Fault(kind, round=2)) as emulator:
            kept = await ask_it(colour, emulator, streamed=streamed)
            emulator.clear()
            raised = await ask_it(colour, emulator, streamed=streamed, on_error="raise")

        assert kept.report is not None
        assert kept.report["error"]["type"] == type(raised.error).__name__
        assert kept.report["error"]["status"] == (
            raised.error.status_code if isinstance(raised.error, openai.APIStatusError) else None
        )


@streamed_or_not
@pytest.mark.parametrize("kind", [*ERRORS, *BREAKS])
async def test_error_that_is_raised(colour: Way, streamed: bool, kind: Any) -> None:
    """``on_error="raise"`` raises the SDK's own exception, with what arrived as a real completion."""
    with server(Fault(kind, round=2)) as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed, on_error="raise", heal_streams=False)

    assert isinstance(seen.error, openai.APIError)
    partial = seen.error.partial_completion
    assert type(partial) is ChatCompletion
    text = partial.choices[0].message.content
    assert text.startswith(first_round(emulator))
    assert emulator.uncapped(ask("Fault.")).startswith(text)
    assert ("length", "assistant") == (partial.choices[0].finish_reason, partial.choices[0].message.role)
    assert "error" == partial.continuation["stopped_by"]
    assert ("m", True) == (partial.model, partial.id.startswith("chatcmpl-"))
    if streamed:
        assert text == seen.text
        assert None is seen.finish_reason


@streamed_or_not
async def test_error_that_the_sdks_retries_mend(colour: Way, streamed: bool) -> None:
    """Each round has the SDK's own retries: an error that they mend is nobody's business."""
    with server(*[Fault("503", round=number) for number in (1, 3, 5, 7)]) as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed, max_retries=1)

    assert emulator.uncapped(ask("Fault.")) == seen.text
    assert ("stop", "stop") == (seen.finish_reason, seen.stopped_by)
    assert 2 * ROUNDS == len(emulator.requests)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", [RuntimeError, KeyError, UnicodeEncodeError])
async def test_error_of_the_callers_own(way: Way, streamed: bool, kind: type[Exception]) -> None:
    """An error of the caller's key provider in a later round costs nothing of the answer."""
    error = kind("utf-8", "x", 0, 1, "no") if kind is UnicodeEncodeError else kind("no key")
    answered = 0

    def count(_: Any) -> None:
        nonlocal answered
        answered += 1
        if answered == 2:
            raise error

    async def acount(request: Any) -> None:
        count(request)

    with server() as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        client._prepare_options = _raising(client._prepare_options, acount if way.is_async else count)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert (first_round(emulator), "length", "error") == (seen.text, seen.finish_reason, seen.stopped_by)
    assert seen.report is not None
    assert kind.__name__ == seen.report["error"]["type"]


def _raising(wrapped: Any, hook: Any) -> Any:
    def prepare(options: Any) -> Any:
        hook(options)
        return wrapped(options)

    async def aprepare(options: Any) -> Any:
        await hook(options)
        return await wrapped(options)

    return aprepare if asyncio.iscoroutinefunction(hook) else prepare


# Errors in the first round.


@pytest.mark.parametrize(
    ("kind", "streamed"),
    # DeepInfra's frame in a stream is raised as the error that it is: test_error_frame_in_the_first_round.
    [
        (kind, streamed)
        for kind in (*ERRORS, *BREAKS, "hang", "empty", "no_done", "slow")
        for streamed in (False, True)
        if (kind, streamed) != ("error_frame", True)
    ],
)
async def test_first_round_fails_as_without_us(colour: Way, streamed: bool, kind: Any) -> None:
    """In the first round every fault gives the exception, or the chunks, that the SDK alone gives."""
    with server(Fault(kind), tokens=30) as emulator:
        timeout = {"timeout": 0.5} if kind == "hang" else {}
        client = colour.plain_client(emulator.base_url, max_retries=0, **timeout)
        without = await outcome(client, streamed=streamed, **ask("First."))
        await settled(client.close())
        emulator.clear()
        settings = replace(DEEPINFRA, heal_streams=False)
        client = colour.client(emulator.base_url, max_retries=0, continuation=settings, **timeout)
        seen = await outcome(client, streamed=streamed, **ask("First."))
        await settled(client.close())

    assert without.kind == seen.kind
    assert (without.text, without.finish_reason) == (seen.text, seen.finish_reason)
    assert 1 == len(emulator.requests)
    assert not hasattr(seen.error, "partial_completion")


@pytest.mark.parametrize("kind", ["error_frame"])
async def test_error_frame_in_the_first_round(way: Way, kind: Any) -> None:
    """DeepInfra's frame in the middle of a first round is raised as what it says, behind the text before it."""
    with server(Fault(kind, after_tokens=8)) as emulator:
        seen = await ask_it(way, emulator, streamed=True)

    assert isinstance(seen.error, openai.InternalServerError)
    assert "The engine died" in str(seen.error)
    assert emulator.uncapped(ask("Fault.", max_tokens=8)) == seen.text
    assert 1 == len(emulator.requests)


async def test_error_frame_that_says_little(colour: Way) -> None:
    """A frame whose message is no JSON is a 400 with that message, whatever characters it has."""
    for message in ("no prefill", "", '{"error": 5}', "[1]", "\ud800"):
        script = Script(
            [
                event({"error_type": "x", "error_message": message})
                if message != "\ud800"
                else b'data: {"error_type":"x","error_message":"\\ud800"}\n\n'
            ]
        )

        seen = await play(colour, script)

        assert isinstance(seen.error, openai.APIError)
        assert 1 == len(script.seen)


# Broken streams.


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("kind", [*BREAKS, "no_done"])
async def test_broken_stream_is_healed(way: Way, kind: Any, number: int) -> None:
    """A stream that breaks off in any round flows on from the text received, to the whole truth."""
    with server(Fault(kind, round=number, after_tokens=16)) as emulator:
        seen = await ask_it(way, emulator, streamed=True)

    assert emulator.uncapped(ask("Fault.")) == seen.text
    assert ("stop", None, "stop", 0) == (seen.finish_reason, seen.error, seen.stopped_by, emulator.derailed)
    assert seen.report is not None
    ends = [round_["finish_reason"] for round_ in seen.report["rounds"]]
    assert (None if kind != "no_done" else "stop" if number == 4 else "length") == ends[number - 1]
    assert (ROUNDS + (kind != "no_done")) == len(ends) == len(emulator.requests)
    assert (kind != "no_done") == (None is seen.report["rounds"][number - 1]["usage"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http.ReadTimeout("late"), "APITimeoutError"),
        (http.ReadError("lost"), "APIConnectionError"),
        (http.RemoteProtocolError("peer closed connection"), "APIConnectionError"),
        (http.DecodingError("no gzip"), "APIConnectionError"),
        (ssl.SSLError("bad record"), "APIConnectionError"),
        (anyio.EndOfStream(), "APIConnectionError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_errors_of_the_transport(way: Way, error: Exception, kind: str) -> None:
    """Whatever the transport says of a break, it is healed, or told by the SDK's name for it."""
    first, last = [chunk("One "), error], [chunk("two", "stop"), DONE]
    healed = await play(way, Script(first, [chunk("and "), error], last))
    settings = replace(DEEPINFRA, on_error="raise", heal_streams=False)
    cut = Script([chunk("One "), chunk(None, "length"), DONE], [chunk("and "), error])
    raised = await play(way, cut, settings=settings)

    assert ("One and two", None) == (healed.text, healed.error)
    assert kind == type(raised.error).__name__
    assert "One and " == raised.error.partial_completion.choices[0].message.content
    assert kind == raised.error.partial_completion.continuation["error"]["type"]


@pytest.mark.parametrize("kind", BREAKS)
async def test_broken_stream_is_left_broken(colour: Way, kind: Any) -> None:
    """``heal_streams=False``: a break in a later round is an error like any other."""
    with server(Fault(kind, round=2, after_tokens=16)) as emulator:
        seen = await ask_it(colour, emulator, streamed=True, heal_streams=False)

    assert emulator.uncapped(ask("Fault.", max_tokens=CAP + 16)) == seen.text
    assert ("length", None, "error", 2) == (seen.finish_reason, seen.error, seen.stopped_by, len(emulator.requests))


async def test_stream_that_never_gets_on(colour: Way) -> None:
    """A server that breaks every round before its first word is asked four times, and then the partial is given."""
    with server(Fault("early_end", round=2, times=100, after_tokens=0)) as emulator:
        seen = await ask_it(colour, emulator, streamed=True)

    assert (first_round(emulator), "length", "error") == (seen.text, seen.finish_reason, seen.stopped_by)
    assert 1 + 1 + recovery.MAX_HEALS == len(emulator.requests)


async def test_stream_that_breaks_again_and_again(colour: Way) -> None:
    """New text makes a break a new one; the limit is then that of rounds, and the error that of the last break."""
    with server(Fault("early_end", round=1, times=100, after_tokens=8)) as emulator:
        seen = await ask_it(colour, emulator, streamed=True, max_rounds=10)

    assert emulator.uncapped(ask("Fault.", max_tokens=80)).startswith(seen.text)
    assert emulator.uncapped(ask("Fault.", max_tokens=70)) in seen.text
    assert ("length", "error", 10) == (seen.finish_reason, seen.stopped_by, len(emulator.requests))


async def test_broken_stream_of_one_round(colour: Way) -> None:
    """Where no further round may be sent, a broken stream fails as the SDK's would."""
    with server(Fault("reset", after_tokens=7)) as emulator:
        client = colour.plain_client(emulator.base_url, max_retries=0)
        without = await outcome(client, streamed=True, **ask("Fault."))
        await settled(client.close())
        emulator.clear()
        seen = await ask_it(colour, emulator, streamed=True, max_rounds=1)

    assert (without.text, without.finish_reason, without.kind) == (seen.text, seen.finish_reason, seen.kind)
    assert None is not seen.error


@pytest.mark.parametrize("kind", ["reset", "early_end"])
async def test_broken_stream_without_text(colour: Way, kind: Any) -> None:
    """A first round that breaks off before its first word has nothing to go on from: it fails as the SDK's would."""
    with server(Fault(kind, after_tokens=0)) as emulator:
        client = colour.plain_client(emulator.base_url, max_retries=0)
        without = await outcome(client, streamed=True, **ask("Fault."))
        await settled(client.close())
        emulator.clear()
        seen = await ask_it(colour, emulator, streamed=True)

    assert ("", without.kind, 1) == (seen.text, seen.kind, len(emulator.requests))


async def test_total_holds_over_healed_rounds(way: Way) -> None:
    """What a broken round wrote counts: the caller's total is neither exceeded nor missed."""
    faults = [Fault("reset", round=1, after_tokens=17), Fault("early_end", round=3, after_tokens=9)]
    with server(*faults, chunk_tokens=1) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        seen = await outcome(client, streamed=True, **ask("Fault.", max_tokens=100))
        await settled(client.close())

    body = ask("Fault.", max_tokens=100)
    # A blank held back at a seam is written and paid for twice.
    assert emulator.uncapped(body).startswith(seen.text)
    assert emulator.uncapped({**body, "max_tokens": 96}) in seen.text
    assert "length" == seen.finish_reason
    assert sum(request.completion_tokens for request in emulator.requests) <= 100
    assert [100, 83, 43, 34] == [request.body["max_tokens"] for request in emulator.requests]


async def test_broken_stream_of_two_choices(way: Way) -> None:
    """Each choice of a broken stream goes on from its own text."""
    with server(Fault("reset", after_tokens=50)) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        seen = await outcome(client, streamed=True, **ask("Two.", n=2))
        await settled(client.close())

    assert [emulator.uncapped(ask("Two."), choice) for choice in (0, 1)] == [joined(seen.raw, 0), joined(seen.raw, 1)]
    assert (None, "stop", 0) == (seen.error, seen.stopped_by, emulator.derailed)


async def test_total_of_two_choices(way: Way) -> None:
    """What a broken round wrote counts for the choice that it was written for."""
    with server(Fault("reset", after_tokens=50), chunk_tokens=1) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        seen = await outcome(client, streamed=True, **ask("Two.", n=2, max_tokens=60))
        await settled(client.close())

    for choice in (0, 1):
        assert joined(seen.raw, choice).startswith(emulator.uncapped(ask("Two.", max_tokens=57), choice))
        assert emulator.uncapped(ask("Two.", max_tokens=60), choice).startswith(joined(seen.raw, choice))


async def test_broken_stream_with_a_choice_that_never_came(colour: Way) -> None:
    """Where a choice has not begun, a broken stream fails as the SDK's would."""
    body = [chunk("One", index=0), LOST]
    script = Script(body)
    without = await outcome(
        colour.plain_client("http://x/v1", transport=Script(body), max_retries=0), streamed=True, **ask("x", n=2)
    )

    seen = await play(colour, script, n=2)

    assert without.kind == seen.kind
    assert ("One", 1) == (seen.text, len(script.seen))


@pytest.mark.parametrize("after", [10, 60])
async def test_broken_stream_of_a_thinking_model(way: Way, after: int) -> None:
    """A break in the thoughts is healed where they can go back, and in the answer too."""
    habits = Habits(thinks="reasoning_content", template="qwen3", marker="prefix")
    with server(Fault("reset", after_tokens=after), habits=habits) as emulator:
        seen = await ask_it(way, emulator, streamed=True, provider="deepseek", round_tokens=CAP)

    thoughts = "".join(
        getattr(one.choices[0].delta, "reasoning_content", None) or "" for one in seen.raw if one.choices
    )
    assert emulator.uncapped(ask("Fault.")) == seen.text
    assert emulator.uncapped_reasoning(ask("Fault.")) == thoughts
    assert ("stop", None, 0) == (seen.finish_reason, seen.error, emulator.derailed)


async def test_broken_thoughts_that_cannot_go_back(colour: Way) -> None:
    """A break in thoughts that cannot go back fails as the SDK's would."""
    body = [chunk(None, reasoning_content="Hm"), LOST]
    script = Script(body)
    plain = colour.plain_client("http://x/v1", transport=Script(body), max_retries=0)

    seen = await play(colour, script)

    assert (await outcome(plain, streamed=True, **ask("x"))).kind == seen.kind
    assert 1 == len(script.seen)


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        ({}, [chunk("Calling"), chunk(None, tool_calls=[CALL])]),
        ({"response_format": {"type": "json_object"}}, [chunk('{"a": 1, ')]),
        ({}, [chunk("", refusal="I")]),
    ],
    ids=["tool-call", "json", "refusal"],
)
@pytest.mark.parametrize("end", [[LOST], []], ids=["lost", "ended"])
async def test_broken_stream_that_is_not_text(colour: Way, body: Any, pieces: Any, end: Any) -> None:
    """Where a tool call or constrained JSON has begun, a broken stream fails as the SDK's would."""
    script = Script([*pieces, *end])
    plain = colour.plain_client("http://x/v1", transport=Script([*pieces, *end]), max_retries=0)
    without = await outcome(plain, streamed=True, **ask("x", **body))

    seen = await play(colour, script, **body)

    assert without.kind == seen.kind
    assert [one.model_dump() for one in without.raw] == [one.model_dump() for one in seen.raw]
    assert 1 == len(script.seen)


async def test_break_within_a_character(way: Way) -> None:
    """A break in the middle of a character, of a chunk or of a line leaves the chunks that were whole."""
    whole = chunk("größer")
    character = whole.index("ö".encode())
    for cut in (0, 3, character, character + 1, character + 2, len(whole) - 2, len(whole) - 1):
        script = Script([chunk("Was ist "), whole[:cut], LOST], [chunk("größer?", "stop"), DONE])

        seen = await play(way, script)

        assert ("Was ist größer?", "stop", None) == (seen.text, seen.finish_reason, seen.error)
        assert ["Was ist"] == script.sent_back


@pytest.mark.parametrize("end", [LOST, None])
async def test_break_behind_the_end(way: Way, end: Any) -> None:
    """A stream that breaks off between its end and [DONE] has ended: in "stop", or in "length" and is continued."""
    for finish_reason, expected in (("stop", "One "), ("length", "One and two")):
        script = Script(
            [chunk("One "), chunk(None, finish_reason), *([end] if end else [])], [chunk("and two", "stop")]
        )

        seen = await play(way, script)

        assert (expected, "stop", None) == (seen.text, seen.finish_reason, seen.error)
        assert (finish_reason == "length") + 1 == len(script.seen)


async def test_error_behind_the_end(way: Way) -> None:
    """An error frame behind the end of an answer is no news to anybody."""
    frame = event({"error_type": "x", "error_message": "late"})
    script = Script([chunk("One "), chunk(None, "length"), frame], [chunk("and two"), chunk(None, "stop"), frame])

    seen = await play(way, script)

    assert ("One and two", "stop", None, "stop") == (seen.text, seen.finish_reason, seen.error, seen.stopped_by)


async def test_error_in_a_chunk_of_a_later_round(way: Way) -> None:
    """A chunk with an error beside its choices (OpenRouter) is an error in a later round too."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    last = event({"id": "c", "choices": [choice], "error": {"code": 502, "message": "died"}})
    script = Script([chunk("One "), chunk(None, "length")], [chunk("and"), last, DONE])

    seen = await play(way, script)

    assert ("One and", "length", None, "error") == (seen.text, seen.finish_reason, seen.error, seen.stopped_by)
    assert seen.report is not None
    assert {"type": "InternalServerError", "status": 502, "request_id": "req-2"} == seen.report["error"]


async def test_pings_of_a_later_round(way: Way) -> None:
    """What is neither a chunk nor an error is passed over."""
    pings = [b": ping\n\n", event({"type": "ping"}), event({"id": "c", "choices": None}), b"event: ping\n\n"]
    script = Script(
        [chunk("One "), chunk(None, "length")], [*pings, chunk("and two"), *pings, chunk(None, "stop"), DONE]
    )

    seen = await play(way, script)

    assert ("One and two", "stop", None) == (seen.text, seen.finish_reason, seen.error)


async def test_text_that_waits_is_not_lost(way: Way) -> None:
    """Text that was held back, for it may be half of a stop string, is given when a later round fails."""
    first = [
        chunk("A EN", index=0),
        chunk("B EN", index=1),
        chunk(None, "length", index=0),
        chunk(None, "length", index=1),
    ]
    script = Script([*first, DONE])

    seen = await play(way, script, n=2, stop=["END"])

    assert ["A EN", "B EN"] == [joined(seen.raw, 0), joined(seen.raw, 1)]
    assert ["length", "length"] == [
        choice.finish_reason for one in seen.raw for choice in one.choices if choice.finish_reason
    ]
    assert (None, "error") == (seen.error, seen.stopped_by)


# Leaving a broken stream alone.


@pytest.mark.parametrize("end", [[], [LOST]], ids=["ended", "lost"])
async def test_client_that_is_closed(colour: Way, end: list[Any]) -> None:
    """Closing the client ends a stream, in good order or not; that is no break, and the end is the SDK's own."""
    script = Script([chunk("One "), lambda: leave(), *end])  # noqa: PLW0108
    client = colour.client("http://x/v1", transport=script, max_retries=0)

    def leave() -> bytes:
        if colour.is_async:
            client._client._state = type(client._client._state).CLOSED
        else:
            client.close()
        return chunk("two")

    seen = await outcome(client, streamed=True, **ask("x"))

    assert ("One two", None, None) == (seen.text, seen.finish_reason, seen.report)
    assert bool(end) == (seen.error is not None)
    assert 1 == len(script.seen)


def test_close_while_waiting_to_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    """``close()`` from another thread ends the wait before a heal, and no round is begun."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 30)
    script = Script([chunk("One "), LOST], [chunk("two")])
    client = SYNC.client("http://x/v1", transport=script, max_retries=0)
    stream = client.chat.completions.create(**ask("x"), stream=True)
    threading.Timer(0.05, stream.close).start()
    started = time.monotonic()

    assert "One " == joined(list(stream))
    assert time.monotonic() - started < 5
    assert 1 == len(script.seen)


async def test_aclose_while_waiting_to_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    """``close()`` from another task ends the wait before a heal, and no round is begun."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 30)
    script = Script([chunk("One "), LOST], [chunk("two")])
    client = ASYNC.client("http://x/v1", transport=script, max_retries=0)
    stream = await client.chat.completions.create(**ask("x"), stream=True)
    asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(stream.close()))

    assert "One " == joined(await asyncio.wait_for(_listed(stream), 5))
    assert 1 == len(script.seen)


async def _listed(stream: Any) -> list[Any]:
    return [one async for one in stream]


async def test_cancellation_while_waiting_to_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancellation in the wait before a heal is no break: it goes through, and no round is begun."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 30)
    script = Script([chunk("One "), LOST], [chunk("two")])
    client = ASYNC.client("http://x/v1", transport=script, max_retries=0)
    stream = await client.chat.completions.create(**ask("x"), stream=True)
    reading = asyncio.ensure_future(_listed(stream))
    await asyncio.sleep(0.05)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert 1 == len(script.seen)
    assert script.streams[0].closed


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interruption_is_no_break(kind: type[BaseException]) -> None:
    """What is not the transport's error goes through, whole and streamed."""

    def interrupt() -> bytes:
        raise kind

    for streamed in (False, True):
        first = [chunk("One "), chunk(None, "length"), DONE] if streamed else [json.dumps(_whole("One ")).encode()]
        script = Script(first, [chunk("two"), interrupt])
        client = SYNC.client("http://x/v1", transport=script, max_retries=0)

        with pytest.raises(kind):
            _exhaust(client.chat.completions.create(**ask("x"), stream=streamed))
        assert 2 == len(script.seen)


def _whole(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]}


def _exhaust(stream: Any) -> None:
    for _ in stream:
        pass


# What Rounds decide.


def rounds_of(**settings: Any) -> Rounds:
    return Rounds(ask("x", stream=True), providers.named("deepinfra"), Continuation(**settings))


def say(rounds: Rounds, request: Any, text: str, finish_reason: str | None = None) -> None:
    rounds.feed(request, json.loads(chunk(text, finish_reason)[6:]))


def test_waits_before_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heals in a row wait twice as long each time, as the SDK's retries do; new text begins anew."""
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.5)
    made = rounds_of()
    waits = []
    for text in ("One ", "", "", "two ", "", "", ""):
        request = made.next_request()
        if text:
            say(made, request, text)
        waits.append(made.fail(request, Failure("ReadError", broke_off=True)).after)

    assert [0.5, 1, 2, 0.5, 1, 2, 0] == waits
    assert None is made.next_request()
    assert "error" == made.report["stopped_by"]


# Limits.


@streamed_or_not
@pytest.mark.parametrize("most", [1, 2, 3])
async def test_most_rounds(colour: Way, streamed: bool, most: int) -> None:
    """``max_rounds`` is how many requests a choice may take, the first one included."""
    with server() as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed, max_rounds=most)

    assert most == len(emulator.requests)
    assert emulator.uncapped(ask("Fault.", max_tokens=CAP * most)).startswith(seen.text)
    assert emulator.uncapped(ask("Fault.", max_tokens=CAP * most - most)) in seen.text
    assert ("length", "max_rounds") == (seen.finish_reason, seen.stopped_by)


@streamed_or_not
async def test_most_tokens_of_the_settings(colour: Way, streamed: bool) -> None:
    """The settings' ``max_tokens`` is the total where the caller names none, and nothing where they do."""
    with server() as emulator:
        client = colour.client(emulator.base_url, continuation=replace(DEEPINFRA, max_tokens=70))
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        own = await outcome(client, streamed=streamed, **ask("Fault.", max_tokens=100))
        await settled(client.close())

    assert emulator.uncapped(ask("Fault.", max_tokens=70)).startswith(seen.text)
    assert ("length", "max_tokens") == (seen.finish_reason, seen.stopped_by)
    assert len(own.text) > len(seen.text)


@streamed_or_not
async def test_empty_round(colour: Way, streamed: bool) -> None:
    """A round without text that does not end is the last one."""
    with server(Fault("empty", round=3, times=100)) as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed)

    assert emulator.uncapped(ask("Fault.")).startswith(seen.text)
    assert ("length", "empty") == (seen.finish_reason, seen.stopped_by)
    # Once more where a blank was held back, which the round had no room to write.
    assert len(emulator.requests) <= 4


@streamed_or_not
async def test_empty_round_that_ends(colour: Way, streamed: bool) -> None:
    """A round of nothing that ends by itself is a good end: the cap fell just before the end of the answer."""
    with server(tokens=3 * CAP) as emulator:
        seen = await ask_it(colour, emulator, streamed=streamed)

    assert emulator.uncapped(ask("Fault.")) == seen.text
    assert ("stop", "stop") == (seen.finish_reason, seen.stopped_by)


# Where a break falls on something else.


async def test_break_at_the_total(way: Way) -> None:
    """A break behind the last token that the caller allows is no error: the text is there, and ends in "length"."""
    script = Script([chunk("One "), chunk("two "), chunk("three"), LOST])

    seen = await play(way, script, max_tokens=3)

    assert ("One two three", "length", None) == (seen.text, seen.finish_reason, seen.error)
    assert ("max_tokens", 1) == (seen.stopped_by, len(script.seen))


@pytest.mark.parametrize("end", [[LOST], [], [chunk("One")[:30]]], ids=["lost", "ended", "half"])
async def test_break_within_the_echo(way: Way, end: list[Any]) -> None:
    """Where a server repeats what was sent back and breaks off in the middle of it, nothing of that is doubled."""
    first = [chunk("One two three four. "), chunk(None, "length"), DONE]
    last = [chunk("One two three "), chunk("four. Five."), chunk(None, "stop"), DONE]
    script = Script(first, [chunk("One two "), chunk("thr"), *end], last)

    seen = await play(way, script, settings=Continuation(provider="mistral"))

    assert ("One two three four. Five.", "stop", None) == (seen.text, seen.finish_reason, seen.error)
    assert ["One two three four."] * 2 == script.sent_back


@pytest.mark.parametrize("number", [1, 2])
async def test_break_of_a_compressed_stream(colour: Way, number: int) -> None:
    """A compressed stream that breaks off is healed as any other."""
    for kind in ("reset", "early_end"):
        with server(Fault(kind, round=number, after_tokens=16), habits=Habits(gzip=True)) as emulator:
            seen = await ask_it(colour, emulator, streamed=True)

        assert emulator.uncapped(ask("Fault.")) == seen.text
        assert ("stop", None) == (seen.finish_reason, seen.error)


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("after", range(0, 40, 4))
async def test_break_at_any_token(trims: bool, after: int) -> None:
    """Wherever a round breaks off, the seam is as good as at the cap."""
    faults = [Fault("early_end", round=number, after_tokens=after) for number in (1, 3)]
    with server(*faults, habits=Habits(trims=trims), chunk_tokens=1) as emulator:
        client = OUR_SYNC.client(emulator.base_url, max_retries=0, continuation=replace(DEEPINFRA, trims=trims))
        seen = await outcome(client, streamed=True, **ask("Any.", temperature=0))
        client.close()

    truth = emulator.uncapped(ask("Any.", temperature=0))
    assert (truth if after else "") == seen.text
    assert 0 == emulator.derailed


@streamed_or_not
async def test_strict_client_gets_a_partial_too(colour: Way, streamed: bool) -> None:
    """Where the client insists on valid answers, the partial completion is one."""
    with server(Fault("500", round=2)) as emulator:
        client = colour.client(
            emulator.base_url,
            continuation=replace(DEEPINFRA, on_error="raise"),
            max_retries=0,
            _strict_response_validation=True,
        )
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert isinstance(seen.error, openai.InternalServerError)
    assert first_round(emulator) == seen.error.partial_completion.choices[0].message.content


async def test_break_of_a_round_that_began_anew(way: Way) -> None:
    """What came of a round is no text while it may be the answer's beginning again; the next round tells."""
    start = "A beginning of the answer that is long enough to be known when it comes again."
    first = [chunk(start), chunk(" Two"), chunk(None, "length"), DONE]
    for last, expected in ((" three.", " Two three."), (start, " Two")):
        script = Script(first, [chunk(start[:20]), LOST], [chunk(last), chunk(None, "stop"), DONE])

        seen = await play(way, script)

        assert (start + expected, None) == (seen.text, seen.error)
        assert ("stop" if last == " three." else "length") == seen.finish_reason


async def test_empty_round_after_a_heal(way: Way) -> None:
    """A heal is no excuse for a round without text that does not end."""
    empty = [chunk(""), chunk(None, "length"), DONE]
    script = Script([chunk("One"), LOST], *[empty] * 16)

    seen = await play(way, script)

    assert ("One", "length", "empty") == (seen.text, seen.finish_reason, seen.stopped_by)
    assert 2 == len(script.seen)


async def test_error_event_for_who_reads_bytes(way: Way) -> None:
    """An error event in a first round ends it for who reads lines, too: what came is given as it came."""
    said = [chunk("One "), chunk(None, "length", index=1), event({"error": {"message": "died"}}), DONE]
    script = Script(said)
    client = way.client("http://x/v1", transport=script, max_retries=0)

    async with entered(client.chat.completions.with_streaming_response.create(**ask("x", n=2), stream=True)) as made:
        lines = await listed(made.iter_lines())

    assert b"".join(said).decode().replace("\n\n", "") == "".join(lines)
    assert 1 == len(script.seen)
