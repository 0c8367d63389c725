"""The emulator's model without its HTTP: a thousand answers a second, under any pattern of caps."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from openai_continue.testing import Habits
from openai_continue.testing.emulator.chat_replies import Completion, compose
from openai_continue.testing.emulator.checks import Refused, granted_tokens, stop_strings
from openai_continue.testing.emulator.habits import DEEPINFRA
from openai_continue.testing.emulator.model import Model
from openai_continue.testing.emulator.replies import DONE, dump, event
from openai_continue.testing.emulator.template import rendered
from openai_continue.testing.emulator.text_prompts import text_prompts
from openai_continue.testing.emulator.text_replies import TextCompletion, compose_text
from tests.support.answers import Answer, Json
from tests.support.ways import http


class Engine:
    """
    Answers chat requests, and text completions for bodies with a ``prompt``.

    ``cap``: most tokens of each response, or of the responses in order; the last one holds for all that follow.
    """

    def __init__(
        self,
        text: Any = None,
        *,
        habits: Habits = DEEPINFRA,
        cap: int | Sequence[int] = 16_384,
        tokens: int = 200,
        context: int = 163_840,
        chunk_tokens: int = 1,
    ) -> None:
        self.habits = habits
        self.model = Model(tokens, text, habits)
        self.context = context
        self.chunk_tokens = chunk_tokens
        self.bodies: list[Json] = []
        #: Prompts that ended in a text which the model did not write.
        self.derailed = 0
        #: The tokens of each response, whatever its usage says.
        self.given: list[int] = []
        self._caps: Sequence[int] = [cap] if isinstance(cap, int) else cap
        # The prompts of text completions that began a text.
        self._known: set[str] = set()

    @property
    def cap(self) -> int:
        """Most tokens of the response to the last body."""
        return self._caps[min(max(len(self.bodies) - 1, 0), len(self._caps) - 1)]

    def _answer(self, body: Json) -> Completion | TextCompletion:
        self.bodies.append(copy.deepcopy(body))
        if "prompt" in body:
            return self._text(body)
        prompt = rendered(body, self.habits)
        limit = granted_tokens(body, prompt.tokens, cap=self.cap, context=self.context, habits=self.habits)
        replies = self.model.replies(body, prompt, limit, stop_strings(body))
        self.derailed += sum(reply.turn.is_derailed for reply in replies)
        self.given.append(sum(reply.completion_tokens for reply in replies))
        answer = compose(body, prompt, replies, habits=self.habits, cached_tokens=0)
        # A reasoning parser misfiles an answer because its closing tag is missing; where the tag comes, it does not.
        closes = any(part.kind == "hidden" for reply in replies for part in reply.parts)
        return replace(answer, misfiles=answer.misfiles and not closes)

    def _text(self, body: Json) -> TextCompletion:
        prompts = text_prompts(body, self.model, sorted(self._known, key=len))
        self._known.update(prompt.opening for prompt in prompts if prompt.source == "text")
        replies = []
        for prompt in prompts:
            limit = granted_tokens(body, prompt.tokens, cap=self.cap, context=self.context, habits=self.habits)
            replies += self.model.replies(body, prompt, limit, stop_strings(body))
        self.derailed += sum(reply.turn.is_derailed for reply in replies)
        self.given.append(sum(reply.completion_tokens for reply in replies))
        return compose_text(body, prompts, replies, habits=self.habits, cached_tokens=0)

    def completion(self, body: Json) -> Json:
        return cast(Json, json.loads(dump(self._answer(body).whole())))

    def chunks(self, body: Json) -> Iterable[Json]:
        for one in self._answer(body).events(self.chunk_tokens):
            yield json.loads(one.data.removeprefix(b"data: "))

    def uncapped(self, body: Json, choice: int = 0) -> Answer:
        """Return the answer of a server without any limit of its own."""
        habits = replace(self.habits, default_tokens=None, default_text_tokens=None)
        free = Engine(self.model.text, habits=habits, cap=10**9, tokens=self.model.size, context=10**9)
        if "prompt" in body:
            return Answer.of_completion(free.completion(body), choice)
        return Answer.of_completion(free.completion({**body, "n": choice + 1}), choice)


#: Texts that are awkward at a seam.
AWKWARD = [
    "one  two   three    four",
    "def f(x):\n    if x:\n        return   1\n\n\n\n    return\t\t2\n",
    "a\r\nb\r\n\r\n\tc\r\nend",
    "start\n\n\n\n\n\n\n\n\n\nend",
    "  leading, and trailing",
    "- a\n  - b\n    - c\n\t- d",
    "}\n}\n}\n}\n}\n}",
    "|---|---|\n|---|---|\n|---|---|\nx",
    "0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    "same line\nsame line\nsame line\nsame line\nsame line",
    "日本語、🦊🦊👩‍👩‍👧‍👦 🇨🇦é́ x",
    "He said: \u201cYes.\u201d — \u2026 and 'no'.\n\nThen; \"never\"!\n",
    "real \ufffd in \ufffd\ufffd the middle",
]


class Wire(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """An engine behind a client, without a network: it answers over a transport, and refuses as its server would."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        try:
            if body.get("stream"):
                content = b"".join([*map(event, self._engine.chunks(body)), DONE])
                return http.Response(200, headers={"content-type": "text/event-stream"}, content=content)
            return http.Response(200, content=dump(self._engine.completion(body)))
        except Refused as refused:
            return http.Response(refused.status, content=dump(refused.body))

    async def handle_async_request(self, request: Any) -> Any:
        return self.handle_request(request)


class UnreliableServer(Wire):
    """A server, and the numbers of the requests that do not reach it; each request is kept."""

    def __init__(self, engine: Engine, *lost: int) -> None:
        super().__init__(engine)
        self.lost = lost
        self.bodies: list[dict[str, Any]] = []

    def handle_request(self, request: Any) -> Any:
        self.bodies.append(json.loads(request.content))
        if len(self.bodies) in self.lost:
            msg = "lost"
            raise http.ConnectError(msg)
        return super().handle_request(request)
