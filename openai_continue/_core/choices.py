"""The choices of an answer, by index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .._tables.providers import Provider
from .choice import Choice
from .codec.draft import Hold
from .codec.endpoint import Endpoint
from .text.stops import keeps_stops, stop_strings
from .text.text import Text
from .whole import Whole


class Choices:
    """The choices of an answer, by index."""

    def __init__(
        self,
        body: Mapping[str, Any],
        endpoint: Endpoint,
        hold: Hold,
        provider: Provider,
        max_repetition: int | None = None,
    ) -> None:
        self._by_index: dict[int, Choice] = {}
        self._hold = hold
        self._provider = provider
        self._max_repetition = max_repetition
        self._is_whole = not body.get("stream")
        self._is_text = bool(endpoint.prompts)
        self._stops = stop_strings(body)
        self._keeps_stops = keeps_stops(body, provider.stop_fields)
        #: How many choices the caller asks for.
        self.wanted = endpoint.wanted

    def at(self, index: int) -> Choice:
        """Return the choice with this index; a new one if the server has just begun it."""
        choice = self._by_index.get(index)
        if choice is None:
            answer = Text(
                "content",
                stops=self._stops,
                keeps_stops=self._keeps_stops,
                is_whole=self._is_whole,
                max_repetition=self._max_repetition,
            )
            choice = self._by_index[index] = Choice(
                index,
                answer,
                self._hold,
                self._provider,
                Whole() if self._is_whole else None,
                # A prompt is all that a text completion is made of, so any server goes on from it.
                joined=self._is_text,
            )
        return choice

    def get(self, index: int) -> Choice | None:
        """Return the choice with this index, or None if it has not begun."""
        return self._by_index.get(index)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self._by_index.values())

    def __len__(self) -> int:
        return len(self._by_index)

    @property
    def finished(self) -> bool:
        """Whether all choices that the caller asks for have ended."""
        return len(self) >= self.wanted and all(choice.finish_reason for choice in self)

    @property
    def are_looping(self) -> bool:
        """Whether the first round is watched, and each choice of it that has not ended writes a loop."""
        if self._max_repetition is None or len(self) < self.wanted or self.finished:
            return False
        return all(choice.finish_reason or loops(choice) for choice in self)


def loops(choice: Choice) -> bool:
    """Whether the text that a choice writes ends in a loop, as far as it is watched."""
    # The answer follows upon the thoughts, and the calls upon both.
    text = next((text for text in choice.texts if text.added), choice.answer)
    return text.is_looping and not choice.called
