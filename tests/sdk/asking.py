"""How the tests of the SDK's side ask, and how they look at what comes."""

from __future__ import annotations

from typing import Any

from tests.support.answers import joined
from tests.support.ways import listed, settled


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
