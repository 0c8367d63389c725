"""The emulator's model without its HTTP; the rest is in ``tests/support`` and only named here until all tests have moved."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from openai_continue.testing import Habits
from openai_continue.testing.emulator.checks import requested_tokens, stop_strings, token_limit
from openai_continue.testing.emulator.habits import DEEPINFRA
from openai_continue.testing.emulator.model import Model
from openai_continue.testing.emulator.replies import Completion, compose, dump
from openai_continue.testing.emulator.template import rendered
from tests.support import answers
from tests.support.answers import Answer, Json
from tests.support.driving import DRIVES, Drive, rounds_of, streamed, whole
from tests.support.script import Said, Script, said, usage

__all__ = [
    "DRIVES",
    "Answer",
    "Drive",
    "Engine",
    "Said",
    "Script",
    "live",
    "rounds_of",
    "said",
    "streamed",
    "usage",
    "whole",
]


async def live(client: Any, body: Mapping[str, Any], *, stream: bool, index: int = 0) -> Answer:
    return await answers.live(client, body, streamed=stream, index=index)


class Engine:
    """The emulator's model without its HTTP: any habit, a thousand answers a second."""

    def __init__(
        self, text: Any = None, *, habits: Habits = DEEPINFRA, cap: int = 16_384, tokens: int = 200, **more: int
    ) -> None:
        self.habits = habits
        self.model = Model(tokens, text, habits)
        self.cap = cap
        self.context = more.get("context", 163_840)
        self.chunk_tokens = more.get("chunk_tokens", 1)
        self.bodies: list[Json] = []
        self.derailed = 0

    def _answer(self, body: Json) -> Completion:
        self.bodies.append(copy.deepcopy(body))
        prompt = rendered(body, self.habits)
        requested = requested_tokens(body, self.habits)
        limit = token_limit(requested, prompt.tokens, cap=self.cap, context=self.context, habits=self.habits)
        replies = self.model.replies(body, prompt, limit, stop_strings(body))
        self.derailed += sum(reply.turn.is_derailed for reply in replies)
        answer = compose(body, prompt, replies, habits=self.habits, cached_tokens=0)
        # A reasoning parser misfiles an answer because its closing tag is missing; where the tag comes, it does not.
        closes = any(part.kind == "hidden" for reply in replies for part in reply.parts)
        return replace(answer, misfiles=answer.misfiles and not closes)

    def completion(self, body: Json) -> Json:
        return cast(Json, json.loads(dump(self._answer(body).whole())))

    def chunks(self, body: Json) -> Iterable[Json]:
        for event in self._answer(body).events(self.chunk_tokens):
            yield json.loads(event.data.removeprefix(b"data: "))

    def uncapped(self, body: Json, choice: int = 0) -> Answer:
        """Give what a server without cap would answer."""
        free = Engine(self.model.text, habits=self.habits, cap=10**9, tokens=self.model.size, context=10**9)
        completion = free.completion({**body, "n": choice + 1})
        return Answer.of_completion(completion, choice)
