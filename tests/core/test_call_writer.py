"""Arguments as JSON, whole or cut at any character, in the syntax of a model."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.calls.reader import Reader
from openai_continue._core.calls.writer import Writer, head
from openai_continue._tables.call_syntaxes import CallSyntax
from tests.support.calls import dumped, each_syntax, read, row, split, tool, written

ARGUMENTS: dict[str, Any] = {
    "path": 'a "b".txt',
    "n": -12.5,
    "ok": True,
    "o": {"a": [1, "x}", "it's"], "b": {"é": None}},
    "content": 'l1\n\\ \t é 🦊 \u2028</para "\\u00e9',
}


@each_syntax
@pytest.mark.parametrize("ascii_only", [False, True])
def test_cut_anywhere(ascii_only: bool, syntax: CallSyntax) -> None:
    """Whatever is cut, what is written is a beginning of what the model writes, and it reads as what was given."""
    given = dumped(ARGUMENTS, ascii_only=ascii_only)
    raw, tools = written(syntax, ("save", given)), [tool("save", ARGUMENTS)]
    for cut in range(len(given) + 1):
        writer = Writer(syntax)
        begun = head(syntax, "save", 0) + writer.feed(given[:cut])
        assert raw.startswith(begun)
        assert cut - writer.consumed < 60
        known = "".join(arguments for _, arguments in read(Reader(syntax, tools), [begun])[1])
        if syntax.parameters is None:
            assert (given[:cut], cut) == (known, writer.consumed)
        elif not ascii_only:
            assert given[: writer.consumed].startswith(known)
        assert dumped(ARGUMENTS, ascii_only=ascii_only and syntax.parameters is None).startswith(known)
        # What comes next is written the same.
        assert begun + writer.feed(given[cut:]) + syntax.tail + syntax.closes == raw


#: The syntax, the arguments so far, what is written of them, and what is left.
CUT: list[tuple[str, str, str, str]] = [
    ("hermes", '{"a": "\\', '{"a": "\\', ""),
    ("hermes", "", "", ""),
    ("qwen3-coder", "", "", ""),
    ("qwen3-coder", "{", "", "{"),
    ("qwen3-coder", '{"a', "", '{"a'),
    # It may be a string or not.
    ("qwen3-coder", '{"a": ', "", '{"a": '),
    ("qwen3-coder", '{"a": "', "<parameter=a>\n", ""),
    ("qwen3-coder", '{"a":"b', "<parameter=a>\nb", ""),
    ("qwen3-coder", '{"a": "b\\', "<parameter=a>\nb", "\\"),
    ("qwen3-coder", '{"a": "b\\n', "<parameter=a>\nb\n", ""),
    ("qwen3-coder", '{"a": "b\\u00', "<parameter=a>\nb", "\\u00"),
    ("qwen3-coder", '{"a": "b\\u00e9', "<parameter=a>\nbé", ""),
    ("qwen3-coder", '{"a": "b\\ud83d', "<parameter=a>\nb", "\\ud83d"),
    ("qwen3-coder", '{"a": "b\\ud83d\\ude', "<parameter=a>\nb", "\\ud83d\\ude"),
    ("qwen3-coder", '{"a": "b\\ud83d\\ude00', "<parameter=a>\nb😀", ""),
    ("qwen3-coder", '{"a": "b"', "<parameter=a>\nb\n</parameter>\n", ""),
    ("qwen3-coder", '{"a": "b", ', "<parameter=a>\nb\n</parameter>\n", ", "),
    ("qwen3-coder", '{"a": "b"}', "<parameter=a>\nb\n</parameter>\n", "}"),
    # A number may go on, and so may a list.
    ("qwen3-coder", '{"a": 1', "<parameter=a>\n", "1"),
    ("qwen3-coder", '{"a": 1,', "<parameter=a>\n1\n</parameter>\n", ","),
    ("qwen3-coder", '{"a": [1, "]"', "<parameter=a>\n", '[1, "]"'),
    ("qwen3-coder", '{"a": [1, "]"]', '<parameter=a>\n[1, "]"]\n</parameter>\n', ""),
    ("qwen3-coder", '{"a\\"b": tru', '<parameter=a"b>\n', "tru"),
    ("deepseek-v3.2", '{"a": "b', '<｜DSML｜parameter name="a" string="true">b', ""),
    ("deepseek-v3.2", '{"a": 1', '<｜DSML｜parameter name="a" string="false">', "1"),
    ("glm-4.5", '{"a": 1.5, "b": "', "<arg_key>a</arg_key>\n<arg_value>1.5</arg_value>\n<arg_key>b</arg_key>\n<arg_value>", ""),
    # No JSON: nothing more is written than is sure.
    ("qwen3-coder", '{"a": nope, "b": 1}', "<parameter=a>\n", 'nope, "b": 1}'),
    ("qwen3-coder", "[1]", "", "[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected", "rest"), CUT)
def test_what_is_written(name: str, given: str, expected: str, rest: str) -> None:
    """What stands there of the arguments is written, and the rest waits for more."""
    for seed in range(4):
        writer = Writer(row(name))
        assert "".join(map(writer.feed, split(given, seed))) == expected
        assert rest == given[writer.consumed :]


@each_syntax
def test_head(syntax: CallSyntax) -> None:
    """The marks before the first call stand there once, and a call is counted if its syntax counts."""
    first, second = head(syntax, "save", 0), head(syntax, "run", 1)
    assert first.startswith(syntax.opens)
    assert not syntax.opens or syntax.opens not in second
    assert ("save" in first, "run" in second, "{name}" in first, "{index}" in first) == (True, True, False, False)
    assert ("functions.run:1" in second) == (syntax.name == "kimi-k2")
