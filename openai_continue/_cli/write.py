"""Write a long answer to stdout or a file, as it arrives, or continue one in a partly written file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk
from rich.console import Console
from rich.live import Live
from rich.text import Text

import openai_continue

from .. import switches
from .._core.json import Json
from .._core.text.characters import without_cut_character
from .._sdk.activation import from_environment
from .._sdk.errors import invalid_response, reading_errors, transport_error
from .._tables import providers
from .._tables.families import is_closed
from .output import READER_GONE, Filed, Kept, NotWrittenError, Output, Printed
from .resume import Resumption, texts_of
from .server import Server

#: Exit codes. WHOLE: the model ended the answer. CUT: something else did. FAILED: there is none, or none was written.
WHOLE, CUT, FAILED = 0, 3, 1
#: What is added to the number of a signal that ended the command: 130 after Ctrl-C, 143 after SIGTERM.
SIGNALLED = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to write and where: the command's arguments."""

    prompt: str
    model: str
    server: Server
    system: str | None = None
    provider: str | None = None
    output: Path | None = None
    resume: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    #: Fields of Continuation; None leaves them as the environment has them.
    budgets: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    as_json: bool = False


@dataclass(slots=True)
class _Progress:
    """The progress line on stderr."""

    output: Output
    start: float = field(default_factory=time.perf_counter)
    #: Chunks with text of the running round; each counts as one token until the server reports usage.
    chunks: int = 0
    #: Output tokens of the rounds that have ended.
    tokens: int = 0
    rounds: int = 1
    #: In USD, if the server reports it (DeepInfra does).
    cost: float = 0.0

    def note(self, done: openai_continue.Round) -> None:
        if done.finish_reason is not None:
            # If it cannot be done, it is tried again at the end.
            with contextlib.suppress(NotWrittenError):
                self.output.accept()
        usage = done.usage or {}
        tokens, cost = usage.get("completion_tokens"), usage.get("estimated_cost")
        self.tokens += tokens if isinstance(tokens, int) else self.chunks
        self.cost += cost if isinstance(cost, float) else 0.0
        self.rounds += done.finish_reason == "length"
        self.chunks = 0

    def line(self) -> Text:
        tokens, seconds = self.tokens + self.chunks, time.perf_counter() - self.start
        cost = f", {self.cost:.6f} USD" if self.cost else ""
        return Text(f"{tokens:,} tokens, round {self.rounds}, {tokens / max(seconds, 0.001):,.0f} tokens/s{cost}")


@dataclass(slots=True)
class _End:
    """How the answer ended, as far as the chunks have said."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    #: Set if the resumed text could not be continued to an end of the server's.
    stopped_by: str | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the server, or a limit of the caller's, ended the answer, and no error did."""
        return self.finish_reason is not None and not (self.report or {}).get("error")


class _Signalled(BaseException):
    """A signal that ends the command."""

    def __init__(self, number: int) -> None:
        self.number = number


def run(task: Task) -> int:
    """
    Write; return the exit code.

    Raises SettingsError for bad settings, OSError and UnicodeDecodeError for a file that cannot be used.
    """
    settings = from_environment().updated({name: value for name, value in task.budgets.items() if value is not None})
    if task.provider is not None:
        settings = settings.updated({"provider": task.provider})
    written = _written(task.output) if task.resume and task.output else ""
    output = _output(task)
    progress, end, code = _Progress(output), _End(), FAILED
    asks = settings.updated({"on_round": progress.note})
    key, base_url = task.server.key, task.server.base_url
    try:
        with _signals_raise(), openai_continue.OpenAI(api_key=key, base_url=base_url, continuation=asks) as client:
            _write(_texts(task, settings, client, written, end), output, progress)
            if end.is_answer:
                output.accept()
        code = WHOLE if end.finish_reason == "stop" else CUT
    except (KeyboardInterrupt, _Signalled) as error:
        code = SIGNALLED + (error.number if isinstance(error, _Signalled) else signal.SIGINT)
    except openai.OpenAIError as error:
        print(task.server.said(error), file=sys.stderr)
    except NotWrittenError as error:
        print(error, file=sys.stderr)
        code = READER_GONE if isinstance(error.__cause__, BrokenPipeError) else FAILED
    finally:
        output.close()
        for note in output.notes:
            print(note, file=sys.stderr)
    _summarize(task, settings, end, progress, code)
    return code


def _output(task: Task) -> Output:
    if task.output is not None:
        return Filed(task.output, appends=task.resume)
    return Kept() if task.as_json else Printed()


def _write(texts: Iterator[str], output: Output, progress: _Progress) -> None:
    """Write the text as it arrives, and show on the terminal how far it is, if that cannot run into the text."""
    shows = output.is_apart and sys.stderr.isatty()
    live = (
        Live(console=Console(stderr=True), transient=True, refresh_per_second=8, redirect_stdout=False)
        if shows
        else None
    )
    with live or contextlib.nullcontext():
        for text in texts:
            output.write(text)
            progress.chunks += 1
            if live is not None:
                live.update(progress.line())


@contextlib.contextmanager
def _signals_raise() -> Generator[None, None, None]:
    """Let the signals that would end the process raise _Signalled, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Signalled(number)

    named = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored, as under nohup, stays so.
    ours = [one for one in named if signal.getsignal(one) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for one in ours:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


def _written(path: Path) -> str:
    """Return the text of a partly written file. Cut off U+FFFD at its end: what a token limit left of a character."""
    with path.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
        text = file.read()
    kept = without_cut_character(text)
    if kept != text:
        os.truncate(path, len(kept.encode("utf-8", "surrogatepass")))
    return kept


def _texts(
    task: Task, settings: openai_continue.Continuation, client: openai.OpenAI, written: str, end: _End
) -> Generator[str, None, None]:
    """Yield the text to write."""
    request = _request(task)
    if not written:
        yield from texts_of(_ask(client, request, end))
        return
    row = providers.chosen(settings.provider, client.base_url.host, client.base_url.path)
    resumption = Resumption(written, request, row, settings.trims)
    yield from resumption.texts(lambda asked: _ask(client, asked, end))
    if resumption.stopped_by is not None:
        end.finish_reason, end.stopped_by = "length", resumption.stopped_by


def _request(task: Task) -> Json:
    """Return the arguments of ``create()``."""
    messages: list[Json] = [{"role": "system", "content": task.system}] if task.system else []
    request: Json = {"model": task.model, "messages": [*messages, {"role": "user", "content": task.prompt}]}
    if task.max_tokens is not None:
        request["max_tokens"] = task.max_tokens
    if task.temperature is not None:
        request["temperature"] = task.temperature
    return request


def _ask(client: openai.OpenAI, request: Json, end: _End) -> Generator[Json, None, None]:
    """Send a request; yield its chunks as JSON objects, and note in ``end`` how they end."""
    stream: openai.Stream[ChatCompletionChunk] = client.chat.completions.create(**request, stream=True)
    with stream:
        for chunk in _chunks(stream):
            end.report = getattr(chunk, "continuation", None) or end.report
            end.usage = chunk.usage.to_dict() if chunk.usage is not None else end.usage
            for choice in chunk.choices:
                end.finish_reason = choice.finish_reason or end.finish_reason
            yield chunk.to_dict()


def _chunks(stream: openai.Stream[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    """Yield the chunks of a stream. What breaks it is raised as the SDK's error, by whatever it was noticed."""
    try:
        yield from stream
    except openai.OpenAIError:
        raise
    except reading_errors(stream.response) as error:
        raise transport_error(error, stream.response) from error
    except ValueError as error:
        raise invalid_response(stream.response) from error


def _why_cut(task: Task, settings: openai_continue.Continuation, end: _End) -> Iterator[str]:
    """Yield why an answer that was cut was not continued, if nothing was tried, and what to do."""
    if end.finish_reason != "length" or end.report is not None or task.resume:
        return
    row = task.server.row if settings.provider is None else providers.named(settings.provider)
    if switches.killed():
        yield f"{switches.VARIABLE} switches continuation off. Unset it."
    elif row is None:
        yield (
            f"{task.server.host} is in no row of the provider table, so its answer was not continued. Name the row of "
            f"its server, such as --provider vllm, or set {switches.VARIABLE}_PROVIDER. openai-continue doctor "
            f"--base-url URL --model MODEL finds it out."
        )
    elif not row.continues or is_closed(task.model, resold=row.resells):
        yield f"{task.model} at {task.server.host} continues no answers, so this one was not continued."
    elif task.max_tokens is not None:
        yield f"--max-tokens {task.max_tokens} ended the answer."


def _summarize(task: Task, settings: openai_continue.Continuation, end: _End, progress: _Progress, code: int) -> None:
    stopped_by = end.stopped_by or (end.report["stopped_by"] if end.report else end.finish_reason)
    if code == CUT:
        for why in _why_cut(task, settings, end):
            print(why, file=sys.stderr)
    rounds = len(end.report["rounds"]) if end.report else progress.rounds
    summary: dict[str, Any] = {
        "finish_reason": end.finish_reason,
        "stopped_by": stopped_by,
        "rounds": rounds,
        "usage": end.usage,
        "seconds": round(time.perf_counter() - progress.start, 3),
        "output": None if task.output is None else str(task.output),
        "exit_code": code,
    }
    if not task.as_json:
        by = f"by {stopped_by}" if stopped_by else "off, for the stream has no end"
        ended = {WHOLE: "whole", CUT: f"cut {by}", FAILED: "failed", READER_GONE: "not written"}.get(
            code, "interrupted"
        )
        print(f"{ended}: {progress.line().plain}", file=sys.stderr)
        return
    if isinstance(progress.output, Kept):
        summary["text"] = "".join(progress.output.texts)
    print(json.dumps(summary))
