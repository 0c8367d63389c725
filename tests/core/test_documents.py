"""No token is asked for after a document that is lost, or has ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, rounds_of, streamed, whole
from tests.support.script import Reply, Script, cut_round, last_round, reply, usage

Json = dict[str, Any]
JSON: Json = {"response_format": {"type": "json_object"}}
A: Json = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
SCHEMA: Json = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": A}}}
GUIDED: Json = {"guided_json": A}
VLLM = {"provider": "vllm"}

LOST = {
    # The first round is the caller's own: no further one is asked for.
    **{
        f"at first: {body}": Case([cut_round('{"a": one')], **length('{"a": one', "error"), body=body, known=VLLM)
        for body in (JSON, SCHEMA, GUIDED, {"structured_outputs": {"json_object": True}}, {"format": "json"})
    },
    "at first, in a fence": Case([cut_round("```json\n{'")], **length("```json\n{'", "error"), body=JSON),
    "at first, after the caller's beginning": Case(
        [cut_round("one")],
        **length("one", "error"),
        body={**JSON, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": '{"a": '}]},
    ),
    "within thoughts there is none": Case(
        [cut_round("<think>\n{so", usage=usage(9, 9)), cut_round("}\n</think>\n\n{so")],
        **length("<think>\n{so}\n</think>\n\n{so", "error"),
        body={**JSON, "model": "deepseek-r1"},
    ),
    # A whole answer is looked at when it has come.
    "in a later round": Case(
        [cut_round('{"a": '), cut_round("so", " it", " is")],
        **length('{"a": so it is', "error"),
        body=JSON,
        drives=[whole],
    ),
    "in a later round that ends itself": Case(
        [cut_round('{"a": '), last_round("so", " it", " is")],
        **length('{"a": so it is', "error"),
        body=JSON,
        drives=[whole],
    ),
    # A stream is left in the chunk in which it is lost.
    **{
        f"in a stream: {last.finish}": Case(
            [cut_round('{"a": '), last], **length('{"a": 1, "so" it', "error"), body=JSON, drives=[streamed]
        )
        for last in (last_round('1, "so', '"', " it", " is"), cut_round('1, "so', '"', " it", " is"))
    },
}


@cases(LOST)
def test_lost_document(case: Case, drive: Drive) -> None:
    """A document that nothing makes whole ends in "length" with what was there."""
    answer, _ = case.check(drive)

    assert (answer.report or {})["error"]["type"] == "invalid_document"


def taken(later: Reply, body: Json) -> tuple[str, str | None]:
    """Return what is taken of the second round's stream, and why the answer ends."""
    server, rounds = Script(cut_round('{"a": '), later), rounds_of({**ask(**body), "stream": True}, "vllm")
    pieces = ""
    while (request := rounds.next_request()) is not None:
        pieces = ""
        for chunk in server.chunks(request.body):
            rounds.feed(request, chunk)
            pieces += "".join(item["delta"].get("content") or "" for item in chunk["choices"])
            if rounds.enough:
                break
        rounds.end_of_stream(request)
    return pieces, rounds.stopped_by


@pytest.mark.parametrize("body", [JSON, SCHEMA, GUIDED], ids=["json_object", "json_schema", "guided_json"])
@pytest.mark.parametrize(
    ("pieces", "read"),
    [
        # Lost.
        (["so", " it", " is"], "so"),
        (["1, ", '"so', '": tr', "uly", " so"], '1, "so": truly'),
        (['"', "x\n", "y"], '"x\n'),
        (["1", "]", "}", "}"], "1]"),
        # Whole: blanks are read, for the usage is still to come, but not without end.
        (["1", "}", "\n", " So"], "1}\n So"),
        (["1", "}", "\n\n"], "1}\n\n"),
        (["1", "}", *["\n\n"] * 100], "1}" + "\n\n" * 9),
        # Neither.
        (["1", ', "so": ', "tru"], '1, "so": tru'),
    ],
)
def test_stream_is_left(pieces: list[str], read: str, body: Json) -> None:
    """A stream is left in the chunk in which the document is lost, or by which it has ended."""
    assert taken(reply(*pieces, finish="stop"), body)[0] == read


@drives
@pytest.mark.parametrize(
    "texts",
    [
        ("Here", ' it is:\n```json\n{"a": 1}\n```'),
        ("See {1}: ", '```json\n{"a": 1}\n```'),
        ("```", 'json\n{"a": 1}\n```'),
        ("```json", '\n{"a": 1}\n```'),
        ("[1", ", 2]"),
        ('"Here', ' it is"'),
    ],
)
def test_what_is_no_document_yet(texts: tuple[str, str], drive: Drive) -> None:
    """A first round that may become a document goes on, whatever it begins with."""
    server = Script(cut_round(texts[0]), last_round(texts[1]))
    answer = drive(server, ask(**JSON))

    assert answer.ending == ("".join(texts), "stop", "stop")


@drives
@pytest.mark.parametrize("body", [{}, {"response_format": {"type": "text"}}, {"format": "markdown"}])
def test_plain_text_is_no_document(body: Json, drive: Drive) -> None:
    """If no JSON was asked for, braces are text."""
    answer = drive(Script(cut_round("{so it is"), last_round("} and so on")), ask(**body))

    assert answer.ending == ("{so it is} and so on", "stop", "stop")


def test_one_of_two_choices_is_whole() -> None:
    """The choice whose document has ended is not asked for, and the other one goes on."""
    items = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        for index, text in enumerate(['{"a": 1}', '{"a": '])
    ]
    rounds = rounds_of(ask(n=2, **JSON))
    first = rounds.next_request()
    assert first is not None
    rounds.receive(first, {"id": "1", "choices": items})
    second = rounds.next_request()
    assert second is not None
    rounds.receive(second, Script(last_round("2}")).completion(second.body))

    assert second.choice == 1
    assert [(one["message"]["content"], one["finish_reason"]) for one in rounds.completion()["choices"]] == [
        ('{"a": 1}', "stop"),
        ('{"a": 2}', "stop"),
    ]
    assert (rounds.next_request(), rounds.stopped_by) == (None, "stop")


@drives
def test_document_that_has_ended_and_is_not_of_the_schema(drive: Drive) -> None:
    """A document that was cut at its end is judged by its schema, as one that was continued."""
    answer = drive(Script(cut_round('{"a": "b"}')), ask(**SCHEMA), provider="vllm")

    assert answer.ending == ('{"a": "b"}', "length", "error")
    assert (answer.report or {})["error"]["type"] == "invalid_document"
