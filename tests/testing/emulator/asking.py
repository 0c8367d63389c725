"""A plain HTTP client for the emulator: other tests take the emulator for the truth, so these know nothing of the library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from openai_continue.testing import Emulator
from tests.support.ways import http

ASK = {"role": "user", "content": "Write."}
BODY = {"model": "m", "messages": [ASK]}
# One for all, because making a client takes longer than most of these tests.
CLIENT = http.Client(trust_env=False, timeout=60)

streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def post(emulator: Emulator, **fields: Any) -> Any:
    return CLIENT.post(f"{emulator.base_url}/chat/completions", json={**BODY, **fields})


def chunks_of(response: Any) -> list[dict[str, Any]]:
    lines = [line[6:] for line in response.content.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def ask(emulator: Emulator, *, stream: bool = False, field: str = "content", **fields: Any) -> tuple[str | None, str]:
    """Return the text and the finish reason of the first choice."""
    response = post(emulator, stream=stream, **fields)
    assert response.status_code == 200, response.text
    if not stream:
        choice = response.json()["choices"][0]
        return choice["message"].get(field), choice["finish_reason"]
    choices = [choice for chunk in chunks_of(response) for choice in chunk["choices"] if choice["index"] == 0]
    pieces = [choice["delta"][field] for choice in choices if choice["delta"].get(field)]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(ends) == 1
    return "".join(pieces) if pieces else None, ends[0]


def text_of(emulator: Emulator, **fields: Any) -> str:
    text, _ = ask(emulator, **fields)
    assert text
    return text


def prefilled(text: str, **marks: Any) -> list[dict[str, Any]]:
    return [ASK, {"role": "assistant", "content": text, **marks}]


def by_hand(emulator: Emulator, *, stream: bool) -> tuple[str, int]:
    """Continue as DeepInfra's documentation says: send back what came, join what comes. Return the text and the rounds."""
    text, rounds = "", 0
    while True:
        rounds += 1
        piece, finish = ask(emulator, stream=stream, messages=prefilled(text) if text else [ASK])
        text += piece or ""
        if finish != "length":
            return text, rounds
        assert rounds < 200


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
