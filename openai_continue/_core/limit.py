"""Token limits: the caller's is a total over all rounds, the provider's holds for each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._tables.providers import Provider
from ..settings import Continuation

_NAMES = ("max_completion_tokens", "max_tokens")
#: All names of the limit; the last one is that of the Responses endpoint.
ALL_NAMES = (*_NAMES, "max_output_tokens")
# Tokens that every server gives in one answer, if its row names no cap.
_GIVEN_BY_ALL = 4096


@dataclass(frozen=True, slots=True)
class Limit:
    """
    The limits of one call, in output tokens of one choice.

    The first round is the caller's own request, with the caller's own number. It has another number only if the
    settings name one, or if the server has refused the caller's.
    """

    #: Name of the field under which a number of ours is sent.
    name: str
    #: The number in the caller's request, or None; and the name of its field there.
    named: int | None
    own_name: str
    #: Most tokens over all rounds, or None for no limit.
    total: int | None
    #: The number of the first round instead of the caller's, or None.
    first: int | None
    #: Most tokens to ask for in a round, by the settings or by what the server said. None: as many as are left.
    most: int | None
    #: Tokens to ask for in a later round if there is no total; None sends no limit.
    later: int | None
    #: Tokens that the server is known to give in one answer, and whether it never gives more.
    given: int
    is_cap: bool
    #: False: the request names a limit that is no number of tokens. The server is to judge it.
    valid: bool
    #: Whether the number of the first round was changed to fit the context.
    fitted: bool = False
    #: The tokens of the context, if a server that refused a round has named them.
    context: int | None = None

    @classmethod
    def of(
        cls, body: Mapping[str, Any], provider: Provider, settings: Continuation, *, taken: int | None = None
    ) -> Limit:
        """
        Return the limit of a request with this body.

        ``taken``: the most tokens that the server was found to take for the model, if it has refused more.
        """
        # If both names are given, the one that the provider reads first counts, as it does without us.
        names = [name for name in (*provider.limit_names, *_NAMES) if body.get(name) is not None]
        name = names[0] if names else provider.limit_names[0]
        named = _whole_number(body.get(name))
        # What is no number of tokens is the server's to judge.
        wanted = settings.max_tokens if not names else named
        whole = None if body.get("stream") else provider.most_whole
        most = _least(settings.round_tokens, taken, whole)
        # A number of the caller's is sent as it is, unless the server is known to refuse it.
        first = _least(wanted, settings.round_tokens, taken, whole if named is None else None)
        judged = bool(names) and named is None
        first = None if first == named or judged or (wanted is None and settings.round_tokens is None) else first
        asks = settings.round_tokens or provider.asks
        return cls(
            name=name if name in provider.limit_names else provider.limit_names[0],
            named=named,
            own_name=name,
            total=wanted if settings.request_limit == "answer" else settings.max_tokens,
            first=first,
            most=most,
            later=None if asks is None else _least(asks, most),
            given=provider.cap or _GIVEN_BY_ALL,
            is_cap=provider.cap is not None,
            valid=named is not None or not names,
        )

    @property
    def is_ours(self) -> bool:
        """Whether the first round names a number of ours, and not the caller's."""
        return self.first is not None

    @property
    def asked_first(self) -> int | None:
        """The number that the first round names, or None."""
        return self.named if self.first is None else self.first

    def asked(self, used: int) -> int | None:
        """Return the tokens that a later round asks for after ``used`` tokens, or None to send no limit."""
        return self.later if self.total is None else _least(self.total - used, self.most)

    def reached(self, used: int) -> bool:
        """Whether ``used`` tokens use up the total."""
        return self.total is not None and used >= self.total

    def on_first(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the caller's body with the limit of the first round."""
        if self.fitted and self.first is None:
            return self._without(body)
        return dict(body) if self.first is None else {**self._without(body), self.name: self.first}

    def on_later(self, body: Mapping[str, Any], asked: int | None) -> dict[str, Any]:
        """Return a copy of the body that asks for ``asked`` tokens, or sends no limit if that is None."""
        later = self._without(body)
        if asked is not None:
            later[self.name] = asked
        return later

    def _without(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in body.items() if name not in (*_NAMES, self.name)}

    # After the server has refused the number of the first round.

    def taking(self, most: int) -> Limit:
        """Return this limit for a server that takes ``most`` tokens in any request."""
        later = None if self.later is None else min(self.later, most)
        return replace(self, first=most, most=_least(self.most, most), later=later)

    def fitting(self, room: int | None, context: int | None) -> Limit:
        """Return this limit for a prompt that leaves ``room`` tokens of a context free; None: not known."""
        return replace(self, first=room, named=None, fitted=True, context=context)

    def knowing(self, context: int | None) -> Limit:
        """Return this limit for a context of ``context`` tokens; None: not known."""
        return self if context is None else replace(self, context=context)

    def room(self, used: int | None) -> int | None:
        """Return how many tokens are free after ``used`` ones of prompt and answer, or None if that is not known."""
        return None if self.context is None or used is None else self.context - used


def is_limited(body: Mapping[str, Any], settings: Continuation, taken: int | None) -> bool:
    """
    Whether the first round may name another number than the caller's, or ask for usage to count the caller's.

    ``taken``: the most tokens that the server was found to take, if it has refused more.
    """
    ours = settings.max_tokens is not None or settings.round_tokens is not None
    return ours or ((taken is not None or bool(body.get("stream"))) and not body.keys().isdisjoint(ALL_NAMES))


def _whole_number(value: object) -> int | None:
    """Return a number of tokens from 1, or None. Some callers send it as a float."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _least(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
