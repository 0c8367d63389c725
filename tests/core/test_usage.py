"""What was billed: usage summed over all rounds, and asked for only to count a total."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.learned import Learned
from openai_continue._core.round import Failure
from openai_continue._core.usage import add_usage, usage_of
from openai_continue._tables import providers
from tests.support.bodies import ask
from tests.support.driving import DRIVES, Drive, drives, rounds_of, streamed
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round, usage
from tests.support.servers import SERVERS


def test_usage_is_summed() -> None:
    """Usage is summed field by field, nested and unknown fields too; what one round lacks comes from the other."""
    one = {"prompt_tokens": 1, "details": {"cached": 2, "audio": None}, "cost": 0.5, "tier": "a", "null": None}
    other = {"prompt_tokens": 10, "details": {"cached": 20, "more": 3}, "cost": 0.25, "tier": "b", "new": 7}

    assert add_usage(one, other) == {
        "prompt_tokens": 11,
        "details": {"cached": 22, "audio": None, "more": 3},
        "cost": 0.75,
        "tier": "b",
        "null": None,
        "new": 7,
    }
    assert one == add_usage(one, None) == add_usage(None, one)
    assert add_usage(None, None) is None


#: Of two rounds: the name of a field in usage, its two values, and that of the whole answer.
FIELDS: list[tuple[str, Any, Any, Any]] = [
    ("completion_tokens", 5, 3, 8),
    ("estimated_cost", 0.5, 0.25, 0.75),
    ("cost_details", {"upstream": 0.5, "is_discounted": False}, {"upstream": 1.0, "is_discounted": True},
     {"upstream": 1.5, "is_discounted": True}),
    # Their names have "ratio", "min" and "tps" in them.
    *((name, 5, 3, 8) for name in ("total_duration", "generation_time", "iterations", "operations", "audio_minutes",
                                   "mintokens", "https_calls", "completionTokenCount", "start_tokens", "num_tokens")),
    # Flags are not added.
    *(("is_byok", one, other, other) for one in (True, False) for other in (True, False)),
    *((name, one, other, other) for name in ("cached", "x") for one, other in ((True, 1), (1, True), ("a", "b"), ([1], [2]))),
    # Rates, shares and times of day.
    *((name, 5, 3, 3) for name in ("tokens_per_second", "tokensPerSecond", "output_tps", "cache_hit_rate", "price_per_token",
                                   "acceptance_ratio", "avg_latency", "created_at", "createdAt", "created", "end_time",
                                   "timestamp", "tokens/s", "context_limit", "max_tokens")),
    # Of the beginning.
    *((name, 5, 3, 5) for name in ("queue_time", "start_time", "started_at", "time_to_first_token", "first_token_ms", "ttft")),
    ("missing later", 5, None, 5),
    ("missing first", None, 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "one", "other", "both"), FIELDS)
def test_field_of_usage(name: str, one: Any, other: Any, both: Any) -> None:
    """Amounts are added; a flag, a text, a rate, a time of day is not."""
    added = add_usage({name: one}, {name: other})

    assert repr({name: both}) == repr(added)
    assert repr({"deep": {"er": {name: both}}}) == repr(
        add_usage({"deep": {"er": {name: one}}}, {"deep": {"er": {name: other}}})
    )


#: Where servers put usage: the chunks of a round of two texts, after its first one; and in a whole answer.
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
PLACES = (
    "with the end",
    "after the end",
    "null",
    "missing",
    "choice",
    "groq",
    "every chunk",
    "before the end",
    "with text",
)


def chunks_with_usage(place: str, texts: list[str], finish: str, counted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks of a round with its usage at a place."""
    chunks: list[dict[str, Any]] = [
        {**HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts
    ]
    last: dict[str, Any] = {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    only = {**HEAD, "choices": [], "usage": counted}
    if place == "before the end":
        return [*chunks, only, last]
    if place == "every chunk":
        for number, chunk in enumerate(chunks, 1):
            chunk["usage"] = {**counted, "completion_tokens": number, "total_tokens": counted["prompt_tokens"] + number}
    if place == "with text":
        last = chunks.pop()
        last["choices"][0]["finish_reason"] = finish
    if place in ("with the end", "every chunk", "with text"):
        last["usage"] = counted
    if place == "choice":
        last["choices"][0]["usage"] = counted
    if place == "groq":
        last["x_groq"] = {"id": "q", "usage": counted}
    if place == "null":
        only["choices"] = None
    if place == "missing":
        del only["choices"]
    return [*chunks, last, *([only] if place in ("after the end", "null", "missing") else [])]


class Rounds:
    """Rounds of chunks."""

    def __init__(self, *rounds: list[dict[str, Any]]) -> None:
        self._rounds = iter(rounds)

    def chunks(self, _: Any) -> list[dict[str, Any]]:
        return next(self._rounds)

    def completion(self, _: Any) -> Any:
        raise AssertionError


def usages_in(chunks: list[dict[str, Any]]) -> list[Any]:
    """Return the usage in chunks, wherever it is."""
    found = [usage_of(chunk) for chunk in chunks]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("place", PLACES)
def test_place_of_usage(place: str) -> None:
    """Usage is summed wherever it is, and comes last in the place where the server puts it, once."""
    rounds = [
        chunks_with_usage(place, ["one", " two"], "length", usage(10, 2)),
        chunks_with_usage(place, [" three", " four"], "length", usage(12, 2)),
        chunks_with_usage(place, [" five", " six"], "stop", usage(14, 2)),
    ]
    options = {"stream_options": {"include_usage": True}}
    answer = streamed(Rounds(*rounds), ask(**options))

    assert answer.ending == ("one two three four five six", "stop", "stop")
    seen = usages_in(answer.raw)
    assert usage(36, 6) == seen[-1]
    assert [usage(10, 2), usage(12, 2), usage(14, 2)] == [round_["usage"] for round_ in answer.rounds]
    if place == "every chunk":
        # It counts up, as it does without us.
        assert [one["completion_tokens"] for one in seen] == [1, 2, 3, 4, 5, 6, 6]
    elif place == "before the end":
        # The first round's is out before it is known that the answer was cut.
        assert [usage(10, 2), usage(36, 6)] == seen
    else:
        assert len(seen) == 1
    carrier = [chunk for chunk in answer.raw if usage_of(chunk) == usage(36, 6)][-1]
    assert (place == "choice") == ("usage" not in carrier and "x_groq" not in carrier)
    assert (place == "groq") == ("x_groq" in carrier)


@pytest.mark.parametrize(("counted", "total"), [(True, usage(36, 3)), (False, usage(35, 3))])
def test_usage_of_a_round_that_broke_off(counted: bool, total: Any) -> None:
    """
    Usage that counts up within the text is known of a round that breaks off; else it is estimated.

    The prompt is estimated as prompt and answer of the round before.
    """
    options = {"stream_options": {"include_usage": True}}
    rounds = rounds_of(ask(stream=True, **options), "vllm")
    outs: list[Any] = []
    for number, text in enumerate(("one", " two", " three")):
        request = rounds.next_request()
        assert request is not None
        chunks = chunks_with_usage(
            "every chunk", [text], "stop" if number == 2 else "length", usage(10 + 2 * number, 1)
        )
        broke_off = number == 1
        if broke_off and not counted:
            del chunks[0]["usage"]
        for chunk in chunks[:1] if broke_off else chunks:
            outs += rounds.feed(request, chunk)
        if broke_off:
            outs += rounds.fail(request, Failure("APIConnectionError", broke_off=True)).chunks
        else:
            outs += rounds.end_of_stream(request)
    outs += rounds.last_chunks()

    assert total == usages_in(outs)[-1]


@pytest.mark.parametrize(("place", "options", "shown"), [
    ("after the end", {"stream_options": {"include_usage": True}}, [usage(13, 4)]),
    ("after the end", {}, []),
])  # fmt: skip
def test_usage_after_a_first_round_that_broke_off(place: str, options: dict[str, Any], shown: list[Any]) -> None:
    """
    A caller who asks for usage gets the sum once, though the first round broke off before its own.

    Nothing tells the prompt of that round.
    """
    rounds = rounds_of(ask(stream=True, **options), "vllm")
    first = rounds.next_request()
    assert first is not None
    broken = chunks_with_usage(place, ["one"], "stop", None)[0]
    outs = [*rounds.feed(first, broken), *rounds.fail(first, Failure("APIConnectionError", broke_off=True)).chunks]
    second = rounds.next_request()
    assert second is not None
    for chunk in chunks_with_usage(place, [" two"], "stop", usage(13, 3)):
        outs += rounds.feed(second, chunk)
    outs += rounds.end_of_stream(second) + rounds.last_chunks()

    assert usages_in(outs) == shown


@drives
def test_no_usage(drive: Drive) -> None:
    """Without usage, none is made up."""
    answer = drive(Script(cut_round("one ", usage=None), last_round("two", usage=None)))

    assert answer.ending == ("one two", "stop", "stop")
    assert answer.usage is None
    assert [round_["usage"] for round_ in answer.rounds] == [None, None]


def test_usage_of_thoughts() -> None:
    """Reasoning tokens are summed too."""
    details = {"completion_tokens_details": {"reasoning_tokens": 7}}
    for drive in DRIVES:
        server = Script(
            cut_round({"reasoning": "well"}, "one ", usage=usage(10, 5, **details)),
            last_round("two", usage=usage(12, 3, completion_tokens_details={"reasoning_tokens": 0})),
        )

        assert usage(22, 8, **details) == drive(server, ask(model="Qwen/Qwen3-32B")).usage


@pytest.mark.parametrize(
    ("row", "options", "injected"),
    [
        ("vllm", None, True),
        ("vllm", {"include_usage": True}, False),
        ("vllm", {"include_usage": False, "x": 1}, True),
        ("deepinfra", None, False),
    ],
)
def test_usage_of_streams(row: str, options: dict[str, Any] | None, injected: bool) -> None:
    """A stream is asked for usage only to count a total, and what comes of our asking is hidden again."""
    body = ask(max_tokens=100, **({} if options is None else {"stream_options": options}))
    engine = Engine("one two three four", habits=SERVERS[row].habits, cap=2)
    answer = streamed(engine, body, provider=row)

    assert answer.text == "one two three four"
    asked = {**(options or {}), "include_usage": True} if injected else options
    # The first continuation asks for usage in every chunk, to see by its first one whether it is a continuation.
    early = (
        {**(options or {}), **providers.named(row).usage_options}
        if providers.named(row).streams_usage is False
        else options
    )
    assert [asked, early, *[asked] * (len(engine.bodies) - 2)] == [sent.get("stream_options") for sent in engine.bodies]
    assert injected == (answer.usage is None)
    assert injected == (not [one for one in answer.raw if "usage" in one])
    assert not injected or all(one["choices"] for one in answer.raw)


def test_usage_that_only_we_asked_for_is_hidden_at_once() -> None:
    """A chunk of nothing but usage that only we asked for does not go out, even before the end of the text."""
    rounds = rounds_of(ask(max_tokens=100, stream=True), "vllm")
    request = rounds.next_request()
    assert request is not None

    assert rounds.feed(request, {"id": "a", "choices": [], "usage": usage(10, 1)}) == []


@pytest.mark.parametrize(("said", "refuses"), [("Unknown field: stream_options", True), ("content policy", False)])
def test_only_a_refusal_of_usage_is_remembered(said: str, refuses: bool) -> None:
    """A later round that is refused goes without our request for usage; the next calls do only if it was named."""
    learned = Learned()
    rounds = rounds_of(ask(stream=True), "vllm", learned=learned)
    first = rounds.next_request()
    assert first is not None
    rounds.feed(first, {"id": "a", "choices": [{"index": 0, "delta": {"content": "one"}, "finish_reason": "length"}]})
    rounds.end_of_stream(first)
    second = rounds.next_request()
    assert second is not None
    rounds.fail(second, Failure("BadRequestError", 400, None, said))
    again = rounds.next_request()
    assert again is not None

    assert ("stream_options" in second.body, "stream_options" in again.body) == (True, False)
    assert refuses == learned.refuses_usage_options
