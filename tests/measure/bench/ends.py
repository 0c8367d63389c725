"""
``python -m tests.measure.bench.ends``: what becomes of answers whose server lies about their end.

Each cell has the answers that came whole / that stayed as the server gave them, and the report or the log says so / that
are cut and say nothing. A line that begins with ``!`` has a text that is wrong, or shorter than without the library.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from openai_continue import Continuation
from openai_continue._sdk import call
from openai_continue._tables import providers
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.answers import Answer, outcome
from tests.support.responses import response_outcome
from tests.support.ways import OUR_ASYNC, OUR_SYNC, Way, settled

CAP = 40
CAPPED = replace(providers.named("deepinfra"), name="capped", hosts=(), cap=CAP)
#: Lengths of the texts, in tokens: within the cap, at it with or without the end token, and beyond it.
SIZES = (20, 38, 39, 40, 41, 79, 80, 81, 150, 200)
ENDPOINTS = ("chat", "completions", "responses")
RENAMES = Habits(ends="stop")


@dataclass(frozen=True)
class Server:
    """A server that lies, and what a request to it asks for."""

    habits: Habits
    #: The caller's own number of tokens.
    number: int | None = None
    faults: tuple[Fault, ...] = field(default=())


SERVERS = {
    "calls a cut `stop`": Server(RENAMES),
    "and counts in a chunk of its own": Server(replace(RENAMES, usage="trailing")),
    "and thinks": Server(replace(RENAMES, thinks="reasoning_content", think_tokens=10)),
    "and trims": Server(replace(RENAMES, trims=True)),
    "and fails in round 2": Server(RENAMES, faults=(Fault("500", 2, 1000),)),
    "and begins again": Server(replace(RENAMES, ignores_prefill=True)),
    "and refuses to go on": Server(replace(RENAMES, refuses_prefill=True)),
    "and is asked for 30 tokens": Server(RENAMES, number=30),
    "and is asked for 100 tokens": Server(RENAMES, number=100),
    "and does not count": Server(replace(RENAMES, usage="never")),
    "calls each end `length`": Server(Habits(ends="length")),
    "tells the truth": Server(Habits()),
}


class Lines(logging.Handler):
    """Keeps the lines that say that an answer may be cut."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said += [message for message in [record.getMessage()] if "may be cut" in message]


def body_of(endpoint: str, size: int, number: int | None) -> dict[str, Any]:
    """Return a request for a text of this length."""
    prompt = f"Write {size} tokens."
    named = {"max_output_tokens" if endpoint == "responses" else "max_tokens": number} if number else {}
    if endpoint == "chat":
        return {"model": "deepseek-r1", "messages": [{"role": "user", "content": prompt}], **named}
    return {"model": "deepseek-r1", "prompt" if endpoint == "completions" else "input": prompt, **named}


async def asked(client: Any, body: dict[str, Any], *, streamed: bool) -> Answer:
    """Ask once."""
    seen = await (response_outcome if "input" in body else outcome)(client, streamed=streamed, **body)
    await settled(client.close())
    return seen


async def judged(server: Server, endpoint: str, size: int, way: Way, *, streamed: bool) -> str:
    """Ask with the library and without it; return what came of it."""
    body, lines = body_of(endpoint, size, server.number), Lines()
    call.say_may_be_cut.cache_clear()
    log = logging.getLogger("openai_continue")
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    settings = Continuation(provider=CAPPED.name, trims=server.habits.trims or None)
    try:
        with Emulator(cap=CAP, habits=server.habits, faults=server.faults) as emulator:
            client = way.client(emulator.base_url, continuation=settings, max_retries=0)
            seen = await asked(client, body, streamed=streamed)
            truth = emulator.uncapped({name: value for name, value in body.items() if not name.startswith("max_")})
    finally:
        log.removeHandler(lines)
    with Emulator(cap=CAP, habits=server.habits) as emulator:
        plain = await asked(way.plain_client(emulator.base_url, max_retries=0), body, streamed=streamed)
    if seen.error or not truth.startswith(seen.text) or len(seen.text) < len(plain.text):
        return "wrong"
    if seen.text == truth:
        return "whole"
    return "said" if seen.finish_reason == "length" or seen.report or lines.said else "silent"


async def main() -> None:
    """Print the table."""
    providers.PROVIDERS = (*providers.PROVIDERS, CAPPED)
    columns = [(endpoint, streamed) for endpoint in ENDPOINTS for streamed in (False, True)]
    names = [f"{endpoint}, {'streamed' if streamed else 'whole'}" for endpoint, streamed in columns]
    print("| A server that | " + " | ".join(names) + " |\n|---|" + "---|" * len(columns))
    for name, server in SERVERS.items():
        cells: list[str] = []
        for endpoint, streamed in columns:
            came = Counter(
                [
                    await judged(server, endpoint, size, way, streamed=streamed)
                    for size in SIZES
                    for way in (OUR_SYNC, OUR_ASYNC)
                ]
            )
            wrong = "! " if came["wrong"] else ""
            cells.append(f"{wrong}{came['whole']} / {came['said']} / {came['silent']}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
