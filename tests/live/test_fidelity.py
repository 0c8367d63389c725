"""
Fidelity over connections: whatever the text, the caps and the server, each way brings the text as it was.

Fresh examples, and ten times as many: ``pytest tests/live/test_fidelity.py --hypothesis-profile fresh``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_continue.testing import Emulator, Habits
from tests.support.answers import Answer, live
from tests.support.engine import Engine
from tests.support.servers import SERVERS
from tests.support.texts import is_as_it_was, pattern_for, texts
from tests.support.ways import OUR_ASYNC, OUR_SYNC, Way, settled


class Patterned(Emulator):
    """An emulator that says what it is asked to say, under another cap in each request."""

    pattern: tuple[int, ...] = (10**6,)

    def __init__(self, habits: Habits) -> None:
        super().__init__(text=lambda body, _: str(body["messages"][0]["content"]), habits=habits, context=10**6)

    @property
    def cap(self) -> int:
        number = len(self.ledger.requests) - 1
        return self.pattern[min(number, len(self.pattern) - 1)]

    @cap.setter
    def cap(self, value: int) -> None:
        self.pattern = (value,)


class Bench:
    """Servers of all kinds and clients to them, kept for all examples."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._loop = asyncio.new_event_loop()
        stack.callback(self._loop.close)
        self._servers: dict[str, Patterned] = {}
        self._clients: dict[tuple[str, Way], Any] = {}

    def server(self, name: str, pattern: tuple[int, ...]) -> Patterned:
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(Patterned(SERVERS[name].habits))
        server = self._servers[name]
        server.clear()
        server.pattern = pattern
        return server

    def ask(self, name: str, way: Way, body: dict[str, Any], *, streamed: bool) -> Answer:
        if (name, way) not in self._clients:
            known = SERVERS[name].settings(max_rounds=500)
            client = way.client(self._servers[name].base_url, continuation=known)
            self._clients[name, way] = client
            self._stack.callback(lambda: self._loop.run_until_complete(settled(client.close())))
        return self._loop.run_until_complete(live(self._clients[name, way], body, streamed=streamed))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.mark.thorough
@settings(max_examples=settings.default.max_examples * 3)
@given(data=st.data(), name=st.sampled_from(sorted(SERVERS)), is_async=st.booleans(), streamed=st.booleans())
def test_fidelity(bench: Bench, data: Any, name: str, is_async: bool, streamed: bool) -> None:
    """Through a client, any text under any caps comes as it was, with its logprobs."""
    kind, text = SERVERS[name], data.draw(texts)
    logprobs = data.draw(st.booleans()) if not kind.habits.thinks else False
    temperature = data.draw(st.sampled_from([None, 0, 1]))
    body = kind.ask(
        text,
        **({} if temperature is None else {"temperature": temperature}),
        **({"logprobs": True} if logprobs else {}),
    )
    server = bench.server(name, pattern_for(data.draw, kind))
    expected = Engine(text, habits=kind.habits).uncapped(body)
    answer = bench.ask(name, OUR_ASYNC if is_async else OUR_SYNC, body, streamed=streamed)

    seen = answer.ending, expected.ending, server.requests[-1].body["messages"][-1]
    assert is_as_it_was(answer, expected, kind, text), seen
    assert server.derailed == 0
    assert not logprobs or answer.text.encode() == answer.spelled
