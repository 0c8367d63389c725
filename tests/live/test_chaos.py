"""
Every fault in every round, in every way, of every kind of server; the last test prints the tally.

    pytest -m chaos
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from openai_continue.testing import Emulator, Fault
from openai_continue.testing.emulator.faults import Kind
from tests.support.answers import Answer, outcome
from tests.support.servers import SERVERS
from tests.support.ways import ASYNC, OUR_ASYNC, OUR_SYNC, SYNC, Way, settled

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("no_waiting")]

CAP, TOKENS = 28, 100
#: Requests that a fault strikes: one, or all from a round on.
ONCE, FOR_GOOD = 1, 1000
#: Seconds without a word after which a server counts as lost.
PATIENCE = 0.3
KINDS: tuple[Kind, ...] = get_args(Kind)
TALLY: Counter[str] = Counter()


@dataclass(frozen=True)
class Case:
    """One call under one fault."""

    fault: Fault
    way: Way
    streamed: bool
    server: str

    @property
    def body(self) -> dict[str, Any]:
        # At temperature 0 a seam is exact on a server that trims, too.
        return SERVERS[self.server].ask("Chaos.", temperature=0)

    async def run(self, coroutine: Any) -> Any:
        """Run a sync case in a thread, so that it waits next to the others."""
        return await (coroutine if self.way.is_async else asyncio.to_thread(asyncio.run, coroutine))

    async def without_us(self) -> Answer:
        """Ask by the SDK without the library."""
        with self._emulator() as emulator:
            return await self._ask(self.way.plain_client(emulator.base_url, **self._options))

    async def check(self, without: Answer) -> str:
        """Ask by a client that continues, and check that nothing is lost; return what came of it."""
        settings = SERVERS[self.server].settings()
        with self._emulator() as emulator:
            seen = await self._ask(self.way.client(emulator.base_url, continuation=settings, **self._options))
            truth = emulator.uncapped(self.body)

        assert truth.startswith(seen.text or "")
        assert len(without.text or "") <= len(seen.text or "")
        assert 0 == emulator.derailed
        return self._judged(seen, without, truth)

    def _judged(self, seen: Answer, without: Answer, truth: str) -> str:
        """Check that end and report are honest."""
        if seen.error is not None:
            # Only the first round may fail, and as without us, except for the frame that the SDK does not know.
            assert 1 == self.fault.round
            assert without.kind == seen.kind or ("error_frame", True) == (self.fault.kind, self.streamed)
            return "raised, as without it"
        if seen.finish_reason is None:
            assert (None, None, seen.text) == (without.error, without.finish_reason, without.text)
            return "ended without a word, as without it"
        if seen.finish_reason == "stop":
            assert truth == seen.text
            assert seen.stopped_by == "stop"
            return "whole"
        assert "length" == seen.finish_reason
        ends = {"error", "empty"}
        ends |= {"reasoning"} if SERVERS[self.server].habits.thinks else set()
        assert seen.stopped_by in ends
        assert ("error" == seen.stopped_by) == (seen.report is not None and seen.report["error"] is not None)
        return "partial, said so"

    def _emulator(self) -> Emulator:
        habits = SERVERS[self.server].habits
        return Emulator(cap=CAP, tokens=TOKENS, habits=habits, faults=[self.fault], chunk_tokens=7)

    @property
    def _options(self) -> dict[str, Any]:
        return {"max_retries": 0, "timeout": PATIENCE if self.fault.kind == "hang" else 20}

    async def _ask(self, client: Any) -> Answer:
        seen = await outcome(client, streamed=self.streamed, **self.body)
        await settled(client.close())
        return seen


@pytest.mark.parametrize(
    ("server", "times"),
    [*[(server, ONCE) for server in SERVERS], ("deepinfra", FOR_GOOD), ("vllm", FOR_GOOD)],
    ids=[*SERVERS, "deepinfra, for good", "vllm, for good"],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost(kind: Kind, server: str, times: int) -> None:
    """The text is a beginning of the truth, no shorter than without the library, and its end is honest."""
    cases = [
        Case(Fault(kind, round=number, times=times, after_tokens=12), way, streamed, server)
        for number in range(1, 5)
        for way in ((SYNC, ASYNC) if number % 2 else (OUR_SYNC, OUR_ASYNC))
        for streamed in (False, True)
    ]
    # Before anything is patched. A fault of a later round does not meet a client that sends only one request.
    without = await asyncio.gather(*[case.run(case.without_us()) for case in cases])
    TALLY["lost"] += len(cases)
    checks = [case.run(case.check(alone)) for case, alone in zip(cases, without, strict=True)]
    for came in await asyncio.gather(*checks):
        TALLY[came] += 1
        TALLY["lost"] -= 1


def test_tally(capsys: pytest.CaptureFixture[str]) -> None:
    """The sum of all cases is printed; none is lost."""
    count = TALLY.total()
    with capsys.disabled():
        print(f"\nchaos: {count} cases, " + ", ".join(f"{number} {what}" for what, number in TALLY.most_common()))

    assert 0 == TALLY["lost"]
