"""No work with files is done on an event loop, and a task that is cancelled within it leaves everything as it should be."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_continue._sdk import journal
from openai_continue.testing import Emulator, Fault
from tests.support.answers import Answer, joined
from tests.support.bodies import ask
from tests.support.engine import Engine, UnreliableServer
from tests.support.journals import asked, folder, how, keeping, kept, resumed, warnings
from tests.support.ways import OUR_ASYNC, listed

# Fixtures that tests name.
__all__ = ["folder", "warnings"]

pytestmark = pytest.mark.usefixtures("no_waiting")

BODY = ask("Write 150 tokens.", model="Qwen/Qwen3-32B")
TEXT = Engine().uncapped(BODY).text
CAP = 40
#: Seconds after which a test gives up; none of them waits so long.
LATE = 10.0


class Watch:
    """Notes which thread does what with files."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[tuple[str, int]] = []
        self._was_added = False

    def add(self) -> None:
        """Ask Python to report its work with files; it does so for good, so ask once."""
        if not self._was_added:
            self._was_added = True
            sys.addaudithook(self._hear)

    def note(self, what: str) -> None:
        if self.is_on:
            self.seen.append((what, threading.get_ident()))

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.is_on and event in ("open", "os.remove", "os.rename", "os.mkdir", "os.truncate", "fcntl.flock"):
            self.note(event)


WATCH = Watch()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Watch all that is done with files, also what Python does not report."""

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            WATCH.note(name)
            return real(*args, **kwargs)

        return called

    for name in ("fsync", "fstat", "stat", "lstat"):
        monkeypatch.setattr(os, name, noting(name))
    WATCH.add()
    WATCH.seen.clear()
    yield WATCH
    WATCH.is_on = False


@how
async def test_all_files_are_for_threads(how: str, folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened, locked, read, written, synced, removed: in an answer that breaks off, goes on, and ends, never on the loop."""
    monkeypatch.setattr(journal, "_INTERVAL", 0.0)
    # What is imported and found out once is not watched.
    await asked(OUR_ASYNC, UnreliableServer(Engine(cap=CAP), 3), how, BODY, keeping(folder / "before", how))
    answers = []
    for lost in ((3,), (2,), ()):
        server, settings = UnreliableServer(Engine(cap=CAP), *lost), keeping(folder, how)
        watch.is_on = True
        answers.append(await asked(OUR_ASYNC, server, how, BODY, settings))
        watch.is_on = False
    threads = {thread for _, thread in watch.seen}

    assert [resumed(answer) for answer in answers] == [0, 2, 3]
    assert answers[-1].ending == (TEXT, "stop", "stop")
    assert {"open", "fcntl.flock", "fsync", "os.remove", "lstat"} <= {what for what, _ in watch.seen}
    assert threading.get_ident() not in threads


@how
async def test_an_answer_of_one_round(how: str, folder: Path, watch: Watch) -> None:
    """So it is if there is nothing to continue, or the first request fails."""
    await asked(OUR_ASYNC, UnreliableServer(Engine(cap=CAP), 3), how, BODY, keeping(folder / "before", how))
    watch.is_on = True
    answer = await asked(OUR_ASYNC, UnreliableServer(Engine()), how, BODY, keeping(folder, how))
    with pytest.raises(Exception, match="Connection error"):
        await asked(OUR_ASYNC, UnreliableServer(Engine(), *range(1, 9)), how, BODY, keeping(folder, how))
    watch.is_on = False

    assert answer.text == TEXT
    assert {"open", "fcntl.flock"} <= {what for what, _ in watch.seen}
    assert threading.get_ident() not in {thread for _, thread in watch.seen}


async def test_a_stream_that_is_closed(folder: Path, watch: Watch) -> None:
    """So it is with a stream that its caller closes, at once or within a round."""
    await asked(
        OUR_ASYNC, UnreliableServer(Engine(cap=CAP), 3), "streamed", BODY, keeping(folder / "before", "streamed")
    )
    client = OUR_ASYNC.client("http://127.0.0.1", transport=UnreliableServer(Engine(cap=CAP)), continuation=keeping(folder, "streamed"))  # fmt: skip
    watch.is_on = True
    for size in (0, 30, 300, 300):
        stream = await client.chat.completions.create(**BODY, stream=True)
        text = ""
        while len(text) < size:
            text += joined([await anext(stream)])
        await stream.close()
    await client.close()
    watch.is_on = False

    assert len(kept(folder)) == 1
    assert {"open", "fcntl.flock", "fsync"} <= {what for what, _ in watch.seen}
    assert threading.get_ident() not in {thread for _, thread in watch.seen}


async def test_a_first_request_that_is_sent_again(folder: Path, watch: Watch) -> None:
    """So it is if a whole answer of streamed rounds is begun a second time."""
    answers = []
    for place in (folder / "before", folder):
        settings = keeping(place, "streamed rounds", heal_streams=False)
        with Emulator(cap=CAP, faults=[Fault("reset", round=1, after_tokens=5)]) as emulator:
            watch.is_on = place == folder
            answers.append(await asked(OUR_ASYNC, emulator, "streamed rounds", BODY, settings, max_retries=1))
            watch.is_on = False

    assert [(TEXT, "stop", "stop")] * 2 == [answer.ending for answer in answers]
    assert {"open", "fcntl.flock", "os.remove"} <= {what for what, _ in watch.seen}
    assert threading.get_ident() not in {thread for _, thread in watch.seen}


class SlowDisk:
    """A disk whose ``fsync`` lasts until somebody says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        #: Whether somebody has said so each time.
        self.was_let = True
        monkeypatch.setattr("openai_continue._sdk.journal_file.os.fsync", self._sync)

    def _sync(self, _: int) -> None:
        self.begun.set()
        self.was_let &= self.may_end.wait(LATE)


@how
async def test_the_loop_goes_on(how: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a disk takes its time, other tasks run: here it waits for one of them."""
    disk, ticks = SlowDisk(monkeypatch), 0

    async def tick() -> None:
        nonlocal ticks
        while not disk.may_end.is_set():
            await asyncio.sleep(0.001)
            ticks += disk.begun.is_set()
            if ticks == 50:
                disk.may_end.set()

    ticking = asyncio.create_task(tick())
    answer = await asked(OUR_ASYNC, UnreliableServer(Engine(cap=CAP)), how, BODY, keeping(folder, how))
    await ticking

    assert (*answer.ending, ticks, disk.was_let) == (TEXT, "stop", "stop", 50, True)
    assert kept(folder) == []


async def began(disk: SlowDisk) -> None:
    while not disk.begun.is_set():
        await asyncio.sleep(0.001)


@how
@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_while_a_file_is_written(
    times: int, how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is whole and free when its thread is done; the same request goes on from it."""
    with monkeypatch.context() as patch:
        disk = SlowDisk(patch)
        server = UnreliableServer(Engine(cap=CAP))
        task = asyncio.create_task(asked(OUR_ASYNC, server, how, BODY, keeping(folder, how)))
        await began(disk)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
        disk.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        # A task that is cancelled again and again does not wait for its thread.
        await all_threads_done()
    again = await asked(OUR_ASYNC, server, how, BODY, keeping(folder, how))

    assert (*again.ending, disk.was_let) == (TEXT, "stop", "stop", True)
    assert resumed(again) >= 1
    assert list(folder.iterdir()) == []


async def all_threads_done() -> None:
    while anyio.to_thread.current_default_thread_limiter().borrowed_tokens:
        await asyncio.sleep(0.001)


async def test_cancelled_while_the_lock_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is taken for a task that is gone is let go of."""
    begun, may_end = threading.Event(), threading.Event()
    acquire = journal.Journal._acquire

    def slow(self: journal.Journal) -> bool:
        taken = acquire(self)
        begun.set()
        assert may_end.wait(LATE)
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "_acquire", slow)
        task = asyncio.create_task(
            asked(OUR_ASYNC, UnreliableServer(Engine(cap=CAP)), "whole", BODY, keeping(folder, "whole"))
        )
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await all_threads_done()

    assert list(folder.iterdir()) == []


async def test_scope_that_is_cancelled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope of anyio that is cancelled while a file is written ends when the file is closed."""
    with Emulator(cap=CAP, token_delay=0.0005) as emulator:
        with monkeypatch.context() as patch:
            disk = SlowDisk(patch)
            async with anyio.create_task_group() as group:
                group.start_soon(asked, OUR_ASYNC, emulator, "streamed", BODY, keeping(folder, "streamed"))
                await began(disk)
                group.cancel_scope.cancel()
                threading.Timer(0.05, disk.may_end.set).start()
        again = await asked(OUR_ASYNC, emulator, "streamed", BODY, keeping(folder, "streamed"))

    assert (*again.ending, disk.was_let) == (TEXT, "stop", "stop", True)
    assert resumed(again) >= 1
    assert list(folder.iterdir()) == []


def test_stream_that_is_left_open(folder: Path) -> None:
    """What a stream that nobody closes has got is kept when its loop ends."""

    async def leave(base_url: str) -> str:
        client = OUR_ASYNC.client(base_url, continuation=keeping(folder, "streamed"), max_retries=0)
        stream = await client.chat.completions.create(**BODY, stream=True)
        text = ""
        async for chunk in stream:
            text += joined([chunk])
            if len(text) > 300:
                break
        await client.close()
        return text

    async def go_on(base_url: str) -> tuple[str, int]:
        client = OUR_ASYNC.client(base_url, continuation=keeping(folder, "streamed"), max_retries=0)
        chunks = await listed(await client.chat.completions.create(**BODY, stream=True))
        await client.close()
        return joined(chunks), chunks[-1].continuation["resumed"]

    with Emulator(cap=CAP, token_delay=0.0005, chunk_tokens=1, events_per_write=1) as emulator:
        begun = asyncio.run(leave(emulator.base_url))
        text, rounds = asyncio.run(go_on(emulator.base_url))

    assert text.startswith(begun)
    assert (text, list(folder.iterdir())) == (TEXT, [])
    assert rounds >= 2


@pytest.mark.thorough
async def test_streams_of_many_tasks(folder: Path) -> None:
    """Answers of many tasks at once are right, though requests are lost, and no file is left."""
    bodies = [ask(f"Write {100 + number} tokens.", model="Qwen/Qwen3-32B") for number in range(6)]
    truths = [Engine().uncapped(body).text for body in bodies]
    server = UnreliableServer(Engine(cap=CAP), 13, 15, 21, 22, 30, 35)
    texts: list[str] = []
    for _ in range(4):
        asking = [asked(OUR_ASYNC, server, "streamed", body, keeping(folder, "streamed")) for body in bodies]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        texts = [answer.text if isinstance(answer, Answer) else "" for answer in answers]
        assert all(truth.startswith(text) for truth, text in zip(truths, texts, strict=True))

    assert texts == truths
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
async def test_work_of_a_task_that_is_cancelled(steps: int, cancels: int) -> None:
    """Work with files is done once and to its end, also if its task is cancelled before the thread has begun."""
    done: list[str] = []

    def work() -> None:
        done.append("begun")
        time.sleep(0.02)
        done.append("ended")

    task = asyncio.create_task(journal.in_thread(work))
    for _ in range(cancels):
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["begun", "ended"]
