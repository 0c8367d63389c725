"""chatlas: ``ChatOpenAI``, which asks by responses: chat, stream, both async, and structured."""

from __future__ import annotations

from typing import Any

from chatlas import ChatOpenAI
from checking import CALLS, HANDBOOK, SHORT, Handbook, Seen, agent_way, opt_out, report, way, write_file


def chat(base_url: str, name: str = "any") -> Any:
    return ChatOpenAI(model=name, base_url=base_url, api_key="none")


def seen(asked: Any, text: str) -> Seen:
    tokens = asked.get_last_turn().tokens
    return Seen(text, tokens[1], tokens[0] + tokens[2])


@way("chat (streamed)")
def chat_streamed(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    return seen(asked, asked.chat(prompt, echo="none").get_content())


@way("chat")
def chat_whole(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    return seen(asked, asked.chat(prompt, echo="none", stream=False).get_content())


@way("stream")
def stream(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    return seen(asked, "".join(asked.stream(prompt, echo="none")))


@way("chat_async")
async def chat_async(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    answer = await asked.chat_async(prompt, echo="none", stream=False)
    return seen(asked, await answer.get_content())


@way("stream_async")
async def stream_async(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    return seen(asked, "".join([piece async for piece in await asked.stream_async(prompt, echo="none")]))


@way("chat_structured", answer=HANDBOOK)
def structured(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    return seen(asked, asked.chat_structured(prompt, data_model=Handbook).model_dump_json(indent=1))


@opt_out("chat")
def opted_out(base_url: str, prompt: str) -> Seen:
    asked = chat(base_url)
    answer = asked.chat(prompt, echo="none", stream=False, kwargs={"extra_body": {"continuation": False}})
    return seen(asked, answer.get_content())


def calling(base_url: str) -> Any:
    asked = chat(base_url, CALLS)
    asked.register_tool(write_file)
    return asked


@agent_way("a text after a call", call_tokens=SHORT)
def text_after_call(base_url: str, prompt: str) -> Seen:
    asked = calling(base_url)
    asked.chat(prompt, echo="none", stream=False)
    return Seen(asked.get_last_turn().text)


@agent_way("a long call")
def long_call(base_url: str, prompt: str) -> Seen:
    asked = calling(base_url)
    asked.chat(prompt, echo="none", stream=False)
    return Seen(asked.get_last_turn().text)


report("chatlas")
