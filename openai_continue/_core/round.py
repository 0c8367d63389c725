"""The records of a round: its request, the round that is being received, its failure, and what to do about that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .choice import Choice
from .chunks import choices_of
from .codec.codec import Codec
from .estimate import fits, tokens_of, tokens_of_prompt
from .json import Json, as_object, as_string
from .limit import Limit
from .text.prompt_check import check_prompt
from .text.seam import Stopped
from .text.stops import NAMES_OF_STOP
from .usage import Counts, usage_of


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send. Number 1 is the caller's own; a later one continues the choice with index ``choice``."""

    number: int
    choice: int | None
    #: The JSON body of the HTTP request.
    body: Json = field(repr=False)
    #: Whether a chat goes on at ``/completions``.
    is_raw: bool = False


@dataclass(slots=True, repr=False)
class OpenRound:
    """The round that is being received."""

    request: Request
    #: The choice that it continues, or None for the first round.
    choice: Choice | None
    #: The token limit that the request names, in tokens; None if it names none.
    asked: int | None
    #: How what comes is read; None for the first round, which is as it is.
    codec: Codec | None = None
    #: Tokens of its prompt, by estimate; None if that is still to be made.
    prompt: int | None = None
    id: str | None = None
    request_id: str | None = None
    #: The model that the server names.
    model: str | None = None
    usage: Json | None = None
    #: The index that the server uses for the continued choice in this round.
    index: int | None = None
    #: Whether any chunk of the round came, and whether one with a delta.
    began: bool = False
    has_delta: bool = False
    #: Whether the server said that the round is finished, by a ``finish_reason``.
    finished: bool = False
    #: Whether the server names the stop string, or the end token, that ended it.
    names_stop: bool = False
    #: Tokens of its prompt and of what it brought, by estimate, once it is over; None if no answer came, or all of it.
    brought: tuple[int, int] | None = None

    def note(self, chunk: Json, request_id: str | None) -> None:
        """Note the id, the model and the usage of each chunk."""
        self.began = True
        self.has_delta = self.has_delta or any(isinstance(item.get("delta"), dict) for item in choices_of(chunk) or ())
        self.request_id = self.request_id or request_id
        self.id = self.id or as_string(chunk.get("id")) or None
        self.model = self.model or as_string(chunk.get("model")) or None
        self.usage = usage_of(chunk) or self.usage

    def read(self, chunk: Json) -> Json:
        """Return a chunk as its codec reads it; the choice takes what that shows."""
        if self.codec is None or self.choice is None:
            return chunk
        read = self.codec.read(chunk)
        if read.written:
            self.choice.take_raw(read.written)
        if read.stopped is not None and self.choice.stopped in {None, Stopped.REFUSED}:
            self.choice.current.refuse_round(read.stopped)
        if read.barred is not None:
            self.choice.bar(read.barred)
        return read.chunk

    def take_end(self, choice: Choice, item: Json) -> bool:
        """Note the ``finish_reason`` of a choice or chunk; return whether it has one."""
        finish_reason = as_string(item.get("finish_reason"))
        if finish_reason:
            choice.take_end(finish_reason)
            self.finished = True
            self.names_stop = any(item.get(name) is not None for name in NAMES_OF_STOP)
        return bool(finish_reason)

    def _used(self, choice: Choice, counted: int | None, limit: Limit) -> int:
        """
        Return the output tokens that this round spent on a choice.

        ``counted``: the server's own count, if it fits the text that came. Else a cut round has used what was asked
        for, or what the server is known to give.
        """
        if counted is not None:
            return counted if self.asked is None else min(counted, self.asked)
        written = choice.tally.chunks
        if self.asked is None or self.asked > limit.given:
            written = max(written, tokens_of(choice.added_text))
        if not self.finished or choice.finish_reason != "length":
            return written
        if self.asked is None or self.asked > limit.given:
            # The server may give more than its row says.
            return max(limit.given, written) if limit.is_cap else written
        return max(self.asked, written)

    @property
    def is_left(self) -> bool:
        """Whether it did not come to its end; if it is left within its last chunks, the usage did not come either."""
        is_stopped = self.choice is not None and self.choice.stopped is not None
        return not self.finished or (is_stopped and self.usage is None)

    def note_brought(self, parties: Sequence[Choice]) -> None:
        """Note what this round, which is over, has brought, if no server counts it. A chunk may hold several tokens."""
        if self.began and self.is_left:
            written = sum(tokens_of(one.added_text) + one.called // 4 for one in parties)
            prompt = tokens_of_prompt(self.request.body) if self.prompt is None else self.prompt
            self.brought = prompt, max(sum(one.tally.chunks for one in parties), written)

    def book(self, parties: Sequence[Choice], limit: Limit) -> None:
        """Count this round, which is over, for its choices."""
        self.note_brought(parties)
        for choice in parties:
            counted = self.counted(choice, parties, limit)
            used, prompt = self._used(choice, counted, limit), self._prompt_tokens
            is_counted, counts = prompt is not None and bool(counted), Counts()
            if choice.finish_reason == "length":
                # Another round may follow.
                counts = Counts(
                    prompt=prompt,
                    used=used,
                    text=choice.answer.added_text,
                    is_own=is_counted and self.used_up(parties, limit),
                    may_be_full=self.finished and (self.asked is None or used < self.asked),
                )
            context = self.context(choice, used, parties)
            choice.tally.book_round(used, context, counts, finished=self.finished, counted=is_counted)

    def counted(self, choice: Choice, parties: Sequence[Choice], limit: Limit) -> int | None:
        """Return the server's own count for a choice, or None if there is none that fits the text that came."""
        usage = self.usage or {}
        tokens = usage.get("completion_tokens")
        if not isinstance(tokens, int) or isinstance(tokens, bool):
            return None
        thought = (as_object(usage.get("completion_tokens_details")) or {}).get("reasoning_tokens")
        if isinstance(thought, int) and (thought > tokens or self._ends_at(tokens + thought, choice, limit)):
            # Thoughts are a part of the tokens, but Gemini and Gemma behind DeepInfra leave them out.
            tokens += thought
        if len(parties) > 1:
            # Choices that were all cut have the same number of tokens each.
            return max(tokens, 0) // len(parties) if all(one.finish_reason == "length" for one in parties) else None
        return tokens if fits(tokens, choice.added_text) else None

    def _ends_at(self, tokens: int, choice: Choice, limit: Limit) -> bool:
        """Whether a cut round was to end after this number of tokens: the number asked for, or the server's cap."""
        return choice.finish_reason == "length" and tokens in self._most(limit)

    def used_up(self, parties: Sequence[Choice], limit: Limit) -> bool:
        """Whether the server counted as many tokens for the only choice as it was asked for, or as it ever gives."""
        counted = None if len(parties) > 1 else (self.usage or {}).get("completion_tokens")
        return isinstance(counted, int) and counted > 0 and counted in self._most(limit)

    def _most(self, limit: Limit) -> tuple[int | None, int | None]:
        """Return the numbers of tokens at which the server cuts: the number asked for, and its cap."""
        return self.asked, limit.given if limit.is_cap else None

    def is_counted(self, choice: Choice, parties: Sequence[Choice], limit: Limit) -> bool:
        """Whether the server counted the tokens of both the prompt and the answer."""
        return self._prompt_tokens is not None and bool(self.counted(choice, parties, limit))

    @property
    def _prompt_tokens(self) -> int | None:
        """The server's own count of the prompt, or None."""
        tokens = (self.usage or {}).get("prompt_tokens")
        return tokens if isinstance(tokens, int) and tokens > 0 else None

    def check_prompt(self) -> None:
        """Refuse a continuation whose ``prompt_tokens`` show that the server did not go on from the text."""
        if self.choice is not None and self.usage is not None:
            check_prompt(self.choice, self.usage)

    def context(self, choice: Choice, used: int, parties: Sequence[Choice]) -> int | None:
        """Return the tokens of prompt and answer after this round used ``used`` tokens, or None if nobody counts."""
        if self.usage is None:
            return None if choice.tally.context is None else choice.tally.context + used
        prompt, tokens = (self.usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        used = tokens if isinstance(tokens, int) and tokens > used and len(parties) == 1 else used
        return prompt + used if isinstance(prompt, int) and prompt > 0 else None

    def finish_reason(self, parties: Sequence[Choice]) -> str | None:
        """Return how the round ended ("length" if any of its choices was cut), or None if it broke off."""
        reasons = [choice.finish_reason for choice in parties]
        if not self.finished and not any(choice.stopped for choice in parties):
            return None
        return "length" if "length" in reasons else reasons[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a round failed, as plain data."""

    #: Name of the SDK's exception class.
    type: str
    #: HTTP status, or None if no response came.
    status: int | None = None
    request_id: str | None = None
    #: All that the server said. It is read for the size of its context, and never passed on.
    text: str = field(default="", repr=False)
    #: The server's own message, without what it repeats of the request; "" if that is all of ``text``.
    message: str = field(default="", repr=False)
    #: Whether a stream broke off after it had begun.
    broke_off: bool = False
    #: What this library itself says of the failure, for the report; "" if it says nothing.
    note: str = ""

    @property
    def words(self) -> str:
        """What the server itself says."""
        return self.message or self.text


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What a driver does about a failure.

    If ``raises`` is False: give ``chunks`` to the caller, wait ``after`` seconds, and ask for the next request.
    """

    raises: bool = False
    chunks: list[Json] = field(default_factory=list[Json], repr=False)
    after: float = 0.0
