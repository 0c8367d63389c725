"""The serializer gives back every byte, and its cassettes are small."""

from __future__ import annotations

import json
import random
import string
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from vcr.request import Request
from vcr.serialize import deserialize, serialize
from vcr.serializers import yamlserializer

from openai_continue.testing.cassettes import serializer
from openai_continue.testing.emulator.replies import DONE, event
from tests.support.bodies import ask
from tests.support.engine import Engine

URI = "https://api.deepinfra.com/v1/openai/chat/completions"


def cassette(*bodies: bytes, asked: bytes = b'{"model":"m"}') -> dict[str, Any]:
    head = {"status": {"code": 200, "message": "OK"}, "headers": {"content-type": ["text/event-stream"]}}
    request = {"method": "POST", "uri": URI, "headers": {"accept": "application/json"}}
    return {
        "requests": [Request(body=asked, **request) for _ in bodies],
        "responses": [{**head, "body": {"string": body}} for body in bodies],
    }


def written(*bodies: bytes, asked: bytes = b'{"model":"m"}') -> str:
    """Write bodies, and check that reading gives them back. Return the YAML text."""
    text = serialize(cassette(*bodies, asked=asked), serializer)
    requests, responses = deserialize(text, serializer)
    assert list(bodies) == [response["body"]["string"] for response in responses]
    assert [asked] * len(bodies) == [request.body for request in requests]
    assert [URI] * len(bodies) == [request.uri for request in requests]
    return text


def stream(*, tokens: int, obfuscated: bool = False, **fields: Any) -> bytes:
    """Return a stream of the emulator, padded like OpenAI's if it is obfuscated."""
    dice = random.Random(1)
    chunks = list(Engine(tokens=tokens, cap=10**9).chunks({**ask("Write."), "stream": True, **fields}))
    if obfuscated:
        chunks = [chunk | {"obfuscation": "".join(dice.choices(string.ascii_letters, k=9))} for chunk in chunks]
    return b"".join(map(event, chunks)) + DONE


@pytest.mark.thorough
def test_stream_of_40_000_tokens_is_under_a_megabyte() -> None:
    """A stream of ten megabytes is written in one, with its padding."""
    body = stream(tokens=40_000, obfuscated=True)

    assert len(body) > 10_000_000
    assert len(written(body).encode()) < 1_000_000


def test_text_can_be_read() -> None:
    """The text of a stream keeps its lines, and the rest of the chunks is written once."""
    pieces = ["One", " line.\n", "Another", " one, ", "naïve", " 🦊."]
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    deltas = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    text = written(b"".join(event(chunk | delta) for delta in deltas) + DONE)

    assert "          One¦ line.\n          ¦Another¦ one, ¦naïve¦ 🦊.\n" in text
    assert text.count("chat.completion.chunk") == 1


def test_json_can_be_read() -> None:
    """Requests and whole answers are written as trees."""
    asked = json.dumps(ask("One line.\nAnother one."), ensure_ascii=False, separators=(",", ":")).encode()
    text = written(json.dumps({"id": "c", "usage": {"total_tokens": 3}}, indent=2).encode(), asked=asked)

    assert "content: |-\n            One line.\n            Another one.\n" in text
    assert "total_tokens: 3\n" in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b"\xff\xfe\x00",
        b"\x1f\x8b\x08\x00half",
        b'{"a":1,"a":2}',
        b'{"a": 1,"b":2}',
        b'{"a":1.0,"b":1e5,"c":-0,"d":12345678901234567890,"e":NaN}',
        b'{"half":"\\ud83e"}',
        b'{"slash":"\\/","u":"\\u003c"}',
        '{"separators":"\u2028\u2029\ufeff\x7f\u0085"}'.encode(),
        b'{"<<":1,"=":"yes","no":"0x1f","null":"~","2026-11-22":"12:30"}',
        b'{"":" ","\\n":"\\n  x  \\n\\n","tab":"\\t"}',
        b'{"string":"x"}',
        b"[" * 99 + b"]" * 99,
        b"[" * 2000 + b"]" * 2000,
        b"data: [DONE]\n\n",
        b": keep-alive\n\n: keep-alive\n\ndata: [DONE]\n\n",
        b'data: {"a":"x"}\r\n\r\ndata: {"a":"y"}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'data: {"a":"x"}\n\ndata: {"a":"y"}\n\ndata: {"a":',
        b'data: {"a":"x"}\n\ndata: {"a":1}\n\ndata: {"a":[1,2]}\n\n',
        b'data: {"a":"\\ud83e"}\n\ndata: {"a":"\\udd8a"}\n\n',
        b'data: {"a":"\\u00e9"}\n\ndata: {"a":"e"}\n\n',
        'data: {"a":"¦"}\n\ndata: {"a":"‖"}\n\n'.encode(),
        'data: {"a":"¦‖⁞"}\n\ndata: {"a":"b"}\n\n'.encode(),
        b'event: x\ndata: {"a":"x"}\n\nevent: x\ndata: {"a":"y"}\n\n',
        b'data: {"bytes":[1,2],"p":-0.5}\n\ndata: {"bytes":[1],"p":-1e-05}\n\n',
        b'data: {"a":"\\"","b":""}\n\ndata: {"a":"","b":"\\\\"}\n\n',
        b'data: "x" : "y"\n\ndata: "z" : "y"\n\n',
        b"\n\n\n\n",
    ],
)
def test_nothing_is_lost(body: bytes) -> None:
    """A body without a short form is stored as it is, beside bodies that have one too."""
    written(body)
    written(body, stream(tokens=20, logprobs=True), body)
    written(b"{}", asked=body)


_texts = st.text(st.characters(codec="utf-8") | st.sampled_from('¦‖"\\{}[]:, \n\r\té🦊'))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(_values, max_size=6), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_any_json_comes_back(values: list[Any], ascii_: bool, separators: tuple[str, str]) -> None:
    """Reading gives back any JSON, whole or streamed."""
    wrote = [json.dumps(value, ensure_ascii=ascii_, separators=separators).encode() for value in values]
    same = [json.dumps({"a": text}, ensure_ascii=ascii_).encode() for text in map(str, values)]
    events = b"".join(b"data: " + one + b"\n\n" for one in (*wrote, *same))

    written(*wrote, events)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text("dat: {}[]\"\\,1.e-\r\n¦‖⁞'#|>&*!%@`é🦊\x00\x85\u2028", max_size=60))
def test_any_bytes_come_back(text: str) -> None:
    """Reading gives back any text that only looks like JSON or a stream."""
    written(text.encode(), text.encode() + b"\n\n" + text.encode() + b"\n\n", asked=text.encode())


def test_cassettes_of_vcr_are_read() -> None:
    """A renamed cassette of VCR's own can be read."""
    made = cassette(b'data: {"a":1}\n\n', b"\xff")
    requests, responses = deserialize(serialize(made, yamlserializer), serializer)

    assert [response["body"]["string"] for response in responses] == [b'data: {"a":1}\n\n', b"\xff"]
    assert requests[0].body == b'{"model":"m"}'
