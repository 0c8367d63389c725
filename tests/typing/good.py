"""What users write. No type checker finds an error here."""

from __future__ import annotations

import asyncio

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import openai_continue
from openai_continue import (
    AsyncOpenAI,
    Continuation,
    ErrorReport,
    OpenAI,
    PromptTokens,
    Report,
    Round,
    SeamReport,
    SettingsError,
    report_of,
)

MODEL = "deepseek-ai/DeepSeek-V3.2"


def note(done: Round) -> None:
    """Take each round of an answer."""
    tokens: int = (done.usage or {}).get("completion_tokens", 0)
    seam: SeamReport | None = done.seam
    print(done.id, done.request_id, done.choice, done.finish_reason, tokens, 0 if seam is None else seam.held_back)


SETTINGS = Continuation(
    provider="vllm",
    round_tokens=4096,
    max_tokens=None,
    max_cost=0.5,
    trims=None,
    journal="answers",
    continue_tool_calls="hermes",
    progress="always",
    on_round=note,
)


def switch() -> str:
    """Switch continuation on and off."""
    openai_continue.patch()
    openai_continue.patch(SETTINGS)
    patched: bool = openai_continue.is_patched()
    openai_continue.unpatch()
    try:
        changed: Continuation = SETTINGS.updated({"max_rounds": 3})
    except SettingsError as error:
        return str(error)
    return f"{openai_continue.__version__} {patched} {changed.max_rounds}"


def read(answer: ChatCompletion | ChatCompletionChunk) -> int:
    """Read the report."""
    found = report_of(answer)
    if found is None:
        return 0
    report: Report = found
    failed: ErrorReport | None = report.error
    prompts: PromptTokens = report.prompt_tokens
    if failed is not None and failed.status == 429:
        return failed.status
    last: str | None = report.rounds[-1].finish_reason
    print(report.stopped_by, report.usage, prompts.first, prompts.last, last)
    return len(report.rounds) - report.resumed


def ask(client: openai.OpenAI) -> str | None:
    """Ask with a client of the SDK, or with one of ours."""
    whole = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Write."}])
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Write."}],
        stream=True,
        extra_body={"continuation": {"max_rounds": 3}},
    )
    for chunk in stream:
        read(chunk)
    return whole.choices[0].message.content if read(whole) else None


def clients() -> OpenAI:
    """Make clients that continue."""
    plain: OpenAI = OpenAI()
    keyed = OpenAI(api_key=lambda: "key", base_url="https://api.deepinfra.com/v1/openai", timeout=60, max_retries=3)
    client = OpenAI(
        api_key="key",
        base_url="http://127.0.0.1:8000/v1",
        timeout=openai.Timeout(60, connect=5),
        default_headers={"x-mine": "yes"},
        http_client=openai.DefaultHttpxClient(),
        continuation=SETTINGS,
    )
    OpenAI(continuation=False).close()
    print(ask(plain), ask(keyed))
    copied: OpenAI = client.with_options(continuation=False, timeout=5).copy(continuation=SETTINGS, max_retries=0)
    with copied as entered:
        print(ask(entered.with_options(timeout=3)))
    return client.with_options(continuation=None)


async def asynchronous() -> None:
    """Do the same with the async client."""

    async def key() -> str:
        return "key"

    async with AsyncOpenAI(api_key=key, http_client=openai.DefaultAsyncHttpxClient(), continuation=True) as client:
        copied: AsyncOpenAI = client.with_options(continuation=SETTINGS, default_query={"a": 1})
        async with openai_continue.disabled():
            whole = await copied.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Write."}])
        text: str | None = whole.choices[0].message.content
        stream = await copied.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Write."}], stream=True
        )
        async for chunk in stream:
            print(read(chunk), text)


class Mine(OpenAI):
    """A subclass, whose copies are of its own class."""

    def copied(self) -> Mine:
        """Return a copy."""
        return self.with_options(timeout=1)


def main() -> None:
    """Run it all."""
    with openai_continue.disabled():
        print(switch(), clients(), ask(openai.OpenAI()), Mine(continuation=SETTINGS).copied())
    asyncio.run(asynchronous())
