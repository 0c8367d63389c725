"""
The Responses endpoint (``client.responses``): its requests in the shape of chat, and whether one can be continued.

An answer goes on as a chat does: the same request, with one growing message of the assistant at the end of its input,
or by a raw prompt. What this endpoint cannot have:

=======================================  ==============================================================================
``background``                           Left alone: the answer is fetched later, by other methods of the SDK.
``conversation``, ``prompt``             Left alone: the server holds a part of the input.
``previous_response_id`` with ``store``  Left alone: the next link of the chain would go on from the first round only.
tools that are no functions              Left alone: the results of those that run on the server cannot go back, and a
                                         chat has no place for the calls of others.
several messages, refusals, summaries    End in "unsupported": a chat has no place for them.
tool calls that were cut                 End in "tool_call", but for raw prompts and ``continue_tool_calls=True``: an
                                         item of the input that is a call does not go on.
thoughts that were cut                   End in "reasoning", but for raw prompts, ``on_reasoning_cut="answer"``, and
                                         models whose template takes an open think tag: servers close the block.
``connect()``, ``retrieve()``            Other paths of the SDK, which do not ask for an answer.
=======================================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..._tables.providers import Provider
from ..chunks import chunk_choices
from ..json import Json, as_object
from .response_chat import chat_of
from .response_items import THOUGHTS, as_completion, as_response, body_in, holding, id_of, listed
from .response_reader import Came, EventReader
from .response_writer import EventWriter

# The status of a message that is not finished, as servers take it. The second one is OpenAI's for an answer that was
# cut.
_OPEN = ("in_progress", "incomplete")


class ResponseShape:
    """A call of the Responses endpoint, with the state of its streams."""

    prompts = ()
    wanted = 1
    counts_chunks = True

    def __init__(self) -> None:
        self._reader = EventReader()
        self._writer = EventWriter(self._reader)
        # The first round's whole response.
        self._body: Json = {}
        # The messages that were made of the caller's input.
        self._messages: list[Any] = []

    def row(self, provider: Provider) -> Provider:
        """Return a provider's row as it is here."""
        return provider.for_responses

    def field(self, _: str) -> str:
        """Return "delta", the field of an event with a piece of a text."""
        return "delta"

    # Requests.

    def taken_body(self, body: Mapping[str, Any]) -> Json:
        """Return the body of a request, with what a chat reads also under the names of chat."""
        given = body.get("input")
        messages = list(cast("list[Any]", given)) if isinstance(given, list) else [{"role": "user", "content": given}]
        last = as_object(messages[-1]) if messages else None
        if last is not None and last.get("role") == "assistant" and last.get("status") in _OPEN:
            # The caller's own beginning of the answer. Servers take it in several forms.
            messages[-1] = {**last, "type": "message", "status": "in_progress"}
        self._messages = messages
        wanted = as_object((as_object(body.get("text")) or {}).get("format"))
        return {**body, "messages": messages, **({} if wanted is None else {"response_format": wanted})}

    def given_body(self, body: Json) -> Json:
        """Return the body of a request in the shape of this endpoint."""
        own = {name: value for name, value in body.items() if name not in ("messages", "response_format")}
        text = as_object(own.get("text"))
        if text is not None and "format" in text and "response_format" not in body:
            own["text"] = {name: value for name, value in text.items() if name != "format"}
        if body["messages"] is self._messages:
            return own
        own["input"] = [*body["messages"][:-1], *self._items(body["messages"][-1])]
        if own.get("truncation") == "auto":
            # The server would leave out the beginning of the input without a word.
            own["truncation"] = "disabled"
        return own

    def _items(self, message: Json) -> list[Json]:
        """Return the message of a later round as items: its thoughts are one of their own."""
        thoughts = message.get(THOUGHTS)
        if not thoughts:
            return [message]
        item: Json = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": thoughts}]}
        known = [*listed(self._body.get("output")), *self._reader.items.values()]
        ids = [id_of(each) for each in known if each.get("type") == "reasoning"]
        item.update({"id": ids[0]} if any(ids) else {})
        return [item, {name: value for name, value in message.items() if name != THOUGHTS}]

    def raw_body(self, body: Json) -> Json | None:
        """Return the body of the chat that this request is, or None if it is more than one."""
        return chat_of(body)

    # Answers.

    def reads(self, chunk: Json) -> bool:
        """Whether this is an event of a response, or a chunk that answers a raw prompt."""
        return isinstance(chunk.get("type"), str) or chunk_choices(chunk) is not None

    def taken(self, chunk: Json) -> Json:
        """Return an event as a chunk of a chat."""
        return chunk if "choices" in chunk else self._reader.take(chunk)

    def taken_whole(self, answer: object) -> object:
        """Return a whole response in the shape of chat; what is none as it is."""
        response = as_object(answer)
        if response is None or not isinstance(response.get("output"), list):
            return answer
        completion = as_completion(response)
        if not self._body:
            self._body = response
            completion.update(holding(response))
        return Came(completion, [response])

    def given(self, chunks: list[Json]) -> list[Json]:
        """Return chunks as events."""
        out: list[Json] = []
        for chunk in chunks:
            if isinstance(chunk, Came):
                out += map(self._writer.pass_on, chunk.events)
            else:
                out += self._writer.write(chunk)
        return out

    def given_text(self, text: str, chunks: int) -> None:
        """Note text that went out within this number of events."""
        self._writer.add_text(text, chunks)

    def given_whole(self, completion: Json) -> Json:
        """Return a completion as a whole response."""
        if isinstance(completion, Came):
            return completion.events[0]
        return as_response(completion, self._body or self._reader.body or body_in(completion))

    def left(self) -> list[Json]:
        """Return the events that wait for the next one: there is none."""
        return [self._writer.pass_on(event) for event in self._reader.left()]


def is_response(body: Mapping[str, Any]) -> bool:
    """Whether a body asks for a response, and for no completion."""
    return "input" in body and "messages" not in body


def left_alone(body: Mapping[str, Any]) -> str | None:
    """Return what keeps a response from being continued, in words, or None if nothing does."""
    tools = listed(body.get("tools"))
    reasons = {
        "background": bool(body.get("background")),
        "a conversation": bool(body.get("conversation")),
        "a stored prompt": bool(body.get("prompt")),
        "an input that is neither text nor items": not (
            isinstance(body.get("input"), str) or (isinstance(body.get("input"), list) and bool(body["input"]))
        ),
        "previous_response_id and store": bool(body.get("previous_response_id") and body.get("store")),
        "tools that are no functions": any(tool.get("type") != "function" for tool in tools),
    }
    return next((what for what, is_so in reasons.items() if is_so), None)


def fault_in(event: Json) -> Json | None:
    """Return the error that an event of a later round stands for, or None if it is no error."""
    if event.get("type") == "error" and "code" in event:
        return {name: value for name, value in event.items() if name not in ("type", "sequence_number")}
    if event.get("type") == "response.failed":
        return as_object((as_object(event.get("response")) or {}).get("error")) or {}
    return None
