"""The bodies of the requests: the caller's own for the first round, and one for each later round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import providers
from ..providers import Provider
from ..settings import Continuation
from .choice import Choice
from .jsons import Json, as_object
from .limit import Limit
from .prefill import Prefill
from .structured import Format, without_format


class Requests:
    """Writes the bodies of one call. The caller's body is never changed."""

    def __init__(self, body: Mapping[str, Any], provider: Provider, settings: Continuation) -> None:
        self._body = dict(body)
        #: The token limit of the call.
        self.limit = Limit.of(body, provider, settings)
        #: The format that the request asks for, or None for plain text.
        self.format = Format.of(body)
        trims = provider.trims if settings.trims is None else settings.trims
        trims = providers.trims(body.get("model")) if trims is None else trims
        #: The author of the last message of every later round.
        self.prefill = Prefill(body, provider, trims=trims, structured=self.format is not None)
        #: Whether usage is asked for though the caller did not ask, because a total must be counted.
        self.asks_usage = _asks_usage(body, provider, self.limit)

    def first(self) -> Json:
        """Return the body of the first round."""
        body = self.limit.on_first(self._body)
        if self.asks_usage:
            body["stream_options"] = {**(as_object(body.get("stream_options")) or {}), "include_usage": True}
        return body

    def later(self, choice: Choice) -> Json:
        """Return the body of a round that continues this choice, and begin the round on it."""
        body = self.limit.on_later(self.first(), self.asked(choice))
        body = _of_one_round(without_format(body), choice.used)
        content, thoughts = choice.answer.text, choice.thoughts_text
        body, seam = self.prefill.write(body, content, thoughts, choice.hold, first=not choice.joined)
        document = None
        if self.format is not None and self.format.is_json:
            inline = self.prefill.part(content, thoughts)
            document = None if inline.thinking else inline.answer
        choice.start_round(seam, thinking=bool(thoughts) and not content, document=document)
        return body

    def asked(self, choice: Choice) -> int | None:
        """Return the token limit to name in the next round of this choice, or None to name no limit."""
        asked = self.limit.asked(choice.used, first=False)
        return asked if asked is None or choice.room is None else min(asked, choice.room)


def first_body(body: Mapping[str, Any], provider: Provider, settings: Continuation) -> Json:
    """Return the body of the first round, as ``Rounds.next_request()`` does."""
    return Requests(body, provider, settings).first()


def _asks_usage(body: Mapping[str, Any], provider: Provider, limit: Limit) -> bool:
    if not body.get("stream") or limit.total is None or provider.streams_usage:
        return False
    return not (as_object(body.get("stream_options")) or {}).get("include_usage")


def _of_one_round(body: Json, used: int) -> Json:
    """Return the body of a later round without what the caller asked of the whole answer."""
    if body.get("n") is not None:
        body["n"] = 1
    if isinstance(body.get("min_tokens"), int):
        # vLLM: the fewest tokens before the answer may end, counted per request.
        body["min_tokens"] = max(body["min_tokens"] - used, 0)
    # vLLM: repeat the last message before the answer.
    body.pop("echo", None)
    return body
