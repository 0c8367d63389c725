"""What the body of a later round has no more, because the caller asked it of the whole answer."""

from __future__ import annotations

from ..._tables.request_scoped import is_scoped_field
from ..json import Json


def of_later_round(body: Json, used: int, served_by: str | None) -> Json:
    """
    Return the body of a later round without what the caller asked of the whole answer.

    ``served_by``: the model that the first round names. It goes on if the caller gave several (``models``).
    """
    if body.pop("models", None) is not None and served_by:
        body["model"] = served_by
    if body.get("n") is not None:
        body["n"] = 1
    if isinstance(body.get("min_tokens"), int):
        # vLLM: the fewest tokens before the answer may end, counted per request.
        body["min_tokens"] = max(body["min_tokens"] - used, 0)
    # vLLM: repeat the last message before the answer.
    body.pop("echo", None)
    return {name: value for name, value in body.items() if not is_scoped_field(name)}
