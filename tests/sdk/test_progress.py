"""The progress bar: on a terminal, or always; never any content, and it goes away with the call."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._sdk import progress
from openai_continue.testing import Emulator, Fault
from tests.support.answers import live, outcome
from tests.support.bodies import ask
from tests.support.ways import Way, settled

pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmWarning")
BODY = ask("Write 170 tokens.")
how = pytest.mark.parametrize("how", ["whole", "streamed", "streamed rounds"])


class Screen(io.StringIO):
    """What stderr is; ``is_terminal``: whether it is a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """A server whose answers take four rounds and half a second."""
    with Emulator(cap=48, token_delay=0.003, chunk_tokens=1, events_per_write=1) as emulator:
        yield emulator


def showing(how: str, value: Any) -> Continuation:
    return Continuation(provider="deepinfra", stream_rounds=how == "streamed rounds", progress=value)


def screen(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> Screen:
    made = Screen(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", made)
    return made


@how
@pytest.mark.parametrize(
    ("value", "is_terminal", "is_shown"),
    [(True, True, True), (True, False, False), ("always", False, True), ("always", True, True), (False, True, False)],
)
async def test_bar(
    value: Any, is_terminal: bool, is_shown: bool, how: str, way: Way, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar names tokens and rounds, and nothing that was said; the answer is the same."""
    seen = screen(monkeypatch, is_terminal=is_terminal)
    client = way.client(slow.base_url, continuation=showing(how, value))
    answer = await live(client, BODY, streamed=how == "streamed")
    await settled(client.close())
    text = seen.getvalue()

    assert (slow.uncapped(BODY), "stop", "stop") == answer.ending
    assert is_shown == ("openai-continue" in text)
    assert is_shown == ("tokens" in text)
    assert is_shown == any(f"round {number}" in text for number in (2, 3, 4))
    assert is_shown or not text
    # It leaves an empty line.
    assert not text.rpartition("\r")[0].rpartition("\r")[2].strip()
    words = {word for word in answer.text.split() if len(word) > 6 and word.isalpha()}
    assert words
    assert not [word for word in (*words, "Write") if word in text]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The bars that were made."""
    made: list[Any] = []
    make = progress.Progress.of.__func__  # type: ignore[attr-defined]

    def of(cls: Any, *args: Any) -> Any:
        bar = make(cls, *args)
        made.append(bar)
        return bar

    monkeypatch.setattr(progress.Progress, "of", classmethod(of))
    return made


async def test_closed_early(way: Way, slow: Emulator, closed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that the caller closes takes its bar away."""
    seen = screen(monkeypatch, is_terminal=True)
    client = way.client(slow.base_url, continuation=showing("streamed", value=True))
    stream = await settled(client.chat.completions.create(**BODY, stream=True))
    chunks = aiter(stream) if way.is_async else iter(stream)
    for _ in range(60):
        await settled(anext(chunks) if way.is_async else next(chunks))
    await settled(stream.close())
    shown = seen.getvalue()
    await settled(client.close())

    assert "openai-continue" in shown
    assert [bar._bar.disable for bar in closed] == [True]
    assert shown == seen.getvalue()


@how
@pytest.mark.parametrize(("number", "on_error"), [(2, "partial"), (2, "raise"), (1, "partial")])
async def test_closed_after_an_error(
    number: int, on_error: str, how: str, way: Way, closed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does a call that fails."""
    screen(monkeypatch, is_terminal=True)
    with Emulator(cap=48, faults=[Fault("402", round=number, times=9)]) as emulator:
        client = way.client(emulator.base_url, continuation=showing(how, value=True).updated({"on_error": on_error}))
        await outcome(client, streamed=how == "streamed", **BODY)
        await settled(client.close())

    assert [True] * (number > 1) == [bar._bar.disable for bar in closed]


@how
async def test_missing(
    how: str, way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without tqdm one warning says how to install it, and the answers come."""
    progress._warn.cache_clear()
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    seen = screen(monkeypatch, is_terminal=True)
    client = way.client(emulator.base_url, continuation=showing(how, value=True))
    answers = [await live(client, BODY, streamed=how == "streamed") for _ in range(2)]
    await settled(client.close())
    progress._warn.cache_clear()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert "pip install 'openai-continue[progress]'" in warning
    assert [emulator.uncapped(BODY)] * 2 == [answer.text for answer in answers]
    assert not seen.getvalue()
