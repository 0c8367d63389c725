"""
The messages for a replay that differs from its recording.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .matching import common, difference

_RECORD = "To record it again: pytest --record-mode=rewrite"


def refusal(cassette: Any, request: Any) -> str | None:
    """Return why a request is not on the cassette, or None if VCR does not record such requests."""
    # This replaces VCR's filter_request, which does the same.
    request = cassette._before_record_request(request)
    if request is None:
        return None
    if not Path(cassette._path).exists():
        return f"There is no cassette {cassette._path}. {_RECORD}"
    left = _left(cassette)
    head = f"This request is not on the cassette {cassette._path}, request {len(cassette) - len(left) + 1} of the test"
    if not left:
        return f"{head}: all {len(cassette)} recorded requests have been answered. {_RECORD}"
    closest = max(left, key=lambda recorded: common(recorded.body or b"", request.body or b""))
    return f"{head}. {_how_it_differs(closest, request)} {_RECORD}"


def unplayed(cassette: Any) -> str | None:
    """Return how many requests on the cassette were not sent again as a message, or None if all were."""
    left = len(_left(cassette))
    if not left:
        return None
    return f"{left} of the {len(cassette)} requests on the cassette {cassette._path} were not sent again. {_RECORD}"


def _left(cassette: Any) -> list[Any]:
    return [request for at, request in enumerate(cassette.requests) if not cassette.play_counts[at]]


def _how_it_differs(recorded: Any, sent: Any) -> str:
    if (recorded.method, recorded.uri) != (sent.method, sent.uri):
        return f"Recorded is {recorded.method} {recorded.uri}, sent was {sent.method} {sent.uri}."
    return f"The first difference from the closest one: {difference(recorded.body, sent.body) or 'not in the body'}."
