"""How many tokens to ask for instead of a number that a server has refused. Only arithmetic."""

from __future__ import annotations

from .._tables.overflow import Overflow, TooMany
from .limit import Limit

#: Tokens to leave free for each time that a round is asked for again, because servers count a prompt only roughly.
MARGIN = 16


def most_taken(refused: TooMany, asked: int | None, limit: Limit) -> int | None:
    """Return the tokens to ask for if the server refused ``asked`` as too many; None if fewer make no sense."""
    most = limit.given if refused.most is None else refused.most
    return most if asked is not None and most < asked else None


def fitting(limit: Limit, overflow: Overflow) -> Limit | None:
    """
    Return the limit for a first round that did not fit into the context; None if its error is the caller's.

    Only a number of ours is made to fit. Without it the request may have fitted; the caller's own fails as without us.
    """
    if limit.fitted or not limit.is_ours:
        return None
    return limit.fitting(_room_left(overflow, None), overflow.context_length)


def smaller_room(overflow: Overflow, asked: int | None, context: int | None, shrinks: int) -> int | None:
    """
    Return how many tokens a later round asks for instead of ``asked``, or None if asking for fewer makes no sense.

    The server's number counts if it gave one; else half is tried. ``context``: tokens of prompt and answer so far, by
    usage. ``shrinks``: how often the round was asked for again.
    """
    if asked is None:
        return None
    room = _room_left(overflow, context)
    room = None if room is None else room - MARGIN * shrinks
    if room is None or room >= asked:
        # The server gave no number, or a wrong one.
        room = asked // 2
    return room if room >= 1 else None


def _room_left(overflow: Overflow, context: int | None) -> int | None:
    """
    Return the tokens that the prompt leaves free, or None if that is not known.

    ``context`` counts if the server says "at least N".
    """
    prompt = overflow.prompt_tokens if overflow.exact else None
    prompt = context if prompt is None else prompt
    return None if prompt is None or overflow.context_length is None else overflow.context_length - prompt
