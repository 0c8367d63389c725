"""
The raw codec: the text so far goes back to ``/completions``, as the first prompt and all that was generated after it.

What comes of a chat is the model's own text. It is read as a server reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..._tables.providers import Provider
from ..calls.model_text import ModelText
from ..calls.tools import Tools
from ..chunks import choices_of
from ..json import Json, as_string
from ..plan import Source
from ..text.reasoning import CLOSE, OPEN, Inline
from ..text.seam import Seam, Stopped
from .codec import Read
from .draft import Draft
from .tail import Tail
from .text_shape import raw_as_chat

#: Fields of a chat request that ``/completions`` does not have, or has in another form.
_OF_CHAT = frozenset(
    (
        *("messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format"),
        *("logprobs", "top_logprobs", "max_completion_tokens", "reasoning_effort", "reasoning", "include_reasoning"),
        *("chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message", "thinking"),
        *("modalities", "audio", "prediction", "web_search_options", "documents", "reasoning_format"),
        *("enable_thinking", "separate_reasoning", "return_token_ids", "verbosity"),
    )
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a chat template makes of a request."""

    #: The prompt, up to where the model begins to write.
    prompt: str = field(repr=False)
    #: What the model writes before its thoughts, and between them and its answer.
    opening: str
    closing: str
    #: Whether the template shows these two, and not only the models that are known.
    shows_thoughts: bool
    #: The token that begins each text, if the prompt begins with it, else "".
    bos: str
    #: Whether the prompt lacks that token, because nothing says what it is.
    lacks_bos: bool
    #: The mark that ends an answer, such as "<|im_end|>", or "". A server whose own it is never shows it.
    mark: str = ""


@dataclass(frozen=True, slots=True)
class ThinkForm:
    """
    What stands around the thoughts in the model's own text.

    Servers' parsers differ in the whitespace that they leave out (measured): vLLM's leave out none, but GLM's puts what
    is before the tag at the head of the thoughts; llama-server leaves out what its template writes.
    """

    #: What the model writes before its thoughts, if the prompt does not open the block; between them and the answer.
    opening: str
    closing: str
    #: What the prompt ends in after the opening tag; None if the prompt does not open the block.
    opened: str | None
    #: Whether the server's parser leaves out what its template writes. None: it is seen from what came.
    strips: bool | None
    #: Whether the template shows this form, and not only the models that are known.
    is_shown: bool

    def written(self, thoughts: str, answer: str, *, closed: bool, ours: bool) -> str:
        """
        Return thoughts and an answer as the model writes them.

        ``closed``: whether the thoughts have ended; ``ours``: whether we have closed them.
        """
        text = self._begun(thoughts)
        if not closed:
            return text
        return text + (CLOSE if answer and not ours and self._has_gap(answer) else self._closing(text)) + answer

    def _has_gap(self, answer: str) -> bool:
        """Whether an answer has all whitespace between it and the thoughts."""
        if self.strips is False or (self.strips and self.is_shown):
            return not self.strips
        gap = self.closing.partition(CLOSE)[2]
        return answer.startswith(gap) or gap.startswith(answer)

    def _begun(self, thoughts: str) -> str:
        if self.opened is not None:
            return thoughts.removeprefix(self.opened) if self.strips and not self.is_shown else thoughts
        # Thoughts that begin with whitespace have all of it.
        if self.strips or (self.strips is None and not thoughts[:1].isspace()):
            return self.opening + thoughts
        lead = self.opening.partition(OPEN)[0]
        return self.opening.rstrip() + (thoughts.removeprefix(lead) if lead else thoughts)

    def _closing(self, text: str) -> str:
        """Return what closes the block after this text, which may end in the beginning of it."""
        before, _, after = self.closing.partition(CLOSE)
        return f"{'' if before and text.endswith(before) else before}{CLOSE}{after}"

    def gap_after(self, thoughts: str) -> str:
        """Return the whitespace between these thoughts and the answer that the server leaves out."""
        strips = self.strips
        if strips is None:
            # It has left out the whitespace before them.
            within = "" if self.opened is not None else self.opening.partition(OPEN)[2]
            strips = bool(within) and not thoughts[:1].isspace()
        return self.closing.partition(CLOSE)[2] if strips and self.is_shown else ""

    def inline(self, content: str) -> str:
        """
        Return an answer whose thoughts, if it has any, are in its text.

        Without its parser, llama-server puts the tag that opens the block in front, also if the prompt has it, and
        leaves out what is before it (measured).
        """
        if self.opened is not None:
            return content.removeprefix(OPEN + self.opened)
        lead = self.opening.partition(OPEN)[0] if self.is_shown else ""
        return lead + content if content.startswith(OPEN) else content

    def is_within(self, content: str) -> bool:
        """Whether a text is what stands before thoughts, so that they have begun though the server shows none."""
        if self.opened is not None:
            return not content.strip()
        return self.opening.startswith(content) or content.strip() == OPEN


@dataclass(frozen=True, slots=True)
class RawChat:
    """What a chat has as a raw prompt that a text completion has not."""

    #: How the model writes thoughts.
    think: ThinkForm
    #: Fields of the body that make the server read the prompt as it is.
    fields: Mapping[str, Any]
    #: A mark in the text that the model writes if the template is not its own, or "".
    mark: str
    #: The tools that the model may call, or None.
    tools: Tools | None

    def reader(self, draft: Draft) -> ModelText:
        """Return the reader of the text that comes after this draft."""
        tools = None if draft.source is Source.CALL else self.tools
        return ModelText(
            None if tools is None else tools.reader(),
            gap=self.think.gap_after(draft.thoughts) if draft.source is Source.REASONING else None,
            mark="" if self.mark in draft.content + draft.thoughts else self.mark,
        )


class RawCodec:
    """
    Writes the prompts of later rounds.

    ``start``: the first prompt. ``chat``: None for a text completion, whose text is read as it is.
    """

    is_raw = True
    has_other_form = False

    def __init__(self, body: Mapping[str, Any], provider: Provider, start: str, chat: RawChat | None = None) -> None:
        self._body = body
        self._provider = provider
        self._start = start
        self._chat = chat
        self._think = None if chat is None else chat.think
        #: How much is held back at its seams.
        self.tail = Tail(body.get("model"), trims=False)
        # Reads the running round; None if its text is read as it is.
        self._reader: ModelText | None = None

    @classmethod
    def of_chat(
        cls, body: Mapping[str, Any], provider: Provider, rendered: Rendered, tools: Tools | None
    ) -> RawCodec | None:
        """Return the codec of a chat request, or None if the server would not read the same prompt as it did."""
        start = rendered.prompt.removeprefix(rendered.bos) if provider.adds_bos else rendered.prompt
        fields = dict(provider.raw_fields)
        if rendered.lacks_bos and not provider.adds_bos and fields.pop("add_special_tokens", None) is None:
            return None
        bare = rendered.prompt.rstrip()
        opened = rendered.prompt[len(bare) :] if bare.endswith(OPEN) else None
        strips, shown = provider.strips_thoughts, rendered.shows_thoughts
        form = ThinkForm(rendered.opening, rendered.closing, opened, strips, shown)
        # An answer about chat templates may have it in its text.
        is_said = rendered.mark in json.dumps(body.get("messages"), ensure_ascii=False, default=str)
        return cls(body, provider, start, RawChat(form, fields, "" if is_said else rendered.mark, tools))

    @property
    def can_answer(self) -> bool:
        """Whether an answer can be asked for without further thoughts."""
        return self._chat is not None

    def bar(self, draft: Draft) -> str | None:
        """Return why this text cannot go on (a value of ``Report.stopped_by``), or None if it can."""
        content, thoughts = draft.content, draft.thoughts
        if self._think is not None and not thoughts and content and self._think.is_within(content):
            return "reasoning"
        return None if content or thoughts else "empty"

    def write(self, body: Json, draft: Draft) -> tuple[Json, Seam]:
        """Return the body with the prompt so far, and the seam where the next round meets the text."""
        text = draft.thoughts if draft.is_thinking else draft.content
        # Of a prompt that the server has repeated, nothing is held back.
        repeated = self._repeated(text)
        new = text[len(repeated) :]
        sent, seam = self.tail.cut(new, draft, Inline(False, "", new))
        self._reader = None if self._chat is None else self._chat.reader(draft)
        return self._with_prompt(body, self._generated(repeated + sent, draft)), replace(seam, first=draft.unproven)

    def read(self, chunk: Json) -> Read:
        """Read a chunk: in the shape of chat, parted at its tags and calls."""
        if self._reader is None:
            return Read(chunk)
        shaped = cast(Json, raw_as_chat(chunk))
        items = choices_of(chunk) or []
        if len(items) != 1:
            return Read(shaped)
        written = as_string(items[0].get("text")) or ""
        is_other = self._reader.shows_mark(written)
        shaped = self._reader.chunk(shaped)
        barred = "tool_call" if self._reader.is_broken else None
        return Read(shaped, written, Stopped.WRONG_PROMPT if is_other else None, barred)

    def rest(self) -> Json:
        """Return as a delta what was read and is not given out yet: the answer ends here."""
        return {} if self._reader is None else self._reader.rest()

    def _generated(self, sent: str, draft: Draft) -> str:
        """Return what the model has generated, as far as it is sent."""
        if self._think is None:
            return sent
        if not draft.thoughts:
            return self._think.inline(sent)
        if draft.is_thinking:
            return self._think.written(sent, "", closed=False, ours=False)
        return self._think.written(draft.thoughts, sent, closed=True, ours=draft.early)

    def _with_prompt(self, body: Json, generated: str) -> Json:
        if self._chat is None:
            return {**body, "prompt": self._joined(generated)}
        kept = {name: value for name, value in body.items() if name not in _OF_CHAT}
        if body.get("logprobs"):
            kept["logprobs"] = body.get("top_logprobs") or 1
        asked = body.get("max_completion_tokens", body.get("max_tokens"))
        if asked is None:
            asked = self._provider.completion_tokens_asked
        if asked is not None:
            kept["max_tokens"] = asked
        return {**kept, **self._chat.fields, "prompt": self._joined(generated)}

    def _joined(self, generated: str) -> str:
        return self._start + generated.removeprefix(self._repeated(generated))

    def _repeated(self, text: str) -> str:
        """Return the prompt if a text begins with it because the server repeats it (``echo``), else ""."""
        repeats = self._think is None and self._body.get("echo") and text.startswith(self._start)
        return self._start if repeats else ""
