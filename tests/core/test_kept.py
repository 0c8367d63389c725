"""What is kept of an unfinished answer: who goes on from it sends and says what the first process would have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue._core.budget import Bill
from openai_continue._core.codec.endpoints import endpoint_of
from openai_continue._core.folding import Folded
from openai_continue._core.kept import chunks_of, completion_of
from openai_continue._core.rounds import Rounds
from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import Server, drives, rounds_of, streamed, whole
from tests.support.engine import Engine
from tests.support.servers import SERVERS
from tests.support.texts import is_as_it_was, pattern_for, texts

Json = dict[str, Any]


class Process:
    """A process that makes the rounds of an answer, and goes on from what another one has left."""

    def __init__(self, body: Json, known: Json, left: tuple[Json, Json] | None = None) -> None:
        self._endpoint = endpoint_of(body)
        self._folded = Folded()
        self.chunks: list[Json] = []
        self.rounds: Rounds = rounds_of(body, **known, kept=None if left is None else left[1])
        if left is None:
            return
        request = self.rounds.next_request()
        assert request is not None
        if not body.get("stream"):
            self.rounds.receive(request, self._endpoint.given_whole(completion_of(*left)))
            return
        for chunk in self._endpoint.given(chunks_of(*left)):
            self.give(self.rounds.feed(request, chunk))
        self.give(self.rounds.end_of_stream(request))

    def give(self, chunks: list[Json]) -> None:
        """Give chunks to the caller."""
        self.chunks += chunks
        for chunk in chunks:
            self._folded.take(self._endpoint.taken(chunk))

    def left(self, state: Json | None = None, chunks: Mapping[int, int] | None = None) -> tuple[Json, Json]:
        """Return what it leaves: the answer and the state, as of now or as they were."""
        state = self.rounds.state() if state is None else state
        if state["open"] is not None:
            state["open"]["chunks"] = {str(index): count for index, count in (chunks or {}).items()}
        answer = self._folded.completion() if self.chunks else self.rounds.so_far()
        left: tuple[Json, Json] = json.loads(json.dumps([answer, state]))
        return left


def handed_on(server: Server, body: Json, index: int, known: Json, *, stream: bool) -> Answer:
    """Drive an answer of which each round is made by another process."""
    body = {**body, "stream": True} if stream else body
    process = Process(body, known)
    while (request := process.rounds.next_request()) is not None:
        if stream:
            for chunk in server.chunks(request.body):
                process.give(process.rounds.feed(request, chunk))
                if process.rounds.enough:
                    break
            process.give(process.rounds.end_of_stream(request))
        else:
            process.rounds.receive(request, server.completion(request.body))
        if process.rounds.goes_on:
            process = Process(body, known, process.left())
    if not stream:
        return Answer.of_completion(process.rounds.completion(), index)
    return Answer.of_chunks(process.chunks + process.rounds.last_chunks(), index)


def broken(server: Server, body: Json, known: Json, *, after: int) -> Answer:
    """Drive a stream whose process is killed after so many chunks in all; another one makes the rest."""
    body, count = {**body, "stream": True}, 0
    process = Process(body, known)
    while (request := process.rounds.next_request()) is not None:
        state, brought = process.rounds.state(), 0
        for chunk in server.chunks(request.body):
            out = process.rounds.feed(request, chunk)
            process.give(out)
            brought += any(item["delta"].get("content") for each in out for item in each["choices"])
            count += 1
            if process.rounds.enough or count == after:
                break
        if count == after:
            process = Process(body, known, process.left(state, {0: brought}))
            # Of an answer that has just begun there is nothing to go on from.
            process = process if process.rounds.goes_on else Process(body, known)
            count += 1
        else:
            process.give(process.rounds.end_of_stream(request))
    return Answer.of_chunks(process.chunks + process.rounds.last_chunks())


def told(answer: Answer) -> list[Json]:
    """Return what the report says of the rounds."""
    return [{**each, "id": None} for each in answer.rounds]


@given(data=st.data(), name=st.sampled_from(sorted(SERVERS)), stream=st.booleans())
def test_fidelity(data: Any, name: str, stream: bool) -> None:
    """Whatever the text, the caps and the server: all requests, the answer and its report are those of one process."""
    kind, text = SERVERS[name], data.draw(texts)
    pattern = pattern_for(data.draw, kind)
    n = data.draw(st.sampled_from([None, 2])) if not (kind.habits.thinks or kind.habits.echo) else None
    fields = {"n": n, "max_tokens": data.draw(st.sampled_from([None, 60])), "logprobs": data.draw(st.sampled_from([None, True]))}  # fmt: skip
    body = kind.ask(**{name: value for name, value in fields.items() if value is not None})
    index = data.draw(st.integers(0, n - 1)) if n else 0
    known = {"max_rounds": 500, **kind.known}
    one = Engine(text, habits=kind.habits, cap=pattern)
    expected = (streamed if stream else whole)(one, body, index, **known)
    many = Engine(text, habits=kind.habits, cap=pattern)
    answer = handed_on(many, body, index, known, stream=stream)

    assert one.bodies == many.bodies
    assert expected.merged == answer.merged
    assert told(expected) == told(answer)


KINDS: dict[str, tuple[Habits, Json]] = {
    "text": (Habits(), ask("Write 150 tokens.")),
    "text completion": (Habits(), {"model": "m", "prompt": "Write 150 tokens.", "logprobs": 1}),
    "document": (Habits(), ask("An object of 150 tokens.", response_format={"type": "json_object"})),
    "thoughts": (Habits(thinks="reasoning_content", template="qwen3", think_tokens=70), ask("x")),
    "calls": (Habits(), ask("Write 30 tokens, then call the tool.", tools=[{"type": "function", "function": {"name": "save", "parameters": {"type": "object", "properties": {"title": {"type": "string"}}}}}])),
}  # fmt: skip


@drives
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [7, 40])
def test_kinds(cap: int, kind: str, drive: Any) -> None:
    """So it is with documents, thoughts, tool calls and text completions."""
    habits, body = KINDS[kind]
    body, known = {**body, "model": "Qwen/Qwen3-32B"}, {"max_rounds": 500}
    one, many = Engine(habits=habits, cap=cap), Engine(habits=habits, cap=cap)
    expected = drive(one, body, **known)
    answer = handed_on(many, body, 0, known, stream=drive is streamed)

    assert one.bodies == many.bodies
    assert expected.merged == answer.merged
    assert told(expected) == told(answer)


@given(data=st.data(), name=st.sampled_from(sorted(name for name in SERVERS if not SERVERS[name].habits.misfiles)))
def test_broken_streams(data: Any, name: str) -> None:
    """A stream that is left anywhere in any round goes on with all that its caller was given."""
    kind, text = SERVERS[name], data.draw(texts)
    pattern = pattern_for(data.draw, kind)
    body = kind.ask()
    expected = Engine(text, habits=kind.habits).uncapped(body)
    engine = Engine(text, habits=kind.habits, cap=pattern)
    answer = broken(engine, body, {"max_rounds": 500, **kind.known}, after=data.draw(st.integers(1, 80)))

    assert is_as_it_was(answer, expected, kind, text), answer.ending
    assert engine.derailed == 0


def test_bill() -> None:
    """What was billed goes on where it was: its cost, its prices, and what broke off before any price was known."""
    bill = Bill()
    bill.add(None, (100, 50))
    bill.add({"prompt_tokens": 10, "completion_tokens": 20, "estimated_cost": 0.5})
    again = Bill()
    vars(again).update(json.loads(json.dumps(vars(bill))))
    for each in (bill, again):
        each.add({"prompt_tokens": 30, "completion_tokens": 40}, (30, 40))

    assert (bill.usage, bill.cost, bill.price(7, 8)) == (again.usage, again.cost, again.price(7, 8))
    assert bill.usage is not None
    assert bill.usage["completion_tokens"] == 110


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cap", [50, 199, 200, 201])
def test_end_in_doubt_is_handed_on(cap: int, stream: bool) -> None:
    """Another process knows that an end may be a cut: it goes on, and an answer that had ended stays as it was."""
    engine = Engine(habits=Habits(ends="stop"), cap=cap)
    known = {"provider": replace(providers.named("deepinfra"), cap=cap)}
    answer = handed_on(engine, ask(), 0, known, stream=stream)

    assert answer.ending == (engine.uncapped(ask()).text, "stop", "stop")
    assert len(answer.rounds) == len(engine.bodies) > 1
