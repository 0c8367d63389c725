"""Each kind of server, through clients: the uncapped answer, at the price that was billed, in no request too many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue._tables import providers
from openai_continue.testing import Emulator, Habits
from tests.support.answers import live
from tests.support.bodies import ask
from tests.support.servers import SERVERS
from tests.support.ways import DEEPINFRA, Way, settled, sync_and_async, two_ways


@two_ways
@pytest.mark.parametrize("name", SERVERS)
async def test_answer(name: str, way: Way, streamed: bool) -> None:
    """Every prefill is taken for one; text, thoughts, usage and report are right."""
    kind = SERVERS[name]
    body = kind.ask("An answer of 120 tokens.", temperature=0)
    with Emulator(cap=45, habits=kind.habits) as emulator:
        client = way.client(emulator.base_url, continuation=kind.settings())
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_reasoning(body)
        requests = emulator.requests

    assert (answer.text, answer.thoughts) == expected
    assert (*answer.ending[1:], emulator.derailed) == ("stop", "stop", 0)
    assert 3 <= len(requests) <= 5
    assert len({request.connection for request in requests}) == 1
    if kind.habits.usage == "never" or (streamed and kind.habits.usage == "asked"):
        assert answer.usage is None
        return
    counts = [(request.prompt_tokens, request.completion_tokens) for request in requests]
    assert counts == [tuple(round_["usage"][key] for key in COUNTS) for round_ in answer.rounds]
    assert [sum(each) for each in zip(*counts, strict=True)] == [(answer.usage or {})[key] for key in COUNTS]
    if kind.habits.thinks in {"reasoning", "reasoning_content"}:
        assert kind.habits.think_tokens == (answer.usage or {})["completion_tokens_details"]["reasoning_tokens"]
        assert streamed or expected[1] == answer.raw["choices"][0]["message"][kind.habits.thinks]


COUNTS = ("prompt_tokens", "completion_tokens")


@two_ways
@pytest.mark.parametrize("name", ["thinks", "thinks inline", "llama.cpp, thinking", "deepseek, thinking"])
async def test_thoughts_of_several_rounds(name: str, way: Way, streamed: bool) -> None:
    """hermes #90422: thoughts that are longer than a round go on if the server can, and into the answer."""
    kind = SERVERS[name]
    body = kind.ask("An answer of 40 tokens.")
    with Emulator(cap=30, habits=replace(kind.habits, think_tokens=70)) as emulator:
        client = way.client(emulator.base_url, continuation=kind.settings())
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_reasoning(body)
        sent = [str(logged.body["messages"][-1]["content"]) for logged in emulator.requests[1:]]

    assert (answer.text, answer.thoughts) == expected
    assert (*answer.ending[1:], emulator.derailed) == ("stop", "stop", 0)
    if kind.provider == "deepinfra":
        assert all(content.startswith("<think>\n") for content in sent)


@two_ways
@pytest.mark.parametrize("thinks", ["inline", "reasoning_content"])
async def test_thoughts_that_cannot_go_on(thinks: Any, way: Way, streamed: bool) -> None:
    """opencode #17471, #42900: thoughts ate the budget; they are returned as they came, and nothing more is paid."""
    habits = Habits(thinks=thinks, template="qwen3", think_tokens=40)
    body = ask(model="Qwen/Qwen3-32B")
    with Emulator(cap=15, tokens=50, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        truth = emulator.uncapped(body) + emulator.uncapped_reasoning(body)

    assert (*answer.ending[1:], len(emulator.requests)) == ("length", "reasoning", 1)
    assert answer.text + answer.thoughts
    assert truth.startswith(answer.text)
    assert answer.thoughts in truth


@two_ways
@pytest.mark.parametrize(
    ("template", "statuses", "blocks"),
    [("r1", [200] * 3, ["<think>\n\n"] * 2), ("raises", [200, 400, 200, 200], ["<think>\n\n", "", ""])],
)
async def test_deepinfras_block(
    template: Any, statuses: list[int], blocks: list[str], way: Way, streamed: bool
) -> None:
    """To DeepInfra R1's answer goes back after an empty think block, left out for good once the template refuses it."""
    habits = Habits(thinks="reasoning_content", template=template, think_tokens=20)
    body = ask(model="deepseek-ai/DeepSeek-R1")
    with Emulator(cap=45, tokens=100, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        sent = [logged.body["messages"][-1] for logged in emulator.requests[1:]]
        expected = emulator.uncapped(body)

    assert (*answer.ending, len(answer.rounds)) == (expected, "stop", "stop", 3)
    assert statuses == [logged.status for logged in emulator.requests]
    assert all(
        ({"reasoning_content"} if not block else set()) == set(message) - {"role", "content"}
        for block, message in zip(blocks, sent, strict=True)
    )
    parts = [message["content"].rpartition("</think>\n\n") for message in sent]
    assert blocks == [block for block, _, _ in parts]
    assert all(expected.startswith(prefill) for _, _, prefill in parts)


# Servers that do not continue.


@two_ways
@pytest.mark.parametrize("thinks", [None, "inline", "reasoning_content", "reasoning"])
@pytest.mark.parametrize("cap", [70, 90])
async def test_server_that_begins_again(thinks: Any, cap: int, way: Way, streamed: bool) -> None:
    """
    litellm #28580, open-webui #4762, LibreChat #5654, WeKnora #3446: the prefill was ignored, each round the same.

    It is noticed at the first continuation. After two different answers it is remembered for the model, and costs no
    more requests.
    """
    habits = Habits(thinks=thinks, ignores_prefill=True, think_tokens=40, template="qwen3")
    body = ask(model="Qwen/Qwen3-32B")
    with Emulator(cap=cap, tokens=150, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        question = ask(model="Qwen/Qwen3-32B", prompt="Another question.")
        model = {**body, "model": "Qwen/Qwen3-8B"}
        first, second, again, other = [
            await live(client, one, streamed=streamed) for one in (body, question, body, model)
        ]
        await settled(client.close())
        expected = emulator.uncapped(body)
        models = [request.body["model"] for request in emulator.requests]

    assert [answer.ending[1:] for answer in (first, second, again, other)] == [("length", "restart")] * 4
    assert expected.startswith(first.text)
    assert emulator.uncapped_reasoning(body) == first.thoughts
    assert (first.text, first.thoughts) == (again.text, again.thoughts)
    # After inline thoughts the other form of the prefill is tried, too.
    tried = 3 if thinks == "inline" else 2
    assert [body["model"]] * (2 * tried + 1) + ["Qwen/Qwen3-8B"] * tried == models
    assert cap == (again.usage or {})["completion_tokens"]


@sync_and_async
async def test_server_that_refuses(way: Way) -> None:
    """litellm #27967, deepagents #1585: the model refused the prefill, and the 400 hid what had come."""
    with Emulator(cap=30, tokens=90, habits=Habits(refuses_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, ask("x"), streamed=False)
        again = await live(client, ask("x"), streamed=False)
        await settled(client.close())
        requests = len(emulator.requests)
        client = way.client(emulator.base_url)
        raising = ask("x", extra_body={"continuation": {"on_error": "raise", "provider": "deepinfra"}})
        with pytest.raises(openai.BadRequestError, match="does not support assistant message prefill") as caught:
            await live(client, raising, streamed=False)
        await settled(client.close())
        expected = emulator.uncapped(ask("x"))

    assert answer.ending[1:] == ("length", "error")
    # It is remembered.
    assert (*again.ending[1:], requests) == ("length", "unsupported", 3)
    assert expected.startswith(answer.text)
    assert tuple((answer.report or {})["error"][name] for name in ("type", "status")) == ("BadRequestError", 400)
    partial: Any = caught.value
    assert answer.text == partial.partial_completion.choices[0].message.content


@two_ways
async def test_closed_model(way: Way, streamed: bool) -> None:
    """A closed model that is resold is left alone, whatever the server would do with a prefill."""
    body = ask(model="anthropic/claude-opus-4-7", max_tokens=80)
    with Emulator(cap=30, tokens=90) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())

    assert (emulator.uncapped({**body, "max_tokens": 30}), "length", None) == answer.ending
    assert [{**body, "stream": streamed}] == [request.body for request in emulator.requests]


def test_every_row_has_a_server() -> None:
    """Each row of the provider table that continues is met by a server with its habits."""
    rows = {row.name for row in providers.PROVIDERS if row.continues}

    assert rows - {kind.provider for kind in SERVERS.values()} == {"dashscope", "groq", "together"}
    assert DEEPINFRA.provider in rows
