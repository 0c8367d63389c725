"""``Rounds`` driven without I/O, whole and streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeAlias

import pytest

from openai_continue._core.codec.endpoints import endpoint_of
from openai_continue._core.learned import Learned
from openai_continue._core.rounds import Rounds
from openai_continue._core.setup import Setup
from openai_continue._sdk.chat_template import Template
from openai_continue._tables import providers
from openai_continue.settings import Continuation
from tests.support.answers import Answer
from tests.support.bodies import ask

Json = dict[str, Any]
#: What a chat template takes for today.
DAY = datetime(2026, 1, 2)


class Server(Protocol):
    """Answers bodies: ``Script`` or ``Engine``."""

    def completion(self, body: Json) -> Json: ...

    def chunks(self, body: Json) -> Iterable[Json]: ...


def rounds_of(
    body: Mapping[str, Any],
    provider: str | providers.Provider = "deepinfra",
    *,
    restarts: bool = False,
    learned: Learned | None = None,
    chat_template: Template | None = None,
    is_parsed: bool = False,
    kept: Json | None = None,
    **settings: Any,
) -> Rounds:
    """Return the ``Rounds`` of a request. ``chat_template``: what the setting ``template`` names."""
    learned = Learned(restarts_until=float(restarts)) if learned is None else learned
    row = providers.named(provider) if isinstance(provider, str) else provider
    render = None if chat_template is None else partial(chat_template.render, day=DAY)
    settings.update({} if chat_template is None else {"template": "chat_template.jinja"})
    setup = Setup(body, endpoint_of(body), row, Continuation(**settings), learned, render=render, is_parsed=is_parsed)
    return Rounds(setup, kept)


def whole(server: Server, body: Mapping[str, Any] | None = None, index: int = 0, **settings: Any) -> Answer:
    """Drive whole rounds to their end."""
    rounds = rounds_of(ask() if body is None else body, **settings)
    while (request := rounds.next_request()) is not None:
        rounds.receive(request, server.completion(request.body))
    return Answer.of_completion(rounds.completion(), index)


def streamed(server: Server, body: Mapping[str, Any] | None = None, index: int = 0, **settings: Any) -> Answer:
    """Drive streamed rounds to their end; a round that has brought enough is left, as a driver does."""
    rounds = rounds_of({**(ask() if body is None else body), "stream": True}, **settings)
    chunks: list[Json] = []
    while (request := rounds.next_request()) is not None:
        for chunk in server.chunks(request.body):
            chunks += rounds.feed(request, chunk)
            if rounds.enough:
                break
        chunks += rounds.end_of_stream(request)
    chunks += rounds.last_chunks()
    return Answer.of_chunks(chunks, index)


Drive: TypeAlias = Callable[..., Answer]
#: The two ways that differ within ``Rounds``.
DRIVES: tuple[Drive, ...] = (whole, streamed)
#: ``drive``: whole and streamed.
drives = pytest.mark.parametrize("drive", DRIVES)
