"""Patched clients and ours, sync and async, whole and streamed: all eight give the same in every situation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest

from openai_continue import disabled
from tests.support.answers import joined, outcome
from tests.support.asking import create, text_of
from tests.support.bodies import ask
from tests.support.script import Script, reply, usage
from tests.support.ways import ASYNC, DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, http, listed, settled

EIGHT = list(product((SYNC, ASYNC, OUR_SYNC, OUR_ASYNC), (False, True)))
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b'}}
OVERFLOW = (
    "This model's maximum context length is 4096 tokens. However, you requested 17384 tokens "
    "(1000 in the messages, 16384 in the completion). Please reduce the length of the messages or completion."
)
THREE = (reply("One "), reply("two "), reply("three.", finish="stop"))


class Refusing(Script):
    """A server that refuses requests for more tokens than its context holds."""

    refused = 0

    def handle_request(self, request: Any) -> Any:
        if (json.loads(request.content).get("max_tokens") or 0) > 4096:
            self.refused += 1
            return http.Response(400, json={"error": {"message": OVERFLOW}}, request=request)
        return super().handle_request(request)


@dataclass
class Situation:
    """What a server says, how it is asked, and what the caller must get."""

    rounds: tuple[Any, ...]
    #: Text, finish reason, and the report's reason.
    answer: tuple[str, str | None, str | None]
    requests: int
    error: str = "NoneType"
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    around: Callable[[], Any] = nullcontext


SITUATIONS: dict[str, Situation] = {
    "plain": Situation((reply("One.", finish="stop"),), ("One.", "stop", None), 1),
    "at the caller's limit": Situation(
        (reply("One two", usage=usage(10, 7)),), ("One two", "length", None), 1, body={"max_tokens": 7}
    ),
    "continued": Situation(THREE, ("One two three.", "stop", "stop"), 3),
    "continued to the caller's limit": Situation(
        THREE, ("One two ", "length", "max_tokens"), 2, body={"max_tokens": 10}
    ),
    "too much for the context": Situation(
        THREE, ("", None, None), 0, error="BadRequestError", body={"max_tokens": 20_000}
    ),
    "most rounds of the settings": Situation(
        THREE, ("One two ", "length", "max_rounds"), 2, settings={"max_rounds": 2}
    ),
    "most rounds of the call": Situation(
        THREE, ("One two ", "length", "max_rounds"), 2, body={"extra_body": {"continuation": {"max_rounds": 2}}}
    ),
    "cut in a tool call": Situation((reply({"tool_calls": [CALL]}),), ("", "length", "tool_call"), 1),
    "later round fails": Situation((reply("One "),), ("One ", "length", "error"), 2),
    "later round raises": Situation(
        (reply("One "),), ("", None, None), 2, error="APIConnectionError", settings={"on_error": "raise"}
    ),
    "first round fails": Situation((), ("", None, None), 1, error="APIConnectionError"),
    "disabled": Situation(THREE, ("One ", "length", None), 1, around=disabled),
    "off for the call": Situation(THREE, ("One ", "length", None), 1, body={"extra_body": {"continuation": False}}),
    "bad setting of the call": Situation(
        THREE, ("", None, None), 0, error="SettingsError", body={"extra_body": {"continuation": "yes"}}
    ),
    "unknown host": Situation(THREE, ("One ", "length", None), 1, settings={"provider": None}),
    "host that does not continue": Situation(THREE, ("One ", "length", None), 1, settings={"provider": "openai"}),
}


@pytest.mark.parametrize("name", SITUATIONS)
async def test_situation(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Answer, error, report, requests, rounds given to ``on_round`` and log are the same eight times."""
    this = SITUATIONS[name]
    seen = []
    for number, (way, streamed) in enumerate(EIGHT):
        caplog.clear()
        caplog.set_level(logging.DEBUG, "openai_continue")
        told: list[Any] = []
        script = Refusing(*this.rounds)
        settings = replace(DEEPINFRA, on_round=told.append, **this.settings)
        # Some lines are logged once a host.
        host = f"{number}-{name}.example".lower().translate(dict.fromkeys(map(ord, " '"), "-"))
        client = way.client(f"http://{host}/v1", transport=script, continuation=settings, max_retries=0)
        with this.around():
            answer = await outcome(client, streamed=streamed, **ask(**this.body))
        # If an error ends a stream, its text came before.
        answer.text = "" if answer.error else answer.text or ""

        assert (name == "too much for the context") == script.refused
        assert (this.answer, this.error, this.requests) == (answer.ending, answer.kind[0], len(script.bodies))
        partial = getattr(answer.error, "partial_completion", None)
        lines = [record.getMessage() for record in caplog.records if record.name == "openai_continue"]
        seen.append(
            {
                "error": str(answer.error),
                "partial": partial and text_of(partial),
                "report": answer.report or (partial and partial.continuation),
                "bodies": [without_streaming(body) for body in script.bodies],
                # A stream also reports the round whose error it raises; a whole call does not.
                "rounds": None if partial else told,
                "log": None if partial else [line.replace(host, "HOST") for line in lines],
            }
        )

    assert [seen[0]] * len(EIGHT) == seen


def without_streaming(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("stream", "stream_options")}


async def test_raw_response() -> None:
    """A raw response of a continued call is the same eight times."""
    seen = []
    for way, streamed in EIGHT:
        client = way.client("http://x/v1", transport=Script(*THREE), max_retries=0)
        raw = await settled(client.chat.completions.with_raw_response.create(**ask(), stream=streamed))
        parsed = raw.parse()
        text = joined(await listed(parsed)) if streamed else text_of(parsed)
        headers = {name: value for name, value in raw.headers.items() if name != "content-length"}
        seen.append((text, raw.status_code, raw.retries_taken, headers))

    assert [("One two three.", 200, 0, {"x-request-id": "req-1"})] * len(EIGHT) == seen


@pytest.mark.parametrize("way", [SYNC, ASYNC, OUR_SYNC, OUR_ASYNC], ids=["sync", "async", "our-sync", "our-async"])
@pytest.mark.parametrize(("chunks", "text", "requests"), [(1, "", 1), (3, "One two", 2)])
async def test_closed_early(way: Any, chunks: int, text: str, requests: int) -> None:
    """A stream that is closed in its first round, or its second, sends nothing more and is closed below."""
    script = Script(*THREE)
    stream = await create(way.client("http://x/v1", transport=script, max_retries=0), **ask(), stream=True)
    iterator = aiter(stream) if way.is_async else iter(stream)
    seen = [await anext(iterator) if way.is_async else next(iterator) for _ in range(chunks)]
    await settled(stream.close())

    assert text == joined(seen).strip()
    assert requests == len(script.bodies)
    assert all(body.closed for body in script.streams)
