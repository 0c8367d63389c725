"""
The chunks of all rounds as one stream of events of the Responses endpoint.

An event that the core did not change goes out as the object that came. Others are written in the form that the server
has given them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..calls.calls import calls_in
from ..chunks import choices_of
from ..json import Json, as_object, as_string
from .response_items import (
    PARTS,
    THOUGHTS,
    body_in,
    ended,
    grown_item,
    grown_part,
    id_of,
    is_natural,
    item_id,
    item_of,
    new_item,
    new_part,
    usage_as_response,
)
from .response_reader import (
    ANNOTATION_ADDED,
    CREATED,
    DELTAS,
    IN_PROGRESS,
    ITEM_ADDED,
    ITEM_DONE,
    PARTS_ADDED,
    EventReader,
)


class _Item:
    """An item of the merged answer."""

    def __init__(self, index: int, item: Json) -> None:
        self.index = index
        self.item = item
        self.kind = as_string(item.get("type")) or ""
        self.id = id_of(item)
        #: The events around its part, without ".added"; and the place of the part.
        self.part = ""
        self.place = 0
        #: The pieces of the text of its last part, or of its arguments, and the lists beside it.
        self.pieces: list[str] = []
        self.lists: dict[str, list[Any]] = {"logprobs": [], "annotations": []}
        #: The last event that has added to it.
        self.delta: Json = {}

    @property
    def text(self) -> str:
        """Its text so far."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]

    def begin_part(self, name: str, place: int) -> None:
        """Begin a part."""
        self.part, self.place, self.pieces = name, place, []
        self.lists = {"logprobs": [], "annotations": []}

    def grown(self, item: Json, *, completed: bool) -> Json:
        """Return the item, in a form that the server has sent, with all of its text."""
        known = as_string(item.get("status"))
        status = "completed" if completed else "incomplete" if known in (None, "in_progress") else known
        return grown_item(item, self.text, self.lists, status=status)


class EventWriter:
    """Makes the events of the merged stream. ``reader``: what the server has sent."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._items: list[_Item] = []
        # By their index: the items of a server. By their number in a chat: those of tool calls.
        self._by_index: dict[object, _Item] = {}
        self._open: _Item | None = None
        self._began = False
        # The number of the next event; None: the server does not count them.
        self._next: int | None = 0

    def add_text(self, text: str, events: int) -> None:
        """Note text that has gone out in this number of events without this writer."""
        if self._open is not None:
            self._open.pieces.append(text)
        if self._next is not None:
            self._next += events

    # Events that go out as they came.

    def pass_on(self, event: Json) -> Json:
        """Return an event that the core has not changed; the same object, if its number fits."""
        kind = as_string(event.get("type"))
        if kind is None:
            # It only keeps the connection open.
            return event
        follow = self._FOLLOWS.get(kind)
        if follow is not None:
            follow(self, event)
        number = event.get("sequence_number")
        if not self._began:
            self._began, self._next = True, number if isinstance(number, int) else None
        if self._next is None or number is None:
            return event
        self._next += 1
        return event if number == self._next - 1 else {**event, "sequence_number": self._next - 1}

    def _follow_item(self, event: Json) -> None:
        self._add(as_object(event.get("item")) or {}, event.get("output_index"))

    def _follow_part(self, event: Json) -> None:
        item = self._by_index.get(event.get("output_index"))
        if item is not None:
            item.begin_part(event["type"].removesuffix(".added"), event.get("content_index") or 0)

    def _follow_delta(self, event: Json) -> None:
        item = self._by_index.get(event.get("output_index"))
        if item is not None:
            item.delta = event
            item.pieces.append(as_string(event.get("delta")) or "")
            item.lists["logprobs"] += event.get("logprobs") or ()

    def _follow_annotation(self, event: Json) -> None:
        item = self._by_index.get(event.get("output_index"))
        if item is not None:
            item.lists["annotations"].append(event.get("annotation"))

    def _follow_done(self, event: Json) -> None:
        item = self._by_index.get(event.get("output_index"))
        if item is not None:
            item.item = as_object(event.get("item")) or {}
            self._open = None if self._open is item else self._open

    #: By the type of an event: what follows it.
    _FOLLOWS: ClassVar[Mapping[str, Callable[[Any, Json], None]]] = {
        ITEM_ADDED: _follow_item,
        **dict.fromkeys(PARTS_ADDED, _follow_part),
        **dict.fromkeys(DELTAS.values(), _follow_delta),
        ANNOTATION_ADDED: _follow_annotation,
        ITEM_DONE: _follow_done,
    }

    def _add(self, item: Json, index: object) -> _Item:
        place = index if isinstance(index, int) else len(self._items)
        self._open = _Item(place, item)
        self._items.append(self._open)
        self._by_index[place] = self._open
        return self._open

    # Events that are written.

    def write(self, chunk: Json) -> list[Json]:
        """Return a chunk that the core has made, or changed, as events."""
        out = self._begun(chunk)
        for choice in choices_of(chunk) or ():
            delta = as_object(choice.get("delta")) or {}
            for kind, name in (("reasoning", THOUGHTS), ("message", "content")):
                if delta.get(name):
                    logprobs = (as_object(choice.get("logprobs")) or {}).get("content") if kind == "message" else None
                    out += self._texts(kind, delta[name], logprobs or [])
            for annotation in delta.get("annotations") or ():
                out += self._annotated(annotation)
            for call in calls_in(delta):
                out += self._called(call)
            if choice.get("finish_reason"):
                out += self._ended(chunk, choice)
        return out

    def _numbered(self, event: Json) -> Json:
        if self._next is None:
            return event
        self._next += 1
        return {**event, "sequence_number": self._next - 1}

    def _begun(self, chunk: Json) -> list[Json]:
        """Return the events that begin a stream, if none has come: an answer that another process has begun."""
        if self._began:
            return []
        self._began = True
        self._reader.body = body = self._reader.body or body_in(chunk)
        begins: Json = {**body, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        return [self._numbered({"type": kind, "response": begins}) for kind in (CREATED, IN_PROGRESS)]

    def _texts(self, kind: str, text: str, logprobs: list[Any]) -> list[Json]:
        item, out = self._opened(kind)
        item.pieces.append(text)
        item.lists["logprobs"] += logprobs
        event = item.delta or {
            "type": DELTAS[kind],
            **_place_of(item),
            "content_index": item.place,
            **({"logprobs": []} if kind == "message" else {}),
        }
        event = {**event, "delta": text, **({"logprobs": logprobs} if "logprobs" in event or logprobs else {})}
        return [*out, self._numbered(event)]

    def _opened(self, kind: str) -> tuple[_Item, list[Json]]:
        """Return the open item of this type, and the events that open it if it was not."""
        if self._open is not None and self._open.kind == kind:
            return self._open, []
        out = [] if self._open is None else self._closed(self._open, completed=True)
        index = self._free_index
        known = self._reader.items.get(kind) or new_item(kind, item_id(kind, id_of(self._reader.body), index))
        item = self._add(known, index)
        item.begin_part("response.content_part", 0)
        part = {"type": "response.content_part.added", **_place_of(item), "content_index": 0, "part": new_part(kind)}
        return item, [*out, self._item_added(item), self._numbered(part)]

    @property
    def _free_index(self) -> int:
        return max((item.index for item in self._items), default=-1) + 1

    def _item_added(self, item: _Item) -> Json:
        return self._numbered({"type": ITEM_ADDED, "output_index": item.index, "item": item.item})

    def _called(self, call: Json) -> list[Json]:
        out: list[Json] = []
        item = self._open
        id_ = call.get("id")
        if item is None or item.kind != "function_call" or (id_ and id_ != item.item.get("call_id")):
            out += [] if item is None else self._closed(item, completed=True)
            index = self._free_index
            made = item_of(call, item_id("function_call", id_of(self._reader.body), index))
            item = self._add({**made, "status": "in_progress"}, index)
            out.append(self._item_added(item))
        arguments = as_string((as_object(call.get("function")) or {}).get("arguments"))
        if arguments:
            item.pieces.append(arguments)
            out.append(self._numbered({"type": DELTAS["function_call"], **_place_of(item), "delta": arguments}))
        return out

    def _annotated(self, annotation: Any) -> list[Json]:
        item, out = self._opened("message")
        known = item.lists["annotations"]
        known.append(annotation)
        places = {"content_index": item.place, "annotation_index": len(known) - 1}
        event = {"type": ANNOTATION_ADDED, **_place_of(item), **places, "annotation": annotation}
        return [*out, self._numbered(event)]

    def _closed(self, item: _Item, *, completed: bool) -> list[Json]:
        """Close an item; return its ``*.done`` events, in the form that the server gives them."""
        known = self._reader.dones.get(item.id) or _dones_of(item)
        events = [self._done(event, item, completed=completed) for event in known]
        item.item = next((event["item"] for event in events if event["type"] == ITEM_DONE), item.item)
        self._open = None
        return list(map(self._numbered, events))

    def _done(self, event: Json, item: _Item, *, completed: bool) -> Json:
        """Return a ``*.done`` event with all of the text."""
        kind = event["type"]
        event = {**event, "output_index": item.index}
        if kind == ITEM_DONE:
            return {**event, "item": item.grown(as_object(event.get("item")) or {}, completed=completed)}
        part = as_object(event.get("part"))
        if part is not None and part.get("type") == PARTS.get(item.kind):
            return {**event, "part": grown_part(part, item.text, item.lists)}
        if kind.replace(".done", ".delta") != DELTAS.get(item.kind):
            return event
        if item.kind == "function_call":
            return {**event, "arguments": item.text}
        return grown_part(event, item.text, {"logprobs": item.lists["logprobs"]})

    def _ended(self, chunk: Json, choice: Json) -> list[Json]:
        """Return the end of the stream."""
        completed = is_natural(choice.get("finish_reason"))
        out = [] if self._open is None else self._closed(self._open, completed=completed)
        output = [self._final(item, completed=completed) for item in sorted(self._items, key=lambda each: each.index)]
        report = as_object(chunk.get("continuation"))
        # A round that broke off, or that had a raw prompt, has its usage elsewhere.
        usage = usage_as_response(chunk.get("usage") or (report or {}).get("usage"))
        response = ended({**self._reader.body, "output": output, "usage": usage}, choice)
        response = response if report is None else {**response, "continuation": report}
        kind = "response.completed" if completed else self._reader.end_of_cut
        return [*out, self._numbered({"type": kind, "response": response})]

    def _final(self, item: _Item, *, completed: bool) -> Json:
        """Return an item as the response has it at its end."""
        known = self._reader.finals.get(item.id)
        if known is None or not item.pieces:
            return item.item
        is_completed = completed or item is not self._items[-1]
        return item.grown(known, completed=is_completed)


def _place_of(item: _Item) -> Json:
    return {"item_id": item.id, "output_index": item.index}


def _dones_of(item: _Item) -> list[Json]:
    """Return the events that end an item of which the server has sent none."""
    ends: Json = {"type": ITEM_DONE, "output_index": item.index, "item": item.item}
    if item.kind == "function_call":
        done = {"type": "response.function_call_arguments.done", **_place_of(item), "name": item.item.get("name")}
        return [done, ends]
    if item.kind not in PARTS or not item.part:
        return [ends]
    place = {**_place_of(item), "content_index": item.place}
    text = {"type": DELTAS[item.kind].replace(".delta", ".done"), **place}
    part = {"type": f"{item.part}.done", **place, "part": new_part(item.kind)}
    return [{**text, **({"logprobs": []} if item.kind == "message" else {})}, part, ends]
