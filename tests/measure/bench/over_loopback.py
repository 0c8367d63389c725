"""The rows of the benchmark that ask the emulator over the loopback interface."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import openai

import openai_continue
from openai_continue.testing import Emulator
from openai_continue.testing.emulator.tokens import count
from tests.measure.bench import peers, process
from tests.measure.bench.peers import Messages
from tests.measure.bench.prepared import MODEL
from tests.measure.bench.timing import SETTINGS, Comparison, check, row, timed, timed_patched

#: The cap of the emulator, and the tokens of an answer within it and of one in four rounds.
CAP, WITHIN, FOUR = 2_000, 1_900, 7_900
#: A cap that makes short rounds, because loops go wrong at seams.
SHORT_CAP = 50


def loopback(repeats: int) -> None:
    """Answers that were not cut against the SDK, and answers in four rounds against a loop by hand."""
    truth = Emulator()
    with process.emulator(partial(Emulator, cap=CAP, events_per_write=8)) as (base_url, _):
        client = openai.OpenAI(base_url=base_url, api_key="none")
        for kind, tokens in (("pass-through", WITHIN), ("continued", FOUR)):
            messages = [{"role": "user", "content": f"{tokens} tokens"}]
            text = truth.uncapped({"messages": messages})
            ours, theirs = (partial(asks, client, MODEL, messages) for asks in (peers.one_stream, peers.streamed_loop))
            what = f"{kind}, streamed, loopback"
            Comparison(what, ours, theirs, text, 1.05, 1, tokens, "chunk").measure(repeats)
            ours, theirs = (partial(asks, client, MODEL, messages) for asks in (peers.one_call, peers.loop))
            target = 1.05 if tokens == WITHIN else 1.0
            Comparison(f"{kind}, whole, loopback", ours, theirs, text, target, 5).measure(3 * repeats)


def requests(_: int) -> None:
    """The number of requests, against the least possible one."""
    cap = 100
    sent = least = with_blanks = 0
    with Emulator(cap=cap) as emulator, openai.OpenAI(base_url=emulator.base_url, api_key="none") as client:
        openai_continue.patch(SETTINGS)
        for tokens in (1, 99, 100, 101, 250, 400, 999, 1_600):
            messages: Any = [{"role": "user", "content": f"{tokens} tokens"}]
            emulator.clear()
            completion = client.chat.completions.create(model=MODEL, messages=messages)
            check(completion.choices[0].message.content or "", emulator.uncapped({"messages": messages}))
            sent += len(emulator.requests)
            least += -(-(tokens + 1) // cap)
            # The model writes blanks again that were held back at a seam.
            with_blanks += -(-sum(logged.completion_tokens for logged in emulator.requests) // cap)
        openai_continue.unpatch()
    figures = f"{sent}; ceil((tokens + end token) / cap) is {least}, with blanks written twice {with_blanks}"
    row("requests sent, 8 answers", figures, "equal", good=sent == with_blanks)


def against_peers(repeats: int) -> None:
    """Twenty answers in short rounds: the time, the tokens thrown away, and the texts that are right."""
    truth = Emulator()
    questions = [[{"role": "user", "content": f"Chapter {number}, 600 tokens"}] for number in range(20)]
    texts = [truth.uncapped({"messages": messages}) for messages in questions]
    with process.emulator(partial(Emulator, cap=SHORT_CAP, events_per_write=8)) as (base_url, written):
        client = openai.OpenAI(base_url=base_url, api_key="none")
        asks: dict[str, Callable[[Messages], str] | None] = {
            "openai_continue, whole": partial(peers.one_call, client, MODEL),
            "openai_continue, streamed": partial(peers.one_stream, client, MODEL),
            "loop by hand, whole": partial(peers.loop, client, MODEL),
            "loop by hand, streamed": partial(peers.streamed_loop, client, MODEL),
            "LangChain, invoke in a loop": peers.langchain(base_url, MODEL),
        }
        for name, ask in asks.items():
            if ask is not None:
                _peer(name, ask, questions, texts, written, max(repeats // 3, 1))


def _peer(
    name: str,
    ask: Callable[[Messages], str],
    questions: list[Messages],
    texts: list[str],
    written: Callable[[], int],
    repeats: int,
) -> None:
    measure = timed_patched if name.startswith("openai_continue") else timed
    seconds: list[float] = []
    # The first time fills the emulator's caches and is not counted.
    for _ in range(repeats + 1):
        got: list[str] = []
        seconds.append(measure(partial(got.extend, map(ask, questions))).wall)
        paid = written()
    equal = sum(one == text for one, text in zip(got, texts, strict=True))
    # Each answer has an end token.
    thrown_away = paid - sum(map(count, got)) - len(got)
    figures = f"{statistics.median(seconds[1:]):5.2f} s  {thrown_away:5} of {paid} tokens thrown away"
    row(f"peer: {name}", f"{figures}  {equal} of {len(texts)} texts equal", "", good=True)
