"""A first round that fails does so as without us, but for DeepInfra's error inside a stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.testing import Fault
from tests.support.answers import outcome
from tests.support.asking import BREAKS, ERRORS, ask_it, play, play_plain, server, truth
from tests.support.bodies import ask
from tests.support.script import DONE, LOST, Script, chunk, event
from tests.support.ways import DEEPINFRA, OUR_ASYNC, SYNC, Way, entered, listed, settled

pytestmark = pytest.mark.usefixtures("no_waiting")


#: Kinds of faults, whole and streamed; DeepInfra's error inside a stream is raised as the error that it is.
FAULTS = [
    (kind, way, streamed)
    for kind in (*ERRORS, *BREAKS, "hang", "empty", "no_done", "slow")
    for way, streamed in ((SYNC, False), (OUR_ASYNC, True))
    if (kind, streamed) != ("error_frame", True)
]


@pytest.mark.parametrize(("kind", "way", "streamed"), FAULTS, ids=[f"{one[0]}-{one[2]}" for one in FAULTS])
async def test_fault_in_the_first_round(way: Way, streamed: bool, kind: Any) -> None:
    """Every fault gives the exception, or the answer, that the SDK gives without us."""
    with server(Fault(kind), tokens=12) as emulator:
        options = {"max_retries": 0, **({"timeout": 0.3} if kind == "hang" else {})}
        client = way.plain_client(emulator.base_url, **options)
        without = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())
        emulator.clear()
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, heal_streams=False), **options)
        seen = await outcome(client, streamed=streamed, **ask("Fault."))
        await settled(client.close())

    assert without.kind == seen.kind
    assert (without.text, without.finish_reason) == (seen.text, seen.finish_reason)
    assert 1 == len(emulator.requests)
    assert not hasattr(seen.error, "partial_completion")


async def test_error_frame(way: Way) -> None:
    """DeepInfra's frame in the middle of a stream is raised as the error that it names, after the text before it."""
    with server(Fault("error_frame", after_tokens=8)) as emulator:
        seen = await ask_it(way, emulator)

    assert isinstance(seen.error, openai.InternalServerError)
    assert "The engine died" in str(seen.error)
    assert truth(emulator, 8) == seen.text
    assert 1 == len(emulator.requests)


@pytest.mark.parametrize("message", ["no prefill", "", '{"error": 5}', "[1]", r"\ud800"])
async def test_error_frame_without_json(way: Way, message: str) -> None:
    """A frame whose message is no JSON is an error too, whatever characters it has."""
    frame = event({"error_type": "x", "error_message": message}).replace(b"\\\\ud800", b"\\ud800")
    script = Script([frame])

    seen = await play(way, script)

    assert isinstance(seen.error, openai.APIError)
    assert 1 == len(script.bodies)


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
BROKEN: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "no text": ([], {}),
    "one round allowed": ([chunk("One ")], {"settings": replace(DEEPINFRA, max_rounds=1)}),
    "a choice that never came": ([chunk("One")], {"n": 2}),
    "thoughts that cannot go back": ([chunk(None, reasoning_content="Hm")], {}),
    "tool call": ([chunk("Calling"), chunk(None, tool_calls=[CALL])], {}),
    "json": ([chunk('{"a": 1, ')], {"response_format": {"type": "json_object"}}),
    "refusal": ([chunk("", refusal="I")], {}),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("end", [[LOST], []], ids=["lost", "ended"])
async def test_broken_stream_that_cannot_be_healed(way: Way, name: str, end: list[Any]) -> None:
    """A stream that breaks off where nothing can go on from it fails as without us."""
    pieces, options = BROKEN[name]
    script = Script([*pieces, *end])
    body = {key: value for key, value in options.items() if key != "settings"}

    without = await play_plain(way, Script([*pieces, *end]), **body)
    seen = await play(way, script, **options)

    assert without.kind == seen.kind
    assert [one.model_dump() for one in without.raw] == [one.model_dump() for one in seen.raw]
    assert 1 == len(script.bodies)


async def test_error_event_when_lines_are_read(way: Way) -> None:
    """An error event in a first round ends it also for code that reads lines: the lines are given as they came."""
    pieces = [chunk("One "), chunk(None, "length", index=1), event({"error": {"message": "died"}}), DONE]
    script = Script(pieces)
    client = way.client("http://x/v1", transport=script, max_retries=0)

    async with entered(client.chat.completions.with_streaming_response.create(**ask(n=2), stream=True)) as made:
        lines = await listed(made.iter_lines())

    assert b"".join(pieces).decode().replace("\n\n", "") == "".join(lines)
    assert 1 == len(script.bodies)
