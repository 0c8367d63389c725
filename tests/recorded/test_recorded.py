"""
What DeepInfra sends, replayed from cassettes. The tests expect only what every answer of DeepInfra has.

``round_tokens`` makes several rounds, because an answer longer than DeepInfra's own cap would be a book.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from openai_continue._core.text.reasoning import Inline
from tests.support.answers import Answer, live
from tests.support.ways import listed, settled, streamed_or_not

pytestmark = [pytest.mark.cassette, pytest.mark.vcr]
Deepinfra = Callable[..., Any]

R1, V3, SMALL = "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-V3.2", "Gryphe/MythoMax-L2-13b"

LONG = "Write a long document about something."


def ask(prompt: str, model: str = V3, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}


async def answer_of(client: Any, body: dict[str, Any], *, streamed: bool, index: int = 0) -> Answer:
    """Ask, close the client, and return the answer."""
    try:
        return await live(client, body, streamed=streamed, index=index)
    finally:
        await settled(client.close())


def sent(vcr: Any) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in vcr.requests]


async def test_the_documented_example(deepinfra: Deepinfra) -> None:
    """Five tokens that continue the last message: https://deepinfra.com/docs/advanced/max_tokens_limit."""
    messages = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "<think>\n\n</think>\n\nHello"},
    ]

    answer = await answer_of(deepinfra(), {"model": R1, "messages": messages, "max_tokens": 5}, streamed=False)

    assert answer.text
    assert answer.finish_reason in ("length", "stop")
    assert answer.usage["completion_tokens"] <= 5
    assert answer.report is None


@streamed_or_not
async def test_three_rounds(deepinfra: Deepinfra, vcr: Any, streamed: bool) -> None:
    """The caller's total takes three rounds. Each goes on from the text so far."""
    body = ask(LONG, max_tokens=120)

    answer = await answer_of(deepinfra(round_tokens=48), body, streamed=streamed)

    assert [request["max_tokens"] for request in sent(vcr)] == [48, 48, 24]
    assert body["messages"] == sent(vcr)[0]["messages"]
    first, second = (request["messages"][-1] for request in sent(vcr)[1:])
    assert first["role"] == "assistant"
    assert second["content"].startswith(first["content"])
    assert answer.text.startswith(second["content"])
    assert (answer.finish_reason, answer.stopped_by) == ("length", "max_tokens")
    assert answer.usage["completion_tokens"] == 120


@streamed_or_not
async def test_to_the_natural_end(deepinfra: Deepinfra, vcr: Any, streamed: bool) -> None:
    """Without a total the answer goes on to its natural end."""
    body = ask("Items from 296 please.")
    body["messages"].insert(0, {"role": "system", "content": "Be brief."})

    answer = await answer_of(deepinfra(round_tokens=16), body, streamed=streamed)

    assert (answer.finish_reason, answer.stopped_by) == ("stop", "stop")
    assert len(vcr) == len(answer.report["rounds"]) > 1


@streamed_or_not
async def test_two_choices(deepinfra: Deepinfra, vcr: Any, streamed: bool) -> None:
    """Each of two choices is continued by itself."""
    body = ask(LONG, n=2, temperature=0.5, max_tokens=60)
    client = deepinfra(round_tokens=40)

    answer = await settled(client.chat.completions.create(**body, stream=streamed))
    pieces = [piece.to_dict() for piece in (await listed(answer) if streamed else [answer])]
    await settled(client.close())

    if streamed:
        choices = [Answer.of_chunks(pieces, index) for index in (0, 1)]
    else:
        choices = [Answer.of_completion(pieces[0], index) for index in (0, 1)]
    assert all(choice.text and choice.finish_reason == "length" for choice in choices)
    assert [request.get("n") or 1 for request in sent(vcr)] == [2, 1, 1]
    for choice, request in zip(choices, sent(vcr)[1:], strict=True):
        assert choice.text.startswith(request["messages"][-1]["content"])


@streamed_or_not
async def test_logprobs(deepinfra: Deepinfra, streamed: bool) -> None:
    """The bytes of the tokens, joined, are the text."""
    body = ask(LONG, logprobs=True, max_tokens=60)

    answer = await answer_of(deepinfra(round_tokens=40), body, streamed=streamed)

    assert len(answer.report["rounds"]) == 2
    assert answer.spelled is not None
    assert answer.text == answer.spelled.decode(errors="ignore")


@streamed_or_not
async def test_reasoning(deepinfra: Deepinfra, vcr: Any, streamed: bool) -> None:
    """Inline thoughts are continued, and so is the answer after them. Thoughts in their own field end the answer."""
    body = ask("Think, then list items from 7.", R1, max_tokens=450)

    answer = await answer_of(deepinfra(round_tokens=48), body, streamed=streamed)

    inline = Inline.of(answer.text, R1)
    assert answer.thoughts or inline.thoughts
    assert answer.stopped_by in ("max_tokens", "stop", "reasoning")
    assert inline.answer or answer.stopped_by == "reasoning"
    assert len(vcr) == len(answer.report["rounds"])


@streamed_or_not
async def test_json_over_rounds(deepinfra: Deepinfra, vcr: Any, streamed: bool) -> None:
    """A JSON answer over several rounds is one JSON document. Only the first round asks for the grammar."""
    body = ask("Give JSON items from 45.", response_format={"type": "json_object"})

    answer = await answer_of(deepinfra(round_tokens=40), body, streamed=streamed)

    assert json.loads(answer.text)
    assert answer.finish_reason == "stop"
    assert [True] + [False] * (len(vcr) - 1) == ["response_format" in request for request in sent(vcr)]


@streamed_or_not
async def test_context_overflow(deepinfra: Deepinfra, streamed: bool) -> None:
    """A request for more than the context fails as without the library: by a 400, or by an error frame of a stream."""
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        await answer_of(deepinfra(), ask(LONG, SMALL, max_tokens=1_000_000), streamed=streamed)


@streamed_or_not
async def test_context_overflow_that_is_the_callers(deepinfra: Deepinfra, streamed: bool) -> None:
    """A prompt that does not fit raises the SDK's error, for a 400 and for an error frame."""
    with pytest.raises(openai.APIStatusError) as caught:
        await answer_of(deepinfra(), ask(LONG * 600, SMALL), streamed=streamed)

    assert caught.value.status_code in (400, 413, 422)


@streamed_or_not
async def test_busy(deepinfra: Deepinfra, streamed: bool) -> None:
    """The SDK retries the second round after a 429."""
    body = ask(LONG, max_tokens=60)

    answer = await answer_of(deepinfra(round_tokens=40, busy=2), body, streamed=streamed)

    assert (answer.finish_reason, answer.stopped_by) == ("length", "max_tokens")
    assert answer.usage["completion_tokens"] == 60
