"""Many at once, and the ways to leave early: nothing is sent after the end, and no connection stays in use."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.sdk import drivers
from openai_continue.testing import Emulator, Fault
from tests.conftest import ASYNC, DEEPINFRA, SYNC, Way, ask, entered, http, joined, listed, settled

ROUNDS = 4
#: Whether a connection survives that its user is cancelled while it is being closed. That of httpcore 1 (openai < 3)
#: stays in use, with us or without.
SHIELDED = http.__name__ == "httpx2"
#: Chunks of an answer of 44 tokens, 12 a round and a chunk each: in the first round, at its end, in the second and in
#: the last one.
PLACES = [1, 12, 13, 14, 20, 42]


@pytest.fixture(scope="module")
def _module_emulator() -> Iterator[Emulator]:
    with Emulator(cap=12, tokens=44, token_delay=0.001) as emulator:
        yield emulator


@pytest.fixture
def slow(_module_emulator: Emulator) -> Emulator:
    """A server that is still writing when the client goes."""
    _module_emulator.clear()
    return _module_emulator


def narrow(way: Way, emulator: Emulator, transport: Any = None) -> Any:
    """Make a client of one connection, where one that stays in use makes the next call fail; ``sent`` counts requests."""
    if transport is None:
        kind = http.AsyncHTTPTransport if way.is_async else http.HTTPTransport
        transport = kind(limits=http.Limits(max_connections=1))
    client = way.client(emulator.base_url, transport=transport, timeout=http.Timeout(10, pool=1), max_retries=0)
    sent: list[Any] = []

    async def note(request: Any) -> None:
        sent.append(request)

    client._client.event_hooks = {"request": [note if way.is_async else sent.append]}
    client.sent = sent
    return client


async def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until it is so, but not for ever."""
    end = time.monotonic() + 3
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.002)
    return condition()


async def read(stream: Any, chunks: int) -> list[Any]:
    """Read so many chunks."""
    seen: list[Any] = []
    if chunks and hasattr(stream, "__aiter__"):
        async for chunk in stream:
            seen.append(chunk)
            if len(seen) == chunks:
                break
    elif chunks:
        for chunk in stream:
            seen.append(chunk)
            if len(seen) == chunks:
                break
    return seen


def rounds_until(chunks: int) -> int:
    """Say how many rounds are begun at most when so many chunks are read: the first brings a role too."""
    return max(1, -(-(chunks - 1) // 12)) + (chunks > 1 and (chunks - 1) % 12 == 0)


async def check_left(client: Any, emulator: Emulator, most: int, *, free: bool = True) -> None:
    """Check that a call was left for good: no request follows, the server is left alone, the connection is free."""
    sent = len(client.sent)
    assert await eventually(lambda: emulator.running == 0)
    # Longer than any client needs to begin another round.
    await asyncio.sleep(0.03)
    assert sent == len(client.sent) <= most
    if free:
        assert [] == in_use(client)
        body = ask("Write 5 tokens.")
        again = await settled(client.chat.completions.create(**body))
        assert emulator.uncapped(body) == again.choices[0].message.content
    await settled(client.close())
    assert await eventually(lambda: emulator.open_connections == 0)


def in_use(client: Any) -> list[Any]:
    """Give the client's connections that a request holds."""
    connections = client._client._transport._pool.connections
    return [one for one in connections if not one.is_idle() and not one.is_closed()]


# Many at once.


async def test_many_tasks() -> None:
    """Fifty calls of one client at once, whole and streamed, get their own texts; then nothing is open."""
    with Emulator(cap=12, tokens=44) as emulator:
        client = ASYNC.client(emulator.base_url)

        async def one(number: int) -> str:
            body = ask(f"Task {number}.")
            answer = await client.chat.completions.create(**body, stream=number % 2 == 0)
            return joined(await listed(answer)) if number % 2 == 0 else answer.choices[0].message.content

        texts = await asyncio.gather(*map(one, range(50)))
        await client.close()

        assert [emulator.uncapped(ask(f"Task {number}.")) for number in range(50)] == texts
        assert 50 * ROUNDS == len(emulator.requests)
        assert 0 == emulator.derailed == emulator.running
        assert await eventually(lambda: emulator.open_connections == 0)


@pytest.mark.parametrize("patience", [0.1, 0.005])
async def test_many_threads(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of one client in sixteen threads get their own texts; a thread that is out of patience with its round's end
    shuts no other thread's connection down, which would show as a request too many."""
    monkeypatch.setattr(drivers, "PATIENCE", patience)
    with Emulator(cap=12, tokens=44) as emulator:
        client = SYNC.client(emulator.base_url)

        def one(number: int) -> str:
            body = ask(f"Thread {number}.")
            answer = client.chat.completions.create(**body, stream=number % 2 == 0)
            return joined(list(answer)) if number % 2 == 0 else answer.choices[0].message.content

        with ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(one, range(48)))
        client.close()

        assert [emulator.uncapped(ask(f"Thread {number}.")) for number in range(48)] == texts
        assert 48 * ROUNDS == len(emulator.requests)
        assert 0 == emulator.derailed == emulator.running
        assert await eventually(lambda: emulator.open_connections == 0)


async def test_one_connection(way: Way, slow: Emulator) -> None:
    """A client of a single connection is enough for any number of rounds, read to the end or not."""
    body = ask("Narrow.")
    client = narrow(way, slow)
    connections = slow.connections

    whole = await settled(client.chat.completions.create(**body))
    chunks = await listed(await settled(client.chat.completions.create(**body, stream=True)))

    assert slow.uncapped(body) == whole.choices[0].message.content == joined(chunks)
    assert 1 == slow.connections - connections
    await check_left(client, slow, 2 * ROUNDS)


# Leaving a stream.


@pytest.mark.parametrize("place", [0, *PLACES])
async def test_close(way: Way, slow: Emulator, place: int) -> None:
    """``close()`` ends the round that is running, and no other one is begun."""
    client = narrow(way, slow)
    stream = await settled(client.chat.completions.create(**ask("Close."), stream=True))
    seen = await read(stream, place)

    await settled(stream.close())
    await settled(stream.close())

    assert slow.uncapped(ask("Close.")).startswith(joined(seen))
    await check_left(client, slow, rounds_until(place))


@pytest.mark.parametrize("place", PLACES)
async def test_with_block_that_is_left(colour: Way, slow: Emulator, place: int) -> None:
    """Leaving a ``with`` block by ``break`` or by an exception closes the round that is running."""
    client = narrow(colour, slow)

    async with entered(await settled(client.chat.completions.create(**ask("Break."), stream=True))) as stream:
        await read(stream, place)
    with pytest.raises(KeyError):
        async with entered(await settled(client.chat.completions.create(**ask("Raise."), stream=True))) as stream:
            await read(stream, place)
            raise KeyError

    await check_left(client, slow, 2 * rounds_until(place))


@pytest.mark.parametrize("place", [1, 6, 20])
async def test_stream_helper_that_is_left(colour: Way, slow: Emulator, place: int) -> None:
    """Leaving the ``stream()`` helper closes the round that is running, though it knows the first response alone."""
    client = narrow(colour, slow)

    async with entered(client.chat.completions.stream(**ask("Helper."))) as stream:
        await read(stream, 2 * place)

    await check_left(client, slow, rounds_until(place))


@pytest.mark.parametrize("place", [1, 6, 20])
async def test_streaming_response_that_is_left(colour: Way, slow: Emulator, place: int) -> None:
    """Leaving a streaming response closes the round that is running."""
    client = narrow(colour, slow)
    create = client.chat.completions.with_streaming_response.create

    async with entered(create(**ask("Streaming."), stream=True)) as response:
        await read(response.iter_lines(), 2 * place)

    await check_left(client, slow, rounds_until(place))


# The SDK's own way of dropping a stream lets the garbage collector meet an open socket.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", [0, 1, 6, 20])
async def test_stream_that_is_dropped(colour: Way, slow: Emulator, place: int) -> None:
    """A stream that is dropped without a word sends nothing more, and holds no more than the SDK's own would."""
    client = colour.client(slow.base_url)
    stream = await settled(client.chat.completions.create(**ask("Drop."), stream=True))
    await read(stream, place)

    del stream
    gc.collect()
    await asyncio.sleep(0.05)

    assert len(slow.requests) <= rounds_until(place)
    # Without us, connections of async streams, and of those never read, stay in use until the client is closed.
    assert colour.is_async or not place or [] == in_use(client)
    await settled(client.close())
    assert await eventually(lambda: slow.running == slow.open_connections == 0)


async def test_stream_that_is_read_to_its_end(way: Way, slow: Emulator) -> None:
    """A stream that was read to its end is closed already; ``close()`` does no harm, and nothing more comes."""
    client = narrow(way, slow)
    stream = await settled(client.chat.completions.create(**ask("To the end."), stream=True))

    chunks = await listed(stream)
    more = await listed(stream)
    await settled(stream.close())

    assert slow.uncapped(ask("To the end.")) == joined(chunks)
    assert [] == more
    assert stream.response.is_closed
    await check_left(client, slow, ROUNDS)


async def test_nothing_comes_after_close(colour: Way, slow: Emulator) -> None:
    """Who reads on after ``close()`` gets no more chunks, and no round is begun for it."""
    client = narrow(colour, slow)
    stream = await settled(client.chat.completions.create(**ask("After."), stream=True))
    await read(stream, 20)
    await settled(stream.close())

    assert [] == await listed(stream)
    await check_left(client, slow, 2)


@pytest.mark.parametrize("place", [1, 6, 20])
async def test_client_that_is_closed(colour: Way, slow: Emulator, place: int) -> None:
    """The client's own ``close()`` ends a stream too: no round is begun after it, to heal it or to go on."""
    client = narrow(colour, slow)
    stream = await settled(client.chat.completions.create(**ask("Closed client."), stream=True))
    await read(stream, place)

    await settled(client.close())
    # Whether reading on raises is the SDK's affair.
    with contextlib.suppress(openai.APIError, http.TransportError, http.StreamError):
        await listed(stream)

    assert await eventually(lambda: slow.running == slow.open_connections == 0)
    assert len(slow.requests) <= rounds_until(place)


# Cancelling.


@pytest.mark.parametrize("rounds", [1, 2, 4])
async def test_cancelled_whole_answer(slow: Emulator, rounds: int) -> None:
    """A call that is cancelled in any of its rounds raises CancelledError, and no round follows."""
    client = narrow(ASYNC, slow)
    task = asyncio.create_task(client.chat.completions.create(**ask("Cancel.")))
    # The server has it: on Python 3.10, anyio loses a cancellation that comes when a connection has just been made.
    assert await eventually(lambda: len(slow.requests) == rounds)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await check_left(client, slow, rounds, free=SHIELDED)


@pytest.mark.parametrize("place", [1, 6, 12, 13, 14, 20, 38])
async def test_cancelled_stream(slow: Emulator, place: int) -> None:
    """A reader that is cancelled at any chunk gets CancelledError at once, and no round follows."""
    client = narrow(ASYNC, slow)
    seen: list[Any] = []

    async def reading() -> None:
        async with await client.chat.completions.create(**ask("Cancel."), stream=True) as stream:
            async for chunk in stream:
                seen.append(chunk)
                if len(seen) == place:
                    task.cancel()

    task = asyncio.create_task(reading())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert slow.uncapped(ask("Cancel.")).startswith(joined(seen))
    await check_left(client, slow, rounds_until(len(seen)), free=SHIELDED)


@pytest.mark.parametrize("streamed", [False, True])
async def test_timeout_of_the_callers(slow: Emulator, streamed: bool) -> None:
    """``asyncio.wait_for()`` around a call ends it in time, whatever round it is in."""
    client = ASYNC.client(slow.base_url, continuation=replace(DEEPINFRA, max_rounds=1000))

    async def call() -> None:
        answer = await client.chat.completions.create(**ask("Write 3000 tokens."), stream=streamed)
        if streamed:
            await listed(answer)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(call(), 0.3)
    await client.close()

    assert await eventually(lambda: slow.running == slow.open_connections == 0)
    assert [] != slow.requests


class Body(http.AsyncByteStream):  # type: ignore[misc]
    """A body that lets others have their turn before every event, and remembers that it was closed."""

    def __init__(self, *events: bytes) -> None:
        self._events = events
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self._events:
            await asyncio.sleep(0)
            yield event
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        self.is_closed = True
        await asyncio.sleep(0)


class Turns:
    """A server inside the process, so that a call takes the same turns of the loop each time: three rounds."""

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self.requests = 0
        self.bodies: list[Body] = []

    async def __call__(self, request: Any) -> Any:
        self.requests += 1
        await asyncio.sleep(0)
        text, finish = f"part {self.requests} of several, ", "stop" if self.requests == 3 else "length"
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        if self._streamed:
            chunks = [{**choice, "delta": {"content": text}, "finish_reason": None}, {**choice, "delta": {}}]
            events = [b"data: " + json.dumps({"id": "a", "choices": [chunk]}).encode() + b"\n\n" for chunk in chunks]
            events.append(b"data: [DONE]\n\n")
        else:
            message = {"role": "assistant", "content": text}
            events = [json.dumps({"id": "a", "choices": [{**choice, "message": message}]}).encode()]
        self.bodies.append(Body(*events))
        kind = "text/event-stream" if self._streamed else "application/json"
        return http.Response(200, headers={"content-type": kind}, stream=self.bodies[-1], request=request)


async def three_rounds(client: Any, streams: list[Any], *, streamed: bool) -> str:
    """Ask for three rounds, leaving the stream where it can be found."""
    answer = await client.chat.completions.create(**ask("Turns."), stream=streamed)
    if not streamed:
        text: str = answer.choices[0].message.content
        return text
    async with answer:
        streams.append(answer)
        return joined(await listed(answer))


async def turns(number: int) -> None:
    """Let the others have so many turns of the loop."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelled_at_every_turn(streamed: bool) -> None:
    """At whatever turn of the loop a call is cancelled, it raises CancelledError, sends nothing more and closes all."""
    client = ASYNC.client("https://api.deepinfra.com/v1/openai")
    number, whole = 0, False
    while not whole:
        server = Turns(streamed=streamed)
        client._client = ASYNC.http_client(http.MockTransport(server))
        task = asyncio.create_task(three_rounds(client, [], streamed=streamed))
        await turns(number)
        whole = task.done()
        task.cancel()
        sent = server.requests
        await asyncio.wait([task])

        assert whole != task.cancelled()
        assert sent == server.requests
        assert all(body.is_closed for body in server.bodies)
        number += 1

    assert "part 1 of several, part 2 of several, part 3 of several, " == task.result()
    assert number > 10


async def test_closed_at_every_turn() -> None:
    """At whatever turn of the loop another task closes a stream, it is not healed, begins no round and closes all."""
    client = ASYNC.client("https://api.deepinfra.com/v1/openai")
    number, whole = 0, False
    while not whole:
        server = Turns(streamed=True)
        client._client = ASYNC.http_client(http.MockTransport(server))
        streams: list[Any] = []
        task = asyncio.create_task(three_rounds(client, streams, streamed=True))
        while not streams:
            await asyncio.sleep(0)
        await turns(number)
        whole = task.done()
        sent = server.requests
        await streams[0].close()
        # Whether the reader gets an error or an end is the SDK's affair.
        await asyncio.wait([task])

        assert whole or task.exception() or len(task.result()) < 66
        assert sent == server.requests
        assert all(body.is_closed for body in server.bodies)
        number += 1

    assert number > 10


# Closing while a round is being opened.


class _Gate:
    """A transport that holds one request back until it is told."""

    def __init__(self, number: int, event: Callable[[], Any]) -> None:
        super().__init__(limits=http.Limits(max_connections=1))  # type: ignore[call-arg]
        self._number = number
        self.seen = 0
        self.reached, self.may_pass = event(), event()

    def _is_held(self) -> bool:
        self.seen += 1
        if self.seen == self._number:
            self.reached.set()
        return self.seen == self._number


class Gate(_Gate, http.HTTPTransport):  # type: ignore[misc]
    def handle_request(self, request: Any) -> Any:
        if self._is_held():
            assert self.may_pass.wait(5)
        return super().handle_request(request)


class AsyncGate(_Gate, http.AsyncHTTPTransport):  # type: ignore[misc]
    async def handle_async_request(self, request: Any) -> Any:
        if self._is_held():
            await asyncio.wait_for(self.may_pass.wait(), 5)
        return await super().handle_async_request(request)


async def test_closed_by_a_thread_while_a_round_is_opened(slow: Emulator) -> None:
    """A stream that another thread closes while its next round is being opened ends there; the round is closed."""
    gate = Gate(2, threading.Event)
    client = narrow(SYNC, slow, gate)
    stream = client.chat.completions.create(**ask("Gate."), stream=True)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: joined(list(stream)))
        assert gate.reached.wait(5)
        stream.close()
        gate.may_pass.set()
        text = reading.result(5)

    assert slow.uncapped(ask("Gate.", max_tokens=12)) == text
    await check_left(client, slow, 2)


async def test_closed_by_a_task_while_a_round_is_opened(slow: Emulator) -> None:
    """A stream that another task closes while its next round is being opened ends there; the round is closed."""
    gate = AsyncGate(2, asyncio.Event)
    client = narrow(ASYNC, slow, gate)
    stream = await client.chat.completions.create(**ask("Gate."), stream=True)

    reading = asyncio.create_task(listed(stream))
    await asyncio.wait_for(gate.reached.wait(), 5)
    await stream.close()
    gate.may_pass.set()
    text = joined(await asyncio.wait_for(reading, 5))

    assert slow.uncapped(ask("Gate.", max_tokens=12)) == text
    await check_left(client, slow, 2)


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelled_while_a_round_is_opened(slow: Emulator, streamed: bool) -> None:
    """A call that is cancelled while its next round is being opened sends none."""
    gate = AsyncGate(2, asyncio.Event)
    client = narrow(ASYNC, slow, gate)

    async def call() -> None:
        answer = await client.chat.completions.create(**ask("Gate."), stream=streamed)
        if streamed:
            await listed(answer)

    task = asyncio.create_task(call())
    await asyncio.wait_for(gate.reached.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert 1 == len(slow.requests)
    await check_left(client, slow, 2)


async def test_closed_by_a_task_while_a_round_is_read() -> None:
    """A stream that another task closes while it waits for the next chunk ends at once, and is not healed."""
    with Emulator(cap=12, tokens=44, faults=[Fault("hang", round=2, after_tokens=8)]) as emulator:
        client = narrow(ASYNC, emulator)
        stream = await client.chat.completions.create(**ask("Hang."), stream=True)
        seen: list[Any] = []

        async def reading() -> None:
            async for chunk in stream:
                seen.append(chunk)

        task = asyncio.create_task(reading())
        assert await eventually(lambda: len(joined(seen)) == len(emulator.uncapped(ask("Hang.", max_tokens=20))))
        await stream.close()
        # Whether the reader gets an error or an end is the SDK's affair, as in a first round.
        with contextlib.suppress(openai.APIError, http.TransportError, http.StreamError):
            await asyncio.wait_for(task, 2)

        assert task.done()
        await check_left(client, emulator, 2)


class _Failing:
    """A transport of which the second request fails with something else than an error of the HTTP library."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.seen = 0

    def _fail(self) -> None:
        self.seen += 1
        if self.seen == 2:
            raise self._error


class Failing(_Failing, http.HTTPTransport):  # type: ignore[misc]
    def handle_request(self, request: Any) -> Any:
        self._fail()
        return super().handle_request(request)


class AsyncFailing(_Failing, http.AsyncHTTPTransport):  # type: ignore[misc]
    async def handle_async_request(self, request: Any) -> Any:
        self._fail()
        return await super().handle_async_request(request)


ERRORS = [RuntimeError("Cannot send a request, as the client has been closed."), KeyError("x"), OSError(9, "bad")]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
async def test_round_that_fails_with_a_foreign_error(
    colour: Way, slow: Emulator, error: Exception, streamed: bool
) -> None:
    """Whatever a later round fails with, a client closed between rounds included, the answer so far comes."""
    transport = AsyncFailing(error) if colour.is_async else Failing(error)
    client = colour.client(slow.base_url, transport=transport, max_retries=0)
    body = ask("Foreign.")

    answer = await settled(client.chat.completions.create(**body, stream=streamed))
    if streamed:
        chunks = await listed(answer)
        last, text = chunks[-1], joined(chunks)
    else:
        last, text = answer, answer.choices[0].message.content
    await settled(client.close())

    assert slow.uncapped({**body, "max_tokens": 12}) == text
    assert "length" == last.choices[0].finish_reason
    assert "error" == last.continuation["stopped_by"]
    assert 1 == len(slow.requests)


@pytest.mark.parametrize("streamed", [False, True])
def test_client_closed_between_rounds(slow: Emulator, streamed: bool) -> None:
    """Where the client is closed between two rounds, the answer so far comes."""
    settings = replace(DEEPINFRA, on_round=lambda _: client.close())
    client = SYNC.client(slow.base_url, continuation=settings, max_retries=0)
    body = ask("Between.")

    answer = client.chat.completions.create(**body, stream=streamed)
    text = joined(list(answer)) if streamed else answer.choices[0].message.content

    assert slow.uncapped({**body, "max_tokens": 12}) == text
    assert 1 == len(slow.requests)


# Streams that are made by hand.


async def test_stream_that_can_be_read_but_once(colour: Way) -> None:
    """A transport whose streams are generators, as in tests of others, is read once and closed."""

    def events(number: int) -> Iterator[bytes]:
        finish = "length" if number < 3 else "stop"
        for delta, end in (({"content": f"part {number} of several, "}, None), ({}, finish)):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            yield b"data: " + json.dumps({"id": "a", "choices": [choice]}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def aevents(number: int) -> AsyncIterator[bytes]:
        for event in events(number):
            yield event

    sent: list[Any] = []

    def serve(request: Any) -> Any:
        sent.append(request)
        content = aevents(len(sent)) if colour.is_async else events(len(sent))
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=content, request=request)

    client = colour.client("https://api.deepinfra.com/v1/openai", transport=http.MockTransport(serve))
    chunks = await listed(await settled(client.chat.completions.create(**ask("Once."), stream=True)))
    await settled(client.close())

    assert "part 1 of several, part 2 of several, part 3 of several, " == joined(chunks)
    assert 3 == len(sent)


# A server that does not end its streams.


class _Lingering(socketserver.StreamRequestHandler):
    """Answers a request with a stream, truncated but for the third, and keeps the connection open behind its end."""

    def handle(self) -> None:
        server: Any = self.server
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.rfile.read(length)
        server.requests += 1
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.wfile.write(head)
        finish = "length" if server.requests < 3 else "stop"
        text = f"part {server.requests} of several, "
        for delta, end in (({"role": "assistant", "content": text}, None), ({}, finish)):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            self._send(json.dumps({"id": "a", "object": "chat.completion.chunk", "choices": [choice]}))
        self._send("[DONE]")
        # The last chunk of the body never comes; wait for the client to lose patience.
        self.rfile.read(1)

    def _send(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))


@pytest.fixture
def lingering() -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Lingering) as server:
        server.requests = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_server_that_lingers(colour: Way, lingering: Any) -> None:
    """A server that does not end its stream behind the end mark costs a tenth of a second a round, and connections."""
    client = colour.client(f"http://127.0.0.1:{lingering.server_address[1]}/v1")
    started = time.monotonic()

    chunks = await listed(await settled(client.chat.completions.create(**ask("Linger."), stream=True)))
    taken = time.monotonic() - started
    await settled(client.close())

    assert "part 1 of several, part 2 of several, part 3 of several, " == joined(chunks)
    assert 3 == lingering.requests
    assert 0.2 < taken < 5


async def test_cancelled_while_a_server_lingers(lingering: Any) -> None:
    """A reader that is cancelled while it waits for a server to end its stream gets CancelledError."""
    client = ASYNC.client(f"http://127.0.0.1:{lingering.server_address[1]}/v1")
    stream = await client.chat.completions.create(**ask("Linger."), stream=True)
    task = asyncio.create_task(listed(stream))
    assert await eventually(lambda: lingering.requests == 1)
    # Long enough for the end mark to come, too short for patience to end.
    await asyncio.sleep(0.04)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    await client.close()

    assert 1 == lingering.requests
