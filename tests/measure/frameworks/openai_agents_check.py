"""The OpenAI Agents SDK, with its model for chat completions: run, run_streamed, an output type, and a tool."""

from __future__ import annotations

from typing import Any

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool
from checking import CALLS, HANDBOOK, Handbook, Seen, agent_way, opt_out, report, way, write_file
from openai import AsyncOpenAI


def agent(base_url: str, name: str = "any", **more: Any) -> Agent[Any]:
    client = AsyncOpenAI(base_url=base_url, api_key="none")
    return Agent(name="writer", model=OpenAIChatCompletionsModel(model=name, openai_client=client), **more)


def with_tool(base_url: str) -> Agent[Any]:
    return agent(base_url, CALLS, tools=[function_tool(write_file)])


def seen(result: Any, text: str) -> Seen:
    usage = result.context_wrapper.usage
    return Seen(text, usage.output_tokens, usage.input_tokens)


@way("run")
async def run(base_url: str, prompt: str) -> Seen:
    result = await Runner.run(agent(base_url), prompt)
    return seen(result, result.final_output)


@way("run_sync")
def run_sync(base_url: str, prompt: str) -> Seen:
    result = Runner.run_sync(agent(base_url), prompt)
    return seen(result, result.final_output)


@way("run_streamed")
async def run_streamed(base_url: str, prompt: str) -> Seen:
    settings = ModelSettings(include_usage=True)
    result = Runner.run_streamed(agent(base_url, model_settings=settings), prompt)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == result.final_output
    return seen(result, "".join(deltas))


@way("output_type", answer=HANDBOOK)
async def output_type(base_url: str, prompt: str) -> Seen:
    result = await Runner.run(agent(base_url, output_type=Handbook), prompt)
    return seen(result, result.final_output.model_dump_json(indent=1))


@opt_out("run")
async def run_opted_out(base_url: str, prompt: str) -> Seen:
    settings = ModelSettings(extra_body={"continuation": False})
    result = await Runner.run(agent(base_url, model_settings=settings), prompt)
    return seen(result, result.final_output)


@agent_way("run")
async def file(base_url: str, prompt: str) -> Seen:
    return Seen((await Runner.run(with_tool(base_url), prompt)).final_output)


@agent_way("run_sync")
def file_sync(base_url: str, prompt: str) -> Seen:
    return Seen(Runner.run_sync(with_tool(base_url), prompt).final_output)


@agent_way("run_streamed")
async def file_streamed(base_url: str, prompt: str) -> Seen:
    result = Runner.run_streamed(with_tool(base_url), prompt)
    async for _ in result.stream_events():
        pass
    return Seen(result.final_output)


report("openai-agents")
