"""
What is kept of an unfinished answer, so that another process goes on from it.

It is the answer itself, as its caller has it, and its state beside the text, both JSON. Who goes on takes the answer
for a first round that was cut, and then the state in place of what such a round would show.
"""

from __future__ import annotations

from typing import Any, cast

from ..report import report_of
from .choices import Choices
from .chunks import index_of
from .codec.body import Requests
from .json import Json, as_object
from .merged import MergedAnswer
from .round import OpenRound, Request

# What the state has, or the end of a stream.
_APART = ("usage", "continuation")


def state_of(answer: MergedAnswer, choices: Choices, running: OpenRound | None, *, continues_calls: bool) -> Json:
    """
    Return the state of an answer.

    ``running``: the running round, if the answer may go on from any of its text. It has just begun.
    ``continues_calls``: whether that is so with tool calls, too.
    """
    return {
        "report": answer.report,
        "bill": dict(vars(answer.bill)),
        "places": sorted(answer.usage_places),
        "tokens": sum(choice.tally.used for choice in choices),
        "choices": {str(choice.index): choice.kept() for choice in choices},
        "open": None if running is None else {**_open_round(running), "may_call": continues_calls},
    }


def _open_round(running: OpenRound) -> Json:
    choice = None if running.choice is None else running.choice.index
    # The chunks that have brought something are counted when they come.
    return {"choice": choice, "asked": running.asked, "prompt": running.prompt, "chunks": {}}


def restore(state: Json, choices: Choices, answer: MergedAnswer, requests: Requests) -> None:
    """Give an answer, whose first round is all that was kept, the state that was kept with it."""
    known = report_of({"continuation": state["report"]})
    answer.history = [] if known is None else list(known.rounds)
    vars(answer.bill).update(state["bill"])
    chunks = _part(_part(state, "open"), "chunks")
    for choice in choices:
        kept = _part(state["choices"], str(choice.index))
        if kept:
            choice.restore(kept)
        choice.tally.add_chunks(chunks.get(str(choice.index), 0) - choice.tally.chunks)
        requests.prepare(choice)


def broken_round(state: Json, first: OpenRound, choices: Choices, requests: Requests) -> OpenRound | None:
    """
    Return the round that was running, which has broken off; None if there was none, or it brought nothing.

    ``first``: the round that stands for all that was kept.
    """
    known = _part(state, "open")
    if not known:
        return None
    if known["choice"] is None:
        first.finished = False
        return first
    choice = choices.at(known["choice"])
    request = Request(state["number"], choice.index, requests.first())
    made = OpenRound(request, choice, known["asked"], prompt=known["prompt"], began=True)
    return made if choice.added > 0 else None


def completion_of(answer: Json, state: Json) -> Json:
    """Return what was kept as the completion of a round that was cut."""
    items = [{**item, "finish_reason": _end(item, state)} for item in answer["choices"]]
    return {**{name: value for name, value in answer.items() if name not in _APART}, "choices": items}


def _end(item: Json, state: Json) -> str:
    known = _part(_part(state["choices"], str(index_of(item))), "fields")
    return known.get("finish_reason") or item.get("finish_reason") or "length"


def chunks_of(answer: Json, state: Json) -> list[Json]:
    """Return what was kept as the chunks of a stream that was cut: all texts, their ends, and the usage."""
    whole: Json = {**completion_of(answer, state), "object": "chat.completion.chunk"}
    items: list[Json] = whole["choices"]
    names = {name: value for name, value in whole.items() if not isinstance(value, list)}
    ends: list[Json] = [
        {"index": index_of(item), "delta": {}, "finish_reason": item["finish_reason"]} for item in items
    ]
    usage = {"usage": state["report"].get("usage")}
    # Where the caller got it. A first round that broke off has none.
    places: list[str] = state["places"] if usage["usage"] is not None and state["report"]["rounds"] else []
    return [
        {**whole, **(usage if "within the text" in places else {}), "choices": list(map(_text, items))},
        {**names, **(usage if "with the end" in places else {}), "choices": ends},
        *([{**names, **usage, "choices": []}] if "after the end" in places else []),
    ]


def _text(item: Json) -> Json:
    """Return a choice as that of the chunk which has all of it but its end."""
    delta = {name: value for name, value in item["message"].items() if value is not None}
    calls = cast("list[Json]", delta.get("tool_calls") or [])
    delta.update({"tool_calls": [{**call, "index": place} for place, call in enumerate(calls)]} if calls else {})
    others = {name: value for name, value in item.items() if name != "message"}
    return {**others, "delta": delta, "finish_reason": None}


def _part(fields: Json, name: str) -> dict[str, Any]:
    return as_object(fields.get(name)) or {}
