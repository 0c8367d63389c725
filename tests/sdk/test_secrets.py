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
from openai_continue.core import recovery
from openai_continue.testing import Emulator, Fault
from tests.conftest import ASYNC, DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, Way, ask, http, settled
from tests.outcomes import DONE, LOST, Outcome, Script, chunk, event, outcome

KEY, HEADER, PROMPT, SAID = "sk-canary1", "canary2", "canary3", "canary5"
#: Long enough to be known again.
ANSWER = "The canary4 of the answer, which is as long as a beginning must be, to be taken for one"
CANARIES = ("canary", "Canary")
FIELDS = {"extra_headers": {"X-Secret": HEADER}, "user": "canary6", "stop": ["canary7"], "metadata": {"a": "canary8"}}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.001)


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
    """Check that nothing of what must not be told is in what was said."""
    for one in said:
        assert not any(canary in str(one) for canary in CANARIES), one


def check_objects() -> None:
    """Check the repr of every object of this library that is alive."""
    seen = 0
    for one in gc.get_objects():
        module = getattr(type(one), "__module__", None)
        if isinstance(module, str) and module.startswith("openai_continue.") and ".testing" not in module:
            seen += 1
            check(repr(one))

    assert seen > 10


def check_outcome(seen: Outcome, lines: Lines) -> None:
    check(*lines.lines, json.dumps(seen.report), repr(seen.error), str(seen.error))
    assert lines.lines


ways = pytest.mark.parametrize(
    "way", [SYNC, ASYNC, OUR_SYNC, OUR_ASYNC], ids=["sync", "async", "our-sync", "our-async"]
)
streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@ways
@streamed_or_not
@pytest.mark.parametrize("on_error", ["partial", "raise"])
async def test_nothing_is_told_of_a_call(way: Way, streamed: bool, on_error: str, lines: Lines) -> None:
    """Neither a good call nor one that meets any fault tells anything of key, headers, prompt or answer."""
    for kind in (None, "500", "not_json", "reset", "error_frame", "early_end", "empty"):
        # What the server says of an error is the SDK's to tell.
        faults = [] if kind is None else [Fault(kind, round=3, times=20, after_tokens=3)]
        with Emulator(cap=40, text=f"The {ANSWER} of it. " * 20, faults=faults, chunk_tokens=4) as emulator:
            settings = replace(DEEPINFRA, on_error=on_error, on_round=_failing)
            client = way.client(emulator.base_url, api_key=KEY, continuation=settings, max_retries=0)
            seen = await outcome(client, streamed=streamed, **ask(PROMPT, **FIELDS))
            await settled(client.close())

        check_outcome(seen, lines)
        assert ANSWER in seen.text or seen.error is not None


def _failing(_: Any) -> None:
    raise ValueError(SAID)


@ways
async def test_nothing_is_told_by_objects(way: Way) -> None:
    """No object of a running call tells anything by its repr, in its first round or a later one."""
    frame = event({"error_type": "x", "error_message": SAID})
    for pieces in (
        [[chunk(f"{ANSWER} "), lambda: _look(chunk(f"{ANSWER} ")), LOST], [chunk(ANSWER), frame]],
        [
            [chunk(ANSWER), chunk(" can", "length"), DONE],
            [chunk(f"{ANSWER} can"), lambda: _look(chunk("ary")), chunk(ANSWER, "stop"), DONE],
        ],
        [[chunk(None, reasoning_content=ANSWER), chunk(f"<think>{ANSWER}</think>{ANSWER}\n", "length")], [check_last]],
    ):
        for provider in ("deepinfra", "llama.cpp"):
            settings = Continuation(provider=provider, trims=True)
            script = Script(*pieces)
            client = way.client("http://x/v1", api_key=KEY, transport=script, max_retries=0, continuation=settings)
            seen = await outcome(client, streamed=True, **ask(PROMPT, **FIELDS))
            check_objects()

            check(json.dumps(seen.report), seen.error)
            assert seen.text


def check_last() -> bytes:
    return _look(chunk(ANSWER, "stop"))


def _look(piece: bytes) -> bytes:
    check_objects()
    return piece


async def test_nothing_is_told_of_an_unknown_host(lines: Lines) -> None:
    """The line about an unknown host names the host and nothing of the address's user, password or path."""
    script = Script([json.dumps({"id": "c", "choices": []}).encode()])
    client = SYNC.client(
        f"http://{SAID}:{SAID}@untold.example/{SAID}", api_key=KEY, transport=script, continuation=Continuation()
    )
    await outcome(client, streamed=False, **ask(PROMPT, **FIELDS))

    check(*lines.lines)
    assert any("untold.example" in line for line in lines.lines)


async def test_an_error_of_ours_tells_what_a_setting_was_and_no_more() -> None:
    """A bad setting is told by its name and value; the rest of the call is not."""
    client = SYNC.client("http://x/v1", api_key=KEY, transport=Script())
    with pytest.raises(SettingsError) as caught:
        client.chat.completions.create(**ask(PROMPT, **FIELDS), extra_body={"continuation": {"max_rounds": 0}})

    check(str(caught.value), repr(caught.value))
    assert "max_rounds" in str(caught.value)


def test_headers_of_a_refused_frame_are_not_the_clients() -> None:
    """The response that is made of an error frame carries no more than the server's own answer did."""
    script = Script([chunk("One"), event({"error_type": "x", "error_message": "no"})])
    client = SYNC.client("http://x/v1", api_key=KEY, transport=script, max_retries=0)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any error of the SDK's has a response
        list(client.chat.completions.create(**ask(PROMPT, **FIELDS), stream=True))

    error: Any = caught.value
    check(repr(error), str(error), dict(error.response.headers), error.response.text)
    assert isinstance(error.response, http.Response)
