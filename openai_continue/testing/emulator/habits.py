"""
How servers differ, as data. The default is DeepInfra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .response_kinds import ResponseKindName

CallSyntax: TypeAlias = Literal[
    "hermes",
    "llama3",
    "deepseek_v3",
    "deepseek_v31",
    "deepseek_v32",
    "kimi_k2",
    "qwen3_coder",
    "glm45",
    "glm47",
    "minimax_m2",
    "functiongemma",
]


@dataclass(frozen=True)
class Habits:
    """
    How one kind of server behaves. ``Habits()`` is DeepInfra; each field names the servers that differ.
    """

    #: Whether the chat template trims the end of the prefill (Llama 3, Gemma, GLM). The model goes on from the trimmed
    #: text.
    trims: bool = False

    #: When the answer to a prefill begins with a copy of it: ``"always"`` (Mistral), ``"whole"`` (not in a stream),
    #: ``"unflagged"`` (llama.cpp, PR #23089: in whole answers always; in a stream unless the body sets
    #: ``continue_final_message``). None: never.
    echo: Literal["always", "whole", "unflagged"] | None = None

    #: How many chunks of a stream carry that copy.
    echo_pieces: int = 1

    #: What makes a trailing assistant message a prefill. Without it, the message is a finished turn, and the model
    #: begins a new answer. ``"continue_final_message"``: true in the body, with ``add_generation_prompt: false`` (vLLM;
    #: the first without the second is a 400). ``"prefix"``: true in the message (DeepSeek, Mistral). ``"partial"``:
    #: true in the message (Moonshot, DashScope). None: nothing is needed (DeepInfra, TGI, llama.cpp).
    marker: Literal["continue_final_message", "prefix", "partial"] | None = None

    #: Whether a trailing assistant message without the marker is a 400 (Mistral).
    strict_marker: bool = False

    #: Whether a trailing assistant message is a finished turn, and the same answer begins again (OpenAI).
    ignores_prefill: bool = False

    #: Whether a trailing assistant message is a 400 (Claude 4.6 and later).
    refuses_prefill: bool = False

    #: The name of the token limit that the server reads. It ignores the other name. DeepInfra reads ``max_tokens``. On
    #: ``/responses`` it is ``max_output_tokens``.
    limit_field: Literal["max_tokens", "max_completion_tokens", "both", "max_output_tokens"] = "max_tokens"

    #: What becomes of a request for more tokens than the cap. None: it gets the cap (DeepInfra). Else an error, in the
    #: words of a server: ``"openai"``, ``"deepseek"``, ``"pydantic"`` (422; FastAPI, Mistral), ``"between"`` (Novita,
    #: Phala), ``"nameless"`` (no number in it: Zhipu), ``"stream"`` (Fireworks: the cap holds for whole answers, a
    #: stream has none).
    over_cap: Literal["openai", "deepseek", "pydantic", "between", "nameless", "stream"] | None = None

    #: The token limit if the request has none (Moonshot 1024, Fireworks 2048). None: what fits, up to the cap.
    default_tokens: int | None = None

    #: The same of a request for a text completion (16: OpenAI, vLLM). None: as of a chat request (DeepInfra).
    default_text_tokens: int | None = None

    #: What happens if the prompt and ``max_tokens`` together exceed the context. ``"400"``: an error (vLLM until
    #: mid-2026). ``"frame"``: in a stream, HTTP 200 with one SSE frame ``{"error_type", "error_message"}``.
    #: ``"clamp"``: as many tokens as fit (vLLM 0.32 and later). None: ``"frame"`` in a stream and ``"400"`` in a whole
    #: answer (DeepInfra; see github.com/sst/opencode issue 38108).
    overflow: Literal["400", "frame", "clamp"] | None = None

    #: Where a stream reports usage. ``"finish"``: on the chunk with the finish reason (DeepInfra). ``"trailing"``: on a
    #: chunk of its own, without choices. ``"both"``. ``"asked"``: on a chunk of its own if
    #: ``stream_options.include_usage`` is true (vLLM, OpenAI). ``"never"``: whole answers have no usage either.
    #: ``"zero"``: as ``"finish"``, and all numbers are 0 (LitServe).
    usage: Literal["finish", "trailing", "both", "asked", "never", "zero"] = "finish"

    #: The status of the error that ``stream_options`` gets: 422 (Mistral), 400 (models on Azure). None: they are read.
    refuses_stream_options: Literal[400, 422] | None = None

    #: What usage says. ``"zeros"``: nothing but zeros (LocalAI, with tools). ``"without_thoughts"``: the tokens of the
    #: thoughts are in no sum (Gemini and Gemma behind DeepInfra). ``"half"``, ``"double"``: so many output tokens
    #: (gateways that count with another tokenizer). None: the truth.
    miscounts: Literal["zeros", "without_thoughts", "half", "double"] | None = None

    #: Whether the chunk with the finish reason carries the last text (vLLM), instead of an empty delta.
    finish_with_text: bool = False

    #: Where the thoughts of a reasoning model go. ``"inline"``: between ``<think>`` tags in the content (DeepSeek-R1
    #: without a parser). ``"reasoning_content"``: this field (DeepInfra, DeepSeek, SGLang). ``"reasoning"``: this field
    #: (vLLM 0.33, OpenRouter). None: the model does not think.
    thinks: Literal["inline", "reasoning_content", "reasoning"] | None = None

    #: The length of the thoughts, in tokens.
    think_tokens: int = 40

    #: How the chat template of a reasoning model reads a prefill. ``"r1"``: opens ``<think>`` itself; reads a closed or
    #: open block in the content; goes on with a bare answer; does not read ``reasoning_content``. ``"qwen3"``: goes on
    #: with a bare answer; reads ``reasoning_content``, and goes on with the thoughts if there is no content; doubles an
    #: open ``<think>`` in the content, so that the model derails. ``"raises"``: as ``"r1"``, but a closed block in the
    #: content is a 400 (DeepSeek-R1 distills, on vLLM). ``"glm"``: as ``"raises"``, but the model writes the opening
    #: tag itself, and no newline after it, nor one before the closing tag (GLM 4.6, on vLLM).
    template: Literal["r1", "qwen3", "raises", "glm"] = "r1"

    #: What the parser makes of the blanks around thoughts. ``"kept"``: they belong to the thoughts and to the answer
    #: (vLLM). ``"stripped"``: it removes them, at the end of thoughts that are cut too (llama.cpp). None: it removes
    #: those that belong to the tags.
    think_blanks: Literal["kept", "stripped"] | None = None

    #: What in a request makes the model answer without thoughts: ``reasoning_effort`` if it is ``"none"``,
    #: ``chat_template_kwargs`` with ``enable_thinking`` false, or either. None: nothing.
    thinking_switch: Literal["reasoning_effort", "enable_thinking", "both"] | None = None

    #: When a continued answer arrives as reasoning, with null content (the deepseek_r1 parser of vLLM): ``"whole"`` (in
    #: whole answers), or ``"both"`` (in streams too). None: never.
    misfiles: Literal["whole", "both"] | None = None

    #: Whether, with ``response_format``, the grammar is advanced through the prefill (llama.cpp since 2026). If not,
    #: the grammar starts at its root, and the model begins a second document (vLLM, SGLang, TGI).
    grammar_follows: bool = False

    #: Whether the model, without ``response_format``, writes more text after the end of a JSON document that it
    #: continued.
    chatters_after_json: bool = False

    #: Whether the model, without ``response_format``, leaves a JSON document that it continues, and writes prose to the
    #: token limit (small models).
    leaves_json: bool = False

    #: The syntax in which the model calls tools: a key of ``syntaxes.SYNTAXES``.
    calls: CallSyntax = "hermes"

    #: How an answer shows a call that the token limit cuts. ``"parsed"``: with the arguments so far (llama.cpp).
    #: ``"closed"``: the same, and they are cut back and closed with quotes and brackets, so that they are JSON.
    #: ``"content"``: a whole answer has the raw syntax as content and no calls; a stream has the arguments so far
    #: (vLLM's hermes parser). ``"complete"``: a whole answer has only the parameters that are complete, as JSON; a
    #: stream has the arguments so far, and closes them if no parameter is open (vLLM's parsers of tagged syntaxes).
    cut_calls: Literal["parsed", "closed", "content", "complete"] = "parsed"

    #: When an answer that ends in a cut call has the finish reason ``"tool_calls"``: ``"whole"`` (in whole answers:
    #: vLLM, if its parser returns a call), or ``"both"`` (in streams too). None: never.
    hides_cut_calls: Literal["whole", "both"] | None = None

    #: Whether a server with ``tool_choice: "none"`` removes the calls that begin in an answer (vLLM's parsers of tagged
    #: syntaxes). If not, they are content.
    drops_unwanted_calls: bool = False

    #: How a server reads the end of a call that begins in the prefill. None: as content (most parsers of vLLM).
    #: ``"deltas"``: a whole answer has all calls of the turn, and the text before them; a stream goes on with the
    #: arguments (llama.cpp). ``"whole"``: whole and streamed, a call comes in one piece when it is closed, and what is
    #: cut does not come (vLLM's response_template parser).
    calls_in_prefill: Literal["deltas", "whole"] | None = None

    #: What becomes of a character that the token limit cuts. Rare characters then take several tokens. ``"dropped"``:
    #: it is left out (vLLM). ``"replaced"``: it is U+FFFD at the end (SGLang). None: each token is whole characters.
    cut_characters: Literal["dropped", "replaced"] | None = None

    #: The field of a request that, if it is true, leaves the stop string in the text: ``"include_stop_str_in_output"``
    #: (vLLM), ``"no_stop_trim"`` (SGLang). None: the server reads no such field (llama.cpp).
    keeps_stops: Literal["include_stop_str_in_output", "no_stop_trim"] | None = None

    #: The field of a choice that names the stop string which ended it: ``"stop_reason"`` (vLLM; null for the end token
    #: and the token limit), ``"matched_stop"`` (SGLang; the id of the end token; null for the token limit). None: none.
    names_stop: Literal["stop_reason", "matched_stop"] | None = None

    #: Whether a stream leaves out tokens that may be the beginning of a stop string, also if the token limit cuts there
    #: (llama.cpp).
    hides_half_stops: bool = False

    #: How the server answers on ``/responses``: a key of ``response_kinds.KINDS``. Of the fields above, ``marker``,
    #: ``strict_marker``, ``limit_field``, ``echo`` and the place of ``usage`` in a stream have no effect there.
    responses: ResponseKindName = "deepinfra"

    #: What each text is said to end in, whatever has ended it. ``"stop"``: also one that the token limit cuts, and its
    #: status is ``"completed"`` on ``/responses`` (LiteLLM's bridges, routers). ``"length"``: also one that the model
    #: ended. None: the truth.
    ends: Literal["stop", "length"] | None = None

    #: Whether streams contain SSE comments (OpenRouter).
    comments: bool = False

    #: Whether answers are compressed for clients that accept it, streams too.
    gzip: bool = False


DEEPINFRA = Habits()
