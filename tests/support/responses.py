"""Calls of the Responses endpoint through clients, and what every stream of events must keep to."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from openai.types.responses import Response

from tests.support.answers import Answer
from tests.support.ways import listed, settled

Json = dict[str, Any]
TERMINALS = ("response.completed", "response.incomplete", "response.failed")


async def respond(client: Any, body: Json, *, streamed: bool) -> Response:
    """Ask once; return the response, of a stream its last event's."""
    answer = await settled(client.responses.create(**body, **({"stream": True} if streamed else {})))
    if not streamed:
        assert type(answer) is Response
        return answer
    return final([event.to_dict(warnings=False) for event in await listed(answer)])


async def outcome(client: Any, *, streamed: bool, **body: Any) -> Answer:
    """Ask through a client, whatever comes of it: an error is noted with the text that came before it."""
    seen = Answer(raw=[])
    try:
        answer = await settled(client.responses.create(**body, stream=streamed))
        if not streamed:
            _end(seen, answer)
            seen.text = "".join(_texts(answer))
            return seen
        async for event in as_async(answer):
            seen.raw.append(event)
            if event.type == "response.output_text.delta":
                seen.text += event.delta
            elif event.type == "error":
                seen.finish_reason = "error"
            elif event.type in TERMINALS:
                _end(seen, event.response)
    except Exception as error:
        seen.error = error
    return seen


def _end(seen: Answer, response: Any) -> None:
    seen.finish_reason = {"completed": "stop", "incomplete": "length", "failed": "error"}.get(response.status)
    seen.report = getattr(response, "continuation", None)


def _texts(response: Any) -> Iterator[str]:
    for item in response.output or ():
        yield from (part.text for part in item.content if item.type == "message")


async def as_async(items: Any) -> AsyncIterator[Any]:
    """Give the items of a sync or async stream."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def final(events: Sequence[Json]) -> Response:
    """Return the response of the last event of a stream that keeps to all rules."""
    check_events(events)
    return Response.construct(**events[-1]["response"])


def check_events(events: Sequence[Json]) -> None:
    """Check that events are one stream: one response, items that agree, nothing twice, the end last."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events if event["type"] in TERMINALS] == [events[-1]["type"]]
    assert events[0]["type"] == "response.created"
    ids = {event["response"]["id"] for event in events if "response" in event}
    assert len(ids) == 1
    response = events[-1]["response"]
    items = {event["output_index"]: event["item"]["id"] for event in events if event["type"].endswith("item.added")}
    assert list(items) == list(range(len(items)))
    assert [item["id"] for item in response["output"]] == list(items.values())
    texts: Counter[Any] = Counter()
    written: dict[Any, str] = {}
    for event in events:
        place = (event.get("output_index"), event.get("content_index"))
        if "item_id" in event:
            assert event["item_id"] == items[event["output_index"]]
        if event["type"].endswith("item.done"):
            assert event["item"]["id"] == items[event["output_index"]]
            assert unparsed(event["item"]) == unparsed(response["output"][event["output_index"]])
        if event["type"].endswith(".delta"):
            written[place] = written.get(place, "") + event["delta"]
        if event["type"].endswith(".done"):
            texts[event["type"], place] += 1
            said = event.get("text", event.get("arguments", (event.get("part") or {}).get("text")))
            assert said in {None, written.get(place, "")}
    assert set(texts.values()) <= {1}
    assert sum(kind.endswith("item.done") for kind, _ in texts) == len(items)


def unparsed(item: Json) -> Json:
    """Return an item without what the SDK has read of it."""
    parts = [{name: value for name, value in part.items() if name != "parsed"} for part in item.get("content") or ()]
    return {**{name: value for name, value in item.items() if name != "parsed_arguments"}, "content": parts}


def plain(response: Any) -> Json:
    """Return a response as JSON, without what names it, its counts and our report."""
    known: Json = response if isinstance(response, dict) else response.to_dict(warnings=False)
    apart = ("id", "created_at", "usage", "continuation", "max_output_tokens", "completed_at")
    output = [{name: value for name, value in item.items() if name != "id"} for item in known["output"]]
    return {**{name: value for name, value in known.items() if name not in apart}, "output": output}
