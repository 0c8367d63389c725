"""Tool calls in the syntax of a model: written, and read."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterable
from typing import Any

import pytest

from openai_continue._core.calls.reader import Reader
from openai_continue._core.calls.writer import Writer, head
from openai_continue._tables import call_syntaxes
from openai_continue._tables.call_syntaxes import SYNTAXES, CallSyntax
from openai_continue.testing.emulator.tokens import tokenize

Json = dict[str, Any]
# The beginning of an escape, which a parser keeps back until it is whole.
_HALF_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?\Z")
#: The emulator's name of each syntax, and the library's.
EMULATED = {
    "hermes": "hermes",
    "llama3": "llama-3",
    "deepseek_v3": "deepseek-v3",
    "deepseek_v31": "deepseek-v3.1",
    "deepseek_v32": "deepseek-v3.2",
    "kimi_k2": "kimi-k2",
    "qwen3_coder": "qwen3-coder",
    "glm45": "glm-4.5",
    "glm47": "glm-4.7",
    "minimax_m2": "minimax-m2",
}
each_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda row: row.name)


def row(name: str) -> CallSyntax:
    found = call_syntaxes.named(name)
    assert found is not None
    return found


def tool(name: str, arguments: Json) -> Json:
    """Return a tool whose schema says of each argument whether it is a string."""
    properties = {key: {"type": "string"} if isinstance(value, str) else {} for key, value in arguments.items()}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


def dumped(arguments: Json, *, ascii_only: bool = False, compact: bool = False) -> str:
    return json.dumps(arguments, ensure_ascii=ascii_only, separators=(",", ":") if compact else None)


def written(syntax: CallSyntax, *calls: tuple[str, str], text: str = "") -> str:
    """Return an answer as the model writes it: a text, and calls with arguments as JSON."""
    parts = [text + syntax.gap if text else ""]
    for place, (name, arguments) in enumerate(calls):
        parts += [head(syntax, name, place), Writer(syntax).feed(arguments), syntax.tail]
    return "".join([*parts, syntax.closes])


def read(reader: Reader, pieces: Iterable[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return the text and the calls that a reader finds; each event is where the reader says that it is."""
    text, calls, place = "", list[list[str]](), 0
    for event in (event for piece in pieces for event in reader.feed(piece)):
        assert event.place >= place
        place = event.place
        if event.kind == "name":
            calls.append([event.text, ""])
        elif event.kind == "arguments":
            calls[-1][1] += event.text
        elif event.kind == "text":
            text += event.text
    return text, [(name, arguments) for name, arguments in calls]


def split(text: str, seed: int) -> list[str]:
    """Return a text in pieces: one, its characters, or any."""
    if seed < 2:
        return [text] if seed == 0 else list(text)
    chance = random.Random(f"{seed} {text}")
    edges = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randint(1, 40)))
    return [text[start:end] for start, end in zip([0, *edges], [*edges, len(text)], strict=True)]


class CallWritingServer:
    """
    A server whose model writes a text with calls, so many characters a round; the last number holds for all that follow.

    The first answer shows calls as its parser reads them, or as text (``shows_raw``); the rest is text.
    """

    def __init__(
        self, syntax: CallSyntax, tools: list[Json], raw: str, sizes: Iterable[int], *, shows_raw: bool = False
    ) -> None:
        self._syntax, self._tools, self._raw, self._shows_raw = syntax, tools, raw, shows_raw
        self._sizes = [*sizes]
        self._reads = False
        self.bodies: list[Json] = []

    def _next(self, body: Json) -> tuple[str, str]:
        """Return what comes next, and how it ends."""
        self.bodies.append(copy.deepcopy(body))
        last = body["messages"][-1]
        sent = last["content"] if last["role"] == "assistant" else ""
        assert self._raw.startswith(sent), f"the model did not write {sent!r}"
        size = self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0]
        return self._raw[len(sent) : len(sent) + size], "stop" if len(sent) + size >= len(self._raw) else "length"

    @property
    def _is_read(self) -> bool:
        """Whether the running answer shows calls as such."""
        return self._reads or (len(self.bodies) == 1 and not self._shows_raw)

    def _parsed(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        return read(Reader(self._syntax, self._tools), [text])

    def completion(self, body: Json) -> Json:
        text, finish = self._next(body)
        message: Json = {"role": "assistant", "content": text}
        if self._is_read:
            message["content"], called = self._parsed(text)
            calls = [{"id": f"call-{place}", "type": "function", "function": {"name": name, "arguments": arguments}} for place, (name, arguments) in enumerate(called)]  # fmt: skip
            message |= {"tool_calls": calls} if calls else {}
        return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}

    def chunks(self, body: Json) -> list[Json]:
        text, finish = self._next(body)
        if not self._is_read:
            deltas: list[Json] = [{"content": text[start : start + 3]} for start in range(0, len(text), 3)]
        else:
            said, called = self._parsed(text)
            deltas = [{"content": said}] if said else []
            for place, (name, arguments) in enumerate(called):
                opening = {"name": name, "arguments": ""}
                deltas.append({"tool_calls": [{"index": place, "id": f"call-{place}", "type": "function", "function": opening}]})  # fmt: skip
                deltas += [{"tool_calls": [{"index": place, "function": {"arguments": arguments[start : start + 4]}}]} for start in range(0, len(arguments), 4)]  # fmt: skip
        ends = [*((delta, None) for delta in deltas), ({}, finish)]
        return [{"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in ends]


class TokenWritingServer(CallWritingServer):
    """
    The same with a model that writes tokens, so many a round, and derails after half of one.

    Its parser keeps back what may be half an escape or half a mark. ``reads``: it reads the prefill too, and gives all
    calls of the turn.
    """

    def __init__(
        self, syntax: CallSyntax, tools: list[Json], raw: str, sizes: Iterable[int], *, reads: bool = False
    ) -> None:
        super().__init__(syntax, tools, raw, sizes)
        self._reads = reads
        self._ends = [0]
        for token in tokenize(raw):
            self._ends.append(self._ends[-1] + len(token.decode()))
        self._sent = ""

    def _next(self, body: Json) -> tuple[str, str]:
        self.bodies.append(copy.deepcopy(body))
        last = body["messages"][-1]
        self._sent = sent = last["content"] if last["role"] == "assistant" else ""
        size = self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0]
        if not self._raw.startswith(sent) or len(sent) not in self._ends:
            return "derailed", "stop"
        end = min(self._ends.index(len(sent)) + size, len(self._ends) - 1)
        finish = "length" if end < len(self._ends) - 1 else "tool_calls" if self._reads else "stop"
        return self._raw[len(sent) : self._ends[end]], finish

    def _parsed(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        said, calls = super()._parsed(self._sent + text)
        if calls and not calls[-1][1].endswith("}"):
            calls[-1] = calls[-1][0], _HALF_ESCAPE.sub(r"\1", calls[-1][1])
        return said, calls
