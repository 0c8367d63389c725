"""How long a further round may be: far more than any answer has, and far less than a server can send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue._core.round_size import most_bytes

MIB = 1024 * 1024
#: The body of the request, the server's cap, and the MiB.
SIZES: list[tuple[dict[str, Any], int | None, float]] = [
    ({}, None, 64),
    ({}, 16_384, 16),
    ({"max_tokens": 16_384}, None, 16),
    ({"max_tokens": 1}, None, 16),
    ({"max_tokens": 131_072}, 16_384, 128),
    ({"max_completion_tokens": 131_072}, None, 128),
    ({"max_tokens": None}, 16_384, 16),
    ({"stream": True}, 16_384, 64),
    ({"stream": True}, None, 256),
    ({"max_tokens": 16_384, "logprobs": True}, None, 28),
    ({"max_tokens": 16_384, "logprobs": True, "top_logprobs": 20, "stream": True}, None, 316),
    ({"max_tokens": 16_384, "logprobs": 5}, None, 76),
]


@pytest.mark.parametrize(("body", "cap", "size"), SIZES, ids=str)
def test_most_bytes(body: dict[str, Any], cap: int | None, size: float) -> None:
    """The bytes follow the tokens that are asked for and what is asked for beside them."""
    assert size * MIB == most_bytes(body, cap)


def test_logprobs_of_the_prompt() -> None:
    """vLLM gives the logprobs of the prompt again in each round."""
    body = {"max_tokens": 16, "prompt_logprobs": 20, "messages": [{"role": "user", "content": "x" * 10_000}]}

    assert most_bytes(body, None) > 10_000 * 21 * 100


#: Tokens as they may come: usual ones, the longest of large vocabularies, escaped ones.
TOKENS = [" the", " " * 128, "=" * 64, "\u0000", "\u3042\u3044", "\U0001f600", "\\u00e9"]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("top", [0, 20])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_answer_is_as_long(token: str, top: int, ascii_only: bool) -> None:
    """An answer of such tokens alone is shorter, whole and streamed, with all that a server sends beside them."""
    entry = {"token": token, "logprob": -12.345678901234567, "bytes": list(token.encode())}
    logprobs = {"content": [{**entry, "top_logprobs": [entry] * top}]} if top else None
    asked = {"logprobs": True, "top_logprobs": top} if top else {}
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": token},
        "logprobs": logprobs,
        "token_ids": [123_456],
    }
    head = {
        "id": "chatcmpl-" + "0" * 32,
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "m" * 60,
    }
    usage = {"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 10**6, "estimated_cost": 1e-9}
    chunk = {**head, "choices": [{**choice, "finish_reason": None}], "usage": usage}
    written = json.dumps(chunk, ensure_ascii=ascii_only, indent=2 if ascii_only and not top else None)
    tokens = 131_072

    assert len(f"data: {written}\n\n".encode()) * tokens < most_bytes(
        {"max_tokens": tokens, "stream": True, **asked}, None
    )
    whole = len(json.dumps(choice["delta"]["content"], ensure_ascii=ascii_only)) + len(json.dumps(logprobs))
    assert whole * tokens < most_bytes({"max_tokens": tokens, **asked}, None)
