"""
The rows of decisions after a round: each one decides in a conversation of its own, and is needed for what comes of it.

Which row has decided is seen from outside: the tables of rows are replaced by tables whose rows note that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest

from openai_continue._core import state
from openai_continue._core.choice import Choice
from openai_continue._core.ending import Ending
from openai_continue._core.outcome import Outcome
from openai_continue._core.round import Failure, Request
from openai_continue._core.rounds import Rounds
from openai_continue._sdk.chat_template import Template
from tests.support.bodies import ask
from tests.support.driving import rounds_of
from tests.support.overflows import ROOM_LEFT, TOO_LONG
from tests.support.script import Reply, cut_round, last_round, reply, usage

Json = dict[str, Any]

PLAIN = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
RAW = {"provider": "vllm", "chat_template": Template(PLAIN)}
TOO_MANY = "max_tokens is too large: 500. This model supports at most 300 completion tokens."
START = "The answer has a beginning that no other part of it resembles: not even this.\n"
THOUGHT = {"reasoning_content": "I think. " * 40}
TOOL = {"type": "function", "function": {"name": "save", "parameters": {"type": "object"}}}
HALF_CALL = {
    "tool_calls": [
        {"index": 0, "id": "call-1", "type": "function", "function": {"name": "save", "arguments": '{"a": "on'}}
    ]
}
CALLS = {"model": "Qwen/Qwen3-8B", "tools": [TOOL]}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
LOST = Failure("ReadError", broke_off=True)


def refused(text: str, status: int = 400) -> Failure:
    return Failure("BadRequestError", status, "req", text)


def both(text: str) -> Json:
    """Return a first answer with two choices that were cut."""
    items = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        for index in (0, 1)
    ]
    return {"id": "1", "choices": items}


@dataclass(frozen=True)
class Left:
    """A round that is left, or fails, after these pieces of its stream; a text is the name of a budget."""

    pieces: Sequence[str]
    why: Failure | str


Event: TypeAlias = Reply | Left | Failure | Json


@dataclass(frozen=True)
class Talk:
    """A conversation: what comes of each request, in order. It is over when nothing more is said."""

    events: Sequence[Event]
    body: Json = field(default_factory=dict[str, Any])
    known: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_streamed: bool = False

    def held(self) -> Any:
        """Hold it; return what came of it: the requests, and the end."""
        rounds = rounds_of(ask(stream=self.is_streamed, **self.body), **self.known)
        sent: list[Any] = []
        raised = False
        for event in self.events:
            request = rounds.next_request()
            if request is None:
                break
            sent.append(request.body)
            raised = raised or self._say(rounds, request, event)
        more = rounds.next_request()
        sent.append(None if more is None else more.body)
        ends = [(one["index"], one.get("finish_reason")) for one in rounds.completion().get("choices", ())]
        return sent, raised, rounds.stopped_by, ends, rounds.answer.error

    def _say(self, rounds: Rounds, request: Request, event: Event) -> bool:
        """Say what comes of a request; return whether an error is raised."""
        if isinstance(event, Failure):
            return rounds.fail(request, event).raises
        if isinstance(event, Left):
            for piece in event.pieces:
                rounds.feed(request, _shaped({"content": piece}, None, "delta", request))
            if isinstance(event.why, Failure):
                return rounds.fail(request, event.why).raises
            rounds.stop(event.why)
        elif isinstance(event, dict):
            rounds.receive(request, event)
        elif self.is_streamed:
            for piece in event.pieces:
                assert not callable(piece)
                delta = {"content": piece} if isinstance(piece, str) else piece
                rounds.feed(request, _shaped(delta, None, "delta", request))
            rounds.feed(request, {**_shaped(dict[str, Any](), event.finish, "delta", request), "usage": event.usage})
            rounds.end_of_stream(request)
        else:
            message: Json = {"role": "assistant", "content": ""}
            for piece in event.pieces:
                assert not callable(piece)
                message = (
                    {**message, "content": message["content"] + piece}
                    if isinstance(piece, str)
                    else {**message, **piece}
                )
            rounds.receive(request, {**_shaped(message, event.finish, "message", request), "usage": event.usage})
        return False


def _shaped(holder: Json, finish: str | None, name: str, request: Request) -> Json:
    """Return an answer, or a chunk of one, in the shape of its endpoint."""
    item: Json = {"text": holder.get("content", "")} if request.is_raw else {name: holder}
    return {"id": "c", "choices": [{"index": 0, "finish_reason": finish, **item}]}


AFTER_FAILURE = {
    "number_refused": Talk([cut_round("One two"), refused(TOO_MANY)], known={"round_tokens": 500}),
    "context_exceeded": Talk(
        [cut_round("One two", usage=usage(100, 500)), refused(ROOM_LEFT)], known={"round_tokens": 500}
    ),
    "part_refused": Talk([cut_round("One two"), refused("no")], known={"provider": "vllm"}, is_streamed=True),
    "raw_refused": Talk([cut_round("One two"), refused("no", 404)], known=RAW),
    "broke_off": Talk([Left(["One "], LOST)], is_streamed=True),
    "overflowed": Talk([cut_round("One two"), refused(TOO_LONG)]),
    "failed": Talk([cut_round("One two"), refused("no", 500)]),
}
AFTER_ROUND = {
    "waits": Talk([both(START), cut_round(START)], body={"n": 2}),
    "ended": Talk([last_round("One two.")]),
    "spent": Talk([cut_round("One two"), Left([" three"], "max_seconds")], is_streamed=True),
    "call_that_was_hidden": Talk(
        [reply(HALF_CALL, finish="tool_calls", usage=usage(10, 5))],
        body={**CALLS, "max_tokens": 5},
        known={"provider": "vllm"},
    ),
    "call_that_failed": Talk(
        [cut_round(HALF_CALL), last_round("I do not know.")], body=CALLS, known={"provider": "vllm"}
    ),
    "restarted": Talk([cut_round(START), cut_round(START)]),
    "truncated": Talk([cut_round("One two", usage=usage(10, 5))], body={"truncate_prompt_tokens": 12}),
    "without_thoughts": Talk(
        [cut_round(THOUGHT, "One two", usage=usage(20, 100)), cut_round(" three", usage=usage(24, 5))],
        known={"provider": "vllm"},
    ),
    "wrong_prompt_that_is_out": Talk(
        [cut_round("One two", usage=usage(30, 2)), cut_round(" three", usage=usage(90, 1))],
        known={**RAW, "round_tokens": 500},
        is_streamed=True,
    ),
    "total_used": Talk([cut_round("One two", usage=usage(10, 5))], body={"max_tokens": 5}),
    "context_full": Talk(
        [cut_round("One two", usage=usage(100, 500)), refused(ROOM_LEFT), cut_round(" three", usage=usage(600, 400))],
        known={"round_tokens": 500},
    ),
    "muted_first": Talk([cut_round("", usage=usage(10, 1))], body={"stop": ["END"]}),
    "barred": Talk([cut_round("One two", {"refusal": "No."})]),
    "document_over": Talk([cut_round('{"a": one')], body={"response_format": SCHEMA}),
    "thinks_again": Talk(
        [cut_round({"reasoning_content": "I think."}, "One two"), cut_round({"reasoning_content": "Again."})]
    ),
    "wrong_prompt": Talk(
        [cut_round("One two", usage=usage(30, 2)), cut_round(" three", usage=usage(90, 1))], known=RAW
    ),
    "muted": Talk([cut_round("One two"), cut_round("", usage=usage(10, 1))], body={"stop": ["END"]}),
    "empty": Talk([cut_round("One two"), cut_round("")]),
    "looping": Talk([cut_round("one and two, " * 2000)]),
    "rounds_used": Talk([cut_round("One two")], known={"max_rounds": 1}),
    "stuck": Talk([cut_round("One two.\n"), cut_round(".\n", usage=usage(12, 2))], body={"model": "m"}),
    "goes_on": Talk([cut_round("One two")]),
}
TABLES = {"AFTER_FAILURE": AFTER_FAILURE, "AFTER_ROUND": AFTER_ROUND}
ROWS = [(table, name) for table, talks in TABLES.items() for name in talks]


def name_of(row: Any) -> str:
    return str(row.__name__).removeprefix("_")


def noting(row: Any, decided: list[str]) -> Any:
    """Return a row that notes when it has a step."""

    def noted(*case: Any) -> Any:
        step = row(*case)
        if step is not None:
            decided.append(name_of(row))
        return step

    return noted


def test_each_row_has_a_conversation() -> None:
    """No row is without a proof."""
    assert {table: [*talks] for table, talks in TABLES.items()} == {
        table: [name_of(row) for row in getattr(state, table)] for table in TABLES
    }


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_row_decides(table: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last row that decides in its conversation is the row itself."""
    decided: list[str] = []
    for one in TABLES:
        monkeypatch.setattr(state, one, [noting(row, decided) for row in getattr(state, one)])

    TABLES[table][name].held()

    assert decided[-1] == name or name in {"waits", "broke_off"}
    assert name in decided


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_row_is_needed(table: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the row, something else comes of its conversation."""
    talk = TABLES[table][name]
    expected = talk.held()
    monkeypatch.setattr(state, table, [row for row in getattr(state, table) if name_of(row) != name])

    try:
        changed = talk.held()
    except StopIteration:
        changed = None

    assert changed != expected


def test_table_of_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step leads where the table in the docstring says, and the conversations show each row of it."""
    seen: set[tuple[str, str, str]] = set()
    apply, again = getattr(Ending, "_apply"), getattr(Rounds, "_again")  # noqa: B009

    def applied(self: Ending, running: Any, choice: Choice, step: Any, outcome: Outcome) -> Any:
        out = apply(self, running, choice, step, outcome)
        before = "waiting" if running is None else "running"
        seen.add((before, type(step).__name__, "ended" if choice.stopped_by else "waiting"))
        assert (choice in self.queue) == (choice.stopped_by is None)
        return out

    def asked_again(self: Rounds, running: Any, step: Any, outcome: Outcome) -> Any:
        decision = again(self, running, step, outcome)
        seen.add(("running", type(step).__name__, "waiting" if self.goes_on else "ended"))
        return decision

    monkeypatch.setattr(Ending, "_apply", applied)
    monkeypatch.setattr(Rounds, "_again", asked_again)
    for _, name in ROWS:
        {**AFTER_FAILURE, **AFTER_ROUND}[name].held()
    Talk([both("One two"), cut_round(" three")], body={"n": 2}).held()

    lines = [re.split(r" {2,}", line) for line in str(state.__doc__).splitlines() if "=" not in line]
    assert seen == {(line[0], line[2], line[3]) for line in lines if len(line) == 4 and line[0] != "State"}
