"""The rows of the benchmark whose answers come from memory, so that only the client takes time."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from openai._base_client import SyncAPIClient

import openai_continue
from tests.measure.bench import peers
from tests.measure.bench.peers import Messages
from tests.measure.bench.prepared import MODEL, Prepared
from tests.measure.bench.prepared_response import PreparedResponse, one_response, one_response_stream
from tests.measure.bench.timing import SETTINGS, Comparison, Took, check, row, timed, timed_patched

MESSAGES: Messages = [{"role": "user", "content": "Write the whole handbook."}]

#: Asks a client of the SDK, and returns the text of the answer.
Asks = Callable[[Any, str, Messages], str]


def pass_through(repeats: int) -> None:
    """Answers that were not cut, against the SDK."""
    for name, tokens, calls, reason_first in (
        ("small", 50, 50, False),
        ("16k tokens", 16_000, 20, False),
        ("small, reason first", 50, 50, True),
        ("16k tokens, reason first", 16_000, 20, True),
    ):
        answer = Prepared(1, tokens, reason_first=reason_first)
        ask = partial(peers.one_call, answer.client(), MODEL, MESSAGES)
        # The calls are short, and other programs take the processor for short times, so there are more pairs.
        Comparison(f"pass-through, whole, {name}", ask, ask, answer.text, 1.05, calls).measure(5 * repeats)
    for per_block in (8, 1):
        answer = Prepared(1, 4_000, per_block=per_block)
        ask = partial(peers.one_stream, answer.client(), MODEL, MESSAGES)
        what = f"pass-through, streamed, {per_block} a block"
        Comparison(what, ask, ask, answer.text, 1.05, 1, answer.tokens, "chunk").measure(3 * repeats)
    for name, tokens, calls in (("small", 50, 50), ("16k tokens", 16_000, 20)):
        response = PreparedResponse(tokens)
        by_response = partial(one_response, response.client())
        what = f"pass-through, response, whole, {name}"
        Comparison(what, by_response, by_response, response.text, 1.05, calls).measure(5 * repeats)
    for per_block in (8, 1):
        response = PreparedResponse(4_000, per_block)
        by_response = partial(one_response_stream, response.client())
        what = f"pass-through, response, {per_block} a block"
        Comparison(what, by_response, by_response, response.text, 1.05, 1, response.tokens, "event").measure(
            3 * repeats
        )


def continued(repeats: int) -> None:
    """Answers in four rounds, against a loop by hand."""
    answer = Prepared(4, 2_000)
    of_client = answer.client(), MODEL, MESSAGES
    ours, theirs = partial(peers.one_stream, *of_client), partial(peers.streamed_loop, *of_client)
    what = "continued, streamed, 4 rounds"
    Comparison(what, ours, theirs, answer.text, 1.05, 1, answer.tokens, "chunk").measure(2 * repeats)
    for tokens in (500, 16_000):
        answer = Prepared(4, tokens)
        of_client = answer.client(), MODEL, MESSAGES
        ours, theirs = partial(peers.one_call, *of_client), partial(peers.loop, *of_client)
        what = f"continued, whole, 4 rounds of {tokens:,}"
        Comparison(what, ours, theirs, answer.text, 1.0, 20).measure(3 * repeats)


def growth(repeats: int) -> None:
    """The CPU time of a token at 64 rounds, against that at 4 rounds."""
    few, many = Prepared(4, 500), Prepared(64, 500)

    def cost(asks: Asks, answer: Prepared, client: Any) -> float:
        return timed(lambda: check(asks(client, MODEL, MESSAGES), answer.text)).cpu / answer.tokens

    def ratio(asks: Asks) -> float:
        few_client, many_client = few.client(), many.client()
        return statistics.median(
            cost(asks, many, many_client) / statistics.median(cost(asks, few, few_client) for _ in range(16))
            for _ in range(repeats)
        )

    sides = (("whole", peers.one_call, peers.loop), ("streamed", peers.one_stream, peers.streamed_loop))
    for name, asks, by_hand in sides:
        openai_continue.patch(SETTINGS)
        ours = ratio(asks)
        openai_continue.unpatch()
        figures = f"cpu a token {ours:5.3f}; by hand {ratio(by_hand):5.3f}"
        row(f"growth, {name}, 64 rounds to 4", figures, "<= 1.5", good=ours <= 1.5)


def echo(repeats: int) -> None:
    """The CPU time of a token in two streamed rounds of 4,000, against that of 500, with an echo and without one."""

    def ratio(provider: str, *, echoes: bool) -> float:
        answers = [Prepared(2, tokens, echoes=echoes) for tokens in (500, 4_000)]
        clients = [answer.client() for answer in answers]

        def cost(side: int) -> float:
            answer, client = answers[side], clients[side]
            took = timed(lambda: check(peers.one_stream(client, MODEL, MESSAGES), answer.text))
            return took.cpu / answer.tokens

        openai_continue.patch(openai_continue.Continuation(provider=provider))
        try:
            return statistics.median(cost(1) / statistics.median(cost(0) for _ in range(8)) for _ in range(repeats))
        finally:
            openai_continue.unpatch()

    ours, without = ratio("mistral", echoes=True), ratio("deepinfra", echoes=False)
    figures = f"cpu a token {ours:5.3f}; without an echo {without:5.3f}"
    row("growth, echo, 4,000 tokens to 500", figures, "<= 1.5", good=ours <= 1.5)


def memory(_: int) -> None:
    """The peak memory of an answer of a million tokens, in sizes of its text."""
    # Chunks of 64 tokens, because tracing makes a chunk four times as slow. The text is the same.
    answer = Prepared(64, 15_680, per_chunk=64)
    client = answer.client()
    size = sys.getsizeof(answer.text)

    def peak(ask: Callable[[], object]) -> float:
        gc.collect()
        tracemalloc.start()
        ask()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / size

    def read(chunks: Iterable[Any]) -> None:
        for _ in chunks:
            pass

    def stream() -> None:
        read(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))

    # The first call imports what the SDK needs.
    peers.one_call(client, MODEL, MESSAGES)
    hand = (
        peak(lambda: peers.loop(client, MODEL, MESSAGES)),
        peak(lambda: read(peers.streamed_chunks(client, MODEL, MESSAGES))),
    )
    openai_continue.patch(SETTINGS)
    ours = peak(lambda: peers.one_call(client, MODEL, MESSAGES)), peak(stream)
    openai_continue.unpatch()
    for kind, most, by_hand, target in zip(("whole", "streamed"), ours, hand, (6, 3), strict=True):
        figures = f"{most:.2f} times the text's {size / 1e6:.1f} MB; by hand {by_hand:.2f}"
        row(f"peak memory, 1,000,000 tokens, {kind}", figures, f"<= {target}", good=most <= target)


def concurrent(repeats: int) -> None:
    """The throughput of a thousand streams of two rounds, against as many tokens in one round without the library."""
    streams = 1_000
    one, two = Prepared(1, 500), Prepared(2, 250)

    async def read(client: Any, truth: str) -> None:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        check("".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]), truth)

    async def all_of(answer: Prepared) -> None:
        async with answer.async_client() as client:
            await asyncio.gather(*(read(client, answer.text) for _ in range(streams)))

    def ours() -> Took:
        return timed_patched(lambda: asyncio.run(all_of(two)))

    def theirs() -> Took:
        return timed(lambda: asyncio.run(all_of(one)))

    pairs: list[tuple[Took, Took]] = []
    for number in range(max(repeats // 3, 1)):
        first, second = (ours(), theirs()) if number % 2 else (theirs(), ours())
        pairs.append((first, second) if number % 2 else (second, first))
    ratio = statistics.median(without.wall / patched.wall for patched, without in pairs)
    rate = streams * two.tokens / statistics.median(patched.wall for patched, _ in pairs)
    figures = f"throughput {ratio:5.3f}  ({rate:,.0f} tokens a second)"
    row(f"{streams:,} concurrent streams of 2 rounds", figures, ">= 0.95", good=ratio >= 0.95)


def gap(repeats: int) -> None:
    """The CPU time between the last byte of a round and the next request: the library's own, and with the SDK's."""
    answer = Prepared(2, 16_000)
    client = answer.client()
    request: Any = SyncAPIClient.request
    ours: list[float] = []

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours.append(answer.since_end())
        return request(self, *args, **kwargs)

    def least(measure: Callable[[Callable[[], object]], object], asks: Asks) -> float:
        answer.gaps.clear()
        for _ in range(max(repeats, 5)):
            measure(partial(asks, client, MODEL, MESSAGES))
        # The gap between two calls is counted too, but it is longer.
        return min(answer.gaps) * 1e3

    setattr(SyncAPIClient, "request", noted)  # noqa: B010 - mypy lets nobody assign a method
    try:
        both = least(timed_patched, peers.one_stream)
    finally:
        setattr(SyncAPIClient, "request", request)  # noqa: B010
    own = min(ours) * 1e3
    by_hand = least(timed, peers.streamed_loop)
    figures = f"{own:.2f} ms of CPU, with the SDK's {both:.2f} ms; by hand {by_hand:.2f} ms"
    row("seam after 16k tokens", figures, "< 1 ms", good=own < 1)
