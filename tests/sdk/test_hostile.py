"""Servers that send anything, and callers that ask anything: no crash of ours, and nothing worse than the SDK alone."""

from __future__ import annotations

import copy
import itertools
import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue._sdk import sse
from openai_continue.testing import Emulator, Fault
from tests.support.answers import Answer, outcome
from tests.support.asking import play, play_plain
from tests.support.bodies import ask
from tests.support.script import DONE, Script, chunk, event
from tests.support.ways import DEEPINFRA, OUR_ASYNC, SYNC, Way, settled, streamed_or_not, two_ways

NOTHING: Any = object()
DEEP: Any = 1
for _ in range(90):
    DEEP = [DEEP]
#: Values of every kind, for any field.
VALUES: list[Any] = [
    NOTHING, None, True, -1, 5, float("nan"), 10**30, "", "x", "\ud800", [], ["x"], [5], {}, [{}], [{"x": {}}], DEEP,
]  # fmt: skip
USAGES: list[Any] = [
    {"completion_tokens": value, "prompt_tokens": other}
    for value in (None, "5", -5, float("nan"), float("inf"), 10**30, True, [], {})
    for other in (5, value)
] + [{"completion_tokens_details": {"reasoning_tokens": "x"}}, {"deep": DEEP}]
LOGPROBS: list[Any] = [
    {"content": value}
    for value in (5, "x", {}, [5], ["x"], [None], [{}], [{"token": 5}], [{"token": "One", "bytes": "x"}],
                  [{"token": "One", "bytes": [300]}], [{"token": "One", "bytes": [-1, "x", None]}], [[]])
]  # fmt: skip
CONTENTS: list[Any] = [
    [{"type": "text", "text": "One"}],
    [{"text": 5}],
    "\ufffd" * 8,
    "\0",
    "<think>",
    "</think>",
    "<think>\n\n</think>",
]
TOOLS: list[Any] = [[{"index": "x"}], [{"index": 0, "function": 5}], [{"function": {"arguments": 5}}]]


def completion(text: str, finish_reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


PATHS: dict[tuple[str | int, ...], list[Any]] = {
    ("choices",): [],
    ("choices", 0): [],
    ("choices", 0, "index"): [],
    ("choices", 0, "message"): [],
    ("choices", 0, "finish_reason"): ["weird", "error"],
    ("choices", 0, "logprobs"): LOGPROBS,
    ("choices", 0, "message", "content"): CONTENTS,
    ("choices", 0, "message", "role"): [],
    ("choices", 0, "message", "tool_calls"): TOOLS,
    ("choices", 0, "message", "function_call"): [],
    ("choices", 0, "message", "reasoning_content"): ["thought"],
    ("choices", 0, "message", "audio"): [],
    ("choices", 0, "message", "new"): [],
    ("choices", 0, "new"): [],
    ("id",): [],
    ("model",): [],
    ("usage",): USAGES,
    ("error",): [{"message": "x"}, {"code": "y"}],
    ("error_message",): ['{"error": []}', '{"error": {"code": 1e400}}'],
    ("new",): [],
}


def spoilt(body: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Put a value at a path."""
    spoilt = copy.deepcopy(body)
    place: Any = spoilt
    for name in path[:-1]:
        place = place[name]
    if value is NOTHING:
        place.pop(path[-1], None) if isinstance(place, dict) else place.clear()
    else:
        place[path[-1]] = value
    return spoilt


def as_chunk(body: dict[str, Any]) -> dict[str, Any]:
    """Make a chunk of a completion: the message becomes a delta."""
    made = {**body, "object": "chat.completion.chunk"}
    if isinstance(body.get("choices"), list):
        made["choices"] = [
            {("delta" if name == "message" else name): value for name, value in item.items()}
            if isinstance(item, dict)
            else item
            for item in body["choices"]
        ]
    return made


def is_ours(error: Any) -> bool:
    """Return whether code of this library raised an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    return "/openai_continue/" in frames[-1].filename and not isinstance(error, openai.OpenAIError)


def body_of(answer: dict[str, Any], *, streamed: bool) -> list[bytes]:
    """Write an answer as a server does, escaping what UTF-8 cannot say."""
    if streamed:
        return [b"data: " + json.dumps(as_chunk(answer)).encode() + b"\n\n", DONE]
    return [json.dumps(answer).encode()]


def check_ours(seen: Answer) -> Answer:
    """Check that no code of this library raised."""
    assert seen.error is None or not is_ours(seen.error), "".join(traceback.format_exception(seen.error))
    return seen


async def asked(way: Way, script: Script, *, streamed: bool = True, **body: Any) -> Answer:
    """Ask a scripted server; no code of this library may raise."""
    return check_ours(await play(way, script, streamed=streamed, **body))


def dumped(raw: Any) -> str:
    """Write what the caller got, so that NaN is equal to itself."""
    return "".join(map(dumped, raw)) if isinstance(raw, list) else repr(raw)


at_any_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))


def values_at(path: Any) -> Iterator[tuple[Way, Any]]:
    """Return the values to put at a path, each with a way to ask."""
    return zip(itertools.cycle((SYNC, OUR_ASYNC)), [*VALUES, *PATHS[path]])


@streamed_or_not
@at_any_path
async def test_wrong_types_in_the_first_round(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in an answer that ends by itself, the caller gets what the SDK alone makes of it."""
    for way, value in values_at(path):
        body = body_of(spoilt(completion("One ", "stop"), path, value), streamed=streamed)
        script = Script(body)

        without = await play_plain(way, Script(body), streamed=streamed)
        seen = await asked(way, script, streamed=streamed)

        assert (without.kind, dumped(without.raw)) == (seen.kind, dumped(seen.raw)), value
        assert len(script.bodies) == 1


@streamed_or_not
@at_any_path
async def test_wrong_types_in_an_answer_that_was_cut(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in an answer that was cut, it is no worse than the SDK alone."""
    for way, value in values_at(path):
        body = body_of(spoilt(completion("One ", "length"), path, value), streamed=streamed)
        script = Script(body, body_of(completion("and two", "stop"), streamed=streamed))

        without = await play_plain(way, Script(body), streamed=streamed)
        seen = await asked(way, script, streamed=streamed)

        if without.error is not None:
            assert without.kind == seen.kind, value
        elif isinstance(without.text, str):
            assert isinstance(seen.text, str)
            assert seen.text.startswith(without.text.rstrip("\ufffd")), value


@streamed_or_not
@at_any_path
async def test_wrong_types_in_a_later_round(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in a later round, the text before it is kept, and the answer says how it ended."""
    for (way, value), finish_reason in itertools.product(values_at(path), ("length", "stop")):
        later = body_of(spoilt(completion("and two ", finish_reason), path, value), streamed=streamed)
        first = body_of(completion("One ", "length"), streamed=streamed)
        script = Script(first, later, body_of(completion("and three", "stop"), streamed=streamed))

        seen = await asked(way, script, streamed=streamed)

        assert seen.error is None, (value, seen.error)
        assert seen.text.startswith("One "), value
        assert seen.finish_reason is not None
        if seen.finish_reason == "stop" and path[-1] not in ("content", "message", "new", "reasoning_content"):
            assert seen.text in ("One and two ", "One and two and three"), value


class Endless:
    """A line without end, which counts how much of it was sent."""

    def __init__(self, size: int) -> None:
        self._piece = b"x" * size
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"data: "
        for _ in range(1024 * 1024 * 1024 // len(self._piece)):
            self.sent += len(self._piece)
            yield self._piece


@pytest.mark.parametrize("first", [[], [chunk("One ")]], ids=["at-once", "after-text"])
async def test_line_without_end(way: Way, first: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end in the first round is given up after the longest event that may be."""
    monkeypatch.setattr(sse, "MAX_EVENT", 1024 * 1024)
    endless = Endless(65_536)

    seen = await asked(way, Script(itertools.chain(first, endless)))

    assert isinstance(seen.error, openai.APIResponseValidationError)
    assert "One " * len(first) == seen.text
    assert endless.sent <= 2 * sse.MAX_EVENT


async def test_line_without_end_in_a_later_round(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end in a later round ends the answer with what came."""
    monkeypatch.setattr(sse, "MAX_EVENT", 1024 * 1024)
    endless = Endless(65_536)
    script = Script([chunk("One "), chunk(None, "length"), DONE], itertools.chain([chunk("and two")], endless))

    seen = await asked(way, script)

    assert (seen.error, *seen.ending) == (None, "One and two", "length", "error")
    assert endless.sent <= 2 * sse.MAX_EVENT
    assert script.streams[-1].closed


async def test_line_of_a_gigabyte() -> None:
    """A gigabyte in one line costs no more than the longest event that may be."""
    endless = Endless(1024 * 1024)

    seen = await asked(SYNC, Script(endless))

    assert isinstance(seen.error, openai.APIResponseValidationError)
    assert endless.sent <= sse.MAX_EVENT + 1024 * 1024


@two_ways
@pytest.mark.parametrize("text", ["", " ", "\n"])
async def test_endless_empty_rounds(way: Way, streamed: bool, text: str) -> None:
    """Rounds without text that never end are asked for twice at most, rounds of blanks as often as any."""
    empty = body_of(completion(text, "length"), streamed=streamed)
    script = Script(body_of(completion("One", "length"), streamed=streamed), *[empty] * 100)

    seen = await asked(way, script, streamed=streamed)

    assert (seen.text.strip(), seen.finish_reason) == ("One", "length")
    assert len(script.bodies) <= (16 if text else 3)


async def test_endless_pings(way: Way) -> None:
    """Chunks without choices or without text are nothing, in any number."""
    pings = [event({"id": "c", "choices": []}), event({"id": "c"}), chunk(""), b": ping\n\n"] * 1000
    script = Script([chunk("One "), chunk(None, "length"), DONE], [*pings, chunk("and two", "stop"), *pings, DONE])

    seen = await asked(way, script)

    assert (seen.error, seen.text, seen.finish_reason) == (None, "One and two", "stop")


async def test_later_round_of_many_choices(way: Way) -> None:
    """Choices that a later round brings besides the one that was asked for are in no answer."""
    later = [chunk("and "), chunk("EVIL", index=1), chunk("two", index=0), chunk("EVIL", "length", index=7)]
    script = Script([chunk("One "), chunk(None, "length"), DONE], [*later, chunk(None, "stop"), DONE])

    seen = await asked(way, script)

    assert (seen.text, seen.finish_reason) == ("One and two", "stop")


async def test_choices_of_one_index(way: Way) -> None:
    """Choices of the same index are given as they came, and none is continued."""
    answer = completion("One ", "length")
    answer["choices"] *= 2
    script = Script(body_of(answer, streamed=False))

    seen = await asked(way, script, streamed=False)

    assert [choice.message.content for choice in seen.raw.choices] == ["One ", "One "]
    assert len(script.bodies) == 1


@two_ways
@pytest.mark.parametrize("depth", [300, 900, 10_000, 100_000])
@pytest.mark.parametrize("number", [1, 2])
async def test_deep_nesting(way: Way, streamed: bool, depth: int, number: int) -> None:
    """JSON nested deeper than anyone can write again is given as it came, or ends the answer where it was."""
    answer = body_of({**completion("and two ", "length"), "usage": {"deep": "DEEP"}}, streamed=streamed)
    answer[0] = answer[0].replace(b'"DEEP"', b"[" * depth + b"]" * depth)
    first = [body_of(completion("One ", "length"), streamed=streamed)] if number == 2 else []

    seen = await asked(way, Script(*first, answer), streamed=streamed)

    if number == 2:
        assert (seen.error, *seen.ending) == (None, "One ", "length", "error")
    else:
        assert (await play_plain(way, Script(answer), streamed=streamed)).kind == seen.kind


# The caller's side.

PROMPTS = ["", "\0", "\ud800", "é" * 10, "\u202e", "a\r\n\r\ndata: [DONE]\n\n", "⟦", "</think>", "{{ bos_token }}"]


@two_ways
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
async def test_awkward_prompts(way: Way, streamed: bool, prompt: str) -> None:
    """Any prompt that the SDK can send is answered whole; any other one fails as without us."""
    with Emulator(cap=20, tokens=50, chunk_tokens=4) as emulator:
        without = await outcome(way.plain_client(emulator.base_url, max_retries=0), streamed=streamed, **ask(prompt))
        seen = await outcome(way.client(emulator.base_url, max_retries=0), streamed=streamed, **ask(prompt))

    assert without.kind == (check_ours(seen)).kind
    if without.error is None:
        assert emulator.uncapped(ask(prompt)) == seen.text


@two_ways
async def test_prompt_of_ten_megabytes(way: Way, streamed: bool) -> None:
    """A prompt of ten megabytes goes out again as it was."""
    script = Script(*two_rounds(streamed=streamed))
    seen = await asked(way, script, streamed=streamed, **ask("x" * 10_000_000))

    assert seen.text == "One two"
    assert len(script.bodies[1]["messages"][0]["content"]) == 10_000_000


def two_rounds(*, streamed: bool) -> list[list[bytes]]:
    """Return the bodies of an answer of two rounds."""
    ends = {"One ": "length", "two": "stop"}
    return [body_of(completion(text, end), streamed=streamed) for text, end in ends.items()]


USER = ask("x")["messages"]
BODIES: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": None},
    {"messages": "x"},
    {"messages": [None]},
    {"messages": ["x"]},
    {"messages": [{}]},
    {"messages": [{"role": "assistant"}]},
    {"messages": [{"role": "assistant", "content": 5}]},
    {"messages": [{"role": "assistant", "content": [{"type": "text"}]}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
    {"messages": USER, "n": "2"},
    {"messages": USER, "n": 0},
    {"messages": USER, "n": -1},
    {"messages": USER, "n": True},
    {"messages": USER, "max_tokens": -1},
    {"messages": USER, "max_tokens": 0},
    {"messages": USER, "max_tokens": "5"},
    {"messages": USER, "max_tokens": 1.5},
    {"messages": USER, "max_tokens": True},
    {"messages": USER, "max_tokens": 10**30},
    {"messages": USER, "max_tokens": float("inf")},
    {"messages": USER, "stop": 5},
    {"messages": USER, "stop": [None, "", 5]},
    {"messages": USER, "stop": ""},
    {"messages": USER, "stop": {"a": "b"}},
    {"messages": USER, "response_format": 5},
    {"messages": USER, "response_format": {}},
    {"messages": USER, "response_format": {"type": 5}},
    {"messages": USER, "response_format": {"type": "regex", "regex": "("}},
    {"messages": USER, "stream_options": 5},
    {"messages": USER, "stream_options": {"include_usage": "x"}},
    {"messages": USER, "temperature": "x"},
    {"messages": USER, "tools": 5},
    {"messages": USER, "tools": []},
    {"messages": USER, "model": None},
    {"messages": USER, "model": 5},
    {"messages": USER, "logprobs": "x"},
]


@streamed_or_not
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_awkward_bodies(streamed: bool, body: dict[str, Any]) -> None:
    """A body that no server would take reaches the server as the SDK sends it, and no code of ours stumbles over it."""
    for way in (SYNC, OUR_ASYNC):
        alone, script = (Script(*two_rounds(streamed=streamed)) for _ in range(2))

        without = await play_plain(way, alone, streamed=streamed, **body)
        seen = await asked(way, script, streamed=streamed, **body)

        assert without.kind == seen.kind
        assert seen.text.startswith(without.text)
        for name in {*alone.bodies[0]} - {"max_tokens", "max_completion_tokens"} if alone.bodies else ():
            assert alone.bodies[0][name] == script.bodies[0][name]


@two_ways
@pytest.mark.parametrize("value", ["\ud800", "\udfff tail", "a\ud83d b"], ids=range(3))
async def test_lone_surrogates_in_an_answer(way: Way, streamed: bool, value: str) -> None:
    """An answer with half a character, which cannot be sent back, is given as it came."""
    seen = await asked(way, Script(body_of(completion(value, "length"), streamed=streamed)), streamed=streamed)

    assert (None, value, "length") == (seen.error, seen.text, seen.finish_reason)


@two_ways
async def test_broken_and_hostile(way: Way, streamed: bool) -> None:
    """A server that is both busy and mad gives what it gave."""
    faults = [Fault("empty", round=2, times=1), Fault("null_choices", round=3, times=100)]
    with Emulator(cap=20, tokens=100, faults=faults) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, max_rounds=100), max_retries=0)
        seen = check_ours(await outcome(client, streamed=streamed, **ask()))
        await settled(client.close())

    assert emulator.uncapped(ask()).startswith(seen.text)
    assert seen.finish_reason == "length"
    assert len(emulator.requests) <= 4
