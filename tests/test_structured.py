"""Answers of a known format: continued without the grammar, ended where the document ends, and checked."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from openai_continue.core.structured import Document, Format
from openai_continue.testing import Emulator, Habits
from tests.conftest import ASYNC, SYNC, Way, ask, settled
from tests.drive import DRIVES, Drive, Engine, Script, live, said, streamed, whole

drives = pytest.mark.parametrize("drive", DRIVES)
four_ways = pytest.mark.parametrize(
    ("way", "stream"),
    [(SYNC, False), (SYNC, True), (ASYNC, False), (ASYNC, True)],
    ids=["sync-whole", "sync-stream", "async-whole", "async-stream"],
)
JSON_OBJECT = {"type": "json_object"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4),
    max_leaves=12,
)


class Item(BaseModel):
    id: int
    name: str
    note: str


class Listing(BaseModel):
    title: str
    items: list[Item]


NOTES = ('"}]}\n{"', "tab\tand \\ back", "日本語…", "0, 0, 0,", "  blanks  ", "}", '\\"', "")
LISTING = Listing(
    title='{"odd": [',
    items=[Item(id=number, name=f"item {number}", note=NOTES[number % len(NOTES)]) for number in range(12)],
)


# The end of a document.


def end_of(text: str, sizes: list[int]) -> int | None:
    """Feed a text in pieces; give the place where its document ends."""
    document = Document()
    start = 0
    for size in [*sizes, len(text)]:
        end = document.feed(text[start : start + size])
        if end is not None:
            return start + end
        start += size
    return None


@settings(derandomize=True, deadline=None)
@given(
    st.lists(json_values, max_size=4) | st.dictionaries(st.text(max_size=4), json_values, max_size=4),
    st.sampled_from([None, 2, "\t"]),
    st.booleans(),
    st.sampled_from(["", "\n", " {", "]", "Hope this helps!", '"']),
    st.lists(st.integers(0, 7), max_size=30),
)
def test_end_of_a_document(value: Any, indent: Any, ascii_only: bool, behind: str, sizes: list[int]) -> None:
    """A document ends where a JSON parser says, however it was split and whatever follows."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert len(text) == end_of(text + behind, sizes)
    assert len(text) == end_of(text + behind, [1] * len(text))
    assert end_of(text[:-1], sizes) is None


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", None),
        ("null", None),
        ('"a string"', None),
        ('"{}"', None),
        ("  {} ", 4),
        ("} {}", 4),
        ("```json\n{}\n```", 10),
        (r'{"\\": "\""} x', 12),
        (r'{"a\\\"}": 1}', 13),
    ],
)
def test_end_of_odd_documents(text: str, end: int | None) -> None:
    """Scalars have no end to be seen; brackets in strings and stray ones are none."""
    assert end == end_of(text, [])
    assert end == end_of(text, [1] * len(text))


def test_nothing_belongs_to_a_document_that_has_ended() -> None:
    """Behind its end, nothing is of the document."""
    document = Document()

    assert document.feed("[] x") == 2
    assert document.feed(" more {}") == 0


# The format that is asked for.


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, None),
        ({"response_format": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": JSON_OBJECT}, "json"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}, "json"),
        ({"response_format": {"type": "regex", "regex": "a+"}}, "regex"),
        ({"response_format": {"type": "regex", "regex": "(?<broken"}}, "unknown"),
        ({"response_format": {"type": "regex"}}, "unknown"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "unknown"),
        ({"guided_json": {"type": "object"}}, "json"),
        ({"guided_regex": "a+"}, "regex"),
        ({"guided_choice": ["a", "b"]}, "unknown"),
        ({"guided_grammar": "root ::= x"}, "unknown"),
        ({"structured_outputs": {"json": {}, "x": 1}}, "unknown"),
        ({"structured_outputs": {"json": {"type": "object"}}}, "json"),
        ({"structured_outputs": {"regex": "a+"}}, "regex"),
        ({"structured_outputs": {"choice": ["a"]}}, "unknown"),
        ({"json_schema": {"type": "object"}}, "json"),
        ({"grammar": "root ::= x"}, "unknown"),
        ({"regex": "a+"}, "regex"),
        ({"ebnf": "root ::= x"}, "unknown"),
    ],
)
def test_format(body: dict[str, Any], kind: str | None) -> None:
    """The format is read from ``response_format`` and from the fields that engines know beside it."""
    wanted = Format.of(body)

    assert (kind is not None) == (wanted is not None)
    if wanted is not None:
        assert kind == ("json" if wanted.is_json else "regex" if wanted.checkable else "unknown")


@pytest.mark.parametrize(
    ("format_", "text", "fits"),
    [
        (JSON_OBJECT, '{"a": 1}', True),
        (JSON_OBJECT, ' {"a": 1}\n', True),
        (JSON_OBJECT, '{"a": 1', False),
        (JSON_OBJECT, '{"a": 1} {', False),
        (JSON_OBJECT, "", False),
        (JSON_OBJECT, "[" * 100_000, False),
        ({"type": "regex", "regex": "[ab]+"}, "abab", True),
        ({"type": "regex", "regex": "[ab]+"}, "ababc", False),
    ],
)
def test_fits(format_: dict[str, str], text: str, fits: bool) -> None:
    """A join is checked to be one whole document, or to match as a whole."""
    wanted = Format.of({"response_format": format_})

    assert wanted is not None
    assert fits == wanted.fits(text)


# Through Rounds.


@drives
@pytest.mark.parametrize("chatters", [False, True])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("cap", [7, 16, 45])
def test_document(chatters: bool, follows: bool, cap: int, drive: Drive) -> None:
    """A document is whole after many rounds, whether or not the model has more to say behind it."""
    text = LISTING.model_dump_json(indent=2)
    engine = Engine(text, habits=Habits(chatters_after_json=chatters, grammar_follows=follows), cap=cap)
    answer = drive(engine, ask("x", response_format=JSON_OBJECT), max_rounds=200)

    assert (text, "stop", "stop") == answer.said
    assert engine.derailed == 0
    assert [JSON_OBJECT, *[None] * (len(engine.bodies) - 1)] == [body.get("response_format") for body in engine.bodies]


@drives
@pytest.mark.parametrize(
    "fields",
    [
        {"guided_json": {"type": "object"}},
        {"structured_outputs": {"json": {"type": "object"}}},
        {"json_schema": {"type": "object"}},
    ],
)
def test_engines_fields_are_left_out(fields: dict[str, Any], drive: Drive) -> None:
    """Whatever constrains an answer starts at its root in each request, and is left out of a further round."""
    server = Script(said('{"a": '), said("1}", " more", finish="stop"))
    answer = drive(server, ask("x", **fields), provider="vllm")

    assert ('{"a": 1}', "stop", "stop") == answer.said
    assert not set(fields) & set(server.bodies[1])


@drives
@pytest.mark.parametrize("fields", [{"guided_choice": ["one", "two"]}, {"response_format": {"type": "grammar"}}])
def test_format_that_cannot_be_checked(fields: dict[str, Any], drive: Drive) -> None:
    """Where nothing can tell a right answer from a wrong one, a cut answer is left as it is."""
    server = Script(said("on"))
    answer = drive(server, ask("x", **fields))

    assert ("on", "length", "unsupported") == answer.said


@drives
@pytest.mark.parametrize(
    ("rounds", "finish", "text"),
    [
        (['{"a": [1, ', "2, 3]"], "stop", '{"a": [1, 2, 3]'),
        (['{"a": "b', "c} and so on"], "stop", '{"a": "bc} and so on'),
        (['{"a": 1', ", }"], "stop", '{"a": 1, }'),
        (['{"a": ', '{"b": 1}'], "stop", '{"a": {"b": 1}'),
    ],
)
def test_join_that_is_no_document(rounds: list[str], finish: str, text: str, drive: Drive) -> None:
    """A join that does not parse comes back with "length", never with "stop", and the report names the error."""
    answer = drive(Script(said(rounds[0]), said(rounds[1], finish=finish)), ask("x", response_format=JSON_OBJECT))

    assert (text, "length", "error") == answer.said
    assert "invalid_document" == (answer.report or {})["error"]["type"]


@drives
@pytest.mark.parametrize(
    ("pieces", "finish"),
    [
        (["1}"], "stop"),
        (["1}\n"], "stop"),
        (["1", "}", "\n", " \n"], "stop"),
        (["1}", " ", "Hope this helps!"], "stop"),
        (["1} Hope this helps!", " And so on."], "length"),
        (["1", "}", "}"], "stop"),
        (["1}"], "length"),
        (["1}\n\n"], "length"),
    ],
)
def test_what_follows_a_document(pieces: list[str], finish: str, drive: Drive) -> None:
    """What follows the end of the document is cut off, and the answer has ended, however its round did."""
    server = Script(said('{"a": '), said(*pieces, finish=finish))
    answer = drive(server, ask("x", response_format=JSON_OBJECT))

    assert ('{"a": 1}', "stop", "stop") == answer.said


def test_usage_of_a_document_that_ends_by_itself() -> None:
    """A stream is read to its end where nothing but the end follows, so that its usage is known."""
    rounds = [said('{"a": '), said("1", "}", "\n", finish="stop")]
    body = ask("x", response_format=JSON_OBJECT)

    assert whole(Script(*rounds), body).usage == streamed(Script(*rounds), body).usage


@drives
def test_document_that_was_whole(drive: Drive) -> None:
    """A document that the cap cut at its very end gets nothing more, whatever the model adds."""
    for more in (said(finish="stop"), said("\n\nHope this helps!"), said("}")):
        answer = drive(Script(said('{"a": 1}'), more), ask("x", response_format=JSON_OBJECT))

        assert ('{"a": 1}', "stop", "stop") == answer.said


@drives
def test_document_behind_thoughts(drive: Drive) -> None:
    """The document begins behind the thoughts, whose brackets are none of it."""
    body = {**ask("x", response_format=JSON_OBJECT), "model": "deepseek-r1"}
    server = Script(
        said('<think>\nSo {"a": [ it is'),
        said('.\n</think>\n\n{"a": '),
        said("1}", " more", finish="stop"),
    )
    answer = drive(server, body)

    assert ('<think>\nSo {"a": [ it is.\n</think>\n\n{"a": 1}', "stop", "stop") == answer.said


@drives
def test_regular_expression(drive: Drive) -> None:
    """An answer that follows an expression is whole where it matches, and "length" where it does not."""
    body = ask("x", response_format={"type": "regex", "regex": r"(\d+, )*\d+"})
    good = drive(Script(said("1, 2, "), said("3, 4", finish="stop")), body)
    bad = drive(Script(said("1, 2, "), said("3, 4. Done.", finish="stop")), body)

    assert ("1, 2, 3, 4", "stop", "stop") == good.said
    assert ("1, 2, 3, 4. Done.", "length", "error") == bad.said


@drives
def test_document_begun_anew(drive: Drive) -> None:
    """A server that keeps to its grammar begins a second document: that is a restart, and the first stays."""
    text = LISTING.model_dump_json(indent=2)
    engine = Engine(text, habits=Habits(ignores_prefill=True), cap=60)
    answer = drive(engine, ask("x", response_format=JSON_OBJECT))

    assert ("length", "restart", 2) == (answer.finish, answer.stopped_by, len(engine.bodies))
    assert text.startswith(answer.text)


# Through a client.


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize(
    "habits",
    [Habits(), Habits(chatters_after_json=True), Habits(grammar_follows=True)],
    ids=["plain", "chatters", "grammar follows"],
)
async def test_parse(habits: Habits, way: Way) -> None:
    """``parse()`` with a pydantic model returns the object, after three rounds and more."""
    with Emulator(cap=120, text=LISTING.model_dump_json(indent=2), habits=habits) as emulator:
        client = way.client(emulator.base_url)
        completion = await settled(client.chat.completions.parse(**ask("x"), response_format=Listing))
        await settled(client.close())
        sent = [logged.body.get("response_format") for logged in emulator.requests]

    assert LISTING == completion.choices[0].message.parsed
    assert len(sent) >= 3
    assert "json_schema" == sent[0]["type"]
    assert {None} == set(sent[1:])
    assert len(sent) == len(completion.continuation["rounds"])
    assert emulator.derailed == 0


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_parse_of_a_stream(way: Way) -> None:
    """The final completion of ``stream()`` holds the object, too."""
    with Emulator(cap=120, text=LISTING.model_dump_json(indent=2), habits=Habits(chatters_after_json=True)) as emulator:
        client = way.client(emulator.base_url)
        if way.is_async:
            async with client.chat.completions.stream(**ask("x"), response_format=Listing) as stream:
                completion = await stream.get_final_completion()
        else:
            with client.chat.completions.stream(**ask("x"), response_format=Listing) as stream:
                completion = stream.get_final_completion()
        await settled(client.close())

    assert LISTING == completion.choices[0].message.parsed


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_parse_where_the_join_is_none(way: Way) -> None:
    """Where a document cannot be made whole, ``parse()`` raises as ever for "length", with what arrived."""
    with Emulator(cap=150, text=LISTING.model_dump_json(indent=2), habits=Habits(ignores_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            await settled(client.chat.completions.parse(**ask("x"), response_format=Listing))
        await settled(client.close())

    partial = caught.value.completion.choices[0].message.content
    assert partial
    assert LISTING.model_dump_json(indent=2).startswith(partial)


@four_ways
@pytest.mark.parametrize(
    "habits",
    [Habits(), Habits(chatters_after_json=True), Habits(grammar_follows=True, finish_with_text=True)],
    ids=["plain", "chatters", "grammar follows"],
)
async def test_four_ways(habits: Habits, way: Way, stream: bool) -> None:
    """Each way ends with the document, and the first request alone names the format."""
    body = ask("An object of 400 tokens.", response_format=JSON_OBJECT)
    with Emulator(cap=120, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(body)
        sent = [logged.body.get("response_format") for logged in emulator.requests]

    assert (expected, "stop", "stop") == answer.said
    assert json.loads(answer.text)
    assert [JSON_OBJECT, None, None, None] == sent[:4]
    assert emulator.derailed == 0


@four_ways
async def test_regular_expression_four_ways(way: Way, stream: bool) -> None:
    """DeepInfra's regular expressions are continued in each way."""
    text = ", ".join(map(str, range(100, 180)))
    body = ask("x", response_format={"type": "regex", "regex": r"(\d+, )*\d+"})
    with Emulator(cap=120, text=text) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        await settled(client.close())

    assert (text, "stop", "stop") == answer.said
