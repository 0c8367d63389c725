"""Adding up what the rounds of one answer brought: usage and logprobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Json = dict[str, Any]
_NUMBERS = (int, float)


def add_usage(so_far: Mapping[str, Any] | None, more: Mapping[str, Any] | None) -> Json | None:
    """
    Sum two usage objects field by field, nested ones and providers' extras too.

    It is what was billed: the prompt of every round counts.
    """
    if so_far is None or more is None:
        known = so_far if more is None else more
        return None if known is None else dict(known)
    return {name: _add(so_far.get(name), more.get(name)) for name in dict.fromkeys((*so_far, *more))}


def _add(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict):
        return add_usage(cast(Json, one), cast(Json, other))
    if isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS):
        return one + other
    return cast(object, one if other is None else other)


def add_logprobs(so_far: Json | None, more: Json | None) -> Json | None:
    """Join the logprobs of two rounds, each list ("content", "refusal") by itself."""
    if so_far is None or more is None:
        return so_far if more is None else more
    joined = {**so_far, **more}
    for name in joined:
        one, other = so_far.get(name), more.get(name)
        if isinstance(one, list) and isinstance(other, list):
            joined[name] = [*cast("list[Any]", one), *cast("list[Any]", other)]
        elif other is None:
            joined[name] = one
    return joined


def logprobs_of(logprobs: object, text: str, start: int, end: int) -> object:
    """
    Return the logprobs of ``text[start:end]``, given those of ``text``.

    A token across an edge keeps its numbers and loses the characters outside; tokens of a cut character, whose
    bytes are in no text, are left out. Where a server repeats what was sent back, only the new text has logprobs.
    """
    if not isinstance(logprobs, dict):
        return logprobs
    known = cast(Json, logprobs)
    content = known.get("content")
    if not isinstance(content, list):
        return known
    first, last = len(_bytes(text[:start])), len(_bytes(text[:end]))
    kept: list[Any] = []
    tokens = [(token, _token_bytes(token)) for token in cast("list[Any]", content)]
    all_written = b"".join(written for _, written in tokens)
    place = len(_bytes(text)) - len(all_written) if _bytes(text).endswith(all_written) else 0
    for token, written in tokens:
        inside = written[max(first - place, 0) : max(last - place, 0)]
        place += len(written)
        if inside == written:
            kept.append(token)
        elif inside:
            kept.append({**token, "token": inside.decode("utf-8", "replace"), "bytes": list(inside)})
    return {**known, "content": kept}


def bytes_of(logprobs: object) -> int:
    """Return how many bytes of text these logprobs stand for."""
    content = cast(Json, logprobs).get("content") if isinstance(logprobs, dict) else None
    return sum(len(_token_bytes(token)) for token in cast("list[Any]", content)) if isinstance(content, list) else 0


def _token_bytes(token: object) -> bytes:
    if not isinstance(token, dict):
        return b""
    known = cast(Json, token)
    if isinstance(known.get("bytes"), list):
        return bytes(known["bytes"])
    return _bytes(str(known.get("token", "")))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
