"""
How often continued thoughts and answers equal the uncapped ones, on real engines with a model that thinks.

    python tests/measure/engine/thoughts_sweep.py             # both engines and every template
    python tests/measure/engine/thoughts_sweep.py --engine llama.cpp --template qwen3 --caps 16 64 --prompts 2 --report
    python tests/measure/engine/thoughts_sweep.py --raw       # with the setting ``template``: the raw-prompt route

Each prompt is asked at each cap, whole and streamed, at temperature 0, by chats, and on vLLM by responses too. The model's thoughts and answers are known
(``think_texts.py``). Prints a Markdown table, and every answer that is not equal. An answer is equal if its thoughts and
its text are, apart from blanks at their ends; it is equal to the letter if these are, too. The exit code is 1 if an
answer is neither equal nor stopped with a report.
"""

from __future__ import annotations

import argparse
import dataclasses
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

import response_texts
import servers
import think_texts
from sweep import ENDPOINTS, ENGINES, difference, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

WAYS = ("whole", "streamed")
TEMPLATES = ("qwen3", "r1", "glm", "plain", "trim")
#: Templates whose thoughts an engine takes out of the text.
THINKING = ("qwen3", "r1", "glm")
#: Numbers that the model knows by heart in every form, on both engines; the first gives the shortest answers.
FIRST = (42, 33, 71, 6)
CAPS = {"llama.cpp": (5, 8, 13, 16, 23, 33, 64, 101, 150, 200), "vllm": (16, 64, 150)}
#: Tokens of an uncapped answer. The longest has some 260.
ENOUGH = 400


@dataclass(frozen=True)
class Asked:
    """One question, and what the model writes for it."""

    prompt: str
    thoughts: str
    answer: str
    #: More fields of the body.
    extra: dict[str, Any] = field(default_factory=dict)
    #: Earlier messages.
    history: tuple[dict[str, str], ...] = ()

    def request(self, endpoint: str, most: int) -> dict[str, Any]:
        """Return the parameters of the call. ``most``: its token limit."""
        messages = [*self.history, {"role": "user", "content": self.prompt}]
        asked = {"model": servers.THOUGHTS_MODEL, "temperature": 0, "extra_body": self.extra}
        if endpoint == "responses":
            return {**asked, "input": messages, "max_output_tokens": most}
        return {**asked, "messages": messages, "max_tokens": most}


@dataclass(frozen=True)
class Answer:
    """One answer, whole or streamed."""

    thoughts: str
    text: str
    finish_reason: str | None
    #: What the library reports: ``continuation`` of the merged answer.
    report: dict[str, Any]

    @property
    def values(self) -> tuple[str, str, str | None]:
        """What is compared: blanks at the ends do not count."""
        return self.thoughts.strip(), self.text.strip(), self.finish_reason


@dataclass
class Tally:
    """What came of a sweep."""

    asked: int = 0
    equal: int = 0
    #: How many of the equal ones have the very text of the uncapped answer.
    to_the_letter: int = 0
    #: The answer says that it is cut.
    stopped: list[str] = field(default_factory=list)
    #: Anything else.
    silent: list[str] = field(default_factory=list)


def questions(template: str) -> list[Asked]:
    """Return what a template is asked: with thoughts, without, with thoughts switched off, after an earlier turn."""
    found = []
    for first in FIRST:
        thinking, plain = think_texts.thinking_prompt(first), think_texts.plain_prompt(first)
        thoughts, answer = think_texts.thoughts(first), think_texts.answer(first)
        if template not in THINKING:
            # The tags are text here.
            found += [Asked(thinking, "", think_texts.raw("qwen3", first)), Asked(plain, "", answer)]
            continue
        found.append(Asked(thinking, thoughts, answer))
        earlier = (
            {"role": "user", "content": think_texts.plain_prompt(first + 1)},
            {"role": "assistant", "content": think_texts.answer(first + 1)},
        )
        if template != "glm":
            # vLLM's parser tells GLM's turns apart by GLM's own headers, which this model does not know.
            found.append(Asked(thinking, thoughts, answer, history=earlier))
        if template != "r1":
            found.append(Asked(thinking, "", answer, extra={"chat_template_kwargs": {"enable_thinking": False}}))
    return found


def sweep(
    base_url: str,
    provider: str,
    template: str,
    several: Sequence[int],
    *,
    endpoint: str = "chat",
    asked: Iterable[Asked] | None = None,
    ways: Iterable[str] = WAYS,
    raw: bool = False,
    jobs: int = 1,
    reports: bool = False,
) -> Tally:
    """
    Ask everything at every cap in every way.

    ``raw``: whether the library knows the template. ``jobs``: how many answers are asked for at a time.
    """
    tally = Tally()
    settings: dict[str, Any] = {"template": str(template_file(template))} if raw else {}
    base = Continuation(provider=provider, max_rounds=4 * ENOUGH, **settings)

    def answers(place: tuple[Asked, str]) -> list[tuple[Answer, Answer, str]]:
        return _answers(base_url, base, endpoint, *place, several, reports=reports)

    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(answers, itertools.product(questions(template) if asked is None else asked, ways)):
            for truth, answer, where in found:
                count(tally, truth, answer, where)
    return tally


def template_file(template: str) -> Path:
    """Return the file of a template, as the server has it."""
    return servers.TEMPLATES[servers.THOUGHTS_MODEL] / f"template_{template}.jinja.txt"


def _answers(
    base_url: str, base: Continuation, endpoint: str, asked: Asked, way: str, several: Sequence[int], *, reports: bool
) -> list[tuple[Answer, Answer, str]]:
    """Return for each cap the right answer of this way, the answer, and where it is."""
    truth = ask(way, base_url, asked.request(endpoint, ENOUGH), None)
    # A parser may take an answer without tags for thoughts: what the model wrote is all the same.
    right = (asked.thoughts + asked.answer).split()
    if (truth.thoughts + truth.text).split() != right or truth.finish_reason != "stop":
        msg = f"{asked.prompt!r}, {asked.extra}: the model does not know it any more; it answers {truth}"
        raise RuntimeError(msg)
    # What is written twice at seams counts.
    request = asked.request(endpoint, 3 * ENOUGH)
    found = []
    for cap in several:
        answer = ask(way, base_url, request, dataclasses.replace(base, round_tokens=cap))
        kind = f"{asked.prompt!r}{' without thoughts' * bool(asked.extra)}{' after a turn' * bool(asked.history)}"
        where = f"{kind}, cap {cap}, {way}, {answer.report.get('stopped_by')}, {answer.finish_reason}: "
        where += differences(truth, answer) + (f"\n{json.dumps(answer.report)}" if reports else "")
        found.append((truth, answer, where))
    return found


def count(tally: Tally, truth: Answer, answer: Answer, where: str) -> None:
    """Put one answer into its class."""
    tally.asked += 1
    if answer.values == truth.values:
        tally.equal += 1
        tally.to_the_letter += (answer.thoughts, answer.text) == (truth.thoughts, truth.text)
    elif answer.finish_reason == "length" and answer.report.get("stopped_by"):
        tally.stopped.append(where)
    else:
        tally.silent.append(where)


def ask(way: str, base_url: str, request: dict[str, Any], settings: Continuation | None) -> Answer:
    """Ask in one way, without the library if ``settings`` is None."""
    options: dict[str, Any] = {"base_url": base_url, "api_key": "none"}
    client: openai.OpenAI = (
        openai_continue.OpenAI(**options, continuation=settings) if settings else openai.OpenAI(**options)
    )
    with client:
        if "input" in request:
            asked: Any = client.responses.create(**request, stream=way == "streamed")
            read = (response_texts.whole if way == "whole" else response_texts.joined)(asked)
            return Answer(read.thoughts, read.text, read.finish_reason, read.report)
        if way == "whole":
            return whole(client.chat.completions.create(**request))
        with client.chat.completions.create(**request, stream=True) as stream:
            return joined(stream)


def whole(completion: Any) -> Answer:
    """Read a whole answer."""
    choice = completion.choices[0]
    report: dict[str, Any] = (completion.model_extra or {}).get("continuation") or {}
    return Answer(thoughts_of(choice.message), choice.message.content or "", choice.finish_reason, report)


def joined(chunks: Iterable[Any]) -> Answer:
    """Read a stream."""
    thoughts, text, end = "", "", None
    report: dict[str, Any] = {}
    for chunk in chunks:
        report = (chunk.model_extra or {}).get("continuation") or report
        for choice in chunk.choices:
            thoughts += thoughts_of(choice.delta)
            text += choice.delta.content or ""
            end = choice.finish_reason or end
    return Answer(thoughts, text, end, report)


def thoughts_of(message: Any) -> str:
    """Return the thoughts of a message or delta: llama-server has them in one field, vLLM in another."""
    found: str = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
    return found


def differences(truth: Answer, answer: Answer) -> str:
    """Show what is not equal."""
    found = []
    if answer.thoughts != truth.thoughts:
        found.append(f"thoughts {difference(truth.thoughts, answer.thoughts)}")
    if answer.text != truth.text:
        found.append(f"text {difference(truth.text, answer.text)}")
    return "; ".join(found) or "equal to the letter"


def server(engine: str, template: str) -> AbstractContextManager[str]:
    """Start an engine with the model that thinks."""
    start = servers.llama_server if engine == "llama.cpp" else servers.vllm
    return start(template, model=servers.THOUGHTS_MODEL, max_model_len=4096)


def main() -> int:
    """Sweep and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--template", choices=TEMPLATES, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--endpoint", choices=ENDPOINTS["vllm"], action="append")
    parser.add_argument("--caps", type=int, nargs="+", help="the caps to ask at, in tokens")
    parser.add_argument("--prompts", type=int, help="how many of the questions")
    parser.add_argument("--jobs", type=int, default=1, help="answers asked at a time: more tokens a second on vLLM")
    parser.add_argument("--raw", action="store_true", help="give the library the template")
    parser.add_argument("--report", action="store_true", help="print the rounds of each answer that is not equal")
    chosen = parser.parse_args()
    rows = [
        "| Engine | Endpoint | Template | Caps | Answers | Equal | To the letter | Stopped, and said so | Silent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    silent = 0
    for engine, template in itertools.product(chosen.engine or ENGINES, chosen.template or TEMPLATES):
        several = chosen.caps or CAPS[engine]
        endpoints = [endpoint for endpoint in ENDPOINTS[engine] if endpoint in (chosen.endpoint or ENDPOINTS[engine])]
        asking = {
            "asked": questions(template)[: chosen.prompts],
            "ways": chosen.way or WAYS,
            "raw": chosen.raw,
            "jobs": chosen.jobs,
            "reports": chosen.report,
        }
        if not endpoints:
            continue
        with server(engine, template) as url:
            for endpoint in endpoints:
                began = time.monotonic()
                tally = sweep(url, engine, template, several, endpoint=endpoint, **asking)
                seconds = time.monotonic() - began
                print(f"{engine}, {endpoint}, {template}: {seconds:.0f} s, {tally.equal} of {tally.asked} equal")
                show(tally)
                silent += len(tally.silent)
                spread = f"{len(several)} from {several[0]} to {several[-1]}"
                counted = f"{tally.equal} | {tally.to_the_letter} | {len(tally.stopped)} | {len(tally.silent)}"
                rows.append(f"| {engine} | {endpoint} | {template} | {spread} | {tally.asked} | {counted} |")
    print("\n".join(rows))
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
