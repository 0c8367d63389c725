"""How long the response of a further round may be: no longer than the tokens that it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .json import dump

# Bytes that any response may have.
_LEAST = 16 * 1024 * 1024
# Bytes for each token: in a whole answer its text, escaped; in a stream a chunk, which has 200 to 600 with its text. A
# logprob has 80 to 120; that of the longest token of a vocabulary has 700.
_WHOLE, _STREAMED, _LOGPROB = 1024, 4096, 768
# Tokens of a round that names no limit, on a server whose cap is not known: no model gives more in one answer.
_TOKENS = 65_536


def most_bytes(body: Mapping[str, Any], cap: int | None) -> int:
    """
    Return how many bytes the response to a further round may have, decoded.

    ``body``: that of the request. ``cap``: the most tokens that the server gives, or None if that is not known.
    """
    named = [body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
    tokens = max((number for number in named if isinstance(number, int)), default=cap or _TOKENS)
    entries = _count(body.get("top_logprobs")) + _count(body.get("logprobs"))
    size = tokens * ((_STREAMED if body.get("stream") else _WHOLE) + entries * _LOGPROB)
    if body.get("prompt_logprobs") is not None:
        size += len(dump(body)) * (1 + _count(body["prompt_logprobs"])) * _LOGPROB
    return max(size, _LEAST)


def _count(asked: object) -> int:
    """Return how many entries a request asks for at each token; True is one, for the token itself."""
    return max(asked, 0) if isinstance(asked, int) else 0
