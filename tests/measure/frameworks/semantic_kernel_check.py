"""Semantic Kernel: its chat completion service whole and streamed, and structured output."""

from __future__ import annotations

from typing import Any

from checking import HANDBOOK, Handbook, Seen, opt_out, report, way
from openai import AsyncOpenAI
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory


def service(base_url: str) -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id="any", async_client=AsyncOpenAI(base_url=base_url, api_key="none"))


def history(prompt: str) -> ChatHistory:
    asked = ChatHistory()
    asked.add_user_message(prompt)
    return asked


def seen(message: Any) -> Seen:
    usage = message.metadata["usage"]
    return Seen(str(message), usage.completion_tokens, usage.prompt_tokens)


async def content(base_url: str, prompt: str, **settings: Any) -> Any:
    wanted = OpenAIChatPromptExecutionSettings(**settings)
    return await service(base_url).get_chat_message_content(history(prompt), wanted)


@way("get_chat_message_content")
async def whole(base_url: str, prompt: str) -> Seen:
    return seen(await content(base_url, prompt))


@way("get_streaming_chat_message_content")
async def streamed(base_url: str, prompt: str) -> Seen:
    wanted = OpenAIChatPromptExecutionSettings()
    asked = service(base_url).get_streaming_chat_message_content(history(prompt), wanted)
    pieces: list[Any] = [piece async for piece in asked]
    text = "".join(str(piece) for piece in pieces if piece is not None)
    usages = [piece.metadata["usage"] for piece in pieces if piece is not None and piece.metadata.get("usage")]
    return Seen(text, usages[-1].completion_tokens, usages[-1].prompt_tokens) if usages else Seen(text)


@way("response_format", answer=HANDBOOK)
async def response_format(base_url: str, prompt: str) -> Seen:
    return seen(await content(base_url, prompt, response_format=Handbook))


@way("ChatCompletionAgent")
async def agent(base_url: str, prompt: str) -> Seen:
    response: Any = await ChatCompletionAgent(service=service(base_url), name="writer").get_response(prompt)
    return Seen(str(response.message.content))


@opt_out("get_chat_message_content")
async def opted_out(base_url: str, prompt: str) -> Seen:
    return seen(await content(base_url, prompt, extra_body={"continuation": False}))


report("semantic-kernel")
