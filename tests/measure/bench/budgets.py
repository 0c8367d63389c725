"""
``python -m tests.measure.bench.budgets``: what calls take and cost under a budget, with a server that has a fault.

The first round is right. Each line has what was asked for and what was spent, in seconds or in the server's money, for
whole answers, streams, and whole answers made of streamed rounds; ``--asynchronous`` by the async client. The client's
own timeout is 10 seconds, with two retries. A line that begins with ``!`` is over its budget.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openai

from openai_continue import AsyncOpenAI, Continuation, OpenAI
from tests.support.faulty import (
    CAP,
    PRICES,
    Act,
    FaultyServer,
    broken,
    broken_at_once,
    broken_early,
    costing,
    dripping,
    retry_after,
    right,
    silent,
    slow,
    stalled,
)

SECONDS, MONEY = 3.0, 0.002
WAYS = ("whole", "streamed", "stream_rounds")

_NAN = float("nan")
#: What is wrong, and the rounds.
LATE: dict[str, list[Act]] = {
    "`Retry-After: 12` in round 2": [right, retry_after],
    "a stalled round 2": [right, stalled],
    "a silent round 2": [right, silent],
    "a dripping round 2": [right, dripping],
    "rounds of 0.8 s": [right, slow],
    "streams that break before any text": [right, broken_at_once],
    "a stalled round 1": [stalled],
}
DEAR: dict[str, list[Act]] = {
    "nothing wrong": [right],
    "streams that break off": [right, broken],
    "streams that break off early": [right, broken_early],
    "a cost in round 1 only": [right, costing(None)],
    "a cost of NaN": [right, costing(_NAN)],
    "a cost below 0": [right, costing(-1.0)],
    "a cost that is a text": [right, costing("0.0004")],
    "no cost": [costing(None)],
}
# Two faults that a whole answer cannot have, or that are the caller's own there.
_ONLY_STREAMS = (
    "streams that break off",
    "streams that break off early",
    "streams that break before any text",
    "a stalled round 1",
)


@dataclass
class Spent:
    """What a call took."""

    seconds: float
    money: float
    rounds: int
    stopped_by: str


def spent(acts: list[Act], way: str, *, asynchronous: bool, **budget: Any) -> Spent:
    """Make a call; return what it took."""
    server = FaultyServer(acts)
    settings = Continuation(provider="deepinfra", stream_rounds=way == "stream_rounds", **budget)
    body: Any = {"model": "m", "messages": [{"role": "user", "content": "Count."}], "stream": way == "streamed"}
    with server.running() as url:
        # To read certificates takes seconds, if twenty clients do it at the same time.
        http = (openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient)(verify=False)
        options: Any = {"base_url": url, "api_key": "k", "timeout": 10, "http_client": http, "continuation": settings}
        taken, last = asyncio.run(_asked(options, body)) if asynchronous else _ask(options, body)
    report = getattr(last, "continuation", None) or {}
    return Spent(taken, server.spent, len(server.exchanges), report.get("stopped_by", "-"))


def _ask(options: Any, body: Any) -> tuple[float, Any]:
    with OpenAI(**options) as client:
        started = time.monotonic()
        made: Any = client.chat.completions.create(**body)
        last = list(made)[-1] if body["stream"] else made
        return time.monotonic() - started, last


async def _asked(options: Any, body: Any) -> tuple[float, Any]:
    async with AsyncOpenAI(**options) as client:
        started = time.monotonic()
        made: Any = await client.chat.completions.create(**body)
        last = [chunk async for chunk in made][-1] if body["stream"] else made
        return time.monotonic() - started, last


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.measure.bench.budgets", description=__doc__)
    parser.add_argument("--asynchronous", action="store_true", help="by the async client")
    asynchronous = parser.parse_args().asynchronous

    def measure(acts: list[Act], way: str, budget: dict[str, Any]) -> Spent:
        return spent(acts, way, asynchronous=asynchronous, **budget)

    with ThreadPoolExecutor(64) as pool:
        asked = [
            (
                fault,
                [
                    None if way == "whole" and fault in _ONLY_STREAMS else pool.submit(measure, acts, way, budget)
                    for way in WAYS
                ],
                budget,
            )
            for table, budget in ((LATE, {"max_seconds": SECONDS}), (DEAR, {"max_cost": MONEY}))
            for fault, acts in table.items()
        ]
        print("| Asked | Fault | " + " | ".join(WAYS) + " |\n|---|---|" + "---|" * len(WAYS))
        for fault, futures, budget in asked:
            results = [None if future is None else future.result() for future in futures]
            in_time = "max_seconds" in budget
            cells = ["–" if one is None else _cell(one, in_time=in_time) for one in results]
            print(f"| {f'{SECONDS:g} s' if in_time else f'{MONEY:g}'} | {fault} | " + " | ".join(cells) + " |")


def _cell(one: Spent, *, in_time: bool) -> str:
    # A whole round that is under way is waited for and paid.
    most = MONEY + PRICES[0] * 1000 + PRICES[1] * CAP
    is_over = one.seconds > SECONDS + 0.5 if in_time else one.money > most
    figure = f"{one.seconds:.1f} s" if in_time else f"{one.money:.4f}"
    return f"{'! ' if is_over else ''}{figure}, {one.rounds} requests, `{one.stopped_by}`"


if __name__ == "__main__":
    main()
