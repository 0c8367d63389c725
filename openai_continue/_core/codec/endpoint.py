"""What every endpoint does: it says what a call asks for, and gives its answers the shape of chat, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..._tables.providers import Provider
from ..json import Json


class Endpoint(Protocol):
    """
    The outer shape of one call. The core knows one, that of chat completions.

    What came is never changed, and is given back as the same object if the core did not change it. Each chunk is taken
    once.
    """

    @property
    def wanted(self) -> int:
        """How many choices the request asks for."""
        ...

    @property
    def prompts(self) -> Sequence[str]:
        """The prompts that the answers go on from, each with as many choices; none if they go on as a chat."""
        ...

    @property
    def counts_chunks(self) -> bool:
        """Whether each chunk has a number of its own."""
        ...

    def row(self, provider: Provider) -> Provider:
        """Return a provider's row as it is at this endpoint."""
        ...

    def field(self, name: str, /) -> str:
        """Return the name of the field in which a chunk has the text that chat has in this one."""
        ...

    def taken_body(self, body: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the body of the caller's request in the shape of chat."""
        ...

    def given_body(self, body: Json, /) -> Json:
        """Return the body of a request in the shape of this endpoint."""
        ...

    def raw_body(self, body: Json, /) -> Json | None:
        """Return the body of the chat that goes on by a raw prompt, or None if a request is none."""
        ...

    def reads(self, chunk: Json) -> bool:
        """Whether this is a chunk of an answer."""
        ...

    def taken(self, chunk: Json) -> Json:
        """Return a chunk in the shape of chat."""
        ...

    def taken_whole(self, answer: object) -> object:
        """Return a whole answer as a completion of chat, or as one chunk; what is none as it is."""
        ...

    def given(self, chunks: list[Json]) -> list[Json]:
        """Return chunks in the shape of this endpoint."""
        ...

    def given_text(self, text: str, chunks: int, /) -> None:
        """Note text that went out within this number of chunks that nobody has read."""
        ...

    def left(self) -> list[Json]:
        """Return the chunks that wait for the next one, which does not come."""
        ...

    def given_whole(self, completion: Json) -> Json:
        """Return a completion in the shape of this endpoint."""
        ...
