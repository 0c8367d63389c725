"""Stop strings that begin in one round and end in the next. No engine sees these: it matches within one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

#: Fields of a choice in which servers name the stop string that ended it; null after any other end. vLLM and
#: TensorRT-LLM: stop_reason; SGLang: matched_stop; llama-server: stopping_word; Anthropic's and its gateways':
#: stop_sequence.
NAMES_OF_STOP = ("stop_reason", "matched_stop", "stopping_word", "stop_sequence")


def stop_strings(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop strings of a request."""
    stop = body.get("stop")
    several = cast("list[Any]", stop) if isinstance(stop, (list, tuple)) else [stop]
    return tuple(one for one in several if isinstance(one, str) and one)


def keeps_stops(body: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether the server leaves the stop string in the text: one of these fields, which it reads, asks for that."""
    return any(body.get(name) is True for name in fields)


def first_stop(before: str, new: str, stops: Sequence[str], *, within: bool = False) -> tuple[int, int, str] | None:
    """
    Return where the first stop string in ``before + new`` ends and begins, and the string; None if there is none.

    It ends in ``new``, and begins in ``before``: the server has seen any other. ``within``: or begins in ``new``, of
    which the server was not told the stop strings.
    """
    found: list[tuple[int, int, str]] = []
    for stop in stops:
        start = max(len(before) - len(stop) + 1, 0)
        place = (before[start:] + (new if within else new[: len(stop) - 1])).find(stop)
        if place >= 0:
            found.append((start + place + len(stop), start + place, stop))
    # As in an engine: the stop string that is complete first wins, and of several at one place the longest.
    return min(found, default=None)


class StopSearch:
    """
    Looks in the text of a round for a stop string that begins before it.

    ``before``: the end of the text before it. ``within``: whether the server was not told the stop strings, so that one
    may begin within the round, too.
    """

    def __init__(self, stops: Sequence[str], before: str, *, within: bool) -> None:
        self._stops = stops
        self._before = before
        self._within = within
        self._reach = max(map(len, stops))
        self._text = ""
        # Characters of the round that were searched, and are not kept.
        self._searched = 0

    def find(self, text: str) -> tuple[int, int, str] | None:
        """
        Take more text; return the first stop string that ends in it, or None.

        That is where it begins and ends in the round, and the string. It begins at a negative place if that is before
        the round.
        """
        if len(self._text) >= self._reach and not self._within:
            return None
        self._text += text
        found = first_stop(self._before, self._text, self._stops, within=self._within)
        if found is not None:
            end, start, stop = found
            place = self._searched - len(self._before)
            return place + start, place + end, stop
        if self._within:
            # A round may be long. No stop string ends in what was searched.
            self._searched += len(self._text)
            self._before, self._text = (self._before + self._text)[-self._reach :], ""
        return None


def swallowed(held: str, new: str, stops: Sequence[str]) -> int:
    """
    Return how many characters at the end of the text were the beginning of a stop string.

    ``held`` was held back, and ``new`` is the text of a whole round that the server ended by itself. If ``held`` did
    not come back, a stop string that begins in it may have ended the round without being seen.
    """
    missing = held[len(new) :]
    swallows = held.startswith(new) and any(stop.startswith(missing) for stop in stops)
    return len(missing) if swallows else 0
