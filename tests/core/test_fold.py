"""
A whole answer is the fold of its stream: fed as streams of one chunk, and folded, it is equal field by field.

The grid: kinds of server, caps, and kinds of request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from openai_continue._core.folding import Folded
from tests.support.driving import rounds_of
from tests.support.engine import Engine
from tests.support.servers import SERVERS, Kind

Json = dict[str, Any]
CAPS = (2, 7, 16)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
#: What a request asks for, and the text of its answer.
REQUESTS: dict[str, tuple[Json, str | None]] = {
    "plain": ({}, None),
    "two choices": ({"n": 2}, None),
    "logprobs": ({"logprobs": True, "top_logprobs": 2}, None),
    "stop": ({"stop": ["\n\n"]}, "one two\nthree four five\n\nsix"),
    "JSON": ({"response_format": {"type": "json_object"}}, json.dumps({"a": list(range(30)), "b": "text " * 5})),
    "tools": ({"tools": TOOLS}, None),
}


#: llama-server repeats the text sent back in whole answers only, so its whole answers are not the fold of its streams.
KINDS = [name for name, kind in SERVERS.items() if kind.habits.echo != "unflagged"]


class OneChunk:
    """A server whose streams have one chunk: the whole answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def chunks(self, body: Json) -> Iterable[Json]:
        answer = self._engine.completion({**body, "stream": False})
        items = [{**item, "delta": item["message"]} for item in answer["choices"]]
        for item in items:
            del item["message"]
        yield {**answer, "object": "chat.completion.chunk", "choices": items}


def engine_of(kind: Kind, cap: int, text: str | None) -> Engine:
    return Engine(text, habits=kind.habits, cap=max(cap, kind.least), tokens=60)


def whole(kind: Kind, cap: int, fields: Json, text: str | None) -> Json:
    """Return the merged completion of whole rounds."""
    engine = engine_of(kind, cap, text)
    rounds = rounds_of(kind.ask(**fields), max_rounds=100, **kind.known)
    while (request := rounds.next_request()) is not None:
        rounds.receive(request, engine.completion(request.body))
    return rounds.completion()


def folded(kind: Kind, cap: int, fields: Json, text: str | None) -> Json:
    """Return the fold of the merged stream of rounds of one chunk."""
    server = OneChunk(engine_of(kind, cap, text))
    rounds = rounds_of({**kind.ask(**fields), "stream": True}, max_rounds=100, **kind.known)
    fold = Folded()
    while (request := rounds.next_request()) is not None:
        for chunk in server.chunks(request.body):
            for out in rounds.feed(request, chunk):
                fold.take(out)
        for out in rounds.end_of_stream(request):
            fold.take(out)
    for out in rounds.last_chunks():
        fold.take(out)
    return fold.completion()


def comparable(completion: Json) -> Json:
    """Return a completion without what is drawn at random, and without a null that says nothing."""
    report = completion.get("continuation")
    if report is not None:
        report = {**report, "rounds": [{**one, "id": None} for one in report["rounds"]]}
    choices = [
        {name: value for name, value in item.items() if (name, value) != ("logprobs", None)}
        for item in completion["choices"]
    ]
    return {**completion, "id": None, "created": None, "choices": choices, "continuation": report}


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("name", KINDS)
def test_a_whole_answer_is_the_fold_of_its_stream(name: str, asked: str) -> None:
    """Every field of a whole answer is what its rounds, as streams of one chunk, fold to."""
    kind = SERVERS[name]
    fields, text = REQUESTS[asked]
    for cap in CAPS:
        assert comparable(folded(kind, cap, fields, text)) == comparable(whole(kind, cap, fields, text))
