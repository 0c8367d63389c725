"""Each fault breaks answers in its own way, as often as it is told to."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue.testing import Emulator, Fault
from tests.support.ways import http
from tests.testing.emulator.asking import BODY, CLIENT, ask, chunks_of, post, prefilled, streamed_or_not, wait_for


@streamed_or_not
@pytest.mark.parametrize("kind", ["402", "429", "500", "503"])
def test_status(kind: Any, stream: bool) -> None:
    """A fault is met by the requests that it names, and by no others."""
    with Emulator(cap=5, faults=[Fault(kind, round=2, times=2)]) as emulator:
        responses = [post(emulator, stream=stream) for _ in range(4)]

        assert [response.status_code for response in responses] == [200, int(kind), int(kind), 200]
        assert responses[1].headers.get("retry-after") == ("0" if kind == "429" else None)
        assert responses[1].json()["error"]["message"]
        emulator.clear()
        assert [post(emulator).status_code for _ in range(2)] == [200, int(kind)]


def test_some_bodies() -> None:
    """A fault may choose its requests by their bodies."""
    with Emulator(faults=[Fault("429", round=lambda body: len(body["messages"]) == 2)]) as emulator:
        conversations = [prefilled("# ")[:1], prefilled("# "), prefilled("# ")]

        assert [post(emulator, messages=messages).status_code for messages in conversations] == [200, 429, 200]
        emulator.clear()
        assert post(emulator, messages=prefilled("# ")).status_code == 429


def stream_until_it_breaks(emulator: Emulator, patience: float = 60) -> tuple[str, str]:
    """Read a stream. Return its text and how it ended."""
    raw = b""
    ended = "cleanly"
    url, body = f"{emulator.base_url}/chat/completions", {**BODY, "stream": True}
    try:
        with CLIENT.stream("POST", url, json=body, timeout=patience) as response:
            for piece in response.iter_raw():
                raw += piece
    except http.ReadTimeout:
        ended = "by timeout"
    except http.TransportError:
        ended = "by reset"
    return raw.decode("utf-8", "ignore"), ended


OPEN, DONE = '"finish_reason":null}]}\n\n', "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("kind", "breaks", "how", "tail"),
    [
        ("reset", True, "by reset", OPEN),
        ("early_end", True, "cleanly", OPEN),
        ("hang", True, "by timeout", OPEN),
        ("error_frame", True, "cleanly", '\\"code\\": 500}}"}\n\n'),
        ("error_event", True, "cleanly", '"code":500}}\n\n'),
        ("choice_error", True, "cleanly", '"error":{"code":502,"message":"Died"}}]}\n\n' + DONE),
        ("half_frame", True, "cleanly", "object"),
        ("slow", False, "cleanly", DONE),
        ("empty", False, "cleanly", '"finish_reason":"length"}]}\n\n' + DONE),
        ("no_choices", False, "cleanly", '"choices":[]}\n\n' + DONE),
        ("null_choices", False, "cleanly", '"choices":null}\n\n' + DONE),
        ("not_json", False, "cleanly", "</html>\n\n"),
        ("no_done", False, "cleanly", "}}\n\n"),
        ("data_null", False, "cleanly", "}}\n\n" + DONE),
        ("thinks_anew", False, "cleanly", DONE),
        ("other_model", False, "cleanly", DONE),
    ],
)
def test_streams(kind: Any, breaks: bool, how: str, tail: str) -> None:
    """Some faults break a stream after seven tokens; the next stream is whole."""
    with Emulator(tokens=40, faults=[Fault(kind, after_tokens=7)]) as emulator:
        raw, ended = stream_until_it_breaks(emulator, 1 if kind == "hang" else 60)

        assert ended == how
        assert tail in raw[-200:]
        assert raw.endswith(tail) or kind == "half_frame"
        if breaks:
            assert raw.count('"delta":{"content":') - (kind in {"half_frame", "choice_error"}) in {6, 7}
            assert emulator.requests[0].completion_tokens == 7
        assert stream_until_it_breaks(emulator)[0].endswith(DONE)
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
def test_whole_answers_that_break_off(kind: Any, error: type[Exception]) -> None:
    """The body stops short, and the next answer is whole."""
    with Emulator(tokens=40, faults=[Fault(kind)]) as emulator:
        with pytest.raises(error):
            CLIENT.post(f"{emulator.base_url}/chat/completions", json=BODY, timeout=1 if kind == "hang" else 60)
        assert post(emulator).status_code == 200
        wait_for(lambda: emulator.running == 0)


def test_whole_answers_of_no_use() -> None:
    """The body comes to its end, but holds no answer."""
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


def test_choice_error() -> None:
    """A whole answer has the error in its choice, after some tokens."""
    with Emulator(tokens=40, faults=[Fault("choice_error", after_tokens=7)]) as emulator:
        choice = post(emulator).json()["choices"][0]

        assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
        assert choice["message"]["content"] == emulator.uncapped({**BODY, "max_tokens": 7})


@streamed_or_not
def test_data_null(stream: bool) -> None:
    """Nothing but keep-alives is added, and only to streams."""
    with Emulator(tokens=40, faults=[Fault("data_null")]) as emulator:
        response = post(emulator, stream=stream)

        assert response.text.count("data: null\n\n") == (response.text.count('"choices"') if stream else 0)


@streamed_or_not
def test_thinks_anew(stream: bool) -> None:
    """A model that thinks anew begins its answer again, as without a prefill; a new answer is as always."""
    with Emulator(tokens=40, cap=100, faults=[Fault("thinks_anew", times=3)]) as emulator:
        whole = emulator.uncapped(BODY)
        thoughts = ask(emulator, stream=stream, messages=prefilled(whole[:30]), field="reasoning_content")[0]

        assert ask(emulator, stream=stream, messages=prefilled(whole[:30]))[0] == whole
        assert ask(emulator, stream=stream) == (whole, "stop")
        assert thoughts
        assert emulator.derailed == 0


@streamed_or_not
def test_other_model(stream: bool) -> None:
    """Another model's name stands in the answer."""
    with Emulator(tokens=40, faults=[Fault("other_model")]) as emulator:
        for model in ("another/model", "m"):
            response = post(emulator, stream=stream)
            answers = chunks_of(response) if stream else [response.json()]
            assert {answer["model"] for answer in answers} == {model}
