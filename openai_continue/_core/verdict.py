"""Why a choice ends after a round, or that it goes on. Nothing here changes anything."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .calls.calls import opens_call
from .choice import Choice
from .codec.body import Requests
from .codec.chat import Hold
from .learned import Learned
from .text.characters import has_lone_surrogates, without_cut_character
from .text.repetition import is_looping
from .text.seam import Stopped

#: Values of ``finish_reason`` by which the model ended an answer itself.
NATURAL_ENDS = ("stop", "tool_calls", "function_call", "content_filter")
# Those by which it ended a text. The last two are TGI's, router/src/lib.rs.
_ENDS_OF_TEXT = ("stop", "eos_token", "stop_sequence")

# The line of a list, a quote or a heading that has only its mark; and the line that opens or closes a block of code.
_MARKER = re.compile(r"\n[ \t]*(?:[-*+#>]+|\d+[.)])\Z")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
# What something must follow, in any line; and in the same line.
_OPEN_ENDS = ",:;([{<\\"
_OPEN_SIGNS = "-\u2013\u2014/=+&@#$^_~"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a choice after a round."""

    #: Why it ends (a value of ``Report.stopped_by``), or None if it goes on.
    stopped_by: str | None
    #: How much is held back at the next seam; None leaves it as it is.
    hold: Hold | None = None
    #: Most tokens of the next round, or None for no such limit.
    room: int | None = None
    #: Whether the server is not told the stop strings in the next round.
    untold: bool = False
    #: What is wrong with the document of the choice (``ErrorReport.type``), or None.
    fault: str | None = None


def verdict(choice: Choice, requests: Requests, *, first: bool, learned: Learned, max_rounds: int) -> Verdict:
    """
    Return what becomes of a choice after a round.

    ``first``: whether it was the first round. ``learned``: what is known of this model's server.
    """
    if choice.finish_reason != "length":
        return _natural(choice, requests, first=first, learned=learned)
    stopped = None if first else choice.stopped
    ended = _ended(choice, stopped, requests) or bar(choice, requests) or known_bar(learned)
    if ended == "empty" and first and _is_muted(choice):
        return Verdict(None, untold=True)
    if ended is not None:
        return Verdict(ended)
    if first and requests.format is not None and requests.format.has_schema and requests.is_followed(choice):
        # No further round makes it one.
        return Verdict("error", fault="invalid_document")
    most = "max_rounds" if choice.rounds >= max_rounds else None
    author = requests.author(choice)
    if stopped is Stopped.THOUGHT_ANEW:
        return Verdict(most if author.has_other_form else "restart")
    if stopped is Stopped.WRONG_PROMPT:
        return Verdict(most)
    hold = None if stopped is not None else author.hold
    room = None
    if not first and choice.added <= 0 and not choice.heals and not _got_on(choice):
        if _is_muted(choice):
            return Verdict(most, untold=True)
        room = None if choice.turn is not None and choice.turn.was_read else _fewer(choice)
        hold = _less(choice, requests) if room is None else hold
        if hold is None:
            return Verdict("empty")
    length = len(choice.current.text) if first else choice.added
    if is_looping(choice.current.text, length):
        return Verdict("repetition")
    return Verdict(most, hold, room)


def _ended(choice: Choice, stopped: Stopped | None, requests: Requests) -> str | None:
    """Return why an answer ends that was cut, or None. ``stopped``: why no more of its last round was taken."""
    if choice.hides_cut and (choice.turn is None or requests.limit.reached(choice.used)):
        return "tool_call"
    if choice.calling and (choice.turn is None or choice.turn.has_failed):
        return "tool_call"
    if stopped is Stopped.RESTARTED:
        return "restart"
    if stopped is Stopped.SHORT_PROMPT or requests.is_truncated(choice):
        return "context"
    if stopped is Stopped.WITHOUT_THOUGHTS or (stopped is Stopped.THOUGHT_ANEW and choice.answers):
        return "reasoning"
    if stopped is Stopped.WRONG_PROMPT and choice.added > 0:
        return "unsupported"
    if requests.limit.reached(choice.used):
        return "max_tokens"
    room = requests.limit.room(choice.context)
    return "context" if room is not None and room < 1 else None


def known_bar(learned: Learned) -> str | None:
    """Return why no answer of this server goes on, as far as the client has learnt, or None."""
    if learned.restarts:
        return "restart"
    return "unsupported" if learned.refuses_prefill else None


def bar(choice: Choice, requests: Requests) -> str | None:
    """Return why a choice must not be continued, as far as its text and the request show, or None."""
    answer = choice.answer if choice.turn is None else choice.turn.raw
    texts = ["" if text is None else without_cut_character(text.text) for text in (answer, choice.thoughts)]
    if any(map(has_lone_surrogates, texts)):
        # JSON cannot carry it, so servers refuse it or change it.
        return "unsupported"
    return choice.barred or _request_bar(requests) or _call_bar(choice, requests) or requests.bar(choice, *texts)


def _request_bar(requests: Requests) -> str | None:
    unknown = requests.format is not None and not requests.format.checkable
    return "unsupported" if unknown or not requests.limit.valid or requests.is_closed else None


def _call_bar(choice: Choice, requests: Requests) -> str | None:
    """Return "tool_call" if the answer is, or holds, a tool call that was cut and cannot go on."""
    if choice.turn is not None:
        return None
    read = requests.offers_tools and opens_call(choice.answer.text)
    return "tool_call" if choice.calls or requests.forces_call or read else None


def _got_on(choice: Choice) -> bool:
    """Whether a round that brought no new text wrote a part of the tail again, so that the next one can send it."""
    return choice.current.confirmed > 0 and not choice.current.ends_in_blank


def _is_muted(choice: Choice) -> bool:
    """
    Whether a stop string may have kept the server from showing what the round brought: it showed nothing new.

    A stream of llama-server leaves out what may be the beginning of a stop string, also where the token limit cuts it.
    The whitespace that was held back may stand before it.
    """
    answer, held = choice.answer, choice.answer.seam.held
    again = len(held) if held.isspace() and answer.stopped is None else 0
    showed = choice.current is not answer or answer.untold or answer.dropped > again or answer.added > 0
    return not showed and choice.last_used <= answer.most_hidden + again and answer.most_hidden > 0


def _fewer(choice: Choice) -> int | None:
    """
    Return how many tokens to ask for, so that the round ends before whitespace; None if fewer cannot be asked for.

    The round was as long as the tail, or a part of it that ends in whitespace. It cannot be sent up to there. A server
    that reads tool calls may have written more than it gave.
    """
    return choice.last_used - 1 if choice.current.ends_in_blank and choice.last_used > 1 else None


def _less(choice: Choice, requests: Requests) -> Hold | None:
    """
    Return a smaller hold to try, or None if there is none.

    The round brought nothing new: the held-back text filled all of it, or the model wrote something else.
    """
    return requests.author(choice).less(choice.hold) if choice.current.seam.held else None


def _natural(choice: Choice, requests: Requests, *, first: bool, learned: Learned) -> Verdict:
    """Return how an answer ended that the model ended itself. A joined document must be of the format asked for."""
    if first or choice.finish_reason not in _ENDS_OF_TEXT:
        return Verdict(choice.finish_reason or "error")
    if requests.format is None or choice.answer.is_plain:
        return Verdict(choice.finish_reason if _has_ended(choice, requests, learned) else "empty")
    fits = requests.format.fits(requests.own_text(choice) or "")
    if fits or (fits is None and requests.is_checked_elsewhere(choice)):
        return Verdict(choice.finish_reason)
    return Verdict("error", fault="unchecked_document" if fits is None else "invalid_document")


def _has_ended(choice: Choice, requests: Requests, learned: Learned) -> bool:
    """
    Whether an answer has ended that a server calls ended.

    A server that takes the prefill for a finished turn may end the next one at once. So a round that brought nothing,
    or whitespace only, is an end only if the text may end there, or if the server is known to go on.
    """
    brought = bool(choice.added_text.strip() or choice.stopped or choice.calls or choice.turn)
    judged = learned.continues or choice.joined or choice.is_raw or requests.has_stops or requests.is_completion
    answer = choice.answer
    return brought or judged or may_end(answer.text[: len(answer.text) - len(answer.added_text)])


def may_end(text: str) -> bool:
    """Whether an answer may end with this text: not within a word, a sentence, a list or a block of code."""
    bare = text.rstrip()
    if not bare or _MARKER.search(bare) or len(_FENCE.findall(bare)) % 2:
        return False
    last = bare[-1]
    if "\n" in text[len(bare) :]:
        return last not in _OPEN_ENDS
    return unicodedata.category(last)[0] not in "LNM" and last not in _OPEN_ENDS + _OPEN_SIGNS
