"""Responses of servers that say too little, or something between their events. test_chaos.py has every fault."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.responses import check_events, response_outcome
from tests.support.ways import OUR_SYNC, Way, settled, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

BODY: dict[str, Any] = {"model": "text-model", "input": "Write 150 tokens."}
VLLM = Continuation(provider="vllm")


@two_ways
@pytest.mark.parametrize("kind", ["no_choices", "null_choices", "not_json", "empty"])
async def test_a_later_round_that_says_nothing(kind: Any, way: Way, streamed: bool) -> None:
    """A later round without an answer is no end of the text: it stays cut, and the report says why."""
    with Emulator(cap=40, habits=Habits(responses="vllm"), faults=[Fault(kind, 2, 100)]) as emulator:
        client = way.client(emulator.base_url, continuation=VLLM, max_retries=0)
        seen = await response_outcome(client, streamed=streamed, **BODY)
        await settled(client.close())
        whole = emulator.uncapped(BODY)

    assert seen.error is None
    assert (seen.finish_reason, seen.stopped_by) == ("length", "empty" if kind == "empty" else "error")
    assert whole.startswith(seen.text)
    assert len(seen.text) > 100


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("comments", [False, True], ids=["null", "comments"])
@pytest.mark.spread(4)
async def test_what_keeps_the_connection_open(comments: bool, number: int) -> None:
    """Comments, and data that is no event, change nothing: each event comes once, with its number."""
    faults = [] if comments else [Fault("data_null", number)]
    # Comments come at every 16th event, so also among the events at the end of an item.
    habits = Habits(responses="vllm", comments=comments)
    with Emulator(cap=40, habits=habits, faults=faults, chunk_tokens=4) as emulator:
        client = OUR_SYNC.client(emulator.base_url, continuation=VLLM, max_retries=0)
        seen = await response_outcome(client, streamed=True, **BODY)
        client.close()
        whole = emulator.uncapped(BODY)

    assert (seen.error, seen.text, seen.finish_reason) == (None, whole, "stop")
    check_events(seen.raw)
