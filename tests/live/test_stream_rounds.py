"""Whole answers made of streamed rounds: the same completion, and neither slowness nor a break costs any of it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.answers import Answer, live, outcome
from tests.support.bodies import ask
from tests.support.documents import LISTING, Listing
from tests.support.script import DONE, LOST, Pieces, Script, cut_round, event, last_round
from tests.support.ways import Way, entered, http, settled, sync_and_async

QWEN = "Qwen/Qwen3-32B"
PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "strict": True, "parameters": PARAMETERS}}
    for name in ("write_file", "append")
]
TEXT = ask("Write 170 tokens.")
CALLS = {"tools": TOOLS, "model": QWEN}
HERMES = Habits(cut_calls="content", usage="asked", marker="continue_final_message", limit_field="both")
THINKS = Habits(thinks="reasoning_content", template="qwen3")
#: Kinds of answers: the habits of the server, the settings, and the body.
KINDS: dict[str, tuple[Habits, dict[str, Any], dict[str, Any]]] = {
    "text": (Habits(), {}, TEXT),
    "several": (Habits(), {}, {**TEXT, "n": 2}),
    "logprobs": (Habits(), {}, {**TEXT, "logprobs": True, "top_logprobs": 2}),
    "thoughts": (THINKS, {}, {**TEXT, "model": QWEN}),
    "usage asked": (Habits(usage="asked"), {}, TEXT),
    "usage trailing": (Habits(usage="trailing"), {}, TEXT),
    "no usage": (Habits(usage="never"), {}, TEXT),
    "last text with the end": (Habits(finish_with_text=True), {}, TEXT),
    "comments": (Habits(comments=True, gzip=True), {}, TEXT),
    "document": (Habits(), {}, ask("An object of 170 tokens.", response_format={"type": "json_object"})),
    "call": (Habits(), {}, ask("Write 80 tokens, then call the tool.", **CALLS)),
    "calls": (Habits(), {}, ask("Call the tool write_file twice with 15 tokens.", **CALLS)),
    "limit of its own": (Habits(), {}, {**TEXT, "max_tokens": 70}),
    "stop string": (Habits(), {}, {**TEXT, "stop": ["e"]}),
}

CUT_CALLS = ask("Write 15 tokens, then call the tool write_file twice with 60 tokens.", **CALLS)
CONTINUES_CALLS: dict[str, Any] = {"provider": "vllm", "continue_tool_calls": True, "round_tokens": 60}


def folding(**settings: Any) -> Continuation:
    return Continuation(**{"provider": "deepinfra", "stream_rounds": True, **settings})


def without_names(value: Any) -> Any:
    """Return a completion without what differs at each request: ids, times."""
    if isinstance(value, list):
        return [without_names(item) for item in value]
    if isinstance(value, dict):
        return {
            name: without_names(item) for name, item in value.items() if name not in ("id", "created", "request_id")
        }
    return value


async def asked(way: Way, emulator: Emulator, body: dict[str, Any], settings: Continuation) -> Any:
    """Return the completion that a new client gets from a server that remembers nothing."""
    emulator.clear()
    client = way.client(emulator.base_url, continuation=settings)
    completion = await settled(client.chat.completions.create(**body))
    await settled(client.close())
    return completion.to_dict()


@sync_and_async
@pytest.mark.parametrize("cap", [60, 1000], ids=["continued", "not continued"])
@pytest.mark.parametrize("kind", KINDS)
async def test_same_completion(kind: str, cap: int, way: Way) -> None:
    """Field by field, the completion is what it is without the setting, and so are the rounds in its report."""
    habits, settings, body = KINDS[kind]
    with Emulator(cap=cap, habits=habits, chunk_tokens=3, events_per_write=4) as emulator:
        expected = await asked(way, emulator, body, Continuation(**{"provider": "deepinfra", **settings}))
        requests = len(emulator.requests)
        seen = await asked(way, emulator, body, folding(**settings))
        streams = [logged.body["stream"] for logged in emulator.requests]

    assert [True] * requests == streams
    assert seen["object"] == "chat.completion"
    assert without_names(expected) == without_names(seen)


@sync_and_async
async def test_cut_calls(way: Way) -> None:
    """Calls that were cut are joined, as in a whole answer and in a stream."""
    with Emulator(cap=60, habits=HERMES, chunk_tokens=3) as emulator:
        expected = await asked(way, emulator, CUT_CALLS, Continuation(**CONTINUES_CALLS))
        seen = await asked(way, emulator, CUT_CALLS, folding(**CONTINUES_CALLS))
        truth = emulator.uncapped_calls(CUT_CALLS)
        assert len(emulator.requests) >= 3

    expected, seen = Answer.of_completion(expected), Answer.of_completion(seen)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in seen.tool_calls]
    assert truth == calls
    assert (expected.text.rstrip(), *expected.ending[1:]) == (seen.text.rstrip(), *seen.ending[1:])
    assert without_names(expected.tool_calls) == without_names(seen.tool_calls)


@sync_and_async
async def test_fields_of_a_provider(way: Way) -> None:
    """Fields that only this provider has are in the completion, wherever it puts them."""
    more = {"provider": "Fast", "system_fingerprint": "fp", "service_tier": "default"}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}

    def piece(delta: dict[str, Any], finish: str | None, **fields: Any) -> bytes:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **fields}]})

    first = [
        piece({"role": "assistant", "content": "One"}, None),
        piece({}, "length", native_finish_reason="MAX"),
        DONE,
    ]
    second = [piece({"content": " two."}, None), piece({"citations": ["x"]}, "stop", native_finish_reason="STOP"), DONE]
    script = Streams(first, second)
    client = way.client("http://127.0.0.1", transport=script, continuation=folding())
    completion = await settled(client.chat.completions.create(**ask()))
    await settled(client.close())
    (choice,) = completion.choices

    assert (choice.message.content, choice.finish_reason) == ("One two.", "stop")
    assert (choice.native_finish_reason, choice.message.citations) == ("STOP", ["x"])
    assert more.items() <= completion.to_dict().items()


@sync_and_async
async def test_raw_response(way: Way) -> None:
    """``with_raw_response`` and ``with_streaming_response`` have the whole answer as JSON."""
    with Emulator(cap=60) as emulator:
        client = way.client(emulator.base_url, continuation=folding())
        raw = await settled(client.chat.completions.with_raw_response.create(**TEXT))
        parsed = await settled(raw.parse())
        async with entered(client.chat.completions.with_streaming_response.create(**TEXT)) as response:
            read = json.loads(await settled(response.read()))
            kinds = raw.headers["content-type"], response.headers["content-type"]
        await settled(client.close())
        expected = emulator.uncapped(TEXT)

    assert kinds == ("application/json", "application/json")
    assert expected == parsed.choices[0].message.content == json.loads(raw.text)["choices"][0]["message"]["content"]
    assert read["choices"][0]["message"]["content"] == expected


@sync_and_async
async def test_parse(way: Way) -> None:
    """``parse()`` returns the object of a document."""
    with Emulator(cap=120, text=LISTING.model_dump_json(indent=2)) as emulator:
        client = way.client(emulator.base_url, continuation=folding())
        completion = await settled(client.chat.completions.parse(**ask(), response_format=Listing))
        await settled(client.close())
        assert len(emulator.requests) >= 3

    assert completion.choices[0].message.parsed == LISTING


class WriteFile(pydantic.BaseModel):
    path: str
    content: str


@sync_and_async
async def test_parse_calls(way: Way) -> None:
    """``parse()`` returns the arguments of calls as objects."""
    tools = [openai.pydantic_function_tool(WriteFile, name=name) for name in ("write_file", "append")]
    body = {**CUT_CALLS, "tools": tools}
    with Emulator(cap=60, habits=HERMES) as emulator:
        client = way.client(emulator.base_url, continuation=folding(**CONTINUES_CALLS))
        completion = await settled(client.chat.completions.parse(**body))
        await settled(client.close())
        truth = [json.loads(arguments) for _, arguments in emulator.uncapped_calls(body)]

    calls = completion.choices[0].message.tool_calls
    assert truth == [call.function.parsed_arguments.model_dump() for call in calls]
    assert len(truth) == 2


@sync_and_async
@pytest.mark.spread(1)
async def test_slow_server(way: Way) -> None:
    """Four rounds, each longer than the read timeout, bring the whole text; asked for whole, the first times out."""
    body = ask("Write 80 tokens.", model=QWEN)
    with Emulator(cap=20, token_delay=0.05, chunk_tokens=1, events_per_write=1) as emulator:
        # The first chunk comes after a token, a whole round after twenty.
        times = http.Timeout(5, read=0.7)
        client = way.client(emulator.base_url, continuation=folding(max_rounds=100), timeout=times, max_retries=0)
        answer = await live(client, body, streamed=False)
        whole = await outcome(client, streamed=False, **body, extra_body={"continuation": {"stream_rounds": False}})
        await settled(client.close())

    assert (emulator.uncapped(body), "stop", "stop") == answer.ending
    assert len(answer.rounds) >= 4
    assert whole.kind[0] == "APITimeoutError"


@sync_and_async
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("number", "tokens"), [(1, 0), (1, 5), (1, 30), (2, 0), (2, 20), (4, 7)])
@pytest.mark.parametrize("kind", ["reset", "early_end", "half_frame", "hang"])
async def test_break(kind: Any, number: int, tokens: int, way: Way) -> None:
    """A round that breaks off goes on from what arrived: nothing is lost or doubled, and little is paid again."""
    fault = Fault(kind, round=number, after_tokens=tokens)
    with Emulator(cap=60, faults=[fault], chunk_tokens=1, events_per_write=1) as emulator:
        times = http.Timeout(60, read=1 if kind == "hang" else 60)
        # Before any text there is nothing to go on from. Then the SDK's number of retries counts, as without the setting.
        client = way.client(emulator.base_url, continuation=folding(), timeout=times, max_retries=int(tokens == 0))
        answer = await live(client, TEXT, streamed=False)
        await settled(client.close())
        truth, size = emulator.uncapped(TEXT), emulator.tokens_of(TEXT)
        # The entry of a round that broke off has what was sent.
        paid = sum(logged.completion_tokens or 0 for logged in emulator.requests)
        requests = len(emulator.requests)

    assert (truth, "stop", "stop") == answer.ending
    assert requests <= 6
    assert paid <= size + 3 * requests


@sync_and_async
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["error_event", "error_frame"])
async def test_error_in_place_of_a_chunk(kind: Any, number: int, way: Way) -> None:
    """An error that the server names is no break: the SDK's error in a first round, the end of the answer in a later."""
    with Emulator(cap=60, faults=[Fault(kind, round=number, after_tokens=20)]) as emulator:
        client = way.client(emulator.base_url, continuation=folding(), max_retries=0)
        answer = await outcome(client, streamed=False, **TEXT)
        await settled(client.close())
        truth = emulator.uncapped(TEXT)

        assert number > 1 or len(emulator.requests) == 1

    if number == 1:
        assert isinstance(answer.error, openai.APIStatusError)
        return
    assert answer.ending[1:] == ("length", "error")
    assert len(truth) > len(answer.text) > 200
    assert truth.startswith(answer.text)


@sync_and_async
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("field", ["stream", "stream_options"])
async def test_server_that_refuses_streams(field: str, status: int, way: Way) -> None:
    """A server that refuses what the setting adds is asked for whole answers, in this call."""
    script = Refusing(field, status, cut_round("One"), last_round(" two."))
    client = way.client("http://127.0.0.1", transport=script, continuation=folding(), max_retries=0)
    completion = await settled(client.chat.completions.create(**ask()))
    await settled(client.close())

    assert completion.choices[0].message.content == "One two."
    assert field in script.refused[0]
    assert all(field not in body or not body[field] for body in script.bodies)


@sync_and_async
async def test_error_of_the_callers_own(way: Way) -> None:
    """A request that is refused either way raises the server's error of the plain request."""
    script = Refusing("messages", 400)
    client = way.client("http://127.0.0.1", transport=script, continuation=folding(), max_retries=0)
    answer = await outcome(client, streamed=False, **ask())
    await settled(client.close())

    assert answer.kind[0] == "BadRequestError"
    assert not script.refused[-1].get("stream")


@sync_and_async
@pytest.mark.parametrize("is_read", [False, True])
async def test_server_that_ignores_stream(is_read: bool, way: Way) -> None:
    """JSON for an answer to a request for a stream is taken as what it is, also if a hook has read it."""
    rounds = cut_round("One"), cut_round(" two"), last_round(" three.")
    script = Whole(*rounds * 2, is_read=is_read)
    client = way.client("http://127.0.0.1", transport=script, continuation=folding(), max_retries=0)
    completion = await settled(client.chat.completions.create(**ask()))
    async with entered(client.chat.completions.with_streaming_response.create(**ask())) as response:
        parsed = await settled(response.parse())
    await settled(client.close())

    assert "One two three." == completion.choices[0].message.content == parsed.choices[0].message.content


FRAME = (
    b'data: {"error_type": "x", "error_message": "{\\"error\\": {\\"message\\": \\"full\\", \\"status\\": 503}}"}\n\n'
)
TOO_MANY = event({"error": {"message": "slow down", "status": 429}})
#: What the first round brings, and the SDK's error. Nothing has arrived that could be kept.
ERRORS: dict[str, tuple[list[Any], type[Exception]]] = {
    "timeout": ([http.ReadTimeout("late")], openai.APITimeoutError),
    "connection": ([LOST], openai.APIConnectionError),
    "error": ([TOO_MANY], openai.APIStatusError),
    "frame": ([FRAME], openai.APIStatusError),
    "no chunk": ([DONE], openai.APIResponseValidationError),
    "nothing": ([], openai.APIError),
}


@sync_and_async
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("name", ERRORS)
async def test_errors_of_the_sdk(name: str, way: Way) -> None:
    """An answer that fails before it has begun raises an error of the SDK, as a whole one does."""
    pieces, kind = ERRORS[name]
    script = Streams(*[pieces] * 20)
    client = way.client("http://127.0.0.1", transport=script, continuation=folding(heal_streams=False), max_retries=0)
    answer = await outcome(client, streamed=False, **ask())
    await settled(client.close())

    assert isinstance(answer.error, kind), answer.error
    assert all(stream.closed for stream in script.streams)


@sync_and_async
@pytest.mark.parametrize("on_error", ["partial", "raise"])
async def test_later_round_fails(on_error: str, way: Way) -> None:
    """A further round that cannot be had ends the answer, or raises the SDK's error with what arrived."""
    faults = [Fault("402", round=3, times=9)]
    with Emulator(cap=60, faults=faults) as emulator:
        client = way.client(emulator.base_url, continuation=folding(on_error=on_error), max_retries=0)
        answer = await outcome(client, streamed=False, **TEXT)
        await settled(client.close())
        truth = emulator.uncapped(TEXT)

    if on_error == "raise":
        assert isinstance(answer.error, openai.APIStatusError)
        answer = Answer(answer.error.partial_completion.choices[0].message.content, finish_reason="length")
    assert answer.finish_reason == "length"
    assert 200 < len(answer.text)
    assert truth.startswith(answer.text)


@sync_and_async
async def test_for_one_call(way: Way) -> None:
    """One call may have it, another not; a call that streams is as ever."""
    with Emulator(cap=60) as emulator:
        client = way.client(emulator.base_url)
        one = await live(client, {**TEXT, "extra_body": {"continuation": {"stream_rounds": True}}}, streamed=False)
        other = await live(client, TEXT, streamed=False)
        streamed = await live(client, {**TEXT, "extra_body": {"continuation": {"stream_rounds": True}}}, streamed=True)
        await settled(client.close())
        streams = [bool(logged.body.get("stream")) for logged in emulator.requests]

    assert emulator.uncapped(TEXT) == one.text == other.text == streamed.text
    third = len(streams) // 3
    assert [True] * third + [False] * third + [True] * third == streams


class Streams(Script):
    """A script whose responses say that they are streams."""

    def handle_request(self, request: Any) -> Any:
        response = super().handle_request(request)
        response.headers["content-type"] = "text/event-stream"
        return response


class Whole(Script):
    """A server that answers with JSON whatever it is asked for; ``is_read``: the body is read already."""

    def __init__(self, *rounds: Any, is_read: bool) -> None:
        super().__init__(*rounds)
        self._is_read = is_read

    def handle_request(self, request: Any) -> Any:
        content = json.dumps(self.completion(json.loads(request.content))).encode()
        body = {"content": content} if self._is_read else {"stream": Pieces([content[:9], content[9:]])}
        return http.Response(200, headers={"content-type": "application/json"}, **body)


class Refusing(Script):
    """A server that refuses a field of the body."""

    def __init__(self, field: str, status: int, *rounds: Any) -> None:
        super().__init__(*rounds)
        self._field, self._status = field, status
        self.refused: list[dict[str, Any]] = []

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        if body.get(self._field):
            self.refused.append(body)
            return http.Response(self._status, json={"error": {"message": f"{self._field} is not supported"}})
        response = super().handle_request(request)
        response.headers["content-type"] = "text/event-stream" if body.get("stream") else "application/json"
        return response


AGAIN: list[tuple[str, int, dict[str, Any]]] = [
    *[(kind, tokens, TEXT) for kind in ("error_event", "error_frame") for tokens in (0, 20)],
    ("reset", 20, {**TEXT, "response_format": {"type": "json_object"}}),
]


@sync_and_async
@pytest.mark.parametrize(("kind", "tokens", "body"), AGAIN, ids=[f"{kind} at {tokens}" for kind, tokens, _ in AGAIN])
async def test_first_request_is_sent_again(kind: Any, tokens: int, body: Any, way: Way) -> None:
    """What the SDK tries again for a whole answer is tried again here, as often as ``max_retries`` says."""
    for retries in (0, 2):
        with Emulator(cap=500, faults=[Fault(kind, round=1, after_tokens=tokens)]) as emulator:
            client = way.client(emulator.base_url, continuation=folding(heal_streams=False), max_retries=retries)
            answer = await outcome(client, streamed=False, **body)
            await settled(client.close())
            asked, truth = len(emulator.requests), emulator.uncapped(body)

        assert (1 if retries == 0 else 2) == asked
        assert (answer.error is not None) == (retries == 0)
        assert retries == 0 or (truth, "stop") == answer.ending[:2]


@sync_and_async
async def test_limit_of_whole_answers_is_none(way: Way) -> None:
    """Fireworks refuses a whole answer of more than its cap, and gives a stream of any length: one request is enough."""
    body = {**TEXT, "max_tokens": 5000}
    asked = []
    for folds in (False, True):
        with Emulator(cap=60, habits=Habits(over_cap="stream")) as emulator:
            settings = Continuation(provider="fireworks", stream_rounds=folds)
            client = way.client(emulator.base_url, continuation=settings, max_retries=0)
            answer = await live(client, body, streamed=False)
            await settled(client.close())
            asked.append(len(emulator.requests))
            assert (emulator.uncapped(body), "stop") == answer.ending[:2]

    assert asked[0] > asked[1] == 1
