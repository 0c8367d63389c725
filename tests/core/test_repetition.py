"""A loop is stopped; text that repeats itself for a reason is not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._core.text.repetition import LOOP_CHARACTERS, LOOP_REPEATS, LoopWatch, is_looping
from openai_continue.testing.emulator.texts import document
from tests.support import loops
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import Drive, drives, rounds_of, streamed, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, reply

LONGEST_BLOCK = LOOP_CHARACTERS // LOOP_REPEATS


def filled(block: str, length: int = LOOP_CHARACTERS) -> str:
    """Repeat a block to that length, the last one cut."""
    return (block * (length // len(block) + 1))[:length]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 65, 100, 1000, LONGEST_BLOCK - 1, LONGEST_BLOCK])
def test_loop(size: int) -> None:
    """A block of any size up to a quarter is seen, wherever it is cut, after whatever text."""
    block = document("loop", size)[:size]

    for cut in (0, 1, size // 2):
        assert is_looping(filled(block, LOOP_CHARACTERS + cut), 100)
        assert is_looping(document("before", 500) + filled(block, LOOP_CHARACTERS + cut), 100)


@given(block=st.text(min_size=1, max_size=40), before=st.text(max_size=40), cut=st.integers(0, 40))
@settings(max_examples=50)
def test_any_loop(block: str, before: str, cut: int) -> None:
    """Whatever the block, it is a loop, and is none where its last character is another."""
    text = before + filled(block, LOOP_CHARACTERS + cut)
    other = chr(max(map(ord, block)) + 1) if ord(max(block)) < 0x10FFFF else "\0"

    assert is_looping(text, 100)
    assert other in block or not is_looping(text + other, 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * (LOOP_CHARACTERS - 1),
        "".join(f"| {row} | 0 | 0 | 0 |\n" for row in range(2000)),
        "0, " * 5000 + document("rest", 1000),
        document("rest", 1000) + "0, " * 5000,
        filled(document("long", 3000)[: LONGEST_BLOCK + 1]),
        "x" + "a" * (LOOP_CHARACTERS - 1),
        "a" * (LOOP_CHARACTERS - 1) + "b",
        "a" * (LOOP_CHARACTERS // 2) + "b" + "a" * (LOOP_CHARACTERS // 2),
        document("prose", 8000),
    ],
    ids=range(10),
)
def test_text_that_repeats_itself(text: str) -> None:
    """Rows, zeros, passages that stand twice and loops that end are text."""
    assert not is_looping(text, 100)


def test_loop_of_less_than_a_round() -> None:
    """A round that began otherwise has not looped from its beginning."""
    text = document("before", 500) + filled("loop ", 2 * LOOP_CHARACTERS)

    assert is_looping(text, 2 * LOOP_CHARACTERS)
    assert not is_looping(text, 2 * LOOP_CHARACTERS + 1)


@pytest.mark.parametrize("shape", ["a", "ab", "sample", "almost", "prose"])
def test_cost_is_linear(shape: str) -> None:
    """Four million characters are judged in the time of some searches, however they are made."""
    size = 4_000_000
    texts = {
        "a": "a" * size,
        "ab": "ab" * (size // 2),
        "sample": ("a" * 63 + "b") * (size // 64),
        "almost": "b" + ("a" * 1000 + "c") * (size // 1001) + "a" * 1000,
        "prose": filled(document("prose", 3000), size),
    }
    started = time.process_time()
    is_looping(texts[shape], size)

    assert time.process_time() - started < 1


# Answers.


@drives
@pytest.mark.parametrize("cap", [500, 4000])
@pytest.mark.parametrize(
    "loop", [" and so on", "I will now write the file.\n"], ids=["plain", "hermes #86581, #100716"]
)
def test_answer_that_loops(loop: str, cap: int, drive: Drive) -> None:
    """An answer caught in a loop ends in "length" once a full round and 16,384 characters of it are one block."""
    before = document("before", 300)
    truth = before + loop * (100_000 // len(loop))
    answer = drive(Engine(truth, cap=cap, chunk_tokens=100), max_rounds=40)

    assert truth.startswith(answer.text)
    assert answer.ending[1:] == ("length", "repetition")
    assert LOOP_CHARACTERS <= len(answer.text) < len(before) + LOOP_CHARACTERS + 2 * cap * 6


@drives
@pytest.mark.thorough
def test_answer_of_repeated_blocks(drive: Drive) -> None:
    """A long answer of blocks that are repeated, as long as they are, comes whole."""
    truth = "".join(filled(f"row {number}, 0, 0, 0;\n", LOOP_CHARACTERS - 100) for number in range(4)) + "The end."
    answer = drive(Engine(truth, cap=2500, chunk_tokens=100), max_rounds=40)

    assert (truth, "stop", "stop") == answer.ending
    assert len(answer.rounds) > 5


# The two corpora.


@pytest.mark.parametrize("characters", [1000, 4096, LOOP_CHARACTERS])
def test_loops_are_noticed(characters: int) -> None:
    """Nearly all loops are noticed within 2,000 characters, and none before it is one."""
    late, total = list[str](), 0
    for loop in loops.loops(45):
        place, total = loops.noticed_at(loop.text, characters), total + 1
        assert place is None or place >= loop.start + loop.needed(characters) - loops.PIECE
        if place is None or place > loop.start + loop.needed(characters) + 2000:
            late.append(loop.text[loop.start : loop.start + 60])

    assert len(late) <= 0.05 * total, late


@pytest.mark.parametrize("characters", [4096, LOOP_CHARACTERS])
@pytest.mark.spread(1)
def test_repetition_for_a_reason_is_none(characters: int) -> None:
    """Tables, data, drawings, logs, verse and notices are no loops, and no file of a package is one."""
    texts = [*loops.made(characters * 3 // 4), *loops.licences(), *loops.files(150)]

    assert [] == [name for name, text in texts if loops.noticed_at(text, characters) is not None]


@pytest.mark.parametrize("form", loops.ROWS)
def test_rows_that_count_are_data(form: str) -> None:
    """Rows of data with a counter are no loop, for nothing tells them from one."""
    text = "".join(form.format(n=number) for number in range(3000))

    assert not is_looping(text, 100, 1000)


@pytest.mark.parametrize("size", [1, 100, 511, 512, 513, 5000])
def test_pieces_do_not_matter(size: int) -> None:
    """A text is judged alike, in whatever pieces it comes, and from wherever it is watched."""
    text = document("before", 700) + "Step 7. I will now read the file, and then I will write it again.\n" * 400
    watch, half = LoopWatch(4096), LoopWatch(4096)
    half.go_on_from(text[: len(text) // 2])
    for place in range(0, len(text), size):
        watch.take(text[place : place + size])
    half.take(text[len(text) // 2 :])

    assert (True, True) == (watch.is_looping, half.is_looping)


# Rounds that are left.

LOOP = "I will now write the file.\n"
#: What a stream brings at most after its loop was noticed: the rest of a chunk.
REST = 1000


def falling(before: int = 300) -> tuple[str, str]:
    """Return a text that falls into a loop, and what stands before the loop."""
    start = document("before", before)
    return start, start + LOOP * 4000


def test_later_rounds_are_left() -> None:
    """A loop of a later round is left where it is noticed; whole answers are looked at after it."""
    start, truth = falling(3000)
    engine = Engine(truth, cap=[1000, 30_000], chunk_tokens=50)
    answer = streamed(engine)

    assert truth.startswith(answer.text)
    assert answer.ending[1:] == ("length", "repetition")
    assert LOOP_CHARACTERS <= len(answer.text) - len(start) < LOOP_CHARACTERS + REST
    assert [("length", False), (None, True)] == [(one["finish_reason"], "estimated" in one) for one in answer.rounds]
    assert len(whole(Engine(truth, cap=[1000, 30_000])).text) > len(start) + 2 * LOOP_CHARACTERS


def test_first_round_is_the_callers_own() -> None:
    """Without the setting, a first round that loops and ends comes as it is."""
    _, truth = falling()
    answer = streamed(Engine(truth, cap=100_000, chunk_tokens=100))

    assert answer.ending == (truth, "stop", None)


@drives
def test_loop_that_the_next_round_leaves(drive: Drive) -> None:
    """A round that goes on with another text is taken, whatever the one before it ended in."""
    truth = document("before", 300) + "0, " * 6000 + document("after", 900)
    # A character of the zeros is a token.
    engine = Engine(truth, cap=[300 + 3 * 6000, 500], chunk_tokens=20)

    assert (truth, "stop", "stop") == drive(engine).ending
    assert len(engine.bodies) == 3


@pytest.mark.parametrize("asked", [ask(), {"model": "m", "prompt": "x"}], ids=["chat", "completion"])
def test_first_round_is_watched_if_asked(asked: dict[str, Any]) -> None:
    """With the setting, a first round is left, too."""
    start, truth = falling()
    engine = Engine(truth, cap=100_000, chunk_tokens=50)
    answer = streamed(engine, asked, max_repetition=2000, provider="vllm")

    assert truth.startswith(answer.text)
    assert answer.ending[1:] == ("length", "repetition")
    assert 2000 <= len(answer.text) - len(start) < 2000 + REST
    assert (len(engine.bodies), len(answer.rounds)) == (1, 1)


@drives
def test_answer_that_was_cut_within_a_loop(drive: Drive) -> None:
    """With the setting, it does not go on, however its round began."""
    start, truth = falling()
    engine = Engine(truth, cap=2000, chunk_tokens=2000)
    answer = drive(engine, max_repetition=2000)

    assert truth.startswith(answer.text)
    assert len(start) + 2000 < len(answer.text)
    assert (answer.ending[1:], len(engine.bodies)) == (("length", "repetition"), 1)


@pytest.mark.parametrize("end", [None, "stop", "length"])
def test_choices_are_judged_one_by_one(end: str | None) -> None:
    """A round of two choices is left if one loops and the other has ended; one that was cut goes on."""
    rounds = rounds_of({**ask(n=2), "stream": True}, "vllm", max_repetition=2000)
    request = rounds.next_request()
    assert request is not None
    out, fed = rounds.feed(request, chunk_of(1, "Once upon a time", end)), 0
    while fed < 400 and not rounds.enough:
        out += rounds.feed(request, chunk_of(0, LOOP))
        fed += 1
    if end is None:
        # The other one may still write something else than a loop.
        assert fed == 400
        return
    out += rounds.end_of_stream(request)
    following = rounds.next_request()
    if following is not None:
        assert (following.choice, end) == (1, "length")
        out += rounds.feed(following, chunk_of(0, " there was.", "stop")) + rounds.end_of_stream(following)
    out += rounds.last_chunks()
    texts = [Answer.of_chunks(out, index).ending[:2] for index in (0, 1)]

    assert (following is not None) is (end == "length")
    assert [(LOOP * fed, "length"), ("Once upon a time" + " there was." * (end == "length"), "stop")] == texts
    assert rounds.stopped_by == "repetition"


def chunk_of(index: int, content: str, finish: str | None = None) -> dict[str, Any]:
    item = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [item]}


def test_thoughts_that_loop() -> None:
    """Thoughts are watched as the answer is."""
    script = Script(cut_round(*[{"reasoning_content": LOOP}] * 1000))
    answer = streamed(script, max_repetition=2000)

    assert 2000 <= len(answer.thoughts) < 2000 + REST
    assert answer.ending == ("", "length", "repetition")


# Servers that stop loops themselves.


@drives
@pytest.mark.parametrize("finish", ["repetition", "repetition_truncation"])
def test_server_that_stops_a_loop(finish: str, drive: Drive) -> None:
    """Its end is an end: in the first round it comes as it is, and a later one is the last."""
    first = drive(Script(reply("one one one", finish=finish)))
    later = drive(Script(cut_round("one "), reply("one one", finish=finish)))

    assert first.ending == ("one one one", finish, None)
    assert later.ending == ("one one one", finish, finish)


@drives
@pytest.mark.parametrize("asked", [ask(), {"model": "m", "prompt": "x"}], ids=["chat", "completion"])
def test_request_for_the_servers_own_check(asked: dict[str, Any], drive: Drive) -> None:
    """vLLM's ``repetition_detection`` goes with each round."""
    wanted = {"max_pattern_size": 20, "min_count": 4}
    engine = Engine(cap=80, tokens=200)
    drive(engine, {**asked, "repetition_detection": wanted}, provider="vllm")

    assert [wanted] * 3 == [body["repetition_detection"] for body in engine.bodies]
