"""llm, the command: ``llm openai endpoint`` by responses and by chats, streamed and whole, and with a schema."""

from __future__ import annotations

import json
from typing import Any

from checking import HANDBOOK, Handbook, Seen, report, way
from click.testing import CliRunner
from llm.cli import cli


def printed(base_url: str, prompt: str, *options: str) -> Seen:
    command = ["openai", "endpoint", base_url, prompt, "--model", "any", *options]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Seen(result.stdout.removesuffix("\n"))


def structured(base_url: str, prompt: str, *options: str) -> Seen:
    schema: dict[str, Any] = Handbook.model_json_schema()
    text = printed(base_url, prompt, "--schema", json.dumps(schema), *options).text
    return Seen(Handbook.model_validate_json(text or "").model_dump_json(indent=1))


@way("--responses")
def responses(base_url: str, prompt: str) -> Seen:
    return printed(base_url, prompt, "--responses")


@way("--responses --no-stream")
def responses_whole(base_url: str, prompt: str) -> Seen:
    return printed(base_url, prompt, "--responses", "--no-stream")


@way("--responses --schema", answer=HANDBOOK)
def responses_schema(base_url: str, prompt: str) -> Seen:
    return structured(base_url, prompt, "--responses")


@way("openai endpoint")
def chat(base_url: str, prompt: str) -> Seen:
    return printed(base_url, prompt)


@way("--no-stream")
def chat_whole(base_url: str, prompt: str) -> Seen:
    return printed(base_url, prompt, "--no-stream")


report("llm")
