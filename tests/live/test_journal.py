"""The journal: what has arrived outlives an error, a closed stream, and the process; nothing of it ever costs a call."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import wrapt
from openai._base_client import AsyncAPIClient, SyncAPIClient

import openai_continue
from openai_continue import Continuation
from openai_continue.switches import is_disabled
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.answers import Answer, joined, live, outcome
from tests.support.bodies import ask
from tests.support.engine import Engine, UnreliableServer
from tests.support.journals import (
    TEXT,
    WAYS,
    EightCharacterServer,
    asked,
    broken,
    changed,
    folder,
    how,
    keeping,
    kept,
    resumed,
    warnings,
)
from tests.support.ways import ASYNC, OUR_ASYNC, SYNC, Way, listed, settled, sync_and_async

# Fixtures that tests name.
__all__ = ["folder", "warnings"]

pytestmark = pytest.mark.usefixtures("no_waiting")

QWEN = "Qwen/Qwen3-32B"
BODY = ask("Write 150 tokens.", model=QWEN)
CAP = 40
CALLER = Path(__file__).parents[1] / "measure" / "killed" / "caller.py"
TOOLS = [{"type": "function", "function": {"name": "save", "parameters": {"type": "object", "properties": {"title": {"type": "string"}}}}}]  # fmt: skip
#: Kinds of answers: the habits of the server, and the body.
KINDS: dict[str, tuple[Habits, dict[str, Any]]] = {
    "text": (Habits(), BODY),
    "several": (Habits(), {**BODY, "n": 2}),
    "logprobs": (Habits(), {**BODY, "logprobs": True}),
    "thoughts": (Habits(thinks="reasoning_content", template="qwen3", think_tokens=15), BODY),
    "usage asked": (Habits(usage="asked"), BODY),
    "call": (Habits(), ask("Write 110 tokens, then call the tool.", model=QWEN, tools=TOOLS)),
    "document": (Habits(), ask("An object of 150 tokens.", model=QWEN, response_format={"type": "json_object"})),
}


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same to a caller, but for the ids of calls."""
    calls = [[{**call, "id": None} for call in answer.tool_calls] for answer in (one, other)]
    return calls[0] == calls[1] and (one.text, one.thoughts, one.finish_reason, one.spelled) == (
        other.text,
        other.thoughts,
        other.finish_reason,
        other.spelled,
    )


def told(each: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of a round, without the id that a server makes anew."""
    return {**each, "id": None}


# An answer goes on.


@sync_and_async
@how
@pytest.mark.parametrize("kind", KINDS)
async def test_after_an_error(kind: str, how: str, way: Way, folder: Path) -> None:
    """The same request goes on after the rounds that came; none of them is asked for again, and usage counts them."""
    habits, body = KINDS[kind]
    settings = keeping(folder, how)
    undisturbed = UnreliableServer(Engine(habits=habits, cap=CAP))
    expected = await asked(way, undisturbed, how, body, Continuation(provider="deepinfra", stream_rounds=settings.stream_rounds))  # fmt: skip
    server = UnreliableServer(Engine(habits=habits, cap=CAP), 3)
    first = await asked(way, server, how, body, settings)
    left = kept(folder)
    again = await asked(way, server, how, body, settings)
    sent = server.bodies
    third = await asked(way, server, how, body, settings)

    assert (first.finish_reason, first.stopped_by, resumed(first), len(left)) == ("length", "error", 0, 1)
    assert same(expected, again)
    assert (expected.stopped_by, 2) == (again.stopped_by, resumed(again))
    assert expected.usage == again.usage
    assert [told(each) for each in expected.rounds] == [told(each) for each in again.rounds]
    assert [*undisturbed.bodies[:3], *undisturbed.bodies[2:]] == sent[: len(undisturbed.bodies) + 1]
    # An answer that has ended is not kept.
    assert (resumed(third), kept(folder)) == (0, [])
    assert same(expected, third)
    assert 2 * len(undisturbed.bodies) + 1 == len(server.bodies)
    assert list(folder.iterdir()) == []


@sync_and_async
@how
async def test_again_and_again(how: str, way: Way, folder: Path) -> None:
    """Each try adds its rounds."""
    server = UnreliableServer(Engine(cap=20), 2, 4, 5, 7)
    answers = [await asked(way, server, how, BODY, keeping(folder, how)) for _ in range(5)]

    assert list(map(resumed, answers)) == [0, 1, 2, 2, 3]
    assert [*["error"] * 4, "stop"] == [answer.stopped_by for answer in answers]
    assert Engine().uncapped(BODY).text == answers[-1].text
    assert kept(folder) == []


@sync_and_async
@how
async def test_raised_error(how: str, way: Way, folder: Path) -> None:
    """After an error that was raised, the same call goes on, too."""
    settings = keeping(folder, how, on_error="raise")
    server = UnreliableServer(Engine(cap=CAP), 3)
    client = way.client("http://127.0.0.1", transport=server, continuation=settings, max_retries=0)
    first = await outcome(client, streamed=how == "streamed", **BODY)
    again = await live(client, BODY, streamed=how == "streamed")
    await settled(client.close())

    assert isinstance(first.error, openai.APIConnectionError)
    assert (Engine().uncapped(BODY).text, "stop", "stop", 2) == (*again.ending, resumed(again))


@sync_and_async
@pytest.mark.parametrize("size", [30, 200, 300])
async def test_closed_stream(size: int, way: Way, folder: Path) -> None:
    """A stream that the caller closes in any round is begun again from its beginning, and goes on where it was."""
    with Emulator(cap=CAP, token_delay=0.0005, chunk_tokens=1, events_per_write=1) as emulator:
        client = way.client(emulator.base_url, continuation=keeping(folder, "streamed"), max_retries=0)
        stream = await settled(client.chat.completions.create(**BODY, stream=True))
        text = ""
        if way.is_async:
            async for chunk in stream:
                text += joined([chunk])
                if len(text) > size:
                    break
        else:
            for chunk in stream:
                text += joined([chunk])
                if len(text) > size:
                    break
        await settled(stream.close())
        requests = len(emulator.requests)
        again = await live(client, BODY, streamed=True)
        await settled(client.close())

        assert (emulator.uncapped(BODY), "stop", "stop") == again.ending
        assert again.text.startswith(text)
        assert resumed(again) == requests
        # The round that was left has brought what its caller got, and perhaps a little more.
        left = again.rounds[requests - 1]
        assert (left["finish_reason"], left["estimated"]) == (None, True)
        assert [each for each in again.rounds if each.get("estimated")] == [left]
        tokens = emulator.tokens_of(BODY)
        assert tokens - 2 <= again.report["usage"]["completion_tokens"] <= tokens + 2
        # A request that was cancelled while it was sent has no body.
        assert sum(len(logged.body.get("messages") or ()) == 1 for logged in emulator.requests) == 1
        # All of the round that was closed is used.
        assert emulator.derailed == 0


@how
async def test_cancelled(how: str, folder: Path) -> None:
    """A task that is cancelled leaves what arrived."""
    with Emulator(cap=CAP, token_delay=0.002, chunk_tokens=1, events_per_write=1) as emulator:
        settings = keeping(folder, how)
        task = asyncio.create_task(asked(OUR_ASYNC, emulator, how, BODY, settings))
        while len(emulator.requests) < 3:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await asked(OUR_ASYNC, emulator, how, BODY, settings)

        assert (emulator.uncapped(BODY), "stop", "stop") == again.ending
        assert resumed(again) >= 2
        # A request that was cancelled while it was sent has no body.
        assert sum(len(logged.body.get("messages") or ()) == 1 for logged in emulator.requests) == 1


@how
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.thorough
def test_killed(number: int, how: str, folder: Path) -> None:
    """A process that is killed in any round is followed by one that goes on."""
    prompt = BODY["messages"][0]["content"]
    with Emulator(cap=CAP, token_delay=0.004, chunk_tokens=1, events_per_write=1) as emulator:
        command = [sys.executable, str(CALLER), emulator.base_url, str(folder), prompt, how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        until = time.monotonic() + 120
        while len(emulator.requests) < number and time.monotonic() < until:
            time.sleep(0.002)
        process.kill()
        text, _ = process.communicate()
        left = kept(folder)
        again = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

        assert (text, len(left)) == (b"", 1)
        assert emulator.uncapped(BODY) == again.decode()
        # A request that was cancelled while it was sent has no body.
        assert sum(len(logged.body.get("messages") or ()) == 1 for logged in emulator.requests) == 1
        assert kept(folder) == []


@pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("patched_first", [False, True])
async def test_method_that_others_wrap(
    patched_first: bool, way: Way, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instrumenter that wraps ``request``, before us or after, sees each call once, and the answer goes on."""
    owner = AsyncAPIClient if way.is_async else SyncAPIClient
    seen: list[Any] = []

    def noting(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
        seen.extend([] if is_disabled() else [client])
        return wrapped(*args, **kwargs)

    # Whatever is wrapped here is unwrapped at the end.
    monkeypatch.setattr(owner, "request", owner.__dict__["request"])
    settings = keeping(folder, "whole")
    for _ in range(patched_first):
        openai_continue.patch(settings)
    wrapt.wrap_function_wrapper(owner, "request", noting)
    server = UnreliableServer(Engine(cap=CAP), 3)
    answers = [await asked(way, server, "whole", BODY, settings) for _ in range(2)]

    assert [0, 2] == [resumed(answer) for answer in answers]
    assert (Engine().uncapped(BODY).text, "stop", "stop") == answers[1].ending
    assert len(seen) == 2


# Another answer is begun.


@how
@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "Write 151 tokens."}]},
        {"model": "another"},
        {"temperature": 0.5},
        {"seed": 7},
        {"extra_body": {"top_k": 5}},
    ],
    ids=["prompt", "model", "temperature", "seed", "extra_body"],
)
async def test_another_request(fields: dict[str, Any], how: str, folder: Path) -> None:
    """Any other request is begun anew."""
    server = UnreliableServer(Engine(cap=CAP), 3)
    await asked(SYNC, server, how, BODY, keeping(folder, how))
    body = {**BODY, **fields}
    answer = await asked(SYNC, server, how, body, keeping(folder, how))
    sent = {name: value for name, value in body.items() if name != "extra_body"}

    assert (Engine().uncapped(sent).text, "stop", "stop", 0) == (*answer.ending, resumed(answer))


@how
async def test_settings_of_one_call(how: str, folder: Path) -> None:
    """One call may have a journal, another none; a wish about anything else is no other request."""
    server = UnreliableServer(Engine(cap=CAP), 3, 6)
    plain = Continuation(provider="deepinfra", stream_rounds=how == "streamed rounds")
    await asked(SYNC, server, how, BODY, plain)
    assert not folder.exists()
    wish = {"extra_body": {"continuation": {"journal": str(folder)}}}
    await asked(SYNC, server, how, {**BODY, **wish}, plain)
    off = await asked(SYNC, server, how, {**BODY, "extra_body": {"continuation": False}}, keeping(folder, how))
    again = await asked(SYNC, server, how, BODY, keeping(folder, how, max_rounds=20))

    assert (off.finish_reason, off.report) == ("length", None)
    assert (Engine().uncapped(BODY).text, "stop", "stop", 2) == (*again.ending, resumed(again))


@sync_and_async
@how
async def test_answer_of_one_round(how: str, way: Way, folder: Path) -> None:
    """An answer that needs no further round leaves nothing, and comes as ever."""
    server = UnreliableServer(Engine())
    answer = await asked(way, server, how, BODY, keeping(folder, how))

    assert (Engine().uncapped(BODY).text, "stop", None) == answer.ending
    assert kept(folder) == []


@sync_and_async
@how
async def test_first_round_fails(how: str, way: Way, folder: Path) -> None:
    """An answer that never began has nothing to keep."""
    server = UnreliableServer(Engine(cap=CAP), *range(1, 9))
    client = way.client("http://127.0.0.1", transport=server, continuation=keeping(folder, how), max_retries=0)
    answer = await outcome(client, streamed=how == "streamed", **BODY)
    assert list(folder.iterdir()) == []
    server.lost = ()
    again = await live(client, BODY, streamed=how == "streamed")
    await settled(client.close())

    assert isinstance(answer.error, openai.APIConnectionError)
    assert (Engine().uncapped(BODY).text, 0, []) == (again.text, resumed(again), kept(folder))


# Damaged files.


@pytest.mark.parametrize("how", WAYS[:2])
@pytest.mark.thorough
async def test_file_cut_anywhere(how: str, folder: Path) -> None:
    """Cut at any byte, a file is set aside, and the answer is right."""
    path = await broken(folder, how)
    whole = path.read_bytes()
    server = EightCharacterServer()
    client = SYNC.client("http://127.0.0.1", transport=server, continuation=keeping(folder, how), max_retries=0)
    lengths = [*range(0, len(whole), len(whole) // 18), len(whole) - 1, len(whole)]
    for length in lengths:
        path.write_bytes(whole[:length])
        server.requests = 0
        answer = await live(client, ask(), streamed=how == "streamed")
        assert (TEXT, "stop", "stop") == answer.ending, length
        assert resumed(answer) == (2 if length == len(whole) else 0), length
        assert server.requests + resumed(answer) == 4, length
    client.close()

    assert {path.with_suffix(".unreadable").stem} == {name[:64] for name in kept(folder)}
    # An empty file holds nothing to set aside.
    assert len(lengths[1:-1]) == len(kept(folder))


Entry = dict[str, Any]
GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "bytes": lambda _: bytes(range(256)) * 20 + b"\n",
    "no checksum": lambda raw: raw[17:],
    "another text": lambda raw: raw.replace(b"One", b"Six"),
    "line within": lambda raw: raw.replace(b",", b",\n", 1),
    "line after": lambda raw: raw + b"7\n",
    "blank line": lambda raw: raw + b"\n",
}
#: Records that are no journal's, though their checksums are right.
STRANGE: dict[str, Callable[[Entry], Any]] = {
    "another format": lambda entry: {**entry, "format": 2},
    "list": lambda entry: [entry],
    "number": lambda _: 7,
    "no answer": lambda entry: {**entry, "answer": None},
    "no choices": lambda entry: {**entry, "answer": {"id": "x"}},
    "no state": lambda entry: {name: value for name, value in entry.items() if name != "state"},
    "a state without its number": lambda entry: {**entry, "state": {"open": None}},
    "another type": lambda entry: {**entry, "state": {**entry["state"], "choices": 3}},
}


@how
@pytest.mark.parametrize("name", [*GARBAGE, *STRANGE])
async def test_damaged_file(name: str, how: str, folder: Path, warnings: Callable[[], list[str]]) -> None:
    """A file that is no journal is set aside, with one warning, and the answer is begun from its beginning."""
    path = await broken(folder, how)
    bad = GARBAGE[name](path.read_bytes()) if name in GARBAGE else changed(path, STRANGE[name])
    path.write_bytes(bad)
    answer = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*answer.ending, resumed(answer)) == (TEXT, "stop", "stop", 0)
    (warning,) = warnings()
    assert "is damaged" in warning or "is no journal" in warning
    assert kept(folder) == [path.with_suffix(".unreadable").name]
    assert path.with_suffix(".unreadable").read_bytes() == bad


@how
async def test_empty_file(how: str, folder: Path, warnings: Callable[[], list[str]]) -> None:
    """A file without a whole line is that of a process that has just begun."""
    path = await broken(folder, how)
    path.write_bytes(b"")
    answer = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*answer.ending, resumed(answer), warnings()) == (TEXT, "stop", "stop", 0, [])


@how
async def test_answer_that_cannot_go_on_here(how: str, folder: Path, warnings: Callable[[], list[str]]) -> None:
    """What this request may not go on from is no reason to end: the answer is begun from its beginning."""
    path = await broken(folder, how)
    path.write_bytes(changed(path, lambda entry: {**entry, "state": {**entry["state"], "queue": []}}))
    answer = await asked(SYNC, EightCharacterServer(), how, ask(), keeping(folder, how))

    assert (*answer.ending, resumed(answer), warnings()) == (TEXT, "stop", "stop", 0, [])


# A folder that cannot be used.


def a_file(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("mine")


def below_a_file(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("mine")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    opened = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        # Root may write in spite of the mode.
        if Path(path).parent == folder:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


def full(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openai_continue._sdk.journal_file.os.fsync", fsync)


def full_later(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, sync = [0], os.fsync

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr("openai_continue._sdk.journal_file.os.fsync", fsync)


def no_files(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def fail(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".answer"):
            raise OSError(24, "Too many open files")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", fail)


def no_locks(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(*_: Any, **__: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)


def no_filelock(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)


TROUBLES = {each.__name__: each for each in (a_file, below_a_file, read_only, full, full_later, no_files, no_locks, no_filelock)}  # fmt: skip


@sync_and_async
@how
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble(
    trouble: str,
    how: str,
    way: Way,
    folder: Path,
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a folder, a disk or a lock the call goes on without its journal, and one warning says so."""
    folder.parent.parent.mkdir(exist_ok=True)
    TROUBLES[trouble](folder, monkeypatch)
    server = UnreliableServer(Engine(cap=CAP))
    answers = [await asked(way, server, how, BODY, keeping(folder, how)) for _ in range(2)]

    assert [(Engine().uncapped(BODY).text, "stop", "stop")] * 2 == [answer.ending for answer in answers]
    (warning,) = warnings()
    assert "goes on without it" in warning


# Calls at the same time.


@sync_and_async
async def test_streams_at_the_same_time(way: Way, folder: Path) -> None:
    """While one call has the journal, another one of the same request is begun anew; both are right."""
    await asked(way, UnreliableServer(Engine(cap=CAP), 3), "streamed", BODY, keeping(folder, "streamed"))
    server = UnreliableServer(Engine(cap=CAP))
    client = way.client("http://127.0.0.1", transport=server, continuation=keeping(folder, "streamed"), max_retries=0)
    one, other = [await settled(client.chat.completions.create(**BODY, stream=True)) for _ in range(2)]
    other, one = await listed(other), await listed(one)
    await settled(client.close())

    assert Engine().uncapped(BODY).text == joined(one) == joined(other)
    assert one[-1].continuation["resumed"] == 2
    assert "resumed" not in other[-1].continuation
    assert kept(folder) == []


@pytest.mark.parametrize("how", ["whole", "streamed rounds"])
async def test_calls_at_the_same_time(how: str, folder: Path) -> None:
    """So it is with whole answers."""
    with Emulator(cap=CAP, token_delay=0.001) as emulator:
        client = OUR_ASYNC.client(emulator.base_url, continuation=keeping(folder, how), max_retries=0)
        answers = await asyncio.gather(*(live(client, BODY, streamed=False) for _ in range(5)))
        await client.close()

        assert [(emulator.uncapped(BODY), "stop", "stop", 0)] * 5 == [
            (*answer.ending, resumed(answer)) for answer in answers
        ]
        assert kept(folder) == []


# What others see.


@how
async def test_modes(how: str, folder: Path) -> None:
    """Only their owner reads the files."""
    umask = os.umask(0)
    try:
        path = await broken(folder, how)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert path.exists()


@how
async def test_secrets(how: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor headers are in the file, and nothing of the text is in its name, or logged."""
    caplog.set_level(logging.DEBUG)
    body = {**ask("canary of a prompt"), "extra_headers": {"X-Secret": "canary of a header"}}
    for lost in ((3,), ()):
        await asked(SYNC, EightCharacterServer(*lost), how, body, keeping(folder, how), api_key="sk-canary")
        for path in folder.iterdir():
            assert "canary" not in path.name
            assert "canary" not in path.read_text()
    said = [f"{record.getMessage()} {record.args}" for record in caplog.records if record.name == "openai_continue"]

    assert said
    assert not [line for line in said if "canary" in line or "three" in line]


@sync_and_async
@how
async def test_error_of_the_server_does_not_come_again(how: str, way: Way, folder: Path) -> None:
    """A round that the server ended with an error is asked for again, not taken from the file."""
    with Emulator(cap=CAP, faults=[Fault("error_event", round=2, after_tokens=10)]) as emulator:
        first = await asked(way, emulator, how, BODY, keeping(folder, how))
        before = len(emulator.requests)
        again = await asked(way, emulator, how, BODY, keeping(folder, how))
        truth, after = emulator.uncapped(BODY), len(emulator.requests)

    assert first.ending[1:] == ("length", "error")
    assert (truth, "stop", "stop") == again.ending
    assert after > before


@sync_and_async
async def test_key_that_is_asked_for_at_each_request(way: Way, folder: Path) -> None:
    """A key from a function is there when an answer is resumed."""

    async def later() -> str:
        return "key"

    key: Any = later if way.is_async else lambda: "key"
    with Emulator(cap=CAP, faults=[Fault("500", round=3)]) as emulator:
        client = way.client(emulator.base_url, continuation=keeping(folder, "whole"), max_retries=0, api_key=key)
        first = await live(client, BODY, streamed=False)
        again = await live(client, BODY, streamed=False)
        await settled(client.close())
        truth = emulator.uncapped(BODY)

    assert first.stopped_by == "error"
    assert (truth, "stop", "stop") == again.ending


async def test_limit_that_the_server_refused(folder: Path) -> None:
    """Rounds with a smaller limit than the caller's, which the server had refused, are not paid for again."""
    body = {**BODY, "max_tokens": 5000}
    with Emulator(cap=CAP, habits=Habits(over_cap="openai"), faults=[Fault("500", round=4)]) as emulator:
        first = await asked(SYNC, emulator, "whole", body, keeping(folder, "whole"))
        again = await asked(SYNC, emulator, "whole", body, keeping(folder, "whole"))
        truth = emulator.uncapped(BODY)

    assert (first.stopped_by, resumed(again)) == ("error", 2)
    assert (truth, "stop", "stop") == again.ending


async def test_first_round_that_is_sent_again(folder: Path) -> None:
    """After a first try that broke, the rounds are recorded; the caller gets the kind of object that was asked for."""
    settings = keeping(folder, "streamed rounds", heal_streams=False)
    faults = [Fault("reset", round=1, after_tokens=5), Fault("500", round=4)]
    with Emulator(cap=CAP, faults=faults) as emulator:
        client = SYNC.client(emulator.base_url, continuation=settings, max_retries=1)
        raw = client.chat.completions.with_raw_response.create(**BODY, extra_headers={"x-stainless-retry-count": "0"})
        client.close()
        truth = emulator.uncapped(BODY)

    assert truth == raw.parse().choices[0].message.content
    assert kept(folder) == []


@sync_and_async
@how
async def test_first_request_that_the_sdk_sends_again(
    how: str, way: Way, folder: Path, warnings: Callable[[], list[str]]
) -> None:
    """The tries of a first request have one journal; what came after them is kept, and goes on."""
    with Emulator(cap=CAP, faults=[Fault("500", round=1), Fault("500", round=4, times=2)]) as emulator:
        first = await asked(way, emulator, how, BODY, keeping(folder, how), max_retries=1)
        again = await asked(way, emulator, how, BODY, keeping(folder, how), max_retries=1)
        truth = emulator.uncapped(BODY)

    assert (first.stopped_by, resumed(first), resumed(again)) == ("error", 0, len(first.rounds) - 1)
    assert resumed(again) > 0
    assert (truth, "stop", "stop") == again.ending
    assert (warnings(), kept(folder)) == ([], [])
