"""
The syntax in which each family of models calls tools, as data.

Sources: the chat templates in ``tests/templates``, in TRL (https://github.com/huggingface/trl, ``trl/chat_templates``)
and in llama.cpp (https://github.com/ggml-org/llama.cpp, ``models/templates``), which show what a model has seen in its
training, and the parsers of vLLM 0.32 (``vllm/tool_parsers``, ``vllm/parser``), which show what a server reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from .habits import CallSyntax


@dataclass(frozen=True)
class Values:
    """How parameters are written that are not one JSON object."""

    #: What comes before a string and after it. ``{key}`` is the name of the parameter.
    string_opening: str
    string_closing: str
    #: The same of another value.
    opening: str
    closing: str
    separator: str = ""


@dataclass(frozen=True)
class Syntax:
    """How a family writes its calls."""

    #: What comes before each call, up to the end of its name. ``{index}`` is the position of the call.
    opening: str
    #: What comes between the name and the arguments.
    middle: str
    #: What ends a call, so that a server can give it to the client, and what follows it.
    ending: str
    tail: str = ""
    #: What comes before the first call if it follows a text.
    gap: str = ""
    #: What comes before the first call, between two calls, and after the last one.
    begin: str = ""
    between: str = ""
    end: str = ""
    #: How many characters after the opening the server must see to know that the name has ended.
    name_ahead: int = 0
    #: How parameters are written. None: as one JSON object.
    values: Values | None = None
    #: The characters that the model escapes in JSON beside those that it must, or "all" that are not ASCII.
    escapes: str = "\u2028"
    #: Whether vLLM's parser finds a further call if the beginning of the calls was in the prompt.
    finds_next: bool = True


def _tagged(opening: str, closing: str) -> Values:
    return Values(opening, closing, opening, closing)


SYNTAXES: dict[CallSyntax, Syntax] = {
    # tests/templates/qwen2_5.jinja, qwen3.jinja; vllm/tool_parsers/hermes_tool_parser.py.
    "hermes": Syntax(
        opening='<tool_call>\n{{"name": "{name}"',
        middle=', "arguments": ',
        ending="}",
        tail="\n</tool_call>",
        gap="\n",
        between="\n",
        escapes="\u2028é",
    ),
    # tests/templates/qwen3_5_think.jinja; vllm/parser/qwen3.py.
    "qwen3_coder": Syntax(
        opening="<tool_call>\n<function={name}>",
        middle="\n",
        ending="</function>",
        tail="\n</tool_call>",
        gap="\n\n",
        between="\n",
        values=_tagged("<parameter={key}>\n", "\n</parameter>\n"),
    ),
    # tests/templates/llama3_1.jinja; vllm/tool_parsers/llama_tool_parser.py reads several calls with "; " between them.
    "llama3": Syntax(
        opening='{{"name": "{name}"',
        middle=', "parameters": ',
        ending="}",
        gap="\n\n",
        between="; ",
        escapes="all",
        finds_next=False,
    ),
    # trl/chat_templates/deepseekv3.jinja; vllm/tool_parsers/deepseekv3_tool_parser.py.
    "deepseek_v3": Syntax(
        begin="<｜tool▁calls▁begin｜>",
        opening="<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n",
        middle="```json\n",
        ending="\n```<｜tool▁call▁end｜>",
        between="\n",
        end="<｜tool▁calls▁end｜>",
        escapes="all",
        finds_next=False,
    ),
    # models/templates/deepseek-ai-DeepSeek-V3.1.jinja; vllm/tool_parsers/deepseekv31_tool_parser.py.
    "deepseek_v31": Syntax(
        begin="<｜tool▁calls▁begin｜>",
        opening="<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>",
        middle="",
        ending="<｜tool▁call▁end｜>",
        end="<｜tool▁calls▁end｜>",
        finds_next=False,
    ),
    # vllm/tokenizers/deepseek_v32_encoding.py; vllm/parser/deepseek_v32.py; models/templates/DeepSeek-V3.2.jinja.
    "deepseek_v32": Syntax(
        gap="\n\n",
        begin="<｜DSML｜function_calls>\n",
        opening='<｜DSML｜invoke name="{name}">',
        middle="\n",
        ending="</｜DSML｜invoke>",
        tail="\n",
        end="</｜DSML｜function_calls>",
        values=Values(
            '<｜DSML｜parameter name="{key}" string="true">',
            "</｜DSML｜parameter>\n",
            '<｜DSML｜parameter name="{key}" string="false">',
            "</｜DSML｜parameter>\n",
        ),
    ),
    # models/templates/Kimi-K2-Thinking.jinja; vllm/parser/kimi_k2.py.
    "kimi_k2": Syntax(
        begin="<|tool_calls_section_begin|>",
        opening="<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>",
        middle="",
        ending="<|tool_call_end|>",
        end="<|tool_calls_section_end|>",
        finds_next=False,
    ),
    # tests/templates/glm4moe.jinja, models/templates/glm_4_5.jinja.
    "glm45": Syntax(
        gap="\n",
        opening="<tool_call>{name}\n",
        middle="",
        ending="</tool_call>",
        between="\n",
        values=_tagged("<arg_key>{key}</arg_key>\n<arg_value>", "</arg_value>\n"),
    ),
    # vllm/parser/glm47_moe.py: the same without newlines, so the name ends where a tag begins.
    "glm47": Syntax(
        opening="<tool_call>{name}",
        middle="",
        ending="</tool_call>",
        name_ahead=len("<arg_key>"),
        values=_tagged("<arg_key>{key}</arg_key><arg_value>", "</arg_value>"),
    ),
    # models/templates/unsloth-MiniMax-M2.jinja; vllm/parser/minimax_m2.py.
    "minimax_m2": Syntax(
        gap="\n",
        begin="<minimax:tool_call>\n",
        opening='<invoke name="{name}">',
        middle="\n",
        ending="</invoke>",
        tail="\n",
        end="</minimax:tool_call>",
        values=_tagged('<parameter name="{key}">', "</parameter>\n"),
    ),
    # vllm/tool_parsers/functiongemma_tool_parser.py, which reads only values between <escape> tokens.
    "functiongemma": Syntax(
        opening="<start_function_call>call:{name}{{",
        middle="",
        ending="}",
        tail="<end_function_call>",
        values=Values("{key}:<escape>", "<escape>", "{key}:<escape>", "<escape>", separator=","),
    ),
}
