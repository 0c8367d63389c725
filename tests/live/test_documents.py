"""Structured answers through clients: ``parse()``, ``stream()``, and DeepInfra's regular expressions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from openai_continue import Continuation
from openai_continue._sdk import call
from openai_continue.testing import Emulator, Habits
from tests.support.answers import live
from tests.support.bodies import ask
from tests.support.documents import LISTING, Listing
from tests.support.responses import response_outcome
from tests.support.script import Script, cut_round, last_round
from tests.support.ways import Way, entered, settled, streamed_or_not, sync_and_async, two_ways

TEXT = LISTING.model_dump_json(indent=2)
JSON = {"type": "json_object"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "listing", "schema": Listing.model_json_schema()}}
VLLM = Continuation(provider="vllm")
BASE_URL = "http://server.example/v1"
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

    assert completion.choices[0].message.parsed == LISTING
    assert len(sent) >= 3
    assert sent[0]["type"] == "json_schema"
    assert set(sent[1:]) == {None}
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

    assert completion.choices[0].message.parsed == LISTING


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

    assert answer.ending == (expected, "stop", "stop")
    assert json.loads(answer.text)
    assert sent[:4] == [JSON, None, None, None]
    assert emulator.derailed == 0


@two_ways
@pytest.mark.thorough
async def test_regular_expression(way: Way, streamed: bool) -> None:
    """DeepInfra's regular expressions are continued."""
    text = ", ".join(map(str, range(100, 180)))
    body = ask(response_format={"type": "regex", "regex": r"(\d+, )*\d+"})
    with Emulator(cap=120, text=text) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())

    assert (text, "stop", "stop") == answer.ending


# Documents that are lost, or have ended.


@sync_and_async
@streamed_or_not
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize("format_", [JSON, SCHEMA], ids=["json_object", "json_schema"])
@pytest.mark.parametrize("settings", [{}, {"stream_rounds": True}], ids=["", "stream_rounds"])
async def test_model_that_leaves_the_document(
    way: Way, streamed: bool, endpoint: str, format_: dict[str, Any], settings: dict[str, Any]
) -> None:
    """One further round is asked for, a stream is left at once, and the answer ends in "length" with what was there."""
    habits, continuation = Habits(leaves_json=True, responses="vllm"), Continuation(provider="vllm", **settings)
    with Emulator(cap=120, text=TEXT, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=continuation)
        if endpoint == "chat":
            answer = await live(client, ask(response_format=format_), streamed=streamed)
        else:
            answer = await response_outcome(
                client, streamed=streamed, model="m", input="x", text={"format": as_text_format(format_)}
            )
        await settled(client.close())
        asked = len(emulator.requests)

    assert (asked, *answer.ending[1:]) == (2, "length", "error")
    assert (answer.report or {})["error"]["type"] == "invalid_document"
    cut = answer.text.index(" and so on")
    assert TEXT.startswith(answer.text[:cut])
    assert (len(answer.text) < cut + 80) == (streamed or bool(settings))


def as_text_format(format_: dict[str, Any]) -> dict[str, Any]:
    """Return a format as responses have it."""
    return {"type": format_["type"], **format_.get("json_schema", {})}


@sync_and_async
@streamed_or_not
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
async def test_document_that_was_cut_at_its_end(way: Way, streamed: bool, endpoint: str) -> None:
    """A document that has ended is whole, and no further round is asked for."""
    text = json.dumps({"a": list(range(30))})
    with Emulator(cap=114, text=text + " \n" * 500, habits=Habits(responses="vllm")) as emulator:
        client = way.client(emulator.base_url, continuation=VLLM)
        if endpoint == "chat":
            answer = await live(client, ask(response_format=JSON), streamed=streamed)
        else:
            answer = await response_outcome(client, streamed=streamed, model="m", input="x", text={"format": JSON})
        await settled(client.close())
        asked = len(emulator.requests)

    assert (answer.text.rstrip(), *answer.ending[1:], asked) == (text, "stop", "stop", 1)


# Documents that nobody can check.


@two_ways
@pytest.mark.usefixtures("without_jsonschema")
@pytest.mark.thorough
async def test_document_that_nobody_checked(way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Without the extra, a joined document of a schema is not called finished, and one warning names the extra."""
    call._warn_of_unchecked.cache_clear()
    body = ask(response_format=SCHEMA)
    with Emulator(cap=120, text=TEXT) as emulator:
        client = way.client(emulator.base_url)
        answers = [await live(client, body, streamed=streamed) for _ in range(2)]
        await settled(client.close())

    for answer in answers:
        assert answer.ending == (TEXT, "length", "error")
        assert (answer.report or {})["error"]["type"] == "unchecked_document"
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "pip install 'openai-continue[schema]'" in line


@two_ways
@pytest.mark.thorough
async def test_schema_that_cannot_be_read(way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """With the extra, the warning says what is wrong with the schema."""
    call._warn_of_unchecked.cache_clear()
    schema = {"$ref": "https://example.com/listing.json"}
    transport = Script(cut_round('{"a": '), last_round("1}"))
    client = way.client(BASE_URL, transport=transport, continuation=VLLM)
    answer = await live(client, ask(extra_body={"guided_json": schema}), streamed=streamed)
    await settled(client.close())

    assert answer.ending == ('{"a": 1}', "length", "error")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "refers to another file" in line


@sync_and_async
@pytest.mark.usefixtures("without_jsonschema")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("settings", [{}, {"stream_rounds": True}])
async def test_document_that_the_sdk_checks(settings: dict[str, Any], streamed: bool, way: Way) -> None:
    """With a type, ``parse()`` and ``stream()`` check the document themselves, so it is finished without the extra."""
    continuation = Continuation(provider="deepinfra", **settings)
    with Emulator(cap=120, text=TEXT) as emulator:
        client = way.client(emulator.base_url, continuation=continuation)
        if streamed:
            async with entered(client.chat.completions.stream(**ask(), response_format=Listing)) as stream:
                completion = await settled(stream.get_final_completion())
        else:
            completion = await settled(client.chat.completions.parse(**ask(), response_format=Listing))
        await settled(client.close())

    assert completion.choices[0].message.parsed == LISTING
    assert completion.choices[0].finish_reason == "stop"


@two_ways
@pytest.mark.thorough
async def test_schema_of_nim(way: Way, streamed: bool) -> None:
    """The schema goes out of ``nvext`` in later rounds, and what stands beside it stays."""
    schema = {"type": "object", "required": ["a"]}
    transport = Script(cut_round('{"a": '), last_round("1}"))
    client = way.client(BASE_URL, transport=transport, continuation=VLLM)
    body = ask(extra_body={"nvext": {"guided_json": schema, "annotations": ["x"]}})
    answer = await live(client, body, streamed=streamed)
    await settled(client.close())

    assert answer.ending == ('{"a": 1}', "stop", "stop")
    assert [{"guided_json": schema, "annotations": ["x"]}, {"annotations": ["x"]}] == [
        sent["nvext"] for sent in transport.bodies
    ]


@two_ways
@pytest.mark.thorough
async def test_lines_of_json(way: Way, streamed: bool) -> None:
    """Where the server lets several values follow each other, all of them come."""
    text = "\n".join(json.dumps({"name": f"item {number}", "price": number}) for number in range(60))
    with Emulator(cap=100, text=text) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, ask(response_format=JSON), streamed=streamed)
        await settled(client.close())

    assert (text, "stop", "stop") == answer.ending
    assert emulator.derailed == 0


@two_ways
@pytest.mark.parametrize("settings", [{}, {"stream_rounds": True}])
@pytest.mark.thorough
async def test_stop_string_longer_than_a_round(way: Way, streamed: bool, settings: dict[str, Any]) -> None:
    """A server that hides what may be a stop string is asked once without it, and ``stop_reason`` names the string."""
    text, stop = "Let me look. <call>search(whales)</call> and then ### --- ###", "</call> and then ### ---"
    habits = Habits(hides_half_stops=True, names_stop="stop_reason")
    continuation = Continuation(provider="deepinfra", max_rounds=50, **settings)
    with Emulator(cap=3, text=text, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=continuation)
        answer = await live(client, ask(stop=[stop]), streamed=streamed)
        await settled(client.close())

    assert (text[: text.index(stop)], "stop", "stop") == answer.ending
    items = [item for one in (answer.raw if streamed else [answer.raw]) for item in one["choices"]]
    assert stop == items[-1]["stop_reason"]
