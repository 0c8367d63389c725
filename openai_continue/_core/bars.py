"""Why an answer that was cut cannot go on: by its text, by the request, or by what is known of the server."""

from __future__ import annotations

from .calls.calls import opens_call
from .choice import Choice
from .codec.body import Requests
from .learned import Learned
from .text.characters import has_lone_surrogates, without_cut_character


def bar(choice: Choice, requests: Requests) -> str | None:
    """Return why a choice must not be continued, as far as its text and the request show, or None."""
    answer = choice.answer if choice.turn is None else choice.turn.raw
    texts = ["" if text is None else without_cut_character(text.text) for text in (answer, choice.thoughts)]
    if any(map(has_lone_surrogates, texts)):
        # JSON cannot carry it, so servers refuse it or change it.
        return "unsupported"
    return choice.barred or _request_bar(requests) or _call_bar(choice, requests) or requests.bar(choice, *texts)


def known_bar(learned: Learned) -> str | None:
    """Return why no answer of this server goes on, as far as the client has learnt, or None."""
    if learned.restarts:
        return "restart"
    return "unsupported" if learned.refuses_prefill else None


def _request_bar(requests: Requests) -> str | None:
    unknown = requests.format is not None and not requests.format.checkable
    return "unsupported" if unknown or not requests.limit.valid or requests.is_closed else None


def _call_bar(choice: Choice, requests: Requests) -> str | None:
    """Return "tool_call" if the answer is, or holds, a tool call that was cut and cannot go on."""
    if choice.turn is not None:
        return None
    read = requests.offers_tools and opens_call(choice.answer.text)
    return "tool_call" if choice.calls or requests.forces_call or read else None
