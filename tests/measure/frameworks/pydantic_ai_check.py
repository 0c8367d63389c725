"""Pydantic AI, by chat and by its own default: run, run_sync, run_stream, output types, and a tool."""

from __future__ import annotations

import os
from typing import Any

from checking import CALLS, HANDBOOK, SHORT, Handbook, Seen, agent_way, opt_out, report, way, write_file
from pydantic_ai import Agent, NativeOutput, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


def agent(base_url: str, name: str = "any", **more: Any) -> Agent[Any, Any]:
    return Agent(OpenAIChatModel(name, provider=OpenAIProvider(base_url=base_url, api_key="none")), **more)


def with_tool(base_url: str) -> Agent[Any, Any]:
    return agent(base_url, CALLS, tools=[write_file])


def seen(result: Any, text: str) -> Seen:
    usage = result.usage() if callable(result.usage) else result.usage
    return Seen(text, usage.output_tokens, usage.input_tokens)


@way("run")
async def run(base_url: str, prompt: str) -> Seen:
    result = await agent(base_url).run(prompt)
    return seen(result, result.output)


@way("run_sync")
def run_sync(base_url: str, prompt: str) -> Seen:
    result = agent(base_url).run_sync(prompt)
    return seen(result, result.output)


@way("run_stream")
async def run_stream(base_url: str, prompt: str) -> Seen:
    async with agent(base_url).run_stream(prompt) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return seen(result, "".join(pieces))


@way("NativeOutput", answer=HANDBOOK)
async def native_output(base_url: str, prompt: str) -> Seen:
    result = await agent(base_url, output_type=NativeOutput(Handbook)).run(prompt)
    return seen(result, result.output.model_dump_json(indent=1))


@way("PromptedOutput", answer=HANDBOOK)
async def prompted_output(base_url: str, prompt: str) -> Seen:
    result = await agent(base_url, output_type=PromptedOutput(Handbook)).run(prompt)
    return seen(result, result.output.model_dump_json(indent=1))


@opt_out("run")
async def run_opted_out(base_url: str, prompt: str) -> Seen:
    result = await agent(base_url).run(prompt, model_settings={"extra_body": {"continuation": False}})
    return seen(result, result.output)


@agent_way("run")
async def file(base_url: str, prompt: str) -> Seen:
    return Seen((await with_tool(base_url).run(prompt)).output)


@agent_way("run_sync")
def file_sync(base_url: str, prompt: str) -> Seen:
    return Seen(with_tool(base_url).run_sync(prompt).output)


@agent_way("run_stream")
async def file_streamed(base_url: str, prompt: str) -> Seen:
    async with with_tool(base_url).run_stream(prompt) as result:
        return Seen(await result.get_output())


def responding(base_url: str, name: str = "any", **more: Any) -> Agent[Any, Any]:
    model = OpenAIResponsesModel(name, provider=OpenAIProvider(base_url=base_url, api_key="none"))
    return Agent(model, **more)


@way("run (openai:)")
async def by_name(base_url: str, prompt: str) -> Seen:
    os.environ["OPENAI_BASE_URL"] = base_url
    result = await Agent("openai:any").run(prompt)
    return seen(result, result.output)


@way("run_sync (OpenAIResponsesModel)")
def responses_run_sync(base_url: str, prompt: str) -> Seen:
    result = responding(base_url).run_sync(prompt)
    return seen(result, result.output)


@way("run_stream (OpenAIResponsesModel)")
async def responses_run_stream(base_url: str, prompt: str) -> Seen:
    async with responding(base_url).run_stream(prompt) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return seen(result, "".join(pieces))


@way("NativeOutput (OpenAIResponsesModel)", answer=HANDBOOK)
async def responses_native_output(base_url: str, prompt: str) -> Seen:
    result = await responding(base_url, output_type=NativeOutput(Handbook)).run(prompt)
    return seen(result, result.output.model_dump_json(indent=1))


@way("NativeOutput (OpenAIResponsesModel, streamed)", answer=HANDBOOK)
async def responses_native_output_streamed(base_url: str, prompt: str) -> Seen:
    async with responding(base_url, output_type=NativeOutput(Handbook)).run_stream(prompt) as result:
        output = await result.get_output()
    return seen(result, output.model_dump_json(indent=1))


@opt_out("run (OpenAIResponsesModel)")
async def responses_opted_out(base_url: str, prompt: str) -> Seen:
    result = await responding(base_url).run(prompt, model_settings={"extra_body": {"continuation": False}})
    return seen(result, result.output)


@agent_way("a text after a call (OpenAIResponsesModel)", call_tokens=SHORT)
async def text_after_call(base_url: str, prompt: str) -> Seen:
    return Seen((await responding(base_url, CALLS, tools=[write_file]).run(prompt)).output)


@agent_way("a streamed text after a call (OpenAIResponsesModel)", call_tokens=SHORT)
async def text_after_call_streamed(base_url: str, prompt: str) -> Seen:
    async with responding(base_url, CALLS, tools=[write_file]).run_stream(prompt) as result:
        return Seen(await result.get_output())


@agent_way("a long call (OpenAIResponsesModel)")
async def long_call(base_url: str, prompt: str) -> Seen:
    return Seen((await responding(base_url, CALLS, tools=[write_file]).run(prompt)).output)


@agent_way("a long call (OpenAIResponsesModel, streamed)")
async def long_call_streamed(base_url: str, prompt: str) -> Seen:
    async with responding(base_url, CALLS, tools=[write_file]).run_stream(prompt) as result:
        return Seen(await result.get_output())


report("pydantic-ai-slim")
