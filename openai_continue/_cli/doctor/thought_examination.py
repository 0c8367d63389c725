"""Ask one endpoint, with a cut in the thoughts and two small requests, how thoughts that were cut can go on."""

from __future__ import annotations

from dataclasses import dataclass

from ..._core.codec.body import Render
from ..._core.json import Json
from ..._core.text.reasoning import CLOSE, OPEN
from ..._tables.providers import Provider
from ...settings import Continuation
from .answering import Answer
from .endpoint import message_of, parts
from .examination import TOKENS, Doctor, agree

#: What becomes of thoughts that were cut, and what each result means.
ON = {
    "continues": "Thoughts that are cut go on.",
    "differs": "Thoughts that are cut go on with other words than they would have had.",
    "not continued": "Thoughts that are cut end the answer: the server does not go on with them.",
    "no way": "Thoughts that are cut end the answer: no way is known to have them go on by the chat.",
    "refused": "Thoughts that are cut end the answer: the server refuses them.",
    "failed": "The question about thoughts that are cut got no answer.",
    "unknown": "The model did not think the same twice, so it is unknown whether thoughts that are cut go on.",
}
#: What becomes of the request for an answer after them.
ANSWER = {
    "answers": "an answer comes without further thoughts",
    "thinks": "the model thinks on, or again",
    "no answer": "no answer comes",
    "no way": "no way is known to ask for it",
    "refused": "the server refuses it",
    "failed": "no answer came",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that was cut in its thoughts, and the thoughts that would have followed; "" if that is not known."""

    reply: Json
    thoughts: str
    rest: str


def cut_thoughts(doctor: Doctor) -> Cut | None:
    """
    Return an answer that was cut in its thoughts, or None if there is none.

    It costs no request if the first answers hold one.
    """
    whole = "" if doctor.first is None else parts(message_of(doctor.first))[1].strip()
    found = _as_cut(doctor.begun, whole)
    if found is None and whole:
        # A token has eight characters at most, on the average.
        found = _as_cut(doctor.ask(max(1, min(TOKENS, len(whole) // 8))), whole)
    return found


def _as_cut(reply: Json | None, whole: str) -> Cut | None:
    if reply is None or reply["choices"][0].get("finish_reason") != "length":
        return None
    content, thoughts = parts(message_of(reply))
    if content.strip() or not thoughts.strip():
        return None
    begun = thoughts.strip()
    return Cut(reply, thoughts, whole[len(begun) :].strip() if whole.startswith(begun) else "")


def examine_thoughts(doctor: Doctor, row: Provider, cut: Cut) -> None:
    """Find out whether thoughts that were cut go on by the chat, and whether an answer can be asked for instead."""
    doctor.found.thoughts = continued(doctor, row, cut)
    doctor.found.answer_after_thoughts = _answered(doctor, row, cut)


def continued(doctor: Doctor, row: Provider, cut: Cut, render: Render | None = None) -> str:
    """Return what becomes of thoughts that were cut: a key of ON. ``render``: as ``Rounds`` takes it."""
    settings = Continuation(trims=doctor.found.trims)
    answer = Answer(doctor.endpoint, doctor.body(), cut.reply, row, settings, render)
    outcome = answer.go_on()
    if outcome != "sent":
        return outcome
    content, thoughts = parts(answer.message)
    fresh = thoughts[len(cut.thoughts.rstrip()) :].strip()
    if not fresh or answer.is_raw is not (render is not None):
        return "not continued"
    if not cut.rest:
        return "unknown"
    return "continues" if agree(cut.rest, fresh) and OPEN not in content else "differs"


def _answered(doctor: Doctor, row: Provider, cut: Cut) -> str:
    """Return what ``on_reasoning_cut="answer"`` brings: a key of ANSWER."""
    settings = Continuation(trims=doctor.found.trims, on_reasoning_cut="answer")
    answer = Answer(doctor.endpoint, doctor.body(), cut.reply, row, settings)
    outcome = answer.go_on()
    if outcome != "sent":
        return outcome
    content, thoughts = parts(answer.message)
    if not content.strip():
        return "no answer" if len(thoughts.strip()) <= len(cut.thoughts.strip()) else "thinks"
    # Some servers repeat the thoughts that were sent, some file the answer as thoughts.
    new = parts(answer.last)[1].strip().removeprefix(cut.thoughts.strip()).strip()
    thinks = bool(new) and new not in content
    # A parser that has seen no tag takes further thoughts for the answer.
    thinks = thinks or OPEN in content or CLOSE in content or (bool(cut.rest) and agree(cut.rest, content.strip()))
    return "thinks" if thinks else "answers"
