"""
The emulator is the ground truth of other tests, so these drive it with a plain client and know nothing of the library.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import BadRequestError, OpenAI, RateLimitError

from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.texts import document, json_document, thought
from openai_continue.testing.emulator.tokens import count, shown, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASK = {"role": "user", "content": "Write."}
#: The SDK's HTTP library: openai 3.0 went from httpx to httpx2.
http: Any = import_module("httpx" if openai.VERSION < "3" else "httpx2")
# One for all, because making a client takes longer than most of these tests.
CLIENT = http.Client(trust_env=False, timeout=20)
AWKWARD = "".join(document(f"key {number}", 900) for number in range(3))


def post(emulator: Emulator, **fields: Any) -> Any:
    body = {"model": "m", "messages": [ASK], **fields}
    return CLIENT.post(f"{emulator.base_url}/chat/completions", json=body)


def chunks_of(response: Any) -> list[dict[str, Any]]:
    lines = [line[6:] for line in response.content.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def ask(emulator: Emulator, *, stream: bool = False, field: str = "content", **fields: Any) -> tuple[str | None, str]:
    """Give text and finish reason of the first choice."""
    response = post(emulator, stream=stream, **fields)
    assert response.status_code == 200, response.text
    if not stream:
        choice = response.json()["choices"][0]
        return choice["message"].get(field), choice["finish_reason"]
    choices = [choice for chunk in chunks_of(response) for choice in chunk["choices"] if choice["index"] == 0]
    pieces = [choice["delta"][field] for choice in choices if choice["delta"].get(field)]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(ends) == 1
    return "".join(pieces) if pieces else None, ends[0]


@pytest.fixture(scope="module", autouse=True)
def close_client() -> Iterator[None]:
    yield
    CLIENT.close()


def prefilled(text: str, **marks: Any) -> list[dict[str, Any]]:
    return [ASK, {"role": "assistant", "content": text, **marks}]


def by_hand(emulator: Emulator, *, stream: bool, marks: dict[str, Any] | None = None, **fields: Any) -> tuple[str, int]:
    """Continue as the documentation says: send back what came, join what comes."""
    text, rounds = "", 0
    while True:
        rounds += 1
        messages = prefilled(text, **(marks or {})) if text else [ASK]
        piece, finish = ask(emulator, stream=stream, messages=messages, **fields)
        text += piece or ""
        if finish != "length":
            return text, rounds
        assert rounds < 200


@pytest.fixture(scope="module")
def plain() -> Iterator[Emulator]:
    with Emulator(cap=300, tokens=1000) as emulator:
        yield emulator


@pytest.mark.parametrize("name", ["Emulator", "Fault", "Habits", "Logged"])
def test_public_names(name: str) -> None:
    """Each public name is importable, though imported late."""
    import openai_continue.testing

    assert name in dir(openai_continue.testing)
    assert getattr(openai_continue.testing, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = openai_continue.testing.nothing  # type: ignore[attr-defined]


@given(
    st.one_of(st.text(), st.text(alphabet="aB é\u0301日カ한👩\u200d🏽 \t\n\r'.,}{0_<think>/²")),
    st.booleans(),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_tokens_left_to_right(text: str, byte_fallback: bool, data: st.DataObject) -> None:
    """Tokens make up the text, and the text behind any of their boundaries has the rest of the tokens."""
    tokens = tokenize(text, byte_fallback=byte_fallback)
    cut = data.draw(st.integers(0, len(tokens)))

    assert b"".join(tokens).decode("utf-8", "surrogatepass") == text
    if byte_fallback:
        assert "".join(shown(tokens)) == text
    else:
        assert count(text) == len(tokens)
        rest = b"".join(tokens[cut:]).decode("utf-8", "surrogatepass")
        assert tokenize(rest) == tokens[cut:]


def test_tokens_of_document_at_every_boundary() -> None:
    """The awkward text too may be cut at any boundary."""
    text = document("cuts", 700)
    tokens = tokenize(text)

    for cut in range(len(tokens)):
        assert tokenize(b"".join(tokens[cut:]).decode()) == tokens[cut:]


def test_tokens_are_realistic() -> None:
    """English has three to five characters a token, Chinese one or two."""
    english = "The quick brown fox doesn't jump over the lazy dog; the extraordinary conversation continues. " * 5

    assert 3 < len(english) / count(english) < 5.5
    assert 1 < len("天地玄黄宇宙洪荒") / count("天地玄黄宇宙洪荒") <= 2


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 65, 66, 67, 500, 20_000])
def test_texts_have_the_wished_length(size: int, byte_fallback: bool) -> None:
    """Documents and thoughts are as long as wished, to the token, and do not end in white space."""
    for write in (document, thought):
        text = write("length", size, byte_fallback=byte_fallback)
        assert len(tokenize(text, byte_fallback=byte_fallback)) == size
        assert text == text.rstrip()


@pytest.mark.parametrize("size", [1, 50, 100, 101, 102, 103, 5000])
def test_json_documents(size: int) -> None:
    """JSON documents are valid, and as long as wished if that is possible."""
    text = json_document("length", size)

    assert set(json.loads(text)) == {"title", "items", "check"}
    assert len(tokenize(text)) == max(size, len(tokenize(json_document("length", 1))))


@pytest.mark.parametrize(
    "what",
    [
        *(
            "\n## ",
            "**",
            "| № |",
            "|---|",
            "```python\n",
            "    return   {",
            "\t\t",
            "\r\n",
            "\n\n\n\n",
            "  \n",
            "}\n}\n}",
        ),
        *("0, 0, 0,", "…", "“quoted”", "don't", "日本語", "カタカナ", "한국어", "السلامُ", "क्षत्रिय", "\u00a0", "\u200d"),
        *("👩‍👩‍👧‍👦", "🇨🇦", "👍🏽", "1️⃣", "𠮷", "...\n...\n...\n", '\\"‘no’\\"', "C:\\\\new", "  \n  "),
    ],
)
def test_text_is_awkward(what: str) -> None:
    """The text has in it what has broken joins."""
    assert what in AWKWARD


def test_text_has_both_normal_forms() -> None:
    """The same accents are there composed and decomposed."""
    composed = "Crème brûlée"

    assert composed in AWKWARD
    assert unicodedata.normalize("NFD", composed) in AWKWARD


def test_texts_part_early(plain: Emulator) -> None:
    """Other prompts, seeds and choices have texts that differ within 20 characters."""
    bodies = [
        {"messages": [{"role": "user", "content": f"Write {n}."}], "seed": seed}
        for n in range(20)
        for seed in (None, 1)
    ]
    starts = [plain.uncapped(body, choice)[:20] for body in bodies for choice in range(4)]

    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cap", [1, 2, 3, 7, 50, 99, 100, 101, 16_384])
def test_rounds_by_hand_give_the_uncapped_text(cap: int, stream: bool) -> None:
    """Whatever the cap, sending back what came leads to the text that one answer would hold."""
    with Emulator(cap=cap, tokens=100) as emulator:
        text, rounds = by_hand(emulator, stream=stream)

        assert text == emulator.uncapped({"messages": [ASK]})
        assert rounds == 101 // cap + (101 % cap > 0)
        assert emulator.tokens_of({"messages": [ASK]}) == 100
        assert sum(logged.completion_tokens for logged in emulator.requests) == 101
        assert emulator.derailed == 0


def test_every_beginning_is_continued(plain: Emulator) -> None:
    """A prefill that ends inside a token is continued as well."""
    whole = plain.uncapped({"messages": [ASK]})

    assert all(plain.uncapped({"messages": prefilled(whole[:cut])}) == whole[cut:] for cut in range(0, len(whole), 7))


def test_prefill_in_parts(plain: Emulator) -> None:
    """A prefill may be a list of text parts."""
    whole = plain.uncapped({"messages": [ASK]})
    parts = [{"type": "text", "text": whole[:5]}, {"type": "text", "text": whole[5:50]}]

    text, _ = ask(plain, messages=[ASK, {"role": "assistant", "content": parts}], max_tokens=9)

    assert text
    assert whole[50:].startswith(text)


@pytest.mark.parametrize("content", ["", None])
def test_empty_prefill_is_a_fresh_turn(plain: Emulator, content: str | None) -> None:
    """An empty trailing assistant message changes nothing."""
    messages = [ASK, {"role": "assistant", "content": content}]

    assert ask(plain, messages=messages) == ask(plain)


def test_whole_text_as_prefill(plain: Emulator) -> None:
    """Behind its end the model has only the end token to write."""
    response = post(plain, messages=prefilled(plain.uncapped({"messages": [ASK]}))).json()

    assert response["choices"][0]["message"]["content"] == ""
    assert response["choices"][0]["finish_reason"] == "stop"
    assert response["usage"]["completion_tokens"] == 1


def test_corrupted_prefill_derails() -> None:
    """A prefill that the model did not write is answered unmistakably."""
    with Emulator() as emulator:
        whole = emulator.uncapped({"messages": [ASK]})
        text, finish = ask(emulator, messages=prefilled(whole[:50] + "\ufffd"))

        assert text
        assert text.startswith("⟦derailed")
        assert (finish, emulator.derailed) == ("stop", 1)


def test_end_token_counts(plain: Emulator) -> None:
    """A text of 100 tokens ends in "length" at a limit of 100, and in "stop" at 101."""
    messages = [{"role": "user", "content": "Write 100 tokens."}]
    short, long = (post(plain, messages=messages, max_tokens=limit).json() for limit in (100, 101))

    assert short["choices"][0]["message"] == long["choices"][0]["message"]
    assert [body["choices"][0]["finish_reason"] for body in (short, long)] == ["length", "stop"]
    assert [body["usage"]["completion_tokens"] for body in (short, long)] == [100, 101]


def test_length_is_read_from_the_prompt(plain: Emulator) -> None:
    """The user may ask for a length in words."""
    body = {"messages": [{"role": "user", "content": "Write 12_345 tokens, please."}]}

    assert plain.tokens_of(body) == 12_345
    assert plain.tokens_of({**body, "max_tokens": 5000}) == 5000


def test_text_given() -> None:
    """A text of one's own may be a string or a function."""
    with Emulator(text="one two three ", cap=2) as emulator:
        assert by_hand(emulator, stream=False)[0] == "one two three "
    with Emulator(
        text=lambda body, choice: f"{body['messages'][-1]['content']} says choice {choice}", cap=2
    ) as emulator:
        assert by_hand(emulator, stream=True)[0] == "Write. says choice 0"


def test_cap_is_silent(plain: Emulator) -> None:
    """A larger limit than the cap is neither refused nor granted; the other name of the limit is not read."""
    for fields in ({"max_tokens": 5000}, {"max_tokens": None}, {"max_completion_tokens": 10}):
        assert post(plain, **fields).json()["usage"]["completion_tokens"] == 300
    assert post(plain, max_tokens=10).json()["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"messages": []}, 422),
        ({"messages": "hello"}, 422),
        ({"messages": [{}]}, 422),
        ({"messages": None}, 422),
        ({"model": None}, 422),
        ({"max_tokens": "many"}, 422),
        ({"max_tokens": 2_000_000}, 422),
        ({"n": 5}, 422),
        ({"n": 0}, 422),
        ({"stop": ["x"] * 17}, 422),
        ({"max_tokens": 0}, 400),
        ({"max_tokens": -1}, 400),
        ({"continuation": False}, 400),
        ({"some_field": {"of": "another server"}}, 200),
    ],
)
def test_validation(plain: Emulator, fields: dict[str, Any], status: int) -> None:
    """Wrong bodies are refused; unknown fields are not, but the library's own must never arrive."""
    response = post(plain, **fields)

    assert response.status_code == status
    if status == 422:
        assert response.json()["detail"][0]["loc"][0] == "body"
    if status == 400:
        assert response.json()["error"]["param"] in {"max_tokens", "continuation"}


@pytest.mark.parametrize("content", [b"{", b"[]", b""])
def test_validation_of_json(plain: Emulator, content: bytes) -> None:
    """What is no JSON object is a 422."""
    assert CLIENT.post(f"{plain.base_url}/chat/completions", content=content).status_code == 422


def test_overflow() -> None:
    """Prompt and limit beyond the context are a 400, and in a stream HTTP 200 with a frame that is no chunk."""
    with Emulator(context=2000) as emulator:
        whole = post(emulator, max_tokens=1995)
        streamed = post(emulator, max_tokens=1995, stream=True)

        assert whole.status_code == 400
        assert (
            "you requested 1995 output tokens and your prompt contains at least 6 input"
            in whole.json()["error"]["message"]
        )
        assert streamed.status_code == 200
        frame, end = streamed.text.split("\n\n")
        assert end == ""
        assert json.loads(frame[6:])["error_type"] == "validation_error"
        assert json.loads(json.loads(frame[6:])["error_message"]) == whole.json()
        assert post(emulator, max_tokens=3000).status_code == 400


def test_context_ends_the_answer() -> None:
    """Without a limit the answer fills the context, and nothing can follow."""
    with Emulator(context=500) as emulator:
        response = post(emulator).json()
        text = response["choices"][0]["message"]["content"]

        assert response["choices"][0]["finish_reason"] == "length"
        assert response["usage"]["total_tokens"] == 500
        assert "must be at least 1, got 0" in post(emulator, messages=prefilled(text)).json()["error"]["message"]
        longer = post(emulator, messages=prefilled(text + " and more"))
        assert "exceeds this limit even without any output tokens" in longer.json()["error"]["message"]


def test_habit_overflow() -> None:
    """An overflowing stream may be a plain 400, or be clamped as in newer vLLM."""
    with Emulator(context=2000, habits=Habits(overflow="400")) as emulator:
        assert post(emulator, max_tokens=1995, stream=True).status_code == 400
    with Emulator(context=500, habits=Habits(overflow="clamp")) as emulator:
        response = post(emulator, max_tokens=499).json()
        assert response["usage"]["total_tokens"] == 500
        prompt = prefilled(response["choices"][0]["message"]["content"])
        assert post(emulator, messages=prompt, stream=True).status_code == 400
        assert post(emulator, max_tokens=501).status_code == 400


def test_choices(plain: Emulator) -> None:
    """Each choice has a text of its own, and each is continued by its own beginning."""
    whole = post(plain, n=3, max_tokens=20).json()
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    chunks = chunks_of(post(plain, n=3, max_tokens=20, stream=True))
    streamed = ["", "", ""]
    for choice in chain.from_iterable(chunk["choices"] for chunk in chunks):
        streamed[choice["index"]] += choice["delta"].get("content") or ""

    assert texts == streamed
    assert len(set(texts)) == 3
    assert whole["usage"]["completion_tokens"] == 60
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    for index, text in enumerate(texts):
        following, _ = ask(plain, messages=prefilled(text))
        assert following
        assert plain.uncapped({"messages": [ASK]}, index).startswith(text + following)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings(stream: bool) -> None:
    """A stop string ends the text before it; one that begins in the prefill is not seen."""
    with Emulator(text="alpha beta gamma delta", cap=100) as emulator:
        assert ask(emulator, stop="gam", stream=stream) == ("alpha beta ", "stop")
        assert emulator.requests[-1].completion_tokens == count("alpha beta gamma")
        assert ask(emulator, stop=["delta", "beta"], stream=stream) == ("alpha ", "stop")
        assert ask(emulator, stop="beta", stream=stream, messages=prefilled("alpha b")) == ("eta gamma delta", "stop")
        assert emulator.uncapped({"messages": [ASK], "stop": "gam"}) == "alpha beta "


@pytest.mark.parametrize("cut", [None, "dropped"])
def test_logprobs(cut: Any) -> None:
    """Whole and streamed, there is an entry for each token, whose bytes make up the text."""
    with Emulator(cap=400, habits=Habits(cut_characters=cut)) as emulator:
        choice = post(emulator, logprobs=True, top_logprobs=2, max_tokens=400).json()["choices"][0]
        chunks = chunks_of(post(emulator, logprobs=True, top_logprobs=2, max_tokens=400, stream=True))
        entries = choice["logprobs"]["content"]
        parts = [each["logprobs"] for chunk in chunks for each in chunk["choices"]]

        assert len(entries) == 400
        assert list(chain.from_iterable(part["content"] for part in parts if part)) == entries
        written = bytes(chain.from_iterable(entry["bytes"] for entry in entries))
        assert written.decode("utf-8", "ignore") == choice["message"]["content"]
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
        assert any(entry["token"].startswith("bytes:") for entry in entries) == (cut is not None)


def test_stream_form(plain: Emulator) -> None:
    """A stream begins with the role, has one id, and ends with the finish reason, usage on the same chunk."""
    chunks = chunks_of(post(plain, max_tokens=5, stream=True))

    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len(chunks) == 7
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert "usage" not in chunks_of(post(plain, max_tokens=5, stream=True, stream_options={"include_usage": False}))[-1]


def test_whole_form(plain: Emulator) -> None:
    """An answer names the model asked for; ids are never the same twice."""
    first, second = post(plain, max_tokens=5), post(plain, max_tokens=5)

    assert first.json()["model"] == "m"
    assert first.json()["id"] != second.json()["id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.json()["usage"]["estimated_cost"] > 0


def test_cached_tokens() -> None:
    """A conversation seen before counts as cached."""
    with Emulator(cap=10) as emulator:
        first = post(emulator).json()
        second = post(emulator, messages=prefilled(first["choices"][0]["message"]["content"])).json()

        assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == first["usage"]["prompt_tokens"]


def test_other_routes(plain: Emulator) -> None:
    """Completions have the addresses that clients use; models and stored completions are there too."""
    root = plain.base_url.removesuffix("/v1/openai")
    body = {"model": "m", "messages": [ASK], "max_tokens": 3}
    paths = ["/v1/chat/completions", "/chat/completions", "/openai/deployments/gpt/chat/completions?api-version=1"]
    for path in paths:
        assert CLIENT.post(root + path, json=body).status_code == 200
    with OpenAI(base_url=plain.base_url, api_key="key") as client:
        assert client.models.list().data
        assert client.chat.completions.list().data == []
        assert client.chat.completions.retrieve("one").id == "one"
        assert client.chat.completions.delete("one").deleted


def test_requests_are_logged() -> None:
    """The log tells body, headers, tokens, and which requests shared a connection."""
    with Emulator(cap=10) as emulator:
        with OpenAI(base_url=emulator.base_url, api_key="key") as client:
            for _ in range(2):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        post(emulator, model=None)

        first, second, third = emulator.requests
        assert (first.number, first.status, first.completion_tokens, first.finish_reason) == (1, 200, 10, "length")
        assert first.body["messages"][0]["content"] == "Hi"
        assert first.headers["authorization"] == "Bearer key"
        assert first.connection == second.connection != third.connection
        assert (third.status, third.finish_reason) == (422, None)
        assert emulator.connections == 2
        emulator.clear()
        assert emulator.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_habit_trims(stream: bool) -> None:
    """A template that trims makes the model write white space again, and the prompt shorter."""
    with Emulator(text="one\n\n\n  two three", cap=300, habits=Habits(trims=True)) as emulator:
        assert ask(emulator, messages=prefilled("one\n\n"), stream=stream) == ("\n\n\n  two three", "stop")
        post(emulator, messages=prefilled("one"))
        assert len({logged.prompt_tokens for logged in emulator.requests}) == 1


@pytest.mark.parametrize(
    ("echo", "stream", "flags", "echoed"),
    [
        ("always", False, {}, True),
        ("always", True, {}, True),
        ("whole", False, {}, True),
        ("whole", True, {}, False),
        ("unflagged", False, {"continue_final_message": True}, True),
        ("unflagged", True, {"continue_final_message": True}, False),
        ("unflagged", True, {}, True),
        (None, False, {}, False),
    ],
)
def test_habit_echo(echo: Any, stream: bool, flags: dict[str, Any], echoed: bool) -> None:
    """Some servers repeat the prefill, some only when whole or when not told that it is one."""
    with Emulator(text="one two three", habits=Habits(echo=echo, echo_pieces=3)) as emulator:
        text, _ = ask(emulator, messages=prefilled("one tw"), stream=stream, **flags)

        assert text == ("one two three" if echoed else "o three")
        assert emulator.requests[-1].completion_tokens == count("o three") + 1
        assert ask(emulator, stream=stream, **flags)[0] == "one two three"


@pytest.mark.parametrize(
    ("marker", "fields", "mark"),
    [
        ("continue_final_message", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("prefix", {}, {"prefix": True}),
        ("partial", {}, {"partial": True}),
    ],
)
def test_habit_marker(marker: Any, fields: dict[str, Any], mark: dict[str, Any]) -> None:
    """A prefill without its mark is a finished turn, and a new one begins."""
    with Emulator(tokens=50, cap=20, habits=Habits(marker=marker)) as emulator:
        text, _ = ask(emulator)
        assert text
        following, _ = ask(emulator, messages=prefilled(text, **mark), **fields)
        unmarked, _ = ask(emulator, messages=prefilled(text))
        assert following
        assert unmarked

        whole = emulator.uncapped({"messages": [ASK]})
        assert whole.startswith(text + following)
        assert unmarked[:20] not in whole
        assert emulator.derailed == 0


def test_habit_marker_of_vllm_is_strict() -> None:
    """The flag needs its counterpart, and an assistant message."""
    with Emulator(habits=Habits(marker="continue_final_message")) as emulator:
        alone = post(emulator, messages=prefilled("x"), continue_final_message=True)
        assert alone.status_code == 400
        assert post(emulator, continue_final_message=True, add_generation_prompt=False).status_code == 200
        assert emulator.derailed == 1


def test_habit_strict_marker() -> None:
    """Mistral refuses a prefill that is not marked."""
    with Emulator(habits=Habits(marker="prefix", strict_marker=True)) as emulator:
        assert "Expected last role User" in post(emulator, messages=prefilled("x")).json()["error"]["message"]


def test_habit_ignores_prefill() -> None:
    """OpenAI answers anew from the beginning."""
    with Emulator(cap=50, habits=Habits(ignores_prefill=True)) as emulator:
        text, _ = ask(emulator)
        assert text
        assert ask(emulator, messages=prefilled(text))[0] == text


def test_habit_refuses_prefill() -> None:
    """Newer Claude models refuse a prefill."""
    with Emulator(habits=Habits(refuses_prefill=True)) as emulator:
        assert "does not support assistant message prefill" in post(emulator, messages=prefilled("x")).text
        assert post(emulator).status_code == 200


def test_habit_limit_field_and_default() -> None:
    """The token limit goes by other names elsewhere, and may be small where none is given."""
    both = {"max_tokens": 7, "max_completion_tokens": 9}
    for field, used in (("max_tokens", 7), ("max_completion_tokens", 9), ("both", 9)):
        with Emulator(habits=Habits(limit_field=field, default_tokens=11)) as emulator:  # type: ignore[arg-type]
            assert post(emulator, **both).json()["usage"]["completion_tokens"] == used
            assert post(emulator).json()["usage"]["completion_tokens"] == 11


@pytest.mark.parametrize(
    ("usage", "options", "where"),
    [
        ("finish", {}, "finish"),
        ("trailing", {}, "behind"),
        ("both", {}, "finish behind"),
        ("asked", {}, ""),
        ("asked", {"stream_options": {"include_usage": True}}, "behind"),
        ("never", {"stream_options": {"include_usage": True}}, ""),
    ],
)
@pytest.mark.parametrize("with_text", [False, True])
def test_habit_usage(usage: Any, options: dict[str, Any], where: str, with_text: bool) -> None:
    """Streams tell usage in several places, and the last text may come with the finish reason."""
    with Emulator(cap=5, habits=Habits(usage=usage, finish_with_text=with_text)) as emulator:
        chunks = chunks_of(post(emulator, stream=True, **options))
        finish = next(chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"])
        behind = [chunk for chunk in chunks if not chunk["choices"]]

        assert ("usage" in finish) == ("finish" in where)
        assert [chunk["usage"]["completion_tokens"] for chunk in behind] == ([5] if "behind" in where else [])
        assert bool(finish["choices"][0]["delta"]) == with_text
        assert ("usage" in post(emulator).json()) == (usage != "never")
        assert ask(emulator, stream=True) == ask(emulator)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("template", ["r1", "qwen3", "raises"])
def test_habit_thinks(template: Any, stream: bool) -> None:
    """A thought comes in its own field, cut or not; a bare answer is continued behind it."""
    habits = Habits(thinks="reasoning_content", template=template)
    with Emulator(tokens=100, cap=80, habits=habits) as emulator:
        body = {"messages": [ASK]}
        whole = emulator.uncapped(body)
        assert ask(emulator, stream=stream, field="reasoning_content", max_tokens=20)[1] == "length"
        assert ask(emulator, stream=stream, max_tokens=20)[0] is None
        assert ask(emulator, stream=stream, field="reasoning_content")[0] == emulator.uncapped_reasoning(body)

        text, _ = ask(emulator, stream=stream)
        assert text
        assert whole.startswith(text)
        following, _ = ask(emulator, stream=stream, messages=prefilled(text))
        assert whole == text + (following or "")
        usage = post(emulator).json()["usage"]
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 40}


def test_habit_thinks_closed_block_in_prefill() -> None:
    """DeepInfra's documented form, a closed think block before the answer, works for R1 and Qwen3."""
    for template in ("r1", "qwen3"):
        with Emulator(habits=Habits(thinks="reasoning", template=template)) as emulator:  # type: ignore[arg-type]
            whole = emulator.uncapped({"messages": [ASK]})
            assert emulator.uncapped({"messages": prefilled("<think>\n\n</think>\n\n" + whole[:50])}) == whole[50:]
            assert emulator.uncapped({"messages": prefilled("<think>\n\n</think>")}) == whole
    with Emulator(habits=Habits(thinks="reasoning", template="raises")) as emulator:
        response = post(emulator, messages=prefilled("<think>\n\n</think>\n\n# "))
        assert "does not appear in the chat after applying" in response.json()["error"]["message"]


def test_habit_thinks_thought_continued() -> None:
    """An open thought goes on inline with R1, in its field with Qwen3, and not the other way round."""
    with Emulator(habits=Habits(thinks="reasoning", template="r1")) as emulator:
        thinking = emulator.uncapped_reasoning({"messages": [ASK]})
        open_block = {"messages": prefilled(f"<think>\n{thinking[:60]}")}
        assert emulator.uncapped_reasoning(open_block) == thinking[60:]
        assert emulator.uncapped(open_block) == emulator.uncapped({"messages": [ASK]})
    with Emulator(habits=Habits(thinks="reasoning", template="qwen3")) as emulator:
        thinking = emulator.uncapped_reasoning({"messages": [ASK]})
        in_field = {"messages": prefilled("", reasoning_content=thinking[:60])}
        assert emulator.uncapped_reasoning(in_field) == thinking[60:]
        assert emulator.uncapped(in_field) == emulator.uncapped({"messages": [ASK]})
        ask(emulator, messages=open_block["messages"])
        assert emulator.derailed == 1
        whole = emulator.uncapped({"messages": [ASK]})
        both = {"messages": prefilled(whole[:30], reasoning_content=thinking)}
        assert emulator.uncapped(both) == whole[30:]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cap", [1, 3, 40, 44, 70])
def test_habit_thinks_inline(cap: int, stream: bool) -> None:
    """With the tags in the content, thought and answer are one text that is continued at every cut."""
    with Emulator(tokens=60, cap=cap, habits=Habits(thinks="inline")) as emulator:
        text, _ = by_hand(emulator, stream=stream)

        assert text == emulator.uncapped({"messages": [ASK]})
        assert text.startswith("<think>\nOkay")
        assert "\n</think>\n\n# " in text
        assert emulator.derailed == 0


@pytest.mark.parametrize(("misfiles", "wrong"), [("whole", [True, False]), ("both", [True, True])])
def test_habit_misfiles(misfiles: Any, wrong: list[bool]) -> None:
    """A continued answer may arrive as reasoning."""
    with Emulator(cap=100, habits=Habits(thinks="reasoning", misfiles=misfiles)) as emulator:
        whole = emulator.uncapped({"messages": [ASK]})
        for stream, expected in zip((False, True), wrong, strict=True):
            content, _ = ask(emulator, stream=stream, messages=prefilled(whole[:40]))
            reasoning, _ = ask(emulator, stream=stream, messages=prefilled(whole[:40]), field="reasoning")
            assert (content is None, reasoning is not None) == (expected, expected)
            assert whole[40:].startswith(content or reasoning or "?")


def test_json_answers() -> None:
    """A document of JSON is continued without its response format, and begun again with it."""
    wanted = {"response_format": {"type": "json_object"}}
    with Emulator(cap=120, tokens=300) as emulator:
        whole = emulator.uncapped({"messages": [ASK], **wanted})
        first, _ = ask(emulator, **wanted)
        assert first
        second, _ = ask(emulator, messages=prefilled(first))
        assert second

        assert json.loads(whole)["items"]
        assert whole.startswith(first + second)
        assert ask(emulator, messages=prefilled(first), **wanted)[0] == first
        assert emulator.derailed == 0
    with Emulator(cap=120, tokens=300, habits=Habits(grammar_follows=True)) as emulator:
        assert ask(emulator, messages=prefilled(first), **wanted)[0] == second
    with Emulator(tokens=300, habits=Habits(chatters_after_json=True)) as emulator:
        assert emulator.uncapped({"messages": prefilled(first)}) == whole[len(first) :] + "\n\nHope this helps!"
        assert emulator.uncapped({"messages": [ASK], **wanted}) == whole


TOOL = {"type": "function", "function": {"name": "save", "parameters": {}}}


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("cap", [20, 200])
def test_tool_calls(cap: int, text_first: bool) -> None:
    """A tool call comes after the text or alone, whole and streamed alike, and may be cut in its arguments."""
    words = "Write 10 tokens, then call the tool." if text_first else "To save 50 tokens, call the tool."
    body = {"messages": [{"role": "user", "content": words}], "tools": [TOOL]}
    with (
        Emulator(cap=cap + (20 if text_first else 0)) as emulator,
        OpenAI(base_url=emulator.base_url, api_key="key") as client,
    ):
        message = post(emulator, **body).json()["choices"][0]
        with client.chat.completions.stream(model="m", **body) as stream:  # type: ignore[arg-type]
            streamed = [event for event in stream if event.type == "chunk"][-1].snapshot.choices[0]
        call = message["message"]["tool_calls"][0]

        assert message["finish_reason"] == streamed.finish_reason == ("length" if cap == 20 else "tool_calls")
        assert streamed.message.tool_calls
        assert streamed.message.tool_calls[0].function.arguments == call["function"]["arguments"]
        assert streamed.message.tool_calls[0].id == call["id"]
        assert call["function"]["name"] == "save"
        arguments = emulator.uncapped_arguments(body)
        assert arguments.startswith(call["function"]["arguments"])
        assert json.loads(arguments)
        assert bool(message["message"]["content"]) == bool(emulator.uncapped(body)) == text_first


def test_tool_call_follows_a_continued_text() -> None:
    """The call comes in the round in which the text ends."""
    body = {"messages": [{"role": "user", "content": "Write 50 tokens, then call the tool."}], "tools": [TOOL]}
    with Emulator(cap=300) as emulator:
        text = emulator.uncapped(body)
        for cut in (10, len(text)):
            messages = [*body["messages"], {"role": "assistant", "content": text[:cut]}]
            choice = post(emulator, messages=messages, tools=[TOOL]).json()["choices"][0]
            assert (choice["message"]["content"] or "") == text[cut:]
            assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("habit", ["dropped", "replaced"])
def test_habit_cut_characters(habit: Any, stream: bool) -> None:
    """A character cut by the limit is left out, or stands as U+FFFD at the end; without it the rounds join."""
    with Emulator(tokens=400, habits=Habits(cut_characters=habit)) as emulator:
        whole = emulator.uncapped({"messages": [ASK]})
        cut = 0
        for limit in (*range(70, 140), *range(250, 262)):
            text, finish = ask(emulator, stream=stream, max_tokens=limit)
            assert finish == "length"
            assert text
            clean = text.rstrip("\ufffd")
            assert whole.startswith(clean)
            assert 0 <= len(text) - len(clean) <= 3
            cut += clean != text
            assert emulator.requests[-1].completion_tokens == limit
        assert (cut > 10) == (habit == "replaced")
        assert emulator.uncapped({"messages": prefilled(whole[:200])}) == whole[200:]
    with Emulator(tokens=300, cap=4, habits=Habits(cut_characters="dropped")) as emulator:
        assert by_hand(emulator, stream=stream)[0] == emulator.uncapped({"messages": [ASK]})


@pytest.mark.parametrize("stream", [False, True])
def test_habits_of_transport(stream: bool) -> None:
    """Comments and compression leave the answer as it is."""
    with Emulator(cap=50) as emulator:
        expected = ask(emulator, stream=stream)
    with Emulator(cap=50, habits=Habits(comments=True, gzip=True)) as emulator:
        assert ask(emulator, stream=stream) == expected
        response = post(emulator, stream=stream)
        assert response.headers["content-encoding"] == "gzip"
        assert (": keep-alive\n\n" in response.text) == stream


def test_request_body_may_be_compressed(plain: Emulator) -> None:
    """DeepInfra takes gzip bodies."""
    content = gzip.compress(json.dumps({"model": "m", "messages": [ASK]}).encode())
    url, headers = f"{plain.base_url}/chat/completions", {"content-encoding": "gzip"}

    assert CLIENT.post(url, content=content, headers=headers).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["429", "500", "503"])
def test_fault_status(kind: Any, stream: bool) -> None:
    """A fault strikes as often as told, and then no more."""
    with Emulator(cap=5, faults=[Fault(kind, round=2, times=2)]) as emulator:
        responses = [post(emulator, stream=stream) for _ in range(4)]

        assert [response.status_code for response in responses] == [200, int(kind), int(kind), 200]
        assert responses[1].headers.get("retry-after") == ("0" if kind == "429" else None)
        assert responses[1].json()["error"]["message"]
        emulator.clear()
        assert [post(emulator).status_code for _ in range(2)] == [200, int(kind)]


def test_fault_on_some_bodies() -> None:
    """A fault may choose its requests by their body."""
    fault = Fault("429", round=lambda body: body["messages"][-1]["role"] == "assistant")
    with (
        Emulator(faults=[fault]) as emulator,
        OpenAI(base_url=emulator.base_url, api_key="key", max_retries=0) as client,
    ):
        messages: Any = prefilled(emulator.uncapped({"messages": [ASK]})[:9])
        client.chat.completions.create(model="m", messages=messages[:1])
        with pytest.raises(RateLimitError):
            client.chat.completions.create(model="m", messages=messages)
        client.chat.completions.create(model="m", messages=messages)


def stream_until_it_breaks(emulator: Emulator) -> tuple[str, str]:
    """Read a stream; give its text and how it ended."""
    raw = b""
    ended = "cleanly"
    body = {"model": "m", "messages": [ASK], "stream": True}
    try:
        with CLIENT.stream("POST", f"{emulator.base_url}/chat/completions", json=body, timeout=0.5) as response:
            for piece in response.iter_raw():
                raw += piece
    except http.ReadTimeout:
        ended = "by timeout"
    except http.TransportError:
        ended = "by reset"
    return raw.decode("utf-8", "ignore"), ended


@pytest.mark.parametrize(
    ("kind", "how", "tail"),
    [
        ("reset", "by reset", '"finish_reason":null}]}\n\n'),
        ("early_end", "cleanly", '"finish_reason":null}]}\n\n'),
        ("hang", "by timeout", '"finish_reason":null}]}\n\n'),
        ("slow", "cleanly", "data: [DONE]\n\n"),
        ("empty", "cleanly", '"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'),
        ("no_choices", "cleanly", '"choices":[]}\n\ndata: [DONE]\n\n'),
        ("null_choices", "cleanly", '"choices":null}\n\ndata: [DONE]\n\n'),
        ("not_json", "cleanly", "</html>\n\n"),
        ("error_frame", "cleanly", '\\"code\\": 500}}"}\n\n'),
        ("error_event", "cleanly", '"code":500}}\n\n'),
        ("no_done", "cleanly", "}}\n\n"),
        ("half_frame", "cleanly", "object"),
    ],
)
def test_fault_in_stream(kind: Any, how: str, tail: str) -> None:
    """Each fault breaks a stream in its own way, after so many tokens."""
    with Emulator(tokens=40, faults=[Fault(kind, after_tokens=7)]) as emulator:
        raw, ended = stream_until_it_breaks(emulator)

        assert ended == how
        assert tail in raw[-200:]
        assert raw.endswith(tail) or kind == "half_frame"
        if kind in {"reset", "early_end", "hang", "error_frame", "error_event", "half_frame"}:
            assert raw.count('"delta":{"content":') - (kind == "half_frame") in {6, 7}
            assert emulator.requests[0].completion_tokens == 7
        assert stream_until_it_breaks(emulator)[0].endswith("data: [DONE]\n\n")
        wait_for(lambda: emulator.running == 0)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", http.TransportError),
        ("early_end", http.RemoteProtocolError),
        ("no_done", http.RemoteProtocolError),
        ("half_frame", http.RemoteProtocolError),
        ("hang", http.ReadTimeout),
    ],
)
def test_fault_in_whole_answer(kind: Any, error: type[Exception]) -> None:
    """Faults of streams have their like in whole answers."""
    with Emulator(tokens=40, faults=[Fault(kind)]) as emulator:
        body = {"model": "m", "messages": [ASK]}
        with pytest.raises(error):
            CLIENT.post(f"{emulator.base_url}/chat/completions", json=body, timeout=0.3)
        assert post(emulator).status_code == 200
        wait_for(lambda: emulator.running == 0)


def test_fault_in_content_of_whole_answer() -> None:
    """An answer may come whole and be of no use."""
    kinds: list[Any] = ["empty", "no_choices", "null_choices", "not_json", "error_frame", "error_event", "slow"]
    with Emulator(tokens=40, faults=[Fault(kind, round=number) for number, kind in enumerate(kinds, 1)]) as emulator:
        answers = dict(zip(kinds, [post(emulator) for _ in kinds], strict=True))

        empty = answers["empty"].json()["choices"][0]
        assert (empty["message"]["content"], empty["finish_reason"]) == ("", "length")
        assert answers["no_choices"].json()["choices"] == []
        assert answers["null_choices"].json()["choices"] is None
        assert answers["not_json"].text.startswith("<html>")
        assert {answers[kind].status_code for kind in ("error_frame", "error_event")} == {500}
        assert answers["slow"].json()["choices"][0]["finish_reason"] == "stop"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
def test_early_close_stops_the_model(stream: bool) -> None:
    """When the client goes, the server writes no more."""
    with Emulator(token_delay=0.01) as emulator:
        url, body = f"{emulator.base_url}/chat/completions", {"model": "m", "messages": [ASK], "stream": stream}
        with contextlib.suppress(http.ReadTimeout), CLIENT.stream("POST", url, json=body, timeout=0.1) as response:
            # An iterator that nobody holds closes its response.
            pieces = response.iter_raw()
            next(pieces)
            assert emulator.running == emulator.open_connections == 1
        wait_for(lambda: emulator.running == emulator.open_connections == 0)
        assert emulator.requests[0].completion_tokens < 50


def test_pace() -> None:
    """A delay per token is kept, and chunks can be larger than a token."""
    with Emulator(tokens=20, token_delay=0.01, chunk_tokens=5) as emulator:
        begin = time.monotonic()
        chunks = chunks_of(post(emulator, stream=True))
        assert 0.15 < time.monotonic() - begin < 5
        assert len(chunks) == 6


def test_hundred_streams_at_once() -> None:
    """Many streams at once all get their own text."""
    with (
        Emulator(tokens=300, token_delay=0.001) as emulator,
        http.Client(trust_env=False, timeout=30, limits=http.Limits(max_connections=None)) as client,
    ):
        together = threading.Barrier(100)

        def read(number: int) -> bool:
            messages = [{"role": "user", "content": f"Write {number}."}]
            together.wait(20)
            body = {"model": "m", "messages": messages, "stream": True}
            chunks = chunks_of(client.post(f"{emulator.base_url}/chat/completions", json=body))
            text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
            return text == emulator.uncapped({"messages": messages})

        with ThreadPoolExecutor(100) as pool:
            assert all(pool.map(read, range(100)))
        assert emulator.connections == 100


def test_stop_with_streams_running(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Stopping is quick and quiet, whatever is going on, and leaves no thread."""
    threads = threading.active_count()
    emulator = Emulator(token_delay=0.01, faults=[Fault("hang", round=2)]).start()
    body = {"model": "m", "messages": [ASK], "stream": True}
    held: list[Any] = []
    with warnings.catch_warnings(), http.Client(trust_env=False) as client:
        warnings.simplefilter("error")
        for _ in range(3):
            request = client.build_request("POST", f"{emulator.base_url}/chat/completions", json=body)
            pieces = client.send(request, stream=True).iter_raw()
            next(pieces)
            held.append(pieces)
        begin = time.monotonic()
        emulator.stop()
        assert time.monotonic() - begin < 3
        for pieces in held:
            pieces.close()
    assert threading.active_count() == threads
    assert [record for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))] == []
    assert capfd.readouterr() == ("", "")
    emulator.stop()


def test_start_twice() -> None:
    """An emulator runs once at a time, and can be started again."""
    emulator = Emulator(tokens=5)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = emulator.base_url
    for _ in range(2):
        with emulator:
            assert post(emulator).status_code == 200
            with pytest.raises(RuntimeError, match="running already"):
                emulator.start()


def test_sdk_reads_errors() -> None:
    """The SDK takes the 400 for what it is."""
    with Emulator(context=100) as emulator, OpenAI(base_url=emulator.base_url, api_key="key") as client:
        with pytest.raises(BadRequestError) as caught:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], max_tokens=100)
        assert caught.value.param == "input_tokens"
