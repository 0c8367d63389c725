"""langchain-openai: whole, streamed, both async, and structured."""

from __future__ import annotations

from typing import Any

from checking import HANDBOOK, Handbook, Seen, opt_out, report, way
from langchain_openai import ChatOpenAI


def model(base_url: str, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="any", base_url=base_url, api_key="none", **more)


def seen(message: Any) -> Seen:
    usage = message.usage_metadata or {}
    return Seen(message.content, usage.get("output_tokens"), usage.get("input_tokens"))


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


report("langchain-openai")
