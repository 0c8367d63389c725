"""
Never shorter, never dearer than asked: the answer with the library begins with the answer without it.

Fresh examples, and ten times as many: ``pytest tests/live/test_never_worse.py --hypothesis-profile fresh``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._tables import providers
from openai_continue.testing import Habits
from tests.support.answers import Answer, Json, live
from tests.support.bodies import ask
from tests.support.engine import Engine, Wire
from tests.support.ways import DEEPINFRA, OUR_ASYNC, OUR_SYNC, Way

CAPS = (8, 20, 60)
#: Rows of the table that know such a cap, and one that knows none.
NAMES = {
    "max_tokens": ("max_tokens",),
    "max_completion_tokens": ("max_completion_tokens",),
    "both": ("max_completion_tokens", "max_tokens"),
}
ROWS = {
    f"{names}, {cap}": replace(
        providers.named("deepinfra"),
        name=f"{names}, {cap}",
        hosts=(),
        cap=cap,
        limit_names=NAMES[names],
        streams_usage=False,
    )
    for names in NAMES
    for cap in (*CAPS, None)
}
MOST_ROUNDS = 12
# Attempts at a first round that is refused, and rounds that are asked for again with fewer tokens, or without marks.
REPEATED = 8


@pytest.fixture(scope="module", autouse=True)
def _rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, *ROWS.values()))
        yield


@dataclass
class Seen:
    """What came of a call, and what it took."""

    answer: Answer
    error: Exception | None
    requests: int
    tokens: int

    @property
    def ending(self) -> tuple[str, str, str | None]:
        return self.answer.thoughts, self.answer.text, self.answer.finish_reason


def habits() -> st.SearchStrategy[Habits]:
    """Return servers that differ in all that limits an answer."""
    return st.builds(
        Habits,
        refuses_prefill=st.booleans(),
        ignores_prefill=st.sampled_from([False, False, False, True]),
        limit_field=st.sampled_from(["max_tokens", "max_completion_tokens", "both"]),
        default_tokens=st.sampled_from([None, 10]),
        over_cap=st.sampled_from([None, "openai", "deepseek", "pydantic", "between", "nameless", "stream"]),
        usage=st.sampled_from(["finish", "trailing", "both", "asked", "never"]),
        miscounts=st.sampled_from([None, "zeros", "without_thoughts", "half", "double"]),
        refuses_stream_options=st.sampled_from([None, 400, 422]),
        thinks=st.sampled_from([None, None, "reasoning_content", "inline"]),
        template=st.sampled_from(["r1", "qwen3"]),
        think_tokens=st.sampled_from([5, 30]),
        overflow=st.sampled_from([None, "clamp"]),
        ends=st.sampled_from([None, None, "stop", "length"]),
    )


numbers = st.sampled_from([None, 1, 7, 8, 15, 20, 21, 50, 60, 100, 150, 10_000])


def call(way: Way, engine: Engine, client: Any, body: Json, *, streamed: bool) -> Seen:
    """Ask once; note what came."""
    engine.bodies.clear()
    engine.given.clear()
    answer, error = Answer(), None
    try:
        answer = asyncio.run(live(client, body, streamed=streamed))
    except Exception as raised:
        error = raised
    return Seen(answer, error, len(engine.bodies), sum(engine.given))


@settings(max_examples=settings.default.max_examples * 2)
@given(data=st.data(), habits=habits(), cap=st.sampled_from([*CAPS, 10**6]), is_async=st.booleans())
def test_never_worse(data: Any, habits: Habits, cap: int, is_async: bool) -> None:
    """Two calls of one client, the second of which knows what the first one learnt."""
    way = OUR_ASYNC if is_async else OUR_SYNC
    row = f"{habits.limit_field}, {data.draw(st.sampled_from([*CAPS, None]))}"
    model = data.draw(st.sampled_from(["deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-32B"]))
    limits = {"max_tokens": data.draw(numbers), "max_completion_tokens": data.draw(numbers)}
    body = ask("Write 130 tokens.", model=model, **{name: value for name, value in limits.items() if value is not None})
    if data.draw(st.booleans()):
        body["stream_options"] = {"include_usage": True}
    streamed = "stream_options" in body or data.draw(st.booleans())
    engine = Engine(habits=habits, cap=cap, context=data.draw(st.sampled_from([160, 10_000])))
    plain = call(
        way, engine, way.plain_client("http://x/v1", transport=Wire(engine), max_retries=0), body, streamed=streamed
    )
    settings_ = replace(DEEPINFRA, provider=row, max_rounds=MOST_ROUNDS)
    client = way.client("http://x/v1", transport=Wire(engine), continuation=settings_, max_retries=0)
    total = next((limits[name] for name in (*NAMES[habits.limit_field], *limits) if limits[name] is not None), None)
    for _ in range(2):
        ours = call(way, engine, client, body, streamed=streamed)
        check(ours, plain, habits, streamed=streamed)
        if total is not None and plain.error is None:
            assert ours.tokens <= most_tokens(max(total, plain.tokens), habits, streamed=streamed)
    if plain.answer.finish_reason not in (None, "length") and habits.ends is None:
        # What the server refuses of ours is known by now.
        assert (1, plain.tokens) == (ours.requests, ours.tokens)


def check(ours: Seen, plain: Seen, habits: Habits, *, streamed: bool) -> None:
    """Check that the text is no shorter, and that what fails without the library fails as it does there, or not at all."""
    # Who does not know how full the context is asks twice.
    rounds = MOST_ROUNDS if is_told(habits, streamed=streamed) and habits.miscounts is None else 2 * MOST_ROUNDS
    assert ours.requests <= rounds + REPEATED
    if plain.error is not None:
        assert ours.error is None or (type(plain.error), str(plain.error)) == (type(ours.error), str(ours.error))
        return
    assert ours.error is None
    assert ours.answer.text.startswith(plain.answer.text)
    assert ours.answer.thoughts.startswith(plain.answer.thoughts)
    # A cut that is called "stop" may go on.
    goes_on = habits.ends == "stop" and plain.answer.finish_reason == "stop"
    if plain.answer.finish_reason != "length" and (not goes_on or ours.answer.text == plain.answer.text):
        assert plain.ending == ours.ending


def most_tokens(wanted: int, habits: Habits, *, streamed: bool) -> int:
    """Return the most tokens that all rounds may cost if ``wanted`` are wanted: what usage says wrong comes on top."""
    told = is_told(habits, streamed=streamed)
    if told and habits.miscounts in (None, "double"):
        return wanted
    if told and habits.miscounts == "without_thoughts":
        return wanted + (habits.think_tokens if habits.thinks == "reasoning_content" else 0)
    # A count is taken for right if it is half of what the text shows, and a text shows no tags of a think block.
    return 2 * wanted + 8


def is_told(habits: Habits, *, streamed: bool) -> bool:
    """Whether the server reports usage."""
    return habits.usage != "never" and not (habits.usage == "asked" and streamed and habits.refuses_stream_options)
