"""
Chat templates: the setting ``template``.

A chat template makes the messages of a request the text that a model reads. With it, what a model has generated so far
can go back to ``/completions`` as it is. Rendering needs jinja2: the extra "template".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any, cast

from .._core.codec.raw import Rendered
from .._core.json import Json, as_object
from .._core.text.reasoning import CLOSE, OPEN

logger = logging.getLogger("openai_continue")

# Stand for thoughts and an answer, to see what the template puts around them.
_THOUGHTS, _ANSWER = "thoughts-of-openai-continue", "answer-of-openai-continue"
# Stands for a token that is not known. Only the one that begins a text can be left to the server.
_UNKNOWN = "token-of-openai-continue"
# What Qwen, DeepSeek and others write around thoughts, if the template does not show it.
_OPENING, _CLOSING = f"{OPEN}\n", f"\n{CLOSE}\n\n"
# What ends an answer: "<|im_end|>", "</s>".
_MARK = re.compile(r"\s*<[^<>\n]{2,40}>")
# A tag of the transformers library: it marks what the model generates.
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Template:
    """
    A chat template, and the special tokens that it prints.

    Some models have several by name. With tools, engines take that for tools (transformers, vLLM and llama.cpp).
    """

    #: The default one, or "" if there is none.
    source: str = field(repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict[str, str])
    #: The one for requests with tools, or "" if it is the default one.
    tool_use: str = field(default="", repr=False)

    def render(self, body: Mapping[str, Any], day: datetime) -> Rendered | None:
        """
        Return what the template makes of a request, or None if it cannot be said.

        That is so with images and other parts that are no text, with the caller's own beginning of an answer, with a
        template in the request, or without the generation prompt, if the template refuses the messages or is stopped,
        and if it prints a token that is not known.
        ``day``: what the template takes for today.
        """
        messages = _messages(body)
        source = self.tool_use if self.tool_use and body.get("tools") is not None else self.source
        if not source or not messages or messages[-1].get("role") == "assistant":
            return None
        if body.get("chat_template") or body.get("add_generation_prompt") is False:
            return None
        extra = body.get("chat_template_kwargs")
        values: dict[str, Any] = {"bos_token": "", "eos_token": _UNKNOWN, **self.tokens}
        values.update({name: body.get(name) for name in ("tools", "documents")})
        if isinstance(body.get("reasoning_effort"), str):
            values["reasoning_effort"] = body["reasoning_effort"]
        values.update(cast("Mapping[str, Any]", extra) if isinstance(extra, Mapping) else {})
        try:
            template = compiled(source)
            now = {"strftime_now": day.strftime}
            prompt = template.render(messages=messages, add_generation_prompt=True, **now, **values)
        except Exception as error:
            # A template may raise anything; its message may hold what the caller said.
            logger.warning("the chat template could not be rendered (%s)", type(error).__name__)
            return None
        if _UNKNOWN in prompt:
            logger.warning("the chat template prints eos_token; give the folder that has its tokenizer_config.json too")
            return None
        bos = self.tokens.get("bos_token") or ""
        whole = _with_answer(template, messages, {**now, **values})
        around = _around_thoughts(whole, prompt)
        opening, closing = around or ("" if prompt.rstrip().endswith(OPEN) else _OPENING, _CLOSING)
        lacks_bos = "bos_token" in source and not bos
        shown = around is not None
        mark = _MARK.match(whole.partition(_ANSWER)[2])
        return Rendered(
            prompt=prompt,
            opening=opening,
            closing=closing,
            shows_thoughts=shown,
            bos=bos if bos and prompt.startswith(bos) else "",
            lacks_bos=lacks_bos,
            mark="" if mark is None or _UNKNOWN in mark[0] else mark[0].lstrip(),
        )


def _with_answer(template: Any, messages: list[Json], values: Mapping[str, Any]) -> str:
    """Return what the template makes of the messages and an answer with thoughts, or "" if it refuses them."""
    answer = {"role": "assistant", "content": _ANSWER, "reasoning_content": _THOUGHTS}
    try:
        return str(template.render(messages=[*messages, answer], add_generation_prompt=False, **values))
    except Exception:
        return ""


def _around_thoughts(whole: str, prompt: str) -> tuple[str, str] | None:
    """Return what stands before and after the thoughts of an answer, or None if the template drops them."""
    before, found, after = whole.partition(_THOUGHTS)
    closing, ends, _ = after.partition(_ANSWER)
    if not found or not ends:
        return None
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, prompt, strict=False)))
    return before[common:], closing


@lru_cache(maxsize=32)
def compiled(source: str) -> Any:
    """Return a compiled template. Raise whatever jinja2 and Python raise of a source that is none."""
    from .template_sandbox import Environment

    return Environment().from_string(_GENERATION.sub("", source))


def _messages(body: Mapping[str, Any]) -> list[Json]:
    """Return the messages as engines give them to a template; [] if they hold more than text."""
    items = body.get("messages")
    listed = cast("list[object]", items) if isinstance(items, list) else []
    found = [_message(as_object(item) or {}) for item in listed]
    return [message for message in found if message is not None] if None not in found else []


def _message(item: Json) -> Json | None:
    """Return a message with its content as one text, or None if it has other content."""
    content: object = item.get("content")
    if isinstance(content, list):
        parts = [as_object(part) or {} for part in cast("list[object]", content)]
        # Engines join several parts in different ways.
        content = parts[0].get("text") if len(parts) == 1 and parts[0].get("type") == "text" else parts
    if content is not None and not isinstance(content, str):
        return None
    calls = item.get("tool_calls")
    listed = {"tool_calls": [_call(call) for call in cast("list[object]", calls)]} if isinstance(calls, list) else {}
    return {**item, "content": content, **listed}


def _call(call: object) -> object:
    """Return a call whose arguments are an object, as templates expect."""
    known = as_object(call) or {}
    function = as_object(known.get("function")) or {}
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        return call
    return {**known, "function": {**function, "arguments": arguments}}
