"""What is known of models by their names."""

from __future__ import annotations

import pytest

from openai_continue._tables.families import is_closed

CLOSED = """
anthropic/claude-opus-4-7
anthropic/claude-4-sonnet
anthropic/claude-3.5-haiku
claude-sonnet-4-5
claude-3-7-sonnet-latest
bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0
us.anthropic.claude-opus-4-1-20250805-v1:0
bedrock/us.anthropic.claude-haiku-4-5
vertex_ai/claude-sonnet-4@20250514
~anthropic/claude-sonnet-latest
google/gemini-3.1-pro
google/gemini-2.5-flash
gemini/gemini-2.5-pro
gemini-2.0-flash
vertex_ai/gemini-2.5-pro
models/gemini-2.5-pro
google/gemini-2.5-flash:free
openai/gpt-5
openai/gpt-5.2-codex
gpt-4o
gpt-4.1-mini
gpt-3.5-turbo
azure/gpt-4o
openai/chatgpt-4o-latest
openai/o3
o1
o3-mini
o4-mini
openai/o4-mini-high
openai/gpt-4o:extended
o4-mini-2025-04-16
ft:gpt-4o-mini-2024-07-18:org::id
openrouter/openai/gpt-5
x-ai/grok-4
x-ai/grok-code-fast-1
grok-3-mini
xai/grok-4-fast
xai/grok-4
bedrock/amazon.nova-pro-v1:0
amazon/nova-lite-v1
us.amazon.nova-micro-v1:0
amazon/nova-2-lite-v1
Qwen/Qwen3-Max
Qwen/Qwen3-Max-Thinking
qwen/qwen3-max
qwen3-max-2025-09-23
qwen/qwen3.5-max
ByteDance/Seed-1.8
bytedance-seed/seed-1.6
ByteDance/Seed-2.0-pro
bytedance-seed/seed-1.6-flash
"""
OPEN = """
google/gemma-3-27b-it
google/gemma-4-31b-it
gemma2:9b
google/gemma-2-9b-it
openai/gpt-oss-120b
openai/gpt-oss-20b
gpt-oss:20b
openai/gpt-oss-120b-Turbo
groq/openai/gpt-oss-120b
Qwen/Qwen3-235B-A22B-Instruct-2507
Qwen/Qwen3-32B
Qwen/Qwen3-Coder-480B-A35B-Instruct-Turbo
Qwen/Qwen3-Next-80B-A3B-Instruct
Qwen/Qwen3.5-397B-A17B
Qwen/QwQ-32B
Qwen/Qwen2.5-72B-Instruct
mistralai/Mistral-Small-3.2-24B-Instruct-2506
mistralai/Mixtral-8x7B-Instruct-v0.1
mistralai/Devstral-Small-2507
meta-llama/Llama-3.3-70B-Instruct-Turbo
meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8
us.meta.llama3-3-70b-instruct-v1:0
deepseek-ai/DeepSeek-V3.2
deepseek-ai/DeepSeek-R1-0528
deepseek-reasoner
deepseek-chat
moonshotai/Kimi-K2-Instruct-0905
moonshotai/Kimi-K2-Thinking
kimi-k2
ByteDance/Seed-OSS-36B
ByteDance-Seed/Seed-OSS-36B-Instruct
zai-org/GLM-4.6
MiniMaxAI/MiniMax-M2
nvidia/Nemotron-3-Nano-30B-A3B
microsoft/phi-4
NousResearch/Hermes-3-Llama-3.1-405B
allenai/Olmo-3.1-32B-Instruct
microsoft/WizardLM-2-8x22B
xai-org/grok-1
hpcai-tech/grok-1
xai-org/grok-2
EleutherAI/gpt-neox-20b
gpt2
EleutherAI/gpt-j-6b
nomic-ai/gpt4all-j
openchat/openchat-3.6
teknium/OpenHermes-2.5
Gryphe/MythoMax-L2-13b
amazon/MistralLite
"""


@pytest.mark.parametrize("model", CLOSED.split())
def test_closed(model: str) -> None:
    """Closed models, by whatever gateway names them, are left alone."""
    assert is_closed(model)


@pytest.mark.parametrize("model", [*OPEN.split(), ""])
def test_open(model: str) -> None:
    """Open models are not, though their names may be alike."""
    assert not is_closed(model)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-3.5-turbo", "my/claude-distill-8b", "claude-3-opus", "grok-3"])
def test_names_of_local_servers(model: str) -> None:
    """Where no closed models are sold, such names are those of open ones, unless a proxy passes them on by their maker."""
    assert is_closed(model)
    assert not is_closed(model, resold=False)


@pytest.mark.parametrize("model", ["anthropic/claude-opus-4-7", "openai/gpt-5", "gemini/gemini-3.1-pro", "xai/grok-4"])
def test_names_of_proxies(model: str) -> None:
    """A proxy names the maker that it passes a request on to."""
    assert is_closed(model, resold=False)
