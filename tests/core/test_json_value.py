"""What can still become a JSON document, against the truth of ``json.loads()``."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_continue._core.text.document import Document
from openai_continue._core.text.formats import Format

numbers = st.integers() | st.floats()
texts = st.text(st.sampled_from('ab 01"\\\n\t/{}[],:\x7fé\u2028😀\ud800'), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=10,
)
documents = st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)
#: What is put into a document: all that has a meaning in JSON, and some of what has none.
PIECES = "{}[]\",:0123456789.eE+-tfnNI\\u \n\t\x00\x1fx'/_\xa0\ufeff\u0661"
#: What ends any half string, escape, number, word, name or pair. Brackets are closed after it.
REMEDIES = ["", '"', "0", "0000", "u0000", "Infinity", *(word[cut:] for word in
    ("true", "false", "null", "NaN", "Infinity", "0000") for cut in range(1, len(word)))]  # fmt: skip
AFTER = ["", '"', ":0", '":0', '"":0']


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def closers(text: str) -> str:
    """Return what closes the brackets that are open, as if all before were JSON."""
    still_open, in_string, escaped = "", False, False
    for character in text:
        if escaped or not in_string:
            escaped = False
            if not in_string and character in "{[":
                still_open = "}]"["{[".index(character)] + still_open
            elif not in_string and character in "}]":
                still_open = still_open[1:]
            in_string = in_string or character == '"'
        else:
            escaped = character == "\\"
            in_string = character != '"'
    return still_open


def may_become_json(text: str) -> bool:
    """Whether anything that follows makes it JSON: each remedy is tried."""
    tried = (text + remedy + after for remedy in REMEDIES for after in AFTER)
    return any(is_json(each + closers(each)) for each in tried)


def lost_after(text: str, size: int) -> int | None:
    """Return after how many characters, in pieces of a size, the document is lost; None if it is not up to its end."""
    document = Document()
    for start in range(0, len(text), size):
        end = document.feed(text[start : start + size])
        if document.is_lost:
            return start + size
        if end is not None:
            break
    return None


def with_faults(text: str, dice: random.Random) -> str:
    """Return a document with a character or two that are changed, put in, or left out."""
    for _ in range(dice.randrange(1, 3)):
        place, change = dice.randrange(1, len(text) + 1), dice.randrange(3)
        text = text[:place] + (dice.choice(PIECES) if change else "") + text[place + (change != 1) :]
    return text


@given(documents, st.sampled_from([None, 1, "\t"]), st.booleans(), st.integers(1, 9))
@example([float("nan"), float("inf"), -float("inf"), 1e-7, 1e22, -0.0], None, True, 1)
def test_every_beginning_of_a_document(value: Any, indent: Any, ascii_only: bool, size: int) -> None:
    """No beginning of a document is lost, and all of it has ended."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    document = Document()
    ends = [document.feed(text[start : start + size]) for start in range(0, len(text), size)]

    assert [end for end in ends if end is not None] == [len(text) - (len(ends) - 1) * size]
    assert (document.is_lost, document.has_ended) == (False, True)


@given(documents, st.booleans(), st.randoms(use_true_random=False), st.integers(2, 7))
def test_documents_with_faults(value: Any, ascii_only: bool, dice: random.Random, size: int) -> None:
    """A text is lost at the first character after which nothing makes it JSON, and in the piece that has it."""
    text = with_faults(json.dumps(value, ensure_ascii=ascii_only), dice)
    places = range(1, len(text) + 1)
    first = next((place for place in places if not may_become_json(text[:place])), None)
    whole = next((place for place in places if is_json(text[:place])), None)
    # What follows a document is none of it.
    first = None if whole is not None and (first is None or whole < first) else first

    assert lost_after(text, 1) == first
    assert lost_after(text, size) == (None if first is None else -(-first // size) * size)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('{"a', '": 1}'),
        ('["\\', '""]'),
        ('["\\u00', '0a"]'),
        ('["\\ud83d', '"]'),
        ('["\ud83d', '"]'),
        ('["\x7f', '"]'),
        ("[-", "1]"),
        ("[0", ".5]"),
        ("[1.", "5]"),
        ("[1e", "+5]"),
        ("[1E-", "5]"),
        ("[tr", "ue]"),
        ("[Na", "N]"),
        ("[-Inf", "inity]"),
        (" \t\r\n[", "]"),
        ("[1 ", ",2]"),
        ("", "[]"),
        ("So it is {1}: ", "```json\n[]\n```"),
        ("\ufeff{a", "\n```json\n[]\n```"),
        ("\xa0{a", "\n```json\n[]\n```"),
        ("12 ", "```\n{}\n```"),
        ('"a" b', "```\n{}\n```"),
        ("```json\n{", "}\n```"),
    ],
)
def test_what_may_become_a_document(text: str, rest: str) -> None:
    """Half a value may, and so may prose: a document in a fence may follow."""
    wanted = Format.of({"response_format": {"type": "json_object"}})

    assert wanted is not None
    assert wanted.fits(text + rest)
    assert [lost_after(text, size) for size in (1, 3, 100)] == [None] * 3


@pytest.mark.parametrize(
    "text",
    [
        "{1",
        "{a",
        "{'",
        "{,",
        '{"a"}',
        '{"a" 1',
        '{"a":,',
        '{"a": 1,}',
        '{"a": 1 "',
        '{"a": 1]',
        "[,",
        "[1,]",
        "[1 2",
        "[}",
        "[01",
        "[00",
        "[.",
        "[+",
        "[1.e",
        "[1.]",
        "[--",
        "[1_",
        "[\u0661",
        "[tru]",
        "[truex",
        "[T",
        "[u",
        "[Infinityx",
        '["\n',
        '["\x1f',
        '["\\x',
        '["\\u00g',
        '["\\u ',
        "[\xa0",
        "[\ufeff",
        "[/",
        "[#",
        "[1] is it:\n```json\n{",
        "```json\n{a",
    ],
)
def test_what_is_lost(text: str) -> None:
    """Nothing makes this a document, as ``json.loads()`` reads it; a text that begins with one has no other."""
    expected = None if text.startswith("[1] is") else len(text)

    assert lost_after(text, 1) == expected
    assert may_become_json(text) is False
