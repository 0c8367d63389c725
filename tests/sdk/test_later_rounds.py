"""A later round that fails costs nothing of the answer: the caller gets everything that arrived."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from dataclasses import replace
from typing import Any

import anyio
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import openai_continue
from openai_continue.testing import Fault
from tests.support.answers import joined, outcome
from tests.support.asking import BREAKS, CAP, ERRORS, ROUNDS, ask_it, play, play_plain, server, truth
from tests.support.bodies import KNOWN, ask
from tests.support.script import DONE, LOST, Pieces, Script, chunk, cut_round, event, reply, usage
from tests.support.ways import DEEPINFRA, Way, http, listed, settled, sync_and_async, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")


@two_ways
@pytest.mark.parametrize("kind", [*ERRORS, *BREAKS])
async def test_error_in_a_later_round(way: Way, streamed: bool, kind: Any) -> None:
    """The caller gets the partial answer and a report of the error; ``on_error="raise"`` raises it with the partial."""
    with server(Fault(kind, round=2)) as emulator:
        kept = await ask_it(way, emulator, streamed=streamed, heal_streams=False)
        emulator.clear()
        raised = await ask_it(way, emulator, streamed=streamed, heal_streams=False, on_error="raise")

    assert len(emulator.requests) == 2
    assert kept.text.startswith(truth(emulator, CAP))
    assert truth(emulator).startswith(kept.text)
    assert (kept.error, kept.finish_reason, kept.stopped_by) == (None, "length", "error")
    assert [round_["finish_reason"] for round_ in kept.rounds] == ["length", None]
    assert isinstance(raised.error, openai.APIError)
    partial = raised.error.partial_completion
    assert (ChatCompletion, kept.text) == (type(partial), partial.choices[0].message.content)
    assert (partial.choices[0].finish_reason, partial.choices[0].message.role) == ("length", "assistant")
    assert (partial.model, partial.id.startswith("chatcmpl-")) == (KNOWN, True)
    assert (raised.text, raised.finish_reason) == ((kept.text, None) if streamed else ("", None))
    # The report names the error that would have been raised, and none of its text.
    assert kept.report is not None
    for report in (kept.report, partial.continuation):
        assert report["stopped_by"] == "error"
        assert (type(raised.error).__name__, ERRORS.get(kind)) == (report["error"]["type"], report["error"]["status"])
        assert set(report["error"]) == {"type", "status", "request_id"}
    assert getattr(raised.error, "status_code", None) in (ERRORS.get(kind), 200)
    assert kept.report["error"]["request_id"] or kind in BREAKS


@two_ways
async def test_errors_that_the_sdk_retries(way: Way, streamed: bool) -> None:
    """Each round has the SDK's own retries: errors that these mend change nothing."""
    with server(*[Fault("503", round=number) for number in (1, 3, 5, 7)]) as emulator:
        seen = await ask_it(way, emulator, streamed=streamed, max_retries=1)

    assert (truth(emulator), "stop", "stop") == seen.ending
    assert len(emulator.requests) == 2 * ROUNDS


async def test_answer_that_is_none(way: Way) -> None:
    """The error of a whole later round that is no completion shows what came, beside the partial answer."""
    script = Script(cut_round("One "), [b"<html>", b"busy</html>"])
    settings = replace(DEEPINFRA, on_error="raise")
    client = way.client("http://x/v1", transport=script, continuation=settings, max_retries=0)

    with pytest.raises(openai.APIResponseValidationError) as caught:
        await settled(client.chat.completions.create(**ask()))

    partial: Any = getattr(caught.value, "partial_completion")  # noqa: B009 - the SDK's class does not have it
    response = caught.value.response
    assert (response.text, response.request.url.path) == ("<html>busy</html>", "/v1/chat/completions")
    assert response.elapsed.total_seconds() > 0
    assert partial.choices[0].message.content == "One "


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

    assert (truth(emulator, CAP), "length", "error") == seen.ending
    assert seen.report is not None
    # Some versions of the SDK call any error of the transport by a name of their own.
    names = {type(error).__name__} | ({"APIConnectionError"} if place == "transport" else set())
    assert seen.report["error"]["type"] in names
    assert len(emulator.requests) == 1


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
        script = Closing(reply("One ", finish="length"), reply("two.", finish="stop"))
        client = way.client("http://x/v1", transport=script, max_retries=0)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

        whole = asked_again and times == 1
        assert (("One two.", "stop", "stop") if whole else ("One ", "length", "error")) == seen.ending


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

    assert (seen.error, *seen.ending) == (None, "One and", "length", "error")
    assert seen.report is not None
    assert seen.report["error"] == {"type": "InternalServerError", "status": 502, "request_id": "req-2"}


async def test_error_after_the_end(way: Way) -> None:
    """An error frame after the end of an answer changes nothing."""
    frame = event({"error_type": "x", "error_message": "late"})
    script = Script([chunk("One "), chunk(None, "length"), frame], [chunk("and two"), chunk(None, "stop"), frame])

    seen = await play(way, script)

    assert (seen.error, *seen.ending) == (None, "One and two", "stop", "stop")


async def test_pings(way: Way) -> None:
    """What is neither a chunk nor an error is passed over."""
    pings = [b": ping\n\n", event({"type": "ping"}), event({"id": "c", "choices": None}), b"event: ping\n\n"]
    later = [*pings, chunk("and two"), *pings, chunk(None, "stop"), DONE]

    seen = await play(way, Script([chunk("One "), chunk(None, "length")], later))

    assert (seen.error, *seen.ending) == (None, "One and two", "stop", "stop")


async def test_text_that_waits_is_not_lost(way: Way) -> None:
    """Text held back, since it may be half of a stop string, is given when a later round fails."""
    texts = [chunk(f"{name} EN", index=index) for index, name in enumerate("AB")]
    ends = [chunk(None, "length", index=index) for index in range(2)]

    seen = await play(way, Script([*texts, *ends, DONE]), n=2, stop=["END"])

    assert [joined(seen.raw, index) for index in range(2)] == ["A EN", "B EN"]
    choices = [choice for one in seen.raw for choice in one.choices]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length", "length"]
    assert (seen.error, seen.stopped_by) == (None, "error")


# Ends, keep-alives and errors that servers send in later rounds, and what callers and transports do.

ONE = [chunk("One "), chunk(None, "length")]
#: The pieces of the later round of a stream, and what the caller gets; None: no report of an error.
ENDS: dict[str, tuple[list[Any], str, str, str | None]] = {
    "no finish_reason": ([chunk("two"), DONE], "One two", "stop", None),
    "no finish_reason, several chunks": ([chunk("two"), chunk(" three"), chunk(""), DONE], "One two three", "stop", None),
    "no finish_reason and no text": ([chunk(""), DONE], "One ", "length", None),
    "no finish_reason, usage": (
        [chunk("two"), event({"id": "c", "choices": [], "usage": {"completion_tokens": 1}}), DONE], "One two", "stop", None,
    ),
    "no finish_reason, a tool call": (
        [chunk(None, tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]), DONE],
        "One ", "tool_calls", None,
    ),
    "no finish_reason, a tool call that is cut": (
        [chunk(None, tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]), DONE],
        "One ", "length", None,
    ),
    "nothing but the end mark": ([DONE], "One ", "length", "APIConnectionError"),
    **{
        f"finish_reason error, code {code}, {text!r}, {place}": (
            [chunk("two"), event({"id": "c", "choices": [
                {"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": "error",
                 **({"error": {"code": code, "message": "died"}} if place == "choice" else {})}],
                **({"error": {"code": code, "message": "died"}} if place == "top" else {})}), DONE],
            f"One two{text or ''}", "length", name,
        )
        for code, name in ((402, "APIStatusError"), (403, "PermissionDeniedError"), (502, "InternalServerError"))
        for text in (None, "", " three")
        for place in ("choice", "top")
    },
    "finish_reason error and nothing else": (
        [chunk("two"), chunk(" three", "error"), DONE], "One two three", "length", "BadRequestError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
async def test_end_of_a_later_round(way: Way, name: str) -> None:
    """The end mark is an end, and an error on a choice is a failed round whose text stays."""
    pieces, text, finish, error = ENDS[name]
    seen = await play(way, Script([*ONE, DONE], pieces), settings=replace(DEEPINFRA, heal_streams=False))

    assert (None, text, finish, error and "error") == (seen.error, *seen.ending[:2], seen.stopped_by if error else None)
    assert error == ((seen.report or {})["error"] or {}).get("type")
    for one in seen.raw:
        assert "error" not in (one.model_extra or {})
        assert all("error" not in (choice.model_extra or {}) for choice in one.choices)


@sync_and_async
@pytest.mark.parametrize("code", [402, 403, 502, None, "502"])
@pytest.mark.parametrize("text", ["two", "", None])
async def test_error_on_a_choice_of_a_whole_round(way: Way, code: Any, text: str | None) -> None:
    """OpenRouter answers 200 with ``finish_reason`` "error": its text stays, the error is in the report."""
    fault = {"error": {"code": code, "message": "died"}} if code is not None else {}
    last = reply(text or "", finish="error", native_finish_reason="error", **fault)
    seen = await play(way, Script(cut_round("One "), last), streamed=False)

    assert (None, f"One {text or ''}", "length", "error") == (seen.error, *seen.ending)
    assert (seen.report or {})["error"]["status"] == (code if isinstance(code, int) else None)
    assert not {"error", "native_finish_reason"} & set(seen.raw.choices[0].model_extra or {})


NOTHINGS = [b"data: null\n\n", b"data:\n\n", b"data: \n\n", b"data:null\r\n\r\n", b": ping\n\n", b"data: {}\n\n",
            b":\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b"event: ping\n\n", b"retry: 5\n\n"]  # fmt: skip


@sync_and_async
@pytest.mark.parametrize("nothing", NOTHINGS)
async def test_keep_alives(way: Way, nothing: bytes) -> None:
    """A keep-alive changes nothing of a later round, nor between the end of a round and its end mark."""
    first = [chunk("One"), chunk(" and"), chunk(None, "length"), nothing, nothing, DONE, nothing]
    later = [nothing, chunk(" two"), nothing, chunk(" three"), nothing, chunk(None, "stop"), nothing, DONE, nothing]
    # How the SDK takes what comes in the first round is its own affair; so it is read as bytes.
    client = way.client("http://x/v1", transport=Script(first, later), max_retries=0)
    raw = await settled(client.chat.completions.with_raw_response.create(**ask(), stream=True))
    got = b"".join(await listed(raw.http_response.aiter_bytes() if way.is_async else raw.http_response.iter_bytes()))
    await settled(client.close())

    chunks = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b'data: {"id"')]
    text = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
    assert (text, chunks[-1]["choices"][0]["finish_reason"]) == ("One and two three", "stop")
    assert chunks[-1]["continuation"]["stopped_by"] == "stop"
    assert got.endswith(DONE)


@sync_and_async
@pytest.mark.parametrize("nothing", NOTHINGS)
@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls"])
async def test_keep_alives_of_an_answer_that_is_not_continued(way: Way, nothing: bytes, finish: str) -> None:
    """Such an answer comes byte for byte, with what stands between its chunks."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    delta = {"tool_calls": [call]} if finish == "tool_calls" else {}
    empty = event({"id": "c", "choices": []})
    pieces = [nothing, chunk("One", **delta), nothing, chunk(None, finish), nothing, empty, nothing, DONE]
    client = way.client("http://x/v1", transport=Script(pieces), max_retries=0)
    body = {**ask(), "max_tokens": 5, "tools": [{"type": "function", "function": {"name": "f"}}]}
    raw = await settled(client.chat.completions.with_raw_response.create(**body, stream=True))
    got = b"".join(await listed(raw.http_response.aiter_bytes() if way.is_async else raw.http_response.iter_bytes()))
    await settled(client.close())

    assert b"".join(pieces) == got


class ClientPayloadError(Exception):
    """As aiohttp raises it."""


#: What transports raise in the middle of a body.
OF_TRANSPORTS: list[Exception] = [
    ClientPayloadError("Response payload is not completed"), RuntimeError("Connection closed."), OSError(104, "reset"),
    ConnectionResetError(), BrokenPipeError(), TimeoutError(), asyncio.TimeoutError(), EOFError(), ValueError("read of closed file"),
    asyncio.IncompleteReadError(b"", 5), ssl.SSLError("bad record"), ssl.SSLEOFError(), AttributeError("None has no recv"),
    KeyError("x"), AssertionError(), MemoryError(), NotImplementedError(), socket.gaierror(), zlib.error("invalid"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "no"), http.ReadError("lost"), http.ReadTimeout("late"), http.DecodingError("bad"),
    http.RemoteProtocolError("incomplete"), http.StreamClosed(), openai.OpenAIError("x"), anyio.ClosedResourceError(),
    anyio.BrokenResourceError(), anyio.EndOfStream(), Exception("any"),
]  # fmt: skip


@sync_and_async
@pytest.mark.parametrize("error", OF_TRANSPORTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("heals", [True, False])
async def test_error_of_a_transport(way: Way, error: Exception, heals: bool) -> None:
    """Whatever a transport raises in a later round is a break: it is healed, or the answer ends there."""
    script = Script([*ONE, DONE], [chunk("two"), error], [chunk(" three"), chunk(None, "stop"), DONE])
    seen = await play(way, script, settings=replace(DEEPINFRA, heal_streams=heals))

    expected = ("One two three", "stop", "stop") if heals else ("One two", "length", "error")
    assert (None, *expected) == (seen.error, *seen.ending)


@sync_and_async
@pytest.mark.parametrize("error", OF_TRANSPORTS, ids=lambda error: type(error).__name__)
async def test_error_of_a_transport_after_the_end(way: Way, error: Exception) -> None:
    """An error after the end of a round, of the first one too, costs nothing, nor does one at its closing."""

    class Closing(Pieces):
        def close(self) -> None:
            raise error

        async def aclose(self) -> None:
            raise error

    class Failing(Script):
        def handle_request(self, request: Any) -> Any:
            made = super().handle_request(request)
            made.stream = Closing(made.stream._pieces)
            return made

    script = Failing(
        [*ONE, DONE, error], [chunk("two"), chunk(None, "length"), DONE, error], [chunk(" x", "stop"), DONE]
    )
    seen = await play(way, script)

    assert (seen.error, *seen.ending) == (None, "One two x", "stop", "stop")


@sync_and_async
@pytest.mark.parametrize("error", OF_TRANSPORTS, ids=lambda error: type(error).__name__)
async def test_error_of_a_transport_in_the_first_round(way: Way, error: Exception) -> None:
    """If nothing is healed, the first round fails as it does without us."""
    settings = replace(DEEPINFRA, heal_streams=False)
    ours = await play(way, Script([chunk("One "), error]), settings=settings)
    openai_continue.unpatch()
    plain = await play_plain(way, Script([chunk("One "), error]))

    assert (plain.text, plain.kind) == (ours.text, ours.kind)


# What callers ask.

NAMES_OF_KEYS = ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY", "X-Idempotency-Key", "iDemPotency-kEY"]
NAMES_OF_REQUESTS = [
    "X-Request-Id",
    "x-request-id",
    "X_Request_ID",
    "Request-Id",
    "X-Client-Request-Id",
    "x-ms-client-request-id",
    "x-dynamo-request-id",
    "Helicone-Request-Id",
    "x-litellm-call-id",
]
#: What spans the requests of a call, or several calls, goes with all of them.
OF_THE_CALL = {"X-Other": "1", "traceparent": "00-1-2-01", "X-Correlation-Id": "c", "x-session-id": "s"}


class _Noting(Script):
    """A server that keeps the headers and the queries of its requests."""

    def __init__(self, *rounds: Any) -> None:
        super().__init__(*rounds)
        self.heads: list[set[str]] = []
        self.queries: list[dict[str, str]] = []

    def handle_request(self, request: Any) -> Any:
        self.heads.append({name.lower() for name in request.headers})
        self.queries.append(dict(request.url.params))
        return super().handle_request(request)


@two_ways
@pytest.mark.parametrize("name", [*NAMES_OF_KEYS, *NAMES_OF_REQUESTS])
@pytest.mark.parametrize("place", ["call", "client", "copy"])
async def test_header_of_one_request(way: Way, streamed: bool, name: str, place: str) -> None:
    """The caller's name for a request goes with the first one only, wherever it was set; other headers go with all."""
    headers = {name: "key-1", **OF_THE_CALL}
    script = _Noting(cut_round("One "), cut_round("two "), reply("three", finish="stop"))
    options = {"default_headers": headers} if place == "client" else {}
    client = way.client("http://x/v1", transport=script, max_retries=0, **options)
    asked = client.with_options(default_headers=headers) if place == "copy" else client
    body = {**ask(), **({"extra_headers": headers} if place == "call" else {})}
    seen = await outcome(asked, streamed=streamed, **body)
    await settled(client.close())

    assert (seen.error, *seen.ending[:2]) == (None, "One two three", "stop")
    assert [name.lower() in head for head in script.heads] == [True, False, False]
    assert all({kept.lower() for kept in OF_THE_CALL} <= head for head in script.heads)


FIELDS_OF_REQUESTS = ["request_id", "requestId", "rid", "client_request_id", "idempotency_key", "litellm_call_id"]


@two_ways
@pytest.mark.parametrize("name", FIELDS_OF_REQUESTS)
async def test_field_of_one_request(way: Way, streamed: bool, name: str) -> None:
    """A field of the body that names one request goes with the first one only; others, and nested ones, go with all."""
    script = _Noting(cut_round("One "), cut_round("two "), reply("three", finish="stop"))
    client = way.client("http://x/v1", transport=script, max_retries=0)
    kept = {"user": "u", "prompt_cache_key": "k", "metadata": {name: "nested"}}
    seen = await outcome(client, streamed=streamed, **ask(extra_body={name: "job-7", **kept}))
    await settled(client.close())

    assert (seen.error, *seen.ending[:2]) == (None, "One two three", "stop")
    assert [body.get(name) for body in script.bodies] == ["job-7", None, None]
    assert all(kept.items() <= body.items() for body in script.bodies)


@two_ways
@pytest.mark.parametrize("name", ["request_id", "X-Request-Id", "idempotency-key"])
@pytest.mark.parametrize("place", ["call", "client"])
async def test_query_of_one_request(way: Way, streamed: bool, name: str, place: str) -> None:
    """A parameter of the query that names one request goes with the first one only; others go with all."""
    query = {name: "job-7", "api-version": "1"}
    script = _Noting(cut_round("One "), cut_round("two "), reply("three", finish="stop"))
    options = {"default_query": query} if place == "client" else {}
    client = way.client("http://x/v1", transport=script, max_retries=0, **options)
    seen = await outcome(client, streamed=streamed, **ask(**({"extra_query": query} if place == "call" else {})))
    await settled(client.close())

    assert (seen.error, *seen.ending[:2]) == (None, "One two three", "stop")
    assert [query, {"api-version": "1"}, {"api-version": "1"}] == script.queries


@sync_and_async
@pytest.mark.parametrize("place", ["extra_body", "extra_headers"])
async def test_name_that_is_still_running(way: Way, place: str) -> None:
    """vLLM refuses the name of a request that still runs, as after a break: the stream is healed without it."""
    script = _Noting([chunk("One "), LOST], reply("two", finish="stop"))
    client = way.client("http://x/v1", transport=script, max_retries=0)
    name = "request_id" if place == "extra_body" else "X-Request-Id"
    seen = await outcome(client, streamed=True, **ask(**{place: {name: "job-7"}}))
    await settled(client.close())

    assert (seen.error, *seen.ending[:2]) == (None, "One two", "stop")
    requests = zip(script.bodies, script.heads, strict=True)
    assert [name in body or name.lower() in head for body, head in requests] == [True, False]


class _Mapping(dict[str, Any]):
    """A mapping that is no plain dict."""


@two_ways
@pytest.mark.parametrize("how", ["create", "post", "extra_body"])
@pytest.mark.parametrize("kind", [list, tuple])
async def test_request_that_is_changed_while_it_is_answered(way: Way, streamed: bool, how: str, kind: Any) -> None:
    """Later rounds are of the request as it was made, whatever becomes of the caller's objects."""
    part = _Mapping(type="text", text="Hello")
    messages: Any = [_Mapping(role="user", content=[part])]
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    given = {"messages": kind(messages), "tools": kind(tools)}

    def change() -> bytes:
        part["text"] = "Changed"
        messages[0]["content"].append({"type": "text", "text": "more"})
        tools[0]["function"]["parameters"]["properties"] = {}
        messages[0]["role"] = "system"
        return b"\n"

    # A whole answer is changed while it is on its way.
    first = [*ONE, change, DONE] if streamed else [change, json.dumps(_completion("One ", "length")).encode()]
    last = [chunk("two"), chunk(None, "stop"), DONE] if streamed else [json.dumps(_completion("two", "stop")).encode()]
    script = Script(first, last)
    client = way.client("http://x/v1", transport=script, max_retries=0)
    if how == "post":
        made = await settled(
            client.post(
                "/chat/completions",
                body={"model": KNOWN, "stream": streamed, **given},
                cast_to=ChatCompletion,
                stream=streamed,
                stream_cls=(openai.AsyncStream if way.is_async else openai.Stream)[ChatCompletionChunk],
            )
        )
    elif how == "create":
        made = await settled(client.chat.completions.create(model=KNOWN, stream=streamed, **given))
    else:
        made = await settled(
            client.chat.completions.create(model=KNOWN, messages=[], stream=streamed, extra_body=given)
        )
    text = joined(await listed(made)) if streamed else made.choices[0].message.content
    await settled(client.close())

    assert text == "One two"
    for body in script.bodies:
        assert body["messages"][0]["content"] == [{"type": "text", "text": "Hello"}]
        assert (
            body["messages"][0]["role"],
            body["tools"][0]["function"]["parameters"],
        ) == ("user", {"type": "object"})


def _completion(text: str, finish: str) -> dict[str, Any]:
    item = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [item]}


@two_ways
@pytest.mark.parametrize(("number", "sent"), [(50_000.0, 49_995), (50_000, 49_995)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_limit_that_is_a_float(way: Way, streamed: bool, number: Any, sent: int, name: str) -> None:
    """``max_tokens=50000.0`` is 50,000."""
    script = Script(cut_round("One ", usage=usage(10, 5)), reply("two", finish="stop"))
    seen = await play(way, script, streamed=streamed, **{name: number})

    assert (seen.error, *seen.ending) == (None, "One two", "stop", "stop")
    limits = [body.get("max_tokens", body.get("max_completion_tokens")) for body in script.bodies]
    assert [number, sent] == limits
    assert isinstance(limits[1], int)


@two_ways
async def test_fallback_models(way: Way, streamed: bool) -> None:
    """Later rounds go to the model that answered, and the report says which model each round had."""
    script = Script(cut_round("One "), reply("two", finish="stop"))
    seen = await play(way, script, streamed=streamed, extra_body={"models": ["other/a", "other/b"]})

    assert (seen.error, *seen.ending) == (None, "One two", "stop", "stop")
    assert [(body["model"], "models" in body) for body in script.bodies] == [(KNOWN, True), ("m", False)]
    assert [round_["model"] for round_ in seen.rounds] == ["m", "m"]


# Characters that come in halves.

FOX = "🦊".encode("utf-16-le", "surrogatepass")
HIGH, LOW = (FOX[place : place + 2].decode("utf-16-le", "surrogatepass") for place in (0, 2))


def halved(text: str, place: int, field: str) -> list[bytes]:
    """Return the chunks of a text in which each 🦊 is two characters, cut at a place."""
    spelled = text.replace("🦊", HIGH + LOW)
    parts = [part for part in (spelled[:place], spelled[place:]) if part]
    made = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {field: part}, "finish_reason": None}]} for part in parts]  # fmt: skip
    return [b"data: " + json.dumps(one).encode() + b"\n\n" for one in made]


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
@pytest.mark.parametrize("round_", [0, 1])
async def test_halves_of_a_character(way: Way, place: int, field: str, round_: int) -> None:
    """A character whose halves come in two deltas is whole in what is sent back, and for the caller."""
    text = "a🦊b🦊🦊"
    pieces = [halved(text, place if number == round_ else 0, field) for number in range(2)]
    settings = replace(DEEPINFRA, provider="deepseek")
    end_ = [chunk("x", "stop"), DONE]
    script = Script([*pieces[0], chunk(None, "length"), DONE], [*pieces[1], *end_])
    seen = await play(way, script, settings=settings)

    assert seen.error is None
    parts = [choice.delta.model_dump().get(field) or "" for one in seen.raw for choice in one.choices]
    whole_text = "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    assert (text + text + ("x" if field == "content" else ""), "stop", "stop") == (whole_text, *seen.ending[1:])
    assert text == script.bodies[1]["messages"][-1][field]


@two_ways
@pytest.mark.parametrize("before", ["One", "One ", "🦊"])
async def test_half_a_character_at_the_seam(way: Way, streamed: bool, before: str) -> None:
    """Half a character at a cut is dropped, and the model writes the character again."""
    script = Script(cut_round(f"{before}{HIGH}"), reply("🦊 two", finish="stop"))
    seen = await play(way, script, streamed=streamed)

    assert (None, f"{before}🦊 two", "stop", "stop") == (seen.error, *seen.ending)
    assert [before.rstrip()] == script.sent_back


KEYS = {
    "of the client": ({}, ["Bearer key-1", "Bearer key-2", "Bearer key-3"]),
    "of the call": ({"extra_headers": {"Authorization": "Bearer own"}}, ["Bearer own"] * 3),
}


@sync_and_async
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", KEYS)
async def test_key_from_a_function(way: Way, streamed: bool, name: str) -> None:
    """Each round has a key of its own, as each call has; a key that the caller names for one call holds for all of it."""
    more, keys = KEYS[name]
    seen: list[str] = []
    asked: list[int] = []

    class Server(Script):
        def handle_request(self, request: Any) -> Any:
            seen.append(request.headers["authorization"])
            return super().handle_request(request)

    def key() -> str:
        asked.append(1)
        return f"key-{len(asked)}"

    async def later() -> str:
        return key()

    script = Server(cut_round("One "), cut_round("two "), reply("three", finish="stop"))
    http_client = (http.AsyncClient if way.is_async else http.Client)(transport=script)
    kind: Any = openai.AsyncAzureOpenAI if way.is_async else openai.AzureOpenAI
    given = {"azure_endpoint": "http://x", "api_version": "2024-10-21", "http_client": http_client}
    client = kind(azure_ad_token_provider=later if way.is_async else key, **given)
    openai_continue.patch(DEEPINFRA)
    answer = await outcome(client, streamed=streamed, **ask(**more))
    await settled(client.close())

    assert answer.ending == ("One two three", "stop", "stop")
    assert keys == seen
