"""The ends of rounds, whichever way they came: see what a round brought, decide what follows, and apply it."""

from __future__ import annotations

from dataclasses import replace

from .choice import Choice
from .doubts import note_doubt, own_limit
from .json import Json
from .merged import MergedAnswer
from .outcome import End, GoOn, How, Outcome, Step
from .round import OpenRound
from .state import NATURAL_ENDS, Call, next_step
from .text.evidence import CERTAIN, ENOUGH_IF_KNOWN
from .text.seam import Stopped


class Ending:
    """Ends the rounds of one call."""

    def __init__(self, call: Call, answer: MergedAnswer) -> None:
        self._call = call
        self._choices, self._requests, self._learned = call.choices, call.requests, call.learned
        self._answer = answer
        #: The choices that go on, in order; the first of them is continued next.
        self.queue: list[Choice] = []

    def parties(self, running: OpenRound) -> list[Choice]:
        """Return the choices of a round."""
        return list(self._choices) if running.choice is None else [running.choice]

    def broken(self, running: OpenRound) -> list[Choice]:
        """Return the choices of a round that broke off which have no end."""
        return [choice for choice in self.parties(running) if running.choice is not None or not choice.finish_reason]

    def over(
        self, running: OpenRound | None, outcome: Outcome, decided: Step | None = None
    ) -> list[tuple[Choice, list[Json]]]:
        """
        Take the end of a round, or of the time between two: see what it brought, decide what follows, and apply it.

        ``decided``: the step of the round's choice, if a failure has decided it. Return the chunks of each choice to
        give out.
        """
        parties = [] if running is None else self.parties(running)
        waiting = [choice for choice in self.queue if choice not in parties]
        out = [] if running is None else self._observe(running, parties, outcome)
        self.queue = []
        for choice in parties:
            self._learn(choice, outcome)
        for choice in parties:
            step = next_step(choice, outcome, self._call) if decided is None else decided
            out.append((choice, self._apply(running, choice, step, outcome)))
        going, self.queue = self.queue, []
        for choice in waiting:
            step = next_step(choice, replace(outcome, is_waiting=True), self._call)
            out.append((choice, self._apply(None, choice, step, outcome)))
        self.queue += going
        self._say_why(parties, outcome)
        return out

    def _observe(self, running: OpenRound, parties: list[Choice], outcome: Outcome) -> list[tuple[Choice, list[Json]]]:
        """Settle and record a round that is over; return the chunks of each choice to give out."""
        is_lost = outcome.failure is not None
        running.check_prompt()
        self._requests.served_by = self._requests.served_by or running.model
        out = [(choice, choice.settle(is_lost=is_lost)) for choice in parties]
        for choice in parties if outcome.how is How.SPENT else ():
            choice.leave_round()
        for choice in () if is_lost else parties:
            choice.find_cut_call(used_up=running.used_up(parties, self._requests.limit))
        reason = running.finish_reason(parties) if outcome.how is How.ENDED else None
        for choice in parties:
            note_doubt(choice, running, parties, self._requests)
        if running.began or not is_lost:
            running.book(parties, self._requests.limit)
        self._answer.note(running, reason)
        return out

    def _learn(self, choice: Choice, outcome: Outcome) -> None:
        """Learn what the round shows of the server, and drop half a character that it left."""
        if not outcome.is_first:
            if choice.current.weight.proves:
                self._learned.take_proof()
            if outcome.began:
                choice.drop_cut_character()
        if choice.stopped is Stopped.WRONG_PROMPT:
            self._requests.give_up_raw(for_good=True)
            choice.tally.forget_context()
        if outcome.how is How.ENDED:
            self._requests.prepare(choice)

    def _apply(self, running: OpenRound | None, choice: Choice, step: Step, outcome: Outcome) -> list[Json]:
        """Take a step for a choice; return its chunks to give out. ``running``: its round, or None if it waits."""
        joins = running is not None and not outcome.is_first and outcome.failure is None and choice.has_joined
        rest = list[Json]()
        if isinstance(step, End):
            self._end(running, choice, step, outcome)
            rest = self._rest(running, choice)
        else:
            self.queue.append(choice)
            if running is None or not isinstance(step, GoOn):
                return []
            self._requests.change(choice, step)
            choice.go_on(step.hold, step.room, untold=step.untold)
        if running is not None and outcome.is_first and (isinstance(step, GoOn) or outcome.budget is not None):
            # A first answer that is not continued is left as it came.
            choice.drop_cut_character()
        if joins:
            choice.join()
            self._learned.take_continuation(closes_block=self._requests.chat.changed_to)
        return rest + choice.end_texts(goes_on=isinstance(step, GoOn))

    def _end(self, running: OpenRound | None, choice: Choice, step: End, outcome: Outcome) -> None:
        """End a choice, and note what is wrong."""
        in_doubt, fault = choice.tally.in_doubt, step.fault
        if in_doubt:
            choice.take_end("stop")
        choice.end(step.stopped_by, by_itself=step.by_itself)
        if step.stopped_by == "stop" and not step.by_itself:
            # A further round was called for, and the answer is whole without it.
            self._answer.stopped_by = step.stopped_by
        # What comes after an answer that may have ended shows nothing of the server.
        if running is not None and step.stopped_by == "restart" and not outcome.is_first and not in_doubt:
            # That a model thinks again in each form is certain.
            points = CERTAIN if choice.stopped is Stopped.THOUGHT_ANEW else choice.current.weight.points
            self._call.restarts = self._call.restarts or points >= ENOUGH_IF_KNOWN
            self._learned.take_restart(points, choice.current.text)
        if running is not None and outcome.how is How.ENDED and choice.stopped is Stopped.WRONG_PROMPT:
            fault = "template_mismatch"
        if fault is not None:
            self._answer.error = {"type": fault, "status": None, "request_id": None}
        elif running is not None and outcome.failure is not None and step.stopped_by == "error":
            failure = outcome.failure
            told = {"type": failure.type, "status": failure.status, "request_id": running.request_id}
            self._answer.error = {**told, "message": failure.note} if failure.note else told

    def _say_why(self, parties: list[Choice], outcome: Outcome) -> None:
        """Note why the answer ends, as far as the choices have ended."""
        reasons = [choice.stopped_by for choice in self._choices if choice.stopped_by]
        at_own_limit = own_limit(self._choices, self._requests.limit) is not None
        called_for_nothing = (None, "max_tokens") if at_own_limit else (None,)
        if outcome.budget is not None and (outcome.is_first or outcome.budget in reasons):
            self._answer.stopped_by = outcome.budget
        elif outcome.failure is not None:
            self._answer.stopped_by = parties[0].stopped_by
        # A first round that ends by itself, or at the limit of its request, called for nothing and leaves no report.
        elif not outcome.is_first or any(
            choice.finish_reason == "length" and (choice.tally.heals or choice.stopped_by not in called_for_nothing)
            for choice in parties
        ):
            self._answer.stopped_by = min(reasons, key=NATURAL_ENDS.__contains__, default=None)

    def _rest(self, running: OpenRound | None, choice: Choice) -> list[Json]:
        """Return what was read and is not given out yet: the answer of this choice ends with it."""
        if running is None or running.codec is None or choice.stopped is not None:
            return []
        delta = running.codec.rest()
        return choice.take(self._answer.chunk_of(choice, delta), later=True) if delta else []
