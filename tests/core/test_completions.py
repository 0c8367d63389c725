"""Text completions: every cut goes on as the model wrote it, and what comes has the shape of a text completion."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from openai_continue._core.codec.completion import left_alone
from openai_continue._core.round import Failure
from openai_continue.testing import Habits
from openai_continue.testing.emulator.tokens import tokenize
from tests.support.answers import Answer, Json
from tests.support.driving import DRIVES, Drive, drives, rounds_of, streamed, whole
from tests.support.engine import AWKWARD, Engine

PROMPT = "Tell me: "
DOCUMENT = "Write 60 tokens."
KINDS = {
    "deepinfra": Habits(),
    "vllm": Habits(default_text_tokens=16, usage="asked", finish_with_text=True, limit_field="both", overflow="clamp"),
    "sglang": Habits(default_text_tokens=16, usage="asked", cut_characters="replaced"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def ask(prompt: Any = PROMPT, **fields: Any) -> Json:
    """Return the body of a request for a text completion."""
    return {"model": "m", "prompt": prompt, "temperature": 0, **fields}


def every_cap(text: str, habits: Habits) -> range:
    """Return the caps that cut a text after each of its tokens, and one that does not."""
    return range(1, len(tokenize(text, byte_fallback=habits.cut_characters is not None)) + 2)


FORMS: dict[str, Json] = {
    "as it is": {},
    "echo": {"echo": True},
    "stop strings": {"stop": [" x", "wo", "\n- "]},
}


@each_kind
@drives
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.spread(2)
def test_every_cut(kind: str, drive: Drive, form: str) -> None:
    """A text goes on after each of its tokens, once or all the time. A cap of less than a character may be too small."""
    for text in AWKWARD:
        body = ask(**FORMS[form])
        want = Engine(text, habits=KINDS[kind]).uncapped(body)
        for cap in every_cap(text, KINDS[kind]):
            for caps in ((cap, 10**6), (cap,)) if form == "as it is" else ((cap, 10**6),):
                server = Engine(text, habits=KINDS[kind], cap=caps)
                answer = drive(server, body, provider=kind, max_rounds=500)

                assert server.derailed == 0
                if answer.finish_reason == "length" and cap < (3 if KINDS[kind].cut_characters else 2):
                    assert answer.stopped_by == "empty"
                    assert want.text.startswith(answer.text.rstrip("\ufffd"))
                    continue
                assert (want.text, "stop", want.spelled) == (answer.text, answer.finish_reason, answer.spelled), caps


@each_kind
@drives
@pytest.mark.spread(2)
def test_prompts_and_choices(kind: str, drive: Drive) -> None:
    """Each of several choices of several prompts is the one that the server would have written."""
    body = ask([DOCUMENT, "Write 45 tokens."], n=2)
    for cap in (7, 20, 44, 59):
        for index in range(4):
            server = Engine(habits=KINDS[kind], cap=cap)
            answer = drive(server, body, index, provider=kind)
            assert (server.uncapped(body, index).text, "stop") == (answer.text, answer.finish_reason)
            assert all(later["prompt"].startswith("Write") and later["n"] == 1 for later in server.bodies[1:])
            assert server.derailed == 0


# Limits and usage.


@each_kind
@drives
def test_max_tokens_is_a_total(kind: str, drive: Drive) -> None:
    """The caller's limit holds for the whole text; the default of a server is no limit of the caller's."""
    for total in (5, 17, 40, 55):
        body = ask(DOCUMENT, max_tokens=total)
        server = Engine(habits=KINDS[kind], cap=[30, 1000])
        answer = drive(server, body, provider=kind)
        want = server.uncapped(body)
        assert want.text.startswith(answer.text)
        assert answer.finish_reason == "length"
        assert all(
            later["max_tokens"] == total - sum(server.given[:place]) for place, later in enumerate(server.bodies)
        )

    server = Engine(habits=KINDS[kind], cap=1000)
    answer = drive(server, ask(DOCUMENT), provider=kind)
    assert (server.uncapped(ask(DOCUMENT)).text, "stop") == (answer.text, answer.finish_reason)
    assert "max_tokens" not in server.bodies[0]
    # Sixteen tokens by default: later requests name as many as a server gives.
    small = KINDS[kind].default_text_tokens is not None
    assert [16384] * small == [later.get("max_tokens") for later in server.bodies[1:]]


@each_kind
@drives
def test_a_limit_that_is_reached(kind: str, drive: Drive) -> None:
    """A text that has as many tokens as were asked for is one round, and has no report."""
    server = Engine(habits=KINDS[kind])
    answer = drive(server, ask(DOCUMENT, max_tokens=20), provider=kind)
    assert server.uncapped(ask(DOCUMENT, max_tokens=20)).ending == answer.ending
    assert len(server.bodies) == 1


@each_kind
@drives
def test_usage_is_summed(kind: str, drive: Drive) -> None:
    """Usage is the sum of what was billed, and the names of the answer are those of the first round."""
    body = ask(DOCUMENT) if drive is whole else {**ask(DOCUMENT), "stream_options": {"include_usage": True}}
    server = Engine(habits=KINDS[kind], cap=25)
    answer = drive(server, body, provider=kind)
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert sum(server.given) == answer.usage["completion_tokens"]
    assert answer.usage["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in answer.rounds)
    last = answer.raw[-1] if drive is streamed else answer.raw
    assert last["object"] == "text_completion"
    assert last["id"] == answer.rounds[0]["id"] != answer.rounds[1]["id"]
    for chunk in answer.raw if drive is streamed else [answer.raw]:
        assert chunk["object"] == "text_completion"
        assert not {"message", "delta"} & {name for item in chunk["choices"] for name in item}
        assert all(isinstance(item["text"], str) for item in chunk["choices"])


# What came is given back as it came.


def test_an_unchanged_answer_is_the_object_that_came() -> None:
    """An answer, or a chunk, that needs no change is the same object, with fields that nobody knows."""
    rounds = rounds_of(ask(), "deepinfra")
    request = rounds.next_request()
    assert request is not None
    item = {"index": 0, "text": "Whole.", "logprobs": None, "finish_reason": "stop", "odd": [1]}
    came = {"id": "c", "object": "text_completion", "odd": {}, "choices": [item]}
    before = copy.deepcopy(came)
    rounds.receive(request, came)
    assert rounds.completion() is came
    assert before == came

    server = Engine(cap=30)
    rounds = rounds_of(ask(DOCUMENT, stream=True, n=2), "deepinfra")
    request = rounds.next_request()
    assert request is not None
    chunks = list(server.chunks(request.body))
    before_each = copy.deepcopy(chunks)
    for chunk in chunks[:-3]:
        (out,) = rounds.feed(request, chunk)
        assert out is chunk
    assert before_each == chunks


def test_chunks_that_are_none() -> None:
    """A chunk without choices goes through; one with usage and null choices is no error."""
    rounds = rounds_of(ask(stream=True), "deepinfra")
    request = rounds.next_request()
    assert request is not None
    for chunk in ({"id": "c", "choices": []}, {"id": "c", "choices": None, "usage": {"prompt_tokens": 1}}):
        assert [chunk] == rounds.feed(request, chunk)
    end = {"id": "c", "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}
    assert [end] == rounds.feed(request, end)


# Broken streams and failures.


@pytest.mark.parametrize("echo", [False, True], ids=["", "echo"])
def test_broken_streams_are_healed(echo: bool) -> None:
    """A stream that breaks off after any chunk, in either round, goes on from the text that has come."""
    body = ask(DOCUMENT, stream=True, echo=echo)
    want = Engine(cap=25).uncapped(ask(DOCUMENT, echo=echo)).text
    for breaks_in in (1, 2):
        for place in range(0 if breaks_in == 2 else 1, 25, 3):
            server = Engine(cap=25)
            rounds = rounds_of(body, "deepinfra")
            out: list[Json] = []
            while (request := rounds.next_request()) is not None:
                broken = len(server.bodies) + 1 == breaks_in
                for number, chunk in enumerate(server.chunks(request.body)):
                    if broken and number == place:
                        break
                    out += rounds.feed(request, chunk)
                if broken:
                    decision = rounds.fail(request, Failure("APIConnectionError", broke_off=True))
                    assert not decision.raises
                    out += decision.chunks
                else:
                    out += rounds.end_of_stream(request)
            answer = Answer.of_chunks(out + rounds.last_chunks())
            assert (want, "stop", 0) == (answer.text, answer.finish_reason, server.derailed)


@drives
@pytest.mark.parametrize("on_error", ["partial", "raise"])
def test_a_later_round_that_fails(drive: Drive, on_error: str) -> None:
    """What has come stays, as a text completion that ends in "length"."""
    server = Engine(cap=25)
    rounds = rounds_of(ask(DOCUMENT, stream=drive is streamed), "deepinfra", on_error=on_error)
    request = rounds.next_request()
    assert request is not None
    if drive is whole:
        rounds.receive(request, server.completion(request.body))
    else:
        for chunk in server.chunks(request.body):
            rounds.feed(request, chunk)
        rounds.end_of_stream(request)
    later = rounds.next_request()
    assert later is not None
    decision = rounds.fail(later, Failure("InternalServerError", 500))
    assert decision.raises is (on_error == "raise")
    completion = rounds.completion()
    assert completion["object"] == "text_completion"
    (item,) = completion["choices"]
    assert item["finish_reason"] == "length"
    assert server.uncapped(ask(DOCUMENT)).text.startswith(item["text"])
    assert item["text"]


# What is left alone.

NOT_TEXT = "a prompt that is not text, such as token ids"
LEFT_ALONE: dict[str, tuple[Json, str]] = {
    "ids": ({"prompt": [1, 2]}, NOT_TEXT),
    "several prompts of ids": ({"prompt": [[1, 2], [3]]}, NOT_TEXT),
    "ids and texts": ({"prompt": ["a", [1]]}, NOT_TEXT),
    "an empty list": ({"prompt": []}, NOT_TEXT),
    "an empty list of ids": ({"prompt": [[]]}, NOT_TEXT),
    "floats": ({"prompt": [0.5]}, NOT_TEXT),
    "a number": ({"prompt": 5}, NOT_TEXT),
    "nothing": ({"prompt": None}, NOT_TEXT),
    "a suffix": ({"suffix": "The end."}, "a suffix"),
    "the best of several": ({"best_of": 3}, "best_of"),
    "no tokens": ({"max_tokens": 0, "echo": True}, "no output tokens"),
    "a beam search": ({"use_beam_search": True, "n": 2}, "a beam search"),
    "logprobs": ({"logprobs": 2}, "logprobs"),
    "the logprobs of the text only": ({"logprobs": 0}, "logprobs"),
    "logprobs beside ids": ({"prompt": [1, 2], "logprobs": 1}, NOT_TEXT),
    "a prompt of vectors too": ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
}


@pytest.mark.parametrize(("fields", "why"), LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_left_alone(fields: Json, why: str) -> None:
    """A request that cannot go on, or has no prompt, is left to the server, with the reason in words."""
    assert left_alone({**ask(), **fields}) == why


@pytest.mark.parametrize(
    "fields",
    [
        *({"suffix": None}, {"suffix": ""}, {"best_of": 1}, {"best_of": 2, "n": 2}, {"logprobs": None}),
        *({"logprobs": False}, {"prompt": ""}, {"prompt": ["a", "b"]}),
    ],
    ids=json.dumps,
)
def test_not_left_alone(fields: Mapping[str, Any]) -> None:
    """Fields that say nothing keep no text from going on."""
    assert left_alone({**ask(), **fields}) is None


def test_stops_across_seams() -> None:
    """A stop string that begins in one round and ends in the next one ends the text before it."""
    text = "one two three four END five six"
    for drive in DRIVES:
        for stop in ("three four", "r EN", "END", [" five", "ND"]):
            body = ask(stop=stop)
            want = Engine(text).uncapped(body)
            for cap in every_cap(text, Habits()):
                answer = drive(Engine(text, cap=cap), body, max_rounds=500)
                assert (want.text, "stop") == (answer.text, answer.finish_reason), (stop, cap)


@drives
@pytest.mark.parametrize("trims", [None, True, False])
def test_thinking_is_no_matter(drive: Drive, trims: bool | None) -> None:
    """Tags in a text, and what a chat template does, are no matter of a text completion."""
    text = "<think>\nOne, two.\n</think>\n\n- three\n- four\n"
    for cut in ("continue", "answer"):
        for cap in range(3, len(tokenize(text)) + 1):
            server = Engine(text, cap=(cap, 10**6))
            answer = drive(server, ask(), trims=trims, on_reasoning_cut=cut)
            assert (text, "stop", 0) == (answer.text, answer.finish_reason, server.derailed), (cut, cap)


def test_usage_of_one_of_several_prompts() -> None:
    """llama-server counts the prompt of one choice only; the next prompt is no new turn, however many tokens it has."""
    rounds = rounds_of(ask(["one", "two"]), provider="llama.cpp")
    first = rounds.next_request()
    assert first is not None
    items = [{"index": index, "text": "a word", "finish_reason": "length"} for index in (0, 1)]
    usage = {"prompt_tokens": 24, "completion_tokens": 7, "total_tokens": 31}
    rounds.receive(first, {"object": "text_completion", "choices": items, "usage": usage})
    for _ in items:
        request = rounds.next_request()
        assert request is not None
        item = {"index": 0, "text": "The end.", "finish_reason": "stop"}
        rounds.receive(request, {"choices": [item], "usage": {**usage, "prompt_tokens": 31}})

    assert rounds.next_request() is None
    assert [item["text"] for item in rounds.completion()["choices"]] == ["a wordThe end."] * 2
