"""langchain-openai, by chats and by responses: whole, streamed, both async, structured, and in an agent."""

from __future__ import annotations

from typing import Any

from checking import CALLS, HANDBOOK, SHORT, Handbook, Seen, agent_way, opt_out, report, way, write_file
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient


def model(base_url: str, name: str = "any", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=base_url, api_key="none", **more)


def agent(base_url: str, **more: Any) -> Any:
    return create_agent(model(base_url, CALLS, **more), tools=[write_file])


def user(prompt: str) -> Any:
    return {"messages": [{"role": "user", "content": prompt}]}


def seen(message: Any) -> Seen:
    usage = message.usage_metadata or {}
    return Seen(message.text, usage.get("output_tokens"), usage.get("input_tokens"))


def total(chunks: list[Any]) -> Any:
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk
    return message


@way("invoke")
def invoke(base_url: str, prompt: str) -> Seen:
    return seen(model(base_url).invoke(prompt))


@way("stream")
def stream(base_url: str, prompt: str) -> Seen:
    return seen(total(list(model(base_url, stream_usage=True).stream(prompt))))


@way("ainvoke")
async def ainvoke(base_url: str, prompt: str) -> Seen:
    return seen(await model(base_url).ainvoke(prompt))


@way("astream")
async def astream(base_url: str, prompt: str) -> Seen:
    return seen(total([chunk async for chunk in model(base_url, stream_usage=True).astream(prompt)]))


@way("with_structured_output", answer=HANDBOOK)
def with_structured_output(base_url: str, prompt: str) -> Seen:
    structured = model(base_url).with_structured_output(Handbook, method="json_schema", include_raw=True)
    result: Any = structured.invoke(prompt)
    usage = result["raw"].usage_metadata
    return Seen(result["parsed"].model_dump_json(indent=1), usage["output_tokens"], usage["input_tokens"])


@way("with_structured_output (async)", answer=HANDBOOK)
async def with_structured_output_async(base_url: str, prompt: str) -> Seen:
    result: Any = await model(base_url).with_structured_output(Handbook, method="json_mode").ainvoke(prompt)
    return Seen(result.model_dump_json(indent=1))


@way("with_structured_output (streamed)", answer=HANDBOOK)
def with_structured_output_streamed(base_url: str, prompt: str) -> Seen:
    structured = model(base_url).with_structured_output(Handbook, method="json_schema")
    last: Any = list(structured.stream(prompt))[-1]
    return Seen(last.model_dump_json(indent=1))


@opt_out("invoke")
def invoke_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(model(base_url, extra_body={"continuation": False}).invoke(prompt))


@agent_way("create_agent (invoke)")
def file(base_url: str, prompt: str) -> Seen:
    return Seen(agent(base_url).invoke(user(prompt))["messages"][-1].content)


@agent_way("create_agent (astream)")
async def file_streamed(base_url: str, prompt: str) -> Seen:
    # LangChain shares its client, and the event loop of the last run is closed.
    writer = agent(base_url, http_async_client=DefaultAsyncHttpxClient())
    pieces = [
        (where["langgraph_step"], message.content)
        async for message, where in writer.astream(user(prompt), stream_mode="messages")
    ]
    return Seen("".join(content for step, content in pieces if step == pieces[-1][0]))


def responding(base_url: str, name: str = "any", **more: Any) -> ChatOpenAI:
    return model(base_url, name, use_responses_api=True, **more)


def responding_agent(base_url: str, **more: Any) -> Any:
    return create_agent(responding(base_url, CALLS, **more), tools=[write_file])


@way("invoke (use_responses_api)")
def responses_invoke(base_url: str, prompt: str) -> Seen:
    return seen(responding(base_url).invoke(prompt))


@way("stream (use_responses_api)")
def responses_stream(base_url: str, prompt: str) -> Seen:
    return seen(total(list(responding(base_url).stream(prompt))))


@way("ainvoke (use_responses_api)")
async def responses_ainvoke(base_url: str, prompt: str) -> Seen:
    return seen(await responding(base_url, http_async_client=DefaultAsyncHttpxClient()).ainvoke(prompt))


@way("astream (use_responses_api)")
async def responses_astream(base_url: str, prompt: str) -> Seen:
    asked = responding(base_url, http_async_client=DefaultAsyncHttpxClient()).astream(prompt)
    return seen(total([chunk async for chunk in asked]))


@way("with_structured_output (use_responses_api)", answer=HANDBOOK)
def responses_structured_output(base_url: str, prompt: str) -> Seen:
    structured = responding(base_url).with_structured_output(Handbook, method="json_schema", include_raw=True)
    result: Any = structured.invoke(prompt)
    usage = result["raw"].usage_metadata
    return Seen(result["parsed"].model_dump_json(indent=1), usage["output_tokens"], usage["input_tokens"])


@way("with_structured_output (use_responses_api, streamed)", answer=HANDBOOK)
def responses_structured_output_streamed(base_url: str, prompt: str) -> Seen:
    structured = responding(base_url).with_structured_output(Handbook, method="json_schema")
    last: Any = list(structured.stream(prompt))[-1]
    return Seen(last.model_dump_json(indent=1))


@opt_out("invoke (use_responses_api)")
def responses_invoke_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(responding(base_url, extra_body={"continuation": False}).invoke(prompt))


@agent_way("a text after a call (use_responses_api)", call_tokens=SHORT)
def text_after_call(base_url: str, prompt: str) -> Seen:
    return Seen(responding_agent(base_url).invoke(user(prompt))["messages"][-1].text)


@agent_way("a long call (use_responses_api)")
def long_call(base_url: str, prompt: str) -> Seen:
    return Seen(responding_agent(base_url).invoke(user(prompt))["messages"][-1].text)


@agent_way("a long call (use_responses_api, streamed)")
async def long_call_streamed(base_url: str, prompt: str) -> Seen:
    writer = responding_agent(base_url, http_async_client=DefaultAsyncHttpxClient())
    pieces = [
        (where["langgraph_step"], message.text)
        async for message, where in writer.astream(user(prompt), stream_mode="messages")
    ]
    return Seen("".join(text for step, text in pieces if step == pieces[-1][0]))


report("langchain-openai", "langchain")
