"""The chat codec: the text so far goes back as the last message, the prefill. What comes is read as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ..._tables.families import is_of
from ..._tables.providers import Provider
from ..json import Json, as_object, as_string
from ..text import reasoning, seam
from ..text.evidence import Evidence
from ..text.reasoning import Inline
from ..text.seam import Seam
from .codec import Read
from .draft import Draft
from .tail import Tail

#: Characters that must recur for a continuation to count as a restart. A document of a known format is known from its
#: first few, unless a value may begin at the seam that is like the document itself.
RESTART_EVIDENCE = 64
RESTART_EVIDENCE_STRUCTURED = 16


class ChatCodec:
    """
    Writes the last message of every later round of a call.

    It has one of four forms: an answer, thoughts in a field of their own, thoughts as an open tag, or the caller's own
    beginning of the answer, which grows.
    """

    is_raw = False

    def __init__(
        self,
        body: Mapping[str, Any],
        provider: Provider,
        *,
        trims: bool | None,
        structured: bool,
        closes: bool | None = None,
    ) -> None:
        self._body = body
        self._model = body.get("model")
        self._provider = provider
        #: How much is held back at its seams.
        self.tail = Tail(self._model, trims=trims)
        self._structured = structured
        # Whether an empty think block goes before an answer whose thoughts are not sent (``closes``: whether that is
        # known to work), and whether the last request had one.
        closes = is_of(provider.closed_block_of, self._model) if closes is None else closes
        self._closes = bool(provider.closed_block) and closes
        self._closed = False
        # Whether the other form was tried.
        self._changed = False

    def part(self, content: str, thoughts: str = "") -> Inline:
        """Part content at its think block. It has none if thoughts came in a field of their own."""
        return Inline(False, "", content) if thoughts else Inline.of(content, self._model)

    def own(self, content: str) -> str:
        """Return the caller's own beginning of the answer, or "" if there is none or ``content`` begins with it."""
        own = _text_of(self._body["messages"][-1].get("content")) if self._is_prefilled() else ""
        echoes = bool(self._provider.echoes or self._body.get("echo"))
        return "" if echoes and content.startswith(own) else own

    # May it go back?

    def bar(self, draft: Draft) -> str | None:
        """Return why this text cannot go back (a value of ``Report.stopped_by``), or None if it can."""
        messages = self._body.get("messages")
        if not isinstance(messages, list) or not messages:
            return "unsupported"
        last = as_object(cast("list[Any]", messages)[-1])
        if last is None or (self._is_prefilled() and last.get("tool_calls")):
            return "unsupported"
        thoughts = "" if draft.early else draft.thoughts
        inline = self.part(draft.content, thoughts)
        if draft.is_thinking or inline.thinking:
            return None if self._can_think_on(thoughts) else "reasoning"
        if thoughts and self._is_prefilled():
            # Nothing shows which part of the thoughts the caller's own beginning holds.
            return "reasoning"
        beside = bool(thoughts) and self._provider.thought_field is not None
        # Leading newlines of an answer whose thoughts go beside it are the template's affair.
        if inline.answer.strip() if self.tail.trims else inline.answer.strip("\n") if beside else inline.answer:
            return None
        if inline.thoughts and self._closes:
            return None
        return "reasoning" if thoughts or inline.thoughts else "empty"

    def _can_think_on(self, thoughts: str) -> bool:
        """Whether thoughts that were cut can go on."""
        if not thoughts or self._is_prefilled():
            # They are inline: the server gave them so, or the caller began them.
            opened = not thoughts or reasoning.OPEN in _text_of(self._body["messages"][-1].get("content"))
            raw = self._provider.thought_marks is None and self._provider.echoes is None
            return opened and raw and is_of("taking", self._model)
        if self._provider.thought_marks is not None:
            return bool(thoughts.strip())
        return self._provider.echoes is None and is_of("taking", self._model)

    # How it goes back.

    def write(self, body: Json, draft: Draft) -> tuple[Json, Seam]:
        """Return the body with the text so far as its last message, and the seam where the next round meets it."""
        if draft.early and (not draft.content or not self._provider.answers_beside):
            body = self._without_thinking(body)
            if not draft.content:
                return self._closed_thoughts(body, draft)
            draft = replace(draft, thoughts="")
        inline = self.part(draft.content, draft.thoughts)
        text = self._continued(draft, inline)
        known, seam = self.tail.cut(text, draft, inline)
        marks, message, sent = self._formed(known, draft, inline, held=bool(seam.held), empty=not text)
        open_answer = not (draft.is_thinking or inline.thinking)
        start = self._beginning(text, thinking=not open_answer) if draft.unproven or open_answer else ""
        met = replace(
            seam,
            replaces=seam.replaces and not self._is_prefilled(),
            echo=self._echo(sent, streamed=draft.streamed),
            starts=(start,) if start and (self._structured or not open_answer) else (),
            start=start if open_answer else "",
            first=draft.unproven,
            block=reasoning.OPEN if open_answer and not reasoning.has_opening(inline.answer) else "",
            evidence=Evidence(known) if draft.unproven and open_answer else None,
            with_thoughts=self._needs_thoughts(message) and not draft.is_thinking,
        )
        return {**body, **marks, "messages": [*self._history(), message]}, met

    def _needs_thoughts(self, message: Json) -> bool:
        """Whether the thoughts are sent in a field of the message, and the answer must not go on without them."""
        field = self._provider.thought_field
        return field is not None and bool(message.get(field)) and not self._provider.thoughts_optional

    @property
    def can_answer(self) -> bool:
        """Whether an answer can be asked for without thoughts."""
        return self._provider.answer_fields is not None and not self._is_prefilled()

    def _closed_thoughts(self, body: Json, draft: Draft) -> tuple[Json, Seam]:
        """Return the body that asks for the answer to thoughts that were cut, and its seam."""
        if not self._provider.answers_beside:
            return body, Seam()
        message = self._message("", **{str(self._provider.thought_field): draft.thoughts.strip("\n")})
        marks = {name: value for name, value in self._provider.body_marks.items() if name not in body}
        body = {**body, **marks, "messages": [*self._history(), message]}
        return body, Seam(with_thoughts=True, first=draft.unproven)

    def _without_thinking(self, body: Json) -> Json:
        """Return a body that asks for an answer without thoughts."""
        fields = dict(self._provider.answer_fields or {})
        for name, value in fields.items():
            known = as_object(body.get(name))
            if known is not None and isinstance(value, Mapping):
                fields[name] = {**known, **cast("Mapping[str, Any]", value)}
        return {**body, **fields}

    def _formed(self, sent: str, draft: Draft, inline: Inline, *, held: bool, empty: bool) -> tuple[Json, Json, str]:
        """Return the marks of the body, the last message, and the text in it that a server may repeat."""
        marks = dict(self._provider.body_marks)
        field = self._provider.thought_field
        self._closed = False
        if self._is_prefilled():
            message = self._callers_own(sent)
        elif draft.is_thinking and field is not None and self._provider.thought_marks is not None:
            return {**marks, **self._provider.thought_marks}, self._message("", **{field: sent}), sent
        elif draft.is_thinking:
            message = self._message(f"{reasoning.OPEN}\n{sent}")
        elif inline.thinking:
            message = self._message(sent)
        else:
            message = self._answer(sent, draft.thoughts, inline, held=held, empty=empty)
        return marks, message, _text_of(message["content"])

    # How it is read.

    def read(self, chunk: Json) -> Read:
        """Return a chunk as it is."""
        return Read(chunk)

    def rest(self) -> Json:
        """Return an empty delta: all that was read is given out."""
        return {}

    # What the server refuses, or what makes it think again.

    @property
    def has_other_form(self) -> bool:
        """Whether an answer after thoughts can go back in another form, which this call has not tried."""
        return bool(self._provider.closed_block) and not self._changed

    def change_form(self) -> None:
        """
        Send the other form of an answer after thoughts from now on.

        A model that thinks again may do so because of the missing block, or because of it.
        """
        self._changed, self._closes = True, not self._closes

    @property
    def changed_to(self) -> bool | None:
        """Whether a closed block goes before the answer, if that form was changed in this call, else None."""
        return self._closes if self._changed else None

    def may_leave_out_thoughts(self, said: str) -> bool:
        """Whether the thoughts beside an answer may be left out, and the server refuses their field in these words."""
        field = self._provider.thought_field
        return field is not None and field in said and self._provider.thoughts_optional

    def leave_out_thoughts(self) -> None:
        """Send answers without their thoughts from now on."""
        self._provider = replace(self._provider, thought_field=None, thoughts_optional=False)

    @property
    def has_block(self) -> bool:
        """Whether the last request had a think block before the answer."""
        return self._closed

    def drop_block(self) -> None:
        """
        Leave out the think block before the answer from now on, because the server has refused it.

        The templates of distilled models, and vLLM with any of the family, take no message that holds a block.
        """
        self._closed = self._closes = False

    def _continued(self, draft: Draft, inline: Inline) -> str:
        """Return the text that the round continues."""
        if draft.is_thinking:
            return draft.thoughts
        return draft.content if self._is_prefilled() or inline.thinking else inline.answer

    def _history(self) -> list[Any]:
        """Return the caller's messages without their own beginning of the answer."""
        messages: list[Any] = self._body["messages"]
        return messages[:-1] if self._is_prefilled() else messages

    def _message(self, content: str, **fields: Any) -> Json:
        return {"role": "assistant", **self._provider.message_marks, **fields, "content": content}

    def _answer(self, sent: str, thoughts: str, inline: Inline, *, held: bool, empty: bool) -> Json:
        """Return an answer, with its thoughts beside it or a closed block before it if the provider wants one."""
        if not thoughts and not inline.thoughts and not (self._changed and self._closes):
            return self._message(sent)
        if self._provider.thought_field is not None and not self._closes:
            # Templates set the newlines beside the tags, so those that came would be there twice.
            kept = thoughts.strip("\n") or inline.thoughts
            return self._message(sent.lstrip("\n"), **{self._provider.thought_field: kept})
        if not self._closes:
            return self._message(sent)
        self._closed = not empty
        block = self._provider.closed_block
        if not inline.thoughts:
            return self._message(block + sent)
        gap = inline.gap if sent or not held else ""
        return self._message(f"{block.rstrip()}{gap}{sent}")

    def _callers_own(self, sent: str) -> Json:
        """Return the caller's own beginning of the answer with the text so far at its end."""
        last = cast(Json, self._body["messages"][-1])
        own = _text_of(last.get("content"))
        grown = _appended(last.get("content"), sent)
        if own and (self._provider.echoes or self._body.get("echo")):
            # The server gave the beginning back with the first round; a part of it may be held back.
            if sent.startswith(own):
                grown = _appended(last.get("content"), sent[len(own) :])
            elif own.startswith(sent):
                grown = sent
        return {**last, **self._provider.message_marks, "content": grown}

    def _beginning(self, text: str, *, thinking: bool) -> str:
        """Return the beginning that shows that the answer begins again, or "" if there is none."""
        length = RESTART_EVIDENCE
        if self._structured and not thinking and text.rstrip()[-1:] not in (":", ",", "["):
            length = RESTART_EVIDENCE_STRUCTURED
        return seam.evidence(text, length)

    def _echo(self, sent: str, *, streamed: bool) -> str:
        echoes = self._provider.echoes
        return sent if echoes == "always" or (echoes == "whole" and not streamed) else ""

    def _is_prefilled(self) -> bool:
        """Whether the caller's last message is the beginning of the answer, marked as the provider wants it."""
        messages = self._body.get("messages")
        last = as_object(cast("list[Any]", messages)[-1]) if isinstance(messages, list) and messages else None
        if last is None or last.get("role") != "assistant":
            return False
        return self._provider.needs_no_marks or (
            all(self._body.get(name) == value for name, value in self._provider.body_marks.items())
            and all(last.get(name) == value for name, value in self._provider.message_marks.items())
        )


def _text_of(content: object) -> str:
    """Return the text of a message's content: a string, None, or a list of parts."""
    if not isinstance(content, list):
        return as_string(content) or ""
    parts = map(as_object, cast("list[Any]", content))
    return "".join(as_string(part.get("text")) or "" for part in parts if part is not None)


def _appended(content: object, text: str) -> object:
    """Return a copy of a message's content with ``text`` at its end; in a list, in its last part if that is text."""
    if not isinstance(content, list):
        return _text_of(content) + text
    parts = list(cast("list[Any]", content))
    last = as_object(parts[-1]) if parts else None
    if last is not None and isinstance(last.get("text"), str):
        return [*parts[:-1], {**last, "text": last["text"] + text}]
    return [*parts, {"type": "text", "text": text}]
