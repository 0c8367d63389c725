"""
The replies of the model as responses: the object, and the events of its stream.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from .chat_replies import Completion
from .checks import Body
from .faults import Kind
from .model import Reply
from .replies import StreamEvent, event, said
from .response_kinds import ResponseKind
from .response_requests import input_items

_ItemKind: TypeAlias = Literal["reasoning", "summary", "message", "function_call"]


class _Form(NamedTuple):
    """How an item of one kind looks."""

    #: Its type, and the beginning of its id.
    type: str
    prefix: str
    #: The beginning of the names of the events about its text, and the field of the last one that has the text.
    events: str
    text: str
    #: Where its text is in it.
    place: dict[str, int]
    #: The type of its content.
    part: str


_FORMS: dict[_ItemKind, _Form] = {
    "message": _Form("message", "msg", "output_text", "text", {"content_index": 0}, "output_text"),
    "reasoning": _Form("reasoning", "rs", "reasoning_text", "text", {"content_index": 0}, "reasoning_text"),
    # Thoughts as their own summary.
    "summary": _Form("reasoning", "rs", "reasoning_summary_text", "text", {"summary_index": 0}, "summary_text"),
    "function_call": _Form("function_call", "fc", "function_call_arguments", "arguments", {}, ""),
}
# What the response says of the request, and what it says if the request has no such field.
_ASKED: dict[str, Any] = {
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
}
# The fields that only vLLM has.
_OF_VLLM: dict[str, Any] = {
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "input_messages": None,
    "output_messages": None,
}


@dataclass
class _Item:
    """An item of the output."""

    kind: _ItemKind
    index: int
    id: str
    #: What it has besides its text.
    fields: dict[str, Any]
    #: Those of its text; None if the server shows null, because they were not asked for.
    logprobs: list[dict[str, Any]] | None
    texts: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def form(self) -> _Form:
        return _FORMS[self.kind]

    def add(self, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> None:
        """Add more of its text."""
        self.texts.append(text)
        if logprobs:
            self.logprobs = self.logprobs or []
            self.logprobs.extend(logprobs)

    def part(self, text: str) -> dict[str, Any]:
        """Return the content with a text."""
        more = {"annotations": [], "logprobs": self.logprobs if text else []} if self.kind == "message" else {}
        return {"type": self.form.part, "text": text, **more}

    def shown(self, status: str) -> dict[str, Any]:
        """Return the item. It is empty while it is in progress."""
        head = {"id": self.id, "type": self.form.type, "status": status, **self.fields}
        content = [] if status == "in_progress" else [self.part(self.text)]
        if self.kind == "function_call":
            return {**head, "arguments": self.text}
        if self.kind == "summary":
            return {**head, "summary": content, "encrypted_content": self.text}
        return {**head, "content": content or self.fields.get("content", content)}


class ResponseReply:
    """The response to one request. It is read once, whole or as a stream."""

    def __init__(self, body: Body, completion: Completion, limit: int, kind: ResponseKind) -> None:
        self._body = body
        self._completion = completion
        self._kind = kind
        self._numbers = itertools.count()
        self._items: list[_Item] = []
        self._is_cut = said(completion.replies[0].finish, completion.habits) == "length"
        self.replies: Sequence[Reply] = completion.replies
        self.head: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": completion.head["created"],
            "model": body["model"],
        }
        asked = {name: value for name, value in body.items() if name in _ASKED and value is not None}
        limited = {"max_output_tokens": limit} if kind.shows_limit else {}
        own = {**_OF_VLLM, **({} if body.get("tools") else {"tool_choice": "none"})} if kind.is_vllm else {}
        self._asked = {} if kind.is_llama else {**_ASKED, **asked, **limited, **own}

    @property
    def finishes(self) -> tuple[str, ...]:
        """The finish reason that a chat completion would have."""
        return tuple(said(reply.finish, self._completion.habits) for reply in self.replies)

    @property
    def is_stored(self) -> bool:
        """Whether the server keeps the response."""
        return self._kind.previous == "found" and self._body.get("store") is not False

    def conversation(self, stored: Mapping[str, Sequence[Body]]) -> list[Body]:
        """Return the items from the first input on, those of earlier responses too, up to the output."""
        earlier = stored.get(self._body.get("previous_response_id") or "", ())
        return [*earlier, *input_items(self._body), *self._ended()["output"]]

    def whole(self, fault: Kind | None = None) -> dict[str, Any]:
        """Return the whole response, with what a fault makes of it."""
        choice = self._completion.choice(0)
        message = choice["message"]
        if reasoning := message.get(self._reasoning_field):
            item = self._open(self._kind.thoughts)
            item.add(reasoning)
            item.fields.update({"status": None} if self._kind.is_vllm else {})
        if message["content"]:
            self._open("message").add(message["content"], cast("Body", choice["logprobs"] or {}).get("content", ()))
        for call in message.get("tool_calls", ()):
            self._open("function_call", call).add(call["function"]["arguments"])
        return self._spoilt(fault) or self._ended()

    def events(self, chunk_tokens: int) -> Iterator[StreamEvent]:
        """Return the events of the stream, except the last one."""
        begun = self._response("in_progress", [])
        if self._kind.is_llama:
            begun = {name: begun[name] for name in ("id", "object", "status")}
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        waiting = 0
        for piece in self._completion.pieces(0, chunk_tokens):
            waiting += len(piece.tokens)
            entries = (piece.logprobs or {}).get("content", [])
            told = list(self._told(piece.fields["delta"], entries))
            yield from told[:-1]
            if told:
                yield told[-1]._replace(tokens=waiting)
                waiting = 0
        open_items = self._items if self._kind.is_llama else self._items[-1:]
        for item in open_items:
            for one in self._closed(item, is_last=item is self._items[-1]):
                yield one._replace(tokens=waiting, is_end=True)
                waiting = 0

    @property
    def end(self) -> bytes:
        """The last event of the stream."""
        return self._final(self._ended())

    def spoilt_stream(self, fault: Kind | None) -> bytes | None:
        """Return all of a stream that has no text because of a fault, or None if there is no such fault."""
        spoilt = self._spoilt(fault) if fault != "choice_error" else None
        if spoilt is None:
            return None
        begun = self._response("in_progress", [])
        first = [self._event(f"response.{name}", response=begun).data for name in ("created", "in_progress")]
        return b"".join(first) + self._final(spoilt)

    def failure(self, fault: Kind | None) -> bytes:
        """Return the event in which a stream ends because of a fault."""
        if fault == "choice_error":
            return self._event("response.failed", response=self._failed([])).data
        return self._event("error", code="server_error", message="The engine died", param=None).data

    def _spoilt(self, fault: Kind | None) -> dict[str, Any] | None:
        """Return what a fault makes of the whole response, or None if it changes nothing."""
        if fault == "empty":
            return self._response("completed" if self._kind.tells_cut is None else "incomplete", [])
        if fault == "choice_error":
            return self._failed(self._ended()["output"])
        if fault in {"no_choices", "null_choices"}:
            return {**self._response("completed", []), "status": None, "output": [] if fault == "no_choices" else None}
        return None

    def _failed(self, output: object) -> dict[str, Any]:
        error = {"code": "server_error", "message": "Died"}
        return {**self._response("failed", []), "output": output, "error": error}

    @property
    def _reasoning_field(self) -> str:
        return self._completion.habits.thinks or ""

    def _response(self, status: str, output: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the response with a status."""
        is_cut = status == "incomplete"
        details = {"reason": "max_output_tokens"} if is_cut else None
        told = {"incomplete_details": details, **({} if self._kind.is_vllm else {"error": None})}
        usage = None if status == "in_progress" else self._usage()
        shown = {} if self._kind.is_llama else {**told, **self._asked}
        return {**self.head, **shown, "status": status, "output": output, "usage": usage}

    def _ended(self) -> dict[str, Any]:
        """Return the response with all its items."""
        status = "incomplete" if self._is_cut and self._kind.tells_cut else "completed"
        last = self._items[-1] if self._items else None
        return self._response(status, [item.shown(self._status(is_last=item is last)) for item in self._items])

    def _status(self, *, is_last: bool) -> str:
        """Return the status of an item that has ended."""
        return "incomplete" if is_last and self._is_cut and self._kind.tells_cut == "items" else "completed"

    def _usage(self) -> dict[str, Any] | None:
        if self._completion.habits.usage == "never":
            return None
        said = self._completion.usage
        cached = cast("Body", said.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        thinking = cast("Body", said.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
        named = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        counted = {named.get(name, name): value for name, value in said.items() if not name.endswith("_details")}
        if self._kind.is_llama:
            return {**counted, "input_tokens_details": {"cached_tokens": cached}}
        read: dict[str, Any] = {"cached_tokens": cached, "cache_write_tokens": 0}
        written: dict[str, Any] = {"reasoning_tokens": thinking}
        if self._kind.is_vllm:
            read.update(input_tokens_per_turn=[], cached_tokens_per_turn=[])
            written.update(tool_output_tokens=0, output_tokens_per_turn=[], tool_output_tokens_per_turn=[])
        return {**counted, "input_tokens_details": read, "output_tokens_details": written}

    def _open(self, kind: _ItemKind, call: Body | None = None) -> _Item:
        """Begin an item."""
        fields: dict[str, Any] = {}
        if kind == "message":
            fields = {"role": "assistant", **({"phase": None} if self._kind.is_vllm else {})}
        elif kind == "reasoning":
            fields = {"summary": [], **self._empty_thoughts}
        elif call is not None:
            fields = {"call_id": call["id"], "name": call["function"]["name"]}
        logprobs: list[dict[str, Any]] | None = None if self._kind.is_vllm else []
        item = _Item(kind, len(self._items), f"{_FORMS[kind].prefix}_{uuid.uuid4().hex}", fields, logprobs)
        self._items.append(item)
        return item

    @property
    def _empty_thoughts(self) -> dict[str, Any]:
        """The fields of a reasoning item that has no content yet."""
        if self._kind.is_vllm:
            return {"content": None, "encrypted_content": None}
        return {"encrypted_content": ""} if self._kind.is_llama else {}

    def _told(self, delta: Body, logprobs: list[dict[str, Any]]) -> Iterator[StreamEvent]:
        """Return the events that tell of a delta of a chat completion."""
        if delta.get(self._reasoning_field):
            yield from self._added(self._kind.thoughts, delta[self._reasoning_field])
        elif delta.get("content"):
            yield from self._added("message", delta["content"], logprobs=logprobs)
        for call in delta.get("tool_calls", ()):
            yield from self._added("function_call", call["function"].get("arguments", ""), call)

    def _added(
        self, kind: _ItemKind, text: str, call: Body | None = None, logprobs: Sequence[dict[str, Any]] = ()
    ) -> Iterator[StreamEvent]:
        """Return the events for more of an item."""
        item = self._items[-1] if self._items else None
        if item is None or item.kind != kind or (call is not None and "id" in call):
            if item is not None and not self._kind.is_llama:
                yield from self._closed(item, is_last=False)
            item = self._open(kind, call)
            yield self._event("response.output_item.added", item, item=item.shown("in_progress"))
            if self._has_parts(item):
                yield self._at("response.content_part.added", item, part=item.part(""))
        if text:
            item.add(text, logprobs)
            has_logprobs = kind == "message" and not self._kind.is_llama
            more = {"logprobs": [_bare(one) for one in logprobs]} if has_logprobs else {}
            yield self._at(f"response.{item.form.events}.delta", item, delta=text, **more)

    def _closed(self, item: _Item, *, is_last: bool) -> Iterator[StreamEvent]:
        """Return the events at the end of an item."""
        if self._kind.is_llama and item.kind == "message" and not self._completion.echo:
            # Its parsers have read the beginning of the answer, which the deltas left out.
            item.texts.insert(0, self._completion.prompts[0].prefill)
        if item.kind == "message" or not self._kind.is_llama:
            more: dict[str, Any] = {"logprobs": []} if item.kind == "message" else {}
            if item.kind == "function_call":
                more = {"name": item.fields["name"]}
            yield self._at(f"response.{item.form.events}.done", item, **{item.form.text: item.text}, **more)
        if self._has_parts(item):
            yield self._at("response.content_part.done", item, part=item.part(item.text))
        yield self._event("response.output_item.done", item, item=item.shown(self._status(is_last=is_last)))

    def _has_parts(self, item: _Item) -> bool:
        """Whether events tell of the content of an item as a part of it."""
        return item.kind == "message" or (item.kind == "reasoning" and not self._kind.is_llama)

    def _at(self, name: str, item: _Item, /, **fields: Any) -> StreamEvent:
        """Return an event about the content of an item."""
        place = {} if self._kind.is_llama else item.form.place
        return self._event(name, item, item_id=item.id, **place, **fields)

    def _event(self, name: str, about: _Item | None = None, /, **fields: Any) -> StreamEvent:
        """Return an event, about one item or about the response."""
        numbers: dict[str, Any] = {}
        if not self._kind.is_llama:
            numbers = {"sequence_number": next(self._numbers)}
            numbers |= {} if about is None else {"output_index": about.index}
        return StreamEvent(b"event: " + name.encode() + b"\n" + event({"type": name, **numbers, **fields}))

    def _final(self, response: Body) -> bytes:
        """Return the last event, with the whole response."""
        tells = self._kind.tells_cut == "items" and response["status"] == "incomplete"
        return self._event("response.incomplete" if tells else "response.completed", response=response).data


def _bare(entry: Body) -> dict[str, Any]:
    """Return a token's logprob as a delta has it."""
    top = [{"token": one["token"], "logprob": one["logprob"]} for one in entry["top_logprobs"]]
    return {"token": entry["token"], "logprob": entry["logprob"], "top_logprobs": top}
