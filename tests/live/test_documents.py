"""Structured answers through clients: ``parse()``, ``stream()``, and DeepInfra's regular expressions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from openai_continue.testing import Emulator, Habits
from tests.support.answers import live
from tests.support.bodies import ask
from tests.support.documents import LISTING, Listing
from tests.support.ways import Way, entered, settled, sync_and_async, two_ways

TEXT = LISTING.model_dump_json(indent=2)
JSON = {"type": "json_object"}
habits_of_grammars = pytest.mark.parametrize(
    "habits",
    [Habits(), Habits(chatters_after_json=True), Habits(grammar_follows=True, finish_with_text=True)],
    ids=["plain", "chatters", "grammar follows"],
)


@sync_and_async
@habits_of_grammars
async def test_parse(habits: Habits, way: Way) -> None:
    """``parse()`` with a pydantic model returns the object, after three rounds and more."""
    with Emulator(cap=120, text=TEXT, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        completion = await settled(client.chat.completions.parse(**ask(), response_format=Listing))
        await settled(client.close())
        sent = [logged.body.get("response_format") for logged in emulator.requests]

    assert LISTING == completion.choices[0].message.parsed
    assert len(sent) >= 3
    assert "json_schema" == sent[0]["type"]
    assert {None} == set(sent[1:])
    assert len(sent) == len(completion.continuation["rounds"])
    assert emulator.derailed == 0


@sync_and_async
async def test_parse_of_a_stream(way: Way) -> None:
    """The final completion of ``stream()`` holds the object, too."""
    with Emulator(cap=120, text=TEXT, habits=Habits(chatters_after_json=True)) as emulator:
        client = way.client(emulator.base_url)
        async with entered(client.chat.completions.stream(**ask(), response_format=Listing)) as stream:
            completion = await settled(stream.get_final_completion())
        await settled(client.close())

    assert LISTING == completion.choices[0].message.parsed


@sync_and_async
async def test_parse_of_what_is_no_document(way: Way) -> None:
    """If a document cannot be made whole, ``parse()`` raises as ever for "length", with what arrived."""
    with Emulator(cap=150, text=TEXT, habits=Habits(ignores_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            await settled(client.chat.completions.parse(**ask(), response_format=Listing))
        await settled(client.close())

    partial = caught.value.completion.choices[0].message.content
    assert partial
    assert TEXT.startswith(partial)


@two_ways
@habits_of_grammars
async def test_document(habits: Habits, way: Way, streamed: bool) -> None:
    """The answer ends with the document, and only the first request names the format."""
    body = ask("An object of 400 tokens.", response_format=JSON)
    with Emulator(cap=120, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        expected = emulator.uncapped(body)
        sent: list[Any] = [logged.body.get("response_format") for logged in emulator.requests]

    assert (expected, "stop", "stop") == answer.said
    assert json.loads(answer.text)
    assert [JSON, None, None, None] == sent[:4]
    assert emulator.derailed == 0


@two_ways
async def test_regular_expression(way: Way, streamed: bool) -> None:
    """DeepInfra's regular expressions are continued."""
    text = ", ".join(map(str, range(100, 180)))
    body = ask(response_format={"type": "regex", "regex": r"(\d+, )*\d+"})
    with Emulator(cap=120, text=text) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())

    assert (text, "stop", "stop") == answer.said
