"""Logprobs over all rounds spell the text."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue._core.codec.text_shape import raw_as_chat
from openai_continue._core.text.logprobs import add_logprobs, are_fixed, logprobs_of
from openai_continue.testing import Habits
from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import Drive, drives
from tests.support.engine import Engine
from tests.support.script import Script, cut
from tests.support.servers import SERVERS, Kind


def token(written: bytes) -> dict[str, Any]:
    return {"token": written.decode(errors="replace"), "bytes": list(written), "logprob": -1.0, "top_logprobs": []}


@pytest.mark.parametrize(
    ("tokens", "text", "start", "end", "kept"),
    [
        ([b"ab", b"cd"], "abcd", 0, 4, [b"ab", b"cd"]),
        ([b"ab", b"cd"], "abcd", 1, 3, [b"b", b"c"]),
        ([b"ab", b"\xe6\x97"], "ab", 0, 2, [b"ab"]),
        ([b"ab", b"\xe6\x97"], "ab\ufffd\ufffd", 0, 4, [b"ab"]),
        ([b"ab", b"\xe6\x97"], "ab\ufffd\ufffd", 0, 2, [b"ab"]),
        ([b"cd"], "echocd", 0, 6, [b"cd"]),
        ([b"cd"], "echocd", 4, 6, [b"cd"]),
        ([b"cd"], "echocd", 5, 6, [b"d"]),
        ([b"thought", b"</think>", b"ab"], "ab", 0, 2, [b"thought", b"</think>", b"ab"]),
        ([b"thought", b"</think>", b"ab"], "ab", 1, 2, [b"b"]),
        ([b"thought"], "", 0, 0, [b"thought"]),
        ([b"ab", b"END"], "ab", 0, 2, [b"ab", b"END"]),
        ([b"ab", b"END"], "echoab", 4, 6, [b"ab", b"END"]),
        ([b"x", b"ab", b"y"], "ab", 0, 2, [b"x", b"ab", b"y"]),
        ([b"other"], "text", 1, 3, [b"other"]),
    ],
)
def test_logprobs_of_a_part(tokens: list[bytes], text: str, start: int, end: int, kept: list[bytes]) -> None:
    """Logprobs are cut where their text is; tokens that show nowhere stay, except half of a character."""
    logprobs: Any = logprobs_of({"content": list(map(token, tokens)), "refusal": None}, text, start, end)

    assert kept == [bytes(each["bytes"]) for each in logprobs["content"]]


def test_logprobs_of_unknown_form() -> None:
    """Logprobs of a form that nobody documents are left as they are."""
    for odd in (None, [], {"content": None}, {"tokens": ["a"]}):
        assert odd == logprobs_of(odd, "text", 1, 2)
    assert add_logprobs({"content": [1], "refusal": [3]}, {"content": [2]}) == {"content": [1, 2], "refusal": [3]}


@drives
@pytest.mark.parametrize("cap", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ["deepinfra", "trims", "mistral", "echoes at once", "finish with text, usage twice"])
def test_logprobs(name: str, cap: int, drive: Drive) -> None:
    """None is doubled and none is missing, whatever was written twice."""
    kind, text = SERVERS[name], "one  two,\n    three 🦊\n\n\nfour"
    answer = drive(Engine(text, habits=kind.habits, cap=cap), kind.ask(logprobs=True), max_rounds=99, **kind.known)

    assert answer.text.encode() == answer.spelled
    assert text == answer.text or answer.stopped_by == "empty"


@drives
@pytest.mark.parametrize("cut", ["dropped", "replaced"])
@pytest.mark.parametrize("cap", [3, 4, 5, 8])
def test_logprobs_of_cut_characters(cut: Any, cap: int, drive: Drive) -> None:
    """The tokens of a character that the cap cut are paid for twice and are in the answer once."""
    kind, text = Kind(Habits(cut_characters=cut)), "a🦊b𠮷c字d字e🦊🦊f"
    answer = drive(Engine(text, habits=kind.habits, cap=cap), kind.ask(logprobs=True), max_rounds=99)

    assert answer.text.encode() == answer.spelled
    assert text == answer.text or (cap == 3 and answer.stopped_by == "empty")


NAMED = [{"token": f"token_id:{number}", "logprob": -1.0, "bytes": None, "top_logprobs": []} for number in (7, 8)]


class TextServer:
    """Gives one text completion that was cut, with these logprobs."""

    def __init__(self, logprobs: dict[str, Any]) -> None:
        item = {"index": 0, "text": "One, ", "finish_reason": "length", "logprobs": logprobs}
        self.answer = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [item]}

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        assert "One" not in body["prompt"]
        return self.answer

    def chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [self.completion(body)]


def given(answer: Answer) -> list[dict[str, Any]]:
    """Return the logprobs of an answer, of each chunk that has some."""
    answers = answer.raw if isinstance(answer.raw, list) else [answer.raw]
    return [item["logprobs"] for one in answers for item in one["choices"] if item.get("logprobs")]


@drives
@pytest.mark.parametrize("provider", ["vllm", "deepinfra"])
@pytest.mark.parametrize("has_bytes", [False, True])
def test_tokens_named_by_ids(has_bytes: bool, provider: str, drive: Drive) -> None:
    """A chat whose tokens show no text is left as it came: no token comes twice, and none is lost."""
    tokens = [{**token, "bytes": list(token["token"].encode()) if has_bytes else None} for token in NAMED]
    server = Script(cut("One, ", logprobs={"content": tokens}))
    answer = drive(server, ask(logprobs=True), provider=provider)

    assert (answer.text, answer.finish_reason, answer.stopped_by) == ("One, ", "length", "unsupported")
    assert [one["content"] for one in given(answer)] == [tokens]


@drives
def test_logprobs_of_a_text_completion_that_nobody_asked_for(drive: Drive) -> None:
    """A text completion with logprobs is left as it came, though its request did not ask for them."""
    logprobs = {"tokens": ["One", ", "], "token_logprobs": [-1.0, -1.0], "top_logprobs": None, "text_offset": [0, 3]}
    answer = drive(TextServer(logprobs), {"model": "any", "prompt": "Count."}, provider="vllm")

    assert (answer.text, answer.finish_reason, answer.stopped_by) == ("One, ", "length", "unsupported")
    assert [{name: one[name] for name in logprobs} for one in given(answer)] == [logprobs]


def test_tokens_within_a_character() -> None:
    """OpenAI spells the tokens of a character by their bytes, and a blank before it as it is."""
    fox = "\U0001f98a".encode()
    logprobs = {
        "tokens": ["a", "bytes: \\xf0\\x9f", "bytes:\\xa6\\x8a", "bytes: by"],
        "token_logprobs": [-0.5] * 4,
        "top_logprobs": None,
        "text_offset": [5, 6, 6, 8],
    }
    shaped: Any = raw_as_chat({"choices": [{"index": 0, "text": "a x", "logprobs": logprobs}]})
    content = shaped["choices"][0]["logprobs"]["content"]
    assert [bytes(one["bytes"]) for one in content] == [b"a", b" " + fox[:2], fox[2:], b"bytes: by"]
    assert [one["top_logprobs"] for one in content] == [[]] * 4
    assert not any("text_offset" in one for one in content)


@pytest.mark.parametrize(
    ("token", "expected"),
    [("token_id:7", True), ("token_id:", False), ("token_id:7 ", False), ("token", False), (None, False), (7, False)],
)
def test_names_of_tokens(token: object, expected: bool) -> None:
    """Only names that are ids in every token show no text."""
    assert are_fixed({"content": [{"token": token}]}) is expected
    assert not are_fixed({"content": [{"token": token}, {"token": " word"}]})
    assert not any(map(are_fixed, (None, {}, {"content": []}, {"content": None}, [])))
