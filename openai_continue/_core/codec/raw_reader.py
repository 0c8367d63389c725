"""What a model writes after a raw prompt, read as servers read it: thoughts, the answer, tool calls."""

from __future__ import annotations

from hashlib import sha256

from ..calls.reader import Event, Reader
from ..calls.tools import Tools
from ..chunks import delta_of
from ..json import Json, as_object, as_string
from ..text.reasoning import CLOSE

_THOUGHTS = "reasoning_content"


class RawReader:
    """
    Reads the text of one round.

    ``thinking``: whether it begins within the thoughts. ``gap``: what is left out between them and the answer.
    ``tools``: those that the model may call, or None. ``mark``: what shows that the prompt is not in the model's own
    syntax, or "". What may be half a tag or half of a call's beginning is kept; the
    model writes it again if the round is cut there.
    """

    def __init__(self, *, thinking: bool, gap: str, tools: Tools | None, mark: str = "") -> None:
        self._mark, self._seen = mark, ""
        self._thinking = thinking
        # What may still come of it.
        self._gap = gap if thinking else ""
        self._tools = tools
        self._calls = None if tools is None else Reader(tools.syntax, tools.listed)
        # Text that may be the beginning of a closing tag.
        self._waiting = ""
        self._id = ""
        self._count = 0

    @property
    def reads_calls(self) -> bool:
        """Whether there are tools that the model may call."""
        return self._tools is not None

    @property
    def is_broken(self) -> bool:
        """Whether the model began a call that cannot be read."""
        return self._calls is not None and self._calls.is_broken

    def shows_mark(self, text: str) -> bool:
        """Whether the round has written the mark. ``text``: what it has written last."""
        self._seen = self._seen[-len(self._mark) :] + text
        return bool(self._mark) and self._mark in self._seen

    def chunk(self, chunk: Json) -> Json:
        """Return a chunk of raw text as a chat chunk."""
        item = chunk["choices"][0]
        self._id = str(chunk.get("id"))
        return {**chunk, "choices": [self._choice(item, delta_of(chunk), "delta")]}

    def completion(self, completion: Json) -> Json:
        """Return a whole answer of raw text as a chat completion."""
        item: Json = completion["choices"][0]
        self._id = str(completion.get("id"))
        shaped = self._choice(item, as_object(item.get("message")) or {}, "message")
        for call in shaped["message"].get("tool_calls", ()):
            del call["index"]
        return {**completion, "choices": [shaped]}

    def rest(self) -> Json:
        """Return as a delta what was kept because a tag or a call might begin with it: the answer ends here."""
        thoughts, self._waiting = self._waiting, ""
        text = "" if self._calls is None else self._calls.rest()
        return {**({_THOUGHTS: thoughts} if thoughts else {}), **({"content": text} if text else {})}

    def _choice(self, item: Json, holder: Json, name: str) -> Json:
        reason = item.get("finish_reason")
        delta = self._delta(as_string(holder.get("content")) or "", ends=reason not in (None, "", "length"))
        if self.is_broken and reason:
            reason = "length"
        elif reason == "stop" and self._count:
            reason = "tool_calls"
        return {**item, name: {**holder, "content": None, **delta}, "finish_reason": reason}

    def _delta(self, text: str, *, ends: bool) -> Json:
        """Return what a piece of text adds. ``ends``: whether the answer ends with it, by itself."""
        delta: Json = {}
        if self._thinking:
            thoughts, text = self._thoughts(text, ends=ends)
            if thoughts:
                delta[_THOUGHTS] = thoughts
        while not self._thinking and self._gap and text:
            text, self._gap = (text[1:], self._gap[1:]) if text[0] == self._gap[0] else (text, "")
        if self._calls is None:
            return {**delta, "content": text} if text else delta
        for event in self._calls.feed(text):
            self._take(event, delta)
        rest = self._calls.rest() if ends else ""
        if rest:
            delta["content"] = delta.get("content", "") + rest
        return delta

    def _thoughts(self, text: str, *, ends: bool) -> tuple[str, str]:
        """Return what a piece adds to the thoughts, and what of it follows them."""
        text = self._waiting + text
        thoughts, closed, after = text.partition(CLOSE)
        self._waiting = ""
        if closed:
            self._thinking = False
        elif not ends:
            thoughts, self._waiting = _parted(text)
        return thoughts, after

    def _take(self, event: Event, delta: Json) -> None:
        if event.kind == "text":
            delta["content"] = delta.get("content", "") + event.text
        elif event.kind == "name":
            self._count += 1
            index = self._count - 1
            seed = f"{self._id} {index}"
            made = f"call_{sha256(seed.encode('utf-8', 'replace')).hexdigest()[:24]}"
            function = {"name": event.text, "arguments": ""}
            call: Json = {"index": index, "id": made, "type": "function", "function": function}
            delta.setdefault("tool_calls", []).append(call)
        elif event.kind == "arguments":
            self._grow(event.text, delta.setdefault("tool_calls", []))

    def _grow(self, arguments: str, calls: list[Json]) -> None:
        index = self._count - 1
        if calls and calls[-1]["index"] == index:
            calls[-1]["function"]["arguments"] += arguments
        else:
            calls.append({"index": index, "function": {"arguments": arguments}})


def ends_in_tag(text: str) -> bool:
    """Whether a text ends in what may be a part of the closing tag."""
    return bool(_parted(text)[1])


def _parted(text: str) -> tuple[str, str]:
    """Return text as what may be shown, and the end of it that may be a part of the closing tag."""
    sizes = range(min(len(CLOSE) - 1, len(text)), 0, -1)
    size = next((size for size in sizes if text.endswith(CLOSE[:size])), 0)
    return text[: len(text) - size], text[len(text) - size :]
