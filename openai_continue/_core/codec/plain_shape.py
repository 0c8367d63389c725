"""What the shapes of completions share: their requests are those of the core, and each chunk stands for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..chunks import chunk_choices
from ..json import Json


class PlainShape:
    """The shape of a completion."""

    counts_chunks = False

    def taken_body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the body as it is."""
        return body

    def given_body(self, body: Json) -> Json:
        """Return the body as it is."""
        return body

    def raw_body(self, body: Json) -> Json | None:
        """Return the body as it is."""
        return body

    def reads(self, chunk: Json) -> bool:
        """Whether this is a chunk, with choices or usage."""
        return chunk_choices(chunk) is not None

    def given_text(self, _: str, __: int) -> None:
        """Do nothing: no chunk needs the text before it."""

    def left(self) -> list[Json]:
        """Return none: no chunk waits."""
        return []
