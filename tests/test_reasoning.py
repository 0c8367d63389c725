"""Answers of models that think: on which side of the think block a cut fell, and what goes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from openai_continue.core.reasoning import Inline
from openai_continue.testing import Emulator, Habits
from tests.conftest import ASYNC, SYNC, Way, ask, settled
from tests.drive import DRIVES, Drive, Engine, Script, live, said, streamed, usage, whole

drives = pytest.mark.parametrize("drive", DRIVES)
four_ways = pytest.mark.parametrize(
    ("way", "stream"),
    [(SYNC, False), (SYNC, True), (ASYNC, False), (ASYNC, True)],
    ids=["sync-whole", "sync-stream", "async-whole", "async-stream"],
)
#: A model name for each of the emulator's templates.
MODELS = {"r1": "deepseek-ai/DeepSeek-R1", "qwen3": "Qwen/Qwen3-32B", "raises": "zai-org/GLM-4.5"}
THOUGHTS = "Okay, let me think about this question for quite a while before I say a word.\n"


def question(template: str, **fields: Any) -> dict[str, Any]:
    return {**ask("Think.", **fields), "model": MODELS[template]}


# Parting content.


@pytest.mark.parametrize(
    ("content", "model", "parted"),
    [
        ("answer", None, Inline(False, "", "answer")),
        ("", None, Inline(False, "", "")),
        ("<think>\nwell", None, Inline(True, "<think>\nwell", "")),
        ("\n<think>\nwell", None, Inline(True, "\n<think>\nwell", "")),
        ("<think>\nwell\n</think>\n\nanswer", None, Inline(False, "well", "answer", "\n\n")),
        ("<think></think>answer", None, Inline(False, "", "answer")),
        ("<think>\nwell\n</think>\n\n", None, Inline(False, "well", "", "\n\n")),
        ("<think>a</think>b</think>c", None, Inline(False, "a", "b</think>c")),
        ("well\n</think>\n\nanswer", None, Inline(False, "well", "answer", "\n\n")),
        ("well\n</think>", None, Inline(False, "well", "")),
        ("well</think>answer", "deepseek-r1", Inline(False, "well", "answer")),
        ("well</think>answer", "Qwen/Qwen3-30B-A3B-Thinking-2507", Inline(False, "well", "answer")),
        ("well</think>answer", "Qwen/Qwen2.5", Inline(False, "", "well</think>answer")),
        ("Close it with `</think>`.\nGo on.", None, Inline(False, "", "Close it with `</think>`.\nGo on.")),
        ("text.split('</think>')[-1]", "deepseek-r1", Inline(False, "", "text.split('</think>')[-1]")),
        ("text.split('</think>')[-1]\n", "m", Inline(False, "", "text.split('</think>')[-1]\n")),
        ("First <think>, then\n</think>\n.", None, Inline(False, "", "First <think>, then\n</think>\n.")),
    ],
)
def test_parting(content: str, model: str | None, parted: Inline) -> None:
    """Content is parted at its think block; a text about think tags has none."""
    assert parted == Inline.of(content, model)


# Every form, cut everywhere.


@drives
@pytest.mark.parametrize("template", ["r1", "qwen3", "raises"])
@pytest.mark.parametrize(
    ("thinks", "misfiles"),
    [
        ("inline", None),
        *((field, how) for field in ("reasoning_content", "reasoning") for how in (None, "whole", "both")),
    ],
)
def test_every_cut(thinks: Any, template: Any, misfiles: Any, drive: Drive) -> None:
    """Cut in the answer, thoughts and answer are whole; cut in the thoughts, they go on where that is safe, or end."""
    habits = Habits(thinks=thinks, template=template, think_tokens=20, misfiles=misfiles)
    for cap in (5, 9, 22, 30, 40, 57):
        engine = Engine(habits=habits, cap=cap, tokens=60)
        uncapped = engine.uncapped(question(template))
        answer = drive(engine, question(template), max_rounds=50)
        cut_in_thoughts = cap < 25
        if cut_in_thoughts and template != "r1":
            assert ("length", "reasoning") == (answer.finish, answer.stopped_by)
            assert uncapped.text.startswith(answer.text)
            assert uncapped.thoughts.startswith(answer.thoughts)
            assert len(engine.bodies) == 1
        else:
            assert (uncapped.text, uncapped.thoughts, "stop") == (answer.text, answer.thoughts, answer.finish), cap
        assert engine.derailed == 0


@four_ways
@pytest.mark.parametrize(
    ("thinks", "template", "misfiles"),
    [
        ("inline", "r1", None),
        ("inline", "qwen3", None),
        ("reasoning_content", "r1", None),
        ("reasoning_content", "qwen3", "whole"),
        ("reasoning", "r1", "both"),
        ("reasoning", "raises", "whole"),
    ],
)
async def test_answer_is_cut(thinks: Any, template: Any, misfiles: Any, way: Way, stream: bool) -> None:
    """Cut in the answer: thoughts once, the whole answer once, and the summed usage with its reasoning tokens."""
    habits = Habits(thinks=thinks, template=template, think_tokens=20, misfiles=misfiles)
    with Emulator(cap=40, tokens=100, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question(template), stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(question(template)), emulator.uncapped_reasoning(question(template))
        tokens = sum(logged.completion_tokens for logged in emulator.requests)

    assert expected == (answer.text, answer.thoughts)
    assert ("stop", "stop") == (answer.finish, answer.stopped_by)
    assert answer.usage is not None
    assert tokens == answer.usage["completion_tokens"]
    assert emulator.derailed == 0
    if thinks != "inline":
        assert 20 == answer.usage["completion_tokens_details"]["reasoning_tokens"]
        messages = [answer.raw["choices"][0]["message"]] if not stream else []
        assert all(expected[1] == message[thinks] for message in messages)


@four_ways
@pytest.mark.parametrize("thinks", ["inline", "reasoning_content", "reasoning"])
async def test_thoughts_are_cut(thinks: Any, way: Way, stream: bool) -> None:
    """Cut in the thoughts, a model of the R1 family goes on inline, over several rounds and into the answer."""
    with Emulator(cap=15, tokens=50, habits=Habits(thinks=thinks, think_tokens=40)) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question("r1"), stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(question("r1")), emulator.uncapped_reasoning(question("r1"))
        sent = [str(logged.body["messages"][-1]["content"]) for logged in emulator.requests[1:]]

    assert expected == (answer.text, answer.thoughts)
    assert ("stop", "stop") == (answer.finish, answer.stopped_by)
    assert emulator.derailed == 0
    assert all(content.startswith("<think>\n") for content in sent)


@four_ways
@pytest.mark.parametrize("thinks", ["inline", "reasoning_content"])
async def test_thoughts_are_cut_where_they_cannot_go_on(thinks: Any, way: Way, stream: bool) -> None:
    """Where no form is known to go on with thoughts, they are returned as they came, and nothing more is paid."""
    habits = Habits(thinks=thinks, template="qwen3", think_tokens=40)
    with Emulator(cap=15, tokens=50, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question("qwen3"), stream=stream)
        await settled(client.close())
        whole_thoughts = emulator.uncapped(question("qwen3")) + emulator.uncapped_reasoning(question("qwen3"))
        requests = len(emulator.requests)

    assert ("length", "reasoning", 1) == (answer.finish, answer.stopped_by, requests)
    assert answer.text + answer.thoughts
    assert whole_thoughts.startswith(answer.text)
    assert answer.thoughts in whole_thoughts


# What goes back.


def sent_back(rounds: list[Any], body: Mapping[str, Any], **settings: Any) -> list[dict[str, Any]]:
    """Give the last messages of the further rounds, which must be the same in either way."""
    scripts = [Script(*rounds) for _ in DRIVES]
    for drive, script in zip(DRIVES, scripts, strict=True):
        drive(script, body, **settings)
    bodies = [[{**one, "stream": None} for one in script.bodies] for script in scripts]

    assert bodies[0] == bodies[1]
    return [one["messages"][-1] for one in bodies[0][1:]]


CUT_ANSWER = [said({"reasoning_content": "well"}, "one "), said("two", finish="stop")]
CUT_INLINE = [said("<think>\nwell\n</think>\n\none "), said("two", finish="stop")]


@pytest.mark.parametrize("rounds", [CUT_ANSWER, CUT_INLINE])
@pytest.mark.parametrize(
    ("row", "model", "sent"),
    [
        ("deepinfra", MODELS["r1"], {"content": "<think>\n\n</think>\n\none"}),
        ("deepinfra", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", {"content": "<think>\n\n</think>\n\none"}),
        ("deepinfra", MODELS["qwen3"], {"content": "one"}),
        ("deepinfra", "deepseek-ai/DeepSeek-V3.1", {"content": "one"}),
        ("vllm", MODELS["r1"], {"content": "one", "reasoning_content": "well"}),
        ("sglang", MODELS["r1"], {"content": "\n</think>\n\none"}),
        ("sglang", "MiniMaxAI/MiniMax-M2", {"content": "\n</think>\n\none"}),
        ("sglang", MODELS["qwen3"], {"content": "one"}),
        ("llama.cpp", MODELS["qwen3"], {"content": "one", "reasoning_content": "well"}),
        ("deepseek", "deepseek-reasoner", {"content": "one", "reasoning_content": "well", "prefix": True}),
    ],
)
def test_cut_answer_goes_back(rounds: Any, row: str, model: str, sent: dict[str, Any]) -> None:
    """An answer goes back in the form that the provider documents, without its thoughts or with them."""
    assert [{"role": "assistant", **sent}] == sent_back(rounds, {**ask("x"), "model": model}, provider=row)


@four_ways
async def test_deepinfras_form_on_the_wire(way: Way, stream: bool) -> None:
    """To DeepInfra an answer of R1 goes back behind an empty think block, as its documentation shows."""
    with Emulator(cap=40, tokens=60, habits=Habits(thinks="reasoning_content", think_tokens=20)) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question("r1"), stream=stream)
        await settled(client.close())
        sent = [logged.body["messages"][-1] for logged in emulator.requests[1:]]

    assert ["assistant"] == list({message["role"] for message in sent})
    assert [sorted(message) for message in sent] == [["content", "role"]] * len(sent)
    for message in sent:
        block, _, prefill = message["content"].partition("</think>\n\n")
        assert "<think>\n\n" == block
        assert answer.text.startswith(prefill)


@four_ways
async def test_block_that_the_template_refuses(way: Way, stream: bool) -> None:
    """Where the template takes no block before the answer, it is left out from then on, at no more than a 400."""
    habits = Habits(thinks="reasoning_content", template="raises", think_tokens=20)
    with Emulator(cap=40, tokens=90, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question("r1"), stream=stream)
        await settled(client.close())
        sent = [logged.body["messages"][-1]["content"] for logged in emulator.requests[1:]]
        statuses = [logged.status for logged in emulator.requests]
        expected = emulator.uncapped(question("r1"))

    assert (expected, "stop", "stop") == answer.said
    assert [200, 400, 200, 200] == statuses
    assert [True, False, False] == [content.startswith("<think>") for content in sent]
    assert 3 == len((answer.report or {})["rounds"])


@pytest.mark.parametrize(
    ("row", "model", "sent", "marks"),
    [
        ("deepinfra", MODELS["r1"], {"content": "<think>\nwell,"}, {}),
        ("deepinfra", "MiniMaxAI/MiniMax-M2", {"content": "<think>\nwell,"}, {}),
        (
            "vllm",
            MODELS["r1"],
            {"content": "<think>\nwell,"},
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
        (
            "llama.cpp",
            MODELS["qwen3"],
            {"content": "", "reasoning_content": "well,"},
            {"continue_final_message": "reasoning_content", "add_generation_prompt": False},
        ),
        ("deepseek", "deepseek-reasoner", {"content": "", "reasoning_content": "well,", "prefix": True}, {}),
    ],
)
@drives
def test_cut_thoughts_go_back(row: str, model: str, sent: dict[str, Any], marks: dict[str, Any], drive: Drive) -> None:
    """Cut thoughts go back inline where the template keeps an open block, or in the field that the server reads."""
    server = Script(
        said({"reasoning_content": "well, "}), said({"reasoning_content": "well"}, "answer", finish="stop", usage=None)
    )
    if row == "llama.cpp" and drive is whole:
        server = Script(
            said({"reasoning_content": "well, "}),
            said({"reasoning_content": "well,well"}, "answer", finish="stop", usage=None),
        )
    answer = drive(server, {**ask("x"), "model": model}, provider=row)

    assert ("answer", "well, well", "stop") == (answer.text, answer.thoughts, answer.finish)
    assert [{"role": "assistant", **sent}] == [one["messages"][-1] for one in server.bodies[1:]]
    assert marks == {name: server.bodies[1][name] for name in marks}


@drives
@pytest.mark.parametrize(
    ("row", "model"),
    [
        ("deepinfra", MODELS["qwen3"]),
        ("deepinfra", MODELS["raises"]),
        ("vllm", MODELS["qwen3"]),
        ("mistral", MODELS["r1"]),
        ("moonshot", "kimi-k2-thinking"),
    ],
)
@pytest.mark.parametrize("first", [said({"reasoning": "well"}), said("<think>\nwell")])
def test_cut_thoughts_stay(row: str, model: str, first: Any, drive: Drive) -> None:
    """Where no portable way on is known, cut thoughts are returned with "length", and the report says why."""
    server = Script(first)
    answer = drive(server, {**ask("x"), "model": model}, provider=row)

    assert ("length", "reasoning", 1) == (answer.finish, answer.stopped_by, len(server.bodies))


@drives
@pytest.mark.parametrize(
    "first",
    [said({"reasoning": "well"}, "\ufffd"), said("<think>\nwell\n</think>\n\n"), said("<think>\nwell\n</think>\ufffd")],
)
def test_cut_before_the_answer(first: Any, drive: Drive) -> None:
    """Thoughts that are complete, with no answer to go on from, are no prefill: half a character is none."""
    answer = drive(Script(first), question("qwen3"))

    assert ("length", "reasoning") == (answer.finish, answer.stopped_by)


@drives
def test_empty_beginnings(drive: Drive) -> None:
    """Where the template trims, an answer of white space alone is no prefill."""
    for first, stopped_by in ((said("\n\n"), "empty"), (said({"reasoning": "well"}, "\n\n"), "reasoning")):
        answer = drive(Script(first), ask("x"), trims=True)

        assert ("\n\n", "length", stopped_by) == answer.said


@drives
@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("gap", ["", "\n", "\n\n"])
def test_cut_between_thoughts_and_answer(gap: str, trims: bool, drive: Drive) -> None:
    """To DeepInfra, R1's thoughts go back closed and empty where no answer is there yet; no newline comes twice."""
    again = gap if trims else ""
    server = Script(said("<think>\nwell\n</think>" + gap), said(again + "\n"[: 2 - len(gap)], "answer", finish="stop"))
    answer = drive(server, question("r1"), trims=trims)
    behind = "" if trims else gap

    assert "<think>\nwell\n</think>" + gap + "\n"[: 2 - len(gap)] + "answer" == answer.text
    assert "<think>\n\n</think>" + behind == server.bodies[1]["messages"][-1]["content"]


@drives
@pytest.mark.parametrize("row", ["llama.cpp", "deepseek"])
def test_newlines_beside_the_tags(row: str, drive: Drive) -> None:
    """The newlines that stood beside the tags are the template's to write; the caller gets them as they came."""
    server = Script(said({"reasoning_content": "\nwell\n\n"}, "ans"), said("wer", finish="stop"))
    if row == "llama.cpp" and drive is whole:
        server = Script(said({"reasoning_content": "\nwell\n\n"}, "ans"), said("answer", finish="stop"))
    answer = drive(server, question("qwen3"), provider=row)

    assert ("answer", "\nwell\n\n", "stop") == (answer.text, answer.thoughts, answer.finish)
    assert "well" == server.bodies[1]["messages"][-1]["reasoning_content"]


@drives
def test_answer_about_think_tags(drive: Drive) -> None:
    """Where thoughts came in a field of their own, a tag in the answer is text, and so it is where it is quoted."""
    for first in (said({"reasoning_content": "well"}, '["</think>", '), said("Write '</think>' ")):
        server = Script(first, said("or not.", finish="stop"))
        answer = drive(server, question("r1"))

        assert answer.text in ('["</think>", or not.', "Write '</think>' or not.")
        assert "</think>" in server.bodies[1]["messages"][-1]["content"].removeprefix("<think>\n\n</think>")


# What comes back, and where it is filed.


@drives
def test_answer_that_is_misfiled(drive: Drive) -> None:
    """Text that comes as thoughts, though the thinking was over before the cut, is the answer's."""
    server = Script(
        said({"reasoning": "well"}, "one "),
        said({"reasoning": "two "}, {"reasoning": "three "}),
        said({"reasoning": "four"}, finish="stop"),
    )
    answer = drive(server, question("qwen3"))

    assert ("one two three four", "well", "stop") == (answer.text, answer.thoughts, answer.finish)


def test_answer_that_is_misfiled_flows() -> None:
    """A stream waits one round to learn that a server misfiles; the rounds after that flow."""
    server = Script(
        said({"reasoning": "well"}, "one "),
        said({"reasoning": "two "}, {"reasoning": "three "}),
        said({"reasoning": "four "}, {"reasoning": "five"}, finish="stop"),
    )
    answer = streamed(server, question("qwen3"))
    pieces = [
        item["delta"].get("content") for one in answer.raw for item in one["choices"] if item["delta"].get("content")
    ]

    assert ["one ", "two ", "three ", "four ", "five"] == pieces


@drives
def test_thoughts_anew(drive: Drive) -> None:
    """Thoughts that begin again before the answer goes on are no part of the answer, and are dropped."""
    server = Script(
        said({"reasoning": "well"}, "one "),
        said({"reasoning": "hm, where was I? "}, {"reasoning": "ah!"}, "two ", "three", finish="stop"),
    )
    answer = drive(server, question("qwen3"))

    assert ("one two three", "well", "stop") == (answer.text, answer.thoughts, answer.finish)


@drives
@pytest.mark.parametrize("temperature", [0, 1])
def test_restart_with_thoughts(temperature: int, drive: Drive) -> None:
    """A server that begins anew begins with its thoughts, and is noticed by them or by the answer behind them."""
    start = "The answer has a beginning that no other part of it resembles: not even this.\n"
    for second in (
        said({"reasoning": THOUGHTS}, {"reasoning": "more"}),
        said({"reasoning": "Other thoughts."}, start, "more"),
        said({"reasoning": THOUGHTS}, start, "more", finish="stop"),
    ):
        answer = drive(Script(said({"reasoning": THOUGHTS}, start), second), question("qwen3", temperature=temperature))

        assert (start, THOUGHTS, "length", "restart") == (
            answer.text,
            answer.thoughts,
            answer.finish,
            answer.stopped_by,
        )


@drives
def test_restart_with_inline_thoughts(drive: Drive) -> None:
    """A continuation of an answer that opens a think block, as the answer did, is a restart."""
    first = said("<think>\nwell\n</think>\n\none ")
    answer = drive(Script(first, said("<think>", "\nhm\n</think>\n\ntwo", finish="stop")), question("qwen3"))

    assert "<think>\nwell\n</think>\n\none " == answer.text
    assert ("length", "restart") == (answer.finish, answer.stopped_by)


@drives
def test_restart_of_cut_thoughts(drive: Drive) -> None:
    """Thoughts that do not go on but begin anew are noticed as an answer's are."""
    server = Script(said({"reasoning_content": THOUGHTS}), said({"reasoning_content": THOUGHTS}, "answer"))
    answer = drive(server, question("r1"))

    assert ("", THOUGHTS, "length", "restart") == (answer.text, answer.thoughts, answer.finish, answer.stopped_by)


@four_ways
@pytest.mark.parametrize("thinks", ["inline", "reasoning_content", "reasoning"])
@pytest.mark.parametrize("cap", [70, 90])
async def test_restart_of_a_thinking_server(thinks: Any, cap: int, way: Way, stream: bool) -> None:
    """A server that ignores the prefill is noticed whichever form its thoughts have, cut in them or behind them."""
    habits = Habits(thinks=thinks, ignores_prefill=True, think_tokens=40, template="qwen3")
    with Emulator(cap=cap, tokens=150, habits=habits) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, question("qwen3"), stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(question("qwen3"))
        requests = len(emulator.requests)

    assert ("length", "restart", 2) == (answer.finish, answer.stopped_by, requests)
    assert expected.startswith(answer.text)
    assert emulator.uncapped_reasoning(question("qwen3")) == answer.thoughts


@drives
def test_fields_of_both_names(drive: Drive) -> None:
    """A server that gives thoughts under both names gets them whole under both where the answer is whole."""
    both = {"reasoning": "well, ", "reasoning_content": "well, "}
    more = {"reasoning": "well", "reasoning_content": "well"}
    answer = drive(Script(said(both), said(more, "answer", finish="stop")), question("r1"))

    assert ("answer", "well, well") == (answer.text, answer.thoughts)
    if drive is whole:
        message = answer.raw["choices"][0]["message"]
        assert ["well, well"] * 2 == [message["reasoning"], message["reasoning_content"]]


@drives
def test_thoughts_that_the_answer_ended(drive: Drive) -> None:
    """A cap that falls into the answer has cut no character of the thoughts before it."""
    server = Script(
        said({"reasoning_content": "well \ufffd"}, "one "), said({"reasoning_content": ""}, "two", finish="stop")
    )
    answer = drive(server, question("r1"))

    assert ("one two", "well \ufffd") == (answer.text, answer.thoughts)


@drives
def test_order_of_thoughts_and_answer(drive: Drive) -> None:
    """The answer comes behind all thoughts, in a stream too, where half a character of them had to wait."""
    server = Script(
        said({"reasoning_content": "well \ufffd"}),
        said({"reasoning_content": "é"}, {"reasoning_content": " \ufffd"}, "answer", finish="stop"),
    )
    answer = drive(server, question("r1"))

    assert ("answer", "well é \ufffd") == (answer.text, answer.thoughts)
    if drive is streamed:
        kinds = ["answer" if item["delta"].get("content") else "thoughts" for item in deltas(answer.raw)]
        assert sorted(kinds, reverse=True) == kinds


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the items of a stream that hold text."""
    items = [item for chunk in chunks for item in chunk["choices"]]
    return [
        item for item in items if set(item["delta"]) & {"content", "reasoning_content"} and any(item["delta"].values())
    ][1:]


# The caller's own beginning.


@drives
def test_callers_open_block_grows(drive: Drive) -> None:
    """A think block that the caller opened grows by the thoughts, without a second tag."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "<think>\nFirst, "}]
    server = Script(said({"reasoning_content": "well "}), said({"reasoning_content": "then"}, "one", finish="stop"))
    answer = drive(server, {"model": MODELS["r1"], "messages": messages})

    assert ("one", "well then", "stop") == (answer.text, answer.thoughts, answer.finish)
    assert "<think>\nFirst, well" == server.bodies[1]["messages"][-1]["content"]


@drives
@pytest.mark.parametrize("first", [said({"reasoning": "Once upon "}), said({"reasoning": "well"}, "a time ")])
def test_callers_beginning_with_thoughts_of_the_servers(first: Any, drive: Drive) -> None:
    """Thoughts beside a beginning of the caller's are on an unknown side of it, and nothing is sent."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Once "}]
    server = Script(first)
    answer = drive(server, {"model": MODELS["r1"], "messages": messages})

    assert ("length", "reasoning", 1) == (answer.finish, answer.stopped_by, len(server.bodies))


@drives
def test_callers_closed_block_grows(drive: Drive) -> None:
    """Behind the caller's own think block the answer grows as it is."""
    own = "<think>\n\n</think>\n\n"
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": own}]
    server = Script(said("one "), said("two", finish="stop"))
    answer = drive(server, {"model": MODELS["r1"], "messages": messages})

    assert ("one two", "stop", "stop") == answer.said
    assert own + "one" == server.bodies[1]["messages"][-1]["content"]


@drives
def test_usage_of_thoughts(drive: Drive) -> None:
    """Reasoning tokens are summed, and those of a provider that counts them apart are left as it says."""
    details = {"completion_tokens_details": {"reasoning_tokens": 7}}
    server = Script(
        said({"reasoning": "well"}, "one ", usage=usage(10, 5, **details)),
        said("two", finish="stop", usage=usage(12, 3, completion_tokens_details={"reasoning_tokens": 0})),
    )
    answer = drive(server, question("qwen3"))

    assert usage(22, 8, **details) == answer.usage
