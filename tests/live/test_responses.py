"""Responses through clients: every door of ``client.responses`` gives the whole answer, or stays as it was."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ParsedResponse, Response

from openai_continue import Continuation, disabled, report_of
from openai_continue._sdk import options
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.documents import LISTING, Listing
from tests.support.responses import final, plain, respond
from tests.support.ways import Way, entered, listed, settled, streamed_or_not, sync_and_async, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

PROMPT = "Write 150 tokens."
BODY: dict[str, Any] = {"model": "text-model", "input": PROMPT}
CAP = 40
VLLM = Habits(responses="vllm")
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
KINDS: dict[str, tuple[Habits, dict[str, Any]]] = {
    "vllm": (VLLM, {}),
    "deepinfra": (Habits(responses="deepinfra"), {}),
    "logprobs": (VLLM, LOGPROBS),
    "instructions": (VLLM, {"instructions": "Be long."}),
    "items": (VLLM, {"input": [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]}),
    "own beginning": (
        VLLM,
        {
            "input": [
                {"role": "user", "content": PROMPT},
                {"role": "assistant", "status": "incomplete", "content": [{"type": "output_text", "text": "# "}]},
            ]
        },
    ),
    "limit": (VLLM, {"max_output_tokens": 90}),
    "limit at deepinfra": (Habits(responses="deepinfra"), {"max_output_tokens": 90}),
}


def settings_for(kind: str = "vllm", **settings: Any) -> Continuation:
    return Continuation(**{"provider": "deepinfra" if "deepinfra" in kind else "vllm", **settings})


async def asked(emulator: Emulator, way: Way, body: dict[str, Any], *, streamed: bool, **settings: Any) -> Response:
    """Ask with a new client."""
    client = way.client(emulator.base_url, continuation=settings_for(**settings), max_retries=0)
    try:
        return await respond(client, body, streamed=streamed)
    finally:
        await settled(client.close())


async def uncapped(habits: Habits, way: Way, body: dict[str, Any], *, streamed: bool) -> Response:
    """Return the response of a server without a cap, by the SDK alone."""
    with Emulator(habits=habits) as emulator:
        client = way.plain_client(emulator.base_url)
        try:
            return await respond(client, body, streamed=streamed)
        finally:
            await settled(client.close())


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("kind", KINDS)
async def test_kinds(kind: str, streamed: bool, way: Way) -> None:
    """A continued response is that of a server without a cap, field by field."""
    habits, more = KINDS[kind]
    body = {**BODY, **more}
    with Emulator(cap=CAP, habits=habits) as emulator:
        response = await asked(emulator, way, body, streamed=streamed, kind=kind)
        requests = emulator.requests
        assert emulator.derailed == 0
    expected = await uncapped(habits, way, body, streamed=streamed)
    assert plain(response) == plain(expected)
    assert len(requests) >= 3
    usage, rounds = response.usage, [(one.prompt_tokens, one.completion_tokens) for one in requests]
    assert usage is not None
    counted = response.to_dict()["usage"]
    assert [counted["input_tokens"], counted["output_tokens"]] == [sum(each) for each in zip(*rounds, strict=True)]
    report = report_of(response)
    assert report is not None
    assert report.stopped_by == ("max_tokens" if "max_output_tokens" in more else "stop")


# The doors.


async def by_create(client: Any) -> Any:
    return await settled(client.responses.create(**BODY))


async def by_raw_response(client: Any) -> Any:
    raw = await settled(client.responses.with_raw_response.create(**BODY))
    assert raw.status_code == 200
    response = raw.parse()
    assert json.loads(raw.http_response.content)["output"] == response.to_dict()["output"]
    return response


async def by_streaming_response(client: Any) -> Any:
    async with entered(client.responses.with_streaming_response.create(**BODY)) as response:
        return await settled(response.parse())


async def by_post(client: Any) -> Any:
    return await settled(client.post("/responses", body=BODY, cast_to=Response))


async def by_parse(client: Any) -> Any:
    response = await settled(client.responses.parse(**BODY))
    assert isinstance(response, ParsedResponse)
    return response


async def by_events(client: Any) -> Any:
    return final(
        [
            event.to_dict(warnings=False)
            for event in await listed(await settled(client.responses.create(**BODY, stream=True)))
        ]
    )


async def by_raw_stream(client: Any) -> Any:
    raw = await settled(client.responses.with_raw_response.create(**BODY, stream=True))
    return final([event.to_dict(warnings=False) for event in await listed(await settled(raw.parse()))])


async def by_lines(client: Any) -> Any:
    async with entered(client.responses.with_streaming_response.create(**BODY, stream=True)) as response:
        lines = await listed(response.iter_lines())
    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert [event["type"] for event in events] == named
    return final(events)


async def by_stream(client: Any) -> Any:
    async with entered(client.responses.stream(**BODY)) as stream:
        events = await listed(stream)
        assert events[-1].type == "response.completed"
        return await settled(stream.get_final_response())


DOORS = (by_create, by_raw_response, by_streaming_response, by_post, by_parse)
STREAMS = (by_events, by_raw_stream, by_lines, by_stream)


@pytest.mark.parametrize("door", [*DOORS, *STREAMS])
async def test_every_door(door: Any, way: Way) -> None:
    """Through all doors of the SDK the response is whole, and of the SDK's own type."""
    with Emulator(cap=CAP, habits=VLLM) as emulator:
        client = way.client(emulator.base_url, continuation=settings_for())
        response = await door(client)
        await settled(client.close())
        assert response.output_text == emulator.uncapped(BODY)
    assert isinstance(response, Response)
    assert (response.status, response.incomplete_details) == ("completed", None)
    assert getattr(report_of(response), "stopped_by", None) == "stop" or door is by_stream


@two_ways
async def test_documents(way: Way, streamed: bool) -> None:
    """A document that was cut is whole, and read as its type by ``parse()`` and ``stream()``."""
    with Emulator(cap=CAP, text=LISTING.model_dump_json(indent=2), habits=VLLM) as emulator:
        client = way.client(emulator.base_url, continuation=settings_for())
        asks = {"model": "text-model", "input": "List.", "text_format": Listing}
        if streamed:
            async with entered(client.responses.stream(**asks)) as stream:
                response = await settled(stream.get_final_response())
        else:
            response = await settled(client.responses.parse(**asks))
        await settled(client.close())
        formats = ["format" in request.body.get("text", {}) for request in emulator.requests]
    assert response.output_parsed == LISTING
    assert formats == [True, *[False] * (len(formats) - 1)]
    assert len(formats) > 2


# What is left alone.


@streamed_or_not
@sync_and_async
@pytest.mark.parametrize("door", ["extra_body", "disabled", "killed", "llama.cpp", "ollama", "sglang"])
async def test_left_alone(
    door: str, way: Way, streamed: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that is not to go on is as without the library, to the byte; the log says once which row it is."""
    options._log_no_responses.cache_clear()
    caplog.set_level("INFO", "openai_continue")
    provider = door if door in ("llama.cpp", "ollama", "sglang") else "vllm"
    body: dict[str, Any] = {**BODY, "stream": streamed}
    with Emulator(cap=CAP, habits=VLLM) as emulator:
        plain_client = way.plain_client(emulator.base_url)
        client = way.client(emulator.base_url, continuation=settings_for(provider=provider))
        if door == "killed":
            monkeypatch.setenv("OPENAI_CONTINUE", "0")
        more = {"extra_body": {"continuation": False}} if door == "extra_body" else {}
        with disabled():
            answers = [await shown(plain_client, body)]
        with disabled() if door == "disabled" else nullcontext():
            answers += [await shown(client, {**body, **more}) for _ in range(2)]
        assert [sorted(request.body) for request in emulator.requests] == [sorted(body)] * 3
        await settled(plain_client.close())
        await settled(client.close())
    assert answers[1:] == answers[:1] * 2
    assert len(caplog.messages) == (provider == door)


async def shown(client: Any, body: dict[str, Any]) -> list[str]:
    """Return the body of a raw answer, line by line, without what differs from one to the next."""
    async with entered(client.responses.with_streaming_response.create(**body)) as response:
        lines = await listed(response.iter_lines())
    return [re.sub(r'(resp|msg|rs|fc)_\w+|\d{10}|"cached_tokens":\d+', "", line) for line in lines]


@two_ways
async def test_settings_of_one_call(way: Way, streamed: bool) -> None:
    """``extra_body`` changes the settings of one call; an answer that stays cut has the server's own end."""
    with Emulator(cap=CAP, habits=VLLM) as emulator:
        body = {**BODY, "extra_body": {"continuation": {"max_rounds": 2}}}
        response = await asked(emulator, way, body, streamed=streamed)
        assert len(emulator.requests) == 2
        assert emulator.uncapped(BODY).startswith(response.output_text)
    assert (response.status, response.to_dict()["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert getattr(report_of(response), "stopped_by", None) == "max_rounds"


# Errors, budgets, journals.


@sync_and_async
@streamed_or_not
@pytest.mark.parametrize("on_error", ["partial", "raise"])
async def test_later_error(on_error: str, streamed: bool, way: Way) -> None:
    """A later round that fails leaves what has come; an error that is raised carries it, as a ``Response``."""
    with Emulator(cap=CAP, habits=VLLM, faults=[Fault("500", 3, 100)]) as emulator:
        whole = emulator.uncapped(BODY)
        if on_error == "partial":
            response = await asked(emulator, way, BODY, streamed=streamed)
            assert getattr(report_of(response), "stopped_by", None) == "error"
        else:
            with pytest.raises(openai.InternalServerError) as raised:
                await asked(emulator, way, BODY, streamed=streamed, on_error=on_error)
            response = raised.value.partial_completion  # type: ignore[attr-defined]
            assert type(response) is Response
    assert response.status == "incomplete"
    assert whole.startswith(response.output_text)
    assert len(response.output_text) > len(whole) // 3


@sync_and_async
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["reset", "early_end", "half_frame", "no_done"])
async def test_broken_stream(kind: Any, number: int, way: Way) -> None:
    """A stream that breaks off is healed, in the first round and in a later one."""
    with Emulator(cap=CAP, habits=VLLM, faults=[Fault(kind, number, after_tokens=15)]) as emulator:
        response = await asked(emulator, way, BODY, streamed=True)
        assert (response.output_text, response.status) == (emulator.uncapped(BODY), "completed")
        assert emulator.derailed == 0


@sync_and_async
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["choice_error", "error_event"])
async def test_error_in_a_stream(kind: Any, number: int, way: Way) -> None:
    """An error event of the first round is the caller's as it came; one of a later round ends the answer."""
    with Emulator(cap=CAP, habits=VLLM, faults=[Fault(kind, number, after_tokens=15)]) as emulator:
        client = way.client(emulator.base_url, continuation=settings_for(), max_retries=0)
        events = await listed(await settled(client.responses.create(**BODY, stream=True)))
        await settled(client.close())
        assert len(emulator.requests) == number
        whole = emulator.uncapped(BODY)
    if number == 1:
        last = events[-1].to_dict()
        # openai 1 has the event "error" in the field "data" of another one.
        assert last.get("data", last)["type"] == ("error" if kind == "error_event" else "response.failed")
        return
    response = final([event.to_dict(warnings=False) for event in events])
    assert (response.status, getattr(report_of(response), "stopped_by", None)) == ("incomplete", "error")
    assert whole.startswith(response.output_text)


@sync_and_async
@streamed_or_not
async def test_streamed_rounds(streamed: bool, way: Way) -> None:
    """With ``stream_rounds`` the rounds are streams, and a break costs nothing."""
    with Emulator(cap=CAP, habits=VLLM, faults=[Fault("reset", 2, after_tokens=15)]) as emulator:
        response = await asked(emulator, way, BODY, streamed=streamed, stream_rounds=True)
        assert (response.output_text, response.status) == (emulator.uncapped(BODY), "completed")
        assert {request.body["stream"] for request in emulator.requests} == {True}
    expected = await uncapped(VLLM, way, BODY, streamed=streamed)
    assert plain(response) == plain(expected)


@two_ways
async def test_max_seconds(way: Way, streamed: bool) -> None:
    """A budget in time ends the answer with what has come."""
    body = {**BODY, "input": "Write 2000 tokens."}
    with Emulator(cap=CAP, habits=VLLM, token_delay=0.005, chunk_tokens=1, events_per_write=1) as emulator:
        response = await asked(emulator, way, body, streamed=streamed, max_seconds=1.0)
        assert emulator.uncapped(body).startswith(response.output_text)
    assert getattr(report_of(response), "stopped_by", None) == "max_seconds"
    assert (response.status, response.output_text != "") == ("incomplete", True)


@two_ways
async def test_on_round(way: Way, streamed: bool) -> None:
    """``on_round`` sees each round."""
    seen: list[Any] = []
    with Emulator(cap=CAP, habits=VLLM) as emulator:
        await asked(emulator, way, BODY, streamed=streamed, on_round=seen.append)
    assert [one.finish_reason for one in seen] == [*["length"] * 3, "stop"]
    assert all(one.id.startswith("resp_") for one in seen)


@sync_and_async
@pytest.mark.parametrize("how", ["whole", "streamed", "streamed rounds"])
async def test_journal(how: str, way: Way, tmp_path: Path) -> None:
    """The same request goes on after the rounds that came, and ends as it would have."""
    streamed, settings = how == "streamed", {"journal": tmp_path, "stream_rounds": how == "streamed rounds"}
    with Emulator(cap=CAP, habits=VLLM, faults=[Fault("500", 3)]) as emulator:
        first = await asked(emulator, way, BODY, streamed=streamed, **settings)
        again = await asked(emulator, way, BODY, streamed=streamed, **settings)
        assert len(emulator.requests) == 5
    assert getattr(report_of(first), "stopped_by", None) == "error"
    report = report_of(again)
    assert report is not None
    assert (report.stopped_by, report.resumed) == ("stop", 2)
    assert (again.output_text, again.status) == (emulator.uncapped(BODY), "completed")
    assert (again.id, again.tool_choice) == (first.id, "none")
    assert list(tmp_path.iterdir()) == []


@two_ways
async def test_new_turn(way: Way, streamed: bool) -> None:
    """A server that opens a new turn, on a row that nobody has measured, is found out by its count of the prompt."""
    body = {**BODY, "max_output_tokens": CAP}
    with Emulator(habits=Habits(responses="openai")) as emulator:
        settings = {"kind": "deepinfra", "request_limit": "round"}
        response = await asked(emulator, way, body, streamed=streamed, **settings)
        assert len(emulator.requests) == 2
        # In a stream the count comes after the text.
        truth = emulator.uncapped({**body, "max_output_tokens": 1000})
        assert streamed or truth.startswith(response.output_text)
    assert (response.status, getattr(report_of(response), "stopped_by", None)) == ("incomplete", "restart")


# Raw prompts.

_THINKS: dict[str, Any] = {"thinks": "reasoning", "think_tokens": 50, "think_blanks": "kept", "responses": "vllm"}
_SERVER: dict[str, Any] = {"usage": "asked", "limit_field": "both", "default_text_tokens": 16}
MODELS: dict[str, Habits] = {
    "plain": Habits(**_SERVER, responses="vllm"),
    "r1": Habits(**_SERVER, **_THINKS),
    "qwen3": Habits(**_SERVER, **_THINKS, template="qwen3"),
    "glm": Habits(**_SERVER, **_THINKS, template="glm"),
}
FORMS: dict[str, dict[str, Any]] = {
    "text": {},
    "instructions": {"instructions": "Be long.", "include": ["reasoning.encrypted_content"]},
    "limit": {"max_output_tokens": 110},
    "items": {
        "input": [
            {"role": "user", "content": "Look."},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "Nothing."},
            {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]},
        ]
    },
}


def texts_of(response: Response) -> list[tuple[str, str]]:
    """Return the types and texts of all items."""
    items = [(item.type, item.content) for item in response.output if item.type in ("message", "reasoning")]
    return [(kind, "".join(getattr(part, "text", "") for part in content or ())) for kind, content in items]


@two_ways
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", MODELS)
async def test_raw_prompts(model: str, form: str, way: Way, streamed: bool, tmp_path: Path) -> None:
    """With ``template``, thoughts that were cut go on, and the answer is that of a server without a cap."""
    template = tmp_path / "chat_template.jinja"
    template.write_text(Emulator(habits=MODELS[model]).chat_template, "utf-8")
    body = {**BODY, "model": "Qwen/Qwen3-32B", **FORMS[form]}
    with Emulator(cap=30, habits=MODELS[model]) as emulator:
        response = await asked(emulator, way, body, streamed=streamed, template=str(template))
        paths = [request.path.rpartition("/")[2] for request in emulator.requests]
        assert emulator.derailed == 0
        tokens = sum(request.completion_tokens for request in emulator.requests)
    expected = await uncapped(MODELS[model], way, body, streamed=streamed)
    # No round shows what else the server says of a message.
    assert texts_of(response) == texts_of(expected)
    assert response.status == expected.status
    assert paths == ["responses", *["completions"] * (len(paths) - 1)]
    assert len(paths) > 3
    assert response.usage is not None
    assert response.usage.output_tokens == tokens


PROPERTIES = {name: {"type": kind} for name, kind in (("path", "string"), ("count", "integer"), ("content", "string"))}
TOOLS = [{"type": "function", "name": name, "parameters": {"properties": PROPERTIES}} for name in ("save", "add")]


@two_ways
@pytest.mark.parametrize("has_template", [True, False], ids=["raw", "chat"])
async def test_cut_calls(has_template: bool, way: Way, streamed: bool, tmp_path: Path) -> None:
    """A call that was cut goes on by raw prompts; else it comes as the server cut it."""
    habits = Habits(**_SERVER, responses="vllm", template="qwen3")
    template = tmp_path / "chat_template.jinja"
    template.write_text(Emulator(habits=habits).chat_template, "utf-8")
    asks = "Write 8 tokens, then call the tool save twice with 30 tokens."
    body = {**BODY, "model": "Qwen/Qwen3-32B", "input": asks, "tools": TOOLS}
    with Emulator(cap=30, habits=habits) as emulator:
        settings = {"template": str(template)} if has_template else {}
        response = await asked(emulator, way, body, streamed=streamed, **settings)
        expected = [arguments for _, arguments in emulator.uncapped_calls(body)]
        assert emulator.derailed == 0
    calls = [item.arguments for item in response.output if item.type == "function_call"]
    report = report_of(response)
    assert report is not None
    if has_template:
        assert calls == expected
        assert (response.status, report.stopped_by) == ("completed", "tool_calls")
        return
    assert (response.status, report.stopped_by) == ("incomplete", "tool_call")
    assert all(whole.startswith(part) for whole, part in zip(expected, calls, strict=False))
