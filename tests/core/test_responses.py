"""Responses without I/O: what a later round is asked, what its events are in the shape of chat, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openai_continue._core.codec.responses import ResponseShape, fault_in, left_alone
from openai_continue._core.round import Failure
from tests.support.driving import rounds_of
from tests.support.response_server import ResponseServer, Written
from tests.support.responses import check_events

Json = dict[str, Any]
TEXT = ["Once", " upon", " a", " time", " it", " was", "."]
THOUGHTS = ["Let", " me", " think", "."]
BODY: Json = {"model": "m", "input": "Go on."}


def streamed(server: ResponseServer, body: Json = BODY, **settings: Any) -> list[Json]:
    """Return the events of a stream, as a driver gives them out."""
    rounds = rounds_of({**body, "stream": True}, **{"provider": "vllm", **settings})
    events: list[Json] = []
    while (request := rounds.next_request()) is not None:
        server.bodies.append(request.body)
        for event in server.events(request.body):
            events += rounds.feed(request, event)
            if rounds.enough:
                break
        events += rounds.end_of_stream(request)
    return events + rounds.last_chunks()


def whole(server: ResponseServer, body: Json = BODY, **settings: Any) -> Json:
    """Return a whole response."""
    rounds = rounds_of(body, **{"provider": "vllm", **settings})
    while (request := rounds.next_request()) is not None:
        server.bodies.append(request.body)
        rounds.receive(request, list(server.events(request.body))[-1]["response"])
    return rounds.completion()


def ended(server: ResponseServer, body: Json = BODY, **settings: Any) -> Json:
    """Return the last event's response of a stream that keeps to all rules."""
    events = streamed(server, body, **settings)
    check_events(events)
    response: Json = events[-1]["response"]
    return response


Drive = Callable[..., Json]
drives = pytest.mark.parametrize("drive", [whole, ended])


def text_of(response: Json) -> str:
    """Return the text of all messages."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def test_loop_of_a_first_round_that_is_watched() -> None:
    """The stream is left within it, and its last event says that the response is incomplete."""
    server = ResponseServer(Written(text=[" and so on"] * 2000), [])
    response = ended(server, max_repetition=2000)

    assert (response["status"], response["continuation"]["stopped_by"]) == ("incomplete", "repetition")
    assert 2000 <= len(text_of(response)) < 3000
    assert text_of(ended(ResponseServer(Written(text=[" and so on"] * 2000), []))) == " and so on" * 2000


# What is asked.


SENT: dict[str, tuple[Json, Json]] = {
    "text": ({}, {"input": [{"role": "user", "content": "Go on."}]}),
    "items": ({"input": [{"role": "user", "content": "a"}]}, {"input": [{"role": "user", "content": "a"}]}),
    "chain": ({"previous_response_id": "resp_0"}, {"previous_response_id": "resp_0"}),
    "instructions": ({"instructions": "Be long."}, {"instructions": "Be long."}),
    "format": (
        {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        {"text": {"verbosity": "low"}},
    ),
    "truncation": ({"truncation": "auto"}, {"truncation": "disabled"}),
    "limit": ({"max_output_tokens": 90}, {"max_output_tokens": 87}),
}


@drives
@pytest.mark.parametrize("case", SENT)
def test_requests(case: str, drive: Drive) -> None:
    """The first round is the caller's own; later ones have one growing message at the end of their input."""
    more, expected = SENT[case]
    body = {**BODY, **more}
    server = ResponseServer(Written(text=TEXT), [3, 2])
    response = drive(server, body)
    first, *later = ({name: value for name, value in sent.items() if name != "stream"} for sent in server.bodies)
    assert first == body
    sent = [{"type": "message", "role": "assistant", "status": "in_progress"} | {"content": text} for text in ("Once upon a", "Once upon a time it")]  # fmt: skip
    input_ = expected.get("input", [{"role": "user", "content": "Go on."}])
    assert [body["input"] for body in later] == [[*input_, message] for message in sent]
    assert {name: later[0][name] for name in expected if name != "input"} == {
        name: value for name, value in expected.items() if name != "input"
    }
    assert (text_of(response), response["status"]) == ("".join(TEXT), "completed")


def test_marks_of_deepinfra() -> None:
    """By its schema DeepInfra has a field of the body besides the status; a later round has both."""
    server = ResponseServer(Written(text=TEXT), [3])
    whole(server, provider="deepinfra")
    assert [body.get("continue_final_message") for body in server.bodies] == [None, True]


@drives
@pytest.mark.parametrize("status", ["in_progress", "incomplete"])
def test_own_beginning(status: str, drive: Drive) -> None:
    """The caller's own beginning of the answer grows, in whatever form it came."""
    own: Json = {"role": "assistant", "content": "Once", "status": status}
    server = ResponseServer(Written(text=TEXT[1:]), [2])
    server_text = "".join(TEXT[1:])
    body = {**BODY, "input": [{"role": "user", "content": "Go on."}, own]}
    rounds = rounds_of({**body, "stream": drive is ended}, "vllm")
    request = rounds.next_request()
    assert request is not None
    assert request.body["input"] == body["input"]
    first = list(server.events({"input": "x"}))
    if drive is whole:
        rounds.receive(request, first[-1]["response"])
    else:
        for event in first:
            rounds.feed(request, event)
        rounds.end_of_stream(request)
    later = rounds.next_request()
    assert later is not None
    assert later.body["input"][-1]["content"] == "Once" + server_text[: len(" upon a")]
    assert len(later.body["input"]) == 2


@drives
def test_thoughts_beside_an_answer(drive: Drive) -> None:
    """Thoughts go back as an item of their own before the answer that was cut."""
    server = ResponseServer(Written(THOUGHTS, TEXT), [6])
    response = drive(server)
    reasoning, message = server.bodies[1]["input"][-2:]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "".join(THOUGHTS)}]
    assert (reasoning["type"], reasoning["id"]) == ("reasoning", "reasoning_1_0")
    assert (message["content"], message["status"]) == ("Once upon", "in_progress")
    assert (text_of(response), response["status"]) == ("".join(TEXT), "completed")


# What comes.


def test_a_whole_stream_is_untouched() -> None:
    """The events of a stream that is not cut go out as the objects that came, each in its place."""
    server = ResponseServer(Written(THOUGHTS, TEXT, [['{"a"', ":1}"]]))
    came = list(server.events(BODY))
    rounds = rounds_of({**BODY, "stream": True}, "vllm")
    request = rounds.next_request()
    assert request is not None
    given = [one for event in came for one in rounds.feed(request, event)]
    given += rounds.end_of_stream(request) + rounds.last_chunks()
    assert [id(event) for event in given] == [id(event) for event in came]
    assert rounds.next_request() is None


def test_ends_wait() -> None:
    """The ``*.done`` events of an item wait until the next event shows that it was not the last one."""
    shape = ResponseShape()
    events = list(ResponseServer(Written(THOUGHTS, TEXT)).events(BODY))
    given = [[one["type"] for one in shape.given([shape.taken(event)])] for event in events]
    ends = [(place, len(types)) for place, types in enumerate(given) if len(types) != 1]
    # The three ends of the thoughts come with the next item, those of the message with the end of the response.
    assert [number for _, number in ends] == [0, 0, 0, 4, 0, 0, 0, 4]
    assert sum(map(len, given)) == len(events)


@pytest.mark.parametrize("cuts", [(), (3,)])
def test_other_events_among_the_ends(cuts: tuple[int, ...]) -> None:
    """What only keeps the connection open does not show whether an item was the last one."""

    class Pings(ResponseServer):
        def events(self, body: Json) -> Iterator[Json]:
            for event in super().events(body):
                yield event
                yield {"type": "keepalive"}

    server = Pings(Written(text=TEXT), cuts)
    events = streamed(server)
    if not cuts:
        assert events == list(Pings(server.answer).events(BODY))
    check_events([event for event in events if event["type"] != "keepalive"])


def test_ends_before_a_break() -> None:
    """If a stream breaks off after them and is not healed, the caller has them."""
    rounds = rounds_of({**BODY, "stream": True}, "vllm", heal_streams=False)
    request = rounds.next_request()
    assert request is not None
    *events, _ = ResponseServer(Written(text=TEXT)).events(BODY)
    given = [one for event in events for one in rounds.feed(request, event)]
    decision = rounds.fail(request, Failure("APIConnectionError", broke_off=True))
    assert decision.raises
    assert given + decision.chunks == events


STATUSES: dict[str, tuple[Json, str | None]] = {
    "completed": ({"status": "completed"}, "stop"),
    "no status": ({}, None),
    "cut": ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    "filtered": ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    "nobody says why": ({"status": "incomplete", "incomplete_details": None}, "incomplete"),
    "failed": ({"status": "failed", "error": {"message": "x"}}, "error"),
}


@pytest.mark.parametrize("case", STATUSES)
def test_ends(case: str) -> None:
    """Only a body that says so was cut by the token limit."""
    said, expected = STATUSES[case]
    response = {"id": "resp_1", "output": [], **said}
    completion = ResponseShape().taken_whole(response)
    event = ResponseShape().taken({"type": "response.completed", "response": response})
    assert isinstance(completion, dict)
    assert completion["choices"][0]["finish_reason"] == expected
    assert event["choices"][0]["finish_reason"] == expected


def test_usage_is_summed() -> None:
    """Usage is summed with its details, under the names of this endpoint."""
    server = ResponseServer(Written(text=TEXT), [3, 2])
    expected = {
        "input_tokens": 13 + 16 + 19,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 48 + 7,
    }
    assert whole(server)["usage"] == expected
    assert ended(ResponseServer(Written(text=TEXT), [3, 2]))["usage"] == expected


@drives
def test_usage_as_of_one_call(drive: Drive) -> None:
    """The setting ``usage`` holds here, too."""
    usage = drive(ResponseServer(Written(text=TEXT), [3, 2]), usage="one_call")["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (13, 7, 20)


class Misfiling(ResponseServer):
    """Files the answer of later rounds as thoughts, as vLLM's parsers do."""

    def _rest(self, body: Json) -> Written:
        rest = super()._rest(body)
        return rest if len(self.bodies) == 1 else Written(rest.text)


@drives
def test_an_answer_that_is_filed_as_thoughts(drive: Drive) -> None:
    """It is filed back, into the message that it continues."""
    response = drive(Misfiling(Written(THOUGHTS, TEXT), [6, 3]))
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert (text_of(response), response["status"]) == ("".join(TEXT), "completed")
    assert response["output"][0]["content"][0]["text"] == "".join(THOUGHTS)


@drives
def test_a_call_after_a_cut(drive: Drive) -> None:
    """A call that a later round begins is an item of its own, with the server's fields."""
    response = drive(ResponseServer(Written(text=TEXT, calls=[['{"a"', ": 1}"]] * 2), [3]))
    message, *calls = response["output"]
    assert message["status"] == "completed"
    assert [(call["arguments"], call["status"], call["namespace"]) for call in calls] == [('{"a": 1}', "completed", None)] * 2  # fmt: skip
    assert len({item["id"] for item in response["output"]}) == 3
    assert response["status"] == "completed"


# What cannot go on.


@drives
@pytest.mark.parametrize(
    ("answer", "cuts", "stopped_by"),
    [
        (Written(text=TEXT, calls=[['{"a"', ": 1}"]]), [8], "tool_call"),
        (Written(THOUGHTS, TEXT), [2], "reasoning"),
    ],
)
def test_cut_where_no_server_goes_on(answer: Written, cuts: list[int], stopped_by: str, drive: Drive) -> None:
    """A cut call, or cut thoughts, end the response as the server ended it."""
    server = ResponseServer(answer, cuts)
    response = drive(server)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["continuation"]["stopped_by"] == stopped_by
    assert len(server.bodies) == 1
    alone = list(ResponseServer(answer, cuts).events(BODY))[-1]["response"]
    assert response["output"] == alone["output"]


@drives
def test_the_answer_to_cut_thoughts(drive: Drive) -> None:
    """With ``on_reasoning_cut="answer"`` the answer comes after the thoughts as they were cut."""

    class Answers(ResponseServer):
        def _rest(self, body: Json) -> Written:
            return self.answer if len(self.bodies) == 1 else Written(text=TEXT)

    server = Answers(Written(THOUGHTS, TEXT), [2])
    response = drive(server, on_reasoning_cut="answer")
    reasoning, message = server.bodies[1]["input"][-2:]
    assert (reasoning["content"][0]["text"], message["content"]) == ("Let me", "")
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert (text_of(response), response["status"]) == ("".join(TEXT), "completed")


ODD: dict[str, list[Json]] = {
    "two messages": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}] * 2,
    "two parts": [{"type": "message", "content": [{"type": "output_text", "text": "a"}] * 2}],
    "a refusal": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}],
    "a search": [{"type": "web_search_call"}, {"type": "message", "content": [{"type": "output_text", "text": "a"}]}],
    "a summary": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "b"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
    ],
}


@pytest.mark.parametrize("case", ODD)
def test_what_has_no_place_in_a_chat(case: str) -> None:
    """Such a response that was cut is not continued, and its items are as they came."""
    output = [{**item, "id": f"item_{place}"} for place, item in enumerate(ODD[case])]
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    rounds = rounds_of(BODY, "vllm")
    request = rounds.next_request()
    assert request is not None
    rounds.receive(request, {"id": "resp_1", "output": output, **cut})
    assert rounds.next_request() is None
    response = rounds.completion()
    assert (response["output"], response["status"]) == (output, "incomplete")
    assert response["continuation"]["stopped_by"] == "unsupported"


ALONE: dict[str, tuple[Json, str]] = {
    "conversation": ({"conversation": "conv_1"}, "a conversation"),
    "chain": ({"previous_response_id": "resp_1", "store": True}, "previous_response_id and store"),
    "background": ({"background": True}, "background"),
    "tools": ({"tools": [{"type": "function", "name": "a"}, {"type": "web_search"}]}, "tools that are no functions"),
    "prompt": ({"prompt": {"id": "pmpt_1"}}, "a stored prompt"),
    "input": ({"input": None}, "an input that is neither text nor items"),
}


@pytest.mark.parametrize("case", ALONE)
def test_left_alone(case: str) -> None:
    """What keeps a request from being continued is said in words."""
    more, why = ALONE[case]
    assert left_alone({**BODY, **more}) == why
    assert left_alone(BODY) is None


def test_faults() -> None:
    """An event that stands for an error is told from others."""
    assert fault_in({"type": "error", "code": "a", "sequence_number": 1}) == {"code": "a"}
    assert fault_in({"type": "response.failed", "response": {"error": {"code": "b"}}}) == {"code": "b"}
    assert fault_in({"type": "response.completed", "response": {"error": None}}) is None
