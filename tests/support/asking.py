"""How tests ask through a client: the emulator or a script, with us and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from openai_continue import Continuation
from openai_continue.testing import Emulator, Fault
from tests.support.answers import Answer, joined, outcome
from tests.support.bodies import ask
from tests.support.script import Script
from tests.support.ways import DEEPINFRA, Way, listed, settled

# A client.


async def create(client: Any, **body: Any) -> Any:
    """Ask for a completion, or for a stream."""
    return await settled(client.chat.completions.create(**body))


async def chunks_of(client: Any, **body: Any) -> list[Any]:
    """Ask for a stream, and read it to its end."""
    return await listed(await create(client, **body, stream=True))


async def ask_both(client: Any, **body: Any) -> tuple[str, str]:
    """Ask for the same answer whole and streamed; return the two texts."""
    return text_of(await create(client, **body)), joined(await chunks_of(client, **body))


def text_of(completion: Any) -> str:
    """Return the text of a completion's first choice."""
    text: str = completion.choices[0].message.content
    return text


def rounds_in(answer: Any) -> int:
    """Return the rounds in the report of a completion or chunk; 1 without a report."""
    report = getattr(answer, "continuation", None)
    return len(report["rounds"]) if report else 1


# A server with faults, whose answers take four rounds.

CAP, ROUNDS = 40, 4
#: The faults that break a stream off, so that it can be healed.
BREAKS = ["reset", "early_end", "half_frame"]
#: The others that leave a round without its end, and the status of the SDK's error.
ERRORS: dict[str, int | None] = {
    "429": 429,
    "500": 500,
    "503": 503,
    "not_json": None,
    "no_choices": None,
    "null_choices": None,
    "error_frame": 500,
    "error_event": 500,
}


def server(*faults: Fault, **options: Any) -> Emulator:
    """Return a server with faults."""
    return Emulator(**{"cap": CAP, "tokens": 150, "chunk_tokens": 4, "faults": faults, **options})


async def ask_it(way: Way, emulator: Emulator, *, streamed: bool = True, max_retries: int = 0, **more: Any) -> Answer:
    """Ask such a server; further arguments are fields of the settings or of the body."""
    settings = {name: more.pop(name) for name in list(more) if name in Continuation.__dataclass_fields__}
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **settings), max_retries=max_retries)
    seen = await outcome(client, streamed=streamed, **ask("Fault.", **more))
    await settled(client.close())
    return seen


def truth(emulator: Emulator, tokens: int = 10_000) -> str:
    """Return the first tokens of the whole answer."""
    return emulator.uncapped(ask("Fault.", max_tokens=tokens))


# A script.


async def play(
    way: Way, script: Script, *, streamed: bool = True, settings: Continuation = DEEPINFRA, **body: Any
) -> Answer:
    """Ask a scripted server."""
    client = way.client("http://x/v1", transport=script, continuation=settings, max_retries=0)
    return await outcome(client, streamed=streamed, **{**ask(), **body})


async def play_plain(way: Way, script: Script, *, streamed: bool = True, **body: Any) -> Answer:
    """Ask a scripted server without us."""
    client = way.plain_client("http://x/v1", transport=script, max_retries=0)
    return await outcome(client, streamed=streamed, **{**ask(), **body})
