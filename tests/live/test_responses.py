"""Responses through clients: every door of ``client.responses`` gives the whole answer, or stays as it was."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import ParsedResponse, Response
from pydantic import BaseModel

from openai_continue import Continuation, disabled, report_of
from openai_continue._sdk import options
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.responses import TERMINALS, final, plain, respond
from tests.support.ways import Way, entered, listed, settled, streamed_or_not, sync_and_async, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

PROMPT = "Write 150 tokens."
BODY: dict[str, Any] = {"model": "text-model", "input": PROMPT}
CAP = 40
VLLM = Habits(responses="vllm")
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
KINDS: dict[str, tuple[Habits, dict[str, Any]]] = {
    "vllm": (VLLM, {}),
    "deepinfra": (Habits(responses="deepinfra"), {}),
    "logprobs": (VLLM, LOGPROBS),
    "instructions": (VLLM, {"instructions": "Be long."}),
    "items": (VLLM, {"input": [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]}),
    "own beginning": (
        VLLM,
        {
            "input": [
                {"role": "user", "content": PROMPT},
                {"role": "assistant", "status": "incomplete", "content": [{"type": "output_text", "text": "# "}]},
            ]
        },
    ),
    "limit": (VLLM, {"max_output_tokens": 90}),
    "limit at deepinfra": (Habits(responses="deepinfra"), {"max_output_tokens": 90}),
}


def settings_for(kind: str = "vllm", **settings: Any) -> Continuation:
    return Continuation(**{"provider": "deepinfra" if "deepinfra" in kind else "vllm", **settings})


async def asked(emulator: Emulator, way: Way, body: dict[str, Any], *, streamed: bool, **settings: Any) -> Response:
    """Ask with a new client."""
    client = way.client(emulator.base_url, continuation=settings_for(**settings), max_retries=0)
    try:
        return await respond(client, body, streamed=streamed)
    finally:
        await settled(client.close())


async def uncapped(habits: Habits, way: Way, body: dict[str, Any], *, streamed: bool) -> Response:
    """Return the response of a server without a cap, by the SDK alone."""
    with Emulator(habits=habits) as emulator:
        client = way.plain_client(emulator.base_url)
        try:
            return await respond(client, body, streamed=streamed)
        finally:
            await settled(client.close())


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("kind", KINDS)
async def test_kinds(kind: str, streamed: bool, way: Way) -> None:
    """A continued response is that of a server without a cap, field by field."""
    habits, more = KINDS[kind]
    body = {**BODY, **more}
    with Emulator(cap=CAP, habits=habits) as emulator:
        response = await asked(emulator, way, body, streamed=streamed, kind=kind)
        requests = emulator.requests
        assert emulator.derailed == 0
    expected = await uncapped(habits, way, body, streamed=streamed)
    assert plain(response) == plain(expected)
    assert len(requests) >= 3
    usage, rounds = response.usage, [(one.prompt_tokens, one.completion_tokens) for one in requests]
    assert usage is not None
    counted = response.to_dict()["usage"]
    assert [counted["input_tokens"], counted["output_tokens"]] == [sum(each) for each in zip(*rounds, strict=True)]
    report = report_of(response)
    assert report is not None
    assert report.stopped_by == ("max_tokens" if "max_output_tokens" in more else "stop")
