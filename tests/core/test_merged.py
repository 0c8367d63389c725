"""The merged answer: what it has of the first round, of the last one, and the sum of all."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue import providers
from tests.support.driving import DRIVES, Drive, drives, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut, end, usage
from tests.support.servers import SERVERS


@drives
def test_identity(drive: Drive) -> None:
    """Id, time and model are the first round's; what the last round says of its choice stays."""
    server = Script(cut("one ", stop_reason=None), end("two", stop_reason="END", matched=7))
    answer = drive(server)

    everything = [answer.raw] if drive is whole else answer.raw
    assert {("id-1", 1, "m")} == {(one["id"], one["created"], one["model"]) for one in everything}
    last = everything[-1]["choices"][0]
    assert ("END", 7) == (last["stop_reason"], last["matched"])
    assert ["id-1", "id-2"] == [round_["id"] for round_ in answer.rounds]
    assert [usage(10, 5)] * 2 == [round_["usage"] for round_ in answer.rounds]


@drives
def test_one_role(drive: Drive) -> None:
    """The role is said once, by the first round, though a later one says it with its text."""
    answer = drive(Script(cut("one "), cut({"role": "assistant", "content": "two "}), end("three")))

    messages = [item.get("message") or item["delta"] for one in listed(answer.raw) for item in one["choices"]]
    assert ["assistant"] == [message["role"] for message in messages if message.get("role")]


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
