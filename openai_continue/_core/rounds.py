"""
Rounds: the order of calls of one logical completion. No I/O, no clock, no SDK: dicts in, dicts out.

``next_request()`` returns the request to send, or None when the answer has ended. The driver then reports what came of
it: ``receive()`` with a whole answer; ``feed()`` with each chunk of a stream and then ``end_of_stream()``; or
``fail()``. When the answer has ended, ``completion()`` returns the merged whole answer, the fold of its chunks, and
``last_chunks()`` the end of the merged stream. The package's docstring has the rules and the words used here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from .._tables.overflow import read as read_overflow
from .backoff import wait_before_heal
from .bars import bar
from .budget import is_over_cost, seconds_left
from .choice import Choice
from .chunks import as_chunk, choices_of, index_of, said_by, status_of, without_errors
from .codec.body import Requests
from .doubts import OwnLimit, own_limit
from .ending import Ending
from .feeding import Feeding
from .folding import Folded
from .json import Json
from .kept import broken_round, restore, state_of
from .limit import Limit
from .merged import MergedAnswer
from .outcome import REFUSED, Again, End, GoOn, How, Outcome
from .round import Decision, Failure, OpenRound, Request
from .setup import Setup
from .state import Call, next_step
from .whole import sent_ids


class Rounds:
    """
    The rounds of one logical completion.

    What comes is given the shape of chat, in which the core works, and what goes out that of the call's endpoint.
    ``kept``: the ``state()`` of an answer that another process has begun; its text is then the first round.
    """

    def __init__(self, setup: Setup, kept: Json | None = None) -> None:
        self._settings, self._learned = setup.settings, setup.learned
        #: The endpoint of the call.
        self.endpoint = setup.endpoint
        self._requests = Requests(setup)
        self._choices = self._requests.choices()
        #: The merged answer, with the history of the rounds and the report.
        self.answer = MergedAnswer(self._choices, usage=setup.settings.usage)
        self._feeding = Feeding(self._choices, self.answer, self._requests)
        self._call = Call(self._requests, self._choices, self._learned, setup.settings)
        self._ending = Ending(self._call, self.answer)
        self._running: OpenRound | None = None
        self._number, self._kept = 0, kept
        # Of a whole answer: the first round's own object, and the chunks that are out.
        self._is_whole = not self._requests.streamed
        self._first: Json = {}
        self._chunks: list[Json] = []

    def next_request(self) -> Request | None:
        """Return the request to send now, or None if the answer has ended. Raises RuntimeError within a round."""
        if self._running is not None:
            msg = f"next_request() was called while round {self._running.request.number} is still being received"
            raise RuntimeError(msg)
        if self._number == 0:
            request = Request(1, None, self._requests.first())
            self._running = OpenRound(request, None, self._requests.limit.asked_first)
        elif self._ending.queue:
            choice = self._ending.queue[0]
            body, plan = self._requests.later(choice)
            choice.start_round(plan)
            request = Request(self._number + 1, choice.index, body, is_raw=plan.is_raw)
            codec = self._requests.codec(choice)
            self._running = OpenRound(request, choice, plan.asked, codec, self.answer.tokens_of(choice))
        else:
            return None
        self._number += 1
        return request

    @property
    def limit(self) -> Limit:
        """The token limit of this call."""
        return self._requests.limit

    @property
    def continued(self) -> bool:
        """Whether a further round was sent, or was called for and not sent for a reason that the report names."""
        return self._number > 1 or self.answer.stopped_by is not None

    @property
    def finished(self) -> bool:
        """Whether the server said of every choice of the running round that it is finished."""
        running = self._running
        return running is not None and (self._choices.finished if running.choice is None else running.finished)

    @property
    def own_limit(self) -> OwnLimit | None:
        """The token limit of the caller's request, if it ended an answer that could have gone on; else None."""
        return own_limit(self._choices, self.limit)

    @property
    def ends_with_stream(self) -> bool:
        """Whether the end mark of the running round's stream ends its answer, even if no ``finish_reason`` came."""
        return self._running is not None and (self._running.choice is None or self._running.has_delta)

    @property
    def enough(self) -> bool:
        """Whether no more of the running round is taken, so that its stream may be closed."""
        return self._running is not None and self._feeding.has_enough(self._running)

    @property
    def stopped_by(self) -> str:
        """Why the merged answer ends."""
        return self.answer.stopped_by or "length"

    @property
    def gave_up_raw(self) -> str | None:
        """Why raw prompts cannot be used, if this call has found that out; else None."""
        return self._requests.gave_up_raw

    @property
    def number(self) -> int:
        """The number of the running round, from 1."""
        return self._number

    @property
    def tokens(self) -> int:
        """The output tokens so far; a chunk of the running round counts as one."""
        return sum(choice.tally.used + choice.tally.chunks for choice in self._choices)

    # What another process goes on from.

    def state(self) -> Json:
        """
        Return what is to be kept beside the merged answer as it is now, as JSON.

        Between two rounds, or within a round that has just begun: what comes of it is then a part of the answer.
        """
        queue = [choice.index for choice in self._ending.queue]
        may_break = self._settings.heal_streams and self._requests.format is None
        running = self._running if may_break else None
        number = self._number if may_break or self._running is None else self._number - 1
        state = state_of(self.answer, self._choices, running, continues_calls=self._requests.continues_calls)
        return {**state, "number": number, "queue": queue}

    def _go_on(self, first: OpenRound, kept: Json) -> list[tuple[Choice, list[Json]]]:
        """Take a first round for all that another process had; return the chunks of each choice to give out."""
        self._kept, self._running, self._number = None, None, kept["number"]
        restore(kept, self._choices, self.answer, self._requests)
        broken = broken_round(kept, first, self._choices, self._requests)
        # A round that brought nothing is as if it had not been asked for.
        self._number -= int(broken is None and kept["open"] is not None)
        self.answer.resumed = self._number
        if broken is first:
            for choice in self._choices:
                if choice.finish_reason == "length":
                    choice.book_break()
            return self._ended(first, Outcome(How.ENDED, is_first=True))
        self._requests.served_by = first.model
        queue = [self._choices.at(index) for index in kept["queue"]]
        if any(bar(choice, self._requests) is not None for choice in queue):
            # It cannot go on here.
            return []
        self._ending.queue = queue
        last = None if broken is None else broken.choice
        others = [choice for choice in self._choices if choice is not last]
        out = [(one, one.settle(is_lost=False) + one.end_texts(goes_on=one in queue)) for one in others]
        if broken is None or last is None:
            return out
        last.book_break()
        return out + self._ended(broken, Outcome(How.ENDED, is_first=False))

    # Budgets.

    @property
    def goes_on(self) -> bool:
        """Whether a further request is to be sent."""
        return self._running is None and bool(self._ending.queue)

    def over_budget(self, seconds: float) -> str | None:
        """Return which budget is spent between two rounds, after ``seconds``: "max_seconds", "max_cost", or None."""
        if self.seconds_left(seconds) == 0:
            return "max_seconds"
        return "max_cost" if is_over_cost(self._settings, self.answer.bill.cost) else None

    def seconds_left(self, seconds: float) -> float | None:
        """Return the seconds left after ``seconds``; None if there is no limit, or nothing of the answer yet."""
        return None if self._number <= 1 and not self._choices else seconds_left(self._settings, seconds)

    def stop(self, reason: str) -> list[Json]:
        """End the answer in "length" with what has arrived; return the chunks to give out."""
        running = self._running
        if running is not None:
            running.finished = False
        is_first = running is not None and running.choice is None
        parts = self._ended(running, Outcome(How.SPENT, is_first, budget=reason))
        return self._give(self._given(parts, is_filed=False))

    # Whole rounds.

    def receive(self, request: Request, completion: object, request_id: str | None = None) -> Decision:
        """Take the whole answer of a round, a JSON object. Anything else is a failed round."""
        running, taken = self._expect(request), as_chunk(self.endpoint.taken_whole(completion))
        items = choices_of(taken)
        distinct = items is not None and len({index_of(item) for item in items}) == len(items)
        if items is None or not distinct or not (items or running.choice is None):
            said = "" if running.choice is None else said_by(completion)
            return self.fail(request, Failure("APIResponseValidationError", request_id=request_id, text=said))
        chunk, fault = cast(Json, taken), None
        if running.choice is None:
            self._first = cast(Json, completion)
            for item in items:
                self._choices.at(index_of(item)).take_ids(item, None)
        else:
            chunk, fault = without_errors(chunk)
            sent = sent_ids(self._first.get("prompt_token_ids"), chunk.get("prompt_token_ids"))
            running.choice.take_ids(chunk["choices"][0], sent)
        self._give(self._feeding.feed(running, chunk, request_id))
        if running.choice is not None and not running.finished:
            # No more is taken of a round that is refused, but it has an end.
            running.take_end(running.choice, chunk["choices"][0])
        if running.choice is not None and (fault is not None or not running.finished):
            # Whether more was to come is unknown; what came is kept.
            kind = "APIResponseValidationError" if fault is None else "APIError"
            return self.fail(request, Failure(kind, status_of(fault), request_id=request_id))
        outcome = Outcome(How.ENDED, is_first=running.choice is None)
        self._give(self._given(self._ended(running, outcome), is_filed=True))
        return Decision()

    def completion(self) -> Json:
        """Return the merged completion, or the first round's own object if nothing was continued."""
        return self.endpoint.given_whole(self.so_far()) if self.continued else self._first

    def so_far(self) -> Json:
        """Return the merged completion as it is now, in the shape of chat."""
        folded = Folded(streams=False)
        texts = self._chunks + [chunk for choice in self._choices for chunk in self._texts_of(choice)]
        for chunk in texts + self.answer.last_chunks(continued=True):
            folded.take(chunk)
        return self.answer.with_usage(folded.completion())

    def _texts_of(self, choice: Choice) -> list[Json]:
        """Return the texts of a choice that are in no chunk that is kept."""
        if self._is_whole:
            return choice.held_back
        thoughts = {} if choice.thoughts is None else {choice.thoughts.field: choice.thoughts.text}
        return [self.answer.chunk_of(choice, {"role": "assistant", "content": choice.answer.text, **thoughts})]

    def _give(self, chunks: list[Json]) -> list[Json]:
        """Return chunks for the caller of a stream; those of a whole answer are kept."""
        if self._is_whole:
            self._chunks += chunks
            return []
        return self.endpoint.given(chunks)

    # Streamed rounds.

    def feed(self, request: Request, chunk: Json, request_id: str | None = None) -> list[Json]:
        """
        Take one chunk of a round, a JSON object; return the chunks of the merged stream that may go out now.

        A chunk that needs no change is returned as the object that came.
        """
        running = self._expect(request)
        return self._give(self._feeding.feed(running, self.endpoint.taken(chunk), request_id))

    def flows(self, request: Request) -> str | None:
        """
        Return the field ("content", ...) if the chunk just fed carried nothing but text, else None.

        If it returns a field, following chunks that differ only in this text may go out as they come, and
        ``feed_text()`` takes their text.
        """
        self._expect(request)
        field = self._feeding.flows()
        return None if field is None else self.endpoint.field(field)

    def feed_text(self, request: Request, text: str, chunks: int) -> None:
        """Add the text of ``chunks`` chunks of the fast path. Raises RuntimeError unless ``flows()`` gave a field."""
        self._expect(request)
        self._feeding.feed_text(text, chunks)
        self.endpoint.given_text(text, chunks)

    def end_of_stream(self, request: Request) -> list[Json]:
        """
        Take the end of a round's stream; return the chunks that may go out now.

        A later round that ends without a ``finish_reason``, but as streams end, has ended by itself.
        """
        running = self._expect(request)
        is_left = self._feeding.has_enough(running)
        if running.choice is not None and not running.finished and not is_left:
            running.take_end(running.choice, {"finish_reason": "tool_calls" if running.choice.calls else "stop"})
        how = How.SPENT if self._feeding.is_looping(running) else How.ENDED
        outcome = Outcome(how, is_first=running.choice is None)
        return self._give(self._given(self._ended(running, outcome), is_filed=True))

    def _given(self, parts: list[tuple[Choice, list[Json]]], *, is_filed: bool) -> list[Json]:
        """Return the chunks to give out after a round. ``is_filed``: whether its kept ends are ends of the answer."""
        out = [chunk for _, chunks in parts for chunk in chunks]
        if self.continued or self._ending.queue:
            out = self.answer.part_kept(goes_on=bool(self._ending.queue)) + out
            self.answer.file_kept() if is_filed else self.answer.drop_kept()
        return out

    def last_chunks(self) -> list[Json]:
        """Return the end of the merged stream: the ends as they came, or with the sums and the report."""
        return self.endpoint.given(self.answer.last_chunks(continued=self.continued))

    # The end of a round.

    def fail(self, request: Request, failure: Failure) -> Decision:
        """
        Take the failure of a round that brought no answer, or whose stream broke off.

        What has arrived stays. If no further round can repair it, it ends in "length".
        """
        decision = self._failed(request, failure)
        is_lost = decision.raises and request.number == 1
        return replace(decision, chunks=self._give(decision.chunks) + (self.endpoint.left() if is_lost else []))

    def _failed(self, request: Request, failure: Failure) -> Decision:
        running = self._expect(request)
        running.request_id = running.request_id or failure.request_id
        if running.choice is not None:
            running.choice.current.drop_opening(unless_text=True)
        asked = running.asked if failure.status in (None, *REFUSED) else None
        outcome = Outcome(
            How.BROKE if failure.broke_off else How.FAILED,
            is_first=running.choice is None,
            failure=failure,
            overflow=read_overflow(failure.text, asked, failure.message) if failure.text else None,
            began=running.began,
            asked=running.asked,
            is_raw=running.request.is_raw,
        )
        if outcome.refuses_raw:
            # Another status may speak of this prompt only.
            self._requests.give_up_raw(for_good=failure.status not in REFUSED)
        if outcome.how is How.BROKE:
            for choice in self._ending.broken(running):
                self._requests.prepare(choice)
        step = next_step(running.choice, outcome, self._call)
        if isinstance(step, Again):
            return self._again(running, step, outcome)
        if isinstance(step, GoOn):
            return self._heal(running)
        if running.choice is None:
            self._running = None
            flushed = [out for choice in self._choices for out in choice.flush()]
            return Decision(step.raises, chunks=self.answer.part_kept(goes_on=False) + flushed)
        if outcome.refuses and not outcome.is_raw:
            self._learned.take_refusal(outcome.words)
        return Decision(step.raises, self._given(self._ended(running, outcome, step), is_filed=False))

    def _again(self, running: OpenRound, step: Again, outcome: Outcome) -> Decision:
        """Send the running round once more, with what the step changes."""
        requests = self._requests
        requests.limit = requests.limit.knowing(step.context) if step.limit is None else step.limit
        if step.most is not None:
            requests.takes_fewer(step.most, known=step.is_known)
        if step.room is not None and running.choice is not None:
            running.choice.tally.shrink(step.room)
        if step.without is not None:
            requests.leave_out(step.without, outcome.words)
        self._running, self._number = None, self._number - 1
        return Decision()

    def _heal(self, running: OpenRound) -> Decision:
        """Book a broken round as one that was cut; the next request goes on from its text."""
        if running.choice is not None and not running.choice.has_begun_calls:
            running.choice.current.drop_opening(unless_text=False)
        for choice in self._ending.broken(running):
            choice.book_break()
        parties = self._ending.parties(running)
        # Usage that came within the text counts up to the break; what does not fit the text is of its beginning.
        if len(parties) > 1 or not running.is_counted(parties[0], parties, self.limit):
            running.usage = None
        running.finished = False
        wait = wait_before_heal(max(choice.tally.heals for choice in parties))
        outcome = Outcome(How.ENDED, is_first=running.choice is None)
        return Decision(chunks=self._given(self._ended(running, outcome), is_filed=True), after=wait)

    def _ended(
        self, running: OpenRound | None, outcome: Outcome, decided: End | None = None
    ) -> list[tuple[Choice, list[Json]]]:
        """Take the end of a round; return the chunks of each choice to give out."""
        if self._kept is not None and running is not None and running.choice is None:
            return self._go_on(running, self._kept)
        self._running = None
        return self._ending.over(running, outcome, decided)

    def _expect(self, request: Request) -> OpenRound:
        if self._running is None or self._running.request is not request:
            msg = f"round {request.number} is not the one that is being received"
            raise RuntimeError(msg)
        return self._running
