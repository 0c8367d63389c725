"""What a client learns of the server of a model from one call, for its next calls."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# What servers say of a trailing assistant message that they do not take: Anthropic ("does not support assistant message
# prefill. The conversation must end with a user message"), Gemini ("ending with a model turn"), Mistral ("Expected last
# role User or Tool"), templates ("roles must alternate").
_REFUSES_PREFILL = re.compile(
    r"prefill|end(?:s|ing)? with an? (?:user|model|assistant)|expected last role"
    r"|last (?:message|role) (?:must|should|has to)|roles? must alternate|assistant messages? (?:is|are|as the last)"
    r"|final assistant message|multiturn requests",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Learned:
    """What one client has learnt of the server of one model."""

    #: Whether it begins again instead of continuing.
    restarts: bool = False
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
    #: Whether the answer was begun by another process, so that nothing is known of the first round but its answer.
    resumed: bool = False
    # Whether it has continued an answer. Then it refuses something else.
    _continues: bool = False
    # The token limits of requests that were reported to have ended an answer.
    _limits: set[int] = field(default_factory=set[int])

    def most(self, *, streamed: bool) -> int | None:
        """Return the most output tokens that the server takes, or None if that is not known."""
        return self.most_streamed if streamed else self.most_whole

    def take_most(self, most: int | None, *, streamed: bool) -> None:
        """Remember the most output tokens that the server takes; None: forget them, it has refused them too."""
        if streamed:
            self.most_streamed = most
        else:
            self.most_whole = most

    def is_news(self, limit: int) -> bool:
        """Whether nothing was said yet of this token limit of the caller's, which ended an answer."""
        news = limit not in self._limits
        self._limits.add(limit)
        return news

    def take_refusal(self, said: str) -> None:
        """Remember that the server refuses every prefill, if its words for a refused continuation say so."""
        if not self._continues and _REFUSES_PREFILL.search(said):
            self.refuses_prefill = True

    def take_continuation(self, *, closes_block: bool | None) -> None:
        """Remember that the server has continued. ``closes_block``: the form that this call has changed to, or None."""
        self._continues = True
        self.closes_block = self.closes_block if closes_block is None else closes_block
