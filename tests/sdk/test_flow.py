"""The fast path: chunks taken by the block say what they say one by one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue._core.json import load
from openai_continue._sdk import reading
from openai_continue._sdk.flow import Flow
from openai_continue.testing.emulator.replies import DONE, event
from tests.support.bodies import ask
from tests.support.script import Pieces
from tests.support.waiting import wait_first
from tests.support.ways import DEEPINFRA, OUR_SYNC, http

HEAD = {"id": "one", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def plain(text: str, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


def learnt(chunk: dict[str, Any], ready: dict[str, Any] | None = None, field: str = "content") -> Flow:
    """Make a flow that has seen a chunk twice."""
    flow = Flow()
    for _ in range(2):
        flow.learn(event(chunk), chunk, [ready or chunk], field)
    return flow


def test_block_is_taken_as_it_is() -> None:
    """Texts are read as JSON reads them, and the bytes are not touched."""
    texts = [" a", 'b"', "\\", "\n", "\r\n", "\r", "日本", "👩‍🚀", '"}', "é", "\ufffd."]
    block = b"".join(event(plain(text)) for text in texts[:-2])
    block += b"".join(
        b"data: " + json.dumps(plain(text), separators=(",", ":")).encode() + b"\n\n" for text in texts[-2:]
    )
    flow = learnt(plain("x"))

    assert flow.take(block) is block
    assert flow.text() == ("".join(texts), len(texts))
    assert flow.text() == ("", 0)


def test_changed_chunks_go_out_changed() -> None:
    """If the chunks of a round are changed before they go out, the text is put into the changed ones."""
    flow = learnt(plain("x"), ready={**plain("x"), "id": "first"})
    given = flow.take(event(plain("a")) + event(plain('b"')))

    assert given == event({**plain("a"), "id": "first"}) + event({**plain('b"'), "id": "first"})
    assert flow.text() == ('ab"', 2)


ODD = {
    "another id": event({**plain("x"), "id": "two"}),
    "an end": event(plain("x")).replace(b"null", b'"length"'),
    "usage": event(plain("x", usage={"completion_tokens": 1})),
    "half a character": event(plain("x\ufffd")),
    "half a character, escaped": event(plain("x")).replace(b'"x"', b'"x\\ufffd"'),
    "half of a pair": event(plain("x")).replace(b'"x"', b'"\\uD83d"'),
    "a second content": event(plain("x")).replace(b'"x"', b'"x","content":"y"'),
    "an open string": event(plain("x")).replace(b'"x"', b'"x\\"'),
    "a bad escape": event(plain("x")).replace(b'"x"', b'"\\x"'),
    "a control character": event(plain("x")).replace(b'"x"', b'"\t"'),
    "no UTF-8": event(plain("x")).replace(b'"x"', b'"\xff"'),
    "a comment": b": keep-alive\n\n",
    "the end mark": DONE,
    "other line ends": event(plain("x")).replace(b"\n\n", b"\r\n\r\n"),
    "no text": event(plain("")),
    "no text between": event(plain("")).replace(b'""', b'"'),
    "nothing": b"",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("place", ["first", "between", "last", "alone"])
def test_odd_event_sends_its_block_the_long_way(odd: bytes, place: str) -> None:
    """A block with one odd event is not taken at all."""
    good = event(plain("y"))
    block = {"first": odd + good, "between": good + odd + good, "last": good + odd, "alone": odd}[place]

    flow = learnt(plain("x"))

    assert flow.take(block) == (None if odd or place == "alone" else block)
    assert flow.text() == (("", 0) if odd or place == "alone" else ("y" * block.count(good), block.count(good)))


@pytest.mark.parametrize(
    "raw",
    [
        event(plain("x")).replace(b'"x"', b'"x","content":"x"'),
        event({**plain("x"), "note": 1}).replace(b'"note":1', b'"choices":[{"delta":{"content":"x"}}]'),
        event({"content": "x", **plain("x")}),
        event(plain("x")).replace(b"\n\n", b"\r\n\r\n"),
        event(plain("x")).replace(b"null", b"\xff"),
    ],
)
def test_place_of_the_text_is_tried_out(raw: bytes) -> None:
    """The first string that looks like the text need not be it; an event that leaves a doubt is not taken."""
    chunk: Any = load(raw.strip()[6:])
    flow = Flow()
    for _ in range(3):
        flow.learn(raw, chunk or plain("x"), [chunk or plain("x")], "content")

    assert flow.take(raw) is None


def test_flow_ends_with_another_event() -> None:
    """After any other event the next text goes the long way, since that event may change what becomes of it."""
    flow = learnt(plain("x"))
    flow.learn(event(plain("x")), plain("x"), [], "content")

    assert flow.take(event(plain("x"))) is None


PIECES = ["word", " ", "\n", "日本", "👩‍🚀", '"', "\\", "{", "END", "\t", "é"]
RARE = ["", "\ufffd", "<think>", "</think>", "E"]


class Server:
    """Streams random events in random blocks, cut at every third token or so; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._round = 0

    def __call__(self, request: Any) -> Any:
        self._round += 1
        data = b"".join(self._events())
        if self._random.random() < 0.2:
            data = data[: self._random.randrange(len(data))]
        return http.Response(
            200, headers={"content-type": "text/event-stream"}, stream=Pieces(list(blocks(data, self._random)))
        )

    def _events(self) -> Iterator[bytes]:
        rng = self._random
        head = {**HEAD, "id": f"id-{self._round}"}
        field = rng.choice(["content", "content", "content", "reasoning_content"])
        more = rng.choice([{}, {"usage": None}, {"role": "assistant"}, {"tool_calls": None}])
        escapes = rng.random() < 0.3
        yield event({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for _ in range(rng.randrange(40)):
            if rng.random() < 0.05:
                field = "content" if field != "content" or rng.random() < 0.8 else "reasoning"
            if rng.random() < 0.05:
                yield rng.choice([b": keep-alive\n\n", event({**head, "choices": []}), b"\n\n"])
            text = "".join(rng.choices(PIECES, k=rng.randint(1, 3))) if rng.random() < 0.9 else rng.choice(RARE)
            delta = {**{name: value for name, value in more.items() if name != "usage"}, field: text}
            item = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
            chunk = {**head, "choices": [item], **({"usage": None} if "usage" in more else {})}
            if rng.random() < 0.03:
                chunk["created"] = rng.randrange(9)
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n" if escapes else event(chunk)
        reason = rng.choice(["length", "length", "stop"]) if self._round < 5 else "stop"
        item = {"index": 0, "delta": {}, "finish_reason": reason}
        yield event(
            {**head, "choices": [item], "usage": {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}}
        )
        yield DONE


def blocks(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Cut bytes into blocks of any size."""
    aligned = rng.random() < 0.5
    while data:
        size = rng.choice([1, 7, 100, 1000, 5000])
        end = data.find(b"\n\n", size) + 2 if aligned else size
        end = len(data) if end < 2 else end
        yield data[:end]
        data = data[end:]


def streamed(seed: int) -> Any:
    """Return the chunks of a random call to such a server, and the error at its end."""
    rng = random.Random(seed)
    settings = replace(DEEPINFRA, provider=rng.choice(["deepinfra", "vllm", "mistral"]), max_rounds=8)
    body = ask(model=rng.choice(["m", "deepseek-r1"]))
    if rng.random() < 0.3:
        body["max_tokens"] = rng.choice([15, 100])
    if rng.random() < 0.2:
        body["stop"] = ["END"]
    if rng.random() < 0.1:
        body["response_format"] = {"type": "json_object"}
    transport = http.MockTransport(Server(seed))
    client = OUR_SYNC.client("http://none", transport=transport, max_retries=0, continuation=settings)
    chunks: list[Any] = []
    try:
        with client, client.chat.completions.create(**body, stream=True) as stream:
            chunks.extend(chunk.to_dict() for chunk in stream)
    except openai.APIError as error:
        chunks.append((type(error).__name__, getattr(error, "partial_completion", None)))
    return chunks


@pytest.mark.parametrize("start", range(0, 100, 25))
@pytest.mark.spread(1)
def test_by_the_block_as_one_by_one(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server sends, in whatever blocks: the chunks are those of the long way."""
    wait_first(monkeypatch, 0)
    # The core gets the text of one event, or of many.
    monkeypatch.setattr(reading, "_MOST_WAITING", start)
    seeds = range(start, start + 25)
    by_the_block = [streamed(seed) for seed in seeds]
    taken: list[bool] = []
    monkeypatch.setattr(Flow, "take", lambda self, block: taken.append(True))
    one_by_one = [streamed(seed) for seed in seeds]

    assert taken
    assert one_by_one == by_the_block
