"""Structured answers: where a document ends, and whether the joined text is what was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue.core.document import Document
from openai_continue.core.structured import Format
from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.documents import LISTING
from tests.support.driving import Drive, drives, streamed, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut, end

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


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, None),
        ({"response_format": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": JSON}, "json"),
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

    assert (text, "stop", "stop") == answer.said
    assert engine.derailed == 0
    assert [JSON, *[None] * (len(engine.bodies) - 1)] == [body.get("response_format") for body in engine.bodies]


@drives
def test_document_begun_again(drive: Drive) -> None:
    """A server that keeps to its grammar begins a second document: that is a restart, and the first stays."""
    text = LISTING.model_dump_json(indent=2)
    engine = Engine(text, habits=Habits(ignores_prefill=True), cap=60)
    answer = drive(engine, ask(**A_JSON))

    assert ("length", "restart", 2) == (*answer.said[1:], len(engine.bodies))
    assert text.startswith(answer.text)


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
    """Whatever constrains an answer starts at its root in each request, and is left out of a later round."""
    server = Script(cut('{"a": '), end("1}", " more"))
    answer = drive(server, ask(**fields), provider="vllm")

    assert ('{"a": 1}', "stop", "stop") == answer.said
    assert not set(fields) & set(server.bodies[1])


REGEX = {"response_format": {"type": "regex", "regex": r"(\d+, )*\d+"}}
ENDS = {
    **{
        f"cannot be checked: {body}": Case([cut("on")], **length("on", "unsupported"), body=body)
        for body in ({"guided_choice": ["one", "two"]}, {"response_format": {"type": "grammar"}})
    },
    # What follows the end of the document is dropped, however the round ended.
    **{
        f"after the document: {last.pieces} {last.finish}": Case([cut('{"a": '), last], '{"a": 1}', body=A_JSON)
        for last in (
            end("1}"),
            end("1}\n"),
            end("1", "}", "\n", " \n"),
            end("1}", " ", "Hope this helps!"),
            cut("1} Hope this helps!", " And so on."),
            end("1", "}", "}"),
            cut("1}"),
            cut("1}\n\n"),
        )
    },
    # The cap fell at its very end.
    **{
        f"it was whole: {more.pieces} {more.finish}": Case([cut('{"a": 1}'), more], '{"a": 1}', body=A_JSON)
        for more in (end(), cut("\n\nHope this helps!"), cut("}"))
    },
    "after thoughts, whose brackets are no part of it": Case(
        [cut('<think>\nSo {"a": [ it is'), cut('.\n</think>\n\n{"a": '), end("1}", " more")],
        '<think>\nSo {"a": [ it is.\n</think>\n\n{"a": 1}',
        body={**A_JSON, "model": "deepseek-r1"},
    ),
    "an expression": Case([cut("1, 2, "), end("3, 4")], "1, 2, 3, 4", body=REGEX),
    "a first round that ends itself is not judged": Case([end('{"a": ')], '{"a": ', stopped_by=None, body=A_JSON),
}
INVALID = {
    **{
        f"{first}{second}": Case([cut(first), end(second)], **length(first + second, "error"), body=A_JSON)
        for first, second in (
            ('{"a": [1, ', "2, 3]"),
            ('{"a": "b', "c} and so on"),
            ('{"a": 1', ", }"),
            ('{"a": ', '{"b": 1}'),
        )
    },
    "cline #4370: half a document passed for one": Case(
        [cut('{"a": "b'), end('c", "d"')], **length('{"a": "bc", "d"', "error"), body=A_JSON
    ),
    "an expression": Case([cut("1, 2, "), end("3, 4. Done.")], **length("1, 2, 3, 4. Done.", "error"), body=REGEX),
}


@cases(ENDS)
def test_end(case: Case, drive: Drive) -> None:
    """A continued document ends where the document ends."""
    case.check(drive)


@cases(INVALID)
def test_join_that_is_no_document(case: Case, drive: Drive) -> None:
    """A join that is not what was asked for comes with "length", never with "stop", and the report names the error."""
    answer, _ = case.check(drive)

    assert "invalid_document" == (answer.report or {})["error"]["type"]


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
    """Issue 14: a document in a fence is whole wherever it is cut, and ends in "stop"."""
    text = FENCED[name]
    for place in range(1, len(text)):
        answer = drive(Writer(text, place), ask(response_format=format_))

        # Blanks after a document that is whole are no part of it.
        assert (text.rstrip(), "stop") == (answer.text.rstrip(), answer.finish_reason), text[:place]
        assert text.startswith(answer.text)


@drives
@pytest.mark.parametrize("name", ["json", "of tildes", "longer", "text before it"])
def test_fenced_document_in_many_rounds(name: str, drive: Drive) -> None:
    """Issue 14: so it is if every character is cut."""
    text = FENCED[name]
    answer = drive(Writer(text, *range(1, len(text) + 1)), ask(response_format=JSON), max_rounds=200)

    assert (text.rstrip(), "stop") == (answer.text.rstrip(), answer.finish_reason)


@drives
@pytest.mark.parametrize(
    "name", ["bare", "json", "longer", "of tildes", "text before it", "brackets and quotes before it"]
)
@pytest.mark.parametrize("chatter", ["\nHope this helps! {}", "\n\n[1]", "\n```json\n{}\n```"])
def test_chatter_after_a_fenced_document(name: str, chatter: str, drive: Drive) -> None:
    """Issue 14: what follows the document is dropped, and nothing of the document is."""
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
    """Issue 14: the beginning that the caller gives is a part of the document, and not of the answer."""
    text = FENCED[name]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": own}]
    for place in range(len(own) + 1, len(text)):
        answer = drive(Writer(text, place, chatter="\nHope!"), ask(messages=messages, response_format=format_))

        assert (text[len(own) :], "stop") == (answer.text.rstrip(), answer.finish_reason), text[:place]


def test_usage_of_a_document_that_ends_by_itself() -> None:
    """A stream is read to its end if only white space follows, so that its usage is known."""
    rounds = [cut('{"a": '), end("1", "}", "\n")]

    assert whole(Script(*rounds), ask(**A_JSON)).usage == streamed(Script(*rounds), ask(**A_JSON)).usage
