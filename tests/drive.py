"""Rounds driven without I/O: servers as functions from bodies to answers, and one form for answers of every way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, cast

from openai_continue import providers
from openai_continue.core.rounds import Rounds
from openai_continue.settings import Continuation
from openai_continue.testing import Habits
from openai_continue.testing.emulator import replies as made
from openai_continue.testing.emulator.checks import requested_tokens, stop_strings, token_limit
from openai_continue.testing.emulator.exchange import Exchange
from openai_continue.testing.emulator.habits import DEEPINFRA
from openai_continue.testing.emulator.model import Model
from tests.conftest import ask, listed, settled

Json: TypeAlias = "dict[str, Any]"


class Server(Protocol):
    """What answers a body."""

    def completion(self, body: Json) -> Json: ...

    def chunks(self, body: Json) -> Iterable[Json]: ...


@dataclass
class Said:
    """One round of a script: its pieces, as a stream brings them."""

    pieces: Sequence[str | Json]
    finish: str = "length"
    usage: Json | None = field(default_factory=lambda: usage(10, 5))
    #: Fields of the choice, beside message and finish_reason.
    more: Json = field(default_factory=dict[str, Any])


def said(*pieces: str | Json, finish: str = "length", **more: Any) -> Said:
    """Make a round: strings are content, dicts are whole deltas."""
    counted = more.pop("usage", usage(10, 5))
    return Said(pieces, finish, counted, more)


def usage(prompt: int, completion: int, **more: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


class Script:
    """A server that says what it is told to, whatever it is asked."""

    def __init__(self, *rounds: Said) -> None:
        self._rounds = rounds
        self.bodies: list[Json] = []

    def _next(self, body: Json) -> tuple[int, Said]:
        assert len(self.bodies) < len(self._rounds), f"round {len(self.bodies) + 1} was not expected: {body}"
        self.bodies.append(copy.deepcopy(body))
        return len(self.bodies), self._rounds[len(self.bodies) - 1]

    def completion(self, body: Json) -> Json:
        number, this = self._next(body)
        message: Json = {"role": "assistant", "content": None}
        for delta in map(_delta, this.pieces):
            for name, value in delta.items():
                joins = isinstance(value, str) and isinstance(message.get(name), str)
                message[name] = message[name] + value if joins else value
        item = {"index": 0, "message": message, "finish_reason": this.finish, **this.more}
        return {"id": f"id-{number}", "object": "chat.completion", "created": number, "model": "m"} | {
            "choices": [item],
            **({} if this.usage is None else {"usage": this.usage}),
        }

    def chunks(self, body: Json) -> list[Json]:
        number, this = self._next(body)
        head = {"id": f"id-{number}", "object": "chat.completion.chunk", "created": number, "model": "m"}
        deltas = [{"role": "assistant", "content": ""}, *map(_delta, this.pieces)]
        chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        end = head | {"choices": [{"index": 0, "delta": {}, "finish_reason": this.finish, **this.more}]}
        return [*chunks, end if this.usage is None else end | {"usage": this.usage}]


def _delta(piece: str | Json) -> Json:
    return {"content": piece} if isinstance(piece, str) else piece


class Engine:
    """The emulator's model without its HTTP: any habit, a thousand answers a second."""

    def __init__(
        self, text: Any = None, *, habits: Habits = DEEPINFRA, cap: int = 16_384, tokens: int = 200, **more: int
    ) -> None:
        self.habits = habits
        self.model = Model(tokens, text, habits)
        self.cap = cap
        self.context = more.get("context", 163_840)
        self.chunk_tokens = more.get("chunk_tokens", 1)
        self.bodies: list[Json] = []
        self.derailed = 0
        # The emulator's own way of composing an answer, of which only these are needed.
        self.ledger = self
        self._exchange = cast(Any, Exchange.__new__(Exchange))
        self._exchange._emulator = self._exchange._ledger = self

    def cached_tokens(self, messages: object) -> int:
        return 0

    def _answer(self, body: Json) -> made.Answer:
        self.bodies.append(copy.deepcopy(body))
        prompt = self.model.prompt(body)
        requested = requested_tokens(body, self.habits)
        limit = token_limit(requested, prompt.tokens, cap=self.cap, context=self.context, habits=self.habits)
        replies = []
        for choice in range(body.get("n") or 1):
            turn = self.model.turn(body, prompt, choice)
            self.derailed += turn.is_derailed
            replies.append(self.model.reply(turn, limit, stop_strings(body)))
        answer = cast(made.Answer, self._exchange._compose(body, prompt, replies))
        # A reasoning parser misfiles an answer for want of a closing tag; where the tag comes, it knows.
        closes = any(part.kind == "hidden" for reply in replies for part in reply.parts)
        return replace(answer, misfiles=answer.misfiles and not closes)

    def completion(self, body: Json) -> Json:
        return cast(Json, json.loads(made.dump(self._answer(body).whole())))

    def chunks(self, body: Json) -> Iterable[Json]:
        where = self.habits.usage
        wanted = (body.get("stream_options") or {}).get("include_usage", where != "asked") is not False
        for event in self._answer(body).events(
            self.chunk_tokens,
            usage_on_finish=wanted and where in {"finish", "both"},
            usage_behind=wanted and where in {"trailing", "both", "asked"},
        ):
            yield json.loads(event.data.removeprefix(b"data: "))

    def uncapped(self, body: Json, choice: int = 0) -> Answer:
        """Give what a server without cap would answer."""
        free = Engine(self.model.text, habits=self.habits, cap=10**9, tokens=self.model.size, context=10**9)
        completion = free.completion({**body, "n": choice + 1})
        return Answer.of_completion(completion, choice)


@dataclass
class Answer:
    """One choice of an answer, however it came."""

    text: str
    thoughts: str
    finish: str | None
    usage: Json | None
    report: Json | None
    #: The bytes that its logprobs spell; None without logprobs.
    spelled: bytes | None = None
    tool_calls: list[Json] = field(default_factory=list[Json])
    #: The answer as it came: a completion, or the chunks.
    raw: Any = None
    rounds: Rounds | None = None

    @property
    def stopped_by(self) -> str | None:
        return None if self.report is None else self.report["stopped_by"]

    @property
    def said(self) -> tuple[str, str | None, str | None]:
        """Text, end, and why it ended there."""
        return self.text, self.finish, self.stopped_by

    @property
    def merged(self) -> tuple[Any, ...]:
        """All that must be the same however an answer comes."""
        return self.text, self.thoughts, self.finish, self.usage, self.stopped_by, self.spelled, self.tool_calls

    @classmethod
    def of_completion(cls, completion: Json, index: int = 0) -> Answer:
        (item,) = [item for item in completion["choices"] if item["index"] == index]
        message = item["message"]
        return cls(
            message.get("content") or "",
            _thoughts(message),
            item["finish_reason"],
            completion.get("usage"),
            completion.get("continuation"),
            _spelled([item]),
            message.get("tool_calls") or [],
            completion,
        )

    @classmethod
    def of_chunks(cls, chunks: Sequence[Json], index: int = 0) -> Answer:
        items = [item for chunk in chunks for item in chunk["choices"] if item["index"] == index]
        deltas = [item["delta"] for item in items]
        ends = [item["finish_reason"] for item in items if item.get("finish_reason")]
        assert len(ends) <= 1, ends
        assert all(not item["delta"] for item in items[-1:] if len(ends) == 1) or items[-1]["finish_reason"]
        calls: list[Json] = []
        for delta in deltas:
            for call in delta.get("tool_calls") or []:
                _add_call(calls, call)
        usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        return cls(
            "".join(delta.get("content") or "" for delta in deltas),
            "".join(map(_thoughts, deltas)),
            ends[0] if ends else None,
            usages[-1] if usages else None,
            chunks[-1].get("continuation"),
            _spelled(items),
            calls,
            list(chunks),
        )


def _thoughts(message: Mapping[str, Any]) -> str:
    return message.get("reasoning_content") or message.get("reasoning") or ""


def _spelled(items: Iterable[Json]) -> bytes | None:
    tokens = [token for item in items if item.get("logprobs") for token in item["logprobs"]["content"]]
    return b"".join(bytes(token["bytes"]) for token in tokens) if tokens else None


def _add_call(calls: list[Json], delta: Json) -> None:
    if delta["index"] == len(calls):
        calls.append({"id": delta["id"], "type": delta["type"], "function": {**delta["function"]}})
        return
    assert not {"id", "name"} & {*delta, *delta["function"]}
    calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]


def rounds_of(
    body: Mapping[str, Any], provider: str = "deepinfra", *, restarts: bool = False, **settings: Any
) -> Rounds:
    """Make the Rounds of a request."""
    return Rounds(body, providers.named(provider), Continuation(**settings), restarts=restarts)


def whole(server: Server, body: Mapping[str, Any] | None = None, index: int = 0, **settings: Any) -> Answer:
    """Drive whole rounds to their end."""
    rounds = rounds_of(ask("x") if body is None else body, **settings)
    while (request := rounds.next_request()) is not None:
        rounds.receive(request, server.completion(request.body))
    answer = Answer.of_completion(rounds.completion(), index)
    answer.rounds = rounds
    return answer


def streamed(server: Server, body: Mapping[str, Any] | None = None, index: int = 0, **settings: Any) -> Answer:
    """Drive streamed rounds to their end; a stream that has said enough is left, as a driver does."""
    rounds = rounds_of({**(ask("x") if body is None else body), "stream": True}, **settings)
    chunks: list[Json] = []
    while (request := rounds.next_request()) is not None:
        for chunk in server.chunks(request.body):
            chunks += rounds.feed(request, chunk)
            if rounds.enough:
                break
        chunks += rounds.end_of_stream(request)
    chunks += rounds.last_chunks()
    answer = Answer.of_chunks(chunks, index)
    answer.rounds = rounds
    return answer


Drive: TypeAlias = Callable[..., Answer]
#: The two ways that differ within Rounds.
DRIVES: tuple[Drive, ...] = (whole, streamed)


async def live(client: Any, body: Mapping[str, Any], *, stream: bool, index: int = 0) -> Answer:
    """Ask through a client of either colour."""
    answer = await settled(client.chat.completions.create(**body, stream=stream))
    if not stream:
        return Answer.of_completion(answer.model_dump(exclude_unset=True), index)
    return Answer.of_chunks([chunk.model_dump(exclude_unset=True) for chunk in await listed(answer)], index)
