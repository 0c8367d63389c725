"""
Every fault in every round, in every way, of every kind of server; the tally is printed at the end.

    pytest -m chaos
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import openai
import pytest

from openai_continue import Continuation
from openai_continue._tables import providers
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator import sender
from openai_continue.testing.emulator.faults import Kind
from tests.support.answers import Answer, outcome
from tests.support.bodies import ask
from tests.support.responses import check_events, response_outcome
from tests.support.servers import SERVERS
from tests.support.servers import Kind as Server
from tests.support.ways import ASYNC, OUR_ASYNC, OUR_SYNC, SYNC, Way, http, settled

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("no_waiting", "drips_at_once")]

CAP, TOKENS = 28, 100
#: Requests that a fault strikes: one, or all from a round on.
ONCE, FOR_GOOD = 1, 1000
#: Seconds after which a server that is silent counts as lost. No server is.
LONG = 600
#: The faults of servers, and one of transports, which raise errors of their own in the middle of a round.
FOREIGN = "foreign"
KINDS: tuple[str, ...] = (*get_args(Kind), FOREIGN)


class Lost(Exception):  # noqa: N818
    """What a transport raises that is not the SDK's own: aiohttp's, curl's, the event loop's."""


#: Faults that a transport raises in the middle of a round, whose server stops there. A server that is silent is a
#: timeout at once, so that no test waits, and a busy machine changes nothing.
RAISED: dict[str, type[Exception]] = {"hang": http.ReadTimeout, "reset": http.ReadError, FOREIGN: Lost}


class Failing(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """A transport that raises an error where some responses end."""

    def __init__(self, error: type[Exception], numbers: range, *, is_async: bool) -> None:
        kind = http.AsyncHTTPTransport if is_async else http.HTTPTransport
        self._inner = kind(verify=False)
        self._error = error
        self._numbers = numbers
        self._requests = 0

    def handle_request(self, request: Any) -> Any:
        return self._spoilt(self._inner.handle_request(request))

    async def handle_async_request(self, request: Any) -> Any:
        return self._spoilt(await self._inner.handle_async_request(request))

    def _spoilt(self, response: Any) -> Any:
        self._requests += 1
        if self._requests in self._numbers:
            response.stream = FailingStream(response.stream, self._error)
        return response

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()


class FailingStream(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc, name-defined]
    """A stream, and then an error."""

    def __init__(self, stream: Any, error: type[Exception]) -> None:
        self._stream = stream
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.suppress(http.RemoteProtocolError):
            yield from self._stream
        raise self._error("no more comes")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(http.RemoteProtocolError):
            async for piece in self._stream:
                yield piece
        raise self._error("no more comes")

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


#: Servers whose text completions go on.
TEXTS = {
    "text": Server(Habits()),
    "text, vllm": Server(Habits(usage="asked", finish_with_text=True, limit_field="both"), "vllm"),
}
#: Servers whose chats go on by raw prompts.
RAW = {
    "raw, trims": Server(Habits(trims=True), trims=True),
    "raw, thinking": Server(
        Habits(
            usage="asked",
            limit_field="both",
            marker="continue_final_message",  # type: ignore[arg-type]
            thinks="reasoning",
            template="qwen3",
            think_blanks="kept",
            think_tokens=40,  # type: ignore[arg-type]
        ),
        "vllm",
        "qwen3",
    ),
}


@dataclass(frozen=True)
class Responding(Server):
    """A server whose responses go on."""

    #: Further settings.
    more: Mapping[str, Any] = field(default_factory=dict)
    #: A token limit of the request, and the budget that may end the answer.
    limit: int | None = None
    budget: str = ""

    def settings(self, **more: Any) -> Continuation:
        return super().settings(**{**self.more, **more})

    def ask(self, prompt: str = "x", **fields: Any) -> dict[str, Any]:
        return {"model": self.model, "input": prompt, "max_output_tokens": self.limit, **fields}


VLLM, DEEPINFRA = Habits(responses="vllm"), Habits(responses="deepinfra")
THINKING = Habits(responses="vllm", thinks="reasoning", template="qwen3", think_tokens=10, misfiles="both")
RESPONSES = {
    "response, vllm": Responding(VLLM, "vllm"),
    "response, vllm, thinking": Responding(THINKING, "vllm", "Qwen/Qwen3-8B"),
    "response, deepinfra": Responding(DEEPINFRA),
    "response, not healed": Responding(VLLM, "vllm", more={"heal_streams": False}),
    "response, streamed rounds": Responding(DEEPINFRA, more={"stream_rounds": True}),
    "response, max_output_tokens": Responding(VLLM, "vllm", limit=70, budget="max_tokens"),
    "response, max_cost": Responding(DEEPINFRA, more={"max_cost": 1e-5}, budget="max_cost"),
}
#: A row that knows the cap, and gateways before such a server that call each cut "stop".
CAPPED = replace(providers.named("deepinfra"), name="capped", hosts=(), cap=CAP)
GATEWAYS = {
    "gateway": Server(Habits(ends="stop"), CAPPED.name),
    "gateway, usage after the end": Server(Habits(ends="stop", usage="trailing"), CAPPED.name),
    "response, gateway": Responding(Habits(ends="stop", responses="deepinfra"), CAPPED.name),
}
ALL = {**SERVERS, **TEXTS, **RAW, **RESPONSES, **GATEWAYS}
#: Servers that a fault strikes for good, too.
STRUCK = ("deepinfra", "vllm", "raw, thinking", "response, vllm", "gateway", "response, gateway")


@pytest.fixture
def drips_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow server sends its small pieces without waiting between them; the client still reads one at a time."""
    monkeypatch.setattr(sender, "_DRIP_SECONDS", 0)


@pytest.fixture(autouse=True)
def _capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, CAPPED))


@dataclass(frozen=True)
class Case:
    """One call under one fault, which strikes from a round on, so many times."""

    kind: Any
    number: int
    times: int
    way: Way
    streamed: bool
    server: str
    #: Where the chat template of the server is, if its chats go on by raw prompts.
    template: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        if self.server in TEXTS:
            return {"model": "m", "prompt": "Chaos.", "temperature": 0}
        # At temperature 0 a seam is exact on a server that trims, too.
        return ALL[self.server].ask("Chaos.", temperature=0)

    @property
    def plain(self) -> tuple[bool, bool, bool]:
        """What the answer of the SDK depends on: a client that sends one request meets no fault of a later round."""
        return self.number == 1, self.way.is_async, self.streamed

    async def run(self, coroutine: Any) -> Any:
        """Run a sync case in a thread, so that it waits next to the others."""
        return await (coroutine if self.way.is_async else asyncio.to_thread(asyncio.run, coroutine))

    async def without_us(self) -> Answer:
        """Ask by the SDK without the library."""
        with self._emulator() as emulator:
            return await self._ask(self.way.plain_client(emulator.base_url, **self._options()))

    async def check(self, without: Answer) -> str:
        """Ask by a client that continues, and check that nothing is lost; return what came of it."""
        settings = ALL[self.server].settings(template=self.template)
        with self._emulator() as emulator:
            seen = await self._ask(self.way.client(emulator.base_url, continuation=settings, **self._options()))
            # The tokens of a round that broke off are estimated, so a limit may be passed.
            unlimited = {**self.body, "max_output_tokens": None}
            truth, thoughts = emulator.uncapped(unlimited), emulator.uncapped_reasoning(unlimited)

        # Half a character of a first round that fails comes as without us.
        assert truth.startswith(seen.text or "") or (self.number, without.text) == (1, seen.text)
        assert len((without.text or "").rstrip("\ufffd")) <= len(seen.text or "")
        assert emulator.derailed == 0
        if isinstance(ALL[self.server], Responding):
            assert thoughts.startswith(seen.thoughts)
            assert len(without.thoughts) <= len(seen.thoughts)
            if self.streamed and seen.report is not None:
                check_events(seen.raw)
        return self._judged(seen, without, truth)

    def _judged(self, seen: Answer, without: Answer, truth: str) -> str:
        """Check that end and report are honest."""
        if seen.error is not None:
            # Only the first round may fail, and as without us, except for the frame that the SDK does not know.
            assert self.number == 1
            assert without.kind == seen.kind or ("error_frame", True) == (self.kind, self.streamed)
            return "raised, as without it"
        if seen.finish_reason is None:
            assert (None, None, seen.text) == (without.error, without.finish_reason, without.text)
            return "ended without a word, as without it"
        if seen.finish_reason == "error":
            assert (1, "error", seen.text) == (self.number, without.finish_reason, without.text)
            return "ended in an error, as without it"
        if self.kind == "other_model":
            assert "another/model" in [one["model"] for one in seen.rounds]
        if seen.finish_reason == "stop" and self.server in GATEWAYS and truth != seen.text:
            # The gateway's own word stays, and the report says why no more came.
            assert seen.stopped_by in {"error", "empty"}
            return "partial, said so"
        if seen.finish_reason == "stop":
            assert truth == seen.text
            assert seen.stopped_by == "stop"
            return "whole"
        assert seen.finish_reason == "length"
        ends = {"error", "empty"}
        ends |= {"reasoning"} if ALL[self.server].habits.thinks else set()
        ends |= {"restart"} if self.kind == "thinks_anew" else set()
        ends |= {getattr(ALL[self.server], "budget", "")}
        assert seen.stopped_by in ends
        assert ("error" == seen.stopped_by) == (seen.report is not None and seen.report["error"] is not None)
        return "partial, said so"

    def _emulator(self) -> Emulator:
        habits = ALL[self.server].habits
        # An error of another library strikes within a frame.
        shown: Any = {"hang": "early_end", "reset": "early_end", FOREIGN: "half_frame"}.get(self.kind, self.kind)
        faults = [Fault(shown, self.number, self.times, after_tokens=12)]
        # A new answer is known by its first 64 characters, so they must come after the new thoughts.
        size = 4 if self.kind == "thinks_anew" else 1
        return Emulator(cap=CAP * size, tokens=TOKENS * size, habits=habits, faults=faults, chunk_tokens=7)

    def _options(self) -> dict[str, Any]:
        error, numbers = RAISED.get(self.kind), range(self.number, self.number + self.times)
        transport = error and Failing(error, numbers, is_async=self.way.is_async)
        return {"max_retries": 0, "timeout": LONG, "transport": transport}

    async def _ask(self, client: Any) -> Answer:
        ask_it = response_outcome if isinstance(ALL[self.server], Responding) else outcome
        seen = await ask_it(client, streamed=self.streamed, **self.body)
        await settled(client.close())
        return seen


@pytest.mark.parametrize(
    ("server", "times"),
    [*[(server, ONCE) for server in ALL], *[(server, FOR_GOOD) for server in STRUCK]],
    ids=[*ALL, *[f"{server}, for good" for server in STRUCK]],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost(kind: str, server: str, times: int, tmp_path: Path, record_property: Any) -> None:
    """The text is a beginning of the truth, no shorter than without the library, and its end is honest."""
    # Where whole answers are made of streams, the first round fails in another way than a whole answer.
    folds, budget = ALL[server].settings().stream_rounds, getattr(ALL[server], "budget", "")
    if kind == "thinks_anew" and (server not in {**SERVERS, **RESPONSES} or budget):
        pytest.skip("a model that begins again after its own words is none of a server's faults")
    template = tmp_path / "chat_template.jinja"
    template.write_text(Emulator(habits=ALL[server].habits).chat_template, "utf-8")
    cases = [
        Case(kind, number, times, way, streamed, server, str(template) if server in RAW else None)
        # Known defect: after a continuation that went well, a round that thinks and answers again is joined as it came.
        for number in range(1 + folds, 3 if kind == "thinks_anew" else 4 if budget else 5)
        for way in ((SYNC, ASYNC) if number % 2 else (OUR_SYNC, OUR_ASYNC))
        for streamed in (False, *[True][folds:])
    ]
    # Before anything is patched.
    plain = {case.plain: case for case in cases}
    answers = await asyncio.gather(*[case.run(case.without_us()) for case in plain.values()])
    without = dict(zip(plain, answers, strict=True))
    checks = [case.run(case.check(without[case.plain])) for case in cases]
    record_property("chaos", dict(Counter(await asyncio.gather(*checks))))


# Tool calls.

CALLERS: dict[str, tuple[str, Habits, str]] = {
    "vllm": ("Qwen/Qwen3-32B", Habits(usage="asked", cut_calls="content", marker="continue_final_message"), "vllm"),
    "vllm, tagged": ("Qwen/Qwen3-Coder-Next", Habits(usage="asked", calls="qwen3_coder", drops_unwanted_calls=True, marker="continue_final_message"), "vllm"),
    "llama.cpp": ("Qwen/Qwen3-32B", Habits(echo="unflagged", usage="asked", calls_in_prefill="deltas"), "llama.cpp"),
}  # fmt: skip
WRITE = {name: {"type": kind} for name, kind in (("path", "string"), ("count", "integer"), ("content", "string"))}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": WRITE}}} for name in ("save", "add")
]
#: Breaks of a stream that say nothing, and those in which the server says that it failed.
HEALED = ("reset", "early_end", "half_frame", "no_done")
BREAKS = (*HEALED, "error_frame", "error_event", "choice_error")


@pytest.mark.parametrize("times", [ONCE, FOR_GOOD], ids=["once", "for good"])
@pytest.mark.parametrize("server", CALLERS)
@pytest.mark.parametrize("kind", BREAKS)
def test_no_call_is_lost(kind: Any, server: str, times: int, record_property: Any) -> None:
    """A stream that breaks off at any token of a call goes on, or ends in "length" with a beginning of the truth."""
    model, habits, provider = CALLERS[server]
    tally: Counter[str] = Counter()
    body = ask("Write 8 tokens, then call the tool save twice with 30 tokens.", model=model, tools=TOOLS)
    for number in (1, 2, 3):
        # Every token of a round of 60, or a few.
        every = (kind, times, number) == ("reset", ONCE, 1)
        for place in range(1, 61, 1 if every else 10):
            fault = Fault(kind, number, times, after_tokens=place)
            with Emulator(cap=60, habits=habits, faults=[fault]) as emulator:
                client = OUR_SYNC.client(emulator.base_url, continuation=Continuation(provider=provider), max_retries=0)
                chunks: list[Any] = []
                error = None
                try:
                    chunks += client.chat.completions.create(**body, stream=True)
                except openai.OpenAIError as raised:
                    error = raised
                client.close()
                truth, text = emulator.uncapped_calls(body), emulator.uncapped(body)
                derailed = emulator.derailed
            seen = Answer.of_chunks([chunk.model_dump(exclude_unset=True) for chunk in chunks])
            called = [(call["function"]["name"], call["function"]["arguments"]) for call in seen.tool_calls]
            if seen.finish_reason == "tool_calls":
                assert (text, truth, 0) == (seen.text.rstrip(), called, derailed), place
                came = "whole call"
            else:
                assert kind not in HEALED or times == FOR_GOOD, place
                assert text.startswith(seen.text.rstrip())
                assert [name for name, _ in truth][: len(called)] == [name for name, _ in called]
                assert all(whole.startswith(part) for (_, whole), (_, part) in zip(truth, called, strict=False)), place
                failed = error is not None or seen.finish_reason == "error"
                assert number == 1 if failed else ("length", True) == (seen.finish_reason, seen.report is not None)
                came = "partial call, raised or ended in an error" if failed else "partial call, said so"
            tally[came] += 1
    record_property("chaos", dict(tally))
