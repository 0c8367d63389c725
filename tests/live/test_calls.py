"""Tool calls through clients: never continued in their arguments, never stitched, never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue.testing import Emulator, Habits
from tests.support.answers import live
from tests.support.bodies import ask
from tests.support.ways import SYNC, Way, entered, listed, settled, sync_and_async, two_ways

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "save", "parameters": {"type": "object", "properties": {"title": {"type": "string"}}}},
}


def question(prompt: str, **fields: Any) -> dict[str, Any]:
    return ask(prompt, tools=[TOOL], **fields)


@two_ways
@pytest.mark.parametrize("tokens", [20, 200])
async def test_cut_in_the_arguments(tokens: int, way: Way, streamed: bool) -> None:
    """hermes #72329: cut in its arguments, a call is returned as it is without the library, after one request."""
    body = question(f"Please call the tool with {tokens} tokens.")
    with Emulator(cap=15) as emulator:
        client, plain = way.client(emulator.base_url), way.plain_client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        requests = len(emulator.requests)
        # The SDK's client is patched, too, in one of the ways.
        opt_out = {} if way.is_ours else {"extra_body": {"continuation": False}}
        without_us = await live(plain, {**body, **opt_out}, streamed=streamed)
        await settled(client.close())
        await settled(plain.close())

    assert requests == 1
    assert answer.ending == ("", "length", "tool_call")
    assert without_us.tool_calls == answer.tool_calls
    assert answer.tool_calls[0]["function"]["name"] == "save"
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.tool_calls[0]["function"]["arguments"])


@two_ways
@pytest.mark.parametrize(
    ("thinks", "tokens", "cap", "ends"),
    [(None, 200, 90, "tool_calls"), ("reasoning_content", 200, 100, "tool_calls"), (None, 100, 45, "length")],
    ids=["whole", "after thoughts", "cut"],
)
async def test_text_then_call(thinks: Any, tokens: int, cap: int, ends: str, way: Way, streamed: bool) -> None:
    """litellm #31067: text that is continued into a call keeps both; a call that is cut is returned as it is."""
    body = {**question(f"Write {tokens} tokens, then call the tool."), "model": "Qwen/Qwen3-32B"}
    habits = Habits(thinks=thinks, think_tokens=10, template="qwen3")
    with Emulator(cap=cap, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)
        sent = [logged.body.get("tools") for logged in emulator.requests]

    assert [[TOOL]] * len(sent) == sent
    assert len(sent) >= 3
    assert (expected[0], ends, "tool_call" if ends == "length" else ends) == answer.ending
    (call,) = answer.tool_calls
    assert call["function"]["name"] == "save"
    assert call["id"].startswith("call_")
    assert expected[1].startswith(call["function"]["arguments"])
    assert (ends == "tool_calls") == (expected[1] == call["function"]["arguments"])


@sync_and_async
async def test_deltas(way: Way) -> None:
    """The deltas of a call in a later round come as the server sent them: index on each, id and name once."""
    body = question("Write 170 tokens, then call the tool.")
    with Emulator(cap=80) as emulator:
        client = way.client(emulator.base_url)
        chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))
        await settled(client.close())
        expected = emulator.uncapped_arguments(body)

    deltas = [call for chunk in chunks for item in chunk.choices for call in item.delta.tool_calls or ()]
    assert {call.index for call in deltas} == {0}
    assert sum(call.id is not None for call in deltas) == 1
    assert sum(call.function.name is not None for call in deltas) == 1
    assert "".join(call.function.arguments for call in deltas) == expected
    first = next(number for number, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].delta.tool_calls)
    assert not [chunk for chunk in chunks[first:] if chunk.choices and chunk.choices[0].delta.content]


@sync_and_async
async def test_stream_helper(way: Way) -> None:
    """The SDK's own accumulator makes the same message of the merged stream."""
    # Not all of our versions of the SDK accumulate calls of other tools.
    strict = {**TOOL, "function": {**TOOL["function"], "strict": True}}
    body = ask("Write 170 tokens, then call the tool.", tools=[strict])
    with Emulator(cap=80) as emulator:
        client = way.client(emulator.base_url)
        async with entered(client.chat.completions.stream(**body)) as stream:
            completion = await settled(stream.get_final_completion())
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)

    message = completion.choices[0].message
    assert (message.content, message.tool_calls[0].function.arguments) == expected
    assert completion.choices[0].finish_reason == "tool_calls"


def test_conversation_goes_on() -> None:
    """What was merged goes back as it is with the tool's answer, and the model answers that."""
    body = question("Write 170 tokens, then call the tool.")
    with Emulator(cap=80) as emulator:
        client = SYNC.client(emulator.base_url)
        message = client.chat.completions.create(**body).choices[0].message
        turn = [message.model_dump(exclude_unset=True), {"role": "tool", "tool_call_id": "x", "content": "saved"}]
        answer = client.chat.completions.create(**{**body, "messages": [*body["messages"], *turn]})
        client.close()
        sent = emulator.requests[-1].body["messages"]

    assert answer.choices[0].finish_reason == "stop"
    assert turn == sent[1:3]
