"""One form for an answer, whichever way it came: merged by ``Rounds``, from a client, or an error in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.ways import settled

Json = dict[str, Any]


@dataclass
class Answer:
    """One choice of an answer, as a caller gets it."""

    text: str = ""
    thoughts: str = ""
    finish_reason: str | None = None
    usage: Json | None = None
    #: The ``continuation`` of the completion or of the last chunk.
    report: Json | None = None
    #: The bytes that the logprobs spell; None without logprobs.
    spelled: bytes | None = None
    tool_calls: list[Json] = field(default_factory=list[Json])
    #: What was raised instead of, or after, the answer.
    error: Any = None
    #: The completion, or the list of chunks: dicts from ``Rounds``, the SDK's objects from a client.
    raw: Any = None

    @property
    def stopped_by(self) -> str | None:
        return None if self.report is None else self.report["stopped_by"]

    @property
    def rounds(self) -> list[Json]:
        """The rounds in the report; none without a report."""
        return [] if self.report is None else self.report["rounds"]

    @property
    def ending(self) -> tuple[str, str | None, str | None]:
        """Text, finish reason, and why it ended there."""
        return self.text, self.finish_reason, self.stopped_by

    @property
    def merged(self) -> tuple[Any, ...]:
        """Everything that must be the same whichever way an answer comes."""
        return self.text, self.thoughts, self.finish_reason, self.usage, self.stopped_by, self.spelled, self.tool_calls

    @property
    def kind(self) -> tuple[str, str | None]:
        """The error in a form that can be compared."""
        return type(self.error).__name__, None if self.error is None else str(self.error)

    @classmethod
    def of_completion(cls, completion: Json, index: int = 0) -> Answer:
        """Read one choice of a completion."""
        (item,) = [item for item in completion["choices"] if item["index"] == index]
        message = _holder(item, "message")
        return cls(
            message.get("content") or "",
            _thoughts(message),
            item["finish_reason"],
            completion.get("usage"),
            completion.get("continuation"),
            _spelled([item]),
            message.get("tool_calls") or [],
            raw=completion,
        )

    @classmethod
    def of_chunks(cls, chunks: Sequence[Json], index: int = 0) -> Answer:
        """Read one choice of a stream, and check that it ends once, with nothing after its end."""
        items = [item for chunk in chunks for item in chunk.get("choices") or () if item["index"] == index]
        deltas = [_holder(item, "delta") for item in items]
        ends = [item["finish_reason"] for item in items if item.get("finish_reason")]
        assert len(ends) <= 1, ends
        assert not ends or items[-1]["finish_reason"]
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
            raw=list(chunks),
        )


def _holder(item: Json, name: str) -> Json:
    """Return the message or delta of a choice; that of a text completion is its text."""
    return {"content": item["text"]} if "text" in item else item[name]


def _thoughts(message: Mapping[str, Any]) -> str:
    return message.get("reasoning_content") or message.get("reasoning") or ""


def _spelled(items: Iterable[Json]) -> bytes | None:
    several = [item["logprobs"] for item in items if item.get("logprobs")]
    if any("tokens" in one for one in several):
        return b"".join(token.encode() for one in several for token in one["tokens"])
    tokens = [token for one in several for token in one["content"]]
    return b"".join(bytes(token["bytes"] or b"") for token in tokens) if tokens else None


def _add_call(calls: list[Json], delta: Json) -> None:
    if delta["index"] == len(calls):
        calls.append({name: value for name, value in delta.items() if name != "index"})
        if "function" in delta:
            calls[-1]["function"] = {**delta["function"]}
        return
    assert not {"id", "name"} & {*delta, *delta["function"]}
    calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]


async def live(client: Any, body: Mapping[str, Any], *, streamed: bool, index: int = 0) -> Answer:
    """Ask through a sync or async client; errors are raised, and a stream must be well formed."""
    chunks: list[Json] = []
    completion = await asked(
        client, body, lambda chunk: chunks.append(chunk.model_dump(exclude_unset=True)), streamed=streamed
    )
    if not streamed:
        return Answer.of_completion(completion.model_dump(exclude_unset=True), index)
    return Answer.of_chunks(chunks, index)


async def outcome(client: Any, *, streamed: bool, **body: Any) -> Answer:
    """
    Ask through a client, whatever comes of it: an error is noted with the text that came before it.

    Only text, finish reason and report are read, for a bad server may say anything elsewhere.
    """
    seen = Answer(raw=[])

    def take(chunk: Any) -> None:
        seen.raw.append(chunk)
        seen.text += joined([chunk])
        seen.report = getattr(chunk, "continuation", None)
        for choice in chunk.choices:
            seen.finish_reason = choice.finish_reason or seen.finish_reason

    try:
        completion = await asked(client, body, take, streamed=streamed)
        if not streamed:
            seen.raw = completion
            seen.report = getattr(completion, "continuation", None)
            (item, *_) = completion.choices
            seen.text, seen.finish_reason = _text_of(item), item.finish_reason
    except Exception as error:
        seen.error = error
    return seen


def endpoint(client: Any, body: Mapping[str, Any]) -> Any:
    """Return the resource of a client that a body belongs to."""
    if "input" in body:
        return client.responses
    return client.completions if "prompt" in body else client.chat.completions


async def asked(client: Any, body: Mapping[str, Any], take: Callable[[Any], None], *, streamed: bool) -> Any:
    """Return the completion or response; or pass on the chunks or events of a stream as they come."""
    made = await settled(endpoint(client, body).create(**body, stream=streamed))
    if not streamed:
        return made
    if hasattr(made, "__aiter__"):
        async for chunk in made:
            take(chunk)
    else:
        for chunk in made:
            take(chunk)
    return None


def joined(chunks: Iterable[Any], index: int = 0) -> str:
    """Return the text that the chunks of a client's stream hold for one choice."""
    texts = [_text_of(choice) for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(text for text in texts if isinstance(text, str))


def _text_of(choice: Any) -> Any:
    """Return what a choice of the SDK's has for its text."""
    holder = getattr(choice, "message", None) or getattr(choice, "delta", None)
    return choice.text if holder is None else holder.content
