"""
What the emulated model writes: pure functions of the request body, no I/O.

The model knows one document for each prompt, seed and choice. It continues a prefill that is the beginning of one of
these documents to the letter. It answers any other prefill with a text that cannot be mistaken for a continuation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from . import texts
from .arguments import planned
from .calls import Calls, written
from .chatml import plain
from .checks import Body
from .habits import DEEPINFRA, Habits
from .segments import PartKind, Segment, after
from .template import CalledTools, Prompt, called_tools, wants_json, wished_tokens
from .thinking import THINK, THINK_END, Block, block, unpadded
from .tokens import following, shown

#: The answer to every request, or a function that gets the body (without prefill) and the index of the choice.
TextSource: TypeAlias = "str | Callable[[Body, int], str]"
# More than DeepInfra's limit of `n`, so that any choice can be continued.
_CANDIDATES = 8
_CHATTER = "\n\nHope this helps!"
# The quotes leave a string, too.
_PROSE = ' and so on, as "you" can see in one or the other of the "books" that were read here.' * 2000
_DERAILED = "⟦derailed: the prompt ends in a text that this model did not write⟧"
_CALL_AFTER_TEXT_TOKENS = 40


_NO_CALLS = Calls()


@dataclass(frozen=True)
class Turn:
    """All that the model would write if nothing stopped it."""

    segments: tuple[Segment, ...]
    finish: Literal["stop", "tool_calls"] = "stop"
    #: The tool calls of the answer, and how many characters of them are in the prefill.
    calls: Calls = _NO_CALLS
    written: int = 0
    #: What decides on the text.
    key: str = ""
    #: Whether the prefill is not the beginning of any text of this model.
    is_derailed: bool = False


@dataclass(frozen=True)
class Part:
    """A stretch of tokens of one kind, with the text that each token shows."""

    kind: PartKind
    tokens: tuple[bytes, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """One choice of one response."""

    parts: tuple[Part, ...]
    finish: str
    #: Hidden tokens and the end token are counted too.
    completion_tokens: int
    turn: Turn
    #: Whether the model has written its end token.
    is_ended: bool
    #: The stop string that ended it, or None.
    stop: str | None = None

    def text(self, kind: PartKind) -> str | None:
        """Return the text of one kind, or None if the model did not get that far."""
        parts = [part for part in self.parts if part.kind == kind]
        return "".join("".join(part.texts) for part in parts) if parts else None

    @property
    def reasoning_tokens(self) -> int:
        """The number of tokens of the thoughts."""
        return sum(len(part.tokens) for part in self.parts if part.kind == "reasoning")


@dataclass(frozen=True)
class Model:
    """The model: its texts, and how it goes on from a prefill."""

    #: The length of an answer if the prompt names none, in tokens.
    size: int = 2_000
    #: The answers, if they are not this model's own documents.
    text: TextSource | None = None
    habits: Habits = DEEPINFRA

    def replies(self, body: Body, prompt: Prompt, limit: int, stops: Sequence[str]) -> list[Reply]:
        """Return the reply of each choice that the request asks for. ``limit`` is in tokens, for each choice."""
        choices = range(body.get("n") or 1)
        return [self.reply(body, self.turn(body, prompt, choice), limit, stops) for choice in choices]

    def turn(self, body: Body, prompt: Prompt, choice: int = 0) -> Turn:
        """Return what the model would write after a prompt."""
        if not prompt.is_continued:
            return self._turn(body, prompt, self._whole(body, prompt, choice, as_json=wants_json(body)))
        if wants_json(body) and not self.habits.grammar_follows:
            return self._turn(body, prompt, self._written(body, prompt, choice, as_json=True))
        if self.habits.leaves_json and prompt.prefill.startswith("{") and not wants_json(body):
            return self._turn(body, prompt, [Segment("content", _PROSE)])
        for candidate in (choice, *(other for other in range(_CANDIDATES) if other != choice)):
            for as_json in (True,) if wants_json(body) else (False, True):
                rest = self._rest(body, prompt, candidate, as_json=as_json)
                if rest is not None:
                    return self._turn(body, prompt, rest)
        return Turn((Segment("content", _DERAILED),), is_derailed=True)

    def _whole(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> list[Segment]:
        """Return a new answer, without the part of its think block that is in the prompt."""
        written = self._written(body, prompt, choice, as_json=as_json)
        thoughts = self._block(prompt, body, choice)
        if thoughts is not None and self.habits.think_blanks == "stripped":
            written = unpadded(written)
        if thoughts is None or prompt.block == "all":
            return written
        # R1's template has opened the think block in the prompt, so its parser never sees the opening tag. Without a
        # parser, the server puts the tag into the text.
        is_opened = prompt.block == "opening"
        return [*(() if is_opened else thoughts.opening), *thoughts.opened, *written]

    def _written(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> list[Segment]:
        """Return the answer after the thoughts: the document, the calls, or both."""
        called = called_tools(prompt)
        segments: list[Segment] = []
        if called is None or called.is_after_text:
            segments.append(Segment("content", self._document(body, prompt, choice, as_json=as_json)))
        if self.habits.chatters_after_json and prompt.is_continued and not wants_json(body):
            segments.extend([Segment("content", _CHATTER)] if segments and _is_json_object(segments[0].text) else ())
        if called is not None:
            segments.append(Segment("calls", self._calls(body, prompt, called).raw))
        return segments

    def _block(self, prompt: Prompt, body: Body, choice: int) -> Block | None:
        """Return the think block, or None if the model does not think."""
        if self.habits.thinks is None or prompt.source == "text":
            return None
        key = _key(body, prompt, choice)
        return block(self.habits, texts.thought(key, self.habits.think_tokens, byte_fallback=self._byte_fallback))

    def _rest(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> list[Segment] | None:
        """Return what follows the prefill in one document, or None if the document does not begin with the prefill."""
        if prompt.source != "chat":
            return after(self._whole(body, prompt, choice, as_json=as_json), prompt.prefill)
        written = self._written(body, prompt, choice, as_json=as_json)
        thoughts = self._block(prompt, body, choice)
        if thoughts is None:
            return after(written, prompt.prefill)
        if prompt.thought and not prompt.prefill:
            return after([*thoughts.opened, *written], prompt.thought.lstrip("\n"))
        thought, end, answer = prompt.prefill.partition(THINK_END)
        if end:
            # The thoughts do not matter once the block is closed: DeepInfra's own example sends none.
            bare = answer.lstrip("\n")
            missing = thoughts.closing[-1]
            missing = missing._replace(text="\n\n"[len(answer) - len(bare) :])
            rest = after(written, bare)
            return rest if rest is None or bare else [missing, *rest]
        if thought.startswith(THINK) and self.habits.template != "qwen3":
            return after([*thoughts.opening, *thoughts.opened, *written], prompt.prefill)
        # A parser that keeps blanks has given the answer those that follow the block.
        kept = self.habits.think_blanks == "kept"
        return after(written, prompt.prefill.lstrip("\n") if kept else prompt.prefill)

    def _turn(self, body: Body, prompt: Prompt, segments: list[Segment]) -> Turn:
        """Return segments as a turn."""
        if prompt.source != "chat":
            # No parser reads a text completion.
            return Turn(tuple(one._replace(kind="content") for one in segments))
        called = called_tools(prompt)
        if called is None:
            return Turn(tuple(segments))
        calls = self._calls(body, prompt, called)
        left = sum(len(one.text) for one in segments if one.kind == "calls")
        return Turn(tuple(segments), "tool_calls", calls, len(calls.raw) - left, _key(body, prompt, 0))

    def _calls(self, body: Body, prompt: Prompt, called: CalledTools) -> Calls:
        """Return the tool calls that the user asks for."""
        usual = _CALL_AFTER_TEXT_TOKENS if called.is_after_text else self._wished(prompt)
        key, size = _key(body, prompt, 0), called.size or usual
        wanted = planned(json.dumps(called.functions), key, size, byte_fallback=self._byte_fallback)
        return written(self.habits.calls, wanted, after_text=called.is_after_text)

    def _document(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> str:
        if isinstance(self.text, str):
            return self.text
        if self.text is not None:
            return self.text({**body, "messages": [*prompt.messages]}, choice)
        write = texts.json_document if as_json else texts.document
        return write(_key(body, prompt, choice), self._wished(prompt), byte_fallback=self._byte_fallback)

    def _wished(self, prompt: Prompt) -> int:
        """Return the length of the answer that the user asks for, in tokens."""
        return wished_tokens(prompt.messages) or self.size

    @property
    def _byte_fallback(self) -> bool:
        return self.habits.cut_characters is not None

    def reply(self, body: Body, turn: Turn, limit: int | None, stops: Sequence[str] = ()) -> Reply:
        """
        Return a turn up to the token limit or the first stop string.

        A stop string must be in the new text: no server looks for one that begins in the prefill.
        """
        parts, used = self._within(turn, limit)
        finish: str = "length" if limit is not None and used >= limit else turn.finish
        keeps_stop = self.habits.keeps_stops is not None and body.get(self.habits.keeps_stops) is True
        stopped = _stopped(parts, stops, keeps_stop=keeps_stop)
        stop = None
        if stopped is not None:
            (parts, stop), finish = stopped, "stop"
            used = sum(len(part.tokens) for part in parts)
        elif finish == "length":
            parts = self._without_blanks(self._with_cut_character(parts))
            if self.habits.hides_half_stops and body.get("stream"):
                parts = _without_half_stop(parts, stops)
        is_ended = stopped is None and finish != "length"
        return Reply(tuple(parts), finish, used + is_ended, turn, is_ended, stop)

    def _within(self, turn: Turn, limit: int | None) -> tuple[list[Part], int]:
        """Return the parts within a limit, and how many tokens they have."""
        parts: list[Part] = []
        used = 0
        for kind, text, before in turn.segments:
            tokens = following(before, text, byte_fallback=self._byte_fallback)
            pieces = shown(tokens)
            room = len(tokens) if limit is None else min(limit - used, len(tokens))
            # The empty rest of a text is content too: "", not null.
            if room > 0 or (not tokens and (limit is None or used < limit)):
                parts.append(Part(kind, tokens[:room], pieces[:room]))
                used += room
        return parts, used

    def _with_cut_character(self, parts: list[Part]) -> list[Part]:
        """Return parts with the bytes of a cut character at their end as U+FFFD, if the server shows them so."""
        if self.habits.cut_characters != "replaced" or not parts:
            return parts
        last = parts[-1]
        pending = 0
        for token, text in zip(reversed(last.tokens), reversed(last.texts), strict=True):
            if text:
                break
            pending += len(token)
        return [*parts[:-1], replace(last, texts=(*last.texts[:-1], last.texts[-1] + "\ufffd" * pending))]

    def _without_blanks(self, parts: list[Part]) -> list[Part]:
        """Return parts without the blanks at the end of cut thoughts, if the server's parser removes them."""
        if self.habits.think_blanks != "stripped" or not parts or parts[-1].kind != "reasoning":
            return parts
        left = len("".join(parts[-1].texts).rstrip())
        kept: list[str] = []
        for text in parts[-1].texts:
            kept.append(text[:left])
            left -= len(kept[-1])
        return [*parts[:-1], replace(parts[-1], texts=tuple(kept))]


def _key(body: Body, prompt: Prompt, choice: int) -> str:
    """Return what decides on the text."""
    return json.dumps([plain(prompt.messages), body.get("seed"), choice], sort_keys=True, default=str)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _stopped(parts: Sequence[Part], stops: Sequence[str], *, keeps_stop: bool) -> tuple[list[Part], str] | None:
    """Return the parts up to the first stop string in the content, and that string, or None if there is none."""
    content = "".join("".join(part.texts) for part in parts if part.kind == "content")
    found = [(at + len(stop), at, stop) for stop in stops if stop and (at := content.find(stop)) >= 0]
    if not found:
        return None
    # The string that is complete first wins; among several complete at once, the longest.
    completed, begin, stop = min(found)
    shown_to = completed if keeps_stop else begin
    kept: list[Part] = []
    seen = 0
    for part in parts:
        if part.kind != "content":
            kept.append(part)
            continue
        visible: list[str] = []
        for text in part.texts:
            visible.append(text[: max(0, shown_to - seen)])
            seen += len(text)
            if seen >= completed:
                break
        kept.append(Part(part.kind, part.tokens[: len(visible)], tuple(visible)))
        if seen >= completed:
            break
    return kept, stop


def _without_half_stop(parts: list[Part], stops: Sequence[str]) -> list[Part]:
    """Return parts without the text of the last tokens, if a stream waits there for the rest of a stop string."""
    if not parts or parts[-1].kind != "content":
        return parts
    last, sent, waiting = parts[-1], 0, ""
    for place, text in enumerate(last.texts):
        waiting += text
        halves = (stop[:length] for stop in stops for length in range(1, len(stop)))
        if not any(waiting.endswith(half) for half in halves):
            sent, waiting = place + 1, ""
    hidden = ("",) * (len(last.texts) - sent)
    return [*parts[:-1], replace(last, texts=(*last.texts[:sent], *hidden))]
