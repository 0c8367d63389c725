"""Bodies that are written on from the last one are, to the byte, what the SDK writes."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue.bodies import BodyWriter
from openai_continue.testing import Emulator
from tests.conftest import http

TEXTS = [
    "word",
    " ",
    "\n",
    "日本",
    "👩‍🚀",
    '"',
    "\\",
    "\x00\x1f\x7f",
    "\b\f\t\r",
    "\u2028",
    "/",
    "<openai-continue: text",
    "é",
]


def dumps(value: Any) -> bytes:
    """Write JSON as openai 3.x."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Count:
    """Writes JSON, and counts the bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, value: Any) -> bytes:
        written = dumps(value)
        self.bytes += len(written)
        return written


def body_of(messages: list[Any], answer: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*messages, {"role": "assistant", "content": answer}], **more}


@pytest.mark.parametrize("seed", range(40))
def test_every_body_is_what_the_sdk_writes(seed: int) -> None:
    """Whatever grows, shrinks or changes from one body to the next."""
    rng = random.Random(seed)
    write = BodyWriter(dumps).write
    messages: list[Any] = [{"role": "user", "content": "é\n"}]
    answer = ""
    for _ in range(30):
        answer += "".join(rng.choices(TEXTS, k=rng.randrange(20)))
        if rng.random() < 0.1:
            answer = answer[: rng.randrange(len(answer) + 1)]
        if rng.random() < 0.1:
            messages = rng.choice([[], [*messages], [*messages, {"role": "user", "content": answer}]])
        body = body_of(messages, answer, max_tokens=rng.randrange(3))
        if rng.random() < 0.2:
            body["messages"][-1]["reasoning_content"] = rng.choice(["", answer, f"{answer}." * 2])
        if rng.random() < 0.2:
            body = {"stream": rng.random() < 0.5, **body}

        assert dumps(body) == write(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": []},
        {"messages": "x"},
        {"messages": ["x"]},
        {"messages": [{}]},
        {"messages": [{"content": None}]},
        {"messages": [{"content": [{"type": "text", "text": "x"}]}]},
        {"messages": ({"content": "x"},)},
        body_of([], "<openai-continue: text>"),
        body_of([], "x", user="<openai-continue: messages>"),
        body_of([{"content": "<openai-continue: messages>"}], "<openai-continue: messages>"),
        {"messages": [{"content": "x", "name": "<openai-continue: text>"}]},
    ],
)
def test_odd_body(body: dict[str, Any]) -> None:
    """A body of another form, or one that holds what stands for something, is written all the same."""
    writer = BodyWriter(dumps)

    assert dumps(body) == writer.write(body) == writer.write(body)
    assert dumps(body_of([], "y")) == writer.write(body_of([], "y"))


def test_nothing_is_written_twice() -> None:
    """What a body costs is what is new in it."""
    count = Count()
    messages = [{"role": "user", "content": "question " * 1000}]
    writer = BodyWriter(count)
    writer.write(body_of(messages, "answer " * 1000))
    before = count.bytes
    writer.write(body_of(messages, "answer " * 1001))

    assert count.bytes - before < 500


def test_failed_body_leaves_the_writer_as_it_was() -> None:
    """Text that UTF-8 does not know fails as in the SDK, and the next body is right."""
    writer = BodyWriter(dumps)
    messages: list[Any] = [{"role": "user", "content": "x"}]
    writer.write(body_of(messages, "One"))
    for bad in ("One\ud83d", "\ud83d"):
        with pytest.raises(UnicodeEncodeError):
            writer.write(body_of(messages, bad))

    assert dumps(body_of(messages, "One, two")) == writer.write(body_of(messages, "One, two"))


class Changing(openai.OpenAI):
    """Changes the body of each request, as gateways' clients do."""

    def _prepare_options(self, options: Any) -> Any:
        options = super()._prepare_options(options)
        options.extra_json = {**(options.extra_json or {}), "user": f"user {len(options.json_data['messages'])}"}
        return options


def test_what_a_client_changes_is_in_every_round() -> None:
    """Bodies are written behind the hooks of a subclass, and begin with the last one to the byte."""
    sent: list[bytes] = []
    with Emulator(cap=50, tokens=200) as emulator:
        openai_continue.patch(openai_continue.Continuation(provider="deepinfra"))
        http_client = http.Client(event_hooks={"request": [lambda request: sent.append(request.read())]})
        client = Changing(base_url=emulator.base_url, api_key="none", http_client=http_client)
        request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Write."}]}
        answer = client.chat.completions.create(**request)
        client.close()

        assert emulator.uncapped(request) == answer.choices[0].message.content
    assert len(sent) > 3
    assert all(json.loads(content)["user"].startswith("user ") for content in sent)
    begun = [content[: content.index(b'"}]', content.index(b'"assistant"'))] for content in sent[1:]]
    assert all(later.startswith(earlier) for earlier, later in pairwise(begun))
