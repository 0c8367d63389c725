"""Responses: ``POST /responses`` as six kinds of server, read by the SDK's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types import responses
from pydantic import BaseModel, TypeAdapter

from openai_continue.testing import Emulator, Fault, Habits
from tests.testing.emulator.asking import ASK, CLIENT, post, streamed_or_not, text_of

KINDS: list[Any] = ["deepinfra", "vllm", "llama.cpp", "ollama", "sglang", "openai"]
#: The kinds whose events have numbers and indexes.
NUMBERED = [kind for kind in KINDS if kind != "llama.cpp"]
BODY: dict[str, Any] = {"model": "m", "input": "Write."}

each_kind = pytest.mark.parametrize("kind", KINDS)


class Client:
    """The SDK's client of a running emulator."""

    def __init__(self, emulator: Emulator, sdk: Any) -> None:
        self.emulator = emulator
        self.sdk = sdk

    def whole(self, **fields: Any) -> Any:
        return self.sdk.responses.create(**{**BODY, **fields})

    def events(self, **fields: Any) -> list[Any]:
        return list(self.sdk.responses.create(**{**BODY, **fields}, stream=True))

    def ask(self, *, stream: bool, **fields: Any) -> Any:
        """Return the response, whole or of the last event."""
        return self.events(**fields)[-1].response if stream else self.whole(**fields)


class Serving:
    """Runs an emulator, and makes its client."""

    def __init__(self, **settings: Any) -> None:
        self._emulator = Emulator(**{"cap": 1_000, "tokens": 60, **settings})

    def __enter__(self) -> Client:
        self._emulator.start()
        sdk = OpenAI(base_url=self._emulator.base_url, api_key="none", http_client=CLIENT, max_retries=0)
        return Client(self._emulator, sdk)

    def __exit__(self, *_: object) -> None:
        self._emulator.stop()


def serving(kind: Any, *, habits: dict[str, Any] | None = None, **settings: Any) -> Serving:
    return Serving(habits=Habits(responses=kind, **habits or {}), **settings)


def begun(text: str, *before: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Return an input whose last item is a message of the assistant."""
    return [{"type": "message", **ASK}, *before, {"type": "message", "role": "assistant", "content": text, **fields}]


#: What makes a kind of server go on with the last item.
MARKS: dict[str, dict[str, Any]] = {
    "deepinfra": {"extra_body": {"continue_final_message": True}},
    "vllm": {},
    "ollama": {},
}


def thoughts_of(response: Any) -> str:
    """Return the text of the first item, which holds thoughts."""
    # Early versions of the SDK have no type for the content of thoughts.
    item = response.output[0].to_dict()
    assert item["type"] == "reasoning"
    return str((item.get("content") or item["summary"])[0]["text"])


def deltas(events: list[Any], kind: str = "output_text") -> str:
    return "".join(event.delta for event in events if event.type == f"response.{kind}.delta")


#: What differs from one response to the next; vLLM does not know the status of thoughts in whole answers.
APART = {"id", "created_at", "cached_tokens", "call_id", "status"}


def fields_of(response: Any) -> Any:
    """Return what two responses to the same request have in common."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items() if name not in APART}
        return [plain(one) for one in value] if isinstance(value, list) else value

    return plain(response.to_dict())


@pytest.fixture(scope="module", params=KINDS)
def client(request: Any) -> Iterator[Client]:
    with serving(request.param, habits={"thinks": "reasoning"}) as client:
        yield client


def test_the_text_is_that_of_chat(client: Client) -> None:
    """The same words get the same text, whichever endpoint is asked."""
    response = client.whole()

    assert response.output_text == text_of(client.emulator) == client.emulator.uncapped(BODY)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert thoughts_of(response) == client.emulator.uncapped_reasoning(BODY)
    assert response.status == "completed"
    assert response.incomplete_details is None
    usage = post(client.emulator).json()["usage"]
    assert (response.usage.input_tokens, response.usage.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    details = response.usage.output_tokens_details
    counts_thoughts = client.emulator.habits.responses != "llama.cpp"
    assert (details.reasoning_tokens if details else None) == (40 if counts_thoughts else None)
    assert client.emulator.requests[0].finish_reasons == ("stop",)


def test_streams_equal_whole_answers(client: Client) -> None:
    """A stream's last event holds what a whole answer is, cut or not."""
    for most in (None, 7, 60):
        events, whole = client.events(max_output_tokens=most), client.whole(max_output_tokens=most)

        assert fields_of(events[-1].response) == fields_of(whole)
        assert events[-1].response.status == whole.status
        assert deltas(events) == whole.output_text
        assert deltas(events, "reasoning_text") + deltas(events, "reasoning_summary_text") == thoughts_of(whole)


@pytest.mark.parametrize("kind", [kind for kind in NUMBERED if kind != "ollama"])
def test_order_of_events(kind: Any) -> None:
    """Events come in vLLM's order, are numbered without a gap, and agree on items and places."""
    with serving(kind, habits={"thinks": "reasoning"}) as client:
        events = client.events()

        names = [event.type.removeprefix("response.") for event in events]
        assert [name for at, name in enumerate(names) if name not in names[:at] or not name.endswith("delta")] == [
            "created",
            "in_progress",
            *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
            *("content_part.done", "output_item.done"),
            *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
            *("content_part.done", "output_item.done"),
            "completed",
        ]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        response = events[-1].response
        assert {event.response.id for event in events if hasattr(event, "response")} == {response.id}
        for event in events[2:-1]:
            item = getattr(event, "item", None)
            assert response.output[event.output_index].id == (item.id if item else event.item_id)
            assert item or event.content_index == 0
        done = [event.item for event in events if event.type == "response.output_item.done"]
        assert done == response.output
        assert [event.text for event in events if event.type.endswith("text.done")] == [
            thoughts_of(response),
            response.output_text,
        ]


@pytest.mark.parametrize("kind", NUMBERED)
def test_types_of_the_sdk(kind: Any) -> None:
    """Each event and each response has all fields that the SDK's types require, and of their types."""
    # Early versions of the SDK have no types for the text of thoughts.
    thinks = "reasoning" if hasattr(responses, "ResponseReasoningTextDeltaEvent") else None
    event_type = TypeAdapter[Any](responses.ResponseStreamEvent)
    logprobs = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    with serving(kind, habits={"thinks": thinks}) as client:
        for fields in ({}, CALLED, logprobs, {"max_output_tokens": 50}):
            url, body = f"{client.emulator.base_url}/responses", {**BODY, **fields}
            raw = CLIENT.post(url, json={**body, "stream": True}).text
            frames = [frame.split("\n") for frame in raw.removesuffix("\n\n").split("\n\n")]
            events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
            assert [name for name, _ in frames] == [f"event: {event['type']}" for event in events]
            assert len([event_type.validate_python(event) for event in events]) > 50
            responses.Response.model_validate(CLIENT.post(url, json=body).json())


def test_llama_cpp_has_bare_events() -> None:
    """Its events have no places and no numbers, and the items end together at the end."""
    with serving("llama.cpp", habits={"thinks": "reasoning"}) as client:
        events = client.events()

        assert not any({"sequence_number", "output_index", "content_index"} & set(event.to_dict()) for event in events)
        assert [event.type.removeprefix("response.") for event in events if not event.type.endswith("delta")] == [
            "created",
            "in_progress",
            "output_item.added",
            *("output_item.added", "content_part.added"),
            "output_item.done",
            *("output_text.done", "content_part.done", "output_item.done"),
            "completed",
        ]


@streamed_or_not
@pytest.mark.parametrize("cut", [False, True])
def test_vllm_has_fields_of_its_own(cut: bool, stream: bool) -> None:
    """They are there, null or empty, as vLLM 0.32 sends them."""
    with serving("vllm", habits={"thinks": "reasoning"}) as client:
        said = client.ask(stream=stream, max_output_tokens=60 if cut else None).to_dict()
        thoughts, message = said["output"]

        assert (thoughts["status"], message["status"]) == ("completed" if stream else None, "completed")
        assert (thoughts["encrypted_content"], message["phase"], message["content"][0]["logprobs"]) == (None,) * 3
        assert (said["tool_choice"], said["kv_transfer_params"], said["presence_penalty"]) == ("none", None, 0.0)
        assert "error" not in said
        assert said["usage"]["input_tokens_details"]["input_tokens_per_turn"] == []
        assert said["usage"]["output_tokens_details"]["tool_output_tokens"] == 0
        added = [event.to_dict() for event in client.events() if event.type.endswith(".added")]
        assert [(one["item"]["content"] if "item" in one else one["part"].get("logprobs")) for one in added] == [
            *(None, None),
            *([], []),
        ]


def test_ollama_has_thoughts_in_summaries() -> None:
    """Thoughts are their own summary, without parts, and go back as they came, in ``encrypted_content``."""
    with serving("ollama", habits={"thinks": "reasoning", "template": "qwen3"}) as client:
        events = client.events()
        item = events[-1].response.output[0]
        assert item.encrypted_content == thoughts_of(events[-1].response)
        assert "content" not in item.to_dict()
        names = [event.type.removeprefix("response.") for event in events if getattr(event, "output_index", 1) == 0]
        assert names[0] == "output_item.added"
        assert set(names[1:-2]) == {"reasoning_summary_text.delta"}
        assert names[-2:] == ["reasoning_summary_text.done", "output_item.done"]

        cut = item.encrypted_content[:60]
        response = client.whole(input=[ASK, {"type": "reasoning", "summary": [], "encrypted_content": cut}])
        assert cut + thoughts_of(response) == item.encrypted_content
        assert response.output_text == client.emulator.uncapped(BODY)


@pytest.mark.parametrize("kind", NUMBERED)
def test_helpers_of_the_sdk(kind: Any) -> None:
    """``stream()`` and ``parse()`` of the SDK read answers that are not cut."""

    class Document(BaseModel):
        title: str
        check: str

    with serving(kind, tokens=120) as client:
        with client.sdk.responses.stream(**BODY) as stream:
            final = stream.get_final_response()
        assert final.output_text == client.emulator.uncapped(BODY)

        parsed = client.sdk.responses.parse(**BODY, text_format=Document).output_parsed
        with client.sdk.responses.stream(**BODY, text_format=Document) as stream:
            streamed = stream.get_final_response().output_parsed
        text = client.emulator.uncapped({**BODY, "text": {"format": {"type": "json_object"}}})
        assert parsed == streamed == Document.model_validate_json(text)


@streamed_or_not
@pytest.mark.parametrize(
    ("kind", "status", "items", "last", "limit"),
    [
        ("deepinfra", "incomplete", ["completed", "incomplete"], "incomplete", None),
        ("vllm", "incomplete", ["completed", "completed"], "completed", 50),
        ("llama.cpp", "completed", ["completed", "completed"], "completed", None),
        ("ollama", "completed", ["completed", "completed"], "completed", None),
        ("sglang", "completed", ["completed", "completed"], "completed", None),
        ("openai", "incomplete", ["completed", "incomplete"], "incomplete", None),
    ],
)
def test_cut_answers(*, kind: Any, status: str, items: list[str], last: str, limit: int | None, stream: bool) -> None:
    """Each kind of server says in its own way that the cap cut an answer, or does not say it."""
    with serving(kind, cap=50, habits={"thinks": "reasoning"}) as client:
        response = client.ask(stream=stream)

        assert response.status == status
        assert response.incomplete_details is None or response.incomplete_details.reason == "max_output_tokens"
        assert (response.incomplete_details is None) == (status == "completed")
        # A whole answer of vLLM says nothing of its thoughts (measured).
        expected = [None, *items[1:]] if kind == "vllm" and not stream else items
        assert [item.status for item in response.output] == expected
        assert client.events()[-1].type == f"response.{last}"
        assert response.max_output_tokens == limit
        assert response.usage.output_tokens == 50
        assert client.emulator.requests[0].finish_reason == "length"
        assert client.emulator.uncapped(BODY).startswith(response.output_text)


@streamed_or_not
@pytest.mark.parametrize("status", [None, "completed", "in_progress", "incomplete"])
@pytest.mark.parametrize("flagged", [False, True])
@each_kind
def test_what_goes_on(kind: Any, status: str | None, flagged: bool, stream: bool) -> None:
    """The mark of a kind of server makes it go on with the last item; else it begins a new turn."""
    with serving(kind) as client:
        text = client.emulator.uncapped(BODY)
        item = {"status": status} if status else {}
        flags = {"continue_final_message": True, "add_generation_prompt": False} if flagged else {}
        fields = {"input": begun(text[:90], **item), "extra_body": flags}
        if stream:
            events = client.events(**fields)
            got, whole = deltas(events), events[-1].response.output_text
        else:
            got = whole = client.whole(**fields).output_text

        goes_on = {"deepinfra": flagged, "vllm": status in {"in_progress", "incomplete"}, "sglang": False}
        if kind == "llama.cpp":
            # With the flags, the deltas leave the copy out, but the events at the end have it.
            assert (got, whole) == (text[90:] if stream and flagged else text, text)
        elif goes_on.get(kind, kind == "ollama"):
            assert got == whole == text[90:]
        else:
            assert got == whole
            assert not text[90:].startswith(got[:20])
            # The end of the turn and the beginning of the next one are part of the prompt.
            fresh, marked = client.emulator.requests[-1].prompt_tokens, 6
            with serving("ollama") as other:
                other.whole(input=begun(text[:90]))
                assert fresh == other.emulator.requests[-1].prompt_tokens + marked
        assert client.emulator.derailed == 0


@streamed_or_not
@pytest.mark.parametrize("cut_characters", [None, "dropped", "replaced"])
@pytest.mark.parametrize("kind", MARKS)
def test_rounds_by_hand(kind: Any, cut_characters: Any, stream: bool) -> None:
    """An answer that is sent back as a message, round by round, becomes the uncapped one."""
    with serving(kind, cap=50, tokens=400, habits={"cut_characters": cut_characters}) as client:
        text, rounds = "", 0
        while rounds == 0 or client.emulator.requests[-1].finish_reason == "length":
            fields = {"input": begun(text, status="in_progress"), **MARKS[kind]} if text else {}
            text = (text + client.ask(stream=stream, **fields).output_text).rstrip("\ufffd")
            rounds += 1
        assert text == client.emulator.uncapped(BODY)
        assert rounds == 9
        assert client.emulator.derailed == 0


@streamed_or_not
@pytest.mark.parametrize(("template", "begins"), [("qwen3", "an answer"), ("r1", "thoughts")])
def test_cut_thoughts(template: Any, begins: str, stream: bool) -> None:
    """vLLM does not go on with cut thoughts: Qwen3's template closes them, and R1's drops them."""
    with serving("vllm", habits={"thinks": "reasoning", "template": template}) as client:
        thoughts = client.ask(stream=stream, max_output_tokens=20).output[-1]
        assert thoughts.type == "reasoning"
        item = {**thoughts.to_dict(), "status": "in_progress"}
        response = client.ask(stream=stream, input=[{"type": "message", **ASK}, item])

        assert [item.type for item in response.output] == (
            ["message"] if begins == "an answer" else ["reasoning", "message"]
        )
        assert response.output_text == client.emulator.uncapped(BODY)
        prompts = [one.prompt_tokens for one in client.emulator.requests]
        assert (prompts[1] > prompts[0] + 20) == (begins == "an answer")


@streamed_or_not
@pytest.mark.parametrize("with_thoughts", [False, True])
def test_answers_filed_as_reasoning(with_thoughts: bool, stream: bool) -> None:
    """A reasoning parser takes an answer that goes on for thoughts, whether thoughts were sent or not."""
    with serving("vllm", habits={"thinks": "reasoning", "template": "qwen3", "misfiles": "both"}) as client:
        first = client.whole()
        thoughts = [first.output[0].to_dict()] if with_thoughts else []
        text = first.output_text
        response = client.ask(stream=stream, input=begun(text[:90], *thoughts, status="in_progress"))

        assert [item.type for item in response.output] == ["reasoning"]
        assert thoughts_of(response) == text[90:]


TOOL: dict[str, Any] = {
    "type": "function",
    "name": "write_file",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
    "strict": False,
}
CALLED: dict[str, Any] = {
    "input": "Write 20 tokens, then call the tool write_file twice with 30 tokens.",
    "tools": [TOOL],
}


@streamed_or_not
@each_kind
def test_calls(kind: Any, stream: bool) -> None:
    """Calls are items of their own, whole and cut, and their results are read."""
    with serving(kind) as client:
        response = client.ask(stream=stream, **CALLED)

        assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
        calls = [item for item in response.output if item.type == "function_call"]
        assert [(call.name, call.arguments) for call in calls] == client.emulator.uncapped_calls({**BODY, **CALLED})
        assert len({call.call_id for call in calls}) == len({call.id for call in calls}) == 2
        assert all(json.loads(call.arguments) for call in calls)

        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "done"} for call in calls]
        conversation = [{"role": "user", "content": CALLED["input"]}, *(one.to_dict() for one in response.output)]
        after = client.ask(stream=stream, input=[*conversation, *results], tools=[TOOL])
        assert [item.type for item in after.output] == ["message"]

        cut = client.ask(stream=stream, max_output_tokens=40, **CALLED).output[-1]
        assert cut.type == "function_call"
        assert calls[0].arguments.startswith(cut.arguments)
        assert cut.arguments != calls[0].arguments


@pytest.mark.parametrize("kind", NUMBERED)
def test_events_of_calls(kind: Any) -> None:
    """A call has its item, its arguments and their end, and the SDK's accumulator takes them."""
    with serving(kind) as client:
        events = client.events(**CALLED)
        names = [event.type.removeprefix("response.") for event in events if getattr(event, "output_index", 0) == 1]
        assert names[0] == "output_item.added"
        assert set(names[1:-2]) == {"function_call_arguments.delta"}
        assert names[-2:] == ["function_call_arguments.done", "output_item.done"]
        items = events[-1].response.output
        assert deltas(events, "function_call_arguments") == items[1].arguments + items[2].arguments
        assert [event.arguments for event in events if event.type.endswith("arguments.done")] == [
            item.arguments for item in items[1:]
        ]
        with client.sdk.responses.stream(**{**BODY, **CALLED}) as stream:
            final = stream.get_final_response()
        assert [item.type for item in final.output] == ["message", "function_call", "function_call"]


def test_cut_calls_do_not_go_on() -> None:
    """A call as the last item begins a new turn on vLLM; llama.cpp refuses it."""
    call = {
        "type": "function_call",
        "call_id": "1",
        "name": "write_file",
        "arguments": '{"path"',
        "status": "incomplete",
    }
    body: dict[str, Any] = {"input": [{"type": "message", **ASK}, call]}
    with serving("vllm") as client:
        assert client.whole(**body).output_text
        assert client.emulator.derailed == 0
    with serving("llama.cpp") as client, pytest.raises(BadRequestError, match="contains tool calls"):
        client.whole(**body)


@streamed_or_not
def test_json_begins_again(stream: bool) -> None:
    """With ``text.format``, the grammar of a later round starts at its root; without it, the document goes on."""
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}}
    with serving("vllm") as client:
        whole = client.ask(stream=stream, text=wanted).output_text
        assert json.loads(whole)["title"]
        again = client.ask(stream=stream, text=wanted, input=begun(whole[:40], status="in_progress")).output_text
        assert again == whole
        rest = client.ask(stream=stream, input=begun(whole[:40], status="in_progress")).output_text
        assert whole[:40] + rest == whole
    with serving("llama.cpp") as client:
        assert client.whole(text=wanted).output_text == client.emulator.uncapped(BODY)


@streamed_or_not
@pytest.mark.parametrize("kind", [kind for kind in NUMBERED if kind != "ollama"])
def test_logprobs(kind: Any, stream: bool) -> None:
    """Logprobs come if they are included, a token each, in the deltas too."""
    with serving(kind) as client:
        asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        part = client.ask(stream=stream, **asked).output[0].content[0]
        assert "".join(one.token for one in part.logprobs) == part.text
        assert {len(one.top_logprobs) for one in part.logprobs} == {2}
        told = [one for event in client.events(**asked) for one in event.to_dict().get("logprobs") or ()]
        assert [one["token"] for one in told] == [one.token for one in part.logprobs]
        assert client.ask(stream=stream).output[0].content[0].logprobs == (None if kind == "vllm" else [])


def test_fields_that_are_read() -> None:
    """A seed and stop strings change the answer of a server that reads them; no other reads them."""
    for kind in KINDS:
        with serving(kind) as client:
            text = client.whole().output_text
            stopped = client.whole(extra_body={"stop": text[40:50]}).output_text
            seeded = client.whole(extra_body={"seed": 7}).output_text
            reads = kind in {"vllm", "llama.cpp", "sglang"}
            assert stopped == (text[: text.index(text[40:50])] if reads else text)
            assert (seeded != text) == reads


def test_input() -> None:
    """Instructions are a system message, and the parts of a message are its text."""
    with serving("vllm") as client:
        parts = [{"type": "input_text", "text": "Wri"}, {"type": "input_text", "text": "te."}]
        assert client.whole(input=[{"role": "user", "content": parts}]).output_text == client.whole().output_text
        text = client.emulator.uncapped(BODY)
        said = [{"type": "output_text", "text": part} for part in (text[:40], text[40:60])]
        # Of an answer that goes on, vLLM reads the first part.
        response = client.whole(input=[ASK, {"role": "assistant", "content": said, "status": "in_progress"}])
        assert response.output_text == text[40:]
        told = client.whole(instructions="Be brief.")
        assert told.instructions == "Be brief."
        chat = {"messages": [{"role": "system", "content": "Be brief."}, ASK]}
        assert told.output_text == client.emulator.uncapped(chat)


@pytest.mark.parametrize("kind", ["sglang", "openai"])
def test_stored_responses(kind: Any) -> None:
    """A server that stores goes on from an earlier response, unless it was not to be stored."""
    with serving(kind) as client:
        first = client.whole()
        second = client.whole(input="Again.", previous_response_id=first.id)
        third = client.whole(input="More.", previous_response_id=second.id, store=False)
        said = [ASK, _answer(first), {"role": "user", "content": "Again."}]
        assert second.output_text == client.emulator.uncapped({"messages": said})
        said += [_answer(second), {"role": "user", "content": "More."}]
        assert third.output_text == client.emulator.uncapped({"messages": said})
        with pytest.raises(NotFoundError, match="not found"):
            client.whole(previous_response_id=third.id)


def _answer(response: Any) -> dict[str, str]:
    return {"role": "assistant", "content": response.output_text}


CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("kind", "fields", "status", "words"),
    [
        ("vllm", {"input": None}, 400, "'input' must be a string or array of objects"),
        ("vllm", {"input": []}, 400, "'input' must be"),
        ("vllm", {"input": {}}, 400, "'input' must be"),
        ("vllm", {"input": ["x"]}, 400, "'input' must be"),
        ("vllm", {"input": [{"content": "x"}]}, 400, "role"),
        ("vllm", {"input": [{"role": "user", "content": 7}]}, 400, "content"),
        ("vllm", {"input": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "input_text"),
        ("vllm", {"input": [{"type": "item_reference", "id": "1"}]}, 400, "Unsupported input item type"),
        ("vllm", {"input": [{**CALL, "arguments": {}}]}, 400, "arguments"),
        ("vllm", {"input": [{"type": "reasoning", "content": []}]}, 400, "summary"),
        ("vllm", {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]}, 400, "Encrypted"),
        ("vllm", {"text": "json"}, 400, "text"),
        ("vllm", {"tools": [{"type": "web_search"}]}, 400, "tool type"),
        ("vllm", {"tools": [{"type": "function"}]}, 400, "name"),
        ("vllm", {"tools": {}}, 400, "'tools' must be"),
        ("vllm", {"tool_choice": "required"}, 400, "must be specified with 'tools'"),
        ("vllm", {"background": True}, 400, "does not support the background mode"),
        ("vllm", {"background": True, "store": False}, 400, "when `store` is true"),
        ("vllm", {"previous_response_id": "resp_1"}, 404, "Response with id 'resp_1' not found."),
        ("deepinfra", {"previous_response_id": "resp_1"}, 404, "not found"),
        ("openai", {"previous_response_id": "resp_1"}, 404, "not found"),
        ("llama.cpp", {"previous_response_id": "resp_1"}, 400, "llama.cpp does not support 'previous_response_id'."),
        ("llama.cpp", {"input": [{"role": "assistant", "content": "x"}]}, 400, "Cannot determine type of 'item'"),
        ("llama.cpp", {"input": [{"type": "reasoning", "summary": []}]}, 400, "item['content'] is not an array"),
        ("llama.cpp", {"continue_final_message": True}, 400, "Cannot set both"),
        ("llama.cpp", {"tools": [{"type": "web_search"}]}, 400, "'type' of tool must be 'function'"),
        ("vllm", {"max_output_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ("vllm", {"max_output_tokens": 999}, 400, "max_output_tokens=999 cannot be greater than max_model_len=600."),
        ("vllm", {"input": "word " * 700}, 400, "maximum context length is 600 tokens"),
        ("openai", {"top_logprobs": 21}, 422, "top_logprobs"),
        ("openai", {"model": None}, 422, "Field required"),
        ("openai", {"continuation": {}}, 400, "Unknown field: continuation"),
    ],
)
def test_bad_requests(kind: Any, fields: dict[str, Any], status: int, words: str) -> None:
    """What a server does not take gets its error, whole or streamed."""
    for stream in (False, True):
        with Emulator(context=600, habits=Habits(responses=kind)) as emulator:
            body = {**BODY, "stream": stream, **fields}
            refused = CLIENT.post(f"{emulator.base_url}/responses", json=body)

            assert refused.status_code == status
            assert words in refused.text


@streamed_or_not
def test_full_context(stream: bool) -> None:
    """vLLM and llama.cpp give what fits, and have words of their own for a full context. DeepInfra refuses the rest."""
    with serving("vllm", context=40) as client:
        response = client.ask(stream=stream, max_output_tokens=39)
        assert (response.status, response.usage.total_tokens, response.max_output_tokens) == ("incomplete", 40, 29)
    filled = serving("vllm", context=11)
    with filled as client, pytest.raises(BadRequestError, match="prompt length 11 exceeds the max_model_len 11"):
        client.ask(stream=stream)
    with serving("llama.cpp", context=40) as client:
        assert client.ask(stream=stream, max_output_tokens=99).usage.total_tokens == 40
        with pytest.raises(BadRequestError, match=r"exceeds the available context size \(40 tokens\)"):
            client.ask(stream=stream, input="word " * 40)
    refuses = serving("deepinfra", context=40, habits={"overflow": "400"})
    with refuses as client, pytest.raises(BadRequestError, match="maximum context length is 40 tokens"):
        client.ask(stream=stream, max_output_tokens=39)


@streamed_or_not
def test_habits_of_every_endpoint(stream: bool) -> None:
    """A template that trims, usage that says nothing or zeros, switched-off thoughts: as for chat."""
    with serving("vllm", habits={"trims": True}) as client:
        text = client.emulator.uncapped(BODY)
        cut = text.index("\n") + 2
        assert client.ask(stream=stream, input=begun(text[:cut], status="incomplete")).output_text == text[cut - 2 :]
    with serving("openai", habits={"usage": "never"}) as client:
        assert client.ask(stream=stream).usage is None
    with serving("openai", habits={"usage": "zero"}) as client:
        assert client.ask(stream=stream).usage.total_tokens == 0
    with serving("vllm", habits={"thinks": "reasoning", "thinking_switch": "both"}) as client:
        response = client.ask(stream=stream, reasoning={"effort": "none"})
        assert [item.type for item in response.output] == ["message"]


def raw_stream(emulator: Emulator, patience: float = 20) -> str:
    """Return all that comes of a stream."""
    raw = b""
    url, body = f"{emulator.base_url}/responses", {**BODY, "stream": True}
    try:
        with CLIENT.stream("POST", url, json=body, timeout=patience) as response:
            for piece in response.iter_raw():
                raw += piece
    except Exception as error:
        return f"{raw.decode('utf-8', 'ignore')}{type(error).__name__}"
    return raw.decode("utf-8", "ignore")


@pytest.mark.parametrize(
    ("fault", "tail"),
    [
        ("reset", "Error"),
        ("hang", "ReadTimeout"),
        ("early_end", "}\n\n"),
        ("half_frame", ""),
        ("error_frame", '\\"code\\": 500}}"}\n\n'),
        ("error_event", '"code":"server_error","message":"The engine died","param":null}\n\n'),
        ("choice_error", "}}\n\n"),
    ],
)
@pytest.mark.parametrize("kind", ["vllm", "llama.cpp", "openai"])
def test_broken_streams(kind: Any, fault: Any, tail: str) -> None:
    """A stream breaks after the tokens that the fault names, in its way, and has no last event."""
    with Emulator(tokens=40, habits=Habits(responses=kind), faults=[Fault(fault, after_tokens=7)]) as emulator:
        raw = raw_stream(emulator, 1 if fault == "hang" else 20)

        assert raw.endswith(tail)
        assert emulator.requests[0].completion_tokens == 7
        assert emulator.requests[0].finish_reasons == ()
        assert 6 <= raw.count("event: response.output_text.delta\n") - (fault == "half_frame") <= 7
        assert ('"error":{"code":"server_error","message":"Died"}' in raw) == (fault == "choice_error")
        assert ("event: response.failed\n" in raw) == (fault == "choice_error")
        assert ("event: error\n" in raw) == (fault == "error_event")
        assert "event: response.completed\n" not in raw
        assert "event: response.completed\n" in raw_stream(emulator)


@each_kind
def test_streams_without_a_last_event(kind: Any) -> None:
    """The items end, but nothing says how the response did."""
    with serving(kind, faults=[Fault("no_done")]) as client:
        assert client.events()[-1].type == "response.output_item.done"
        assert client.events()[-1].type == "response.completed"


@streamed_or_not
@each_kind
def test_empty_rounds(kind: Any, stream: bool) -> None:
    """A round without text is cut; a response without output, or without a list of it, has no status."""
    with serving(kind, faults=[Fault(name, number) for number, name in enumerate(_EMPTY, 1)]) as client:
        answers = [client.ask(stream=stream) for _ in _EMPTY]

        assert [answer.output for answer in answers] == [[], [], None]
        cut = "completed" if kind in {"llama.cpp", "ollama", "sglang"} else "incomplete"
        assert [answer.status for answer in answers] == [cut, None, None]


_EMPTY: list[Any] = ["empty", "no_choices", "null_choices"]


@streamed_or_not
@each_kind
def test_faults_that_leave_the_answer(kind: Any, stream: bool) -> None:
    """An answer in drips, or among keep-alives, is the right one; another model's name stands in the answer."""
    with serving(kind, faults=[Fault("slow"), Fault("other_model", round=2)]) as client:
        answers = [client.ask(stream=stream) for _ in range(3)]

        assert {answer.output_text for answer in answers} == {client.emulator.uncapped(BODY)}
        assert [answer.model for answer in answers] == ["m", "another/model", "m"]


@streamed_or_not
@pytest.mark.parametrize("status", ["402", "429", "500", "503"])
def test_errors_before_an_answer(status: Any, stream: bool) -> None:
    """A fault may choose its requests by their bodies, and strikes later rounds too."""
    faults = [Fault(status, round=lambda body: isinstance(body["input"], list))]
    with Emulator(faults=faults) as emulator:
        url = f"{emulator.base_url}/responses"
        codes = [
            CLIENT.post(url, json={**BODY, "stream": stream, **fields}).status_code
            for fields in ({}, {"input": begun("x")}, {"input": begun("x")})
        ]
        assert codes == [200, int(status), 200]


@streamed_or_not
def test_failed_responses(stream: bool) -> None:
    """A response that fails says so in its status and its error."""
    with serving("openai", faults=[Fault("choice_error", after_tokens=7)]) as client:
        response = client.ask(stream=stream)
        assert (response.status, response.error.code) == ("failed", "server_error")
        assert stream or response.output_text == client.emulator.uncapped({**BODY, "max_output_tokens": 7})


@streamed_or_not
def test_thinking_anew(stream: bool) -> None:
    """A model that thinks anew begins its answer again."""
    with serving("vllm", faults=[Fault("thinks_anew")]) as client:
        text = client.emulator.uncapped(BODY)
        response = client.ask(stream=stream, input=begun(text[:30], status="in_progress"))
        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert response.output_text == text


def test_the_raw_prompt_of_a_request() -> None:
    """A request for a response has a prompt, and a raw turn, as the chat request that it becomes."""
    habits = Habits(responses="vllm", thinks="reasoning", template="qwen3")
    with Emulator(habits=habits) as emulator:
        chat = {"model": "m", "messages": [ASK]}
        assert emulator.prompt_of(BODY) == emulator.prompt_of(chat)
        assert emulator.raw(BODY) == emulator.raw(chat)
        assert emulator.tokens_of(BODY) == emulator.tokens_of(chat)
