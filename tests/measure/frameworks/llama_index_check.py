"""LlamaIndex: OpenAI and OpenAILike, on openai 2.x."""

from __future__ import annotations

from typing import Any

from checking import Seen, opt_out, report, way
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

CLOSED = "it only takes the names of closed models, which are left alone"


def like(base_url: str, **more: Any) -> OpenAILike:
    settings = {"is_chat_model": True, "context_window": 100_000, **more}
    return OpenAILike(model="any", api_base=base_url, api_key="none", **settings)


def known(base_url: str) -> OpenAI:
    # It refuses unknown names of models, but takes any address.
    return OpenAI(model="gpt-4o", api_base=base_url, api_key="none")


def messages(prompt: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=prompt)]


def seen(response: Any) -> Seen:
    usage = response.raw.usage
    return Seen(response.message.content, usage.completion_tokens, usage.prompt_tokens)


def joined(responses: list[Any]) -> Seen:
    text = "".join(response.delta or "" for response in responses)
    usages = [response.raw.usage for response in responses if response.raw.usage]
    return Seen(text, usages[-1].completion_tokens, usages[-1].prompt_tokens) if usages else Seen(text)


@way("chat")
def chat(base_url: str, prompt: str) -> Seen:
    return seen(like(base_url).chat(messages(prompt)))


@way("stream_chat")
def stream_chat(base_url: str, prompt: str) -> Seen:
    return joined(list(like(base_url).stream_chat(messages(prompt))))


@way("achat")
async def achat(base_url: str, prompt: str) -> Seen:
    return seen(await like(base_url).achat(messages(prompt)))


@way("astream_chat")
async def astream_chat(base_url: str, prompt: str) -> Seen:
    return joined([response async for response in await like(base_url).astream_chat(messages(prompt))])


@way("complete")
def complete(base_url: str, prompt: str) -> Seen:
    return Seen(like(base_url).complete(prompt).text)


@way("OpenAI.chat", cannot=CLOSED)
def openai_chat(base_url: str, prompt: str) -> Seen:
    return seen(known(base_url).chat(messages(prompt)))


@way("OpenAI.stream_chat", cannot=CLOSED)
def openai_stream_chat(base_url: str, prompt: str) -> Seen:
    return joined(list(known(base_url).stream_chat(messages(prompt))))


@opt_out("chat")
def chat_opted_out(base_url: str, prompt: str) -> Seen:
    extra = {"extra_body": {"continuation": False}}
    return seen(like(base_url, additional_kwargs=extra).chat(messages(prompt)))


report("llama-index-llms-openai", "llama-index-llms-openai-like")
