"""Joining text, without I/O: what is held back, what is dropped as a copy, and what is left alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from openai_continue.core import seam
from openai_continue.core.characters import half_character, without_cut_character
from openai_continue.core.logprobs import add_logprobs, logprobs_of
from openai_continue.core.seam import Seam, Stopped
from openai_continue.core.stops import straddling_stop, swallowed
from openai_continue.core.text import Text
from openai_continue.core.usage import add_usage
from openai_continue.testing import Habits
from tests.conftest import ask
from tests.drive import DRIVES, Drive, Engine, Said, Script, said, whole

drives = pytest.mark.parametrize("drive", DRIVES)
LINES = "The first line of all, which no other line repeats, not even in part.\n"


def copied(joint: Seam, new: str, size: int) -> int | Stopped:
    """Settle a joint with the pieces of a stream; whatever their size, it must say the same."""
    for end in range(size, len(new), size):
        copy = joint.copied(new[:end], ended=False)
        if copy is not None:
            return copy
    copy = joint.copied(new, ended=True)

    assert copy is not None
    return copy


# What is held back.


@pytest.mark.parametrize(
    ("text", "kept", "trimmed"),
    [
        ("word", "", ""),
        ("word  ", "  ", "  "),
        ("word\t", "\t", "\t"),
        ("word \n", "", " \n"),
        ("word:\n    ", "    ", "\n    "),
        ("word\r\n", "", "\r\n"),
        ("word\r\n\t ", "\t ", "\r\n\t "),
        ("word\n\n\n\n", "", "\n\n\n\n"),
        ("word\u00a0", "", "\u00a0"),
        ("  ", "", ""),
        ("\n\n", "", ""),
        ("", "", ""),
    ],
)
def test_held_whitespace(text: str, kept: str, trimmed: str) -> None:
    """Blanks are held back, newlines where the template trims; a text of nothing else goes back as it is."""
    assert kept == seam.held_whitespace(text, trims=False)
    assert trimmed == seam.held_whitespace(text, trims=True)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("word", ""),
        ("word.", ""),
        ("word.\n", ".\n"),
        ('["a",\n    ', '",\n    '),
        ("x_\n", "\n"),
        ("日本語。\n", "。\n"),
        ("---\n", "\n"),
        ("\n", ""),
    ],
)
def test_held_to_word(text: str, held: str) -> None:
    """Punctuation is held back with the white space behind it, down to a word; without a word, white space alone."""
    assert held == seam.held_to_word(text)


# What the new text repeats.


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("held", "new", "copy"),
    [
        ("  ", "  word", 2),
        ("  ", "    word", 2),
        ("  ", " word", 1),
        ("  ", "word", 0),
        ("  ", "\n  word", 0),
        ("\t", "  word", 2),
        (" ", "", 0),
        ("  ", " ", 1),
        ("  ", "   ", 2),
    ],
)
def test_blanks_come_again(held: str, new: str, copy: int, size: int) -> None:
    """One copy of the blanks is kept: the new one if it extends the old one, else the old one."""
    assert copy == copied(Seam(held=held), new, size)


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("held", "new", "copy"),
    [
        ("\n\n", "\n\nword", 2),
        ("\n\n", "\n\n\n word", 2),
        ("\n\n", "\nword", 1),
        ("\n\n", "word", 0),
        ("\n", "  word", 2),
    ],
)
def test_white_space_comes_again_when_the_template_trims(held: str, new: str, copy: int, size: int) -> None:
    """Where newlines are held back too, one copy of all white space is kept."""
    assert copy == copied(Seam(held=held, trims=True), new, size)


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("new", "copy"),
    [
        (".\n\nNext", 3),
        (".\n\n", 3),
        ("", 0),
        (".\n", 2),
        (".\nNext", Stopped.REFUSED),
        ("!\n\nNext", Stopped.REFUSED),
    ],
)
def test_punctuation_comes_again(new: str, copy: int | Stopped, size: int) -> None:
    """Punctuation that was held back must come as it was; else the round is of no use."""
    assert copy == copied(Seam(held=".\n\n", exact=True, trims=True), new, size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 99])
@pytest.mark.parametrize(
    ("sent", "new", "copy"),
    [
        ("Once upon", "Once upon a time", 9),
        (" Once\n", " Once\nupon", 6),
        (" Once\n", " Onceupon", 5),
        (" Once\n", "Once\nupon", 5),
        (" Once\n", "Onceupon", 4),
        ("Once", "", 0),
        ("Once", "On", 0),
        ("Once", "Only", 0),
        ("Once", "OnceOnce", 4),
    ],
)
def test_echo(sent: str, new: str, copy: int, size: int) -> None:
    """What was sent back is dropped from the beginning, trimmed or not, in pieces or not; half of it is text."""
    assert copy == copied(Seam(echo=sent), new, size)


@pytest.mark.parametrize("size", [1, 5, 99])
def test_echo_and_blanks(size: int) -> None:
    """Behind an echo comes the copy of what was held back."""
    assert len("Once  ") == copied(Seam(echo="Once", held="  "), "Once  upon", size)


@pytest.mark.parametrize("new", ["}\n}\n}", "|---|---|\n", "0, 0, 0,", "- [ ] \n- [ ] \n", "Once upon a time"])
def test_repeated_text_is_text(new: str) -> None:
    """Without an echo, and but for what was held back, nothing is dropped, however like the text before."""
    assert 0 == copied(Seam(), new, 1)
    assert 1 == copied(Seam(held=" "), " " + new, 1)


# The beginning again.


@pytest.mark.parametrize(
    ("text", "length"),
    [("a" * 200, 0), ("short", 0), (LINES, 64), (LINES + "more " + LINES, 0), (LINES * 3, 0), ("\n\n " + LINES, 64)],
)
def test_evidence_of_a_restart(text: str, length: int) -> None:
    """A beginning that is short, or recurs in the text, is no evidence that the answer begins anew."""
    assert length == len(seam.evidence(text, 64))


@pytest.mark.parametrize("size", [1, 7, 999])
@pytest.mark.parametrize("held", ["", "  ", ".\n"])
def test_restart(held: str, size: int) -> None:
    """A round that begins as the answer did is a restart, whatever was held back."""
    start = seam.evidence(LINES, 64)
    joint = Seam(held=held, exact=held == ".\n", starts=(start,))

    assert Stopped.RESTARTED is copied(joint, LINES + "and so on", size)
    assert Stopped.RESTARTED is copied(joint, "\n\n" + LINES + "and so on", size)
    assert Stopped.RESTARTED is not copied(joint, held + LINES[:63] + "!" + LINES, size)
    assert Stopped.RESTARTED is not copied(joint, held + LINES[:63], size)


# Cut characters.


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("a\ufffd", "a"),
        ("a\ufffd\ufffd\ufffd", "a"),
        ("a\ufffd\ufffd\ufffd\ufffd", "a\ufffd"),
        ("\ufffd", ""),
        ("a\ufffdb", "a\ufffdb"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_without_cut_character(text: str, bare: str) -> None:
    """Up to three U+FFFD at the end are the bytes of one cut character; in mid-text they are text."""
    assert bare == without_cut_character(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_half_character(text: str) -> None:
    """The beginning of a character is told from whole ones at any byte."""
    written = text.encode()
    for end in range(len(written) + 1):
        whole_ones = written[:end].decode(errors="ignore").encode()

        assert written[len(whole_ones) : end] == half_character(written[:end])


# Stop strings.


@pytest.mark.parametrize(
    ("before", "new", "stops", "kept"),
    [
        ("text EN", "D of", ["END"], 5),
        ("text EN", "d of", ["END"], None),
        ("text END", " of", ["END"], None),
        ("text", " END", ["END"], None),
        ("a", "bc", ["abc"], 0),
        ("text\n", "\nHuman:", ["\n\nHuman:"], 4),
        ("xab", "cd", ["bcd", "abc"], 1),
        ("xab", "cd", ["bc", "abcd"], 2),
        ("xab", "cd", ["bc", "abc"], 1),
    ],
)
def test_straddling_stop(before: str, new: str, stops: list[str], kept: int | None) -> None:
    """A stop string over the seam cuts the text before it; the one that is complete first wins, then the longest."""
    assert kept == straddling_stop(before, new, stops)


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
    assert expected == swallowed(held, new, stops)


@given(
    st.lists(st.sampled_from(["a", "ab", "b", " ", "\n", "END", "E", "N"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["END", "ab ", "b\n", "aab", " \n", "NE"]), min_size=1, max_size=2),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_stop_strings_wherever_the_seams_are(pieces: list[str], stops: list[str], cuts: list[int]) -> None:
    """Text that comes in rounds and in pieces ends before the stop string that is complete first."""
    text = "".join(pieces)
    answer = Text("content", stops=stops)
    ready: list[dict[str, Any]] = []
    seams = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in pairwise(seams):
        if start:
            answer.start_round(Seam())
        # What stands inside a round, the server finds; with it goes the end of one that began before, which none sees.
        kept = before_stop(text[start:end], stops)
        seen = text[:start] + kept
        is_hidden = len(before_stop(text[:end], stops)) < start and before_stop(seen, stops) == seen
        assume(not (kept != text[start:end] and is_hidden))
        for character in kept:
            ready += answer.take({"choices": [{"delta": {"content": character}}]})
        stopped = answer.stopped or kept != text[start:end]
        ready += answer.end_round(goes_on=end < len(text) and not stopped)
        if stopped:
            break

    assert before_stop(text, stops) == answer.text
    assert answer.text == "".join(chunk["choices"][0]["delta"]["content"] for chunk in ready)


def before_stop(text: str, stops: list[str]) -> str:
    """Cut a text as an engine does."""
    ends = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return text[: min(ends)[1]] if ends else text


# Usage and logprobs.


def test_usage_is_summed() -> None:
    """Usage is summed field by field, nested and unknown fields too; what one round lacks the other one gives."""
    one = {
        "prompt_tokens": 1,
        "details": {"cached": 2, "audio": None},
        "cost": 0.5,
        "tier": "a",
        "null": None,
    }
    other = {"prompt_tokens": 10, "details": {"cached": 20, "more": 3}, "cost": 0.25, "tier": "b", "new": 7}

    assert {
        "prompt_tokens": 11,
        "details": {"cached": 22, "audio": None, "more": 3},
        "cost": 0.75,
        "tier": "b",
        "null": None,
        "new": 7,
    } == add_usage(one, other)
    assert one == add_usage(one, None) == add_usage(None, one)
    assert add_usage(None, None) is None


def token(written: bytes) -> dict[str, Any]:
    return {"token": written.decode(errors="replace"), "bytes": list(written), "logprob": -1.0, "top_logprobs": []}


def spelled(logprobs: Any) -> list[bytes]:
    return [bytes(each["bytes"]) for each in logprobs["content"]]


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
    """Logprobs are cut where their text is; tokens that show nowhere stay, but for the half of a character."""
    logprobs = {"content": list(map(token, tokens)), "refusal": None}

    assert kept == spelled(logprobs_of(logprobs, text, start, end))


def test_logprobs_of_unknown_form() -> None:
    """Logprobs of a form that nobody documents are left as they are."""
    for odd in (None, [], {"content": None}, {"tokens": ["a"]}):
        assert odd == logprobs_of(odd, "text", 1, 2)
    assert {"content": [1, 2], "refusal": [3]} == add_logprobs({"content": [1], "refusal": [3]}, {"content": [2]})


@drives
def test_logprobs_without_bytes_hold_no_stream_back(drive: Drive) -> None:
    """Tokens that are told by a made-up name, as for a part of a character, do not keep text back."""
    odd = {"content": [{"token": "bytes:\\xe2\\x80", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    answer = Text("content")

    ready = answer.take({"choices": [{"delta": {"content": "text"}, "logprobs": odd}]})

    assert 1 == len(ready)


# Through Rounds: each habit, with every cut that there is.

AWKWARD = [
    "one  two   three    four",
    "def f(x):\n    if x:\n        return   1\n\n\n\n    return\t\t2\n",
    "a\r\nb\r\n\r\n\tc\r\nend",
    "start\n\n\n\n\n\n\n\n\n\nend",
    "  leading, and trailing",
    "- a\n  - b\n    - c\n\t- d",
    "}\n}\n}\n}\n}\n}",
    "|---|---|\n|---|---|\n|---|---|\nx",
    "0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    "same line\nsame line\nsame line\nsame line\nsame line",
    "日本語、🦊🦊👩‍👩‍👧‍👦 🇨🇦é́ x",
    "He said: \u201cYes.\u201d — \u2026 and 'no'.\n\nThen; \"never\"!\n",
    "real \ufffd in \ufffd\ufffd the middle",
]
HABITS: dict[str, tuple[Habits, dict[str, Any]]] = {
    "keeps": (Habits(), {}),
    "trims": (Habits(trims=True), {"trims": True}),
    "needs not be known to keep": (Habits(), {"trims": True}),
    "echoes": (Habits(echo="always", marker="prefix", echo_pieces=3), {"provider": "mistral"}),
    "echoes trimmed": (
        Habits(echo="always", marker="prefix", echo_pieces=3, trims=True),
        {"provider": "mistral", "trims": True},
    ),
    "drops cut characters": (Habits(cut_characters="dropped"), {}),
    "replaces cut characters": (Habits(cut_characters="replaced"), {}),
    "ends with text": (Habits(finish_with_text=True), {}),
}


@drives
@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("temperature", [0, 1])
def test_every_cut(habit: str, temperature: int, drive: Drive) -> None:
    """Whatever a server does at the seam and wherever the seams are, the text comes out as it was."""
    habits, known = HABITS[habit]
    caps = (1, 2, 3, 5, 8) if habits.cut_characters is None else (5, 8)
    for text in AWKWARD:
        # Where a round is one token, a U+FFFD of the model's looks like a character that is cut again and again.
        for cap in caps[1:] if "\ufffd" in text else caps:
            answer = drive(
                Engine(text, habits=habits, cap=cap), ask("x", temperature=temperature), max_rounds=200, **known
            )
            if answer.stopped_by == "empty" and "trims" in known:
                # A round of white space alone, which is not sent back, and so is all that comes each time.
                assert text.startswith(answer.text), (text, cap)
            else:
                assert (text, "stop") == (answer.text, answer.finish), (text, cap)


@drives
def test_joint_starts_no_round_of_its_own(drive: Drive) -> None:
    """What is held back and dropped shows in the report, and nothing of it in the text."""
    answer = drive(Script(said("one  "), said("  two\ufffd"), said("é", finish="stop")))

    assert ("one  twoé", "stop", "stop") == answer.said
    seams = [round_["seam"] for round_ in answer.report["rounds"]] if answer.report else []
    assert [
        None,
        {"held_back": 2, "cut": 0, "dropped": 2},
        {"held_back": 0, "cut": 1, "dropped": 0},
    ] == seams


@drives
@pytest.mark.parametrize(
    ("rounds", "text", "cuts"),
    [
        ([said("a", *["\ufffd"] * 4), said()], "a\ufffd", [3]),
        ([said("a" + "\ufffd" * 4), said()], "a\ufffd", [3]),
        ([said("a"), said("b", "\ufffd" * 5), said("c", finish="stop")], "ab\ufffd\ufffdc", [0, 3]),
        ([said("a"), said("b", *["\ufffd"] * 2), said("c\ufffd"), said("d", finish="stop")], "abcd", [0, 2, 1]),
    ],
)
def test_a_seam_cuts_one_character(rounds: list[Said], text: str, cuts: list[int], drive: Drive) -> None:
    """What a seam has left stands, be it U+FFFD: no later one takes it, for the caller has it."""
    server = Script(*rounds)
    answer = drive(server)

    assert text == answer.text
    assert answer.report is not None
    assert cuts[: len(server.bodies) - 1] == [round_["seam"]["cut"] for round_ in answer.report["rounds"][1:]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="a .,\n\t{}é🦊", min_size=1, max_size=40), st.integers(1, 6), st.booleans())
def test_any_text(text: str, cap: int, trims: bool) -> None:
    """Any text with something in it comes out as it was."""
    text = f"a{text}z"
    answer = whole(Engine(text, habits=Habits(trims=trims), cap=cap), max_rounds=200, trims=trims)

    assert text == answer.text or (answer.stopped_by == "empty" and text.startswith(answer.text))


def test_stopped_takes_no_more() -> None:
    """After a stop over the seam, nothing that still comes of the round is taken."""
    answer = Text("content", stops=["END"])
    answer.take({"choices": [{"delta": {"content": "EN"}}]})
    answer.start_round(Seam())

    assert [] == answer.take({"choices": [{"delta": {"content": "D"}}]})
    assert [] == answer.take({"choices": [{"delta": {"content": "more"}}]})
    assert Stopped.STOP_STRING is answer.stopped
    assert answer.text == ""
