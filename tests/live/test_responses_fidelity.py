"""Responses that are cut anywhere: what the SDK's ``stream()`` makes of the merged events is the uncapped response."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openai_continue import Continuation, report_of
from tests.support.response_server import ResponseServer, Written
from tests.support.responses import check_events, plain
from tests.support.ways import OUR_SYNC, http

Json = dict[str, Any]
# A model whose thoughts go on as text.
BODY: Json = {"model": "deepseek-r1", "input": "Go on."}
WORDS = st.sampled_from(["one", " two", " three", ".", "\n", "\n\n", "  ", " *", "é", " 日本", "👩", "1", "{", " x"])
TOKENS = st.lists(WORDS, max_size=12)


@st.composite
def servers(draw: st.DrawFn, *, thinks: bool = True) -> ResponseServer:
    """Draw an answer, and where its thoughts and its text are cut."""
    thoughts = ["Hm", *draw(TOKENS), " so."] if thinks and draw(st.booleans()) else []
    text = ["It", *draw(TOKENS), " is."]
    calls = [['{"a":', " 1", "}"]] * draw(st.integers(0, 2))
    cuts = draw(st.lists(st.integers(1, 9), max_size=5))
    # No server goes on from a call.
    size, kept = len(thoughts) + len(text), list[int]()
    while cuts and sum(kept) + cuts[0] < size:
        kept.append(cuts.pop(0))
    return ResponseServer(Written(thoughts, text, calls), kept, draw(st.integers(1, 3)), draw(st.booleans()))


def asked(server: ResponseServer, *, continues: bool) -> tuple[list[Json], Any]:
    """Return the events of ``stream()``, and its final response."""
    settings = Continuation(provider="vllm", trims=False) if continues else False
    client = OUR_SYNC.client("http://server/v1", transport=http.MockTransport(server), continuation=settings)
    with client, client.responses.stream(**BODY) as stream:
        events = [event.to_dict(warnings=False) for event in stream]
        return events, stream.get_final_response()


def shape(events: list[Json]) -> list[Json]:
    """Return the events without deltas, ids, numbers and counts."""
    apart = ("sequence_number", "item_id", "response", "snapshot")
    told = [event for event in events if not event["type"].endswith(".delta")]
    shown: list[Json] = []
    for event in told:
        known = {name: value for name, value in event.items() if name not in apart}
        if "item" in known:
            known["item"] = {name: value for name, value in known["item"].items() if name not in ("id", "call_id")}
        shown.append(known)
    return shown


def response_of(response: Any) -> Json:
    """Return a response without what names it and its calls."""
    known = plain(response)
    output = [{name: value for name, value in item.items() if name != "call_id"} for item in known["output"]]
    return {**known, "output": output}


@given(servers())
def test_merged_events(server: ResponseServer) -> None:
    """Every event, item and field is that of a server without a cap; usage is the sum of all rounds."""
    whole = ResponseServer(server.answer, (), server.step, server.logprobs)
    expected_events, expected = asked(whole, continues=False)
    events, response = asked(server, continues=True)
    check_events(events)
    assert shape(events) == shape(expected_events)
    assert response_of(response) == response_of(expected)
    assert (response.status, response.output_text) == ("completed", "".join(server.answer.text))
    assert (report_of(events[-1]) is None) == (not server.cuts)
