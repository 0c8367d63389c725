"""The request of a further round: what goes back of the answer so far, in which form, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, cast

from . import reasoning, seam
from .chunks import obj, string
from .merge import Json
from .providers import Provider
from .reasoning import Inline

#: Characters that must be the same for a continuation to count as the answer begun anew. A document of known format
#: is known from its first few.
RESTART_EVIDENCE = 64
RESTART_EVIDENCE_STRUCTURED = 16


class Hold(IntEnum):
    """How much of the end of the text is held back for the model to write again."""

    NOTHING = 0
    WHITESPACE = 1
    #: Punctuation before the whitespace too; it must come back as it was.
    TO_WORD = 2


class Prefill:
    """Writes the last message of every further round of a call."""

    def __init__(self, body: Mapping[str, Any], provider: Provider, *, trims: bool, structured: bool) -> None:
        self._body = body
        self._model = body.get("model")
        self._provider = provider
        self._trims = trims
        self._evidence = RESTART_EVIDENCE_STRUCTURED if structured else RESTART_EVIDENCE
        #: Only at temperature 0 does the model write the same punctuation again.
        self.hold = Hold.TO_WORD if trims and body.get("temperature") == 0 else Hold.WHITESPACE

    def less(self, hold: Hold) -> Hold | None:
        """Return the next smaller hold to try; None where less cannot be held back without doubling it."""
        least = Hold.WHITESPACE if self._trims else Hold.NOTHING
        return Hold(hold - 1) if hold > least else None

    def bar(self, content: str, thoughts: str) -> str | None:
        """Say why this text cannot go back; None where it can."""
        messages = self._body.get("messages")
        if not isinstance(messages, list) or not messages:
            return "unsupported"
        last = obj(cast("list[Any]", messages)[-1])
        if last is None or (self._is_prefilled() and last.get("tool_calls")):
            return "unsupported"
        inline = Inline.of(content)
        if self._trims and not (content + thoughts).strip():
            return "empty"
        if inline.answer:
            return None
        if inline.thinking:
            return None if reasoning.takes_open_block(self._model) else "reasoning"
        if thoughts and not content:
            can = self._provider.thought_field is not None or reasoning.takes_open_block(self._model)
            return None if can else "reasoning"
        return "reasoning" if inline.thoughts else "empty"

    def write(self, body: Json, content: str, thoughts: str, hold: Hold, *, first: bool) -> tuple[Json, seam.Joint]:
        """
        Return the body with the text so far at its end, and the seam that its answer is to be joined at.

        ``first``: the first continuation of a choice, the one that shows a server which begins anew.
        """
        inline = Inline.of(content)
        thinking = bool(thoughts) and not content
        text = thoughts if thinking else content if inline.thinking else inline.answer
        held = self._held(text, hold)
        sent = text[: len(text) - len(held)]
        marks = dict(self._provider.body_marks)
        message: Json = {**self._provider.message_marks}
        field = self._provider.thought_field
        if thinking and field is not None:
            marks.update(self._provider.thought_marks)
            message.update({"content": "", field: sent})
        elif thinking:
            sent = f"{reasoning.OPEN}\n{sent}"
        elif not inline.thinking and (thoughts or inline.thoughts):
            if field is not None:
                message[field] = thoughts or inline.thoughts
            elif self._provider.closes_block and reasoning.wants_closed_block(self._model):
                sent = f"{reasoning.OPEN}\n\n{reasoning.CLOSE}\n\n{sent}"
        message.setdefault("content", sent)
        messages: list[Any] = list(self._body["messages"])
        if self._is_prefilled():
            last = cast(Json, messages.pop())
            # A server that echoes has given the caller's own beginning back with the first round.
            grown = sent if self._provider.echoes and content else _grown(last.get("content"), message["content"])
            message = {**last, **message, "content": grown}
        else:
            message = {"role": "assistant", **message}
        joint = seam.Joint(
            held=held,
            exact=hold is Hold.TO_WORD,
            trims=self._trims,
            echo=self._echo(sent, streamed=bool(body.get("stream"))),
            start=seam.evidence(text, self._evidence) if first and not thinking else "",
        )
        return {**body, **marks, "messages": [*messages, message]}, joint

    def _held(self, text: str, hold: Hold) -> str:
        if hold is Hold.NOTHING:
            return ""
        if hold is Hold.TO_WORD:
            return seam.held_to_word(text)
        return seam.held_whitespace(text, trims=self._trims)

    def _echo(self, sent: str, *, streamed: bool) -> str:
        echoes = self._provider.echoes
        return sent if echoes == "always" or (echoes == "whole" and not streamed) else ""

    def _is_prefilled(self) -> bool:
        """Tell whether the caller's last message is the beginning of the answer, as the provider marks one."""
        last = obj(self._body["messages"][-1])
        return (
            last is not None
            and last.get("role") == "assistant"
            and all(self._body.get(name) == value for name, value in self._provider.body_marks.items())
            and all(last.get(name) == value for name, value in self._provider.message_marks.items())
        )


def _grown(content: object, text: str) -> object:
    """Append text to a message's content: a string, None, or a list of parts, whose last text part grows."""
    if not isinstance(content, list):
        return (string(content) or "") + text
    parts = list(cast("list[Any]", content))
    last = obj(parts[-1]) if parts else None
    if last is not None and isinstance(last.get("text"), str):
        return [*parts[:-1], {**last, "text": last["text"] + text}]
    return [*parts, {"type": "text", "text": text}]
