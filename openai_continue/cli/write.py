"""Write a long answer to stdout or a file, as it arrives, or continue one in a partly written file."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import openai
from openai.types.chat import ChatCompletionChunk
from rich.console import Console
from rich.live import Live
from rich.text import Text

import openai_continue

from .. import providers
from ..core.characters import without_cut_character
from ..core.jsons import Json
from .resume import Resumption, texts_of

#: Exit codes. WHOLE: the model ended the answer. CUT: something else did. FAILED: no answer. INTERRUPTED: by Ctrl-C.
WHOLE, CUT, FAILED, INTERRUPTED = 0, 3, 1, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to write and where: the command's arguments."""

    prompt: str
    model: str
    base_url: str
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

    start: float = field(default_factory=time.perf_counter)
    #: Chunks with text of the running round; each counts as one token until the server reports usage.
    chunks: int = 0
    #: Output tokens of the rounds that have ended.
    tokens: int = 0
    rounds: int = 1
    #: In USD, if the server reports it (DeepInfra does).
    cost: float = 0.0

    def note(self, done: openai_continue.Round) -> None:
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
    #: The answer's text, kept only if it is printed within the JSON summary.
    text: list[str] = field(default_factory=list[str])


def run(task: Task) -> int:
    """
    Write; return the exit code.

    Raises SettingsError for bad settings, OSError and UnicodeDecodeError for a file that cannot be used.
    """
    key = os.environ.get("DEEPINFRA_API_KEY") or os.environ.get("OPENAI_API_KEY")
    if not key:
        print("No key: set DEEPINFRA_API_KEY (or OPENAI_API_KEY for another base URL).", file=sys.stderr)
        return FAILED
    written = _written(task.output) if task.resume and task.output else ""
    progress = _Progress()
    settings = openai_continue.Continuation.from_env().updated({"on_round": progress.note})
    settings = settings.updated({name: value for name, value in task.budgets.items() if value is not None})
    if task.provider is not None:
        settings = settings.updated({"provider": task.provider})
    client = openai_continue.OpenAI(api_key=key, base_url=task.base_url, continuation=settings)
    end = _End()
    code = FAILED
    try:
        with _Out(task, end) as out, Live(console=Console(stderr=True), transient=True, refresh_per_second=8) as live:
            for text in _texts(task, settings, client, written, end):
                out.write(text)
                progress.chunks += 1
                live.update(progress.line())
        code = WHOLE if end.finish_reason == "stop" else CUT
    except KeyboardInterrupt:
        code = INTERRUPTED
    except openai.OpenAIError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        client.close()
    _summarize(task, end, progress, code)
    return code


def _open(path: Path, mode: Literal["r", "w", "a"]) -> TextIO:
    """Open a file for the answer, with its own line ends and with any character that a server sent."""
    return path.open(mode, encoding="utf-8", errors="surrogatepass", newline="")


def _written(path: Path) -> str:
    """Return the text of a partly written file. Cut off U+FFFD at its end: what a token limit left of a character."""
    with _open(path, "r") as file:
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
        for chunk in stream:
            end.report = getattr(chunk, "continuation", None) or end.report
            end.usage = chunk.usage.to_dict() if chunk.usage is not None else end.usage
            for choice in chunk.choices:
                end.finish_reason = choice.finish_reason or end.finish_reason
            yield chunk.to_dict()


class _Out:
    """Where the text goes: the output file, else stdout. With ``--json`` and no file it is kept for the summary."""

    def __init__(self, task: Task, end: _End) -> None:
        self._task = task
        self._end = end
        self._file: TextIO | None = None

    def __enter__(self) -> _Out:
        if self._task.output is not None:
            mode: Literal["a", "w"] = "a" if self._task.resume else "w"
            self._file = _open(self._task.output, mode)
        elif not self._task.as_json:
            self._file = sys.stdout
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._file is not sys.stdout:
            self._file.close()

    def write(self, text: str) -> None:
        """Write and flush: text that arrived must not be lost with the process."""
        if self._file is None:
            self._end.text.append(text)
        else:
            self._file.write(text)
            self._file.flush()


def _summarize(task: Task, end: _End, progress: _Progress, code: int) -> None:
    stopped_by = end.stopped_by or (end.report["stopped_by"] if end.report else end.finish_reason)
    rounds = len(end.report["rounds"]) if end.report else 1
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
        ended = {WHOLE: "whole", INTERRUPTED: "interrupted", FAILED: "failed"}.get(code, f"cut by {stopped_by}")
        print(f"{ended}: {progress.line().plain}", file=sys.stderr)
        return
    if task.output is None:
        summary["text"] = "".join(end.text)
    print(json.dumps(summary, ensure_ascii=False))
