"""Budgets in time and money: an answer ends in "length" with what has arrived."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator
from tests.support.answers import Answer, live
from tests.support.bodies import ask
from tests.support.faulty import CAP as FAULTY_CAP
from tests.support.faulty import PRICES, Act, FaultyServer, broken, costing, right, words
from tests.support.script import DONE, Script, chunk, cut_round, event, last_round, usage
from tests.support.ways import Way, settled, sync_and_async

BODY = ask("Write 300 tokens.")
CAP = 40
WAYS = ("whole", "streamed", "streamed rounds")
how = pytest.mark.parametrize("how", WAYS)


async def asked(way: Way, emulator: Emulator, how: str, body: dict[str, Any] = BODY, **settings: Any) -> Answer:
    client = way.client(emulator.base_url, continuation=budget(how, **settings), max_retries=0)
    answer = await live(client, body, streamed=how == "streamed")
    await settled(client.close())
    return answer


def budget(how: str, **settings: Any) -> Continuation:
    return Continuation(**{"provider": "deepinfra", "stream_rounds": how == "streamed rounds", **settings})


async def check_left(emulator: Emulator) -> None:
    """Check that no request is running, and no connection open."""
    until = time.monotonic() + 60
    while (emulator.running or emulator.open_connections) and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert (emulator.running, emulator.open_connections) == (0, 0)


def is_beginning(emulator: Emulator, answer: Answer) -> bool:
    truth = emulator.uncapped(BODY)
    return bool(answer.text) and answer.text != truth and truth.startswith(answer.text)


@sync_and_async
@how
async def test_max_seconds(how: str, way: Way) -> None:
    """An answer ends when its time is over; that it does so within a round is shown by a clock of its own."""
    with Emulator(cap=CAP, token_delay=0.01, chunk_tokens=1, events_per_write=1) as emulator:
        started = time.monotonic()
        answer = await asked(way, emulator, how, max_seconds=0.5)
        taken = time.monotonic() - started
        await check_left(emulator)

        assert answer.ending[1:] == ("length", "max_seconds")
        assert is_beginning(emulator, answer)
        assert len(emulator.requests) == len(answer.rounds)
        assert taken >= 0.5


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
async def test_max_seconds_in_the_first_round(how: str, way: Way) -> None:
    """A first round that streams ends, too, and with it the answer."""
    with Emulator(cap=1000, token_delay=0.01, chunk_tokens=1, events_per_write=1) as emulator:
        answer = await asked(way, emulator, how, max_seconds=1)
        await check_left(emulator)

        assert answer.ending[1:] == ("length", "max_seconds")
        assert is_beginning(emulator, answer)
        assert 1 == len(emulator.requests) == len(answer.rounds)


@sync_and_async
@how
@pytest.mark.parametrize("rounds", [1, 2.5, 4])
async def test_max_cost(rounds: float, how: str, way: Way) -> None:
    """A call costs at most one round more than the budget; no round is left in its middle for its price."""
    with Emulator(cap=CAP, token_delay=0.001, chunk_tokens=1, events_per_write=1) as emulator:
        alone = await asked(way, emulator, how, max_rounds=1)
        assert alone.usage is not None
        round_ = alone.usage["estimated_cost"]
        emulator.clear()
        answer = await asked(way, emulator, how, max_cost=rounds * round_)
        # At the prices of the emulator.
        costs = [logged.prompt_tokens * 4e-8 + logged.completion_tokens * 1.2e-7 for logged in emulator.requests]
        most = rounds * round_ * 1.001

        assert answer.ending[1:] == ("length", "max_cost")
        assert is_beginning(emulator, answer)
        assert sum(costs[:-1]) <= most
        assert [one.completion_tokens for one in emulator.requests] == [CAP] * len(costs)
        assert (rounds == 1) == (len(emulator.requests) == 1)
        assert answer.usage is not None
        assert answer.report is not None
        assert answer.report["usage"] == answer.usage


@sync_and_async
@how
@pytest.mark.parametrize("counts", ["never", "zero", "without cost"])
async def test_unknown_cost(counts: Any, how: str, way: Way) -> None:
    """A cost that the server does not name cannot be kept in a budget, so the answer is not continued."""
    numbers: Any = {"never": None, "zero": {"prompt_tokens": 0, "completion_tokens": 0}, "without cost": usage(9, 5)}
    script = Script(cut_round("One", usage=numbers[counts]), last_round(" two.", usage=numbers[counts]))
    streams = how != "whole"
    client = way.client("http://127.0.0.1", transport=Typed(script) if streams else script, continuation=budget(how, max_cost=1))  # fmt: skip
    answer = await live(client, ask(), streamed=how == "streamed")
    await settled(client.close())

    assert answer.ending == ("One", "length", "max_cost")
    assert len(script.bodies) == 1


@sync_and_async
@how
async def test_other_names(how: str, way: Way) -> None:
    """OpenRouter's ``cost`` counts, too; what costs nothing is never too dear."""
    for cost, expected in ((0.4, ("One", "length", "max_cost")), (0.0, ("One two.", "stop", "stop"))):
        script = Script(
            cut_round("One", usage=usage(9, 5, cost=cost)), last_round(" two.", usage=usage(9, 5, cost=cost))
        )
        transport = script if how == "whole" else Typed(script)
        client = way.client("http://127.0.0.1", transport=transport, continuation=budget(how, max_cost=0.3))
        answer = await live(client, ask(), streamed=how == "streamed")
        await settled(client.close())

        assert answer.ending == expected


@sync_and_async
@how
async def test_budget_that_is_not_reached(how: str, way: Way) -> None:
    """A budget that is large enough changes nothing, neither in the answer nor in the requests."""
    with Emulator(cap=CAP) as emulator:
        expected = await asked(way, emulator, how)
        bodies = [logged.body for logged in emulator.requests]
        emulator.clear()
        answer = await asked(way, emulator, how, max_seconds=100, max_cost=1)

        assert bodies == [logged.body for logged in emulator.requests]
        assert expected.merged == answer.merged
        assert (emulator.uncapped(BODY), "stop", "stop") == answer.ending


@sync_and_async
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_untouched(streamed: bool, is_cut: bool, way: Way) -> None:
    """An answer of one round comes byte for byte, within its budgets, at the caller's limit, or whole but too dear."""
    finish = "length" if is_cut else "stop"
    pieces = [chunk("One"), b": comment\n\n", chunk(" two", finish), event({"choices": [], "usage": usage(9, 5, estimated_cost=3)}), DONE]  # fmt: skip
    raw = b'{ "choices": [{"index":0, "message": {"content": "One"},  "finish_reason": "%s"}]}' % finish.encode()
    script = Script(pieces if streamed else [raw])
    settings = Continuation(provider="deepinfra", max_cost=5 if is_cut else 1, max_seconds=100)
    client = way.client("http://127.0.0.1", transport=Typed(script) if streamed else script, continuation=settings)
    body = ask(max_tokens=5, stream=streamed)
    response = await settled(client.chat.completions.with_raw_response.create(**body))
    read = response.http_response
    content = b"".join([piece async for piece in read.aiter_bytes()] if way.is_async else read.iter_bytes())
    await settled(client.close())

    assert (b"".join(pieces) if streamed else raw) == content
    assert len(script.bodies) == 1


@sync_and_async
@how
async def test_for_one_call(how: str, way: Way) -> None:
    """One call may have a budget of its own, or none."""
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url, continuation=budget(how, max_cost=1e-7))
        limited = await live(client, BODY, streamed=how == "streamed")
        wishes: list[dict[str, Any]] = [{"max_cost": None}, {"max_cost": 1.0, "max_seconds": 100}]
        free = [await live(client, {**BODY, "extra_body": {"continuation": wish}}, streamed=how == "streamed") for wish in wishes]  # fmt: skip
        late = await live(client, {**BODY, "extra_body": {"continuation": {"max_cost": None, "max_seconds": 1e-9}}}, streamed=how == "streamed")  # fmt: skip
        await settled(client.close())

        assert limited.ending[1:] == ("length", "max_cost")
        assert [(emulator.uncapped(BODY), "stop", "stop")] * 2 == [answer.ending for answer in free]
        assert late.ending[1:] == ("length", "max_seconds")
        assert not late.text or emulator.uncapped(BODY).startswith(late.text)


@sync_and_async
@how
async def test_several_choices(how: str, way: Way) -> None:
    """With two choices each is a beginning, and each ends in "length"."""
    body = {**BODY, "n": 2}
    with Emulator(cap=CAP, token_delay=0.002, chunk_tokens=1, events_per_write=1) as emulator:
        client = way.client(emulator.base_url, continuation=budget(how, max_cost=3e-5))
        streamed = how == "streamed"
        answers = [await live(client, body, streamed=streamed, index=index) for index in (0, 1)]
        await settled(client.close())

        for index, answer in enumerate(answers):
            assert answer.ending[1:] == ("length", "max_cost")
            assert answer.text
            assert emulator.uncapped(body, index).startswith(answer.text)


NAN = float("nan")


@sync_and_async
@how
@pytest.mark.parametrize(
    ("acts", "requests"),
    [
        ([right, costing(None)], 2),
        ([right, costing(NAN)], 2),
        ([right, costing(float("inf"))], 2),
        ([right, costing(-1.0)], 2),
        ([right, costing("0.0004")], 2),
        ([right, costing({"total": 0.0004})], 2),
        ([costing(NAN)], 1),
        ([costing(None)], 1),
    ],
    ids=["none", "nan", "infinite", "negative", "text", "object", "nan at once", "none at once"],
)
async def test_cost_that_is_none(acts: list[Act], requests: int, how: str, way: Way) -> None:
    """A round whose cost is not known is the last one, in whichever round it is."""
    server, answer = await asked_faulty(way, how, acts, max_cost=1)

    assert answer.ending == ("".join(words(0, requests * FAULTY_CAP)), "length", "max_cost")
    assert len(server.exchanges) == requests


@sync_and_async
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("how", WAYS[1:])
@pytest.mark.parametrize("most", [0.001, 0.002, 0.004])
async def test_broken_rounds_cost(most: float, how: str, way: Way) -> None:
    """Streams that break off again and again cost no more than the budget and one round."""
    server, answer = await asked_faulty(way, how, [right, broken], max_cost=most)

    assert answer.ending[1:] == ("length", "max_cost")
    assert "".join(words(0, 2000)).startswith(answer.text)
    assert server.spent - server.exchanges[-1].cost <= most
    assert len(server.exchanges) > 1


@sync_and_async
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("how", WAYS[1:])
async def test_usage_of_broken_rounds(how: str, way: Way) -> None:
    """The usage holds what broken rounds have cost, by estimate; the report says of which rounds it is one."""
    server, answer = await asked_faulty(way, how, [right, broken, broken, right], max_rounds=5)
    given = [exchange.given for exchange in server.exchanges]

    assert given == [100, 90, 90, 100, 100]
    assert [each.get("estimated", False) for each in answer.rounds] == [False, True, True, False, False]
    assert answer.usage is not None
    assert answer.report is not None
    assert answer.report["usage"] == answer.usage
    assert answer.usage["completion_tokens"] == sum(given)
    # The words that were held back were sent again.
    prompts = [exchange.usage(None)["prompt_tokens"] for exchange in server.exchanges]
    assert answer.usage["prompt_tokens"] == pytest.approx(sum(prompts), abs=20)
    # The price is the most that the first round allows: that of prompts as dear as answers.
    assert server.spent <= answer.usage["estimated_cost"] <= sum(prompts + given) * PRICES[1]


async def asked_faulty(way: Way, how: str, acts: list[Act], **settings: Any) -> tuple[FaultyServer, Answer]:
    server = FaultyServer(acts)
    with server.running() as url:
        client = way.client(url, continuation=budget(how, **settings))
        answer = await live(client, ask(), streamed=how == "streamed")
        await settled(client.close())
    return server, answer


class Typed(Script):
    """Another script, whose responses say that they are streams."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def handle_request(self, request: Any) -> Any:
        response = self._script.handle_request(request)
        response.headers["content-type"] = "text/event-stream"
        return response
