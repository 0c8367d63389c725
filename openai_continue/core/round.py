"""The records of a round: its request, the round that is being received, its failure, and what to do about that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .choice import Choice
from .jsons import Json, as_object, as_string


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send. Number 1 is the caller's own; a later one continues the choice with index ``choice``."""

    number: int
    choice: int | None
    #: The JSON body of the HTTP request.
    body: Json = field(repr=False)


@dataclass(slots=True, repr=False)
class Running:
    """The round that is being received."""

    request: Request
    #: The choice that it continues, or None for the first round.
    choice: Choice | None
    #: The token limit that the request names, in tokens; None if it names none.
    asked: int | None
    id: str | None = None
    request_id: str | None = None
    usage: Json | None = None
    #: The index that the server uses for the continued choice in this round.
    index: int | None = None
    #: Whether any chunk of the round came.
    began: bool = False
    #: Whether the server said that the round is finished, by a ``finish_reason``.
    finished: bool = False

    def note(self, answer: Json, request_id: str | None) -> None:
        """Note the id and the usage of a completion, or of each chunk."""
        self.began = True
        if self.id is None:
            self.id, self.request_id = as_string(answer.get("id")), request_id
        self.usage = as_object(answer.get("usage")) or self.usage

    def take_end(self, choice: Choice, item: Json) -> bool:
        """Note the ``finish_reason`` of a choice or chunk; return whether it has one."""
        finish_reason = as_string(item.get("finish_reason"))
        if finish_reason:
            choice.finish_reason, self.finished = finish_reason, True
        return bool(finish_reason)

    def used(self, choice: Choice, parties: Sequence[Choice]) -> int:
        """Return the output tokens that this round spent on a choice; ``parties``: all choices of the round."""
        tokens = (self.usage or {}).get("completion_tokens")
        if isinstance(tokens, int) and all(one.finish_reason == "length" for one in parties if len(parties) > 1):
            # Choices that were all cut have the same number of tokens each.
            return max(tokens, 0) // len(parties)
        if self.finished and choice.finish_reason == "length" and self.asked is not None:
            return self.asked
        return choice.chunks

    @property
    def is_counted(self) -> bool:
        """Whether the server counted the tokens of both the prompt and the answer."""
        counts = [(self.usage or {}).get(name) for name in ("prompt_tokens", "completion_tokens")]
        return all(isinstance(count, int) and count > 0 for count in counts)

    def check_prompt(self) -> None:
        """Refuse a first continuation whose ``prompt_tokens`` show that the server did not go on from the text."""
        tokens = (self.usage or {}).get("prompt_tokens")
        if self.choice is not None and isinstance(tokens, int):
            self.choice.check_prompt(tokens)

    def context(self, choice: Choice, used: int) -> int | None:
        """Return the tokens of prompt and answer after this round used ``used`` tokens, or None if nobody counts."""
        prompt = choice.context if self.usage is None else self.usage.get("prompt_tokens")
        return prompt + used if isinstance(prompt, int) else None

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
    #: The server's words. They are read for the size of its context, and never passed on.
    text: str = field(default="", repr=False)
    #: Whether a stream broke off after it had begun.
    broke_off: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What a driver does about a failure.

    If ``raises`` is False: give ``chunks`` to the caller, wait ``after`` seconds, and ask for the next request.
    """

    raises: bool = False
    chunks: list[Json] = field(default_factory=list[Json], repr=False)
    after: float = 0.0
