"""Reading "too long" out of any server's error, and what is done about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue import Continuation, providers
from openai_continue.core import overflow
from openai_continue.core.overflow import Overflow
from openai_continue.core.round import Decision, Failure, Request
from openai_continue.core.rounds import Rounds
from openai_continue.testing import Emulator, Habits
from tests.conftest import DEEPINFRA, SYNC, Way, ask, http, joined, listed, settled

#: Context and prompt as each server says them, collected from issues and source; False: "at least".
MESSAGES: list[tuple[str, int | None, int | None, bool]] = [
    (
        "This model's maximum context length is 16000 tokens. However, you requested 17165 tokens (13069 in the "
        "messages, 4096 in the completion). Please reduce the length of the messages or completion.",
        16000,
        13069,
        True,
    ),
    (
        "This model's maximum context length is 163840 tokens. However, you requested 32000 output tokens and your "
        "prompt contains at least 131841 input tokens, for a total of at least 163841 tokens. Please reduce the length "
        "of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=131841)",
        163840,
        131841,
        False,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
        4096,
        4097,
        False,
    ),
    (
        "You passed 1200064 input tokens and requested 1 output tokens. However, the model's context length is only "
        "4096 tokens, resulting in a maximum input length of 4095 tokens",
        4096,
        1200064,
        True,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
        "9000 tokens: 8000 tokens from the input messages and 1000 tokens for the completion.",
        8192,
        8000,
        True,
    ),
    ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", 8192, 9000, True),
    (
        "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input or enable "
        "--allow-auto-truncate.",
        59862,
        160062,
        True,
    ),
    (
        "request (42947 tokens) exceeds the available context size (8192 tokens), try increasing it",
        8192,
        42947,
        True,
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens and "
        "1024 `max_new_tokens`",
        1512,
        1000,
        True,
    ),
    ("Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", 1024, 2000, True),
    ("Requested input length 99009 exceeds maximum input length 8192", 8192, 99009, True),
    (
        "This endpoint's maximum context length is 204800 tokens. However, you requested about 274290 tokens (254087 "
        "of text input, 4203 of tool input, 16000 in the output).",
        204800,
        254087,
        False,
    ),
    (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 tokens. Please "
        "reduce the length of the messages.",
        4097,
        4294,
        True,
    ),
    ("prompt is too long: 213462 tokens > 200000 maximum", 200000, 213462, True),
    ("Your request exceeded model token limit: 262144 (requested: 270000)", 262144, None, True),
    (
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        1048575,
        1196265,
        True,
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
        131072,
        537812,
        True,
    ),
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        32768,
        40000,
        True,
    ),
    (
        "max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens.",
        8192,
        None,
        True,
    ),
    # vLLM 0.33, SGLang and others from source.
    ("Input length (5000) exceeds model's maximum context length (4096).", 4096, 5000, True),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens, which "
        "exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
        4096,
        5000,
        True,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your prompt contains 90000 characters (more than "
        "65536 characters, which is the upper bound for 4096 input tokens). Please reduce the length of the input "
        "prompt.",
        4096,
        None,
        True,
    ),
    (
        "You passed 90000 input characters and requested 100 output tokens. However, the model's context length is "
        "only 4096 tokens, resulting in a maximum input length of 3996 tokens (at most 63936 characters). Please "
        "reduce the length of the input prompt.",
        4096,
        None,
        True,
    ),
    (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (4000 in the messages, "
        "1000 in the functions, and 4000 in the completion). Please reduce the length of the messages, functions, or "
        "completion.",
        8192,
        4000,
        False,
    ),
    ("Request prompt exceeds the KV memory budget: input_len=70000.", None, None, True),
    ("invalid params, context window exceeds limit (2013)", None, None, True),
    ("Please reduce the length of the messages or completion.", None, None, True),
    ("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", None, None, True),
]

#: Bodies of vLLM and llama-server with a context of 4096, as they were sent.
BODIES: list[tuple[str, int | None, int | None, bool]] = [
    (
        """{"error":{"message":"This model's maximum context length is 4096 tokens. However, your prompt contains at """
        "least 4097 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
        'the input prompt. (parameter=input_tokens, value=4097)","type":"BadRequestError","param":"input_tokens",'
        '"code":400}}',
        4096,
        4097,
        False,
    ),
    (
        '{"error":{"message":"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",'
        '"type":"BadRequestError","param":"max_tokens","code":400}}',
        None,
        None,
        True,
    ),
    (
        '{"error":{"message":"max_tokens=5096 cannot be greater than max_model_len=4096. Please request fewer output '
        'tokens. (parameter=max_tokens, value=5096)","type":"BadRequestError","param":"max_tokens","code":400}}',
        4096,
        None,
        True,
    ),
    (
        '{"error":{"code":400,"message":"request (16395 tokens) exceeds the available context size (4096 tokens), try '
        'increasing it","type":"exceed_context_size_error","n_prompt_tokens":16395,"n_ctx":4096}}',
        4096,
        16395,
        True,
    ),
]

# Of a context of 1000.
ROOM_LEFT = (
    "This model's maximum context length is 1000 tokens. However, you requested 1200 tokens (700 in the messages, 500 "
    "in the completion). Please reduce the length of the messages or completion."
)
AT_LEAST = (
    "This model's maximum context length is 1000 tokens. However, you requested 500 output tokens and your prompt "
    "contains at least 501 input tokens, for a total of at least 1001 tokens."
)
WITHOUT_NUMBERS = "Please reduce the length of the messages or completion."
TOO_LONG = "request (1200 tokens) exceeds the available context size (1000 tokens), try increasing it"
TOO_LONG_AT_LEAST = (
    "This model's maximum context length is 1000 tokens. However, your prompt contains at least 1001 input tokens, "
    "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
)
NONE_LEFT = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"

#: What is about something else, and looks like it.
OTHERS = [
    "",
    "max_tokens is too large: 20480. This model supports at most 16384 completion tokens, whereas you provided 20480.",
    "max_tokens must be at least 1, got -5. (parameter=max_tokens, value=-5)",
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested "
    "4000. Please try again in 6s.",
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000. The "
    "input or output tokens must be reduced in order to run successfully.",
    "Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 6000, Requested 8000, "
    "please reduce your message size and try again.",
    "Model busy, retry later",
    "The engine died",
    "n must be 1 when using greedy sampling, got 2.",
    "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want the "
    "model to continue the final message, and add_generation_prompt when you want to add a header that will prompt it "
    "to start a new assistant message instead.",
    "{'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most 4 items after validation, not 5'}",
    "Cannot have 2 or more assistant messages at the end of the list.",
    "Insufficient balance: 4096 tokens left",
    "Request Entity Too Large",
    "string too long. Expected a string with maximum length 1048576, but got a string with length 1540820 instead.",
    "The maximum length of the stop list is 16",
]


@pytest.mark.parametrize(("text", "context", "prompt", "exact"), MESSAGES + BODIES, ids=range(len(MESSAGES + BODIES)))
def test_read(text: str, context: int | None, prompt: int | None, exact: bool) -> None:
    """Every server's message is read for the size of its context and of the prompt."""
    read = overflow.read(text)

    assert read is not None
    assert (context, prompt, exact) == (read.context_length, read.prompt_tokens, read.exact)


@pytest.mark.parametrize(("text", "full"), [(ROOM_LEFT, False), (AT_LEAST, False), (TOO_LONG, True), (NONE_LEFT, True)])
def test_read_whether_any_room_is_left(text: str, full: bool) -> None:
    """A prompt that is too long by itself is told from one that leaves room."""
    read = overflow.read(text)

    assert read is not None
    assert full == read.full


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_read_from_the_sdk(body: tuple[str, int | None, int | None, bool]) -> None:
    """The message is found in what the SDK makes of a body, whatever it unpacks."""
    said = json.loads(body[0])["error"]
    read = overflow.read(f"Error code: 400 - {json.loads(body[0])} {said}")

    assert read is not None
    assert body[1:] == (read.context_length, read.prompt_tokens, read.exact)


@pytest.mark.parametrize("text", OTHERS, ids=range(len(OTHERS)))
def test_read_of_another_error(text: str) -> None:
    """Nothing else is taken for an overflow."""
    assert None is overflow.read(text)


def test_read_is_quick() -> None:
    """A long text that is almost a message costs no more than its length."""
    text = "maximum context length is 4096 tokens " * 20_000 + "(1" * 20_000

    assert Overflow(4096) == overflow.read(text)


# What Rounds decide.


def rounds_of(body: dict[str, Any] | None = None, provider: str = "deepinfra", **settings: Any) -> Rounds:
    return Rounds(body or ask("x"), providers.named(provider), Continuation(round_tokens=500, **settings))


def refused(text: str) -> Failure:
    """Make what a driver makes of a 400."""
    return Failure("BadRequestError", 400, "req", text)


def answer(text: str, *, prompt: int | None = 100, tokens: int = 500) -> dict[str, Any]:
    """Make a truncated answer; without a prompt, a server that does not count."""
    message = {"role": "assistant", "content": text}
    usage = {} if prompt is None else {"usage": {"prompt_tokens": prompt, "completion_tokens": tokens}}
    return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "length"}], **usage}


def next_request(rounds: Rounds) -> Request:
    """Give a request that must be there."""
    request = rounds.next_request()

    assert request is not None
    return request


def asked(request: Request) -> int | None:
    """Give the number of tokens that a request names."""
    return request.body.get("max_tokens")


def second(rounds: Rounds, *, prompt: int | None = 100, tokens: int = 500) -> Request:
    """Have a first round of "one ", so that a second one is asked for."""
    rounds.receive(next_request(rounds), answer("one ", prompt=prompt, tokens=tokens))
    return next_request(rounds)


def check_end(rounds: Rounds, decision: Decision, stopped_by: str, text: str = "one ") -> None:
    """Check that the answer ended, in "length" and for that reason."""
    assert not decision.raises
    assert None is rounds.next_request()
    completion = rounds.completion()
    assert text == completion["choices"][0]["message"]["content"]
    assert "length" == completion["choices"][0]["finish_reason"]
    assert stopped_by == completion["continuation"]["stopped_by"]


@pytest.mark.parametrize("text", [ROOM_LEFT, AT_LEAST, WITHOUT_NUMBERS, TOO_LONG, TOO_LONG_AT_LEAST, NONE_LEFT])
@pytest.mark.parametrize("body", [ask("x", max_tokens=500), ask("x", max_tokens=300)])
def test_number_of_the_caller_is_the_callers_error(body: dict[str, Any], text: str) -> None:
    """Where the caller's own number does not fit, the error is the caller's, on which frameworks act."""
    rounds = rounds_of(body)

    assert rounds.fail(next_request(rounds), refused(text)).raises
    assert None is rounds.next_request()
    assert not rounds.continued


@pytest.mark.parametrize(
    ("text", "expected"), [(ROOM_LEFT, 300), (AT_LEAST, None), (WITHOUT_NUMBERS, None)], ids=["exact", "least", "none"]
)
@pytest.mark.parametrize("ours", ["total", "setting", "round"])
def test_number_of_ours_is_made_to_fit(ours: str, text: str, expected: int | None) -> None:
    """Where a number of ours does not fit, what fits is asked for: so many tokens, or no number where nobody counts."""
    body = ask("x", max_tokens=2000) if ours == "total" else ask("x")
    rounds = rounds_of(body, max_tokens=450 if ours == "setting" else None)
    first = next_request(rounds)

    decision = rounds.fail(first, refused(text))
    again = next_request(rounds)

    assert not decision.raises
    assert 450 if ours == "setting" else 500 == asked(first)
    assert (expected, 1) == (asked(again), again.number)
    assert {**first.body, "max_tokens": expected} == {"max_tokens": None, **again.body}


@pytest.mark.parametrize("text", [TOO_LONG, TOO_LONG_AT_LEAST, NONE_LEFT])
def test_prompt_that_is_too_long(text: str) -> None:
    """Where the prompt alone is too long, no second request is wasted: the error is the caller's."""
    rounds = rounds_of(ask("x", max_tokens=2000))

    assert rounds.fail(next_request(rounds), refused(text)).raises
    assert None is rounds.next_request()


@pytest.mark.parametrize("text", [ROOM_LEFT, AT_LEAST, WITHOUT_NUMBERS])
def test_first_round_is_made_to_fit_once(text: str) -> None:
    """A server that refuses what it said would fit is not asked a third time."""
    rounds = rounds_of(ask("x", max_tokens=2000))
    rounds.fail(next_request(rounds), refused(text))

    assert rounds.fail(next_request(rounds), refused(text)).raises
    assert None is rounds.next_request()


@pytest.mark.parametrize("head", [{"id": "1"}, {}])
def test_text_is_not_asked_for_twice(head: dict[str, Any]) -> None:
    """A stream that has brought text and then says "too long" is not begun anew, in the first round or a later one."""
    chunk = {**head, "choices": [{"index": 0, "delta": {"content": "one "}, "finish_reason": None}]}
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    rounds = rounds_of(ask("x", max_tokens=2000, stream=True))
    first = next_request(rounds)
    rounds.feed(first, chunk)

    assert rounds.fail(first, refused(ROOM_LEFT)).raises
    assert None is rounds.next_request()

    rounds = rounds_of(ask("x", max_tokens=2000, stream=True))
    first = next_request(rounds)
    rounds.feed(first, chunk)
    rounds.feed(first, end)
    rounds.end_of_stream(first)
    request = next_request(rounds)
    rounds.feed(request, chunk)

    check_end(rounds, rounds.fail(request, refused(ROOM_LEFT)), "context", "one one ")


@pytest.mark.parametrize(("text", "expected"), [(ROOM_LEFT, 300), (AT_LEAST, 400), (WITHOUT_NUMBERS, 250)])
def test_later_round_is_made_to_fit(text: str, expected: int) -> None:
    """A later round asks for the room left by the server's count, else by usage, else for half as much."""
    rounds = rounds_of()
    request = second(rounds)

    decision = rounds.fail(request, refused(text))
    again = next_request(rounds)

    assert not decision.raises
    assert 500 == asked(request)
    assert {**request.body, "max_tokens": expected} == again.body
    assert request.number == again.number


def test_later_round_is_made_to_fit_with_a_margin() -> None:
    """A count that was a little wrong is mended; after three times it is believed that nothing fits."""
    rounds = rounds_of()
    numbers = []
    request = second(rounds)
    for _ in range(4):
        numbers.append(asked(request))
        decision = rounds.fail(request, refused(AT_LEAST))
        request = rounds.next_request()
        if request is None:
            break

    assert [500, 400, 384, 368] == numbers
    check_end(rounds, decision, "context")


def test_later_round_of_a_server_that_does_not_count() -> None:
    """Where nobody counts, half as much is asked for, three times at most."""
    rounds = rounds_of()
    numbers = []
    request = second(rounds, prompt=None)
    for _ in range(4):
        numbers.append(asked(request))
        decision = rounds.fail(request, refused(AT_LEAST))
        request = rounds.next_request()
        if request is None:
            break

    assert [500, 250, 125, 62] == numbers
    check_end(rounds, decision, "context")


@pytest.mark.parametrize("text", [TOO_LONG, TOO_LONG_AT_LEAST, NONE_LEFT])
def test_later_round_without_room(text: str) -> None:
    """Where the answer has filled the context, it ends there, with "length" and without a further request."""
    rounds = rounds_of()

    check_end(rounds, rounds.fail(second(rounds), refused(text)), "context")
    assert None is rounds.report["error"]


def test_later_round_by_usage_without_room() -> None:
    """Where usage says that nothing is left, nothing is asked for."""
    rounds = rounds_of()

    check_end(rounds, rounds.fail(second(rounds, prompt=600, tokens=400), refused(AT_LEAST)), "context")


def test_later_round_without_a_number() -> None:
    """Where no number was named, a full context is one."""
    rounds = Rounds(ask("x"), providers.named("deepinfra"), Continuation())

    check_end(rounds, rounds.fail(second(rounds), refused(ROOM_LEFT)), "context")


def test_shrunk_round_is_followed_by_full_ones() -> None:
    """What one round had to do without is no limit of the next one, for which the context is counted anew."""
    rounds = rounds_of()
    rounds.fail(second(rounds), refused(AT_LEAST))
    rounds.receive(next_request(rounds), answer("two ", prompt=150, tokens=100))

    assert 500 == asked(next_request(rounds))


def test_full_context_is_not_raised() -> None:
    """A full context is an end and no error, whatever ``on_error`` says."""
    rounds = rounds_of(on_error="raise")

    check_end(rounds, rounds.fail(second(rounds), refused(NONE_LEFT)), "context")


def test_room_after_a_broken_round() -> None:
    """A round that broke off and has no usage counts by its chunks."""
    rounds = rounds_of(ask("x", stream=True))
    first = next_request(rounds)
    for number in range(100):
        rounds.feed(first, {"id": "1", "choices": [{"index": 0, "delta": {"content": f"{number} "}}]})
    end = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    rounds.feed(first, end | {"usage": {"prompt_tokens": 600, "completion_tokens": 100}})
    rounds.end_of_stream(first)
    broken = next_request(rounds)
    for number in range(50):
        rounds.feed(broken, {"id": "2", "choices": [{"index": 0, "delta": {"content": f"and {number} "}}]})
    rounds.fail(broken, Failure("ReadError", broke_off=True))

    rounds.fail(next_request(rounds), refused(AT_LEAST))

    assert 1000 - 600 - 100 - 50 == asked(next_request(rounds))


def test_full_context_of_one_choice() -> None:
    """A choice that has filled the context does not end the others."""
    choices = [
        {"index": index, "message": {"content": f"choice {index} "}, "finish_reason": "length"} for index in (0, 1)
    ]
    rounds = rounds_of(ask("x", n=2))
    rounds.receive(next_request(rounds), {"id": "1", "choices": choices})

    rounds.fail(next_request(rounds), refused(NONE_LEFT))
    end = answer("and on")
    end["choices"][0]["finish_reason"] = "stop"
    rounds.receive(next_request(rounds), end)

    assert None is rounds.next_request()
    completion = rounds.completion()
    assert ["length", "stop"] == [choice["finish_reason"] for choice in completion["choices"]]
    assert ["choice 0 ", "choice 1 and on"] == [choice["message"]["content"] for choice in completion["choices"]]
    assert "context" == completion["continuation"]["stopped_by"]
    assert [None, 0, 1] == [round_["choice"] for round_ in completion["continuation"]["rounds"]]


# Clients.

OVERFLOWS = ["400", "frame"]


async def text_of(client: Any, *, streamed: bool, **body: Any) -> tuple[str, str | None, Any]:
    """Ask; give the text, its end, and the report."""
    made = await settled(client.chat.completions.create(**body, stream=streamed))
    if not streamed:
        choice = made.choices[0]
        return choice.message.content, choice.finish_reason, getattr(made, "continuation", None)
    chunks = await listed(made)
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return joined(chunks), ends[-1], getattr(chunks[-1], "continuation", None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("habit", ["400", "frame", "clamp"])
async def test_answer_that_fills_the_context(way: Way, streamed: bool, habit: Any) -> None:
    """An answer goes on to the last token of the context and ends there in "length", whatever the caller's limit."""
    for limit in ({}, {"max_tokens": 2000}):
        body = ask("Fill.", **limit)
        with Emulator(cap=100, context=330, tokens=1000, habits=Habits(overflow=habit)) as emulator:
            client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, round_tokens=100), max_retries=0)
            text, finish_reason, report = await text_of(client, streamed=streamed, **body)
            await settled(client.close())

        assert emulator.uncapped(body).startswith(text)
        assert "length" == finish_reason
        assert ("context", None) == (report["stopped_by"], report["error"])
        full = [request for request in emulator.requests if request.finish_reason]
        assert 330 == full[-1].prompt_tokens + full[-1].completion_tokens
        assert len(emulator.requests) <= 8


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("habit", OVERFLOWS)
async def test_total_that_does_not_fit(way: Way, streamed: bool, habit: Any) -> None:
    """A total cut down to the cap that does not fit is asked for again without a number, and the context is filled."""
    body = ask("Total.", max_tokens=400)
    with Emulator(cap=100, context=90, tokens=1000, habits=Habits(overflow=habit)) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, round_tokens=90), max_retries=0)
        text, finish_reason, _ = await text_of(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(body).startswith(text)
    assert "length" == finish_reason
    assert [90, None] == [request.body.get("max_tokens") for request in emulator.requests[:2]]
    assert 90 == emulator.requests[1].prompt_tokens + emulator.requests[1].completion_tokens


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["max_tokens", "round_tokens"])
async def test_setting_that_does_not_fit(way: Way, streamed: bool, name: str) -> None:
    """A number of the settings that does not fit is left out of the second request, and no error comes of it."""
    body = ask("Setting.")
    with Emulator(cap=100, context=90, tokens=1000, habits=Habits(overflow="400")) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, **{name: 90}), max_retries=0)
        text, finish_reason, _ = await text_of(client, streamed=streamed, **body)
        await settled(client.close())

    assert emulator.uncapped(body).startswith(text)
    assert "length" == finish_reason
    assert [90, None] == [request.body.get("max_tokens") for request in emulator.requests[:2]]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_exact_count_is_believed(way: Way, streamed: bool) -> None:
    """A server that counts the prompt is asked for just what is left, once, with retries untouched."""
    seen: list[dict[str, Any]] = []

    def answered(request: Any) -> Any:
        body = json.loads(request.content)
        seen.append(body)
        if body["max_tokens"] > 300:
            return http.Response(400, json={"error": {"message": ROOM_LEFT, "code": 400}})
        if not streamed:
            return http.Response(200, json=answer("fits", prompt=700, tokens=300))
        chunk = {"id": "1", "choices": [{"index": 0, "delta": {"content": "fits"}, "finish_reason": "length"}]}
        return http.Response(200, content=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

    settings = replace(DEEPINFRA, round_tokens=500)
    client = way.client("http://x/v1", transport=http.MockTransport(answered), continuation=settings)
    text, finish_reason, _ = await text_of(client, streamed=streamed, **ask("x", max_tokens=2000))

    assert ("fits", "length") == (text, finish_reason)
    assert [500, 300] == [body["max_tokens"] for body in seen]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("habit", OVERFLOWS)
@pytest.mark.parametrize(("prompt", "limit"), [("Own.", 90), ("Long. " * 100, 90), ("Long. " * 100, 400)])
async def test_error_of_the_caller(way: Way, streamed: bool, habit: Any, prompt: str, limit: int) -> None:
    """The caller's own number or prompt is answered by the SDK's error with the server's words, after one request."""
    body = ask(prompt, max_tokens=limit, stream=streamed)
    with Emulator(cap=100, context=90, tokens=1000, habits=Habits(overflow=habit)) as emulator:
        client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, round_tokens=90), max_retries=0)
        with pytest.raises(openai.BadRequestError) as caught:
            await listed(await settled(client.chat.completions.create(**body)))
        await settled(client.close())

    assert "maximum context length is 90 tokens" in caught.value.message
    assert (400, "input_tokens") == (caught.value.status_code, caught.value.param)
    assert not hasattr(caught.value, "partial_completion")
    assert 1 == len(emulator.requests)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_error_is_the_one_without_us(colour: Way, streamed: bool) -> None:
    """Where the server answers 400, type, text and body are those of the SDK alone."""
    seen = []
    with Emulator(cap=100, context=90, habits=Habits(overflow="400")) as emulator:
        for make in (colour.plain_client, colour.client):
            client = make(emulator.base_url, max_retries=0)
            with pytest.raises(openai.OpenAIError) as caught:
                await settled(client.chat.completions.create(**ask("Same.", max_tokens=90), stream=streamed))
            seen.append((type(caught.value), str(caught.value), caught.value.body))
            await settled(client.close())

    assert seen[0] == seen[1]


def test_error_frame_is_the_sdks_error() -> None:
    """DeepInfra's frame in a stream of status 200 is raised as the error that its status would have been."""
    with Emulator(cap=100, context=90) as emulator:
        client = SYNC.client(emulator.base_url, max_retries=0)
        with pytest.raises(openai.BadRequestError) as streamed:
            list(client.chat.completions.create(**ask("Frame.", max_tokens=90), stream=True))
        with pytest.raises(openai.BadRequestError) as whole:
            client.chat.completions.create(**ask("Frame.", max_tokens=90))
        client.close()

    assert str(whole.value) == str(streamed.value)
    assert whole.value.body == streamed.value.body
    assert streamed.value.request_id == streamed.value.response.headers["x-request-id"]
