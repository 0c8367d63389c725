"""How other servers differ: one fact a row."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.tokens import count
from tests.testing.emulator.asking import ASK, BODY, CLIENT, ask, chunks_of, post, prefilled, streamed_or_not, text_of

REST, AGAIN, NEW = "o three", "1: one two three", "2: one two three"
FLAGS = {"continue_final_message": True, "add_generation_prompt": False}


class Row(NamedTuple):
    """What a server answers to the prefill "1: one tw", whole and streamed: the rest, the same again, or a new turn."""

    habits: dict[str, Any]
    whole: str
    streamed: str
    fields: dict[str, Any] = {}  # noqa: RUF012 - read only
    mark: dict[str, Any] = {}  # noqa: RUF012


ROWS = [
    Row({}, REST, REST),
    Row({"ignores_prefill": True}, AGAIN, AGAIN),
    Row({"echo": "always"}, AGAIN, AGAIN),
    Row({"echo": "always", "echo_pieces": 3}, AGAIN, AGAIN),
    Row({"echo": "whole"}, AGAIN, REST),
    Row({"echo": "unflagged"}, AGAIN, AGAIN),
    Row({"echo": "unflagged"}, AGAIN, REST, {"continue_final_message": True}),
    Row({"marker": "continue_final_message"}, REST, REST, FLAGS),
    Row({"marker": "prefix"}, REST, REST, {}, {"prefix": True}),
    Row({"marker": "partial"}, REST, REST, {}, {"partial": True}),
    Row({"marker": "continue_final_message"}, NEW, NEW, {}, {"prefix": True}),
    Row({"marker": "prefix"}, NEW, NEW, FLAGS, {"partial": True}),
    Row({"marker": "partial"}, NEW, NEW, FLAGS, {"prefix": True}),
    Row({"marker": "prefix", "strict_marker": True}, REST, REST, {}, {"prefix": True}),
    Row({"comments": True, "gzip": True}, REST, REST),
]


@streamed_or_not
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_prefill(row: Row, stream: bool) -> None:
    """Each server does its own with a trailing assistant message, and all answer alike without one."""
    text = lambda body, _: f"{len(body['messages'])}: one two three"  # noqa: E731
    with Emulator(text=text, habits=Habits(**row.habits)) as emulator:
        given = text_of(emulator, messages=prefilled("1: one tw", **row.mark), stream=stream, **row.fields)

        expected = row.streamed if stream else row.whole
        assert given == expected
        written = REST if row.habits.get("echo") else expected
        assert emulator.requests[-1].completion_tokens == count(written) + 1
        assert emulator.derailed == 0
        assert text_of(emulator, stream=stream) == AGAIN


@pytest.mark.parametrize(
    ("habits", "messages", "fields", "message"),
    [
        (Habits(refuses_prefill=True), prefilled("x"), {}, "does not support assistant message prefill"),
        (Habits(marker="prefix", strict_marker=True), prefilled("x"), {}, "Expected last role User"),
        (
            Habits(marker="continue_final_message"),
            prefilled("x"),
            {"continue_final_message": True},
            "Cannot set both `continue_final_message` and `add_generation_prompt`",
        ),
        (
            Habits(thinks="reasoning", template="raises"),
            prefilled("<think>\n\n</think>\n\n# "),
            {},
            "does not appear in the chat after applying",
        ),
    ],
)
def test_refusals(habits: Habits, messages: Any, fields: Any, message: str) -> None:
    """Some servers refuse some prefills, and nothing else."""
    with Emulator(habits=habits) as emulator:
        refused = post(emulator, messages=messages, **fields)

        assert refused.status_code == 400
        assert message in refused.json()["error"]["message"]
        assert post(emulator).status_code == 200


def test_flags_of_vllm_without_a_prefill() -> None:
    """vLLM then goes on with the user's words."""
    with Emulator(habits=Habits(marker="continue_final_message")) as emulator:
        assert post(emulator, **FLAGS).status_code == 200
        assert emulator.derailed == 1


@streamed_or_not
def test_trims(stream: bool) -> None:
    """A template that trims makes the model write white space again, and makes the prompt shorter."""
    with Emulator(text="one\n\n\n  two three", habits=Habits(trims=True)) as emulator:
        assert ask(emulator, messages=prefilled("one\n\n"), stream=stream) == ("\n\n\n  two three", "stop")
        post(emulator, messages=prefilled("one"))
        assert len({logged.prompt_tokens for logged in emulator.requests}) == 1


@pytest.mark.parametrize(("field", "used"), [("max_tokens", 7), ("max_completion_tokens", 9), ("both", 9)])
def test_limit_field_and_default(field: Any, used: int) -> None:
    """The token limit has other names elsewhere, and a small default if the request has none."""
    with Emulator(habits=Habits(limit_field=field, default_tokens=11)) as emulator:
        limited = post(emulator, max_tokens=7, max_completion_tokens=9).json()

        assert limited["usage"]["completion_tokens"] == used
        assert post(emulator).json()["usage"]["completion_tokens"] == 11


@streamed_or_not
@pytest.mark.parametrize(
    ("over_cap", "status", "said"),
    [
        ("openai", 400, "max_tokens is too large: 21. This model supports at most 20 completion tokens"),
        ("deepseek", 400, "the valid range of max_tokens is [1, 20]"),
        ("pydantic", 422, "Input should be less than or equal to 20"),
        ("between", 400, "must be between 1 and 20"),
        ("nameless", 400, "max_tokens参数非法"),
        ("stream", 400, "Requests with max_tokens > 20 must have stream=true"),
    ],
)
def test_over_the_cap(over_cap: Any, status: int, said: str, stream: bool) -> None:
    """A request for more than the cap is refused; so is nothing else."""
    with Emulator(cap=20, tokens=40, habits=Habits(over_cap=over_cap)) as emulator:
        refused = post(emulator, max_tokens=21, stream=stream)

        is_taken = over_cap == "stream" and stream
        assert refused.status_code == (200 if is_taken else status)
        assert is_taken or said in refused.text
        post(emulator, max_tokens=20, stream=stream)
        post(emulator, stream=stream)
        used = [logged.completion_tokens for logged in emulator.requests]
        assert used == ([21, 20, 41] if is_taken else [0, 20, 20])


@pytest.mark.parametrize("status", [400, 422])
def test_stream_options(status: Any) -> None:
    """Some servers refuse ``stream_options``."""
    with Emulator(habits=Habits(refuses_stream_options=status)) as emulator:
        refused = post(emulator, stream=True, stream_options={"include_usage": True})

        assert refused.status_code == status
        assert "stream_options" in refused.text
        assert post(emulator, stream=True).status_code == 200


@streamed_or_not
@pytest.mark.parametrize(
    ("miscounts", "said"), [("zeros", 0), ("without_thoughts", 13), ("half", 40), ("double", 160), (None, 80)]
)
def test_miscounts(miscounts: Any, said: int, stream: bool) -> None:
    """Usage may be wrong; the ledger has the truth."""
    habits = Habits(thinks="reasoning_content", think_tokens=67, miscounts=miscounts)
    with Emulator(cap=80, habits=habits) as emulator:
        response = post(emulator, stream=stream)
        usage = (chunks_of(response)[-1] if stream else response.json())["usage"]

        assert usage["completion_tokens"] == said
        assert usage["total_tokens"] == said + usage["prompt_tokens"]
        assert (usage["prompt_tokens"] == 0) == (miscounts == "zeros")
        assert emulator.requests[0].completion_tokens == 80


def test_overflow() -> None:
    """A stream that overflows may be a plain 400, or be clamped as in newer vLLM."""
    with Emulator(context=2000, habits=Habits(overflow="400")) as emulator:
        assert post(emulator, max_tokens=1995, stream=True).status_code == 400
    with Emulator(context=500, habits=Habits(overflow="clamp")) as emulator:
        response = post(emulator, max_tokens=499).json()
        assert response["usage"]["total_tokens"] == 500
        prompt = prefilled(response["choices"][0]["message"]["content"])
        assert post(emulator, messages=prompt, stream=True).status_code == 400
        assert post(emulator, max_tokens=501).status_code == 400


@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize(
    ("usage", "options", "where"),
    [
        ("finish", {}, "finish"),
        ("trailing", {}, "after"),
        ("both", {}, "finish after"),
        ("asked", {}, ""),
        ("asked", {"stream_options": {"include_usage": True}}, "after"),
        ("never", {"stream_options": {"include_usage": True}}, ""),
    ],
)
def test_usage(usage: Any, options: dict[str, Any], where: str, with_text: bool) -> None:
    """Streams report usage in several places, and the last text may come with the finish reason."""
    with Emulator(cap=5, habits=Habits(usage=usage, finish_with_text=with_text)) as emulator:
        chunks = chunks_of(post(emulator, stream=True, **options))
        finish = next(chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"])
        after = [chunk for chunk in chunks if not chunk["choices"]]

        assert ("usage" in finish) == ("finish" in where)
        assert [chunk["usage"]["completion_tokens"] for chunk in after] == ([5] if "after" in where else [])
        assert bool(finish["choices"][0]["delta"]) == with_text
        assert ("usage" in post(emulator).json()) == (usage != "never")
        assert ask(emulator, stream=True) == ask(emulator)


@streamed_or_not
@pytest.mark.parametrize("template", ["r1", "qwen3", "raises"])
def test_thinks(template: Any, stream: bool) -> None:
    """Thoughts come in their own field, cut or not. A bare answer is continued after them."""
    with Emulator(tokens=100, cap=80, habits=Habits(thinks="reasoning_content", template=template)) as emulator:
        whole = emulator.uncapped(BODY)
        assert ask(emulator, stream=stream, field="reasoning_content", max_tokens=20)[1] == "length"
        assert ask(emulator, stream=stream, max_tokens=20)[0] is None
        assert ask(emulator, stream=stream, field="reasoning_content")[0] == emulator.uncapped_reasoning(BODY)

        text = text_of(emulator, stream=stream)
        assert text + text_of(emulator, stream=stream, messages=prefilled(text)) == whole
        assert post(emulator).json()["usage"]["completion_tokens_details"] == {"reasoning_tokens": 40}
        # Only Qwen3 writes the opening tag itself.
        tags = count("\n</think>\n\n") + (count("<think>\n") if template == "qwen3" else 0)
        assert emulator.tokens_of(BODY) == 100 + 40 + tags


@pytest.mark.parametrize("template", ["r1", "qwen3"])
def test_closed_block_in_prefill(template: Any) -> None:
    """DeepInfra's documented form, a closed think block before the answer, works for R1 and Qwen3."""
    emulator = Emulator(habits=Habits(thinks="reasoning", template=template))
    whole = emulator.uncapped(BODY)

    assert emulator.uncapped({"messages": prefilled("<think>\n\n</think>\n\n" + whole[:50])}) == whole[50:]
    assert emulator.uncapped({"messages": prefilled("<think>\n\n</think>")}) == whole


def test_thoughts_continued() -> None:
    """Open thoughts go on inline with R1, in their field with Qwen3, and not the other way round."""
    r1 = Emulator(habits=Habits(thinks="reasoning", template="r1"))
    thoughts = r1.uncapped_reasoning(BODY)
    inline = {"messages": prefilled(f"<think>\n{thoughts[:60]}")}
    assert r1.uncapped_reasoning(inline) == thoughts[60:]
    assert r1.uncapped(inline) == r1.uncapped(BODY)

    qwen3 = Emulator(habits=Habits(thinks="reasoning", template="qwen3"))
    whole = qwen3.uncapped(BODY)
    in_field = {"messages": prefilled("", reasoning_content=thoughts[:60])}
    assert qwen3.uncapped_reasoning(in_field) == thoughts[60:]
    assert qwen3.uncapped(in_field) == whole
    assert qwen3.uncapped(inline).startswith("⟦derailed")
    assert qwen3.uncapped({"messages": prefilled(whole[:30], reasoning_content=thoughts)}) == whole[30:]


@pytest.mark.parametrize(("misfiles", "wrong"), [("whole", [True, False]), ("both", [True, True])])
def test_misfiles(misfiles: Any, wrong: list[bool]) -> None:
    """A continued answer may arrive as reasoning."""
    with Emulator(cap=100, habits=Habits(thinks="reasoning", misfiles=misfiles)) as emulator:
        whole = emulator.uncapped(BODY)
        for stream, expected in zip((False, True), wrong, strict=True):
            content, _ = ask(emulator, stream=stream, messages=prefilled(whole[:40]))
            reasoning, _ = ask(emulator, stream=stream, messages=prefilled(whole[:40]), field="reasoning")
            assert (content is None, reasoning is not None) == (expected, expected)
            assert whole[40:].startswith(content or reasoning or "?")


def test_json_answers() -> None:
    """A JSON document is continued without its response format, and begun again with it."""
    wanted = {"response_format": {"type": "json_object"}}
    with Emulator(cap=120, tokens=300) as emulator:
        whole = emulator.uncapped({"messages": [ASK], **wanted})
        first = text_of(emulator, **wanted)
        second = text_of(emulator, messages=prefilled(first))

        assert json.loads(whole)["items"]
        assert whole.startswith(first + second)
        assert text_of(emulator, messages=prefilled(first), **wanted) == first
        assert emulator.derailed == 0
    with Emulator(cap=120, tokens=300, habits=Habits(grammar_follows=True)) as emulator:
        assert text_of(emulator, messages=prefilled(first), **wanted) == second
    chatters = Emulator(tokens=300, habits=Habits(chatters_after_json=True))
    assert chatters.uncapped({"messages": prefilled(first)}) == whole[len(first) :] + "\n\nHope this helps!"
    assert chatters.uncapped({"messages": [ASK], **wanted}) == whole
    leaves = Emulator(tokens=300, habits=Habits(leaves_json=True))
    assert leaves.uncapped({"messages": [ASK], **wanted}) == whole
    assert leaves.uncapped({"messages": prefilled(first)}).startswith(' and so on, as "you" can see')
    both = Emulator(tokens=300, habits=Habits(chatters_after_json=True, grammar_follows=True))
    assert both.uncapped({"messages": prefilled(first), **wanted}) == whole[len(first) :]


@streamed_or_not
@pytest.mark.parametrize("habit", ["dropped", "replaced"])
def test_cut_characters(habit: Any, stream: bool) -> None:
    """A character cut by the limit is left out, or is U+FFFD at the end. Without it the rounds join."""
    with Emulator(tokens=400, habits=Habits(cut_characters=habit)) as emulator:
        whole = emulator.uncapped(BODY)
        cut = 0
        for limit in (*range(70, 140), *range(250, 262)):
            text = text_of(emulator, stream=stream, max_tokens=limit)
            clean = text.rstrip("\ufffd")
            assert whole.startswith(clean)
            assert 0 <= len(text) - len(clean) <= 3
            cut += clean != text
            assert (emulator.requests[-1].completion_tokens, emulator.requests[-1].finish_reason) == (limit, "length")
        assert (cut > 10) == (habit == "replaced")
        assert emulator.uncapped({"messages": prefilled(whole[:200])}) == whole[200:]


@streamed_or_not
@pytest.mark.parametrize("ends", ["stop", "length"])
def test_ends(ends: Any, stream: bool) -> None:
    """A server that lies about ends calls each text cut, or none; the text, its count and calls are the truth."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with Emulator(cap=50, habits=Habits(ends=ends)) as emulator:
        for size, tokens in ((200, 50), (20, 21)):
            content = f"Write {size} tokens."
            request = {"messages": [{"role": "user", "content": content}]}
            assert ask(emulator, stream=stream, **request)[1] == ends
            assert emulator.requests[-1].completion_tokens == tokens
            assert emulator.requests[-1].finish_reason == ends
            text = {"model": "m", "prompt": content, "stream": stream}
            said = CLIENT.post(f"{emulator.base_url}/completions", json=text).text
            assert (f'"finish_reason":"{ends}"' in said, said.count('"finish_reason":"')) == (True, 1)
            body = {"model": "m", "input": content, "stream": stream}
            response = CLIENT.post(f"{emulator.base_url}/responses", json=body).text
            assert ('"incomplete"' in response) == (ends == "length")
    call = [{"role": "user", "content": "Please call the tool f with 10 tokens."}]
    with Emulator(habits=Habits(ends=ends)) as emulator:
        assert ask(emulator, stream=stream, messages=call, tools=[tool])[1] == "tool_calls"


@streamed_or_not
def test_transport(stream: bool) -> None:
    """Answers can be compressed, and streams can hold comments."""
    with Emulator(cap=50, habits=Habits(comments=True, gzip=True)) as emulator:
        response = post(emulator, stream=stream)

        assert response.headers["content-encoding"] == "gzip"
        assert (": keep-alive\n\n" in response.text) == stream
