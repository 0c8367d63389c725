"""The prompt of a later round as ids of tokens: those of the first prompt, and those that were generated after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..._tables.providers import Provider
from ..json import Json
from ..text.seam import Seam
from .chat import Hold, Prefill

#: The fields of a choice that have ids.
IDS, IDS_OF_PROMPT = "token_ids", "prompt_token_ids"


class IdsPrompt(Prefill):
    """
    Writes the prompts of later rounds of one choice.

    It needs a stream: only there it shows which ids end within a character, whose text has not come. Such ids are not
    sent, because vLLM then repeats the whole prompt as text (measured).
    """

    is_raw = True

    def __init__(self, body: Mapping[str, Any], provider: Provider, start: Sequence[int]) -> None:
        super().__init__(body, provider, trims=False, structured=False)
        self.hold = Hold.NOTHING
        self._ids = list(start)
        self._waiting: list[int] = []

    def take(self, ids: object, *, with_text: bool) -> None:
        """Take the ids of a chunk. ``with_text``: whether it has text, so that no character is open after it."""
        self._waiting += cast("list[int]", ids) if isinstance(ids, list) else []
        if with_text:
            self._ids += self._waiting
            self._waiting = []

    def less(self, hold: Hold) -> Hold | None:  # noqa: ARG002
        """Return None: nothing is held back."""
        return None

    def bar(self, content: str, thoughts: str) -> str | None:  # noqa: ARG002
        """Return why this text cannot go on (a value of ``Report.stopped_by``), or None if it can."""
        return None if content else "empty"

    def write(  # noqa: PLR0913
        self,
        body: Json,
        content: str,  # noqa: ARG002
        thoughts: str,  # noqa: ARG002
        hold: Hold,  # noqa: ARG002
        *,
        first: bool,
        confirmed: int = 0,  # noqa: ARG002
        ends_token: bool = True,  # noqa: ARG002
        answers: bool = False,  # noqa: ARG002
    ) -> tuple[Json, Seam]:
        """Return the body with the ids so far as its prompt."""
        # What waits is written again.
        self._waiting = []
        return {**body, "prompt": list(self._ids)}, Seam(first=first)


def without_ids(chunk: Json) -> Json:
    """Return a chunk without the ids, which the caller has not asked for."""
    hidden = (IDS, IDS_OF_PROMPT)
    items = [{name: value for name, value in item.items() if name not in hidden} for item in chunk["choices"]]
    return {**{name: value for name, value in chunk.items() if name not in hidden}, "choices": items}
