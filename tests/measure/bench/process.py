"""The emulator in a process of its own, so that its CPU time and its memory are not counted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from openai_continue.testing import Emulator


@contextmanager
def emulator(make: Callable[[], Emulator]) -> Generator[tuple[str, Callable[[], int]]]:
    """
    Run an emulator. Give its address, and a function that clears its log and returns how many tokens it wrote since.

    ``make`` runs in the other process, so it must be a function that ``pickle`` can name.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make), daemon=True)
    process.start()

    def written() -> int:
        here.send(None)
        tokens: int = here.recv()
        return tokens

    try:
        yield here.recv(), written
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any, make: Callable[[], Emulator]) -> None:
    with make() as emulator:
        pipe.send(emulator.base_url)
        while True:
            pipe.recv()
            pipe.send(sum(logged.completion_tokens for logged in emulator.requests))
            emulator.clear()
