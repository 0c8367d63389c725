"""Instructor: Pydantic objects in JSON mode, over several rounds."""

from __future__ import annotations

from typing import Any

import instructor
from checking import HANDBOOK, Handbook, Seen, opt_out, report, way
from openai import AsyncOpenAI, OpenAI


def request(prompt: str) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_retries": 0}


def client(base_url: str, mode: instructor.Mode = instructor.Mode.JSON) -> Any:
    return instructor.from_openai(OpenAI(base_url=base_url, api_key="none"), mode=mode)


def seen(handbook: Any, completion: Any = None) -> Seen:
    text = handbook.model_dump_json(indent=1)
    if completion is None:
        return Seen(text)
    return Seen(text, completion.usage.completion_tokens, completion.usage.prompt_tokens)


@way("JSON", answer=HANDBOOK)
def as_json(base_url: str, prompt: str) -> Seen:
    ask = client(base_url).chat.completions.create_with_completion
    return seen(*ask(response_model=Handbook, **request(prompt)))


@way("JSON (async)", answer=HANDBOOK)
async def as_json_async(base_url: str, prompt: str) -> Seen:
    asynchronous = AsyncOpenAI(base_url=base_url, api_key="none")
    ask: Any = instructor.from_openai(asynchronous, mode=instructor.Mode.JSON).chat.completions.create_with_completion
    return seen(*await ask(response_model=Handbook, **request(prompt)))


@way("JSON_SCHEMA", answer=HANDBOOK)
def as_json_schema(base_url: str, prompt: str) -> Seen:
    ask = client(base_url, instructor.Mode.JSON_SCHEMA).chat.completions.create_with_completion
    return seen(*ask(response_model=Handbook, **request(prompt)))


@way("MD_JSON", answer=f"```json\n{HANDBOOK}\n```")
def as_markdown_json(base_url: str, prompt: str) -> Seen:
    ask = client(base_url, instructor.Mode.MD_JSON).chat.completions.create_with_completion
    handbook, completion = ask(response_model=Handbook, **request(prompt))
    found = seen(handbook, completion)
    return Seen(f"```json\n{found.text}\n```", found.completion_tokens, found.prompt_tokens)


@way("create_partial", answer=HANDBOOK)
def partial(base_url: str, prompt: str) -> Seen:
    *_, last = client(base_url).chat.completions.create_partial(response_model=Handbook, **request(prompt))
    return seen(last)


@way("without a model")
def plain(base_url: str, prompt: str) -> Seen:
    completion = client(base_url).chat.completions.create(response_model=None, **request(prompt))
    return Seen(completion.choices[0].message.content, completion.usage.completion_tokens)


@opt_out("without a model")
def plain_opted_out(base_url: str, prompt: str) -> Seen:
    extra = {"continuation": False}
    completion = client(base_url).chat.completions.create(response_model=None, extra_body=extra, **request(prompt))
    return Seen(completion.choices[0].message.content)


report("instructor")
