"""
The events of the Responses endpoint as chunks of a chat.

Servers send the ``*.done`` events of an answer before the event that tells whether it was cut, so they wait for the
next event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ..json import Json, as_object, as_string
from .response_items import (
    BARRED,
    PARTS,
    THOUGHTS,
    call_of,
    end_of,
    holding,
    id_of,
    listed,
    names_of,
    usage_as_chat,
)

#: The events that add to an item, by its type.
DELTAS: Mapping[str, str] = {
    "message": "response.output_text.delta",
    "reasoning": "response.reasoning_text.delta",
    "function_call": "response.function_call_arguments.delta",
}
ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
PARTS_ADDED = ("response.content_part.added", "response.reasoning_part.added")
ANNOTATION_ADDED = "response.output_text.annotation.added"
CREATED, IN_PROGRESS = "response.created", "response.in_progress"
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "error")
# Events with a text that chat has no place for.
_UNKNOWN = ("response.refusal.delta", "response.reasoning_summary_text.delta", "response.reasoning_summary_part.added")


class Came(dict[str, Any]):
    """A chunk of a chat, with the events that brought it."""

    __slots__ = ("events",)

    def __init__(self, chunk: Json, events: Sequence[Json]) -> None:
        super().__init__(chunk)
        self.events = events


class EventReader:
    """Makes chunks of the events of each round, and knows what the server has sent of items and responses."""

    def __init__(self) -> None:
        #: The first round's response, as it came last.
        self.body: Json = {}
        #: By the id of an item: its ``*.done`` events, and the item as the response has it at its end.
        self.dones: dict[str, list[Json]] = {}
        self.finals: dict[str, Json] = {}
        #: The type of the event by which the server ends an answer that was cut.
        self.end_of_cut = "response.incomplete"
        # By type: the item of a message, or of thoughts, that the running round brought.
        self.items: dict[str, Json] = {}
        # Events that wait for the next one.
        self._held: list[Json] = []
        # The types of the items of the running round, and the numbers of its calls by their index.
        self._order: list[str] = []
        self._calls: dict[object, int] = {}

    def left(self) -> list[Json]:
        """Return the events that wait: no other comes."""
        held, self._held = self._held, []
        return held

    def take(self, event: Json) -> Came:
        """Return an event as a chunk. Each is taken once."""
        kind = as_string(event.get("type")) or ""
        make = self._CHUNKS.get(kind)
        if kind.endswith(".done"):
            id_ = as_string(event.get("item_id")) or id_of(as_object(event.get("item")))
            self.dones.setdefault(id_, []).append(event)
        elif make is not None or not self._held:
            chunk = {} if make is None else make(self, event)
            return Came(chunk, [*self.left(), event] if self._held else (event,))
        # What only keeps the connection open tells nothing of them either.
        self._held.append(event)
        return Came({}, ())

    def _begin(self, event: Json) -> Json:
        response = as_object(event.get("response")) or {}
        self._held, self._order, self._calls = [], [], {}
        return {**names_of(response), "choices": [], **self._held_body(response)}

    def _held_body(self, response: Json) -> Json:
        """Return the field that holds a response, if it is the first round's."""
        if self.body and self.body.get("id") != response.get("id"):
            return {}
        self.body = response
        return holding(response)

    def _add_item(self, event: Json) -> Json:
        item = as_object(event.get("item")) or {}
        kind = as_string(item.get("type")) or ""
        known, self._order = self._order, [*self._order, kind]
        if kind == "function_call":
            number = self._calls[event.get("output_index")] = len(self._calls)
            return _delta({"tool_calls": [{**call_of(item), "index": number}]})
        self.items[kind] = item
        if kind == "message" and set(known) <= {"reasoning"}:
            return _delta({"role": "assistant", "content": ""})
        return _delta({} if kind == "reasoning" and not known else BARRED)

    def _add_part(self, event: Json) -> Json:
        part = as_object(event.get("part")) or {}
        is_known = part.get("type") in PARTS.values() and not event.get("content_index")
        return _delta({} if is_known else BARRED)

    def _add_text(self, event: Json) -> Json:
        logprobs = event.get("logprobs")
        return _delta({"content": event.get("delta")}, **({"logprobs": {"content": logprobs}} if logprobs else {}))

    def _add_thoughts(self, event: Json) -> Json:
        return _delta({THOUGHTS: event.get("delta")})

    def _add_arguments(self, event: Json) -> Json:
        number = self._calls.get(event.get("output_index"), 0)
        return _delta({"tool_calls": [{"index": number, "function": {"arguments": event.get("delta")}}]})

    def _add_annotation(self, event: Json) -> Json:
        return _delta({"annotations": [event.get("annotation")]})

    def _bar(self, _: Json) -> Json:
        return _delta(BARRED)

    def _end(self, event: Json) -> Json:
        response = as_object(event.get("response")) or {"status": "failed"}
        end = end_of(response)
        self.finals.update({id_of(item): item for item in listed(response.get("output"))})
        if end["finish_reason"] == "length":
            self.end_of_cut = event["type"]
        body = self._held_body(response)
        usage = usage_as_chat(response.get("usage"))
        chunk = _delta({}, **end)
        return {**names_of(response), **body, **chunk, **({} if usage is None else {"usage": usage})}

    #: By the type of an event: what makes its chunk.
    _CHUNKS: ClassVar[Mapping[str, Callable[[Any, Json], Json]]] = {
        CREATED: _begin,
        ITEM_ADDED: _add_item,
        **dict.fromkeys(PARTS_ADDED, _add_part),
        DELTAS["message"]: _add_text,
        DELTAS["reasoning"]: _add_thoughts,
        DELTAS["function_call"]: _add_arguments,
        ANNOTATION_ADDED: _add_annotation,
        **dict.fromkeys(_UNKNOWN, _bar),
        **dict.fromkeys(_ENDS, _end),
    }


def _delta(delta: Mapping[str, Any], **beside: Any) -> Json:
    return {"choices": [{"index": 0, "delta": dict(delta), "finish_reason": None, **beside}]}
