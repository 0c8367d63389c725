"""The request of a further round: what goes back of the answer so far, in which form, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, cast

from ..providers import Provider
from . import reasoning, seam
from .jsons import Json, as_object, as_string
from .reasoning import Inline

#: Characters that must be the same for a continuation to count as the answer begun anew. A document of known format
#: is known from its first few, where no value may begin at the seam that is like the document itself.
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
        self._structured = structured
        #: Only at temperature 0 does the model write the same punctuation again.
        self.hold = Hold.TO_WORD if trims and body.get("temperature") == 0 else Hold.WHITESPACE
        #: Whether an empty think block stands before an answer, and whether it stood in the last request.
        self._closes = bool(provider.closed_block) and reasoning.is_of(provider.closed_block_of, self._model)
        self._closed = False

    def less(self, hold: Hold) -> Hold | None:
        """Return the next smaller hold to try; None where less cannot be held back without doubling it."""
        least = Hold.WHITESPACE if self._trims else Hold.NOTHING
        return Hold(hold - 1) if hold > least else None

    def part(self, content: str, thoughts: str = "") -> Inline:
        """Part content at its think block; where thoughts came in a field of their own, it has none."""
        return Inline(False, "", content) if thoughts else Inline.of(content, self._model)

    def bar(self, content: str, thoughts: str) -> str | None:
        """Say why this text cannot go back; None where it can."""
        messages = self._body.get("messages")
        if not isinstance(messages, list) or not messages:
            return "unsupported"
        last = as_object(cast("list[Any]", messages)[-1])
        if last is None or (self._is_prefilled() and last.get("tool_calls")):
            return "unsupported"
        inline = self.part(content, thoughts)
        if (thoughts and not content) or inline.thinking:
            return None if self._thinks_on(thoughts) else "reasoning"
        if thoughts and self._is_prefilled():
            # Nothing tells what of it stands on which side of the caller's own beginning.
            return "reasoning"
        if inline.answer.strip() if self._trims else inline.answer:
            return None
        if inline.thoughts and self._closes:
            return None
        return "reasoning" if thoughts or inline.thoughts else "empty"

    def _thinks_on(self, thoughts: str) -> bool:
        """Tell whether thoughts that were cut can go on."""
        if not thoughts or self._is_prefilled():
            # Inline, as the server gave them or the caller began them.
            opened = not thoughts or reasoning.OPEN in _text_of(self._body["messages"][-1].get("content"))
            raw = self._provider.thought_marks is None and self._provider.echoes is None
            return opened and raw and reasoning.is_of("taking", self._model)
        if self._provider.thought_marks is not None:
            return bool(thoughts.strip())
        return self._provider.echoes is None and reasoning.is_of("taking", self._model)

    def write(self, body: Json, content: str, thoughts: str, hold: Hold, *, first: bool) -> tuple[Json, seam.Seam]:
        """
        Return the body with the text so far at its end, and the seam that its answer is to be joined at.

        ``first``: no text of a choice was continued yet, so that the server may show that it begins anew.
        """
        inline = self.part(content, thoughts)
        prefilled = self._is_prefilled()
        thinking = bool(thoughts) and not content
        raw = prefilled or inline.thinking
        text = thoughts if thinking else content if raw else inline.answer
        # A tag has no word that could be gone back to.
        hold = min(hold, Hold.WHITESPACE) if inline.thinking else hold
        held = self._held(text, hold)
        if self._trims and inline.thoughts and not inline.thinking and not text:
            held = inline.gap
        sent = text[: len(text) - len(held)]
        marks = dict(self._provider.body_marks)
        message: Json = {**self._provider.message_marks}
        field = self._provider.thought_field
        self._closed = False
        if thinking and field is not None and self._provider.thought_marks is not None:
            marks.update(self._provider.thought_marks)
            message.update({"content": "", field: sent})
        elif thinking and not prefilled:
            sent = f"{reasoning.OPEN}\n{sent}"
        elif not raw and (thoughts or inline.thoughts):
            if field is not None:
                # Templates set the newlines beside the tags; Nemotron 3's would double those that came.
                message[field] = thoughts.strip("\n") or inline.thoughts
            elif self._closes:
                self._closed = bool(text)
                block = self._provider.closed_block
                gap = inline.gap if sent or not held else ""
                sent = f"{block.rstrip()}{gap}{sent}" if inline.thoughts else block + sent
        message.setdefault("content", sent)
        messages: list[Any] = list(self._body["messages"])
        if prefilled:
            last = cast(Json, messages.pop())
            message = {**last, **message, "content": self._grown(last.get("content"), sent)}
            sent = _text_of(message["content"])
        else:
            message = {"role": "assistant", **message}
        joint = seam.Seam(
            held=held,
            exact=hold is Hold.TO_WORD,
            trims=self._trims,
            echo=self._echo(sent, streamed=bool(body.get("stream"))),
            starts=self._starts(text, inline, thinking=thinking or inline.thinking) if first else (),
        )
        return {**body, **marks, "messages": [*messages, message]}, joint

    def drops_block(self) -> bool:
        """
        Leave out the think block before the answer, which the server has refused; tell whether there was one.

        The templates of distilled models, and vLLM with any of the family, take no message that holds a block.
        """
        dropped, self._closed = self._closed, False
        self._closes = self._closes and not dropped
        return dropped

    def _starts(self, text: str, inline: Inline, *, thinking: bool) -> tuple[str, ...]:
        """Return the beginnings that show an answer begun anew."""
        length = RESTART_EVIDENCE
        if self._structured and not thinking and text.rstrip()[-1:] not in (":", ",", "["):
            length = RESTART_EVIDENCE_STRUCTURED
        start = seam.evidence(text, length)
        block = reasoning.OPEN if inline.thoughts and not thinking else ""
        return tuple(beginning for beginning in (start, block) if beginning)

    def _grown(self, content: object, text: str) -> object:
        """Append text to the caller's own beginning; a server that echoes has given that back with the first round."""
        own = _text_of(content)
        if own and (self._provider.echoes or self._body.get("echo")):
            if text.startswith(own):
                text = text[len(own) :]
            elif own.startswith(text):
                return text
        return _appended(content, text)

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
        last = as_object(self._body["messages"][-1])
        if last is None or last.get("role") != "assistant":
            return False
        return self._provider.needs_no_marks or (
            all(self._body.get(name) == value for name, value in self._provider.body_marks.items())
            and all(last.get(name) == value for name, value in self._provider.message_marks.items())
        )


def _text_of(content: object) -> str:
    """Return the text of a message's content: a as_string, None, or a list of parts."""
    if not isinstance(content, list):
        return as_string(content) or ""
    parts = map(as_object, cast("list[Any]", content))
    return "".join(as_string(part.get("text")) or "" for part in parts if part is not None)


def _appended(content: object, text: str) -> object:
    """Append text to a message's content; of a list of parts the last text part grows."""
    if not isinstance(content, list):
        return _text_of(content) + text
    parts = list(cast("list[Any]", content))
    last = as_object(parts[-1]) if parts else None
    if last is not None and isinstance(last.get("text"), str):
        return [*parts[:-1], {**last, "text": last["text"] + text}]
    return [*parts, {"type": "text", "text": text}]
