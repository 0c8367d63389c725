"""
Batches that ``vllm run-batch`` runs, with a cap on the engine's side: joined, they are the uncapped answers.

Each batch starts an engine of its own, which takes half a minute.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
import servers

from openai_continue._cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine

#: Of 240, 327 and 329 tokens.
PROMPTS = ("List items from 293.", "List items from 290.", "JSON items from 40.")
CAP = 250


def line(name: str, body: dict[str, Any]) -> dict[str, Any]:
    body = {"model": servers.MODEL, "temperature": 0, **body}
    # Any line of another endpoint ends run-batch, whatever the others are.
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def question(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def test_run_batch(vllm: str, tmp_path: Path) -> None:
    """Two batches: an answer that fits, two that are cut, one that meets its own limit, and two that vLLM refuses."""
    lines = [line(prompt, {"messages": question(prompt)}) for prompt in PROMPTS]
    lines.append(line("limit", {"messages": question(PROMPTS[1]), "max_tokens": 300}))
    lines.append(line("unknown", {"messages": question("x"), "model": "unknown"}))
    lines.append(line("stream", {"messages": question("x"), "stream": True}))
    files = [tmp_path / name for name in ("input", "output", "next", "output2", "next2", "joined")]
    given, output, following, output2, last, joined = files
    given.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")

    servers.run_batch(given, output, CAP)
    assert main(["batch", "next", str(given), str(output), "-o", str(following), "--provider", "vllm"]) == 0
    servers.run_batch(following, output2, CAP)
    assert main(["batch", "next", str(following), str(output2), "-o", str(last)]) == 3
    assert main(["batch", "join", str(following), str(output2), "-o", str(joined)]) == 3

    answers = {one["custom_id"]: one for one in map(json.loads, joined.read_text(encoding="utf-8").splitlines())}
    assert list(answers) == [one["custom_id"] for one in lines]
    assert len(following.read_text(encoding="utf-8").splitlines()) == 3
    first = {one["custom_id"]: one for one in map(json.loads, output.read_text(encoding="utf-8").splitlines())}
    assert all(answers[name] == first[name] for name in (PROMPTS[0], "unknown", "stream"))
    assert [answers[name]["response"]["status_code"] for name in ("unknown", "stream")] == [404, 400]
    with openai.OpenAI(base_url=vllm, api_key="none") as client:
        for one in lines[:4]:
            expected = client.chat.completions.create(**one["body"])
            got = openai.types.chat.ChatCompletion.model_validate(answers[one["custom_id"]]["response"]["body"])
            texts = [one.choices[0].message.content or "" for one in (got, expected)]
            # What is written twice at a seam counts for a limit.
            assert texts[0] == texts[1] or (one["custom_id"] == "limit" and texts[1].startswith(texts[0]))
            assert got.choices[0].finish_reason == expected.choices[0].finish_reason
