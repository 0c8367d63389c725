"""
How many new turns are noticed, on real engines and two models at temperature 0?

    python tests/measure/engine/new_turns.py                  # --engine vllm --model chat --template plain --prompts 3 --report

A server that takes the text sent back for a finished turn opens a new one. vLLM does so for rows of the provider table
whose marks it does not know, and llama-server with ``--no-prefill-assistant``. Each prompt is asked at each cap, whole
and streamed, with the default settings and a client that has noticed nothing yet. A new turn is noticed if the answer
ends in "length", with ``stopped_by="restart"``, and has no text of it. A stream whose usage comes at its end can show
it only there, when the text is out: it is noticed late. The exit code is 1 if less than 95 % are noticed at all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import openai_continue
from openai_continue import Continuation

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers
import sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

#: Rows of the provider table to ask with: one without marks, one with a mark that neither engine knows.
ROWS = ("ollama", "deepseek")
CAPS = {servers.MODEL: sweep.caps(7), servers.CHAT_MODEL: [8, 16, 37, 64, 101]}
WAYS = ("whole", "streamed")
WANTED = 0.95


@dataclass
class Tally:
    """What came of the answers of one server, whole or streamed."""

    #: Answers that were cut and continued.
    cut: int = 0
    noticed: int = 0
    #: Noticed when the text of the new turn was out.
    late: int = 0
    #: No text of the new turn, but another reason.
    stopped: list[str] = field(default_factory=list)
    unnoticed: list[str] = field(default_factory=list)


def server(engine: str, template: str, model: str) -> AbstractContextManager[str]:
    """Start an engine that opens new turns."""
    if engine == "vllm":
        return sweep.server(engine, template, model)
    return servers.llama_server(template, model=model, max_model_len=8192, prefills=False)


def measure(
    base_url: str,
    rows: Sequence[str],
    model: str,
    prompts: Iterable[str],
    several: Sequence[int],
    *,
    reports: bool,
    jobs: int = 1,
) -> dict[str, Tally]:
    """Ask for every prompt at every cap with each row, ``jobs`` prompts at a time; return what came of each way."""
    tallies = {way: Tally() for way in WAYS}
    with ThreadPoolExecutor(jobs) as pool:
        for counted in pool.map(lambda prompt: list(_answers(base_url, rows, model, prompt, several)), prompts):
            for way, truth, answer, where in counted:
                count(tallies[way], truth, answer, where, reports=reports)
    return tallies


def _answers(
    base_url: str, rows: Sequence[str], model: str, prompt: str, several: Sequence[int]
) -> Iterator[tuple[str, str, sweep.Answer, str]]:
    """Yield for each row, cap and way the way, the right text, the answer, and where it is."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max(several) + 1,
    }
    with openai.OpenAI(base_url=base_url, api_key="none") as plain:
        truth = sweep.text_of(plain.chat.completions.create(**request).choices[0].message)
    request["max_tokens"] = 3 * max(several)
    for row, cap, way in itertools.product(rows, several, WAYS):
        settings = Continuation(provider=row, round_tokens=cap, max_rounds=3)
        with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=settings) as client:
            answer = sweep.whole(client, request) if way == "whole" else sweep.streamed(client, request)
        yield way, truth, answer, f"{prompt!r}, row {row}, cap {cap}, {way}"


def count(tally: Tally, truth: str, answer: sweep.Answer, where: str, *, reports: bool) -> None:
    """Put one answer into its class."""
    if len(answer.report.get("rounds", ())) < 2:
        return
    tally.cut += 1
    where += f", {answer.report['stopped_by']}: {sweep.difference(truth, answer.text)}"
    where += f"\n{json.dumps(answer.report)}" if reports else ""
    restart = answer.report["stopped_by"] == "restart" and answer.finish_reason == "length"
    if restart and not truth.startswith(answer.text):
        tally.late += 1
    elif not truth.startswith(answer.text) or answer.finish_reason != "length":
        tally.unnoticed.append(where)
    elif answer.report["stopped_by"] == "restart":
        tally.noticed += 1
    else:
        tally.stopped.append(where)


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=sweep.ENGINES, action="append")
    parser.add_argument("--model", choices=sorted(sweep.PROMPTS), action="append")
    parser.add_argument("--template", choices=sweep.TEMPLATES[servers.MODEL], action="append")
    parser.add_argument("--row", action="append", help=f"rows of the provider table (default: {', '.join(ROWS)})")
    parser.add_argument("--caps", type=int, nargs="+", help="the caps to ask at, in tokens")
    parser.add_argument("--prompts", type=int, help="how many of the prompts")
    parser.add_argument("--jobs", type=int, default=1, help="prompts asked at a time: more tokens a second on vLLM")
    parser.add_argument("--report", action="store_true", help="print the rounds of each answer that is not noticed")
    chosen = parser.parse_args()
    table = [
        "| Engine | Model | Template | Way | New turns | Noticed | Noticed late | Stopped for another reason | Not noticed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    all_ = Tally()
    for engine, model in itertools.product(chosen.engine or sweep.ENGINES, chosen.model or sorted(sweep.PROMPTS)):
        several = chosen.caps or CAPS[model]
        for template in sweep.TEMPLATES[model]:
            if chosen.template and template not in chosen.template:
                continue
            began = time.monotonic()
            prompts = sweep.PROMPTS[model][: chosen.prompts]
            with server(engine, template, model) as url:
                tallies = measure(
                    url, chosen.row or ROWS, model, prompts, several, reports=chosen.report, jobs=chosen.jobs
                )
            print(f"{engine}, {model}, {template}: {time.monotonic() - began:.0f} s")
            for way, tally in tallies.items():
                for line in (
                    *(f"stopped: {each}" for each in tally.stopped),
                    *(f"NOT NOTICED: {each}" for each in tally.unnoticed),
                ):
                    print(f"  {line}", flush=True)
                all_.cut += tally.cut
                all_.noticed += tally.noticed + tally.late
                numbers = (tally.cut, tally.noticed, tally.late, len(tally.stopped), len(tally.unnoticed))
                counted = " | ".join(map(str, numbers))
                table.append(f"| {engine} | {model} | {template} | {way} | {counted} |")
    print("\n".join(table))
    print(f"{all_.noticed} of {all_.cut} noticed")
    return 0 if all_.noticed >= WANTED * all_.cut else 1


if __name__ == "__main__":
    sys.exit(main())
