"""Ends in doubt: a cut that a gateway calls "stop" goes on, and an answer that had ended stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openai_continue._core.learned import Learned
from openai_continue._core.round import Failure
from openai_continue._core.rounds import Rounds
from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import DRIVES, Drive, drives, rounds_of
from tests.support.engine import AWKWARD, Engine
from tests.support.script import Script, last_round, reply, usage
from tests.support.servers import SERVERS

CAP = 20
#: A text that is longer than the cap has tokens, so that it may have been cut there.
TEXT = "This is the first part, "
AT_CAP = usage(10, CAP)
JSON = '{"words": ["one", "two"]}'
OBJECT = {"response_format": {"type": "json_object"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def row(cap: int | None = CAP, name: str = "deepinfra", **fields: Any) -> providers.Provider:
    """Return a row that knows this cap."""
    return replace(providers.named(name), cap=cap, **fields)


def end(*pieces: Any, count: int = CAP, **fields: Any) -> Any:
    """Return a round that ends in "stop" after this many tokens."""
    return last_round(*(pieces or (TEXT,)), usage=usage(10, count), **fields)


# Which ends are in doubt.

#: A first round, fields of the body, settings; and whether it goes on.
DOUBTED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "no number": (end(), {}, {}),
    "more than the cap": (end(), {"max_tokens": 21}, {}),
    "more, under another name": (end(), {"max_completion_tokens": 100}, {}),
    "text that ends a sentence": (end("This is all of the answer."), {}, {}),
    "the end of thoughts and text": (end({"reasoning_content": "I think."}, TEXT), {}, {}),
    "a document that is not whole": (end(JSON[:22]), OBJECT, {}),
    "a stop string that did not end it": (end(stop_reason=None), {"stop": "END"}, {}),
    "a number for the first round only": (end(), {"max_tokens": 21}, {"request_limit": "round"}),
}
NOT_DOUBTED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "one less": (end(count=CAP - 1), {}, {}),
    "one more": (end(count=CAP + 1), {}, {}),
    "no usage": (last_round(TEXT, usage=None), {}, {}),
    "no known cap": (end(), {}, {"provider": row(None)}),
    "the cap of all servers": (end(count=4096), {}, {"provider": row(None)}),
    "just the cap": (end(), {"max_tokens": CAP}, {}),
    "less than the cap": (end(), {"max_tokens": CAP - 1}, {}),
    "rounds of the cap": (end(), {}, {"round_tokens": CAP}),
    "fewer bytes than tokens": (end("Thoughts are not shown."[: CAP - 1]), {}, {}),
    "a count that is too small for the text": (end("word " * 500), {}, {}),
    "another word for the end": (reply(TEXT, finish="eos_token", usage=AT_CAP), {}, {}),
    "filtered": (reply(TEXT, finish="content_filter", usage=AT_CAP), {}, {}),
    "a stop string that ended it": (end(stop_reason="END"), {"stop": "END"}, {}),
    "the end token": (end(matched_stop=2), {}, {}),
    "a document that is whole": (end(JSON), OBJECT, {}),
    "a refusal": (end({"refusal": TEXT}, TEXT), {}, {}),
    "one round only": (end(), {}, {"max_rounds": 1}),
    "a server that begins again": (end(), {}, {"restarts": True}),
    "a server that refuses": (end(), {}, {"learned": Learned(refuses_prefill=True)}),
    "a limit that is no number": (end(), {"max_tokens": "many"}, {}),
    "a count of 0": (end(count=0), {}, {}),
}


@drives
@pytest.mark.parametrize(("first", "body", "settings"), DOUBTED.values(), ids=DOUBTED)
def test_end_in_doubt(first: Any, body: dict[str, Any], settings: dict[str, Any], drive: Drive) -> None:
    """A count of exactly the row's cap, in a round that was asked for more, calls for another round."""
    server = Script(first, last_round("and more."))
    answer = drive(server, ask(**body), **{"provider": row(), **settings})

    assert len(server.bodies) == 2
    assert answer.text.endswith("and more.") or body == OBJECT
    assert [one["finish_reason"] for one in answer.rounds] == ["stop", "stop"]


@drives
@pytest.mark.parametrize(("first", "body", "settings"), NOT_DOUBTED.values(), ids=NOT_DOUBTED)
def test_end_that_is_believed(first: Any, body: dict[str, Any], settings: dict[str, Any], drive: Drive) -> None:
    """Any other end is believed: one request, no report, and every object as it came."""
    server = Script(first)
    answer = drive(server, ask(**body), **{"provider": row(), **settings})

    assert (len(server.bodies), answer.report) == (1, None)
    again = Script(first)
    assert answer.raw == (again.chunks({}) if isinstance(answer.raw, list) else again.completion({}))


# What becomes of an answer that had ended.

FINISHED = "This is the first part of a story, the second one, and the last one, as it was told to me. "
#: What the next round brings, and why the answer ends by the report.
NOTHING_NEW: dict[str, tuple[Any, str]] = {
    "nothing": (last_round(usage=usage(30, 1)), "stop"),
    "nothing, cut": (reply(usage=usage(30, 1)), "empty"),
    "nothing, by another word": (reply(finish="eos_token", usage=usage(30, 1)), "eos_token"),
    "the same answer again": (last_round(FINISHED, usage=usage(30, 19)), "restart"),
    "new thoughts": (last_round({"reasoning_content": "Hm."}, usage=usage(30, 5)), "restart"),
    "nothing but thoughts that are cut": (reply({"reasoning_content": "Hm."}, usage=usage(30, 5)), "restart"),
}


@drives
@pytest.mark.parametrize(("second", "stopped_by"), NOTHING_NEW.values(), ids=NOTHING_NEW)
def test_answer_that_had_ended(second: Any, stopped_by: str, drive: Drive) -> None:
    """If the next round brings nothing new, text and end are as the server gave them, and usage is the sum."""
    learned = Learned()
    server = Script(end(FINISHED), *[second] * 3)
    answer = drive(server, provider=row(), learned=learned)

    assert answer.ending == (FINISHED, "stop", stopped_by)
    assert answer.usage is not None
    # Of a round that begins again no more is read than shows that, so its tokens are an estimate.
    later = [one["usage"]["completion_tokens"] for one in answer.rounds[1:] if not one.get("estimated")]
    assert later == [second.usage["completion_tokens"]] * len(later)
    assert answer.usage["completion_tokens"] > CAP
    assert (learned.restarts, learned.refuses_prefill) == (False, False)


#: The end of the text, what the next round brings, fields of the body and settings.
OTHER_ENDS: dict[str, tuple[str, Any, dict[str, Any], dict[str, Any]]] = {
    "another end of the last sentence": ("to me.", lambda sent: "" if sent[-1] == "." else "!", {}, {"trims": True}),
    "the beginning of a stop string": ("to me. ", "", {"stop": [" END"]}, {}),
    "the same blanks": ("to me.  ", "  ", {}, {}),
    "other blanks": ("to me.\n", "\n\n", {}, {"trims": True}),
}


@drives
@pytest.mark.parametrize(("last", "again", "body", "settings"), OTHER_ENDS.values(), ids=OTHER_ENDS)
def test_nothing_is_taken_back(
    last: str, again: Any, body: dict[str, Any], settings: dict[str, Any], drive: Drive
) -> None:
    """Whatever the next round makes of the end that was held back, no character of the answer is lost."""
    text = FINISHED.removesuffix("to me. ") + last
    second = reply(again, finish="stop", usage=usage(30, 2))
    answer = drive(Script(end(text), *[second] * 4), ask(**body), provider=row(), **settings)

    assert (answer.text[: len(text)], answer.finish_reason) == (text, "stop")
    assert not answer.text[len(text) :].strip()


#: How the next round fails, and why the answer ends by the report.
FAILURES: dict[str, tuple[Failure, str]] = {
    "an error": (Failure("InternalServerError", 500), "error"),
    "no connection": (Failure("APIConnectionError"), "error"),
    "a refusal": (Failure("BadRequestError", 400, text="the message is odd"), "error"),
    "a full context": (
        Failure("BadRequestError", 400, text="maximum context length is 30 tokens, but the prompt has 31 tokens"),
        "context",
    ),
}


@drives
@pytest.mark.parametrize("on_error", ["partial", "raise"])
@pytest.mark.parametrize(("failure", "stopped_by"), FAILURES.values(), ids=FAILURES)
def test_next_round_that_fails(failure: Failure, stopped_by: str, on_error: str, drive: Drive) -> None:
    """If the next round fails, the answer is as the server gave it, nothing is raised, and the report says why."""
    answer, raises = _failing(failure, drive, on_error=on_error)

    assert (answer.ending, raises) == ((TEXT, "stop", stopped_by), False)
    assert ((answer.report or {})["error"] is None) == (stopped_by != "error")


def _failing(failure: Failure, drive: Drive, **settings: Any) -> Any:
    """Let the rounds after an end in doubt fail; return the answer, and whether a failure is raised."""
    rounds, raises, chunks = _first_round(drive, **settings), False, list[Any]()
    while (request := rounds.next_request()) is not None:
        decision = rounds.fail(request, failure)
        raises, chunks = raises or decision.raises, chunks + decision.chunks
    chunks += rounds.last_chunks()
    if drive is not DRIVES[1]:
        return Answer.of_completion(rounds.completion()), raises
    return replace(Answer.of_chunks(chunks), text=TEXT), raises


def _first_round(drive: Drive, **settings: Any) -> Rounds:
    """Return rounds of which the first has ended in doubt. All of its text is out, if it was a stream."""
    streamed = drive is DRIVES[1]
    rounds, server = rounds_of(ask(stream=streamed), row(), **settings), Script(end())
    request = rounds.next_request()
    assert request is not None
    if streamed:
        out = [one for chunk in server.chunks(request.body) for one in rounds.feed(request, chunk)]
        assert Answer.of_chunks(out + rounds.end_of_stream(request)).text == TEXT
    else:
        rounds.receive(request, server.completion(request.body))
    return rounds


@drives
def test_budget_that_is_spent(drive: Drive) -> None:
    """A budget that is spent before the next round leaves text and end as they are, and the report names it."""
    rounds = _first_round(drive)
    chunks = rounds.stop("max_seconds") + rounds.last_chunks()
    answer = Answer.of_chunks(chunks) if drive is DRIVES[1] else Answer.of_completion(rounds.completion())

    assert rounds.next_request() is None
    assert (answer.finish_reason, answer.stopped_by, len(answer.rounds)) == ("stop", "max_seconds", 1)


@drives
def test_cut_that_went_on_may_fail(drive: Drive) -> None:
    """An end that was a cut is one from then on: if the text after it is cut, and cannot go on, that is "length"."""
    cut = reply("and the second part. ", usage=usage(30, 9))
    answer = drive(Script(end(), cut), provider=row(), max_rounds=2)

    assert answer.ending == (f"{TEXT}and the second part. ", "length", "max_rounds")


@drives
def test_last_of_several_rounds(drive: Drive) -> None:
    """Each round's end may be in doubt; the answer is whole when one ends before the cap, or brings nothing."""
    middle = end("and here the second one, ")
    for last, text in (
        ("and more.", f"{TEXT}and here the second one, and more."),
        ("", f"{TEXT}and here the second one, "),
    ):
        answer = drive(Script(end(), middle, end(last, count=3)), provider=row())
        assert answer.ending == (text, "stop", "stop")


def test_end_is_kept_back_until_the_usage() -> None:
    """Of a stream only an end that may be in doubt waits for its usage; then all comes as it came."""
    server = Script(end("x" * CAP, count=5))
    *chunks, last = server.chunks({})
    bare = {name: value for name, value in last.items() if name != "usage"}
    counted = {**last, "choices": []}
    for size, waits in ((CAP - 1, False), (CAP, True)):
        rounds = rounds_of(ask(stream=True), row())
        request = rounds.next_request()
        assert request is not None
        chunks[1]["choices"][0]["delta"]["content"] = "x" * size
        out = [rounds.feed(request, chunk) for chunk in [*chunks, bare, counted]]
        assert out[2:] == ([[], []] if waits else [[bare], [counted]])
        rest = rounds.end_of_stream(request) + rounds.last_chunks()
        went = [one for several in out for one in several] + rest
        assert [id(one) for one in went] == list(map(id, [*chunks, bare, counted]))


def test_end_does_not_wait_where_no_cap_is_known() -> None:
    """Where no cap is known, no end waits, however long the text is."""
    rounds = rounds_of(ask(stream=True), row(None))
    request = rounds.next_request()
    assert request is not None
    for chunk in Script(last_round("x" * 100_000, usage=None)).chunks({}):
        assert rounds.feed(request, chunk) == [chunk]


# The caller's own number.

#: Fields of the body, the tokens of the rounds, settings; and why the answer ends by the report.
REACHED: dict[str, tuple[dict[str, Any], list[int], dict[str, Any], str | None]] = {
    "at once": ({"max_tokens": 7}, [7], {}, None),
    "the new name": ({"max_completion_tokens": 7}, [7], {}, None),
    "the cap": ({"max_tokens": CAP}, [CAP], {}, None),
    "in the second round": ({"max_tokens": 30}, [CAP, 10], {}, "max_tokens"),
    "for a round": ({"max_tokens": 7}, [7], {"request_limit": "round"}, None),
}


@drives
@pytest.mark.parametrize(("body", "counts", "settings", "stopped_by"), REACHED.values(), ids=REACHED)
def test_own_number_is_reached(
    body: dict[str, Any], counts: list[int], settings: dict[str, Any], stopped_by: str | None, drive: Drive
) -> None:
    """An answer that ends in "stop" at exactly the caller's number is left as it is; the log can say so."""
    rounds, server = _ended(body, counts, settings, drive)

    assert len(server.bodies) == len(counts)
    assert (rounds.own_limit.number, rounds.own_limit.is_doubted) == (next(iter(body.values())), True)
    assert rounds.own_limit.name == next(iter(body))
    assert (rounds.answer.stopped_by, [choice.finish_reason for choice in rounds.answer._choices]) == (
        stopped_by,
        ["stop"],
    )


@drives
def test_own_number_is_not_reached(drive: Drive) -> None:
    """One token less is a plain end, and a number that no request named is none of the caller's."""
    for body, counts, settings in (({"max_tokens": 7}, [6], {}), ({}, [7], {"round_tokens": 7})):
        rounds, _ = _ended(body, counts, settings, drive)
        assert rounds.own_limit is None


def _ended(body: dict[str, Any], counts: list[int], settings: dict[str, Any], drive: Drive) -> Any:
    """Drive rounds of these counts to their end."""
    server = Script(*[end(count=count) for count in counts])
    rounds = rounds_of(ask(**body, stream=drive is DRIVES[1]), row(), **settings)
    while (request := rounds.next_request()) is not None:
        if drive is DRIVES[1]:
            for chunk in server.chunks(request.body):
                rounds.feed(request, chunk)
            rounds.end_of_stream(request)
        else:
            rounds.receive(request, server.completion(request.body))
    return rounds, server


# Servers that lie about each end.

#: Those that report usage.
LYING = {name: kind for name, kind in SERVERS.items() if kind.habits.usage != "never"}
#: Caps within the text, and at its end: with the end token, or without it.
CAPS = (40, 41, 64, 150, 199, 200, 201, 202)


@drives
@pytest.mark.parametrize("name", LYING)
@pytest.mark.spread(12)
def test_servers_that_rename_cuts(name: str, drive: Drive) -> None:
    """The answer of a server that calls each cut "stop" is whole, wherever its cap falls, if its usage comes."""
    kind = SERVERS[name]
    habits = replace(kind.habits, ends="stop", default_tokens=None)
    asks: dict[str, Any] = {"stream_options": {"include_usage": True}} if habits.usage == "asked" else {}
    for cap in CAPS:
        engine = Engine(habits=habits, cap=cap)
        answer = drive(engine, kind.ask(**asks), provider=row(cap, kind.provider), trims=kind.trims)

        assert (answer.text, answer.finish_reason) == (engine.uncapped(kind.ask()).text, "stop")


@drives
@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts(text: str, drive: Drive) -> None:
    """A text that had ended at the cap, and one that was cut at any of its tokens, is the same to the character."""
    for trims in (False, True):
        free = Engine(text, habits=Habits(trims=trims))
        size = (free.uncapped(ask()).usage or {})["completion_tokens"]
        for cap in range(max(size // 2, 5), size + 1):
            engine = Engine(text, habits=Habits(trims=trims, ends="stop"), cap=cap)
            answer = drive(engine, provider=row(cap), trims=trims)

            assert (answer.text, answer.finish_reason) == (text, "stop")
            assert cap > size - 1 or answer.report is not None


@drives
@pytest.mark.parametrize("limit", [10, 39, 40, 41, 60, 80, 119, 120, 200, 500])
def test_total_is_respected(limit: int, drive: Drive) -> None:
    """Behind a server that renames cuts, a caller's number buys the text that it buys of one that tells the truth."""
    for cap in (20, 40, 60):
        honest, engine = Engine(cap=cap), Engine(habits=Habits(ends="stop"), cap=cap)
        body = ask(max_tokens=limit)
        answer, told = (drive(server, body, provider=row(cap)) for server in (engine, honest))

        assert (answer.text, answer.usage, engine.given) == (told.text, told.usage, honest.given)
        assert sum(engine.given) <= limit
        assert (answer.finish_reason, answer.stopped_by) == ("stop", told.stopped_by)


@drives
def test_finished_answer_that_is_called_cut(drive: Drive) -> None:
    """A server that lies the other way gives the whole text, and its word for the end stays."""
    for cap in CAPS:
        engine = Engine(habits=Habits(ends="length"), cap=cap)
        answer = drive(engine, provider=row(cap))

        assert (answer.text, answer.finish_reason) == (engine.uncapped(ask()).text, "length")
        assert answer.stopped_by == "empty"
