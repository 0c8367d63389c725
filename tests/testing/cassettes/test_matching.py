"""Requests are equal if their JSON is; if not, the matcher names the first difference."""

from __future__ import annotations

import json
import time
from itertools import product
from typing import Any

import pytest
from vcr.request import Request

from openai_continue.testing.cassettes.matching import chat_body, difference

SAID = {"model": "m", "messages": [{"role": "user", "content": "Write the whole handbook."}], "stream": True}


def changed(**fields: Any) -> dict[str, Any]:
    return {**SAID, **fields}


def messages(content: str, *more: str) -> dict[str, Any]:
    return changed(messages=[{"role": "user", "content": text} for text in (content, *more)])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (SAID, None),
        (dict(reversed(SAID.items())), None),
        (changed(model="n"), "model, character 0: recorded 'm', sent 'n'"),
        (changed(n=2), "n: not recorded, sent 2"),
        ({"model": "m", "messages": SAID["messages"]}, "stream: recorded true, not sent"),
        (changed(stream=1), "stream: recorded true, sent 1"),
        (changed(stream=None), "stream: recorded true, sent null"),
        (messages("Write the whole handbook.", "x"), "messages: recorded 1, sent 2"),
        (
            messages("Write the whole hand book."),
            "messages[0].content, character 20: recorded 'Write the whole handbook.', sent 'Write the whole hand book.'",
        ),
        (
            messages("Write the whole handbook. And more."),
            "messages[0].content, character 25: recorded …' the whole handbook.', "
            "sent …' the whole handbook. And more.'",
        ),
        ([SAID], None),
    ],
)
def test_first_difference(sent: Any, expected: str | None) -> None:
    """The order of names and the blanks between them do not matter."""
    seen = difference(json.dumps(SAID).encode(), json.dumps(sent, separators=(",", ":")).encode())

    if sent == [SAID]:
        assert seen is not None
        assert seen.startswith("the body: recorded {")
    else:
        assert seen == expected


@pytest.mark.parametrize("sent", ["none", "sk-another", ""])
def test_a_replay_does_not_depend_on_secrets(sent: str) -> None:
    """A body that holds the key matches with any other key, and a body that differs elsewhere does not."""
    recorded = json.dumps(changed(user="key SCRUBBED of a team")).encode()

    assert difference(recorded, json.dumps(changed(user=f"key {sent} of a team")).encode()) is None
    assert difference(recorded, json.dumps(changed(user=f"key {sent} of the team")).encode()) is not None


def test_bodies_that_are_no_json() -> None:
    """Bodies that are no JSON are compared as bytes."""
    assert difference(None, None) is None
    assert difference(b"\xff", b"\xff") is None
    assert difference(b"\xff", None) is not None
    assert difference(b"x", b"y") == "the body: recorded \"b'x'\", sent \"b'y'\""


def test_a_hundred_rounds_cost_little() -> None:
    """Comparing all requests of a hundred rounds with each other takes less than two seconds."""
    text = "The quiet harbour rests in Lisbon, and its lanterns are hollow. " * 4
    bodies = [json.dumps(messages("Write.", text * number)).encode() for number in range(100)]

    began = time.process_time()
    unlike = sum(difference(recorded, sent) is not None for sent, recorded in product(bodies, bodies))

    assert unlike == 9900
    assert time.process_time() - began < 2


def test_matcher_for_vcr() -> None:
    """The matcher raises the error that VCR prints."""
    asked, other = (Request("POST", "https://x/", json.dumps(body).encode(), {}) for body in (SAID, messages("x")))

    chat_body(asked, asked)
    with pytest.raises(AssertionError, match=r"messages\[0\].content, character 0: recorded 'x', sent 'Write the"):
        chat_body(asked, other)
