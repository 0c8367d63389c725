"""Answers of models that think: on which side of the think block a cut fell, and what goes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openai_continue._core.learned import Learned
from openai_continue._core.round import Failure
from openai_continue._core.text.reasoning import Inline
from openai_continue._tables import families, providers
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import Drive, drives, rounds_of, streamed, whole
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round

#: A model name for each of the emulator's templates.
MODELS = {"r1": "deepseek-ai/DeepSeek-R1", "qwen3": "Qwen/Qwen3-32B", "raises": "zai-org/GLM-4.5"}
R1, QWEN3 = {"model": MODELS["r1"]}, {"model": MODELS["qwen3"]}
THOUGHTS = "Okay, let me think about this question for quite a while before I say a word.\n"
START = "The answer has a beginning that no other part of it resembles: not even this.\n"
DEEPINFRA = providers.named("deepinfra")
MISFILING = replace(DEEPINFRA, misfiles=True)
#: A row whose parser may file an answer under thoughts.
VLLM = {"provider": "vllm"}
USER = {"role": "user", "content": "x"}


def field(text: str, name: str = "reasoning_content") -> dict[str, str]:
    """Return a delta with thoughts in a field of their own."""
    return {name: text}


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
@pytest.mark.parametrize("template", MODELS)
@pytest.mark.parametrize(
    ("thinks", "misfiles"),
    [
        ("inline", None),
        *((name, how) for name in ("reasoning_content", "reasoning") for how in (None, "whole", "both")),
    ],
)
def test_every_cut(thinks: Any, template: Any, misfiles: Any, drive: Drive) -> None:
    """Cut in the answer, thoughts and answer are whole; cut in the thoughts, they go on if that is safe, or end."""
    habits = Habits(thinks=thinks, template=template, think_tokens=20, misfiles=misfiles)
    body = ask("Think.", model=MODELS[template])
    for cap in (5, 9, 22, 30, 40, 57):
        engine = Engine(habits=habits, cap=cap, tokens=60)
        uncapped = engine.uncapped(body)
        answer = drive(engine, body, max_rounds=50, provider=MISFILING if misfiles else DEEPINFRA)
        if cap < 25 and template != "r1":
            assert (answer.finish_reason, answer.stopped_by, len(engine.bodies)) == ("length", "reasoning", 1)
            assert uncapped.text.startswith(answer.text)
            assert uncapped.thoughts.startswith(answer.thoughts)
        else:
            expected = uncapped.text, uncapped.thoughts, "stop"
            assert (answer.text, answer.thoughts, answer.finish_reason) == expected, cap
        assert engine.derailed == 0


# What goes back.


@drives
@pytest.mark.parametrize("first", [cut_round(field("well"), "one "), cut_round("<think>\nwell\n</think>\n\none ")])
@pytest.mark.parametrize(
    ("row", "model", "sent"),
    [
        ("deepinfra", MODELS["r1"], {"content": "<think>\n\n</think>\n\none"}),
        ("deepinfra", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", {"content": "<think>\n\n</think>\n\none"}),
        ("deepinfra", MODELS["qwen3"], {"content": "one", "reasoning_content": "well"}),
        ("deepinfra", "deepseek-ai/DeepSeek-V3.1", {"content": "one", "reasoning_content": "well"}),
        ("vllm", MODELS["r1"], {"content": "one", "reasoning_content": "well"}),
        ("sglang", MODELS["r1"], {"content": "\n</think>\n\none"}),
        ("sglang", "MiniMaxAI/MiniMax-M2", {"content": "\n</think>\n\none"}),
        ("sglang", MODELS["qwen3"], {"content": "one"}),
        ("llama.cpp", MODELS["qwen3"], {"content": "one", "reasoning_content": "well"}),
        # aider #3820: a prefill without the thoughts was a 400.
        ("deepseek", "deepseek-reasoner", {"content": "one", "reasoning_content": "well", "prefix": True}),
    ],
)
def test_cut_answer_goes_back(first: Any, row: str, model: str, sent: dict[str, Any], drive: Drive) -> None:
    """An answer goes back in the form that the provider documents, without its thoughts or with them."""
    server = Script(first, last_round(" two"))
    drive(server, ask(model=model), provider=row)

    assert [{"role": "assistant", **sent}] == [one["messages"][-1] for one in server.bodies[1:]]


@pytest.mark.parametrize(
    ("row", "model", "sent", "marks"),
    [
        ("deepinfra", MODELS["r1"], {"content": "<think>\nwell,"}, {}),
        ("deepinfra", "MiniMaxAI/MiniMax-M2", {"content": "<think>\nwell"}, {}),
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
    """Cut thoughts go back inline if the template keeps an open block, or in the field that the server reads."""
    echo = "well," if row == "llama.cpp" and drive is whole else ""
    # The template of an unknown family is taken to trim, so at temperature 0 the thoughts are cut back to a word.
    tail = ", " if families.trims(model) is None else ""
    server = Script(cut_round(field("well, ")), last_round(field(f"{echo}{tail}well"), "answer", usage=None))
    answer = drive(server, ask(model=model, temperature=0), provider=row)

    assert (answer.text, answer.thoughts, answer.finish_reason) == ("answer", "well, well", "stop")
    assert [{"role": "assistant", **sent}] == [one["messages"][-1] for one in server.bodies[1:]]
    assert marks == {name: server.bodies[1][name] for name in marks}


def test_block_that_the_server_refuses_is_left_out() -> None:
    """After a 400, the block before the answer is left out of this round and of all that follow."""
    rounds = rounds_of(ask(**R1))
    server = Script(cut_round(field("well"), "one "), cut_round("two "), last_round("three"))
    sent = []
    while (request := rounds.next_request()) is not None:
        sent.append(request.body["messages"][-1]["content"])
        assert len(sent) < 9
        if "</think>" in sent[-1]:
            assert not rounds.fail(request, Failure("BadRequestError", 400, "req", "no such block")).raises
        else:
            rounds.receive(request, server.completion(request.body))

    assert sent == ["x", "<think>\n\n</think>\n\none", "one", "one two"]
    assert Answer.of_completion(rounds.completion()).ending == ("one two three", "stop", "stop")
    assert len(rounds.answer.history) == 3


@drives
@pytest.mark.parametrize("row", ["llama.cpp", "deepseek"])
def test_newlines_beside_the_tags(row: str, drive: Drive) -> None:
    """The newlines beside the tags are the template's to write; the caller gets them as they came."""
    echo = "ans" if row == "llama.cpp" and drive is whole else ""
    server = Script(cut_round(field("\nwell\n\n"), "ans"), last_round(echo + "wer"))
    answer = drive(server, ask(**QWEN3), provider=row)

    assert (answer.text, answer.thoughts, answer.finish_reason) == ("answer", "\nwell\n\n", "stop")
    assert server.bodies[1]["messages"][-1]["reasoning_content"] == "well"


@drives
@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("gap", ["", "\n", "\n\n"])
def test_cut_between_thoughts_and_answer(gap: str, trims: bool, drive: Drive) -> None:
    """To DeepInfra, R1's thoughts go back closed and empty if no answer is there yet; no newline comes twice."""
    rest = "\n"[: 2 - len(gap)]
    server = Script(cut_round("<think>\nwell\n</think>" + gap), last_round((gap if trims else "") + rest, "answer"))
    answer = drive(server, ask(**R1), trims=trims)

    assert "<think>\nwell\n</think>" + gap + rest + "answer" == answer.text
    assert ["<think>\n\n</think>" + ("" if trims else gap)] == server.sent_back


STAYS = {
    **{
        f"thoughts, {row}, {model}, {len(text)}": Case(
            [cut_round(first)],
            **length(text, "reasoning", thoughts=thoughts),
            body={"model": model},
            known={"provider": row},
        )
        for row, model in (
            ("deepinfra", MODELS["qwen3"]),
            ("deepinfra", MODELS["raises"]),
            ("vllm", MODELS["qwen3"]),
            ("mistral", MODELS["r1"]),
            ("moonshot", "kimi-k2-thinking"),
        )
        for first, text, thoughts in ((field("well", "reasoning"), "", "well"), ("<think>\nwell", "<think>\nwell", ""))
    },
    **{
        f"opencode #17471, #42900: thoughts ate the budget, and it passed for success, {model}": Case(
            [cut_round(field("well, "))], **length("", "reasoning", thoughts="well, "), body={"model": model}
        )
        for model in ("m", MODELS["qwen3"])
    },
    "half a character is no answer": Case(
        [cut_round(field("well"), "\ufffd")], **length("\ufffd", "reasoning", thoughts="well"), body=QWEN3
    ),
    "complete thoughts": Case(
        [cut_round("<think>\nwell\n</think>\n\n")], **length("<think>\nwell\n</think>\n\n", "reasoning"), body=QWEN3
    ),
    "complete thoughts and half a character": Case(
        [cut_round("<think>\nwell\n</think>\ufffd")], **length("<think>\nwell\n</think>\ufffd", "reasoning"), body=QWEN3
    ),
    "white space that the template trims": Case([cut_round("\n\n")], **length("\n\n", "empty"), known={"trims": True}),
    "white space that the template trims, after thoughts": Case(
        [cut_round(field("well"), "\n\n")], **length("\n\n", "reasoning", thoughts="well"), known={"trims": True}
    ),
    # They are on an unknown side of it.
    **{
        f"thoughts beside a beginning of the caller's, {thoughts}": Case(
            [cut_round(*pieces)],
            **length(text, "reasoning", thoughts=thoughts),
            body={**R1, "messages": [USER, {"role": "assistant", "content": "Once "}]},
        )
        for pieces, text, thoughts in (
            ([field("Once upon ")], "", "Once upon "),
            ([field("well"), "a time "], "a time ", "well"),
        )
    },
}


@cases(STAYS)
def test_cut_thoughts_stay(case: Case, drive: Drive) -> None:
    """If no portable way on is known, what came is returned with "length" after one request."""
    case.check(drive)


# What comes back, and where it is filed.

FILED = {
    "text that comes as thoughts, after the thinking was over": Case(
        [cut_round(field("well"), "one "), cut_round(field("two "), field("three ")), last_round(field("four"))],
        "one two three four",
        thoughts="well",
        body=QWEN3,
        known=VLLM,
    ),
    "thoughts that begin again before the answer goes on": Case(
        [cut_round(field("well"), "one "), last_round(field("hm, where was I? "), field("ah!"), "two ", "three")],
        "one two three",
        thoughts="well",
        body=QWEN3,
    ),
    "the cap fell into the answer, not into the thoughts": Case(
        [cut_round(field("well \ufffd"), "one "), last_round(field(""), "two")],
        "one two",
        thoughts="well \ufffd",
        body=R1,
    ),
    "a cut character in the thoughts": Case(
        [cut_round(field("well \ufffd")), last_round(field("é"), "answer")], "answer", thoughts="well é", body=R1
    ),
    "over both tags": Case(
        [cut_round("<think>\nwell,"), cut_round(" so\n</think>\n\none "), last_round("two")],
        "<think>\nwell, so\n</think>\n\none two",
        body=R1,
        sent_back=["<think>\nwell,", "<think>\n\n</think>\n\none"],
    ),
    # A tag has no word to go back to.
    "thoughts cut after punctuation, at temperature 0, trimmed": Case(
        [cut_round("<think>\nwell.\n"), last_round("\nso\n</think>\n\none")],
        "<think>\nwell.\nso\n</think>\n\none",
        body={**R1, "temperature": 0},
        known={"trims": True},
        sent_back=["<think>\nwell."],
    ),
    "an open block of the caller's": Case(
        [cut_round(field("well ")), last_round(field("then"), "one")],
        "one",
        thoughts="well then",
        body={**R1, "messages": [USER, {"role": "assistant", "content": "<think>\nFirst, "}]},
        sent_back=["<think>\nFirst, well"],
    ),
    "a closed block of the caller's": Case(
        [cut_round("one "), last_round("two")],
        "one two",
        body={**R1, "messages": [USER, {"role": "assistant", "content": "<think>\n\n</think>\n\n"}]},
        sent_back=["<think>\n\n</think>\n\none"],
    ),
    "a tag in an answer whose thoughts came in a field": Case(
        [cut_round(field("well"), '["</think>", '), last_round("or not.")],
        '["</think>", or not.',
        thoughts="well",
        body=R1,
        sent_back=['<think>\n\n</think>\n\n["</think>",'],
    ),
    "a quoted tag": Case(
        [cut_round("Write '</think>' "), last_round("or not.")],
        "Write '</think>' or not.",
        body=R1,
        sent_back=["Write '</think>'"],
    ),
    "hermes #90422: thoughts used up all rounds": Case(
        [cut_round(field(f"thought {number} ")) for number in range(5)],
        **length("", "max_rounds", thoughts="".join(f"thought {number} " for number in range(5))),
        body=R1,
        known={"max_rounds": 5},
    ),
}


@cases(FILED)
def test_filed(case: Case, drive: Drive) -> None:
    """New text is thought or answer by what came before the cut, not by the field that it comes in."""
    case.check(drive)


RESTARTS = {
    **{
        f"{len(second.pieces)} pieces at temperature {temperature}": Case(
            [cut_round(field(THOUGHTS), START), second],
            **length(START, "restart", thoughts=THOUGHTS),
            body={**QWEN3, "temperature": temperature},
            known=VLLM,
        )
        for temperature in (0, 1)
        for second in (
            cut_round(field(THOUGHTS), field("more")),
            cut_round(field("Other thoughts."), START, "more"),
            last_round(field(THOUGHTS), "", START, "more"),
        )
    },
    "of cut thoughts": Case(
        [cut_round(field(THOUGHTS)), cut_round(field(THOUGHTS), "answer")],
        **length("", "restart", thoughts=THOUGHTS),
        body=R1,
    ),
}


@cases(RESTARTS)
def test_restart(case: Case, drive: Drive) -> None:
    """A server that begins again begins with its thoughts, and is noticed by them or by the answer after them."""
    case.check(drive)


#: What the model writes instead of going on: in a field, inline, and how it ends.
ANEW = {
    "in a field, cut": cut_round(field("Okay, the user wants a book.")),
    "in a field, and stops": last_round(field("I think the task is done.")),
    "under the other name": cut_round(field("Let me see.", "reasoning")),
    "as a list too": cut_round(
        {"reasoning_content": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}
    ),
    "inline": cut_round("<think>", "\nOkay, a book.\n</think>\n\nAnother book"),
    "inline, never closed": cut_round("<thi", "nk>\nOkay, a"),
}
INLINE = "<think>\nwell\n</think>\n\n"


@drives
@pytest.mark.parametrize("first", [cut_round(field("well"), "one"), cut_round(INLINE + "one")], ids=["field", "inline"])
@pytest.mark.parametrize("anew", ANEW.values(), ids=ANEW)
@pytest.mark.parametrize("model", ["qwen/qwen3-235b-a22b-thinking-2507", MODELS["r1"], "moonshotai/Kimi-K2"])
def test_thoughts_anew(first: Any, anew: Any, model: str, drive: Drive) -> None:
    """Thoughts of a later round are no answer. The other form of the prefill is tried once, and may go on."""
    text = "one" if first.pieces[0] != INLINE + "one" else INLINE + "one"
    learned = Learned()

    other = replace(first, pieces=[*first.pieces, " more"])
    for begun, more in ((first, ""), (first, ""), (other, " more")):
        answer = drive(Script(begun, anew, anew), ask(model=model), learned=learned)
        assert (text + more, "length", "restart") == answer.ending
    # It was so for two different answers.
    answer = drive(server := Script(first), ask(model=model), learned=learned)
    assert (answer.stopped_by, len(server.bodies)) == ("restart", 1)

    learned = Learned()
    for rounds in ([first, anew, last_round(" two")], [first, last_round(" two")]):
        answer = drive(server := Script(*rounds), ask(model=model), learned=learned)
        assert (text + " two", "stop", "stop") == answer.ending
        assert learned.closes_block == (model != MODELS["r1"])
        assert ("</think>" in server.sent_back[-1]) == learned.closes_block


@drives
@pytest.mark.parametrize("row", ["openrouter", "deepseek", "moonshot", "groq"])
def test_thoughts_anew_without_another_form(row: str, drive: Drive) -> None:
    """Without another form, an answer ends where a model thinks again."""
    server = Script(cut_round(field("well"), "one"), cut_round(field("Okay, the user")))
    answer = drive(server, ask(model="m"), provider=row)

    assert answer.ending == ("one", "length", "restart")


def test_misfiled_answer_flows() -> None:
    """A stream waits one round to learn that a server misfiles; the rounds after that flow."""
    server = Script(
        cut_round(field("well"), "one "),
        cut_round(field("two "), field("three ")),
        last_round(field("four "), field("five")),
    )
    rounds = rounds_of(ask(stream=True, **QWEN3), **VLLM)
    texts: list[list[str]] = []
    while (request := rounds.next_request()) is not None:
        for chunk in [*server.chunks(request.body), None]:
            out = rounds.end_of_stream(request) if chunk is None else rounds.feed(request, chunk)
            texts.append([one["choices"][0]["delta"].get("content") or "" for one in out])

    # What came out at each chunk, and at the end of each round.
    assert [each for each in texts if any(each)][1:] == [["two ", "three "], ["four "], ["five"]]


def test_order_of_thoughts_and_answer() -> None:
    """The answer comes after all thoughts, though half a character of them had to wait."""
    server = Script(cut_round(field("well \ufffd")), last_round(field("é"), field(" \ufffd"), "answer"))
    answer = streamed(server, ask(**R1))

    assert (answer.text, answer.thoughts) == ("answer", "well é \ufffd")
    deltas = [item["delta"] for one in answer.raw for item in one["choices"]]
    texts = [delta for delta in deltas if delta.get("content") or delta.get("reasoning_content")]
    assert ["content" in delta for delta in texts] == [False, False, False, True]


@drives
def test_fields_of_both_names(drive: Drive) -> None:
    """A server that gives thoughts under both names gets them whole under both in a whole answer."""
    both = {"reasoning": "well, ", "reasoning_content": "well, "}
    more = {"reasoning": "well", "reasoning_content": "well"}
    answer = drive(Script(cut_round(both), last_round(more, "answer")), ask(**R1))

    assert (answer.text, answer.thoughts) == ("answer", "well, well")
    if drive is whole:
        message = answer.raw["choices"][0]["message"]
        assert [message["reasoning"], message["reasoning_content"]] == ["well, well"] * 2


def test_thoughts_beside_an_answer_are_refused() -> None:
    """DeepInfra's schema has the field; a server that refuses it gets the answer without it, in later calls too."""
    learned = Learned()
    said = {"role": "assistant", "content": "one", "reasoning_content": "well"}
    answer = {"id": "a", "choices": [{"index": 0, "message": said, "finish_reason": "length"}]}
    for sent in ([{"reasoning_content": "well"}, {}], [{}]):
        rounds = rounds_of(ask(model=MODELS["qwen3"]), learned=learned)
        first = rounds.next_request()
        assert first is not None
        rounds.receive(first, answer)
        for fields in sent:
            request = rounds.next_request()
            assert request is not None
            message = request.body["messages"][-1]
            assert {"role": "assistant", "content": "one", **fields} == message
            if fields:
                rounds.fail(request, Failure("UnprocessableEntityError", 422, text="reasoning_content: extra field"))
