"""Text completions: `POST /completions` with the caller's own prompt."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.tokens import count, shown, tokenize
from tests.testing.emulator.asking import ASK, CLIENT, chunks_of, streamed_or_not

PROMPT = "Write 120 tokens."


def complete(emulator: Emulator, prompt: Any = PROMPT, **fields: Any) -> Any:
    return CLIENT.post(f"{emulator.base_url}/completions", json={"model": "m", "prompt": prompt, **fields})


def completed(
    emulator: Emulator, prompt: Any = PROMPT, *, stream: bool = False, index: int = 0, **fields: Any
) -> tuple[str, str]:
    """Return the text and the finish reason of a choice."""
    response = complete(emulator, prompt, stream=stream, **fields)
    assert response.status_code == 200, response.text
    if not stream:
        choice = response.json()["choices"][index]
        return choice["text"], choice["finish_reason"]
    choices = [one for chunk in chunks_of(response) for one in chunk["choices"] if one["index"] == index]
    (finish,) = [one["finish_reason"] for one in choices if one["finish_reason"]]
    return "".join(one["text"] for one in choices), finish


@streamed_or_not
@pytest.mark.thorough
def test_every_cut(stream: bool) -> None:
    """A text goes on after every beginning of it, and the caller's prompt decides on it."""
    with Emulator() as emulator:
        whole, finish = completed(emulator, stream=stream)
        assert finish == "stop"
        assert count(whole) == 120
        assert (
            whole
            == emulator.uncapped({"prompt": PROMPT})
            == emulator.uncapped({"messages": [{**ASK, "content": PROMPT}]})
        )
        for cut in range(len(whole)):
            assert completed(emulator, PROMPT + whole[:cut], stream=stream) == (whole[cut:], "stop")
        assert emulator.derailed == 0


@streamed_or_not
def test_rounds(stream: bool) -> None:
    """A text in rounds under a cap is the uncapped one; each prompt is as long as it says."""
    with Emulator(cap=50) as emulator:
        text, finish, rounds = "", "length", 0
        while finish == "length":
            piece, finish = completed(emulator, PROMPT + text, stream=stream)
            text, rounds = text + piece, rounds + 1

        assert (text, rounds) == (emulator.uncapped({"prompt": PROMPT}), 3)
        assert [one.prompt_tokens for one in emulator.requests] == [
            count(PROMPT + text[:cut]) for cut in _cuts(text, 50)
        ]
        assert [one.completion_tokens for one in emulator.requests] == [50, 50, 21]


def _cuts(text: str, cap: int) -> list[int]:
    pieces = shown(tokenize(text))
    return [len("".join(pieces[: cap * at])) for at in range(3)]


def test_wrong_continuations() -> None:
    """A prompt that begins as the model did and goes on with other words is a mistake of the client. Any other is a new one."""
    with Emulator() as emulator:
        whole, _ = completed(emulator)
        assert completed(emulator, PROMPT + whole[:100] + "?")[0].startswith("⟦derailed")
        assert emulator.derailed == 1
        for prompt in ("Other words.", PROMPT + " And more.", PROMPT + "\n\n# "):
            assert not whole.startswith(completed(emulator, prompt)[0][:20])
        assert emulator.derailed == 1
        emulator.clear()
        assert completed(emulator, PROMPT + whole[:9])[0] == whole[9:]


@streamed_or_not
def test_several_prompts(stream: bool) -> None:
    """Choices are numbered prompt by prompt, and their tokens are counted together."""
    prompts = ["Write 30 tokens.", "Write 40 tokens."]
    with Emulator() as emulator:
        texts = [completed(emulator, prompts, index=at, n=2, stream=stream)[0] for at in range(4)]

        assert texts == [emulator.uncapped({"prompt": prompts, "n": 2}, at) for at in range(4)]
        assert [count(text) for text in texts] == [30, 30, 40, 40]
        assert len({text[:30] for text in texts}) == 4
        assert (emulator.requests[0].prompt_tokens, emulator.requests[0].completion_tokens) == (
            2 * count(prompts[0]),
            144,
        )
        assert completed(emulator, [prompts[0], prompts[1] + texts[2][:20]], index=1)[0] == texts[2][20:]


def test_form() -> None:
    """Responses have the form of OpenAI's text completions, also for the SDK."""
    with Emulator() as emulator, OpenAI(base_url=emulator.base_url, api_key="none") as client:
        answer = complete(emulator, max_tokens=5, suffix=None, best_of=1).json()
        chunks = chunks_of(complete(emulator, max_tokens=5, stream=True))

        assert answer["id"].startswith("cmpl-")
        assert (answer["object"], answer["model"]) == ("text_completion", "m")
        assert set(answer["choices"][0]) == {"index", "text", "logprobs", "finish_reason"}
        assert {(chunk["object"], chunk["id"]) for chunk in chunks} == {("text_completion", chunks[0]["id"])}
        assert set(chunks[0]["choices"][0]) == {"index", "text", "logprobs", "finish_reason"}
        assert len(chunks) == 6
        assert chunks[-1]["usage"] == {**answer["usage"], "prompt_tokens_details": {"cached_tokens": count(PROMPT)}}
        assert (
            client.completions.create(model="m", prompt=PROMPT, max_tokens=5).choices[0].text
            == answer["choices"][0]["text"]
        )


@pytest.mark.parametrize("root", ["/v1/openai", "/v1", "", "/openai/deployments/d", "/openai/v1"])
def test_paths(plain: Emulator, root: str) -> None:
    """The endpoint is beside the one for chat requests."""
    base = plain.base_url.removesuffix("/v1/openai")
    answer = CLIENT.post(f"{base}{root}/completions", json={"model": "m", "prompt": "x", "max_tokens": 1})
    assert answer.json()["object"] == "text_completion"


def test_limits() -> None:
    """The cap is silent, the default is a habit, and the context has an end."""
    with Emulator(cap=20, context=60, habits=Habits(default_text_tokens=16, overflow="400")) as emulator:
        used = [
            complete(emulator, **limit).json()["usage"]["completion_tokens"]
            for limit in ({}, {"max_tokens": 30}, {"max_tokens": 7})
        ]
        assert used == [16, 20, 7]
        refused = complete(emulator, max_tokens=58)
        assert refused.status_code == 400
        assert "maximum context length is 60 tokens" in refused.json()["error"]["message"]
    with Emulator(cap=20) as emulator:
        assert complete(emulator).json()["usage"]["completion_tokens"] == 20


@streamed_or_not
def test_usage_is_asked_for(stream: bool) -> None:
    """``stream_options`` decides on the usage of a stream, as it does for chat requests."""
    with Emulator(habits=Habits(usage="asked")) as emulator:
        without = complete(emulator, stream=stream)
        asked = complete(emulator, stream=stream, stream_options={"include_usage": True})
        if stream:
            assert not any("usage" in chunk for chunk in chunks_of(without))
            assert chunks_of(asked)[-1]["choices"] == []
        assert (chunks_of(asked)[-1] if stream else asked.json())["usage"]["completion_tokens"] == 121


@streamed_or_not
def test_stops_and_echo(stream: bool) -> None:
    """A stop string ends the text before it. ``echo`` puts the prompt in front."""
    with Emulator() as emulator:
        whole, _ = completed(emulator)
        stop = whole[40:48]
        assert completed(emulator, stream=stream, stop=stop) == (whole[: whole.index(stop)], "stop")
        assert completed(emulator, stream=stream, echo=True)[0] == PROMPT + whole


@streamed_or_not
@pytest.mark.parametrize("echo", [False, True])
def test_logprobs(stream: bool, echo: bool) -> None:
    """Logprobs are lists beside each other, in pieces in a stream. The first token of an echo has none."""
    with Emulator() as emulator:
        response = complete(emulator, stream=stream, logprobs=2, echo=echo, max_tokens=50)
        choices = [one for chunk in (chunks_of(response) if stream else [response.json()]) for one in chunk["choices"]]
        read: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for choice in choices:
            for name, values in (choice["logprobs"] or {}).items():
                read[name] += values

        text = "".join(choice["text"] for choice in choices)
        assert "".join(read["tokens"]) == text
        assert {len(values) for values in read.values()} == {50 + (count(PROMPT) if echo else 0)}
        assert all(text[at:].startswith(token) for at, token in zip(read["text_offset"], read["tokens"], strict=True))
        assert (read["token_logprobs"][0] is None) == (read["top_logprobs"][0] is None) == echo
        assert read["top_logprobs"][1] == {
            read["tokens"][1]: read["token_logprobs"][1],
            " other1": read["token_logprobs"][1] - 1,
        }
        assert complete(emulator, max_tokens=5).json()["choices"][0]["logprobs"] is None
        assert (
            complete(emulator, max_tokens=5, logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"] == [None] * 5
        )


@pytest.mark.parametrize(
    "prompt", [None, [], 7, True, {"a": 1}, ["x", 7], [[1], "x"], [[]], [7, "x"], [True], [-1], [7], [1], [2**70]]
)
def test_bad_prompts(plain: Emulator, prompt: Any) -> None:
    """What is no prompt gets OpenAI's error, and no answer."""
    refused = complete(plain, prompt)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "prompt"
    assert refused.json()["error"]["message"]


def test_other_refusals(plain: Emulator) -> None:
    """Fields are checked as in a chat request."""
    assert complete(plain, n=0).status_code == 422
    assert complete(plain, logprobs=True).status_code == 422
    assert complete(plain, continuation={}).status_code == 400
    assert complete(plain, max_tokens=0).status_code == 400


@streamed_or_not
@pytest.mark.parametrize("kind", ["429", "500", "error_frame", "empty", "choice_error", "no_choices", "other_model"])
def test_faults(kind: Any, stream: bool) -> None:
    """Faults strike text completions too, and the next request is answered."""
    with Emulator(faults=[Fault(kind)]) as emulator:
        failed = complete(emulator, stream=stream)
        if kind in {"429", "500"} or (kind == "error_frame" and not stream):
            assert failed.status_code == (429 if kind == "429" else 500)
        elif kind == "empty":
            choice = (chunks_of(failed)[0] if stream else failed.json())["choices"][0]
            assert (choice["text"], choice["finish_reason"]) == ("", "length")
        elif kind == "choice_error":
            choice = (chunks_of(failed)[-1] if stream else failed.json())["choices"][0]
            assert choice["error"]["code"] == 502
        elif kind == "error_frame":
            assert "inference_error" in failed.text
        assert completed(emulator, stream=stream)[0] == emulator.uncapped({"prompt": PROMPT})


def test_text_source() -> None:
    """A text of the user's own is continued as well."""
    with Emulator(
        text=lambda body, choice: f"{body['messages'][-1]['content']} {choice}: one two three four five"
    ) as emulator:
        whole = emulator.uncapped({"prompt": "x"})
        assert whole == "x 0: one two three four five"
        assert completed(emulator, "x" + whole[:8])[0] == whole[8:]
