"""Whose token limit is it: the caller's is a total over all rounds, the provider's holds for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..providers import Provider
from ..settings import Continuation

_NAMES = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Limit:
    """The output tokens of one choice, over all rounds."""

    #: The field that the provider reads.
    name: str
    #: Most tokens in all; None: as many as the model has to say.
    total: int | None
    #: Most tokens of one round; None: unknown, so never named.
    cap: int | None
    #: Most tokens of the first and of a later round, where there is no total; None: name no number.
    first: int | None
    later: int | None
    #: False: the request names something that is no number of tokens; only the server can judge it.
    valid: bool = True
    #: The caller's own number.
    named: int | None = None
    #: Whether this limit was made to fit the context; and whether so that the first round names no number.
    fitted: bool = False
    unnamed: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether the first round asks for a number that is not the caller's."""
        return self.valid and not self.fitted and self.asked(0, first=True) not in (None, self.named)

    def fitting(self, room: int | None) -> Limit:
        """Return this limit for a prompt that leaves so many tokens; None: nobody knows how many."""
        if room is None:
            return replace(self, fitted=True, unnamed=True)
        return replace(self, fitted=True, cap=room, first=None if self.first is None else room)

    @classmethod
    def of(cls, body: Mapping[str, Any], provider: Provider, settings: Continuation) -> Limit:
        """Read the limit of a request."""
        # Where both names are given, the one that the provider reads first is the one that holds without us.
        for name in (*provider.limit_names, *_NAMES):
            value = body.get(name)
            if value is not None:
                break
        else:
            name, value = provider.limit_names[0], None
        sent_as = name if name in provider.limit_names else provider.limit_names[0]
        cap = settings.round_tokens or provider.cap
        total = settings.max_tokens if value is None else value
        valid = total is None or (isinstance(total, int) and not isinstance(total, bool) and total > 0)
        if not valid:
            total = None
        elif value is not None and value in (cap, provider.cap) and not settings.cap_is_limit:
            total = settings.max_tokens
        later = settings.round_tokens or provider.asks
        return cls(sent_as, total, cap, settings.round_tokens, later, valid, value if valid else None)

    def asked(self, used: int, *, first: bool) -> int | None:
        """Return the tokens to ask for when so many are used; None: name no number."""
        if first and self.unnamed:
            return None
        if self.total is None:
            return self.first if first else self.later
        left = self.total - used
        return left if self.cap is None else min(left, self.cap)

    def reached(self, used: int) -> bool:
        """Tell whether the total is used up."""
        return self.total is not None and used >= self.total

    def on_first(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the caller's own request under this limit, unchanged where it fits as it is."""
        asked = self.asked(0, first=True)
        if self.unnamed:
            return _without_limit(body)
        if not self.valid or asked is None:
            return dict(body)
        return {**_without_limit(body), self.name: asked}

    def on_later(self, body: Mapping[str, Any], asked: int | None) -> dict[str, Any]:
        """Return the body of a further round that asks for so many tokens."""
        later = _without_limit(body)
        if asked is not None:
            later[self.name] = asked
        return later


def is_limited(body: Mapping[str, Any], settings: Continuation) -> bool:
    """Tell whether a request has a limit, so that its first round may ask for another number of tokens."""
    ours = settings.max_tokens is not None or settings.round_tokens is not None
    return ours or not body.keys().isdisjoint(_NAMES)


def _without_limit(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _NAMES}
