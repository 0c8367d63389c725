"""
``python -m tests.measure.bench.soak``: thousands of calls in one process, whose memory and sockets must not grow.

The calls are whole and streamed, sync and async, with a patched client and with a subclass. One in eight meets a broken
stream or an error. One in eight is left before its end. The server runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import openai

import openai_continue
from openai_continue.testing import Emulator, Fault
from tests.measure.bench import process
from tests.measure.bench.timing import say

CAP, TOKENS = 40, 150
#: How often the figures are printed, and the share of the calls that may still fill caches.
STEPS, WARM_UP = 20, 0.2
#: How many megabytes and sockets the process may grow after that.
MOST_MEGABYTES, MOST_SOCKETS = 8.0, 2
#: How many async calls run at once.
TOGETHER = 8


def main() -> None:
    """Make calls and print figures. Exit with 1 if the process grew or a text was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.measure.bench.soak", description=main.__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="the number of calls (%(default)s)")
    calls = parser.parse_args().calls
    with process.emulator(server) as (base_url, clear):
        sys.exit(Soak(base_url, clear, calls).run())


class Figures(NamedTuple):
    """What the process has at one time."""

    megabytes: float
    sockets: int


class Soak:
    """The calls of one run."""

    def __init__(self, base_url: str, clear: Callable[[], object], calls: int) -> None:
        self._clear, self._calls = clear, calls
        self._done = self._wrong = 0
        # Never started: it only knows the right texts.
        self._truth = Emulator(cap=CAP, tokens=TOKENS)
        settings = openai_continue.Continuation(provider="deepinfra")
        openai_continue.patch(settings)
        options: dict[str, Any] = {"base_url": base_url, "api_key": "none", "max_retries": 0}
        self._clients: tuple[Any, ...] = (
            openai.OpenAI(**options),
            openai_continue.OpenAI(**options, continuation=settings),
        )
        self._async_clients: tuple[Any, ...] = (
            openai.AsyncOpenAI(**options),
            openai_continue.AsyncOpenAI(**options, continuation=settings),
        )

    def run(self) -> int:
        """Make the calls, half of them async. Return the exit code."""
        figures: list[Figures] = []
        started = time.monotonic()
        loop = asyncio.new_event_loop()
        for step in range(STEPS):
            until = self._calls * (step + 1) // STEPS
            half = (self._done + until) // 2
            while self._done < half:
                self._call(self._done)
            loop.run_until_complete(self._call_async(until))
            # The server would keep a log of every request.
            self._clear()
            gc.collect()
            figures.append(Figures(megabytes(), sockets()))
            rate = self._done / (time.monotonic() - started)
            say(f"{self._done:>8} calls  {figures[-1][0]:7.1f} MB  {figures[-1][1]:>3} sockets  {rate:6.1f} calls/s")
        for client in self._clients:
            client.close()
        for async_client in self._async_clients:
            loop.run_until_complete(async_client.close())
        loop.close()
        return self._judge(figures[int(STEPS * WARM_UP)], figures[-1])

    def _judge(self, first: Figures, last: Figures) -> int:
        grown, more = last.megabytes - first.megabytes, last.sockets - first.sockets
        say(f"grown since {WARM_UP:.0%}: {grown:+.1f} MB, {more:+d} sockets; wrong texts: {self._wrong}")
        say(f"sockets after close: {sockets()}")
        return int(grown > MOST_MEGABYTES or more > MOST_SOCKETS or self._wrong > 0)

    def _body(self, number: int) -> dict[str, Any]:
        # Few prompts, so that the right text of each is made only once.
        prompt = f"Prompt {number % 64}." + (" Break it." if number % 8 == 5 else "")
        return {"model": "m", "messages": [{"role": "user", "content": prompt}]}

    def _call(self, number: int) -> None:
        body, client = self._body(number), self._clients[number % 2]
        try:
            if number % 4 < 2:
                text = client.chat.completions.create(**body).choices[0].message.content or ""
            else:
                text = ""
                with client.chat.completions.create(**body, stream=True) as stream:
                    for count, chunk in enumerate(stream):
                        text += "".join(choice.delta.content or "" for choice in chunk.choices)
                        if number % 8 == 7 and count == number % 25:
                            break
        except openai.APIError:
            text = ""
        self._check(number, body, text)

    async def _call_async(self, until: int) -> None:
        while self._done < until:
            together = range(self._done, min(self._done + TOGETHER, until))
            await asyncio.gather(*map(self._one_async, together))

    async def _one_async(self, number: int) -> None:
        body, client = self._body(number), self._async_clients[number % 2]
        try:
            if number % 4 < 2:
                text = (await client.chat.completions.create(**body)).choices[0].message.content or ""
            else:
                text = ""
                async with await client.chat.completions.create(**body, stream=True) as stream:
                    count = 0
                    async for chunk in stream:
                        text += "".join(choice.delta.content or "" for choice in chunk.choices)
                        count += 1
                        if number % 8 == 7 and count > number % 25:
                            break
        except openai.APIError:
            text = ""
        self._check(number, body, text)

    def _check(self, number: int, body: Mapping[str, Any], text: str) -> None:
        truth = self._truth.uncapped(body)
        is_whole = number % 8 not in (5, 7)
        self._wrong += text != truth if is_whole else not truth.startswith(text)
        self._done += 1


def server() -> Emulator:
    """Return the emulator that breaks the calls that ask for it."""
    always = 1_000_000_000
    faults = [Fault("reset", round=breaks_first, times=always), Fault("500", round=breaks_later, times=always)]
    return Emulator(cap=CAP, tokens=TOKENS, chunk_tokens=6, faults=faults)


def breaks_first(body: Mapping[str, Any]) -> bool:
    """Whether this is the first request of a call to break."""
    first, *rest = body["messages"]
    return "Break it." in first["content"] and not rest


def breaks_later(body: Mapping[str, Any]) -> bool:
    """Whether this is a request of a call to break that goes on after half of the answer."""
    first, *rest = body["messages"]
    return "Break it." in first["content"] and bool(rest) and len(rest[0]["content"]) > 400


def megabytes() -> float:
    """Return the memory of this process. On macOS, which does not report it, the most that it ever had."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def sockets() -> int:
    """Return the number of open sockets, or 0 if the system does not report them."""
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        return 0
    targets = [os.readlink(name) for name in open_files.iterdir() if name.is_symlink()]
    return sum(target.startswith("socket:") for target in targets)


if __name__ == "__main__":
    main()
