"""Bytes to events: the result does not depend on how the bytes were split."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._sdk import sse

ENDS = ["\n", "\r", "\r\n"]


def events_of(*pieces: bytes) -> list[sse.Event]:
    """Read pieces of a stream."""
    reader = sse.EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def data_of(*pieces: bytes) -> list[bytes]:
    """Return the data of the events; some have none, as empty lines do that a split made."""
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
    """Return a stream with line ends of any kind, and the data of its events."""
    written, said = b"", []
    for lines in draw(st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=6)):
        for line in lines:
            written += line.encode() + draw(st.sampled_from(ENDS)).encode()
        # A "\n" after a "\r" is one end and no empty line.
        written += draw(st.sampled_from(ENDS[1:] if written.endswith(b"\r") else ENDS)).encode()
        values = [line[5:].removeprefix(" ").encode() for line in lines if line.startswith("data:")]
        said += [b"\n".join(values)] if values else []
    return written, said


@given(stream=streams(), places=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=150, deadline=None)
def test_events_however_split(stream: tuple[bytes, list[bytes]], places: list[int]) -> None:
    """Any end of line, comments, data of several lines: the events say the same however the bytes were split."""
    content, said = stream
    reader = sse.EventReader()
    events = [event for piece in split(content, places) for event in reader.feed(piece)]

    assert said == [event.data for event in events if event.data is not None]
    assert content == b"".join(event.raw for event in events) + reader.rest()
    assert said == data_of(content) == data_of(*(content[place : place + 1] for place in range(len(content))))


@given(content=st.binary(max_size=60), places=st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_bytes(content: bytes, places: list[int]) -> None:
    """No bytes are lost or made up, and none raise."""
    reader = sse.EventReader()
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
    """A comment differs from an event without data."""
    comment, other, both = events_of(b": ping\n\nevent: ping\n\n: ping\nid: 5\n\n")

    assert (comment.is_comment, other.is_comment, both.is_comment) == (True, False, False)


def test_cost_of_a_long_event() -> None:
    """An event of many pieces is looked through once, not once for each piece."""
    reader = sse.EventReader()
    started = time.process_time()
    reader.feed(b"data: ")
    for _ in range(8_000):
        reader.feed(b"x" * 1024)
    (event,) = reader.feed(b"\n\n")

    assert len(event.data or b"") == 8_000 * 1024
    assert time.process_time() - started < 5


def test_event_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event longer than any may be is given up, and nothing of it is kept."""
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    reader = sse.EventReader()

    assert reader.feed(b"data: one\n\ndata: " + b"x" * 990)[0].data == b"one"
    assert not reader.is_overrun
    assert reader.feed(b"x" * 10) == []
    assert reader.is_overrun
    assert reader.rest() == b""
