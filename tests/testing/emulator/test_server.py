"""The server around the model: its addresses, what it notes, its pace, its start and its end."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
import warnings
from typing import Any

import pytest
from openai import OpenAI

from openai_continue import testing
from openai_continue.testing import Emulator, Fault
from tests.support.ways import http
from tests.testing.emulator.asking import BODY, CLIENT, chunks_of, post, streamed_or_not, wait_for


@pytest.mark.parametrize("name", ["Emulator", "Fault", "Habits", "Logged"])
def test_public_names(name: str) -> None:
    """Each public name can be imported, though it is imported late."""
    assert name in dir(testing)
    assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = testing.nothing


def test_addresses(plain: Emulator) -> None:
    """Completions have the addresses that clients use. Models and stored completions are there too."""
    root = plain.base_url.removesuffix("/v1/openai")
    paths = ["/v1/chat/completions", "/chat/completions", "/openai/deployments/gpt/chat/completions?api-version=1"]
    for path in paths:
        assert CLIENT.post(root + path, json={**BODY, "max_tokens": 3}).status_code == 200
    with OpenAI(base_url=plain.base_url, api_key="key") as client:
        assert client.models.list().data
        assert client.chat.completions.list().data == []
        assert client.chat.completions.retrieve("one").id == "one"
        assert client.chat.completions.delete("one").deleted


def test_request_body_may_be_compressed(plain: Emulator) -> None:
    """DeepInfra takes gzip bodies."""
    content = gzip.compress(json.dumps(BODY).encode())
    url, headers = f"{plain.base_url}/chat/completions", {"content-encoding": "gzip"}

    assert CLIENT.post(url, content=content, headers=headers).status_code == 200


def test_requests_are_logged() -> None:
    """The log has body, headers, tokens, and which requests shared a connection."""
    with Emulator(cap=10) as emulator:
        with OpenAI(base_url=emulator.base_url, api_key="key") as client:
            for _ in range(2):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        post(emulator, model=None)

        first, second, third = emulator.requests
        assert (first.number, first.status, first.completion_tokens, first.finish_reason) == (1, 200, 10, "length")
        assert first.body["messages"][0]["content"] == "Hi"
        assert first.headers["authorization"] == "Bearer key"
        assert first.connection == second.connection != third.connection
        assert (third.status, third.finish_reason) == (422, None)
        assert emulator.connections == 2
        emulator.clear()
        assert emulator.requests == []


@streamed_or_not
def test_early_close_stops_the_model(stream: bool) -> None:
    """When the client leaves, the server writes no more."""
    with Emulator(token_delay=0.01) as emulator:
        url, body = f"{emulator.base_url}/chat/completions", {**BODY, "stream": stream}
        patience = 60 if stream else 0.1
        with contextlib.suppress(http.ReadTimeout), CLIENT.stream("POST", url, json=body, timeout=patience) as response:
            # An iterator that nobody holds closes its response.
            pieces = response.iter_raw()
            next(pieces)
            assert emulator.running == emulator.open_connections == 1
        wait_for(lambda: emulator.running == emulator.open_connections == 0)
        # All of them take 20 seconds.
        assert emulator.requests[0].completion_tokens < 2000


def test_pace() -> None:
    """A delay per token is kept, and chunks can be larger than a token."""
    with Emulator(tokens=20, token_delay=0.01, chunk_tokens=5) as emulator:
        begin = time.monotonic()
        chunks = chunks_of(post(emulator, stream=True))
        assert time.monotonic() - begin > 0.15
        assert len(chunks) == 6


def test_stop_with_streams_running(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Stopping is quick and quiet, whatever is going on, and leaves no thread."""
    threads = threading.active_count()
    emulator = Emulator(token_delay=0.01, faults=[Fault("hang", round=2)]).start()
    held: list[Any] = []
    with warnings.catch_warnings(), http.Client(trust_env=False) as client:
        warnings.simplefilter("error")
        for _ in range(3):
            url, body = f"{emulator.base_url}/chat/completions", {**BODY, "stream": True}
            pieces = client.send(client.build_request("POST", url, json=body), stream=True).iter_raw()
            next(pieces)
            held.append(pieces)
        begin = time.monotonic()
        emulator.stop()
        # A server that hangs does so for 30 seconds.
        assert time.monotonic() - begin < 25
        for pieces in held:
            pieces.close()
    assert threading.active_count() == threads
    assert [record for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))] == []
    assert capfd.readouterr() == ("", "")
    emulator.stop()


def test_start_twice() -> None:
    """An emulator runs once at a time, and can be started again."""
    emulator = Emulator(tokens=5)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = emulator.base_url
    for _ in range(2):
        with emulator:
            assert post(emulator).status_code == 200
            with pytest.raises(RuntimeError, match="running already"):
                emulator.start()


@pytest.mark.parametrize("name", ["cap", "context", "tokens", "chunk_tokens", "events_per_write"])
@pytest.mark.parametrize("number", [0, -1, True])
def test_a_count_out_of_range(name: str, number: int) -> None:
    """A number of which there must be one is refused when the emulator is made."""
    options: dict[str, Any] = {name: number}
    with pytest.raises(ValueError, match=f"^{name}: got {number}, accepted is a whole number from 1$"):
        Emulator(**options)


@pytest.mark.parametrize(("name", "number"), [("port", 65_536), ("port", -1), ("token_delay", -0.1)])
def test_a_number_out_of_range(name: str, number: float) -> None:
    """So are a port and a delay that cannot be."""
    options: dict[str, Any] = {name: number}
    with pytest.raises(ValueError, match=f"^{name}: got {number}, accepted is a "):
        Emulator(**options)
