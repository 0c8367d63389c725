"""Logprobs over all rounds spell the text."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue.core.logprobs import add_logprobs, logprobs_of
from openai_continue.testing import Habits
from tests.support.driving import Drive, drives
from tests.support.engine import Engine
from tests.support.servers import SERVERS, Kind


def token(written: bytes) -> dict[str, Any]:
    return {"token": written.decode(errors="replace"), "bytes": list(written), "logprob": -1.0, "top_logprobs": []}


@pytest.mark.parametrize(
    ("tokens", "text", "start", "end", "kept"),
    [
        ([b"ab", b"cd"], "abcd", 0, 4, [b"ab", b"cd"]),
        ([b"ab", b"cd"], "abcd", 1, 3, [b"b", b"c"]),
        ([b"ab", b"\xe6\x97"], "ab", 0, 2, [b"ab"]),
        ([b"ab", b"\xe6\x97"], "ab\ufffd\ufffd", 0, 4, [b"ab"]),
        ([b"ab", b"\xe6\x97"], "ab\ufffd\ufffd", 0, 2, [b"ab"]),
        ([b"cd"], "echocd", 0, 6, [b"cd"]),
        ([b"cd"], "echocd", 4, 6, [b"cd"]),
        ([b"cd"], "echocd", 5, 6, [b"d"]),
        ([b"thought", b"</think>", b"ab"], "ab", 0, 2, [b"thought", b"</think>", b"ab"]),
        ([b"thought", b"</think>", b"ab"], "ab", 1, 2, [b"b"]),
        ([b"thought"], "", 0, 0, [b"thought"]),
        ([b"ab", b"END"], "ab", 0, 2, [b"ab", b"END"]),
        ([b"ab", b"END"], "echoab", 4, 6, [b"ab", b"END"]),
        ([b"x", b"ab", b"y"], "ab", 0, 2, [b"x", b"ab", b"y"]),
        ([b"other"], "text", 1, 3, [b"other"]),
    ],
)
def test_logprobs_of_a_part(tokens: list[bytes], text: str, start: int, end: int, kept: list[bytes]) -> None:
    """Logprobs are cut where their text is; tokens that show nowhere stay, except half of a character."""
    logprobs: Any = logprobs_of({"content": list(map(token, tokens)), "refusal": None}, text, start, end)

    assert kept == [bytes(each["bytes"]) for each in logprobs["content"]]


def test_logprobs_of_unknown_form() -> None:
    """Logprobs of a form that nobody documents are left as they are."""
    for odd in (None, [], {"content": None}, {"tokens": ["a"]}):
        assert odd == logprobs_of(odd, "text", 1, 2)
    assert {"content": [1, 2], "refusal": [3]} == add_logprobs({"content": [1], "refusal": [3]}, {"content": [2]})


@drives
@pytest.mark.parametrize("cap", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ["deepinfra", "trims", "mistral", "echoes at once", "finish with text, usage twice"])
def test_logprobs(name: str, cap: int, drive: Drive) -> None:
    """None is doubled and none is missing, whatever was written twice."""
    kind, text = SERVERS[name], "one  two,\n    three 🦊\n\n\nfour"
    answer = drive(Engine(text, habits=kind.habits, cap=cap), kind.ask(logprobs=True), max_rounds=99, **kind.known)

    assert answer.text.encode() == answer.spelled
    assert text == answer.text or answer.stopped_by == "empty"


@drives
@pytest.mark.parametrize("cut", ["dropped", "replaced"])
@pytest.mark.parametrize("cap", [3, 4, 5, 8])
def test_logprobs_of_cut_characters(cut: Any, cap: int, drive: Drive) -> None:
    """The tokens of a character that the cap cut are paid for twice and are in the answer once."""
    kind, text = Kind(Habits(cut_characters=cut)), "a🦊b𠮷c字d字e🦊🦊f"
    answer = drive(Engine(text, habits=kind.habits, cap=cap), kind.ask(logprobs=True), max_rounds=99)

    assert answer.text.encode() == answer.spelled
    assert text == answer.text or (cap == 3 and answer.stopped_by == "empty")
