"""
At temperature 0 the joined answer equals the one that the same server gives in one piece.

Nothing is simulated: vLLM serves a small trained model, the cap is ``round_tokens``. The model was trained on awkward
text: emoji, CJK and Arabic in byte tokens, tabs, runs of blanks and newlines, code, JSON.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import openai
import pytest
from servers import MODEL

import openai_continue
from openai_continue import Continuation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.engine

WAYS = ("whole", "streamed", "async whole", "async streamed")
CAPS = (16, 48, 203)
#: Both end by themselves, after 327 and 329 tokens.
ENDING = ("List items from 290.", "JSON items from 40.")
#: Both would go on for thousands of tokens.
ENDLESS = ("Write the document.", "List items from 7.")
ENOUGH = 1000
#: Tokens that vLLM's prefix cache takes together, on CPU.
CACHE_BLOCK = 128
#: vLLM lists the end token among the logprobs, though it is in no text.
END_TOKEN = b"<|im_end|>"
#: A character or blanks that the cap cut are written again: three bytes of a character and the blank before it.
MOST_LOST_AT_A_SEAM = 4


@dataclass
class Got:
    """An answer, however it came."""

    texts: dict[int, str]
    finish_reasons: dict[int, str | None]
    usage: Any
    report: dict[str, Any] | None
    #: The tokens' bytes as logprobs tell them, for each choice.
    tokens: dict[int, list[bytes]]

    @property
    def text(self) -> str:
        return self.texts[0]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        assert self.report is not None
        return self.report["rounds"]


def gathered(pieces: list[Any]) -> Got:
    """Read a completion, or the chunks of a stream."""
    got = Got({}, {}, None, None, {})
    for piece in pieces:
        got.usage = piece.usage or got.usage
        got.report = (piece.model_extra or {}).get("continuation") or got.report
        for choice in piece.choices:
            content = (choice.delta if hasattr(choice, "delta") else choice.message).content
            got.texts[choice.index] = got.texts.get(choice.index, "") + (content or "")
            got.finish_reasons[choice.index] = choice.finish_reason or got.finish_reasons.get(choice.index)
            if choice.logprobs is not None:
                news = [bytes(token.bytes) for token in choice.logprobs.content]
                got.tokens[choice.index] = got.tokens.get(choice.index, []) + news
    return got


def ask(client: Any, way: str, prompt: str, **fields: Any) -> Got:
    """Ask in one of the four ways."""
    fields = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
    if way.startswith("async"):
        return asyncio.run(_ask_async(client, fields, streamed=way == "async streamed"))
    with client:
        if way == "streamed":
            return gathered(list(client.chat.completions.create(stream=True, **fields)))
        return gathered([client.chat.completions.create(**fields)])


async def _ask_async(client: Any, fields: dict[str, Any], *, streamed: bool) -> Got:
    async with client:
        if streamed:
            stream = await client.chat.completions.create(stream=True, **fields)
            return gathered([chunk async for chunk in stream])
        return gathered([await client.chat.completions.create(**fields)])


def at_every_cap(one: Callable[[int], Got]) -> list[Got]:
    """Ask at all caps at the same time, which on vLLM takes little longer than at one."""
    with ThreadPoolExecutor(len(CAPS)) as pool:
        return list(pool.map(one, CAPS))


def settings(cap: int) -> Continuation:
    return Continuation(provider="vllm", round_tokens=cap, max_rounds=ENOUGH)


@pytest.fixture
def client(vllm: str) -> Callable[[str, int], Any]:
    """Make a client of the library's own classes for a way and a cap."""

    def make(way: str, cap: int) -> Any:
        classes = {True: openai_continue.AsyncOpenAI, False: openai_continue.OpenAI}
        own = classes[way.startswith("async")]
        return own(base_url=vllm, api_key="none", max_retries=0, timeout=1200, continuation=settings(cap))

    return make


@pytest.fixture
def patched(vllm: str) -> Iterator[Callable[[str, int], Any]]:
    """Make a client of the SDK's classes, patched."""

    def make(way: str, cap: int) -> Any:
        openai_continue.patch(settings(cap))
        classes = {True: openai.AsyncOpenAI, False: openai.OpenAI}
        return classes[way.startswith("async")](base_url=vllm, api_key="none", max_retries=0, timeout=1200)

    yield make
    openai_continue.unpatch()


@pytest.fixture(scope="module")
def uncapped(vllm: str) -> Callable[..., Got]:
    """Ask the same server for an answer in one piece, with logprobs to know its tokens."""

    @functools.cache
    def answer(prompt: str, max_tokens: int = ENOUGH) -> Got:
        plain = openai.OpenAI(base_url=vllm, api_key="none", max_retries=0, timeout=1200)
        with openai_continue.disabled():
            got = ask(plain, "whole", prompt, max_tokens=max_tokens, logprobs=True)
        assert got.report is None
        return got

    return answer


@pytest.mark.parametrize("prompt", ENDING)
@pytest.mark.parametrize("way", WAYS)
def test_joined_answer_equals_the_uncapped_one(way: str, prompt: str, client, uncapped) -> None:
    """Through all four ways, at every cap, to the answer's natural end."""
    expected = uncapped(prompt)

    for cap, got in zip(CAPS, at_every_cap(lambda cap: ask(client(way, cap), way, prompt)), strict=True):
        assert got.text == expected.text, cap
        assert (got.finish_reasons, expected.finish_reasons) == ({0: "stop"}, {0: "stop"})
        assert got.report["stopped_by"] == "stop"
        assert [one["finish_reason"] for one in got.rounds] == ["length"] * (len(got.rounds) - 1) + ["stop"]
        assert len(got.rounds) > len(expected.tokens[0]) // cap


@pytest.mark.parametrize("way", WAYS)
def test_patched_sdk_gives_the_uncapped_answer(way: str, patched, uncapped) -> None:
    """The SDK's own classes, patched, do what the library's classes do."""
    prompt = ENDING[0]
    expected = uncapped(prompt)

    got = ask(patched(way, 48), way, prompt)

    assert (got.text, got.finish_reasons) == (expected.text, {0: "stop"})


@pytest.mark.parametrize("prompt", ENDLESS)
@pytest.mark.parametrize("way", WAYS)
def test_callers_limit_is_a_total(way: str, prompt: str, client, uncapped) -> None:
    """What is billed is what the caller allowed, and all of it is the uncapped answer but for what a seam costs."""
    total = 300
    expected = uncapped(prompt, total)

    for got in at_every_cap(lambda cap: ask(client(way, cap), way, prompt, max_tokens=total)):
        assert got.text == expected.text[: len(got.text)]
        lost = MOST_LOST_AT_A_SEAM * (len(got.rounds) - 1)
        assert len(got.text) >= len(b"".join(expected.tokens[0][: total - lost]).decode(errors="ignore"))
        assert got.finish_reasons == {0: "length"}
        assert got.report["stopped_by"] == "max_tokens"
        assert sum(one["usage"]["completion_tokens"] for one in got.rounds) == total


@pytest.mark.parametrize("way", ["streamed", "async streamed"])
def test_usage_that_only_the_library_wanted_is_hidden(way: str, client) -> None:
    """vLLM streams usage only when asked; the library asks to count the total, the caller did not."""
    got = ask(client(way, 48), way, ENDLESS[0], max_tokens=100)

    assert got.usage is None
    assert [one["usage"]["completion_tokens"] for one in got.rounds] == [48, 48, 4]


@pytest.mark.parametrize("way", ["streamed", "async streamed"])
def test_usage_that_the_caller_asked_for_is_the_sum(way: str, client) -> None:
    """The one usage chunk of the merged stream has what all rounds were billed."""
    got = ask(client(way, 48), way, ENDLESS[0], max_tokens=100, stream_options={"include_usage": True})

    assert got.usage.completion_tokens == 100
    assert got.usage.prompt_tokens == sum(one["usage"]["prompt_tokens"] for one in got.rounds)
    assert got.usage.total_tokens == got.usage.prompt_tokens + 100


@pytest.mark.parametrize("way", ["whole", "async streamed"])
def test_logprobs_are_those_of_the_text(way: str, client, uncapped) -> None:
    """The tokens' bytes, joined, are the text: no second copy of what the model wrote twice at a seam."""
    expected = uncapped(ENDING[0])

    for got in at_every_cap(lambda cap: ask(client(way, cap), way, ENDING[0], logprobs=True)):
        assert b"".join(got.tokens[0]).removesuffix(END_TOKEN).decode() == got.text == expected.text


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_each_of_two_choices_is_continued(way: str, client) -> None:
    """With n=2 both choices go on by themselves and keep an end."""
    got = ask(client(way, 48), way, ENDLESS[0], max_tokens=120, n=2, temperature=0.5, seed=1)

    assert sorted(got.texts) == [0, 1]
    assert all(len(text) > 100 for text in got.texts.values())
    assert got.finish_reasons == {0: "length", 1: "length"}
    assert {one["choice"] for one in got.rounds} == {None, 0, 1}


def test_many_calls_at_once_do_not_mix(vllm: str, uncapped) -> None:
    """Answers of one client that are continued side by side are the answers that each gives alone."""

    async def one(shared: openai.AsyncOpenAI, prompt: str, cap: int) -> str:
        asked = [{"role": "user", "content": prompt}]
        body = {"continuation": {"round_tokens": cap}}
        answer = await shared.chat.completions.create(model=MODEL, messages=asked, temperature=0, extra_body=body)
        return answer.choices[0].message.content

    async def all_() -> list[str]:
        shared = openai_continue.AsyncOpenAI(
            base_url=vllm, api_key="none", max_retries=0, timeout=1200, continuation=settings(48)
        )
        async with shared:
            return await asyncio.gather(*(one(shared, prompt, cap) for prompt in ENDING for cap in CAPS))

    expected = [uncapped(prompt).text for prompt in ENDING for _ in CAPS]

    assert asyncio.run(all_()) == expected


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_prompt_of_the_last_round_is_cached(client: Callable[[str, int], Any], way: str) -> None:
    """What was sent before is sent again to the byte, so that the engine computes none of it twice."""
    got = ask(client(way, 203), way, ENDLESS[0], max_tokens=ENOUGH)
    usages = [one["usage"] for one in got.rounds]

    assert len(usages) == 5
    for before, after in pairwise(usages):
        assert after["prompt_tokens_details"]["cached_tokens"] > before["prompt_tokens"] - CACHE_BLOCK
