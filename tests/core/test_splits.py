"""A merged stream does not depend on how the rounds were split into chunks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import streamed

Json = dict[str, Any]


class Rounds:
    """A server that streams rounds of chunks, one after another."""

    def __init__(self, *rounds: list[Json]) -> None:
        self._rounds = iter(rounds)

    def completion(self, body: Json) -> Json:
        raise AssertionError

    def chunks(self, body: Json) -> list[Json]:
        return next(self._rounds)


def chunk(text: str, finish_reason: str | None = None, index: int = 0) -> Json:
    """Return a chunk of one choice."""
    delta = {"content": text} if text else {}
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def split(text: str, places: list[int], finish_reason: str) -> list[Json]:
    """Return the chunks of a round whose text is split at these places."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [*(chunk(text[start:end]) for start, end in pairwise(edges)), chunk("", finish_reason)]


def choices_of(server: Rounds, number: int, **body: Any) -> list[tuple[str, str | None]]:
    """Return text and finish reason of each choice of a merged stream."""
    raw = streamed(server, ask(n=number, **body)).raw
    answers = [Answer.of_chunks(raw, index) for index in range(number)]
    return [(answer.text, answer.finish_reason) for answer in answers]


TEXTS = st.text(st.sampled_from("ab \n\t\ufffdé"), max_size=10)


@given(
    texts=st.tuples(TEXTS, TEXTS),
    places=st.tuples(*[st.lists(st.integers(0, 20), max_size=5)] * 2),
    stop=st.sampled_from([{}, {"stop": "ab"}, {"stop": "a b"}, {"stop": "\n"}]),
)
@settings(max_examples=settings.default.max_examples * 4)
def test_texts(texts: tuple[str, str], places: tuple[list[int], list[int]], stop: Json) -> None:
    """Text, end and reason are the same however each round was split."""
    ends = ("length", "stop")
    whole = streamed(Rounds(*(split(text, [], end) for text, end in zip(texts, ends, strict=True))), ask(**stop))
    parts = zip(texts, places, ends, strict=True)
    parted = streamed(Rounds(*(split(text, cuts, end) for text, cuts, end in parts)), ask(**stop))

    assert whole.ending == parted.ending


@given(order=st.permutations([0] * 4 + [1] * 4 + [2] * 4), together=st.booleans())
@settings(max_examples=settings.default.max_examples * 2)
def test_choices(order: list[int], together: bool) -> None:
    """The chunks of several choices may come in any order, or several in a chunk; each has its text and end."""
    words = {index: iter([f"{index}-a ", f"{index}-b ", f"{index}-c", ""]) for index in range(3)}
    pieces = [chunk(word, None if word else "length", index) for index in order for word in [next(words[index])]]
    if together:
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [{**one, "choices": one["choices"] + other["choices"]} for one, other in pairs]

    choices = choices_of(Rounds(pieces, *[[chunk(" and"), chunk(" on", "stop")]] * 3), 3)

    assert [(f"{index}-a {index}-b {index}-c and on", "stop") for index in range(3)] == choices


def test_chunk_of_which_a_part_waits() -> None:
    """If one choice of a chunk is held back, the others are not given twice."""
    both = chunk("One", None, 0)
    both["choices"] += [
        {"index": 1, "delta": {"reasoning_content": "well", "content": "\ufffd"}, "finish_reason": None}
    ]

    choices = choices_of(Rounds([both, chunk("", "stop", 0), chunk("\ufffd two", "stop", 1)]), 2)

    assert choices == [("One", "stop"), ("\ufffd\ufffd two", "stop")]
