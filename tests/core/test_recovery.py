"""What is done about a failed round: ask for fewer tokens, go on from a broken stream, or end with what there is."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.round import Decision, Failure, Request
from openai_continue._core.rounds import Rounds
from tests.support import driving
from tests.support.bodies import ask
from tests.support.overflows import (
    AT_LEAST,
    LESS_THAN_NONE,
    NONE_LEFT,
    ROOM_LEFT,
    TOO_LONG,
    TOO_LONG_AT_LEAST,
    WITHOUT_NUMBERS,
)
from tests.support.waiting import wait_first

LEAVES_ROOM = [ROOM_LEFT, AT_LEAST, WITHOUT_NUMBERS]
FULL = [TOO_LONG, TOO_LONG_AT_LEAST, NONE_LEFT, LESS_THAN_NONE]
LOST = Failure("ReadError", broke_off=True)


def rounds_of(body: dict[str, Any] | None = None, **settings: Any) -> Rounds:
    return driving.rounds_of(body or ask(), **{"round_tokens": 500, **settings})


def refused(text: str) -> Failure:
    """Return what a driver makes of a 400."""
    return Failure("BadRequestError", 400, "req", text)


def answer(text: str, *, prompt: int | None = 100, tokens: int = 500) -> dict[str, Any]:
    """Return a truncated answer; without a prompt, of a server that does not count."""
    message = {"role": "assistant", "content": text}
    usage = {} if prompt is None else {"usage": {"prompt_tokens": prompt, "completion_tokens": tokens}}
    return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "length"}], **usage}


def chunk(text: str, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"content": text} if text else {}
    return {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


def next_request(rounds: Rounds) -> Request:
    """Return a request that must be there."""
    request = rounds.next_request()

    assert request is not None
    return request


def asked(request: Request) -> int | None:
    return request.body.get("max_tokens")


def second(rounds: Rounds, *, prompt: int | None = 100, tokens: int = 500) -> Request:
    """Receive a first round of "one ", and return the second request."""
    rounds.receive(next_request(rounds), answer("one ", prompt=prompt, tokens=tokens))
    return next_request(rounds)


def check_end(rounds: Rounds, decision: Decision, stopped_by: str, text: str = "one ") -> None:
    """Check that the answer ended, in "length" and for that reason."""
    assert not decision.raises
    assert rounds.next_request() is None
    completion = rounds.completion()
    assert text == completion["choices"][0]["message"]["content"]
    assert completion["choices"][0]["finish_reason"] == "length"
    assert stopped_by == completion["continuation"]["stopped_by"]


# A first round that does not fit.


@pytest.mark.parametrize("text", [*LEAVES_ROOM, *FULL])
@pytest.mark.parametrize("limit", [300, 500])
def test_number_of_the_caller_is_the_callers_error(limit: int, text: str) -> None:
    """If the caller's own number does not fit, the error is the caller's, on which frameworks act."""
    rounds = rounds_of(ask(max_tokens=limit))

    assert rounds.fail(next_request(rounds), refused(text)).raises
    assert rounds.next_request() is None
    assert not rounds.continued


@pytest.mark.parametrize(("text", "expected"), list(zip(LEAVES_ROOM, [300, None, None], strict=True)))
@pytest.mark.parametrize("ours", ["total", "setting", "round"])
def test_number_of_ours_is_made_to_fit(ours: str, text: str, expected: int | None) -> None:
    """If a number of ours does not fit, what fits is asked for once: that many tokens, or no number if nobody counts."""
    body = ask(max_tokens=2000) if ours == "total" else ask()
    rounds = rounds_of(body, max_tokens=450 if ours == "setting" else None)
    first = next_request(rounds)

    decision = rounds.fail(first, refused(text))
    again = next_request(rounds)

    assert not decision.raises
    assert (450 if ours == "setting" else 500) == asked(first)
    assert (asked(again), again.number) == (expected, 1)
    assert {**first.body, "max_tokens": expected} == {"max_tokens": None, **again.body}
    assert rounds.fail(again, refused(text)).raises
    assert rounds.next_request() is None


@pytest.mark.parametrize("text", FULL)
def test_prompt_that_is_too_long(text: str) -> None:
    """hermes #106120: if the prompt by itself is too long, no second request is wasted: the error is the caller's."""
    rounds = rounds_of(ask(max_tokens=2000))

    assert rounds.fail(next_request(rounds), refused(text)).raises
    assert rounds.next_request() is None


@pytest.mark.parametrize("names", [("id", "choices"), ("choices",)])
@pytest.mark.parametrize("is_later", [False, True])
def test_text_is_not_asked_for_twice(is_later: bool, names: tuple[str, ...]) -> None:
    """A stream that has brought text, be it without an id, and then says "too long" is not asked for again."""
    rounds = rounds_of(ask(max_tokens=2000, stream=True))
    request = next_request(rounds)
    text, end = ({name: one[name] for name in names} for one in (chunk("one "), chunk("", "length")))
    rounds.feed(request, text)
    if not is_later:
        assert rounds.fail(request, refused(ROOM_LEFT)).raises
        assert rounds.next_request() is None
        return
    rounds.feed(request, end)
    rounds.end_of_stream(request)
    request = next_request(rounds)
    rounds.feed(request, text)

    check_end(rounds, rounds.fail(request, refused(ROOM_LEFT)), "context", "one one ")


# A later round that does not fit.


@pytest.mark.parametrize(
    ("prompt", "text", "numbers"),
    [
        # By the server's count, else by usage, else half as much. A wrong count is mended, three times.
        (100, ROOM_LEFT, [500, 300, 284, 268]),
        (100, AT_LEAST, [500, 400, 384, 368]),
        (100, WITHOUT_NUMBERS, [500, 250, 125, 62]),
        (None, AT_LEAST, [500, 250, 125, 62]),
    ],
)
def test_later_round_is_made_to_fit(prompt: int | None, text: str, numbers: list[int]) -> None:
    """A later round is asked for again with fewer tokens; after three times it is believed that nothing fits."""
    rounds = rounds_of()
    request = second(rounds, prompt=prompt)
    for number, fewer in zip(numbers, [*numbers[1:], None], strict=True):
        assert number == asked(request)
        decision = rounds.fail(request, refused(text))
        if fewer is not None:
            again = next_request(rounds)
            assert ({**request.body, "max_tokens": fewer}, request.number) == (again.body, again.number)
            request = again

    check_end(rounds, decision, "context")


@pytest.mark.parametrize(
    ("text", "usage", "settings"),
    [
        *((text, {}, {}) for text in FULL),
        *((text, {}, {"on_error": "raise"}) for text in FULL),
        # Usage says that nothing is left.
        (AT_LEAST, {"prompt": 600, "tokens": 400}, {}),
        # No number was named.
        (ROOM_LEFT, {}, {"round_tokens": None}),
    ],
)
def test_later_round_without_room(text: str, usage: dict[str, Any], settings: dict[str, Any]) -> None:
    """If the answer has filled the context, it ends there without a further request; that is no error."""
    rounds = rounds_of(**settings)

    check_end(rounds, rounds.fail(second(rounds, **usage), refused(text)), "context")
    assert rounds.answer.report["error"] is None


@pytest.mark.parametrize(("text", "left"), [(AT_LEAST, 1000 - 600 - 100), (WITHOUT_NUMBERS, 500)])
def test_round_after_one_that_was_made_to_fit(text: str, left: int) -> None:
    """The context that the server has named is counted again for the next round, so that this one fits at once."""
    rounds = rounds_of()
    rounds.fail(second(rounds), refused(text))
    rounds.receive(next_request(rounds), answer("two ", prompt=600, tokens=100))

    assert left == asked(next_request(rounds))


def test_room_after_a_broken_round() -> None:
    """A round that broke off and has no usage counts by its chunks."""
    rounds = rounds_of(ask(stream=True))
    first = next_request(rounds)
    for number in range(100):
        rounds.feed(first, chunk(f"{number} "))
    rounds.feed(first, chunk("", "length", usage={"prompt_tokens": 600, "completion_tokens": 100}))
    rounds.end_of_stream(first)
    broken = next_request(rounds)
    for number in range(50):
        rounds.feed(broken, chunk(f"and {number} "))
    rounds.fail(broken, LOST)

    rounds.fail(next_request(rounds), refused(AT_LEAST))

    assert asked(next_request(rounds)) == 1000 - 600 - 100 - 50


def test_full_context_of_one_choice() -> None:
    """A choice that has filled the context does not end the others."""
    items = [
        {"index": index, "message": {"content": f"choice {index} "}, "finish_reason": "length"} for index in (0, 1)
    ]
    rounds = rounds_of(ask(n=2))
    rounds.receive(next_request(rounds), {"id": "1", "choices": items})

    rounds.fail(next_request(rounds), refused(NONE_LEFT))
    end = answer("and on")
    end["choices"][0]["finish_reason"] = "stop"
    rounds.receive(next_request(rounds), end)

    assert rounds.next_request() is None
    completion = rounds.completion()
    assert [choice["finish_reason"] for choice in completion["choices"]] == ["length", "stop"]
    assert [choice["message"]["content"] for choice in completion["choices"]] == ["choice 0 ", "choice 1 and on"]
    assert completion["continuation"]["stopped_by"] == "context"
    assert [round_["choice"] for round_ in completion["continuation"]["rounds"]] == [None, 0, 1]


# Broken streams.


def test_waits_before_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heals in a row wait twice as long each time, as the SDK's retries do; new text begins the count again."""
    wait_first(monkeypatch, 0.5)
    rounds = rounds_of(ask(stream=True))
    waits = []
    for text in ("One ", "", "", "two ", "", "", ""):
        request = next_request(rounds)
        if text:
            rounds.feed(request, chunk(text))
        waits.append(rounds.fail(request, LOST).after)

    assert waits == [0.5, 1, 2, 0.5, 1, 2, 0]
    check_end(rounds, Decision(), "error", "One two ")


@pytest.mark.parametrize(("max_rounds", "heals"), [(1, 0), (2, 1), (3, 2)])
def test_heals_count_as_rounds(max_rounds: int, heals: int) -> None:
    """A heal is a round, and there are no more than ``max_rounds``."""
    rounds = rounds_of(ask(stream=True), max_rounds=max_rounds)
    numbers = []
    while (request := rounds.next_request()) is not None:
        numbers.append(request.number)
        rounds.feed(request, chunk("text "))
        rounds.fail(request, LOST)

    assert [*range(1, heals + 2)] == numbers
    # It ends as a failure, and not as an answer that was cut at the last round.
    assert ("error" if heals else "length") == rounds.stopped_by


@pytest.mark.parametrize(
    ("body", "settings"),
    [({}, {"heal_streams": False}), ({"response_format": {"type": "json_object"}}, {}), ({"n": 2}, {})],
)
def test_what_is_not_healed(body: dict[str, Any], settings: dict[str, Any]) -> None:
    """A first round is not healed if that is switched off, a format binds it, or a choice has not begun."""
    rounds = rounds_of(ask(stream=True, **body), **settings)
    request = next_request(rounds)
    rounds.feed(request, chunk("One "))

    assert rounds.fail(request, LOST).raises
    assert rounds.next_request() is None


def test_text_of_a_failed_round_is_kept() -> None:
    """Text that might be the answer's beginning again is given when its round fails for good."""
    start = "The answer has a beginning that no other part of it resembles: not even this.\n"
    rounds = rounds_of(ask(stream=True), heal_streams=False)
    first = next_request(rounds)
    rounds.feed(first, chunk(start))
    rounds.feed(first, chunk("", "length"))
    rounds.end_of_stream(first)
    later = next_request(rounds)

    assert rounds.feed(later, chunk(start[:20])) == []
    out = rounds.fail(later, Failure("APIError", 500, "req")).chunks
    assert [start[:20]] == [one["choices"][0]["delta"]["content"] for one in out]
    check_end(rounds, Decision(), "error", start + start[:20])


@pytest.mark.parametrize("on_error", ["partial", "raise"])
def test_error_of_a_later_round(on_error: str) -> None:
    """What arrived stays, and the report names the error; it is raised only if that is asked for."""
    rounds = rounds_of(on_error=on_error)
    decision = rounds.fail(second(rounds), Failure("InternalServerError", 500, "req-2", "the engine died"))

    assert (on_error == "raise") == decision.raises
    assert rounds.answer.report["error"] == {"type": "InternalServerError", "status": 500, "request_id": "req-2"}
    assert [round_["finish_reason"] for round_ in rounds.answer.report["rounds"]] == ["length", None]
    check_end(rounds, Decision(), "error")
