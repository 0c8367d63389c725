"""An answer of one endpoint over two requests, the second one written and read as the library does it."""

from __future__ import annotations

import openai

from ..._core.codec.body import Render
from ..._core.folding import Folded
from ..._core.json import Json
from ..._core.round import Request
from ..._core.rounds import Rounds
from ..._sdk.errors import failure_of
from ..._tables.providers import Provider
from ...settings import Continuation
from .endpoint import Endpoint, folded, message_of
from .examination import TOKENS

# The first request that continues it, and one more for each thing that the library leaves out if it is refused.
_TRIES = 3


class Answer:
    """
    An answer to ``body``, of which ``cut`` has come: a completion that the token limit ended.

    ``row``, ``settings``, ``render``: how it is continued, as ``Rounds`` takes them.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        endpoint: Endpoint,
        body: Json,
        cut: Json,
        row: Provider,
        settings: Continuation,
        render: Render | None = None,
    ) -> None:
        self._endpoint = endpoint
        body = {**body, "stream": True} if endpoint.streamed else body
        self._rounds = Rounds(body, row, settings, render=render)
        self._folded = Folded()
        #: Whether the request that continues it went to ``/completions``.
        self.is_raw = False
        #: The message of the last answer, as the server gave it.
        self.last: Json = {}
        first = self._rounds.next_request()
        if first is not None:
            self._take(first, [_chunk(cut)] if endpoint.streamed else [cut])

    def go_on(self) -> str:
        """
        Ask for TOKENS more tokens; return what came of it.

        "sent", "no way" (the library sends no such request), or "refused" or "failed".
        """
        for tries in range(_TRIES):
            request = self._rounds.next_request()
            if request is None:
                return "no way" if tries == 0 else self._endpoint.outcome
            self.is_raw = request.is_raw
            body = {name: value for name, value in request.body.items() if name != "max_completion_tokens"}
            came = self._endpoint.answers({**body, "max_tokens": TOKENS}, is_raw=request.is_raw)
            if came:
                self._take(request, came)
                return "sent"
            if not isinstance(self._endpoint.error, openai.APIStatusError):
                return "failed"
            self._rounds.fail(request, failure_of(self._endpoint.error))
        return self._endpoint.outcome

    @property
    def message(self) -> Json:
        """The message so far."""
        return message_of(self._folded.completion() if self._endpoint.streamed else self._rounds.completion())

    def _take(self, request: Request, came: list[Json]) -> None:
        whole = folded(came) if self._endpoint.streamed else came[0]
        self.last = message_of(whole) if whole.get("choices") else {}
        if not self._endpoint.streamed:
            self._rounds.receive(request, came[0])
            return
        chunks = [out for chunk in came for out in self._rounds.feed(request, chunk)]
        for chunk in chunks + self._rounds.end_of_stream(request):
            self._folded.take(chunk)


def _chunk(completion: Json) -> Json:
    """Return a completion as the only chunk of a stream."""
    choice: Json = completion["choices"][0]
    calls = [{"index": index, **call} for index, call in enumerate(message_of(completion).get("tool_calls") or [])]
    delta = {**message_of(completion), **({"tool_calls": calls} if calls else {})}
    return {**completion, "object": "chat.completion.chunk", "choices": [{**choice, "delta": delta}]}
