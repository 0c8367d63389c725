"""
How many of 1,000 rounds on llama-server fail to connect, without the SDK's retries?

    python tests/measure/engine/connections.py                # --rounds 200 --asynchronous

llama-server closes the connection of each streamed answer without saying so, and the next round may be sent before the
client sees it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai_continue
from openai_continue import Continuation

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers

#: 4,711 tokens, so at least 196 rounds.
REQUEST: dict[str, Any] = {
    "model": servers.MODEL,
    "messages": [{"role": "user", "content": "Write the document."}],
    "temperature": 0,
    "stream": True,
}
ROUND_TOKENS = 24


@dataclass
class Tally:
    """What came of the rounds."""

    rounds: int = 0
    answers: int = 0
    texts: set[str] = field(default_factory=set)
    errors: list[Any] = field(default_factory=list)

    def add(self, text: str, report: dict[str, Any]) -> None:
        self.answers += 1
        self.rounds += len(report["rounds"])
        if report["error"] is None:
            self.texts.add(text)
        else:
            self.errors.append(report["error"])


def measure(base_url: str, rounds: int) -> Tally:
    """Stream answers until there are so many rounds."""
    tally = Tally()
    while tally.rounds < rounds and tally.answers < rounds:
        text, report = "", {}
        # The first request is the caller's own: it must not find the connection of the last answer.
        with openai_continue.OpenAI(**_options(base_url, rounds)) as client:
            for chunk in client.chat.completions.create(**REQUEST):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                report = (chunk.model_extra or {}).get("continuation") or report
        tally.add(text, report)
    return tally


async def measure_asynchronously(base_url: str, rounds: int) -> Tally:
    """Do the same with the asynchronous client."""
    tally = Tally()
    while tally.rounds < rounds and tally.answers < rounds:
        text, report = "", {}
        async with openai_continue.AsyncOpenAI(**_options(base_url, rounds)) as client:
            async for chunk in await client.chat.completions.create(**REQUEST):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                report = (chunk.model_extra or {}).get("continuation") or report
        tally.add(text, report)
    return tally


def _options(base_url: str, rounds: int) -> dict[str, Any]:
    settings = Continuation(provider="llama.cpp", round_tokens=ROUND_TOKENS, max_rounds=rounds)
    return {"base_url": base_url, "api_key": "none", "max_retries": 0, "continuation": settings}


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--asynchronous", action="store_true")
    chosen = parser.parse_args()
    began = time.monotonic()
    with servers.llama_server() as base_url:
        if chosen.asynchronous:
            tally = asyncio.run(measure_asynchronously(base_url, chosen.rounds))
        else:
            tally = measure(base_url, chosen.rounds)
    print(
        f"{tally.rounds} rounds of {tally.answers} answers in {time.monotonic() - began:.0f} s: "
        f"{len(tally.errors)} errors, {len(tally.texts)} different texts among the answers without one"
    )
    print(*tally.errors[:5], sep="\n")
    return 1 if tally.errors or len(tally.texts) != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
