"""Tool calls that were cut, through clients: every way to ask gives the calls of the uncapped answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pydantic
import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Habits
from tests.support.answers import Answer, live
from tests.support.bodies import ask
from tests.support.ways import Way, entered, http, listed, settled, sync_and_async, two_ways

CAP = 60
HERMES, CODER = "Qwen/Qwen3-32B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"
VLLM = Habits(cut_calls="content", usage="asked", marker="continue_final_message", limit_field="both")
TAGGED = replace(VLLM, calls="qwen3_coder", cut_calls="complete", hides_cut_calls="whole", drops_unwanted_calls=True)
LLAMA_CPP = Habits(echo="unflagged", usage="asked", calls_in_prefill="deltas")
#: The model, the habits of its server, and the row of the provider table.
SERVERS: dict[str, tuple[str, Habits, str]] = {
    "vllm, hermes": (HERMES, VLLM, "vllm"),
    "vllm, qwen3-coder": (CODER, TAGGED, "vllm"),
    "llama.cpp": (HERMES, LLAMA_CPP, "llama.cpp"),
    "deepinfra, by wish": (HERMES, Habits(), "deepinfra"),
}
PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "count": {"type": "integer"}, "content": {"type": "string"}},
    "required": ["path", "count", "content"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "strict": True, "parameters": PARAMETERS}}
    for name in ("write_file", "append")
]
ASKED = "Write 15 tokens, then call the tool write_file twice with 60 tokens."


class Asked:
    """One server, the body that it is asked, and what it would say without a cap."""

    def __init__(self, name: str) -> None:
        self.model, habits, self.provider = SERVERS[name]
        self.emulator = Emulator(cap=CAP, habits=habits, chunk_tokens=3)
        self.body = ask(ASKED, model=self.model, tools=TOOLS)

    @property
    def calls(self) -> list[tuple[str, str]]:
        return self.emulator.uncapped_calls(self.body)

    @property
    def text(self) -> str:
        return self.emulator.uncapped(self.body)

    def client(self, way: Way) -> Any:
        # A server that hides its cuts shows them by usage at the limit, so that must be known.
        continuation = Continuation(provider=self.provider, continue_tool_calls=True, round_tokens=CAP)
        return way.client(self.emulator.base_url, continuation=continuation)


@pytest.fixture(params=SERVERS)
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    made = Asked(request.param)
    with made.emulator:
        yield made


def calls_of(message: Any) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def called(answer: Answer) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in answer.tool_calls]


@two_ways
async def test_calls(asked: Asked, way: Way, streamed: bool) -> None:
    """The rounds are joined to the calls of the uncapped answer; usage is the sum, and the body is the caller's."""
    client = asked.client(way)
    answer = await live(client, {**asked.body, "stream_options": {"include_usage": True}} if streamed else asked.body, streamed=streamed)  # fmt: skip
    await settled(client.close())
    requests = asked.emulator.requests

    assert (asked.text, "tool_calls", "tool_calls") == (answer.text.rstrip(), *answer.ending[1:])
    assert asked.calls == called(answer)
    assert len(requests) >= 3
    assert (0, [TOOLS] * len(requests)) == (asked.emulator.derailed, [request.body["tools"] for request in requests])
    assert answer.usage is not None
    assert sum(request.completion_tokens for request in requests) == answer.usage["completion_tokens"]
    assert len(requests) == len(answer.rounds)
    assert len({call["id"] for call in answer.tool_calls}) == 2


@sync_and_async
async def test_raw_response(asked: Asked, way: Way) -> None:
    """``with_raw_response`` and ``with_streaming_response`` give the same answer."""
    client = asked.client(way)
    raw = await settled(client.chat.completions.with_raw_response.create(**asked.body))
    parsed = await settled(raw.parse())
    async with entered(client.chat.completions.with_streaming_response.create(**asked.body)) as response:
        streamed = await settled(response.parse())
    await settled(client.close())

    for completion in (parsed, streamed):
        assert completion.choices[0].finish_reason == "tool_calls"
        assert asked.calls == calls_of(completion.choices[0].message)


@sync_and_async
async def test_stream_helper(asked: Asked, way: Way) -> None:
    """The SDK's own accumulator tells of each call: its arguments as they grow, and once that they are done."""
    client = asked.client(way)
    async with entered(client.chat.completions.stream(**asked.body)) as stream:
        events = await listed(stream)
        completion = await settled(stream.get_final_completion())
    await settled(client.close())
    grown = {0: "", 1: ""}
    for event in events:
        if event.type == "tool_calls.function.arguments.delta":
            grown[event.index] += event.arguments_delta
            assert grown[event.index] == event.arguments
    done = [(event.name, event.arguments) for event in events if event.type == "tool_calls.function.arguments.done"]

    assert asked.calls == calls_of(completion.choices[0].message) == done
    assert [arguments for _, arguments in asked.calls] == [grown[0], grown[1]]
    assert completion.choices[0].finish_reason == "tool_calls"


class WriteFile(pydantic.BaseModel):
    """A tool as a model of pydantic."""

    path: str
    count: int
    content: str


@sync_and_async
async def test_parse(asked: Asked, way: Way) -> None:
    """``parse()`` gives the arguments of each call as an object of its model."""
    client = asked.client(way)
    tools = [openai.pydantic_function_tool(WriteFile, name=name) for name in ("write_file", "append")]
    completion = await settled(client.chat.completions.parse(**{**asked.body, "tools": tools}))
    await settled(client.close())

    calls = completion.choices[0].message.tool_calls
    truth = asked.emulator.uncapped_calls({**asked.body, "tools": tools})
    assert [json.loads(arguments) for _, arguments in truth] == [
        call.function.parsed_arguments.model_dump() for call in calls
    ]


@two_ways
async def test_conversation_goes_on(asked: Asked, way: Way, streamed: bool) -> None:
    """The calls go back as they were merged, with the results of the tools, and the model answers those."""
    client = asked.client(way)
    answer = await live(client, asked.body, streamed=streamed)
    turn = [
        {"role": "assistant", "content": answer.text, "tool_calls": answer.tool_calls},
        *({"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in answer.tool_calls),
    ]
    body = {**asked.body, "messages": [*asked.body["messages"], *turn, {"role": "user", "content": "Write 20 tokens."}]}
    following = await live(client, body, streamed=streamed)
    await settled(client.close())

    assert (asked.emulator.uncapped(body), "stop") == following.ending[:2]


@two_ways
@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"continue_tool_calls": False}, None),
        ({"continue_tool_calls": None, "provider": "deepinfra"}, None),
        ({"continue_tool_calls": True}, "google/gemma-4-31B-it"),
        ({"continue_tool_calls": True}, "LiquidAI/LFM2.5-1.2B-Instruct"),
    ],
)
async def test_not_asked_for(settings: dict[str, Any], model: str | None, way: Way, streamed: bool) -> None:
    """Without the wish, or knowledge of the row or the model, a cut call is returned as it is."""
    asked = Asked("deepinfra, by wish")
    with asked.emulator:
        client = way.client(asked.emulator.base_url, continuation=Continuation(**{"provider": "vllm", **settings}))
        answer = await live(client, {**asked.body, **({} if model is None else {"model": model})}, streamed=streamed)
        await settled(client.close())

    assert answer.ending[1:] == ("length", "tool_call")
    ((_, arguments),) = called(answer)
    assert asked.calls[0][1].startswith(arguments)
    assert len(asked.emulator.requests) == 1


@two_ways
async def test_call_that_begins_again(way: Way, streamed: bool) -> None:
    """A server that writes a whole new call leaves the cut one as it was: no piece of the new one is given out."""
    half = '{"path": "a.txt", "count": 1, "content": "The reef stretches over two thousand'
    anew = json.dumps({"path": "a.txt", "count": 1, "content": "Corals are built by small animals."})
    bodies: list[Any] = []

    def answered(request: Any) -> Any:
        bodies.append(json.loads(request.content))
        number = len(bodies)
        finish = "length" if number == 1 else "tool_calls"
        head = {"index": 0, "id": f"call_{number}", "type": "function"}
        written = half if number == 1 else anew
        pieces = ["", *(written[start : start + 9] for start in range(0, len(written), 9))] if streamed else [written]
        items: list[dict[str, Any]] = [
            {"tool_calls": [{**(head if not place else {"index": 0}), "function": {"arguments": piece}}]}
            for place, piece in enumerate(pieces)
        ]
        items[0]["tool_calls"][0]["function"]["name"] = "append"
        holder = "delta" if streamed else "message"
        ends = [None] * (len(items) - 1) + [finish]
        answers = [
            {"id": "1", "choices": [{"index": 0, holder: {"role": "assistant", **item}, "finish_reason": end}]}
            for item, end in zip(items, ends, strict=True)
        ]
        frames = "".join(f"data: {json.dumps(one)}\n\n" for one in answers) + "data: [DONE]\n\n"
        return http.Response(200, text=frames if streamed else json.dumps(answers[0]))

    client = way.client(
        "http://x/v1", transport=http.MockTransport(answered), continuation=Continuation(provider="vllm")
    )
    answer = await live(client, ask(model=HERMES, tools=TOOLS), streamed=streamed)
    await settled(client.close())

    assert (called(answer), answer.finish_reason, answer.stopped_by) == ([("append", half)], "length", "tool_call")
    assert [call["id"] for call in answer.tool_calls] == ["call_1"]
    assert len(bodies) == 2
