"""Every door of the SDK gives the text that a server without cap would have given."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import openai
import pytest
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

import openai_continue
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.tokens import count
from tests.conftest import DEEPINFRA, Way, ask, entered, http, joined, listed, settled

#: Of an answer of 180 tokens, 48 a round.
ROUNDS = 4


def text_of(completion: Any) -> str:
    text: str = completion.choices[0].message.content
    return text


def chunks_in(lines: list[str]) -> list[ChatCompletionChunk]:
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    assert data.pop() == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(one) for one in data]


# The methods of chat.completions.


async def test_create(client: Any, emulator: Emulator) -> None:
    """A completion is whole, and is the SDK's own type with the id of the first round and the end of the last."""
    body = ask("A letter.")

    completion = await settled(client.chat.completions.create(**body))

    assert emulator.uncapped(body) == text_of(completion)
    assert ROUNDS == len(emulator.requests)
    assert type(completion) is ChatCompletion
    assert "stop" == completion.choices[0].finish_reason
    report = completion.continuation
    assert ("stop", None) == (report["stopped_by"], report["error"])
    assert ["length"] * (ROUNDS - 1) + ["stop"] == [round_["finish_reason"] for round_ in report["rounds"]]
    assert completion.id == report["rounds"][0]["id"]
    assert completion._request_id == report["rounds"][0]["request_id"]
    assert ROUNDS == len({round_["id"] for round_ in report["rounds"]})
    assert ROUNDS == len({round_["request_id"] for round_ in report["rounds"]})


async def test_create_when_streamed(client: Any, emulator: Emulator) -> None:
    """A stream flows on over the seams: one id, one role, one end, and the report on the last chunk."""
    body = ask("A letter.")

    stream = await settled(client.chat.completions.create(**body, stream=True))
    chunks = await listed(stream)

    assert emulator.uncapped(body) == joined(chunks)
    assert ROUNDS == len(emulator.requests)
    assert isinstance(stream, (openai.Stream, openai.AsyncStream))
    assert 1 == len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks})
    deltas = [choice for chunk in chunks for choice in chunk.choices]
    assert ["assistant"] == [choice.delta.role for choice in deltas if choice.delta.role]
    assert ["stop"] == [choice.finish_reason for choice in deltas if choice.finish_reason]
    assert 1 == sum(chunk.usage is not None for chunk in chunks)
    assert [chunks[-1]] == [chunk for chunk in chunks if hasattr(chunk, "continuation")]
    assert ROUNDS == len(chunks[-1].continuation["rounds"])


async def test_create_when_messages_come_but_once(client: Any, emulator: Emulator) -> None:
    """Messages may be a generator, though every round needs them."""
    body = ask("A generator.")

    completion = await settled(client.chat.completions.create(model="m", messages=(one for one in body["messages"])))
    stream = client.chat.completions.create(model="m", messages=iter(body["messages"]), stream=True)
    chunks = await listed(await settled(stream))

    assert emulator.uncapped(body) == text_of(completion) == joined(chunks)


async def test_create_when_extra_body_wins(client: Any, emulator: Emulator) -> None:
    """What ``extra_body`` says of messages, limit and streaming is what holds, in each round."""
    body = ask("In extra_body.", max_tokens=100)
    wrong = {"model": "m", "messages": [{"role": "user", "content": "Wrong."}], "max_tokens": 3}

    completion = await settled(client.chat.completions.create(**wrong, extra_body=body))
    sent = [request.body["max_tokens"] for request in emulator.requests]
    stream = client.chat.completions.create(**wrong, stream=True, extra_body={**body, "stream": True})
    chunks = await listed(await settled(stream))

    whole = emulator.uncapped(ask("In extra_body."))
    assert whole.startswith(text_of(completion))
    assert text_of(completion) == joined(chunks)
    assert 90 < count(text_of(completion)) <= 100
    assert [100, 52, 4] == sent
    assert {"In extra_body."} == {request.body["messages"][0]["content"] for request in emulator.requests}


async def test_parse(client: Any, emulator: Emulator) -> None:
    """``parse()``, which raises LengthFinishReasonError for a truncated answer, gets a whole one."""
    body = ask("Parse.")

    completion = await settled(client.chat.completions.parse(**body))

    assert emulator.uncapped(body) == text_of(completion)
    assert ROUNDS == len(completion.continuation["rounds"])


async def test_parse_when_the_limit_is_the_callers(client: Any, emulator: Emulator) -> None:
    """At the caller's own limit ``parse()`` raises as ever, with all the text that the limit allows."""
    body = ask("Parse, shortly.", max_tokens=100)

    with pytest.raises(openai.LengthFinishReasonError) as caught:
        await settled(client.chat.completions.parse(**body))

    assert 3 == len(emulator.requests)
    assert emulator.uncapped(ask("Parse, shortly.")).startswith(text_of(caught.value.completion))
    assert 3 == len(caught.value.completion.continuation["rounds"])


async def test_parse_when_raw(client: Any, emulator: Emulator) -> None:
    """The raw response's ``parse()`` applies the helper's parser to the whole answer."""
    body = ask("Parse raw.")

    raw = await settled(client.chat.completions.with_raw_response.parse(**body))
    completion = raw.parse()

    assert emulator.uncapped(body) == text_of(completion)
    assert type(completion).__name__.startswith("ParsedChatCompletion")


async def test_stream_helper(client: Any, emulator: Emulator) -> None:
    """The ``stream()`` helper sees one stream: its events, its snapshot and its final completion are whole."""
    body = ask("Stream.")
    text = emulator.uncapped(body)

    async with entered(client.chat.completions.stream(**body)) as stream:
        events = await listed(stream)
        final = await settled(stream.get_final_completion())

    deltas = [event for event in events if event.type == "content.delta"]
    assert text == "".join(event.delta for event in deltas)
    assert [text] == [event.content for event in events if event.type == "content.done"]
    assert text == deltas[-1].snapshot == text_of(final)
    assert ("stop", "assistant") == (final.choices[0].finish_reason, final.choices[0].message.role)
    assert sum(request.completion_tokens for request in emulator.requests) == final.usage.completion_tokens
    assert ROUNDS == len([event for event in events if event.type == "chunk"][-1].chunk.continuation["rounds"])


async def test_beta(client: Any, emulator: Emulator) -> None:
    """``beta.chat.completions`` is continued as well."""
    body = ask("Beta.")
    text = emulator.uncapped(body)

    completion = await settled(client.beta.chat.completions.parse(**body))
    async with entered(client.beta.chat.completions.stream(**body)) as stream:
        final = await settled(stream.get_final_completion())

    assert text == text_of(completion) == text_of(final)


# Raw and streaming responses.


@pytest.mark.parametrize("door", ["method", "client"])
async def test_raw_response(client: Any, emulator: Emulator, door: str) -> None:
    """A raw response shows the whole answer on every side, and the headers of the first round."""
    body = ask("Raw.")
    completions = client.chat.completions
    create = (
        completions.with_raw_response.create if door == "method" else client.with_raw_response.chat.completions.create
    )

    raw = await settled(create(**body))

    text = emulator.uncapped(body)
    completion = raw.parse()
    assert text == text_of(completion)
    for shown in (json.loads(raw.text), json.loads(raw.content), raw.http_response.json()):
        assert text == shown["choices"][0]["message"]["content"]
        assert ROUNDS == len(shown["continuation"]["rounds"])
    assert text == raw.parse(to=object)["choices"][0]["message"]["content"]
    assert completion is raw.parse()
    assert completion.continuation["rounds"][0]["request_id"] == raw.headers["x-request-id"] == raw.request_id
    assert str(len(raw.content)) == raw.headers["content-length"]
    assert "application/json" == raw.headers["content-type"]
    assert (200, 0, True) == (raw.status_code, raw.retries_taken, raw.is_closed)
    assert emulator.requests[0].body == json.loads(raw.http_request.content)


async def test_raw_response_when_streamed(client: Any, emulator: Emulator) -> None:
    """A raw response of a stream parses to the SDK's stream, whole."""
    body = ask("Raw stream.")

    raw = await settled(client.chat.completions.with_raw_response.create(**body, stream=True))
    stream = raw.parse()
    chunks = await listed(stream)

    assert emulator.uncapped(body) == joined(chunks)
    assert isinstance(stream, (openai.Stream, openai.AsyncStream))
    assert chunks[-1].continuation["rounds"][0]["request_id"] == raw.headers["x-request-id"]


async def test_streaming_response(client: Any, emulator: Emulator) -> None:
    """A streaming response is whole, whichever way its body is read."""
    body = ask("Streaming response.")
    text = emulator.uncapped(body)
    create = client.chat.completions.with_streaming_response.create
    shown: list[dict[str, Any]] = []

    async with entered(create(**body)) as response:
        completion = await settled(response.parse())
        assert 200 == response.status_code
    async with entered(create(**body)) as response:
        shown.append(await settled(response.json()))
    async with entered(create(**body)) as response:
        shown.append(json.loads(await settled(response.text())))
    async with entered(create(**body)) as response:
        shown.append(json.loads("".join(await listed(response.iter_lines()))))
    async with entered(create(**body)) as response:
        pieces = await listed(response.iter_bytes(1000))
        shown.append(json.loads(b"".join(pieces)))
        assert str(len(b"".join(pieces))) == response.headers["content-length"]

    assert text == text_of(completion)
    assert [text] * 4 == [one["choices"][0]["message"]["content"] for one in shown]
    assert len(pieces) > 1
    assert 5 * ROUNDS == len(emulator.requests)


async def test_streaming_response_when_streamed(client: Any, emulator: Emulator) -> None:
    """The lines, bytes and chunks of a streamed streaming response are those of one whole stream."""
    body = ask("Streaming response, streamed.")
    text = emulator.uncapped(body)
    create = client.chat.completions.with_streaming_response.create

    async with entered(create(**body, stream=True)) as response:
        parsed = await listed(await settled(response.parse()))
    async with entered(create(**body, stream=True)) as response:
        lines = await listed(response.iter_lines())
    async with entered(create(**body, stream=True)) as response:
        content = b"".join(await listed(response.iter_bytes()))
    async with entered(create(**body, stream=True)) as response:
        text_shown = await settled(response.text())

    assert text == joined(parsed)
    assert text == joined(chunks_in(lines))
    assert text == joined(chunks_in(content.decode().split("\n")))
    assert text == joined(chunks_in(text_shown.split("\n")))


@pytest.mark.parametrize("streamed", [False, True])
async def test_streaming_response_when_a_hook_has_read_it(way: Way, emulator: Emulator, streamed: bool) -> None:
    """An event hook that reads every body, as loggers do, takes nothing away."""
    body = ask("Hooked.", stream=streamed)
    client = way.client(emulator.base_url)

    async def aread(response: Any) -> None:
        await response.aread()

    client._client.event_hooks = {"response": [aread if way.is_async else lambda response: response.read()]}
    async with entered(client.chat.completions.with_streaming_response.create(**body)) as response:
        parsed = await settled(response.parse())
        text = joined(await listed(parsed)) if streamed else text_of(parsed)
    await settled(client.close())

    assert emulator.uncapped(body) == text


# Other clients.


def test_module_client(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own client is continued."""
    body = ask("Module.")
    monkeypatch.setattr(openai, "api_key", "key")
    monkeypatch.setattr(openai, "base_url", f"{emulator.base_url}/")
    openai_continue.patch(DEEPINFRA)
    openai._reset_client()  # type: ignore[attr-defined]
    try:
        completion = openai.chat.completions.create(**body)
        chunks = list(openai.chat.completions.create(**body, stream=True))
    finally:
        client = openai._client
        openai._reset_client()  # type: ignore[attr-defined]
        if client is not None:
            client.close()

    assert emulator.uncapped(body) == text_of(completion) == joined(chunks)


@pytest.mark.parametrize("deployment", ["of the model", "of the client"])
async def test_azure(colour: Way, emulator: Emulator, deployment: str) -> None:
    """Azure's clients continue, and every round goes to the deployment's url."""
    body = ask("Azure.")
    kind: Any = openai.AsyncAzureOpenAI if colour.is_async else openai.AzureOpenAI
    client = kind(
        azure_endpoint=emulator.base_url.removesuffix("/v1/openai"),
        azure_deployment=None if deployment == "of the model" else "deployed",
        api_key="key",
        api_version="2026-01-01",
        http_client=colour.http_client(),
    )
    openai_continue.patch(DEEPINFRA)

    completion = await settled(client.chat.completions.create(**body))
    chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))
    await settled(client.close())

    assert emulator.uncapped(body) == text_of(completion) == joined(chunks)
    name = "m" if deployment == "of the model" else "deployed"
    paths = [request.path for request in emulator.requests]
    assert [f"/openai/deployments/{name}/chat/completions"] * 2 * ROUNDS == paths
    assert {"key"} == {request.headers["api-key"] for request in emulator.requests}


@pytest.mark.parametrize("copy", ["copy", "with_options"])
async def test_copy(client: Any, emulator: Emulator, copy: str) -> None:
    """A client's copies continue, and the SDK's own options still reach them."""
    body = ask("Copy.")

    other = getattr(client, copy)(timeout=7, max_retries=1, default_headers={"x-mine": "yes"})
    completion = await settled(other.chat.completions.create(**body))
    again = await settled(other.with_options(timeout=8).chat.completions.create(**body))

    assert emulator.uncapped(body) == text_of(completion) == text_of(again)
    assert type(other) is type(client)
    assert (7, 1) == (other.timeout, other.max_retries)
    assert {"yes"} == {request.headers["x-mine"] for request in emulator.requests}


async def test_bound_before_the_patch(colour: Way, emulator: Emulator) -> None:
    """Methods that were bound, and raw responses that were touched, before the patch are continued after it."""
    body = ask("Bound.")
    client = colour.plain_client(emulator.base_url)
    create = client.chat.completions.create
    raw = client.chat.completions.with_raw_response
    raw_client = client.with_raw_response.chat.completions
    streaming = client.chat.completions.with_streaming_response

    before = await settled(create(**body))
    openai_continue.patch(DEEPINFRA)
    after = await settled(create(**body))
    raw_after = (await settled(raw.create(**body))).parse()
    raw_client_after = (await settled(raw_client.create(**body))).parse()
    async with entered(streaming.create(**body)) as response:
        streaming_after = await settled(response.parse())
    openai_continue.unpatch()
    unpatched = await settled(create(**body))
    await settled(client.close())

    text = emulator.uncapped(body)
    assert text == text_of(after) == text_of(raw_after) == text_of(raw_client_after) == text_of(streaming_after)
    assert "length" == before.choices[0].finish_reason == unpatched.choices[0].finish_reason
    assert text_of(before) == text_of(unpatched)


@pytest.mark.skipif(openai.VERSION < "3", reason="before openai 3.0 an httpx client is the SDK's own kind of client")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_legacy_http_client(is_async: bool, emulator: Emulator) -> None:
    """An httpx client that is given to an SDK of httpx2 gets httpx responses, whole and streamed."""
    httpx = pytest.importorskip("httpx")
    body = ask("Legacy.")
    kind: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
    http_client = httpx.AsyncClient() if is_async else httpx.Client()
    client = kind(api_key="key", base_url=emulator.base_url, http_client=http_client)
    openai_continue.patch(DEEPINFRA)

    raw = await settled(client.chat.completions.with_raw_response.create(**body))
    stream = await settled(client.chat.completions.create(**body, stream=True))
    chunks = await listed(stream)
    async with entered(client.chat.completions.with_streaming_response.create(**body)) as streaming:
        streamed = await settled(streaming.parse())
    closed = await settled(client.chat.completions.create(**body, stream=True))
    await settled(closed.close())
    await settled(client.close())

    assert emulator.uncapped(body) == text_of(raw.parse()) == joined(chunks) == text_of(streamed)
    assert isinstance(raw.http_response, httpx.Response)
    assert isinstance(stream.response, httpx.Response)


# Frameworks that post by themselves.


async def test_post(client: Any, emulator: Emulator) -> None:
    """``client.post()`` to the endpoint is continued, whole and streamed."""
    body = ask("Post.")
    stream_cls: Any = openai.AsyncStream if isinstance(client, openai.AsyncOpenAI) else openai.Stream

    completion = await settled(client.post("/chat/completions", cast_to=ChatCompletion, body=body))
    stream = await settled(
        client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body={**body, "stream": True},
            stream=True,
            stream_cls=stream_cls[ChatCompletionChunk],
        )
    )
    chunks = await listed(stream)

    assert emulator.uncapped(body) == text_of(completion) == joined(chunks)


async def test_post_when_the_url_is_absolute(client: Any, emulator: Emulator) -> None:
    """A full url is recognised as well as a path."""
    body = ask("Post, absolutely.")

    completion = await settled(
        client.post(f"{emulator.base_url}/chat/completions", cast_to=ChatCompletion, body=body, options={})
    )

    assert emulator.uncapped(body) == text_of(completion)


@pytest.mark.parametrize("streamed", [False, True])
async def test_post_as_litellm_does(client: Any, emulator: Emulator, streamed: bool) -> None:
    """LiteLLM posts with the raw response's header in its options, and gets a LegacyAPIResponse of the whole answer."""
    body = ask("LiteLLM.", stream=streamed)
    stream_cls: Any = openai.AsyncStream if isinstance(client, openai.AsyncOpenAI) else openai.Stream
    options = {"headers": {"X-Stainless-Raw-Response": "true"}, "timeout": 20.0}

    raw = await settled(
        client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body=body,
            options=options,
            stream=streamed,
            stream_cls=stream_cls[ChatCompletionChunk] if streamed else None,
        )
    )
    parsed = raw.parse()
    text = joined(await listed(parsed)) if streamed else text_of(parsed)

    assert emulator.uncapped(body) == text
    assert "LegacyAPIResponse" == type(raw).__name__
    assert raw.headers["x-request-id"]
    assert {"headers": {"X-Stainless-Raw-Response": "true"}, "timeout": 20.0} == options
    told = [request.headers.get("x-stainless-raw-response") for request in emulator.requests]
    assert ["true"] + [None] * (ROUNDS - 1) == told


async def test_post_when_cast_to_the_http_response(client: Any, emulator: Emulator) -> None:
    """Who asks for the bare HTTP response gets one, whole."""
    body = ask("Bare.")

    response = await settled(client.post("/chat/completions", cast_to=http.Response, body=body))

    assert emulator.uncapped(body) == response.json()["choices"][0]["message"]["content"]
    assert isinstance(response, http.Response)


async def test_post_when_cast_to_object(client: Any, emulator: Emulator) -> None:
    """Who asks for plain JSON gets that of the whole answer."""
    body = ask("Plain.")

    completion = await settled(client.post("/chat/completions", cast_to=object, body=body))

    assert emulator.uncapped(body) == completion["choices"][0]["message"]["content"]


async def test_post_when_all_is_in_extra_json(client: Any, emulator: Emulator) -> None:
    """A body that stands in the options alone is continued too."""
    body = ask("All extra.", max_tokens=100)

    completion = await settled(
        client.post("/chat/completions", cast_to=ChatCompletion, options={"extra_json": {**body, "continuation": True}})
    )

    assert emulator.uncapped(ask("All extra.")).startswith(text_of(completion))
    assert [100, 52, 4] == [request.body["max_tokens"] for request in emulator.requests]


async def test_request(client: Any, emulator: Emulator) -> None:
    """``client.request()`` itself, its arguments named, is continued."""
    body = ask("Request.")
    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=body)

    completion = await settled(client.request(cast_to=ChatCompletion, options=options))

    assert emulator.uncapped(body) == text_of(completion)


class Own(openai.BaseModel):
    """A caller's own idea of a completion."""

    choices: list[dict[str, Any]]


async def test_parse_to_a_model_of_the_callers(client: Any, emulator: Emulator) -> None:
    """A raw response parses to a class of the caller's choice."""
    body = ask("To.")

    raw = await settled(client.chat.completions.with_raw_response.create(**body))
    own = raw.parse(to=Own)

    assert emulator.uncapped(body) == own.choices[0]["message"]["content"]
    assert isinstance(own, BaseModel)


# What a call tells besides its text.


class _Busy:
    """A transport that turns one request away before it lets the others pass."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self.seen = 0

    def _turned_away(self, request: Any) -> Any:
        self.seen += 1
        if self.seen != self._number:
            return None
        return http.Response(429, headers={"retry-after-ms": "1"}, json={"error": {"message": "busy"}}, request=request)


class Busy(_Busy, http.HTTPTransport):  # type: ignore[misc]
    def handle_request(self, request: Any) -> Any:
        return self._turned_away(request) or super().handle_request(request)


class AsyncBusy(_Busy, http.AsyncHTTPTransport):  # type: ignore[misc]
    async def handle_async_request(self, request: Any) -> Any:
        return self._turned_away(request) or await super().handle_async_request(request)


@pytest.mark.parametrize(("turned_away", "retries"), [(1, 1), (3, 0)], ids=["first round", "third round"])
async def test_retries_taken(way: Way, emulator: Emulator, turned_away: int, retries: int) -> None:
    """Every round is retried by the SDK; ``retries_taken`` tells of the first one, as does its header."""
    body = ask("Busy.")
    transport = AsyncBusy(turned_away) if way.is_async else Busy(turned_away)
    client = way.client(emulator.base_url, transport=transport)

    raw = await settled(client.chat.completions.with_raw_response.create(**body))
    await settled(client.close())

    assert emulator.uncapped(body) == text_of(raw.parse())
    assert retries == raw.retries_taken
    assert ROUNDS + 1 == transport.seen
    counts = [request.headers["x-stainless-retry-count"] for request in emulator.requests]
    assert ["1" if number == turned_away else "0" for number in range(1, ROUNDS + 1)] == counts


async def test_idempotency_keys(client: Any, emulator: Emulator) -> None:
    """A client that sends idempotency keys sends another one with each round, the caller's own with the first."""
    client._idempotency_header = "idempotency-key"
    body = ask("Idempotent.")

    await settled(
        client.post("/chat/completions", cast_to=ChatCompletion, body=body, options={"idempotency_key": "mine"})
    )

    keys = [request.headers["idempotency-key"] for request in emulator.requests]
    assert "mine" == keys[0]
    assert ROUNDS == len(set(keys))


async def test_elapsed(way: Way) -> None:
    """``elapsed`` is the time of all rounds."""
    with Emulator(cap=50, tokens=199, token_delay=0.0005) as slow:
        client = way.client(slow.base_url)
        started = time.monotonic()
        raw = await settled(client.chat.completions.with_raw_response.create(**ask("Slow.")))
        streamed = await settled(client.chat.completions.create(**ask("Slow."), stream=True))
        await listed(streamed)
        taken = timedelta(seconds=time.monotonic() - started)
        await settled(client.close())

    assert 8 == len(slow.requests)
    assert raw.elapsed == raw.http_response.elapsed
    assert timedelta(seconds=0.095) < raw.elapsed < taken
    assert timedelta(seconds=0.095) < streamed.response.elapsed < taken


async def test_several_choices(client: Any, emulator: Emulator) -> None:
    """With ``n`` above 1 each choice is continued, whole and streamed."""
    body = ask("Several.", n=3)
    texts = [emulator.uncapped(body, choice) for choice in range(3)]

    completion = await settled(client.chat.completions.create(**body))
    sent = [request.body["n"] for request in emulator.requests]
    chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))

    assert texts == [choice.message.content for choice in completion.choices]
    assert ["stop"] * 3 == [choice.finish_reason for choice in completion.choices]
    assert [0, 1, 2] == [choice.index for choice in completion.choices]
    assert [3] + [1] * 3 * (ROUNDS - 1) == sent
    assert texts == [joined(chunks, index) for index in range(3)]
    ends = [
        (choice.index, choice.finish_reason) for chunk in chunks for choice in chunk.choices if choice.finish_reason
    ]
    assert [(0, "stop"), (1, "stop"), (2, "stop")] == sorted(ends)


async def test_logprobs(client: Any, emulator: Emulator) -> None:
    """The tokens of the joined logprobs spell the answer."""
    body = ask("Logprobs.", logprobs=True, top_logprobs=2)
    text = emulator.uncapped(body)

    completion = await settled(client.chat.completions.create(**body))
    chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))

    whole = completion.choices[0].logprobs.content
    streamed = [token for chunk in chunks for choice in chunk.choices for token in (choice.logprobs or Empty).content]
    assert text == text_of(completion) == joined(chunks)
    assert text == "".join(token.token for token in whole)
    assert text.encode() == b"".join(bytes(token.bytes) for token in whole)
    assert [token.token for token in whole] == [token.token for token in streamed]
    assert all(2 == len(token.top_logprobs) for token in whole)


class Empty:
    content: tuple[Any, ...] = ()


async def test_gzip(way: Way) -> None:
    """Compressed answers are joined, and the joined one is not said to be compressed."""
    body = ask("Compressed.")
    with Emulator(cap=48, tokens=180, habits=Habits(gzip=True)) as emulator:
        client = way.client(emulator.base_url)
        completions = client.chat.completions
        raw = await settled(completions.with_raw_response.create(**body))
        raw_stream = await settled(completions.with_raw_response.create(**body, stream=True))
        chunks = await listed(raw_stream.parse())
        async with entered(completions.with_streaming_response.create(**body)) as response:
            shown = await settled(response.json())
        async with entered(completions.with_streaming_response.create(**body, stream=True)) as response:
            lines = await listed(response.iter_lines())
        whole = await settled(completions.with_raw_response.create(**body, extra_body={"continuation": False}))
        await settled(client.close())

    text = emulator.uncapped(body)
    assert text == text_of(raw.parse()) == joined(chunks)
    assert text == shown["choices"][0]["message"]["content"] == joined(chunks_in(lines))
    for joined_response in (raw, raw_stream, response):
        assert "content-encoding" not in joined_response.headers
    assert "gzip" == whole.headers["content-encoding"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_on_error(way: Way, streamed: bool) -> None:
    """When a later round fails for good, the answer so far comes as the server ended it, with the error in the report."""
    body = ask("Fails.")
    with Emulator(cap=48, tokens=180, faults=[Fault("500", round=3, times=9)]) as emulator:
        client = way.client(emulator.base_url, max_retries=0)
        answer = await settled(client.chat.completions.create(**body, stream=streamed))
        if streamed:
            chunks = await listed(answer)
            text, last, finish = joined(chunks), chunks[-1], chunks[-1].choices[0].finish_reason
        else:
            text, last, finish = text_of(answer), answer, answer.choices[0].finish_reason
        await settled(client.close())

    assert emulator.uncapped(body).startswith(text)
    assert 96 == last.usage.completion_tokens
    assert "length" == finish
    assert "error" == last.continuation["stopped_by"]
    assert {"type": "InternalServerError", "status": 500} == {
        name: last.continuation["error"][name] for name in ("type", "status")
    }
    assert 3 == len(last.continuation["rounds"])


# Iterators of the caller's, and the types of what comes back, are the SDK's business: one look is enough.


async def test_iterating_as_instrumenters_do(colour: Way, emulator: Emulator) -> None:
    """Who replaces a stream's ``_iterator``, as sentry, langfuse and mlflow do, sees every chunk of every round."""
    body = ask("Instrumented.")
    client = colour.client(emulator.base_url)
    seen: list[Any] = []
    stream = await settled(client.chat.completions.create(**body, stream=True))
    inner = stream._iterator

    def watched() -> Iterator[Any]:
        for chunk in inner:
            seen.append(chunk)
            yield chunk

    async def awatched() -> AsyncIterator[Any]:
        async for chunk in inner:
            seen.append(chunk)
            yield chunk

    stream._iterator = awatched() if colour.is_async else watched()
    chunks = await listed(stream)
    await settled(client.close())

    assert emulator.uncapped(body) == joined(chunks)
    assert chunks == seen
