"""What a continued call reports: one Round for each request, and the object ``continuation`` on the merged answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamReport:
    """
    Counts of characters that were thrown away where two rounds meet. All other text is in the answer.

    ``held_back``: Characters at the end of the answer so far that were not sent back; the model writes them again.
    ``cut``: U+FFFD characters that were dropped from the end of the answer so far: the token limit had cut a character.
    ``dropped``: Characters at the beginning of the new round that were dropped, because the answer has them already.
    """

    held_back: int = 0
    cut: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """
    One request and its response. ``on_round`` is called with it, and the report lists it.

    ``id``: The ``id`` of the round's completion, if there is one.
    ``request_id``: The response's ``x-request-id`` header, if there is one.
    ``model``: The model that the server says it used. A gateway may use another one in a later round.
    ``choice``: Index of the choice that the round wrote, or None for the first round of a request with ``n > 1``.
    ``finish_reason``: The server's own; "length" if any of several choices was cut; None if the round broke off.
    ``usage``: The server's own usage object, or None if it sent none. Tokens.
    ``estimated``: Whether ``usage`` is an estimate, or its cost is: the round did not come to its end, where servers
        count.
    ``seam``: Where this round meets the one before it; None for the first round.
    """

    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    choice: int | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    estimated: bool = False
    seam: SeamReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """
    The error that ended an answer, if the caller got what had arrived instead of the exception.

    ``type``: The name of the SDK's exception class; "invalid_document" if the joined text is not the document asked
        for; "unchecked_document" if it could not be checked by its schema; or "template_mismatch".
    ``status``: The HTTP status, if the server answered.
    ``request_id``: The response's ``x-request-id`` header, if there is one.
    ``message``: What this library says of a round that it refused itself; None for errors of the server, which may hold
        content.
    """

    type: str = ""
    status: int | None = None
    request_id: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTokens:
    """The prompt tokens of the first and of the last round; None if the server did not count them."""

    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """
    What ``report_of()`` returns: the object ``continuation`` of an answer, with types.

    ``rounds``: One for each request, in order.
    ``stopped_by``: Why the answer ends: the model's own end, such as "stop", or why it still ends in "length"; also why
        no more is known of one that ends in "stop", and may be cut.
    ``error``: The error that ended the answer, or None.
    ``usage``: The sum over all rounds, which was billed, estimates too; None if the server reported none.
    ``resumed``: How many rounds came from the journal of another process.
    ``answered_early``: Whether thoughts were cut, and the answer was asked for without more of them
        (``on_reasoning_cut="answer"``).
    """

    rounds: tuple[Round, ...] = ()
    stopped_by: str = ""
    error: ErrorReport | None = None
    usage: dict[str, Any] | None = None
    prompt_tokens: PromptTokens = PromptTokens()
    resumed: int = 0
    answered_early: bool = False

    def __repr__(self) -> str:
        """Return one line: how many rounds, their tokens, and why the answer ends."""
        tokens = _count(self.usage or {}, "completion_tokens")
        shown = "" if self.error is None else f", error={self.error.type!r}"
        return f"Report(rounds=<{len(self.rounds)}>, completion_tokens={tokens}, stopped_by={self.stopped_by!r}{shown})"


def report_of(answer: object) -> Report | None:
    """
    Return the report of an answer, or None if it has none because its first round was all.

    ``answer``: a completion or response, whole or parsed; a chunk or event, of which the last one of a stream has the
    report; or one of them as a dict. Keys that this version does not know are ignored, and those that are missing have
    their defaults.
    """
    found = _field(answer, "continuation")
    shown = _object(_field(_field(answer, "response"), "continuation") if found is None else found)
    if shown is None:
        return None
    rounds, error, prompts = shown.get("rounds"), _object(shown.get("error")), _object(shown.get("prompt_tokens"))
    return Report(
        rounds=tuple(_round(each) for each in cast("list[object]", rounds)) if isinstance(rounds, list) else (),
        stopped_by=_text(shown, "stopped_by") or "",
        error=None if error is None else _error(error),
        usage=_object(shown.get("usage")),
        prompt_tokens=PromptTokens(first=_count(prompts or {}, "first"), last=_count(prompts or {}, "last")),
        resumed=_count(shown, "resumed") or 0,
        answered_early=shown.get("answered_early") is True,
    )


def _field(answer: object, name: str) -> object:
    return (
        cast("Mapping[str, object]", answer).get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)
    )


def prompt_tokens_of(rounds: Sequence[Round]) -> PromptTokens:
    """Return the prompt tokens of the first and of the last round. Those of an estimate are not the server's."""
    counts = [None if each.estimated else (each.usage or {}).get("prompt_tokens") for each in rounds]
    return PromptTokens(first=counts[0], last=counts[-1]) if counts else PromptTokens()


def as_json(report: Report) -> dict[str, Any]:
    """
    Return a report as the JSON object that the merged answer carries as ``continuation``.

    Its shape, with one entry of "rounds" for each request::

        {
            "rounds": [
                {"id": "a", "request_id": "b", "model": "m", "choice": 0, "finish_reason": "length", "usage": {...},
                 "seam": None},
                {..., "finish_reason": "stop", "seam": {"held_back": 1, "cut": 0, "dropped": 1}},
            ],
            "stopped_by": "stop",
            "error": None,
            "usage": {...},
            "prompt_tokens": {"first": 20, "last": 16404},
        }

    The object has "resumed" and "answered_early", a round has "estimated", and an error has "message" only if there is
    something to say.
    """
    error, rare = report.error, ("resumed", "answered_early")
    return {
        "rounds": [_shown_round(each) for each in report.rounds],
        "stopped_by": report.stopped_by,
        "error": None if error is None else _without(_shown(error), "message"),
        "usage": report.usage,
        "prompt_tokens": _shown(report.prompt_tokens),
        **{name: getattr(report, name) for name in rare if getattr(report, name)},
    }


def _shown_round(each: Round) -> dict[str, Any]:
    return _without({**_shown(each), "seam": None if each.seam is None else _shown(each.seam)}, "estimated")


def _shown(value: Round | SeamReport | ErrorReport | PromptTokens) -> dict[str, Any]:
    # asdict() would copy each usage object deeply.
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _without(shown: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object without a key that says nothing."""
    return {key: value for key, value in shown.items() if key != name or value}


def _round(value: object) -> Round:
    shown = _object(value) or {}
    seam = _object(shown.get("seam"))
    return Round(
        id=_text(shown, "id"),
        request_id=_text(shown, "request_id"),
        model=_text(shown, "model"),
        choice=_count(shown, "choice"),
        finish_reason=_text(shown, "finish_reason"),
        usage=_object(shown.get("usage")),
        estimated=shown.get("estimated") is True,
        seam=None if seam is None else _seam(seam),
    )


def _seam(shown: dict[str, Any]) -> SeamReport:
    return SeamReport(**{name: _count(shown, name) or 0 for name in ("held_back", "cut", "dropped")})


def _error(shown: dict[str, Any]) -> ErrorReport:
    return ErrorReport(
        type=_text(shown, "type") or "",
        status=_count(shown, "status"),
        request_id=_text(shown, "request_id"),
        message=_text(shown, "message"),
    )


# The answer may come from another version of this library, or from a server that has a field of the same name.


def _object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _text(shown: dict[str, Any], name: str) -> str | None:
    value = shown.get(name)
    return value if isinstance(value, str) else None


def _count(shown: dict[str, Any], name: str) -> int | None:
    value = shown.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
