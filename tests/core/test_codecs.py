"""Codecs and endpoints: the same draft goes back in each form, and the core needs to know no shape but that of chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._core.codec.chat import ChatCodec
from openai_continue._core.codec.codec import Codec
from openai_continue._core.codec.draft import Draft, Hold
from openai_continue._core.codec.endpoint import Endpoint
from openai_continue._core.codec.endpoints import ChatShape, endpoint_of
from openai_continue._core.codec.raw import RawCodec, Rendered
from openai_continue._core.learned import Learned
from openai_continue._core.plan import Source
from openai_continue._core.rounds import Rounds
from openai_continue._core.setup import Setup
from openai_continue._tables.providers import named
from tests.support.bodies import ask
from tests.support.script import Script, cut, end

Json = dict[str, Any]
RENDERED = Rendered("<user>x</user>", "<think>\n", "\n</think>\n\n", shows_thoughts=True, bos="", lacks_bos=False)
BODY = ask(model="m")
PROMPT = {"model": "m", "prompt": "Once "}


def raw_chat() -> Codec:
    """Return the codec of a chat whose template is known."""
    codec = RawCodec.of_chat(BODY, named("vllm"), RENDERED, None)
    assert codec is not None
    return codec


def chat() -> Codec:
    """Return the codec of a chat."""
    return ChatCodec(BODY, named("deepinfra"), trims=False, structured=False)


def text() -> Codec:
    """Return the codec of a text completion."""
    return RawCodec(PROMPT, named("vllm"), "Once ")


def sent(codec: Codec, draft: Draft) -> str:
    """Return the text that goes back."""
    body, _ = codec.write({"model": "m"}, draft)
    return str(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


THOUGHT = Draft("", "\nLet me ", Source.REASONING, Hold.NOTHING)
EARLY = Draft("", "\nLet me ", Source.AFTER_REASONING, Hold.NOTHING, early=True)
AFTER = Draft("a time ", "\nLet me ", hold=Hold.NOTHING)


@pytest.mark.parametrize(
    ("codec", "draft", "expected"),
    [
        (chat, Draft("a time ", hold=Hold.NOTHING), "a time "),
        (chat, Draft("a time ", hold=Hold.WHITESPACE), "a time"),
        (chat, Draft("a time.\n", hold=Hold.TO_WORD), "a time"),
        (chat, Draft("a time.\n", hold=Hold.TO_WORD, confirmed=1), "a time."),
        (text, Draft("a time ", hold=Hold.WHITESPACE), "Once a time"),
        (text, Draft("a time.\n", hold=Hold.TO_WORD, confirmed=1), "Once a time."),
        (raw_chat, Draft("a time ", hold=Hold.WHITESPACE), "<user>x</user>a time"),
        (raw_chat, THOUGHT, "<user>x</user><think>\nLet me "),
        (raw_chat, EARLY, "<user>x</user><think>\nLet me \n</think>\n\n"),
        (raw_chat, AFTER, "<user>x</user><think>\nLet me </think>a time "),
    ],
)
def test_what_goes_back(codec: Any, draft: Draft, expected: str) -> None:
    """Each codec writes all of a draft but the tail that is held back."""
    assert expected == sent(codec(), draft)


@pytest.mark.parametrize(
    ("codec", "draft", "expected"),
    [
        (chat, Draft(""), "empty"),
        (text, Draft(""), "empty"),
        (raw_chat, Draft(""), "empty"),
        (chat, THOUGHT, "reasoning"),
        (raw_chat, THOUGHT, None),
        (raw_chat, Draft("<think>"), "reasoning"),
        (chat, Draft("a time"), None),
        (text, Draft("a time"), None),
    ],
)
def test_what_cannot_go_back(codec: Any, draft: Draft, expected: str | None) -> None:
    """A codec says of a draft why it cannot go back."""
    assert expected == codec().bar(draft)


def test_each_round_has_a_reader_of_its_own() -> None:
    """What a raw prompt left half read is no part of the next round: its text was not taken, and is sent no more."""
    codec = raw_chat()
    for written in ("on </thi", "ce"):
        codec.write({}, Draft("", "Let me ", Source.REASONING, streamed=True))
        read = codec.read({"id": "a", "choices": [{"index": 0, "text": written, "finish_reason": None}]})
        assert written == read.written
        thoughts = read.chunk["choices"][0]["delta"]["reasoning_content"]
    assert ("ce", {}) == (thoughts, codec.rest())


class Lines(ChatShape):
    """An endpoint of a shape that nobody else has, which counts the chunks that it takes."""

    def __init__(self, body: Json) -> None:
        super().__init__(body)
        self.number = 0

    def field(self, _: str) -> str:
        """Return the name of the field of the text."""
        return "line"

    def taken(self, chunk: Json) -> Json:
        """Return a chunk in the shape of chat."""
        self.number += 1
        item = {"index": 0, "delta": {"content": chunk["line"]}, "finish_reason": chunk["end"]}
        return {"id": "a", "choices": [item]}

    def taken_whole(self, answer: object) -> object:
        """Return a whole answer in the shape of chat."""
        return as_chat(answer) if isinstance(answer, dict) and "line" in answer else answer

    def given(self, chunks: list[Json]) -> list[Json]:
        """Return chunks in the shape of this endpoint."""
        return [as_line(chunk, "delta") for chunk in chunks]

    def given_whole(self, completion: Json) -> Json:
        """Return a completion in the shape of this endpoint."""
        return as_line(completion, "message")


def as_chat(answer: Json) -> Json:
    """Return a line as a chat completion."""
    message = {"role": "assistant", "content": answer["line"]}
    return {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": answer["end"]}]}


def as_line(answer: Json, holder: str) -> Json:
    """Return a chat completion or chunk as a line."""
    (item,) = answer["choices"]
    more = {name: answer[name]["stopped_by"] for name in ("continuation",) if name in answer}
    return {"line": item[holder].get("content", ""), "end": item["finish_reason"], **more}


def lines(chunks: Iterable[Json]) -> Iterable[Json]:
    """Give the chunks of a chat as lines."""
    return (as_line(chunk, "delta") for chunk in chunks if chunk["choices"])


def rounds_of(body: Json, endpoint: Endpoint) -> Rounds:
    """Return the rounds of a call to an endpoint."""
    return Rounds(Setup(body, endpoint, named("deepinfra"), Continuation(), Learned()))


def test_a_further_endpoint_whole() -> None:
    """An endpoint is a shape that ``Rounds`` is given: its whole answers are joined, and come in its own shape."""
    server, body = Script(cut("Once upon"), end(" a time")), ask()
    rounds = rounds_of(body, Lines(body))
    while (request := rounds.next_request()) is not None:
        rounds.receive(request, as_line(server.completion(request.body), "message"))

    assert {"line": "Once upon a time", "end": "stop", "continuation": "stop"} == rounds.completion()


def test_a_further_endpoint_streamed() -> None:
    """Its chunks are joined, too; each is taken once, though the fast path asks of each what it carried."""
    server, body = Script(cut("Once", " upon"), end(" a", " time")), ask(stream=True)
    endpoint = Lines(body)
    rounds = rounds_of(body, endpoint)
    given, fields, fed = list[Json](), list[str | None](), 0
    while (request := rounds.next_request()) is not None:
        for line in lines(server.chunks(request.body)):
            fed += 1
            given += rounds.feed(request, line)
            fields.append(rounds.flows(request))
        given += rounds.end_of_stream(request)
    given += rounds.last_chunks()

    assert "Once upon a time" == "".join(line["line"] for line in given)
    assert ("stop", "stop") == (given[-1]["end"], given[-1]["continuation"])
    assert fed == endpoint.number
    assert {"line", None} == set(fields)


def test_a_failure_in_a_shape() -> None:
    """A failed round gives what was held back in the shape of the endpoint."""
    body = ask(stream=True, stop=["time"])
    rounds = rounds_of(body, Lines(body))
    first = rounds.next_request()
    assert first is not None
    rounds.feed(first, {"line": "Once upon a ti", "end": None})

    assert [{"line": "Once upon a ti", "end": None}] == rounds.stop("max_seconds")


@pytest.mark.parametrize(
    ("body", "wanted", "prompts"),
    [
        (ask(), 1, []),
        (ask(n=3), 3, []),
        ({"prompt": "a"}, 1, ["a"]),
        ({"prompt": ["a", "b"], "n": 2}, 4, ["a", "b"]),
    ],
)
def test_what_is_asked_for(body: Json, wanted: int, prompts: list[str]) -> None:
    """An endpoint says how many choices a call asks for, and from which prompts they go on."""
    endpoint = endpoint_of(body)
    assert (wanted, prompts) == (endpoint.wanted, list(endpoint.prompts))
