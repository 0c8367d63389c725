"""
`python -m tests.bench.soak`: thousands of calls in one process, whose memory and sockets are told.

Whole and streamed, sync and async, patched and subclassed; one in eight meets a broken stream or an error, one in
eight is left before its end. The server runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

import openai_continue
from openai_continue.testing.emulator.faults import Fault
from openai_continue.testing.emulator.server import Emulator

_CAP, _TOKENS, _ROUNDS = 40, 150, 4
#: Calls between two lines of figures, and calls that may still fill caches.
_STEPS, _WARM_UP = 20, 0.2
#: Megabytes and sockets by which a process may have grown since then.
_MOST_MEGABYTES, _MOST_SOCKETS = 8.0, 2
_TOGETHER = 8


def main() -> None:
    """Run the calls and print the figures; exit with 1 where the process grew or a text was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=main.__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many (%(default)s)")
    calls = parser.parse_args().calls
    with _server() as base_url:
        sys.exit(_Soak(base_url, calls).run())


class _Soak:
    """The calls of one run."""

    def __init__(self, base_url: str, calls: int) -> None:
        self._calls = calls
        self._done = self._wrong = 0
        # Never started: it tells what an answer must read.
        self._truth = Emulator(cap=_CAP, tokens=_TOKENS)
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
        """Make the calls; return the exit code."""
        figures: list[tuple[float, int]] = []
        started = time.monotonic()
        loop = asyncio.new_event_loop()
        for step in range(_STEPS):
            until = self._calls * (step + 1) // _STEPS
            half = (self._done + until) // 2
            while self._done < half:
                self._call(self._done)
            loop.run_until_complete(self._call_async(until))
            gc.collect()
            figures.append((_megabytes(), _sockets()))
            rate = self._done / (time.monotonic() - started)
            _say(f"{self._done:>8} calls  {figures[-1][0]:7.1f} MB  {figures[-1][1]:>3} sockets  {rate:6.1f} calls/s")
        for client in self._clients:
            client.close()
        for async_client in self._async_clients:
            loop.run_until_complete(async_client.close())
        loop.close()
        return self._judge(figures[int(_STEPS * _WARM_UP) :])

    def _judge(self, figures: list[tuple[float, int]]) -> int:
        grown, sockets = figures[-1][0] - figures[0][0], figures[-1][1] - figures[0][1]
        _say(f"grown since {_WARM_UP:.0%}: {grown:+.1f} MB, {sockets:+d} sockets; wrong texts: {self._wrong}")
        _say(f"sockets after close: {_sockets()}")
        return int(grown > _MOST_MEGABYTES or sockets > _MOST_SOCKETS or self._wrong > 0)

    def _body(self, number: int) -> dict[str, Any]:
        # A few prompts, for the truth of each to be made once.
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
            together = range(self._done, min(self._done + _TOGETHER, until))
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
        whole = number % 8 not in (5, 7)
        self._wrong += text != truth if whole else not truth.startswith(text)
        self._done += 1


@contextmanager
def _server() -> Generator[str]:
    """Run the emulator in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any) -> None:
    most = 1_000_000_000
    faults = [
        Fault("reset", round=lambda body: _breaks(body, 0), times=most),
        Fault("500", round=lambda body: _breaks(body, 2), times=most),
    ]
    with Emulator(cap=_CAP, tokens=_TOKENS, chunk_tokens=6, faults=faults) as emulator:
        pipe.send(emulator.base_url)
        while True:
            # Else it would keep every request.
            time.sleep(1)
            emulator.clear()


def _breaks(body: Mapping[str, Any], least: int) -> bool:
    """Tell whether this is a call to be broken: its first request, or one that goes on from half of the answer."""
    first, *rest = body["messages"]
    sent = len(rest[0]["content"]) if rest else 0
    return "Break it." in first["content"] and (least == 0) == (sent == 0) and (least == 0 or sent > 200 * least)


def _megabytes() -> float:
    """Return the memory that this process has now."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    # The most that it ever had, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _sockets() -> int:
    """Return how many sockets are open; 0 where nobody tells."""
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        return 0
    targets = [os.readlink(name) for name in open_files.iterdir() if name.is_symlink()]
    return sum(target.startswith("socket:") for target in targets)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
