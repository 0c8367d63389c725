"""The same lines of plain SDK code, run with and without the library, on the emulator or on DeepInfra."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from rich.progress import BarColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table

import openai_continue

from ..testing import Emulator
from .console import Console
from .wrapping import tell

#: DeepInfra's limit, in output tokens.
CAP = 16384

#: Called with each piece of text as it arrives.
Seen: TypeAlias = Callable[[str], None]
#: The text, the last finish_reason, and the object that carries usage and report.
Got: TypeAlias = "tuple[str, str | None, ChatCompletion | ChatCompletionChunk | None]"


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A real server to ask instead of the emulator; the key is read from ``DEEPINFRA_API_KEY``."""

    base_url: str
    model: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, as the SDK code below received it."""

    text: str
    finish_reason: str | None
    #: Output tokens that the server reported.
    tokens: int | None
    requests: int
    seconds: float


# Plain SDK code, printed by the demo. Each function returns what Got describes.


def ask(base_url: str, api_key: str, model: str, prompt: str, seen: Seen) -> Got:
    """Ask for a whole answer."""
    with openai.OpenAI(base_url=base_url, api_key=api_key) as client:
        completion = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], temperature=0
        )
        text = completion.choices[0].message.content or ""
        seen(text)
        return text, completion.choices[0].finish_reason, completion


def ask_stream(base_url: str, api_key: str, model: str, prompt: str, seen: Seen) -> Got:
    """Ask for a stream."""
    with openai.OpenAI(base_url=base_url, api_key=api_key) as client:
        text, finish_reason, chunk = "", None, None
        for chunk in client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], temperature=0, stream=True
        ):
            for choice in chunk.choices:
                seen(choice.delta.content or "")
                text += choice.delta.content or ""
                finish_reason = choice.finish_reason or finish_reason
        return text, finish_reason, chunk


async def aask(base_url: str, api_key: str, model: str, prompt: str, seen: Seen) -> Got:
    """Ask for a whole answer, async."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        completion = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], temperature=0
        )
        text = completion.choices[0].message.content or ""
        seen(text)
        return text, completion.choices[0].finish_reason, completion


async def aask_stream(base_url: str, api_key: str, model: str, prompt: str, seen: Seen) -> Got:
    """Ask for a stream with the async client and read it to its end. ``seen`` counts the requests."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        text, finish_reason, chunk = "", None, None
        async for chunk in await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], temperature=0, stream=True
        ):
            for choice in chunk.choices:
                seen(choice.delta.content or "")
                text += choice.delta.content or ""
                finish_reason = choice.finish_reason or finish_reason
        return text, finish_reason, chunk


def run(*, stream: bool, asynchronous: bool, tokens: int, live: LiveServer | None) -> int:
    """
    Run the demo; return 0 if the continued text is the text that an uncapped server would have written.

    Nobody knows that text on a live server. The demo then returns 0 if the continued answer ends by itself and begins
    with the cut one.
    """
    console = Console()
    asking: Any = (aask_stream if stream else aask) if asynchronous else (ask_stream if stream else ask)
    api_key = "no key needed" if live is None else os.environ.get("DEEPINFRA_API_KEY", "")
    if not api_key:
        console.print("DEEPINFRA_API_KEY is not set; --live needs a key from https://deepinfra.com/dash/api_keys")
        return 2
    console.print(Syntax(inspect.getsource(asking), "python", background_color="default", word_wrap=True))
    model = "emulated-model" if live is None else live.model
    prompt = f"Write a document of about {tokens} tokens."
    try:
        with _server(tokens, live) as (base_url, uncapped):
            truth = uncapped(model, prompt)
            asked = functools.partial(asking, base_url, api_key, model, prompt)
            without = _measure(console, asked, tokens, patched=False)
            continued = _measure(console, asked, tokens, patched=True)
    except openai.OpenAIError as error:
        tell(f"{type(error).__name__}: {error}")
        return 1
    _show(console, without, continued, truth)
    if truth is not None:
        return 0 if continued.text == truth else 1
    return 0 if continued.text.startswith(without.text) and continued.finish_reason == "stop" else 1


@contextlib.contextmanager
def _server(
    tokens: int, live: LiveServer | None
) -> Generator[tuple[str, Callable[[str, str], str | None]], None, None]:
    """Yield the base URL, and a function that returns the uncapped text, or None if it is not known."""
    if live is not None:
        yield live.base_url, lambda _model, _prompt: None
        return
    with Emulator(cap=CAP, tokens=tokens) as emulator:

        def uncapped(model: str, prompt: str) -> str:
            return emulator.uncapped({"model": model, "messages": [{"role": "user", "content": prompt}]})

        yield emulator.base_url, uncapped


def _measure(
    console: Console, asked: Callable[[Seen], Got | Coroutine[Any, Any, Got]], tokens: int, *, patched: bool
) -> Outcome:
    """Ask once, and show a bar of tokens and rounds meanwhile."""
    columns = (
        TextColumn("{task.description:>7}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f} tokens, round {task.fields[round]}"),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        bar = progress.add_task("with" if patched else "without", total=tokens, round=1)
        counted = {"characters": 0, "tokens": 0, "rounds": 0}

        def seen(text: str) -> None:
            # Servers report tokens at the end of a round; until then, count four characters as one token.
            counted["characters"] += len(text)
            progress.update(bar, completed=max(counted["tokens"], min(counted["characters"] // 4, tokens)))

        def on_round(done: openai_continue.Round) -> None:
            counted["tokens"] += (done.usage or {}).get("completion_tokens", 0)
            counted["rounds"] += 1
            more = done.finish_reason == "length"
            progress.update(bar, completed=counted["tokens"], round=counted["rounds"] + more)

        if patched:
            openai_continue.patch(openai_continue.Continuation(provider="deepinfra", on_round=on_round))
        start = time.perf_counter()
        try:
            answer = asked(seen)
            text, finish_reason, last = answer if isinstance(answer, tuple) else asyncio.run(answer)
        finally:
            openai_continue.unpatch()
        seconds = time.perf_counter() - start
        used = last.usage.completion_tokens if last is not None and last.usage is not None else None
        progress.update(bar, completed=used or counted["tokens"])
    report = getattr(last, "continuation", None)
    return Outcome(text, finish_reason, used, len(report["rounds"]) if report else 1, seconds)


def _show(console: Console, without: Outcome, continued: Outcome, truth: str | None) -> None:
    table = Table()
    table.add_column("openai_continue")
    table.add_column("without", justify="right")
    table.add_column("with", justify="right")
    both = (without, continued)
    table.add_row("finish_reason", *(str(answer.finish_reason) for answer in both))
    table.add_row("tokens", *("unknown" if answer.tokens is None else f"{answer.tokens:,}" for answer in both))
    table.add_row("characters", *(f"{len(answer.text):,}" for answer in both))
    table.add_row("requests", *(str(answer.requests) for answer in both))
    table.add_row("seconds", *(f"{answer.seconds:.2f}" for answer in both))
    if truth is None:
        same = "yes" if continued.text.startswith(without.text) else "no (the model does not repeat itself)"
        table.add_row("begins like the one without", "", same)
    else:
        table.add_row(
            "equals the uncapped text", *("yes" if one.text == truth else "no" for one in (without, continued))
        )
    console.print(table)
