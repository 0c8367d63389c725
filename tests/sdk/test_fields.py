"""Fields, documents and tool calls through a client, once; ``tests/core`` has the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.core.test_choice import BROKEN, CAP, GOOD, TOOL
from tests.core.test_fields import CHOICE, MESSAGE, PLACES, TOP, Server, folded
from tests.core.test_formats import FENCED
from tests.support.asking import play, play_plain
from tests.support.script import DONE, Script, cut_round, event, reply, usage
from tests.support.ways import DEEPINFRA, Way, two_ways

#: An answer with every field, cut in its thoughts and in its text.
SERVER = Server(
    sends=frozenset([*TOP, *CHOICE, *MESSAGE]),
    thoughts=("reasoning_content", "reasoning"),
    thought=3,
    tokens=8,
    cuts=(2, 5, 6),
    usage="top",
    ends_with_text=True,
    names_late=True,
    logprobs=True,
)


def script_of(server: Server, *, streamed: bool) -> Script:
    """Return a script that plays the rounds of a server."""
    numbers = range(len(server.parts))
    if streamed:
        return Script(*[[*map(event, server.chunks(number)), DONE] for number in numbers])
    return Script(*[[json.dumps(server.completion(number)).encode()] for number in numbers])


def plain(raw: Any) -> Any:
    """Return what the SDK parsed as JSON."""
    return raw.model_dump(exclude_unset=True, warnings=False)


@two_ways
@pytest.mark.parametrize("ends_with_text", [True, False])
@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("trailing null", "trailing missing")])
async def test_fields(way: Way, streamed: bool, place: str, ends_with_text: bool) -> None:
    """What the SDK makes of the merged answer is what it makes of the uncapped one, field by field."""
    server = replace(SERVER, usage=place, ends_with_text=ends_with_text)
    uncapped = await play_plain(way, script_of(replace(server, cuts=()), streamed=streamed), streamed=streamed)
    settings = replace(DEEPINFRA, provider="deepseek", usage="one_call")
    script = script_of(server, streamed=streamed)
    seen = await play(way, script, streamed=streamed, settings=settings)

    assert (seen.error, seen.stopped_by, len(script.bodies)) == (None, "stop", 4)
    if streamed:
        assert folded([plain(one) for one in uncapped.raw]) == folded([plain(one) for one in seen.raw])
    else:
        merged, expected = plain(seen.raw), plain(uncapped.raw)
        apart = {"continuation"} if expected.get("usage") else {"continuation", "usage"}
        assert {name: value for name, value in merged.items() if name not in apart} == expected


@two_ways
@pytest.mark.parametrize("name", [name for name in FENCED if name != "blanks around"])
async def test_document(way: Way, streamed: bool, name: str) -> None:
    """A document in a fence comes whole, and without what follows it."""
    text = FENCED[name].rstrip()
    for place in (len(text) // 2, len(text) - 4, len(text) - 2):
        script = Script(cut_round(text[:place]), reply(text[place:], finish="stop"))
        seen = await play(way, script, streamed=streamed, response_format={"type": "json_object"})

        assert (None, text, "stop", "stop") == (seen.error, *seen.ending)


@two_ways
@pytest.mark.parametrize(
    ("delta", "tokens", "is_cut"), [(BROKEN, 5, True), (GOOD, CAP, True), (GOOD, 5, False)], ids=range(3)
)
async def test_tool_call(way: Way, streamed: bool, delta: Any, tokens: int, is_cut: bool) -> None:
    """A cut call that is called "tool_calls" ends in "length"; a good one comes as it was."""
    script = Script(reply(delta, finish="tool_calls", usage=usage(10, tokens)))
    seen = await play(way, script, streamed=streamed, tools=[TOOL])

    ends = ("length", "tool_call") if is_cut else ("tool_calls", None)
    assert (None, *ends) == (seen.error, *seen.ending[1:])
