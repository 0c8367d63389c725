"""Where two rounds meet: what is held back, what is a copy, and what begins the answer again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue._core.text import seam
from openai_continue._core.text.ends import may_end
from openai_continue._core.text.seam import Seam, Stopped
from openai_continue.testing import Habits
from tests.support.bodies import ask
from tests.support.cases import Case, cases, length
from tests.support.driving import DRIVES, Drive, drives, streamed, whole
from tests.support.engine import AWKWARD, Engine
from tests.support.script import Script, cut_round, last_round, usage
from tests.support.servers import SERVERS

LINES = "The first line of all, which no other line repeats, not even in part.\n"
#: Long enough, and not repeated, to show that an answer begins again.
START = "The answer has a beginning that no other part of it resembles: not even this.\n"
ENOUGH = 64
JSON = {"response_format": {"type": "json_object"}}
USER = {"role": "user", "content": "x"}
TRIMS = {"trims": True}


def copied(joint: Seam, new: str, size: int) -> int | Stopped:
    """Settle a seam with the pieces of a stream; whatever their size, it must say the same."""
    for place in range(size, len(new), size):
        copy = joint.copied(new[:place], ended=False)
        if copy is not None:
            return copy
    copy = joint.copied(new, ended=True)

    assert copy is not None
    return copy


# What is held back.


@pytest.mark.parametrize(
    ("text", "kept", "trimmed"),
    [
        ("word", "", ""),
        ("word  ", "  ", "  "),
        ("word\t", "\t", "\t"),
        ("word \n", "", " \n"),
        ("word:\n    ", "    ", "\n    "),
        ("word\r\n", "", "\r\n"),
        ("word\r\n\t ", "\t ", "\r\n\t "),
        ("word\n\n\n\n", "", "\n\n\n\n"),
        ("word\u00a0", "", "\u00a0"),
        ("  ", "", ""),
        ("\n\n", "", ""),
        ("", "", ""),
    ],
)
def test_held_whitespace(text: str, kept: str, trimmed: str) -> None:
    """Blanks are held back, and newlines too if the template trims; a text of nothing else is sent as it is."""
    assert kept == seam.held_whitespace(text, trims=False)
    assert trimmed == seam.held_whitespace(text, trims=True)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("word", ""),
        ("word.", ""),
        ("word.\n", ".\n"),
        ('["a",\n    ', '",\n    '),
        ("x_\n", "\n"),
        ("日本語。\n", "。\n"),
        ("---\n", "\n"),
        ("\n", ""),
        ("<ul>\n  <li>one</li>\n", "</li>\n"),
        ("<ul>\n", "\n"),
        ("a <b></b>\n", " <b></b>\n"),
        ("a < b>\n", ">\n"),
        ("नमस्ते।\n", "।\n"),
        ("كبيرة جداً.\n", ".\n"),
    ],
)
def test_held_to_word(text: str, held: str) -> None:
    """The tail goes back to a word, a tag with its bracket; without a word, only the white space is held back."""
    assert held == seam.held_to_word(text, trims=True)


# What the new text repeats.

#: The seam, the new text, and how much of it is a copy.
COPIES: list[tuple[Seam, str, int | Stopped]] = [
    # One copy of the blanks is kept: the new one if it extends the old one, else the old one.
    (Seam(held="  "), "  word", 2),
    (Seam(held="  "), "    word", 2),
    (Seam(held="  "), " word", 1),
    (Seam(held="  "), "word", 0),
    (Seam(held="  "), "\n  word", 0),
    (Seam(held="\t"), "  word", 2),
    (Seam(held=" "), "", 0),
    (Seam(held="  "), " ", 1),
    (Seam(held="  "), "   ", 2),
    # Of all white space, if the template trims.
    (Seam(held="\n\n", trims=True), "\n\nword", 2),
    (Seam(held="\n\n", trims=True), "\n\n\n word", 2),
    (Seam(held="\n\n", trims=True), "\nword", 1),
    (Seam(held="\n\n", trims=True), "word", 0),
    (Seam(held="\n", trims=True), "  word", 2),
    # Punctuation must come as it was.
    (Seam(held=".\n\n", exact=True, trims=True), ".\n\nNext", 3),
    (Seam(held=".\n\n", exact=True, trims=True), ".\n\n", 3),
    (Seam(held=".\n\n", exact=True, trims=True), "", 0),
    (Seam(held=".\n\n", exact=True, trims=True), ".\n", 2),
    (Seam(held=".\n\n", exact=True, trims=True), ".\nNext", Stopped.REFUSED),
    (Seam(held=".\n\n", exact=True, trims=True), "!\n\nNext", Stopped.REFUSED),
    # An echo is a copy, trimmed or not; half of it is text.
    (Seam(echo="Once upon"), "Once upon a time", 9),
    (Seam(echo=" Once\n"), " Once\nupon", 6),
    (Seam(echo=" Once\n"), " Onceupon", 5),
    (Seam(echo=" Once\n"), "Once\nupon", 5),
    (Seam(echo=" Once\n"), "Onceupon", 4),
    (Seam(echo="Once"), "", 0),
    (Seam(echo="Once"), "On", 0),
    (Seam(echo="Once"), "Only", 0),
    (Seam(echo="Once"), "OnceOnce", 4),
    (Seam(echo="Once", held="  "), "Once  upon", 6),
    # Without one, repeated text is text.
    *((Seam(), text, 0) for text in ("}\n}\n}", "|---|---|\n", "0, 0, 0,", "- [ ] \n- [ ] \n", "Once upon a time")),
    *((Seam(held=" "), f" {text}", 1) for text in ("}\n}\n}", "|---|---|\n", "0, 0, 0,", "Once upon a time")),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 99])
@pytest.mark.parametrize(("joint", "new", "copy"), COPIES, ids=range(len(COPIES)))
def test_copy(joint: Seam, new: str, copy: int | Stopped, size: int) -> None:
    """What is there already is dropped from the beginning of a round, in whatever pieces it comes."""
    assert copy == copied(joint, new, size)


# The beginning again.


@pytest.mark.parametrize(
    ("text", "size"),
    [("a" * 200, 0), ("short", 0), (LINES, 64), (LINES + "more " + LINES, 0), (LINES * 3, 0), ("\n\n " + LINES, 64)],
)
def test_evidence_of_a_restart(text: str, size: int) -> None:
    """A beginning that is short, or recurs in the text, is no evidence that the answer begins again."""
    assert size == len(seam.evidence(text, 64))


@pytest.mark.parametrize("size", [1, 7, 999])
@pytest.mark.parametrize("held", ["", "  ", ".\n"])
def test_restart(held: str, size: int) -> None:
    """A round that begins as the answer did is a restart, whatever was held back."""
    joint = Seam(held=held, exact=held == ".\n", starts=(seam.evidence(LINES, 64),))

    assert Stopped.RESTARTED is copied(joint, LINES + "and so on", size)
    assert Stopped.RESTARTED is copied(joint, "\n\n" + LINES + "and so on", size)
    assert Stopped.RESTARTED is not copied(joint, held + LINES[:63] + "!" + LINES, size)
    assert Stopped.RESTARTED is not copied(joint, held + LINES[:63], size)


RESTARTS = {
    "directly": Case(
        [cut_round(START, "more "), last_round(START[:40], START[40:], "else")], **length(START + "more ", "restart")
    ),
    # No new turn begins with whitespace.
    **{
        f"none: after {gap!r}": Case(
            [cut_round(START, "more "), last_round(gap, START[:40], START[40:], "else")],
            START + "more " + gap.strip(" ") + START + "else",
        )
        for gap in ("\n\n", " ")
    },
    # No round is paid to find out.
    "punctuation held back": Case(
        [cut_round(START + "more.\n"), last_round(START)],
        **length(START + "more.\n", "restart"),
        body={"temperature": 0},
        known=TRIMS,
    ),
    # A round that brought nothing proves nothing.
    "after a round without text": Case(
        [cut_round(START + "more\n"), cut_round("? "), last_round(START)],
        **length(START + "more\n", "restart"),
        body={"temperature": 0},
        known=TRIMS,
        drives=[streamed],
    ),
    "known beforehand: nothing is sent": Case([cut_round("all")], **length("all", "restart"), known={"restarts": True}),
    "qwen-code #13319, open-interpreter #291: glued behind what was there": Case(
        [cut_round(START, "more"), last_round(START, "other")], **length(START + "more", "restart")
    ),
    "hermes #58087: the same line again and again": Case(
        [cut_round(LINES), cut_round(LINES)], **length(LINES, "restart")
    ),
    "a document, known by less": Case(
        [cut_round('{"title": "abcdef", "items": ["one", "tw'), last_round('{"title": "abcdef", "items')],
        **length('{"title": "abcdef", "items": ["one", "tw', "restart"),
        body=JSON,
    ),
    # Weak evidence is none.
    "none: too short": Case([cut_round(START[: ENOUGH - 1]), last_round(START)], START[: ENOUGH - 1] + START),
    "none: it recurs": Case(
        [cut_round(START + "more, then: " + START), last_round(START)], START + "more, then: " + START * 2
    ),
    "none: lines": Case([cut_round("line\n" * 40), last_round("line\n" * 40)], "line\n" * 80),
    "none: brackets": Case([cut_round("}\n}\n}\n"), last_round("}\n}\n}\n")], "}\n" * 6),
    "none: almost": Case(
        [cut_round(START), last_round(START[: ENOUGH - 1] + "but")], START + START[: ENOUGH - 1] + "but"
    ),
    "none: it ends before": Case([cut_round(START), last_round(START[: ENOUGH - 1])], START + START[: ENOUGH - 1]),
    "none: a server that went on once goes on": Case(
        [cut_round(START), cut_round("more\n"), last_round(START)], START + "more\n" + START
    ),
    **{
        f"none: a value like the document itself may begin here: {first[-1:]}": Case(
            [cut_round(first), last_round(second)], first + second, body=JSON
        )
        for first, second in (
            ('{"title": "abcdef", "child": ', '{"title": "abcdef"}}'),
            ('{"title": "abcdef", "children": [', '{"title": "abcdef"}]}'),
            ('{"title": "abcdef", "children": [1, ', '{"title": "abcdef"}]}'),
        )
    },
    "opencrabs #859: a short continuation replaced the answer": Case(
        [cut_round(START), last_round("I'm sorry, but I cannot go on with this.")],
        START + "I'm sorry, but I cannot go on with this.",
    ),
}


@cases(RESTARTS)
def test_restarts(case: Case, drive: Drive) -> None:
    """A server that begins again is noticed at the first continuation, on strong evidence only."""
    case.check(drive)


def test_usage_of_a_restart() -> None:
    """A whole answer says what the lost round cost; a stream is left before it does, and its usage is estimated."""
    rounds = [cut_round(START), last_round(START)]
    in_stream = streamed(Script(*rounds))

    assert whole(Script(*rounds)).usage == usage(20, 10)
    # All of the first round is the prompt, and a chunk or a quarter of the bytes is a token.
    assert in_stream.usage == usage(25, 6)
    assert [each.get("estimated") for each in in_stream.rounds] == [None, True]


# White space and punctuation, round for round.

SEAMS = {
    "blanks come again": Case([cut_round("one  "), last_round("  two")], "one  two", sent_back=["one"]),
    "no room but for the blanks held back": Case(
        [cut_round("one  "), cut_round("  "), last_round("two")], "one  two", sent_back=["one", "one  "]
    ),
    "a tail is gone back from, to a word": Case(
        [cut_round('one",\n  '), last_round('",\n  two')],
        'one",\n  two',
        body={"temperature": 0.0},
        known=TRIMS,
        sent_back=["one"],
    ),
    "other punctuation: less is held back in all of this call": Case(
        [cut_round("one.\n"), cut_round("! two"), cut_round("\ntwo.\n"), last_round("\nthree")],
        "one.\ntwo.\nthree",
        body={"temperature": 0},
        known=TRIMS,
        sent_back=["one", "one.", "one.\ntwo."],
        drives=[streamed],
    ),
    **{
        f"punctuation at temperature {body.get('temperature')}": Case(
            [cut_round("one,\n"), last_round(",\ntwo")], "one,\ntwo", body=body, known=TRIMS, sent_back=["one"]
        )
        for body in ({}, {"temperature": 1}, {"temperature": 0})
    },
    "another tail, which the caller of a whole answer has not seen": Case(
        [cut_round("one,\n"), last_round(". Two")], "one. Two", known=TRIMS, sent_back=["one"], drives=[whole]
    ),
    "another tail, which the caller of a stream has seen": Case(
        [cut_round("one,\n"), cut_round(". Two"), last_round("two")],
        "one,\ntwo",
        known=TRIMS,
        sent_back=["one", "one,"],
        drives=[streamed],
    ),
    "another tail of a document, whose end is counted": Case(
        [cut_round('{"a": {"b": 1},\n'), cut_round('}, "x": 1}, "c": 2}'), last_round('\n "c": 2}')],
        '{"a": {"b": 1},\n "c": 2}',
        body={"response_format": {"type": "json_object"}},
        known=TRIMS,
        drives=[whole],
    ),
    "another tail, and a stop string that ends over the old one": Case(
        [cut_round("one.\n"), cut_round(". Two"), last_round("\ntwo")],
        "one.\ntwo",
        body={"stop": ["\n. T"]},
        known=TRIMS,
        drives=[whole],
    ),
    "another tail of the caller's own beginning": Case(
        [cut_round("Own.\n"), cut_round("! More"), last_round("\nmore")],
        "Own.\nmore",
        body={"messages": [USER, {"role": "assistant", "content": "Own.\n", "prefix": True}]},
        known={**TRIMS, "provider": "mistral"},
        drives=[whole],
    ),
    "a tail that is as long as a round: the next one is shorter, to end before the newline": Case(
        [cut_round('one"},\n'), cut_round('"},\n'), cut_round('"},'), last_round("\ntwo")],
        'one"},\ntwo',
        known=TRIMS,
        sent_back=["one", "one", 'one"},'],
    ),
    "a tail that is longer than a round": Case(
        [cut_round('one"},\n'), cut_round('"'), cut_round("},"), last_round("\ntwo")],
        'one"},\ntwo',
        known=TRIMS,
        sent_back=["one", 'one"', 'one"},'],
    ),
    "vercel/ai #3466: white space from the third round on": Case(
        [cut_round("one "), cut_round(" two\n"), cut_round("\n  "), cut_round("  three ", "\n"), last_round("four")],
        "one two\n\n  three \nfour",
        sent_back=["one", "one two\n", "one two\n\n", "one two\n\n  three \n"],
    ),
    "transformers #34253: newlines that mean something": Case(
        [cut_round("def f():\n\n"), last_round("    return 1")], "def f():\n\n    return 1", sent_back=["def f():\n\n"]
    ),
    **{
        f"vllm #9547, transformers #34214, autogen #6168, langchain #35073: refused for blanks, {row}": Case(
            [cut_round("one \t "), last_round(echo + " two")], "one \t two", known={"provider": row}, sent_back=["one"]
        )
        for row, echo in (("deepinfra", ""), ("vllm", ""), ("mistral", "one"))
    },
    "opencrabs #1737: a continuation of one character": Case(
        [cut_round("```\ncode\n``"), last_round("`")], "```\ncode\n```"
    ),
}


@cases(SEAMS)
def test_seams(case: Case, drive: Drive) -> None:
    """What is held back comes again once, and what goes back ends in no blank."""
    case.check(drive)


def test_what_the_seams_report_says() -> None:
    """What was held back, cut and dropped is in the report, and none of it in the text."""
    for drive in DRIVES:
        answer = drive(Script(cut_round("one  "), cut_round("  two\ufffd"), last_round("é")))

        assert answer.ending == ("one  twoé", "stop", "stop")
        assert [round_["seam"] for round_ in answer.rounds] == [
            None,
            {"held_back": 2, "cut": 0, "dropped": 2},
            {"held_back": 0, "cut": 1, "dropped": 0},
        ]


@pytest.mark.parametrize(
    ("model", "trims"),
    [
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", True),
        ("llama3.3", True),
        ("meta-llama/Meta-Llama-3-8B-Instruct", True),
        ("zai-org/GLM-4.5-Air", True),
        ("Qwen/Qwen3.6-27B", True),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", False),
        ("zai-org/GLM-4.6", True),
        ("Qwen/Qwen3.5-4B", True),
        ("Qwen/Qwen3-235B-A22B", False),
        ("deepseek-ai/DeepSeek-R1", False),
        ("a-model-nobody-knows", True),
        (None, True),
    ],
)
def test_trimming_families(model: str | None, trims: bool) -> None:
    """Which templates keep the message is known by model family; an unknown one may trim it. ``True`` wins."""
    for setting, expected in ((None, trims), (True, True), (False, trims)):
        server = Script(cut_round("one\n"), last_round("\ntwo" if expected else "two"))
        answer = whole(server, ask(model=model), trims=setting)

        assert ("one\ntwo", ["one" if expected else "one\n"]) == (answer.text, server.sent_back)


# Each kind of server, with every cut that there is.


#: The temperature matters only where punctuation is held back.
AT_TEMPERATURES = [(name, temperature) for name, kind in SERVERS.items() for temperature in (0, 1)[: 1 + kind.bare]]


@drives
@pytest.mark.parametrize(("name", "temperature"), AT_TEMPERATURES)
@pytest.mark.spread(4)
def test_every_cut(name: str, temperature: int, drive: Drive) -> None:
    """Whatever a server does at the seam and wherever the seams are, the text comes out as it was."""
    kind = SERVERS[name]
    body = kind.ask(temperature=temperature)
    for text in AWKWARD:
        expected = Engine(text, habits=kind.habits).uncapped(body)
        for cap in (1, 2, 3, 5, 8):
            # Under a cap of one, a U+FFFD of the model's looks like a character that is cut again and again.
            if cap < kind.least or (cap == 1 and "\ufffd" in text):
                continue
            engine = Engine(text, habits=kind.habits, cap=kind.pattern(cap))
            answer = drive(engine, body, max_rounds=200, **kind.known)
            if answer.stopped_by == "empty" and expected.text == answer.text:
                # The cap fell just before the end token, and nothing shows that the text ends here.
                assert not may_end(answer.text), (text, cap)
            elif answer.stopped_by == "empty" and kind.bare:
                # A round of only white space, which is not sent back, and so is all that comes each time.
                assert text.startswith(answer.text), (text, cap)
            else:
                assert (expected.text, expected.thoughts) == (answer.text, answer.thoughts), (text, cap)
                assert (answer.finish_reason, engine.derailed) == ("stop", 0), (text, cap)


PEERS = {
    "opencrabs #956: an echoed tail taken for the end": (
        "It began in the old town, where nobody had been for years, and it ended there as well. So it was.",
        "mistral",
    ),
    "qwen-code #3966: tables and prose came twice": (
        ("First:\n\n" + (table := "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 6)) + f"\nThen the same:\n\n{table}\nEnd.",
        "deepinfra",
    ),
    **{
        f"hermes #78577, #23696, #60928: words were glued, {name}": (
            "See index.html\n\nReview it. PMC\n\nDC waiting\n<MEDIA:a.png>\n<MEDIA:b.png> Done.",
            name,
        )
        for name in ("deepinfra", "trims")
    },
    **{
        f"text-generation-webui #1545, SillyTavern #4549, vercel/ai #3112: blanks, {name}": (
            "that was you're in the store. Mary has 3  apples,\tand\ta  pear . So",
            name,
        )
        for name in ("deepinfra", "trims")
    },
}


@drives
@pytest.mark.parametrize(("text", "name"), PEERS.values(), ids=PEERS)
def test_texts_of_peers(text: str, name: str, drive: Drive) -> None:
    """Texts that others lost, doubled or glued come out as they were, at any cap and temperature."""
    kind = SERVERS[name]
    for cap in (1, 2, 3, 7, 20):
        for temperature in (0, 1):
            engine = Engine(text, habits=kind.habits, cap=cap)
            answer = drive(engine, kind.ask(temperature=temperature), max_rounds=999, **kind.known)

            assert text == answer.text or (cap < 3 and answer.stopped_by == "empty" and text.startswith(answer.text))


@given(st.text(alphabet="a .,\n\t{}é🦊", min_size=1, max_size=40), st.integers(1, 6), st.booleans())
def test_any_text(text: str, cap: int, trims: bool) -> None:
    """Any text with something in it comes out as it was."""
    text = f"a{text}z"
    answer = whole(Engine(text, habits=Habits(trims=trims), cap=cap), max_rounds=200, trims=trims)

    assert text == answer.text or (answer.stopped_by == "empty" and text.startswith(answer.text))
