"""Answers and prompts that fill the context, through clients."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.testing import Emulator, Habits
from tests.support.answers import Answer, outcome
from tests.support.bodies import ask
from tests.support.overflows import LESS_THAN_NONE, ROOM_LEFT
from tests.support.ways import DEEPINFRA, SYNC, Way, http, settled, sync_and_async, two_ways

OVERFLOWS = ["400", "frame"]


async def asked(way: Way, emulator: Emulator, body: dict[str, Any], *, streamed: bool, **settings: Any) -> Answer:
    """Ask by a client that is closed afterwards."""
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **settings), max_retries=0)
    answer = await outcome(client, streamed=streamed, **body)
    await settled(client.close())
    return answer


@two_ways
@pytest.mark.parametrize("limit", [{}, {"max_tokens": 2000}])
@pytest.mark.parametrize("habit", [*OVERFLOWS, "clamp"])
async def test_answer_that_fills_the_context(habit: Any, limit: dict[str, int], way: Way, streamed: bool) -> None:
    """qwen-code #7896: an answer goes on to the last token of the context, whatever the caller's limit."""
    body = ask("Fill.", **limit)
    with Emulator(cap=100, context=330, tokens=1000, habits=Habits(overflow=habit)) as emulator:
        answer = await asked(way, emulator, body, streamed=streamed, round_tokens=100)

    assert emulator.uncapped(body).startswith(answer.text)
    assert (*answer.ending[1:], answer.error) == ("length", "context", None)
    assert (answer.report or {})["error"] is None
    full = [request for request in emulator.requests if request.finish_reason]
    assert full[-1].prompt_tokens + full[-1].completion_tokens == 330
    assert len(emulator.requests) <= 8


@two_ways
@pytest.mark.parametrize("habit", OVERFLOWS)
@pytest.mark.parametrize(
    ("limit", "settings"),
    [({"max_tokens": 400}, {"round_tokens": 90}), ({}, {"max_tokens": 90}), ({}, {"round_tokens": 90})],
    ids=["a total, cut down", "max_tokens", "round_tokens"],
)
async def test_number_of_ours_that_does_not_fit(
    limit: dict[str, int], settings: dict[str, int], habit: Any, way: Way, streamed: bool
) -> None:
    """A number of ours that does not fit is left out of the second request, which fills the context; nothing is raised."""
    body = ask("Total.", **limit)
    with Emulator(cap=100, context=90, tokens=1000, habits=Habits(overflow=habit)) as emulator:
        answer = await asked(way, emulator, body, streamed=streamed, **settings)

    assert emulator.uncapped(body).startswith(answer.text)
    assert (answer.finish_reason, answer.error) == ("length", None)
    assert [request.body.get("max_tokens") for request in emulator.requests[:2]] == [90, None]
    assert emulator.requests[1].prompt_tokens + emulator.requests[1].completion_tokens == 90


@two_ways
async def test_exact_count_is_believed(way: Way, streamed: bool) -> None:
    """A server that counts the prompt is asked for just what is left, once, with retries untouched."""
    seen: list[int] = []

    def answered(request: Any) -> Any:
        seen.append(json.loads(request.content)["max_tokens"])
        if seen[-1] > 300:
            return http.Response(400, json={"error": {"message": ROOM_LEFT, "code": 400}})
        item = {"index": 0, "message" if not streamed else "delta": {"content": "fits"}, "finish_reason": "length"}
        written = json.dumps({"id": "1", "choices": [item], "usage": {"prompt_tokens": 700, "completion_tokens": 300}})
        return http.Response(200, text=f"data: {written}\n\ndata: [DONE]\n\n" if streamed else written)

    settings = replace(DEEPINFRA, round_tokens=500)
    client = way.client("http://x/v1", transport=http.MockTransport(answered), continuation=settings)
    answer = await outcome(client, streamed=streamed, **ask(max_tokens=2000))

    assert (answer.text, answer.finish_reason, seen[:2]) == ("fits", "length", [500, 300])


@two_ways
async def test_full_context_is_not_asked_twice(way: Way, streamed: bool) -> None:
    """A later round that is refused because the prompt leaves less than no room ends the answer, after one request."""
    seen: list[object] = []

    def answered(request: Any) -> Any:
        seen.append(json.loads(request.content))
        if len(seen) > 1:
            return http.Response(400, json={"error": {"message": LESS_THAN_NONE, "code": 400}})
        item = {"index": 0, "message" if not streamed else "delta": {"content": "all that fits"}}
        written = json.dumps({"id": "1", "choices": [{**item, "finish_reason": "length"}]})
        return http.Response(200, text=f"data: {written}\n\ndata: [DONE]\n\n" if streamed else written)

    client = way.client("http://x/v1", transport=http.MockTransport(answered), continuation=DEEPINFRA)
    answer = await outcome(client, streamed=streamed, **ask())

    assert (answer.text, answer.finish_reason, answer.stopped_by) == ("all that fits", "length", "context")
    assert len(seen) == 2


@two_ways
@pytest.mark.parametrize("habit", OVERFLOWS)
@pytest.mark.parametrize(("prompt", "limit"), [("Own.", 90), ("Long. " * 100, 90), ("Long. " * 100, 400)])
async def test_error_of_the_caller(habit: Any, prompt: str, limit: int, way: Way, streamed: bool) -> None:
    """hermes #106120: the caller's own number or prompt gets the server's words, after one request."""
    with Emulator(cap=100, context=90, tokens=1000, habits=Habits(overflow=habit)) as emulator:
        answer = await asked(way, emulator, ask(prompt, max_tokens=limit), streamed=streamed, round_tokens=90)

    assert isinstance(answer.error, openai.BadRequestError)
    assert "maximum context length is 90 tokens" in answer.error.message
    assert (answer.error.status_code, answer.error.param) == (400, "input_tokens")
    assert not hasattr(answer.error, "partial_completion")
    assert len(emulator.requests) == 1


@sync_and_async
@pytest.mark.parametrize("streamed", [False, True])
async def test_error_is_the_one_without_us(way: Way, streamed: bool) -> None:
    """If the server answers 400, type, text and body are those without the library."""
    seen = []
    with Emulator(cap=100, context=90, habits=Habits(overflow="400")) as emulator:
        for make in (way.plain_client, way.client):
            client = make(emulator.base_url, max_retries=0)
            answer = await outcome(client, streamed=streamed, **ask("Same.", max_tokens=90))
            seen.append((answer.kind, answer.error.body))
            await settled(client.close())

    assert seen[0] == seen[1]


def test_error_frame_is_the_sdks_error() -> None:
    """DeepInfra's frame in a stream of status 200 is raised as the error that its status would have been."""
    with Emulator(cap=100, context=90) as emulator:
        client = SYNC.client(emulator.base_url, max_retries=0)
        with pytest.raises(openai.BadRequestError) as streamed:
            list(client.chat.completions.create(**ask("Frame.", max_tokens=90), stream=True))
        with pytest.raises(openai.BadRequestError) as whole:
            client.chat.completions.create(**ask("Frame.", max_tokens=90))
        client.close()

    assert str(whole.value) == str(streamed.value)
    assert whole.value.body == streamed.value.body
    assert streamed.value.request_id == streamed.value.response.headers["x-request-id"]
