"""
How often a continued answer equals the uncapped one, on real engines at temperature 0.

    python tests/engine/sweep.py                      # llama-server and vLLM, every template
    python tests/engine/sweep.py --engine llama.cpp --template plain --caps 60

Prints a Markdown table, and every answer that differs with the place where it does.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import openai_continue
from openai_continue import Continuation

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

#: Most end by themselves, after 240 to 330 tokens. Behind thoughts the model begins the whole list instead.
PROMPTS = ("List items from 293.", "List items from 290.", "JSON items from 40.")
ENOUGH = 400
TEMPLATES = ("plain", "trim", "r1rc")
#: vLLM makes 75 tokens a second on two cores, llama-server up to 5,000.
CAPS = {"llama.cpp": 60, "vllm": 7}


@dataclass
class Tally:
    """What came of a sweep."""

    asked: int = 0
    equal: int = 0
    #: The beginning of the right text, ended in "length".
    stopped: int = 0
    differing: list[str] = field(default_factory=list)


def caps(number: int) -> list[int]:
    """Give caps from 5 upward: every one at first, then ever wider apart."""
    found = [5]
    while len(found) < number:
        found.append(max(found[-1] + 1, round(found[-1] * 1.03) if number > 20 else round(found[-1] * 1.7)))
    return found


def sweep(
    base_url: str, provider: str, several: Iterable[int], *, trims: bool, prompts: Iterable[str] = PROMPTS
) -> Tally:
    """Ask for every prompt at every cap, whole and streamed."""
    tally = Tally()
    plain = openai.OpenAI(base_url=base_url, api_key="none")
    wanted = list(several)
    for prompt in prompts:
        request: dict[str, Any] = {
            "model": servers.MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
        }
        uncapped = plain.chat.completions.create(**request, max_tokens=ENOUGH).choices[0]
        truth = text_of(uncapped.message)
        if uncapped.finish_reason == "length":
            # What is written twice at seams counts, so that the limit leaves room for it; the beginning is compared.
            request["max_tokens"] = 2 * ENOUGH
        for cap in wanted:
            settings = Continuation(provider=provider, round_tokens=cap, max_rounds=2 * ENOUGH, trims=trims)
            with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=settings) as client:
                whole = client.chat.completions.create(**request).choices[0]
                streamed, end = "", None
                for chunk in client.chat.completions.create(**request, stream=True):
                    for choice in chunk.choices:
                        streamed += text_of(choice.delta)
                        end = choice.finish_reason or end
            ways = (("whole", text_of(whole.message), whole.finish_reason), ("streamed", streamed, end))
            for way, text, finish_reason in ways:
                tally.asked += 1
                if text.startswith(truth) if uncapped.finish_reason == "length" else text == truth:
                    tally.equal += 1
                elif truth.startswith(text) and finish_reason == "length":
                    tally.stopped += 1
                else:
                    tally.differing.append(f"{prompt!r}, cap {cap}, {way}: {difference(truth, text)}")
    plain.close()
    return tally


def server(engine: str, template: str) -> AbstractContextManager[str]:
    """Start an engine with a chat template."""
    return servers.llama_server(template) if engine == "llama.cpp" else servers.vllm(template)


def trims(engine: str, template: str) -> bool:
    """Tell whether the text that is sent back is trimmed: llama-server appends it as it is, whatever the template."""
    return template == "trim" and engine == "vllm"


def text_of(message: Any) -> str:
    """Give thoughts and answer of a message or delta."""
    thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
    return thoughts + (message.content or "")


def difference(truth: str, text: str) -> str:
    """Show where two texts part."""
    place = next((i for i, (a, b) in enumerate(zip(truth, text, strict=False)) if a != b), min(len(truth), len(text)))
    start = max(place - 12, 0)
    return f"at {place} of {len(truth)}: {truth[start : place + 12]!r} became {text[start : place + 12]!r}"


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=sorted(CAPS), action="append")
    parser.add_argument("--template", choices=TEMPLATES, action="append")
    parser.add_argument("--caps", type=int, help="how many caps, from 5 upward (default: 60, vLLM 7)")
    chosen = parser.parse_args()
    rows = [
        "| Engine | Template | Caps | Answers | Equal | Stopped, and said so | Other |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine in chosen.engine or CAPS:
        for template in chosen.template or TEMPLATES:
            several = caps(chosen.caps or CAPS[engine])
            began = time.monotonic()
            with server(engine, template) as base_url:
                tally = sweep(base_url, engine, several, trims=trims(engine, template))
            print(f"{engine}, {template}: {time.monotonic() - began:.0f} s", *tally.differing, sep="\n  ", flush=True)
            rows.append(
                f"| {engine} | {template} | {len(several)} from {several[0]} to {several[-1]} "
                f"| {tally.asked} | {tally.equal} | {tally.stopped} | {len(tally.differing)} |"
            )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
