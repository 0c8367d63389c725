"""Tool calls: never continued in their arguments, never stitched, never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue.testing import Emulator, Habits
from tests.conftest import ASYNC, SYNC, Way, ask, listed, settled
from tests.drive import DRIVES, Drive, Script, live, said, streamed

drives = pytest.mark.parametrize("drive", DRIVES)
four_ways = pytest.mark.parametrize(
    ("way", "stream"),
    [(SYNC, False), (SYNC, True), (ASYNC, False), (ASYNC, True)],
    ids=["sync-whole", "sync-stream", "async-whole", "async-stream"],
)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "save", "parameters": {"type": "object", "properties": {"title": {"type": "string"}}}},
}
CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "save", "arguments": ""}}


def arguments(text: str) -> dict[str, Any]:
    """Make a delta that brings more of the arguments."""
    return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}


def question(prompt: str, **fields: Any) -> dict[str, Any]:
    return ask(prompt, tools=[TOOL], **fields)


@four_ways
@pytest.mark.parametrize("tokens", [20, 60, 200])
async def test_cut_in_the_arguments(tokens: int, way: Way, stream: bool) -> None:
    """Cut in its arguments, a call is returned as the SDK alone returns it, with "length", after one request."""
    body = question(f"Please call the tool with {tokens} tokens.")
    with Emulator(cap=15) as emulator:
        client, plain = way.client(emulator.base_url), way.plain_client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        requests = len(emulator.requests)
        without_us = await live(plain, {**body, "extra_body": {"continuation": False}}, stream=stream)
        await settled(client.close())
        await settled(plain.close())

    assert 1 == requests
    assert ("", "length", "unsupported") == answer.said
    assert without_us.tool_calls == answer.tool_calls
    assert "save" == answer.tool_calls[0]["function"]["name"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.tool_calls[0]["function"]["arguments"])


@four_ways
@pytest.mark.parametrize(("thinks", "cap"), [(None, 90), ("reasoning_content", 100)])
async def test_text_then_call(thinks: Any, cap: int, way: Way, stream: bool) -> None:
    """Text that is continued and then ends in a call keeps both, with the call's id, name and arguments."""
    body = {**question("Write 200 tokens, then call the tool."), "model": "Qwen/Qwen3-32B"}
    habits = Habits(thinks=thinks, think_tokens=10, template="qwen3")
    with Emulator(cap=cap, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)
        requests = len(emulator.requests)
        kept = [logged.body.get("tools") for logged in emulator.requests]

    assert requests >= 3
    assert [[TOOL]] * requests == kept
    assert (expected[0], "tool_calls", "tool_calls") == answer.said
    (call,) = answer.tool_calls
    assert ("save", expected[1]) == (call["function"]["name"], call["function"]["arguments"])
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"])


@four_ways
async def test_text_then_cut_call(way: Way, stream: bool) -> None:
    """Text that is continued into a call which is cut ends in "length", with the half call, and is not continued."""
    body = question("Write 100 tokens, then call the tool.")
    with Emulator(cap=45) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)
        requests = len(emulator.requests)

    assert (expected[0], "length", "unsupported") == answer.said
    assert 3 == requests
    (call,) = answer.tool_calls
    assert expected[1].startswith(call["function"]["arguments"])
    assert expected[1] != call["function"]["arguments"]


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_deltas(way: Way) -> None:
    """The deltas of a call in a later round come as the server sent them: index on each, id and name once."""
    body = question("Write 170 tokens, then call the tool.")
    with Emulator(cap=80) as emulator:
        client = way.client(emulator.base_url)
        chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))
        await settled(client.close())
        expected = emulator.uncapped_arguments(body)

    deltas = [call for chunk in chunks for item in chunk.choices for call in item.delta.tool_calls or ()]
    assert {0} == {call.index for call in deltas}
    assert 1 == sum(call.id is not None for call in deltas)
    assert 1 == sum(call.function.name is not None for call in deltas)
    assert expected == "".join(call.function.arguments for call in deltas)
    first = next(number for number, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].delta.tool_calls)
    assert not [chunk for chunk in chunks[first:] if chunk.choices and chunk.choices[0].delta.content]


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
async def test_stream_helper(way: Way) -> None:
    """The SDK's own accumulator makes the same message of the merged stream."""
    # Not all of our versions of the SDK accumulate calls of other tools.
    strict = {**TOOL, "function": {**TOOL["function"], "strict": True}}
    body = ask("Write 170 tokens, then call the tool.", tools=[strict])
    with Emulator(cap=80) as emulator:
        client = way.client(emulator.base_url)
        manager = client.chat.completions.stream(**body)
        if way.is_async:
            async with manager as stream:
                completion = await stream.get_final_completion()
        else:
            with manager as stream:
                completion = stream.get_final_completion()
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)

    message = completion.choices[0].message
    assert expected == (message.content, message.tool_calls[0].function.arguments)
    assert "tool_calls" == completion.choices[0].finish_reason


async def test_conversation_goes_on() -> None:
    """What was merged goes back as it is with the tool's answer, and the model answers that."""
    body = question("Write 170 tokens, then call the tool.")
    with Emulator(cap=80) as emulator:
        client = SYNC.client(emulator.base_url)
        message = client.chat.completions.create(**body).choices[0].message
        turn = [message.model_dump(exclude_unset=True), {"role": "tool", "tool_call_id": "x", "content": "saved"}]
        answer = client.chat.completions.create(**{**body, "messages": [*body["messages"], *turn]})
        client.close()
        sent = emulator.requests[-1].body["messages"]

    assert "stop" == answer.choices[0].finish_reason
    assert turn == sent[1:3]


# Without a network: what no emulator does.


@drives
@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [CALL]},
        {"function_call": {"name": "save", "arguments": "{"}},
        {"refusal": "I cannot"},
        {"audio": {"id": "a"}},
    ],
)
def test_cut_in_something_else_than_text(delta: dict[str, Any], drive: Drive) -> None:
    """Cut behind a call, a refusal or sound, an answer is returned as it is."""
    server = Script(said("Well: ", delta))
    answer = drive(server)

    assert ("Well: ", "length", "unsupported", 1) == (*answer.said, len(server.bodies))


@drives
def test_call_in_a_later_round_alone(drive: Drive) -> None:
    """Text may be whole when the cap falls, and the next round be nothing but the call."""
    server = Script(said("I save it."), said({"tool_calls": [CALL]}, finish="tool_calls"))
    answer = drive(server)

    assert ("I save it.", "tool_calls", "tool_calls") == answer.said
    assert ["call-1"] == [call["id"] for call in answer.tool_calls]


@drives
def test_call_of_a_server_that_begins_anew(drive: Drive) -> None:
    """A call in an answer begun anew is none of the first answer's."""
    start = "The answer has a beginning that no other part of it resembles: not even this.\n"
    answer = drive(Script(said(start), said(start, "more", {"tool_calls": [CALL]}, finish="tool_calls")))

    assert (start, "length", "restart") == answer.said
    assert [] == answer.tool_calls


def test_call_behind_what_was_held_back() -> None:
    """A call that follows upon the blanks held back comes out behind all text."""
    server = Script(
        said("I save it.  "), said("  ", {"tool_calls": [CALL]}, arguments("{"), arguments("}"), finish="tool_calls")
    )
    answer = streamed(server)

    assert ("I save it.  ", "tool_calls", "tool_calls") == answer.said
    assert "{}" == answer.tool_calls[0]["function"]["arguments"]


@drives
def test_misfiled_text_before_a_call(drive: Drive) -> None:
    """Text that is filed under thoughts and followed by a call is the answer's, ahead of the call."""
    server = Script(
        said({"reasoning": "well"}, "I save "), said({"reasoning": "it."}, {"tool_calls": [CALL]}, finish="tool_calls")
    )
    answer = drive(server)

    assert ("I save it.", "tool_calls", "tool_calls") == answer.said
    assert ["call-1"] == [call["id"] for call in answer.tool_calls]
