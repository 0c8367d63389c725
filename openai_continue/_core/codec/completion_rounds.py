"""The rounds of a text completion: ``client.completions.create(prompt=...)``."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from ..json import Json
from ..round import Decision, Failure, Request
from ..rounds import Rounds
from .completion import as_chat, as_completion, as_completions


class CompletionRounds(Rounds):
    """
    Rounds whose answers are text completions.

    They are taken in the shape of chat, in which the core works, and given out in their own.
    """

    def receive(self, request: Request, completion: object, request_id: str | None = None) -> Decision:
        """Take the whole answer of a round, a JSON object. Anything else is a failed round."""
        return _decided(super().receive(request, as_chat(completion, holder="message"), request_id))

    def completion(self) -> Json:
        """Return the merged completion, or the first round's own object if nothing was continued."""
        return as_completion(super().completion(), "message")

    def feed(self, request: Request, chunk: Json, request_id: str | None = None) -> list[Json]:
        """Take one chunk of a round; return the chunks of the merged stream that may go out now."""
        return as_completions(super().feed(request, _chat_chunk(chunk), request_id))

    def flows(self, request: Request, chunk: Json) -> str | None:
        """Return the field ("text") if the chunk just fed carried nothing but text, else None."""
        return None if super().flows(request, _chat_chunk(chunk)) is None else "text"

    def end_of_stream(self, request: Request) -> list[Json]:
        """Take the end of a round's stream; return the chunks that may go out now."""
        return as_completions(super().end_of_stream(request))

    def last_chunks(self) -> list[Json]:
        """Return the end of the merged stream."""
        return as_completions(super().last_chunks())

    def stop(self, reason: str) -> list[Json]:
        """End the answer in "length" with what has arrived; return the chunks to give out."""
        return as_completions(super().stop(reason))

    def fail(self, request: Request, failure: Failure) -> Decision:
        """Take the failure of a round that brought no answer, or whose stream broke off."""
        return _decided(super().fail(request, failure))


def _chat_chunk(chunk: Json) -> Json:
    return cast(Json, as_chat(chunk, holder="delta"))


def _decided(decision: Decision) -> Decision:
    return replace(decision, chunks=as_completions(decision.chunks)) if decision.chunks else decision
