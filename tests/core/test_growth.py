"""What is held back, or joined of chunks, is looked at once: four times the text costs four times the CPU time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from openai_continue._core.folding import Folded
from openai_continue._tables import providers
from tests.support.bodies import ask
from tests.support.calls import tool
from tests.support.driving import rounds_of
from tests.support.script import Reply, Script, cut_round, last_round, reply

Json = dict[str, Any]
FEW, MANY = 1_000, 4_000
#: Without a tail that is held back.
HELD = " and so"
ECHOES = replace(providers.named("deepinfra"), echoes="always")
A_JSON = {"response_format": {"type": "json_object"}}
TOOLS = {"model": "Qwen/Qwen3-8B", "tools": [tool("save", {"content": ""})]}


def words(count: int, letter: str = "w") -> list[str]:
    return [f" {letter}{number}" for number in range(count)]


def spent(server: Script, body: Json, provider: Any) -> float:
    """Return the CPU seconds that a streamed answer takes, without those of the server."""
    rounds, seconds = rounds_of({**body, "stream": True}, provider), 0.0
    while (request := rounds.next_request()) is not None:
        chunks = server.chunks(request.body)
        began = time.process_time()
        for chunk in chunks:
            rounds.feed(request, chunk)
        rounds.end_of_stream(request)
        seconds += time.process_time() - began
    assert rounds.stopped_by in ("stop", "tool_calls")
    return seconds


def call(arguments: str, **more: Any) -> Json:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments, **more}}]}


def echo(count: int) -> float:
    text = words(count)
    return spent(Script(cut_round(*text, HELD), last_round(*text, HELD, *words(count, "v"))), ask(), ECHOES)


def blanks(count: int) -> float:
    return spent(Script(cut_round(*words(50), HELD), last_round(*["\n"] * count, "on")), ask(), "deepinfra")


def blanks_after_an_echo(count: int) -> float:
    text = words(50)
    return spent(Script(cut_round(*text, HELD), last_round(*text, HELD, *["\n"] * count, "on")), ask(), ECHOES)


def document(count: int) -> float:
    later = last_round(*words(count, "\\n"), ' on", "b": 1', *["0"] * count, "}")
    return spent(Script(cut_round('{"a": "', *words(count)), later), ask(**A_JSON), "deepinfra")


def blanks_after_a_document(count: int) -> float:
    later = last_round(' on"}', *["\n"] * count, "```")
    return spent(Script(cut_round('```json\n{"a": "', *words(count)), later), ask(**A_JSON), "deepinfra")


def call_that_comes_again(count: int) -> float:
    begun = [call('{"content": "', name="save"), *map(call, words(count))]
    begun[0]["tool_calls"][0]["id"] = "call-1"
    rest = [*map(call, words(count, "v")), call('"}')]
    server = Script(reply(*begun), reply(*begun, *rest, finish="tool_calls"))
    return spent(server, ask(**TOOLS), "llama.cpp")


def blanks_after_a_call(count: int) -> float:
    begun = call('{"content": "on', name="save")
    begun["tool_calls"][0]["id"] = "call-1"
    server = Script(reply(begun), Reply(['e"}', *["\n"] * count, "}\n</tool_call>"], "stop"))
    return spent(server, ask(**TOOLS), "vllm")


def folded(count: int) -> float:
    def chunks() -> Iterator[Json]:
        for number, word in enumerate(words(count)):
            logprobs = {"content": [{"token": word, "logprob": -1.0}]}
            item = {"index": 0, "delta": {"content": word}, "logprobs": logprobs, "token_ids": [number]}
            yield {"id": "1", "choices": [item]}

    folding = Folded()
    began = time.process_time()
    for chunk in chunks():
        folding.take(chunk)
    took = time.process_time() - began
    (choice,) = folding.completion()["choices"]
    assert len(choice["logprobs"]["content"]) == len(choice["token_ids"]) == count
    assert json.dumps(choice["message"]["content"]) == json.dumps("".join(words(count)))
    return took


GROWING: list[Callable[[int], float]] = [
    echo,
    blanks,
    blanks_after_an_echo,
    document,
    blanks_after_a_document,
    call_that_comes_again,
    blanks_after_a_call,
    folded,
]


@pytest.mark.parametrize("growing", GROWING, ids=lambda each: each.__name__)
@pytest.mark.thorough
def test_growth(growing: Callable[[int], float]) -> None:
    """The square of the text would cost sixteen times as much; half of that leaves room for a busy machine."""
    few, many = (min(growing(count) for _ in range(3)) for count in (FEW, MANY))

    assert many < 8 * few
