"""What a model writes, read as tool calls: white space that varies, marks in pieces, and what is no call."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.calls.reader import Reader, first_mark
from openai_continue._tables.call_syntaxes import CallSyntax
from tests.support.calls import dumped, each_syntax, read, row, split, tool, written

GIVEN: dict[str, Any] = {"path": "a.txt", "n": 12, "content": "x\ny"}
TOOLS = [tool("save", {"a": "x"}), tool("run", GIVEN)]
AB = ("save", '{"a": "b"}')
_DSML = '<｜DSML｜parameter name="{}" string="{}">{}</｜DSML｜parameter>'

#: The syntax, what the model writes, the text and the calls that are read.
LOOSE: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("hermes", '<tool_call>{"name":"save","arguments":{"a":"b"}}</tool_call>', "", [("save", '{"a":"b"}')]),
    (
        "hermes",
        'Hi.\n<tool_call>\n\n{ "name" : "save" , "arguments" : {"a": "b"} }\n\n</tool_call>\n\n<tool_call>{"name":"run","arguments":{}}</tool_call> ',
        "Hi.\n",
        [AB, ("run", "{}")],
    ),
    ("hermes", "<tool_cal or <tool_calls> is none. <tool_", "<tool_cal or <tool_calls> is none. ", []),
    (
        "qwen3-coder",
        "<tool_call><function=save><parameter=a>b</parameter></function></tool_call>and",
        "and",
        [AB],
    ),
    (
        "qwen3-coder",
        "<tool_call>\n<function=save>\n\n<parameter=a>\n\n b\n\n</parameter>\n\n</function>\n\n</tool_call>\n<tool_call>\n<function=save>\n</function>\n</tool_call>",
        "",
        [("save", '{"a": "\\n b\\n"}'), ("save", "{}")],
    ),
    # Not of the schema, so it is what it reads as.
    (
        "qwen3-coder",
        "<tool_call>\n<function=save>\n<parameter=b>1</parameter>\n<parameter=c>[1,{}]</parameter>\n<parameter=d>x y</parameter>\n</function>\n</tool_call>",
        "",
        [("save", '{"b": 1, "c": [1, {}], "d": "x y"}')],
    ),
    ("glm-4.5", "<tool_call>save\n<arg_key>a</arg_key><arg_value>b</arg_value></tool_call>", "", [AB]),
    ("glm-4.7", "<tool_call>save<arg_key>a</arg_key>\n<arg_value>b</arg_value>\n</tool_call>", "", [AB]),
    ("minimax-m2", '<minimax:tool_call><invoke name="save"><parameter name="a">b</parameter></invoke></minimax:tool_call>', "", [AB]),
    (
        "deepseek-v3.2",
        '<｜DSML｜function_calls><｜DSML｜invoke name="save">' + _DSML.format("a", "true", "12") + _DSML.format("b", "false", "12") + "</｜DSML｜invoke></｜DSML｜function_calls>\n",
        "\n",
        [("save", '{"a": "12", "b": 12}')],
    ),
    ("deepseek-v3.1", '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>save<｜tool▁sep｜>{"a": "b"}\n<｜tool▁call▁end｜>\n<｜tool▁calls▁end｜>', "", [AB]),
    ("kimi-k2", '<|tool_calls_section_begin|><|tool_call_begin|>functions.save:7<|tool_call_argument_begin|> {"a": "b"}<|tool_call_end|><|tool_calls_section_end|>', "", [AB]),
    ("llama-3", ' {"name":"save","parameters":{"a": "b"}};{"name":"run","parameters":{}}', " ", [AB, ("run", "{}")]),
    # Without a mark, only the beginning of an answer is a call.
    ("llama-3", 'Hi {"name": "save", "parameters": {}}', 'Hi {"name": "save", "parameters": {}}', []),
    ("llama-3", '{"nam": "save"}', '{"nam": "save"}', []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "text", "calls"), LOOSE)
def test_white_space_may_vary(name: str, raw: str, text: str, calls: list[tuple[str, str]]) -> None:
    """White space beside marks, quotes and values that are not as the table has them are read, in any pieces."""
    for seed in range(10):
        reader = Reader(row(name), TOOLS)
        assert (text, calls) == read(reader, split(raw, seed))
        assert (False, len(calls)) == (reader.is_broken, reader.calls)


#: The syntax, and what looks like a call and is none. It is known at once, or after the longest mark.
BROKEN: list[tuple[str, str]] = [
    ("hermes", '<tool_call>\n{"arguments": {"a": "b"}, "name": "save"}\n</tool_call>'),
    ("hermes", '<tool_call>\n{"name": "save", "arguments": "{}"}'),
    ("hermes", '<tool_call>\n{"name": "save", "arguments": {}, "x": 2}'),
    ("hermes", "<tool_call>\n<function=save>\n"),
    ("qwen3-coder", "<tool_call>\n<function=save>\nfoo"),
    ("qwen3-coder", '<tool_call>\n{"name": "save", "arguments": {}}'),
    ("glm-4.5", "<tool_call>save me <arg_key>"),
    ("deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>save<｜tool▁sep｜>```json\n{}"),
    ("deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>save<｜tool▁sep｜>{}<｜tool▁call▁end｜>text"),
    ("kimi-k2", "<|tool_calls_section_begin|><|tool_call_begin|>functions.save<|tool_call_argument_begin|>{}"),
]


@pytest.mark.parametrize(("name", "raw"), BROKEN)
def test_broken(name: str, raw: str) -> None:
    """What is not in the syntax is no call; a mark that does not come is waited for in 400 characters and no more."""
    for pieces in ([raw, "." * 600], [*raw, *"." * 600]):
        reader = Reader(row(name), TOOLS)
        read(reader, pieces)
        assert reader.is_broken
        assert reader.feed(written(row(name), AB)) == []


@each_syntax
def test_every_prefix(syntax: CallSyntax) -> None:
    """Wherever it is cut, what has been read is a beginning of it all, and the state says where the cut is."""
    text = "" if syntax.name == "llama-3" else "Text."
    raw = written(syntax, ("run", dumped(GIVEN)), AB, text=text)
    _, ((_, first), (_, second)) = read(Reader(syntax, TOOLS), [raw])
    states = list[tuple[bool, bool, bool]]()
    for cut in range(len(raw) + 1):
        reader = Reader(syntax, TOOLS)
        said, calls = read(reader, [raw[:cut]])
        assert not reader.is_broken
        assert (text + syntax.gap if text else "").startswith(said)
        assert ["run", "save"][: len(calls)] == [name for name, _ in calls]
        assert all(full.startswith(known) for full, (_, known) in zip((first, second), calls, strict=False))
        assert all(known == full for full, (_, known) in zip((first, second), calls[:-1], strict=False))
        assert reader.has_arguments == bool(calls and calls[-1][1] == (first, second)[len(calls) - 1])
        states.append((reader.is_in_call, reader.has_arguments, reader.has_rest))
        # What follows is read the same.
        assert [name for name, _ in calls] + [event.text for event in reader.feed(raw[cut:]) if event.kind == "name"] == ["run", "save"]  # fmt: skip
    assert states[0] == (False, False, False)
    assert states[-1] == (False, True, False)
    assert (True, False, False) in states
    # Between two calls, the marks of the second one have begun.
    assert (False, True, True) in states


@each_syntax
def test_first_mark(syntax: CallSyntax) -> None:
    """Every call has the mark, and no text has it by chance."""
    mark = first_mark(syntax)
    assert mark in written(syntax, AB)
    assert len(mark) >= 8 or syntax.name == "llama-3"


def test_text_is_not_held_back() -> None:
    """A text goes out at once, but for what may be the beginning of a mark."""
    reader = Reader(row("hermes"), TOOLS)
    out = [[event.text for event in reader.feed(piece)] for piece in ("Hi <b>", "<tool", "x", " <tool_call", "ed")]
    assert out == [["Hi <b>"], [], ["<toolx"], [" "], ["<tool_called"]]


def test_arguments_are_not_held_back() -> None:
    """So do arguments, but for what may be the beginning of the mark after them."""
    reader = Reader(row("qwen3-coder"), TOOLS)
    reader.feed("<tool_call>\n<function=save>\n<parameter=a>")
    out = [
        "".join(event.text for event in reader.feed(piece)) for piece in ("\nb", "c\n", "d</", "e\n</parameter", ">")
    ]
    assert out == ['{"a": "b', "c", "\\nd", "</e", '"']


TYPES: list[tuple[Any, str, str]] = [
    # The schema of a parameter, its value as it is written, and as it is read.
    ({"type": "string"}, "12", '"12"'),
    ({"type": "string"}, "null", '"null"'),
    ({"type": "integer"}, "12", "12"),
    ({"type": "integer"}, "a", '"a"'),
    ({"type": ["string", "null"]}, "12", '"12"'),
    ({"type": ["string", "null"]}, "null", "null"),
    ({"type": ["string", "number"]}, "12", "12"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "true", '"true"'),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", "null"),
    ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/X"}]}, "12", "12"),
    ({"oneOf": [{"type": "string"}, {"type": "array"}]}, '["a"]', '["a"]'),
    ({"oneOf": [{"type": "string"}, {"type": "array"}]}, '{"a": 1}', '"{\\"a\\": 1}"'),
    ({"enum": ["1", "2"]}, "1", '"1"'),
    ({"enum": ["1", 2]}, "2", "2"),
    ({"const": "1"}, "1", '"1"'),
    ({}, "12", "12"),
    ({}, "a b", '"a b"'),
    (None, '{"a": [1]}', '{"a": [1]}'),
]


@pytest.mark.parametrize(("schema", "text", "value"), TYPES)
def test_types(schema: Any, text: str, value: str) -> None:
    """What has no quotes is a string if the schema says so, or if it is nothing else that the schema allows."""
    parameters = {"properties": {"a": schema}} if schema is not None else None
    tools = [{"type": "function", "function": {"name": "save", "parameters": parameters}}]
    raw = f"<tool_call>\n<function=save>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>"
    for seed in range(4):
        assert ("", [("save", f'{{"a": {value}}}')]) == read(Reader(row("qwen3-coder"), tools), split(raw, seed))
    # What the server has taken for a string is one.
    known = Reader(row("qwen3-coder"), tools, strings=[{"a": True}])
    assert ("", [("save", dumped({"a": text}))]) == read(known, [raw])
