"""The fast path of responses: events taken by the block say what they say one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue._sdk.counted_flow import CountedFlow

Json = dict[str, Any]
DELTA = "response.output_text.delta"


def event(number: int, text: str, *, first: bool = False, **more: Any) -> Json:
    """Return an event with its number before its text, as some servers have it, or after it, as vLLM has it."""
    numbered, said = {"sequence_number": number}, {"delta": text, "item_id": "msg_1", "logprobs": []}
    fields = {**numbered, **said} if first else {**said, **numbered}
    return {"content_index": 0, **fields, "type": DELTA, **more}


def raw(*events: Json) -> bytes:
    """Return the bytes of events as vLLM writes them."""
    written = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in events]
    return "".join(f"event: {DELTA}\ndata: {each}\n\n" for each in written).encode()


def learnt(came: Json, ready: Json | None = None) -> CountedFlow:
    flow = CountedFlow()
    flow.learn(raw(came), came, [ready or came], "delta")
    return flow


order = pytest.mark.parametrize("first", [False, True], ids=["number last", "number first"])


@order
def test_block_is_taken_as_it_is(first: bool) -> None:
    """Texts are read as JSON reads them, numbers follow each other, and the bytes are not touched."""
    texts = [" a", 'b"', "\\", "\n", "\r\n", "日本", "👩‍🚀", '"}', "é", '"sequence_number":7', "\ufffd."]
    flow = learnt(event(4, "x", first=first))
    block = raw(*(event(5 + place, text, first=first) for place, text in enumerate(texts)))
    assert flow.take(block) is block
    assert flow.text() == ("".join(texts), len(texts))
    assert flow.text() == ("", 0)
    again = raw(event(5 + len(texts), "y", first=first))
    assert flow.take(again) is again


@order
def test_changed_events_go_out_changed(first: bool) -> None:
    """Events of a later round go out with the first round's ids, and the numbers that come next."""
    ready = event(40, "x", item_id="msg_0")
    flow = learnt(event(4, "x", first=first), ready)
    given = flow.take(raw(event(5, "a", first=first), event(6, 'b"\n', first=first)))
    assert given is not None
    lines = [line.removeprefix("data: ") for line in given.decode().splitlines() if line.startswith("data: ")]
    assert list(map(json.loads, lines)) == [
        event(41, "a", item_id="msg_0"),
        event(42, 'b"\n', item_id="msg_0"),
    ]
    assert flow.text() == ('ab"\n', 2)


NOT_OF_THE_FLOW: dict[str, bytes] = {
    "a gap": raw(event(6, "a")),
    "a repeated number": raw(event(4, "a")),
    "no text": raw(event(5, "")),
    "half a character": raw(event(5, "a\ufffd")),
    "another item": raw(event(5, "a", item_id="msg_2")),
    "logprobs": raw(event(5, "a", logprobs=[{"token": "a"}])),
    "another field": raw(event(5, "a", obfuscation="x")),
    "another type": raw(event(5, "a", type="response.reasoning_text.delta")),
    "an end behind it": raw(event(5, "a")) + b"event: response.completed\ndata: {}\n\n",
    "a comment": b": ping\n\n",
    "nothing": b"",
    "half of a surrogate pair": raw(event(5, "a")).replace(b'"a"', b'"\\ud83d"'),
    "no UTF-8": raw(event(5, "a")).replace(b'"a"', b'"\xff"'),
}


@pytest.mark.parametrize("case", NOT_OF_THE_FLOW)
def test_what_must_be_parsed(case: str) -> None:
    """Anything else is parsed, and changes nothing of what is known."""
    flow = learnt(event(4, "x"))
    assert flow.take(NOT_OF_THE_FLOW[case]) is None
    assert flow.text() == ("", 0)
    block = raw(event(5, "b"))
    assert flow.take(block) is block


UNKNOWN: dict[str, tuple[bytes, Json]] = {
    "no number": (raw({"delta": "x", "type": DELTA}), {"delta": "x", "type": DELTA}),
    "two numbers": (
        raw({"sequence_number": 4, "delta": "x", "more": {"sequence_number": 4}}),
        {"sequence_number": 4, "delta": "x", "more": {"sequence_number": 4}},
    ),
    "another delta": (
        raw({"sequence_number": 4, "more": {"delta": "y"}, "delta": "x"}),
        {"sequence_number": 4, "more": {"delta": "y"}, "delta": "x"},
    ),
    "returns": (raw(event(4, "x")).replace(b"\n", b"\r\n"), event(4, "x")),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_forms_that_are_not_learnt(case: str) -> None:
    """An event in which the place of the text or of the number is not clear teaches nothing."""
    flow = CountedFlow()
    came, chunk = UNKNOWN[case]
    flow.learn(came, chunk, [chunk], "delta")
    assert flow.take(came) is None
    assert flow.take(came.replace(b"4", b"5")) is None
