"""A loop is stopped; text that repeats itself for a reason is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._core.text.repetition import LOOP_CHARACTERS, LOOP_REPEATS, is_looping
from openai_continue.testing.emulator.texts import document
from tests.support.driving import Drive, drives
from tests.support.engine import Engine

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
