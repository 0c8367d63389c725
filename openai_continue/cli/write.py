"""Long answers from the shell: streamed to stdout or a file as they arrive, and resumed from a partly written one."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import openai
from openai.types.chat import ChatCompletionChunk
from rich.console import Console
from rich.live import Live
from rich.text import Text

import openai_continue

from .. import providers
from ..core import seam

#: Exit codes: the model ended by itself; it did not; the request failed; Ctrl-C.
WHOLE, CUT, FAILED, INTERRUPTED = 0, 3, 1, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to write, and where."""

    prompt: str
    model: str
    base_url: str
    system: str | None = None
    provider: str | None = None
    output: Path | None = None
    resume: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    as_json: bool = False


@dataclass(slots=True)
class _Progress:
    """What the line on stderr shows."""

    start: float = field(default_factory=time.perf_counter)
    chunks: int = 0
    tokens: int = 0
    rounds: int = 1
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


def run(task: Task) -> int:
    """Write; return the exit code."""
    key = os.environ.get("DEEPINFRA_API_KEY") or os.environ.get("OPENAI_API_KEY")
    if not key:
        print("No key: set DEEPINFRA_API_KEY (or OPENAI_API_KEY for another base URL).", file=sys.stderr)
        return FAILED
    written = task.output.read_text(encoding="utf-8") if task.resume and task.output else ""
    progress = _Progress()
    settings = openai_continue.Continuation.from_env().updated({"on_round": progress.note})
    if task.provider is not None:
        settings = settings.updated({"provider": task.provider})
    client = openai_continue.OpenAI(api_key=key, base_url=task.base_url, continuation=settings)
    request, held = _request(task, settings, client, written)
    end = _End()
    code = FAILED
    try:
        with _Out(task, end) as out, Live(console=Console(stderr=True), transient=True, refresh_per_second=8) as live:
            stream = cast("openai.Stream[ChatCompletionChunk]", client.chat.completions.create(**request))
            with stream:
                for text in _new_text(_texts(stream, end), held):
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
    _tell(task, end, progress, code)
    return code


@dataclass(slots=True)
class _End:
    """How the stream ended."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    text: list[str] = field(default_factory=list[str])


def _request(
    task: Task, settings: openai_continue.Continuation, client: openai.OpenAI, written: str
) -> tuple[dict[str, Any], str]:
    """Return the request, and the end of the written text that the model is to write again."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": task.system}] if task.system else []
    messages.append({"role": "user", "content": task.prompt})
    request: dict[str, Any] = {"model": task.model, "messages": messages, "stream": True}
    if task.max_tokens is not None:
        request["max_tokens"] = task.max_tokens
    if task.temperature is not None:
        request["temperature"] = task.temperature
    held = ""
    if written:
        row = (
            providers.named(settings.provider)
            if settings.provider is not None
            else providers.at_address(client.base_url.host, client.base_url.path)
        )
        trims = settings.trims if settings.trims is not None else providers.trims(task.model)
        held = seam.held_whitespace(written, trims=trims)
        beginning = {"role": "assistant", "content": written[: len(written) - len(held)]}
        messages.append({**beginning, **(row.message_marks if row else {})})
        request["extra_body"] = dict(row.body_marks) if row else {}
    return request, held


class _Out:
    """The file that grows with the answer, or stdout; with ``--json`` and no file, nothing but the text kept."""

    def __init__(self, task: Task, end: _End) -> None:
        self._task = task
        self._end = end
        self._file: TextIO | None = None

    def __enter__(self) -> _Out:
        if self._task.output is not None:
            # newline="": the model's own line ends.
            mode: Literal["a", "w"] = "a" if self._task.resume else "w"
            self._file = self._task.output.open(mode, encoding="utf-8", errors="surrogatepass", newline="")
        elif not self._task.as_json:
            self._file = sys.stdout
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._file is not sys.stdout:
            self._file.close()

    def write(self, text: str) -> None:
        """Write at once: what was shown is not lost with the process."""
        if self._file is None:
            self._end.text.append(text)
        else:
            self._file.write(text)
            self._file.flush()


def _texts(stream: openai.Stream[ChatCompletionChunk], end: _End) -> Iterator[str]:
    for chunk in stream:
        end.report = getattr(chunk, "continuation", None) or end.report
        end.usage = chunk.usage.to_dict() if chunk.usage is not None else end.usage
        for choice in chunk.choices:
            end.finish_reason = choice.finish_reason or end.finish_reason
            if choice.delta.content:
                yield choice.delta.content


def _new_text(texts: Iterator[str], held: str) -> Iterator[str]:
    """Drop from a resumed text what the file has already."""
    opening = ""
    joint = seam.Seam(held=held, trims="\n" in held)
    for text in texts:
        opening += text
        copy = joint.copied(opening, ended=False)
        if isinstance(copy, int):
            yield opening[copy:]
            yield from texts
            return
    copy = joint.copied(opening, ended=True)
    if opening and isinstance(copy, int):
        yield opening[copy:]


def _tell(task: Task, end: _End, progress: _Progress, code: int) -> None:
    stopped_by = end.report["stopped_by"] if end.report else end.finish_reason
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
