"""Cassettes hold no secrets."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from vcr.request import Request

from openai_continue.testing.cassettes import serializer
from openai_continue.testing.cassettes.scrubbing import Scrubber

CASSETTES = Path(__file__).resolve().parents[3] / "cassettes"
KEY = "canary-key-of-no-known-kind"


def response(body: bytes, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"status": {"code": 200, "message": "OK"}, "headers": named, "body": {"string": body}}


def test_headers_are_kept_by_name() -> None:
    """Only the headers that a replay needs are kept, so unknown ones go too."""
    scrubber = Scrubber()
    headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Organization": "org-canary", "Cookie": "a=b", "X-New": "x"}
    asked = scrubber.request(Request("POST", "https://x/", b"{}", {**headers, "Accept": "application/json"}))
    said = scrubber.response(
        response(b"{}", **{"Set-Cookie": "a=b", "X-Request-Id": "r", "X-New": "x", "Content-Type": "text/plain"})
    )

    assert dict(asked.headers) == {"Accept": "application/json"}
    assert said["headers"] == {"content-type": ["text/plain"]}


def test_key_of_a_header_is_removed_from_bodies() -> None:
    """Servers quote a key that they refuse, and some clients send it in the body too."""
    scrubber = Scrubber()
    body = f'{{"api":"{KEY}","content":"none"}}'.encode()
    headers = {"Authorization": f"Bearer {KEY}", "api-key": "none"}
    asked = scrubber.request(Request("POST", f"https://x/?k={KEY}", body, headers))
    said = scrubber.response(response(f"Incorrect API key provided: {KEY}".encode()))

    assert asked.body == b'{"api":"SCRUBBED","content":"none"}'
    assert asked.uri == "https://x/?k=SCRUBBED"
    assert said["body"]["string"] == b"Incorrect API key provided: SCRUBBED"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("a sk-proj-0123456789abcdef b", "a SCRUBBED b"),
        (r"{\"content\":\"Here:\nsk-0123456789abcdef\"}", r"{\"content\":\"Here:\nSCRUBBED\"}"),
        ('{"api_key": "canary"}', '{"api_key": "SCRUBBED"}'),
        ('{"litellm_api_key":"canary"}', '{"litellm_api_key":"SCRUBBED"}'),
        ('{"apiKey":"canary","API-KEY":"can\\"ary","a":1}', '{"apiKey":"SCRUBBED","API-KEY":"SCRUBBED","a":1}'),
        ('{"access_token" : "canary"}', '{"access_token" : "SCRUBBED"}'),
        ('{"accessToken":"canary","refreshToken":"x"}', '{"accessToken":"SCRUBBED","refreshToken":"SCRUBBED"}'),
        ('{"password":"canary\\\\","b":"c"}', '{"password":"SCRUBBED","b":"c"}'),
        ('{"DB_PASSWORD":"a b"}', '{"DB_PASSWORD":"SCRUBBED"}'),
        (
            '{"headers":{"Authorization":"Token a","x-api-key":"b"}}',
            '{"headers":{"Authorization":"SCRUBBED","x-api-key":"SCRUBBED"}}',
        ),
        ('{"X-Api-Key":"canary"}', '{"X-Api-Key":"SCRUBBED"}'),
        ('{"client_secret":"canary"}', '{"client_secret":"SCRUBBED"}'),
        (
            r'{"arguments":"{\"password\": \"a\\\"b\", \"n\": 1}"}',
            r'{"arguments":"{\"password\": \"SCRUBBED\", \"n\": 1}"}',
        ),
        (
            r'{"a":"{\"b\": \"{\\\"password\\\": \\\"a b\\\", \\\"n\\\": 1}\"}"}',
            r'{"a":"{\"b\": \"{\\\"password\\\": \\\"SCRUBBED\\\", \\\"n\\\": 1}\"}"}',
        ),
        ('{"headers":{"X-Api-Key":["canary"]}}', '{"headers":{"X-Api-Key":["SCRUBBED"]}}'),
        ('{"code":"f(api_key=None, password=get())"}', '{"code":"f(api_key=None, password=get())"}'),
        ('{"code":"f(api_key=os.environ[\'K\'])"}', '{"code":"f(api_key=os.environ[\'K\'])"}'),
        ('{"env":"DB_PASSWORD=canary\\nA=b"}', '{"env":"DB_PASSWORD=SCRUBBED\\nA=b"}'),
        ("token=canary&a=b", "token=SCRUBBED&a=b"),
        ("https://host/?X-Amz-Signature=canary", "https://host/?X-Amz-Signature=SCRUBBED"),
        ("https://host/?monkey=canary", "https://host/?monkey=canary"),
        (
            'name="api_key"; filename="k"\r\nContent-Type: text/plain\r\n\r\ncanary\r\n--',
            'name="api_key"; filename="k"\r\nContent-Type: text/plain\r\n\r\nSCRUBBED\r\n--',
        ),
        ("grant_type=x&client_secret=canary&scope=y", "grant_type=x&client_secret=SCRUBBED&scope=y"),
        ('name="api_key"\r\n\r\ncanary\r\n--', 'name="api_key"\r\n\r\nSCRUBBED\r\n--'),
        ("see https://host/f?a=1&token=canary#x", "see https://host/f?a=1&token=SCRUBBED#x"),
        ("https://host/?Key=canary&v=1", "https://host/?Key=SCRUBBED&v=1"),
        ("https://host/?code=canary", "https://host/?code=SCRUBBED"),
        ("https://host/?ACCESS_TOKEN=canary", "https://host/?ACCESS_TOKEN=SCRUBBED"),
        (r'"https://host/?a=1\u0026sig=canary"', r'"https://host/?a=1\u0026sig=SCRUBBED"'),
        ('{"token":" the","logprob":-0.1}', '{"token":" the","logprob":-0.1}'),
        ('{"code":"context_length_exceeded","key":"a"}', '{"code":"context_length_exceeded","key":"a"}'),
        ('{"max_tokens":16,"completion_tokens":8}', '{"max_tokens":16,"completion_tokens":8}'),
        ("https://user:canary@host/", "https://SCRUBBED@host/"),
        ("Authorization: Bearer 0123456789abcdefghij", "Authorization: Bearer SCRUBBED"),
        ("Bearer authentication", "Bearer authentication"),
        ("task-oriented-decentralisation, sk-i", "task-oriented-decentralisation, sk-i"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_keys_are_recognized_by_their_form(text: str, scrubbed: str) -> None:
    """They are removed from requests and from responses, and similar words are not."""
    scrubber = Scrubber()

    assert scrubbed.encode() == scrubber.request(Request("POST", "https://x/", text.encode(), {})).body
    assert scrubbed.encode() == scrubber.response(response(text.encode()))["body"]["string"]


@pytest.mark.parametrize("query", ["key", "token", "access_token", "code", "api-key", "Signature", "x_auth_token"])
def test_secrets_of_an_address_are_removed_by_name(query: str) -> None:
    """They are removed from the address of a request, and from that to which a response sends the client."""
    scrubber = Scrubber()
    asked = scrubber.request(Request("GET", f"https://x/?a=1&{query}=canary&b=2", None, {}))
    said = scrubber.response(response(b"", Location=f"https://x/?{query}=canary"))

    assert asked.uri == f"https://x/?a=1&{query}=SCRUBBED&b=2"
    assert said["headers"] == {"location": [f"https://x/?{query}=SCRUBBED"]}


@pytest.mark.parametrize("name", ["x-api-key", "X-AUTH-TOKEN", "Cookie", "x-goog-api-key", "OpenAI-Project"])
def test_the_value_of_a_secret_header_is_removed_wherever_it_stands(name: str) -> None:
    """It may stand in a body, in an address, percent-encoded, and in a response."""
    scrubber = Scrubber()
    secret = "canary/with+signs"
    asked = scrubber.request(
        Request("POST", "https://x/canary%2Fwith%2Bsigns", f'{{"user":"{secret}"}}'.encode(), {name: secret})
    )
    said = scrubber.response(response(f"user {secret} is unknown".encode()))

    assert (asked.uri, asked.body) == ("https://x/SCRUBBED", b'{"user":"SCRUBBED"}')
    assert said["body"]["string"] == b"user SCRUBBED is unknown"


def test_the_value_of_a_secret_header_of_a_response_is_removed() -> None:
    """Rate limits are numbers, and no secrets."""
    headers = {"Set-Cookie": "session=canary-cookie; Path=/", "x-ratelimit-limit-tokens": "150000000"}
    said = Scrubber().response(response(b"canary-cookie 150000000", **headers))

    assert said["body"]["string"] == b"SCRUBBED 150000000"


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_answers_can_be_read(encoding: str, compress: Any) -> None:
    """They are stored decompressed. A body that ends too early is stored as it is, so that the client fails on it again."""
    plain, packed = b"data: {}\n\n", compress(b"data: {}\n\n" * 100)
    whole = Scrubber().response(response(packed, Content_Encoding=encoding))
    cut = Scrubber().response(response(packed[:-9], Content_Encoding=encoding))

    assert ({}, plain * 100) == (whole["headers"], whole["body"]["string"])
    assert ({"content-encoding": [encoding]}, packed[:-9]) == (cut["headers"], cut["body"]["string"])


@pytest.mark.cassette
@pytest.mark.parametrize("path", sorted(CASSETTES.iterdir()), ids=lambda path: path.name)
def test_cassettes_hold_no_secret(path: Path) -> None:
    """They name their source, and hold no header and no text that only its owner may know."""
    text = path.read_text(encoding="utf-8")
    interactions = serializer.deserialize(text)["interactions"]
    headers = {name for one in interactions for part in one.values() for name in part["headers"]}

    assert text.startswith("# Recorded from ")
    assert headers <= {"accept", "content-type", "retry-after"}
    assert not re.search(r"(?<!\w)sk-[\w-]{8}|Bearer [\w-]{20}|eyJ\w{8}|127\.0\.0\.1|/home/|/Users/", text)
    assert not re.search(r"[A-Za-z0-9+/]{40}", text)
