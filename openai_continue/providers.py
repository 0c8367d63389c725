"""
The provider table: what each server needs to continue an answer, as data.

A new provider is a row here and a test of the request that the row builds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One server's habits."""

    name: str
    #: Endings of the host in ``base_url``; "example.com" stands for its subdomains too.
    hosts: tuple[str, ...] = ()
    #: Beginning of the path of ``base_url``, where the host serves something else beside it.
    path: str = ""
    #: False: the server starts anew or answers 400; such calls are passed through untouched.
    continues: bool = True
    #: Most output tokens that one answer gets, whatever was asked; None: no cap but the context.
    cap: int | None = None
    #: Tokens to ask for in a further round of a request that names no limit, where the server's default is small.
    asks: int | None = None
    #: The names of the token limit that the server reads, the one that wins first.
    limit_names: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    #: What marks a continuation: fields of the request's body, and of its last message.
    body_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    message_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Whether a trailing assistant message is continued without these marks too.
    needs_no_marks: bool = False
    #: Whether the server trims the message sent back, whatever the model; None: by model family.
    trims: bool | None = None
    #: Which answers begin with a copy of what was sent back: "always", or the "whole" (not streamed) ones; None: none.
    echoes: str | None = None
    #: The field of the last message in which thoughts go back; and what marks the body, beside ``body_marks``, where
    #: they were cut and are to go on; None: in this field they cannot.
    thought_field: str | None = None
    thought_marks: Mapping[str, Any] | None = None
    #: What stands before an answer that goes back without its thoughts, by the model's family in reasoning.py.
    closed_block: str = ""
    closed_block_of: str = "r1"
    #: False: streams carry usage only where ``stream_options.include_usage`` asks for it.
    streams_usage: bool = False


_PREFIX = {"prefix": True}
_PARTIAL = {"partial": True}
_OPENAI_FIRST = ("max_completion_tokens", "max_tokens")
_ONE_LIMIT = ("max_tokens",)

PROVIDERS: tuple[Provider, ...] = (
    # https://deepinfra.com/docs/advanced/max_tokens_limit: the cap, a trailing assistant message as the way on, and
    # for DeepSeek-R1 an empty think block before the answer. https://docs.deepinfra.com/chat/streaming: usage by
    # default. Its OpenAPI schema knows max_tokens only.
    Provider(
        name="deepinfra",
        hosts=("deepinfra.com", "deepinfra.ai"),
        cap=16384,
        limit_names=_ONE_LIMIT,
        closed_block="<think>\n\n</think>\n\n",
        streams_usage=True,
    ),
    # vLLM 0.32, measured: without both fields the trailing message is a finished turn and a new one begins. Thoughts
    # beside an answer reach the template; cut ones would be closed by it.
    Provider(
        name="vllm",
        body_marks={"add_generation_prompt": False, "continue_final_message": True},
        thought_field="reasoning_content",
    ),
    # SGLang 0.5.23, serving_chat.py: without the field a trailing assistant message becomes a user message; with it
    # the text is put behind the generation prompt, and so into the think block where that opens one.
    Provider(
        name="sglang",
        body_marks={"continue_final_message": True},
        closed_block="\n</think>\n\n",
        closed_block_of="opening",
    ),
    # llama-server at 0c1e570, measured: plain answers repeat what was sent back; streams do without the fields. An open
    # thought goes on where continue_final_message names its field.
    Provider(
        name="llama.cpp",
        body_marks={"add_generation_prompt": False, "continue_final_message": True},
        needs_no_marks=True,
        echoes="whole",
        thought_field="reasoning_content",
        thought_marks={"continue_final_message": "reasoning_content"},
    ),
    # TGI at db931fc, router/src/infer/chat_template.rs: a trailing assistant message goes on, its end trimmed.
    Provider(name="tgi", limit_names=_ONE_LIMIT, trims=True),
    # Ollama at fb30760: a trailing assistant message goes on; the context is 4k to 32k by default.
    Provider(name="ollama", limit_names=_ONE_LIMIT),
    # https://api-docs.deepseek.com/guides/chat_prefix_completion: base_url …/beta and prefix on the last message, whose
    # reasoning_content may go along.
    Provider(
        name="deepseek",
        hosts=("api.deepseek.com",),
        path="/beta",
        limit_names=_ONE_LIMIT,
        message_marks=_PREFIX,
        thought_field="reasoning_content",
        thought_marks={},
    ),
    # https://docs.mistral.ai/api: prefix makes the answer start with that content, so it comes back with it.
    Provider(
        name="mistral",
        hosts=("api.mistral.ai",),
        limit_names=_ONE_LIMIT,
        message_marks=_PREFIX,
        echoes="always",
        streams_usage=True,
    ),
    # https://platform.moonshot.cn/docs/api/partial: partial on the last message, not repeated; the default of
    # max_tokens is 1024.
    Provider(
        name="moonshot",
        hosts=("api.moonshot.cn", "api.moonshot.ai"),
        asks=16384,
        limit_names=_ONE_LIMIT,
        message_marks=_PARTIAL,
    ),
    # https://www.alibabacloud.com/help/en/model-studio/partial-mode: partial on the last message, for models that do
    # not think.
    Provider(
        name="dashscope",
        hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"),
        limit_names=_ONE_LIMIT,
        message_marks=_PARTIAL,
    ),
    # https://openrouter.ai/docs: a trailing assistant message is passed on; what becomes of it is the backend's affair,
    # and the restart check's.
    Provider(name="openrouter", hosts=("openrouter.ai",), limit_names=("max_tokens", "max_completion_tokens")),
    # https://console.groq.com/docs/prefilling.
    Provider(name="groq", hosts=("api.groq.com",), limit_names=_OPENAI_FIRST),
    # Together and Fireworks run vLLM-like engines behind a trailing assistant message; no documentation found.
    # https://docs.fireworks.ai/faq-new/models-inference: the default of max_tokens is 2048.
    Provider(name="together", hosts=("api.together.xyz", "api.together.ai"), limit_names=_ONE_LIMIT),
    Provider(name="fireworks", hosts=("api.fireworks.ai",), asks=16384, limit_names=_ONE_LIMIT),
    # https://platform.openai.com: an assistant message is a finished turn, the answer restarts. Azure serves the same.
    Provider(name="openai", hosts=("openai.com", "openai.azure.com"), continues=False),
    # https://docs.anthropic.com/en/api/openai-sdk: Claude 4.6 and later answer 400 to a trailing assistant message.
    Provider(name="anthropic", hosts=("anthropic.com",), continues=False),
    # https://ai.google.dev/gemini-api/docs/openai: newer models answer 400, "ending with a model turn".
    Provider(name="gemini", hosts=("googleapis.com",), continues=False),
)

# Chat templates that trim the message sent back, seen by rendering the templates that llama.cpp ships
# (https://github.com/ggml-org/llama.cpp/tree/master/models/templates) with transformers 5.23, and those of TRL
# (https://github.com/huggingface/trl/tree/main/trl/chat_templates). Where a model is taken for one of them by mistake,
# its answers come out right all the same.
_TRIMMING_FAMILIES = re.compile(
    r"llama-?3|gemma|glm-?4\.[5-7]|qwen-?3\.[5-9]|seed-?oss|minimax-?m1|nemotron-?(nano|3)|laguna|rwkv|aya-expanse"
    r"|command-?r",
    re.IGNORECASE,
)


def named(name: str) -> Provider:
    """Return the row of that name; raise SettingsError where there is none."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    msg = f"provider: got {name!r}, accepted are {', '.join(sorted(row.name for row in PROVIDERS))}, or None"
    raise SettingsError(msg)


@lru_cache(maxsize=256)
def at_address(host: str, path: str) -> Provider | None:
    """Return the row whose server this address is."""
    host = host.lower().rstrip(".")
    for provider in PROVIDERS:
        if path.startswith(provider.path) and any(host == end or host.endswith("." + end) for end in provider.hosts):
            return provider
    return None


def chosen(name: str | None, host: str, path: str) -> Provider | None:
    """
    Return the row of that name, or the row of the address if the name is None; None if the table has no such address.

    Raises SettingsError for an unknown name.
    """
    return at_address(host, path) if name is None else named(name)


def trims(model: object) -> bool:
    """Tell whether this model's chat template is known to trim the message sent back."""
    return isinstance(model, str) and _TRIMMING_FAMILIES.search(model) is not None
