"""The merged answer: what it has of the first round, of the last one, and the sum of all."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._tables import providers
from tests.support.bodies import ask
from tests.support.driving import DRIVES, Drive, drives, streamed, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut, end, usage
from tests.support.servers import SERVERS


@drives
def test_identity(drive: Drive) -> None:
    """Id, time and model are the first round's; what the last round says of its choice stays."""
    server = Script(cut("one ", stop_reason=None), end("two", stop_reason="END", matched=7))
    answer = drive(server)

    everything = [answer.raw] if drive is whole else answer.raw
    assert {(one["id"], one["created"], one["model"]) for one in everything} == {("id-1", 1, "m")}
    last = everything[-1]["choices"][0]
    assert (last["stop_reason"], last["matched"]) == ("END", 7)
    assert [round_["id"] for round_ in answer.rounds] == ["id-1", "id-2"]
    assert [usage(10, 5)] * 2 == [round_["usage"] for round_ in answer.rounds]


@drives
def test_one_role(drive: Drive) -> None:
    """The role is said once, by the first round, though a later one says it with its text."""
    answer = drive(Script(cut("one "), cut({"role": "assistant", "content": "two "}), end("three")))

    messages = [item.get("message") or item["delta"] for one in listed(answer.raw) for item in one["choices"]]
    assert [message["role"] for message in messages if message.get("role")] == ["assistant"]


class Rounds:
    """Rounds as they come: chunks, or a completion."""

    def __init__(self, *rounds: Any) -> None:
        self._rounds = iter(rounds)

    def chunks(self, _: Any) -> Any:
        return next(self._rounds)

    def completion(self, _: Any) -> Any:
        return next(self._rounds)


def chunk(text: str | None, finish: str | None = None, *, delta: Any = None, top: Any = None, **beside: Any) -> Any:
    """Return a chunk with fields in its delta, at its top, and beside its delta."""
    content = {} if text is None else {"content": text}
    item = {"index": 0, "delta": {**content, **(delta or {})}, "finish_reason": finish, **beside}
    return {"id": "c", "created": 1, "model": "m", **(top or {}), "choices": [item]}


def values_in(chunks: list[Any], name: str) -> list[Any]:
    """Return what the lists of this name hold, over all chunks and at every level."""
    found: list[Any] = []
    for one in chunks:
        for item in one.get("choices") or [{}]:
            for fields in (one, item, item.get("delta") or {}):
                found += fields.get(name) or []
    return found


#: The rounds of a stream with a list "ids" in its chunks, which grows from 1.
LISTS: dict[str, list[Any]] = {
    "beside the text": [
        [chunk("one", ids=[1]), chunk(" two", ids=[2]), chunk(None, "length")],
        [chunk(" three", ids=[3]), chunk(None, "stop")],
    ],
    "an end with text": [[chunk("one", ids=[1]), chunk(" two", "length", ids=[2])], [chunk(" three", "stop", ids=[3])]],
    "an end without text": [
        [chunk("one"), chunk(None, "length", ids=[1])], [chunk("two"), chunk(None, "stop", ids=[2, 3])],
    ],
    "in the delta": [
        [chunk("one", delta={"ids": [1]}), chunk(None, "length", delta={"ids": [2]})],
        [chunk("two", "stop", delta={"ids": [3]})],
    ],
    "at the top": [
        [chunk("one", top={"ids": [1]}), chunk(None, "length")], [chunk("two", top={"ids": [2, 3]}), chunk(None, "stop")],
    ],
    "at the top of an end with text": [
        [chunk("one", "length", top={"ids": [1]})], [chunk(" x", "length", top={"ids": [2]})],
        [chunk("two", "stop", top={"ids": [3]})],
    ],
    "at the top of an end without text": [
        [chunk("one"), chunk(None, "length", top={"ids": [1]})],
        [chunk("two"), chunk(None, "length", top={"ids": [2]})],
        [chunk("three"), chunk(None, "stop", top={"ids": [3]})],
    ],
    "in chunks without choices": [
        [chunk("one"), chunk(None, "length"), {"id": "c", "choices": [], "ids": [1], "usage": usage(1, 1)}],
        [{"id": "d", "choices": [], "ids": [2]}, chunk("two"), chunk(None, "stop"),
         {"id": "d", "choices": [], "ids": [3], "usage": usage(1, 1)}],
    ],
    "of blanks that were held back and came again": [
        [chunk("one", ids=[1]), chunk(" ", ids=[2]), chunk(None, "length")],
        [chunk(" ", ids=[2]), chunk("two", ids=[3]), chunk(None, "stop")],
    ],
    "of a cut character": [
        [chunk("one", ids=[1]), chunk("\ufffd", ids=[7]), chunk(None, "length")],
        [chunk("é", ids=[2, 3]), chunk(None, "stop")],
    ],
    "beside a cut character": [
        [chunk("one", ids=[1]), chunk("\ufffd", ids=[7]), chunk(None, ids=[2]), chunk(None, "length")],
        [chunk("é", ids=[3]), chunk(None, "stop")],
    ],
    "beside thoughts and the answer": [
        [chunk("one", delta={"reasoning_content": "x"}, ids=[1]), chunk(" two", "length", ids=[2])],
        [chunk(" three", "stop", ids=[3])],
    ],
    "of a stop string that was not one": [
        [chunk("one", ids=[1]), chunk(" EN", ids=[2]), chunk(None, "length")], [chunk("!", "stop", ids=[3])],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_streams(name: str) -> None:
    """A list that grows with the text is there once, in order, whichever chunk brings it."""
    answer = streamed(Rounds(*LISTS[name]), ask(stop=["END"]))

    assert answer.ending[1:] == ("stop", "stop")
    assert values_in(answer.raw, "ids") == [1, 2, 3]


def completion(text: str, finish: str, *, message: Any = None, top: Any = None, **beside: Any) -> Any:
    item = {"index": 0, "message": {"role": "assistant", "content": text, **(message or {})}, "finish_reason": finish}
    return {"id": "c", "created": 1, "model": "m", **(top or {}), "choices": [{**item, **beside}]}


#: Of two rounds: the values of a field, and that of the whole answer.
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "lists": ([1], [2, 3], [1, 2, 3]),
    "lists in objects": ({"a": [1], "b": 1}, {"a": [2], "b": 2}, {"a": [1, 2], "b": 2}),
    "lists in one object": ({"a": [1]}, {"b": 2}, {"a": [1], "b": 2}),
    "objects": ({"a": 1, "c": 3}, {"a": 2}, {"a": 2}),
    "numbers": (1, 2, 2),
    "flags": (True, False, False),
    "texts": ("a", "b", "b"),
    "a list, then null": ([1], None, [1]),
    "null, then a list": (None, [1], [1]),
    "an empty list": ([1], [], [1]),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("place", ["message", "top", "beside"])
def test_values_of_whole_answers(name: str, place: str) -> None:
    """At every level lists are joined, and anything else is as the last round has it."""
    values = [{"x": value} for value in VALUES[name]]
    one, other, both = [value if place == "beside" else {place: value} for value in values]
    answer = whole(Rounds(completion("one ", "length", **one), completion("two", "stop", **other))).raw

    assert completion("one two", "stop", **both) == {n: value for n, value in answer.items() if n != "continuation"}


@pytest.mark.parametrize("place", ["top", "beside"])
def test_what_is_said_of_the_prompt(place: str) -> None:
    """Of the prompt, a whole answer and a stream have what the first round says."""
    one, other = [{"prompt_token_ids": ids, "prompt_logprobs": None} for ids in ([1, 2], [1, 2, 3])]
    places = [fields if place == "beside" else {"top": fields} for fields in (one, other)]
    in_whole = whole(Rounds(completion("one ", "length", **places[0]), completion("two", "stop", **places[1])))
    rounds = [[chunk("", **fields), chunk(text), chunk(None, end_)]
              for fields, text, end_ in zip(places, ("one ", "two"), ("length", "stop"), strict=True)]  # fmt: skip
    in_stream = streamed(Rounds(*rounds))

    assert (in_whole.raw if place == "top" else in_whole.raw["choices"][0])["prompt_token_ids"] == [1, 2]
    assert values_in(in_stream.raw, "prompt_token_ids") == [1, 2]


def test_timings() -> None:
    """The last chunk of a stream has the last round's timings."""
    rounds = [[chunk("one", top={"timings": {"n": 1}}), chunk(None, "length", top={"timings": {"n": 2}})],
              [chunk("two", top={"timings": {"n": 3}}), chunk(None, "stop", top={"timings": {"n": 4}})]]  # fmt: skip

    assert [one["timings"]["n"] for one in streamed(Rounds(*rounds)).raw] == [1, 3, 4]


@pytest.mark.parametrize("empty", ["", None, 0])
def test_names_that_come_late(empty: Any) -> None:
    """An id, model, ... is of the first chunk that has one, also if chunks of the first round have none."""
    names = ("id", "created", "model", "system_fingerprint")
    late = {"id": "c1", "created": 5, "model": "m1", "system_fingerprint": "f1"}
    other = {"id": "c2", "created": 6, "model": "m2", "system_fingerprint": "f2"}
    first = {**dict.fromkeys(names, empty), "choices": []}
    rounds = [[first, chunk("", top=dict.fromkeys(names, empty)), chunk("one ", top=late), chunk(None, "length", top=late)],
              [chunk("", top=other), chunk("two", top=other), chunk(None, "stop", top=other)]]  # fmt: skip
    raw = streamed(Rounds(*rounds)).raw

    assert [late] * (len(raw) - 2) == [{name: one[name] for name in names} for one in raw[2:]]


PROMPT = [90, 91]
IDS: dict[str, tuple[list[int], list[int], list[int]]] = {
    "of round one, of the second prompt, and all": ([1, 2, 3], [1, 2], [1, 2, 3, 4]),
    "nothing was held back": ([1, 2, 3], [1, 2, 3], [1, 2, 3, 3, 4]),
    "the template changes the text": ([1, 2, 3], [1, 8], [1, 2, 3, 3, 4]),
    "the text is not in the prompt": ([1, 2, 3, 4, 5, 6], [], [1, 2, 3, 4, 5, 6, 3, 4]),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_of_what_was_held_back(name: str) -> None:
    """If the ids of both prompts are told, those of blanks that came twice are there once."""
    ids, sent, all_ids = IDS[name]
    one = completion("one two  ", "length", top={"prompt_token_ids": PROMPT}, token_ids=ids)
    other = completion("  three", "stop", top={"prompt_token_ids": [*PROMPT, *sent]}, token_ids=[3, 4])
    answer = whole(Rounds(one, other))

    assert answer.text == "one two  three"
    assert all_ids == answer.raw["choices"][0]["token_ids"]


def test_error_beside_the_choices_of_a_later_round() -> None:
    """An error at the top of a later round is a failed round, and not on the merged answer."""
    failed = completion("two", "stop", top={"error": {"code": 502, "message": "x"}})
    answer = whole(Rounds(completion("one ", "length"), failed))

    assert answer.ending == ("one two", "length", "error")
    assert "error" not in answer.raw
    assert (answer.report or {})["error"]["status"] == 502


def listed(raw: Any) -> list[dict[str, Any]]:
    return raw if isinstance(raw, list) else [raw]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("limit", [{}, {"max_tokens": 70}])
def test_whole_and_streamed_agree(name: str, limit: dict[str, int]) -> None:
    """For the same server, a whole answer and a streamed one have the same text, end, usage and report."""
    kind = SERVERS[name]
    body = kind.ask("Both ways.", logprobs=True, **limit)
    in_whole, in_stream = (
        drive(Engine(habits=kind.habits, cap=kind.pattern(20), tokens=90), body, **kind.known) for drive in DRIVES
    )

    if kind.habits.usage == "asked" or (limit and not providers.named(kind.provider).streams_usage):
        # Usage that nobody asked for is not there, and what only the library asked for is hidden.
        in_stream.usage = in_whole.usage
    if kind.habits.thinks:
        # Only a stream parts the logprobs of thoughts from those of the answer.
        in_stream.spelled = in_whole.spelled = None
    assert in_whole.merged == in_stream.merged
    differs = {"id"}
    differs |= {"usage"} if kind.habits.usage == "asked" else set()
    # llama-server repeats the prefill only in whole answers.
    differs |= {"seam"} if kind.provider == "llama.cpp" else set()
    assert [without(differs, one) for one in in_whole.rounds] == [without(differs, one) for one in in_stream.rounds]


def without(names: set[str], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
