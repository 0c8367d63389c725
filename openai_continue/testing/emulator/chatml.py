"""
The emulated chat template: ChatML, as a text that is written here and read back, and as a source for Jinja.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from .checks import Body
from .habits import Habits
from .thinking import is_opened, knows, tags

START = "<|im_start|>"
HEADER = f"{START}assistant\n"

_END = "<|im_end|>\n"
_TOOLS = "# Tools\n\n"
_CALL = "\n<tool_call>\n"
_MESSAGE = re.compile(r"<\|im_start\|>(?P<role>[^\n]*)\n(?P<content>.*?)<\|im_end\|>\n", re.DOTALL)

_SOURCE = r"""{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n' }}
    {%- for tool in tools %}
        {{- '\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' }}
%SHOWN%    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content or [] %}
            {{- part.text or '' }}
        {%- endfor %}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
        {%- if call.function.arguments is string %}
            {{- call.function.arguments }}
        {%- else %}
            {{- call.function.arguments | tojson }}
        {%- endif %}
        {{- '}' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
"""

# The thoughts of an answer that is to go on.
_SHOWN = """    {%- if loop.last and message.reasoning_content %}
        {{- %BLOCK% }}
    {%- endif %}
"""


class Conversation(NamedTuple):
    """What a prompt holds that the template has written."""

    messages: tuple[Body, ...]
    tools: tuple[Body, ...]
    #: The prompt up to the end of the header of the answer.
    opening: str
    #: What follows the header, or None if there is no header.
    begun: str | None


def opening(messages: Sequence[Body], tools: Sequence[Body]) -> str:
    """Return the prompt of messages, up to the end of the header of the answer."""
    written = [(one["role"], content_text(one) + _calls_text(one)) for one in messages]
    if tools:
        written.insert(0, ("system", _TOOLS + "\n".join(json.dumps(one, ensure_ascii=False) for one in tools)))
    return "".join(f"{START}{role}\n{content}{_END}" for role, content in written) + HEADER


def plain(messages: Sequence[Body]) -> list[dict[str, str]]:
    """Return messages as ``read()`` finds them in a prompt."""
    return [{"role": one["role"], "content": content_text(one) + _calls_text(one)} for one in messages]


def read(prompt: str) -> Conversation:
    """Return what a prompt says."""
    messages: list[Body] = []
    at = 0
    while found := _MESSAGE.match(prompt, at):
        messages.append(found.groupdict())
        at = found.end()
    tools: tuple[Body, ...] = ()
    if messages and messages[0]["content"].startswith(_TOOLS):
        tools = tuple(map(json.loads, messages.pop(0)["content"].removeprefix(_TOOLS).split("\n")))
    begin = at + len(HEADER)
    begun = prompt[begin:] if prompt.startswith(HEADER, at) else None
    return Conversation(tuple(messages), tools, prompt[:begin], begun)


def source(habits: Habits) -> str:
    """Return the template for Jinja, as the Hub has them. Its ``tojson`` is the one of ``transformers``."""
    opened, closed = tags(habits)
    off = {
        "enable_thinking": "enable_thinking is defined and enable_thinking is false",
        "reasoning_effort": "reasoning_effort is defined and reasoning_effort == 'none'",
    }
    conditions = [f"({condition})" for name, condition in off.items() if knows(habits, name)]
    shown = ""
    if habits.thinks not in {None, "inline"} and habits.template in {"qwen3", "glm"}:
        # Of R1's templates none shows them.
        block = f"{_quoted(opened)} + message.reasoning_content + {_quoted(closed)}"
        shown = _SHOWN.replace("%BLOCK%", block)
    lines: list[str] = []
    if conditions:
        lines += [f"    {{%- if {' or '.join(conditions)} %}}", f"        {{{{- {_quoted(opened + closed)} }}}}"]
    if is_opened(habits):
        lines += ["    {%- else %}"] if conditions else []
        lines += [f"    {{{{- {_quoted(opened)} }}}}"]
    lines += ["    {%- endif %}"] if conditions else []
    return _SOURCE.replace("%SHOWN%", shown) + "".join(f"{line}\n" for line in lines) + "{%- endif %}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\n", r"\n") + "'"


def content_text(message: Body) -> str:
    """Return the text of a message, whose content is a string, a list of parts, or null."""
    content: object = message.get("content")
    if isinstance(content, str) or content is None:
        return content or ""
    parts = cast("Sequence[Body]", content)
    return "".join(str(part.get("text") or "") for part in parts)


def _calls_text(message: Body) -> str:
    """Return the tool calls of a message as the prompt has them. Like vLLM, it reads their arguments as JSON."""
    written = ""
    for call in cast("Sequence[Body]", message.get("tool_calls") or ()):
        function = cast("Body", call.get("function") or {})
        arguments = _read_json(function.get("arguments"))
        written += f'{_CALL}{{"name": "{function.get("name")}", "arguments": {arguments}}}'
    return written


def _read_json(arguments: object) -> str:
    """Return arguments in the usual form of JSON; those that are no JSON as they are."""
    if not isinstance(arguments, str):
        return json.dumps(arguments, ensure_ascii=False)
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except ValueError:
        return arguments
