"""Token limits: the caller's is a total over all rounds, the provider's holds for each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..providers import Provider
from ..settings import Continuation

_NAMES = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of one call, in output tokens of one choice."""

    #: Name of the field in the body that carries the limit.
    name: str
    #: Most tokens over all rounds, or None for no limit.
    total: int | None
    #: Most tokens of one round, or None if the provider has no known cap.
    cap: int | None
    #: Most tokens of the first and of a later round if there is no total; None sends no limit.
    first: int | None
    later: int | None
    #: False: the request names a limit that is no number of tokens. The server is to judge it.
    valid: bool = True
    #: The number in the caller's request, or None.
    named: int | None = None
    #: Whether the limit was reduced to fit the context.
    fitted: bool = False
    #: Whether the first round sends no limit at all.
    unnamed: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether the first round names a number that is not the caller's."""
        return self.valid and not self.fitted and self.asked(0, first=True) not in (None, self.named)

    def fitting(self, room: int | None) -> Limit:
        """Return this limit for a prompt that leaves ``room`` tokens free, or for one whose room is not known."""
        if room is None:
            return replace(self, fitted=True, unnamed=True)
        return replace(self, fitted=True, cap=room, first=None if self.first is None else room)

    @classmethod
    def of(cls, body: Mapping[str, Any], provider: Provider, settings: Continuation) -> Limit:
        """Return the limit of a request with this body."""
        # If both names are given, the one that the provider reads first counts, as it does without us.
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
        """Return the tokens to ask for after ``used`` tokens, or None to send no limit."""
        if first and self.unnamed:
            return None
        if self.total is None:
            return self.first if first else self.later
        left = self.total - used
        return left if self.cap is None else min(left, self.cap)

    def reached(self, used: int) -> bool:
        """Whether ``used`` tokens use up the total."""
        return self.total is not None and used >= self.total

    def on_first(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the caller's body with the limit of the first round."""
        asked = self.asked(0, first=True)
        if self.unnamed:
            return _without_limit(body)
        if not self.valid or asked is None:
            return dict(body)
        return {**_without_limit(body), self.name: asked}

    def on_later(self, body: Mapping[str, Any], asked: int | None) -> dict[str, Any]:
        """Return a copy of the body that asks for ``asked`` tokens, or sends no limit if that is None."""
        later = _without_limit(body)
        if asked is not None:
            later[self.name] = asked
        return later


def is_limited(body: Mapping[str, Any], settings: Continuation) -> bool:
    """Whether a request has a limit, so that its first round may name another number than the caller's."""
    ours = settings.max_tokens is not None or settings.round_tokens is not None
    return ours or not body.keys().isdisjoint(_NAMES)


def _without_limit(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _NAMES}
