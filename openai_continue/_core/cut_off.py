"""The end of an answer whose budget is spent, while a round is running or between two rounds."""

from __future__ import annotations

from collections.abc import Sequence

from .choice import Choice
from .choices import Choices
from .json import Json
from .limit import Limit
from .merged import MergedAnswer
from .round import OpenRound


def cut_off(  # noqa: PLR0913, PLR0917
    running: OpenRound | None,
    waiting: Sequence[Choice],
    choices: Choices,
    answer: MergedAnswer,
    limit: Limit,
    reason: str,
) -> list[Json]:
    """
    End an answer in "length" with what has arrived; return the chunks to give out.

    ``running``: the round that is being received, or None. ``waiting``: the choices that were to go on.
    """
    out, cut, ended = list[Json](), list[Choice](), list(waiting)
    if running is not None:
        parties = list(choices) if running.choice is None else [running.choice]
        for choice in parties:
            rest = {} if running.reader is None else running.reader.rest()
            out += choice.take(answer.chunk_of(choice, rest), later=True) if rest else []
            out += choice.settle()
            # A stop string, or the end of a document, ends an answer by itself.
            choice.finish_reason = choice.finish_reason or "length"
        running.finished = False
        running.book(parties, limit)
        answer.note(running, None)
        cut = [choice for choice in parties if choice.finish_reason == "length"]
        # Ends of other choices were kept until it is known whether a round follows.
        out += answer.part_kept(goes_on=False)
        out += [chunk for choice in parties if choice not in cut for chunk in choice.end_texts(goes_on=False)]
        ended = cut + [choice for choice in ended if choice not in parties]
    answer.drop_kept()
    if not ended and running is not None and running.choice is not None:
        # It has ended by itself.
        answer.stopped_by = running.choice.stopped_by = running.choice.finish_reason
        return out
    answer.stopped_by = reason
    for choice in ended:
        out += choice.end(reason, in_round=choice in cut)
    return out
