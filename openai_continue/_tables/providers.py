"""
The provider table: what each server needs to continue an answer, as data.

To add a provider, add a row here, with the source of each fact, and its request to tests/test_providers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..errors import SettingsError

# vLLM, vllm/entrypoints/openai/protocol.py, and SGLang, the same name: usage on each chunk, the first one included.
# Others do not know the second field, and give it at the end.
_EARLY_USAGE = {"include_usage": True, "continuous_usage_stats": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A row of the table: one kind of server, and how it continues an answer."""

    #: The value of the setting ``provider``.
    name: str
    #: Host names of ``base_url``. A name matches its subdomains too.
    hosts: tuple[str, ...] = ()
    #: What the path of ``base_url`` must begin with, if only a part of the host continues.
    path: str = ""
    #: Whether the server continues a trailing assistant message. If it restarts or answers 400, calls are left alone.
    continues: bool = True
    #: Most output tokens of one answer, however many were asked for. None: no cap except the context.
    cap: int | None = None
    #: Output tokens to ask for in a later round if the request names no limit. Set if the server's default is small.
    asks: int | None = None
    #: Most output tokens that may be asked for in an answer that is not streamed. None: as many as in a stream.
    most_whole: int | None = None
    #: Names of the token limit that the server reads. If a request has both, the first one wins.
    limit_names: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    #: Fields of the request's body that mark a continuation.
    body_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Fields of the body that mark one too, and are left out if the server refuses them.
    optional_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Fields of the last message that mark a continuation.
    message_marks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Whether a trailing assistant message is continued without these marks too.
    needs_no_marks: bool = False
    #: Whether the server trims the message sent back, whatever the model. None: by model family.
    trims: bool | None = None
    #: Which answers begin with a copy of the message sent back: "always", "whole" (not streamed ones), or None.
    echoes: str | None = None
    #: The field of the last message in which thoughts are sent back.
    thought_field: str | None = None
    #: Whether the answer goes on also if the chat template leaves these thoughts out.
    thoughts_optional: bool = False
    #: Fields of the body, besides ``body_marks``, that continue thoughts which were cut. None: not in that field.
    thought_marks: Mapping[str, Any] | None = None
    #: A closed think block, to be sent before an answer whose thoughts are not sent back.
    closed_block: str = ""
    #: The family of models that get ``closed_block``: a name in families.py.
    closed_block_of: str = "r1"
    #: Whether streams carry usage without ``stream_options.include_usage``.
    streams_usage: bool = False
    #: ``stream_options`` that ask for usage as early as the server can give it.
    usage_options: Mapping[str, Any] = field(default_factory=lambda: dict(_EARLY_USAGE))
    #: Fields of the body whose format the server applies to the prefill and the new text together.
    keeps_format: tuple[str, ...] = ()
    #: Fields of the body that leave a stop string in the text. A server ignores those of others.
    stop_fields: tuple[str, ...] = ()
    #: The syntaxes (call_syntaxes.py) in which this server was seen to continue tool calls exactly.
    call_syntaxes: tuple[str, ...] = ()
    #: Whether it reads tool calls in the prefill and the new text together. Else a later round asks for plain text.
    reads_calls: bool = False
    #: Fields of the body of a round that continues a tool call.
    call_fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Whether a prompt that does not fit the context loses its oldest messages without a word.
    drops_messages: bool = False
    #: Whether one name has several backends, so that what one of them does says nothing of the next answer.
    routes: bool = False
    #: Whether closed models are sold here too, under names like "anthropic/claude-opus-5" or "gpt-5".
    resells: bool = False
    #: Whether the server may file the answer of a continuation as thoughts.
    misfiles: bool = False
    #: Fields of the body that ask for an answer without thoughts. None: it is not known how.
    answer_fields: Mapping[str, Any] | None = None
    #: Whether the thoughts go with that request, in ``thought_field``; else the answer is written without them.
    answers_beside: bool = False
    #: Whether ``/completions`` goes on from a text as it is, so that text completions are continued, and chat
    #: completions too if the setting ``template`` is given.
    continues_completions: bool = False
    #: Output tokens to ask for in a later round there if the request names no limit. Set if the default is small.
    completion_tokens_asked: int | None = None
    #: Fields of the body of a chat answer that goes on there, so that the prompt is read as it is.
    raw_fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Fields of the body that mark a continuation of a response (``/responses``), besides the status of the message
    #: that is sent back. None: responses are left alone.
    response_marks: Mapping[str, Any] | None = None
    #: Whether it was measured that responses go on. Else less evidence of a new turn ends an answer.
    measured_responses: bool = False
    #: Whether nobody has seen that the marks are read.
    is_guessed: bool = False
    #: Whether it puts the token that begins a text before every prompt.
    adds_bos: bool = False
    #: Whether the server's parser strips the whitespace around thoughts and answer. None: it is seen from what came.
    strips_thoughts: bool | None = None

    @property
    def is_marked(self) -> bool:
        """Whether the server has a mark of a continuation. Those were measured, or are documented."""
        return not self.is_guessed and bool(self.body_marks or self.optional_marks or self.message_marks)

    @property
    def for_completions(self) -> Provider:
        """The row for text completions, which have one name for the limit and no thoughts."""
        return replace(
            self, limit_names=_ONE_LIMIT, asks=self.completion_tokens_asked or self.asks, misfiles=False, echoes=None
        )

    @property
    def for_responses(self) -> Provider:
        """The row for responses, whose usage comes unasked, and whose tool calls go on only if the caller says so."""
        return replace(
            self,
            limit_names=("max_output_tokens",),
            body_marks={},
            optional_marks=self.response_marks or {},
            message_marks=_OPEN_ITEM,
            is_guessed=not self.measured_responses,
            needs_no_marks=False,
            echoes=None,
            streams_usage=True,
            usage_options={},
            thought_marks=None,
            keeps_format=(),
            call_syntaxes=(),
            reads_calls=False,
        )


_PREFIX = {"prefix": True}
# An item of a response that is not finished.
_OPEN_ITEM = {"type": "message", "status": "in_progress"}
_PARTIAL = {"partial": True}
_ONE_LIMIT = ("max_tokens",)
# The marks around tool calls are special tokens of some models, which servers leave out of a text.
_MARKS_SHOWN = {"skip_special_tokens": False}
# The switches of chat templates: Qwen3 and GLM read the first, DeepSeek V3.1 the second.
_NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
# Engines put the token that begins a text before a prompt, unless they are told not to. Tags around thoughts are
# special tokens of some models.
_RAW = {"add_special_tokens": False, **_MARKS_SHOWN}

PROVIDERS: tuple[Provider, ...] = (
    # https://deepinfra.com/docs/advanced/max_tokens_limit: 16384 output tokens "for most models"; a trailing assistant
    # message is continued; for DeepSeek-R1 with an empty think block before the answer. Its OpenAPI schema of 2026
    # (https://github.com/tryAGI/DeepInfra, openapi.json): max_tokens is 65536 by default, so some models give more;
    # continue_final_message. https://docs.deepinfra.com/chat/streaming: usage by default.
    Provider(
        name="deepinfra",
        hosts=("deepinfra.com", "deepinfra.ai"),
        cap=16384,
        limit_names=_ONE_LIMIT,
        optional_marks={"continue_final_message": True},
        # The schema has it for messages of the assistant; which models' templates read it is not known.
        thought_field="reasoning_content",
        thoughts_optional=True,
        resells=True,
        closed_block="<think>\n\n</think>\n\n",
        streams_usage=True,
        # https://docs.deepinfra.com/chat/reasoning; https://docs.deepinfra.com/apis/completions
        answer_fields={"reasoning_effort": "none"},
        continues_completions=True,
        # By schema, not measured: ResponsesIn has continue_final_message, and its items a status.
        response_marks={"continue_final_message": True},
    ),
    # vLLM 0.32, measured: without both fields the server takes the trailing message as a finished turn and begins a new
    # one. Thoughts sent with an answer reach the chat template, which would close thoughts that were cut.
    Provider(
        name="vllm",
        body_marks={"add_generation_prompt": False, "continue_final_message": True},
        thought_field="reasoning_content",
        # Its deepseek_r1 parser takes all text before a closing think tag for thoughts.
        misfiles=True,
        # vllm/entrypoints/openai/chat_completion/protocol.py and completion/protocol.py.
        stop_fields=("include_stop_str_in_output",),
        # Measured with its parsers "hermes" and "qwen3_coder" (tests/measure/engine/sweep.py). Its parsers see only new
        # text, and would keep the marks of some models if they were not told to leave them out.
        call_syntaxes=("hermes", "qwen3-coder"),
        call_fields=_MARKS_SHOWN,
        # Measured: with the thoughts beside an empty answer, templates like Qwen3's and GLM's close the block.
        answer_fields={},
        answers_beside=True,
        # vllm/entrypoints/openai/completion/protocol.py: max_tokens is 16 by default.
        continues_completions=True,
        completion_tokens_asked=16384,
        raw_fields=_RAW,
        strips_thoughts=False,
        # Measured: the status alone marks a continuation.
        response_marks={},
        measured_responses=True,
    ),
    # SGLang 0.5.23, serving_chat.py: without the field a trailing assistant message becomes a user message. With it the
    # text is put after the generation prompt, so inside the think block if the prompt opens one.
    Provider(
        name="sglang",
        body_marks={"continue_final_message": True},
        closed_block="\n</think>\n\n",
        closed_block_of="opening",
        # So does its detector of DeepSeek-R1's thoughts.
        misfiles=True,
        # protocol.py, ChatCompletionRequest and CompletionRequest.
        stop_fields=("no_stop_trim",),
        call_fields=_MARKS_SHOWN,
        answer_fields=_NO_THINKING,
        # protocol.py, CompletionRequest: max_tokens is 16 by default.
        continues_completions=True,
        completion_tokens_asked=16384,
        raw_fields=_RAW,
    ),
    # llama-server at 0c1e570, measured: whole answers begin with a copy of the message; streams do so only without
    # these fields. Thoughts that were cut are continued if continue_final_message names their field.
    # Its /responses, measured: a trailing message is continued whatever its status, and whole answers and streams begin
    # with a copy of it. But each response is "completed", also one that is cut, so responses are left alone.
    Provider(
        name="llama.cpp",
        body_marks={"add_generation_prompt": False, "continue_final_message": True},
        needs_no_marks=True,
        echoes="whole",
        thought_field="reasoning_content",
        thought_marks={"continue_final_message": "reasoning_content"},
        keeps_format=("response_format", "json_schema"),
        # common/chat.cpp: calls are read from the prefill and the new text. Measured with two templates.
        call_syntaxes=("hermes", "qwen3-coder"),
        reads_calls=True,
        # Measured: "content" closes the block; without it the thoughts go on.
        answer_fields={"continue_final_message": "content"},
        answers_beside=True,
        # tools/server: without a limit it goes on to the end of the context.
        continues_completions=True,
        adds_bos=True,
        strips_thoughts=True,
    ),
    # TGI at db931fc, router/src/infer/chat_template.rs: a trailing assistant message is continued after its end is
    # trimmed.
    Provider(name="tgi", limit_names=_ONE_LIMIT, trims=True),
    # Ollama at fb30760: a trailing assistant message is continued. The default context is 4k to 32k tokens.
    # https://github.com/ollama/ollama/issues/14259: what does not fit loses its oldest messages.
    Provider(name="ollama", limit_names=_ONE_LIMIT, drops_messages=True),
    # https://api-docs.deepseek.com/guides/chat_prefix_completion: base_url …/beta, and prefix on the last message,
    # which may have reasoning_content.
    Provider(
        name="deepseek",
        hosts=("api.deepseek.com",),
        path="/beta",
        limit_names=_ONE_LIMIT,
        message_marks=_PREFIX,
        thought_field="reasoning_content",
        thought_marks={},
    ),
    # https://docs.mistral.ai/api: prefix makes the answer start with that content, so the answer has a copy of it.
    Provider(
        name="mistral",
        hosts=("api.mistral.ai",),
        limit_names=_ONE_LIMIT,
        message_marks=_PREFIX,
        echoes="always",
        streams_usage=True,
    ),
    # https://platform.moonshot.cn/docs/api/partial: partial on the last message; the answer has no copy of it. The
    # default of max_tokens is 1024.
    Provider(
        name="moonshot",
        hosts=("api.moonshot.cn", "api.moonshot.ai"),
        asks=16384,
        limit_names=_ONE_LIMIT,
        message_marks=_PARTIAL,
    ),
    # https://www.alibabacloud.com/help/en/model-studio/partial-mode: partial on the last message; only for models
    # that do not think.
    Provider(
        name="dashscope",
        hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"),
        limit_names=_ONE_LIMIT,
        message_marks=_PARTIAL,
    ),
    # https://openrouter.ai/docs: a trailing assistant message is passed on. Some backends restart; the check for
    # restarts finds those.
    Provider(
        name="openrouter",
        hosts=("openrouter.ai",),
        limit_names=("max_tokens", "max_completion_tokens"),
        resells=True,
        routes=True,
    ),
    # https://console.groq.com/docs/prefilling.
    Provider(name="groq", hosts=("api.groq.com",)),
    # Together (api.together.xyz) and Fireworks (api.fireworks.ai) run engines like vLLM. No documentation of a trailing
    # assistant message was found, so these rows have no hosts and hold only where the setting ``provider`` names them.
    # https://github.com/huggingface/chat-ui/issues/2133: Together's default of max_tokens is 2048, and 16384 are given.
    Provider(name="together", asks=16384, limit_names=_ONE_LIMIT),
    # https://docs.fireworks.ai/faq-new/models-inference: the default of max_tokens is 2048.
    # https://github.com/nextlevelbuilder/goclaw/issues/660: an answer that is not streamed may have 4096.
    Provider(name="fireworks", asks=16384, most_whole=4096, limit_names=_ONE_LIMIT),
    # https://platform.openai.com: an assistant message is a finished turn, so the answer restarts. So it is on Azure.
    Provider(name="openai", hosts=("openai.com", "openai.azure.com"), continues=False),
    # https://docs.anthropic.com/en/api/openai-sdk: Claude 4.6 and later answer 400 to a trailing assistant message.
    Provider(name="anthropic", hosts=("anthropic.com",), continues=False),
    # https://ai.google.dev/gemini-api/docs/openai: newer models answer 400, "ending with a model turn".
    Provider(name="gemini", hosts=("googleapis.com",), continues=False),
    # mlx_lm/server.py at d78bf58: the template is always applied with add_generation_prompt=True. Measured: a trailing
    # assistant message is a finished turn.
    Provider(name="mlx_lm", continues=False),
    # transformers serve 5.23.0, cli/serving/chat_completion.py: add_generation_prompt=True. Measured: a trailing
    # assistant message is a finished turn, and 422 answers the fields that would mark a continuation.
    Provider(name="transformers", continues=False),
    # llama-cpp-python 0.3.36, llama_chat_format.py: its server always adds the generation prompt, and its streams have
    # no usage. Measured: a trailing assistant message is a finished turn. llama-server is "llama.cpp".
    Provider(name="llama-cpp-python", continues=False),
    # LitGPT at 2685705, litgpt/deploy/serve.py, by its source only: the template closes each message. LitServe at
    # 1311d5b, specs/openai.py: each answer ends in "stop", so nothing shows that it was cut.
    Provider(name="litgpt", continues=False),
)


def named(name: str) -> Provider:
    """Return the row of that name. Raises SettingsError if there is none, with the names that there are."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    msg = f"provider: got {name!r}, accepted are {', '.join(sorted(row.name for row in PROVIDERS))}, or None"
    raise SettingsError(msg)


@lru_cache(maxsize=256)
def at_address(host: str, path: str) -> Provider | None:
    """Return the row whose hosts and path match this part of a ``base_url``, or None if there is none."""
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
