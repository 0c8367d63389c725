"""
A whole answer is the fold of its stream, and both are the uncapped answer, or end in "length".

The rounds of streams have many chunks, those of whole answers one each. The grid: kinds of server, caps, and kinds of
request.
"""

from __future__ import annotations

import json
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
    """Return the fold of the merged stream."""
    engine = engine_of(kind, cap, text)
    rounds = rounds_of({**kind.ask(**fields), "stream": True}, max_rounds=100, **kind.known)
    fold = Folded()
    while (request := rounds.next_request()) is not None:
        for chunk in engine.chunks(request.body):
            for out in rounds.feed(request, chunk):
                fold.take(out)
            if rounds.enough:
                break
        for out in rounds.end_of_stream(request):
            fold.take(out)
    for out in rounds.last_chunks():
        fold.take(out)
    return fold.completion()


def said(completion: Json) -> list[Json]:
    """Return what the choices of an answer say, and how they end."""
    return [
        {
            "finish_reason": item["finish_reason"],
            "tokens": [each["token"] for each in (item.get("logprobs") or {}).get("content") or ()],
            **{name: value for name, value in item["message"].items() if value},
        }
        for item in completion["choices"]
    ]


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("name", SERVERS)
def test_a_whole_answer_is_the_fold_of_its_stream(name: str, asked: str) -> None:
    """Whole and folded, an answer says the same: what the server says without a cap, or it ends in "length"."""
    kind = SERVERS[name]
    fields, text = REQUESTS[asked]
    for cap in CAPS:
        merged, streamed = said(whole(kind, cap, fields, text)), said(folded(kind, cap, fields, text))
        if asked == "JSON" and merged[0]["finish_reason"] == "length":
            # A stream is left within the round that loses the document.
            assert merged[0].get("content", "").startswith(streamed[0].get("content", "")), cap
            streamed[0].update({name: text for name, text in merged[0].items() if name == "content"})
        assert streamed == merged, cap
        uncapped = said(engine_of(kind, cap, text).uncapped(kind.ask(**fields)).raw)
        assert (uncapped[0] == merged[0]) == (merged[0]["finish_reason"] == "stop"), cap
