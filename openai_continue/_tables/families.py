"""
What is known of models by their names: chat templates and tokenizers. No server tells them.

A family is a regular expression over the name in a request. A name in no family is taken to be unknown, and unknown is
handled so that no text is lost, whatever the model is.
"""

from __future__ import annotations

import re
from functools import lru_cache

_FAMILIES = {
    # Chat templates that trim the message sent back, seen by rendering the templates that llama.cpp ships
    # (https://github.com/ggml-org/llama.cpp/tree/master/models/templates) with transformers 5.23, and those of TRL
    # (https://github.com/huggingface/trl/tree/main/trl/chat_templates).
    "trims": (
        r"llama-?3|gemma|glm-?4\.[5-7]|qwen-?3\.[5-9]|seed-?oss|minimax-?m1|nemotron-?(nano|3)|laguna|rwkv|aya-expanse"
        r"|command-?r"
    ),
    # Chat templates that keep it as it is, seen in the same way, of models whose tokenizers fuse punctuation with the
    # newlines after it: to send it without trailing blanks keeps every token (tests/measure/engine/token_seams.py).
    "keeps": (
        r"deepseek-?(v[2-9]|chat|coder|r1|reasoner)|r1-distill|qwen-?2(\.5)?\b|qwen-?3(?!\.)|qwq|phi-?3\.5|gpt-?oss"
    ),
    # Tokenizers that split whitespace from what is before it: to send the text without any of it keeps every token.
    "bare": r"gemma|smollm|gpt-?2",
    "r1": r"deepseek-?r1|r1-distill",
    # Chat templates that keep an open think block of the prefill open. The others close it first.
    "taking": r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3",
    # Chat templates that open the block in the generation prompt, so that the model writes only the closing tag.
    "opening": (r"deepseek-?r1|r1-distill|minimax-?m2|nemotron-?3|qwq|qwen-?3\.[5-9]|qwen-?3.*thinking|glm-?4\.7"),
}
_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _FAMILIES.items()}


# Closed models that DeepInfra, OpenRouter and proxies resell, and that continue no assistant message: their answers are
# left alone. Each with its source.
_CLOSED = (
    # https://docs.claude.com/en/docs/build-with-claude/prefill-claudes-response: Claude 4.6 and later answer 400.
    # Older ones are few.
    r"(?:^|[/.])claude-|^anthropic/",
    # https://ai.google.dev/gemini-api/docs/openai: 400, "ending with a model turn". Gemma is open, and continues.
    r"(?:^|[/.])gemini-",
    # https://platform.openai.com/docs/guides/text: an assistant message is a finished turn. gpt-oss is open.
    r"(?:^|[/:])(?:gpt-[3-9]|chatgpt|o[1-9](?:-|$))|^openai/(?!gpt-oss)",
    # https://docs.x.ai/docs/guides/chat: the same. The weights of Grok 1 and 2 are open (https://huggingface.co/xai-org).
    r"(?:^|[/.])grok-(?![12]\b)|^x-?ai/",
    # https://docs.aws.amazon.com/nova/latest/userguide/prompting-tools-troubleshooting.html: roles must alternate and
    # end with the user.
    r"(?:^|[/.])(?:amazon[/.])?nova-(?:micro|lite|pro|premier|2)",
    # https://deepinfra.com/models: resold. Their makers document no way to continue (Qwen's "partial mode" leaves the
    # thinking ones out).
    r"qwen-?3(?:\.\d)?-max|(?:^|/)seed-(?!oss)\d|bytedance/seed-(?!oss)",
)
_CLOSED_COMPILED = re.compile("|".join(_CLOSED), re.IGNORECASE)


# A name that a proxy (LiteLLM) passes on to the maker of a closed model.
_PASSED_ON = re.compile(r"^(?:anthropic|bedrock|vertex_ai|gemini|azure|xai|openai)/", re.IGNORECASE)


@lru_cache(maxsize=256)
def is_closed(model: str, *, resold: bool = True) -> bool:
    """
    Whether a model, a name in a request, is a closed one that continues no assistant message.

    ``resold``: whether closed models are sold at this host. Elsewhere only a name with its maker counts: local servers
    give open models names such as "gpt-4o".
    """
    closed = _CLOSED_COMPILED.search(model) is not None
    return closed and (resold or _PASSED_ON.match(model) is not None)


def is_of(family: str, model: object) -> bool:
    """Whether a model, a name in a request, belongs to a family."""
    return isinstance(model, str) and _COMPILED[family].search(model) is not None


def trims(model: object) -> bool | None:
    """Return whether the model's chat template trims the message sent back, or None if that is not known."""
    if is_of("trims", model):
        return True
    return False if is_of("keeps", model) else None
