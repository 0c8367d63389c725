"""What a client learns of the server of a model from one call, for its next calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .text.evidence import ENOUGH_IF_KNOWN

# What servers say of a trailing assistant message that they do not take: Anthropic ("does not support assistant message
# prefill. The conversation must end with a user message"), Gemini ("ending with a model turn"), Mistral ("Expected last
# role User or Tool"), templates ("roles must alternate"). "Prefill" by itself is a word of engines for reading any
# prompt ("max_prefill_tokens", "chunked prefill is disabled").
_REFUSES_PREFILL = re.compile(
    r"(?:assistant|message|response|answer)s? prefill"
    r"|prefill\w* (?:of |an? |the )?(?:assistant|message|response|answer)"
    r"|(?:^|[.:;!?\"'] *)prefill(?:ing|s)? (?:is|are) not (?:supported|allowed|permitted|accepted|enabled)"
    r"|end(?:s|ing)? with an? (?:user|model|assistant)|expected last role"
    r"|last (?:message|role) (?:must|should|has to)|roles? must alternate"
    r"|assistant messages? (?:(?:is|are) not|as the last)|final assistant message (?:is|are) not|multiturn requests",
    re.IGNORECASE,
)

#: Seconds for which a server that begins again is not asked to continue.
RESTART_MEMORY = 600.0


def _stopped_clock() -> float:
    return 0.0


@dataclass(slots=True)
class Learned:
    """
    What one client has learnt of the server of one model.

    Nothing that was guessed, or that a passing failure shows, is remembered, and one success clears what was.
    """

    #: Seconds, from any beginning. The core has no clock of its own.
    clock: Callable[[], float] = _stopped_clock
    #: Whether it has proved that it continues.
    continues: bool = False
    #: When it may be asked to continue again, because it began two answers again instead.
    restarts_until: float = 0.0
    #: Most output tokens that it takes, if it has refused more: in a whole answer, and in a stream.
    most_whole: int | None = None
    most_streamed: int | None = None
    #: Whether it has refused ``stream_options``.
    refuses_usage_options: bool = False
    #: Whether it has refused the thoughts beside an answer, which may be left out.
    refuses_thoughts: bool = False
    #: Whether it has refused the optional marks of a continuation.
    refuses_marks: bool = False
    #: Whether a closed think block goes before an answer. None: by the model's name. Else the form that worked.
    closes_block: bool | None = None
    #: Whether it refuses a trailing assistant message.
    refuses_prefill: bool = False
    #: Whether ``/completions`` refuses raw prompts, or took another prompt than the chat template of the setting gives.
    refuses_raw: bool = False
    #: Whether it was logged that a token limit of the caller's ended an answer.
    logged_limit: bool = False
    # Whether it has answered a continuation. Then it refuses something else.
    _answers: bool = False
    # Which answer it began again last: a retry has the same.
    _restarted: int | None = None

    @property
    def restarts(self) -> bool:
        """Whether it begins again instead of continuing, as far as that is remembered."""
        return self.clock() < self.restarts_until

    def most(self, *, streamed: bool) -> int | None:
        """Return the most output tokens that the server takes, or None if that is not known."""
        return self.most_streamed if streamed else self.most_whole

    def take_most(self, most: int | None, *, streamed: bool) -> None:
        """Remember the most output tokens that the server takes; None: forget them, it has refused them too."""
        if streamed:
            self.most_streamed = most
        else:
            self.most_whole = most

    def take_refusal(self, said: str) -> None:
        """Remember that the server refuses every prefill, if its words for a refused continuation say so."""
        if not self._answers and _REFUSES_PREFILL.search(said):
            self.refuses_prefill = True

    def take_continuation(self, *, closes_block: bool | None) -> None:
        """
        Remember that the server has answered a continuation with text.

        ``closes_block``: the form that this call has changed to, or None.
        """
        self._answers, self.refuses_prefill = True, False
        self.closes_block = self.closes_block if closes_block is None else closes_block

    def take_proof(self) -> None:
        """Remember that the server has gone on from a text."""
        self.continues, self.restarts_until, self._restarted = True, 0.0, None

    def take_restart(self, points: int, text: str) -> None:
        """
        Remember that the server has begun an answer again, if that is beyond doubt and was so for another answer.

        ``points``: those of the evidence. ``text``: the answer that was to go on.
        """
        if points < ENOUGH_IF_KNOWN:
            return
        known, self._restarted = self._restarted, hash(text)
        self.continues = False
        if known is not None and known != self._restarted:
            self.restarts_until = self.clock() + RESTART_MEMORY
