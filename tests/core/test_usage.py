"""What was billed: usage summed over all rounds, and asked for only to count a total."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue import providers
from openai_continue.core.usage import add_usage
from tests.support.bodies import ask
from tests.support.driving import DRIVES, rounds_of, streamed
from tests.support.engine import Engine
from tests.support.script import Script, cut, end, usage
from tests.support.servers import SERVERS


def test_usage_is_summed() -> None:
    """Usage is summed field by field, nested and unknown fields too; what one round lacks comes from the other."""
    one = {"prompt_tokens": 1, "details": {"cached": 2, "audio": None}, "cost": 0.5, "tier": "a", "null": None}
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


def test_usage_of_thoughts() -> None:
    """Reasoning tokens are summed too."""
    details = {"completion_tokens_details": {"reasoning_tokens": 7}}
    for drive in DRIVES:
        server = Script(
            cut({"reasoning": "well"}, "one ", usage=usage(10, 5, **details)),
            end("two", usage=usage(12, 3, completion_tokens_details={"reasoning_tokens": 0})),
        )

        assert usage(22, 8, **details) == drive(server, ask(model="Qwen/Qwen3-32B")).usage


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
    """A stream is asked for usage only to count a total, and what comes of our asking is hidden again."""
    body = ask(max_tokens=100, **({} if options is None else {"stream_options": options}))
    engine = Engine("one two three four", habits=SERVERS[row].habits, cap=2)
    answer = streamed(engine, body, provider=row)

    assert "one two three four" == answer.text
    asked = {**(options or {}), "include_usage": True} if injected else options
    # The first continuation asks for usage in every chunk, to see by its first one whether it is a continuation.
    early = (
        {**(options or {}), **providers.named(row).usage_options}
        if providers.named(row).streams_usage is False
        else options
    )
    assert [asked, early, *[asked] * (len(engine.bodies) - 2)] == [sent.get("stream_options") for sent in engine.bodies]
    assert injected == (answer.usage is None)
    assert injected == (not [one for one in answer.raw if "usage" in one])
    assert not injected or all(one["choices"] for one in answer.raw)


def test_usage_that_only_we_asked_for_is_hidden_at_once() -> None:
    """A chunk of nothing but usage that only we asked for does not go out, even before the end of the text."""
    rounds = rounds_of(ask(max_tokens=100, stream=True), "vllm")
    request = rounds.next_request()
    assert request is not None

    assert [] == rounds.feed(request, {"id": "a", "choices": [], "usage": usage(10, 1)})
