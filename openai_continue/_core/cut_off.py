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
    out, ended = list[Json](), list(waiting)
    if running is not None:
        parties = list(choices) if running.choice is None else [running.choice]
        for choice in parties:
            rest = {} if running.reader is None else running.reader.rest()
            out += choice.take(answer.chunk_of(choice, rest), later=True) if rest else []
            out += choice.settle()
            choice.finish_reason = choice.finish_reason or "length" if running.choice is None else "length"
        running.finished = False
        running.book(parties, limit)
        answer.note(running, None)
        cut = [choice for choice in parties if choice.finish_reason == "length"]
        # Ends of other choices were kept until it is known whether a round follows.
        out += answer.part_kept(goes_on=False)
        out += [chunk for choice in parties if choice not in cut for chunk in choice.end_texts(goes_on=False)]
        ended = cut + [choice for choice in ended if choice not in cut]
    answer.drop_kept()
    answer.stopped_by = reason
    for choice in ended:
        choice.drop_cut_character()
        out += choice.end(reason)
    return out
