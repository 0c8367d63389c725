"""Keys, headers and content are in no log line, error, report or repr of this library, at any log level."""

from __future__ import annotations

import gc
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from openai_continue import Continuation, SettingsError
from openai_continue.testing import Emulator, Fault
from tests.support.answers import outcome
from tests.support.bodies import ask
from tests.support.script import DONE, LOST, Script, chunk, event
from tests.support.ways import DEEPINFRA, SYNC, Way, http, settled, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

KEY, HEADER, PROMPT, SAID = "sk-canary1", "canary2", "canary3", "canary5"
#: Long enough to be known again.
ANSWER = "The canary4 of the answer, which is as long as a beginning must be, to be taken for one"
CANARIES = ("canary", "Canary")
FIELDS = {"extra_headers": {"X-Secret": HEADER}, "user": "canary6", "stop": ["canary7"], "metadata": {"a": "canary8"}}


class Lines(logging.Handler):
    """Keeps all that is logged, arguments and exceptions too."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [record.getMessage(), repr(record.args), repr(record.__dict__)]
        if record.exc_info:
            self.lines += traceback.format_exception(*record.exc_info)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All that this library logs at DEBUG."""
    logger = logging.getLogger("openai_continue")
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def check(*said: object) -> None:
    """Check that no canary is in what was said."""
    for one in said:
        assert not any(canary in str(one) for canary in CANARIES), one


def leaks() -> list[str]:
    """Return the repr of every object of this library that is alive and shows a canary."""
    modules = [(one, getattr(type(one), "__module__", None)) for one in gc.get_objects()]
    ours = [one for one, name in modules if isinstance(name, str) and name.startswith("openai_continue.")]
    shown = [repr(one) for one in ours if ".testing" not in type(one).__module__]

    assert len(shown) > 10
    return [one for one in shown if any(canary in one for canary in CANARIES)]


@two_ways
@pytest.mark.parametrize("on_error", ["partial", "raise"])
async def test_call(way: Way, streamed: bool, on_error: str, lines: Lines) -> None:
    """Neither a good call nor one that meets any fault says anything of key, headers, prompt or answer."""
    for kind in (None, "500", "not_json", "reset", "error_frame", "early_end", "empty"):
        faults = [] if kind is None else [Fault(kind, round=3, times=20, after_tokens=3)]
        with Emulator(cap=40, text=f"The {ANSWER} of it. " * 20, faults=faults, chunk_tokens=4) as emulator:
            settings = replace(DEEPINFRA, on_error=on_error, on_round=_failing)
            client = way.client(emulator.base_url, api_key=KEY, continuation=settings, max_retries=0)
            seen = await outcome(client, streamed=streamed, **ask(PROMPT, **FIELDS))
            await settled(client.close())

        check(*lines.lines, json.dumps(seen.report), repr(seen.error), str(seen.error))
        assert lines.lines
        assert ANSWER in seen.text or seen.error is not None


def _failing(_: Any) -> None:
    raise ValueError(SAID)


FRAME = event({"error_type": "x", "error_message": SAID})
BODIES: dict[str, list[list[bytes]]] = {
    "breaks": [[chunk(f"{ANSWER} "), chunk(f"{ANSWER} ")], [chunk(ANSWER), FRAME]],
    "starts over": [
        [chunk(ANSWER), chunk(" can", "length"), DONE],
        [chunk(f"{ANSWER} can"), chunk("ary"), chunk(ANSWER, "stop"), DONE],
    ],
    "thinks": [
        [chunk(None, reasoning_content=ANSWER), chunk(f"<think>{ANSWER}</think>{ANSWER}\n", "length")],
        [chunk(ANSWER, "stop")],
    ],
}

#: The settings say that the template trims, so the text goes up to its last word. In the last one that does not come
#: back: one more. In the others the answer begins again.
REQUESTS = {"breaks": 2, "starts over": 2, "thinks": 3}


@pytest.mark.parametrize(("name", "provider"), list(zip(BODIES, ["llama.cpp", "deepinfra", "llama.cpp"], strict=True)))
@pytest.mark.spread(1)
async def test_objects(way: Way, name: str, provider: str) -> None:
    """No object of a running call shows anything in its repr, before any piece of any round."""
    seen: list[str] = []

    def looking(pieces: list[bytes], end: list[Exception]) -> Iterator[Any]:
        for piece in pieces:
            seen.extend(leaks())
            yield piece
        yield from end

    breaks = name == "breaks"
    script = Script(*(looking(one, [LOST] if breaks and not number else []) for number, one in enumerate(BODIES[name])))
    settings = Continuation(provider=provider, trims=True)
    client = way.client("http://x/v1", api_key=KEY, transport=script, max_retries=0, continuation=settings)

    answer = await outcome(client, streamed=True, **ask(PROMPT, **FIELDS))

    assert [*seen, *leaks()] == []
    check(json.dumps(answer.report), answer.error)
    assert answer.text
    assert REQUESTS[name] == len(script.bodies)


async def test_unknown_host(lines: Lines) -> None:
    """The line about an unknown host names the host and nothing of the address's user, password or path."""
    script = Script([json.dumps({"id": "c", "choices": []}).encode()])
    client = SYNC.client(
        f"http://{SAID}:{SAID}@untold.example/{SAID}", api_key=KEY, transport=script, continuation=Continuation()
    )
    await outcome(client, streamed=False, **ask(PROMPT, **FIELDS))

    check(*lines.lines)
    assert any("untold.example" in line for line in lines.lines)


async def test_bad_setting() -> None:
    """The error of a bad setting shows its name and value, and nothing of the rest of the call."""
    client = SYNC.client("http://x/v1", api_key=KEY, transport=Script())
    with pytest.raises(SettingsError) as caught:
        client.chat.completions.create(**ask(PROMPT, **FIELDS), extra_body={"continuation": {"max_rounds": 0}})

    check(str(caught.value), repr(caught.value))
    assert "max_rounds" in str(caught.value)


def test_response_of_an_error_frame() -> None:
    """The response that is made of an error frame carries no more than the server's own answer did."""
    script = Script([chunk("One"), event({"error_type": "x", "error_message": "no"})])
    client = SYNC.client("http://x/v1", api_key=KEY, transport=script, max_retries=0)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any error of the SDK's has a response
        list(client.chat.completions.create(**ask(PROMPT, **FIELDS), stream=True))

    error: Any = caught.value
    check(repr(error), str(error), dict(error.response.headers), error.response.text)
    assert isinstance(error.response, http.Response)
