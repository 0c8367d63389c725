"""Calls with a journal: asking, what is left in its folder, and the format of its files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._sdk import journal
from openai_continue.testing import Emulator
from tests.support.answers import Answer, live
from tests.support.bodies import ask
from tests.support.ways import SYNC, Way, http, settled

WAYS = ("whole", "streamed", "streamed rounds")
how = pytest.mark.parametrize("how", WAYS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Return what has been warned of; each thing is said once, in each test."""
    journal._warn.cache_clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    journal._warn.cache_clear()


def keeping(folder: Path, how: str, **settings: Any) -> Continuation:
    known = {"provider": "deepinfra", "journal": str(folder), "stream_rounds": how == "streamed rounds"}
    return Continuation(**{**known, **settings})


async def asked(
    way: Way, transport: Any, how: str, body: dict[str, Any], settings: Continuation, **more: Any
) -> Answer:
    """Ask with a new client; ``more``: its arguments."""
    base_url = transport.base_url if isinstance(transport, Emulator) else "http://127.0.0.1"
    network = {} if isinstance(transport, Emulator) else {"transport": transport}
    client = way.client(**{"base_url": base_url, "continuation": settings, "max_retries": 0, **network, **more})
    answer = await live(client, body, streamed=how == "streamed")
    await settled(client.close())
    return answer


def resumed(answer: Answer) -> int:
    return 0 if answer.report is None else answer.report.get("resumed", 0)


def kept(folder: Path) -> list[str]:
    """Return the files that hold answers."""
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


#: What ``EightCharacterServer`` says.
TEXT = "One  two\n\nthree 日本 🦊 and four."


class EightCharacterServer(http.BaseTransport):  # type: ignore[misc, name-defined]
    """The least that is a server: eight characters of one text in each response."""

    def __init__(self, *lost: int) -> None:
        self.lost, self.requests = lost, 0

    def handle_request(self, request: Any) -> Any:
        self.requests += 1
        if self.requests in self.lost:
            msg = "lost"
            raise http.ConnectError(msg)
        body = json.loads(request.content)
        last = body["messages"][-1]
        sent = last["content"] if last["role"] == "assistant" else ""
        assert TEXT.startswith(sent), sent
        piece = TEXT[len(sent) : len(sent) + 8]
        finish = "length" if len(sent) + 8 < len(TEXT) else "stop"
        if not body.get("stream"):
            return http.Response(
                200, json={"choices": [{"index": 0, "message": {"content": piece}, "finish_reason": finish}]}
            )
        chunks = [({"content": piece[:3]}, None), ({"content": piece[3:]}, finish)]
        events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in chunks]
        content = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return http.Response(200, headers={"content-type": "text/event-stream"}, text=content)


async def broken(folder: Path, how: str) -> Path:
    """Return the file that a call has left after its second round."""
    await asked(SYNC, EightCharacterServer(3), how, ask(), keeping(folder, how))
    (name,) = kept(folder)
    return folder / name


def sealed(name: str, record: bytes) -> bytes:
    """Return the bytes of a file of that name with this record, whose checksum is right."""
    return sha256(f"{name}\n".encode() + record).hexdigest()[:16].encode() + b" " + record


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return the bytes of a file whose record ``change`` has changed, with the checksum of that."""
    entry = json.loads(path.read_bytes()[17:])
    return sealed(path.name, json.dumps(change(entry)).encode() + b"\n")


def beginning_with_six(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an answer that begins with "Six", and not with "One"."""
    six: dict[str, Any] = json.loads(json.dumps(entry).replace("One", "Six"))
    return six
