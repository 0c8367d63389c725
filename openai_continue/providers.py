"""
The provider table: what each server needs to continue an answer, as data.

A new provider is a row here and a test of the request that the row builds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One server's habits."""

    name: str
    #: Endings of the host in ``base_url``; "example.com" stands for its subdomains too.
    hosts: tuple[str, ...] = ()
    #: False: the server starts anew or answers 400; such calls are passed through untouched.
    continues: bool = True
    #: Most output tokens that one answer gets, whatever was asked; None: no cap but the context.
    cap: int | None = None
    #: The names of the token limit that the server reads, the one that wins first.
    limit_names: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    #: What marks a continuation: fields of the request's body, and of its last message.
    body_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    message_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: False: streams carry usage only where ``stream_options.include_usage`` asks for it.
    streams_usage: bool = False


PROVIDERS: tuple[Provider, ...] = (
    # https://deepinfra.com/docs/advanced/max_tokens_limit: the cap, and a trailing assistant message as the way on.
    # https://docs.deepinfra.com/chat/streaming: usage by default. Its OpenAPI schema knows max_tokens only.
    Provider(
        name="deepinfra",
        hosts=("deepinfra.com", "deepinfra.ai"),
        cap=16384,
        limit_names=("max_tokens",),
        streams_usage=True,
    ),
    # vLLM 0.32, measured: without both fields the trailing message is a finished turn and a new one begins.
    Provider(name="vllm", body_marks={"add_generation_prompt": False, "continue_final_message": True}),
    # https://platform.openai.com: an assistant message is a finished turn, the answer restarts. Azure serves the same.
    Provider(name="openai", hosts=("openai.com", "openai.azure.com"), continues=False),
    # https://docs.anthropic.com/en/api/openai-sdk: Claude 4.6 and later answer 400 to a trailing assistant message.
    Provider(name="anthropic", hosts=("anthropic.com",), continues=False),
    # https://ai.google.dev/gemini-api/docs/openai: newer models answer 400, "ending with a model turn".
    Provider(name="gemini", hosts=("googleapis.com",), continues=False),
)

# Chat templates that trim the message sent back, seen by rendering the templates that llama.cpp ships
# (https://github.com/ggml-org/llama.cpp/tree/master/models/templates) with transformers 5.23.
_TRIMMING_FAMILIES = re.compile(
    r"llama-?3\.[123]|gemma-?[24]|glm-?4\.[67]|qwen-?3\.5|seed-?oss|minimax-?m1|nemotron-?(nano|3)|laguna|rwkv",
    re.IGNORECASE,
)


def named(name: str) -> Provider:
    """Return the row of that name; raise SettingsError where there is none."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    msg = f"provider: got {name!r}, accepted are {', '.join(sorted(row.name for row in PROVIDERS))}, or None"
    raise SettingsError(msg)


def at_host(host: str) -> Provider | None:
    """Return the row whose server this host is."""
    host = host.lower().rstrip(".")
    for provider in PROVIDERS:
        if any(host == ending or host.endswith("." + ending) for ending in provider.hosts):
            return provider
    return None


def trims(model: object) -> bool:
    """Tell whether this model's chat template is known to trim the message sent back."""
    return isinstance(model, str) and _TRIMMING_FAMILIES.search(model) is not None
