"""Chats by raw prompts, through clients: the setting ``template``, with servers whose models think, trim, and call tools."""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from openai_continue import Continuation, SettingsError, report_of
from openai_continue._sdk import template_files
from openai_continue.testing import Emulator, Fault, Habits
from tests.live.test_text_completions import UnreliableServer, check_killed, how, settings_for
from tests.support.answers import Answer, live, outcome
from tests.support.bodies import ask
from tests.support.engine import Engine
from tests.support.ways import OUR_ASYNC, OUR_SYNC, Way, settled, sync_and_async, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

QWEN = "Qwen/Qwen3-32B"
BODY = ask("Write 120 tokens.", model=QWEN)
CAP = 30
_VLLM: dict[str, Any] = {
    "usage": "asked", "limit_field": "both", "marker": "continue_final_message", "finish_with_text": True,
    "default_text_tokens": 16, "overflow": "clamp",
}  # fmt: skip
_THINKS: dict[str, Any] = {"thinks": "reasoning", "think_tokens": 50, "think_blanks": "kept"}
#: Kinds of servers: the row of the provider table, and their habits.
KINDS: dict[str, tuple[str, Habits]] = {
    "plain": ("deepinfra", Habits()),
    "trims": ("llama.cpp", Habits(trims=True, usage="asked", echo="unflagged")),
    "inline": ("deepinfra", Habits(thinks="inline", think_tokens=50)),
    "r1": ("vllm", Habits(**_VLLM, **_THINKS)),
    "qwen3": ("vllm", Habits(**_VLLM, **_THINKS, template="qwen3")),
    "glm": ("vllm", Habits(**_VLLM, **_THINKS, template="glm")),
    "sglang": ("sglang", Habits(**{**_THINKS, "usage": "asked", "default_text_tokens": 16}, template="qwen3")),
    "cut characters": ("deepinfra", Habits(**_THINKS, template="qwen3", cut_characters="dropped")),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the template of a server is to be."""
    return tmp_path / "chat_template.jinja"


def written(path: Path, habits: Habits) -> str:
    """Write the template of a server to a file; return its path."""
    path.write_text(Emulator(habits=habits).chat_template, "utf-8")
    return str(path)


async def asked(way: Way, emulator: Emulator, how: str, body: dict[str, Any], **settings: Any) -> Answer:
    """Ask with a new client."""
    client = way.client(emulator.base_url, continuation=settings_for(how, **settings), max_retries=0)
    try:
        return await live(client, body, streamed=how == "streamed")
    finally:
        await settled(client.close())


def raws(emulator: Emulator) -> list[bool]:
    """Return of each request whether it was one for a text."""
    return ["/chat/" not in one.path for one in emulator.requests]


@how
async def test_every_way(how: str, way: Way, path: Path) -> None:
    """In all ways, thoughts that are cut go on, and the answer is that of a server without a cap."""
    await check_whole("qwen3", how, way, path)


@how
@sync_and_async
@pytest.mark.parametrize("kind", KINDS)
async def test_kinds(kind: str, how: str, way: Way, path: Path) -> None:
    """Behind all kinds of servers it is."""
    await check_whole(kind, how, way, path)


async def check_whole(kind: str, how: str, way: Way, path: Path) -> None:
    provider, habits = KINDS[kind]
    with Emulator(cap=CAP, habits=habits) as emulator:
        answer = await asked(way, emulator, how, BODY, provider=provider, template=written(path, habits))
        want = emulator.uncapped_reasoning(BODY), emulator.uncapped(BODY), "stop"
        assert want == (answer.thoughts, answer.text, answer.finish_reason)
        assert emulator.derailed == 0
        assert [False, *[True] * (len(emulator.requests) - 1)] == raws(emulator)
        assert len(emulator.requests) > 3


@two_ways
async def test_without_a_template(way: Way, streamed: bool) -> None:
    """Without it, such thoughts end there: what the setting is for."""
    provider, habits = KINDS["qwen3"]
    with Emulator(cap=CAP, habits=habits) as emulator:
        answer = await asked(way, emulator, "streamed" if streamed else "whole", BODY, provider=provider)
        assert answer.ending[1:] == ("length", "reasoning")


# Tools and documents.

WRITE = {name: {"type": kind} for name, kind in (("path", "string"), ("count", "integer"), ("content", "string"))}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"properties": WRITE}}} for name in ("save", "add")]  # fmt: skip
CALLS: dict[str, tuple[str, Habits]] = {
    "hermes": (QWEN, Habits(**{**_VLLM, **_THINKS, "cut_calls": "content"}, template="qwen3")),
    "qwen3-coder": ("Qwen/Qwen3-Coder-Next", Habits(**{**_VLLM, "calls": "qwen3_coder"})),
}


@how
@sync_and_async
@pytest.mark.parametrize("syntax", CALLS)
async def test_tools(syntax: str, how: str, way: Way, path: Path) -> None:
    """Cut in the thoughts, in the text, and in its arguments, a call comes as the model writes it."""
    model, habits = CALLS[syntax]
    body = ask("Write 30 tokens, then call the tool save with 60 tokens.", model=model, tools=TOOLS)
    for cap in (20, 45, 70):
        with Emulator(cap=cap, habits=habits) as emulator:
            answer = await asked(way, emulator, how, body, provider="vllm", template=written(path, habits))
            called = [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in answer.tool_calls]
            want = [(name, json.loads(arguments)) for name, arguments in emulator.uncapped_calls(body)]
            assert (want, emulator.uncapped(body).rstrip()) == (called, answer.text.rstrip())
            assert (emulator.uncapped_reasoning(body), "tool_calls") == (answer.thoughts, answer.finish_reason)
            assert emulator.derailed == 0


@two_ways
async def test_document(way: Way, streamed: bool, path: Path) -> None:
    """
    A JSON document goes on after the thoughts before it.

    If the thoughts are cut, nothing tells the model the format any more: what is no document ends in "length".
    """
    provider, habits = KINDS["qwen3"]
    body = ask("An object of 120 tokens.", model=QWEN, response_format={"type": "json_object"})
    how, settings = "streamed" if streamed else "whole", {"provider": provider, "template": written(path, habits)}
    with Emulator(cap=90, habits=habits) as emulator:
        answer = await asked(way, emulator, how, body, **settings)
        assert (emulator.uncapped(body), "stop") == (answer.text, answer.finish_reason)
        assert json.loads(answer.text)
    with Emulator(cap=CAP, habits=habits) as emulator:
        answer = await asked(way, emulator, how, body, **settings)
        assert answer.ending[1:] == ("length", "error")
        assert answer.report is not None
        assert answer.report["error"]["type"] == "invalid_document"


# Where it cannot be done.


@two_ways
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ("os", "{{ cycler.__init__.__globals__.os.popen('touch gone').read() }}"),
        ("raises", "{{ raise_exception('no') }}"),
    ],
)
async def test_template_that_is_refused(
    name: str, text: str, way: Way, streamed: bool, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A template that wants out of its box, or raises, renders nothing; the chat goes on as a chat."""
    path.write_text(text, "utf-8")
    with Emulator(cap=CAP) as emulator, caplog.at_level(logging.WARNING):
        answer = await asked(way, emulator, "streamed" if streamed else "whole", BODY, template=str(path))
        assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
        assert not any(raws(emulator))
        assert any("could not be rendered" in one.getMessage() for one in caplog.records)
        assert not path.with_name("gone").exists()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_another_template(streamed: bool, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A template of another model is noticed, said once, and not used again by the client."""
    path.write_text(
        "You are a helper, who knows that today is the second of January of 2026.\n\n{% for one in messages %}{{ one.role }}: {{ one.content }}\n{% endfor %}",
        "utf-8",
    )
    with Emulator(cap=CAP) as emulator, caplog.at_level(logging.WARNING):
        client = OUR_SYNC.client(emulator.base_url, continuation=settings_for("whole", template=str(path)))
        first = await live(client, BODY, streamed=streamed)
        assert emulator.uncapped(BODY).startswith(first.text) or streamed
        assert sum(raws(emulator)) == 1
        emulator.clear()
        second = await live(client, BODY, streamed=streamed)
        assert (emulator.uncapped(BODY), "stop") == (second.text, second.finish_reason)
        assert not any(raws(emulator))
        said = [one.getMessage() for one in caplog.records if "the setting template is not used" in one.getMessage()]
        assert len(said) == 1
        client.close()


@two_ways
@pytest.mark.parametrize("kind", ["plain", "qwen3"])
@pytest.mark.parametrize("status", ["500", "402"])
async def test_error_of_a_raw_round(status: Any, kind: str, way: Way, streamed: bool, path: Path) -> None:
    """An error leaves what has come; one that is raised carries it, as a ``ChatCompletion``."""
    provider, habits = KINDS[kind]
    fault = Fault(status, 3, 100)
    settings = settings_for("whole", provider=provider, template=written(path, habits), on_error="raise")
    with Emulator(cap=CAP, habits=habits, faults=[fault]) as emulator:
        client = way.client(emulator.base_url, continuation=settings, max_retries=0)
        seen = await outcome(client, streamed=streamed, **BODY)
        await settled(client.close())
        assert isinstance(seen.error, openai.APIStatusError)
        partial = seen.error.partial_completion  # type: ignore[attr-defined]
        assert type(partial) is ChatCompletion
        assert emulator.uncapped(BODY).startswith(partial.choices[0].message.content or "")
        report = report_of(partial)
        assert report is not None
        assert report.stopped_by == "error"


@sync_and_async
@pytest.mark.parametrize("kind", ["reset", "early_end", "half_frame", "no_done"])
async def test_broken_stream(kind: Any, way: Way, path: Path) -> None:
    """A stream that breaks off in any round is healed, within the thoughts too."""
    provider, habits = KINDS["qwen3"]
    for number in (1, 2, 4):
        with Emulator(cap=CAP, habits=habits, faults=[Fault(kind, number, after_tokens=15)]) as emulator:
            answer = await asked(way, emulator, "streamed", BODY, provider=provider, template=written(path, habits))
            want = emulator.uncapped_reasoning(BODY), emulator.uncapped(BODY), "stop"
            assert want == (answer.thoughts, answer.text, answer.finish_reason)
            assert emulator.derailed == 0


@sync_and_async
@pytest.mark.parametrize("cap", [CAP, 1000])
@pytest.mark.parametrize("refuses", [None, 400], ids=["", "refused"])
async def test_usage_that_nobody_asked_for(refuses: Any, cap: int, way: Way, path: Path) -> None:
    """A stream is asked for its usage, which shows whether the template is the server's; the caller does not get it."""
    habits = replace(KINDS["qwen3"][1], refuses_stream_options=refuses)
    with Emulator(cap=cap, habits=habits) as emulator:
        client = way.client(
            emulator.base_url, continuation=settings_for("", provider="vllm", template=written(path, habits))
        )
        answer = await live(client, BODY, streamed=True)
        await settled(client.close())
        assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
        assert not any(chunk.get("usage") for chunk in answer.raw)
        assert emulator.requests[0].body["stream_options"] == {"include_usage": True}
        assert refuses is None or "stream_options" not in emulator.requests[1].body


# Journals, settings.


@sync_and_async
@how
async def test_journal(how: str, way: Way, path: Path) -> None:
    """The same request goes on after its raw rounds."""
    provider, habits = KINDS["qwen3"]
    engine = Engine(habits=habits, cap=CAP)
    server = UnreliableServer(engine, 4)
    settings = settings_for(how, provider=provider, template=written(path, habits), journal=path.parent / "journal")
    answers: list[Answer] = []
    for _ in range(2):
        client = way.client("http://127.0.0.1", transport=server, continuation=settings, max_retries=0)
        answers.append(await live(client, BODY, streamed=how == "streamed"))
        await settled(client.close())
    first, again = answers
    want = engine.uncapped(BODY)
    assert first.ending[1:] == ("length", "error")
    assert (want.thoughts, want.text, "stop") == (again.thoughts, again.text, again.finish_reason)
    assert again.report is not None
    assert again.report["resumed"] == 3
    assert server.bodies[3] == server.bodies[4]
    assert engine.derailed == 0


@pytest.mark.parametrize("how", ["whole"])
@pytest.mark.thorough
def test_killed(how: str, path: Path) -> None:
    """A process that is killed in a raw round is followed by one that goes on."""
    habits = Habits(thinks="reasoning_content", template="qwen3", think_tokens=50)
    server = Emulator(cap=CAP, habits=habits, token_delay=0.002, chunk_tokens=1, events_per_write=1)
    check_killed(server, how, path.parent / "journal", written(path, habits))


@two_ways
async def test_settings_of_one_call(way: Way, streamed: bool, path: Path) -> None:
    """``extra_body`` gives one call its template, or takes it."""
    provider, habits = KINDS["r1"]
    body = {**BODY, "extra_body": {"continuation": {"template": written(path, habits)}}}
    with Emulator(cap=CAP, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=Continuation(provider=provider))
        answer = await live(client, body, streamed=streamed)
        assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
        assert any(raws(emulator))
        await settled(client.close())


@two_ways
async def test_file_that_is_not_there(way: Way, streamed: bool, path: Path) -> None:
    """A path that leads nowhere is an error of the client, or of the call that names it, before a request is sent."""
    with Emulator(cap=CAP) as emulator:
        with pytest.raises(SettingsError, match=path.name):
            way.client(emulator.base_url, continuation=settings_for("whole", template=str(path)))
        client = way.client(emulator.base_url, continuation=settings_for("whole"))
        body = {**BODY, "extra_body": {"continuation": {"template": str(path)}}}
        seen = await outcome(client, streamed=streamed, **body)
        await settled(client.close())
        assert isinstance(seen.error, SettingsError)
        assert path.name in str(seen.error)
        assert emulator.requests == []


@pytest.mark.parametrize("per_call", [False, True], ids=["of the client", "of a call"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_no_template_is_read_on_an_event_loop(
    streamed: bool, per_call: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template is read in a thread, so that the event loop never waits for a disk or the Hub."""
    provider, habits = KINDS["qwen3"]
    wish = {"template": written(path, habits)}
    reading: list[int] = []
    read = template_files._read

    def noted(file: Path) -> str:
        reading.append(threading.get_ident())
        return read(file)

    monkeypatch.setattr(template_files, "_read", noted)
    with Emulator(cap=CAP, habits=habits) as emulator:
        settings = Continuation(provider=provider, template=None if per_call else wish["template"])
        client = OUR_ASYNC.client(emulator.base_url, continuation=settings)
        # The file was read when the client was made. It has changed since, so it is read again.
        os.utime(path, ns=(1, 1))
        reading.clear()
        body = {**BODY, "extra_body": {"continuation": wish}} if per_call else BODY
        answer = await live(client, body, streamed=streamed)
        await settled(client.close())
        assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
    assert reading
    assert threading.get_ident() not in reading


@two_ways
@pytest.mark.parametrize("name", ["deepinfra", "sglang", "raw"])
async def test_answer(name: str, way: Way, streamed: bool, path: Path) -> None:
    """``on_reasoning_cut="answer"``: the whole answer after thoughts that were cut; the report says so."""
    habits = Habits(thinks="reasoning_content", template="qwen3", think_tokens=50, thinking_switch="both")
    settings = settings_for("whole", on_reasoning_cut="answer")
    settings = replace(settings, provider="sglang" if name == "sglang" else "deepinfra")
    with Emulator(cap=CAP, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=settings)
        answer = await live(client, BODY, streamed=streamed)
        await settled(client.close())
        assert (emulator.uncapped(BODY), "stop") == (answer.text, answer.finish_reason)
        assert answer.thoughts
        assert emulator.uncapped_reasoning(BODY).startswith(answer.thoughts)
        assert answer.report is not None
        assert answer.report["answered_early"] is True
