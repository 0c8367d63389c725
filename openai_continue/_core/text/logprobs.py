"""Logprobs of several rounds: joined, and cut to a part of their text."""

from __future__ import annotations

import re
from typing import Any, cast

from ..json import Json, as_object
from .characters import CUT_CHARACTER, half_character

# The name of a token whose text is not given: vLLM's return_tokens_as_token_ids.
_ID = re.compile(r"token_id:\d+")


def are_fixed(logprobs: object) -> bool:
    """
    Whether logprobs cannot be cut to a part of their text.

    Their tokens are named by their ids, and nothing shows which text is theirs; or they are the columns of a text
    completion, which nobody asked for.
    """
    known = cast(Json, logprobs) if isinstance(logprobs, dict) else {}
    content = known.get("content")
    tokens = cast("list[Any]", content) if isinstance(content, list) else []
    return bool(known.get("tokens")) or (bool(tokens) and all(map(_names_id, tokens)))


def _names_id(token: object) -> bool:
    known = as_object(token) or {}
    name = str(known.get("token"))
    return _ID.fullmatch(name) is not None and _token_bytes(known) == name.encode()


def add_logprobs(so_far: Json | None, more: Json | None) -> Json | None:
    """Return the joined logprobs of two rounds; the lists "content" and "refusal" are joined each by itself."""
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
    Return a copy of logprobs, the SDK's ``{"content": [token, ...]}``, for the characters ``text[start:end]`` only.

    ``logprobs``: those of ``text``, or of its end if the server repeats the prefill without logprobs. A token across an
    edge keeps its numbers and loses the characters outside. Tokens of a character that the token limit cut are dropped.
    Tokens that show in no text (thoughts, tags, a stop string) are kept at the first or last character. Anything else
    than such an object is returned as it is.
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
    """Return where in a text its tokens begin (negative if some stand before it), or None if they are not in it."""
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
    """Return the bytes of the text that these logprobs belong to."""
    content = cast(Json, logprobs).get("content") if isinstance(logprobs, dict) else None
    return b"".join(map(_token_bytes, cast("list[Any]", content))) if isinstance(content, list) else b""


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
