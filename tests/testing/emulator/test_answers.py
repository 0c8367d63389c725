"""What DeepInfra answers: its cap, prefills, errors, and the form of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.tokens import count
from openai_continue.testing.emulator.vocabulary import END, ids_of
from tests.testing.emulator.asking import (
    BODY,
    CLIENT,
    ask,
    by_hand,
    chunks_of,
    post,
    prefilled,
    streamed_or_not,
    text_of,
)

TEXT = "one two three"
TOOL = {"type": "function", "function": {"name": "save", "parameters": {}}}


@streamed_or_not
@pytest.mark.parametrize(
    ("caps", "given"),
    [
        ((1, 2, 3, 7, 50, 99, 100, 101, 16_384), {"tokens": 100}),
        ((1, 3, 40, 44, 70), {"tokens": 60, "habits": Habits(thinks="inline")}),
        ((2,), {"text": "one two three "}),
        ((2,), {"text": lambda body, choice: f"{body['messages'][-1]['content']} says {choice}"}),
        ((4,), {"tokens": 300, "habits": Habits(cut_characters="dropped")}),
    ],
    ids=["plain", "inline thoughts", "a text", "a function", "cut characters"],
)
@pytest.mark.spread(2)
def test_rounds_by_hand_give_the_uncapped_text(caps: Any, given: dict[str, Any], stream: bool) -> None:
    """At every cap, sending back what came gives the text that one answer would have."""
    for cap in caps:
        with Emulator(cap=cap, **given) as emulator:
            text, rounds = by_hand(emulator, stream=stream)

            assert text == emulator.uncapped(BODY)
            assert emulator.derailed == 0
            if emulator.habits.cut_characters is None:
                written = emulator.tokens_of(BODY) + 1
                assert rounds == -(-written // cap)
                assert sum(logged.completion_tokens for logged in emulator.requests) == written


@pytest.mark.parametrize(
    ("content", "rest", "finish"),
    [
        ("", TEXT, "stop"),
        (None, TEXT, "stop"),
        ("one tw", "o three", "stop"),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": " tw"}], "o three", "stop"),
        (TEXT, "", "stop"),
        ("one tW", "⟦derailed: the prompt ends in a text that this model did not write⟧", "stop"),
    ],
)
def test_prefill(content: Any, rest: str, finish: str) -> None:
    """A beginning of the text is continued, inside a token too. A text of someone else is answered unmistakably."""
    with Emulator(text=TEXT) as emulator:
        assert ask(emulator, messages=prefilled(content)) == (rest, finish)
        assert emulator.requests[0].completion_tokens == count(rest) + 1
        assert emulator.derailed == ("derailed" in rest)


def test_lengths(plain: Emulator) -> None:
    """The end token counts. The cap is silent, and the other name of the limit is not read."""
    hundred = [{"role": "user", "content": "Write 1_00 tokens."}]
    rows: list[tuple[dict[str, Any], int, str]] = [
        ({"messages": hundred, "max_tokens": 100}, 100, "length"),
        ({"messages": hundred, "max_tokens": 101}, 101, "stop"),
        ({"max_tokens": 5000}, 300, "length"),
        ({"max_tokens": None}, 300, "length"),
        ({"max_completion_tokens": 10}, 300, "length"),
        ({"max_tokens": 10}, 10, "length"),
    ]
    answers = [post(plain, **fields).json() for fields, *_ in rows]

    found = [(one["usage"]["completion_tokens"], one["choices"][0]["finish_reason"]) for one in answers]
    assert found == [(tokens, finish) for _, tokens, finish in rows]
    assert answers[0]["choices"][0]["message"] == answers[1]["choices"][0]["message"]
    assert plain.tokens_of({**BODY, "max_tokens": 400}) == 400


@pytest.mark.parametrize(
    ("fields", "status", "where"),
    [
        ({"messages": []}, 422, ["body", "messages"]),
        ({"messages": "hello"}, 422, ["body", "messages"]),
        ({"messages": [{}]}, 422, ["body", "messages", 0, "role"]),
        ({"messages": [{"role": "user", "content": 1}]}, 422, ["body", "messages", 0, "content"]),
        ({"messages": None}, 422, ["body", "messages"]),
        ({"model": None}, 422, ["body", "model"]),
        ({"max_tokens": "many"}, 422, ["body", "max_tokens"]),
        ({"max_tokens": 2_000_000}, 422, ["body", "max_tokens"]),
        ({"n": 5}, 422, ["body", "n"]),
        ({"n": 0}, 422, ["body", "n"]),
        ({"stop": ["x"] * 17}, 422, ["body", "stop"]),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"continuation": False}, 400, "continuation"),
        ({"some_field": {"of": "another server"}}, 200, None),
    ],
)
def test_validation(plain: Emulator, fields: dict[str, Any], status: int, where: Any) -> None:
    """Wrong bodies are refused. Unknown fields are not, but the library's own must never arrive."""
    response = post(plain, **fields)

    assert response.status_code == status
    if status == 422:
        assert response.json()["detail"][0]["loc"] == where
    if status == 400:
        assert response.json()["error"]["param"] == where


@pytest.mark.parametrize("content", [b"{", b"[]", b""])
def test_validation_of_json(plain: Emulator, content: bytes) -> None:
    """A body that is no JSON object is a 422."""
    assert CLIENT.post(f"{plain.base_url}/chat/completions", content=content).status_code == 422


def test_overflow() -> None:
    """Prompt and limit beyond the context are a 400, and in a stream HTTP 200 with a frame that is no chunk."""
    with Emulator(context=2000) as emulator:
        whole = post(emulator, max_tokens=1995)
        streamed = post(emulator, max_tokens=1995, stream=True)

        error = whole.json()["error"]
        assert "you requested 1995 output tokens and your prompt contains at least 6 input" in error["message"]
        assert (whole.status_code, error["param"], streamed.status_code) == (400, "input_tokens", 200)
        frame, end = streamed.text.split("\n\n")
        assert end == ""
        assert json.loads(frame[6:])["error_type"] == "validation_error"
        assert json.loads(json.loads(frame[6:])["error_message"]) == whole.json()
        assert "cannot be greater than max_model_len" in post(emulator, max_tokens=3000).json()["error"]["message"]


def test_context_ends_the_answer() -> None:
    """Without a limit the answer fills the context, and nothing can follow."""
    with Emulator(context=500) as emulator:
        response = post(emulator).json()
        text = response["choices"][0]["message"]["content"]

        assert (response["choices"][0]["finish_reason"], response["usage"]["total_tokens"]) == ("length", 500)
        assert "must be at least 1, got 0" in post(emulator, messages=prefilled(text)).text
        assert "exceeds this limit even without any output" in post(emulator, messages=prefilled(text + " more")).text


def test_choices(plain: Emulator) -> None:
    """Each choice has its own text, and each is continued from its own beginning."""
    whole = post(plain, n=3, max_tokens=20).json()
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    chunks = chunks_of(post(plain, n=3, max_tokens=20, stream=True))
    streamed = ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        streamed[choice["index"]] += choice["delta"].get("content") or ""

    assert texts == streamed
    assert len(set(texts)) == 3
    assert whole["usage"]["completion_tokens"] == 60
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    for index, text in enumerate(texts):
        assert plain.uncapped(BODY, index).startswith(text + text_of(plain, messages=prefilled(text)))


@streamed_or_not
def test_stop_strings(stream: bool) -> None:
    """A stop string ends the text before it. One that begins in the prefill is not seen."""
    with Emulator(text="alpha beta gamma delta", cap=100) as emulator:
        assert ask(emulator, stop="gam", stream=stream) == ("alpha beta ", "stop")
        assert emulator.requests[-1].completion_tokens == count("alpha beta gamma")
        assert ask(emulator, stop=["delta", "beta"], stream=stream) == ("alpha ", "stop")
        assert ask(emulator, stop="beta", stream=stream, messages=prefilled("alpha b")) == ("eta gamma delta", "stop")
        assert emulator.uncapped({**BODY, "stop": "gam"}) == "alpha beta "


@streamed_or_not
@pytest.mark.parametrize("field", ["include_stop_str_in_output", "no_stop_trim"])
def test_stop_string_that_stays(field: Any, stream: bool) -> None:
    """The field that the server reads leaves the stop string in the text; it ignores any other."""
    with Emulator(text="alpha beta gamma delta", cap=100, habits=Habits(keeps_stops=field)) as emulator:
        assert ask(emulator, stop="gam", stream=stream, **{field: True}) == ("alpha beta gam", "stop")
        assert ask(emulator, stop="gam", stream=stream, **{field: False}) == ("alpha beta ", "stop")
        assert emulator.uncapped({**BODY, "stop": "gam", field: True}) == "alpha beta gam"
    with Emulator(text="alpha beta gamma delta", cap=100) as emulator:
        assert ask(emulator, stop="gam", stream=stream, **{field: True}) == ("alpha beta ", "stop")


@streamed_or_not
def test_half_stop_string_is_hidden(stream: bool) -> None:
    """A stream waits for the rest of a stop string, and the token limit cuts off what it waits with."""
    with Emulator(text="alpha beta gamma delta", cap=100, habits=Habits(hides_half_stops=True)) as emulator:
        cut = "alpha" if stream else "alpha beta gamma"
        assert ask(emulator, stop=" beta gamma x", stream=stream, max_tokens=3) == (cut, "length")
        assert ask(emulator, stop=" beta gamma x", stream=stream, max_tokens=4) == ("alpha beta gamma delta", "length")
        assert ask(emulator, stop=" beta gamma x", stream=stream) == ("alpha beta gamma delta", "stop")


@streamed_or_not
@pytest.mark.parametrize(("field", "ended"), [("stop_reason", None), ("matched_stop", ids_of([END])[0])])
def test_name_of_the_stop_string(field: Any, ended: Any, stream: bool) -> None:
    """A choice names the stop string that ended it."""
    for fields, expected in (({"stop": "gam"}, "gam"), ({"max_tokens": 2}, None), ({}, ended)):
        with Emulator(text="alpha beta gamma delta", habits=Habits(names_stop=field)) as emulator:
            response = post(emulator, stream=stream, **fields)
            bodies = chunks_of(response) if stream else [response.json()]
            (item,) = [one for body in bodies for one in body["choices"] if one["finish_reason"]]

        assert item[field] == expected
        assert [one for body in bodies for one in body["choices"] if one is not item and field in one] == []


@pytest.mark.parametrize("cut", [None, "dropped"])
def test_logprobs(cut: Any) -> None:
    """Whole and streamed, each token has an entry, also one at the end that shows no text. Their bytes make up the text."""
    with Emulator(habits=Habits(cut_characters=cut)) as emulator:
        fields: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "max_tokens": 425}
        choice = post(emulator, **fields).json()["choices"][0]
        chunks = chunks_of(post(emulator, **fields, stream=True))
        parts = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
        entries = choice["logprobs"]["content"]

        assert len(entries) == 425
        assert [entry for part in parts for entry in part["content"]] == entries
        written = bytes(byte for entry in entries for byte in entry["bytes"])
        assert written.decode("utf-8", "ignore") == choice["message"]["content"]
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
        assert entries[-1]["token"].startswith("bytes:") == (cut is not None)


def test_form(plain: Emulator) -> None:
    """Answers have the model asked for, and ids of their own. A stream begins with the role and ends with usage."""
    first, second = post(plain, max_tokens=5), post(plain, max_tokens=5)
    chunks = chunks_of(post(plain, max_tokens=5, stream=True))

    assert (first.json()["model"], first.json()["object"]) == ("m", "chat.completion")
    assert first.json()["id"] != second.json()["id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.json()["usage"]["estimated_cost"] > 0
    assert len(chunks) == 7
    assert {(chunk["object"], chunk["id"]) for chunk in chunks} == {("chat.completion.chunk", chunks[0]["id"])}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]) == ("length", 5)


def test_cached_tokens() -> None:
    """A conversation that was in an earlier prompt counts as cached."""
    with Emulator(cap=10) as emulator:
        first = post(emulator).json()
        second = post(emulator, messages=prefilled(first["choices"][0]["message"]["content"])).json()

        assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == first["usage"]["prompt_tokens"]


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("cap", [20, 200])
def test_tool_calls(cap: int, text_first: bool) -> None:
    """A tool call comes alone or after a text, whole and streamed alike, and may be cut in its arguments."""
    words = "Write 10 tokens, then call the tool." if text_first else "To save 50 tokens, call the tool."
    body: Any = {"messages": [{"role": "user", "content": words}], "tools": [TOOL]}
    with (
        Emulator(cap=cap + (20 if text_first else 0)) as emulator,
        OpenAI(base_url=emulator.base_url, api_key="key") as client,
    ):
        choice = post(emulator, **body).json()["choices"][0]
        with client.chat.completions.stream(model="m", **body) as stream:
            streamed = [event for event in stream if event.type == "chunk"][-1].snapshot.choices[0]
        (call,), (streamed_call,) = choice["message"]["tool_calls"], streamed.message.tool_calls or []

        assert choice["finish_reason"] == streamed.finish_reason == ("length" if cap == 20 else "tool_calls")
        assert call["id"] == streamed_call.id
        assert call["function"]["arguments"] == streamed_call.function.arguments
        assert call["function"]["name"] == "save"
        assert emulator.uncapped_arguments(body).startswith(call["function"]["arguments"])
        assert json.loads(emulator.uncapped_arguments(body))
        assert count(emulator.uncapped_arguments(body)) == (40 if text_first else 50)
        assert bool(choice["message"]["content"]) == bool(emulator.uncapped(body)) == text_first


def test_tool_call_follows_a_continued_text() -> None:
    """The call comes in the round in which the text ends, and no second one after its result."""
    question = {"role": "user", "content": "Write 50 tokens, then call the tool."}
    with Emulator(cap=300) as emulator:
        text = emulator.uncapped({"messages": [question], "tools": [TOOL]})
        for cut in (10, len(text)):
            messages = [question, {"role": "assistant", "content": text[:cut]}]
            choice = post(emulator, messages=messages, tools=[TOOL]).json()["choices"][0]
            assert (choice["message"]["content"] or "") == text[cut:]
            assert choice["finish_reason"] == "tool_calls"
        after_result = post(emulator, messages=[question, {"role": "tool", "content": "Saved."}], tools=[TOOL]).json()
        assert after_result["choices"][0]["finish_reason"] == "stop"
