"""How the sweeps read what comes of ``client.responses``: thoughts, text, calls, the end in the words of chat, the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_DELTAS = {
    "response.reasoning_text.delta": "reasoning",
    "response.output_text.delta": "message",
    "response.function_call_arguments.delta": "function_call",
}
_ENDS = ("response.completed", "response.incomplete", "response.failed")


class Read(NamedTuple):
    """One answer, whole or streamed."""

    thoughts: str
    text: str
    #: The name and the arguments of each call.
    calls: tuple[tuple[str, str], ...]
    finish_reason: str | None
    #: What the library reports: ``continuation`` of the merged answer.
    report: dict[str, Any]


def whole(response: Any) -> Read:
    """Read a response."""
    known = response.to_dict()
    texts = dict.fromkeys(_DELTAS.values(), "")
    for item in known["output"]:
        texts[item["type"]] += "".join(part["text"] for part in item.get("content") or ())
    items = [item for item in known["output"] if item["type"] == "function_call"]
    calls = tuple((item["name"], item["arguments"]) for item in items)
    if len({item["call_id"] for item in items}) != len(items):
        msg = f"ids of calls are missing or twice: {items}"
        raise RuntimeError(msg)
    # vLLM says so in the body only, whatever the last event is called.
    end = {"completed": "tool_calls" if calls else "stop", "incomplete": "length"}.get(known["status"])
    return Read(texts["reasoning"], texts["message"], calls, end, known.get("continuation") or {})


def joined(events: Iterable[Any], enough: int | None = None) -> Read:
    """Read a stream, until it has more than ``enough`` characters. Its last event must have the text of its deltas."""
    texts = dict.fromkeys(_DELTAS.values(), "")
    for event in events:
        if event.type in _DELTAS:
            texts[_DELTAS[event.type]] += event.delta
        elif event.type in _ENDS:
            last = whole(event.response)
            if [last.thoughts, last.text, "".join(arguments for _, arguments in last.calls)] != list(texts.values()):
                msg = f"the last event has {last}, the deltas have {texts}"
                raise RuntimeError(msg)
            return last
        if enough is not None and sum(map(len, texts.values())) > enough:
            break
    return Read(texts["reasoning"], texts["message"], (), None, {})
