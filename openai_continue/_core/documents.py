"""Structured answers after a round: whether one is of its format, and whether it is whole or lost before its end."""

from __future__ import annotations

from .choice import Choice
from .codec.body import Requests
from .outcome import End
from .text.document import Document

_LOST = End("error", fault="invalid_document")


def judge(choice: Choice, requests: Requests, whole: End) -> End:
    """Return the end of an answer that has ended: ``whole`` if it is of the format asked for, else an error."""
    format_ = requests.format
    fits = format_ is None or format_.fits(requests.own_text(choice) or "")
    if fits or (fits is None and requests.is_checked_elsewhere(choice)):
        return whole
    return End("error", fault="unchecked_document") if fits is None else _LOST


def end_of_document(choice: Choice, requests: Requests) -> End | None:
    """Return the end of an answer that was cut, if no further token makes it the document, or belongs to it."""
    format_ = requests.format
    if format_ is None or not format_.is_json or choice.answer.is_plain or choice.turn is not None:
        return None
    if requests.is_followed(choice):
        return _LOST if format_.has_schema else None
    document = choice.answer.document or _read(requests.own_text(choice) or "")
    if document.is_lost:
        return _LOST
    return judge(choice, requests, End("stop")) if document.has_ended else None


def _read(text: str) -> Document:
    document = Document()
    document.feed(text)
    return document
