"""Leaving early: nothing is sent after the end, and no connection stays in use."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue.testing import Emulator, Fault
from tests.support.answers import joined
from tests.support.asking import ask_both, chunks_of, create, text_of
from tests.support.bodies import ask
from tests.support.script import DONE, Script, chunk, reply
from tests.support.ways import ASYNC, DEEPINFRA, SYNC, Way, entered, http, listed, settled, streamed_or_not

ROUNDS = 4
#: Whether a connection survives that its user is cancelled while it is being closed. The connection of httpcore 1
#: (openai < 3) stays in use, with us or without.
SHIELDED = http.__name__ == "httpx2"
#: Chunks of an answer of 44 tokens, 12 a round and a chunk each: in the first round, at its end, in the second and in
#: the last one.
PLACES = [1, 12, 13, 14, 20, 42]
HOST = "https://api.deepinfra.com/v1/openai"
#: What reading on may raise after a stream or client was closed; whether it does is the SDK's affair.
CLOSED = (openai.APIError, http.TransportError, http.StreamError)


@pytest.fixture(scope="module")
def _module_emulator() -> Iterator[Emulator]:
    with Emulator(cap=12, tokens=44, token_delay=0.001) as emulator:
        yield emulator


@pytest.fixture
def slow(_module_emulator: Emulator) -> Emulator:
    """A server that is still writing when the client goes."""
    _module_emulator.clear()
    return _module_emulator


def narrow(way: Way, emulator: Emulator, before: Callable[[int], Any] = lambda number: None) -> Any:
    """
    Return a client of one connection: if it stays in use, the next call fails.

    ``sent`` counts its requests; ``before`` is called, and awaited, with the number of each before it is sent.
    """
    kind = http.AsyncHTTPTransport if way.is_async else http.HTTPTransport
    transport = kind(limits=http.Limits(max_connections=1))
    client = way.client(emulator.base_url, transport=transport, timeout=http.Timeout(60, pool=30), max_retries=0)
    client.sent = 0

    def note(_: Any) -> Any:
        client.sent += 1
        return before(client.sent)

    async def anote(_: Any) -> None:
        await settled(note(_))

    client._client.event_hooks = {"request": [anote if way.is_async else note]}
    return client


async def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds, or a minute has passed."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.002)
    return condition()


async def read(stream: Any, chunks: int) -> list[Any]:
    """Read as many chunks, and leave the stream as it is."""
    seen: list[Any] = []
    if chunks and hasattr(stream, "__aiter__"):
        async for one in stream:
            seen.append(one)
            if len(seen) == chunks:
                break
    elif chunks:
        for one in stream:
            seen.append(one)
            if len(seen) == chunks:
                break
    return seen


def rounds_until(chunks: int) -> int:
    """Return the most rounds that have begun when this many chunks were read: the first round brings a role too."""
    return max(1, -(-(chunks - 1) // 12)) + (chunks > 1 and (chunks - 1) % 12 == 0)


async def check_left(client: Any, emulator: Emulator, most: int, *, free: bool = True) -> None:
    """Check that a call was left for good: no request follows, the server is left alone, the connection is free."""
    sent = client.sent
    assert await eventually(lambda: emulator.running == 0)
    # Longer than any client needs to begin another round.
    await asyncio.sleep(0.03)
    assert sent == client.sent <= most
    if free:
        assert in_use(client) == []
        body = ask("Write 5 tokens.")
        assert emulator.uncapped(body) == text_of(await create(client, **body))
    await settled(client.close())
    assert await eventually(lambda: emulator.open_connections == 0)


def in_use(client: Any) -> list[Any]:
    """Return the client's connections that a request holds."""
    connections = client._client._transport._pool.connections
    return [one for one in connections if not one.is_idle() and not one.is_closed()]


async def test_one_connection(way: Way, slow: Emulator) -> None:
    """A client of a single connection is enough for any number of rounds, read to the end or not."""
    client = narrow(way, slow)
    connections = slow.connections

    assert (slow.uncapped(ask("Narrow.")),) * 2 == await ask_both(client, **ask("Narrow."))
    assert slow.connections - connections == 1
    await check_left(client, slow, 2 * ROUNDS)


# Leaving a stream.


@pytest.mark.parametrize("place", [0, *PLACES])
async def test_close(way: Way, slow: Emulator, place: int) -> None:
    """``close()`` ends the round that is running; no round begins after it, and reading on gives nothing."""
    client = narrow(way, slow)
    stream = await create(client, **ask("Close."), stream=True)
    seen = await read(stream, place)

    await settled(stream.close())
    await settled(stream.close())

    assert slow.uncapped(ask("Close.")).startswith(joined(seen))
    assert not place or [] == await listed(stream)
    await check_left(client, slow, rounds_until(place))


@pytest.mark.parametrize("place", PLACES)
async def test_with_block_that_is_left(way: Way, slow: Emulator, place: int) -> None:
    """Leaving a ``with`` block by ``break`` or by an exception closes the round that is running."""
    client = narrow(way, slow)

    async with entered(await create(client, **ask("Break."), stream=True)) as stream:
        await read(stream, place)
    with pytest.raises(KeyError):
        async with entered(await create(client, **ask("Raise."), stream=True)) as stream:
            await read(stream, place)
            raise KeyError

    await check_left(client, slow, 2 * rounds_until(place))


@pytest.mark.parametrize("place", [1, 6, 20])
@pytest.mark.parametrize("is_helper", [True, False], ids=["stream-helper", "streaming-response"])
async def test_helper_that_is_left(way: Way, slow: Emulator, place: int, is_helper: bool) -> None:
    """Leaving the ``stream()`` helper or a streaming response, which know only the first response, closes the round."""
    client = narrow(way, slow)
    completions = client.chat.completions
    if is_helper:
        made = completions.stream(**ask("Helper."))
    else:
        made = completions.with_streaming_response.create(**ask("Helper."), stream=True)

    async with entered(made) as inner:
        await read(inner if is_helper else inner.iter_lines(), 2 * place)

    await check_left(client, slow, rounds_until(place))


# The SDK's own way of dropping a stream lets the garbage collector meet an open socket.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", [0, 1, 6, 20])
async def test_stream_that_is_dropped(way: Way, slow: Emulator, place: int) -> None:
    """A stream that is dropped unread sends nothing more, and holds no more than the SDK's own would."""
    client = narrow(way, slow)
    stream = await create(client, **ask("Drop."), stream=True)
    await read(stream, place)

    del stream
    gc.collect()
    await asyncio.sleep(0.05)

    assert len(slow.requests) <= rounds_until(place)
    # Without us, connections of async streams, and of those never read, stay in use until the client is closed.
    assert way.is_async or not place or [] == in_use(client)
    await settled(client.close())
    assert await eventually(lambda: slow.running == slow.open_connections == 0)


async def test_stream_that_is_read_to_its_end(way: Way, slow: Emulator) -> None:
    """A stream that was read to its end is closed already; ``close()`` does no harm, and nothing more comes."""
    client = narrow(way, slow)
    stream = await create(client, **ask("To the end."), stream=True)

    assert slow.uncapped(ask("To the end.")) == joined(await listed(stream))
    assert stream.response.is_closed
    assert await listed(stream) == []
    await settled(stream.close())
    await check_left(client, slow, ROUNDS)


@pytest.mark.parametrize("place", [1, 6, 20])
async def test_client_that_is_closed(way: Way, slow: Emulator, place: int) -> None:
    """The client's own ``close()`` ends a stream too: no round begins after it, to heal it or to go on."""
    client = narrow(way, slow)
    stream = await create(client, **ask("Closed client."), stream=True)
    await read(stream, place)

    await settled(client.close())
    with contextlib.suppress(*CLOSED):
        await listed(stream)

    assert await eventually(lambda: slow.running == slow.open_connections == 0)
    assert len(slow.requests) <= rounds_until(place)


@streamed_or_not
def test_client_closed_between_rounds(slow: Emulator, streamed: bool) -> None:
    """If the client is closed between two rounds, the answer so far comes."""
    settings = replace(DEEPINFRA, on_round=lambda _: client.close())
    client = SYNC.client(slow.base_url, continuation=settings, max_retries=0)

    answer = client.chat.completions.create(**ask("Between."), stream=streamed)

    assert slow.uncapped(ask("Between.", max_tokens=12)) == (joined(list(answer)) if streamed else text_of(answer))
    assert len(slow.requests) == 1


# Cancelling.


@pytest.mark.parametrize("rounds", [1, 2, 4])
async def test_cancelled_whole_answer(rounds: int) -> None:
    """A call that is cancelled in any of its rounds raises CancelledError, and no round follows."""
    with Emulator(cap=12, tokens=44, faults=[Fault("hang", round=rounds)]) as emulator:
        client = narrow(ASYNC, emulator)
        task = asyncio.create_task(create(client, **ask("Cancel.")))
        # The server has it: on Python 3.10, anyio loses a cancellation that comes when a connection has just been made.
        assert await eventually(lambda: len(emulator.requests) == rounds)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await check_left(client, emulator, rounds, free=SHIELDED)


@pytest.mark.parametrize("place", [1, 6, 12, 13, 14, 20, 38])
async def test_cancelled_stream(slow: Emulator, place: int) -> None:
    """A reader that is cancelled at any chunk gets CancelledError at once, and no round follows."""
    client = narrow(ASYNC, slow)
    seen: list[Any] = []

    async def reading() -> None:
        async with await create(client, **ask("Cancel."), stream=True) as stream:
            async for one in stream:
                seen.append(one)
                if len(seen) == place:
                    task.cancel()

    task = asyncio.create_task(reading())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert slow.uncapped(ask("Cancel.")).startswith(joined(seen))
    await check_left(client, slow, rounds_until(len(seen)), free=SHIELDED)


@streamed_or_not
async def test_timeout_of_the_callers(slow: Emulator, streamed: bool) -> None:
    """``asyncio.wait_for()`` around a call ends it in time, whatever round it is in."""
    client = ASYNC.client(slow.base_url, continuation=replace(DEEPINFRA, max_rounds=1000))
    call = asyncio.create_task((chunks_of if streamed else create)(client, **ask("Write 3000 tokens.")))

    assert await eventually(lambda: slow.requests != [])
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(call, 0.3)
    await client.close()

    assert await eventually(lambda: slow.running == slow.open_connections == 0)


ENDS = ((1, "length"), (2, "length"), (3, "stop"))
THREE = "part 1 of three, part 2 of three, part 3 of three, "


class Body(http.AsyncByteStream):  # type: ignore[misc]
    """A body that lets others have their turn of the loop around every piece, and remembers that it was closed."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        self.is_closed = True
        await asyncio.sleep(0)


class Turns(Script):
    """A server inside the process, so that a call takes the same turns of the loop each time: three rounds."""

    def __init__(self) -> None:
        super().__init__(*(reply(f"part {number} of three, ", finish=end) for number, end in ENDS))
        self.requests = 0
        self.sent: list[Body] = []

    async def handle_async_request(self, request: Any) -> Any:
        self.requests += 1
        await asyncio.sleep(0)
        response = await super().handle_async_request(request)
        self.sent.append(Body(list(response.stream)))
        return http.Response(200, stream=self.sent[-1], request=request)


async def three_rounds(server: Turns, streams: list[Any], *, streamed: bool) -> str:
    """Ask for three rounds, leaving the stream where it can be found."""
    client = ASYNC.client(HOST, transport=server)
    answer = await create(client, **ask("Turns."), stream=streamed)
    if not streamed:
        return text_of(answer)
    async with answer:
        streams.append(answer)
        return joined(await listed(answer))


@streamed_or_not
async def test_cancelled_at_every_turn(streamed: bool) -> None:
    """At whatever turn of the loop a call is cancelled, it raises CancelledError, sends nothing more and closes all."""
    number, whole = 0, False
    while not whole:
        server = Turns()
        task = asyncio.create_task(three_rounds(server, [], streamed=streamed))
        for _ in range(number):
            await asyncio.sleep(0)
        whole = task.done()
        task.cancel()
        sent = server.requests
        await asyncio.wait([task])

        assert task.cancelled() != whole
        assert sent == server.requests
        assert all(body.is_closed for body in server.sent)
        number += 1

    assert task.result() == THREE
    assert number > 10


async def test_closed_at_every_turn() -> None:
    """At whatever turn of the loop another task closes a stream, it is not healed, begins no round and closes all."""
    number, whole = 0, False
    while not whole:
        server = Turns()
        streams: list[Any] = []
        task = asyncio.create_task(three_rounds(server, streams, streamed=True))
        while not streams:
            await asyncio.sleep(0)
        for _ in range(number):
            await asyncio.sleep(0)
        whole = task.done()
        sent = server.requests
        await streams[0].close()
        # Whether the reader gets an error or an end is the SDK's affair.
        await asyncio.wait([task])

        assert task.exception() or THREE.startswith(task.result())
        assert sent == server.requests
        assert all(body.is_closed for body in server.sent)
        number += 1

    assert number > 10


# Closing while a round is being opened or read.


async def test_closed_by_a_thread_while_a_round_is_opened(slow: Emulator) -> None:
    """A stream that another thread closes while its next round is being opened ends there; the round is closed."""
    reached, may_pass = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        if number == 2:
            reached.set()
            assert may_pass.wait(5)

    client = narrow(SYNC, slow, hold)
    stream = client.chat.completions.create(**ask("Gate."), stream=True)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: joined(list(stream)))
        assert reached.wait(5)
        stream.close()
        may_pass.set()
        text = reading.result(5)

    assert slow.uncapped(ask("Gate.", max_tokens=12)) == text
    await check_left(client, slow, 2)


def gate(slow: Emulator) -> tuple[Any, asyncio.Event, asyncio.Event]:
    """Return a client whose second request waits; the event that it has come, and the one that lets it pass."""
    reached, may_pass = asyncio.Event(), asyncio.Event()

    async def hold(number: int) -> None:
        if number == 2:
            reached.set()
            await asyncio.wait_for(may_pass.wait(), 60)

    return narrow(ASYNC, slow, hold), reached, may_pass


async def test_closed_by_a_task_while_a_round_is_opened(slow: Emulator) -> None:
    """A stream that another task closes while its next round is being opened ends there; the round is closed."""
    client, reached, may_pass = gate(slow)
    stream = await create(client, **ask("Gate."), stream=True)

    reading = asyncio.create_task(listed(stream))
    await asyncio.wait_for(reached.wait(), 60)
    await stream.close()
    may_pass.set()

    assert slow.uncapped(ask("Gate.", max_tokens=12)) == joined(await asyncio.wait_for(reading, 60))
    await check_left(client, slow, 2)


@streamed_or_not
async def test_cancelled_while_a_round_is_opened(slow: Emulator, streamed: bool) -> None:
    """A call that is cancelled while its next round is being opened sends none."""
    client, reached, _ = gate(slow)

    task = asyncio.create_task((chunks_of if streamed else create)(client, **ask("Gate.")))
    await asyncio.wait_for(reached.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(slow.requests) == 1
    await check_left(client, slow, 2)


async def test_closed_by_a_task_while_a_round_is_read() -> None:
    """A stream that another task closes while it waits for the next chunk ends at once, and is not healed."""
    with Emulator(cap=12, tokens=44, faults=[Fault("hang", round=2, after_tokens=8)]) as emulator:
        client = narrow(ASYNC, emulator)
        stream = await create(client, **ask("Hang."), stream=True)
        seen: list[Any] = []

        async def reading() -> None:
            async for one in stream:
                seen.append(one)

        task = asyncio.create_task(reading())
        assert await eventually(lambda: joined(seen) == emulator.uncapped(ask("Hang.", max_tokens=20)))
        await stream.close()
        with contextlib.suppress(*CLOSED):
            await asyncio.wait_for(task, 60)

        assert task.done()
        await check_left(client, emulator, 2)


# Streams that are made by hand, and servers that do not end theirs.


def part(number: int) -> list[bytes]:
    """Return the events of a round of three."""
    return [chunk(f"part {number} of three, "), chunk(None, "length" if number < 3 else "stop"), DONE]


async def test_stream_that_can_be_read_only_once(way: Way) -> None:
    """A transport whose streams are generators, as in other projects' tests, is read once and closed."""
    sent: list[Any] = []

    async def events() -> AsyncIterator[bytes]:
        for one in part(len(sent)):
            yield one

    def serve(request: Any) -> Any:
        sent.append(request)
        content = events() if way.is_async else iter(part(len(sent)))
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=content, request=request)

    client = way.client(HOST, transport=http.MockTransport(serve))

    assert joined(await chunks_of(client, **ask("Once."))) == THREE
    assert len(sent) == 3


class _Lingering(socketserver.StreamRequestHandler):
    """Answers a request with a stream, and keeps the connection open after its end mark."""

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
        self.wfile.write(head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in part(server.requests)))
        # The last chunk of the body never comes; wait for the client to lose patience.
        self.rfile.read(1)


@pytest.fixture
def lingering() -> Iterator[Any]:
    """A server that lingers."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Lingering) as server:
        server.requests = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_server_that_lingers(way: Way, lingering: Any) -> None:
    """A server that does not end its stream after the end mark costs a tenth of a second a round, and connections."""
    client = way.client(f"http://127.0.0.1:{lingering.server_address[1]}/v1")
    started = time.monotonic()

    assert joined(await chunks_of(client, **ask("Linger."))) == THREE
    taken = time.monotonic() - started
    await settled(client.close())

    assert lingering.requests == 3
    assert 0.2 < taken < 50


async def test_cancelled_while_a_server_lingers(lingering: Any) -> None:
    """A reader that is cancelled while it waits for a server to end its stream gets CancelledError."""
    client = ASYNC.client(f"http://127.0.0.1:{lingering.server_address[1]}/v1")
    task = asyncio.create_task(chunks_of(client, **ask("Linger.")))
    assert await eventually(lambda: lingering.requests == 1)
    # Long enough for the end mark to come, too short for patience to end.
    await asyncio.sleep(0.04)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    await client.close()

    assert lingering.requests == 1
