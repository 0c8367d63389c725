"""The merged answer: what the caller gets, made of the first round's names and the ends, sums and report of all."""

from __future__ import annotations

from ..report import Round, SeamReport, report
from .budget import Bill
from .choice import Choice
from .choices import Choices
from .chunks import choices_of, has_lists, has_news, index_of, lists_of, part_end, without_lists
from .json import Json
from .round import OpenRound
from .text.stops import NAMES_OF_STOP
from .usage import add_usage, as_one_call, usage_of, with_usage, without_usage

# What names the answer, in every chunk of it.
_NAMES = ("id", "object", "created", "model", "system_fingerprint")


class MergedAnswer:
    """
    Owns what belongs to the whole answer, and not to one choice.

    It has the id, created, model and fingerprint of the first round, the summed usage, and the ``finish_reason`` of
    the last round. Every other field is as the last round's server sent it, but lists grow. From a
    truncated end on, it keeps the ends and the usage of a round (the kept ends) until it is known whether another round
    follows.
    """

    def __init__(self, choices: Choices, *, usage: str = "billed") -> None:
        self._choices = choices
        self._is_one_call = usage == "one_call"
        #: In which chunks of the first round's stream the caller got usage: "within the text", "with the end", ...
        self.usage_places: set[str] = set()
        # What names the answer in the chunks of the first round.
        self._first: Json = {}
        #: What the rounds that are over were billed.
        self.bill = Bill()
        #: The rounds that were received or tried, in order.
        self.history: list[Round] = []
        #: Why the answer ends, or None while it goes on or was not continued.
        self.stopped_by: str | None = None
        #: How many of the rounds another process has made.
        self.resumed = 0
        #: The last error, as the report shows it.
        self.error: Json | None = None
        # End chunks of the running round as they came, and what came after them.
        self._kept: list[Json] = []
        # By index: the last end of each choice, without its text. The usage chunks that came after the ends.
        self._ends: dict[int, Json] = {}
        self._trailing: list[Json] = []

    @property
    def report(self) -> Json:
        """The JSON object that the merged answer carries as ``continuation``."""
        early = any(choice.answers for choice in self._choices)
        stopped = self.stopped_by or "length"
        return report(self.history, stopped, self.error, self.usage, resumed=self.resumed, answered_early=early)

    @property
    def usage(self) -> Json | None:
        """The sum of the usage of all rounds, broken ones by estimate, or None if the server counts none."""
        return self.bill.usage

    def tokens_of(self, choice: Choice) -> int | None:
        """Return the tokens of prompt and answer after the last round of a choice, or None if nobody counted them."""
        last = next((each.usage for each in reversed(self.history) if each.choice == choice.index), None) or {}
        counts = [last.get(name) for name in ("prompt_tokens", "completion_tokens")]
        known = [count for count in counts if isinstance(count, int)]
        return sum(known) if len(known) == len(counts) else None

    def take_names(self, chunk: Json) -> None:
        """Take what names the answer from a chunk of the first round. Some servers leave the first ones empty."""
        for name in _NAMES:
            if chunk.get(name) and not self._first.get(name):
                self._first[name] = chunk[name]

    def note(self, running: OpenRound, finish_reason: str | None) -> None:
        """Add a round to the history and its usage to the sum. ``finish_reason`` is None if the round failed."""
        seam, choice = None, running.choice
        usage = running.usage
        if not running.is_left or running.brought is not None:
            usage = self.bill.add(usage, running.brought)
        if choice is not None:
            text = choice.current
            seam = SeamReport(held_back=len(text.seam.held), cut=choice.cut, dropped=text.dropped)
        elif len(self._choices) == 1:
            choice = next(iter(self._choices))
        self.history.append(
            Round(
                id=running.id,
                request_id=running.request_id,
                model=running.model,
                choice=None if choice is None else choice.index,
                finish_reason=finish_reason,
                usage=usage,
                estimated=usage is not running.usage,
                seam=seam,
            )
        )

    def with_usage(self, completion: Json) -> Json:
        """Return the merged completion with the usage of all rounds, wherever it came."""
        usage = self._shown_usage
        return completion if usage is None else with_usage({**completion, "usage": usage}, usage)

    @property
    def _shown_usage(self) -> Json | None:
        """The usage of the whole answer as the caller gets it."""
        return None if self.usage is None else self._shown(self.usage)

    def _shown(self, usage: Json) -> Json:
        return as_one_call(usage, self.history[0].usage if self.history else None) if self._is_one_call else usage

    # Streams.

    @property
    def keeps_ends(self) -> bool:
        """Whether an end of the running round is kept back."""
        return bool(self._kept)

    def identified(self, chunk: Json) -> Json:
        """Return a chunk of a later round with the id, created, ... of the first one."""
        return {**chunk, **{name: self._first[name] for name in _NAMES if name in chunk and name in self._first}}

    def chunk_of(self, choice: Choice, delta: Json) -> Json:
        """Return a chunk of the merged stream that adds to a choice."""
        names = {name: self._first[name] for name in _NAMES if name in self._first}
        return {**names, "choices": [{"index": choice.index, "delta": delta, "finish_reason": None}]}

    def summed(self, chunk: Json) -> Json:
        """Return a chunk of a later round whose usage, if it has one, counts the earlier rounds too."""
        total = add_usage(self.usage, usage_of(chunk))
        return chunk if total is None or usage_of(chunk) is None else with_usage(chunk, self._shown(total))

    def keep(self, chunk: Json) -> None:
        """Keep back the end of a choice, or the usage that came after it."""
        self._kept.append(chunk)

    def drop_kept(self) -> None:
        """Drop the ends of a round that failed after them."""
        self._kept = []

    def part_kept(self, *, goes_on: bool) -> list[Json]:
        """
        Reduce the kept ends to bare ends; return what came with them.

        ``goes_on``: whether another round follows. If none does, the lists beside the choices stay at the end.
        """
        texts: list[Json] = []
        for place, chunk in enumerate(self._kept):
            if choices_of(chunk) and has_news(chunk):
                news, self._kept[place] = part_end(chunk)
                texts.append(news)
            if goes_on and has_lists(chunk):
                texts.append(self.identified(lists_of(chunk)))
                self._kept[place] = without_lists(self._kept[place])
        return texts

    def file_kept(self) -> None:
        """Take the kept ends for those of the merged stream, unless a later round brings others."""
        kept, self._kept = self._kept, []
        # The first round's also hold what only kept its connection open.
        trailing = [one for one in kept if not choices_of(one) and (usage_of(one) is not None or has_lists(one))]
        self._trailing = trailing or self._trailing
        self._ends.update({index_of(chunk["choices"][0]): chunk for chunk in kept if choices_of(chunk)})

    def last_chunks(self, *, continued: bool) -> list[Json]:
        """
        Return the end of the merged stream: the ends of all choices, the summed usage, and the report on the last.

        If the answer was not continued, they are the ends of the first round as they came.
        """
        if not continued:
            return self._kept
        # A stream broke off, and no later round brought an end, or the end that it has is out.
        broken = [choice for choice in self._choices if not choice.ended and choice.index not in self._ends]
        known = {**self._ends, **{choice.index: self.chunk_of(choice, {}) for choice in broken}}
        ends = [self._end(self._choices.at(index), chunk) for index, chunk in known.items()]
        last = [without_usage(chunk) for chunk in ends]
        usage = self._shown_usage
        if usage is not None and self.usage_places:
            if ends and usage_of(ends[-1]) is not None:
                last[-1] = with_usage(ends[-1], usage)
            elif any(usage_of(chunk) is not None for chunk in ends):
                last[-1] = {**last[-1], "usage": usage}
            last += [with_usage(self.identified(chunk), usage) for chunk in self._trailing]
        if last:
            last[-1] = {**last[-1], "continuation": self.report}
        return last

    def _end(self, choice: Choice, chunk: Json) -> Json:
        item = {**chunk["choices"][0], "index": choice.index, "finish_reason": choice.finish_reason}
        return {**self.identified(chunk), "choices": [_naming_stop(item, choice)]}


def _naming_stop(item: Json, choice: Choice) -> Json:
    """Return an end that says which stop string ended the choice, in the server's fields for it, if the end is ours."""
    is_ours = choice.stopped is not None or choice.call_end.hides_cut or choice.stopped_by == "error"
    return {**item, **{name: choice.answer.stop_string for name in NAMES_OF_STOP if name in item and is_ours}}
