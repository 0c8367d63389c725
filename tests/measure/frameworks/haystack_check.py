"""Haystack: OpenAIChatGenerator whole, streamed, async, structured, and in a pipeline."""

from __future__ import annotations

from typing import Any

from checking import HANDBOOK, Handbook, Seen, opt_out, report, way
from haystack import Pipeline
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret


def generator(base_url: str, **parameters: Any) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(
        api_key=Secret.from_token("none"), model="any", api_base_url=base_url, generation_kwargs=parameters
    )


def seen(result: Any) -> Seen:
    (message,) = result["replies"]
    usage = message.meta.get("usage") or {}
    return Seen(message.text, usage.get("completion_tokens"), usage.get("prompt_tokens"))


def user(prompt: str) -> list[ChatMessage]:
    return [ChatMessage.from_user(prompt)]


@way("run")
def run(base_url: str, prompt: str) -> Seen:
    return seen(generator(base_url).run(user(prompt)))


@way("run (streamed)")
def run_streamed(base_url: str, prompt: str) -> Seen:
    pieces: list[str] = []
    streamed = generator(base_url, stream_options={"include_usage": True})
    result = seen(streamed.run(user(prompt), streaming_callback=lambda chunk: pieces.append(chunk.content)))
    assert "".join(pieces) == result.text
    return result


@way("run_async")
async def run_async(base_url: str, prompt: str) -> Seen:
    return seen(await generator(base_url).run_async(user(prompt)))


@way("run_async (streamed)")
async def run_async_streamed(base_url: str, prompt: str) -> Seen:
    pieces: list[str] = []

    async def take(chunk: Any) -> None:
        pieces.append(chunk.content)

    streamed = generator(base_url, stream_options={"include_usage": True})
    result = seen(await streamed.run_async(user(prompt), streaming_callback=take))
    assert "".join(pieces) == result.text
    return result


@way("response_format", answer=HANDBOOK)
def response_format(base_url: str, prompt: str) -> Seen:
    return seen(generator(base_url, response_format=Handbook).run(user(prompt)))


@way("Pipeline")
def pipeline(base_url: str, prompt: str) -> Seen:
    pipe = Pipeline()
    pipe.add_component("writer", generator(base_url))
    return seen(pipe.run({"writer": {"messages": user(prompt)}})["writer"])


@opt_out("run")
def run_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(generator(base_url, extra_body={"continuation": False}).run(user(prompt)))


report("haystack-ai")
