"""The rounds of a text completion: ``client.completions.create(prompt=...)``."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from ..json import Json
from ..round import Decision, Failure, Request
from ..rounds import Rounds
from .completion import CompletionShape, as_chat, without_offsets


class CompletionRounds(Rounds):
    """
    Rounds whose answers are text completions.

    They are taken in the shape of chat, in which the core works, and given out in their own.
    """

    @cached_property
    def _shape(self) -> CompletionShape:
        return CompletionShape()

    def receive(self, request: Request, completion: object, request_id: str | None = None) -> Decision:
        """Take the whole answer of a round, a JSON object. Anything else is a failed round."""
        return self._decided(super().receive(request, self._taken(request, completion, "message"), request_id))

    def completion(self) -> Json:
        """Return the merged completion, or the first round's own object if nothing was continued."""
        return self._shape.of(super().completion(), "message")

    def feed(self, request: Request, chunk: Json, request_id: str | None = None) -> list[Json]:
        """Take one chunk of a round; return the chunks of the merged stream that may go out now."""
        taken = self._taken(request, chunk, "delta")
        return self._shape.of_chunks(super().feed(request, taken, request_id))

    def flows(self, request: Request, chunk: Json) -> str | None:
        """Return the field ("text") if the chunk just fed carried nothing but text, else None."""
        return None if super().flows(request, self._taken(request, chunk, "delta")) is None else "text"

    def end_of_stream(self, request: Request) -> list[Json]:
        """Take the end of a round's stream; return the chunks that may go out now."""
        return self._shape.of_chunks(super().end_of_stream(request))

    def last_chunks(self) -> list[Json]:
        """Return the end of the merged stream."""
        return self._shape.of_chunks(super().last_chunks())

    def stop(self, reason: str) -> list[Json]:
        """End the answer in "length" with what has arrived; return the chunks to give out."""
        return self._shape.of_chunks(super().stop(reason))

    def fail(self, request: Request, failure: Failure) -> Decision:
        """Take the failure of a round that brought no answer, or whose stream broke off."""
        return self._decided(super().fail(request, failure))

    def _taken(self, request: Request, answer: Any, holder: str) -> Any:
        shaped = as_chat(answer, holder=holder)
        return shaped if request.number == 1 else without_offsets(shaped)

    def _decided(self, decision: Decision) -> Decision:
        return replace(decision, chunks=self._shape.of_chunks(decision.chunks)) if decision.chunks else decision
