"""Ask one endpoint, with two small requests, whether the setting ``template`` works there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import openai

from ..._core.codec.body import Render
from ..._core.codec.raw import RawPrompt, Rendered
from ..._core.outcome import NOT_THERE
from ..._sdk.chat_template import Template
from ..._tables.providers import PROVIDERS, Provider
from ...settings import Continuation
from .answering import Answer
from .endpoint import message_of, text_of, usage_of
from .examination import Doctor, agree
from .findings import Findings
from .thought_examination import Cut, continued

#: What each result means.
SAID = {
    "continues": "The chat template makes the server's own prompt, and answers go on at /completions.",
    "differs": "The chat template makes the server's own prompt, but answers go on at /completions with other words.",
    "not continued": "The chat template makes the server's own prompt, but answers do not go on at /completions.",
    "unknown": (
        "The chat template makes the server's own prompt, but the model did not write the same twice, so it is unknown "
        "whether answers go on at /completions."
    ),
    "another prompt": "The chat template makes another prompt than the server's, so it is of another model or version.",
    "not counted": "The server does not count the tokens of prompts, so it is unknown whether the template is its own.",
    "not rendered": "The chat template could not be rendered for a plain question.",
    "no way": "This server is not known to continue a text at /completions.",
    "not there": "This server has no /completions.",
    "refused": "This server refuses the prompt at /completions.",
    "failed": "The question at /completions got no answer.",
}


def rows_of(found: Findings, row: Provider | None, *, host_known: bool) -> list[Provider]:
    """Return the rows by which ``/completions`` may be asked: the one that fits, or those of servers at any host."""
    if row is not None and row.continues_completions:
        return [row]
    if host_known or found.server is not None or not found.cannot_continue:
        return []
    return [one for one in PROVIDERS if one.continues_completions and not one.hosts]


def examine_template(doctor: Doctor, row: Provider, template: Template, cut: Cut | None) -> str:
    """
    Return whether the setting ``template`` works: a key of SAID.

    ``cut``: an answer that was cut in its thoughts, if the model thinks in a field of its own.
    """
    # The template is rendered for the same day in both.
    day = datetime.now()

    def render(body: Mapping[str, Any]) -> Rendered | None:
        return template.render(body, day)

    said = _compared(doctor, row, render(doctor.body()))
    if said != "same":
        return said
    return _answer_continued(doctor, row, render) if cut is None else continued(doctor, row, cut, render)


def _compared(doctor: Doctor, row: Provider, rendered: Rendered | None) -> str:
    """Return "same" if the server reads as many tokens at ``/completions`` as in the chat; else a key of SAID."""
    author = None if rendered is None else RawPrompt.of_chat(doctor.body(), row, rendered)
    if author is None:
        return "not rendered" if rendered is None else "another prompt"
    body, _ = author.write({**doctor.body(), "max_tokens": 1}, "", "", author.hold, first=True)
    reply = doctor.endpoint.send(body, is_raw=True)
    if reply is None:
        error = doctor.endpoint.error
        is_there = not isinstance(error, openai.APIStatusError) or error.status_code not in NOT_THERE
        return doctor.endpoint.outcome if is_there else "not there"
    tokens, known = usage_of(reply).get("prompt_tokens"), usage_of(doctor.first).get("prompt_tokens")
    if not tokens or not known:
        return "not counted"
    return "same" if tokens == known else "another prompt"


def _answer_continued(doctor: Doctor, row: Provider, render: Render) -> str:
    """Return what becomes of an answer that was cut."""
    if doctor.first is None or doctor.begun is None or doctor.begun["choices"][0].get("finish_reason") != "length":
        return "unknown"
    whole, begun = (text_of(message_of(one)) for one in (doctor.first, doctor.begun))
    settings = Continuation(trims=doctor.found.trims)
    answer = Answer(doctor.endpoint, doctor.body(), doctor.begun, row, settings, render)
    outcome = answer.go_on()
    if outcome != "sent":
        return outcome
    fresh = text_of(answer.message)[len(begun.rstrip()) :].strip()
    if not fresh or not answer.is_raw:
        return "not continued"
    if not whole.startswith(begun.rstrip()):
        return "unknown"
    return "continues" if agree(whole[len(begun.rstrip()) :].strip(), fresh) else "differs"
