"""Whole answers made of streamed rounds, on real engines: the same completion as without, field by field."""

from __future__ import annotations

from typing import Any

import install_llama
import pytest
import servers

import openai_continue
from openai_continue import Continuation

pytestmark = pytest.mark.engine

#: What differs from call to call, and what an engine says only of whole answers or only in streams.
VOLATILE = {"id", "created", "timings", "prompt_logprobs", "prompt_token_ids", "kv_transfer_params", "prompt_text"}
ENGINES = ["vllm", "llama_server"] if install_llama.installed() else ["vllm"]


def answer(base_url: str, provider: str, *, folds: bool, **fields: Any) -> dict[str, Any]:
    settings = Continuation(provider=provider, round_tokens=40, stream_rounds=folds)
    with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=settings) as client:
        messages: Any = [{"role": "user", "content": "List items from 7."}]
        completion = client.chat.completions.create(
            model=servers.MODEL, messages=messages, max_tokens=120, temperature=0, **fields
        )
    return completion.to_dict()


def settled(value: Any) -> Any:
    """Return a value without what is volatile, and without what is not set."""
    if isinstance(value, dict):
        return {
            name: settled(each) for name, each in value.items() if name not in VOLATILE and each not in (None, [], {})
        }
    return [settled(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("fields", [{}, {"logprobs": True, "top_logprobs": 2}], ids=["text", "logprobs"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_completion(engine: str, fields: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """Text, logprobs, usage, finish reason and every other field."""
    base_url: str = request.getfixturevalue(engine)
    provider = {"vllm": "vllm", "llama_server": "llama.cpp"}[engine]
    whole, folded = (settled(answer(base_url, provider, folds=folds, **fields)) for folds in (False, True))

    for completion in (whole, folded):
        assert len(completion["continuation"].pop("rounds")) >= 3
        completion.pop("continuation")
        # How much of a prompt was cached depends on the call before.
        completion["usage"].pop("prompt_tokens_details", None)
    assert folded == whole
