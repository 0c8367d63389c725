"""One choice in the making: its thoughts and its answer over all rounds, and which of the two new text belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import reasoning
from .chunks import delta_of, text_of
from .jsons import Json
from .prefill import RESTART_EVIDENCE, Hold
from .seam import evidence
from .text import Stopped, Text


@dataclass(slots=True, repr=False)
class Choice:
    """See the module's docstring; ``later`` says of a chunk that it is not of the first round."""

    index: int
    answer: Text
    #: How much is held back at the next seam.
    hold: Hold
    thoughts: Text | None = None
    #: Whether the running round continues the thoughts.
    thinking: bool = False
    #: Whether a continuation was had, so that the server is known not to begin anew.
    joined: bool = False
    #: Text of a continued answer that came as thoughts, until it shows what it is; and what it was before.
    misfiled: list[Json] = field(default_factory=list[Json])
    misfiles: bool = False
    finish_reason: str | None = None
    #: Chunks of the running round with text: what a broken round is taken to have used.
    chunks: int = 0
    #: Output tokens and rounds so far.
    used: int = 0
    rounds: int = 0
    #: Why this choice must not be continued, or has ended.
    barred: str | None = None
    stopped_by: str | None = None
    #: U+FFFD dropped at the last seam.
    cut: int = 0
    #: Whether the caller's stream has its end.
    ended: bool = False
    #: Heals in a row without new text.
    heals: int = 0
    #: Tokens of prompt and answer after the last round, as far as usage tells; and the most to ask the next one for.
    context: int | None = None
    room: int | None = None
    shrinks: int = 0
    #: What later rounds of a whole answer brought in the message and beside it, and all its logprobs.
    extras: Json = field(default_factory=dict[str, Any])
    beside: Json = field(default_factory=dict[str, Any])
    logprobs: Json | None = None

    @property
    def current(self) -> Text:
        """The text that the running round continues."""
        return self.thoughts if self.thinking and self.thoughts is not None else self.answer

    @property
    def added(self) -> int:
        """Characters that the running round added."""
        return self.answer.added + (self.thoughts.added if self.thoughts is not None else 0)

    @property
    def stopped(self) -> Stopped | None:
        """Why nothing more is taken of the running round."""
        return self.answer.stopped or self.current.stopped

    def take(self, chunk: Json, *, later: bool) -> list[Json]:
        """Take a chunk; return the chunks that are certain by it. What it brings may bar this choice's continuation."""
        delta = delta_of(chunk)
        for name in ("tool_calls", "function_call", "audio", "refusal"):
            if delta.get(name):
                self.barred = "unsupported"
        content = delta.get("content")
        if content is not None and not isinstance(content, str):
            self.barred = "unsupported"
        thought = reasoning.field_of(delta)
        if content or thought:
            self.chunks += 1
        if thought is None and content:
            before = [] if self.thoughts is None else self.thoughts.end_round(goes_on=False)
            return before + self._thought_anew() + self.answer.take(chunk)
        if thought is None and self.misfiled:
            self.misfiled.append(chunk)
            return []
        if thought is None:
            return self.answer.take(chunk)
        return self._take_thoughts(chunk, thought, later=later)

    def _take_thoughts(self, chunk: Json, name: str, *, later: bool) -> list[Json]:
        """Take a chunk with thoughts in a field of their own, or with an answer that a server files there."""
        item, delta = chunk["choices"][0], delta_of(chunk)
        rest = {key: value for key, value in delta.items() if key not in reasoning.FIELDS}
        if later and not self.thinking:
            # vLLM's deepseek_r1 parser takes all text before a </think> for thoughts, though the block was closed
            # before the cut. Where the answer comes too, they are the echo of what was sent back, or thoughts anew.
            if delta.get("content"):
                ready = self._thought_anew()
                return ready + self.answer.take({**chunk, "choices": [{**item, "delta": rest}]})
            chunk = {**chunk, "choices": [{**item, "delta": {**rest, "content": delta[name]}}]}
            if self.misfiles:
                return self.answer.take(chunk)
            self.misfiled.append(chunk)
            return []
        if self.thoughts is None:
            self.thoughts = Text(name)
        if not delta.get("content"):
            if later:
                chunk = {**chunk, "choices": [{**item, "delta": {**rest, self.thoughts.field: delta[name]}}]}
            return self.thoughts.take(chunk)
        # A whole message, or the chunk in which the answer begins.
        thoughts: Json = {
            **chunk,
            "choices": [{**item, "delta": {self.thoughts.field: delta[name]}, "logprobs": None}],
        }
        ready = self.thoughts.take(thoughts) + self.thoughts.end_round(goes_on=False)
        if self.thoughts.stopped is not None:
            return ready
        return ready + self.answer.take({**chunk, "choices": [{**item, "delta": rest}]})

    def _thought_anew(self) -> list[Json]:
        """Drop what came as thoughts: the answer goes on elsewhere, so they were no part of it."""
        chunks, self.misfiled = self.misfiled, []
        return [ready for chunk in chunks if not text_of(chunk) for ready in self.answer.take(chunk)]

    def _filed(self) -> list[Json]:
        """Take text that came as thoughts for the answer that it is, where no answer came beside it."""
        chunks, self.misfiled = self.misfiled, []
        if not chunks:
            return []
        text = "".join(map(text_of, chunks))
        known = "" if self.thoughts is None else evidence(self.thoughts.text, RESTART_EVIDENCE)
        if known and text.lstrip().startswith(known):
            self.answer.stopped = Stopped.RESTARTED
            return []
        self.misfiles = True
        return [ready for chunk in chunks for ready in self.answer.take(chunk)]

    def end_texts(self, *, goes_on: bool) -> list[Json]:
        """End a round for both texts; return the chunks that are certain by it."""
        thoughts = [] if self.thoughts is None else self.thoughts.end_round(goes_on=goes_on)
        return thoughts + self.answer.end_round(goes_on=goes_on)

    def settle(self) -> list[Json]:
        """Settle a round's beginning, and end this choice as a stop across the seam says."""
        thoughts = [] if self.thoughts is None else self.thoughts.settle()
        by_itself = self.finish_reason == "stop"
        ready = thoughts + self._filed() + self.answer.settle(by_itself=by_itself)
        stopped = self.stopped
        if self.answer.document_ended or stopped is Stopped.STOP_STRING:
            self.finish_reason = "stop"
        elif stopped is not None:
            self.finish_reason = "length"
        return ready

    def flush(self) -> list[Json]:
        """End a round that nothing follows; return the chunks that were held back."""
        return self._filed() + self.end_texts(goes_on=False)

    def drop_cut_character(self) -> int:
        """Take the rest of a character that the cap cut off both texts; return the number of U+FFFD."""
        if self.finish_reason != "length":
            return 0
        return sum(text.drop_cut_character() for text in (self.answer, self.thoughts) if text is not None)
