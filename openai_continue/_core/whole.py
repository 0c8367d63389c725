"""What a whole answer shows as it is at its end, whatever the rounds brought of it: tool calls, and ids of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from .calls.calls import calls_in
from .calls.transcript import CallTranscript
from .chunks import delta_of, with_delta
from .json import Json
from .text.text import Text

_IDS = "token_ids"
# Most bytes of a character. Each may be a token.
_BYTES_OF_CHARACTER = 4


def sent_ids(first: object, prompt: object) -> list[Any] | None:
    """Return the ids of the answer in the prompt of a later round, if the server gives those of both prompts."""
    if not isinstance(first, list) or not isinstance(prompt, list):
        return None
    known, ids = cast("list[Any]", first), cast("list[Any]", prompt)
    return ids[len(known) :] if ids[: len(known)] == known else None


class Whole:
    """What the choice of a whole answer has beside its texts, of which no chunk is out before it has ended."""

    def __init__(self) -> None:
        # What the rounds that continued tool calls brought beside them.
        self._beside_calls: list[Json] = []
        # The ids of all tokens; those of the running round, and those of its prompt, if the server tells them.
        self._ids: list[Any] = []
        self._new: list[Any] = []
        self._sent: Sequence[Any] | None = None

    def take_calls(self, chunks: list[Json]) -> list[Json]:
        """Take chunks of tool calls that go on; return those that go out now: none, as the calls may still change."""
        self._beside_calls += [with_delta(chunk, {}) for chunk in chunks]
        return []

    def take_ids(self, item: Json, sent: Sequence[Any] | None) -> None:
        """Take the ids of a round. ``sent``: those of the answer in its prompt, if the server tells them."""
        ids = item.get(_IDS)
        self._new, self._sent = cast("list[Any]", ids) if isinstance(ids, list) else [], sent

    def settle_ids(self, text: Text, cut: int) -> None:
        """
        Join the ids of the running round, which is a part of the answer.

        Those of the tokens that were held back, and that the round has written again, are dropped. ``text``: the text
        that the round continued; ``cut``: the characters that were dropped before it.
        """
        sent, held = self._sent, text.seam.held
        if sent is not None and text.dropped >= len(held) and list(sent) == self._ids[: len(sent)]:
            # A token has one byte or more. If more are missing, the prompt is not what it seems to be.
            most = len(held.encode("utf-8", "replace")) + _BYTES_OF_CHARACTER * cut
            self._ids = self._ids[: len(sent)] if len(self._ids) - len(sent) <= most else self._ids
        self._ids, self._new = [*self._ids, *self._new], []

    def finished(self, chunks: list[Json], turn: CallTranscript | None, *, is_cut: bool) -> list[Json]:
        """
        Return the chunks of the texts with all that the answer shows at its end.

        ``turn``: its tool calls, if they were continued; ``is_cut``: whether the answer was cut.
        """
        if not chunks:
            return chunks
        if turn is not None:
            listed = [call for chunk in chunks for call in calls_in(delta_of(chunk))]
            shown = turn.shown(listed, is_cut=is_cut)
            deltas = [_without(delta_of(chunk), "tool_calls", *shown) for chunk in chunks]
            deltas[0].update(shown)
            chunks = [*map(with_delta, chunks, deltas), *self._beside_calls]
        if self._ids:
            items = [_without(chunk["choices"][0], _IDS) for chunk in chunks]
            items[0][_IDS] = self._ids
            chunks = [{**chunk, "choices": [item]} for chunk, item in zip(chunks, items, strict=True)]
        return chunks


def _without(fields: Json, *names: str) -> Json:
    return {name: value for name, value in fields.items() if name not in names}
