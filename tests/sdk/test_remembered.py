"""One client, a thousand answers: what goes wrong in one of them does not follow it into the others."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation
from tests.support.script import DONE, LOST, event
from tests.support.ways import http

Json = dict[str, Any]
ANSWERS = 1_000
WORDS = "the whale swims on, GitHub is a Host of C# code. JavaScript and 2**N are fine\n## A heading\n- one of iPhone"
#: What may befall the continuation of an answer, and the status of an error or what comes instead of the rest.
FAULTS: dict[str, Any] = {
    "server error": (500, "overloaded"),
    "unavailable": (503, "No available prefill workers"),
    "prefill tokens": (400, "Input length exceeds max_prefill_tokens (16384)"),
    "chunked prefill": (400, "chunked prefill is disabled"),
    "bad request": (400, "an odd request"),
    "not processable": (422, "an odd request"),
    "reset": None,
    "words": "I apologize for the interruption. ",
    "greeting": "Sure, here is more. ",
    "nothing": "",
}


class Server(http.BaseTransport):  # type: ignore[misc]
    """
    Goes on rightly, but for the fault of the answer under way.

    Its usage is absent, exact, estimated with four tokens for each message, or with a block before the text sent back.
    """

    def __init__(self) -> None:
        self.text, self.place, self.fault, self.usage = "", 0, "", "absent"

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        last = body["messages"][-1]
        sent = last["content"] if last["role"] == "assistant" else None
        said, finish = (self.text[: self.place], "length") if sent is None else (self.text[len(sent) :], "stop")
        fault = FAULTS.get(self.fault, said) if sent is not None else said
        if fault is None:
            raise LOST
        if isinstance(fault, tuple):
            return http.Response(fault[0], content=json.dumps({"error": {"message": fault[1]}}).encode())
        if fault is not said and sent and not sent[-1].isalpha():
            # No new turn is told from a text that goes on after the end of a sentence.
            fault = said
        answer: Json = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            **self._counted(sent, fault),
        }
        if not body.get("stream"):
            item = {"index": 0, "message": {"role": "assistant", "content": fault}, "finish_reason": finish}
            return http.Response(200, content=json.dumps({**answer, "choices": [item]}).encode())
        answer["object"] = "chat.completion.chunk"
        deltas: list[Json] = [{"role": "assistant", "content": fault}, {}]
        items: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        items[-1]["finish_reason"] = finish
        events = [event({**answer, "choices": [item]}) for item in items]
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join([*events, DONE]))

    def _counted(self, sent: str | None, said: str) -> Json:
        if self.usage == "absent":
            return {}
        prompt, written = 14 + len((sent or "").split()), len(said.split())
        prompt += (4 if sent is None else 8) if self.usage == "estimated" else 0
        prompt += 4 if self.usage == "block" and sent is not None else 0
        return {"usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}}


@pytest.mark.parametrize(("row", "number"), [("deepinfra", ANSWERS), ("ollama", 200), ("openrouter", 200)])
@pytest.mark.thorough
def test_a_thousand_answers(row: str, number: int) -> None:
    """Whatever befalls one in four of them, every other one is whole, up to the last one."""
    chosen, server = random.Random(7), Server()
    client = openai_continue.OpenAI(
        base_url="http://none/v1",
        api_key="key",
        max_retries=0,
        http_client=http.Client(transport=server),
        continuation=Continuation(provider=row, request_limit="round"),
    )
    broken, whole = list[str](), 0
    for answer in range(number):
        server.text = f"Answer {answer}: " + " ".join(chosen.choices(WORDS.split(" "), k=30)) + " and so it ends."
        server.place = chosen.randrange(12, len(server.text) - 1)
        server.usage = chosen.choice(["absent", "exact", "estimated"])
        server.fault = chosen.choice(list(FAULTS)) if answer % 4 == 1 else ""
        got = ask(client, max_tokens=chosen.randrange(1_000, 9_000), stream=chosen.random() < 0.5)
        whole += got == server.text
        if got != server.text and not server.fault:
            broken.append(f"{server.text[: server.place][-30:]!r} | {server.text[server.place :][:30]!r}")

    assert broken == []
    # The faults were faults.
    assert whole < number


@pytest.mark.parametrize("row", ["ollama", "llama.cpp"])
@pytest.mark.spread(1)
def test_a_template_with_an_empty_think_block(row: str) -> None:
    """A template that puts four tokens before an answer without thoughts opens no new turn: every answer is whole."""
    chosen, server = random.Random(7), Server()
    client = openai_continue.OpenAI(
        base_url="http://none/v1",
        api_key="key",
        http_client=http.Client(transport=server),
        continuation=Continuation(provider=row, request_limit="round"),
    )
    for _ in range(100):
        words = [
            f"{word} "
            for word in chosen.choices(
                ["the", "whale", "The", "Sea", "is", "I", "GitHub,", "2**N", "#", "sea.", "In"], k=40
            )
        ]
        place = chosen.randrange(2, 39)
        server.text, server.place, server.usage = "".join(words) + "end.", len("".join(words[:place])), "block"
        assert server.text == ask(client, max_tokens=place, stream=chosen.random() < 0.5)


def ask(client: openai.OpenAI, **more: Any) -> str:
    """Return the text of an answer."""
    answer: Any = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], **more)
    if not more.get("stream"):
        return str(answer.choices[0].message.content)
    return "".join(item.delta.content or "" for chunk in answer for item in chunk.choices)


@pytest.mark.thorough
def test_models_and_limits_of_a_client(caplog: pytest.LogCaptureFixture) -> None:
    """A client keeps what it learnt of some models, not of any number of them; a limit is logged once for a model."""
    server = Server()
    server.text, server.place = "one two three.", 3
    http_client = http.Client(transport=server)
    client = openai_continue.OpenAI(
        base_url="http://none/v1", api_key="key", http_client=http_client, continuation=Continuation(provider="vllm")
    )
    with caplog.at_level(logging.INFO, "openai_continue"):
        for limit in range(1, 40):
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "x"}], max_tokens=limit, extra_body={"n": 1}
            )
        for number in range(400):
            client.chat.completions.create(model=f"m{number}", messages=[{"role": "user", "content": "x"}])

    assert sum("of its request holds" in record.getMessage() for record in caplog.records) == 1
    (known,) = (value for name, value in vars(http_client).items() if "learned" in name)
    assert len(known) <= 256
