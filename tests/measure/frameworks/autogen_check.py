"""AutoGen: its client for chat completions whole, streamed and structured, and an agent on it."""

from __future__ import annotations

from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from checking import HANDBOOK, Handbook, Seen, opt_out, report, way

INFO: Any = {
    "vision": False,
    "function_calling": False,
    "json_output": True,
    "structured_output": True,
    "family": "unknown",
}


def client(base_url: str, **more: Any) -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(model="any", base_url=base_url, api_key="none", model_info=INFO, **more)


def user(prompt: str) -> list[Any]:
    return [UserMessage(content=prompt, source="user")]


def seen(result: Any) -> Seen:
    return Seen(result.content, result.usage.completion_tokens, result.usage.prompt_tokens)


@way("create")
async def create(base_url: str, prompt: str) -> Seen:
    return seen(await client(base_url).create(user(prompt)))


@way("create_stream")
async def create_stream(base_url: str, prompt: str) -> Seen:
    asked = client(base_url).create_stream(user(prompt), include_usage=True)
    *pieces, result = [piece async for piece in asked]
    assert "".join(pieces) == result.content
    return seen(result)


@way("create (structured)", answer=HANDBOOK)
async def create_structured(base_url: str, prompt: str) -> Seen:
    result = await client(base_url).create(user(prompt), json_output=Handbook)
    return seen(result)


@way("create_stream (structured)", answer=HANDBOOK)
async def create_stream_structured(base_url: str, prompt: str) -> Seen:
    asked = client(base_url).create_stream(user(prompt), json_output=Handbook, include_usage=True)
    *_, result = [piece async for piece in asked]
    return seen(result)


@way("AssistantAgent")
async def agent(base_url: str, prompt: str) -> Seen:
    result: Any = await AssistantAgent("writer", model_client=client(base_url)).run(task=prompt)
    message = result.messages[-1]
    usage = message.models_usage
    return Seen(message.content, usage.completion_tokens, usage.prompt_tokens)


@opt_out("create")
async def create_opted_out(base_url: str, prompt: str) -> Seen:
    extra = {"extra_body": {"continuation": False}}
    return seen(await client(base_url).create(user(prompt), extra_create_args=extra))


report("autogen-ext")
