"""
How often continued tool calls equal the uncapped ones, on real engines with a model that writes files.

    python tests/measure/engine/call_sweep.py                 # both engines and both syntaxes
    python tests/measure/engine/call_sweep.py --engine vllm --syntax coder --caps 16 64 --prompts 2 --report

Each prompt is asked at each cap in four ways, with ``continue_tool_calls=True`` and temperature 0; with ``--endpoint
responses`` in two. The model's answers are known (``call_texts.py``). Prints a Markdown table, and every answer that is not equal. An answer is equal if its
text, the names of its calls and the values of their arguments are; it is equal to the letter if the arguments are the
same JSON text, too. The exit code is 1 if an answer is neither equal nor stopped with a report.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import openai_continue
from openai_continue import Continuation

sys.path.insert(0, str(Path(__file__).resolve().parent))

import call_texts
import response_texts
import servers
from sweep import ENDPOINTS, ENGINES, difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

WAYS = ("whole", "streamed", "async whole", "async streamed")
#: Numbers whose files the model writes without a mistake, on both engines. It knows all 90, but two files in XML only
#: from 21 to 27 and from 51 to 57.
FIRST = {"one": (7, 63), "with text": (5, 41), "two": (24, 57)}
CAPS = {"llama.cpp": (5, 8, 13, 16, 23, 33, 64, 101, 200, 400), "vllm": (16, 64, 200)}
#: Tokens of an uncapped answer. The longest has some 800.
ENOUGH = 1200
SETTINGS: dict[str, Any] = {"continue_tool_calls": True}


@dataclass(frozen=True)
class Answer:
    """One answer, whole or streamed."""

    text: str
    #: The name and the arguments of each call.
    calls: tuple[tuple[str, str], ...]
    finish_reason: str | None
    #: What the library reports: ``continuation`` of the merged answer.
    report: dict[str, Any]
    #: What is wrong with the form of its calls, if anything.
    fault: str = ""

    @property
    def values(self) -> tuple[str, tuple[tuple[str, object], ...], str | None]:
        """What is compared: blanks around the text and the spelling of the JSON do not count."""
        calls = tuple((name, values_of(arguments)) for name, arguments in self.calls)
        return self.text.strip(), calls, self.finish_reason


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
    other: list[str] = field(default_factory=list)


def prompts(syntax: str) -> list[str]:
    """Return the prompts of a syntax, the shortest answers first."""
    found = []
    for kind, numbers in FIRST.items():
        for first in numbers:
            one, with_text, two = (p for p, (own, _) in call_texts.prompts(first).items() if own == syntax)
            found.append({"one": one, "with text": with_text, "two": two}[kind])
    return sorted(found, key=lambda prompt: len(right(prompt)))


def right(prompt: str) -> str:
    """Return what the model writes for a prompt."""
    first = int(prompt.rsplit(maxsplit=1)[-1].rstrip("."))
    return call_texts.prompts(first)[prompt][1]


def sweep(
    base_url: str,
    provider: str,
    syntax: str,
    several: Sequence[int],
    *,
    asked: Iterable[str] | None = None,
    ways: Iterable[str] = WAYS,
    endpoint: str = "chat",
    jobs: int = 1,
    raw: bool = False,
    reports: bool = False,
) -> Tally:
    """
    Ask for every prompt at every cap in every way.

    ``jobs``: how many answers are asked for at a time. ``raw``: whether the library knows the chat template.
    """
    tally = Tally()
    settings = {**SETTINGS, "template": str(servers.CALLS_FILES / f"template_{syntax}.jinja.txt")} if raw else SETTINGS
    base = Continuation(provider=provider, max_rounds=4 * ENOUGH, **settings)

    def answers(place: tuple[str, str]) -> list[tuple[Answer, Answer, str]]:
        return _answers(base_url, base, endpoint, servers.CALLS_MODELS[syntax], *place, several, reports=reports)

    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(answers, itertools.product(prompts(syntax) if asked is None else asked, ways)):
            for truth, answer, where in found:
                count(tally, truth, answer, where)
    return tally


def _answers(
    base_url: str,
    base: Continuation,
    endpoint: str,
    model: str,
    prompt: str,
    way: str,
    several: Sequence[int],
    *,
    reports: bool,
) -> list[tuple[Answer, Answer, str]]:
    """Return for each cap the right answer of this way, the answer, and where it is."""
    truth = ask(way, base_url, _request(endpoint, model, prompt, ENOUGH), None)
    known = call_texts.calls_in(right(prompt))
    if truth.values[1:] != (tuple((name, values) for name, values in known), "tool_calls"):
        msg = f"{prompt!r}: the model does not know it any more; it answers {truth}"
        raise RuntimeError(msg)
    # What is written twice at seams counts.
    request = _request(endpoint, model, prompt, 3 * ENOUGH)
    found = []
    for cap in several:
        answer = ask(way, base_url, request, replace(base, round_tokens=cap))
        where = f"{prompt!r}, cap {cap}, {way}, {answer.report.get('stopped_by')}, {answer.finish_reason}: "
        where += differences(truth, answer) + (f"\n{json.dumps(answer.report)}" if reports else "")
        found.append((truth, answer, where))
    return found


def _request(endpoint: str, model: str, prompt: str, most: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "temperature": 0}
    if endpoint == "responses":
        tools = [{"type": "function", **tool["function"]} for tool in call_texts.TOOLS]
        return {**asked, "input": prompt, "tools": tools, "max_output_tokens": most}
    messages = [{"role": "user", "content": prompt}]
    return {**asked, "messages": messages, "tools": call_texts.TOOLS, "max_tokens": most}


def count(tally: Tally, truth: Answer, answer: Answer, where: str) -> None:
    """Put one answer into its class."""
    tally.asked += 1
    if answer.values == truth.values and not answer.fault:
        tally.equal += 1
        tally.to_the_letter += (answer.text, answer.calls) == (truth.text, truth.calls)
    elif answer.finish_reason == "length" and answer.report.get("stopped_by"):
        tally.stopped.append(where)
    else:
        tally.other.append(where)


def ask(way: str, base_url: str, request: dict[str, Any], settings: Continuation | None) -> Answer:
    """Ask in one way, without the library if ``settings`` is None."""
    options: dict[str, Any] = {"base_url": base_url, "api_key": "none"}
    if way.startswith("async"):
        return asyncio.run(_ask_async(way, options, request, settings))
    sync: openai.OpenAI = (
        openai_continue.OpenAI(**options, continuation=settings) if settings else openai.OpenAI(**options)
    )
    with sync as client:
        if "input" in request:
            asked: Any = client.responses.create(**request, stream=way == "streamed")
            read = (response_texts.whole if way == "whole" else response_texts.joined)(asked)
            return Answer(read.text, read.calls, read.finish_reason, read.report)
        if way == "whole":
            return whole(client.chat.completions.create(**request))
        with client.chat.completions.create(**request, stream=True) as stream:
            return joined(list(stream))


async def _ask_async(
    way: str, options: dict[str, Any], request: dict[str, Any], settings: Continuation | None
) -> Answer:
    client: openai.AsyncOpenAI = (
        openai_continue.AsyncOpenAI(**options, continuation=settings) if settings else openai.AsyncOpenAI(**options)
    )
    async with client:
        if way == "async whole":
            return whole(await client.chat.completions.create(**request))
        async with await client.chat.completions.create(**request, stream=True) as stream:
            return joined([chunk async for chunk in stream])


def whole(completion: Any) -> Answer:
    """Read a whole answer."""
    choice = completion.choices[0]
    calls = choice.message.tool_calls or []
    report: dict[str, Any] = (completion.model_extra or {}).get("continuation") or {}
    fault = "" if len({call.id for call in calls if call.id}) == len(calls) else "ids are missing or twice"
    names = tuple((call.function.name, call.function.arguments) for call in calls)
    return Answer(choice.message.content or "", names, choice.finish_reason, report, fault)


def joined(chunks: Iterable[Any]) -> Answer:
    """Read a stream, as the SDK's own helper joins the deltas of calls: by index."""
    text, end, fault = "", None, ""
    report: dict[str, Any] = {}
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        report = (chunk.model_extra or {}).get("continuation") or report
        for choice in chunk.choices:
            text += choice.delta.content or ""
            end = choice.finish_reason or end
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["name"] += (delta.function and delta.function.name) or ""
                call["arguments"] += (delta.function and delta.function.arguments) or ""
    if list(calls) != list(range(len(calls))):
        fault = f"the indexes are {list(calls)}"
    if len({call["id"] for call in calls.values() if call["id"]}) != len(calls):
        fault = "ids are missing or twice"
    return Answer(text, tuple((call["name"], call["arguments"]) for call in calls.values()), end, report, fault)


def values_of(arguments: str) -> object:
    """Return the values of a call's arguments, or the text if it is not JSON."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def differences(truth: Answer, answer: Answer) -> str:
    """Show what is not equal."""
    found = [answer.fault] if answer.fault else []
    if answer.text != truth.text:
        found.append(f"text {difference(truth.text, answer.text)}")
    if [name for name, _ in answer.calls] != [name for name, _ in truth.calls]:
        found.append(f"calls {[name for name, _ in answer.calls]}")
    found += [
        f"arguments {difference(right, got)}"
        for (_, right), (_, got) in zip(truth.calls, answer.calls, strict=False)
        if right != got
    ]
    return "; ".join(found) or "equal to the letter"


def server(engine: str, syntax: str) -> AbstractContextManager[str]:
    """Start an engine with the model that writes calls."""
    start = servers.llama_server if engine == "llama.cpp" else servers.vllm
    return start(model=servers.CALLS_MODELS[syntax], max_model_len=8192)


def main() -> int:
    """Sweep and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--syntax", choices=sorted(call_texts.SYNTAXES), action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--endpoint", choices=ENDPOINTS["vllm"], default="chat")
    parser.add_argument("--caps", type=int, nargs="+", help="the caps to ask at, in tokens")
    parser.add_argument("--prompts", type=int, help="how many of the prompts")
    parser.add_argument("--jobs", type=int, default=1, help="answers asked at a time: more tokens a second on vLLM")
    parser.add_argument("--raw", action="store_true", help="give the library the template")
    parser.add_argument("--report", action="store_true", help="print the rounds of each answer that is not equal")
    chosen = parser.parse_args()
    rows = [
        "| Engine | Endpoint | Syntax | Caps | Answers | Equal | To the letter | Stopped, and said so | Other |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    other = 0
    for engine, syntax in itertools.product(chosen.engine or ENGINES, chosen.syntax or call_texts.SYNTAXES):
        several = chosen.caps or CAPS[engine]
        began = time.monotonic()
        with server(engine, syntax) as url:
            tally = sweep(
                url,
                engine,
                syntax,
                several,
                asked=prompts(syntax)[: chosen.prompts],
                ways=chosen.way or WAYS[: 2 if chosen.endpoint == "responses" else None],
                endpoint=chosen.endpoint,
                jobs=chosen.jobs,
                raw=chosen.raw,
                reports=chosen.report,
            )
        print(f"{engine}, {syntax}: {time.monotonic() - began:.0f} s")
        for line in (*(f"stopped: {each}" for each in tally.stopped), *(f"OTHER: {each}" for each in tally.other)):
            print(f"  {line}", flush=True)
        other += len(tally.other)
        spread = f"{len(several)} from {several[0]} to {several[-1]}"
        counted = f"{tally.asked} | {tally.equal} | {tally.to_the_letter} | {len(tally.stopped)} | {len(tally.other)}"
        rows.append(f"| {engine} | {chosen.endpoint} | {syntax} | {spread} | {counted} |")
    print("\n".join(rows))
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
