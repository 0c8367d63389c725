"""
Memory and CPU time of a server that sends far too much: ``python tests/measure/bench/floods.py``.

Each row runs in a process of its own, in memory, and prints what the call took beyond what the process had before: a
large first stream with the SDK alone and with the library, and bombs of 1 GB (gzip of blanks) and endless lines in a
second round, whole and streamed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import repeat
from typing import Any

import openai

from openai_continue import Continuation, OpenAI

http: Any = import_module("httpx" if openai.VERSION < "3" else "httpx2")
MB = 1_000_000
ROWS = [
    *((f"{who}: first stream of {size} MB", who, "stream", size) for size in (100,) for who in ("SDK", "library")),
    *((f"{kind}, second round, {form}", kind, form, 0) for kind in ("bomb", "endless") for form in ("whole", "stream")),
]


def chunk(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def completion(text: str, finish_reason: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return json.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


def bomb() -> bytes:
    deflate = zlib.compressobj(1, wbits=31)
    return b"".join([*(deflate.compress(b" " * MB) for _ in range(1000)), deflate.flush()])


class Server(http.BaseTransport):  # type: ignore[misc, name-defined]
    """Answers the first request with ``first``, and the second one with ``second``."""

    def __init__(self, first: Iterable[bytes], second: Iterable[bytes], second_headers: dict[str, str]) -> None:
        self._replies: Iterator[Any] = iter([(first, {}), (second, second_headers)])

    def handle_request(self, request: Any) -> Any:
        pieces, headers = next(self._replies)
        return http.Response(200, headers={"content-type": "application/json", **headers}, stream=Pieces(pieces))


class Pieces(http.SyncByteStream):  # type: ignore[misc, name-defined]
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


def server(kind: str, form: str, size: int) -> Server:
    if kind in ("SDK", "library"):
        large = chunk("word " * 4000)
        return Server([*repeat(large, size * MB // 20_000), chunk("", "stop"), b"data: [DONE]\n\n"], [], {})
    first = [completion("One ", "length")] if form == "whole" else [chunk("One ", "length"), b"data: [DONE]\n\n"]
    if kind == "bomb":
        return Server(first, [bomb()], {"content-encoding": "gzip"})
    return Server(first, repeat(b" " * 65_536, 1_000_000_000 // 65_536), {})


def measure(kind: str, form: str, size: int) -> None:
    """Make one call and print what it took."""
    options: dict[str, Any] = {"api_key": "k", "base_url": "http://x/v1", "max_retries": 0}
    options["http_client"] = http.Client(transport=server(kind, form, size))
    client = (
        openai.OpenAI(**options)
        if kind == "SDK"
        else OpenAI(continuation=Continuation(provider="deepinfra"), **options)
    )
    body: dict[str, Any] = {"model": "deepseek-ai/DeepSeek-V3.2", "messages": [{"role": "user", "content": "x"}]}
    before, started = peak(), time.process_time()
    answer = client.chat.completions.create(**body, stream=form == "stream")
    if form == "stream":
        for part in answer:
            reason = part.choices[0].finish_reason
    else:
        reason = answer.choices[0].finish_reason
    print(f"{reason}, {time.process_time() - started:.1f} s of CPU time, {peak() - before:.0f} MB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        for name, *arguments in ROWS:
            command = [sys.executable, __file__, *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(f"{name:40} {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}", flush=True)
