"""deepagents: an agent on the model that it makes of a name, which asks by responses, whole and streamed."""

from __future__ import annotations

import os
from typing import Any

from checking import CALLS, SHORT, Seen, agent_way, opt_out, report, way, write_file
from deepagents import create_deep_agent
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient


def agent(base_url: str, model: Any = "openai:any", **more: Any) -> Any:
    os.environ["OPENAI_BASE_URL"] = base_url
    return create_deep_agent(model=model, **more)


def own(base_url: str, name: str = "any", **more: Any) -> ChatOpenAI:
    # LangChain shares its client, and the event loop of the last run is closed.
    client = DefaultAsyncHttpxClient()
    more = {"use_responses_api": True, "http_async_client": client, **more}
    return ChatOpenAI(model=name, base_url=base_url, api_key="none", **more)


def user(prompt: str) -> Any:
    return {"messages": [{"role": "user", "content": prompt}]}


def seen(result: Any) -> Seen:
    message = result["messages"][-1]
    usage = message.usage_metadata or {}
    return Seen(message.text, usage.get("output_tokens"), usage.get("input_tokens"))


@way("invoke")
def invoke(base_url: str, prompt: str) -> Seen:
    return seen(agent(base_url).invoke(user(prompt)))


@way("ainvoke")
async def ainvoke(base_url: str, prompt: str) -> Seen:
    return seen(await agent(base_url, own(base_url)).ainvoke(user(prompt)))


@way("stream")
def stream(base_url: str, prompt: str) -> Seen:
    asked = agent(base_url).stream(user(prompt), stream_mode="messages")
    return Seen("".join(message.text for message, _ in asked))


@opt_out("invoke")
def invoke_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(agent(base_url, own(base_url, extra_body={"continuation": False})).invoke(user(prompt)))


def write_note(path: str, content: str) -> str:
    """
    Write a note.

    Args:
        path: The path of the note.
        content: The text of the note.
    """
    return write_file(path, content)


@agent_way("a text after a call", call_tokens=SHORT)
def text_after_call(base_url: str, prompt: str) -> Seen:
    writer = agent(base_url, own(base_url, CALLS), tools=[write_note])
    result = writer.invoke(user(prompt.replace("write_file", "write_note")))
    return Seen(result["messages"][-1].text)


report("deepagents", "langchain-openai")
