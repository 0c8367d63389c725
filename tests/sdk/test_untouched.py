"""Calls that need no continuation are the SDK's own, to the byte, on the wire and in the caller's hands."""

from __future__ import annotations

import copy
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation, switches
from openai_continue._sdk import options
from openai_continue.testing import Emulator, Habits
from tests.support.answers import endpoint
from tests.support.asking import create
from tests.support.bodies import ask
from tests.support.script import Pieces
from tests.support.ways import (
    DEEPINFRA,
    OUR_ASYNC,
    OUR_SYNC,
    Way,
    entered,
    http,
    listed,
    settled,
    streamed_or_not,
    sync_and_async,
    two_ways,
)

HOST = "https://api.deepinfra.com/v1/openai"
HEADERS = [
    ("content-type", "application/json"),
    ("x-request-id", "the-request"),
    ("set-cookie", "one=1"),
    ("set-cookie", "two=2"),
    ("x-odd", ""),
]
# Key order, white space, escapes, numbers and fields as no serializer of ours would write them.
WHOLE = (
    b'{ "x_first":1.50, "id":"a\\u00e9",\n"object":"chat.completion","created":1, "model":"m",\t"choices":[ {"index":0,'
    b'"finish_reason":"%s","message":{"role":"assistant","content":"caf\\u00e9 \\ud83d\\ude00 \xe2\x82\xac","x":null}, '
    b'"y":[1e3]}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"estimated_cost":1e-07}}\r\n'
)
# Comments, odd line ends, fields but data, unknown keys, no blank, a chunk without choices, one with two.
EVENTS = [
    b": keep-alive\r\n\r\n",
    b'data: {"id":"a", "object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":""},"finish_reason":null}],"x":1.50}\r\n\r\n',
    b'event: message\nid: 7\ndata:{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"caf\\u00e9 "},"logprobs":null}]}\n\n',
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m",\ndata: "choices":[]}\n\n',
    b'data: {"id":"a","object":"chat.completion.chunk","created":2,"model":"m","choices":[{"index":0,"delta":{"content":'
    b'"\xe2\x82\xac"}},{"index":1,"delta":{"content":"other","role":"assistant"}}]}\n\n',
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":1,"delta":{},'
    b'"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":'
    b'"!"},"finish_reason":"%s"}],"usage":null}\n\n',
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,'
    b'"completion_tokens":20,"total_tokens":21}}\n\n',
    b"data: [DONE]\n\n",
    b": after the end\n\n",
]
#: Limits under which an answer that ends in "length" has come to its end.
ENDS = [("stop", {}), ("tool_calls", {}), ("content_filter", {}), ("odd", {}), ("length", {"max_tokens": 20})]


class Server:
    """The other end of a transport: answers every request with the same body, in pieces of a size, and keeps it."""

    def __init__(self, body: bytes, *, size: int = 0) -> None:
        self.requests: list[Any] = []
        self._body = body
        self._size = size
        self.transport: Any = http.MockTransport(self)

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        kind = SSE if self._body.startswith((b":", b"data:", b"event:")) else "application/json"
        cut = [self._body[at : at + self._size] for at in range(0, len(self._body), self._size or len(self._body) + 1)]
        body = {"stream": Pieces(cut)} if self._size else {"content": self._body}
        return http.Response(200, headers=[("content-type", kind), *HEADERS[1:]], request=request, **body)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]

    @property
    def sent(self) -> list[tuple[Any, ...]]:
        """Everything in the requests that a server can see."""
        return [(one.method, str(one.url), one.headers.raw, one.content) for one in self.requests]


def stream_of(finish_reason: str) -> bytes:
    return b"".join(EVENTS).replace(b"%s", finish_reason.encode())


SSE = "text/event-stream"
FRAMING = (b"content-encoding", b"content-length", b"transfer-encoding")
TRUNCATED = WHOLE.replace(b"%s", b"length")
TRUNCATED_STREAM = stream_of("length")


# Answers that are whole.


def body_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a chat with these fields; or of a response, if they have an input."""
    return fields if "input" in fields else {**ask("Hello."), **fields}


async def raw_of(client: Any, **fields: Any) -> Any:
    """Ask for a raw response."""
    body = body_of(fields)
    return await settled(endpoint(client, body).with_raw_response.create(**body))


async def bytes_of(client: Any, **fields: Any) -> tuple[bytes, Any]:
    """Ask for a streaming response; return its bytes and itself."""
    body = body_of(fields)
    async with entered(endpoint(client, body).with_streaming_response.create(**body)) as response:
        return b"".join(await listed(response.iter_bytes())), response


async def seen_through(client: Any, server: Server, **fields: Any) -> list[Any]:
    """Ask in the raw ways, and return everything that the caller and the server can see."""
    raw = await raw_of(client, **fields)
    parsed = raw.parse()
    chunks = await listed(parsed) if fields.get("stream") else [parsed]
    content, response = await bytes_of(client, **fields)
    said = [(one.status_code, one.retries_taken, one.http_response.next_request) for one in (raw, response)]
    headers = [[header for header in one.headers.raw if header[0].lower() not in FRAMING] for one in (raw, response)]
    dumped = [(type(chunk), chunk.model_dump()) for chunk in chunks]
    return [content, dumped, headers, said, server.sent]


async def check_untouched(way: Way, body: bytes, size: int, **fields: Any) -> None:
    """Check that a body comes byte for byte, in everything as without us."""
    plain, ours = Server(body, size=size), Server(body, size=size)

    expected = await seen_through(way.plain_client(HOST, transport=plain.transport), plain, **fields)
    actual = await seen_through(way.client(HOST, transport=ours.transport), ours, **fields)

    assert actual == expected
    assert body == actual[0]
    assert len(ours.requests) == 2
    assert not any("continuation" in chunk for _, chunk in actual[1])


@pytest.mark.parametrize(("finish_reason", "limit"), ENDS, ids=[end[0] for end in ENDS])
@pytest.mark.parametrize("size", [0, 7])
async def test_whole_answer(way: Way, finish_reason: str, limit: dict[str, int], size: int) -> None:
    """An answer that is not truncated comes byte for byte, in one request that is the SDK's to the byte."""
    await check_untouched(way, WHOLE.replace(b"%s", finish_reason.encode()), size, **limit)


async def test_headers_of_a_whole_answer(way: Way) -> None:
    """An answer that is not truncated keeps all its headers, those of its framing too."""
    raw = await raw_of(way.client(HOST, transport=Server(WHOLE.replace(b"%s", b"stop")).transport))

    assert [*HEADERS, ("content-length", str(len(raw.content)))] == raw.headers.multi_items()


@pytest.mark.parametrize(("finish_reason", "limit"), ENDS, ids=[end[0] for end in ENDS])
@pytest.mark.parametrize("size", [1, 50, 100_000])
async def test_stream_that_is_whole(way: Way, finish_reason: str, limit: dict[str, int], size: int) -> None:
    """A stream that is not truncated comes byte for byte, in the same chunks, however its bytes arrive."""
    await check_untouched(way, stream_of(finish_reason), size, stream=True, **limit)


async def test_stream_that_ends_at_the_callers_limit_without_text(way: Way) -> None:
    """A stream whose end at the caller's own limit brings no text comes byte for byte too."""
    body = stream_of("length").replace(b'"delta":{"content":"!"}', b'"delta":{}')

    await check_untouched(way, body, 50, stream=True, max_tokens=20)


@pytest.mark.parametrize("end", ["stop", "length"])
async def test_stream_whose_chunks_wait(way: Way, end: str) -> None:
    """Chunks held back, since they may be half a stop string or an end, come byte for byte, however they were spelled."""
    texts = ["One ", "E", "N", "E", "EN", "ough \ufffd", "of it"]
    items = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    items[-1]["finish_reason"] = end
    chunks = [{"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [item]} for item in items]
    body = b"".join(b"data:" + json.dumps(one, separators=(" , ", " : ")).encode() + b"\r\n\r\n" for one in chunks)
    body += b"data: [DONE]\n\n"
    server = Server(body, size=50)

    content, _ = await bytes_of(way.client(HOST, transport=server.transport), stream=True, stop=["END"], max_tokens=7)

    assert (body, 1) == (content, len(server.requests))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"not JSON",
        b'{"choices":null,"x":"length"}',
        b'{"choices":[],"x":"length"}',
        b'{"choices":["length"]}',
        b'{"error":{"message":"length"}}',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n',
    ],
)
async def test_no_completion(way: Way, body: bytes) -> None:
    """A body that is no completion comes as it is, and causes no request."""
    server = Server(body)

    raw = await raw_of(way.client(HOST, transport=server.transport))

    assert (body, 1) == (raw.content, len(server.requests))


@pytest.mark.parametrize(
    "body", [b"", b"data: [DONE]\n\n", b"data: {", b": only a comment\n\n", b"data: 1\n\ndata: []\n\n"]
)
async def test_no_stream_of_chunks(way: Way, body: bytes) -> None:
    """A stream that brings no chunk comes byte for byte too."""
    server = Server(body)

    content, _ = await bytes_of(way.client(HOST, transport=server.transport), stream=True)

    assert (body, 1) == (content, len(server.requests))


# Requests.


async def sent_by_both(way: Way, body: bytes, call: Callable[[Any], Any]) -> list[list[tuple[Any, ...]]]:
    """Call a client of the SDK and one that continues; return what each sent."""
    sent = []
    for make in (way.plain_client, way.client):
        server = Server(body)
        await settled(call(make(HOST, transport=server.transport)))
        sent.append(server.sent)
    return sent


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
REQUESTS: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"max_tokens": 20},
    {"max_tokens": 16384, "n": 2, "stop": ["a", "b"], "seed": 7},
    {"temperature": 0.10, "tools": [TOOL], "tool_choice": "auto", "logprobs": True, "top_logprobs": 2},
    {"response_format": {"type": "json_object"}, "user": "caf\u00e9 \u20ac"},
    {"extra_body": {"x": {"y": [1, 2.5, None]}, "messages": [{"role": "user", "content": "Other."}]}},
    {"extra_body": {"max_tokens": 30, "model": "other"}, "max_tokens": 5},
    {"extra_headers": {"x-mine": "yes"}, "extra_query": {"q": "1"}, "timeout": 3.0},
    {"max_tokens": openai.NOT_GIVEN, "stream": openai.NOT_GIVEN},
    {"max_tokens": None, "stop": None},
]


@pytest.mark.parametrize("fields", REQUESTS, ids=range(len(REQUESTS)))
async def test_request_when_no_limit_must_change(way: Way, fields: dict[str, Any]) -> None:
    """A request whose limit fits goes out as the SDK writes it, to the byte."""
    body = stream_of("stop") if fields.get("stream") is True else WHOLE.replace(b"%s", b"stop")

    plain, ours = await sent_by_both(
        way, body, lambda client: client.chat.completions.create(**ask("Hello. \u20ac"), **fields)
    )

    assert plain == ours
    assert len(ours) == 1


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 20_000}, {"max_tokens": 20_000}),
        ({"max_completion_tokens": 20}, {"max_completion_tokens": 20}),
        ({"max_completion_tokens": 20_000}, {"max_completion_tokens": 20_000}),
        ({"max_tokens": 5, "extra_body": {"max_tokens": 20_000}}, {"max_tokens": 20_000}),
        ({"max_tokens": 20_000.0}, {"max_tokens": 20_000.0}),
        ({"max_tokens": 20_000, "extra_body": {"continuation": {"round_tokens": 500}}}, {"max_tokens": 500}),
        ({"extra_body": {"continuation": {"max_tokens": 50_000}}}, {"max_tokens": 50_000}),
        ({"max_tokens": 0}, {"max_tokens": 0}),
        ({"max_tokens": -1}, {"max_tokens": -1}),
    ],
)
async def test_limit_of_the_first_request(way: Way, given: dict[str, Any], sent: dict[str, Any]) -> None:
    """The caller's number and its name stay as they are; only the settings bring another one."""
    server = Server(WHOLE.replace(b"%s", b"stop"))

    await create(way.client(HOST, transport=server.transport), **ask("Hello."), temperature=0.5, **given)

    assert [{**ask("Hello."), "temperature": 0.5, **sent}] == server.bodies


CONTINUED: dict[str, dict[str, Any]] = {
    "settings": {
        "messages": ask("Mine.")["messages"],
        "extra_body": {"continuation": {"max_rounds": 9}, "x": {"y": 1}},
    },
    "extra body": {"messages": [], "extra_body": {"messages": ask("Mine.")["messages"], "max_tokens": 100}},
    "prefill": {"messages": [*ask("Mine.")["messages"], {"role": "assistant", "content": "# "}], "stop": ["\n" * 5]},
    "parts": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Mine."}]}],
        "max_tokens": 100,
        "tools": [TOOL],
    },
}


@pytest.mark.parametrize("fields", CONTINUED.values(), ids=CONTINUED)
@two_ways
async def test_callers_objects(way: Way, emulator: Emulator, fields: dict[str, Any], streamed: bool) -> None:
    """The caller's objects are the same after a continued call as before it."""
    kept = copy.deepcopy(fields)

    answer = await create(way.client(emulator.base_url), model="m", stream=streamed, **fields)
    if streamed:
        await listed(answer)

    assert len(emulator.requests) > 1
    assert kept == fields


async def test_callers_objects_when_posted(client: Any, emulator: Emulator) -> None:
    """Body and options of ``client.post()`` stay as they are too."""
    body = ask("Posted.", max_tokens=100, continuation={"max_rounds": 3})
    options = {"headers": {"X-Stainless-Raw-Response": "true"}, "extra_json": {"max_tokens": 90}}
    kept = copy.deepcopy((body, options))

    await settled(
        client.post("/chat/completions", cast_to=openai.types.chat.ChatCompletion, body=body, options=options)
    )

    assert len(emulator.requests) == 2
    assert kept == (body, options)


# Everything that is not continued.


async def test_stored_completions(client: Any, emulator: Emulator) -> None:
    """Stored completions are listed, read, changed and deleted as without us, though their urls are alike."""
    completions = client.chat.completions

    listed_page = await settled(completions.list())
    read = await settled(completions.retrieve("one"))
    changed = await settled(completions.update("one", metadata={"continuation": "mine"}))
    deleted = await settled(completions.delete("one"))
    messages = await settled(completions.messages.list("one"))

    assert [] == listed_page.data == messages.data
    assert "length" == read.choices[0].finish_reason == changed.choices[0].finish_reason
    assert read.choices[0].message.content == "stored"
    assert deleted.deleted
    assert emulator.requests == []


# Requests to all that is not continued, with an ``extra_body``.
OTHERS: dict[str, Callable[[Any, Any], Any]] = {
    "POST /embeddings": lambda client, more: client.embeddings.create(model="m", input="x", extra_body=more),
    "POST /moderations": lambda client, more: client.moderations.create(input="x", extra_body=more),
    "POST /images/generations": lambda client, more: client.images.generate(prompt="x", extra_body=more),
    "POST /audio/transcriptions": lambda client, more: client.audio.transcriptions.create(
        model="m", file=("x.wav", b"wave"), extra_body=more, extra_headers=MULTIPART
    ),
    "POST /files": lambda client, more: client.files.create(
        file=("x.jsonl", b'{"continuation": 1}'), purpose="batch", extra_body=more, extra_headers=MULTIPART
    ),
    "POST /batches": lambda client, more: client.batches.create(
        input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h", extra_body=more
    ),
    "POST /chat/completions/one": lambda client, more: client.chat.completions.update(
        "one", metadata={"continuation": "mine"}, extra_body=more
    ),
    "DELETE /chat/completions": lambda client, more: client.delete("/chat/completions", cast_to=object, body=more),
    "GET /models": lambda client, more: client.get("/models", cast_to=object, options={"extra_json": more}),
    "POST /my/chat/completions/x": lambda client, more: client.post(
        "/my/chat/completions/x", cast_to=object, body={**more, "nested": {"continuation": [1]}}
    ),
    "POST /list": lambda client, _: client.post("/list", cast_to=object, body=[{"continuation": 1}]),
    "POST /number": lambda client, _: client.post("/number", cast_to=object, body=7),
    "POST /flag": lambda client, _: client.post("/flag", cast_to=object, body=True),
    "POST /text": lambda client, _: client.post("/text", cast_to=object, body="continuation"),
}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=0"}


@pytest.mark.parametrize("wish", [False, {"max_rounds": 2}, Continuation(), {"continuation": 7}], ids=repr)
@pytest.mark.parametrize("path", OTHERS)
async def test_other_endpoints(way: Way, path: str, wish: Any) -> None:
    """Requests to other endpoints, and other methods, go out as they are, but for our key, whatever its value."""
    content = (
        b'{"object":"x","data":[{"embedding":[0.5]}],"finish_reason":"length","choices":[{"finish_reason":"length"}]}'
    )
    sent = []
    for make, more in ((way.plain_client, {"x": 1}), (way.client, {"x": 1, "continuation": wish})):
        server = Server(content)
        kept = copy.copy(more)
        await settled(OTHERS[path](make(HOST, transport=server.transport), more))
        sent.append(server.sent)
        assert kept == more

    plain, ours = sent
    assert plain == ours
    assert path.split() == [ours[0][0], ours[0][1].removeprefix(HOST)]


@pytest.mark.parametrize("how", ["disabled()", "OPENAI_CONTINUE=0", "our client, off"])
async def test_our_key_elsewhere_when_off(way: Way, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our key reaches no endpoint, also where the library is switched off."""
    if how == "OPENAI_CONTINUE=0":
        monkeypatch.setenv("OPENAI_CONTINUE", "0")
    server = Server(b'{"object":"x","data":[]}')
    if how == "our client, off":
        ours = OUR_ASYNC if way.is_async else OUR_SYNC
        client = ours.client(HOST, transport=server.transport, continuation=False)
    else:
        client = way.client(HOST, transport=server.transport)

    with openai_continue.disabled() if how == "disabled()" else monkeypatch.context():
        more = {"x": 1, "continuation": {"max_rounds": 3}}
        await settled(client.responses.create(model="m", input="x", extra_body=more))
        await settled(OTHERS["POST /moderations"](client, more))

    assert server.bodies == [{"input": "x", "model": "m", "x": 1}, {"input": "x", "x": 1}]


# Hosts that are left alone.


@two_ways
async def test_unknown_host(way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Truncated answers of a host that is in no row stay as they are; one line of the log says so."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    host = f"untouched-{streamed}.example".lower()
    server = Server(TRUNCATED_STREAM if streamed else TRUNCATED)
    client = way.client(f"https://{host}/v1", transport=server.transport, continuation=Continuation())

    contents = {(await bytes_of(client, max_tokens=99_999, stream=streamed))[0] for _ in range(3)}

    assert {TRUNCATED_STREAM if streamed else TRUNCATED} == contents
    assert [body["max_tokens"] for body in server.bodies] == [99_999] * 3
    lines = [record.getMessage() for record in caplog.records if record.name == "openai_continue"]
    (line,) = lines
    assert line.startswith(
        f"{host} is in no row of the provider table; its answers are left as they are. If its server"
    )
    assert "OPENAI_CONTINUE_PROVIDER, such as vllm (openai-continue doctor --base-url URL --model MODEL" in line


RESPONSES: dict[str, tuple[Any, str | None, str, str]] = {
    # The kind of server, the setting, the host, and the line of the log.
    "llama.cpp": (
        "llama.cpp",
        "llama.cpp",
        "127.0.0.1",
        "not continued on the row 'llama.cpp'; they are left as they are",
    ),
    "ollama": ("ollama", "ollama", "127.0.0.1", "not continued on the row 'ollama'; they are left as they are"),
    "sglang": ("sglang", "sglang", "127.0.0.1", "not continued on the row 'sglang'; they are left as they are"),
    "openrouter": ("openai", None, "openrouter.ai", "not continued on the row 'openrouter'; they are left as they are"),
    "mistral": ("vllm", None, "api.mistral.ai", "not continued on the row 'mistral'; they are left as they are"),
    "unknown": ("vllm", None, "responses.example", "is in no row of the provider table; its answers are left as they"),
}


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.spread(6)
async def test_responses_that_are_left_alone(
    kind: str, way: Way, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Truncated responses on a row that does not continue them stay as they are; one line of the log says so."""
    options._log_no_responses.cache_clear()
    options._log_unknown_host.cache_clear()
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    habits, provider, host, said = RESPONSES[kind]
    fields: dict[str, Any] = {"model": "m", "input": "Write.", "max_output_tokens": 99_999, "stream": streamed}
    with Emulator(cap=20, habits=Habits(responses=habits)) as emulator:
        body = http.post(f"{emulator.base_url}/responses", json=fields).content
    plain, ours = Server(body, size=50), Server(body, size=50)
    url, settings = f"https://{host}/v1", Continuation(provider=provider)

    expected = await seen_through(way.plain_client(url, transport=plain.transport), plain, **fields)
    actual = await seen_through(way.client(url, transport=ours.transport, continuation=settings), ours, **fields)

    assert actual == expected
    assert actual[0] == body
    assert len(ours.requests) == 2
    (line,) = [record for record in caplog.records if record.name == "openai_continue"]
    assert said in line.getMessage()
    assert line.levelno == logging.INFO


HOSTS = ["https://api.openai.com/v1", "https://x.openai.azure.com/openai/v1", "https://api.anthropic.com/v1"]


@pytest.mark.parametrize("base_url", [*HOSTS, "https://generativelanguage.googleapis.com/v1beta/openai"])
async def test_hosts_that_do_not_continue(way: Way, base_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """OpenAI's own host, and the others that start over or refuse, are left alone without a word."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    server = Server(TRUNCATED)

    raw = await raw_of(
        way.client(base_url, transport=server.transport, continuation=Continuation()), max_completion_tokens=99_999
    )

    assert raw.content == TRUNCATED
    assert [{**ask("Hello."), "max_completion_tokens": 99_999}] == server.bodies
    assert [record for record in caplog.records if record.name == "openai_continue"] == []


# Our key of extra_body.

HOW_OFF: dict[str, dict[str, Any]] = {
    "disabled()": {},
    "OPENAI_CONTINUE=0": {},
    "unknown host": {"base_url": "https://unknown.example/v1", "continuation": Continuation()},
    "OpenAI's host": {"base_url": "https://api.openai.com/v1", "continuation": Continuation()},
    "False in the call": {},
    "on": {},
}
WISHES: list[object] = [None, True, False, {"max_rounds": 2}, Continuation(max_rounds=2)]


@pytest.mark.parametrize("how", HOW_OFF)
async def test_our_key_of_extra_body(way: Way, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our key of ``extra_body`` reaches no server, whatever keeps the call from being continued."""
    if how == "OPENAI_CONTINUE=0":
        monkeypatch.setenv("OPENAI_CONTINUE", "0")
    server = Server(WHOLE.replace(b"%s", b"stop") if how == "on" else TRUNCATED)
    client = way.client(transport=server.transport, **{"base_url": HOST, **HOW_OFF[how]})
    wishes = [False] if how == "False in the call" else WISHES

    with openai_continue.disabled() if how == "disabled()" else monkeypatch.context():
        for wish in wishes:
            extra_body = {"x": 1, "continuation": wish}
            await create(client, **ask("Hello."), extra_body=extra_body)
            assert {"x": 1, "continuation": wish} == extra_body

    assert [{**ask("Hello."), "x": 1}] * len(wishes) == server.bodies


async def test_our_key_in_further_rounds(client: Any, emulator: Emulator) -> None:
    """No round of a continued call carries our key."""
    await create(client, **ask("Key."), extra_body={"continuation": {"max_rounds": 9}, "x": 1})

    assert [request.body["x"] for request in emulator.requests] == [1] * 4
    assert not any("continuation" in request.body for request in emulator.requests)


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("way", [OUR_SYNC, OUR_ASYNC], ids=["our-sync", "our-async"])
async def test_our_key_when_our_client_is_off(way: Way, patched: bool) -> None:
    """A client with ``continuation=False`` is the SDK's own, patched or not, and still takes the key out."""
    if patched:
        openai_continue.patch(DEEPINFRA)
    server = Server(TRUNCATED)
    client = way.client(HOST, transport=server.transport, continuation=False)

    for wish in (*WISHES, DEEPINFRA, "nonsense"):
        await create(client, **ask("Hello."), extra_body={"continuation": wish})

    assert [ask("Hello.")] * (len(WISHES) + 2) == server.bodies


def test_network_is_blocked() -> None:
    """No test of this suite reaches another machine."""
    with pytest.raises(RuntimeError, match="a test wants"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(RuntimeError, match="a test wants"):
        socket.getaddrinfo("deepinfra.com", 443)


LEFT_ALONE = [
    ("strict-unknown.example", "is in no row of the provider table; its answers are left as they are. If its server"),
    ("api.openai.com", "does not continue answers; they are left as they are"),
]


@pytest.mark.parametrize(("host", "why"), LEFT_ALONE, ids=[host for host, _ in LEFT_ALONE])
async def test_left_alone_when_strict(
    way: Way, host: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under ``strict``, a host that is left alone is named on stderr, once, and its answers are the server's."""
    monkeypatch.setenv("OPENAI_CONTINUE", "strict")
    monkeypatch.setattr(switches, "_complaints", set())
    options._log_unknown_host.cache_clear()
    server = Server(TRUNCATED)
    client = way.client(f"https://{host}/v1", transport=server.transport, continuation=Continuation())

    contents = {(await raw_of(client)).content for _ in range(3)}

    assert contents == {TRUNCATED}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openai_continue: {host} {why}")
