"""Tool calls that were cut in their arguments go on, whatever a server makes of the rest; or they end as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from openai_continue._core.round import Failure, Request
from openai_continue._core.rounds import Rounds
from openai_continue._core.text.characters import paired
from openai_continue._tables import providers
from openai_continue.testing.emulator.tokens import tokenize
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.calls import CallWritingServer, TokenWritingServer, dumped, row, tool, written
from tests.support.driving import DRIVES, Drive, drives, rounds_of, streamed, whole
from tests.support.script import Reply, Script, cut_round, reply, usage

Json = dict[str, Any]
Called = tuple[str, str]

ARGUMENTS = {"path": "a.txt", "content": 'One two "three".\n  Four'}
SAVE, RUN = dumped(ARGUMENTS), dumped({"command": "ls -l"})
TOOLS = [tool("save", ARGUMENTS), tool("run", {"command": ""})]
#: The arguments so far, and the rest. Within a word, nothing is held back.
HALF, _, REST = SAVE.partition("ree")
HALF, REST = HALF + "r", "ee" + REST
ONE, BOTH = [("save", SAVE)], [("save", SAVE), ("run", RUN)]
HERMES, CODER, KIMI, LLAMA = "Qwen/Qwen3-8B", "Qwen/Qwen3-Coder-Next", "moonshotai/Kimi-K2-Instruct", "Llama-3.1-8B"
VLLM, LLAMA_CPP, DEEPINFRA = ({"provider": name} for name in ("vllm", "llama.cpp", "deepinfra"))
TAIL = "}\n</tool_call>"
#: All that a model writes whose mark before the arguments ends in the name.
GLM = written(row("glm-4.7"), *BOTH)
READS = replace(providers.named("llama.cpp"), call_syntaxes=("hermes", "kimi-k2", "deepseek-v3.1"))
SECOND = f'\n<tool_call>\n{{"name": "run", "arguments": {RUN}{TAIL}'


def call(arguments: str, name: str = "save", index: int = 0, id_: str | None = "call-1", **more: Any) -> Json:
    """Return a delta that begins a call."""
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": function, **more}]}


def more(arguments: str, index: int = 0) -> Json:
    """Return a delta that goes on with a call."""
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def calls(*deltas: Json) -> Json:
    return {"tool_calls": [one for delta in deltas for one in delta["tool_calls"]]}


def end(*deltas: Any, finish: str = "stop", **fields: Any) -> Reply:
    return reply(*deltas, finish=finish, **fields)


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def after(syntax: str, begun: str, *called: Called, text: str = "") -> str:
    """Return what a model writes after a beginning that ends with ``begun``."""
    return written(row(syntax), *called, text=text).partition(begun)[2]


def on(raw: str = "", end: int | None = None) -> Callable[[str], str]:
    """Return a round that goes on from where the text that was sent ends, up to ``end`` of all that the model writes."""
    raw = raw or written(row("hermes"), *ONE)

    def rest(sent: str) -> str:
        assert raw.startswith(sent), f"the model did not write {sent!r}"
        return raw[len(sent) : end]

    return rest


def new(arguments: str, *deltas: Json, id_: str | None = "call-7") -> Callable[[str], Json]:
    """Return a round of a server that has read the prefill: what is new of these arguments, and further calls."""

    def rest(sent: str) -> Json:
        _, begun, known = sent.partition('"arguments": ')
        assert begun
        assert arguments.startswith(known)
        return calls(call(arguments[len(known) :], id_=id_), *deltas)

    return rest


def piecewise(arguments: str, size: int) -> list[Callable[[str], Json]]:
    """Return the deltas of such a round, for what is new of these arguments."""

    def piece(start: int) -> Callable[[str], Json]:
        return lambda sent: more(arguments[len(sent.partition('"arguments": ')[2]) :][start : start + size])

    return [piece(start) for start in range(0, len(arguments), size)]


@dataclass(frozen=True)
class Case:
    """A conversation, and the calls that come of it."""

    rounds: Sequence[Reply]
    calls: Sequence[Called] = tuple(ONE)
    text: str = ""
    finish_reason: str = "tool_calls"
    stopped_by: str | None = "tool_calls"
    model: str = HERMES
    body: Json = field(default_factory=dict[str, Any])
    known: Json = field(default_factory=lambda: VLLM)
    ids: Sequence[str] | None = None
    thoughts: str = ""
    drives: Sequence[Drive] = DRIVES
    #: Whether nothing of the last round is given out, in a stream too.
    is_kept: bool = False

    def check(self, drive: Drive) -> tuple[Answer, Script]:
        server = Script(*self.rounds)
        body = ask(**{"model": self.model, "tools": TOOLS, **self.body})
        before = copy.deepcopy(body)
        answer = drive(server, body, **self.known)

        assert before == body
        assert (self.text, self.finish_reason, self.stopped_by, self.thoughts) == (*answer.ending, answer.thoughts)
        assert len(self.rounds) == len(server.bodies)
        got = [(one["function"]["name"], paired(one["function"]["arguments"])) for one in answer.tool_calls]
        if self.finish_reason == "length" and drive is streamed and not self.is_kept:
            # What is out stays.
            assert [name for name, _ in self.calls] == [name for name, _ in got[: len(self.calls)]]
            assert all(known.startswith(given) for (_, given), (_, known) in zip(self.calls, got, strict=False))
        else:
            assert list(self.calls) == got
        ids = [one["id"] for one in answer.tool_calls]
        assert self.ids is None or list(self.ids) == ids
        assert len(set(ids)) == len(ids)
        return answer, server


def cases(table: Mapping[str, Case]) -> Any:
    rows = [
        pytest.param(case, drive, id=f"{name}-{drive.__name__}")
        for name, case in table.items()
        for drive in case.drives
    ]
    return pytest.mark.parametrize(("case", "drive"), rows)


CUT = cut_round(call(HALF))
#: A whole new call of the same tool, and one that has the same beginning as the cut one.
ANEW, ALIKE = (
    dumped({"path": path, "content": "Another text, which is a good deal longer."}) for path in ("b.txt", "a.txt")
)
#: Arguments that hold objects, and one that is cut in a text with brackets.
DEEP = dumped({"path": "c", "content": {"a": {"b": 1}, "c": [{"d": 2}, {"e": 3}]}})
BRACES = dumped({"path": "c", "content": 'if (x) {"y"} else {", z"} {'})
#: How the rest comes: the last round, and the calls.
GOES_ON: dict[str, Case] = {
    "the rest as text": Case([CUT, end(REST + TAIL)]),
    "the rest as text, in pieces": Case([CUT, end(*pieces(REST + TAIL))], drives=[streamed]),
    "in three rounds": Case([CUT, cut_round(REST[:6]), end(REST[6:] + TAIL)]),
    "cut before the first character": Case([cut_round(call("")), end(on())]),
    "cut before it, and the prompt has more tokens": Case([cut_round(call("")), end(on(), usage=usage(20, 9))]),
    "cut before it, and the quotes before it are not written again": Case(
        [cut_round(call("")), cut_round(SAVE + TAIL), end(SAVE + TAIL)]
    ),
    "cut after the arguments": Case([cut_round(call(SAVE)), end(on())]),
    "cut after the arguments, a further call": Case([cut_round(call(SAVE)), end(on() , SECOND)], BOTH),
    "cut after the arguments, and the mark never comes": Case([cut_round(call(SAVE)), end(on(end=-len(TAIL) + 1))]),
    "cut in an escape": Case([cut_round(call(SAVE[: SAVE.index("n  Four")])), end(on())]),
    "cut in an escape that the server keeps back": Case([cut_round(call(SAVE[: SAVE.index("\\n  Four")])), end(on())]),
    "cut in punctuation, then again": Case(
        [cut_round(call(SAVE[: SAVE.index(' "content"')])), cut_round(on(end=-len('.\\n  Four"' + TAIL))), end(on())]
    ),
    "the mark after it never comes": Case([CUT, end(REST + "}")]),
    "half of the mark after it": Case([CUT, end(REST + TAIL[:-3])]),
    "a further call of no tool": Case([CUT, end(REST + TAIL + SECOND.replace("run", "rm"))], [*ONE, ("rm", RUN)]),
    "the server calls it calls": Case([CUT, end(REST + TAIL, finish="tool_calls")]),
    "a further call in the text": Case([CUT, end(REST + TAIL + SECOND)], BOTH),
    "a further call in a round of its own": Case([CUT, cut_round(REST + TAIL + SECOND[:20]), end(SECOND[20:])], BOTH),
    "a further call as a call": Case(
        [CUT, end(REST + TAIL + "\n", call(RUN, "run", id_="call-9"), finish="tool_calls")],
        BOTH,
        ids=["call-1", "call-9"],
    ),
    "a further call as a call, after what parts the two": Case(
        [CUT, cut_round(REST + TAIL + "\n"), cut_round(call(RUN[:9], "run", id_="call-9")), end(RUN[9:] + TAIL)], BOTH
    ),
    "a further call as a call, cut before it": Case(
        [CUT, cut_round(REST + TAIL), end(call(RUN, "run", id_="call-9"), finish="tool_calls")], BOTH
    ),
    "a further call as a call, cut before its arguments": Case(
        [CUT, cut_round(REST + TAIL + "\n", call("", "run", id_="call-9")), end(on(written(row("hermes"), *BOTH)))],
        BOTH,
        ids=["call-1", "call-9"],
    ),
    "a further call as a call, cut before its arguments, and called calls": Case(
        [
            CUT,
            reply(REST + TAIL + "\n", call("", "run", id_="call-9"), finish="tool_calls"),
            end(on(written(row("hermes"), *BOTH))),
        ],
        BOTH,
        ids=["call-1", "call-9"],
    ),
    "a further call as a call, cut before its arguments, whose name ends the mark": Case(
        [
            CUT,
            reply(on(GLM, GLM.index("run<")), call("", "run", id_="call-9"), finish="tool_calls"),
            end(on(GLM)),
        ],
        BOTH,
        known={**VLLM, "continue_tool_calls": "glm-4.7"},
    ),
    "a further call is cut too": Case(
        [CUT, cut_round(REST + TAIL + "\n", call(RUN[:9], "run", id_="call-9")), end(RUN[9:] + TAIL)],
        BOTH,
        ids=["call-1", "call-9"],
    ),
    "the cut call is the second": Case(
        [cut_round(calls(call(SAVE), call(RUN[:9], "run", 1, "call-2"))), end(RUN[9:] + TAIL)], BOTH, ids=["call-1", "call-2"]
    ),
    # A server that reads the prefill.
    **{
        f"{name}, {provider['provider']}": Case(
            [CUT, end(*deltas, finish="tool_calls")], known=provider, ids=["call-1"]
        )
        for provider in (VLLM, LLAMA_CPP)
        for name, deltas in {
            "the whole call again": [call(SAVE, id_="call-7")],
            "the whole call again, with its id": [call(SAVE)],
            "the whole call again, without an id": [call(SAVE, id_=None)],
            "what is new": [call(REST, id_="call-7")],
            "what is new, in deltas": [call("", id_="call-7"), *map(more, pieces(REST))],
            "the whole call again, in deltas": [call("", id_="call-7"), *map(more, pieces(SAVE, 7))],
        }.items()
    },
    "what is new, without a beginning": Case(
        [CUT, end(*map(more, pieces(REST)), finish="tool_calls")], known=LLAMA_CPP, drives=[streamed]
    ),
    "what is new, cut again": Case([CUT, cut_round(more(REST[:7])), end(more(REST[7:]), finish="tool_calls")], known=LLAMA_CPP),
    "all calls of the turn": Case(
        [
            cut_round(calls(call(SAVE), call(RUN[:9], "run", 1, "call-2"))),
            end(calls(call(SAVE, id_="x"), call(RUN, "run", 1, "y")), finish="tool_calls"),
        ],
        BOTH,
        known=LLAMA_CPP,
        ids=["call-1", "call-2"],
    ),
    **{
        f"cut after the arguments, {name}, {syntax}": Case(
            [cut_round(call(SAVE)), end(*deltas, finish="tool_calls")],
            BOTH if "further" in name else ONE,
            known={"provider": READS, "continue_tool_calls": syntax},
            ids=["call-1", "y"] if "further" in name else ["call-1"],
        )
        for name, deltas, syntax in [
            ("the rest", [new(SAVE)], "hermes"),
            ("the rest and a further call", [new(SAVE, call(RUN, "run", 1, "y"))], "hermes"),
            *((name, deltas, syntax) for syntax in ("hermes", "kimi-k2", "deepseek-v3.1") for name, deltas in [
                ("the whole call again", [call(SAVE, id_="x")]),
                ("all and a further call", [calls(call(SAVE, id_="x"), call(RUN, "run", 1, "y"))]),
                ("a further call", [call(RUN, "run", 1, "y")]),
            ]),
            ("nothing new and a further call", [calls(call("", id_="x"), call(RUN, "run", 1, "y"))], "kimi-k2"),
            ("nothing new", [call("", id_="x")], "kimi-k2"),
        ]
    },
    "cut after the arguments of the second call, all calls": Case(
        [
            cut_round(calls(call(SAVE), call(RUN, "run", 1, "call-2"))),
            end(calls(call(SAVE, id_="x"), call(RUN, "run", 1, "y")), finish="tool_calls"),
        ],
        BOTH,
        known=LLAMA_CPP,
        ids=["call-1", "call-2"],
    ),
    "cut after the arguments, twice": Case(
        [cut_round(call(SAVE)), cut_round(new(SAVE)), end(call(SAVE, id_="z"), finish="tool_calls")], known=LLAMA_CPP
    ),
    "the second call, with the index 0": Case(
        [cut_round(calls(call(SAVE), call(RUN[:9], "run", 1, "call-2"))), end(call(RUN, "run", 0, "y"), finish="tool_calls")],
        BOTH,
        known=LLAMA_CPP,
        ids=["call-1", "call-2"],
    ),
    "the whole call, and a further one": Case(
        [CUT, end(calls(call(SAVE, id_="x"), call(RUN, "run", 1, "y")), finish="tool_calls")],
        BOTH,
        known=LLAMA_CPP,
        ids=["call-1", "y"],
    ),
    "what is new, and a further one": Case(
        [CUT, end(calls(call(REST, id_="x"), call(RUN, "run", 1, "y")), finish="tool_calls")],
        BOTH,
        known=LLAMA_CPP,
        ids=["call-1", "y"],
    ),
    # What goes on may look like the beginning of a call.
    **{
        f"an object within the arguments, cut at {place}": Case(
            [cut_round(call(DEEP[:place])), end(call("", id_="call-7"), *piecewise(DEEP, 3), finish="tool_calls")],
            [("save", DEEP)],
            known=LLAMA_CPP,
            ids=["call-1"],
            body={"tools": [tool("save", {"path": "", "content": {}})]},
            drives=[streamed],
        )
        for place in range(DEEP.index("{", 1), len(DEEP))
    },
    **{
        f"brackets in a string, cut at {place}": Case(
            [cut_round(call(BRACES[:place])), end(call("", id_="x"), *piecewise(BRACES, 2), finish="tool_calls")],
            [("save", BRACES)],
            known=LLAMA_CPP,
            ids=["call-1"],
            drives=[streamed],
        )
        for place in range(BRACES.index("if"), len(BRACES))
        if BRACES[place - 1] != "\\"
    },
    "halves of characters": Case(
        [cut_round(call(HALF), more("\ud83d"), more("\ude00x")), end(REST + TAIL)], [("save", f"{HALF}😀x{REST}")], drives=[streamed]
    ),
    # Other syntaxes.
    "parameters": Case([CUT, end(after("qwen3-coder", 'two "thr', *ONE))], model=CODER),
    "parameters, what is new": Case(
        [CUT, end(call(REST, id_="call-7"), finish="tool_calls")], model=CODER, known=LLAMA_CPP, ids=["call-1"]
    ),
    "parameters, cut in a name": Case([cut_round(call('{"path": "a.txt", "cont')), end(on(written(row("qwen3-coder"), *ONE)))], model=CODER),
    "parameters, cut before them": Case([cut_round(call("")), end(on(written(row("qwen3-coder"), *ONE)))], model=CODER),
    "parameters that only the server knows": Case(
        [cut_round(call('{"path": "12", "content": "on')), end("e\n</parameter>\n</function>\n</tool_call>")],
        [("save", '{"path": "12", "content": "one"}')],
        model=CODER,
        body={"tools": [{"type": "function", "function": {"name": "save"}}]},
    ),
    "kimi's own ids": Case(
        [CUT, end(after("kimi-k2", HALF, *BOTH))],
        BOTH,
        model=KIMI,
        known={**DEEPINFRA, "continue_tool_calls": True},
        ids=["call-1", "functions.run:1"],
    ),
    "a model that has no mark": Case(
        [CUT, end(REST + "}")], model=LLAMA, known={**DEEPINFRA, "continue_tool_calls": True}
    ),
    "a name of a syntax": Case(
        [CUT, end(REST + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>")],
        model="own",
        known={**DEEPINFRA, "continue_tool_calls": "deepseek-v3.1"},
    ),
}  # fmt: skip


@cases(GOES_ON)
def test_goes_on(case: Case, drive: Drive) -> None:
    """The caller gets each call once: its id, its index and its name, and the arguments as if they were never cut."""
    answer, server = case.check(drive)

    assert answer.tool_calls[0]["id"] == "call-1"
    assert server.bodies[-1]["messages"][-1]["content"].count("\n\n<tool_call>") == 0
    assert ["function"] * len(case.calls) == [one["type"] for one in answer.tool_calls]
    assert [case.body.get("tools", TOOLS)] * len(server.bodies) == [body["tools"] for body in server.bodies]


# What is no continuation.

ENDS = {"finish_reason": "length", "stopped_by": "tool_call"}
AS_IT_WAS: Json = {**ENDS, "calls": [("save", HALF)]}
OLD = {"function_call": {"name": "save", "arguments": HALF}}
CUSTOM = {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": '{"SELECT'}}]}
SURE = {**DEEPINFRA, "continue_tool_calls": True}
FAILS: dict[str, Case] = {
    "prose": Case([CUT, end("I could not finish the call. Sorry!")], **AS_IT_WAS),
    "prose after the string": Case([CUT, end('"I am done."')], **AS_IT_WAS),
    "another call": Case([CUT, end('<tool_call>\n{"name": "run", "arguments": {}}\n</tool_call>')], **AS_IT_WAS),
    "another call, read": Case([CUT, end(call("{}", "run", id_="x"), finish="tool_calls")], **AS_IT_WAS),
    "the same call from its start, other arguments": Case(
        [CUT, end(call('{"path": "b.txt", "content": ""}', id_="x"), finish="tool_calls")], **AS_IT_WAS
    ),
    **{
        f"a new call, {name}, {known['provider']}, {model}": Case(
            [CUT, end(*deltas, finish="tool_calls")], known=known, model=model, drives=drives_, is_kept=True, **AS_IT_WAS
        )
        for known in (VLLM, LLAMA_CPP)
        for model in (HERMES, CODER)
        for name, deltas, drives_ in [
            ("whole", [call(ANEW, id_="x")], DRIVES),
            ("with the id of the cut one", [call(ANEW)], DRIVES),
            ("with the same beginning", [call(ALIKE, id_="x")], DRIVES),
            ("of another index", [call(ANEW, index=1, id_="x")], DRIVES),
            ("without arguments", [call("{}", id_="x")], DRIVES),
            ("with blanks", [call('{\n  "path": "b.txt"\n}', id_="x")], DRIVES),
            *(
                (f"in pieces of {size}", [call("", id_="x"), *map(more, pieces(arguments, size))], [streamed])
                for size in (1, 2, 9)
                for arguments in (ANEW, ALIKE)
            ),
            ("empty first, then whole", [call("", id_="x"), more(""), more(ANEW)], [streamed]),
            ("in pieces, and another one", [call(ANEW[:1], id_="x"), more(ANEW[1:]), call(RUN, "run", 1, "y")], [streamed]),
            ("and another one", [calls(call(ANEW, id_="x"), call(RUN, "run", 1, "y"))], [whole]),
            ("twice", [calls(call(ANEW, id_="x"), call(ANEW, index=1, id_="y"))], [whole]),
            ("cut too", [call("", id_="x"), *map(more, pieces(ANEW[:30]))], [streamed]),
        ]
    },
    "a new call after the first one again": Case(
        [
            cut_round(calls(call(RUN, "run"), call(HALF, "save", 1, "call-2"))),
            end(call(RUN, "run"), call("", "save", 1, "x"), *(more(one, 1) for one in pieces(ANEW)), finish="tool_calls"),
        ],
        [("run", RUN), ("save", HALF)],
        known=LLAMA_CPP,
        drives=[streamed],
        is_kept=True,
        **ENDS,
    ),
    **{
        f"a new call as text, {text[:22]!r}": Case([CUT, end(*pieces(text))], drives=[streamed], is_kept=True, **AS_IT_WAS)
        for text in (
            f'<tool_call>\n{{"name": "save", "arguments": {ANEW}{TAIL}',
            f'<tool_call>{{"name":"save","arguments":{ANEW}}}</tool_call>',
            f'\n\n<tool_call>\n{{"name": "run", "arguments": {RUN}{TAIL}',
            f'{{"name": "save", "arguments": {ANEW}}}',
            f'{{"name": "run", "arguments": {RUN}}}',
            ANEW,
        )
    },
    "the same call as text": Case([CUT, end(f'<tool_call>\n{{"name": "save", "arguments": {SAVE}{TAIL}')], **AS_IT_WAS),
    "an end without a close": Case([CUT, end("ee.")], **AS_IT_WAS),
    "nothing": Case([CUT, end("")], **AS_IT_WAS),
    "text instead of the mark": Case([CUT, end(REST + ", and that is all")], **AS_IT_WAS),
    "no JSON": Case([CUT, end('ee", nonsense' + TAIL)], **AS_IT_WAS),
    "not of the schema": Case([CUT, end(REST[:-1] + ', "path": 12}' + TAIL)], **AS_IT_WAS),
    "a half further call": Case([CUT, end(REST + TAIL + SECOND[:-20])], **AS_IT_WAS),
    "thoughts": Case([CUT, end({"reasoning_content": "Well"})], **AS_IT_WAS),
    "the third round fails": Case([CUT, cut_round(REST[:6]), end("Sorry.")], [("save", HALF + REST[:6])], **ENDS),
    # Never asked.
    "half of a name": Case([cut_round(call("", "sav"))], [("sav", "")], **ENDS),
    "of the old interface": Case([cut_round(OLD)], [], **ENDS),
    "half of a character": Case([cut_round(call(HALF + "\ufffd"))], [("save", HALF + "\ufffd")], **ENDS),
    "half of a surrogate pair": Case([cut_round(call(HALF + "\ud83d"))], [("save", HALF + "\ud83d")], **ENDS),
    "switched off": Case([CUT], known={**VLLM, "continue_tool_calls": False}, **AS_IT_WAS),
    "an unknown model": Case([CUT], model="unknown", known=SURE, **AS_IT_WAS),
    "a row that does not know": Case([CUT], known=DEEPINFRA, **AS_IT_WAS),
    "a syntax that the row does not know": Case([CUT], model=KIMI, **AS_IT_WAS),
    "logprobs": Case([CUT], body={"logprobs": True}, **AS_IT_WAS),
    "no tools": Case([CUT], body={"tools": None}, **AS_IT_WAS),
    "closed by a server that nobody knows": Case([cut_round(call(HALF + '"}'))], [("save", HALF + '"}')], known=SURE, **ENDS),
    "the caller's own beginning has calls": Case(
        [CUT],
        [("save", HALF)],
        finish_reason="length",
        stopped_by="unsupported",
        body={"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}]},
        known=LLAMA_CPP,
    ),
    "the last round": Case([CUT, cut_round(REST[:6])], [("save", HALF + REST[:6])], finish_reason="length", stopped_by="max_rounds", known={**VLLM, "max_rounds": 2}),
}  # fmt: skip


@cases(FAILS)
def test_fails(case: Case, drive: Drive) -> None:
    """What does not go on ends in "length"; a whole answer has the arguments as they were before that round."""
    case.check(drive)


# What comes before the calls, and where they begin.

BEFORE: dict[str, Case] = {
    "a text": Case([cut_round("I save it.", call(HALF)), end(REST + TAIL)], text="I save it."),
    "a text that ends in newlines": Case(
        [cut_round("I save it.\n\n", call(HALF)), end(REST + TAIL)], text="I save it.\n\n"
    ),
    "a text, which comes again": Case(
        [cut_round("I save it.", call(HALF)), end("I save it.", call(SAVE, id_="x"), finish="tool_calls")],
        text="I save it.",
        known=LLAMA_CPP,
        ids=["call-1"],
        drives=[whole],
    ),
    **{
        f"thoughts, {known['provider']}": Case(
            [cut_round({"reasoning_content": "Well."}, "I do.", call(HALF)), end(REST + TAIL)],
            text="I do.",
            thoughts="Well.",
            known={**known, "continue_tool_calls": True},
        )
        for known in (VLLM, LLAMA_CPP, DEEPINFRA)
    },
    **{
        f"only thoughts, {known['provider']}": Case(
            [cut_round({"reasoning_content": "Well."}, call(HALF)), end(REST + TAIL)],
            thoughts="Well.",
            known={**known, "continue_tool_calls": True},
        )
        for known in (VLLM, LLAMA_CPP, DEEPINFRA)
    },
    "the rest is filed as thoughts": Case(
        [cut_round({"reasoning_content": "Well."}, call(HALF)), end({"reasoning_content": REST + TAIL})],
        thoughts="Well.",
    ),
    "a text that was continued": Case(
        [cut_round("I sa"), cut_round("ve it.", call(HALF)), end(REST + TAIL)], text="I save it.", ids=["call-1"]
    ),
    "a text that was continued, the call came alone": Case(
        [cut_round("I save it."), cut_round(call(HALF)), cut_round(REST[:5]), end(REST[5:] + TAIL)],
        text="I save it.",
        ids=["call-1"],
    ),
    "thoughts that were continued": Case(
        [cut_round({"reasoning_content": "We"}), cut_round({"reasoning_content": "ll."}, call(HALF)), end(REST + TAIL)],
        thoughts="Well.",
        known=LLAMA_CPP,
    ),
}


@cases(BEFORE)
def test_before_the_call(case: Case, drive: Drive) -> None:
    """Text and thoughts stay as they were; the text goes back before the call, as the model wrote it."""
    _, server = case.check(drive)

    last = server.bodies[-1]["messages"][-1]
    gap = "" if not case.text or case.text.endswith("\n") else "\n"
    assert f"{case.text}{gap}<tool_call>\n" in last["content"]
    fields = {name for name in last if "reasoning" in name}
    keeps = case.thoughts
    assert fields == ({"reasoning_content"} if keeps else set())


@pytest.mark.parametrize("known", [VLLM, LLAMA_CPP], ids=lambda known: known["provider"])
@pytest.mark.parametrize("model", [HERMES, CODER])
@pytest.mark.spread(1)
def test_raw_syntax(model: str, known: Json) -> None:
    """A whole answer may show a cut call as text (vLLM's hermes). Wherever it is cut, it goes on, and comes as calls."""
    syntax = row("hermes" if model == HERMES else "qwen3-coder")
    raw = written(syntax, *BOTH, text="I save it.")
    for place in range(raw.index("<tool_call>") + 11, len(raw)):
        answer = whole(
            CallWritingServer(syntax, TOOLS, raw, [place, 1000], shows_raw=True), ask(model=model, tools=TOOLS), **known
        )
        assert (answer.text.rstrip(), *answer.ending[1:]) == ("I save it.", "tool_calls", "tool_calls"), raw[:place]
        assert [(one["function"]["name"], one["function"]["arguments"]) for one in answer.tool_calls] == BOTH
        assert all(one["id"].startswith("call_") for one in answer.tool_calls)


#: Tokens with a part of an escape or of a mark: '\", ")\ and >\n.
CODE = 'print("\\n\'")\n<b>x</b>\n\t# \\ é "two"\n'


@pytest.mark.parametrize("reads", [False, True], ids=["text", "read"])
@pytest.mark.parametrize("name", ["hermes", "qwen3-coder"])
@drives
def test_parser_that_keeps_back_a_part_of_a_token(name: str, reads: bool, drive: Drive) -> None:
    """Whatever token is the last: what goes back ends where a token did, so that the model goes on as it would have."""
    expected = [("save", dumped({"path": "a", "content": CODE})), ("run", RUN)]
    raw = written(row(name), *expected)
    tokens = tokenize(raw)
    begun = len(tokenize(raw.partition("content")[0]))
    for place in range(begun, len(tokens)):
        # A round that is shorter than what is held back would bring nothing.
        server = TokenWritingServer(row(name), TOOLS, raw, [place, 25, 1000], reads=reads)
        known = LLAMA_CPP if reads else VLLM
        answer = drive(server, ask(model=HERMES if name == "hermes" else CODER, tools=TOOLS), **known)
        got = [(one["function"]["name"], one["function"]["arguments"]) for one in answer.tool_calls]
        assert (got, answer.finish_reason) == (expected, "tool_calls"), tokens[place - 3 : place]


@drives
def test_half_of_an_escape_that_was_kept_back(drive: Drive) -> None:
    r"""The model wrote the token ``'\``, and n is next. Its parser shows the quote, which goes back only with the rest."""
    arguments = dumped({"path": "a", "content": "x = 'one'\ny"})
    raw = written(row("hermes"), ("save", arguments))
    shown = arguments[: arguments.index("\\ny")]
    server = Script(cut_round(call(shown)), end(on(raw)))
    answer = drive(server, ask(model=HERMES, tools=TOOLS), **VLLM)

    assert shown.endswith("one'")
    assert [raw[: raw.index("'\\ny")]] == server.sent_back
    assert [(arguments, "tool_calls", 1)] == [
        (one["function"]["arguments"], answer.finish_reason, answer.rounds[1]["seam"]["dropped"])
        for one in answer.tool_calls
    ]


@pytest.mark.parametrize("rest", ["Sorry.", '"}, that is all'])
def test_raw_syntax_that_does_not_go_on(rest: str) -> None:
    """Then the answer is the text that the server gave."""
    raw = written(row("hermes"), *ONE, text="I save it.").partition("ree")[0]
    answer = whole(Script(cut_round(raw), end(rest)), ask(model=HERMES, tools=TOOLS), **VLLM)

    assert (raw, "length", "tool_call") == answer.ending
    assert answer.tool_calls == []
    # In a stream, it is out as text.
    assert (raw, "length", "tool_call") == streamed(
        Script(cut_round(raw)), ask(model=HERMES, tools=TOOLS), **VLLM
    ).ending


# How the server calls the end of a cut call.

ROUND = {**VLLM, "round_tokens": 5}
LOG = tool("log", {"text": ""})
LOG["function"]["parameters"]["required"] = ["text"]
LIES: dict[str, Case] = {
    **{
        f"half arguments, called {finish}, {name}": Case([reply(call(HALF), finish=finish, usage=counted), end(REST + TAIL)])
        for finish in ("tool_calls", "stop")
        for name, counted in (("counted", usage(10, 5)), ("not counted", None))
    },
    "twice, at the limit": Case(
        [
            reply(call(HALF), finish="tool_calls", usage=usage(10, 5)),
            reply(REST[:6], finish="stop", usage=usage(15, 5)),
            end(REST[6:] + TAIL, usage=usage(20, 3)),
        ],
        known=ROUND,
    ),
    "twice, not at the limit": Case(
        [reply(call(HALF), finish="tool_calls", usage=usage(10, 5)), reply(REST[:6], finish="stop", usage=usage(15, 4))],
        known=ROUND,
        **AS_IT_WAS,
    ),
    "twice, half arguments that were read": Case(
        [
            reply(call(HALF), finish="tool_calls"),
            reply(new(HALF + REST[:6]), finish="tool_calls"),
            reply(new(SAVE, id_="y"), finish="tool_calls"),
        ],
        known=LLAMA_CPP,
    ),
    "twice, half arguments that were read, without the half of an escape": Case(
        [
            reply(call(HALF), finish="tool_calls"),
            reply(new(HALF + REST[:5]), finish="tool_calls"),
            reply(new(SAVE, id_="y"), finish="tool_calls"),
        ],
        known=LLAMA_CPP,
    ),
    # The mark is known to be there only if the model says that it stops.
    "whole at the limit, called calls": Case(
        [CUT, reply(REST + "}", finish="tool_calls", usage=usage(10, 5)), end("\n</tool_call>")], known=ROUND
    ),
    "whole at the limit, called stop": Case([CUT, end(REST + TAIL, usage=usage(10, 5))], known=ROUND),
    "whole at the limit, called length": Case([CUT, cut_round(REST + TAIL), end("")], known=ROUND),
    "whole at the limit, read": Case(
        [CUT, reply(call(SAVE, id_="x"), finish="tool_calls", usage=usage(10, 5)), end(on())], known=ROUND
    ),
    "a further call that the server has closed": Case(
        [
            CUT,
            reply(after("qwen3-coder", 'two "thr', *ONE) + "\n", call("{}", "log", id_="x"), finish="tool_calls", usage=usage(10, 5)),
            end(on(written(row("qwen3-coder"), *ONE, ("log", '{"text": "a"}')))),
        ],
        [*ONE, ("log", '{"text": "a"}')],
        body={"tools": [*TOOLS, LOG]},
        model=CODER,
        known=ROUND,
        drives=[whole],
    ),
    # Whether such a call is whole is not known.
    "closed by a server that nobody knows, at the limit": Case(
        [CUT, reply(call(HALF + '"}', id_="x"), finish="tool_calls", usage=usage(10, 5))],
        known={**SURE, "round_tokens": 5},
        **AS_IT_WAS,
    ),
    "closed by a server that reads, at the limit": Case(
        [CUT, reply(call(SAVE, id_="x"), finish="tool_calls", usage=usage(10, 5))], known={**LLAMA_CPP, "round_tokens": 5}
    ),
    "filtered": Case([CUT, reply("", finish="content_filter")], [("save", HALF)], finish_reason="content_filter", stopped_by="content_filter"),
}  # fmt: skip


@cases(LIES)
def test_server_that_calls_a_cut_something_else(case: Case, drive: Drive) -> None:
    """Half arguments, or usage at the limit, show a cut that the server hides; else the end is believed."""
    case.check(drive)


# Limits.

LIMITED: dict[str, tuple[Case, list[int | None]]] = {
    "a total": (
        Case(
            [cut_round(call(HALF), usage=usage(10, 5)), cut_round(REST[:6], usage=usage(15, 5))],
            [("save", HALF + REST[:6])],
            finish_reason="length",
            stopped_by="max_tokens",
            body={"max_tokens": 10},
        ),
        [10, 5],
    ),
    "a total, after an end that hid the cut": (
        Case(
            [reply(call(HALF), finish="tool_calls", usage=usage(10, 5)), cut_round(REST[:6], usage=usage(15, 5))],
            [("save", HALF + REST[:6])],
            finish_reason="length",
            stopped_by="max_tokens",
            body={"max_tokens": 10},
        ),
        [10, 5],
    ),
    "a total that is not reached": (
        Case([cut_round(call(HALF), usage=usage(10, 5)), end(REST + TAIL, usage=usage(15, 4))], body={"max_tokens": 10}),
        [10, 5],
    ),
    "a total reached at once": (
        Case([cut_round(call(HALF), usage=usage(10, 5))], [("save", HALF)], finish_reason="length", stopped_by=None, body={"max_tokens": 5}),
        [5],
    ),
    "tokens of a round": (Case([CUT, end(REST + TAIL)], known=ROUND), [5, 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITED)
@drives
def test_limits(name: str, drive: Drive) -> None:
    """The caller's limit is a total over the text and the calls of all rounds."""
    case, asked = LIMITED[name]
    _, server = case.check(drive)

    assert asked == [body.get("max_completion_tokens") or body.get("max_tokens") for body in server.bodies]


# Bodies.

OWN = {"skip_special_tokens": True, "temperature": 0, "min_tokens": 2, "parallel_tool_calls": False}
FORCED = {"tool_choice": {"type": "function", "function": {"name": "save"}}}
#: The provider and settings, the model, the caller's fields, and those of later rounds.
BODIES: dict[str, tuple[Json, str, Json, Json]] = {
    "vllm": (VLLM, HERMES, {}, {"tool_choice": "none", "skip_special_tokens": False}),
    "vllm, tagged": (VLLM, CODER, {}, {"tool_choice": "auto", "skip_special_tokens": False}),
    "vllm, forced": (VLLM, HERMES, {"tool_choice": "required"}, {"tool_choice": "none", "skip_special_tokens": False}),
    "vllm, the caller's own": (VLLM, HERMES, OWN, {**OWN, "tool_choice": "none", "skip_special_tokens": False, "min_tokens": 0}),
    "llama.cpp": (LLAMA_CPP, HERMES, {}, {}),
    "llama.cpp, auto": (LLAMA_CPP, HERMES, {"tool_choice": "auto"}, {"tool_choice": "auto"}),
    "deepinfra": (SURE, HERMES, {}, {"tool_choice": "none"}),
    "deepinfra, forced by name": (SURE, CODER, FORCED, {"tool_choice": "auto"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@drives
def test_bodies(name: str, drive: Drive) -> None:
    """Later rounds offer the tools, so that the prompt stays as it was, and ask for text where it is not read."""
    known, model, fields, expected = BODIES[name]
    rest = REST + TAIL if model == HERMES else after("qwen3-coder", 'two "thr', *ONE)
    _, server = Case([CUT, cut_round(rest[:5]), end(rest[5:])], model=model, known=known, body=fields).check(drive)

    seen = [{key: body[key] for key in {**OWN, **FORCED} if key in body} for body in server.bodies]
    assert [fields, expected, expected] == seen
    assert [body["tools"] for body in server.bodies] == [TOOLS] * 3
    assert [{*body["messages"][-1]} for body in server.bodies[1:]] == [{"role", "content"}] * 2


@drives
def test_report(drive: Drive) -> None:
    """Usage is the sum, and the report has each round with its seam."""
    # What follows the word is held back.
    so_far = SAVE[: SAVE.index('"content"')]
    raw = written(row("hermes"), *ONE)
    rounds = [
        cut_round(call(so_far)),
        cut_round(on(end=raw.index(" two")), usage=usage(15, 5)),
        end(on(), usage=usage(20, 3)),
    ]
    answer, server = Case(rounds).check(drive)

    assert usage(45, 13) == answer.usage
    assert [one["finish_reason"] for one in answer.rounds] == ["length", "length", "tool_calls"]
    assert [one["choice"] for one in answer.rounds] == [0, 0, 0]
    assert [one["seam"]["held_back"] for one in answer.rounds[1:]] == [3, 0]
    assert [raw[: raw.index('", "content"')], raw[: raw.index(" two")]] == server.sent_back


# Several choices.


class Several:
    """A server that gives these choices in the first round, and then one choice a round."""

    def __init__(self, first: Sequence[tuple[list[Json], str]], later: Sequence[tuple[list[Json], str]]) -> None:
        self._rounds = [first, *([one] for one in later)]
        self.bodies: list[Json] = []

    def _next(self, body: Json) -> Sequence[tuple[list[Json], str]]:
        self.bodies.append(body)
        return self._rounds[len(self.bodies) - 1]

    def completion(self, body: Json) -> Json:
        items = self._next(body)
        messages = [{key: value for delta in deltas for key, value in delta.items()} for deltas, _ in items]
        choices = [{"index": index, "message": {"role": "assistant", "content": None, **message}, "finish_reason": items[index][1]} for index, message in enumerate(messages)]  # fmt: skip
        return {"id": "c", "choices": choices}

    def chunks(self, body: Json) -> list[Json]:
        items = enumerate(self._next(body))
        return [
            {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
            for index, (deltas, end) in items
            for delta, finish in [*((delta, None) for delta in deltas), ({}, end)]
        ]


@drives
def test_several_choices(drive: Drive) -> None:
    """Each choice goes on by itself: two cut calls, a text, and one that was whole."""
    first = [
        ([call(HALF)], "length"),
        ([{"content": "A te"}], "length"),
        ([{"content": "Yes."}, call(SAVE, id_="other")], "tool_calls"),
        ([call(HALF[:-5], id_="fourth")], "length"),
    ]
    later = [([{"content": REST + TAIL}], "stop"), ([{"content": "xt."}], "stop"), ([{"content": HALF[-5:] + "Sorry."}], "stop")]  # fmt: skip
    body = ask(model=HERMES, tools=TOOLS, n=4)
    answers = [drive(Several(first, later), body, index, **VLLM) for index in range(4)]

    ends = ["tool_calls", "stop", "tool_calls", "length"]
    assert ends == [answer.finish_reason for answer in answers]
    assert [answer.text for answer in answers] == ["", "A text.", "Yes.", ""]
    called = [[one["function"]["arguments"] for one in answer.tool_calls] for answer in answers]
    assert called[:3] == [[SAVE], [], [SAVE]]
    assert called[3][0].startswith(HALF[:-5])
    assert [one["id"] for answer in answers for one in answer.tool_calls] == ["call-1", "other", "fourth"]


@pytest.mark.parametrize("place", range(5))
def test_stream_that_breaks_off(place: int) -> None:
    """A stream that breaks off in a call goes on, wherever it breaks; the beginning of the call comes once."""
    deltas: list[Json] = [{"content": "\n"}, call(""), more(HALF[:5]), more(HALF[5:])]
    rounds = rounds_of({**ask(model=HERMES, tools=TOOLS), "stream": True}, "vllm")
    first = next_one(rounds)
    out = rounds.feed(first, chunk_of({"content": "I save it."})) + rounds.feed(first, chunk_of({}, "length"))
    out += rounds.end_of_stream(first)
    second = next_one(rounds)
    for delta in deltas[:place]:
        out += rounds.feed(second, chunk_of(delta))
    out += rounds.fail(second, Failure("ReadError", broke_off=True)).chunks
    third = next_one(rounds)
    sent = third.body["messages"][-1]["content"]
    full = written(row("hermes"), *ONE, text="I save it.")
    assert full.startswith(sent)
    out += rounds.feed(third, chunk_of({"content": full[len(sent) :]})) + rounds.feed(third, chunk_of({}, "stop"))
    out += rounds.end_of_stream(third)
    answer = Answer.of_chunks(out + rounds.last_chunks())

    if "<tool_call>" in sent:
        assert (answer.text.rstrip(), answer.finish_reason) == ("I save it.", "tool_calls")
        assert [(one["function"]["name"], one["function"]["arguments"]) for one in answer.tool_calls] == ONE
    else:
        assert place < 2


def next_one(rounds: Rounds) -> Request:
    request = rounds.next_request()
    assert request is not None
    return request


def chunk_of(delta: Json, finish_reason: str | None = None) -> Json:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
