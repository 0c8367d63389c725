"""
One logical call: the rounds of one completion, their log lines, and ``on_round``.

The logger ``openai_continue`` writes one INFO line for a continued call, one for a limit of the caller's own that ended
an answer (once for each client and model), one for an end at that limit which may be a cut (once for each model), a
DEBUG line for each round, and one WARNING for documents that cannot be checked; never content.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from typing import Any

from .._core.json import Json
from .._core.round import Request
from .._core.round_size import most_bytes
from .._core.schema import is_installed
from ..report import Round
from . import clock
from .options import Plan, later_options
from .private_parts import model_copy
from .progress import Progress

logger = logging.getLogger("openai_continue")

# Most seconds that count as left: no socket takes a timeout of a month.
_LONGEST = 86_400.0


class Call:
    """A completion, of a chat or of a text, that may be continued."""

    def __init__(self, client: Any, options: Any, plan: Plan, http_request: Any) -> None:
        self.client = client
        #: The body of the caller's request.
        self.body = plan.body
        kept = None if plan.journal is None else plan.journal.kept
        #: Whether another process has begun it, so that its first round is all that was kept.
        self.is_resumed = kept is not None
        self.rounds = plan.rounds(None if kept is None else kept.state)
        #: The SDK's options of the caller's request.
        self.options = options
        if plan.headers is not None:
            # The SDK has put the key of the first round among the headers; it may not hold for the next one.
            self.options = model_copy(options)
            self.options.headers = plan.headers
        self.plan = plan
        self._http_request = http_request
        self._reported = 0
        # Whether a wait that was called for would pass the budget in time.
        self._is_out_of_time = False
        #: Where the answer is kept, or None.
        self.journal = plan.journal
        #: The progress bar, if there is one.
        self.progress = Progress.of(self.rounds, plan.settings)

    def again(self) -> Call:
        """Return the same call from its beginning."""
        if self.journal is not None:
            self.journal.again()
        return Call(self.client, self.options, self.plan, self._http_request)

    @property
    def answered_at(self) -> Any:
        """The address that answered the first round."""
        return self._http_request.url

    def first_request(self) -> Request:
        """Return the request of the first round, to send it again."""
        request = self.plan.rounds().next_request()
        assert request is not None  # noqa: S101 - there is always a first one
        return request

    def options_of(self, request: Request) -> Any:
        """Return the SDK's options for a further round."""
        return later_options(self.client, self.options, request.body, is_raw=request.is_raw)

    def most_bytes(self, request: Request) -> int:
        """Return how many bytes the response to the request of a further round may have."""
        return most_bytes(request.body, self.plan.provider.cap)

    @property
    def max_retries(self) -> int:
        """How often the SDK makes a request again."""
        retries: int = self.options.get_max_retries(self.client.max_retries)
        return retries

    def keep(self) -> None:
        """Keep the state of a stream, whose text is kept as it is given out."""
        if self.journal is not None:
            self.journal.keep(self.rounds.state())

    def keep_whole(self) -> None:
        """Keep an answer that goes on and is no stream."""
        if self.journal is not None and self.rounds.goes_on:
            # A server that does not stream counts at the end.
            state = {**self.rounds.state(), "places": ["after the end"]}
            self.journal.keep(state, self.rounds.so_far())

    def stop_if_spent(self) -> list[Json]:
        """End an answer that is to go on, if a budget is spent; return the chunks to give out."""
        if not self.rounds.goes_on:
            return []
        spent = "max_seconds" if self._is_out_of_time else self.rounds.over_budget(self._seconds)
        return [] if spent is None else self.rounds.stop(spent)

    @property
    def _seconds(self) -> float:
        return clock.now() - self.plan.started

    def left(self) -> float | None:
        """Return the seconds that are left for a further round, or for the rest of a stream; None: no budget binds."""
        left = self.rounds.seconds_left(self._seconds)
        return None if left is None else min(left, _LONGEST)

    @property
    def is_late(self) -> bool:
        """Whether the budget in time is spent, or a wait that was called for would pass it."""
        return self.plan.settings.max_seconds is not None and (self._is_out_of_time or self.left() == 0)

    def may_wait(self, seconds: float) -> bool:
        """Return whether a wait fits into the time that is left. If it does not, the time counts as spent."""
        left = self.left()
        fits = left is None or seconds < left
        self._is_out_of_time = self._is_out_of_time or not fits
        return fits

    def _log_template(self) -> None:
        """Log why the chat template is not used, if this call found it out."""
        reason = self.rounds.gave_up_raw
        if self.plan.template is not None and reason is not None:
            logger.warning("the setting template is not used for %s: %s", self.body.get("model"), reason)

    def report_rounds(self) -> None:
        """Log the rounds that are new and give them to ``on_round``; do nothing if the call is not continued."""
        if self.progress is not None:
            self.progress.show()
        if not self.rounds.continued:
            return
        history = self.rounds.answer.history
        fresh, self._reported = range(self._reported, len(history)), len(history)
        for place in fresh:
            self._report_one(place + 1, history[place])

    def report_end(self) -> None:
        """Log the end of a call that was cut."""
        self.report_rounds()
        self._log_template()
        self.close_progress()
        if self.journal is not None:
            # After an error the same request goes on from here.
            fails = self.rounds.answer.stopped_by == "error" and self.rounds.number > self.rounds.answer.resumed
            (self.journal.leave if fails else self.journal.finish)()
        if (self.rounds.answer.error or {}).get("type") == "unchecked_document":
            _warn_of_unchecked(is_installed())
        limit = self.rounds.own_limit
        if limit is not None and limit.is_doubted:
            say_may_be_cut(str(self.body.get("model")), limit.name)
        elif limit is not None and not self.plan.learned.logged_limit:
            self.plan.learned.logged_limit = True
            logger.info(
                "an answer was cut and is not continued, since %s=%d of its request holds for the whole answer; "
                "with request_limit='round' it goes on",
                limit.name,
                limit.number,
            )
        rounds = len(self.rounds.answer.history)
        if rounds > 1:
            logger.info("continued: %d rounds, stopped by %s", rounds, self.rounds.stopped_by)
        elif self.rounds.continued:
            logger.info("an answer was cut and is not continued: stopped by %s", self.rounds.stopped_by)

    def close_progress(self) -> None:
        """Take the progress bar away, if there is one."""
        if self.progress is not None:
            self.progress.close()

    def _report_one(self, number: int, round_: Round) -> None:
        tokens = (round_.usage or {}).get("completion_tokens")
        logger.debug("round %d: finish_reason %s, completion tokens %s", number, round_.finish_reason, tokens)
        on_round = self.plan.settings.on_round
        if on_round is None:
            return
        try:
            on_round(round_)
        except Exception as error:
            # An observer's fault must not cost the text that has been paid for. Its message may hold content.
            logger.warning("on_round raised %s", type(error).__name__)


@lru_cache(maxsize=256)
def say_may_be_cut(model: str, name: str) -> None:
    """Say once for each model and name of the limit that a finished answer may be cut."""
    logger.info("an answer of %s ended in 'stop' at exactly the %s of its request, so it may be cut", model, name)


@cache
def _warn_of_unchecked(can_check: bool) -> None:
    """Say once that documents which were continued cannot be checked. ``can_check``: whether jsonschema is there."""
    why = "its schema is wrong, or refers to another file" if can_check else "pip install 'openai-continue[schema]'"
    logger.warning('a continued document could not be checked by its schema, so it ends in "length": %s', why)
