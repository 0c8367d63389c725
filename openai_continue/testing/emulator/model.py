"""
What the emulated model writes: pure functions of the request body, no I/O.

The model knows one document for each prompt, seed and choice. A prefill that is the beginning of one of them is
continued to the letter; any other prefill is answered with a text that cannot be taken for a continuation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

from . import texts, tokens
from .habits import DEEPINFRA, Habits

Body: TypeAlias = Mapping[str, Any]
Text: TypeAlias = "str | Callable[[Body, int], str]"
Kind: TypeAlias = Literal["content", "reasoning", "arguments", "hidden"]
# A stretch of an answer: "hidden" are tags that the server's parsers take out, though they cost tokens.
Segment: TypeAlias = tuple[Kind, str]

# More than DeepInfra's limit of `n`, so that whichever choice is continued is found.
_CANDIDATES = 8
_OPEN, _THINK_END = "<think>\n", "</think>"
_CLOSE = f"\n{_THINK_END}\n\n"
_CHATTER = "\n\nHope this helps!"
_CALL_AFTER_TEXT_TOKENS = 40
_SIZE = re.compile(r"(\d[\d_,]*)\s*tokens")


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the emulator
    """A request that the server answers with an error."""

    def __init__(self, message: str, *, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = 400
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": 400}}


@dataclass(frozen=True)
class Prompt:
    """What the chat template makes of the messages."""

    messages: tuple[Body, ...]
    """The conversation without the prefill."""
    tokens: int
    prefill: str = ""
    """The part of the answer that the prompt ends in."""
    thought: str = ""
    """The thought that the template puts before it, where it reads thoughts."""

    @property
    def is_continued(self) -> bool:
        """Tell whether the model has to go on with a text."""
        return bool(self.prefill or self.thought)


@dataclass(frozen=True)
class Turn:
    """All that the model would write if nothing stopped it."""

    segments: tuple[Segment, ...]
    finish: Literal["stop", "tool_calls"] = "stop"
    call_id: str = ""
    tool: str = ""
    is_derailed: bool = False


@dataclass(frozen=True)
class Part:
    """A stretch of tokens of one kind, with the text that each of them shows."""

    kind: Kind
    tokens: tuple[bytes, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """What one choice of one response holds."""

    parts: tuple[Part, ...]
    finish: str
    completion_tokens: int
    turn: Turn

    def text(self, kind: Kind) -> str | None:
        """Join the text of one kind; None if the model never came to it."""
        parts = [part for part in self.parts if part.kind == kind]
        return "".join("".join(part.texts) for part in parts) if parts else None

    @property
    def reasoning_tokens(self) -> int:
        """Count the tokens of the thought."""
        return sum(len(part.tokens) for part in self.parts if part.kind == "reasoning")


@dataclass(frozen=True)
class Model:
    """The model and its chat template."""

    size: int = 2_000
    text: Text | None = None
    habits: Habits = DEEPINFRA

    def prompt(self, body: Body) -> Prompt:
        """
        Render the messages: decide whether a trailing assistant message is a prefill, and which.

        Raises `Refused` where the template or the server would.
        """
        messages = tuple(cast("Sequence[Body]", body["messages"]))
        last, before = messages[-1], messages[:-1]
        whole = Prompt(messages, conversation_tokens(messages))
        if last.get("role") != "assistant" or last.get("tool_calls"):
            # With its flags on, vLLM leaves the assistant's header out, and the model goes on with the user's words.
            is_lost = self.habits.marker == "continue_final_message" and _is_flagged(body)
            return replace(whole, prefill="\0") if is_lost else whole
        if self.habits.refuses_prefill:
            msg = (
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
            raise Refused(msg, kind="invalid_request_error")
        if self.habits.ignores_prefill:
            return replace(whole, messages=before)
        if not self._is_marked(body, last):
            return whole
        prefill, thought = content_text(last), ""
        if self.habits.thinks and self.habits.template == "qwen3":
            thought = str(last.get("reasoning_content") or last.get("reasoning") or "")
        if self.habits.thinks and self.habits.template == "raises" and _THINK_END in prefill:
            msg = (
                "continue_final_message is set but the final message does not appear in the chat after applying the "
                "chat template! This can happen if the chat template deletes portions of the final message. "
                f"Final message to continue: {prefill}"
            )
            raise Refused(msg)
        if self.habits.trims:
            prefill = prefill.rstrip()
        used = conversation_tokens(before) + tokens.count(prefill) + tokens.count(thought)
        return Prompt(before, used, prefill, thought)

    def _is_marked(self, body: Body, last: Body) -> bool:
        marker = self.habits.marker
        if marker is None:
            return True
        marked = _is_flagged(body) if marker == "continue_final_message" else bool(last.get(marker))
        if not marked and self.habits.strict_marker:
            msg = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
            raise Refused(msg, kind="invalid_request_error")
        return marked

    def turn(self, body: Body, prompt: Prompt, choice: int = 0) -> Turn:
        """Decide what the model writes after a prompt."""
        if not prompt.is_continued:
            return self._turn(body, prompt, self._answer(body, prompt, choice))
        if wants_json(body) and not self.habits.grammar_follows:
            return self._turn(body, prompt, [("content", self._document(body, prompt, choice, as_json=True))])
        for candidate in (choice, *(other for other in range(_CANDIDATES) if other != choice)):
            for as_json in (True,) if wants_json(body) else (False, True):
                rest = self._rest(body, prompt, candidate, as_json=as_json)
                if rest is not None:
                    return self._turn(body, prompt, rest)
        derailed = "⟦derailed: the prompt ends in a text that this model did not write⟧"
        return Turn((("content", derailed),), is_derailed=True)

    def _answer(self, body: Body, prompt: Prompt, choice: int) -> list[Segment]:
        """Write a fresh answer."""
        segments = self._block(prompt, body, choice)
        # R1's template has opened the think block in the prompt, so a parser for it never sees the tag; where there
        # is no parser, the server of such a model puts the tag into the text.
        if self.habits.thinks not in {None, "inline"} and self.habits.template != "qwen3":
            segments = segments[1:]
        return [*segments, *self._written(body, prompt, choice, as_json=wants_json(body))]

    def _written(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> list[Segment]:
        """Write the answer proper: the document, or what a call of a tool leaves of it."""
        called = called_tool(body, prompt.messages)
        if called and not called.is_after_text:
            return []
        return [("content", self._document(body, prompt, choice, as_json=as_json))]

    def _block(self, prompt: Prompt, body: Body, choice: int) -> list[Segment]:
        """Write the think block."""
        if self.habits.thinks is None:
            return []
        key = self._key(body, prompt, choice)
        thought = texts.thought(key, self.habits.think_tokens, byte_fallback=self._byte_fallback)
        if self.habits.thinks == "inline":
            return [("content", _OPEN), ("content", thought), ("content", _CLOSE)]
        return [("hidden", _OPEN), ("reasoning", thought), ("hidden", _CLOSE)]

    def _rest(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> list[Segment] | None:
        """Continue one document behind the prefill; None if it does not begin with it."""
        written = self._written(body, prompt, choice, as_json=as_json)
        if self.habits.chatters_after_json and not wants_json(body) and written and _is_json_object(written[0][1]):
            written.append(("content", _CHATTER))
        if self.habits.thinks is None:
            return _behind(written, prompt.prefill)
        block = self._block(prompt, body, choice)
        if prompt.thought and not prompt.prefill:
            return _behind([*block[1:], *written], prompt.thought)
        thought, end, answer = prompt.prefill.partition(_THINK_END)
        if end:
            # What was thought does not matter once the block is closed: DeepInfra's own example sends an empty one.
            newlines = len(answer) - len(answer.lstrip("\n"))
            rest = _behind(written, answer[newlines:])
            missing: Segment = (block[-1][0], "\n\n"[newlines:])
            return rest if rest is None or answer[newlines:] else [missing, *rest]
        if thought.startswith("<think>") and self.habits.template != "qwen3":
            return _behind([*block, *written], prompt.prefill)
        return _behind(written, prompt.prefill)

    def _turn(self, body: Body, prompt: Prompt, segments: list[Segment]) -> Turn:
        """Add the call of a tool where one is asked for."""
        called = called_tool(body, prompt.messages)
        if called is None or (prompt.is_continued and not called.is_after_text):
            return Turn(tuple(segments))
        key = self._key(body, prompt, 0)
        size = _CALL_AFTER_TEXT_TOKENS if called.is_after_text else self._wished(prompt)
        arguments = texts.json_document(f"tool {key}", size, byte_fallback=self._byte_fallback)
        header = f'<tool_call>{{"name": "{called.name}", "arguments": '
        call: list[Segment] = [("hidden", header), ("arguments", arguments), ("hidden", "}</tool_call>")]
        call_id = f"call_{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
        return Turn((*segments, *call), "tool_calls", call_id, called.name)

    def _document(self, body: Body, prompt: Prompt, choice: int, *, as_json: bool) -> str:
        if isinstance(self.text, str):
            return self.text
        if self.text is not None:
            return self.text({**body, "messages": [*prompt.messages]}, choice)
        write = texts.json_document if as_json else texts.document
        return write(self._key(body, prompt, choice), self._wished(prompt), byte_fallback=self._byte_fallback)

    def _wished(self, prompt: Prompt) -> int:
        """Read how long an answer the user wants."""
        asked = _SIZE.search(last_user_text(prompt.messages))
        return int(re.sub(r"\D", "", asked[1])) if asked else self.size

    def _key(self, body: Body, prompt: Prompt, choice: int) -> str:
        return json.dumps([prompt.messages, body.get("seed"), choice], sort_keys=True, default=str)

    @property
    def _byte_fallback(self) -> bool:
        return self.habits.cut_characters is not None

    def reply(self, turn: Turn, limit: int | None, stops: Sequence[str] = ()) -> Reply:
        """
        Cut a turn where the token limit or a stop string ends it.

        A stop string is looked for in what is written here only: no server looks back across the prefill.
        """
        parts, used = self._within(turn.segments, limit)
        finish: str = "length" if limit is not None and used >= limit else turn.finish
        stopped = _stopped(parts, stops)
        if stopped is not None:
            parts, finish = stopped, "stop"
            used = sum(len(part.tokens) for part in parts)
        elif finish == "length":
            parts = self._with_cut_character(parts)
        else:
            used += 1
        return Reply(tuple(parts), finish, used, turn)

    def _within(self, segments: Iterable[Segment], limit: int | None) -> tuple[list[Part], int]:
        parts: list[Part] = []
        used = 0
        for kind, text in segments:
            split = tokens.tokenize(text, byte_fallback=self._byte_fallback)
            shown = tokens.shown(split)
            room = len(split) if limit is None else min(limit - used, len(split))
            # An empty end of a text is content all the same: "", not null.
            if room > 0 or (not split and (limit is None or used < limit)):
                parts.append(Part(kind, split[:room], shown[:room]))
                used += room
        return parts, used

    def _with_cut_character(self, parts: list[Part]) -> list[Part]:
        """Show the bytes of a cut character as U+FFFD, where the server does."""
        if self.habits.cut_characters != "replaced" or not parts:
            return parts
        last = parts[-1]
        pending = 0
        for token, text in zip(reversed(last.tokens), reversed(last.texts), strict=True):
            if text:
                break
            pending += len(token)
        return [*parts[:-1], replace(last, texts=(*last.texts[:-1], last.texts[-1] + "\ufffd" * pending))]


@dataclass(frozen=True)
class CalledTool:
    """The tool that the user tells the model to call."""

    name: str
    is_after_text: bool


def called_tool(body: Body, messages: Sequence[Body]) -> CalledTool | None:
    """Find out which tool to call: the user has to say "call the tool", or "then call the tool" for text before it."""
    asked = last_user_text(messages)
    if not body.get("tools") or "call the tool" not in asked or messages[-1].get("role") == "tool":
        return None
    return CalledTool(body["tools"][0]["function"]["name"], "then call the tool" in asked)


def content_text(message: Body) -> str:
    """Join the text of a message, which may be a string, a list of parts, or null."""
    content: object = message.get("content")
    if isinstance(content, str) or content is None:
        return content or ""
    parts = cast("Sequence[Body]", content)
    return "".join(str(part.get("text") or "") for part in parts)


def last_user_text(messages: Sequence[Body]) -> str:
    """Give the text of the last message of the user."""
    return next((content_text(message) for message in reversed(messages) if message.get("role") == "user"), "")


def conversation_tokens(messages: Sequence[Body]) -> int:
    """Count the tokens of messages and of the header of the answer."""
    # Header and end of a message, as in ChatML: <|im_start|>, role, newline; <|im_end|>, newline.
    return 3 + sum(5 + tokens.count(content_text(message)) for message in messages)


def wants_json(body: Body) -> bool:
    """Tell whether the request constrains the answer to a grammar."""
    wanted: Any = body.get("response_format")
    return isinstance(wanted, Mapping) and cast("Body", wanted).get("type") in {"json_object", "json_schema", "regex"}


def _is_flagged(body: Body) -> bool:
    """Read vLLM's two flags."""
    if not body.get("continue_final_message"):
        return False
    if body.get("add_generation_prompt", True):
        msg = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise Refused(msg)
    return True


def _behind(segments: list[Segment], written: str) -> list[Segment] | None:
    """Give what stands behind a text at the beginning of segments."""
    rest: list[Segment] = []
    left = written
    for kind, text in segments:
        # Of a segment that ends where the text does, the empty end is kept: "" is not null.
        if left.startswith(text) and left != text:
            left = left[len(text) :]
        elif text.startswith(left):
            rest.append((kind, text[len(left) :]))
            left = ""
        else:
            return None
    return None if left else rest


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _stopped(parts: Sequence[Part], stops: Sequence[str]) -> list[Part] | None:
    """Cut parts before the first stop string in the content; None if there is none."""
    content = "".join("".join(part.texts) for part in parts if part.kind == "content")
    found = [(at + len(stop), at) for stop in stops if stop and (at := content.find(stop)) >= 0]
    if not found:
        return None
    # The first string to be complete wins; of those complete at once, the longest.
    completed, begin = min(found)
    kept: list[Part] = []
    seen = 0
    for part in parts:
        if part.kind != "content":
            kept.append(part)
            continue
        shown: list[str] = []
        for text in part.texts:
            shown.append(text[: max(0, begin - seen)])
            seen += len(text)
            if seen >= completed:
                break
        kept.append(Part(part.kind, part.tokens[: len(shown)], tuple(shown)))
        if seen >= completed:
            break
    return kept
