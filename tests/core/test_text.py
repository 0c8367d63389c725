"""One text over all rounds: what waits, and where a stop string over a seam ends it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from openai_continue._core.text.seam import Seam, Stopped
from openai_continue._core.text.text import Text
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, rounds_of
from tests.support.script import Reply, cut_round, last_round


def content(text: str, **more: Any) -> dict[str, Any]:
    """Return a chunk of one choice."""
    return {"choices": [{"delta": {"content": text}, **more}]}


@given(
    st.lists(st.sampled_from(["a", "ab", "b", " ", "\n", "END", "E", "N"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["END", "ab ", "b\n", "aab", " \n", "NE"]), min_size=1, max_size=2),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_stop_strings_wherever_the_seams_are(pieces: list[str], stops: list[str], cuts: list[int]) -> None:
    """Text that comes in rounds and in pieces ends before the stop string that is complete first."""
    text = "".join(pieces)
    answer = Text("content", stops=stops)
    out: list[dict[str, Any]] = []
    seams = sorted({min(place, len(text)) for place in cuts} | {0, len(text)})
    for start, stop in pairwise(seams):
        if start:
            answer.start_round(Seam())
        # The server finds a stop string inside a round. With it goes the end of one that began before: nobody sees it.
        kept = before_stop(text[start:stop], stops)
        seen = text[:start] + kept
        is_hidden = len(before_stop(text[:stop], stops)) < start and before_stop(seen, stops) == seen
        assume(not (kept != text[start:stop] and is_hidden))
        for character in kept:
            out += answer.take(content(character))
        stopped = answer.stopped or kept != text[start:stop]
        out += answer.end_round(goes_on=stop < len(text) and not stopped)
        if stopped:
            break

    assert before_stop(text, stops) == answer.text
    assert answer.text == "".join(chunk["choices"][0]["delta"]["content"] for chunk in out)


def before_stop(text: str, stops: list[str]) -> str:
    """Cut a text as an engine does."""
    ends = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return text[: min(ends)[1]] if ends else text


def test_stopped_takes_no_more() -> None:
    """After a stop over the seam, nothing that still comes of the round is taken."""
    answer = Text("content", stops=["END"])
    answer.take(content("EN"))
    answer.start_round(Seam())

    assert answer.take(content("D")) == []
    assert answer.take(content("more")) == []
    assert (Stopped.STOP_STRING, "") == (answer.stopped, answer.text)


def test_logprobs_without_bytes_hold_nothing_back() -> None:
    """A token with a made-up name, as for a part of a character, does not keep text back."""
    odd = {"content": [{"token": "bytes:\\xe2\\x80", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}

    assert len(Text("content").take(content("text", logprobs=odd))) == 1


def token(written: bytes) -> dict[str, Any]:
    return {"token": written.decode(errors="replace"), "bytes": list(written), "logprob": -1.0, "top_logprobs": []}


def test_half_a_character_waits() -> None:
    """A chunk that ends in U+FFFD, or whose logprobs end within a character, waits until the character is whole."""
    text = Text("content")
    cut, rest = content("a\ufffd"), content("b")
    assert ([], [cut, rest]) == (text.take(cut), text.take(rest))

    # Each byte of the character is a token, and comes in a chunk of its own; only the last one has the text.
    chunks = [content("", logprobs={"content": [token(bytes([byte]))]}) for byte in "🦊".encode()]
    chunks[-1]["choices"][0]["delta"]["content"] = "🦊"
    text = Text("content")
    assert [[], [], [], chunks] == [text.take(chunk) for chunk in chunks]
    assert text.text == "🦊"


def test_half_a_stop_string_waits() -> None:
    """A chunk that ends in the beginning of a stop string waits for the next one, and then goes out as it came."""
    rounds = rounds_of(ask(stop=["END"], stream=True))
    request = rounds.next_request()
    assert request is not None
    plain, half, rest = content("text "), content("an E"), content("vening")

    assert [plain] == rounds.feed(request, plain)
    assert rounds.feed(request, half) == []
    assert [half, rest] == rounds.feed(request, rest)


def stop_case(rounds: list[str], stop: Any, text: str) -> Case:
    script: list[Reply] = [*(cut_round(*part) for part in rounds[:-1]), last_round(*rounds[-1])]
    return Case(script, text, body={"stop": stop})


STOPS = {
    "over the seam": stop_case(["text EN", "D of it"], "END", "text "),
    "over two": stop_case(["text E", "N", "D of it"], ["END"], "text "),
    "each character a round": stop_case(["a", "b", "c"], ["abc"], ""),
    "the first of two": stop_case(["text EN", "Dx END"], ["END"], "text "),
    "with newlines": stop_case(["text\n", "\nHuman: x"], ["\n\nHuman:"], "text"),
    "in blanks": stop_case(["text  ", "  \nx"], [" \nx"], "text "),
    "almost": stop_case(["text E", "nd"], ["END"], "text End"),
    "one of two": stop_case(["text EN", "Dx"], ["zz", "END"], "text "),
    "null": stop_case(["text", " more"], None, "text more"),
    "empty": stop_case(["text", " more"], "", "text more"),
    # The server has cut the blanks off with the round's text.
    "begun in the blanks held back": Case([cut_round("text", "  "), last_round()], "text", body={"stop": ["  b"]}),
}


@cases(STOPS)
def test_stop_string_over_the_seam(case: Case, drive: Drive) -> None:
    """A stop string that begins in one round and ends in another ends the text before it; no server sees it."""
    case.check(drive)


# Cut characters.

CUT_CHARACTERS = {
    "one, in pieces": Case([cut_round("a", *["\ufffd"] * 4), cut_round()], **length("a\ufffd", "empty")),
    "one, at once": Case([cut_round("a" + "\ufffd" * 4), cut_round()], **length("a\ufffd", "empty")),
    "in a later round": Case([cut_round("a"), cut_round("b", "\ufffd" * 5), last_round("c")], "ab\ufffd\ufffdc"),
    "in each": Case([cut_round("a"), cut_round("b", *["\ufffd"] * 2), cut_round("c\ufffd"), last_round("d")], "abcd"),
}


@cases(CUT_CHARACTERS)
def test_a_seam_cuts_one_character(case: Case, drive: Drive) -> None:
    """What a seam has left stays, even if it is U+FFFD: no later one takes it, for the caller has it."""
    answer, _ = case.check(drive)

    cuts = {"a\ufffd": [3], "ab\ufffd\ufffdc": [0, 3], "abcd": [0, 2, 1]}[case.text]
    assert cuts == [round_["seam"]["cut"] for round_ in answer.rounds[1:]]
