"""What can be done about a failed round: go on from a broken stream, or ask again for fewer tokens."""

from __future__ import annotations

from .._tables.overflow import Overflow, TooMany
from ..settings import Continuation
from .choice import Choice
from .choices import Choices
from .codec.body import Requests
from .learned import Learned
from .limit import Limit
from .round import Failure, OpenRound
from .verdict import bar, known_bar

#: Most heals in a row without new text.
MAX_HEALS = 3
#: Seconds before the first heal, and most seconds before any: the SDK's own delays between retries.
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
#: How often a round is asked for again with fewer tokens.
MAX_SHRINKS = 3
#: Tokens to leave free for each shrink, because servers count a prompt only roughly.
SHRINK_MARGIN = 16


def wait_before_heal(heals: int) -> float:
    """Return the seconds to wait before the heal with this number, from 1."""
    return min(FIRST_WAIT * 2.0 ** (heals - 1), LONGEST_WAIT)


def can_heal_first(choices: Choices, requests: Requests) -> bool:
    """Whether a first round that broke off can be healed: all choices had begun, and each broken one can go on."""
    broken = [choice for choice in choices if not choice.finish_reason]
    for choice in broken:
        requests.prepare(choice)
    return len(choices) == choices.wanted and bool(broken) and all(bar(choice, requests) is None for choice in broken)


def can_heal_later(choice: Choice, requests: Requests, *, max_rounds: int) -> bool:
    """Whether a later round that broke off can be healed."""
    heals = 0 if choice.added > 0 else choice.heals
    requests.prepare(choice)
    cut_call = bool(choice.calls) and choice.turn is None
    return choice.rounds + 1 < max_rounds and choice.barred is None and not cut_call and heals < MAX_HEALS


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
    return limit.fitting(room_left(overflow, None), overflow.context_length)


def smaller_room(choice: Choice, overflow: Overflow, asked: int | None) -> int | None:
    """
    Return how many tokens to ask for instead of ``asked``, or None if asking for fewer makes no sense.

    The server's number counts if it gave one; else half is tried.
    """
    if asked is None or choice.shrinks == MAX_SHRINKS:
        return None
    room = room_left(overflow, choice.context)
    room = None if room is None else room - SHRINK_MARGIN * choice.shrinks
    if room is None or room >= asked:
        # The server gave no number, or a wrong one.
        room = asked // 2
    return room if room >= 1 else None


def room_left(overflow: Overflow, context: int | None) -> int | None:
    """
    Return the tokens that the prompt leaves free, or None if that is not known.

    ``context``: tokens of prompt and answer so far, by usage. It counts if the server says "at least N".
    """
    prompt = overflow.prompt_tokens if overflow.exact else None
    prompt = context if prompt is None else prompt
    return None if prompt is None or overflow.context_length is None else overflow.context_length - prompt


class Repairs:
    """Decides what can be done about the failed rounds of one call; it changes what the next request asks for."""

    def __init__(self, choices: Choices, requests: Requests, learned: Learned, settings: Continuation) -> None:
        self._choices = choices
        self._requests = requests
        self._learned = learned
        self._settings = settings

    def try_smaller(self, running: OpenRound, overflow: Overflow | TooMany) -> bool:
        """Whether the round is asked for again with fewer tokens: the number was too large, and not the prompt."""
        if running.began:
            return False
        if isinstance(overflow, TooMany):
            most = most_taken(overflow, running.asked, self._requests.limit)
            if most is None or (running.choice is not None and running.choice.shrinks == MAX_SHRINKS):
                return False
            # A number that is in no error and no row is a guess.
            known = overflow.most is not None or self._requests.limit.is_cap
            self._requests.takes_fewer(most, known=known)
            if running.choice is not None:
                running.choice.shrink(most)
            return True
        if overflow.full:
            return False
        if running.choice is None:
            limit = fitting(self._requests.limit, overflow)
            self._requests.limit = limit or self._requests.limit
            return limit is not None
        room = smaller_room(running.choice, overflow, running.asked)
        if room is not None:
            running.choice.shrink(room)
            # The rounds that follow must fit, too.
            self._requests.limit = self._requests.limit.knowing(overflow.context_length)
        return room is not None

    def can_heal(self, running: OpenRound) -> bool:
        """Whether a stream that broke off can go on from the text that has arrived."""
        if not self._settings.heal_streams or self._requests.format is not None:
            return False
        if running.choice is not None:
            return can_heal_later(running.choice, self._requests, max_rounds=self._settings.max_rounds)
        if known_bar(self._learned) is not None or self._settings.max_rounds == 1:
            return False
        return can_heal_first(self._choices, self._requests)

    def try_without_extras(self, running: OpenRound, failure: Failure) -> bool:
        """Whether a round that the server refused is asked for again without something that it may have refused."""
        if running.began:
            # It was not the request that the server refused, and its text is out.
            return False
        if running.choice is None:
            return self._requests.try_first_without_extras(failure.words)
        if running.reader is not None:
            # The raw prompt is given up.
            return False
        if self._requests.try_without_extras(failure.words):
            return True
        self._learned.take_refusal(failure.words)
        return False
