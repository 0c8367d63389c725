"""Agno: an agent on OpenAIChat and OpenAILike, whole, streamed, async, and structured."""

from __future__ import annotations

from typing import Any

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from agno.models.openai.like import OpenAILike
from checking import HANDBOOK, Handbook, Seen, opt_out, report, way


def agent(base_url: str, kind: type[OpenAIChat] = OpenAIChat, **more: Any) -> Agent:
    return Agent(model=kind(id="any", base_url=base_url, api_key="none"), telemetry=False, **more)


def seen(result: Any, text: str) -> Seen:
    return Seen(text, result.metrics.output_tokens, result.metrics.input_tokens)


def joined(events: list[Any]) -> Seen:
    pieces = [event.content for event in events if event.event == "RunContent" and event.content]
    metrics = [event.metrics for event in events if getattr(event, "metrics", None)]
    return Seen("".join(pieces), metrics[-1].output_tokens, metrics[-1].input_tokens)


@way("run")
def run(base_url: str, prompt: str) -> Seen:
    result = agent(base_url).run(prompt)
    return seen(result, result.content)


@way("run (streamed)")
def run_streamed(base_url: str, prompt: str) -> Seen:
    return joined(list(agent(base_url).run(prompt, stream=True, stream_events=True)))


@way("arun")
async def arun(base_url: str, prompt: str) -> Seen:
    result: Any = await agent(base_url).arun(prompt)
    return seen(result, result.content)


@way("arun (streamed)")
async def arun_streamed(base_url: str, prompt: str) -> Seen:
    return joined([event async for event in agent(base_url).arun(prompt, stream=True, stream_events=True)])


@way("OpenAILike")
def like(base_url: str, prompt: str) -> Seen:
    result = agent(base_url, OpenAILike).run(prompt)
    return seen(result, result.content)


@way("output_schema", answer=HANDBOOK)
def output_schema(base_url: str, prompt: str) -> Seen:
    result: Any = agent(base_url, output_schema=Handbook).run(prompt)
    return seen(result, result.content.model_dump_json(indent=1))


@opt_out("run")
def run_opted_out(base_url: str, prompt: str) -> Seen:
    model = OpenAIChat(id="any", base_url=base_url, api_key="none", extra_body={"continuation": False})
    result = Agent(model=model, telemetry=False).run(prompt)
    return seen(result, result.content)


report("agno")
