"""What vLLM sends on ``/responses`` behind a cap of 48 tokens, replayed from cassettes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from openai_continue import Report, report_of
from tests.support.responses import respond
from tests.support.ways import settled, streamed_or_not

pytestmark = [pytest.mark.cassette, pytest.mark.vcr]
Vllm = Callable[..., Any]

LONG = "Write a long document about something."


def ask(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "tinylist", "input": prompt, "temperature": 0, **fields}


async def answered(client: Any, body: dict[str, Any], *, streamed: bool) -> tuple[Response, Report]:
    """Ask, close the client, and return the response and its report."""
    try:
        response = await respond(client, body, streamed=streamed)
    finally:
        await settled(client.close())
    report = report_of(response)
    assert report is not None
    return response, report


def sent(vcr: Any) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in vcr.requests]


@streamed_or_not
async def test_response_three_rounds(vllm: Vllm, vcr: Any, streamed: bool) -> None:
    """The caller's total takes three rounds. Each goes on from the text so far, as an item that is in progress."""
    response, report = await answered(vllm(), ask(LONG, max_output_tokens=120), streamed=streamed)

    assert [request["max_output_tokens"] for request in sent(vcr)] == [120, 72, 24]
    assert sent(vcr)[0]["input"] == LONG
    first, second = (request["input"][-1] for request in sent(vcr)[1:])
    assert (first["role"], first["status"]) == ("assistant", "in_progress")
    assert second["content"].startswith(first["content"])
    assert response.output_text.startswith(second["content"])
    assert (response.status, report.stopped_by) == ("incomplete", "max_tokens")
    assert response.to_dict()["usage"]["output_tokens"] == 120


@streamed_or_not
async def test_response_to_the_natural_end(vllm: Vllm, vcr: Any, streamed: bool) -> None:
    """Without a total the answer goes on to its natural end."""
    body = ask("Items from 296 please.", instructions="Be brief.")

    response, report = await answered(vllm(), body, streamed=streamed)

    assert (response.status, report.stopped_by) == ("completed", "stop")
    assert len(vcr) == len(report.rounds) > 1


@streamed_or_not
async def test_response_logprobs(vllm: Vllm, streamed: bool) -> None:
    """The logprobs of all rounds are in the one text, and spell it."""
    body = ask(LONG, include=["message.output_text.logprobs"], max_output_tokens=90)

    response, report = await answered(vllm(), body, streamed=streamed)

    (item,) = response.to_dict()["output"]
    (part,) = item["content"]
    assert len(report.rounds) == 2
    spelled = b"".join(bytes(entry["bytes"]) for entry in part["logprobs"])
    assert part["text"] == spelled.decode(errors="ignore")


@streamed_or_not
async def test_response_json_over_rounds(vllm: Vllm, vcr: Any, streamed: bool) -> None:
    """A JSON answer over several rounds is one JSON document. Only the first round asks for the grammar."""
    body = ask("Give JSON items from 45.", text={"format": {"type": "json_object"}})

    response, _ = await answered(vllm(), body, streamed=streamed)

    assert json.loads(response.output_text)
    assert response.status == "completed"
    assert [True] + [False] * (len(vcr) - 1) == ["format" in request.get("text", {}) for request in sent(vcr)]


@streamed_or_not
async def test_response_context_overflow(vllm: Vllm, streamed: bool) -> None:
    """A request for more than the context fails as without the library."""
    with pytest.raises(openai.BadRequestError, match="max_output_tokens"):
        await answered(vllm(), ask(LONG, max_output_tokens=1_000_000), streamed=streamed)


@streamed_or_not
async def test_response_busy(vllm: Vllm, streamed: bool) -> None:
    """The SDK retries the second round after a 429."""
    response, report = await answered(vllm(busy=2), ask(LONG, max_output_tokens=60), streamed=streamed)

    assert (response.status, report.stopped_by) == ("incomplete", "max_tokens")
    assert response.to_dict()["usage"]["output_tokens"] == 60
