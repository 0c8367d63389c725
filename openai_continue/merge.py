"""Adding up what the rounds of one answer brought: usage and logprobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Json = dict[str, Any]
CUT_CHARACTER = "\ufffd"
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
    Tokens that show in no text (thoughts, tags, a stop string) stay where they are, ahead of it or behind it.
    """
    if not isinstance(logprobs, dict):
        return logprobs
    known = cast(Json, logprobs)
    content = known.get("content")
    if not isinstance(content, list):
        return known
    tokens = [(token, _token_bytes(token)) for token in cast("list[Any]", content)]
    written = b"".join(each for _, each in tokens)
    written = written[: len(written) - len(half_character(written))]
    place = _place(_bytes(text.rstrip(CUT_CHARACTER)), written)
    if place is None:
        return known
    last = place + len(written)
    first_kept = len(_bytes(text[:start])) if start else min(place, 0)
    last_kept = len(_bytes(text[:end])) if end < len(text) else last
    kept: list[Any] = []
    for token, each in tokens:
        inside = each[max(first_kept - place, 0) : max(last_kept - place, 0)]
        place += len(each)
        if inside == each:
            kept.append(token)
        elif inside:
            kept.append({**token, "token": inside.decode("utf-8", "replace"), "bytes": list(inside)})
    return {**known, "content": kept}


def _place(text: bytes, written: bytes) -> int | None:
    """Return where in a text its tokens begin, below 0 where some of them stand before it; None: nowhere."""
    if text.endswith(written) or written.endswith(text):
        return len(text) - len(written)
    place = written.find(text)
    if place >= 0:
        return -place
    for length in range(min(len(text), len(written)), 0, -1):
        if text.endswith(written[:length]):
            return len(text) - length
    return None


def bytes_of(logprobs: object) -> bytes:
    """Return the bytes of text that these logprobs stand for."""
    content = cast(Json, logprobs).get("content") if isinstance(logprobs, dict) else None
    return b"".join(map(_token_bytes, cast("list[Any]", content))) if isinstance(content, list) else b""


def half_character(written: bytes) -> bytes:
    """Return the bytes at the end that begin a character and do not complete it."""
    for length in range(1, min(len(written), 3) + 1):
        tail = written[-length:]
        if tail[0] < 0x80:
            return b""
        if tail[0] >= 0xC0:
            return tail if length < (2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4) else b""
    return b""


def _token_bytes(token: object) -> bytes:
    if not isinstance(token, dict):
        return b""
    known = cast(Json, token)
    written = known.get("bytes")
    if isinstance(written, list):
        try:
            return bytes(cast("list[int]", written))
        except (TypeError, ValueError, OverflowError):
            pass
    return _bytes(str(known.get("token", "")))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
