"""The caller's own beginning of the answer: it grows, and is what it is without us."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.driving import Drive, drives, streamed
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round

USER = {"role": "user", "content": "x"}


@drives
@pytest.mark.parametrize(
    ("content", "grown"),
    [
        ("Once upon ", "Once upon a time"),
        (None, "a time"),
        ("", "a time"),
        (
            [{"type": "text", "text": "Once ", "cache_control": {"type": "ephemeral"}}],
            [{"type": "text", "text": "Once a time", "cache_control": {"type": "ephemeral"}}],
        ),
        (
            [{"type": "text", "text": "On"}, {"type": "text", "text": "ce ", "cache_control": {}}],
            [{"type": "text", "text": "On"}, {"type": "text", "text": "ce a time", "cache_control": {}}],
        ),
        ([], [{"type": "text", "text": "a time"}]),
        (
            [{"type": "refusal", "refusal": "no"}],
            [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "a time"}],
        ),
    ],
)
def test_callers_beginning_grows(content: Any, grown: Any, drive: Drive) -> None:
    """A last message that is the beginning of the answer grows, with all that is on it; the caller's stays as it is."""
    last = {"role": "assistant", "content": content, "name": "poet", "prefix": True, "cache_control": {"type": "x"}}
    body = ask(messages=[USER, last])
    before = copy.deepcopy(body)
    server = Script(cut_round("a time "), last_round("there was"))
    answer = drive(server, body)

    assert before == body
    assert answer.ending == ("a time there was", "stop", "stop")
    assert [USER, {**last, "content": grown}] == server.bodies[1]["messages"]


FLAGS = {"continue_final_message": True, "add_generation_prompt": False}
MARKS: dict[str, tuple[str, Habits, dict[str, Any], dict[str, Any]]] = {
    "deepinfra": ("deepinfra", Habits(), {}, {}),
    "mistral": ("mistral", Habits(echo="always", marker="prefix"), {"prefix": True}, {}),
    "moonshot": ("moonshot", Habits(marker="partial"), {"partial": True}, {}),
    "vllm": ("vllm", Habits(marker="continue_final_message"), {}, FLAGS),
    "llama.cpp": ("llama.cpp", Habits(echo="unflagged"), {}, {}),
    "llama.cpp, flagged": ("llama.cpp", Habits(echo="unflagged"), {}, FLAGS),
}


@drives
@pytest.mark.parametrize(("row", "habits", "marks", "fields"), MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("as_parts", [False, True])
def test_callers_beginning_by_provider(
    row: str, habits: Habits, marks: Any, fields: Any, as_parts: bool, drive: Drive
) -> None:
    """However a server marks a beginning, and whether or not it repeats it, the answer is what it is without us."""
    text = "Once upon a time there was a small fox. It lived in the woods, alone, and it was happy there. The end."
    content = [{"type": "text", "text": text[:20]}] if as_parts else text[:20]
    body = ask(messages=[USER, {"role": "assistant", "content": content, **marks}], **fields)
    engine = Engine(text, habits=habits, cap=7)
    answer = drive(engine, body, provider=row)
    uncapped = Engine(text, habits=habits).uncapped(body).text
    if row == "llama.cpp" and fields and drive is streamed:
        # With its flags set, llama-server repeats whole answers and not streamed ones.
        uncapped = uncapped[20:]

    assert engine.derailed == 0
    assert (uncapped, "stop") == (answer.text, answer.finish_reason)
    assert all(len(sent["messages"]) == 2 for sent in engine.bodies)
    assert all(isinstance(sent["messages"][-1]["content"], list) is as_parts for sent in engine.bodies)


@drives
def test_callers_beginning_without_marks(drive: Drive) -> None:
    """If a provider needs marks and the caller set none, the caller's last message is a finished turn."""
    body = ask(messages=[USER, {"role": "assistant", "content": "y"}])
    server = Script(cut_round("one "), last_round("two"))
    drive(server, body, provider="vllm")

    assert [*body["messages"], {"role": "assistant", "content": "one"}] == server.bodies[1]["messages"]
