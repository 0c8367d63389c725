"""
Errors that say "too long" or "too many tokens", in the words of every server.

Texts of vLLM, SGLang, TGI, llama.cpp, TensorRT-LLM, OpenAI, DeepSeek, Anthropic, Gemini, xAI, Mistral, Moonshot and
OpenRouter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Characters that are read. Some servers quote the request after their message, and it may be about context lengths.
_LONGEST = 4096
_N = r"(?P<context>\d[\d,]*)"
_P = r"(?P<prompt>\d[\d,]*)"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # vLLM of 2026: "at least" because it stops counting at the limit.
        rf"maximum context length is {_N} tokens.*?prompt contains (?P<atleast>at least )?{_P} input tokens",
        rf"maximum context length is {_N} tokens.*?\({_P} in the messages, \d+ in the completion",
        # Functions and tools come on top; OpenRouter says "about".
        rf"maximum context length is {_N} tokens.*?\({_P} (?P<atleast>in the messages|of text input)",
        rf"maximum context length of {_N} tokens.*?: {_P} tokens from the input",
        rf"maximum context length is {_N} tokens.*?resulted in {_P} tokens",
        rf"passed {_P} input tokens.*?context length is only {_N} tokens",
        rf"context length is only {_N} tokens",
        rf"input \({_P} tokens\) is longer than the model's context length \({_N} tokens\)",
        rf"input length \({_P}(?: tokens)?\) exceeds (?:the|model's) maximum (?:allowed |context )length \({_N}",
        rf"request \({_P} tokens\) exceeds the available context size \({_N} tokens\)",
        rf"must be <= {_N}\. Given: {_P} `inputs` tokens",
        rf"must have less than {_N} tokens\. Given: {_P}",
        rf"input length {_P} exceeds maximum input length {_N}",
        rf"prompt is too long: {_P} tokens > {_N} maximum",
        # SiliconFlow. Its max_total_tokens are those of the prompt and max_tokens.
        rf"length of prompt_tokens \({_P}\) must be less than max_seq_len \({_N}\)",
        rf"max_total_tokens \(\d+\) must be less than or equal to max_seq_len \({_N}\)",
        rf"exceeded model token limit: {_N}",
        rf"model max length exceeded, max length: ?{_N}",
        rf"input token count \({_P}\) exceeds the maximum number of tokens allowed \({_N}\)",
        rf"maximum prompt length is {_N} but the request contains {_P} tokens",
        rf"prompt contains {_P} tokens.*?too large for model with {_N} maximum context length",
        rf"max_(?:output_)?tokens=\d+ cannot be greater than max_model_len={_N}",
        # vLLM on /responses, where the prompt fills the context.
        rf"prompt length {_P} exceeds the max_model_len {_N}",
        # Anthropic: the prompt and max_tokens.
        rf"exceed context limit: {_P} \+ \d+ > {_N}",
        # llama-cpp-python and TensorRT-LLM.
        rf"requested tokens \({_P}\) exceed context window of {_N}",
        rf"sum of prompt length \({_P}(?:\.\d+)?\).*?should not exceed max_\w+ \({_N}\)",
        rf"maximum context length is {_N}",
    )
)
# The number of output tokens, under any of its names.
_LIMIT = (
    r"(?:max[_ ]?(?:completion|output|new)?_?tokens|maximum (?:number of )?(?:(?:completion|output) )?tokens"
    r"|completion tokens|output tokens)"
)
_LIMIT_NAME = re.compile(_LIMIT, re.IGNORECASE)
# Servers count the room that the prompt leaves, and then refuse their own number as too small. vLLM: "max_tokens must
# be at least 1, got -57". SGLang: "max_new_tokens must be at least 0". Mistral: "Input should be greater than or equal
# to 0". TensorRT-LLM: "`default_max_tokens` (-4) should be greater than 0". TGI: "strictly positive". OpenAI: "integer
# below minimum value. Expected a value >= 1", and before 2024 "-5 is less than the minimum of 1 - 'max_tokens'".
_NONE_LEFT = re.compile(
    rf"{_LIMIT}\b[^.{{\[]{{0,80}}?(?:\bbe (?:at least|(?:greater|larger|more|bigger) than"
    r"(?: or equal to)?|>=?|≥) ?[01](?![\d.]*\d)|\b(?:strictly |a )?positive\b|negative\b"
    r"|below minimum value\. Expected a value >=? ?[01]\b)"
    rf"|less than the minimum of [01] - ['\"`]?{_LIMIT}",
    re.IGNORECASE,
)
# Texts without numbers: vLLM where the prompt fills the context, Groq, MiniMax, SGLang's memory limit, error codes.
_WITHOUT_NUMBERS = re.compile(
    rf"{_NONE_LEFT.pattern}|context_length_exceeded|exceed_context_size_error"
    r"|context window exceeds limit|reduce the length of the (?:messages|input prompt)|exceeds the KV memory budget"
    r"|greater than the context length",
    re.IGNORECASE,
)
# What comes right before the most that a server takes. OpenAI: "supports at most 16384 completion tokens". DeepSeek:
# "the valid range of max_tokens is [1, 8192]". Groq, Cohere, pydantic: "less than or equal to `8192`". Anthropic:
# "50000 > 8192, which is the maximum". Fireworks: "max_tokens > 4096 must have stream=true". Gemini: "from 1
# (inclusive) to 8193 (exclusive)". Bedrock: "exceeds the model limit of 4096". Ark: "expected a value <= 12288".
# A number within a name ("llama-3.1-8b") is none.
_MOST = re.compile(
    r"(?:at most|up to|or equal to|no (?:more|greater|larger) than|(?:more|greater|larger) than|exceeds?"
    r"|(?P<below>(?:lower|less|smaller) than(?! or ))|maximum|limit|max|<=|≤|>|\ble\b|between|from|range|取值范围)"
    r"[^\d\n]{0,40}?(?<![\w.-])(?P<most>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?![\w-]|\.\d)(?P<exclusive> \(exclusive\))?",
    re.IGNORECASE,
)
# The beginning of a range, as in "between 1 and 8192" and "[1, 8192]".
# And the fewest, as in "at least 1024".
_RANGE_START = re.compile(r"(?<![\d,])[01](?: \(inclusive\))? ?(?:,|-|~|to|and) ?(?=\d)|(?:at least|>=|≥) ?\d+")
# Where pydantic says what is wrong: ['body', 'max_tokens'].
_PLACE = re.compile(r"""['"]loc['"]: ?\[([^\]]*)\]""")
# The number in the request, beside an error about something else.
_ASIDE = re.compile(r"\(max_\w*tokens ?= ?\d+\)|[;:] max_\w*tokens ?= ?\d+$")
# A number of tokens for a time.
_RATE = re.compile(r"per min|per day|\bTPM\b|rate limit|quota", re.IGNORECASE)
_TOO_MANY = re.compile(
    r"too (?:large|high|big|many|long)|exceed|out of range|invalid value|not valid|illegal|above|greater"
    r"|非法|过大|超出|超过",
    re.IGNORECASE,
)
# An error about the parameter, not about its number; or the number is too small.
_UNKNOWN_NAME = re.compile(
    r"unsupported|not supported|unrecognized|unknown|unexpected|extra|be (?:greater|larger|more) than", re.IGNORECASE
)
_FULL = re.compile(rf"{_NONE_LEFT.pattern}|even without any output tokens", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Overflow:
    """What a server says of a request that does not fit, in tokens; None is a number that it does not give."""

    context_length: int | None = None
    prompt_tokens: int | None = None
    #: False: ``prompt_tokens`` is "at least".
    exact: bool = True
    #: Whether the prompt leaves room for no output token.
    full: bool = False


@dataclass(frozen=True, slots=True)
class TooMany:
    """What a server says of a number of output tokens that it does not take."""

    #: Most output tokens that it takes, or None if it does not say.
    most: int | None = None


def read(text: str, asked: int | None = None, message: str = "") -> Overflow | TooMany | None:
    """
    Return what an error's text says of the context, or of the number of output tokens; None: of something else.

    ``asked``: the number of output tokens in the request. ``message``: the server's own message in the text, if known.
    """
    found = _context(text[:_LONGEST])
    return found if found is not None or asked is None else _too_many((message or text)[:_LONGEST], asked)


def _context(text: str) -> Overflow | None:
    for pattern in _PATTERNS:
        found = pattern.search(text)
        if found is not None:
            said = found.groupdict()
            context, prompt = _number(said["context"]), _number(said.get("prompt"))
            full = prompt is not None and context is not None and prompt >= context
            return Overflow(context, prompt, said.get("atleast") is None, full or _FULL.search(text) is not None)
    return Overflow(full=_FULL.search(text) is not None) if _WITHOUT_NUMBERS.search(text) else None


def _too_many(text: str, asked: int) -> TooMany | None:
    text = _ASIDE.sub("", text)
    places: list[str] = _PLACE.findall(text)
    if _LIMIT_NAME.search(" ".join(places) or text) is None or _RATE.search(text):
        return None
    for found in _MOST.finditer(_RANGE_START.sub("", text)):
        most = int(found["most"].replace(",", "")) - bool(found["exclusive"] or found["below"])
        if 1 < most < asked:
            return TooMany(most)
    return TooMany() if _TOO_MANY.search(text) and not _UNKNOWN_NAME.search(text) else None


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits.replace(",", ""))
