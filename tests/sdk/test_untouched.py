"""What needs no continuation is the SDK's own affair, to the byte, on the wire and in the caller's hands."""

from __future__ import annotations

import copy
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation
from openai_continue.testing import Emulator
from tests.conftest import DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, Way, ask, entered, http, listed, settled

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
    b": behind the end\n\n",
]
#: Limits under which an answer that ends in "length" has come to its end.
ENDS = [("stop", {}), ("tool_calls", {}), ("content_filter", {}), ("odd", {}), ("length", {"max_tokens": 20})]


class Pieces(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
    """A body in pieces that respect no frame."""

    def __init__(self, body: bytes, size: int) -> None:
        self._body = body
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._body), self._size):
            yield self._body[at : at + self._size]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Server:
    """A transport's other end: gives one answer to everything, and keeps the requests."""

    def __init__(self, body: bytes, *, kind: str = "application/json", size: int = 0) -> None:
        self.requests: list[Any] = []
        self._body = body
        self._kind = kind
        self._size = size

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        headers = [("content-type", self._kind), *HEADERS[1:]]
        body = {"stream": Pieces(self._body, self._size)} if self._size else {"content": self._body}
        return http.Response(200, headers=headers, request=request, **body)

    @property
    def transport(self) -> Any:
        return http.MockTransport(self)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


def stream_of(finish_reason: str) -> bytes:
    return b"".join(EVENTS).replace(b"%s", finish_reason.encode())


SSE = "text/event-stream"
FRAMING = (b"content-encoding", b"content-length", b"transfer-encoding")
MINE = {"continuation": False, "x": 1}
TRUNCATED = WHOLE.replace(b"%s", b"length")
TRUNCATED_STREAM = stream_of("length")


# Answers that are whole.


async def seen_through(client: Any, server: Server, **fields: Any) -> list[Any]:
    """Ask in the raw ways, and give all that the caller and the server can see."""
    completions = client.chat.completions
    raw = await settled(completions.with_raw_response.create(**ask("Hello."), **fields))
    parsed = raw.parse()
    chunks = await listed(parsed) if fields.get("stream") else [parsed]
    async with entered(completions.with_streaming_response.create(**ask("Hello."), **fields)) as response:
        content = b"".join(await listed(response.iter_bytes()))
    await settled(client.close())
    sent = [(request.method, str(request.url), request.headers.raw, request.content) for request in server.requests]
    told = [(one.status_code, one.retries_taken, one.http_response.next_request) for one in (raw, response)]
    headers = [[header for header in one.headers.raw if header[0].lower() not in FRAMING] for one in (raw, response)]
    return [content, [chunk.model_dump() for chunk in chunks], [type(chunk) for chunk in chunks], headers, told, sent]


@pytest.mark.parametrize(("finish_reason", "limit"), ENDS, ids=[end[0] for end in ENDS])
@pytest.mark.parametrize("size", [0, 7])
async def test_whole_answer(way: Way, finish_reason: str, limit: dict[str, int], size: int) -> None:
    """An answer that is not truncated comes byte for byte, in one request that is the SDK's to the byte."""
    body = WHOLE.replace(b"%s", finish_reason.encode())
    plain, ours = Server(body, size=size), Server(body, size=size)

    expected = await seen_through(way.plain_client(HOST, transport=plain.transport), plain, **limit)
    actual = await seen_through(way.client(HOST, transport=ours.transport), ours, **limit)

    assert expected == actual
    assert body == actual[0]
    assert 2 == len(ours.requests)
    assert "continuation" not in actual[1][0]


async def test_headers_of_a_whole_answer(way: Way) -> None:
    """An answer that is not truncated keeps all its headers, those of its framing too."""
    server = Server(WHOLE.replace(b"%s", b"stop"))
    client = way.client(HOST, transport=server.transport)

    raw = await settled(client.chat.completions.with_raw_response.create(**ask("Hello.")))
    await settled(client.close())

    assert [*HEADERS, ("content-length", str(len(raw.content)))] == raw.headers.multi_items()


@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "content_filter", "odd"])
@pytest.mark.parametrize("size", [1, 50, 100_000])
async def test_stream_that_is_whole(way: Way, finish_reason: str, size: int) -> None:
    """A stream that is not truncated comes byte for byte, in the same chunks, however its bytes arrive."""
    body = stream_of(finish_reason)
    plain, ours = Server(body, kind=SSE, size=size), Server(body, kind=SSE, size=size)

    expected = await seen_through(way.plain_client(HOST, transport=plain.transport), plain, stream=True)
    actual = await seen_through(way.client(HOST, transport=ours.transport), ours, stream=True)

    assert expected == actual
    assert body == actual[0]


@pytest.mark.parametrize("last", [b'"delta":{"content":"!"}', b'"delta":{}'], ids=["text", "bare"])
async def test_stream_that_ends_at_the_callers_limit(way: Way, last: bytes) -> None:
    """A stream that ends at the caller's own limit comes byte for byte, whether or not text comes with its end."""
    body = stream_of("length").replace(b'"delta":{"content":"!"}', last)
    plain, ours = Server(body, kind=SSE, size=50), Server(body, kind=SSE, size=50)

    expected = await seen_through(way.plain_client(HOST, transport=plain.transport), plain, stream=True, max_tokens=20)
    actual = await seen_through(way.client(HOST, transport=ours.transport), ours, stream=True, max_tokens=20)

    assert expected == actual
    assert body == actual[0]


@pytest.mark.parametrize("end", ["stop", "length"])
async def test_stream_whose_chunks_wait(way: Way, end: str) -> None:
    """What is held back, for it may be half a stop string or an end, comes byte for byte, however it was spelled."""
    texts = ["One ", "E", "N", "E", "EN", "ough \ufffd", "of it"]
    items = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    items[-1]["finish_reason"] = end
    chunks = [{"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [item]} for item in items]
    body = b"".join(b"data:" + json.dumps(one, separators=(" , ", " : ")).encode() + b"\r\n\r\n" for one in chunks)
    server = Server(body + b"data: [DONE]\n\n", kind=SSE, size=50)
    client = way.client(HOST, transport=server.transport)

    fields = {"stream": True, "stop": ["END"], "max_tokens": 7}
    async with entered(client.chat.completions.with_streaming_response.create(**ask("Hello."), **fields)) as response:
        content = b"".join(await listed(response.iter_bytes()))
    await settled(client.close())

    assert body + b"data: [DONE]\n\n" == content
    assert 1 == len(server.requests)


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
    """What is no completion comes as it is, and calls for nothing."""
    server = Server(body)
    client = way.client(HOST, transport=server.transport)

    raw = await settled(client.chat.completions.with_raw_response.create(**ask("Hello.")))
    await settled(client.close())

    assert body == raw.content
    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    "body", [b"", b"data: [DONE]\n\n", b"data: {", b": only a comment\n\n", b"data: 1\n\ndata: []\n\n"]
)
async def test_no_stream_of_chunks(way: Way, body: bytes) -> None:
    """A stream that brings no chunk comes byte for byte too."""
    server = Server(body, kind=SSE)
    client = way.client(HOST, transport=server.transport)

    async with entered(client.chat.completions.with_streaming_response.create(**ask("Hi."), stream=True)) as response:
        content = b"".join(await listed(response.iter_bytes()))
    await settled(client.close())

    assert body == content
    assert 1 == len(server.requests)


# Requests.

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
    streams = fields.get("stream") is True
    sent = []
    for make in (way.plain_client, way.client):
        body = stream_of("stop") if streams else WHOLE.replace(b"%s", b"stop")
        server = Server(body, kind=SSE if streams else "application/json")
        client = make(HOST, transport=server.transport)
        await settled(client.chat.completions.create(**ask("Hello. \u20ac"), **fields))
        await settled(client.close())
        sent.append([(one.method, str(one.url), one.headers.raw, one.content) for one in server.requests])

    assert sent[0] == sent[1]
    assert 1 == len(sent[1])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 20_000}, {"max_tokens": 16_384}),
        ({"max_completion_tokens": 20}, {"max_tokens": 20}),
        ({"max_completion_tokens": 20_000}, {"max_tokens": 16_384}),
        ({"max_tokens": 5, "extra_body": {"max_tokens": 20_000}}, {"max_tokens": 16_384}),
        ({"max_tokens": 0}, {"max_tokens": 0}),
        ({"max_tokens": -1}, {"max_tokens": -1}),
    ],
)
async def test_request_when_a_limit_must_change(way: Way, given: dict[str, Any], sent: dict[str, Any]) -> None:
    """Only the limit changes, to a name and a number that the provider knows; one that only a server can judge stays."""
    server = Server(WHOLE.replace(b"%s", b"stop"))
    client = way.client(HOST, transport=server.transport)

    await settled(client.chat.completions.create(**ask("Hello."), temperature=0.5, **given))
    await settled(client.close())

    assert [{**ask("Hello."), "temperature": 0.5, **sent}] == server.bodies


CONTINUED: list[dict[str, Any]] = [
    {"messages": ask("Mine.")["messages"], "extra_body": {"continuation": {"max_rounds": 9}, "x": {"y": 1}}},
    {"messages": [], "extra_body": {"messages": ask("Mine.")["messages"], "max_tokens": 100}},
    {"messages": [*ask("Mine.")["messages"], {"role": "assistant", "content": "# "}], "stop": ["\n\n\n\n\n"]},
    {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Mine."}]}],
        "max_tokens": 100,
        "tools": [TOOL],
    },
]


@pytest.mark.parametrize("fields", CONTINUED, ids=["settings", "extra body", "prefill", "parts"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_callers_objects(client: Any, emulator: Emulator, fields: dict[str, Any], streamed: bool) -> None:
    """The caller's objects are the same after a continued call as before it."""
    kept = copy.deepcopy(fields)

    answer = await settled(client.chat.completions.create(model="m", stream=streamed, **fields))
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

    assert 2 == len(emulator.requests)
    assert kept == (body, options)


# Everything but chat completions.


async def test_stored_completions(client: Any, emulator: Emulator) -> None:
    """Stored completions are listed, read, changed and deleted as ever, though their urls are alike."""
    completions = client.chat.completions

    listed_page = await settled(completions.list())
    read = await settled(completions.retrieve("one"))
    changed = await settled(completions.update("one", metadata={"continuation": "mine"}))
    deleted = await settled(completions.delete("one"))
    messages = await settled(completions.messages.list("one"))

    assert [] == listed_page.data == messages.data
    assert "length" == read.choices[0].finish_reason == changed.choices[0].finish_reason
    assert "stored" == read.choices[0].message.content
    assert deleted.deleted
    assert [] == emulator.requests


OTHERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("/embeddings", lambda client: client.embeddings.create(model="m", input="x", extra_body=MINE)),
    (
        "/completions",
        lambda client: client.completions.create(model="m", prompt="x", max_tokens=20_000, extra_body=MINE),
    ),
    ("/responses", lambda client: client.responses.create(model="m", input="x", extra_body=MINE)),
    ("/moderations", lambda client: client.moderations.create(input="x", extra_body=MINE)),
    ("/my/chat/completions/x", lambda client: client.post("/my/chat/completions/x", cast_to=object, body=MINE)),
]


@pytest.mark.parametrize(("path", "call"), OTHERS, ids=[path for path, _ in OTHERS])
async def test_other_endpoints(way: Way, path: str, call: Callable[[Any], Any]) -> None:
    """What goes to other endpoints goes as it is, keys of our name too."""
    content = b'{ "object":"x","data":[{"embedding":[0.5]}],"finish_reason":"length", "choices":[{"finish_reason":"length","text":"x"}]}'
    sent = []
    for make in (way.plain_client, way.client):
        server = Server(content)
        client = make(HOST, transport=server.transport)
        await settled(call(client))
        await settled(client.close())
        sent.append([(one.method, str(one.url), one.headers.raw, one.content) for one in server.requests])

    assert sent[0] == sent[1]
    assert "https://api.deepinfra.com/v1/openai" + path == sent[1][0][1]
    assert MINE.items() <= json.loads(sent[1][0][3]).items()


# Hosts that are left alone.


@pytest.mark.parametrize("streamed", [False, True])
async def test_unknown_host(way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """At a host of no row, truncated answers stay as they are; it is said once."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    host = f"{way}-{streamed}.example".lower().translate(dict.fromkeys(map(ord, "(), _="), "-"))
    content, kind = (TRUNCATED_STREAM, SSE) if streamed else (TRUNCATED, "application/json")
    server = Server(content, kind=kind)
    client = way.client(f"https://{host}/v1", transport=server.transport, continuation=Continuation())

    for _ in range(3):
        create = client.chat.completions.with_streaming_response.create
        async with entered(create(**ask("Hello."), max_tokens=99_999, stream=streamed)) as response:
            assert content == b"".join(await listed(response.iter_bytes()))
    await settled(client.close())

    assert 3 == len(server.requests)
    assert [99_999] * 3 == [body["max_tokens"] for body in server.bodies]
    lines = [record.getMessage() for record in caplog.records if record.name == "openai_continue"]
    assert [f"{host} is in no row of the provider table; its answers are left as they are"] == lines


HOSTS = ["https://api.openai.com/v1", "https://x.openai.azure.com/openai/v1", "https://api.anthropic.com/v1"]


@pytest.mark.parametrize("base_url", [*HOSTS, "https://generativelanguage.googleapis.com/v1beta/openai"])
async def test_hosts_that_do_not_continue(way: Way, base_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """OpenAI's own host, and the others that begin anew or refuse, are left alone without a word."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    server = Server(TRUNCATED)
    client = way.client(base_url, transport=server.transport, continuation=Continuation())

    raw = await settled(client.chat.completions.with_raw_response.create(**ask("Hello."), max_completion_tokens=99_999))
    await settled(client.close())

    assert TRUNCATED == raw.content
    assert [{**ask("Hello."), "max_completion_tokens": 99_999}] == server.bodies
    assert [] == [record for record in caplog.records if record.name == "openai_continue"]


@pytest.mark.parametrize("host", ["deepinfra.com.evil.example", "notdeepinfra.com", "127.0.0.1"])
async def test_hosts_that_look_like_a_known_one(host: str) -> None:
    """A host is known by its last labels, whole ones."""
    server = Server(TRUNCATED)
    client = SYNC.client(f"https://{host}/v1/openai", transport=server.transport, continuation=Continuation())

    client.chat.completions.create(**ask("Hello."))
    client.close()

    assert 1 == len(server.requests)


# The key of ours.

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
    """The key of ``extra_body`` that is ours reaches no server, whatever keeps the call from being continued."""
    if how == "OPENAI_CONTINUE=0":
        monkeypatch.setenv("OPENAI_CONTINUE", "0")
    server = Server(WHOLE.replace(b"%s", b"stop") if how == "on" else TRUNCATED)
    client = way.client(transport=server.transport, **{"base_url": HOST, **HOW_OFF[how]})
    wishes = [False] if how == "False in the call" else WISHES

    with openai_continue.disabled() if how == "disabled()" else monkeypatch.context():
        for wish in wishes:
            extra_body = {"x": 1, "continuation": wish}
            await settled(client.chat.completions.create(**ask("Hello."), extra_body=extra_body))
            assert {"x": 1, "continuation": wish} == extra_body
    await settled(client.close())

    assert [{**ask("Hello."), "x": 1}] * len(wishes) == server.bodies


async def test_our_key_in_further_rounds(client: Any, emulator: Emulator) -> None:
    """No round of a continued call carries the key that is ours; the emulator would refuse it."""
    await settled(client.chat.completions.create(**ask("Key."), extra_body={"continuation": {"max_rounds": 9}, "x": 1}))

    assert [1] * 4 == [request.body["x"] for request in emulator.requests]
    assert not any("continuation" in request.body for request in emulator.requests)


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("way", [OUR_SYNC, OUR_ASYNC], ids=["our-sync", "our-async"])
async def test_our_key_when_a_client_of_ours_is_off(way: Way, patched: bool) -> None:
    """A client with ``continuation=False`` is the SDK's own, patched or not, and still takes the key out."""
    if patched:
        openai_continue.patch(DEEPINFRA)
    server = Server(TRUNCATED)
    client = way.client(HOST, transport=server.transport, continuation=False)

    for wish in (*WISHES, DEEPINFRA, "nonsense"):
        await settled(client.chat.completions.create(**ask("Hello."), extra_body={"continuation": wish}))
    await settled(client.close())

    assert [ask("Hello.")] * (len(WISHES) + 2) == server.bodies


def test_network_is_blocked() -> None:
    """No test of this suite reaches another machine."""
    with pytest.raises(RuntimeError, match="a test wants"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(RuntimeError, match="a test wants"):
        socket.getaddrinfo("deepinfra.com", 443)
