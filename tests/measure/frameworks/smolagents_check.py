"""smolagents: its models on the SDK and on LiteLLM, whole and streamed, an agent's answer, and its tools."""

from __future__ import annotations

from typing import Any

import checking
from checking import CALLS, Seen, agent_way, opt_out, report, way
from smolagents import LiteLLMModel, OpenAIServerModel, ToolCallingAgent, tool


def model(base_url: str, name: str = "any", **more: Any) -> OpenAIServerModel:
    return OpenAIServerModel(name, api_base=base_url, api_key="none", **more)


def lite(base_url: str) -> LiteLLMModel:
    return LiteLLMModel("openai/any", api_base=base_url, api_key="none")


def user(prompt: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]


def seen(message: Any) -> Seen:
    return Seen(message.content, message.token_usage.output_tokens, message.token_usage.input_tokens)


def joined(deltas: list[Any]) -> Seen:
    text = "".join(delta.content or "" for delta in deltas)
    usages = [delta.token_usage for delta in deltas if delta.token_usage]
    return Seen(text, sum(usage.output_tokens for usage in usages), sum(usage.input_tokens for usage in usages))


@way("generate")
def generate(base_url: str, prompt: str) -> Seen:
    return seen(model(base_url).generate(user(prompt)))


@way("generate_stream")
def generate_stream(base_url: str, prompt: str) -> Seen:
    return joined(list(model(base_url).generate_stream(user(prompt))))


@way("LiteLLMModel.generate")
def lite_generate(base_url: str, prompt: str) -> Seen:
    return seen(lite(base_url).generate(user(prompt)))


@way("LiteLLMModel.generate_stream")
def lite_generate_stream(base_url: str, prompt: str) -> Seen:
    return joined(list(lite(base_url).generate_stream(user(prompt))))


@way("ToolCallingAgent (final answer)")
def agent(base_url: str, prompt: str) -> Seen:
    writer: Any = ToolCallingAgent(tools=[], model=model(base_url), max_steps=1, verbosity_level=0)
    return Seen(writer.provide_final_answer(prompt).content)


@opt_out("generate")
def generate_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(model(base_url, extra_body={"continuation": False}).generate(user(prompt)))


@tool
def write_file(path: str, content: str) -> str:
    """
    Write a file.

    Args:
        path: The path of the file.
        content: The text of the file.
    """
    # The agent sends results as words of the user, and the model answers by a call.
    return f"{checking.write_file(path, content)} Now call the tool final_answer."


def calls_tools(base_url: str, prompt: str, **more: Any) -> Seen:
    writer: Any = ToolCallingAgent(
        tools=[write_file], model=model(base_url, CALLS), max_steps=2, verbosity_level=0, **more
    )
    return Seen(writer.run(prompt))


@agent_way("ToolCallingAgent")
def file(base_url: str, prompt: str) -> Seen:
    return calls_tools(base_url, prompt)


@agent_way("ToolCallingAgent (streamed)")
def file_streamed(base_url: str, prompt: str) -> Seen:
    return calls_tools(base_url, prompt, stream_outputs=True)


report("smolagents")
