"""
Compare cassettes of long answers with VCR's own: ``python tests/measure/bench/cassettes.py``.

Prints the size in MB of a recording from the emulator, and the CPU seconds of its replay through the SDK.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import vcr

import openai_continue
from openai_continue.testing import Emulator
from openai_continue.testing.cassettes import matching, serializer

OURS, THEIRS = {"serializer": "chat.yaml", "match_on": ["chat_body"]}, {"serializer": "yaml", "match_on": ["body"]}


def ask(client: Any, *, stream: bool) -> int:
    """Ask, and return the number of characters of the answer."""
    messages = [{"role": "user", "content": "Write."}]
    answer = client.chat.completions.create(model="m", messages=messages, stream=stream)
    if not stream:
        return len(answer.choices[0].message.content)
    return sum(len(chunk.choices[0].delta.content or "") for chunk in answer if chunk.choices)


def measure(title: str, cap: int, tokens: int, *, stream: bool, **options: Any) -> None:
    recorder = vcr.VCR()
    recorder.register_serializer("chat.yaml", serializer)
    recorder.register_matcher("chat_body", matching.chat_body)
    settings = openai_continue.Continuation(provider="deepinfra", max_rounds=1000)
    with tempfile.TemporaryDirectory() as folder, Emulator(cap=cap, tokens=tokens) as emulator:
        path = Path(folder) / "cassette"
        client = openai_continue.OpenAI(base_url=emulator.base_url, api_key="none", continuation=settings)
        with recorder.use_cassette(str(path), record_mode="all", **options):
            expected = ask(client, stream=stream)
        began = time.process_time()
        with recorder.use_cassette(str(path), record_mode="none", **options) as cassette:
            assert ask(client, stream=stream) == expected
        took = time.process_time() - began
        client.close()
        print(f"{title}: {len(cassette)} rounds, {path.stat().st_size / 1e6:.2f} MB, replayed in {took:.2f} s")


def main() -> None:
    for name, options in (("chat.yaml, chat_body", OURS), ("VCR's yaml, body", THEIRS)):
        measure(f"{name}: 40,000 tokens streamed", 10**6, 40_000, stream=True, **options)
        measure(f"{name}: 10 x 4,000 tokens streamed", 4_000, 40_000, stream=True, **options)
        measure(f"{name}: 100 x 50 tokens whole", 50, 5_000, stream=False, **options)
        measure(f"{name}: 100 x 50 tokens streamed", 50, 5_000, stream=True, **options)


if __name__ == "__main__":
    main()
