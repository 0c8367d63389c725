"""Bytes to events and chunks to answers: the result does not depend on how they were split."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from itertools import pairwise
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue import providers
from openai_continue.core.rounds import Rounds
from openai_continue.sdk import wire
from openai_continue.sdk.wire import EventReader
from openai_continue.settings import Continuation
from tests.conftest import ask

ENDS = ["\n", "\r", "\r\n"]


def events_of(*pieces: bytes) -> list[wire.Event]:
    """Read pieces of a stream."""
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def data_of(*pieces: bytes) -> list[bytes]:
    """Give what the events say; some say nothing, as empty lines do that a split made."""
    return [event.data for event in events_of(*pieces) if event.data is not None]


def split(content: bytes, places: list[int]) -> list[bytes]:
    """Split at these places."""
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


#: Text of one line, as a value of a field.
VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)
LINES = st.one_of(
    VALUES.map("data: {}".format),
    VALUES.map("data:{}".format),
    VALUES.map(": {}".format),
    VALUES.map("event: {}".format),
    st.sampled_from(["id: 1", "retry: 3", "unknown: x", "data: [DONE]", 'data: {"choices":[]}']),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Make a stream with line ends of any kind, and what its events say."""
    written, said = b"", []
    for lines in draw(st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=6)):
        for line in lines:
            written += line.encode() + draw(st.sampled_from(ENDS)).encode()
        # A "\n" behind a "\r" is one end and no empty line.
        written += draw(st.sampled_from(ENDS[1:] if written.endswith(b"\r") else ENDS)).encode()
        values = [line[5:].removeprefix(" ").encode() for line in lines if line.startswith("data:")]
        said += [b"\n".join(values)] if values else []
    return written, said


@given(stream=streams(), places=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=300, deadline=None)
def test_events_however_split(stream: tuple[bytes, list[bytes]], places: list[int]) -> None:
    """Any end of line, comments, data of several lines: the events say the same however the bytes were split."""
    content, said = stream
    pieces = split(content, places)
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]

    assert said == [event.data for event in events if event.data is not None]
    assert content == b"".join(event.raw for event in events) + reader.rest()


@given(stream=streams())
@settings(max_examples=100, deadline=None)
def test_events_byte_by_byte(stream: tuple[bytes, list[bytes]]) -> None:
    """A stream in single bytes says what it says in one piece."""
    content, said = stream

    assert said == data_of(content) == data_of(*(content[place : place + 1] for place in range(len(content))))


@given(content=st.binary(max_size=60), places=st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_bytes(content: bytes, places: list[int]) -> None:
    """No bytes are lost or made up, and none raise."""
    reader = EventReader()
    events = [event for piece in split(content, places) for event in reader.feed(piece)]

    assert content == b"".join(event.raw for event in events) + reader.rest()


@given(stream=streams())
@settings(max_examples=100, deadline=None)
def test_events_are_the_sdks(stream: tuple[bytes, list[bytes]]) -> None:
    """The SDK reads the same data from a stream whose line ends are of one kind."""
    content, _ = stream
    # Only newer ones know all of them.
    content = re.sub(rb"\r\n|\r|\n", b"\n", content)
    decoder = openai._streaming.SSEDecoder()
    theirs = [sse.data.encode() for sse in decoder.iter_bytes(iter([content])) if sse.data]

    assert theirs == [data for data in data_of(content) if data]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\rdata: b\n\n", [b"a\nb"]),
        (b"data: a\r\n\n", [b"a"]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b": comment\ndata: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data:\n\n", [b""]),
        (b"event: x\n\n", []),
        (b"data: half", []),
        (b"data: half\n", []),
    ],
)
def test_forms_of_events(content: bytes, said: list[bytes]) -> None:
    """Each form of an event is read, at each place where its bytes may be split."""
    assert said == data_of(content)
    for place in range(len(content)):
        assert said == data_of(content[:place], content[place:])


def test_comments() -> None:
    """A comment is told from an event that says nothing else."""
    comment, other, both = events_of(b": ping\n\nevent: ping\n\n: ping\nid: 5\n\n")

    assert (True, False, False) == (comment.is_comment, other.is_comment, both.is_comment)


def test_cost_of_a_long_event() -> None:
    """An event of many pieces is looked through once, not once for each piece."""
    reader = EventReader()
    started = time.process_time()
    reader.feed(b"data: ")
    for _ in range(16_000):
        reader.feed(b"x" * 1024)
    (event,) = reader.feed(b"\n\n")

    assert 16_000 * 1024 == len(event.data or b"")
    assert time.process_time() - started < 3


def test_event_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event longer than any may be is given up, and nothing of it is kept."""
    monkeypatch.setattr(wire, "MAX_EVENT", 1000)
    reader = EventReader()

    assert b"one" == reader.feed(b"data: one\n\ndata: " + b"x" * 990)[0].data
    assert not reader.is_overrun
    assert [] == reader.feed(b"x" * 10)
    assert reader.is_overrun
    assert b"" == reader.rest()


# JSON.


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_json(opening: bytes) -> None:
    """JSON is read down to a depth that can be written again, and is none below it."""
    closing = b"]" if opening == b"[" else b"}"

    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + closing * depth

    assert json.loads(nested(99)) == wire.load(nested(99))
    for depth in (101, 900, 10_000, 100_000):
        assert None is wire.load(nested(depth))
    # Brackets in a text are no depth.
    assert "[" * 500 == wire.load(b'"' + b"[" * 500 + b'"')


@pytest.mark.parametrize(
    "content", [b"", b"x", b"{", b"\xff", b'"\xff"', b"1" * 5000, b"\x00", b"\xef\xbb\xbf{", b"NaNa"]
)
def test_no_json(content: bytes) -> None:
    """What is no JSON is None."""
    assert None is wire.load(content)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_json_survives(value: Any) -> None:
    """What is written is read again, lone surrogates too."""
    assert value == wire.load(wire.dump(value))


def test_json_of_numbers_that_are_none() -> None:
    """NaN and infinities are written as the SDK reads them."""
    assert b"[NaN,Infinity,-Infinity]" == wire.dump(wire.load(b"[NaN, Infinity, -Infinity]"))


def test_json_without_pydantic_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """openai takes pydantic 1 too, which brings no writer of JSON: the text is the same."""
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    spec = importlib.util.spec_from_file_location("wire_alone", wire.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "wire_alone", alone)
    spec.loader.exec_module(alone)

    for value in ({"a": ["é\u2028\n\x00", 1.5, None, True, 10**30]}, "\ud800", [float("nan")]):
        assert wire.dump(value) == alone.dump(value)


# Chunks.


def chunk(text: str, finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    delta = {"content": text} if text else {}
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def streamed(rounds: list[list[dict[str, Any]]], **body: Any) -> list[dict[str, Any]]:
    """Give the merged chunks of rounds."""
    settings = Continuation()
    made = Rounds(ask("x", stream=True, **body), providers.named("deepinfra"), settings)
    chunks: list[dict[str, Any]] = []
    for pieces in rounds:
        request = made.next_request()
        assert request is not None
        for piece in pieces:
            chunks += made.feed(request, piece)
        chunks += made.end_of_stream(request)
    assert None is made.next_request()
    return chunks + made.last_chunks()


def told(chunks: list[dict[str, Any]], index: int = 0) -> tuple[str, list[str]]:
    """Give a choice's text and ends."""
    items = [item for one in chunks for item in one["choices"] if item["index"] == index]
    return (
        "".join(item["delta"].get("content") or "" for item in items),
        [item["finish_reason"] for item in items if item.get("finish_reason")],
    )


TEXTS = st.text(st.sampled_from("ab \n\t\ufffdé"), max_size=10)


@given(
    first=TEXTS,
    second=TEXTS,
    places=st.tuples(*[st.lists(st.integers(0, 20), max_size=5)] * 2),
    stop=st.sampled_from([None, "ab", "a b", "\n"]),
)
@settings(max_examples=300, deadline=None)
def test_texts_however_split(first: str, second: str, places: tuple[list[int], list[int]], stop: str | None) -> None:
    """A merged text and its end are the same however each round was split into chunks."""

    def chunks(text: str, cuts: list[int], finish_reason: str) -> list[dict[str, Any]]:
        edges = [0, *sorted(place % (len(text) + 1) for place in cuts), len(text)]
        pieces = [text[start:end] for start, end in pairwise(edges)]
        return [*map(chunk, pieces), chunk("", finish_reason)]

    body = {} if stop is None else {"stop": stop}
    whole = _round_by_round(chunks(first, [], "length"), chunks(second, [], "stop"), body)
    parted = _round_by_round(chunks(first, places[0], "length"), chunks(second, places[1], "stop"), body)

    assert told(whole) == told(parted)


def _round_by_round(first: list[Any], second: list[Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the merged chunks of one round or two, whichever the first one calls for."""
    made = Rounds(ask("x", stream=True, **body), providers.named("deepinfra"), Continuation())
    chunks: list[dict[str, Any]] = []
    for pieces in (first, second):
        request = made.next_request()
        if request is None:
            break
        for piece in pieces:
            chunks += made.feed(request, piece)
            if made.enough:
                break
        chunks += made.end_of_stream(request)
    return chunks + made.last_chunks()


@given(order=st.permutations([0] * 4 + [1] * 4 + [2] * 4), together=st.booleans())
@settings(max_examples=100, deadline=None)
def test_choices_in_any_order(order: list[int], together: bool) -> None:
    """The chunks of several choices may come in any order, or several in a chunk; each choice has its text and end."""
    words = {index: iter([f"{index}-a ", f"{index}-b ", f"{index}-c", ""]) for index in range(3)}
    pieces = []
    for index in order:
        word = next(words[index])
        pieces.append(chunk(word, None if word else "length", index))
    if together:
        pieces = [
            {**one, "choices": one["choices"] + other["choices"]}
            for one, other in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    rounds = [pieces, *[[chunk(" and"), chunk(" on", "stop")]] * 3]

    chunks = streamed(rounds, n=3)

    assert [(f"{index}-a {index}-b {index}-c and on", ["stop"]) for index in range(3)] == [
        told(chunks, index) for index in range(3)
    ]


def test_choices_of_one_chunk_that_do_not_all_go_out() -> None:
    """Where a part of a chunk waits, it is not given with the other parts and then once more."""
    both = chunk("One", None, 0)
    both["choices"] += [
        {"index": 1, "delta": {"reasoning_content": "well", "content": "\ufffd"}, "finish_reason": None}
    ]
    last = [chunk("", "stop", 0), chunk("\ufffd two", "stop", 1)]

    chunks = streamed([[both, *last]], n=2)

    assert [("One", ["stop"]), ("\ufffd\ufffd two", ["stop"])] == [told(chunks, index) for index in range(2)]
