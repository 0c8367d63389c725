"""The bodies of the requests: the caller's own for the first round, and one for each later round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import families
from ..providers import Provider
from ..settings import Continuation
from .choice import Choice
from .jsons import Json, as_object
from .limit import Limit
from .prefill import Prefill
from .structured import Format, without_format
from .tools import is_forced


class Requests:
    """Writes the bodies of one call. The caller's body is never changed."""

    def __init__(self, body: Mapping[str, Any], provider: Provider, settings: Continuation) -> None:
        self._body = dict(body)
        #: The token limit of the call.
        self.limit = Limit.of(body, provider, settings)
        #: The format that the request asks for, or None for plain text.
        self.format = Format.of(body)
        trims = provider.trims if settings.trims is None else settings.trims
        trims = families.trims(body.get("model")) if trims is None else trims
        #: The author of the last message of every later round.
        self.prefill = Prefill(body, provider, trims=trims, structured=self.format is not None)
        #: Whether the request offers tools, and whether the model must call one.
        self.offers_tools = bool(body.get("tools"))
        self.forces_call = self.offers_tools and is_forced(body)
        asked = (as_object(body.get("stream_options")) or {}).get("include_usage")
        #: Whether the caller may expect usage in a stream.
        self.expects_usage = provider.streams_usage or bool(asked)
        #: Whether usage is asked for though the caller did not ask, because a total must be counted.
        self.asks_usage = bool(body.get("stream")) and not self.expects_usage and self.limit.total is not None
        # Whether the usage of the first continuation of a stream is asked for, to see whether it is one.
        self._checks_prompt = bool(body.get("stream")) and not provider.streams_usage
        self._usage_options = provider.usage_options
        # Whether the server applies the format to the whole answer, so that it stays in later rounds.
        self._keeps_format = self.format is not None and provider.keeps_format

    def first(self) -> Json:
        """Return the body of the first round."""
        body = self.limit.on_first(self._body)
        if self.asks_usage:
            body["stream_options"] = {**(as_object(body.get("stream_options")) or {}), "include_usage": True}
        return body

    def later(self, choice: Choice) -> Json:
        """Return the body of a round that continues this choice, and begin the round on it."""
        body = self.limit.on_later(self.first(), self.asked(choice))
        body = _of_one_round(body if self._keeps_format else without_format(body), choice.used)
        if self._checks_prompt and not choice.joined:
            body["stream_options"] = {**(as_object(body.get("stream_options")) or {}), **self._usage_options}
        content, thoughts = choice.answer.text, choice.thoughts_text
        body, seam = self.prefill.write(
            body, content, thoughts, choice.hold, first=not choice.joined, confirmed=choice.confirmed
        )
        document = None
        if self.format is not None and self.format.is_json:
            inline = self.prefill.part(content, thoughts)
            document = None if inline.thinking else inline.answer
        choice.start_round(seam, thinking=bool(thoughts) and not content, document=document)
        return body

    def concedes(self) -> bool:
        """
        Leave out of later rounds what the server may have refused, one thing a call; return whether there was any.

        Those are what is asked for beside the text: its usage, its format, a think block before it.
        """
        if self._checks_prompt:
            self._checks_prompt = False
            return True
        if self._keeps_format:
            self._keeps_format = False
            return True
        return self.prefill.drops_block()

    def asked(self, choice: Choice) -> int | None:
        """Return the token limit to name in the next round of this choice, or None to name no limit."""
        limits = (self.limit.asked(choice.used, first=False), choice.room)
        return min((limit for limit in limits if limit is not None), default=None)


def first_body(body: Mapping[str, Any], provider: Provider, settings: Continuation) -> Json:
    """Return the body of the first round, as ``Rounds.next_request()`` does."""
    return Requests(body, provider, settings).first()


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
