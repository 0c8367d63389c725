"""What the rounds of one choice have used, and how often one of them was tried."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .json import Json
from .usage import Counts


@dataclass(slots=True)
class Tally:
    """The counts of one choice over all rounds."""

    #: Rounds so far.
    rounds: int = 0
    #: Output tokens of the rounds so far, and of the last one.
    used: int = 0
    last_used: int = 0
    #: Chunks of the running round that carried text. A round that broke off is taken to have used as many tokens.
    chunks: int = 0
    #: Tokens of the prompt and the answer after the last round, or None if the server reports no usage.
    context: int | None = None
    #: Whether the server counted both, so that the next prompt can be compared with them.
    is_counted: bool = False
    #: What the usage of the last round shows of the next prompt.
    counts: Counts = field(default_factory=Counts)
    #: Most tokens that the next round may ask for, or None for no such limit.
    room: int | None = None
    #: Characters of the tail, the end of the text after its last word, that short rounds have written again.
    confirmed: int = 0
    #: How often the running round was asked for again with fewer tokens.
    shrinks: int = 0
    #: Broken rounds in a row that brought no new text.
    heals: int = 0
    #: Whether the server called the end of the answer so far "stop", though it may be a cut (doubts.py): the last round
    #: that brought text used all tokens that the server gives, or the last round all that the caller asks for.
    in_doubt: bool = False
    at_limit: bool = False

    @classmethod
    def of(cls, kept: Json, answer: str) -> Tally:
        """Return the counts that were kept. ``answer``: the answer at that time."""
        counts: Json = kept["counts"]
        known: dict[str, Any] = {**counts, "text": answer[max(len(answer) - counts["text"], 0) :]}
        fields: dict[str, Any] = {**kept, "counts": Counts(**known)}
        return cls(**fields)

    def kept(self) -> Json:
        """Return the counts as JSON. Of a text, which is the end of the answer, its length is enough."""
        counts = asdict(self.counts)
        return {**asdict(self), "counts": {**counts, "text": len(self.counts.text)}}

    def add_chunks(self, chunks: int) -> None:
        """Count chunks of the running round that carried text."""
        self.chunks += chunks

    def book_round(self, used: int, context: int | None, counts: Counts, *, finished: bool, counted: bool) -> None:
        """
        Count a round.

        ``used``: its output tokens for this choice. ``context``: tokens of prompt and answer after it, if known.
        ``finished``: whether it ended by a ``finish_reason``. ``counted``: whether the server counted its tokens.
        """
        self.rounds += 1
        self.used, self.last_used = self.used + used, used
        self.context, self.is_counted, self.counts = context, counted, counts
        self.room, self.shrinks, self.chunks = None, 0, 0
        if finished:
            self.heals = 0

    def book_break(self, *, added: bool) -> None:
        """Count a heal. ``added``: whether the round that broke off brought new text."""
        self.heals = 1 if added else self.heals + 1

    def confirm(self, characters: int, *, added: bool) -> None:
        """Note how much of the tail a round has written again. ``added``: whether it went on, so that it is no tail."""
        self.confirmed = 0 if added else self.confirmed + characters

    def shrink(self, room: int) -> None:
        """Ask for the running round again, for ``room`` tokens at most."""
        self.room, self.shrinks = room, self.shrinks + 1

    def limit_next(self, room: int | None) -> None:
        """Ask for ``room`` tokens at most in the next round; None: for as many as are left."""
        self.room = room

    def forget_context(self) -> None:
        """Forget the tokens of the prompt and the answer: the next prompt is another one."""
        self.context, self.is_counted = None, False
