"""Text completions through clients: every door of ``completions.create`` gives the whole text, or stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Completion

import openai_continue
from openai_continue import Continuation, OpenAI, disabled, report_of
from openai_continue._sdk import options
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.tokens import tokenize
from openai_continue.testing.emulator.vocabulary import ids_of
from tests.support.answers import Answer, joined, live, outcome
from tests.support.engine import Engine, UnreliableServer
from tests.support.ways import (
    OUR_ASYNC,
    OUR_SYNC,
    SYNC,
    Way,
    entered,
    listed,
    settled,
    streamed_or_not,
    sync_and_async,
    two_ways,
)

pytestmark = pytest.mark.usefixtures("no_waiting")

PROMPT = "Write 150 tokens."
BODY: dict[str, Any] = {"model": "text-model", "prompt": PROMPT}
CAP = 40
CALLER = Path(__file__).parents[1] / "measure" / "killed" / "caller.py"
WAYS = ("whole", "streamed", "streamed rounds")
how = pytest.mark.parametrize("how", WAYS)


def settings_for(how: str, **settings: Any) -> Continuation:
    return Continuation(**{"provider": "deepinfra", "stream_rounds": how == "streamed rounds", **settings})


async def asked(way: Way, emulator: Emulator, how: str, body: dict[str, Any] = BODY, **settings: Any) -> Answer:
    """Ask with a new client; an error is noted with what came before it."""
    client = way.client(emulator.base_url, continuation=settings_for(how, **settings), max_retries=0)
    try:
        return await live(client, body, streamed=how == "streamed")
    finally:
        await settled(client.close())


KINDS: dict[str, tuple[Habits, str, dict[str, Any]]] = {
    "deepinfra": (Habits(), "deepinfra", BODY),
    "vllm": (Habits(usage="asked", default_text_tokens=16, limit_field="both", finish_with_text=True), "vllm", BODY),
    "llama.cpp": (Habits(usage="asked"), "llama.cpp", BODY),
    "sglang": (Habits(usage="asked", default_text_tokens=16, cut_characters="replaced"), "sglang", BODY),
    "echo": (Habits(), "deepinfra", {**BODY, "echo": True}),
    "stop": (Habits(), "deepinfra", {**BODY, "stop": ["e", "zz"]}),
    "max_tokens": (Habits(), "deepinfra", {**BODY, "max_tokens": 90}),
    "gzip": (Habits(gzip=True, comments=True), "deepinfra", BODY),
}


@how
async def test_every_way(how: str, way: Way) -> None:
    """In all ways, the text is that of a server without a cap."""
    await check_whole_text("deepinfra", how, way)


@how
@sync_and_async
@pytest.mark.parametrize("kind", KINDS)
async def test_kinds(kind: str, how: str, way: Way) -> None:
    """Behind all kinds of servers it is."""
    await check_whole_text(kind, how, way)


async def check_whole_text(kind: str, how: str, way: Way) -> None:
    habits, provider, body = KINDS[kind]
    with Emulator(cap=CAP, habits=habits) as emulator:
        answer = await asked(way, emulator, how, body, provider=provider)
        want = PROMPT * bool(body.get("echo")) + emulator.uncapped(body)
        assert emulator.uncapped(body)
        if "max_tokens" not in body:
            assert (want, "stop") == (answer.text, answer.finish_reason)
        else:
            assert answer.finish_reason == "length"
            assert want.startswith(answer.text)
        assert emulator.derailed == 0
        assert all(one.path.endswith("/completions") and "/chat/" not in one.path for one in emulator.requests)


@two_ways
async def test_several(way: Way, streamed: bool) -> None:
    """All choices of all prompts are whole, in their order."""
    body = {**BODY, "prompt": ["Write 100 tokens.", "Write 45 tokens."], "n": 2}
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        answers = [await live(client, body, streamed=streamed, index=index) for index in range(4)]
        await settled(client.close())
        assert [emulator.uncapped(body, index) for index in range(4)] == [answer.text for answer in answers]
        assert {answer.finish_reason for answer in answers} == {"stop"}


# The doors.


@streamed_or_not
async def test_raw_response(way: Way, streamed: bool) -> None:
    """Raw responses have the headers of the first response and the merged text."""
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        raw = await settled(client.completions.with_raw_response.create(**BODY, stream=streamed))
        assert raw.status_code == 200
        parsed = await settled(raw.parse())
        text = joined(await listed(parsed)) if streamed else parsed.choices[0].text
        assert emulator.uncapped(BODY) == text
        assert streamed or "text_completion" == json.loads(raw.http_response.content)["object"]
        await settled(client.close())


@streamed_or_not
async def test_streaming_response(way: Way, streamed: bool) -> None:
    """Streaming responses are read by the caller, merged."""
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        async with entered(client.completions.with_streaming_response.create(**BODY, stream=streamed)) as response:
            if streamed:
                parsed = await settled(response.parse())
                text = joined(await listed(parsed))
            else:
                text = json.loads(await settled(response.read()))["choices"][0]["text"]
        assert emulator.uncapped(BODY) == text
        await settled(client.close())


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "ids": ({"prompt": ids_of(tokenize(PROMPT))}, "a prompt that is not text, such as token ids"),
    "logprobs": ({"logprobs": 2}, "logprobs"),
    "suffix": ({"suffix": "The end."}, "a suffix"),
    "best_of": ({"best_of": 2}, "best_of"),
}


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("door", UNSUPPORTED)
async def test_unsupported(door: str, way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A text completion that cannot go on is as without the library, and the log says why, once."""
    options._log_left_alone.cache_clear()
    caplog.set_level("INFO", "openai_continue")
    fields, why = UNSUPPORTED[door]
    body = {**BODY, **fields}
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        answers = [await live(client, body, streamed=streamed) for _ in range(2)]
        await settled(client.close())
        assert [answer.ending[1:] for answer in answers] == [("length", None)] * 2
        assert all(emulator.uncapped(BODY).startswith(answer.text) for answer in answers)
        assert [sorted(one.body) for one in emulator.requests] == [sorted({**body, "stream": streamed})] * 2
    assert caplog.messages == [
        f"text completions of text-model with {why} are not continued; they are left as they are"
    ]


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("door", ["extra_body", "disabled", "killed"])
async def test_left_alone(door: str, way: Way, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is not to go on is as without the library, to the byte, and our key is not sent."""
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        body = dict(BODY)
        if door == "extra_body":
            body["extra_body"] = {"continuation": False}
        if door == "killed":
            monkeypatch.setenv("OPENAI_CONTINUE", "0")
        if door == "disabled":
            with disabled():
                answer = await live(client, body, streamed=streamed)
        else:
            answer = await live(client, body, streamed=streamed)
        assert answer.ending[1:] == ("length", None)
        assert emulator.uncapped(BODY).startswith(answer.text)
        assert len(emulator.requests) == 1
        assert "continuation" not in emulator.requests[0].body
        await settled(client.close())


@two_ways
async def test_settings_of_one_call(way: Way, streamed: bool) -> None:
    """``extra_body`` changes the settings of one call."""
    with Emulator(cap=CAP) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, {**BODY, "extra_body": {"continuation": {"max_rounds": 2}}}, streamed=streamed)
        assert answer.ending[1:] == ("length", "max_rounds")
        assert len(emulator.requests) == 2
        await settled(client.close())


def test_types_and_report() -> None:
    """The answer is the SDK's ``Completion``, with a report that ``report_of()`` reads."""
    with Emulator(cap=CAP) as emulator, OpenAI(base_url=emulator.base_url, api_key="k", continuation=settings_for("whole")) as client:  # fmt: skip
        completion = client.completions.create(model="m", prompt=PROMPT)
        assert type(completion) is Completion
        report = report_of(completion)
        assert report is not None
        assert (len(report.rounds), report.stopped_by) == (4, "stop")
        assert completion.usage is not None
        assert completion.usage.completion_tokens == sum(one.completion_tokens for one in emulator.requests)
        chunks = list(client.completions.create(model="m", prompt=PROMPT, stream=True))
        assert {Completion} == {type(chunk) for chunk in chunks}
        assert report_of(chunks[-1]) is not None
        assert sum(choice.finish_reason is not None for chunk in chunks for choice in chunk.choices) == 1


def test_copies_of_a_client() -> None:
    """``with_options()`` keeps what the client is to do; a text is as it was behind a client that is not to go on."""
    with Emulator(cap=CAP) as emulator:
        client = OUR_SYNC.client(emulator.base_url)
        want = emulator.uncapped(BODY)
        assert want == client.with_options(timeout=5).completions.create(**BODY).choices[0].text
        alone = client.with_options(continuation=False).completions.create(**BODY).choices[0]
        assert alone.finish_reason == "length"
        client.close()


def test_patched_and_not() -> None:
    """``patch()`` reaches clients that are there, and ``unpatch()`` lets them go."""
    with Emulator(cap=CAP) as emulator:
        client = SYNC.client(emulator.base_url)
        want = emulator.uncapped(BODY)
        assert want == client.completions.create(**BODY).choices[0].text
        openai_continue.unpatch()
        assert client.completions.create(**BODY).choices[0].finish_reason == "length"
        client.close()


def test_a_chat_that_restarts_bars_no_text() -> None:
    """What a chat shows of a model's server is no matter of its text completions."""
    with Emulator(cap=100, tokens=300, habits=Habits(ignores_prefill=True)) as emulator:
        client = OUR_SYNC.client(emulator.base_url)
        chat = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Write 300 tokens."}])
        assert chat.continuation["stopped_by"] == "restart"
        body = {"model": "m", "prompt": "Write 300 tokens."}
        completion = client.completions.create(**body)
        assert (emulator.uncapped(body), "stop") == (completion.choices[0].text, completion.choices[0].finish_reason)
        client.close()


# Errors, budgets, journals.


@sync_and_async
@how
@pytest.mark.parametrize("on_error", ["partial", "raise"])
async def test_later_error(on_error: str, how: str, way: Way) -> None:
    """A later round that fails leaves what has come; an error that is raised carries it, as a ``Completion``."""
    with Emulator(cap=CAP, faults=[Fault("500", 3, 100)]) as emulator:
        client = way.client(emulator.base_url, continuation=settings_for(how, on_error=on_error), max_retries=0)
        answer = await outcome(client, streamed=how == "streamed", **BODY)
        await settled(client.close())
        want = emulator.uncapped(BODY)
        if on_error == "partial":
            assert (answer.error, answer.finish_reason) == (None, "length")
            assert want.startswith(answer.text)
            assert answer.report is not None
            assert (answer.report["stopped_by"], answer.report["error"]["status"]) == ("error", 500)
            return
        assert isinstance(answer.error, openai.InternalServerError)
        partial = answer.error.partial_completion  # type: ignore[attr-defined]
        assert type(partial) is Completion
        assert (partial.choices[0].finish_reason, partial.object) == ("length", "text_completion")
        assert want.startswith(partial.choices[0].text)
        assert len(partial.choices[0].text) > len(want) // 3


@sync_and_async
@pytest.mark.parametrize("kind", ["reset", "early_end", "half_frame", "no_done"])
@pytest.mark.parametrize("how", WAYS[1:])
async def test_broken_stream(how: str, kind: Any, way: Way) -> None:
    """A stream that breaks off is healed, in the first round and in a later one."""
    for number in (1, 2):
        with Emulator(cap=CAP, faults=[Fault(kind, number, after_tokens=15)]) as emulator:
            answer = await asked(way, emulator, how)
            assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
            assert emulator.derailed == 0


@pytest.mark.parametrize(
    ("how", "way"), [("whole", SYNC), ("streamed", OUR_ASYNC), ("streamed rounds", SYNC)], ids=WAYS
)
async def test_max_seconds(how: str, way: Way) -> None:
    """A budget in time ends the text with what has come."""
    with Emulator(cap=CAP, token_delay=0.005, chunk_tokens=1, events_per_write=1) as emulator:
        answer = await asked(way, emulator, how, {**BODY, "prompt": "Write 2000 tokens."}, max_seconds=1.0)
        assert answer.ending[1:] == ("length", "max_seconds")
        assert emulator.uncapped({**BODY, "prompt": "Write 2000 tokens."}).startswith(answer.text)
        assert answer.text


@two_ways
async def test_on_round(way: Way, streamed: bool) -> None:
    """``on_round`` sees each round."""
    seen: list[Any] = []
    with Emulator(cap=CAP) as emulator:
        await asked(way, emulator, "streamed" if streamed else "whole", on_round=seen.append)
        assert [*["length"] * 3, "stop"] == [one.finish_reason for one in seen]
        assert all(one.id.startswith("cmpl-") for one in seen)


@sync_and_async
@how
@pytest.mark.parametrize("body", [BODY, {**BODY, "echo": True}, {**BODY, "n": 2}], ids=["", "echo", "n"])
async def test_journal(body: dict[str, Any], how: str, way: Way, tmp_path: Path) -> None:
    """The same request goes on after the rounds that came, and ends as it would have."""
    engine = Engine(cap=CAP)
    server = UnreliableServer(engine, 3)
    answers: list[Answer] = []
    for _ in range(2):
        client = way.client("http://127.0.0.1", transport=server, continuation=settings_for(how, journal=tmp_path), max_retries=0)  # fmt: skip
        answers.append(await live(client, body, streamed=how == "streamed"))
        await settled(client.close())
    first, again = answers
    want = engine.uncapped(body)
    assert first.ending[1:] == ("length", "error")
    assert (want.text, "stop", want.spelled) == (again.text, again.finish_reason, again.spelled)
    assert again.report is not None
    assert again.report["resumed"] == 2
    # The third request was lost, and made again at once.
    assert server.bodies[2] == server.bodies[3]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["streamed"])
@pytest.mark.thorough
def test_killed(how: str, tmp_path: Path) -> None:
    """A process that is killed in its third round is followed by one that goes on."""
    check_killed(Emulator(cap=CAP, token_delay=0.002, chunk_tokens=1, events_per_write=1), how, tmp_path, "text")


def check_killed(server: Emulator, how: str, folder: Path, *more: str) -> None:
    """Check that two processes, of which the first is killed in its third round, make one answer."""
    with server as emulator:
        command = [sys.executable, str(CALLER), emulator.base_url, str(folder), PROMPT, how, *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        until = time.monotonic() + 120
        while len(emulator.requests) < 3 and time.monotonic() < until:
            time.sleep(0.002)
        process.kill()
        assert process.communicate()[0] == b""
        asked_before = len(emulator.requests)
        again = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
        body = BODY if more == ("text",) else {"model": "Qwen/Qwen3-32B", "messages": [{"role": "user", "content": PROMPT}]}  # fmt: skip
        assert emulator.uncapped(body) == again
        assert emulator.derailed == 0
        # The first round, and the second, are not asked for again.
        firsts = [one for one in emulator.requests if one.body.get("prompt") == PROMPT or len(one.body.get("messages", ())) == 1]  # fmt: skip
        assert len(firsts) == 1
        assert len(emulator.requests) > asked_before
    assert [path for path in folder.iterdir() if path.suffix != ".lock"] == []
