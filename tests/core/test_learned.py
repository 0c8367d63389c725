"""What a client remembers of a server, and what it must not."""

from __future__ import annotations

import pytest

from openai_continue._core.learned import RESTART_MEMORY, Learned
from openai_continue._core.round import Failure
from tests.support.bodies import ask
from tests.support.driving import Drive, drives, rounds_of
from tests.support.script import Script, cut_round, last_round

START = "The answer has a beginning that no other part of it resembles: not even this.\n"


class Clock:
    """A clock that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "said",
    [
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        "Prefilling assistant messages is not supported for this model.",
        "prefill is not supported",
        "Response prefill is not available with this model",
        "Please ensure that multiturn requests alternate between user and model roles, ending with a model turn",
        "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "The last message must be from the user",
        "assistant messages are not allowed as the last message",
    ],
)
def test_refusals(said: str) -> None:
    """The words of a server that takes no trailing assistant message are remembered, until it has taken one."""
    learned = Learned()
    learned.take_refusal(said)
    assert learned.refuses_prefill

    learned.take_continuation(closes_block=None)
    learned.take_refusal(said)
    assert not learned.refuses_prefill


@pytest.mark.parametrize(
    "said",
    [
        "Input length exceeds max_prefill_tokens (16384)",
        "chunked prefill is disabled, and the prompt is too long",
        "chunked prefill is not supported",
        "Error: prefill is not ready",
        "prefill is not finished",
        "The prefill instance is unavailable",
        "disaggregated prefill is not enabled",
        "prefill batch size exceeded, retry later",
        "No available prefill workers",
        "the assistant message is too long",
        "final assistant content cannot end with trailing whitespace",
        "final assistant message cannot end with trailing whitespace",
        "",
    ],
)
def test_no_refusals(said: str) -> None:
    """Engines say "prefill" of any prompt; a refusal of one message is none of every message."""
    learned = Learned()
    learned.take_refusal(said)

    assert not learned.refuses_prefill


def test_restarts_are_remembered_for_a_while() -> None:
    """Two different answers begun again, beyond doubt: the next one is tried after ten minutes, and proof clears it."""
    clock = Clock()
    learned = Learned(clock=clock)
    learned.take_proof()
    learned.take_restart(4, "one")
    learned.take_restart(4, "two")
    assert (learned.restarts, learned.continues) == (False, True)

    learned.take_restart(5, "one")
    learned.take_restart(5, "one")
    assert (learned.restarts, learned.continues) == (False, False)

    learned.take_restart(6, "two")
    assert learned.restarts
    clock.now += RESTART_MEMORY - 1
    assert learned.restarts
    clock.now += 1
    assert not learned.restarts

    # The one try.
    learned.take_restart(6, "three")
    assert learned.restarts
    clock.now += RESTART_MEMORY
    learned.take_proof()
    learned.take_restart(6, "four")
    assert (learned.restarts, learned.continues) == (False, False)


@drives
def test_restarts_of_a_client(drive: Drive) -> None:
    """A server that begins two answers again is not asked for ten minutes, and then once more."""
    clock = Clock()
    learned = Learned(clock=clock)
    for text in (START, START, "Another " + START):
        answer = drive(Script(cut_round(text, "mor"), last_round(text)), learned=learned)
        assert (text + "mor", "length", "restart") == answer.ending
    answer = drive(server := Script(cut_round(START)), learned=learned)
    assert (answer.ending, len(server.bodies)) == ((START, "length", "restart"), 1)

    clock.now += RESTART_MEMORY
    assert drive(Script(cut_round(START, "mor"), last_round("e")), learned=learned).ending == (
        START + "more",
        "stop",
        "stop",
    )
    assert drive(Script(cut_round(START, "mor"), last_round("e")), learned=learned).ending == (
        START + "more",
        "stop",
        "stop",
    )


@drives
def test_proof_of_a_client(drive: Drive) -> None:
    """On a row that nobody knows, an answer that went on is proof for the next ones."""
    learned = Learned()
    rounds = [cut_round("the whale is a"), last_round("Sure, here it is.")]
    assert drive(Script(*rounds), provider="ollama", learned=learned).stopped_by == "restart"
    drive(Script(cut_round("the whale is a"), last_round(" mammal.")), provider="ollama", learned=learned)
    answer = drive(Script(*rounds), provider="ollama", learned=learned)

    assert answer.ending == ("the whale is aSure, here it is.", "stop", "stop")


@pytest.mark.parametrize(
    ("row", "said", "remembered"),
    [
        ("deepinfra", "max_tokens must be at most 8192", 8192),
        ("deepinfra", "max_tokens is too large", 16_384),
        ("vllm", "max_tokens must be at most 8192", 8192),
        ("vllm", "max_tokens is too large", None),
    ],
)
def test_limit_that_was_guessed(row: str, said: str, remembered: int | None) -> None:
    """Fewer tokens are remembered if the error or the row names them; a guess holds for one call."""
    learned = Learned()
    rounds = rounds_of(ask(max_tokens=100_000), row, learned=learned)
    request = rounds.next_request()
    assert request is not None
    decision = rounds.fail(request, Failure("BadRequestError", 400, text=said))

    assert not decision.raises
    assert remembered == learned.most(streamed=False)
