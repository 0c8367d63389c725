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

from openai_continue.sdk import wire
from openai_continue.testing import Emulator, Fault
from tests.conftest import DEEPINFRA, OUR_ASYNC, SYNC, Way, ask, settled
from tests.outcomes import DONE, Outcome, Script, chunk, event, outcome

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
    """Tell whether an exception was raised by code of this library."""
    frames = traceback.extract_tb(error.__traceback__)
    return "/openai_continue/" in frames[-1].filename and not isinstance(error, openai.OpenAIError)


def body_of(answer: dict[str, Any], *, streamed: bool) -> list[bytes]:
    """Write an answer as a server does, escaping what UTF-8 cannot say."""
    if streamed:
        return [b"data: " + json.dumps(as_chunk(answer)).encode() + b"\n\n", DONE]
    return [json.dumps(answer).encode()]


async def asked(client: Any, *, streamed: bool, **body: Any) -> Outcome:
    seen = await outcome(client, streamed=streamed, **{**ask("x"), **body})

    assert seen.error is None or not is_ours(seen.error), "".join(traceback.format_exception(seen.error))
    return seen


def dumped(raw: Any) -> str:
    """Write what the caller got, where NaN is equal to itself."""
    return "".join(map(dumped, raw)) if isinstance(raw, list) else repr(raw)


streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@streamed_or_not
@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
async def test_wrong_types_in_the_first_round(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in an answer that ends by itself, the caller gets what the SDK alone makes of it."""
    for way, value in zip(itertools.cycle((SYNC, OUR_ASYNC)), [*VALUES, *PATHS[path]]):
        body = body_of(spoilt(completion("One ", "stop"), path, value), streamed=streamed)
        plain = way.plain_client("http://x/v1", transport=Script(body), max_retries=0)
        without = await outcome(plain, streamed=streamed, **ask("x"))
        script = Script(body)
        client = way.client("http://x/v1", transport=script, max_retries=0)

        seen = await asked(client, streamed=streamed)

        assert (without.kind, dumped(without.raw)) == (seen.kind, dumped(seen.raw)), value
        assert 1 == len(script.seen)


@streamed_or_not
@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
async def test_wrong_types_in_an_answer_that_was_cut(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in an answer that was cut, it is no worse than the SDK alone."""
    for way, value in zip(itertools.cycle((SYNC, OUR_ASYNC)), [*VALUES, *PATHS[path]]):
        body = body_of(spoilt(completion("One ", "length"), path, value), streamed=streamed)
        plain = way.plain_client("http://x/v1", transport=Script(body), max_retries=0)
        without = await outcome(plain, streamed=streamed, **ask("x"))
        script = Script(body, body_of(completion("and two", "stop"), streamed=streamed))
        client = way.client("http://x/v1", transport=script, max_retries=0)

        seen = await asked(client, streamed=streamed)

        if without.error is not None:
            assert without.kind == seen.kind, value
        elif isinstance(without.text, str):
            assert isinstance(seen.text, str)
            assert seen.text.startswith(without.text.rstrip("\ufffd")), value


@streamed_or_not
@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
async def test_wrong_types_in_a_later_round(path: tuple[Any, ...], streamed: bool) -> None:
    """Whatever stands anywhere in a later round, what came before is kept and the end is honest."""
    for way, value in zip(itertools.cycle((SYNC, OUR_ASYNC)), [*VALUES, *PATHS[path]]):
        for finish_reason in ("length", "stop"):
            later = body_of(spoilt(completion("and two ", finish_reason), path, value), streamed=streamed)
            first = body_of(completion("One ", "length"), streamed=streamed)
            script = Script(first, later, body_of(completion("and three", "stop"), streamed=streamed))
            client = way.client("http://x/v1", transport=script, max_retries=0)

            seen = await asked(client, streamed=streamed)

            assert None is seen.error, (value, seen.error)
            assert seen.text.startswith("One "), value
            assert seen.finish_reason is not None
            if seen.finish_reason == "stop" and path[-1] not in ("content", "message", "new", "reasoning_content"):
                assert seen.text in ("One and two ", "One and two and three"), value


async def test_lines_without_end(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is given up after so many bytes: an error in the first round, the partial in a later one."""
    monkeypatch.setattr(wire, "MAX_EVENT", 1024 * 1024)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b"data: "
        for _ in range(100_000):
            sent += 65_536
            yield b"x" * 65_536

    for first, expected in (([chunk("One ")], "APIResponseValidationError"), ([], "APIResponseValidationError")):
        sent = 0
        client = way.client("http://x/v1", transport=Script(itertools.chain(first, endless())), max_retries=0)
        seen = await asked(client, streamed=True)

        assert expected == type(seen.error).__name__
        assert "One " * len(first) == seen.text
        assert sent <= 2 * wire.MAX_EVENT

    sent = 0
    script = Script([chunk("One "), chunk(None, "length"), DONE], itertools.chain([chunk("and two")], endless()))
    client = way.client("http://x/v1", transport=script, max_retries=0)
    seen = await asked(client, streamed=True)

    assert ("One and two", "length", "error", None) == (seen.text, seen.finish_reason, seen.stopped_by, seen.error)
    assert sent <= 2 * wire.MAX_EVENT
    assert script.streams[-1].closed


async def test_line_of_many_megabytes() -> None:
    """A gigabyte in one line costs no more than the longest event that there may be."""
    sent = 0

    def lines() -> Iterator[bytes]:
        nonlocal sent
        piece = b"x" * (1024 * 1024)
        yield b"data: "
        for _ in range(1024):
            sent += 1
            yield piece

    client = SYNC.client("http://x/v1", transport=Script(lines()), max_retries=0)
    seen = await asked(client, streamed=True)

    assert isinstance(seen.error, openai.APIResponseValidationError)
    assert sent <= wire.MAX_EVENT // (1024 * 1024) + 1


@streamed_or_not
async def test_endless_empty_rounds(way: Way, streamed: bool) -> None:
    """Rounds without text that never end are asked for twice at most."""
    for text in ("", " ", "\n"):
        empty = body_of(completion(text, "length"), streamed=streamed)
        script = Script(body_of(completion("One", "length"), streamed=streamed), *[empty] * 100)
        client = way.client("http://x/v1", transport=script, max_retries=0)

        seen = await asked(client, streamed=streamed)

        assert seen.text.strip() == "One"
        assert "length" == seen.finish_reason
        assert len(script.seen) <= (3 if not text else 16)


async def test_endless_pings(way: Way) -> None:
    """Chunks without choices or without text are nothing, in any number."""
    pings = [event({"id": "c", "choices": []}), event({"id": "c"}), chunk(""), b": ping\n\n"] * 2000
    script = Script([chunk("One "), chunk(None, "length"), DONE], [*pings, chunk("and two", "stop"), *pings, DONE])
    client = way.client("http://x/v1", transport=script, max_retries=0)

    seen = await asked(client, streamed=True)

    assert ("One and two", "stop", None) == (seen.text, seen.finish_reason, seen.error)


async def test_later_round_of_many_choices(way: Way) -> None:
    """Whatever choices a later round brings beside the one that was asked for, they are in no answer."""
    later = [chunk("and "), chunk("EVIL", index=1), chunk("two", index=0), chunk("EVIL", "length", index=7)]
    script = Script([chunk("One "), chunk(None, "length"), DONE], [*later, chunk(None, "stop"), DONE])
    client = way.client("http://x/v1", transport=script, max_retries=0)

    seen = await asked(client, streamed=True)

    assert ("One and two", "stop") == (seen.text, seen.finish_reason)


async def test_choices_of_one_index(colour: Way) -> None:
    """Choices that call themselves alike are given as they came, and none is continued."""
    answer = completion("One ", "length")
    answer["choices"] *= 2
    script = Script(body_of(answer, streamed=False))
    client = colour.client("http://x/v1", transport=script, max_retries=0)

    seen = await asked(client, streamed=False)

    assert ["One ", "One "] == [choice.message.content for choice in seen.raw.choices]
    assert 1 == len(script.seen)


@streamed_or_not
@pytest.mark.parametrize("depth", [300, 900, 10_000, 100_000])
@pytest.mark.parametrize("number", [1, 2])
async def test_deep_nesting(colour: Way, streamed: bool, depth: int, number: int) -> None:
    """JSON nested deeper than anyone can write again is given as it came, or ends the answer where it was."""
    answer = body_of({**completion("and two ", "length"), "usage": {"deep": "DEEP"}}, streamed=streamed)
    answer[0] = answer[0].replace(b'"DEEP"', b"[" * depth + b"]" * depth)
    first = [body_of(completion("One ", "length"), streamed=streamed)] if number == 2 else []
    client = colour.client("http://x/v1", transport=Script(*first, answer), max_retries=0)

    seen = await asked(client, streamed=streamed)

    if number == 2:
        assert ("One ", "length", "error", None) == (seen.text, seen.finish_reason, seen.stopped_by, seen.error)
        return
    plain = colour.plain_client("http://x/v1", transport=Script(answer), max_retries=0)
    assert (await outcome(plain, streamed=streamed, **ask("x"))).kind == seen.kind


# The caller's side.

PROMPTS = ["", "\0", "\ud800", "é" * 10, "\u202e", "a\r\n\r\ndata: [DONE]\n\n", "⟦", "</think>", "{{ bos_token }}"]


@streamed_or_not
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
async def test_awkward_prompts(colour: Way, streamed: bool, prompt: str) -> None:
    """Any prompt that the SDK can send is answered whole; any other one fails as without us."""
    with Emulator(cap=20, tokens=50, chunk_tokens=4) as emulator:
        plain = colour.plain_client(emulator.base_url, max_retries=0)
        without = await outcome(plain, streamed=streamed, **ask(prompt))
        await settled(plain.close())
        client = colour.client(emulator.base_url, max_retries=0)
        seen = await asked(client, streamed=streamed, **ask(prompt))
        await settled(client.close())

    assert without.kind == seen.kind
    if without.error is None:
        assert emulator.uncapped(ask(prompt)) == seen.text


@streamed_or_not
async def test_prompt_of_ten_megabytes(colour: Way, streamed: bool) -> None:
    """A prompt of ten megabytes goes out again as it was."""
    body = ask("x" * 10_000_000)
    bodies = [body_of(completion(text, end), streamed=streamed) for text, end in (("One ", "length"), ("two", "stop"))]
    script = Script(*bodies)
    client = colour.client("http://x/v1", transport=script, max_retries=0)
    seen = await asked(client, streamed=streamed, **body)

    assert "One two" == seen.text
    assert 10_000_000 == len(script.seen[1]["messages"][0]["content"])


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
    {"messages": [{"role": "user", "content": "x"}], "n": "2"},
    {"messages": [{"role": "user", "content": "x"}], "n": 0},
    {"messages": [{"role": "user", "content": "x"}], "n": -1},
    {"messages": [{"role": "user", "content": "x"}], "n": True},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": -1},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": 0},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": "5"},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1.5},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": True},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": 10**30},
    {"messages": [{"role": "user", "content": "x"}], "max_tokens": float("inf")},
    {"messages": [{"role": "user", "content": "x"}], "stop": 5},
    {"messages": [{"role": "user", "content": "x"}], "stop": [None, "", 5]},
    {"messages": [{"role": "user", "content": "x"}], "stop": ""},
    {"messages": [{"role": "user", "content": "x"}], "stop": {"a": "b"}},
    {"messages": [{"role": "user", "content": "x"}], "response_format": 5},
    {"messages": [{"role": "user", "content": "x"}], "response_format": {}},
    {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": 5}},
    {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "regex", "regex": "("}},
    {"messages": [{"role": "user", "content": "x"}], "stream_options": 5},
    {"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": "x"}},
    {"messages": [{"role": "user", "content": "x"}], "temperature": "x"},
    {"messages": [{"role": "user", "content": "x"}], "tools": 5},
    {"messages": [{"role": "user", "content": "x"}], "tools": []},
    {"messages": [{"role": "user", "content": "x"}], "model": None},
    {"messages": [{"role": "user", "content": "x"}], "model": 5},
    {"messages": [{"role": "user", "content": "x"}], "logprobs": "x"},
]


@streamed_or_not
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_awkward_bodies(streamed: bool, body: dict[str, Any]) -> None:
    """A body that no server would take reaches the server as the SDK sends it, and no code of ours stumbles over it."""
    bodies = [body_of(completion(text, end), streamed=streamed) for text, end in (("One ", "length"), ("two", "stop"))]
    for way in (SYNC, OUR_ASYNC):
        alone, script = Script(*bodies), Script(*bodies)
        plain = way.plain_client("http://x/v1", transport=alone, max_retries=0)
        without = await outcome(plain, streamed=streamed, **{"model": "m", **body})
        client = way.client("http://x/v1", transport=script, max_retries=0)

        seen = await asked(client, streamed=streamed, **{"model": "m", **body})

        assert without.kind == seen.kind
        assert seen.text.startswith(without.text)
        limits = ("max_tokens", "max_completion_tokens")
        for name in {*alone.seen[0]} - {*limits} if alone.seen else ():
            assert alone.seen[0][name] == script.seen[0][name]


@pytest.mark.parametrize("value", ["\ud800", "\udfff tail", "x\ud83d"])
async def test_lone_surrogates_in_an_answer(colour: Way, value: str) -> None:
    """An answer with half a character, which cannot be sent back, is given as it came."""
    for streamed in (False, True):
        script = Script(body_of(completion(value, "length"), streamed=streamed))
        client = colour.client("http://x/v1", transport=script, max_retries=0)

        seen = await asked(client, streamed=streamed)

        assert (value, "length", None) == (seen.text, seen.finish_reason, seen.error)


async def test_broken_and_hostile(colour: Way) -> None:
    """A server that is both busy and mad gives what it gave."""
    faults = [Fault("empty", round=2, times=1), Fault("null_choices", round=3, times=100)]
    with Emulator(cap=20, tokens=100, faults=faults) as emulator:
        for streamed in (False, True):
            emulator.clear()
            client = colour.client(emulator.base_url, continuation=replace(DEEPINFRA, max_rounds=100), max_retries=0)
            seen = await asked(client, streamed=streamed)
            await settled(client.close())

            assert emulator.uncapped(ask("x")).startswith(seen.text)
            assert "length" == seen.finish_reason
            assert len(emulator.requests) <= 4
