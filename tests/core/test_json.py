"""JSON in and out: nothing that cannot be written again is read, and no text is lost."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue._core import json as jsons


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_json(opening: bytes) -> None:
    """JSON that is nested too deep to be written again is not read."""
    closing = b"]" if opening == b"[" else b"}"

    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + closing * depth

    assert json.loads(nested(99)) == jsons.load(nested(99))
    for depth in (101, 900, 10_000, 100_000):
        assert jsons.load(nested(depth)) is None
    # Brackets in a text are no depth.
    assert jsons.load(b'"' + b"[" * 500 + b'"') == "[" * 500


@pytest.mark.parametrize(
    "content", [b"", b"x", b"{", b"\xff", b'"\xff"', b"1" * 5000, b"\x00", b"\xef\xbb\xbf{", b"NaNa"]
)
def test_no_json(content: bytes) -> None:
    """Bytes that are no JSON give None."""
    assert jsons.load(content) is None


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_json_survives(value: Any) -> None:
    """A value that is written is read again, lone surrogates too."""
    assert value == jsons.load(jsons.dump(value))


@given(value=st.floats() | st.integers() | st.text())
@settings(max_examples=200, deadline=None)
def test_read_as_json_reads(value: float | str) -> None:
    """A value is read as Python's json reads it, to the last digit."""
    content = json.dumps([value]).encode()

    assert repr(json.loads(content)) == repr(jsons.load(content))


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "b": 2, "a": 3}',
        rb'["\ud800", "\ude00\ud83d", "\ud83d\ude00"]',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": "\u00e9"}'.encode("utf-16"),
        b"[1e400, -1e400, 1e-400, -0.0, -0, 1E5, 1.7976931348623159e308]",
        b"[NaN, Infinity, -Infinity]",
        b' \t\r\n{"a": [ 1 , 2 ] } \n',
        b"123456789012345678901234567890",
    ],
)
def test_rare_json_is_read_as_json_reads(content: bytes) -> None:
    """Keys given twice, lone surrogates, byte order marks and odd numbers are read as Python's json reads them."""
    assert repr(json.loads(content)) == repr(jsons.load(content))


def test_numbers_that_json_does_not_know() -> None:
    """NaN and infinities are written as the SDK reads them."""
    assert jsons.dump(jsons.load(b"[NaN, Infinity, -Infinity]")) == b"[NaN,Infinity,-Infinity]"


def test_json_without_pydantic_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """openai accepts pydantic 1 too, which neither reads nor writes JSON: both are the same."""
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    spec = importlib.util.spec_from_file_location("jsons_alone", jsons.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "jsons_alone", alone)
    spec.loader.exec_module(alone)

    for value in ({"a": ["é\u2028\n\x00", 1.5, None, True, 10**30]}, "\ud800", [float("nan")]):
        assert jsons.dump(value) == alone.dump(value)
        assert repr(jsons.load(jsons.dump(value))) == repr(alone.load(alone.dump(value)))
