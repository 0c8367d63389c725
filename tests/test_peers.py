"""
What users of other implementations met, one test for each: at seams, with thoughts, with JSON and with tools.

The issues are public; they are named as ``repository #number``.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import openai
import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Habits
from tests.conftest import ASYNC, SYNC, Way, ask, settled
from tests.drive import DRIVES, Drive, Engine, Script, live, said, whole

drives = pytest.mark.parametrize("drive", DRIVES)
ways = pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])
START = "The answer has a beginning that no other part of it resembles: not even this.\n"
TABLE = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 6
CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "run", "arguments": '{"code": "pri'}}
TOOL = {"type": "function", "function": {"name": "run", "parameters": {"type": "object"}}}


# Loops that tool calls and silence led into.


@drives
def test_loop_over_a_cut_call(drive: Drive) -> None:
    """An endless loop, for "length" with a tool call went past the guard: hermes #72329."""
    server = Script(said("Let me see.", {"tool_calls": [CALL]}))
    answer = drive(server, ask("x", tools=[TOOL]))

    assert ("length", "unsupported", 1) == (answer.finish, answer.stopped_by, len(server.bodies))


@drives
@pytest.mark.parametrize("finish", [None, "unknown"])
def test_loop_over_an_unknown_end(finish: Any, drive: Drive) -> None:
    """An endless loop, for the finish reason was null or unknown: opencode #49008, opencode #18813, Aether #683."""
    server = Script(said("all", finish=finish))
    answer = drive(server)

    assert ("all", None, 1) == (answer.text, answer.stopped_by, len(server.bodies))


# What is glued, lost or doubled at a seam.


@drives
def test_answer_begun_anew(drive: Drive) -> None:
    """The restarted answer was glued behind what was delivered: qwen-code #13319, open-interpreter #291."""
    answer = drive(Script(said(START, "more"), said(START, "other", finish="stop")))

    assert (START + "more", "length", "restart") == answer.said


@drives
def test_continuation_that_is_short(drive: Drive) -> None:
    """The continuation replaced the answer, and the user saw its 60 characters alone: opencrabs #859."""
    refusal = "I'm sorry, but I cannot go on with this."
    answer = drive(Script(said(START), said(refusal, finish="stop")))

    assert (START + refusal, "stop", "stop") == answer.said


@drives
def test_tail_that_comes_again(drive: Drive) -> None:
    """An echoed tail was taken for the end, and a cut sentence delivered as finished: opencrabs #956."""
    text = "It began in the old town, where nobody had been for years, and it ended there as well. So it was."
    engine = Engine(text, habits=Habits(echo="always", marker="prefix"), cap=6)
    answer = drive(engine, provider="mistral")

    assert (text, "stop", "stop") == answer.said


@drives
def test_continuation_of_one_character(drive: Drive) -> None:
    """All that a continuation brought was one closing backtick, which is right where that is all: opencrabs #1737."""
    answer = drive(Script(said("```\ncode\n``"), said("`", finish="stop")))

    assert ("```\ncode\n```", "stop", "stop") == answer.said


@drives
@pytest.mark.parametrize("cap", [3, 7, 20, 31])
def test_table_at_the_seam(cap: int, drive: Drive) -> None:
    """Tables and prose came twice at the seam: qwen-code #3966."""
    text = f"First:\n\n{TABLE}\nThen the same:\n\n{TABLE}\nEnd."
    answer = drive(Engine(text, cap=cap), max_rounds=99)

    assert (text, "stop", "stop") == answer.said


@drives
@pytest.mark.parametrize("cap", [1, 2, 3, 5])
def test_words_at_the_seam(cap: int, drive: Drive) -> None:
    """Words were glued at the seam, as in ``index.htmlReview``: hermes #78577, hermes #23696, hermes #60928."""
    text = "See index.html\n\nReview it. PMC\n\nDC waiting\n<MEDIA:a.png>\n<MEDIA:b.png> Done."
    for trims in (False, True):
        answer = drive(Engine(text, habits=Habits(trims=trims), cap=cap), max_rounds=99, trims=trims)

        assert text == answer.text or (answer.stopped_by == "empty" and text.startswith(answer.text))


@drives
@pytest.mark.parametrize("temperature", [0, 1])
def test_spaces_at_the_seam(temperature: int, drive: Drive) -> None:
    """Blanks were lost or added at the seam: text-generation-webui #1545, SillyTavern #4549, vercel/ai #3112."""
    text = "that was you're in the store. Mary has 3  apples,\tand\ta  pear . So"
    for cap in range(1, 9):
        for trims in (False, True):
            server = Engine(text, habits=Habits(trims=trims), cap=cap)
            answer = drive(server, ask("x", temperature=temperature), max_rounds=99, trims=trims)

            assert text == answer.text or (cap == 1 and answer.stopped_by == "empty")


@drives
def test_spaces_in_the_third_round(drive: Drive) -> None:
    """White space went wrong from the third round on only: vercel/ai #3466."""
    server = Script(said("one "), said(" two\n"), said("\n  "), said("  three ", "\n"), said("four", finish="stop"))
    answer = drive(server)

    assert ("one two\n\n  three \nfour", "stop", "stop") == answer.said
    sent = [body["messages"][-1]["content"] for body in server.bodies[1:]]
    assert ["one", "one two\n", "one two\n\n", "one two\n\n  three \n"] == sent


@drives
@pytest.mark.parametrize("row", ["deepinfra", "vllm", "mistral"])
def test_prefill_that_ends_in_a_blank(row: str, drive: Drive) -> None:
    """A prefill that ended in blanks was refused: vllm #9547, transformers #34214, autogen #6168, langchain #35073."""
    echo = "one" if row == "mistral" else ""
    server = Script(said("one \t "), said(echo + " two", finish="stop"))
    drive(server, provider=row)

    assert "one" == server.bodies[1]["messages"][-1]["content"]


@drives
def test_newlines_that_mean_something(drive: Drive) -> None:
    """The cure for blanks at the end ate newlines that meant something: transformers #34253."""
    server = Script(said("def f():\n\n"), said("    return 1", finish="stop"))
    answer = drive(server)

    assert ("def f():\n\n    return 1", "stop", "stop") == answer.said
    assert "def f():\n\n" == server.bodies[1]["messages"][-1]["content"]


# Prefills that are refused, ignored or repeated.


@ways
async def test_prefill_that_is_refused(way: Way) -> None:
    """The model refused the prefill, and the 400 hid what had come: litellm #27967, deepagents #1585."""
    with Emulator(cap=30, tokens=90, habits=Habits(refuses_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, ask("x"), stream=False)
        raising = client.with_options() if way.is_ours else client
        with pytest.raises(openai.BadRequestError, match="does not support assistant message prefill") as caught:
            await settled(
                raising.chat.completions.create(
                    **ask("x"), extra_body={"continuation": {"on_error": "raise", "provider": "deepinfra"}}
                )
            )
        await settled(client.close())
        expected = emulator.uncapped(ask("x"))

    assert ("length", "error") == (answer.finish, answer.stopped_by)
    assert expected.startswith(answer.text)
    assert answer.text == caught.value.partial_completion.choices[0].message.content  # type: ignore[attr-defined]


@ways
@pytest.mark.parametrize("stream", [False, True])
async def test_prefill_that_is_ignored(way: Way, stream: bool) -> None:
    """The prefill was silently ignored, and a new answer began: litellm #28580, open-webui #4762, LibreChat #5654."""
    with Emulator(cap=60, tokens=150, habits=Habits(ignores_prefill=True)) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, ask("x"), stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(ask("x"))

    assert ("length", "restart") == (answer.finish, answer.stopped_by)
    assert expected.startswith(answer.text)


@ways
@pytest.mark.parametrize("stream", [False, True])
async def test_prefill_that_is_repeated(way: Way, stream: bool) -> None:
    """The provider repeated the prefill in its answer: SillyTavern #2557, vercel/ai #3256."""
    habits = Habits(echo="always", marker="prefix", strict_marker=True, echo_pieces=3)
    with Emulator(cap=60, tokens=150, habits=habits) as emulator:
        client = way.client(emulator.base_url, continuation=Continuation(provider="mistral"))
        answer = await live(client, ask("x"), stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(ask("x"))

    assert (expected, "stop", "stop") == answer.said


@drives
def test_assistant_messages_in_a_row(drive: Drive) -> None:
    """Two assistant messages in a row were refused: aider #2974, aider #2960."""
    own = {"role": "assistant", "content": "Once upon "}
    for body in (ask("x"), {"model": "m", "messages": [{"role": "user", "content": "x"}, own]}):
        server = Script(said("a time "), said("there "), said("was", finish="stop"))
        drive(server, body)

        for sent in server.bodies:
            roles = [message["role"] for message in sent["messages"]]
            assert "assistant assistant" not in " ".join(roles)


# Thoughts.


@drives
def test_prefill_of_a_thinking_model(drive: Drive) -> None:
    """A prefill had to begin with a think block, or the answer was 400: aider #3820."""
    server = Script(said({"reasoning_content": "well"}, "one "), said("two", finish="stop"))
    drive(server, {**ask("x"), "model": "deepseek-reasoner"}, provider="deepseek")

    sent = {"role": "assistant", "content": "one", "reasoning_content": "well", "prefix": True}
    assert sent == server.bodies[1]["messages"][-1]


@drives
@pytest.mark.parametrize("model", ["m", "Qwen/Qwen3-32B"])
def test_thoughts_that_ate_the_budget(model: str, drive: Drive) -> None:
    """Thoughts ate the budget, nothing was left to continue, and it passed for success: opencode #17471, #42900."""
    server = Script(said({"reasoning_content": "well, "}))
    answer = drive(server, {**ask("x"), "model": model})

    assert ("", "well, ", "length", "reasoning") == (answer.text, answer.thoughts, answer.finish, answer.stopped_by)


@drives
def test_thoughts_that_take_several_rounds(drive: Drive) -> None:
    """High effort used up all continuations with thoughts: hermes #90422; here the caller's number is the bound."""
    rounds = [said({"reasoning_content": f"thought {number} "}) for number in range(5)]
    answer = drive(Script(*rounds), {**ask("x"), "model": "deepseek-r1"}, max_rounds=5)

    assert ("", "length", "max_rounds") == answer.said
    assert "thought 0 thought 1 thought 2 thought 3 thought 4 " == answer.thoughts


@drives
@pytest.mark.parametrize("thinks", ["inline", "reasoning_content"])
def test_thoughts_that_leak(thinks: Any, drive: Drive) -> None:
    """Cut inside the think block, thoughts leaked into the answer: cursor2api #90."""
    body = {**ask("x"), "model": "deepseek-r1"}
    engine = Engine("The answer.", habits=Habits(thinks=thinks, think_tokens=40), cap=16)
    answer = drive(engine, body)
    expected = engine.uncapped(body)

    assert (expected.text, expected.thoughts, "stop") == (answer.text, answer.thoughts, answer.finish)


# Tools.


@ways
@pytest.mark.parametrize("stream", [False, True])
async def test_call_after_a_continuation(way: Way, stream: bool) -> None:
    """The continuation wrote prose instead of calling the tool, and ``tool_calls`` was empty: litellm #31067."""
    body = ask("Write 100 tokens, then call the tool.", tools=[TOOL], tool_choice="auto")
    with Emulator(cap=80) as emulator:
        client = way.client(emulator.base_url)
        answer = await live(client, body, stream=stream)
        await settled(client.close())
        expected = emulator.uncapped(body), emulator.uncapped_arguments(body)
        tools = [logged.body.get("tools") for logged in emulator.requests]

    assert (expected[0], "tool_calls", "tool_calls") == answer.said
    assert [expected[1]] == [call["function"]["arguments"] for call in answer.tool_calls]
    assert [[TOOL]] * len(tools) == tools


@drives
def test_cut_call_is_not_stitched(drive: Drive) -> None:
    """Cut arguments were run, or joined to ``{"code":"pri{"language":``: open-interpreter #291, cline #2291, #4370."""
    server = Script(said({"tool_calls": [CALL]}))
    answer = drive(server, ask("x", tools=[TOOL]))

    assert ("length", '{"code": "pri') == (answer.finish, answer.tool_calls[0]["function"]["arguments"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.tool_calls[0]["function"]["arguments"])


@drives
def test_cut_call_is_not_sent(drive: Drive) -> None:
    """A message with a cut call was sent back, and spoilt all that followed: cc-connect #1444, llama.cpp #27626."""
    own = {"role": "assistant", "content": "Well: ", "tool_calls": [{**CALL, "index": None}]}
    for messages in ([{"role": "user", "content": "x"}], [{"role": "user", "content": "x"}, own]):
        server = Script(said("so", {"tool_calls": [CALL]}))
        drive(server, {"model": "m", "messages": messages, "tools": [TOOL]})

        assert len(server.bodies) == 1


# What is said in the caller's name.


@drives
def test_nothing_is_said_in_the_callers_name(drive: Drive) -> None:
    """English instructions were put into the conversation, with no switch: litellm #18229; and stayed: hermes #58093."""
    body = {"model": "m", "messages": [{"role": "system", "content": "Parle!"}, {"role": "user", "content": "x"}]}
    server = Script(said("un "), said("deux "), said("trois", finish="stop"))
    drive(server, body)

    for sent in server.bodies[1:]:
        assert body["messages"] == sent["messages"][:-1]
        assert {"role", "content"} == set(sent["messages"][-1])
        assert "un deux trois".startswith(sent["messages"][-1]["content"])


@drives
def test_history_is_the_merged_answer(drive: Drive) -> None:
    """The history differed from the merged answer, so that going on repeated some of it: qwen-code #8979."""
    text = "one  two\n\n three 🦊 four"
    answer = drive(Engine(text, habits=Habits(cut_characters="replaced"), cap=5), max_rounds=50)
    turn = {"role": "assistant", "content": answer.text}
    server = Script(said("five "), said("six", finish="stop"))
    drive(
        server, {"model": "m", "messages": [{"role": "user", "content": "x"}, turn, {"role": "user", "content": "y"}]}
    )

    assert [turn] * 2 == [sent["messages"][1] for sent in server.bodies]


@drives
def test_prefix_stays_the_same(drive: Drive) -> None:
    """The beginning of the prompt was written anew, and the prompt cache lost: claude-code #85983."""
    server = Script(said("one two "), said("three\n"), said("four."), said("five", finish="stop"))
    drive(server, ask("x", prompt_cache_key="key"))

    prompts = [json.dumps(sent["messages"]).rstrip('"}]') for sent in server.bodies]
    assert all(later.startswith(earlier) for earlier, later in pairwise(prompts))
    assert {"key"} == {sent["prompt_cache_key"] for sent in server.bodies}


@drives
def test_nothing_to_go_on_from(drive: Drive) -> None:
    """With no character to go on from, "continue where you left off" repeated a lost action: hermes #112421."""
    server = Script(said(""))
    answer = drive(server)

    assert ("", "length", "empty", 1) == (*answer.said, len(server.bodies))


@drives
def test_no_notice_in_the_answer(drive: Drive) -> None:
    """A notice that the answer was cut stood in the answer: RAGFlow #889."""
    answer = drive(Script(said("one"), said()), max_rounds=3)

    assert ("one", "length", "empty") == answer.said


# Truncation that passes for success.


def test_truncation_does_not_pass_for_success() -> None:
    """A cut run was "finished clean", and its work lost: opencode #42900, opencode #40146, CLIProxyAPI #5439."""
    for rounds in ([said("one ")], [said("one "), said("two ")]):
        answer = whole(Script(*rounds), max_rounds=len(rounds))

        assert ("length", "max_rounds") == (answer.finish, answer.stopped_by)


@drives
def test_half_a_document_does_not_pass_for_one(drive: Drive) -> None:
    """Half a JSON document was mended or passed on as one: cline #4370; here a join that does not parse is "length"."""
    body = ask("x", response_format={"type": "json_object"})
    answer = drive(Script(said('{"a": "b'), said('c", "d"', finish="stop")), body)

    assert ('{"a": "bc", "d"', "length", "error") == answer.said
