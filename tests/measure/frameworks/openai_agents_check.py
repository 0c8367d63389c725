"""The OpenAI Agents SDK, with its default model and the one for chats: run, run_streamed, an output type, a tool."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from checking import CALLS, HANDBOOK, SHORT, Handbook, Seen, agent_way, opt_out, report, way, write_file
from openai import AsyncOpenAI


def agent(base_url: str, name: str = "any", **more: Any) -> Agent[Any]:
    client = AsyncOpenAI(base_url=base_url, api_key="none")
    return Agent(name="writer", model=OpenAIChatCompletionsModel(model=name, openai_client=client), **more)


def with_tool(base_url: str) -> Agent[Any]:
    return agent(base_url, CALLS, tools=[function_tool(write_file)])


def seen(result: Any, text: str) -> Seen:
    usage = result.context_wrapper.usage
    return Seen(text, usage.output_tokens, usage.input_tokens)


async def deltas_of(result: Any) -> str:
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return "".join(deltas)


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
    text = await deltas_of(result)
    assert text == result.final_output
    return seen(result, text)


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


def by_default(base_url: str) -> RunConfig:
    """Return the configuration of a run whose agent has only the name of a model."""
    client = AsyncOpenAI(base_url=base_url, api_key="none")
    return RunConfig(model="any", model_provider=OpenAIProvider(openai_client=client))


def responding(base_url: str) -> Agent[Any]:
    """Return an agent whose model's name has a slash, which the default takes for the name of a provider."""
    client = AsyncOpenAI(base_url=base_url, api_key="none")
    return Agent(name="writer", model=OpenAIResponsesModel(CALLS, client), tools=[function_tool(write_file)])


@way("run (by default)")
async def default_run(base_url: str, prompt: str) -> Seen:
    result = await Runner.run(Agent(name="writer"), prompt, run_config=by_default(base_url))
    return seen(result, result.final_output)


@way("run_sync (by default)")
def default_run_sync(base_url: str, prompt: str) -> Seen:
    result = Runner.run_sync(Agent(name="writer"), prompt, run_config=by_default(base_url))
    return seen(result, result.final_output)


@way("run_streamed (by default)")
async def default_run_streamed(base_url: str, prompt: str) -> Seen:
    result = Runner.run_streamed(Agent(name="writer"), prompt, run_config=by_default(base_url))
    text = await deltas_of(result)
    assert text == result.final_output
    return seen(result, text)


@way("output_type (by default)", answer=HANDBOOK)
async def default_output_type(base_url: str, prompt: str) -> Seen:
    writer = Agent(name="writer", output_type=Handbook)
    result = await Runner.run(writer, prompt, run_config=by_default(base_url))
    return seen(result, result.final_output.model_dump_json(indent=1))


@way("output_type (by default, streamed)", answer=HANDBOOK)
async def default_output_type_streamed(base_url: str, prompt: str) -> Seen:
    result = Runner.run_streamed(Agent(name="writer", output_type=Handbook), prompt, run_config=by_default(base_url))
    await deltas_of(result)
    return seen(result, result.final_output.model_dump_json(indent=1))


@opt_out("run (by default)")
async def default_run_opted_out(base_url: str, prompt: str) -> Seen:
    writer = Agent(name="writer", model_settings=ModelSettings(extra_body={"continuation": False}))
    result = await Runner.run(writer, prompt, run_config=by_default(base_url))
    return seen(result, result.final_output)


@agent_way("a text after a call (Responses)", call_tokens=SHORT)
async def text_after_call(base_url: str, prompt: str) -> Seen:
    return Seen((await Runner.run(responding(base_url), prompt)).final_output)


@agent_way("a streamed text after a call (Responses)", call_tokens=SHORT)
async def text_after_call_streamed(base_url: str, prompt: str) -> Seen:
    result = Runner.run_streamed(responding(base_url), prompt)
    await deltas_of(result)
    return Seen(result.final_output)


@agent_way("a long call (Responses)")
async def long_call(base_url: str, prompt: str) -> Seen:
    return Seen((await Runner.run(responding(base_url), prompt)).final_output)


@agent_way("a long call (Responses, streamed)")
async def long_call_streamed(base_url: str, prompt: str) -> Seen:
    result = Runner.run_streamed(responding(base_url), prompt)
    await deltas_of(result)
    return Seen(result.final_output)


report("openai-agents")
