"""
What a server's parser makes of the calls in a reply: content, tool calls, and their deltas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from .calls import Call
from .checks import Body
from .habits import Habits
from .model import Reply
from .template import Prompt


class Reading:
    """The calls of one reply, as its server reads them. Offsets count the characters of ``Calls.raw``."""

    def __init__(self, reply: Reply, body: Body, prompt: Prompt, habits: Habits) -> None:
        self._turn, self._calls = reply.turn, reply.turn.calls
        self._text = reply.text("calls") or ""
        self._begin = reply.turn.written
        self._end = self._begin + len(self._text.rstrip("\ufffd"))
        self._habits = habits
        self._is_none = body.get("tool_choice") == "none"
        self._is_streamed = bool(body.get("stream"))
        self._is_single = body.get("parallel_tool_calls") is False
        # Whether the syntax of calls has begun in the prefill.
        began = self._calls.raw[: self._begin].lstrip()
        self._mode = habits.calls_in_prefill if began and not self._is_none else None
        self._before = prompt.prefill[: len(prompt.prefill) - len(began)].rstrip()
        self._raw_end = self._unread(is_fresh=not began)
        self._is_cut = reply.finish == "length" and self._calls.open_at(self._end) is not None
        self._finish = reply.finish
        self._finals = {call.index: self._final_of(call) for call in self._calls.calls}
        self._shown = self._numbered()
        self._read = self._begin
        # How much of the arguments of each call the stream has sent.
        self._sent: dict[int, int] = {}

    def _unread(self, *, is_fresh: bool) -> int:
        """Return up to where the syntax is content."""
        if self._is_none and not self._habits.drops_unwanted_calls:
            return len(self._calls.raw)
        if is_fresh or self._mode:
            return self._begin
        later = [call.begin for call in self._calls.calls if call.begin >= self._begin]
        return later[0] if later and self._calls.finds_next else len(self._calls.raw)

    @property
    def echo(self) -> str | None:
        """The content of a whole answer that comes from the prefill, or None if this parser does not read it."""
        return self._before if self._mode == "deltas" else None

    def _numbered(self) -> list[tuple[int, Call]]:
        """Return the calls that the response shows, and the index of each."""
        if self._is_none:
            return []
        calls = [call for call in self._calls.calls if call.begin >= self._raw_end]
        if self._mode is not None:
            is_all = self._mode == "deltas" and not self._is_streamed
            calls = [call for call in self._calls.calls if is_all or call.closed > self._begin]
        calls = [call for call in calls if self._shows(call, self._end)]
        numbered = [(call.index, call) for call in calls] if self._mode == "deltas" else list(enumerate(calls))
        return numbered[:1] if self._is_single else numbered

    def _shows(self, call: Call, end: int) -> bool:
        return end >= (call.closed if self._mode == "whole" else call.named)

    def whole(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the content and the calls of a whole answer."""
        if self._is_cut and self._habits.cut_calls == "content" and self._mode is None:
            return self._text, []
        content = self._text[: max(0, self._raw_end - self._begin)]
        return content, [self._tool_call(call, self._finals[call.index]) for _, call in self._shown]

    @property
    def finish(self) -> str:
        """The finish reason that the server gives."""
        # A parser that reads the prefill counts the calls in it.
        calls = bool(self._shown if self._is_streamed else self.whole()[1]) or self._mode == "deltas"
        if self._finish == "tool_calls" and not calls:
            return "stop"
        hides = self._habits.hides_cut_calls == "both" or (
            self._habits.hides_cut_calls == "whole" and not self._is_streamed
        )
        return "tool_calls" if self._is_cut and calls and hides else self._finish

    def deltas(self, text: str, *, is_last: bool = False) -> Iterator[dict[str, Any]]:
        """Return what a stream shows for more of the text. ``is_last``: for its end."""
        begin, self._read = self._read, self._read + len(text)
        if begin < self._raw_end and text:
            yield {"content": text[: self._raw_end - begin]}
        for index, call in self._shown:
            if not self._shows(call, self._read):
                continue
            if index not in self._sent:
                self._sent[index] = len(call.known(self._begin)) if self._mode == "deltas" else 0
                arguments = self._finals[call.index] if self._mode == "whole" else ""
                self._sent[index] += len(arguments)
                yield {"tool_calls": [{"index": index, **self._tool_call(call, arguments)}]}
            final = self._finals[call.index]
            known = final if is_last else _common(call.known(self._read), final)
            if more := known[self._sent[index] :]:
                self._sent[index] = len(known)
                yield {"tool_calls": [{"index": index, "function": {"arguments": more}}]}

    def _final_of(self, call: Call) -> str:
        """Return the arguments of a call at the end of the response."""
        known = call.known(self._end)
        if not self._is_cut or self._end >= call.closed:
            return known
        if self._habits.cut_calls == "complete":
            complete = call.complete(self._end)
            # What a stream has sent it cannot take back.
            return complete if complete.startswith(known) or not self._is_streamed else known
        return _closed(known) if self._habits.cut_calls == "closed" else known

    def _tool_call(self, call: Call, arguments: str) -> dict[str, Any]:
        return {
            "id": self._id(call),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }

    def _id(self, call: Call) -> str:
        if self._habits.calls == "kimi_k2":
            # The model writes the id itself.
            return f"functions.{call.name}:{call.index}"
        key = f"{self._turn.key} {call.index} {self._begin}"
        return f"call_{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _common(text: str, other: str) -> str:
    """Return the beginning that two texts have in common. One is known to begin with most of the other."""
    size = min(len(text), len(other))
    while text[:size] != other[:size]:
        size -= 1
    return text[:size]


def _closed(text: str) -> str:
    """Return the beginning of a JSON object as JSON: its end is cut back until quotes and brackets close it."""
    for size in range(len(text), 0, -1):
        closed = text[:size] + _closers(text[:size])
        try:
            json.loads(closed)
        except ValueError:
            continue
        return closed
    return "{}"


def _closers(text: str) -> str:
    """Return the quote and the brackets that are open at the end of a text."""
    opened: list[str] = []
    in_string = is_escaped = False
    for character in text:
        if in_string:
            in_string = is_escaped or character != '"'
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            opened.append("}" if character == "{" else "]")
        elif character in "}]" and opened:
            opened.pop()
    return '"' * in_string + "".join(reversed(opened))
