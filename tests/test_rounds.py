"""The policies of Rounds as tables, without I/O; a few through a client, where the client has a part in them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openai_continue import providers
from openai_continue.core.limit import Limit
from openai_continue.core.prefill import RESTART_EVIDENCE, RESTART_EVIDENCE_STRUCTURED
from openai_continue.core.round import Failure
from openai_continue.settings import Continuation
from openai_continue.testing import Emulator, Habits
from tests.conftest import ASYNC, SYNC, Way, ask, settled
from tests.drive import DRIVES, Answer, Drive, Engine, Script, live, rounds_of, said, streamed, usage, whole

drives = pytest.mark.parametrize("drive", DRIVES)
four_ways = pytest.mark.parametrize(
    ("way", "stream"),
    [(SYNC, False), (SYNC, True), (ASYNC, False), (ASYNC, True)],
    ids=["sync-whole", "sync-stream", "async-whole", "async-stream"],
)
#: Long enough, and not repeated, to show that an answer begins anew.
START = "The answer has a beginning that no other part of it resembles: not even this.\n"


def chunk(content: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "a", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **more}


def completion(content: str, finish: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


# The order of calls.


def test_order_when_a_round_is_open() -> None:
    """While a round is being received there is no next request, and the state stays as it was."""
    rounds = rounds_of(ask("x"))
    request = rounds.next_request()
    assert request is not None
    with pytest.raises(RuntimeError, match="round 1 is still being received"):
        rounds.next_request()
    rounds.receive(request, completion("whole", "stop"))

    assert rounds.next_request() is None
    assert rounds.next_request() is None
    assert completion("whole", "stop") == rounds.completion()


def test_order_when_no_round_is_open() -> None:
    """What belongs to no open round is refused by each method that takes something."""
    rounds = rounds_of(ask("x"))
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, completion("cut", "length"))
    later = rounds.next_request()
    assert later is not None

    for take in (
        lambda: rounds.receive(request, completion("", "stop")),
        lambda: rounds.feed(request, chunk("late")),
        lambda: rounds.end_of_stream(request),
        lambda: rounds.fail(request, Failure("error")),
    ):
        with pytest.raises(RuntimeError, match="round 1 is not the one that is being received"):
            take()
    rounds.receive(later, completion(" and whole", "stop"))
    assert rounds.completion()["choices"][0]["message"]["content"] == "cut and whole"


# What calls for a further round.


@drives
@pytest.mark.parametrize("finish", ["stop", "tool_calls", "content_filter", "function_call", "eos", ""])
def test_trigger(finish: str, drive: Drive) -> None:
    """Only "length" calls for a further round; an answer that ends otherwise is the server's, and has no report."""
    answer = drive(Script(said("all", finish=finish)))

    assert ("all", finish or None, None) == (answer.text, answer.finish or None, answer.stopped_by)


@drives
@pytest.mark.parametrize("finish", ["stop", "content_filter", "tool_calls", "eos"])
def test_end_of_the_last_round(finish: str, drive: Drive) -> None:
    """The answer ends as its last round did."""
    answer = drive(Script(said("one "), said("two", finish=finish)))

    assert ("one two", finish, finish) == answer.said


@drives
def test_empty_end(drive: Drive) -> None:
    """A round without text that ends by itself is a good end: the cap fell just before the end token."""
    answer = drive(Script(said("all"), said(finish="stop")))

    assert ("all", "stop", "stop") == answer.said


@drives
def test_no_progress(drive: Drive) -> None:
    """A round that adds nothing and does not end is the last one."""
    answer = drive(Script(said("all"), said()))

    assert ("all", "length", "empty") == answer.said


@drives
def test_no_progress_when_blanks_were_held_back(drive: Drive) -> None:
    """Where a round has room for nothing but the blanks held back, they are sent, and the answer goes on."""
    server = Script(said("one  "), said("  "), said("two", finish="stop"))
    answer = drive(server)

    assert ("one  two", "stop", "stop") == answer.said
    assert ["one", "one  "] == [body["messages"][-1]["content"] for body in server.bodies[1:]]


@drives
def test_max_rounds(drive: Drive) -> None:
    """After ``max_rounds`` requests the answer is returned as far as it goes."""
    answer = drive(Script(said("one "), said("two "), said("three")), max_rounds=3)

    assert ("one two three", "length", "max_rounds") == answer.said


@drives
def test_max_rounds_of_one(drive: Drive) -> None:
    """With one round allowed nothing is sent, and the report says why."""
    server = Script(said("one "))
    answer = drive(server, max_rounds=1)

    assert ("one ", "length", "max_rounds") == answer.said
    assert len(server.bodies) == 1


@drives
@pytest.mark.parametrize("messages", [None, [], "text", [None], ["text"]])
def test_messages_that_are_none(messages: Any, drive: Drive) -> None:
    """What is no list of messages cannot be continued, and is left to the server."""
    answer = drive(Script(said("one ")), {"model": "m", "messages": messages})

    assert ("one ", "length", "unsupported") == answer.said


# Limits.


LIMITS: list[tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = [
    ("none", {}, {}, [{}, {}]),
    ("under the cap", {"max_tokens": 10}, {}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    ("over the cap", {"max_tokens": 40_000}, {}, [{"max_tokens": 16_384}, {"max_tokens": 16_384}]),
    ("the new name", {"max_completion_tokens": 10}, {}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    ("both", {"max_tokens": 10, "max_completion_tokens": 99}, {}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    ("null", {"max_tokens": None}, {}, [{"max_tokens": None}, {}]),
    ("a total in the settings", {}, {"max_tokens": 8}, [{"max_tokens": 8}, {"max_tokens": 3}]),
    ("both totals", {"max_tokens": 10}, {"max_tokens": 8}, [{"max_tokens": 10}, {"max_tokens": 5}]),
    ("tokens a round", {}, {"round_tokens": 7}, [{"max_tokens": 7}, {"max_tokens": 7}]),
    ("tokens a round, a total", {"max_tokens": 10}, {"round_tokens": 7}, [{"max_tokens": 7}, {"max_tokens": 5}]),
    (
        "the cap, not meant",
        {"max_tokens": 16_384},
        {"cap_is_limit": False},
        [{"max_tokens": 16_384}, {}],
    ),
    ("the cap, meant", {"max_tokens": 16_384}, {}, [{"max_tokens": 16_384}, {"max_tokens": 16_379}]),
    (
        "the row's cap, though another is set",
        {"max_tokens": 16_384},
        {"cap_is_limit": False, "round_tokens": 7},
        [{"max_tokens": 7}, {"max_tokens": 7}],
    ),
    (
        "the cap that is set",
        {"max_tokens": 7},
        {"cap_is_limit": False, "round_tokens": 7},
        [{"max_tokens": 7}, {"max_tokens": 7}],
    ),
    (
        "the cap, and a total in the settings",
        {"max_tokens": 16_384},
        {"cap_is_limit": False, "max_tokens": 8},
        [{"max_tokens": 8}, {"max_tokens": 3}],
    ),
]


@drives
@pytest.mark.parametrize(("body", "settings", "sent"), [case[1:] for case in LIMITS], ids=[case[0] for case in LIMITS])
def test_limit(body: dict[str, Any], settings: dict[str, Any], sent: list[dict[str, Any]], drive: Drive) -> None:
    """The caller's limit is a total under either name; each round asks for what is left of it, up to the cap."""
    server = Script(said("one "), said("two", finish="stop"))
    drive(server, ask("x", **body), **settings)

    names = ("max_tokens", "max_completion_tokens")
    assert sent == [{name: one[name] for name in names if name in one} for one in server.bodies]


@pytest.mark.parametrize("value", [0, -1, 10.0, "10", True, [10], {}])
@drives
def test_limit_that_is_none(value: object, drive: Drive) -> None:
    """What is no number of tokens goes to the server as it is, and is not continued past its "length"."""
    server = Script(said("one "))
    answer = drive(server, ask("x", max_tokens=value))

    assert ("one ", "length", "unsupported") == answer.said
    assert value == server.bodies[0]["max_tokens"]


@drives
@pytest.mark.parametrize("total", [3, 5, 9, 10])
def test_limit_that_is_reached(total: int, drive: Drive) -> None:
    """At the caller's total the answer ends in "length"; if no round but the caller's own was sent, without report."""
    answer = drive(Script(said("one "), said("two ")), ask("x", max_tokens=total))

    reached_at_once = total <= 5
    assert "length" == answer.finish
    assert (None if reached_at_once else "max_tokens") == answer.stopped_by
    assert ("one " if reached_at_once else "one two ") == answer.text


@drives
def test_limit_without_usage(drive: Drive) -> None:
    """Where no usage tells what a cut round has used, it is what was asked for."""
    server = Script(said("one ", usage=None), said("two ", usage=None), said("three", usage=None))
    answer = drive(server, ask("x", max_tokens=25), round_tokens=10)

    assert [10, 10, 5] == [body["max_tokens"] for body in server.bodies]
    assert ("one two three", "length", "max_tokens") == answer.said
    assert answer.usage is None


@pytest.mark.parametrize(
    ("row", "names"),
    [("deepinfra", "max_tokens"), ("vllm", "max_completion_tokens"), ("groq", "max_completion_tokens")],
)
def test_limit_by_the_providers_name(row: str, names: str) -> None:
    """The limit goes out under the name that the provider reads."""
    limit = Limit.of({"max_completion_tokens": 7}, providers.named(row), Continuation())

    assert {names: 7} == limit.on_first({"max_completion_tokens": 7})
    assert {names: 3} == limit.on_later({"max_completion_tokens": 7}, 3)


@drives
def test_least_tokens_are_for_the_whole_answer(drive: Drive) -> None:
    """vLLM's ``min_tokens`` and ``echo`` are for the whole answer, and not counted anew or repeated in each round."""
    server = Script(said("one "), said("two "), said("three", finish="stop"))
    drive(server, ask("x", min_tokens=7, echo=True), provider="vllm")

    assert [7, 2, 0] == [body["min_tokens"] for body in server.bodies]
    assert [True, None, None] == [body.get("echo") for body in server.bodies]


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
    """Streams are asked for usage only to count a total, and what comes of that alone is hidden again."""
    body = ask("x", max_tokens=100, **({} if options is None else {"stream_options": options}))
    habits = Habits(usage="asked", marker="continue_final_message") if row == "vllm" else Habits()
    engine = Engine("one two three four", habits=habits, cap=2)
    answer = streamed(engine, body, provider=row)

    assert "one two three four" == answer.text
    asked = {**(options or {}), "include_usage": True} if injected else options
    assert [asked] * len(engine.bodies) == [sent.get("stream_options") for sent in engine.bodies]
    if injected:
        assert answer.usage is None
        assert not [one for one in answer.raw if "usage" in one]


# The request of a further round.


@drives
def test_request(drive: Drive) -> None:
    """A further round is the same body with the text so far as its last message; what is before it stays the same."""
    body = ask("x", temperature=0.5, seed=7, prompt_cache_key="key", tools=[{"type": "function"}])
    before = copy.deepcopy(body)
    server = Script(said("one "), said("two "), said("three", finish="stop"))
    drive(server, body)

    assert before == body
    first, *later = server.bodies
    for number, sent in enumerate(later, 1):
        assert ["one", "one two"][number - 1] == sent["messages"][-1]["content"]
        assert first["messages"] == sent["messages"][:-1]
        assert {**first, "messages": sent["messages"]} == sent


@drives
@pytest.mark.parametrize("temperature", [0, 0.0])
def test_punctuation_is_held_back(temperature: float, drive: Drive) -> None:
    """Where the template trims and the temperature is 0, the text goes back up to its last word."""
    server = Script(said('one",\n  '), said('",\n  two', finish="stop"))
    answer = drive(server, ask("x", temperature=temperature), trims=True)

    assert ('one",\n  two', "stop", "stop") == answer.said
    assert "one" == server.bodies[1]["messages"][-1]["content"]


@drives
def test_punctuation_that_does_not_come_again(drive: Drive) -> None:
    """A model that writes other punctuation is asked again with less held back, and not tried any more in this call."""
    server = Script(said("one.\n"), said("! two"), said("\ntwo.\n"), said("\nthree", finish="stop"))
    answer = drive(server, ask("x", temperature=0), trims=True)

    assert ("one.\ntwo.\nthree", "stop", "stop") == answer.said
    assert ["one", "one.", "one.\ntwo."] == [body["messages"][-1]["content"] for body in server.bodies[1:]]
    assert usage(40, 20) == answer.usage or drive is streamed


@drives
@pytest.mark.parametrize(("temperature", "sent"), [(None, "one,"), (1, "one,"), (0, "one")])
def test_punctuation_by_temperature(temperature: int | None, sent: str, drive: Drive) -> None:
    """Above temperature 0 the same punctuation need not come again, so that white space alone is held back."""
    server = Script(said("one,\n"), said("\ntwo" if temperature != 0 else ",\ntwo", finish="stop"))
    answer = drive(server, ask("x") if temperature is None else ask("x", temperature=temperature), trims=True)

    assert ("one,\ntwo", "stop", "stop") == answer.said
    assert sent == server.bodies[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("model", "trims"),
    [
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", True),
        ("llama3.3", True),
        ("meta-llama/Meta-Llama-3-8B-Instruct", True),
        ("google/gemma-3-27b-it", True),
        ("zai-org/GLM-4.5-Air", True),
        ("Qwen/Qwen3.6-27B", True),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", False),
        ("google/gemma-2-9b-it", True),
        ("zai-org/GLM-4.6", True),
        ("Qwen/Qwen3.5-4B", True),
        ("Qwen/Qwen3-235B-A22B", False),
        ("deepseek-ai/DeepSeek-R1", False),
        ("moonshotai/Kimi-K2-Instruct", False),
        (None, False),
    ],
)
def test_trimming_families(model: str | None, trims: bool) -> None:
    """Which templates trim is known by model family, and the setting ``trims`` wins."""
    for setting, expected in ((None, trims), (True, True), (False, False)):
        server = Script(said("one\n"), said("\ntwo" if expected else "two", finish="stop"))
        answer = whole(server, {**ask("x"), "model": model}, trims=setting)

        assert "one\ntwo" == answer.text
        assert ("one" if expected else "one\n") == server.bodies[1]["messages"][-1]["content"]


# An answer that begins anew.


@drives
@pytest.mark.parametrize("gap", ["", "\n\n", " "])
def test_restart(gap: str, drive: Drive) -> None:
    """A server that begins anew is noticed at the first continuation; the answer is the first round's."""
    answer = drive(Script(said(START, "more "), said(gap, START[:40], START[40:], "else", finish="stop")))

    assert (START + "more ", "length", "restart") == answer.said
    assert answer.machine.restarts
    # Of a stream that is left early nobody tells what it cost.
    assert (usage(20, 10) if drive is whole else usage(10, 5)) == answer.usage


@drives
def test_restart_when_punctuation_was_held_back(drive: Drive) -> None:
    """A restart is one where what was held back did not come again, too: no round is paid to find out."""
    server = Script(said(START + "more.\n"), said(START, finish="stop"))
    answer = drive(server, ask("x", temperature=0), trims=True)

    assert (START + "more.\n", "length", "restart") == answer.said


@drives
def test_restart_after_a_round_without_text(drive: Drive) -> None:
    """A round that brought nothing proves nothing: the next one is still watched."""
    server = Script(said(START + "more.\n"), said("? "), said("\n" + START, finish="stop"))
    answer = drive(server, ask("x", temperature=0), trims=True)

    assert (START + "more.\n", "length", "restart") == answer.said


@drives
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (START[: RESTART_EVIDENCE - 1], START),
        (START + "more, then: " + START, START),
        ("line\n" * 40, "line\n" * 40),
        ("}\n}\n}\n", "}\n}\n}\n"),
        (START, START[: RESTART_EVIDENCE - 1] + "but"),
        (START, START[: RESTART_EVIDENCE - 1]),
    ],
)
def test_no_restart(first: str, second: str, drive: Drive) -> None:
    """Weak evidence is none: what is short, or recurs in the answer, is text."""
    answer = drive(Script(said(first), said(second, finish="stop")))

    assert (first + second, "stop", "stop") == answer.said


@drives
def test_no_restart_after_the_first_continuation(drive: Drive) -> None:
    """A server that has gone on once goes on: what is then like the beginning is text."""
    answer = drive(Script(said(START), said("more\n"), said(START, finish="stop")))

    assert (START + "more\n" + START, "stop", "stop") == answer.said


@drives
@pytest.mark.parametrize(
    ("first", "second", "restarts"),
    [
        ('{"title": "abcdef", "items": ["one", "tw', '{"title": "abcdef", "items', True),
        ('{"title": "abcdef", "child": ', '{"title": "abcdef"}}', False),
        ('{"title": "abcdef", "children": [', '{"title": "abcdef"}]}', False),
        ('{"title": "abcdef", "children": [1, ', '{"title": "abcdef"}]}', False),
    ],
)
def test_restart_of_a_document(first: str, second: str, restarts: bool, drive: Drive) -> None:
    """A document begun anew is known by less, but not where a value like the document itself may begin."""
    assert len(first) > RESTART_EVIDENCE_STRUCTURED
    body = ask("x", response_format={"type": "json_object"})
    answer = drive(Script(said(first), said(second, finish="stop")), body)

    assert ("restart" if restarts else "stop") == answer.stopped_by
    assert (first if restarts else first + second) == answer.text


@drives
def test_restart_known_beforehand(drive: Drive) -> None:
    """For a model that is known to begin anew nothing is sent, and the report says why."""
    server = Script(said("cut"))
    answer = drive(server, restarts=True)

    assert ("cut", "length", "restart") == answer.said
    assert len(server.bodies) == 1


@four_ways
async def test_restart_is_remembered(way: Way, stream: bool) -> None:
    """A client remembers the model that began anew: its next call sends no second request, another model's does."""
    with Emulator(cap=60, tokens=150, habits=Habits(ignores_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        first = await live(client, ask("x"), stream=stream)
        requests = len(emulator.requests)
        second = await live(client, ask("another"), stream=stream)
        after = len(emulator.requests)
        other = await live(client, {**ask("x"), "model": "other"}, stream=stream)
        last = len(emulator.requests)
        await settled(client.close())

    assert ("length", "restart") == (first.finish, first.stopped_by)
    assert ("length", "restart") == (second.finish, second.stopped_by)
    assert (2, 3) == (requests, after)
    assert (5, "restart") == (last, other.stopped_by)
    assert 60 == (second.usage or {})["completion_tokens"]


# Stop strings over the seam.


@drives
@pytest.mark.parametrize(
    ("rounds", "stop", "text"),
    [
        (["text EN", "D of it"], "END", "text "),
        (["text E", "N", "D of it"], ["END"], "text "),
        (["a", "b", "c"], ["abc"], ""),
        (["text EN", "Dx END"], ["END"], "text "),
        (["text\n", "\nHuman: x"], ["\n\nHuman:"], "text"),
        (["text  ", "  \nx"], [" \nx"], "text "),
        (["text E", "nd"], ["END"], "text End"),
        (["text EN", "Dx"], ["zz", "END"], "text "),
        (["text", " more"], None, "text more"),
        (["text", " more"], "", "text more"),
    ],
)
def test_stop_string_over_the_seam(rounds: list[str], stop: Any, text: str, drive: Drive) -> None:
    """A stop string that begins in one round and ends in another cuts the text before it, as no server does."""
    script = [*(said(*part) for part in rounds[:-1]), said(*rounds[-1], finish="stop")]
    answer = drive(Script(*script), ask("x", stop=stop))

    assert (text, "stop", "stop") == answer.said


@drives
def test_stop_string_that_swallows_what_was_held_back(drive: Drive) -> None:
    """A stop string may begin in the blanks held back, which the server then cuts off with the round's text."""
    answer = drive(Script(said("text", "  "), said(finish="stop")), ask("x", stop=["  b"]))

    assert ("text", "stop", "stop") == answer.said


def test_stop_string_half_come() -> None:
    """A chunk that ends in the beginning of a stop string waits for the next one, and then goes out as it came."""
    rounds = rounds_of(ask("x", stop=["END"], stream=True))
    request = rounds.next_request()
    assert request is not None
    plain, half, rest = chunk("text "), chunk("an E"), chunk("vening")

    assert [plain] == rounds.feed(request, plain)
    assert rounds.feed(request, half) == []
    assert [half, rest] == rounds.feed(request, rest)


# Several choices.


@drives
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("cap", [7, 50, 90])
def test_choices(index: int, cap: int, drive: Drive) -> None:
    """Each choice is continued alone and comes out whole, with its own logprobs, and the usage is that of all."""
    sizes = [40, 100, 70]
    texts = ["".join(f" word{index}{number}" for number in range(sizes[index] // 4)).strip() for index in range(3)]
    engine = Engine(lambda _, choice: texts[choice], cap=cap)
    answer = drive(engine, ask("x", n=3, logprobs=True), index, max_rounds=50)

    assert texts[index] == answer.text
    assert texts[index].encode() == answer.spelled
    assert "stop" == answer.finish
    assert [3, *[1] * (len(engine.bodies) - 1)] == [body["n"] for body in engine.bodies]
    assert engine.derailed == 0
    cut = [round_["choice"] for round_ in (answer.report or {"rounds": []})["rounds"][1:]]
    assert len(cut) == len(engine.bodies) - 1
    assert answer.report is None or answer.report["rounds"][0]["choice"] is None


def test_choices_interleave() -> None:
    """In a merged stream each choice begins once, with its role, and ends once, behind all its text."""
    engine = Engine(lambda _, choice: f"choice {choice} " * 20 + "end", cap=11)
    answer = streamed(engine, ask("x", n=2), max_rounds=50)
    items = [item for one in answer.raw for item in one["choices"]]

    for index in (0, 1):
        mine = [item for item in items if item["index"] == index]
        assert ["assistant"] == [item["delta"]["role"] for item in mine if item["delta"].get("role")]
        assert mine[0]["delta"]["role"] == "assistant"
        assert [True] == [item is mine[-1] for item in mine if item["finish_reason"]]
    assert 1 == len({one["id"] for one in answer.raw})
    assert [answer.raw[-1]] == [one for one in answer.raw if one.get("usage")]


@drives
def test_choices_when_the_server_begins_anew(drive: Drive) -> None:
    """Once a server began anew for one choice, the others are not tried."""
    text = START * 2 + "end"
    engine = Engine(lambda _, choice: f"Choice {choice}. {text}", habits=Habits(ignores_prefill=True), cap=30)
    answers = [drive(engine, ask("x", n=2), index) for index in (0, 1)]

    assert 2 * 2 == len(engine.bodies)
    assert [("length", "restart")] * 2 == [(answer.finish, answer.stopped_by) for answer in answers]
    assert [f"Choice {index}." for index in (0, 1)] == [answer.text[:9] for answer in answers]


@drives
def test_choices_under_a_limit(drive: Drive) -> None:
    """The caller's limit holds for each choice, though the server counts them together, and stops them earlier."""
    text = "".join(f" word{number}" for number in range(60)).strip()
    engine = Engine(text, cap=10)
    answer = drive(engine, ask("x", n=2, max_tokens=25), 1)

    assert text.startswith(answer.text)
    assert "length" == answer.finish
    assert [25, 15, 15, 5, 5] == [body["max_tokens"] for body in engine.bodies]


# The caller's own beginning.


@drives
@pytest.mark.parametrize(
    ("content", "grown"),
    [
        ("Once upon ", "Once upon a time"),
        (None, "a time"),
        ("", "a time"),
        (
            [{"type": "text", "text": "Once ", "cache_control": {"type": "ephemeral"}}],
            [{"type": "text", "text": "Once a time", "cache_control": {"type": "ephemeral"}}],
        ),
        (
            [{"type": "text", "text": "On"}, {"type": "text", "text": "ce ", "cache_control": {}}],
            [{"type": "text", "text": "On"}, {"type": "text", "text": "ce a time", "cache_control": {}}],
        ),
        ([], [{"type": "text", "text": "a time"}]),
        (
            [{"type": "refusal", "refusal": "no"}],
            [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "a time"}],
        ),
    ],
)
def test_callers_beginning_grows(content: Any, grown: Any, drive: Drive) -> None:
    """A last message that is the beginning of the answer grows, with all that is on it; the caller's stays as it is."""
    last = {"role": "assistant", "content": content, "name": "poet", "prefix": True, "cache_control": {"type": "x"}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}, last]}
    before = copy.deepcopy(body)
    server = Script(said("a time "), said("there was", finish="stop"))
    answer = drive(server, body)

    assert before == body
    assert ("a time there was", "stop", "stop") == answer.said
    assert [body["messages"][0], {**last, "content": grown}] == server.bodies[1]["messages"]


@drives
@pytest.mark.parametrize(
    "case",
    [
        ("deepinfra", Habits(), {}, {}),
        ("mistral", Habits(echo="always", marker="prefix"), {"prefix": True}, {}),
        ("moonshot", Habits(marker="partial"), {"partial": True}, {}),
        (
            "vllm",
            Habits(marker="continue_final_message"),
            {},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
        ("llama.cpp", Habits(echo="unflagged"), {}, {}),
        (
            "llama.cpp",
            Habits(echo="unflagged"),
            {},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ],
)
@pytest.mark.parametrize("as_parts", [False, True])
def test_callers_beginning_by_provider(case: tuple[str, Habits, Any, Any], as_parts: bool, drive: Drive) -> None:
    """However a server marks a beginning, and whether or not it repeats it, the answer is what it is without us."""
    row, habits, marks, fields = case
    text = "Once upon a time there was a small fox. It lived in the woods, alone, and it was happy there. The end."
    content = [{"type": "text", "text": text[:20]}] if as_parts else text[:20]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": content, **marks}]
    body = {"model": "m", "messages": messages, **fields}
    engine = Engine(text, habits=habits, cap=7)
    answer = drive(engine, body, provider=row)
    uncapped = Engine(text, habits=habits).completion(body)["choices"][0]["message"]["content"]
    if row == "llama.cpp" and fields and drive is streamed:
        # With its flags set, llama-server repeats whole answers and not streamed ones.
        uncapped = uncapped[20:]

    assert engine.derailed == 0
    assert (uncapped, "stop") == (answer.text, answer.finish)
    assert all(len(sent["messages"]) == 2 for sent in engine.bodies)
    assert all(isinstance(sent["messages"][-1]["content"], list) is as_parts for sent in engine.bodies)


@drives
def test_callers_beginning_without_marks(drive: Drive) -> None:
    """Where a provider needs marks and the caller set none, the caller's last message is a finished turn."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    server = Script(said("one "), said("two", finish="stop"))
    drive(server, body, provider="vllm")

    assert [*body["messages"], {"role": "assistant", "content": "one"}] == server.bodies[1]["messages"]


@drives
def test_callers_tool_call_is_no_beginning(drive: Drive) -> None:
    """A last message with tool calls cannot grow."""
    last = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}
    server = Script(said("one "))
    answer = drive(server, {"model": "m", "messages": [{"role": "user", "content": "x"}, last]})

    assert ("one ", "length", "unsupported") == answer.said


# The merged answer.


@drives
def test_identity(drive: Drive) -> None:
    """Id, time and model are the first round's; what the last round says beside its end stays."""
    server = Script(said("one ", stop_reason=None), said("two", finish="stop", stop_reason="END", matched=7))
    answer = drive(server)

    raw = answer.raw if drive is whole else answer.raw[-1]
    everything = [answer.raw] if drive is whole else answer.raw
    assert {("id-1", 1, "m")} == {(one["id"], one["created"], one["model"]) for one in everything}
    assert ("END", 7) == (raw["choices"][0]["stop_reason"], raw["choices"][0]["matched"])
    assert ["id-1", "id-2"] == [round_["id"] for round_ in (answer.report or {})["rounds"]]
    assert [usage(10, 5)] * 2 == [round_["usage"] for round_ in (answer.report or {})["rounds"]]


@drives
@pytest.mark.parametrize("cap", [1, 2, 3, 10])
def test_logprobs(cap: int, drive: Drive) -> None:
    """Logprobs over all rounds spell the text: none doubled, none missing, whatever was written twice."""
    text = "one  two,\n    three 🦊\n\n\nfour"
    for habits, settings in (
        (Habits(), {}),
        (Habits(trims=True), {"trims": True}),
        (Habits(echo="always", marker="prefix"), {"provider": "mistral"}),
    ):
        answer = drive(Engine(text, habits=habits, cap=cap), ask("x", logprobs=True), max_rounds=99, **settings)

        assert answer.text.encode() == answer.spelled
        assert text == answer.text or answer.stopped_by == "empty"


@drives
@pytest.mark.parametrize("cut", ["dropped", "replaced"])
@pytest.mark.parametrize("cap", [3, 4, 5, 8])
def test_logprobs_of_cut_characters(cut: Any, cap: int, drive: Drive) -> None:
    """The tokens of a character that the cap cut are paid for twice and stand in the answer once."""
    text = "a🦊b𠮷c字d字e🦊🦊f"
    answer = drive(Engine(text, habits=Habits(cut_characters=cut), cap=cap), ask("x", logprobs=True), max_rounds=99)

    assert answer.text.encode() == answer.spelled
    assert text == answer.text or (cap == 3 and answer.stopped_by == "empty")


@pytest.mark.parametrize(
    "habits",
    [
        Habits(),
        Habits(usage="trailing"),
        Habits(usage="both"),
        Habits(usage="never"),
        Habits(finish_with_text=True),
        Habits(cut_characters="replaced"),
        Habits(echo="always", marker="prefix"),
    ],
)
@pytest.mark.parametrize("limit", [{}, {"max_tokens": 50}])
def test_whole_and_streamed_agree(habits: Habits, limit: dict[str, int]) -> None:
    """For the same server, a whole answer and a streamed one have the same text, end, usage and report."""
    row = "mistral" if habits.echo else "deepinfra"
    body = ask("Both ways.", logprobs=True, **limit)
    answers: list[Answer] = [
        drive(Engine(habits=habits, cap=20, tokens=90), body, provider=row) for drive in (whole, streamed)
    ]

    assert answers[0].merged == answers[1].merged
    reports = [[{**one, "id": None} for one in (answer.report or {"rounds": []})["rounds"]] for answer in answers]
    assert reports[0] == reports[1]


def test_untouched_chunks_are_the_ones_that_came() -> None:
    """Chunks that need no change come out as the very objects, before and behind the first seam's end."""
    rounds = rounds_of(ask("x", stream=True))
    request = rounds.next_request()
    assert request is not None
    came = [chunk("one "), chunk("two"), {"id": "a", "choices": [], "usage": None}, chunk("", "stop")]
    given = [ready for one in came for ready in rounds.feed(request, one)] + rounds.end_of_stream(request)

    assert all(one is other for one, other in zip(came, given, strict=True))
    assert rounds.last_chunks() == []


@four_ways
async def test_identical_text_of_four_ways(way: Way, stream: bool) -> None:
    """Over a real connection too, the answer is the uncapped one, and usage and report are what was billed."""
    with Emulator(cap=31, tokens=170) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, ask("Four ways.", logprobs=True), stream=stream)
        await settled(client.close())
        rounds = [(logged.prompt_tokens, logged.completion_tokens) for logged in emulator.requests]
        expected = emulator.uncapped(ask("Four ways."))

    assert (expected, "stop", "stop") == answer.said
    assert expected.encode() == answer.spelled
    assert answer.usage is not None
    assert sum(prompt for prompt, _ in rounds) == answer.usage["prompt_tokens"]
    assert sum(completion for _, completion in rounds) == answer.usage["completion_tokens"]
    assert rounds == [
        (round_["usage"]["prompt_tokens"], round_["usage"]["completion_tokens"])
        for round_ in (answer.report or {})["rounds"]
    ]
