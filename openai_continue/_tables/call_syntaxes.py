"""
How models write tool calls, as data: one row for each family of chat templates.

Servers give tool calls as JSON objects, but the model has written text. A call that was cut goes back as that text. To
add a family, add a row with its source, and its text to tests/core/test_call_syntaxes.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """
    How arguments are written one by one: strings as they are, other values as JSON.

    The marks beside a value may lack the newline next to it.
    """

    #: What stands before a value. ``{key}`` is its name, and ``{is_string}`` is "true" or "false".
    opens: str
    #: What stands after a value.
    closes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax:
    """A row: how the models of one family write tool calls. Whitespace in the marks may vary."""

    #: A value of the setting ``continue_tool_calls``.
    name: str
    #: A regular expression over the name of the model in a request.
    models: str
    #: What parts the calls from a text before them.
    gap: str = ""
    #: What stands before all calls of an answer, between two of them, and after them all.
    opens: str = ""
    between: str = ""
    closes: str = ""
    #: What stands before the arguments of a call. ``{name}`` is the tool's, ``{index}`` counts the calls from 0.
    head: str
    #: What stands after them.
    tail: str
    #: The ``tool_choice`` of a later round, if the server does not read its calls together with the prefill. vLLM's
    #: newer parsers drop a further call with "none", and its older ones drop text with "auto".
    choice: str = "none"
    #: How the arguments are written. None: as JSON, as the server gives them.
    parameters: Parameters | None = None


_QWEN_XML = Parameters(opens="<parameter={key}>\n", closes="\n</parameter>\n")

SYNTAXES: tuple[CallSyntax, ...] = (
    # https://huggingface.co/Qwen/Qwen3-Coder-30B-A3B-Instruct (qwen3coder_tool_parser.py), and the template of Qwen3.5
    # (trl/chat_templates/qwen3_5_think.jinja). Nemotron 3 has taken it over (nemotron_3_nano.jinja).
    CallSyntax(
        name="qwen3-coder",
        models=r"qwen-?3(?:\.\d+)?-?coder|qwen-?3\.[5-9]|nemotron-?3",
        choice="auto",
        gap="\n\n",
        between="\n",
        head="<tool_call>\n<function={name}>\n",
        tail="</function>\n</tool_call>",
        parameters=_QWEN_XML,
    ),
    # https://huggingface.co/Qwen/Qwen2.5-7B-Instruct (its template; Qwen3's is the same), and
    # https://github.com/NousResearch/Hermes-Function-Calling. DeepSeek-R1-0528-Qwen3-8B has DeepSeek's template.
    CallSyntax(
        name="hermes",
        models=r"hermes|qwen-?2\.5|(?<!0528-)qwen-?3(?!\.|\d)|qwq",
        gap="\n",
        between="\n",
        head='<tool_call>\n{"name": "{name}", "arguments": ',
        tail="}\n</tool_call>",
    ),
    # https://huggingface.co/zai-org/GLM-4.5 and GLM-4.6, chat_template.jinja.
    CallSyntax(
        name="glm-4.5",
        models=r"glm-?4\.[56]",
        choice="auto",
        gap="\n",
        between="\n",
        head="<tool_call>{name}\n",
        tail="</tool_call>",
        parameters=Parameters(opens="<arg_key>{key}</arg_key>\n<arg_value>", closes="</arg_value>\n"),
    ),
    # https://huggingface.co/zai-org/GLM-4.7, chat_template.jinja: the same without newlines.
    CallSyntax(
        name="glm-4.7",
        models=r"glm-?(?:4\.[7-9]|5)",
        choice="auto",
        head="<tool_call>{name}",
        tail="</tool_call>",
        parameters=Parameters(opens="<arg_key>{key}</arg_key><arg_value>", closes="</arg_value>"),
    ),
    # https://huggingface.co/deepseek-ai/DeepSeek-V3.2, encoding/encoding_dsv32.py. V3.2-Exp writes as V3.1 does:
    # https://github.com/smg-project/smg/pull/1030.
    CallSyntax(
        name="deepseek-v3.2",
        models=r"deepseek-?v3\.2(?!-?exp)",
        choice="auto",
        gap="\n\n",
        opens="<｜DSML｜function_calls>\n",
        between="\n",
        closes="\n</｜DSML｜function_calls>",
        head='<｜DSML｜invoke name="{name}">\n',
        tail="</｜DSML｜invoke>",
        parameters=Parameters(
            opens='<｜DSML｜parameter name="{key}" string="{is_string}">', closes="</｜DSML｜parameter>\n"
        ),
    ),
    # https://huggingface.co/deepseek-ai/DeepSeek-V3.1, assets/chat_template.jinja.
    CallSyntax(
        name="deepseek-v3.1",
        models=r"deepseek-?v3\.(?:1|2-?exp)",
        opens="<｜tool▁calls▁begin｜>",
        closes="<｜tool▁calls▁end｜>",
        head="<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>",
        tail="<｜tool▁call▁end｜>",
    ),
    # https://huggingface.co/deepseek-ai/DeepSeek-V3-0324, chat template; DeepSeek-R1-0528 has the same. The name
    # "deepseek-chat" is of whatever is the newest, so it is in no row.
    CallSyntax(
        name="deepseek-v3",
        models=r"deepseek-?(?:v3(?!\.)|r1-?0528)",
        opens="<｜tool▁calls▁begin｜>",
        between="\n",
        closes="<｜tool▁calls▁end｜>",
        head="<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n",
        tail="\n```<｜tool▁call▁end｜>",
    ),
    # https://huggingface.co/moonshotai/Kimi-K2-Instruct, docs/tool_call_guidance.md.
    CallSyntax(
        name="kimi-k2",
        models=r"kimi-?k2",
        choice="auto",
        opens="<|tool_calls_section_begin|>",
        closes="<|tool_calls_section_end|>",
        head="<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>",
        tail="<|tool_call_end|>",
    ),
    # https://huggingface.co/MiniMaxAI/MiniMax-M2, docs/tool_calling_guide.md.
    CallSyntax(
        name="minimax-m2",
        models=r"minimax-?m2",
        choice="auto",
        gap="\n",
        opens="<minimax:tool_call>\n",
        closes="</minimax:tool_call>",
        head='<invoke name="{name}">\n',
        tail="</invoke>\n",
        parameters=Parameters(opens='<parameter name="{key}">', closes="</parameter>\n"),
    ),
    # https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct (its template: one call and no text), and vLLM's
    # llama3_json parser, which takes several.
    CallSyntax(
        name="llama-3",
        models=r"llama-?3\.[123]",
        between="; ",
        head='{"name": "{name}", "parameters": ',
        tail="}",
    ),
)
# In no row: gpt-oss, whose call stands in the header of a message, which "content" cannot hold; LFM2 and Gemma 4, which
# write values as literals of Python and in a notation of their own.


@lru_cache(maxsize=256)
def of_model(model: str) -> CallSyntax | None:
    """Return the row of a model, a name in a request, or None if the table has none."""
    return next((row for row in SYNTAXES if re.search(row.models, model, re.IGNORECASE)), None)


def named(name: str) -> CallSyntax | None:
    """Return the row of that name, or None if there is none."""
    return next((row for row in SYNTAXES if row.name == name), None)
