"""The order of calls, what calls for a further round, what ends an answer, and several choices at once."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.round import Failure
from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, rounds_of, streamed
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round, reply

START = "The answer has a beginning that no other part of it resembles: not even this.\n"


def chunk(content: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "a", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **more}


def completion(content: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


# The order of calls.


def test_order_when_a_round_is_open() -> None:
    """While a round is being received there is no next request, and the state stays as it was."""
    rounds = rounds_of(ask())
    request = rounds.next_request()
    assert request is not None
    with pytest.raises(RuntimeError, match="round 1 is still being received"):
        rounds.next_request()
    rounds.receive(request, completion("whole", "stop"))

    assert rounds.next_request() is None
    assert rounds.next_request() is None
    assert completion("whole", "stop") == rounds.completion()


def test_order_when_no_round_is_open() -> None:
    """What belongs to no open round is refused by each method that takes something."""
    rounds = rounds_of(ask())
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, completion("cut", "length"))
    later = rounds.next_request()
    assert later is not None

    for take in (
        lambda: rounds.receive(request, completion("", "stop")),
        lambda: rounds.feed(request, chunk("late")),
        lambda: rounds.end_of_stream(request),
        lambda: rounds.fail(request, Failure("error")),
        lambda: rounds.flows(request),
        lambda: rounds.feed_text(request, "late", 1),
    ):
        with pytest.raises(RuntimeError, match="round 1 is not the one that is being received"):
            take()
    rounds.receive(later, completion(" and whole", "stop"))
    assert rounds.completion()["choices"][0]["message"]["content"] == "cut and whole"


def test_untouched_chunks_are_the_ones_that_came() -> None:
    """Chunks that need no change come out as the very objects, before and after the end."""
    rounds = rounds_of(ask(stream=True))
    request = rounds.next_request()
    assert request is not None
    came = [chunk("one "), chunk("two"), {"id": "a", "choices": [], "usage": None}, chunk("", "stop")]
    out = [one for each in came for one in rounds.feed(request, each)] + rounds.end_of_stream(request)

    assert all(one is other for one, other in zip(came, out, strict=True))
    assert rounds.last_chunks() == []


# What calls for a further round, and what ends the answer.

CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "run", "arguments": '{"code": "pri'}}
ENDS = {
    **{
        f"only length is a cut: {finish}": Case([reply("all", finish=finish)], "all", finish, None)
        for finish in ("stop", "tool_calls", "content_filter", "function_call", "eos")
    },
    **{
        f"opencode #49008, #18813, Aether #683: an endless loop over {finish}": Case(
            [reply("all", finish=finish)], "all", finish, None
        )
        for finish in (None, "unknown", "eos_token")
    },
    **{
        f"as the last round: {finish}": Case(
            [cut_round("one "), reply("two", finish=finish)], "one two", finish, finish
        )
        for finish in ("stop", "content_filter", "tool_calls", "eos")
    },
    "the cap fell just before the end token": Case([cut_round("All."), last_round()], "All."),
    "no text and no end; RAGFlow #889: no notice of it in the text": Case(
        [cut_round("all"), cut_round()], **length("all", "empty")
    ),
    "hermes #58087: length of an answer that was complete": Case(
        [cut_round("All done."), cut_round("")], **length("All done.", "empty")
    ),
    "hermes #112421: nothing to go on from": Case([cut_round("")], **length("", "empty")),
    "max_rounds": Case(
        [cut_round("one "), cut_round("two "), cut_round("three")],
        **length("one two three", "max_rounds"),
        known={"max_rounds": 3},
    ),
    "max_rounds of one; opencode #42900, #40146, CLIProxyAPI #5439: truncation is no success": Case(
        [cut_round("one ")], **length("one ", "max_rounds"), known={"max_rounds": 1}
    ),
    "bolt.diy #2187: sixteen rounds at most": Case(
        [cut_round(f"{number} ") for number in range(16)],
        **length("".join(f"{number} " for number in range(16)), "max_rounds"),
    ),
    "RustyClaw #13: a loop of one sentence": Case(
        [cut_round("Let me check... " * 1200)], **length("Let me check... " * 1200, "repetition")
    ),
    **{
        f"messages that are none: {messages!r}": Case(
            [cut_round("one ")], **length("one ", "unsupported"), body={"messages": messages}
        )
        for messages in (None, [], "text", [None], ["text"])
    },
}


@cases(ENDS)
def test_end(case: Case, drive: Drive) -> None:
    """Only "length" calls for a further round; the answer ends as its last round did, or the report says why."""
    case.check(drive)


@drives
def test_empty_finish_reason(drive: Drive) -> None:
    """An empty finish reason is no cut."""
    answer = drive(Script(reply("all", finish="")))

    assert (answer.text, answer.finish_reason or None, answer.stopped_by) == ("all", None, None)


# Several choices.


@drives
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("cap", [7, 50, 90])
def test_choices(index: int, cap: int, drive: Drive) -> None:
    """Each choice is continued by itself and comes out whole, with its own logprobs, and the usage is that of all."""
    sizes = [40, 100, 70]
    texts = [
        "".join(f" word{index}{number}" for number in range(sizes[index] // 4)).strip() + "." for index in range(3)
    ]
    engine = Engine(lambda _, choice: texts[choice], cap=cap)
    answer = drive(engine, ask(n=3, logprobs=True), index, max_rounds=50)

    assert (texts[index], texts[index].encode(), "stop") == (answer.text, answer.spelled, answer.finish_reason)
    assert [3, *[1] * (len(engine.bodies) - 1)] == [body["n"] for body in engine.bodies]
    assert engine.derailed == 0
    assert len(answer.rounds[1:]) == len(engine.bodies) - 1
    assert answer.report is None or answer.rounds[0]["choice"] is None


def test_choices_interleave() -> None:
    """In a merged stream each choice begins once, with its role, and ends once, after all its text."""
    engine = Engine(lambda _, choice: f"choice {choice} " * 20 + "end", cap=11)
    answer = streamed(engine, ask(n=2), max_rounds=50)
    items = [item for one in answer.raw for item in one["choices"]]

    for index in (0, 1):
        mine = [item for item in items if item["index"] == index]
        assert [item["delta"]["role"] for item in mine if item["delta"].get("role")] == ["assistant"]
        assert mine[0]["delta"]["role"] == "assistant"
        assert [item is mine[-1] for item in mine if item["finish_reason"]] == [True]
    assert len({one["id"] for one in answer.raw}) == 1
    assert [answer.raw[-1]] == [one for one in answer.raw if one.get("usage")]


def test_choices_of_one_chunk() -> None:
    """A chunk of several choices goes out as it came; if it must be parted, its usage is not doubled."""
    rounds = rounds_of(ask(n=2, stop=["END"], stream=True))
    request = rounds.next_request()
    assert request is not None

    def both(*texts: str) -> dict[str, Any]:
        items = [{"index": index, "delta": {"content": text}} for index, text in enumerate(texts)]
        return {"id": "a", "choices": items, "usage": {"completion_tokens": 2}}

    plain, half, rest = both("one ", "two "), both("one ", "two E"), both("more", "vening")
    assert [plain] == rounds.feed(request, plain)
    first, second = ([{"index": index, "delta": {"content": text}}] for index, text in enumerate(("one ", "two E")))
    assert [{"id": "a", "choices": first}] == rounds.feed(request, half)
    # What waited comes out with the usage that it had.
    assert [{**half, "choices": second}] == rounds.feed(request, rest)[1:-1]


@drives
def test_choices_when_the_server_begins_again(drive: Drive) -> None:
    """Once a server began again for one choice, the others are not tried."""
    text = START * 2 + "end"
    engine = Engine(lambda _, choice: f"Choice {choice}. {text}", habits=Habits(ignores_prefill=True), cap=30)
    answers = [drive(engine, ask(n=2), index) for index in (0, 1)]

    assert len(engine.bodies) == 2 * 2
    assert [answer.ending[1:] for answer in answers] == [("length", "restart")] * 2
    assert [f"Choice {index}." for index in (0, 1)] == [answer.text[:9] for answer in answers]
