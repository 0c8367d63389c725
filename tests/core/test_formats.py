"""Structured answers: where a document ends, and whether the joined text is what was asked for."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue._core.text.document import Document, goes_on
from openai_continue._core.text.formats import Format, without_format
from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.documents import LISTING
from tests.support.driving import Drive, drives, streamed, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round, reply

JSON = {"type": "json_object"}
A_JSON = {"response_format": JSON}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4),
    max_leaves=12,
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


@given(
    st.lists(json_values, max_size=4) | st.dictionaries(st.text(max_size=4), json_values, max_size=4),
    st.sampled_from([None, 2, "\t"]),
    st.booleans(),
    st.sampled_from(["", "\n", " {", "]", "Hope this helps!", '"']),
    st.lists(st.integers(0, 7), max_size=30),
)
def test_end_of_a_document(value: Any, indent: Any, ascii_only: bool, after: str, sizes: list[int]) -> None:
    """A document ends where a JSON parser says, however it was split and whatever follows."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert len(text) == end_of(text + after, sizes)
    assert len(text) == end_of(text + after, [1] * len(text))
    assert end_of(text[:-1], sizes) is None


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", None),
        ("null", None),
        ('"a string"', None),
        ('"{}"', None),
        ("  {} ", 4),
        ("} {}", None),
        ('He said "see [1]:\n```json\n{}\n```\nHope', 33),
        ("see [1]: {} x", None),
        ("````\n{}\n````x", 12),
        ("~~~json\n[]\n~~~\nHope", 15),
        ("```json\n{}\n```\n", None),
        ("```json\n{}\n```\nHope", 15),
        ("```json\n{}\nHope", 11),
        ("```json\n{}\n``Hope", 13),
        (r'{"\\": "\""} x', 12),
        (r'{"a\\\"}": 1}', 13),
    ],
)
def test_end_of_odd_documents(text: str, end: int | None) -> None:
    """Scalars have no end to be seen; brackets in strings, and in text before a document, are none of it."""
    assert end == end_of(text, [])
    assert end == end_of(text, [1] * len(text))


def test_nothing_belongs_to_a_document_that_has_ended() -> None:
    """Behind its end, nothing is of the document."""
    document = Document()

    assert document.feed("[] x") == 2
    assert document.feed(" more {}") == 0


# The format that is asked for.


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": kind, **fields}}


OBJECT: dict[str, Any] = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
#: Every place where a format may be asked for, and what it is: "json" of any schema, a "schema" that wants an integer
#: "a", a "regex" that wants "a"s, an "unknown" one, or None.
FORMATS: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"response_format": None}, None),
    (typed("text"), None),
    (typed("json_object"), "json"),
    (typed("json_object", schema=OBJECT), "schema"),
    (typed("json_object", schema=json.dumps(OBJECT)), "schema"),
    (typed("json_schema", json_schema={"name": "x", "schema": {}}), "json"),
    (typed("json_schema", json_schema={"name": "x", "schema": OBJECT, "strict": True}), "schema"),
    (typed("json_schema", schema=OBJECT), "schema"),
    (typed("json_schema", value={"name": "x", "schema": OBJECT}), "schema"),
    (typed("json_object", value=OBJECT), "schema"),
    (typed("json", value=OBJECT), "schema"),
    (typed("json", schema=OBJECT), "schema"),
    (typed("regex", regex="a+"), "regex"),
    (typed("regex", pattern="a+"), "regex"),
    (typed("regex", value="a+"), "regex"),
    (typed("regex_schema", regex_schema="a+"), "regex"),
    (typed("regex", regex="(?<broken"), "unknown"),
    (typed("regex"), "unknown"),
    (typed("ebnf", ebnf="root ::= x"), "unknown"),
    (typed("grammar", grammar="x"), "unknown"),
    (typed("structural_tag", structures=[], triggers=[]), "unknown"),
    ({"guided_json": OBJECT}, "schema"),
    ({"guided_json": json.dumps(OBJECT)}, "schema"),
    ({"guided_json": None}, None),
    ({"guided_regex": "a+"}, "regex"),
    ({"guided_choice": ["a", "b"]}, "unknown"),
    ({"guided_grammar": "root ::= x"}, "unknown"),
    ({"structured_outputs": {"json": {}, "disable_any_whitespace": True}}, "json"),
    ({"structured_outputs": {"json": OBJECT}}, "schema"),
    ({"structured_outputs": {"json_object": True}}, "json"),
    ({"structured_outputs": {"regex": "a+"}}, "regex"),
    ({"structured_outputs": {"choice": ["a"]}}, "unknown"),
    ({"structured_outputs": {"grammar": "root ::= x"}}, "unknown"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "unknown"),
    ({"nvext": {"guided_json": OBJECT}}, "schema"),
    ({"nvext": {"guided_regex": "a+"}}, "regex"),
    ({"nvext": {"guided_choice": ["a"]}}, "unknown"),
    ({"nvext": {"guided_grammar": "x"}}, "unknown"),
    ({"nvext": {"ignore_eos": True}}, None),
    ({"extra_body": {"guided_json": OBJECT}}, "schema"),
    ({"extra_body": {"nvext": {"guided_json": OBJECT}}}, "schema"),
    ({"extra_body": typed("json_object")}, "json"),
    ({"json_schema": OBJECT}, "schema"),
    ({"regex": "a+"}, "regex"),
    ({"ebnf": "root ::= x"}, "unknown"),
    ({"grammar": "root ::= x"}, "unknown"),
    ({"grammar": ""}, None),
    ({"grammar": {"type": "json", "value": OBJECT}}, "schema"),
    ({"grammar": {"type": "regex", "value": "a+"}}, "regex"),
    ({"structural_tag": "{}"}, "unknown"),
    ({"format": "json"}, "json"),
    ({"format": OBJECT}, "schema"),
    ({"format": "markdown"}, None),
    ({**A_JSON, "nvext": {"guided_json": OBJECT}}, "schema"),
    ({**A_JSON, "grammar": "root ::= x"}, "unknown"),
    ({**typed("text"), "guided_json": OBJECT}, "schema"),
]


@pytest.mark.parametrize(("body", "kind"), FORMATS)
def test_format(body: dict[str, Any], kind: str | None) -> None:
    """The format is read from every place where a server reads it."""
    wanted = Format.of(body)

    assert (kind is not None) == (wanted is not None)
    if wanted is not None and kind is not None:
        texts = {"json": ('{"a": "b"}', "aaa"), "schema": ('{"a": 1}', '{"a": "b"}'), "regex": ("aaa", '{"a": 1}')}
        assert (kind != "unknown") == wanted.checkable
        for good, bad in [texts[kind]] if kind in texts else []:
            assert (wanted.fits(good), wanted.fits(bad)) == (True, False)
            assert (kind != "regex", kind == "schema") == (wanted.is_json, wanted.has_schema)


@pytest.mark.parametrize(("body", "kind"), FORMATS)
def test_without_format(body: dict[str, Any], kind: str | None) -> None:
    """No place is left, all else is, and the body is not changed."""
    before = copy.deepcopy(body)
    left = without_format({"model": "m", **body})

    assert Format.of(left) is None
    assert before == body
    if kind is None:
        assert {"model": "m", **{name: body[name] for name in body if name != "response_format"}} == left


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"nvext": {"guided_json": OBJECT, "ignore_eos": True}}, {"nvext": {"ignore_eos": True}}),
        ({"nvext": {"guided_json": OBJECT}}, {}),
        ({"nvext": {}}, {"nvext": {}}),
        ({"extra_body": {"nvext": {"guided_regex": "a"}, "top_k": 1}}, {"extra_body": {"top_k": 1}}),
        ({"structured_outputs": {"json": OBJECT, "disable_any_whitespace": True}}, {}),
        ({"format": "markdown", "seed": 1}, {"format": "markdown", "seed": 1}),
    ],
)
def test_what_stands_beside_a_format(body: dict[str, Any], left: dict[str, Any]) -> None:
    """What stands beside a format stays; what only says how it is applied goes with it."""
    assert left == without_format(body)


@pytest.mark.parametrize(
    ("format_", "text", "fits"),
    [
        (JSON, '{"a": 1}', True),
        (JSON, ' {"a": 1}\n', True),
        (JSON, '{"a": 1', False),
        (JSON, '{"a": 1} {', False),
        (JSON, "", False),
        (JSON, "[" * 100_000, False),
        ({"type": "regex", "regex": "[ab]+"}, "abab", True),
        ({"type": "regex", "regex": "[ab]+"}, "ababc", False),
    ],
)
def test_fits(format_: dict[str, str], text: str, fits: bool) -> None:
    """A join is checked to be one whole document, or to match as a whole."""
    wanted = Format.of({"response_format": format_})

    assert wanted is not None
    assert fits == wanted.fits(text)


SCHEMAS_THAT_ARE_NOT_READ: list[object] = [
    {"type": "strin"},
    {"type": "object", "properties": {"a": {"pattern": "("}}},
    {"$ref": "https://example.com/schema.json"},
    {"$ref": "other.json#/$defs/a"},
    {"properties": {"a": {"exclusiveMinimum": True}}},
    "{",
    "[" * 100_000,
    ["a"],
    7,
]


@pytest.mark.parametrize("schema", SCHEMAS_THAT_ARE_NOT_READ)
def test_schema_that_cannot_be_read(schema: object) -> None:
    """A document is neither of it nor not of it; what is no JSON is not of it."""
    wanted = Format.of(typed("json_schema", json_schema={"name": "x", "schema": schema}))

    assert wanted is not None
    assert wanted.fits('{"a": "b"}') is None
    assert wanted.fits('{"a": ') is False


@pytest.mark.usefixtures("without_jsonschema")
@pytest.mark.parametrize("schema", [OBJECT, json.dumps(OBJECT), {"type": "object"}])
def test_schema_without_the_extra(schema: object) -> None:
    """Nothing can be said of any schema but the one that takes everything."""
    wanted = Format.of({"guided_json": schema})

    assert wanted is not None
    assert [wanted.fits(text) for text in ('{"a": 1}', '{"a":')] == [None, False]
    assert [anything.fits("{}") for anything in map(Format.of, ({"guided_json": {}}, A_JSON)) if anything] == [
        True,
        True,
    ]


# Through Rounds.


@drives
@pytest.mark.parametrize("chatters", [False, True])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("cap", [7, 16, 45])
def test_document(chatters: bool, follows: bool, cap: int, drive: Drive) -> None:
    """A document is whole after many rounds, whether or not the model has more to say after it."""
    text = LISTING.model_dump_json(indent=2)
    engine = Engine(text, habits=Habits(chatters_after_json=chatters, grammar_follows=follows), cap=cap)
    answer = drive(engine, ask(**A_JSON), max_rounds=200)

    assert (text, "stop", "stop") == answer.ending
    assert engine.derailed == 0
    assert [JSON, *[None] * (len(engine.bodies) - 1)] == [body.get("response_format") for body in engine.bodies]


@drives
def test_document_begun_again(drive: Drive) -> None:
    """A server that keeps to its grammar begins a second document: that is a restart, and the first stays."""
    text = LISTING.model_dump_json(indent=2)
    engine = Engine(text, habits=Habits(ignores_prefill=True), cap=60)
    answer = drive(engine, ask(**A_JSON))

    assert (*answer.ending[1:], len(engine.bodies)) == ("length", "restart", 2)
    assert text.startswith(answer.text)


@drives
@pytest.mark.parametrize(
    "fields",
    [
        {"guided_json": {"type": "object"}},
        {"structured_outputs": {"json": {"type": "object"}}},
        {"json_schema": {"type": "object"}},
        {"nvext": {"guided_json": {"type": "object"}}},
        {"extra_body": {"guided_json": {"type": "object"}}},
    ],
)
def test_engines_fields_are_left_out(fields: dict[str, Any], drive: Drive) -> None:
    """Whatever constrains an answer starts at its root in each request, and is left out of a later round."""
    server = Script(cut_round('{"a": '), last_round("1}", " more"))
    answer = drive(server, ask(**fields), provider="vllm")

    assert answer.ending == ('{"a": 1}', "stop", "stop")
    assert not set(fields) & set(server.bodies[1])


REGEX = {"response_format": {"type": "regex", "regex": r"(\d+, )*\d+"}}
ENDS = {
    **{
        f"cannot be checked: {body}": Case([cut_round("on")], **length("on", "unsupported"), body=body)
        for body in ({"guided_choice": ["one", "two"]}, {"response_format": {"type": "grammar"}})
    },
    # What follows the end of the document is dropped, however the round ended.
    **{
        f"after the document: {last.pieces} {last.finish}": Case([cut_round('{"a": '), last], '{"a": 1}', body=A_JSON)
        for last in (
            last_round("1}"),
            last_round("1}\n"),
            last_round("1", "}", "\n", " \n"),
            last_round("1}", " ", "Hope this helps!"),
            cut_round("1} Hope this helps!", " And so on."),
            last_round("1", "}", "}"),
            cut_round("1}"),
            cut_round("1}\n\n"),
        )
    },
    # The cap fell at its very end, or behind it.
    **{
        f"it was whole: {text!r}": Case([cut_round(text)], text, body=A_JSON)
        for text in ('{"a": 1}', "[]\n\n", '```json\n{"a": 1}\n```', 'Here it is:\n```json\n{"a": 1}\n```\n')
    },
    "the cap fell before the closing fence": Case(
        [cut_round('```json\n{"a": 1}\n'), last_round("```", "\nHope this helps!")],
        '```json\n{"a": 1}\n```\n',
        body=A_JSON,
    ),
    "it was whole at the caller's own limit": Case(
        [cut_round('{"a": 1}')], **length('{"a": 1}', None), body={**A_JSON, "max_tokens": 5}
    ),
    "after thoughts, whose brackets are no part of it": Case(
        [cut_round('<think>\nSo {"a": [ it is'), cut_round('.\n</think>\n\n{"a": '), last_round("1}", " more")],
        '<think>\nSo {"a": [ it is.\n</think>\n\n{"a": 1}',
        body={**A_JSON, "model": "deepseek-r1"},
    ),
    "an expression": Case([cut_round("1, 2, "), last_round("3, 4")], "1, 2, 3, 4", body=REGEX),
    "a first round that ends itself is not judged": Case(
        [last_round('{"a": ')], '{"a": ', stopped_by=None, body=A_JSON
    ),
}
INVALID = {
    **{
        f"{first}{second}": Case([cut_round(first), last_round(second)], **length(first + second, "error"), body=A_JSON)
        for first, second in (
            ('{"a": [1, ', "2, 3]"),
            ('{"a": "b', "c} and so on"),
            ('{"a": 1', ", }"),
            ('{"a": ', '{"b": 1}'),
        )
    },
    "cline #4370: half a document passed for one": Case(
        [cut_round('{"a": "b'), last_round('c", "d"')], **length('{"a": "bc", "d"', "error"), body=A_JSON
    ),
    "an expression": Case(
        [cut_round("1, 2, "), last_round("3, 4. Done.")], **length("1, 2, 3, 4. Done.", "error"), body=REGEX
    ),
}


@cases(ENDS)
def test_end(case: Case, drive: Drive) -> None:
    """A continued document ends where the document ends."""
    case.check(drive)


@cases(INVALID)
def test_join_that_is_no_document(case: Case, drive: Drive) -> None:
    """A join that is not what was asked for comes with "length", never with "stop", and the report names the error."""
    answer, _ = case.check(drive)

    assert (answer.report or {})["error"]["type"] == "invalid_document"


# Documents that nobody can check.

SCHEMA_OF_A = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": OBJECT}}}
UNREAD = {"guided_json": {"$ref": "https://example.com/schema.json"}}


@drives
@pytest.mark.usefixtures("without_jsonschema")
@pytest.mark.parametrize(
    "body", [SCHEMA_OF_A, {"guided_json": OBJECT}, {"nvext": {"guided_json": OBJECT}}, {"format": OBJECT}]
)
def test_unchecked_document(body: dict[str, Any], drive: Drive) -> None:
    """A joined document is not called finished if its schema cannot be checked."""
    answer = drive(Script(cut_round('{"a": '), last_round("1}")), ask(**body), provider="vllm")

    assert answer.ending == ('{"a": 1}', "length", "error")
    assert (answer.report or {})["error"]["type"] == "unchecked_document"


@drives
def test_document_of_a_schema_that_cannot_be_read(drive: Drive) -> None:
    """So it is with the extra, if the schema refers to another file."""
    answer = drive(Script(cut_round('{"a": '), last_round("1}")), ask(**UNREAD), provider="vllm")

    assert answer.ending == ('{"a": 1}', "length", "error")
    assert (answer.report or {})["error"]["type"] == "unchecked_document"


@drives
@pytest.mark.usefixtures("without_jsonschema")
@pytest.mark.parametrize(
    ("rounds", "body", "provider", "parsed", "fault"),
    [
        # What is no document is invalid without any schema.
        ((cut_round('{"a": '), last_round("1")), SCHEMA_OF_A, "vllm", False, "invalid_document"),
        # Any JSON will do.
        ((cut_round('{"a": '), last_round("1}")), A_JSON, "vllm", False, None),
        # The first round is the server's own affair.
        ((last_round('{"a": 1}'),), SCHEMA_OF_A, "vllm", False, None),
        # The server applied the schema to the whole document.
        ((cut_round('{"a": '), last_round("1}")), SCHEMA_OF_A, "llama.cpp", False, None),
        # A server that does not read the place has not.
        ((cut_round('{"a": '), last_round("1}")), {"guided_json": OBJECT}, "llama.cpp", False, "unchecked_document"),
        (
            (cut_round('{"a": '), last_round("1}")),
            {**A_JSON, "guided_json": OBJECT},
            "llama.cpp",
            False,
            "unchecked_document",
        ),
        # The SDK will check it.
        ((cut_round('{"a": '), last_round("1}")), SCHEMA_OF_A, "vllm", True, None),
        ((cut_round('{"a": '), last_round("1")), SCHEMA_OF_A, "vllm", True, "invalid_document"),
        # TGI's names of the end.
        ((cut_round('"a te'), reply('xt"', finish="eos_token")), SCHEMA_OF_A, "tgi", False, "unchecked_document"),
        ((cut_round("aa"), reply("a", finish="eos_token")), {"regex": "a+"}, "tgi", False, None),
        ((cut_round("aa"), reply("b", finish="eos_token")), {"regex": "a+"}, "tgi", False, "invalid_document"),
    ],
)
def test_document_without_the_extra(
    rounds: Any, body: dict[str, Any], provider: str, parsed: bool, fault: str | None, drive: Drive
) -> None:
    """A document that is checked elsewhere, or needs no schema, is finished."""
    answer = drive(Script(*rounds), ask(**body), provider=provider, is_parsed=parsed)
    error = (answer.report or {}).get("error")

    assert fault == (error and error["type"])
    assert (fault is not None) == (answer.finish_reason == "length")


# More than one value: no grammar bound the server, so the answer is plain text.

ROWS = [json.dumps({"name": f"item {number}", "price": number}) for number in range(9)]
SEVERAL = {
    "lines": "\n".join(ROWS),
    "lines of arrays": "\n".join(json.dumps([number, {"a": []}]) for number in range(20)),
    "lines, and a last newline": "\n".join(ROWS) + "\n",
    "with commas": ",\n".join(ROWS),
    "without anything between": "".join(ROWS),
    "indented": "\n\n".join(json.dumps({"a": [number]}, indent=2) for number in range(6)),
    "prose after it": ROWS[0] + "\n\nThis object has a name, {braces} and a price. I hope that it helps you a lot.",
    "prose that begins like one": "[1] is the first source, and {2} the second; they agree in most of what they say.",
    "fenced": f'```json\n{ROWS[0]}\n```\n\nThe name is "item 0", and the price {{0}}. Is there more to be done?',
    "several fenced": "\n\n".join(f"```json\n{row}\n```" for row in ROWS),
    "lines in a fence": "```json\n" + "\n".join(ROWS) + "\n```",
    "strings": "\n".join(json.dumps(f"item {{{number}") for number in range(9)),
    "numbers": "12\n34\n56\n78\n90\n123\n456\n789",
    "a number and prose": "42 is the answer to {everything}, and it has been so for a very long time by now.",
}


@drives
@pytest.mark.parametrize("name", SEVERAL)
def test_several_values(name: str, drive: Drive) -> None:
    """If more than one value came before the cut, all that follows is text, and comes as it does uncapped."""
    text = SEVERAL[name]
    for place in range(1, len(text), 7):
        if not goes_on(text[:place]):
            continue
        cuts = [cut for cut in (place, place + 20, place + 40) if cut < len(text)]
        answer = drive(Writer(text, *cuts), ask(response_format=JSON))

        assert (text, "stop", "stop") == answer.ending, text[:place]
        assert (answer.report or {})["error"] is None


@drives
@pytest.mark.parametrize("name", SEVERAL)
def test_several_values_instead_of_one_of_a_schema(name: str, drive: Drive) -> None:
    """If one document of a schema was asked for, nothing can make it whole: no further request is paid."""
    text = SEVERAL[name]
    for place in range(1, len(text), 11):
        if not goes_on(text[:place]):
            continue
        server = Writer(text, place)
        answer = drive(server, ask(**SCHEMA_OF_A))

        assert (text[:place], "length", "error", 1) == (*answer.ending, len(server.bodies)), text[:place]
        assert (answer.report or {})["error"]["type"] == "invalid_document"


@drives
def test_blanks_after_a_document(drive: Drive) -> None:
    """Blanks after a document are not another value: the model may have no more to say."""
    for blanks in ("", "\n", " \n\n ", "\n" * 50):
        server = Script(cut_round('{"a": 1}' + blanks), last_round("\n\n", " and so on"))
        answer = drive(server, ask(**A_JSON))

        assert (answer.text.rstrip(), answer.finish_reason) == ('{"a": 1}', "stop")


@drives
@pytest.mark.parametrize(
    ("first", "rest", "text"),
    [("12", "34", "1234"), ('"a te', 'xt"', '"a text"'), ("tru", "e", "true"), ("-1.5", "e3", "-1.5e3")],
)
def test_scalar_document(first: str, rest: str, text: str, drive: Drive) -> None:
    """A text, a number or a word is a document too; a number that was cut may go on."""
    answer = drive(Script(cut_round(first), last_round(rest)), ask(**A_JSON))

    assert (text, "stop", "stop") == answer.ending


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("  ", False),
        ("{", False),
        ('{"a": 1}', False),
        ('{"a": 1}\n\n', False),
        ('{"a": 1}\n{', True),
        ('{"a": 1},', True),
        ("```json\n{}\n``", False),
        ("```json\n{}\n```\n", False),
        ("```json\n{}\n```\nHope", True),
        ("```json\n{}\nHope", True),
        ("He", False),
        ("Here: {} and", False),
        ('"a"', False),
        ('"a" "b', True),
        ('"a\\" ', False),
        ("12", False),
        ("12 ", False),
        ("12 3", True),
        ("truely", True),
        ("nul", False),
    ],
)
def test_goes_on(text: str, expected: bool) -> None:
    """Blanks do not go on after a value, anything else does."""
    assert goes_on(text) == expected


# Documents in a fence, and documents that the caller begins.


class Writer:
    """A server that writes a text on from what it is sent, and is cut at these places."""

    def __init__(self, text: str, *cuts: int, chatter: str = "") -> None:
        self._text, self._cuts, self._chatter = text, cuts, chatter
        self.bodies: list[dict[str, Any]] = []

    def _next(self, body: dict[str, Any]) -> tuple[str, str]:
        self.bodies.append(body)
        last = body["messages"][-1]
        known = last["content"] if last["role"] == "assistant" else ""
        text = self._text + self._chatter
        assert text.startswith(known), known
        place = next((cut for cut in self._cuts if cut > len(known)), None)
        return text[len(known) : place], "stop" if place is None else "length"

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text, finish = self._next(body)
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]}

    def chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        text, finish = self._next(body)
        none = {"index": 0, "delta": {}, "finish_reason": None}
        chunks = [{"choices": [{**none, "delta": {"content": character}}]} for character in text]
        return [*chunks, {"choices": [{**none, "finish_reason": finish}]}]


BARE = '{"a": ["b\\"}", {"c": "```"}],\n "d": 1}'
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a", "d"]}}}
FENCED = {
    "bare": BARE,
    "with blanks around it": f"\n {BARE}\n",
    "json": f"```json\n{BARE}\n```",
    "and a newline": f"```json\n{BARE}\n```\n",
    "without a name": f"```\n{BARE}\n```",
    "on one line": f"```json {BARE}```",
    "longer": f"````json\n{BARE}\n````",
    "of tildes": f"~~~json\n{BARE}\n~~~\n",
    "blanks around": f"\n\n``` JSON  \n\n{BARE}\n\n  ```\n\n",
    "text before it": f"Here it is:\n\n```json\n{BARE}\n```",
    "brackets and quotes before it": f'He said "see [1] {{and}} [2:\n```json\n{BARE}\n```',
    "never closed": f"```json\n{BARE}",
}


@drives
@pytest.mark.parametrize("format_", [JSON, SCHEMA], ids=["json_object", "json_schema"])
@pytest.mark.parametrize("name", FENCED)
def test_fenced_document(name: str, format_: Any, drive: Drive) -> None:
    """A document in a fence is whole wherever it is cut, and ends in "stop"."""
    text = FENCED[name]
    for place in range(1, len(text)):
        answer = drive(Writer(text, place), ask(response_format=format_))

        # Blanks after a document that is whole are no part of it.
        assert (text.rstrip(), "stop") == (answer.text.rstrip(), answer.finish_reason), text[:place]
        assert text.startswith(answer.text)


@drives
@pytest.mark.parametrize("name", ["json", "of tildes", "longer", "text before it"])
def test_fenced_document_in_many_rounds(name: str, drive: Drive) -> None:
    """So it is if every character is cut."""
    text = FENCED[name]
    answer = drive(Writer(text, *range(1, len(text) + 1)), ask(response_format=JSON), max_rounds=200)

    assert (text.rstrip(), "stop") == (answer.text.rstrip(), answer.finish_reason)


@drives
@pytest.mark.parametrize(
    "name", ["bare", "json", "longer", "of tildes", "text before it", "brackets and quotes before it"]
)
@pytest.mark.parametrize("chatter", ["\nHope this helps! {}", "\n\n[1]", "\n```json\n{}\n```"])
def test_chatter_after_a_fenced_document(name: str, chatter: str, drive: Drive) -> None:
    """What follows the document is dropped, and nothing of the document is."""
    text = FENCED[name].rstrip()
    for place in range(1, len(text), 3):
        answer = drive(Writer(text, place, chatter=chatter), ask(response_format=JSON))

        assert (text, "stop") == (answer.text.rstrip(), answer.finish_reason), text[:place]


@drives
@pytest.mark.parametrize("format_", [JSON, SCHEMA], ids=["json_object", "json_schema"])
@pytest.mark.parametrize(
    ("own", "name"),
    [("{", "bare"), ('{"a": [', "bare"), ("```json\n", "json"), ("```json\n{", "json"), ("```", "without a name"),
     ("Here it is:\n\n```json\n", "text before it")],
)  # fmt: skip
def test_own_beginning(own: str, name: str, format_: Any, drive: Drive) -> None:
    """The beginning that the caller gives is a part of the document, and not of the answer."""
    text = FENCED[name]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": own}]
    for place in range(len(own) + 1, len(text)):
        answer = drive(Writer(text, place, chatter="\nHope!"), ask(messages=messages, response_format=format_))

        assert (text[len(own) :], "stop") == (answer.text.rstrip(), answer.finish_reason), text[:place]


def test_usage_of_a_document_that_ends_by_itself() -> None:
    """A stream is read to its end if only white space follows, so that its usage is known."""
    rounds = [cut_round('{"a": '), last_round("1", "}", "\n")]

    assert whole(Script(*rounds), ask(**A_JSON)).usage == streamed(Script(*rounds), ask(**A_JSON)).usage
