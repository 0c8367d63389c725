"""Thoughts: what a parser makes of the blanks around them, and requests that switch them off."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.tokens import count
from tests.testing.emulator.asking import ASK, ask, post, prefilled, streamed_or_not
from tests.testing.emulator.test_raw_prompts import SHORT, rendered
from tests.testing.emulator.test_text_completions import completed

THINKS = Habits(thinks="reasoning", template="qwen3", think_tokens=30)
MESSAGES = SHORT["messages"]


@streamed_or_not
@pytest.mark.parametrize(
    ("template", "before", "behind", "first"),
    [("r1", "", "\n", "\n\n"), ("qwen3", "\n", "\n", "\n\n"), ("glm", "", "", "\n")],
)
def test_kept_blanks(template: Any, before: str, behind: str, first: str, stream: bool) -> None:
    """A parser that only looks for the tags gives their blanks to the thoughts and to the answer."""
    bare = Emulator(habits=Habits(thinks="reasoning", template=template))
    with Emulator(habits=Habits(thinks="reasoning", template=template, think_blanks="kept")) as emulator:
        thoughts = ask(emulator, stream=stream, field="reasoning", messages=MESSAGES)[0]
        answer = ask(emulator, stream=stream, messages=MESSAGES)[0]

        assert thoughts == before + bare.uncapped_reasoning(SHORT) + behind == emulator.uncapped_reasoning(SHORT)
        assert answer == first + bare.uncapped(SHORT) == emulator.uncapped(SHORT)
        assert emulator.raw(SHORT) == bare.raw(SHORT)
        cut = answer[: len(first) + 20]
        assert (
            ask(emulator, stream=stream, messages=[*MESSAGES, {"role": "assistant", "content": cut}])[0]
            == answer[len(cut) :]
        )


@streamed_or_not
@pytest.mark.parametrize("blanks", [None, "stripped"])
def test_stripped_blanks(blanks: Any, stream: bool) -> None:
    """A parser that strips gives no blanks at the end of thoughts that are cut, nor at the beginning of the answer."""
    habits = Habits(thinks="reasoning", template="qwen3", think_blanks=blanks)
    with Emulator(habits=habits, text="\n  An answer.") as emulator:
        thoughts = emulator.uncapped_reasoning(SHORT)
        ends: list[str] = []
        for limit in range(3, 40):
            text, _ = ask(emulator, stream=stream, field="reasoning", messages=MESSAGES, max_tokens=limit)
            assert thoughts.startswith(text or "")
            ends.append((text or "x")[-1])
        assert any(end.isspace() for end in ends) == (blanks is None)
        assert ask(emulator, stream=stream, messages=MESSAGES)[0] == ("An answer." if blanks else "\n  An answer.")


@streamed_or_not
@pytest.mark.parametrize("template", ["r1", "qwen3", "glm"])
@pytest.mark.parametrize(
    ("switch", "fields"),
    [
        ("reasoning_effort", {"reasoning_effort": "none"}),
        ("enable_thinking", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_switched_off(template: Any, switch: Any, fields: dict[str, Any], stream: bool) -> None:
    """A server that knows the switch answers at once with the same answer; another one thinks all the same."""
    for knows in (switch, "both", None, "reasoning_effort" if switch == "enable_thinking" else "enable_thinking"):
        with Emulator(habits=Habits(thinks="reasoning", template=template, thinking_switch=knows)) as emulator:
            body = {**SHORT, **fields}
            is_off = knows in {switch, "both"}
            assert (ask(emulator, stream=stream, field="reasoning", **body)[0] is None) == is_off
            assert ask(emulator, stream=stream, **body)[0] == emulator.uncapped(SHORT)
            assert ask(emulator, stream=stream, field="reasoning", **SHORT)[0]

            options = fields.get("chat_template_kwargs", fields)
            assert rendered(emulator, SHORT, **options) == emulator.prompt_of(body)
            answer = emulator.uncapped(body)
            assert emulator.raw(body).endswith(answer)
            for cut in range(0, len(answer) if is_off else 0, 9):
                assert completed(emulator, emulator.prompt_of(body) + answer[:cut])[0] == answer[cut:]
            assert emulator.derailed == 0


def test_effort_that_is_no_switch() -> None:
    """Only "none" and a plain false switch the thoughts off."""
    emulator = Emulator(habits=Habits(thinks="reasoning", thinking_switch="both"))
    for fields in (
        {"reasoning_effort": "low"},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": None},
    ):
        assert emulator.uncapped_reasoning({**SHORT, **fields})


def test_glm() -> None:
    """GLM writes its tags without newlines before the thoughts and after them, and its template refuses a closed block."""
    with Emulator(habits=Habits(thinks="reasoning", template="glm")) as emulator:
        whole = emulator.uncapped(SHORT)
        assert emulator.tokens_of(SHORT) == 90 + 40 + count("<think>") + count("</think>\n")
        assert ask(emulator, messages=[*MESSAGES, {"role": "assistant", "content": whole[:33]}])[0] == whole[33:]
        assert post(emulator, messages=prefilled("<think></think>\n# ")).status_code == 400


def test_flag_closes_the_block() -> None:
    """With a flag that names the content, Qwen3's template closes the thoughts; one that names them goes on with them."""
    emulator = Emulator(habits=THINKS)
    thoughts, whole = emulator.uncapped_reasoning({"messages": [ASK]}), emulator.uncapped({"messages": [ASK]})
    body = {"messages": prefilled("", reasoning_content=thoughts[:20])}
    for flag, rest in ((None, thoughts[20:]), ("reasoning_content", thoughts[20:]), (True, "")):
        flagged = {**body, "continue_final_message": flag}
        assert emulator.uncapped_reasoning(flagged) == rest
        assert emulator.uncapped(flagged) == whole
    assert emulator.prompt_of({**body, "continue_final_message": True}).endswith(
        f"<think>\n{thoughts[:20]}\n</think>\n\n"
    )
