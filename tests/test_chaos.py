"""
Every fault in every round, in every way, of every kind of server; the last test prints the tally.

    pytest -m chaos
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from openai_continue.core import recovery
from openai_continue.testing import Emulator, Fault, Habits
from openai_continue.testing.emulator.faults import Kind
from tests.conftest import ASYNC, DEEPINFRA, OUR_ASYNC, OUR_SYNC, SYNC, Way, ask, settled
from tests.outcomes import Outcome, outcome

pytestmark = pytest.mark.chaos

CAP, TOKENS = 28, 100
#: Requests that a fault strikes: one, or all from a round on.
ONCE, FOR_GOOD = 1, 1000
#: Seconds without a word after which a server counts as lost.
PATIENCE = 0.3
SERVERS = {
    "plain": (Habits(), DEEPINFRA),
    "trims": (Habits(trims=True, usage="trailing"), replace(DEEPINFRA, trims=True)),
    "cut-characters": (Habits(cut_characters="replaced"), DEEPINFRA),
    "vllm": (
        Habits(marker="continue_final_message", usage="asked", finish_with_text=True, limit_field="both"),
        replace(DEEPINFRA, provider="vllm"),
    ),
    "echo": (Habits(marker="prefix", echo="always", echo_pieces=3), replace(DEEPINFRA, provider="mistral")),
}
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
        return ask("Chaos.", temperature=0)

    async def run(self, what: Any) -> Any:
        """Run a sync case in a thread, so that it waits beside the others."""
        return await (what if self.way.is_async else asyncio.to_thread(asyncio.run, what))

    async def without_us(self) -> Outcome:
        """Ask by the SDK alone."""
        with self._emulator() as emulator:
            return await self._ask(self.way.plain_client(emulator.base_url, **self._options))

    async def check(self, without: Outcome) -> str:
        """Ask by a client that continues, and check that nothing is lost; return what came of it."""
        _, settings = SERVERS[self.server]
        with self._emulator() as emulator:
            seen = await self._ask(self.way.client(emulator.base_url, continuation=settings, **self._options))
            truth = emulator.uncapped(self.body)

        assert truth.startswith(seen.text)
        assert len(without.text) <= len(seen.text)
        assert 0 == emulator.derailed
        return self._judged(seen, without, truth)

    def _judged(self, seen: Outcome, without: Outcome, truth: str) -> str:
        """Check that end and report are honest."""
        if seen.error is not None:
            # Only the first round may fail, and as without us, but for the frame that the SDK does not know.
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
        assert seen.stopped_by in ("error", "empty")
        assert ("error" == seen.stopped_by) == (seen.report is not None and seen.report["error"] is not None)
        return "partial, said so"

    def _emulator(self) -> Emulator:
        habits, _ = SERVERS[self.server]
        return Emulator(cap=CAP, tokens=TOKENS, habits=habits, faults=[self.fault], chunk_tokens=7)

    @property
    def _options(self) -> dict[str, Any]:
        return {"max_retries": 0, "timeout": PATIENCE if self.fault.kind == "hang" else 20}

    async def _ask(self, client: Any) -> Outcome:
        seen = await outcome(client, streamed=self.streamed, **self.body)
        await settled(client.close())
        return seen


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "FIRST_WAIT", 0.001)


@pytest.mark.parametrize(
    ("server", "times"),
    [*[(server, ONCE) for server in SERVERS], ("plain", FOR_GOOD), ("vllm", FOR_GOOD)],
    ids=[*SERVERS, "plain-for-good", "vllm-for-good"],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost(kind: Kind, server: str, times: int) -> None:
    """The text is a beginning of the truth, no shorter than without the library, and its end is honest."""
    cases = [
        Case(Fault(kind, round=number, times=times, after_tokens=12), way, streamed, server)
        for number in range(1, 5)
        for ways in ((SYNC, ASYNC), (OUR_SYNC, OUR_ASYNC))
        for way in ways
        for streamed in (False, True)
        if ways == ((SYNC, ASYNC) if number % 2 else (OUR_SYNC, OUR_ASYNC))
    ]
    # Before anything is patched. What strikes a later round does not meet a client that knows of one alone.
    without = await asyncio.gather(*[case.run(case.without_us()) for case in cases])
    TALLY["lost"] += len(cases)
    checks = [case.run(case.check(alone)) for case, alone in zip(cases, without, strict=True)]
    for came in await asyncio.gather(*checks):
        TALLY[came] += 1
        TALLY["lost"] -= 1


def test_tally(capsys: pytest.CaptureFixture[str]) -> None:
    """The sum of all cases is printed; none is lost."""
    cases = TALLY.total()
    with capsys.disabled():
        print(f"\nchaos: {cases} cases, " + ", ".join(f"{count} {what}" for what, count in TALLY.most_common()))

    assert 0 == TALLY["lost"]
