"""Stop strings that begin in one round and end in the next."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.text.marks import ends_in_half
from openai_continue._core.text.stops import first_stop, keeps_stops, swallowed
from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import Drive, drives
from tests.support.engine import Engine
from tests.support.script import Reply, Script, cut_round, last_round, usage

A_JSON = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("before", "new", "stops", "found"),
    [
        ("text EN", "D of", ["END"], (8, 5, "END")),
        ("text EN", "d of", ["END"], None),
        ("text END", " of", ["END"], None),
        ("text", " END", ["END"], None),
        ("text", "END", ["END"], None),
        ("a", "bc", ["abc"], (3, 0, "abc")),
        ("text\n", "\nHuman:", ["\n\nHuman:"], (12, 4, "\n\nHuman:")),
        ("xab", "cd", ["bcd", "abc"], (4, 1, "abc")),
        ("xab", "cd", ["bc", "abcd"], (4, 2, "bc")),
        ("xab", "cd", ["bc", "abc"], (4, 1, "abc")),
    ],
)
def test_first_stop(before: str, new: str, stops: list[str], found: tuple[int, int, str] | None) -> None:
    """A stop string over the seam ends the text; the one that is complete first wins, then the longest."""
    assert found == first_stop(before, new, stops)


@pytest.mark.parametrize(
    ("before", "new", "found"),
    [
        ("text", " END", (8, 5, "END")),
        ("text", "END of", (7, 4, "END")),
        ("text EN", "D of END", (8, 5, "END")),
        ("text END", " of", None),
        ("", "END", (3, 0, "END")),
    ],
)
def test_first_stop_that_the_server_was_not_told(before: str, new: str, found: tuple[int, int, str] | None) -> None:
    """Where the server was not told the stop strings, one may be within the new text too."""
    assert found == first_stop(before, new, ["END"], within=True)


@pytest.mark.parametrize(
    ("provider", "field", "kept"),
    [
        ("vllm", "include_stop_str_in_output", True),
        ("sglang", "no_stop_trim", True),
        ("vllm", "no_stop_trim", False),
        ("sglang", "include_stop_str_in_output", False),
        ("llama.cpp", "include_stop_str_in_output", False),
        ("deepinfra", "include_stop_str_in_output", False),
    ],
)
def test_fields_that_keep_stop_strings(provider: str, field: str, kept: bool) -> None:
    """A field keeps the stop string in the text where the server reads it, if it is true."""
    row = providers.named(provider)

    assert kept == keeps_stops({field: True}, row.stop_fields)
    assert not keeps_stops({field: False}, row.stop_fields)
    assert not keeps_stops({field: 1}, row.stop_fields)


@pytest.mark.parametrize(
    ("text", "half"), [("", False), ("text E", True), ("text EN", True), ("text END", False), ("text ENd", False)]
)
def test_ends_in_half(text: str, half: bool) -> None:
    """Any proper beginning of a stop string at the end of the text may become the whole one."""
    assert half == ends_in_half(text, ["zz", "END"])


@pytest.mark.parametrize(
    ("held", "new", "stops", "expected"),
    [
        ("  ", "", ["  b"], 2),
        ("  ", " ", [" b"], 1),
        ("  ", "", [" b"], 0),
        ("  ", "", ["b"], 0),
        ("  ", "  and", ["  b"], 0),
        ("", "", [" b"], 0),
        (".\n\n", ".", ["\n\nHuman:"], 2),
    ],
)
def test_stop_in_what_was_held_back(held: str, new: str, stops: list[str], expected: int) -> None:
    """A stop string that begins in what was held back ends a round unseen, and the text before it."""
    assert swallowed(held, new, stops) == expected


# Through Rounds.

PUNCTUATED = "Let me look at it. <call>search(whales)</call> and then ### --- ### --- === >>> and more of it follows."
LINES = "first line\n\nsecond line\n\n\n\nHuman: and a third\n\n---\n\n***\n\nthe end of the text\n\n"
#: Servers that differ in what they do with stop strings: the row, the emulated habits, the caller's own fields.
SERVERS: dict[str, tuple[str, Habits, dict[str, Any]]] = {
    "plain": ("deepinfra", Habits(), {}),
    "ignores the switch": ("llama.cpp", Habits(), {"include_stop_str_in_output": True}),
    "ignores a switch of others": ("vllm", Habits(), {"no_stop_trim": True}),
    "keeps": ("vllm", Habits(keeps_stops="include_stop_str_in_output"), {"include_stop_str_in_output": True}),
    "keeps if asked": ("vllm", Habits(keeps_stops="include_stop_str_in_output"), {}),
    "does not trim": ("sglang", Habits(keeps_stops="no_stop_trim"), {"no_stop_trim": True}),
    "hides": ("llama.cpp", Habits(hides_half_stops=True), {}),
    "hides, text first": ("deepinfra", Habits(hides_half_stops=True, finish_with_text=True), {"n": 1}),
}


def stops_in(text: str) -> list[str]:
    """Return stop strings of one token and more, from all over a text."""
    starts = range(3, len(text), 29)
    return [text[start : start + size] for start in starts for size in (1, 5, 17, 40) if start + size < len(text)]


@drives
@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("text", [PUNCTUATED, LINES], ids=["punctuated", "lines"])
def test_any_stop_string_at_any_cap(text: str, name: str, drive: Drive) -> None:
    """The text is that of an uncapped server, however much longer than a round the stop string is."""
    provider, habits, fields = SERVERS[name]
    for number, stop in enumerate(stops_in(text)):
        body = ask(stop=[stop], **fields)
        engine = Engine(text, habits=habits, cap=(1, 2, 3, 5, 8)[number % 5])
        expected = engine.uncapped(body)
        answer = drive(engine, body, provider=provider, max_rounds=400)

        assert (expected.text, expected.finish_reason) == (answer.text, answer.finish_reason), (stop, engine.cap)


@drives
@pytest.mark.parametrize("cap", [1, 2, 3, 7])
def test_stop_string_of_a_text_completion(cap: int, drive: Drive) -> None:
    """So it is of a text completion."""
    stop = "</call> and then ###"
    body = {"model": "m", "prompt": "Once", "stop": [stop]}
    engine = Engine(PUNCTUATED, habits=Habits(hides_half_stops=True), cap=cap)
    expected = engine.uncapped(body)
    answer = drive(engine, body, provider="llama.cpp", max_rounds=400)

    assert (expected.text, "stop") == (answer.text, answer.finish_reason)


@drives
def test_stop_strings_are_left_out_of_one_round(drive: Drive) -> None:
    """The server is not told the stop strings in the round after one that showed nothing, and in no other."""
    server = Script(
        cut_round("one "), cut_round("two "), cut_round(""), cut_round("STO", "P "), last_round("HERE and more")
    )
    answer = drive(server, ask(stop=["STOP HERE"]), provider="vllm")

    assert answer.ending == ("one two ", "stop", "stop")
    assert ["stop" in body for body in server.bodies] == [True, True, True, False, True]


@drives
@pytest.mark.parametrize(
    ("last", "text"),
    [
        (last_round(" of the STOP and more"), "one of the "),
        (last_round(" o", "f the ST", "O", "P and more"), "one of the "),
        (last_round(" of the", " end"), "one of the end"),
        (last_round(" of ", "x" * 50, " ST"), "one of " + "x" * 50 + " ST"),
        (last_round(" of ", "x" * 50, " STO", "P"), "one of " + "x" * 50 + " "),
    ],
)
def test_round_without_stop_strings(last: Reply, text: str, drive: Drive) -> None:
    """A stop string ends such a round wherever it is."""
    server = Script(cut_round("one"), cut_round("", usage=usage(11, 3)), last)
    answer = drive(server, ask(stop=["STOP"]))

    assert (text, "stop", "stop") == answer.ending


@drives
def test_round_that_showed_a_blank(drive: Drive) -> None:
    """A server shows the blank that was held back, and keeps back what may be a stop string after it."""
    server = Script(cut_round("one "), cut_round(" ", usage=usage(11, 3)), last_round(" of the STOP and more"))
    answer = drive(server, ask(stop=["STOP"]))

    assert answer.ending == ("one of the ", "stop", "stop")
    assert ["stop" in body for body in server.bodies] == [True, True, False]


@drives
@pytest.mark.parametrize("used", [5, 40])
def test_round_that_showed_nothing(used: int, drive: Drive) -> None:
    """More tokens than a stop string has were not kept back for it."""
    server = Script(cut_round("one"), cut_round("", usage=usage(11, used)), cut_round("", usage=usage(11, used)))
    answer = drive(server, ask(stop=["a long one"]), provider="vllm")

    assert answer.ending == ("one", "length", "empty")
    assert (3 if used < 10 else 2) == len(server.bodies)


# What the server says of the stop string.

STOP = "</call>"
BEFORE = "Let me look. <call>search(whales)"


@drives
@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_stop_string_is_named(field: Any, drive: Drive) -> None:
    """The field that names the stop string is as an uncapped server has it, wherever the answer is cut."""
    text = BEFORE + STOP + " and more"
    habits = Habits(names_stop=field)
    for stop in (STOP, "never", "search(whales)</call>"):
        for cap in (*range(1, 9), 12, 100):
            engine = Engine(text, habits=habits, cap=cap)
            body = ask(stop=[stop, "zzz"])
            expected = ends_of(engine.uncapped(body))
            answer = drive(engine, body, max_rounds=200)

            assert ends_of(answer) == expected, (stop, cap)


def ends_of(answer: Answer) -> dict[str, Any]:
    """Return what the end of an answer has besides its text."""
    chunks = answer.raw if isinstance(answer.raw, list) else [answer.raw]
    (item,) = [item for chunk in chunks for item in chunk["choices"] if item.get("finish_reason")]
    return {name: value for name, value in item.items() if name not in ("index", "delta", "message", "logprobs")}


BEGINNING = "Let me begin with the history of the lighthouse, and go on to its keepers"


@drives
@pytest.mark.parametrize(
    ("rounds", "body", "expected"),
    [
        # The server had gone on, and ended elsewhere.
        ([cut_round("a ST", stop_reason=None), last_round("OP b", stop_reason="b")], {"stop": ["STOP", "b"]}, "STOP"),
        ([cut_round("a ST", stop_reason=None), last_round("OP b", stop_reason=7)], {"stop": ["STOP"]}, "STOP"),
        # The end of a document is the end token's.
        ([cut_round('{"a": ', stop_reason=None), last_round("1} END", stop_reason="END")], A_JSON, None),
        # A refused round is no part of the answer.
        ([cut_round(BEGINNING, stop_reason=None), last_round("", BEGINNING, stop_reason="x")], {}, ...),
        # Null after an end that was not null.
        ([cut_round("a ", stop_reason="max_tokens"), last_round("b", stop_reason=None)], {}, None),
        ([cut_round("a ", stop_reason=None), last_round("b", stop_reason="c")], {"stop": ["c"]}, "c"),
        # What is no document is "length".
        ([cut_round('{"a": ', stop_reason=None), last_round("x", stop_reason="c")], {**A_JSON, "stop": ["c"]}, None),
        # A server that has no such field gets none.
        ([cut_round("a ST"), last_round("OP b")], {"stop": ["STOP"]}, ...),
    ],
)
def test_end_that_is_ours(rounds: list[Reply], body: dict[str, Any], expected: Any, drive: Drive) -> None:
    """Where the end is ours, the field has our stop string, or null; no field is invented."""
    found = ends_of(drive(Script(*rounds), ask(**body)))

    if expected is ...:
        assert found.get("stop_reason") is None
    else:
        assert found["stop_reason"] == expected
