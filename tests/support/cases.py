"""Conversations as rows of a table: what the server says, round for round, and what the caller gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.answers import Answer
from tests.support.bodies import ask
from tests.support.driving import DRIVES, Drive
from tests.support.script import Reply, Script

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A conversation. The server is asked exactly as often as there are rounds."""

    rounds: Sequence[Reply]
    text: str
    finish_reason: str | None = "stop"
    #: None: no report.
    stopped_by: str | None = "stop"
    #: Fields of the caller's body.
    body: Json = field(default_factory=dict[str, Any])
    #: Settings, the provider, and ``restarts``.
    known: Json = field(default_factory=dict[str, Any])
    #: The content of the last message of each later request; None: not compared.
    sent_back: list[Any] | None = None
    thoughts: str = ""
    #: Whole, streamed, or both.
    drives: Sequence[Drive] = DRIVES

    def check(self, drive: Drive) -> tuple[Answer, Script]:
        """Drive the conversation, and compare."""
        server = Script(*self.rounds)
        answer = drive(server, ask(**{"prompt": "x", **self.body}), **self.known)

        assert (self.text, self.finish_reason, self.stopped_by) == answer.ending
        assert self.thoughts == answer.thoughts
        assert len(self.rounds) == len(server.bodies)
        assert self.sent_back in (None, server.sent_back)
        return answer, server


def length(text: str, stopped_by: str | None, **more: Any) -> Json:
    """Return the end of a case that was not made whole."""
    return {"text": text, "finish_reason": "length", "stopped_by": stopped_by, **more}


def cases(table: Mapping[str, Case]) -> Any:
    """Return a mark: ``case`` and ``drive`` over each row, whole and streamed."""
    rows = [
        pytest.param(case, drive, id=f"{name}-{drive.__name__}")
        for name, case in table.items()
        for drive in case.drives
    ]
    return pytest.mark.parametrize(("case", "drive"), rows)
