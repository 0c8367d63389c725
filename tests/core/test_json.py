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


def test_numbers_that_json_does_not_know() -> None:
    """NaN and infinities are written as the SDK reads them."""
    assert jsons.dump(jsons.load(b"[NaN, Infinity, -Infinity]")) == b"[NaN,Infinity,-Infinity]"


def test_json_without_pydantic_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """openai accepts pydantic 1 too, which brings no writer of JSON: the text is the same."""
    monkeypatch.setitem(sys.modules, "pydantic_core", None)
    spec = importlib.util.spec_from_file_location("jsons_alone", jsons.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "jsons_alone", alone)
    spec.loader.exec_module(alone)

    for value in ({"a": ["é\u2028\n\x00", 1.5, None, True, 10**30]}, "\ud800", [float("nan")]):
        assert jsons.dump(value) == alone.dump(value)
