"""
The code that is compared: one call of the SDK, and the loops that people write around it by hand.

Each loop is written as it is usually written. None is meant to be used: what they lose is part of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Messages = list[dict[str, Any]]


def one_call(client: Any, model: str, messages: Messages, **fields: Any) -> str:
    """Return the text of one whole answer to a request with these fields."""
    content: str = client.chat.completions.create(model=model, messages=messages, **fields).choices[0].message.content
    return content


def one_stream(client: Any, model: str, messages: Messages) -> str:
    """Return the text of one streamed answer."""
    return text_of(client.chat.completions.create(model=model, messages=messages, stream=True))


def loop(client: Any, model: str, messages: Messages) -> str:
    """Ask until the answer ends, with the text so far as a trailing assistant message."""
    text = ""
    while True:
        sent = [*messages, {"role": "assistant", "content": text}] if text else messages
        choice = client.chat.completions.create(model=model, messages=sent).choices[0]
        text += choice.message.content or ""
        if choice.finish_reason != "length":
            return text


def streamed_loop(client: Any, model: str, messages: Messages) -> str:
    """Return the text of ``streamed_chunks()``."""
    return text_of(streamed_chunks(client, model, messages))


def streamed_chunks(client: Any, model: str, messages: Messages) -> Iterator[Any]:
    """Do the same as ``loop()``, with streams. Yield the chunks."""
    text = ""
    while True:
        sent = [*messages, {"role": "assistant", "content": text}] if text else messages
        finish_reason = None
        for chunk in client.chat.completions.create(model=model, messages=sent, stream=True):
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                finish_reason = chunk.choices[0].finish_reason or finish_reason
            yield chunk
        if finish_reason != "length":
            return


def text_of(chunks: Iterable[Any]) -> str:
    """Return the text of a stream."""
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])


def langchain(base_url: str, model: str) -> Callable[[Messages], str] | None:
    """Return a loop over LangChain's chat model, or None if LangChain is not installed."""
    if find_spec("langchain_openai") is None:
        return None
    chat: Any = import_module("langchain_openai").ChatOpenAI(
        base_url=base_url, api_key="none", model=model, max_retries=0
    )

    def ask(messages: Messages) -> str:
        text = ""
        while True:
            sent = [*messages, {"role": "assistant", "content": text}] if text else messages
            reply = chat.invoke(sent)
            text = f"{text}{reply.content}"
            if reply.response_metadata.get("finish_reason") != "length":
                return text

    return ask
