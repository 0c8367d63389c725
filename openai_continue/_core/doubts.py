"""
Ends in doubt: gateways and routers call a cut "stop". Only counts of tokens show it; nothing is guessed from the text.

An answer that ends in "stop" with exactly as many tokens as the server ever gives goes on as if it was cut. If no more
comes of it, it had ended, and stays as the server gave it. One that ends so at the caller's own number has reached
that: it is left as it is, and the log says that it may be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .choice import Choice
from .choices import Choices
from .chunks import delta_of
from .codec.body import Requests
from .json import Json
from .limit import Limit
from .outcome import End, Outcome, Step
from .round import OpenRound
from .tally import Tally

# How servers call the end of a text.
_END = "stop"


@dataclass(frozen=True, slots=True)
class OwnLimit:
    """The token limit of the caller's request, which an answer has reached."""

    name: str
    number: int
    #: Whether the server called the end "stop", so that the answer only may be cut.
    is_doubted: bool


def own_limit(choices: Choices, limit: Limit) -> OwnLimit | None:
    """Return the caller's own limit if it ended an answer, or None."""
    ended = [choice for choice in choices if choice.stopped_by == "max_tokens"]
    if not ended or limit.named is None or limit.total not in (None, limit.named):
        return None
    return OwnLimit(limit.own_name, limit.named, is_doubted=all(choice.tally.at_limit for choice in ended))


def may_be_doubted(choice: Choice, running: OpenRound, chunk: Json, limit: Limit) -> bool:
    """Whether this end of a first round is kept back: its usage shows that it may be a cut, or may still come."""
    if not _may_be_renamed(choice, running) or not _is_above_cap(running, limit):
        return False
    if running.usage is not None:
        return running.counted(choice, [choice], limit) == limit.given
    last = [text for text in delta_of(chunk).values() if isinstance(text, str)]
    return _bytes_of(choice.answer.text, choice.thoughts_text, *last) >= limit.given


def note_doubt(choice: Choice, running: OpenRound, parties: Sequence[Choice], requests: Requests) -> None:
    """Note whether the end of a round, which is over, may be a cut. If it goes on for that, it ends in "length"."""
    tally, limit = choice.tally, requests.limit
    tally.in_doubt = tally.in_doubt and not _has_gone_on(choice)
    counted = running.counted(choice, parties, limit) if _may_be_renamed(choice, running) else None
    tally.at_limit = counted is not None and counted == running.asked and _is_own(running, tally, limit)
    if counted != limit.given or choice.ended or not _is_above_cap(running, limit) or _is_document(choice, requests):
        return
    # A text of fewer bytes than tokens has thoughts that are not shown.
    if _bytes_of(choice.added_text) + choice.current.dropped >= limit.given:
        tally.in_doubt = True
        choice.take_end("length")


def as_given(step: Step, choice: Choice | None, outcome: Outcome) -> Step:
    """Return a step; if it ends an answer in doubt, that ends as the server gave it: in "stop", and in no error."""
    if choice is None or not choice.tally.in_doubt or not isinstance(step, End):
        return step
    if outcome.failure is not None and not outcome.is_waiting and _has_gone_on(choice):
        return step
    reason = step.stopped_by
    if reason == "empty" and choice.finish_reason != "length":
        # It had ended, unless there was no room for more of it.
        reason = "max_tokens" if choice.tally.at_limit else _END
    return replace(step, stopped_by=reason, by_itself=True, fault=None, raises=False)


def _has_gone_on(choice: Choice) -> bool:
    """Whether the running round went on from an end in doubt, so that that was a cut."""
    return bool(choice.added_text.strip() or choice.called)


def _may_be_renamed(choice: Choice, running: OpenRound) -> bool:
    """Whether a round ended in "stop", and nothing shows that the model ended it. Calls are judged by themselves."""
    has_ended = running.names_stop or choice.stopped is not None or choice.answer.document_ended
    return choice.finish_reason == _END and not has_ended and not choice.calls and choice.turn is None


def _is_above_cap(running: OpenRound, limit: Limit) -> bool:
    """Whether a round was asked for more than the server ever gives, or for no number."""
    return limit.is_cap and (running.asked is None or running.asked > limit.given)


def _is_own(running: OpenRound, tally: Tally, limit: Limit) -> bool:
    """Whether the number that a round asked for is the caller's, or all that was left of it."""
    if running.choice is None:
        return running.asked in (limit.named, limit.total)
    return running.asked is not None and limit.reached(tally.used + running.asked)


def _is_document(choice: Choice, requests: Requests) -> bool:
    """Whether the answer is the whole document that was asked for."""
    format_ = requests.format
    return format_ is not None and bool(format_.fits(requests.own_text(choice) or ""))


def _bytes_of(*texts: str) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
