"""
Rounds: the order of calls of one logical completion. No I/O, no clock, no SDK: dicts in, dicts out.

``next_request()`` returns the request to send, or None when the answer has ended. The driver then reports what came of
it: ``receive()`` with a whole answer; ``feed()`` with each chunk of a stream and then ``end_of_stream()``; or
``fail()``. When the answer has ended, ``completion()`` returns the merged whole answer, ``last_chunks()`` the end of
the merged stream. The package's docstring has the rules and the words used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .._tables.overflow import Overflow
from .._tables.overflow import read as read_overflow
from .._tables.providers import Provider
from ..settings import Continuation
from .budget import is_over_cost, seconds_left
from .choice import NOT_CONTINUED, Choice
from .chunks import choices_of, index_of, said_by, status_of, without_errors
from .codec.body import Render, Requests
from .cut_off import cut_off
from .feeding import Feeding
from .json import Json
from .learned import Learned
from .limit import Limit
from .merged import MergedAnswer
from .recovery import Repairs, wait_before_heal
from .round import Decision, Failure, OpenRound, Request
from .text.evidence import ENOUGH_IF_KNOWN
from .text.seam import Stopped
from .verdict import NATURAL_ENDS, bar, verdict

#: HTTP statuses of a server that does not take a request as it is.
REFUSED = (400, 413, 422)
#: HTTP statuses of a server that has no ``/completions``, or does not take our request there.
NOT_THERE = (*REFUSED, 404, 405, 501)


class Rounds:
    """
    The rounds of one logical completion.

    ``body``: the caller's request body; it is not changed. ``learned``: what is known of this model's server from
    earlier calls; what this call shows is added to it. ``limit``: the token limit, if the server has refused another.
    ``render``: the chat template, if later rounds go to ``/completions``. ``is_parsed``: whether the SDK checks the
    document of the answer.
    """

    def __init__(  # noqa: PLR0913
        self,
        body: Mapping[str, Any],
        provider: Provider,
        settings: Continuation,
        learned: Learned | None = None,
        *,
        limit: Limit | None = None,
        render: Render | None = None,
        is_parsed: bool = False,
    ) -> None:
        self._settings = settings
        self._learned = Learned() if learned is None else learned
        self._requests = Requests(body, provider, settings, self._learned, limit, render, is_parsed=is_parsed)
        self._choices = self._requests.choices()
        #: The merged answer, with the history of the rounds and the report.
        self.answer = MergedAnswer(self._choices, usage=settings.usage)
        self._feeding = Feeding(self._choices, self.answer, self._requests)
        self._repairs = Repairs(self._choices, self._requests, self._learned, settings)
        # The choices that go on, in order; the first of them is continued next.
        self._queue: list[Choice] = []
        self._running: OpenRound | None = None
        self._number = 0
        # Whether the server has begun a choice of this call again, beyond doubt.
        self._restarts = False

    def next_request(self) -> Request | None:
        """Return the request to send now, or None if the answer has ended. Raises RuntimeError within a round."""
        if self._running is not None:
            msg = f"next_request() was called while round {self._running.request.number} is still being received"
            raise RuntimeError(msg)
        if self._number == 0:
            request = Request(1, None, self._requests.first())
            self._running = OpenRound(request, None, self._requests.limit.asked_first)
        elif self._queue:
            choice = self._queue[0]
            body = self._requests.later(choice)
            request = Request(self._number + 1, choice.index, body, is_raw=choice.is_raw)
            asked, reader = self._requests.asked(choice), self._requests.reader(choice)
            self._running = OpenRound(request, choice, asked, reader, self.answer.tokens_of(choice))
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
    def own_limit(self) -> int | None:
        """The token limit of the caller's request, if it ended an answer that could have gone on; else None."""
        reached = any(choice.stopped_by == "max_tokens" for choice in self._choices)
        return self.limit.named if reached and self.limit.total == self.limit.named else None

    @property
    def ends_with_stream(self) -> bool:
        """Whether the end mark of the running round's stream ends its answer, even if no ``finish_reason`` came."""
        return self._running is not None and (self._running.choice is None or self._running.has_delta)

    @property
    def enough(self) -> bool:
        """Whether no more of the running round is taken, so that its stream may be closed."""
        choice = None if self._running is None else self._running.choice
        return choice is not None and choice.stopped is not None

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
        return sum(choice.used + choice.chunks for choice in self._choices)

    # Budgets.

    @property
    def goes_on(self) -> bool:
        """Whether a further request is to be sent."""
        return self._running is None and bool(self._queue)

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
        running, ended, self._running, self._queue = self._running, self._queue, None, []
        return cut_off(running, ended, self._choices, self.answer, self.limit, reason)

    # Whole rounds.

    def receive(self, request: Request, completion: object, request_id: str | None = None) -> Decision:
        """Take the whole answer of a round, a JSON object. Anything else is a failed round."""
        running = self._expect(request)
        items = choices_of(completion)
        distinct = items is not None and len({index_of(item) for item in items}) == len(items)
        if items is None or not distinct or not (items or running.choice is None):
            said = "" if running.choice is None else said_by(completion)
            return self._failed(request, Failure("APIResponseValidationError", request_id=request_id, text=said))
        answer = cast(Json, completion)
        running.note(answer, request_id)
        if running.choice is None:
            self.answer.take_completion(answer)
            for item in items:
                choice = self._choices.at(index_of(item))
                choice.take_item(item, later=False)
                running.take_end(choice, item)
        else:
            answer = running.read(answer, "message")
            running.check_prompt()
            items = choices_of(answer) or items
            answer, item, fault = without_errors(answer, items[0])
            running.choice.take_item(item, later=True, sent=self.answer.sent_ids(answer))
            running.take_end(running.choice, item)
            running.completion = answer
            if fault is not None or not running.finished:
                # Whether more was to come is unknown; what came is kept.
                running.choice.book_round(0, running.choice.context, finished=False)
                kind = "APIResponseValidationError" if fault is None else "APIError"
                decision = self._failed(request, Failure(kind, status_of(fault), request_id=request_id))
                running.choice.collect(decision.chunks)
                return decision
        for choice, chunks in self._close(running):
            choice.collect(chunks)
        return Decision()

    def completion(self) -> Json:
        """Return the merged completion, or the first round's own object if nothing was continued."""
        return self.answer.completion(continued=self.continued)

    # Streamed rounds.

    def feed(self, request: Request, chunk: Json, request_id: str | None = None) -> list[Json]:
        """
        Take one chunk of a round, a JSON object; return the chunks of the merged stream that may go out now.

        A chunk that needs no change is returned as the object that came.
        """
        return self._feeding.feed(self._expect(request), chunk, request_id)

    def flows(self, request: Request, chunk: Json) -> str | None:
        """
        Return the field ("content", ...) if the chunk just fed carried nothing but text, else None.

        If it returns a field, following chunks that differ only in this text may go out as they come, and
        ``feed_text()`` takes their text.
        """
        return self._feeding.flows(self._expect(request), chunk)

    def feed_text(self, request: Request, text: str, chunks: int) -> None:
        """Add the text of ``chunks`` chunks of the fast path. Raises RuntimeError unless ``flows()`` gave a field."""
        self._expect(request)
        self._feeding.feed_text(text, chunks)

    def end_of_stream(self, request: Request) -> list[Json]:
        """
        Take the end of a round's stream; return the chunks that may go out now.

        A later round that ends without a ``finish_reason``, but as streams end, has ended by itself.
        """
        running = self._expect(request)
        if running.choice is not None and not running.finished and running.choice.stopped is None:
            calls = bool(running.choice.calls)
            running.take_end(running.choice, {"finish_reason": "tool_calls" if calls else "stop"})
        return self._end_stream(running)

    def _end_stream(self, running: OpenRound) -> list[Json]:
        out = [chunk for _, chunks in self._close(running) for chunk in chunks]
        if self.continued or self._queue:
            out = self.answer.part_kept(goes_on=bool(self._queue)) + out
            self.answer.file_kept()
        return out

    def last_chunks(self) -> list[Json]:
        """Return the end of the merged stream: the ends as they came, or with the sums and the report."""
        return self.answer.last_chunks(continued=self.continued)

    # The end of a round.

    def _close(self, running: OpenRound) -> list[tuple[Choice, list[Json]]]:
        """Record a round that is over, queue its choices that go on, and return the chunks of each to give out."""
        first = running.choice is None
        parties = list(self._choices) if running.choice is None else [running.choice]
        running.check_prompt()
        self._requests.served_by = self._requests.served_by or running.model
        out = [(choice, choice.settle()) for choice in parties]
        if running.completion is not None and parties[0].stopped not in NOT_CONTINUED:
            self.answer.take_completion(running.completion)
        for choice in parties:
            choice.find_cut_call(used_up=running.used_up(parties, self._requests.limit))
        self._running = None
        if not first:
            self._queue.pop(0)
        running.book(parties, self.limit)
        cut = [choice for choice in parties if choice.finish_reason == "length"]
        self.answer.note(running, running.finish_reason(parties))
        for choice in parties:
            begins = choice.answer.untold and choice.answer.added == len(choice.answer.text)
            if not first and choice.current.weight.proves:
                self._learned.take_proof()
            self._decide(choice, first=first)
            if not first and choice.added > 0 and choice.stopped not in NOT_CONTINUED and not begins:
                choice.joined = True
                self._learned.take_continuation(closes_block=self._requests.prefill.changed_to)
            rest = [] if choice.stopped_by is None else self._rest(running, choice)
            out.append((choice, rest + choice.end_texts(goes_on=choice.stopped_by is None)))
        while self._restarts and self._queue:
            other = self._queue.pop()
            other.stopped_by = "restart"
            out.append((other, other.end_texts(goes_on=False)))
        # A first round that ends by itself, or at the caller's own limit, called for nothing and leaves no report.
        if not first or any(choice.heals or choice.stopped_by not in (None, "max_tokens") for choice in cut):
            reasons = [choice.stopped_by for choice in self._choices if choice.stopped_by]
            self.answer.stopped_by = min(reasons, key=NATURAL_ENDS.__contains__, default=None)
        return out

    def _rest(self, running: OpenRound, choice: Choice) -> list[Json]:
        """Return what a raw prompt brought and is not given out yet: the answer of this choice ends with it."""
        reader = running.reader if choice is running.choice and choice.stopped is None else None
        delta = {} if reader is None else reader.rest()
        return choice.take(self.answer.chunk_of(choice, delta), later=True) if delta else []

    def _decide(self, choice: Choice, *, first: bool) -> None:
        """End a choice, or queue it for another round."""
        if not first:
            choice.drop_cut_character()
        if choice.stopped is Stopped.WRONG_PROMPT:
            self._requests.give_up_raw(for_good=True)
            choice.context, choice.is_counted = None, False
        self._requests.prepare(choice)
        rounds = self._settings.max_rounds
        found = verdict(choice, self._requests, first=first, learned=self._learned, max_rounds=rounds)
        choice.stopped_by = found.stopped_by
        if found.stopped_by == "restart" and not first:
            self._restarts = self._restarts or choice.restart_points >= ENOUGH_IF_KNOWN
            self._learned.take_restart(choice.restart_points, choice.current.text)
        if found.fault is not None or found.stopped_by == "empty":
            choice.finish_reason = "length"
        if found.fault is not None:
            self.answer.error = {"type": found.fault, "status": None, "request_id": None}
        choice.room, choice.answer.untold = found.room, found.untold
        if found.hold is not None:
            choice.hold = found.hold
            if choice.current.stopped is Stopped.REFUSED:
                # The model may refuse at each seam, and each time costs a round.
                self._requests.author(choice).hold = found.hold
        if choice.stopped is Stopped.WRONG_PROMPT and found.stopped_by is not None:
            self.answer.error = {"type": "template_mismatch", "status": None, "request_id": None}
        if found.stopped_by is None:
            self._queue.append(choice)
            if choice.stopped is Stopped.THOUGHT_ANEW:
                self._requests.prefill.change_form()
            if first:
                # A first answer that is not continued is left as it came.
                choice.drop_cut_character()

    def fail(self, request: Request, failure: Failure) -> Decision:
        """
        Take the failure of a round that brought no answer, or whose stream broke off.

        What has arrived stays. If no further round can repair it, it ends in "length".
        """
        return self._failed(request, failure)

    def _failed(self, request: Request, failure: Failure) -> Decision:
        running = self._expect(request)
        running.request_id = running.request_id or failure.request_id
        if running.choice is not None:
            running.choice.current.drop_opening(unless_text=True)
        asked = running.asked if failure.status in (None, *REFUSED) else None
        overflow = read_overflow(failure.text, asked, failure.message) if failure.text else None
        if overflow is not None and self._repairs.try_smaller(running, overflow):
            return self._again()
        if overflow is None and failure.status in REFUSED and self._repairs.try_without_extras(running, failure):
            return self._again()
        is_raw = running.reader is not None and running.choice is not None and not running.began
        if is_raw and running.choice is not None and overflow is None and failure.status in NOT_THERE:
            # Another status may speak of this prompt only.
            self._requests.give_up_raw(for_good=failure.status not in REFUSED)
            barred = bar(running.choice, self._requests)
            return self._again() if barred is None else self._end_failed(running, failure, barred)
        if failure.broke_off and self._repairs.can_heal(running):
            return self._heal(running)
        return self._end_failed(running, failure, "context" if isinstance(overflow, Overflow) else None)

    def _again(self) -> Decision:
        """Send the running round once more, as its changed state now writes it."""
        self._running, self._number = None, self._number - 1
        return Decision()

    def _end_failed(self, running: OpenRound, failure: Failure, reason: str | None) -> Decision:
        """End the answer with what has arrived. ``reason``: why this choice cannot go on, or None for any error."""
        self._running = None
        if running.choice is None:
            flushed = [out for choice in self._choices for out in choice.flush()]
            return Decision(raises=True, chunks=self.answer.part_kept(goes_on=False) + flushed)
        running.note_brought([running.choice])
        self.answer.note(running, None)
        # A full context concerns this choice. An error that the SDK's retries could not mend concerns every one.
        ended = self._queue if reason is None else self._queue[:1]
        self._queue = self._queue[len(ended) :]
        self.answer.drop_kept()
        self.answer.stopped_by = reason or "error"
        if reason is None:
            told = {"type": failure.type, "status": failure.status, "request_id": running.request_id}
            self.answer.error = {**told, "message": failure.note} if failure.note else told
        raises = reason is None and self._settings.on_error == "raise"
        chunks = list[Json]()
        for each in ended:
            chunks += self._rest(running, each) + each.end(self.answer.stopped_by, in_round=each is running.choice)
        return Decision(raises, chunks)

    def _heal(self, running: OpenRound) -> Decision:
        """Book a broken round as one that was cut; the next request goes on from its text."""
        parties = list(self._choices) if running.choice is None else [running.choice]
        if running.choice is not None and not running.choice.has_begun_calls:
            running.choice.current.drop_opening(unless_text=False)
        for choice in parties:
            if running.choice is not None or not choice.finish_reason:
                choice.book_break()
        # Usage that came within the text counts up to the break; what does not fit the text is of its beginning.
        if len(parties) > 1 or not running.is_counted(parties[0], parties, self.limit):
            running.usage = None
        running.finished = False
        wait = wait_before_heal(max(choice.heals for choice in parties))
        return Decision(chunks=self._end_stream(running), after=wait)

    def _expect(self, request: Request) -> OpenRound:
        if self._running is None or self._running.request is not request:
            msg = f"round {request.number} is not the one that is being received"
            raise RuntimeError(msg)
        return self._running
