"""Write a long answer to stdout or a file, as it arrives."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

import openai_continue

from .. import switches
from .._sdk.activation import from_environment
from .._sdk.errors import invalid_response, reading_errors, transport_error
from .._tables import providers
from .._tables.families import is_closed
from ..errors import SettingsError
from .output import READER_GONE, Filed, Kept, NotWrittenError, Output, Printed
from .server import Server
from .wrapping import tell

_logger = logging.getLogger("openai_continue")

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
    output: Path | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    #: Fields of Continuation; None leaves them as the environment has them.
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    as_json: bool = False


@dataclass(slots=True)
class _Counts:
    """What has come so far."""

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

    def line(self) -> str:
        tokens, seconds = self.tokens + self.chunks, time.perf_counter() - self.start
        cost = f", {self.cost:.6f} USD" if self.cost else ""
        return f"{tokens:,} tokens, round {self.rounds}, {tokens / max(seconds, 0.001):,.0f} tokens/s{cost}"


@dataclass(slots=True)
class _End:
    """How the answer ended, as far as the chunks have said."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    report: dict[str, Any] | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the server, or a limit of the caller's, ended the answer, and no error did."""
        return self.finish_reason is not None and not (self.report or {}).get("error")


class _Noted(logging.Handler):
    """Keeps what the library logs until the answer has ended: it would run into the bar, or into the text."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._notes.append(record.getMessage())


class _Signalled(BaseException):
    """A signal that ends the command."""

    def __init__(self, number: int) -> None:
        self.number = number


def run(task: Task) -> int:
    """
    Write; return the exit code.

    Raises SettingsError for bad settings, OSError for a file that cannot be used.
    """
    settings = from_environment().updated({name: value for name, value in task.settings.items() if value is not None})
    left_alone = _left_alone(task, settings, "is not kept")
    if task.settings.get("journal") is not None and left_alone is not None:
        msg = f"--journal: {left_alone}"
        raise SettingsError(msg)
    output = _output(task)
    counts, end, code = _Counts(output), _End(), FAILED
    # A bar could run into a text that may be on the same terminal.
    progress = output.is_apart and (settings.progress or True)
    asks = settings.updated({"on_round": counts.note, "progress": progress})
    key, base_url = task.server.key, task.server.base_url
    noted = _Noted(output.notes)
    _logger.addHandler(noted)
    try:
        with _signals_raise(), openai_continue.OpenAI(api_key=key, base_url=base_url, continuation=asks) as client:
            with contextlib.closing(_texts(client, task, end)) as texts:
                for text in texts:
                    output.write(text)
                    counts.chunks += 1
            if end.is_answer:
                output.accept()
        code = WHOLE if end.finish_reason == "stop" else CUT
    except (KeyboardInterrupt, _Signalled) as error:
        code = SIGNALLED + (error.number if isinstance(error, _Signalled) else signal.SIGINT)
    except openai.OpenAIError as error:
        tell(task.server.said(error))
    except NotWrittenError as error:
        tell(str(error))
        code = READER_GONE if isinstance(error.__cause__, BrokenPipeError) else FAILED
    finally:
        _logger.removeHandler(noted)
        output.close()
        for note in output.notes:
            tell(note)
    _summarize(task, settings, end, counts, code)
    return code


def _output(task: Task) -> Output:
    if task.output is not None:
        return Filed(task.output)
    return Kept() if task.as_json else Printed()


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


def _request(task: Task) -> dict[str, Any]:
    """Return the arguments of ``create()``."""
    messages: list[dict[str, str]] = [{"role": "system", "content": task.system}] if task.system else []
    request: dict[str, Any] = {"model": task.model, "messages": [*messages, {"role": "user", "content": task.prompt}]}
    if task.max_tokens is not None:
        request["max_tokens"] = task.max_tokens
    if task.temperature is not None:
        request["temperature"] = task.temperature
    return request


def _texts(client: openai.OpenAI, task: Task, end: _End) -> Generator[str, None, None]:
    """Send the request; yield the text as it arrives, and note in ``end`` how it ends."""
    stream: openai.Stream[ChatCompletionChunk] = client.chat.completions.create(**_request(task), stream=True)
    with stream:
        for chunk in _chunks(stream):
            end.report = getattr(chunk, "continuation", None) or end.report
            end.usage = chunk.usage.to_dict() if chunk.usage is not None else end.usage
            for choice in chunk.choices:
                end.finish_reason = choice.finish_reason or end.finish_reason
                if choice.delta.content:
                    yield choice.delta.content


def _chunks(stream: openai.Stream[ChatCompletionChunk]) -> Iterator[ChatCompletionChunk]:
    """Yield the chunks of a stream. Whatever breaks it is raised as the SDK's error."""
    try:
        yield from stream
    except openai.OpenAIError:
        raise
    except reading_errors(stream.response) as error:
        raise transport_error(error, stream.response) from error
    except ValueError as error:
        raise invalid_response(stream.response) from error


def _why_cut(task: Task, settings: openai_continue.Continuation, end: _End) -> str | None:
    """Return why an answer that was cut was not continued, and what to do, or None if it was."""
    if end.finish_reason != "length" or end.report is not None:
        return None
    by_limit = None if task.max_tokens is None else f"--max-tokens {task.max_tokens} ended the answer."
    return _left_alone(task, settings, "was not continued") or by_limit


def _left_alone(task: Task, settings: openai_continue.Continuation, result: str) -> str | None:
    """Return why the library leaves this answer alone, and what to do, or None. ``result``: what follows from it."""
    row = task.server.row if settings.provider is None else providers.named(settings.provider)
    if switches.killed():
        return f"{switches.VARIABLE} switches continuation off. Unset it."
    if row is None:
        return (
            f"{task.server.host} is in no row of the provider table, so its answer {result}. Name the row of its "
            f"server, such as --provider vllm, or set {switches.VARIABLE}_PROVIDER. openai-continue doctor --base-url "
            "URL --model MODEL finds it out."
        )
    if not row.continues or is_closed(task.model, resold=row.resells):
        return f"{task.model} at {task.server.host} continues no answers, so this one {result}."
    return None


def _summarize(task: Task, settings: openai_continue.Continuation, end: _End, counts: _Counts, code: int) -> None:
    stopped_by = end.report["stopped_by"] if end.report else end.finish_reason
    if code == CUT and (why := _why_cut(task, settings, end)) is not None:
        tell(why)
    rounds = len(end.report["rounds"]) if end.report else counts.rounds
    summary: dict[str, Any] = {
        "finish_reason": end.finish_reason,
        "stopped_by": stopped_by,
        "rounds": rounds,
        "usage": end.usage,
        "seconds": round(time.perf_counter() - counts.start, 3),
        "output": None if task.output is None else str(task.output),
        "exit_code": code,
    }
    if not task.as_json:
        by = f"by {stopped_by}" if stopped_by else "off, for the stream has no end"
        ended = {WHOLE: "whole", CUT: f"cut {by}", FAILED: "failed", READER_GONE: "not written"}.get(
            code, "interrupted"
        )
        tell(f"{ended}: {counts.line()}")
        return
    if isinstance(counts.output, Kept):
        summary["text"] = "".join(counts.output.texts)
    print(json.dumps(summary))
