"""
`python -m tests.bench.bench`: what the library costs, against the plain SDK and against loops by hand.

Ratios of one run: the two sides take turns, and what is printed is the median of the pairs, in CPU time and in wall
time. "memory" is a transport that serves bytes made beforehand, "loopback" the emulator in a process of its own. Every
text is compared with the right one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import openai
from openai._base_client import SyncAPIClient

import openai_continue
from openai_continue.testing.emulator.server import Emulator
from openai_continue.testing.emulator.tokens import count
from tests.bench import loops

_MODEL = "deepseek-ai/DeepSeek-V3.2"
_SETTINGS = openai_continue.Continuation(provider="deepinfra", max_rounds=1000)
_MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "Write the whole handbook."}]
# httpx or httpx2, whichever the SDK is built on.
_HTTPX: Any = next(
    sys.modules[kind.__module__.partition(".")[0]]
    for kind in openai.DefaultHttpxClient.__mro__
    if kind.__module__.startswith("httpx")
)
#: Some 4.5 characters a token, as in English.
_WORDS = (" the", " answer", " of", " a", " model", " is", " cut", " at", " its", " longest", " output", ",", " and")
#: The cap of the emulator, and the tokens of an answer within it and of one in four rounds.
_CAP, _WITHIN, _FOUR = 2_000, 1_900, 7_900


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=main.__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which of {', '.join(_ROWS)} (all)")
    parser.add_argument("--repeats", type=int, default=9, help="pairs of which the median is taken (%(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in _ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    _say(f"openai {openai.__version__}, Python {sys.version.split()[0]}")
    for name in options.rows or _ROWS:
        _ROWS[name](options.repeats)


class _Answer:
    """An answer as a server gives it in rounds, made beforehand: bodies of whole rounds, blocks of streamed ones."""

    def __init__(self, rounds: int, tokens: int, *, per_chunk: int = 1, per_block: int = 8) -> None:
        self.tokens = rounds * tokens
        # Never twice the same beginning, which would be an answer begun anew.
        words = random.Random(tokens)
        texts = [
            ["".join(words.choices(_WORDS, k=per_chunk)) for _ in range(tokens // per_chunk)] for _ in range(rounds)
        ]
        self.text = "".join("".join(pieces) for pieces in texts)
        ends = ["length"] * (rounds - 1) + ["stop"]
        self.bodies = [_whole(number, "".join(texts[number]), tokens, end) for number, end in enumerate(ends)]
        self.blocks = [list(_blocks(number, texts[number], tokens, end, per_block)) for number, end in enumerate(ends)]
        #: By the size of a request is told how much of the text it sends back.
        self._ends = list(accumulate(sum(map(len, text)) for text in texts[:-1]))
        self.requests = 0
        #: CPU time between the last byte of a round and the request of the next one.
        self.gaps: list[float] = []
        self._ended = 0.0

    def reply(self, request: Any) -> Any:
        """Answer a request as the transport."""
        if self._ended:
            self.gaps.append(self.since_end())
        self.requests += 1
        number = bisect_right(self._ends, len(request.content))
        if b'"stream":true' not in request.content and b'"stream": true' not in request.content:
            headers = {"content-type": "application/json"}
            return _HTTPX.Response(200, headers=headers, stream=_HTTPX.ByteStream(self.bodies[number]))
        stream = _stream_type()(self.blocks[number], self)
        return _HTTPX.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    def since_end(self) -> float:
        """Return the CPU time since the last byte of a round."""
        return time.process_time() - self._ended

    def end(self) -> None:
        """Note that the last byte of a round is about to be read."""
        self._ended = time.process_time()

    def client(self) -> Any:
        """Return a client of the SDK that gets this answer."""
        http_client = _HTTPX.Client(transport=_HTTPX.MockTransport(self.reply))
        return openai.OpenAI(api_key="none", base_url="https://api.deepinfra.com/v1/openai", http_client=http_client)

    def async_client(self) -> Any:
        """Return an async client of the SDK that gets this answer."""
        http_client = _HTTPX.AsyncClient(transport=_HTTPX.MockTransport(self.reply))
        return openai.AsyncOpenAI(
            api_key="none", base_url="https://api.deepinfra.com/v1/openai", http_client=http_client
        )


def _head(number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number:032x}", "object": kind, "created": 1_760_000_000 + number, "model": _MODEL}


def _usage(number: int, tokens: int) -> dict[str, Any]:
    prompt = 12 + number * tokens
    counts = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    return {**counts, "prompt_tokens_details": None, "estimated_cost": 0.0042}


def _whole(number: int, text: str, tokens: int, end: str) -> bytes:
    message = {"role": "assistant", "content": text, "reasoning_content": None, "name": None, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
    return _json({**_head(number, "chat.completion"), "choices": [choice], "usage": _usage(number, tokens)})


def _blocks(number: int, pieces: Sequence[str], tokens: int, end: str, size: int) -> Iterator[bytes]:
    head = _head(number, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return b"data: " + _json({**head, "choices": [choice], **more}) + b"\n\n"

    events = [event({"role": "assistant", "content": ""}), *(event({"content": piece}) for piece in pieces)]
    for place in range(0, len(events), size):
        yield b"".join(events[place : place + size])
    yield event({}, end, usage=_usage(number, tokens)) + b"data: [DONE]\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _stream_type() -> Any:
    class Stream(_HTTPX.SyncByteStream, _HTTPX.AsyncByteStream):  # type: ignore[misc]
        """The blocks of a round, as a network brings them."""

        def __init__(self, blocks: list[bytes], answer: _Answer) -> None:
            self._blocks, self._answer = blocks, answer

        def __iter__(self) -> Iterator[bytes]:
            yield from self._blocks[:-1]
            self._answer.end()
            yield self._blocks[-1]

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for block in self._blocks:
                await asyncio.sleep(0)
                yield block

    globals()["_stream_type"] = lambda: Stream
    return Stream


class _Took(NamedTuple):
    """Seconds."""

    cpu: float
    wall: float


def _timed(work: Callable[[], object]) -> _Took:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return _Took(time.process_time() - cpu, time.perf_counter() - wall)


def _ours(work: Callable[[], object]) -> _Took:
    openai_continue.patch(_SETTINGS)
    try:
        return _timed(work)
    finally:
        openai_continue.unpatch()


def _compare(
    what: str,
    repeats: int,
    *,
    ours: Callable[[], str],
    theirs: Callable[[], str],
    truth: str,
    target: float,
    calls: int = 1,
    parts: int = 1,
    unit: str = "call",
) -> None:
    """
    Let the two sides take turns; print the medians of their ratios, and the CPU time of one of ``parts`` of a call.

    Their texts begin alike: at the emulator's seams a loop by hand may go wrong, which is no matter of time.
    """

    def side(timed: Callable[[Callable[[], object]], _Took], ask: Callable[[], str], text: str) -> _Took:
        said: list[str] = []
        took = timed(lambda: said.extend(ask() for _ in range(calls)))
        for one in said:
            _check(one[: len(text)], text)
        return took

    mine = partial(side, _ours, ours, truth)
    other = partial(side, _timed, theirs, truth[:100])

    mine()
    pairs: list[tuple[_Took, _Took]] = []
    for number in range(repeats):
        first = mine() if number % 2 else other()
        second = other() if number % 2 else mine()
        pairs.append((first, second) if number % 2 else (second, first))
    cpu = statistics.median(one.cpu / two.cpu for one, two in pairs)
    wall = statistics.median(one.wall / two.wall for one, two in pairs)
    took = [statistics.median(pair[side].cpu for pair in pairs) / calls / parts * 1e6 for side in (0, 1)]
    figures = f"cpu {cpu:5.3f}  wall {wall:5.3f}  ({took[0]:,.1f} against {took[1]:,.1f} us a {unit})"
    _row(what, figures, f"<= {target}", good=cpu <= target)


def _whole_text(client: Any, messages: loops.Messages) -> str:
    content: str = client.chat.completions.create(model=_MODEL, messages=messages).choices[0].message.content
    return content


def _streamed_text(client: Any, messages: loops.Messages) -> str:
    return _text_of(client.chat.completions.create(model=_MODEL, messages=messages, stream=True))


def _whole_by_hand(client: Any, messages: loops.Messages) -> str:
    return loops.whole(client, _MODEL, messages)


def _streamed_by_hand(client: Any, messages: loops.Messages) -> str:
    return _text_of(loops.streamed(client, _MODEL, messages))


def _text_of(chunks: Iterable[Any]) -> str:
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])


def _check(text: str, truth: str) -> None:
    if text != truth:
        msg = f"got a text of {len(text)} characters, expected one of {len(truth)}"
        raise AssertionError(msg)


def _pass_through(repeats: int) -> None:
    for name, tokens, calls in (("small", 50, 50), ("16k tokens", 16_000, 20)):
        answer = _Answer(1, tokens)
        ask = partial(_whole_text, answer.client(), _MESSAGES)
        what = f"pass-through, whole, {name}"
        # Calls are short, and other work on the machine comes in bursts.
        _compare(what, 5 * repeats, ours=ask, theirs=ask, truth=answer.text, target=1.05, calls=calls)
    for per_block in (8, 1):
        answer = _Answer(1, 4_000, per_block=per_block)
        read = partial(_streamed_text, answer.client(), _MESSAGES)
        what = f"pass-through, streamed, {per_block} a block"
        _compare(
            what, 3 * repeats, ours=read, theirs=read, truth=answer.text, target=1.05, parts=answer.tokens, unit="chunk"
        )


def _continued(repeats: int) -> None:
    answer = _Answer(4, 2_000)
    client = answer.client()
    _compare(
        "continued, streamed, 4 rounds",
        2 * repeats,
        ours=partial(_streamed_text, client, _MESSAGES),
        theirs=partial(_streamed_by_hand, client, _MESSAGES),
        truth=answer.text,
        target=1.05,
        parts=answer.tokens,
        unit="chunk",
    )
    for tokens in (500, 16_000):
        answer = _Answer(4, tokens)
        client = answer.client()
        _compare(
            f"continued, whole, 4 rounds of {tokens:,}",
            3 * repeats,
            ours=partial(_whole_text, client, _MESSAGES),
            theirs=partial(_whole_by_hand, client, _MESSAGES),
            truth=answer.text,
            target=1.0,
            calls=20,
        )


def _growth(repeats: int) -> None:
    few, many = _Answer(4, 500), _Answer(64, 500)

    def cost(ask: Callable[[Any, loops.Messages], str], answer: _Answer, client: Any) -> float:
        return _timed(lambda: _check(ask(client, _MESSAGES), answer.text)).cpu / answer.tokens

    def ratio(ask: Callable[[Any, loops.Messages], str]) -> float:
        few_client, many_client = few.client(), many.client()
        return statistics.median(
            cost(ask, many, many_client) / statistics.median(cost(ask, few, few_client) for _ in range(16))
            for _ in range(repeats)
        )

    for name, ask, by_hand in (("whole", _whole_text, _whole_by_hand), ("streamed", _streamed_text, _streamed_by_hand)):
        openai_continue.patch(_SETTINGS)
        ours = ratio(ask)
        openai_continue.unpatch()
        figures = f"cpu a token {ours:5.3f}; by hand {ratio(by_hand):5.3f}"
        _row(f"growth, {name}, 64 rounds to 4", figures, "<= 1.5", good=ours <= 1.5)


def _memory(_: int) -> None:
    # Chunks of 64 tokens: tracing makes a chunk four times as slow, and the text of a million tokens is the same.
    answer = _Answer(64, 15_680, per_chunk=64)
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

    def streamed() -> None:
        read(client.chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True))

    # The first call imports what the SDK needs.
    _timed(partial(_whole_text, client, _MESSAGES))
    hand = (
        peak(partial(_whole_by_hand, client, _MESSAGES)),
        peak(lambda: read(loops.streamed(client, _MODEL, _MESSAGES))),
    )
    openai_continue.patch(_SETTINGS)
    ours = peak(partial(_whole_text, client, _MESSAGES)), peak(streamed)
    openai_continue.unpatch()
    for kind, most, by_hand, target in zip(("whole", "streamed"), ours, hand, (6, 3), strict=True):
        figures = f"{most:.2f} times the text's {size / 1e6:.1f} MB; by hand {by_hand:.2f}"
        _row(f"peak memory, 1,000,000 tokens, {kind}", figures, f"<= {target}", good=most <= target)


def _concurrent(repeats: int) -> None:
    streams = 1_000
    one, two = _Answer(1, 500), _Answer(2, 250)

    async def read(client: Any, truth: str) -> None:
        stream = await client.chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True)
        _check("".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]), truth)

    async def all_of(answer: _Answer) -> None:
        async with answer.async_client() as client:
            await asyncio.gather(*(read(client, answer.text) for _ in range(streams)))

    took: list[tuple[_Took, _Took]] = []
    for number in range(max(repeats // 3, 1)):
        sides = [lambda: _ours(lambda: asyncio.run(all_of(two))), lambda: _timed(lambda: asyncio.run(all_of(one)))]
        order = (0, 1) if number % 2 else (1, 0)
        pair = {side: sides[side]() for side in order}
        took.append((pair[0], pair[1]))
    ratio = statistics.median(theirs.wall / ours.wall for ours, theirs in took)
    rate = streams * two.tokens / statistics.median(ours.wall for ours, _ in took)
    figures = f"throughput {ratio:5.3f}  ({rate:,.0f} tokens a second)"
    _row(f"{streams:,} concurrent streams of 2 rounds", figures, ">= 0.95", good=ratio >= 0.95)


def _gap(repeats: int) -> None:
    answer = _Answer(2, 16_000)
    client = answer.client()
    request: Any = SyncAPIClient.request
    ours: list[float] = []

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours.append(answer.since_end())
        return request(self, *args, **kwargs)

    def least(measure: Callable[[Callable[[], object]], object], ask: Callable[[Any, loops.Messages], str]) -> float:
        answer.gaps.clear()
        for _ in range(max(repeats, 5)):
            measure(partial(ask, client, _MESSAGES))
        # Between two calls there is one too, which is longer.
        return min(answer.gaps) * 1e3

    setattr(SyncAPIClient, "request", timed)  # noqa: B010 - for mypy, which lets no method be assigned
    try:
        both = least(_ours, _streamed_text)
    finally:
        setattr(SyncAPIClient, "request", request)  # noqa: B010
    own = min(ours) * 1e3
    figures = f"{own:.2f} ms of CPU, with the SDK's {both:.2f} ms; by hand {least(_timed, _streamed_by_hand):.2f} ms"
    _row("seam after 16k tokens", figures, "< 1 ms", good=own < 1)


def _loopback(repeats: int) -> None:
    with _emulator() as (base_url, _):
        client = openai.OpenAI(base_url=base_url, api_key="none")
        truth = Emulator()
        for kind, tokens in (("pass-through", _WITHIN), ("continued", _FOUR)):
            messages = [{"role": "user", "content": f"{tokens} tokens"}]
            text = truth.uncapped({"messages": messages})
            _compare(
                f"{kind}, streamed, loopback",
                repeats,
                ours=partial(_streamed_text, client, messages),
                theirs=partial(_streamed_by_hand, client, messages),
                truth=text,
                target=1.05,
                parts=tokens,
                unit="chunk",
            )
            _compare(
                f"{kind}, whole, loopback",
                3 * repeats,
                ours=partial(_whole_text, client, messages),
                theirs=partial(_whole_by_hand, client, messages),
                truth=text,
                target=1.05 if tokens == _WITHIN else 1.0,
                calls=5,
            )


def _requests(_: int) -> None:
    cap = 100
    sent = least = with_blanks = 0
    with Emulator(cap=cap) as emulator, openai.OpenAI(base_url=emulator.base_url, api_key="none") as client:
        openai_continue.patch(_SETTINGS)
        for tokens in (1, 99, 100, 101, 250, 400, 999, 1_600):
            messages: Any = [{"role": "user", "content": f"{tokens} tokens"}]
            emulator.clear()
            completion = client.chat.completions.create(model=_MODEL, messages=messages)
            _check(completion.choices[0].message.content or "", emulator.uncapped({"messages": messages}))
            sent += len(emulator.requests)
            least += -(-(tokens + 1) // cap)
            # The model writes again what was held back at a seam.
            with_blanks += -(-sum(logged.completion_tokens for logged in emulator.requests) // cap)
        openai_continue.unpatch()
    figures = f"{sent}; ceil((tokens + end token) / cap) is {least}, with blanks written twice {with_blanks}"
    _row("requests sent, 8 answers", figures, "equal", good=sent == with_blanks)


@contextmanager
def _emulator(cap: int = _CAP) -> Generator[tuple[str, Callable[[], int]]]:
    """Run the emulator in a process of its own; its address, and what counts the tokens paid since the last time."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, cap), daemon=True)
    process.start()

    def paid() -> int:
        here.send(None)
        tokens: int = here.recv()
        return tokens

    try:
        yield here.recv(), paid
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any, cap: int) -> None:
    with Emulator(cap=cap, events_per_write=8) as emulator:
        pipe.send(emulator.base_url)
        while True:
            pipe.recv()
            pipe.send(sum(logged.completion_tokens for logged in emulator.requests))
            emulator.clear()


def _peers(repeats: int) -> None:
    truth = Emulator()
    questions = [[{"role": "user", "content": f"Chapter {number}, 600 tokens"}] for number in range(20)]
    texts = [truth.uncapped({"messages": messages}) for messages in questions]
    # Short rounds: it is at the seams that loops go wrong.
    with _emulator(cap=50) as (base_url, paid_since):
        client = openai.OpenAI(base_url=base_url, api_key="none")
        peers: dict[str, Callable[[loops.Messages], str] | None] = {
            "openai_continue, whole": partial(_whole_text, client),
            "openai_continue, streamed": partial(_streamed_text, client),
            "loop by hand, whole": partial(_whole_by_hand, client),
            "loop by hand, streamed": partial(_streamed_by_hand, client),
            "aider's loop, streamed": partial(loops.aider, client, _MODEL),
            "LangChain, invoke in a loop": loops.langchain(base_url, _MODEL),
        }
        seconds: dict[str, list[float]] = {name: [] for name, ask in peers.items() if ask is not None}
        equal: dict[str, int] = {}
        paid: dict[str, int] = {}
        kept: dict[str, int] = {}
        for _ in range(max(repeats // 3, 1) + 1):
            for name, ask in peers.items():
                if ask is None:
                    continue
                got: list[str] = []
                measure = _ours if name.startswith("openai_continue") else _timed
                took = measure(partial(got.extend, map(ask, questions)))
                seconds[name].append(took.wall)
                equal[name] = sum(one == text for one, text in zip(got, texts, strict=True))
                paid[name] = paid_since()
                # Each answer has an end token.
                kept[name] = sum(map(count, got)) + len(got)
    for name, took_all in seconds.items():
        # The first time fills the emulator's caches.
        figures = (
            f"{statistics.median(took_all[1:]):5.2f} s  {paid[name] - kept[name]:5} of {paid[name]} tokens thrown away"
        )
        _row(f"peer: {name}", f"{figures}  {equal[name]} of {len(texts)} texts equal", "", good=True)


def _imports(repeats: int) -> None:
    code = (
        "import sys, time; t = time.process_time(); import openai_continue; t = time.process_time() - t;"
        "print(t, {'openai', 'wrapt'} & sys.modules.keys() or '')"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(repeats)
    ]
    milliseconds = statistics.median(float(words[0]) for words in said) * 1e3
    good = milliseconds < 5 and len(said[0]) == 1
    _row(
        "import openai_continue",
        f"{milliseconds:.2f} ms, and imports {' '.join(said[0][1:]) or 'neither'}",
        "< 5 ms",
        good=good,
    )


def _row(what: str, figures: str, target: str, *, good: bool) -> None:
    _say(f"{'' if good else '!':1} {what:42} {target:8} {figures}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


_ROWS: dict[str, Callable[[int], None]] = {
    "pass-through": _pass_through,
    "continued": _continued,
    "growth": _growth,
    "memory": _memory,
    "concurrent": _concurrent,
    "gap": _gap,
    "loopback": _loopback,
    "requests": _requests,
    "peers": _peers,
    "import": _imports,
}

if __name__ == "__main__":
    main()
