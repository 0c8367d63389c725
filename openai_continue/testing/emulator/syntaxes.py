"""
The syntax in which each family of models calls tools, as data.

Sources: the chat templates in ``tests/templates``, in TRL (https://github.com/huggingface/trl, ``trl/chat_templates``)
and in llama.cpp (https://github.com/ggml-org/llama.cpp, ``models/templates``), which show what a model has seen in its
training, and the parsers of vLLM 0.32 (``vllm/tool_parsers``, ``vllm/parser``), which show what a server reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
    #: How a value that is no string is written.
    other: Callable[[Any], str] = lambda value: json.dumps(value, ensure_ascii=False)
    #: How a character of a string is written. None: as it is.
    escape: Callable[[str], str] | None = None


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


def _gemma(value: object, quote: str = '<|"|>') -> str:
    """Return a value in the notation of Gemma 4: keys are bare, and strings stand between special tokens."""
    if isinstance(value, str):
        return quote + value + quote
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return "{" + ",".join(f"{key}:{_gemma(item, quote)}" for key, item in items) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(_gemma(item, quote) for item in cast("Sequence[object]", value)) + "]"
    return json.dumps(value)


def _python(value: object) -> str:
    """Return a value as a literal of Python."""
    if isinstance(value, str):
        return '"' + "".join(map(_python_character, value)) + '"'
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return "{" + ", ".join(f"{_python(key)}: {_python(item)}" for key, item in items) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_python, cast("Sequence[object]", value))) + "]"
    return repr(value)


def _python_character(character: str) -> str:
    """Return a character as it is within a string of Python."""
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() or character > "\u2fff" else repr(character)[1:-1]


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
}
