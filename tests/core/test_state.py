"""What follows upon a round: the rows of decisions that no other test shows, and how each kind of end treats the text."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.learned import Learned
from openai_continue._core.round import Failure, Request
from openai_continue._core.rounds import Rounds
from openai_continue._sdk.chat_template import Template
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, rounds_of, streamed, whole
from tests.support.overflows import ROOM_LEFT, TOO_LONG
from tests.support.script import Script, cut_round, last_round, reply, usage

Json = dict[str, Any]

PLAIN = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LOST = Failure("ReadError", broke_off=True)
#: What servers say of a trailing assistant message that they do not take.
NO_PREFILL = "Expected last role User or Tool, but got assistant."


def refused(text: str, status: int = 400) -> Failure:
    return Failure("BadRequestError", status, "req", text)


def begin(rounds: Rounds, *pieces: str) -> tuple[Request, list[Json]]:
    """Feed the next streamed round, which does not end; return its request and the chunks that went out."""
    request = rounds.next_request()
    assert request is not None
    out: list[Json] = []
    for piece in pieces:
        item = {"text": piece} if request.is_raw else {"delta": {"content": piece}}
        out += rounds.feed(request, {"id": "c", "choices": [{"index": 0, "finish_reason": None, **item}]})
    return request, out


def feed(rounds: Rounds, *pieces: str, finish: str = "length", **more: Any) -> list[Json]:
    """Feed the next streamed round to its end; return the chunks that went out."""
    request, out = begin(rounds, *pieces)
    item: Json = {"text": ""} if request.is_raw else {"delta": {}}
    out += rounds.feed(request, {"id": "c", "choices": [{"index": 0, "finish_reason": finish, **item}], **more})
    return out + rounds.end_of_stream(request)


def fox(*, is_streamed: bool = False) -> Json:
    return ask("foxes?", stream=is_streamed)


# A first round that broke off.


@pytest.mark.parametrize(
    "known",
    [{"refuses_prefill": True}, {"restarts_until": 1.0}, {"max_rounds": 1}],
    ids=lambda known: next(iter(known)),
)
def test_first_stream_that_cannot_be_healed(known: Json) -> None:
    """An error of the first round is the caller's if no further round may follow, and never a short answer."""
    settings = {name: value for name, value in known.items() if name == "max_rounds"}
    learned = Learned() if settings else Learned(**known)
    rounds = rounds_of(fox(is_streamed=True), learned=learned, **settings)
    request, _ = begin(rounds, "One ", "two")

    assert rounds.fail(request, LOST).raises
    assert rounds.next_request() is None
    assert not rounds.continued


# Servers that do not continue.


@drives
@pytest.mark.parametrize(
    ("known", "stopped_by"), [({"refuses_prefill": True}, "unsupported"), ({"restarts_until": 1.0}, "restart")]
)
def test_server_that_is_known(known: Json, stopped_by: str, drive: Drive) -> None:
    """A server that is known not to continue is not asked to."""
    answer = drive(Script(cut_round("One two")), fox(), learned=Learned(**known))

    assert answer.ending == ("One two", "length", stopped_by)


@pytest.mark.parametrize(
    ("words", "is_learnt"), [(NO_PREFILL, True), ("the engine died", False), ("max_num_prefill", False)]
)
def test_refusal_of_the_prefill(words: str, is_learnt: bool) -> None:
    """A server whose words refuse a trailing assistant message is not asked to continue in the next calls."""
    learned = Learned()
    rounds = rounds_of(fox(is_streamed=True), learned=learned)
    feed(rounds, "One two")

    rounds.fail(begin(rounds)[0], refused(words))

    assert rounds.stopped_by == "error"
    assert learned.refuses_prefill is is_learnt


def test_refusal_after_text_is_not_learnt() -> None:
    """A server that had begun to go on refuses something else."""
    learned = Learned()
    rounds = rounds_of(fox(is_streamed=True), learned=learned)
    feed(rounds, "One two")

    rounds.fail(begin(rounds, " three")[0], refused(NO_PREFILL))

    assert (rounds.stopped_by, learned.refuses_prefill) == ("error", False)


def test_restart_that_is_out_is_no_continuation() -> None:
    """A restart whose text is out has not shown that the server takes a prefill."""
    learned = Learned()
    server = Script(cut_round("The whale is a", usage=usage(10, 20)), last_round("They are big.", usage=usage(36, 5)))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}}
    answer = streamed(server, body, provider="ollama", round_tokens=20, learned=learned)
    learned.take_refusal(NO_PREFILL)

    assert answer.ending == ("The whale is aThey are big.", "length", "restart")
    assert learned.refuses_prefill


# Numbers of tokens.

TOO_MANY = "max_tokens is too large: 500. This model supports at most 300 completion tokens."


@pytest.mark.parametrize(("text", "expected"), [(TOO_MANY, 300), (ROOM_LEFT, 300)])
def test_number_of_a_later_round_is_refused(text: str, expected: int) -> None:
    """A later round whose number of tokens is refused is asked for again with one that the server takes."""
    learned = Learned()
    rounds = rounds_of(fox(is_streamed=True), round_tokens=500, learned=learned)
    feed(rounds, "One two", usage=usage(100, 500))

    decision = rounds.fail(begin(rounds)[0], refused(text))
    again = rounds.next_request()

    assert not decision.raises
    assert again is not None
    assert (again.number, again.body["max_tokens"]) == (2, expected)
    # Only the number that the server takes is one of every request.
    assert learned.most(streamed=True) == (expected if text is TOO_MANY else None)


def test_number_is_refused_after_text() -> None:
    """A stream that has brought text and then refuses its number is not asked for again."""
    rounds = rounds_of(fox(is_streamed=True), round_tokens=500)
    feed(rounds, "One two")

    rounds.fail(begin(rounds, " three")[0], refused(TOO_MANY))

    assert rounds.next_request() is None
    assert rounds.stopped_by == "error"


@drives
def test_context_that_is_full(drive: Drive) -> None:
    """Once a server has named its context, an answer that has filled it ends without a further request."""
    rounds = rounds_of({**fox(), "stream": drive is streamed}, round_tokens=500)
    script = Script(cut_round("One two", usage=usage(100, 500)), cut_round(" three", usage=usage(600, 400)))
    for number in range(2):
        request = rounds.next_request()
        assert request is not None
        if number:
            rounds.fail(request, refused(ROOM_LEFT))
            request = rounds.next_request()
            assert request is not None
        if drive is whole:
            rounds.receive(request, script.completion(request.body))
            continue
        for chunk in script.chunks(request.body):
            rounds.feed(request, chunk)
        rounds.end_of_stream(request)

    assert rounds.next_request() is None
    assert rounds.stopped_by == "context"


# Answers that cannot go on.

SPLIT = "One \ud83d and two"
_ROWS: dict[str, Case] = {
    "half of a character that JSON cannot carry": Case([cut_round(SPLIT)], **length(SPLIT, "unsupported")),
    "the template left out the thoughts that were sent": Case(
        [
            cut_round({"reasoning_content": "I think. " * 40}, "One two", usage=usage(20, 100)),
            last_round(" three", usage=usage(24, 5)),
        ],
        **length("One two", "reasoning"),
        thoughts="I think. " * 40,
        known={"provider": "vllm"},
        drives=[whole],
    ),
    "an early answer that thinks again": Case(
        [
            cut_round({"reasoning_content": "I think."}),
            cut_round("One two"),
            cut_round({"reasoning_content": "I think again."}),
        ],
        **length("One two", "reasoning"),
        thoughts="I think.",
        known={"on_reasoning_cut": "answer"},
    ),
}


@cases(_ROWS)
def test_answer_that_cannot_go_on(case: Case, drive: Drive) -> None:
    """Such an answer ends with what had come, and says why."""
    case.check(drive)


# Raw prompts.


def raw_rounds(learned: Learned) -> Rounds:
    """Return rounds that go on by raw prompts, after a first one."""
    rounds = rounds_of(fox(is_streamed=True), "vllm", chat_template=Template(PLAIN), learned=learned, round_tokens=500)
    feed(rounds, "One two", usage=usage(30, 2))
    return rounds


def test_overflow_of_a_raw_prompt() -> None:
    """A raw prompt that fills the context ends the answer, and says nothing against raw prompts."""
    learned = Learned()
    rounds = raw_rounds(learned)

    rounds.fail(begin(rounds)[0], refused(TOO_LONG))

    assert rounds.next_request() is None
    assert (rounds.stopped_by, learned.refuses_raw) == ("context", False)


def test_error_of_a_raw_round_after_text() -> None:
    """A raw round that has brought text is not asked for again: it is in the history, and its text stays."""
    learned = Learned()
    rounds = raw_rounds(learned)
    request, out = begin(rounds, " three")
    out += rounds.fail(request, refused("no such thing")).chunks

    assert rounds.next_request() is None
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in out) == " three"
    assert [each["finish_reason"] for each in rounds.answer.report["rounds"]] == ["length", None]
    assert (rounds.stopped_by, learned.refuses_raw) == ("error", False)


def test_another_template_that_a_late_count_shows() -> None:
    """If the text is out before the count shows another template, the answer ends, and the next call goes by chat."""
    learned = Learned()
    rounds = raw_rounds(learned)
    out = feed(rounds, " three", finish="stop", usage=usage(90, 1))
    answer = Answer.of_chunks(out + rounds.last_chunks())

    assert rounds.next_request() is None
    assert answer.report is not None
    assert answer.ending == (" three", "length", "unsupported")
    assert answer.report["error"] == {"type": "template_mismatch", "status": None, "request_id": None}
    assert learned.refuses_raw


# Half characters.

HALF = "One two \ufffd"


def _error(rounds: Rounds) -> list[Json]:
    request, out = begin(rounds, "three \ufffd")
    return out + rounds.fail(request, Failure("APIError", 500, "req")).chunks


def _budget(rounds: Rounds) -> list[Json]:
    return begin(rounds, "three \ufffd")[1] + rounds.stop("max_seconds")


def _last_round(rounds: Rounds) -> list[Json]:
    return feed(rounds, "three \ufffd")


def _break(rounds: Rounds) -> list[Json]:
    request, out = begin(rounds, "three \ufffd")
    return out + rounds.fail(request, LOST).chunks


@pytest.mark.parametrize("ends", [_error, _budget, _last_round, _break], ids=lambda ends: ends.__name__[1:])
def test_half_character_at_an_end(ends: Any) -> None:
    """However a later stream ends, half a character is no part of the answer."""
    rounds = rounds_of(fox(is_streamed=True), max_rounds=2)
    out = feed(rounds, HALF) + ends(rounds) + rounds.last_chunks()

    assert rounds.next_request() is None
    assert Answer.of_chunks(out).text == "One two three "


@drives
def test_half_character_at_a_budget_between_rounds(drive: Drive) -> None:
    """A budget that is spent before the first continuation ends the answer with a report, without half a character."""
    rounds = rounds_of({**fox(), "stream": drive is streamed})
    if drive is streamed:
        answer = Answer.of_chunks(feed(rounds, HALF) + rounds.stop("max_cost") + rounds.last_chunks())
    else:
        request = rounds.next_request()
        assert request is not None
        rounds.receive(request, Script(cut_round(HALF)).completion(request.body))
        rounds.stop("max_cost")
        answer = Answer.of_completion(rounds.completion())

    assert answer.ending == ("One two ", "length", "max_cost")
    assert len(answer.rounds) == 1


def test_half_character_before_a_round_that_never_began() -> None:
    """Half a character stays out of a whole answer whose second request fails at once."""
    rounds = rounds_of(fox())
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, Script(cut_round(HALF)).completion(request.body))
    rounds.fail(begin(rounds)[0], Failure("InternalServerError", 500, "req"))

    assert Answer.of_completion(rounds.completion()).ending == ("One two ", "length", "error")


def test_seam_of_a_whole_round_that_failed() -> None:
    """The report says what was dropped before a round, also if that failed."""
    rounds = rounds_of(fox())
    for text, finish in ((HALF, "length"), ("three", None)):
        request = rounds.next_request()
        assert request is not None
        rounds.receive(request, Script(reply(text, finish=finish)).completion(request.body))

    assert rounds.stopped_by == "error"
    assert [each["seam"] and each["seam"]["cut"] for each in rounds.answer.report["rounds"]] == [None, 1]


# Ends that are not cuts.


@pytest.mark.parametrize(
    ("body", "first", "rest"),
    [
        ({"response_format": {"type": "json_object"}}, '{"a": "one', ' two"}\n'),
        ({"response_format": {"type": "json_object"}}, '{"a": "one', ' two"} and more'),
        ({"stop": ["END"]}, "one E", "ND"),
    ],
    ids=["document", "text after it", "stop string"],
)
def test_end_at_a_budget(body: Json, first: str, rest: str) -> None:
    """An answer whose document or stop string has come has ended by itself, though a budget ends its round."""
    rounds = rounds_of(ask(stream=True, **body))
    feed(rounds, first)
    begin(rounds, rest)
    rounds.stop("max_seconds")
    answer = Answer.of_chunks(rounds.last_chunks())

    assert (answer.finish_reason, answer.stopped_by) == ("stop", "stop")


def test_document_that_a_budget_cuts() -> None:
    """A document that has not ended is cut by a budget as any text is."""
    rounds = rounds_of(ask(stream=True, response_format={"type": "json_object"}))
    feed(rounds, '{"a": "one')
    begin(rounds, " two")
    rounds.stop("max_seconds")
    answer = Answer.of_chunks(rounds.last_chunks())

    assert (answer.finish_reason, answer.stopped_by) == ("length", "max_seconds")


# Logprobs.


def logprobs(*tokens: str) -> Json:
    return {"content": [{"token": token, "logprob": -0.5, "bytes": [*token.encode()]} for token in tokens]}


def test_logprobs_of_a_whole_round_that_failed() -> None:
    """A later round that fails within half a stop string keeps its text, and the logprobs of all of it."""
    rounds = rounds_of(ask(stop=["END"], logprobs=True))
    for text, finish in (("One ", "length"), ("two E", None)):
        request = rounds.next_request()
        assert request is not None
        message = {"role": "assistant", "content": text}
        item = {"index": 0, "message": message, "logprobs": logprobs(*text), "finish_reason": finish}
        rounds.receive(request, {"id": "1", "choices": [item]})
    answer = Answer.of_completion(rounds.completion())

    assert answer.ending == ("One two E", "length", "error")
    assert answer.spelled == b"One two E"
