"""How a round came to its end, and the steps that may follow: go on, ask again, end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from .._tables.overflow import Overflow, TooMany
from .codec.draft import Hold
from .limit import Limit
from .round import Failure

#: HTTP statuses of a server that does not take a request as it is.
REFUSED = (400, 413, 422)
#: HTTP statuses of a server that has no ``/completions``, or does not take our request there.
NOT_THERE = (*REFUSED, 404, 405, 501)


class Part(Enum):
    """What we ask for beside the text of a continuation, and can leave out."""

    BLOCK = "a think block before the answer"
    THOUGHTS = "the thoughts beside it"
    MARKS = "optional marks"
    USAGE = "usage"
    FORMAT = "the format"


class How(Enum):
    """How a round came to its end."""

    #: The server ended it: the answer has ended, or was cut.
    ENDED = "ended"
    #: Its stream broke off after it had begun.
    BROKE = "broke off"
    #: An error came instead of the answer, or after a part of it.
    FAILED = "failed"
    #: A budget is spent, or it brought a loop. It was left, or there was none.
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a round, as far as it is not in the texts of its choices."""

    how: How
    #: Whether it was the first round, and whether the choice waited while it ran.
    is_first: bool
    is_waiting: bool = False
    #: Which budget is spent, or None.
    budget: str | None = None
    #: Why it failed, and what the server says of the context or of the number of tokens; or None.
    failure: Failure | None = None
    overflow: Overflow | TooMany | None = None
    #: Whether any chunk of it came, the number of tokens that it asked for, and whether its prompt was raw.
    began: bool = True
    asked: int | None = None
    is_raw: bool = False

    @property
    def refuses(self) -> bool:
        """Whether the server refused the request, and not its number of tokens or its length."""
        return not self.began and self.overflow is None and self._status in REFUSED

    @property
    def refuses_raw(self) -> bool:
        """Whether it does not take the raw prompt, as far as one can tell."""
        return self.is_raw and not self.began and self.overflow is None and self._status in NOT_THERE

    @property
    def is_of_one(self) -> bool:
        """Whether the failure concerns only the choice of the round: its context is full, or it cannot go by chat."""
        return isinstance(self.overflow, Overflow) or self.refuses_raw

    @property
    def words(self) -> str:
        """What the server says of the failure."""
        return "" if self.failure is None else self.failure.words

    @property
    def _status(self) -> int | None:
        return None if self.failure is None else self.failure.status


@dataclass(frozen=True, slots=True)
class GoOn:
    """The choice goes on with a further round, or goes on waiting."""

    #: How much is held back at the next seam; None leaves it as it is.
    hold: Hold | None = None
    #: Most tokens of the next round, or None for no such limit.
    room: int | None = None
    #: Whether the server is not told the stop strings in the next round.
    untold: bool = False
    #: Whether the prefill has its other form from now on.
    other_form: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """The round is asked for again."""

    #: The limit of the first round; else most tokens of the later one.
    limit: Limit | None = None
    room: int | None = None
    #: The context that the server has named.
    context: int | None = None
    #: Most tokens that the server takes in any request, and whether that is known, and no guess.
    most: int | None = None
    is_known: bool = False
    #: What is left out of it.
    without: Part | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The choice has ended, or the call has failed."""

    #: Why (a value of ``Report.stopped_by``).
    stopped_by: str
    #: Whether it ended by itself, so that its ``finish_reason`` stays; else that is "length".
    by_itself: bool = False
    #: The error in the report (``ErrorReport.type``) that is none of the server's, or None.
    fault: str | None = None
    #: Whether the failure is raised.
    raises: bool = False


Step: TypeAlias = GoOn | Again | End
