"""
State: everything that is decided after a round. Nothing here changes anything.

A round comes to its end in an ``Outcome``, and ``next_step()`` says for each choice what follows: it goes on, the round
is asked for again, or the choice has ended. The decisions are the rows of two tables, in their order: the first row
that has a step for the case decides.

=======  ========================================================  =====  =======
State    Event                                                     Step   Then
=======  ========================================================  =====  =======
fresh    the first request                                                running
running  the server refuses something that can be left out         Again  waiting
running  its stream broke off, and its text can go on              GoOn   waiting
running  it was cut                                                GoOn   waiting
running  it has ended, cannot go on, or failed; a budget is spent  End    ended
waiting  its next request                                                 running
waiting  the round of another choice is over                       GoOn   waiting
waiting  another choice shows that the server begins again         End    ended
waiting  an error that is not of one choice; a budget is spent     End    ended
=======  ========================================================  =====  =======

In the first round, "again" leads back to "fresh". An ended choice stays ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .._tables.overflow import Overflow, TooMany
from ..settings import Continuation
from .bars import bar, known_bar
from .calls.transcript import CallEnd
from .choice import Choice
from .choices import Choices, loops
from .codec.body import Requests
from .documents import end_of_document, judge
from .doubts import as_given
from .fitting import fitting, most_taken, smaller_room
from .learned import Learned
from .outcome import Again, End, GoOn, How, Outcome, Step
from .text.ends import may_end
from .text.repetition import is_looping
from .text.seam import Stopped

#: Values of ``finish_reason`` by which the model ended an answer itself.
NATURAL_ENDS = ("stop", "tool_calls", "function_call", "content_filter")
# Those by which it ended a text. The last two are TGI's, router/src/lib.rs.
_ENDS_OF_TEXT = ("stop", "eos_token", "stop_sequence")
#: Most heals in a row without new text.
MAX_HEALS = 3
#: How often a round is asked for again with fewer tokens.
MAX_SHRINKS = 3


@dataclass(slots=True)
class Call:
    """What is the same for all choices."""

    requests: Requests
    choices: Choices
    learned: Learned
    settings: Continuation
    #: Whether the server has begun a choice of this call again, beyond doubt.
    restarts: bool = False


def next_step(choice: Choice | None, outcome: Outcome, call: Call) -> Step:
    """
    Return what follows for a choice after a round; None: for all, after a failure of the first round.

    A step "go on" after a failure says that the round is read as one that was cut.
    """
    if choice is None or (outcome.failure is not None and not outcome.is_waiting):
        steps = (row(choice, outcome, call) for row in AFTER_FAILURE)
    else:
        steps = (row(choice, outcome, call) for row in AFTER_ROUND)
    return as_given(next(step for step in steps if step is not None), choice, outcome)


# After a failure.


def _number_refused(choice: Choice | None, outcome: Outcome, call: Call) -> Step | None:
    """The server takes fewer tokens than were asked for."""
    refused, limit = outcome.overflow, call.requests.limit
    if outcome.began or not isinstance(refused, TooMany) or _has_shrunk(choice):
        return None
    most = most_taken(refused, outcome.asked, limit)
    # A number that is in no error and no row is a guess.
    return None if most is None else Again(room=most, most=most, is_known=refused.most is not None or limit.is_cap)


def _context_exceeded(choice: Choice | None, outcome: Outcome, call: Call) -> Step | None:
    """The prompt fits, and the number of tokens after it does not."""
    over = outcome.overflow
    if outcome.began or not isinstance(over, Overflow) or over.full or _has_shrunk(choice):
        return None
    if choice is None:
        limit = fitting(call.requests.limit, over)
        return None if limit is None else Again(limit=limit)
    room = smaller_room(over, outcome.asked, choice.tally.context, choice.tally.shrinks)
    # The rounds that follow must fit, too.
    return None if room is None else Again(room=room, context=over.context_length)


def _part_refused(_: Choice | None, outcome: Outcome, call: Call) -> Step | None:
    """The server refuses something that can be left out. A raw prompt is given up instead."""
    if not outcome.refuses or outcome.is_raw:
        return None
    part = call.requests.refused_part(outcome.words, is_first=outcome.is_first)
    return None if part is None else Again(without=part)


def _raw_refused(choice: Choice | None, outcome: Outcome, call: Call) -> Step | None:
    """The server takes no raw prompt, so the chat goes on as one, if it can."""
    if not outcome.refuses_raw or choice is None:
        return None
    barred = bar(choice, call.requests)
    return Again() if barred is None else End(barred)


def _broke_off(choice: Choice | None, outcome: Outcome, call: Call) -> Step | None:
    """The stream broke off, and another round can go on from its text."""
    if outcome.how is not How.BROKE or not call.settings.heal_streams or call.requests.format is not None:
        return None
    heals = _may_heal_first(call) if choice is None else _may_heal(choice, call)
    return GoOn() if heals else None


def _overflowed(choice: Choice | None, outcome: Outcome, _: Call) -> Step | None:
    """The context is full."""
    return End("context") if choice is not None and isinstance(outcome.overflow, Overflow) else None


def _failed(choice: Choice | None, _: Outcome, call: Call) -> Step:
    """Nothing helps. The error of a first round is the caller's."""
    return End("error", raises=choice is None or call.settings.on_error == "raise")


def _has_shrunk(choice: Choice | None) -> bool:
    return choice is not None and choice.tally.shrinks == MAX_SHRINKS


def _may_heal_first(call: Call) -> bool:
    """Whether a first round that broke off can be healed: all choices had begun, and each broken one can go on."""
    if known_bar(call.learned) is not None or call.settings.max_rounds == 1:
        return False
    choices, broken = call.choices, [choice for choice in call.choices if not choice.finish_reason]
    return len(choices) == choices.wanted and bool(broken) and all(bar(one, call.requests) is None for one in broken)


def _may_heal(choice: Choice, call: Call) -> bool:
    """Whether a later round that broke off can be healed."""
    heals = 0 if choice.added > 0 else choice.tally.heals
    cut_call = bool(choice.calls) and choice.turn is None
    return not _is_last(choice, call, 1) and choice.barred is None and not cut_call and heals < MAX_HEALS


# After a round that is over.


def _waits(_: Choice, outcome: Outcome, call: Call) -> Step | None:
    """The round was another choice's."""
    if not outcome.is_waiting:
        return None
    if outcome.budget is not None:
        return End(outcome.budget)
    if outcome.failure is not None:
        # A full context concerns one choice. An error that the SDK's retries could not mend concerns every one.
        return GoOn() if outcome.is_of_one else End("error")
    return End("restart") if call.restarts else GoOn()


def _ended(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """The model ended it itself. A joined document must be of the format asked for."""
    reason = choice.finish_reason
    if reason == "length":
        return None
    end = End("max_tokens" if choice.tally.at_limit else reason or "error", by_itself=True)
    if outcome.is_first or reason not in _ENDS_OF_TEXT:
        return end
    if call.requests.format is None or choice.answer.is_plain:
        return end if _has_ended(choice, call) else End("empty")
    return judge(choice, call.requests, end)


def _spent(choice: Choice, outcome: Outcome, _: Call) -> Step | None:
    """A budget is spent, or the round was left within a loop."""
    is_left = outcome.how is How.SPENT and outcome.budget is None and loops(choice)
    reason = "repetition" if is_left else outcome.budget
    return None if reason is None else End(reason)


def _call_that_was_hidden(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The server called a cut tool call something else, and it cannot go on."""
    ends = choice.call_end.hides_cut and (choice.turn is None or call.requests.limit.reached(choice.tally.used))
    return End("tool_call") if ends else None


def _call_that_failed(choice: Choice, _: Outcome, __: Call) -> Step | None:
    """The round did not continue the tool call."""
    return End("tool_call") if choice.call_end is CallEnd.FAILED else None


def _restarted(choice: Choice, _: Outcome, __: Call) -> Step | None:
    """The answer began again."""
    return End("restart") if choice.stopped is Stopped.RESTARTED else None


def _truncated(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The server left out the beginning of the prompt, or would leave out that of the next one."""
    return End("context") if choice.stopped is Stopped.SHORT_PROMPT or call.requests.is_truncated(choice) else None


def _without_thoughts(choice: Choice, _: Outcome, __: Call) -> Step | None:
    """The template left out the thoughts, or the model thinks again though the thoughts were cut."""
    thinks = choice.stopped is Stopped.THOUGHT_ANEW and choice.answers
    return End("reasoning") if choice.stopped is Stopped.WITHOUT_THOUGHTS or thinks else None


def _wrong_prompt_that_is_out(choice: Choice, _: Outcome, __: Call) -> Step | None:
    """The raw prompt was of another template, and its text is out."""
    return End("unsupported") if choice.stopped is Stopped.WRONG_PROMPT and choice.added > 0 else None


def _total_used(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The total of tokens is used up."""
    return End("max_tokens") if call.requests.limit.reached(choice.tally.used) else None


def _context_full(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The context, which the server has named, is full."""
    room = call.requests.limit.room(choice.tally.context)
    return End("context") if room is not None and room < 1 else None


def _muted_first(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """A stop string kept the server from showing anything of the first round."""
    is_muted = outcome.is_first and _is_muted(choice) and bar(choice, call.requests) == "empty"
    return GoOn(untold=True) if is_muted else None


def _barred(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The text or the request cannot go on, or the server is known not to continue."""
    barred = bar(choice, call.requests) or known_bar(call.learned)
    return None if barred is None else End(barred)


def _document_over(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The document has ended, or no further round makes it one of the format."""
    return end_of_document(choice, call.requests)


def _thinks_again(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The model thinks again: in the form of the prefill, or in each."""
    if choice.stopped is not Stopped.THOUGHT_ANEW:
        return None
    if not call.requests.codec(choice).has_other_form:
        return End("restart")
    return End("max_rounds") if _is_last(choice, call) else GoOn(other_form=True)


def _wrong_prompt(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The raw prompt was of another template. The chat goes on as one."""
    if choice.stopped is not Stopped.WRONG_PROMPT:
        return None
    return End("max_rounds") if _is_last(choice, call) else GoOn()


def _muted(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """A stop string kept the server from showing anything new."""
    if not _is_stuck(choice, outcome) or not _is_muted(choice):
        return None
    return End("max_rounds") if _is_last(choice, call) else GoOn(untold=True)


def _empty(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """The round brought nothing new, and nothing else can be tried."""
    return End("empty") if _is_stuck(choice, outcome) and _remedy(choice, call) is None else None


def _looping(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """The answer ends in a loop."""
    size = len(choice.current.text) if outcome.is_first else choice.added
    return End("repetition") if is_looping(choice.current.text, size, call.settings.max_repetition) else None


def _rounds_used(choice: Choice, _: Outcome, call: Call) -> Step | None:
    """The choice has had its rounds."""
    return End("max_rounds") if _is_last(choice, call) else None


def _stuck(choice: Choice, outcome: Outcome, call: Call) -> Step | None:
    """The round brought nothing new: fewer tokens are asked for, or less is held back."""
    return _remedy(choice, call) if _is_stuck(choice, outcome) else None


def _goes_on(choice: Choice, outcome: Outcome, call: Call) -> Step:
    """It was cut."""
    stopped = not outcome.is_first and choice.stopped is not None
    return GoOn(hold=None if stopped else call.requests.codec(choice).tail.hold)


_FailureRow: TypeAlias = Callable[[Choice | None, Outcome, Call], Step | None]
_RoundRow: TypeAlias = Callable[[Choice, Outcome, Call], Step | None]
#: What follows upon a failure. The last row has a step for every case.
AFTER_FAILURE: tuple[_FailureRow, ...] = (
    _number_refused,
    _context_exceeded,
    _part_refused,
    _raw_refused,
    _broke_off,
    _overflowed,
    _failed,
)
#: What follows upon a round that is over. The last row has a step for every case.
AFTER_ROUND: tuple[_RoundRow, ...] = (
    _waits,
    _ended,
    _spent,
    _call_that_was_hidden,
    _call_that_failed,
    _restarted,
    _truncated,
    _without_thoughts,
    _wrong_prompt_that_is_out,
    _total_used,
    _context_full,
    _muted_first,
    _barred,
    _document_over,
    _thinks_again,
    _wrong_prompt,
    _muted,
    _empty,
    _looping,
    _rounds_used,
    _stuck,
    _goes_on,
)


def _is_last(choice: Choice, call: Call, more: int = 0) -> bool:
    """Whether a choice has had its rounds, after ``more`` further ones."""
    return choice.tally.rounds + more >= call.settings.max_rounds


def _is_stuck(choice: Choice, outcome: Outcome) -> bool:
    """Whether a later round brought nothing new."""
    # It got on if it wrote a part of the tail again, so that the next round can send that.
    got_on = choice.current.confirmed > 0 and not choice.current.ends_in_blank
    return not outcome.is_first and choice.added <= 0 and not choice.tally.heals and not got_on


def _remedy(choice: Choice, call: Call) -> GoOn | None:
    """
    Return what may help after a round that brought nothing new, or None.

    The round was as long as the tail, or a part of it that ends in whitespace. It cannot be sent up to there, so the
    next round is to end before; but a server that reads tool calls may have written more than it gave. Else less is
    held back: the text that was filled all of the round, or the model wrote something else.
    """
    tail, read = call.requests.codec(choice).tail, choice.turn is not None and choice.turn.was_read
    if choice.current.ends_in_blank and choice.tally.last_used > 1 and not read:
        return GoOn(hold=tail.hold if choice.stopped is None else None, room=choice.tally.last_used - 1)
    less = tail.less(choice.hold) if choice.current.seam.held else None
    return None if less is None else GoOn(hold=less)


def _is_muted(choice: Choice) -> bool:
    """
    Whether a stop string may have kept the server from showing what the round brought: it showed nothing new.

    A stream of llama-server leaves out what may be the beginning of a stop string, also where the token limit cuts it.
    The whitespace that was held back may stand before it.
    """
    answer, held = choice.answer, choice.answer.seam.held
    again = len(held) if held.isspace() and answer.stopped is None else 0
    showed = choice.current is not answer or answer.untold or answer.dropped > again or answer.added > 0
    return not showed and choice.tally.last_used <= answer.most_hidden + again and answer.most_hidden > 0


def _has_ended(choice: Choice, call: Call) -> bool:
    """
    Whether an answer has ended that a server calls ended.

    A server that takes the prefill for a finished turn may end the next one at once. So a round that brought nothing,
    or whitespace only, is an end only if the text may end there, or if the server is known to go on.
    """
    requests, answer = call.requests, choice.answer
    brought = bool(choice.added_text.strip() or choice.stopped or choice.calls or choice.turn)
    known = call.learned.continues or choice.joined or choice.plan.is_raw
    judged = known or requests.has_stops or requests.is_completion
    return brought or judged or may_end(answer.text[: len(answer.text) - len(answer.added_text)])
