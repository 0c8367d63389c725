"""A server of responses without a network: it writes a known answer as vLLM does, and cuts it where it is told to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.ways import http

Json = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """An answer, in tokens."""

    thoughts: Sequence[str] = ()
    text: Sequence[str] = ()
    #: The arguments of each call.
    calls: Sequence[Sequence[str]] = ()


@dataclass
class ResponseServer:
    """Goes on from the message at the end of the input. ``cuts``: the tokens of each round; the last one has the rest."""

    answer: Written
    cuts: Sequence[int] = ()
    #: Tokens of an event.
    step: int = 1
    logprobs: bool = False
    bodies: list[Json] = field(default_factory=list[Json])

    def __call__(self, request: Any) -> Any:
        """Answer an HTTP request."""
        body: Json = json.loads(request.content)
        self.bodies.append(body)
        events = list(self.events(body))
        if not body.get("stream"):
            return http.Response(200, json=events[-1]["response"])
        written = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
        headers = {"content-type": "text/event-stream"}
        return http.Response(200, headers=headers, content="".join(written).encode())

    def _rest(self, body: Json) -> Written:
        """Return what is still to be written."""
        items = body["input"] if isinstance(body["input"], list) else []
        last = items[-1] if items else {}
        if last.get("status") != "in_progress":
            return self.answer
        sent = last["content"]
        if sent.startswith("<think>\n"):
            return Written(
                _after(self.answer.thoughts, sent.removeprefix("<think>\n")), self.answer.text, self.answer.calls
            )
        return Written((), _after(self.answer.text, sent), self.answer.calls)

    def events(self, body: Json) -> Iterator[Json]:
        """Give the events of a round."""
        round_ = max(len(self.bodies), 1)
        most = self.cuts[round_ - 1] if round_ <= len(self.cuts) else 10**9
        numbers = itertools.count()
        rest, used = self._rest(body), 0
        head = {"id": f"resp_{round_}", "object": "response", "created_at": round_, "model": "m", "tools": []}
        begun = {**head, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        for kind in ("created", "in_progress"):
            yield {"type": f"response.{kind}", "sequence_number": next(numbers), "response": begun}
        output: list[Json] = []
        parts = [
            ("reasoning", rest.thoughts),
            ("message", rest.text),
            *(("function_call", call) for call in rest.calls),
        ]
        for kind, tokens in parts:
            taken = list(tokens[: most - used])
            used += len(taken)
            if taken:
                item = _Item(kind, len(output), f"{kind}_{round_}_{len(output)}", self.logprobs and kind == "message")
                for event in item.events(taken, self.step):
                    yield {**event, "output_index": len(output), "sequence_number": next(numbers)}
                output.append(item.shown("".join(taken), "completed"))
        is_cut = used < sum(len(tokens) for _, tokens in parts)
        details = {"reason": "max_output_tokens"} if is_cut else None
        prompt = 10 + 3 * round_
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 1},
            "output_tokens": used,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + used,
        }
        status = "incomplete" if is_cut else "completed"
        ended = {**head, "status": status, "output": output, "usage": usage, "incomplete_details": details}
        yield {"type": "response.completed", "sequence_number": next(numbers), "response": ended}


@dataclass
class _Item:
    kind: str
    index: int
    id: str
    logprobs: bool
    entries: list[Json] = field(default_factory=list[Json])

    def shown(self, text: str, status: str) -> Json:
        if self.kind == "function_call":
            named = {"call_id": f"call_{self.id}", "name": "look", "namespace": None}
            return {"id": self.id, "type": self.kind, **named, "arguments": text, "status": status}
        content = [] if status == "in_progress" else [self.part(text)]
        if self.kind == "reasoning":
            return {"id": self.id, "type": self.kind, "summary": [], "content": content or None, "status": status}
        return {"id": self.id, "type": self.kind, "role": "assistant", "content": content, "status": status}

    def part(self, text: str) -> Json:
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": self.entries or (None if text else []),
        }

    def events(self, tokens: Sequence[str], step: int) -> Iterator[Json]:
        yield {"type": "response.output_item.added", "item": self.shown("", "in_progress")}
        is_call = self.kind == "function_call"
        place = {"item_id": self.id} if is_call else {"item_id": self.id, "content_index": 0}
        name = {"message": "output_text", "reasoning": "reasoning_text"}.get(self.kind, "function_call_arguments")
        if not is_call:
            yield {"type": "response.content_part.added", **place, "part": self.part("")}
        for start in range(0, len(tokens), step):
            taken = tokens[start : start + step]
            entries = [_entry(token) for token in taken] if self.logprobs else []
            self.entries += [{**entry, "bytes": list(entry["token"].encode())} for entry in entries]
            more = {"logprobs": entries} if self.kind == "message" else {}
            yield {"type": f"response.{name}.delta", **place, "delta": "".join(taken), **more}
        text = "".join(tokens)
        if is_call:
            yield {"type": f"response.{name}.done", **place, "arguments": text, "name": "look"}
        else:
            more = {"logprobs": []} if self.kind == "message" else {}
            yield {"type": f"response.{name}.done", **place, "text": text, **more}
            yield {"type": "response.content_part.done", **place, "part": self.part(text)}
        yield {"type": "response.output_item.done", "item": self.shown(text, "completed")}


def _entry(token: str) -> Json:
    return {"token": token, "logprob": -0.5, "top_logprobs": []}


def _after(tokens: Sequence[str], sent: str) -> list[str]:
    """Return what follows a text: a token that was sent in part is written to its end."""
    whole = "".join(tokens)
    assert whole.startswith(sent)
    rest: list[str] = []
    place = 0
    for token in tokens:
        place += len(token)
        if place > len(sent):
            rest.append(token[max(len(token) - (place - len(sent)), 0) :])
    return rest
