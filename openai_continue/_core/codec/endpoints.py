"""The endpoints whose answers are continued: chats, whose shape is the core's own, text completions, and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._tables.providers import Provider
from ..json import Json
from .completion import CompletionShape, choices_per_prompt, is_completion
from .endpoint import Endpoint
from .plain_shape import PlainShape
from .responses import ResponseShape, is_response


class ChatShape(PlainShape):
    """A chat completion: all is as it is."""

    prompts = ()

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    @property
    def wanted(self) -> int:
        """How many choices the request asks for."""
        return choices_per_prompt(self._body)

    def row(self, provider: Provider) -> Provider:
        """Return the provider's own row."""
        return provider

    def field(self, name: str) -> str:
        """Return the name as it is."""
        return name

    def taken(self, chunk: Json) -> Json:
        """Return a chunk as it is."""
        return chunk

    def taken_whole(self, answer: object) -> object:
        """Return a whole answer as it is."""
        return answer

    def given(self, chunks: list[Json]) -> list[Json]:
        """Return chunks as they are."""
        return chunks

    def given_whole(self, completion: Json) -> Json:
        """Return a completion as it is."""
        return completion


def endpoint_of(body: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint of a call with this body."""
    if is_response(body):
        return ResponseShape()
    return CompletionShape(body) if is_completion(body) else ChatShape(body)
