"""Every way of the SDK to a chat completion gives the text that a server without a cap would have given."""

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

import openai_continue
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.tokens import count
from tests.support.answers import joined
from tests.support.asking import ask_both, chunks_of, create, rounds_in, text_of
from tests.support.bodies import ask
from tests.support.ways import ASYNC, DEEPINFRA, SYNC, Way, entered, http, listed, settled, two_ways

#: Of an answer of 180 tokens, 48 a round.
ROUNDS = 4
patched_ways = pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])


def chunks_in(text: str) -> list[ChatCompletionChunk]:
    """Parse a stream that was read as text."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]

    assert data.pop() == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(one) for one in data]


# The methods of chat.completions.


async def test_create(client: Any, emulator: Emulator) -> None:
    """A completion is the SDK's own type with the id of the first round and the finish reason of the last."""
    completion = await create(client, **ask("A letter."))

    assert emulator.uncapped(ask("A letter.")) == text_of(completion)
    assert (ChatCompletion, "stop") == (type(completion), completion.choices[0].finish_reason)
    report = completion.continuation
    assert (report["stopped_by"], report["error"]) == ("stop", None)
    assert [round_["finish_reason"] for round_ in report["rounds"]] == ["length"] * (ROUNDS - 1) + ["stop"]
    assert (completion.id, completion._request_id) == (report["rounds"][0]["id"], report["rounds"][0]["request_id"])
    for name in ("id", "request_id"):
        assert ROUNDS == len({round_[name] for round_ in report["rounds"]}) == len(emulator.requests)


async def test_create_when_streamed(client: Any, emulator: Emulator) -> None:
    """A stream has one id, one role, one finish reason, one usage, and the report on its last chunk."""
    stream = await create(client, **ask("A letter."), stream=True)
    chunks = await listed(stream)

    assert emulator.uncapped(ask("A letter.")) == joined(chunks)
    assert isinstance(stream, (openai.Stream, openai.AsyncStream))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert sum(chunk.usage is not None for chunk in chunks) == 1
    assert [chunks[-1]] == [chunk for chunk in chunks if hasattr(chunk, "continuation")]
    assert ROUNDS == rounds_in(chunks[-1]) == len(emulator.requests)


async def test_create_when_messages_are_an_iterator(client: Any, emulator: Emulator) -> None:
    """Messages may be an iterator, though every round needs them."""
    messages = ask("A generator.")["messages"]

    completion = await create(client, model="m", messages=(one for one in messages))
    chunks = await chunks_of(client, model="m", messages=iter(messages))

    assert emulator.uncapped(ask("A generator.")) == text_of(completion) == joined(chunks)


async def test_create_when_extra_body_wins(client: Any, emulator: Emulator) -> None:
    """The messages, limit and streaming in ``extra_body`` hold in each round."""
    body = ask("In extra_body.", max_tokens=100)
    wrong = ask("Wrong.", max_tokens=3)

    completion = await create(client, **wrong, extra_body=body)
    sent = [request.body["max_tokens"] for request in emulator.requests]
    chunks = await chunks_of(client, **wrong, extra_body={**body, "stream": True})

    assert emulator.uncapped(ask("In extra_body.")).startswith(text_of(completion))
    assert text_of(completion) == joined(chunks)
    assert 90 < count(text_of(completion)) <= 100
    assert sent == [100, 52, 4]
    assert {request.body["messages"][0]["content"] for request in emulator.requests} == {"In extra_body."}


async def test_parse(client: Any, emulator: Emulator) -> None:
    """``parse()``, which raises LengthFinishReasonError for a truncated answer, gets a whole one."""
    completion = await settled(client.chat.completions.parse(**ask("Parse.")))

    assert (emulator.uncapped(ask("Parse.")), ROUNDS) == (text_of(completion), rounds_in(completion))


async def test_parse_at_the_callers_limit(client: Any, emulator: Emulator) -> None:
    """At the caller's own limit ``parse()`` raises as without us, with all the text that the limit allows."""
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        await settled(client.chat.completions.parse(**ask("Parse.", max_tokens=100)))

    assert emulator.uncapped(ask("Parse.")).startswith(text_of(caught.value.completion))
    assert 3 == rounds_in(caught.value.completion) == len(emulator.requests)


async def test_stream_helper(client: Any, emulator: Emulator) -> None:
    """The ``stream()`` helper sees one stream: its events, its snapshot and its final completion are whole."""
    text = emulator.uncapped(ask("Stream."))

    async with entered(client.chat.completions.stream(**ask("Stream."))) as stream:
        events = await listed(stream)
        final = await settled(stream.get_final_completion())

    deltas = [event for event in events if event.type == "content.delta"]
    assert text == "".join(event.delta for event in deltas)
    assert [text] == [event.content for event in events if event.type == "content.done"]
    assert text == deltas[-1].snapshot == text_of(final)
    assert (final.choices[0].finish_reason, final.choices[0].message.role) == ("stop", "assistant")
    assert sum(request.completion_tokens for request in emulator.requests) == final.usage.completion_tokens
    assert rounds_in([event for event in events if event.type == "chunk"][-1].chunk) == ROUNDS


@pytest.mark.thorough
async def test_beta(client: Any, emulator: Emulator) -> None:
    """``beta.chat.completions`` is continued as well."""
    completion = await settled(client.beta.chat.completions.parse(**ask("Beta.")))
    async with entered(client.beta.chat.completions.stream(**ask("Beta."))) as stream:
        final = await settled(stream.get_final_completion())

    assert emulator.uncapped(ask("Beta.")) == text_of(completion) == text_of(final)


# Raw and streaming responses.


class Own(openai.BaseModel):
    """A caller's own class for a completion."""

    choices: list[dict[str, Any]]


@pytest.mark.parametrize("is_of_client", [False, True], ids=["method", "client"])
async def test_raw_response(client: Any, emulator: Emulator, is_of_client: bool) -> None:
    """A raw response shows the whole answer on every side, and the headers of the first round."""
    completions = client.chat.completions
    raw_completions = client.with_raw_response.chat.completions if is_of_client else completions.with_raw_response

    raw = await settled(raw_completions.create(**ask("Raw.")))

    text = emulator.uncapped(ask("Raw."))
    completion = raw.parse()
    assert text == text_of(completion)
    assert completion is raw.parse()
    for shown in (json.loads(raw.text), json.loads(raw.content), raw.http_response.json()):
        assert text == shown["choices"][0]["message"]["content"]
        assert len(shown["continuation"]["rounds"]) == ROUNDS
    assert text == raw.parse(to=object)["choices"][0]["message"]["content"]
    assert text == raw.parse(to=Own).choices[0]["message"]["content"]
    assert completion.continuation["rounds"][0]["request_id"] == raw.headers["x-request-id"] == raw.request_id
    assert str(len(raw.content)) == raw.headers["content-length"]
    assert raw.headers["content-type"] == "application/json"
    assert (raw.status_code, raw.retries_taken, raw.is_closed) == (200, 0, True)
    assert emulator.requests[0].body == json.loads(raw.http_request.content)


async def test_raw_response_of_parse(client: Any, emulator: Emulator) -> None:
    """The raw response's ``parse()`` applies the helper's parser to the whole answer."""
    raw = await settled(client.chat.completions.with_raw_response.parse(**ask("Parse raw.")))
    completion = raw.parse()

    assert emulator.uncapped(ask("Parse raw.")) == text_of(completion)
    assert type(completion).__name__.startswith("ParsedChatCompletion")


async def test_raw_response_when_streamed(client: Any, emulator: Emulator) -> None:
    """A raw response of a stream parses to the SDK's stream, whole."""
    raw = await settled(client.chat.completions.with_raw_response.create(**ask("Raw stream."), stream=True))
    stream = raw.parse()
    chunks = await listed(stream)

    assert emulator.uncapped(ask("Raw stream.")) == joined(chunks)
    assert isinstance(stream, (openai.Stream, openai.AsyncStream))
    assert chunks[-1].continuation["rounds"][0]["request_id"] == raw.headers["x-request-id"]


async def test_streaming_response(client: Any, emulator: Emulator) -> None:
    """A streaming response is whole, however its body is read."""

    async def read(how: str, *arguments: int) -> Any:
        create = client.chat.completions.with_streaming_response.create
        async with entered(create(**ask("Streaming response."))) as response:
            made = getattr(response, how)(*arguments)
            return (await listed(made) if how.startswith("iter") else await settled(made)), response

    text = emulator.uncapped(ask("Streaming response."))
    pieces, response = await read("iter_bytes", 1000)

    assert text == text_of((await read("parse"))[0])
    assert text == (await read("json"))[0]["choices"][0]["message"]["content"]
    for body in ((await read("text"))[0], "".join((await read("iter_lines"))[0]), b"".join(pieces)):
        assert text == json.loads(body)["choices"][0]["message"]["content"]
    assert len(pieces) > 1
    assert ("200", str(len(b"".join(pieces)))) == (str(response.status_code), response.headers["content-length"])
    assert len(emulator.requests) == 5 * ROUNDS


async def test_streaming_response_when_streamed(client: Any, emulator: Emulator) -> None:
    """The lines, bytes and chunks of a streamed streaming response are those of one whole stream."""

    async def read(how: str) -> Any:
        create = client.chat.completions.with_streaming_response.create
        async with entered(create(**ask("Streamed response."), stream=True)) as response:
            made = await settled(getattr(response, how)())
            return made if how == "text" else await listed(made)

    text = emulator.uncapped(ask("Streamed response."))
    assert text == joined(await read("parse"))
    assert text == joined(chunks_in("\n".join(await read("iter_lines"))))
    assert text == joined(chunks_in(b"".join(await read("iter_bytes")).decode()))
    assert text == joined(chunks_in(await read("text")))


@pytest.mark.parametrize("streamed", [False, True])
async def test_streaming_response_when_a_hook_has_read_it(way: Way, emulator: Emulator, streamed: bool) -> None:
    """An event hook that reads every body, as loggers do, takes nothing away."""
    client = way.client(emulator.base_url)

    async def aread(response: Any) -> None:
        await response.aread()

    client._client.event_hooks = {"response": [aread if way.is_async else lambda response: response.read()]}
    create = client.chat.completions.with_streaming_response.create
    async with entered(create(**ask("Hooked."), stream=streamed)) as response:
        parsed = await settled(response.parse())
        text = joined(await listed(parsed)) if streamed else text_of(parsed)

    assert emulator.uncapped(ask("Hooked.")) == text


# Other clients.


def test_module_client(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own client is continued."""
    monkeypatch.setattr(openai, "api_key", "key")
    monkeypatch.setattr(openai, "base_url", f"{emulator.base_url}/")
    openai_continue.patch(DEEPINFRA)
    openai._reset_client()  # type: ignore[attr-defined]
    try:
        completion = openai.chat.completions.create(**ask("Module."))
        chunks = list(openai.chat.completions.create(**ask("Module."), stream=True))
    finally:
        client = openai._client
        openai._reset_client()  # type: ignore[attr-defined]
        if client is not None:
            client.close()

    assert emulator.uncapped(ask("Module.")) == text_of(completion) == joined(chunks)


@pytest.mark.parametrize("deployment", [None, "deployed"])
@patched_ways
async def test_azure(way: Way, emulator: Emulator, deployment: str | None) -> None:
    """Azure's clients continue, and every round goes to the deployment's url: the client's, or else the model's."""
    kind: Any = openai.AsyncAzureOpenAI if way.is_async else openai.AzureOpenAI
    client = kind(
        azure_endpoint=emulator.base_url.removesuffix("/v1/openai"),
        azure_deployment=deployment,
        api_key="key",
        api_version="2026-01-01",
        http_client=way.http_client(),
    )
    openai_continue.patch(DEEPINFRA)

    body = ask("Azure.", model="m")
    assert (emulator.uncapped(body),) * 2 == await ask_both(client, **body)
    path = f"/openai/deployments/{deployment or 'm'}/chat/completions"
    assert [path] * 2 * ROUNDS == [request.path for request in emulator.requests]
    assert {request.headers["api-key"] for request in emulator.requests} == {"key"}


@pytest.mark.parametrize("copy", ["copy", "with_options"])
async def test_copy(client: Any, emulator: Emulator, copy: str) -> None:
    """A client's copies continue, and the SDK's own options still reach them."""
    other = getattr(client, copy)(timeout=7, max_retries=1, default_headers={"x-mine": "yes"})
    texts = {text_of(await create(one, **ask("Copy."))) for one in (other, other.with_options(timeout=8))}

    assert {emulator.uncapped(ask("Copy."))} == texts
    assert type(other) is type(client)
    assert (other.timeout, other.max_retries) == (7, 1)
    assert {request.headers["x-mine"] for request in emulator.requests} == {"yes"}


@patched_ways
async def test_bound_before_the_patch(way: Way, emulator: Emulator) -> None:
    """Methods that were bound, and raw responses that were touched, before the patch are continued after it."""
    client = way.plain_client(emulator.base_url)
    completions = client.chat.completions
    bound = completions.create
    raws = (completions.with_raw_response, client.with_raw_response.chat.completions)
    streaming = completions.with_streaming_response

    before = await settled(bound(**ask("Bound.")))
    openai_continue.patch(DEEPINFRA)
    texts = {text_of(await settled(bound(**ask("Bound."))))}
    texts |= {text_of((await settled(raw.create(**ask("Bound.")))).parse()) for raw in raws}
    async with entered(streaming.create(**ask("Bound."))) as response:
        texts.add(text_of(await settled(response.parse())))
    openai_continue.unpatch()
    after = await settled(bound(**ask("Bound.")))

    assert {emulator.uncapped(ask("Bound."))} == texts
    assert "length" == before.choices[0].finish_reason == after.choices[0].finish_reason
    assert text_of(before) == text_of(after)


@pytest.mark.skipif(openai.VERSION < "3", reason="before openai 3.0 an httpx client is the SDK's own kind of client")
@patched_ways
async def test_legacy_http_client(way: Way, emulator: Emulator) -> None:
    """An httpx client that is given to an SDK of httpx2 gets httpx responses, whole and streamed."""
    httpx = pytest.importorskip("httpx")
    kind: Any = openai.AsyncOpenAI if way.is_async else openai.OpenAI
    http_client = httpx.AsyncClient() if way.is_async else httpx.Client()
    client = kind(api_key="key", base_url=emulator.base_url, http_client=http_client)
    openai_continue.patch(DEEPINFRA)

    raw = await settled(client.chat.completions.with_raw_response.create(**ask("Legacy.")))
    stream = await create(client, **ask("Legacy."), stream=True)
    chunks = await listed(stream)
    async with entered(client.chat.completions.with_streaming_response.create(**ask("Legacy."))) as streaming:
        streamed = await settled(streaming.parse())
    await settled((await create(client, **ask("Legacy."), stream=True)).close())
    await settled(client.close())

    assert emulator.uncapped(ask("Legacy.")) == text_of(raw.parse()) == joined(chunks) == text_of(streamed)
    assert isinstance(raw.http_response, httpx.Response)
    assert isinstance(stream.response, httpx.Response)


# Frameworks that post by themselves.


async def post(client: Any, body: Any = None, cast_to: Any = ChatCompletion, url: str = "", **more: Any) -> Any:
    """Post to the endpoint as frameworks do."""
    if body and body.get("stream"):
        kind: Any = openai.AsyncStream if isinstance(client, openai.AsyncOpenAI) else openai.Stream
        more |= {"stream": True, "stream_cls": kind[ChatCompletionChunk]}
    return await settled(client.post(f"{url}/chat/completions", cast_to=cast_to, body=body, **more))


async def test_post(client: Any, emulator: Emulator) -> None:
    """``client.post()`` to the endpoint is continued, whole and streamed, to a path and to a full url."""
    body = ask("Post.")

    texts = {text_of(await post(client, body)), joined(await listed(await post(client, {**body, "stream": True})))}
    texts.add(text_of(await post(client, body, url=emulator.base_url, options={})))

    assert {emulator.uncapped(body)} == texts


@pytest.mark.parametrize("streamed", [False, True])
async def test_post_as_litellm_does(client: Any, emulator: Emulator, streamed: bool) -> None:
    """LiteLLM posts with the raw response's header in its options, and gets a LegacyAPIResponse of the whole answer."""
    options = {"headers": {"X-Stainless-Raw-Response": "true"}, "timeout": 20.0}

    raw = await post(client, ask("LiteLLM.", stream=streamed), options=options)
    parsed = raw.parse()

    assert emulator.uncapped(ask("LiteLLM.")) == (joined(await listed(parsed)) if streamed else text_of(parsed))
    assert type(raw).__name__ == "LegacyAPIResponse"
    assert raw.headers["x-request-id"]
    assert options == {"headers": {"X-Stainless-Raw-Response": "true"}, "timeout": 20.0}
    headers = [request.headers.get("x-stainless-raw-response") for request in emulator.requests]
    assert headers == ["true"] + [None] * (ROUNDS - 1)


async def test_post_for_other_types(client: Any, emulator: Emulator) -> None:
    """The bare HTTP response and plain JSON are whole too."""
    response = await post(client, ask("Bare."), http.Response)
    plain = await post(client, ask("Bare."), object)

    text = emulator.uncapped(ask("Bare."))
    assert text == response.json()["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]
    assert isinstance(response, http.Response)


async def test_post_when_all_is_in_extra_json(client: Any, emulator: Emulator) -> None:
    """A body that is only in the options is continued too."""
    body = ask("All extra.", max_tokens=100)

    completion = await post(client, options={"extra_json": {**body, "continuation": True}})

    assert emulator.uncapped(ask("All extra.")).startswith(text_of(completion))
    assert [request.body["max_tokens"] for request in emulator.requests] == [100, 52, 4]


async def test_request(client: Any, emulator: Emulator) -> None:
    """``client.request()`` itself, its arguments named, is continued."""
    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=ask("Request."))

    completion = await settled(client.request(cast_to=ChatCompletion, options=options))

    assert emulator.uncapped(ask("Request.")) == text_of(completion)


# What a call says besides its text.


@pytest.mark.parametrize(("refused", "retries"), [(1, 1), (3, 0)], ids=["first round", "third round"])
async def test_retries_taken(way: Way, refused: int, retries: int) -> None:
    """The SDK retries every round; ``retries_taken`` is that of the first one."""
    with Emulator(cap=48, tokens=180, faults=[Fault("429", round=refused)]) as emulator:
        raw = await settled(way.client(emulator.base_url).chat.completions.with_raw_response.create(**ask("Busy.")))

    assert emulator.uncapped(ask("Busy.")) == text_of(raw.parse())
    assert retries == raw.retries_taken
    counts = [request.headers["x-stainless-retry-count"] for request in emulator.requests]
    assert ["1" if number == refused + 1 else "0" for number in range(1, ROUNDS + 2)] == counts


async def test_idempotency_keys(client: Any, emulator: Emulator) -> None:
    """A client that sends idempotency keys sends another one with each round, the caller's own with the first."""
    client._idempotency_header = "idempotency-key"

    await post(client, ask("Idempotent."), options={"idempotency_key": "mine"})

    keys = [request.headers["idempotency-key"] for request in emulator.requests]
    assert (keys[0], len(set(keys))) == ("mine", ROUNDS)


async def test_elapsed(way: Way) -> None:
    """``elapsed`` is the time of all rounds."""
    with Emulator(cap=50, tokens=199, token_delay=0.0005) as slow:
        client = way.client(slow.base_url)
        started = time.monotonic()
        raw = await settled(client.chat.completions.with_raw_response.create(**ask("Slow.")))
        streamed = await create(client, **ask("Slow."), stream=True)
        await listed(streamed)
        taken = timedelta(seconds=time.monotonic() - started)

    assert len(slow.requests) == 2 * ROUNDS
    assert raw.elapsed == raw.http_response.elapsed
    assert timedelta(seconds=0.095) < raw.elapsed < taken
    assert timedelta(seconds=0.095) < streamed.response.elapsed < taken


@two_ways
async def test_several_choices(way: Way, emulator: Emulator, streamed: bool) -> None:
    """With ``n`` above 1 each choice is continued by requests of its own."""
    body = ask("Several.", n=3)

    answer = await create(way.client(emulator.base_url), **body, stream=streamed)
    chunks = await listed(answer) if streamed else []
    choices = [choice for chunk in chunks for choice in chunk.choices] if streamed else answer.choices

    texts = [joined(chunks, index) if streamed else choices[index].message.content for index in range(3)]
    assert [emulator.uncapped(body, index) for index in range(3)] == texts
    ends = [(choice.index, choice.finish_reason) for choice in choices if choice.finish_reason]
    assert sorted(ends) == [(0, "stop"), (1, "stop"), (2, "stop")]
    assert [request.body["n"] for request in emulator.requests] == [3] + [1] * 3 * (ROUNDS - 1)


async def test_gzip(way: Way) -> None:
    """Compressed answers are joined, and the joined one is not said to be compressed."""
    body = ask("Compressed.")
    with Emulator(cap=48, tokens=180, habits=Habits(gzip=True)) as emulator:
        completions = way.client(emulator.base_url).chat.completions
        raw = await settled(completions.with_raw_response.create(**body))
        raw_stream = await settled(completions.with_raw_response.create(**body, stream=True))
        chunks = await listed(raw_stream.parse())
        async with entered(completions.with_streaming_response.create(**body)) as response:
            shown = await settled(response.json())
        async with entered(completions.with_streaming_response.create(**body, stream=True)) as streamed:
            lines = await listed(streamed.iter_lines())
        single = await settled(completions.with_raw_response.create(**body, extra_body={"continuation": False}))

    text = emulator.uncapped(body)
    assert text == text_of(raw.parse()) == joined(chunks)
    assert text == shown["choices"][0]["message"]["content"] == joined(chunks_in("\n".join(lines)))
    assert not any("content-encoding" in one.headers for one in (raw, raw_stream, response, streamed))
    assert single.headers["content-encoding"] == "gzip"


@patched_ways
async def test_iterating_as_instrumenters_do(way: Way, emulator: Emulator) -> None:
    """Code that replaces a stream's ``_iterator``, as sentry, langfuse and mlflow do, sees every chunk."""
    seen: list[Any] = []
    stream = await create(way.client(emulator.base_url), **ask("Instrumented."), stream=True)
    inner = stream._iterator

    def watched() -> Iterator[Any]:
        for chunk in inner:
            seen.append(chunk)
            yield chunk

    async def awatched() -> AsyncIterator[Any]:
        async for chunk in inner:
            seen.append(chunk)
            yield chunk

    stream._iterator = awatched() if way.is_async else watched()
    chunks = await listed(stream)

    assert emulator.uncapped(ask("Instrumented.")) == joined(chunks)
    assert chunks == seen
