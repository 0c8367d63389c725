"""What tells a new turn from a continuation, and how much each sign weighs."""

from __future__ import annotations

import pytest

from openai_continue._core.text.evidence import CERTAIN, ENOUGH, ENOUGH_IF_KNOWN, GOES_ON, Evidence, Weight
from tests.support.cases import Case, cases, length
from tests.support.driving import DRIVES, Drive, drives, whole
from tests.support.script import Script, cut_round, last_round, usage

START = "The answer has a beginning that no other part of it resembles: not even this.\n"
LINES = "It begins here, with a line of its own.\nThen the second line follows it, as lines do.\nAnd the third"
CLOSED = START * 2 + "More follows, and more, and more again, until there is enough of it.\n"
FILE = "def first(self):\n    return self.value of it and more\n\n\ndef second(self):\n    return self.other\n\n\ndef third"

#: The text that was sent, what comes then, and the points.
TEXTS: list[tuple[str, str, int]] = [
    # Names with a hump, and signs within a line, are no new turn.
    *(
        (before, new, 0)
        for before, new in (
            ("The service is written in C", "# and runs on Linux"),
            ("the size is 2", "**N - 1 bytes"),
            ("self.get", "Value is fine here"),
            ("First of all, Lang", "Chain has many users and"),
            ("the Java", "Script runtime is fast and"),
            ("Git", "Hub is where the code lives"),
            ("You", "Tube has the most of"),
            ("Linked", "In is where"),
            ("Mac", "Book is what they"),
            ("Mc", "Donald was the"),
            ("De", "Niro was the best"),
            ("Deep", "Infra is a cloud that"),
            ("i", "Phone was the first of"),
            ("raise Value", "Error if the value is bad and"),
            ("except Key", "Error as e:"),
            ("http.Status", "OK, gin.H{"),
            ("All", "InOne is what"),
            ("a title in F", "# minor and"),
            ("an ite", "- 3 of them and"),
            ("the word", "<br>and the next"),
            ("in the year 19", "84 it was"),
            ("say", "Hello(name) and then"),
            ("def get", "The_value(self)"),
            ("getName is not good. sun", "The day is long"),
            ("x = 'a\\n", "The line is long"),
            ("the range is 1,", "2,3,4"),
            ("make", "Sure(x) of it"),
            ("one ", "The other is here"),
            ("one.", "The other is here"),
            ("one.", "Sure, here it is"),
            ("| a | b", "| c | d"),
            ("", "The answer"),
        )
    ),
    # What no new turn begins with, after open text.
    *(
        ("as it was", new, GOES_ON)
        for new in (" and then", "\n\nThe end", ", and", ".", ")", "’s", "\n\n" + START, "\n# Title", " Sure, here is")
    ),
    # Earlier text again, directly after open text.
    (START + "and the mor", START, CERTAIN),
    (START + "and the mor", "The answer has a beginning", 4),
    (START + "and the MOR", "The answer has a begin", 0),
    (LINES, "Then the second line follows it, as lines do", CERTAIN),
    (LINES, "Then the second line foll", 4),
    (LINES, "Then the second line fo ", 0),
    (LINES + " line goes on and on and", "And the third line goes on", 4),
    (FILE, "def second(self):\n    return", CERTAIN - 2),
    # Blanks show that it is text: equal rows of numbers have none.
    ("0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n0,0,0,", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", 0),
    # After closed text, all of a beginning that nothing resembles.
    (START, START, CERTAIN),
    (CLOSED, CLOSED, 0),
    (CLOSED[len(START) :], CLOSED[len(START) :], CERTAIN),
    ("line\n" * 40, "line\n" * 40, 0),
    # Words, directly after a letter.
    *(
        ("the whale is a", new, 4)
        for new in (
            "I apologize for the interruption",
            "Here's the rest of the text",
            "Here is the continuation",
            "Continuing from where",
            "I'm sorry for the confusion",
        )
    ),
    *(
        ("the whale is a", new, 2)
        for new in (
            "Sure, here is",
            "Certainly! The whale",
            "Thank you for the",
            "Here's what I found",
            "```python\n",
            "<!DOCTYPE html>",
            "The whale is a",
            "However, the whale",
        )
    ),
    ("the `whale``` is a", "```python\n", 0),
    ("the whale is a", "The Whale", 0),
    ("the whale is A", "The whale is", 0),
]  # fmt: skip


@pytest.mark.parametrize(("before", "new", "points"), TEXTS)
def test_points_of_texts(before: str, new: str, points: int) -> None:
    """A text has the points of its strongest sign, however it comes, and waits only while more could be one."""
    evidence = Evidence(before)

    assert points == (evidence.weigh(new) or Weight()).points
    judged = [evidence.weigh(new[:size], ended=False) for size in range(1, len(new) + 1)]
    decided = next((weight for weight in judged if weight is not None), None)
    assert decided in (None, Weight(points, proves=points == GOES_ON))


@pytest.mark.parametrize(
    ("surplus", "new", "points"),
    [
        *((surplus, "And", 3) for surplus in range(5, 13)),
        *((surplus, "And", 1) for surplus in (3, 4)),
        *((surplus, "And", GOES_ON) for surplus in range(-3, 1)),
        *((surplus, "And", 0) for surplus in (-400, -4, 1, 2, 13, 900)),
        (6, "Sure, here", 5),
        (6, " and", GOES_ON),
        (6, ". And", GOES_ON),
        (0, "Sure, here", -4),
        (0, "", GOES_ON),
        (6, "", 0),
        (None, "And", 0),
    ],
)
def test_points_of_counts(surplus: int | None, new: str, points: int) -> None:
    """The server's own count weighs with the text: a closed turn, or a prompt that fits."""
    weight = Evidence("the whale is a").weigh(new, surplus=surplus)

    assert weight is not None
    assert points == weight.points


@pytest.mark.parametrize(
    ("new", "held", "surplus", "proves"),
    [
        (" and", "", None, True),
        (".\nNext", ".\n", None, True),
        ("and", "", -1, True),
        ("and", ".\n", -1, False),
        ("and", "", 1, False),
        ("and", "", None, False),
        ("", "", None, False),
    ],
)
def test_proof(new: str, held: str, surplus: int | None, proves: bool) -> None:
    """Whitespace after a word, what was held back, or a count that fits, proves that the server went on."""
    weight = Evidence("the whale is a").weigh(new, held=held, surplus=surplus)

    assert weight is not None
    assert proves == weight.proves


def test_waits_of_a_stream() -> None:
    """A stream waits while the text may be a sign, and no longer."""
    evidence = Evidence(LINES)

    assert evidence.weigh("T", ended=False) is None
    assert evidence.weigh("Then the second line follows it", ended=False) is None
    assert evidence.weigh("Then the other", ended=False) == Weight()
    assert evidence.weigh("x", ended=False) == Weight()
    assert evidence.weigh(" x", ended=False) == Weight(GOES_ON, proves=True)
    # Whitespace by itself shows nothing: a new turn may end with it.
    assert evidence.weigh(" ", ended=False) is None
    assert evidence.weigh(" ", ended=True) == Weight()


# Through the rounds of a call.

BEFORE = "The whale is a mammal, and the wha"
#: The row, the usage of both rounds, what the second one brings, and the end. The first one was asked for 20 tokens.
ASKED = {"max_tokens": 20}
ROUND = {"request_limit": "round"}
JUDGED = {
    **{
        f"{row}: {what}": Case(
            [cut_round(BEFORE, usage=usage(10, written)), last_round(new, usage=usage(prompt, 5))],
            BEFORE + new if goes_on else BEFORE,
            "stop" if goes_on else "length",
            "stop" if goes_on else "restart",
            body=ASKED,
            known={**ROUND, "provider": row},
            # A stream has its usage at its end, when the text is out.
            drives=DRIVES if written == 8 or (goes_on and "Sure" not in new) else [whole],
        )
        for row, what, written, prompt, new, goes_on in (
            # The count is the server's own: it was asked for 20 tokens.
            ("ollama", "a closed turn", 20, 36, "They are big.", False),
            ("deepinfra", "a closed turn, on a row that is known", 20, 36, "They are big.", True),
            ("deepinfra", "a closed turn and words", 20, 36, "Sure, they are big.", False),
            ("ollama", "an empty think block of the template", 20, 34, "les are big.", True),
            ("llama.cpp", "an empty think block of the template", 20, 34, "les are big.", True),
            ("ollama", "more tokens of a template than a turn has", 20, 50, "les are big.", True),
            ("ollama", "a gateway that has four tokens for each message", 20, 34, "les are big.", True),
            # Nobody was asked for 8 tokens, so the gateway estimates.
            ("ollama", "a count that is not its own", 8, 22, "les are big.", True),
            ("deepinfra", "a count that is not its own", 8, 22, "les are big.", True),
            ("ollama", "words", 8, 18, "Sure, they are big.", False),
            ("deepinfra", "words, on a row that is known", 8, 18, "Sure, they are big.", True),
            ("deepinfra", "the answer once more", 8, 18, "The whale is a mammal, and the wha", True),
            ("ollama", "the answer once more", 8, 18, "The whale is a mammal, and the wha", False),
            ("ollama", "words of a count that fits", 20, 30, "Sure, they are big.", True),
            ("deepinfra", "an apology", 20, 36, "I apologize for the interruption.", False),
        )
    }
}  # fmt: skip


@cases(JUDGED)
def test_rounds(case: Case, drive: Drive) -> None:
    """A new turn ends the answer at 2 points on a row that nobody knows, and at 5 on one known to continue."""
    case.check(drive)


@drives
def test_late_count(drive: Drive) -> None:
    """A count that comes at the end of a stream ends the answer then; what is out stays."""
    server = Script(cut_round(BEFORE, usage=usage(10, 20)), last_round("They are big.", usage=usage(36, 5)))
    answer = drive(
        server, {"model": "m", "messages": [{"role": "user", "content": "x"}], **ASKED}, provider="ollama", **ROUND
    )

    assert (BEFORE + ("" if drive is whole else "They are big."), "length", "restart") == answer.ending


def test_limits_of_points() -> None:
    """One sign of a text that was seen in public texts ends no answer of a known row."""
    assert (2, 5, 6) == (ENOUGH, ENOUGH_IF_KNOWN, CERTAIN)


NOTHING = {
    **{
        f"{text[-16:]!r} {more}": Case([cut_round(text), last_round()], text, body=more)
        for text, more in (
            ("It ends well.", {}),
            ("It ends well.\n", {}),
            ("It ends well!\n\n", {}),
            ('He said "yes"', {}),
            ("`code`", {}),
            ("- one\n- two\n", {}),
            ("```py\nx = 1\n```", {}),
            ("終わり。", {}),
            ("Bye 🙂", {}),
            ('{"a": 1}', {}),
            ("| a | b |", {}),
            # A stop string may have come next.
            ("It is about the wha", {"stop": ["\n"]}),
        )
    },
    **{
        f"{text[-16:]!r}": Case([cut_round(text), last_round()], **length(text, "empty"))
        for text in (
            "The first chapter is about the wha",
            "The first chapter is about a whale and",
            "It has three parts:\n\n1. Whales\n2. Sharks\n3.",
            "It has three parts:\n- one\n-",
            "It has three parts:",
            "It has three parts:\n",
            "one, two,",
            "f(a, (b",
            "```py\nx = f(1)",
            "```py\nx = f(1)\n",
            "It cost 3",
            "well-",
        )
    },
    **{
        f"only {white!r} after {text!r}": Case([cut_round(text), last_round(white)], *said)
        for white in ("\n", " ", "\n\n")
        for text, said in (
            ("It is about the wha", (f"It is about the wha{white}", "length", "empty")),
            ("It is about whales.", (f"It is about whales.{white}", "stop", "stop")),
        )
    },
    # The server has gone on before, so its end is the model's.
    "after a round that went on": Case([cut_round("one "), cut_round(" two"), last_round()], "one two"),
    "after a count of its own that fits": Case(
        [cut_round(BEFORE, usage=usage(10, 20)), last_round(usage=usage(30, 1))], BEFORE, body=ASKED, known=ROUND
    ),
    "after a count of its own that does not": Case(
        [cut_round(BEFORE, usage=usage(10, 20)), last_round(usage=usage(36, 1))],
        **length(BEFORE, "empty"),
        body=ASKED,
        known=ROUND,
    ),
    "after a document of the format that was asked for": Case(
        [cut_round('```json\n{"a": 1}\n'), last_round()],
        '```json\n{"a": 1}\n',
        body={"response_format": {"type": "json_object"}},
    ),
}


@cases(NOTHING)
def test_end_without_text(case: Case, drive: Drive) -> None:
    """An end that comes at once is believed where the text may end, or where the server is known to go on."""
    case.check(drive)


# Prompts of which the server has not read all.

LONG = "".join(f" w{number}" for number in range(400))
SHORT = {
    **{
        f"{row}: {what}": Case(
            [cut_round(LONG, usage=usage(*first)), last_round(" more", usage=second)],
            **(length(LONG, "context") if lost else {"text": LONG + " more"}),
            known={"provider": row},
            drives=[whole],
        )
        for row, what, first, second, lost in (
            ("ollama", "the question is dropped", (200, 400), usage(400, 5), True),
            ("ollama", "a small question is dropped", (20, 400), usage(400, 5), True),
            ("ollama", "half of the last message", (200, 400), usage(300, 5), True),
            ("deepinfra", "fewer than the first prompt", (900, 400), usage(500, 5), True),
            ("deepinfra", "the question is dropped", (900, 400), usage(400, 5), True),
            ("deepinfra", "a little less", (200, 400), usage(590, 5), False),
            ("ollama", "all of it", (200, 400), usage(600, 5), False),
            ("ollama", "a little less", (200, 400), usage(597, 5), False),
            ("deepinfra", "estimated counts", (200, 300), usage(507, 5), False),
            ("deepinfra", "5 percent more and then less", (210, 420), usage(570, 5), False),
            ("deepinfra", "thoughts that the parser leaves out", (200, 9000), usage(600, 5), False),
            ("deepinfra", "only what was not cached", (900, 400), usage(3, 5), False),
            ("deepinfra", "cached tokens beside", (900, 400), usage(400, 5, prompt_tokens_details={"cached_tokens": 900}), False),
            ("deepinfra", "made-up counts", (200, 400), usage(200, 5), False),
            ("ollama", "made-up counts", (10, 5), usage(10, 5), False),
            ("ollama", "zeros", (0, 0), usage(0, 0), False),
            ("ollama", "no usage", (200, 400), None, False),
        )
    }
}  # fmt: skip


@cases(SHORT)
def test_short_prompts(case: Case, drive: Drive) -> None:
    """A prompt that is clearly shorter than what was sent ends the answer in "context", without the round's text."""
    case.check(drive)


@drives
def test_streams_wait_where_messages_are_dropped(drive: Drive) -> None:
    """On a server that drops messages, no text goes out before the count of its prompt, so none is wrong."""
    lost = Script(cut_round(LONG, usage=usage(20, 400)), cut_round(" astray", usage=usage(300, 200)))
    answer = drive(lost, provider="ollama")
    assert answer.ending == (LONG, "length", "context")

    # Also in a later round, and where the first one has no usage.
    later = Script(
        cut_round(LONG, usage=usage(20, 400)),
        cut_round(LONG, usage=usage(420, 400)),
        cut_round(" astray", usage=usage(500, 200)),
    )
    answer = drive(later, provider="ollama")
    assert answer.ending == (LONG * 2, "length", "context")
    answer = drive(Script(cut_round(LONG, usage=None), cut_round(" astray", usage=usage(150, 200))), provider="ollama")
    assert answer.ending == (LONG, "length", "context")


@drives
def test_prompt_that_the_caller_has_truncated(drive: Drive) -> None:
    """A caller who asks for prompts to be truncated gets no continuation of a prompt that would be."""
    server = Script(cut_round("one", usage=usage(30, 5)), last_round(" two", usage=usage(32, 2)))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "truncate_prompt_tokens": 32}

    assert drive(server, body, provider="vllm").ending == ("one", "length", "context")
