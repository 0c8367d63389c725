"""
How often a continued answer equals the uncapped one, on real engines and two models at temperature 0.

    python tests/measure/engine/sweep.py                      # every engine, model and template
    python tests/measure/engine/sweep.py --engine llama.cpp --model chat --template plain --caps 8 64 --prompts 3 --report

Each prompt is asked at each cap, whole and streamed, with the default settings, by chats, and on vLLM by responses too
(``--endpoint``). Prints a Markdown table, and every
answer that is not equal: the place where it differs, and with ``--report`` its rounds. The exit code is 1 if an answer
differs and no report says so, or if one was taken for a restart.
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

ENGINES = ("llama.cpp", "vllm")
#: Where an engine is asked. llama-server calls every response completed, so those are not continued.
ENDPOINTS = {"llama.cpp": ("chat",), "vllm": ("chat", "responses")}
PROMPTS = {
    # Most end by themselves, after 240 to 330 tokens. After thoughts the model begins the whole list instead.
    servers.MODEL: ("List items from 293.", "List items from 290.", "JSON items from 40."),
    servers.CHAT_MODEL: (
        "Write an HTML page with a login form: e-mail, password, a button.",
        "Write a Python function that parses a CSV file, with a docstring and an example.",
        "Write a JavaScript function that sorts an array of objects by a key.",
        "Write a C program that counts the words in a file.",
        "Give me a JSON array of three books with title, author, year and tags, indented.",
        "Make a Markdown table of the planets with diameter, moons and distance.",
        "Write a CSV file with ten employees: id, name, department, salary.",
        "List ten ideas for a rainy day, each with an emoji.",
        "Write a short story about a lighthouse keeper, with dialogue.",
        "写一段关于长城的介绍。",
        "Расскажи о Москве.",
        "Write a recipe for pancakes with a list of ingredients and numbered steps.",
        "Write a poem of four stanzas about the sea.",
        "Explain how TCP works, with headings and bullet points.",
    ),
}
#: Tokens of an uncapped answer; the longest of the test model's are shorter.
ENOUGH = {servers.MODEL: 400, servers.CHAT_MODEL: 300}
TEMPLATES = {servers.MODEL: ("plain", "trim", "r1rc"), servers.CHAT_MODEL: ("plain", "trim")}
#: Tokens a second on two cores: llama-server makes 5,000 with the test model, vLLM 75; with the chat model 40 and 20.
CAPS = {
    ("llama.cpp", servers.MODEL): 60,
    ("vllm", servers.MODEL): 7,
    ("llama.cpp", servers.CHAT_MODEL): (8, 16, 23, 64, 101, 200),
    ("vllm", servers.CHAT_MODEL): (16, 64),
}


@dataclass
class Tally:
    """What came of a sweep."""

    asked: int = 0
    equal: int = 0
    #: The beginning of the right text, and the answer says that it is cut.
    stopped: list[str] = field(default_factory=list)
    #: Another text, or one that ends too early, and nothing says so.
    silent: list[str] = field(default_factory=list)
    #: Answers that were taken for restarts. No server of a sweep begins again.
    alarms: int = 0


@dataclass(frozen=True)
class Right:
    """The answer in one piece."""

    text: str
    #: Whether it goes on after this text.
    is_cut: bool


@dataclass(frozen=True)
class Answer:
    """One answer, whole or streamed."""

    text: str
    finish_reason: str | None
    #: What the library reports: ``continuation`` of the merged answer.
    report: dict[str, Any]


def caps(number: int) -> list[int]:
    """Return caps from 5 upward: every one at first, then ever wider apart."""
    found = [5]
    while len(found) < number:
        found.append(max(found[-1] + 1, round(found[-1] * 1.03) if number > 20 else round(found[-1] * 1.7)))
    return found


def caps_of(engine: str, model: str) -> Sequence[int]:
    """Return the caps of a whole sweep."""
    found = CAPS[engine, model]
    return caps(found) if isinstance(found, int) else found


def sweep(
    base_url: str,
    provider: str,
    several: Iterable[int],
    *,
    model: str = servers.MODEL,
    endpoint: str = "chat",
    prompts: Iterable[str] | None = None,
    settings: Continuation | None = None,
    reports: bool = False,
    jobs: int = 1,
) -> Tally:
    """
    Ask for every prompt at every cap, whole and streamed.

    ``settings``: the default ones if None. ``jobs``: how many answers are asked for at a time.
    """
    tally = Tally()
    base = dataclasses.replace(settings or Continuation(), provider=provider, max_rounds=4 * ENOUGH[model])
    asked = list(PROMPTS[model] if prompts is None else prompts)

    def answer(place: tuple[tuple[str, Right], int, str]) -> tuple[Right, Answer, str]:
        (prompt, right), cap, way = place
        # What is written twice at seams counts, so that the limit leaves room for it; the beginning is compared.
        request = _request(endpoint, model, prompt, 2 * ENOUGH[model])
        capped = dataclasses.replace(base, round_tokens=cap)
        with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=capped) as client:
            found = whole(client, request) if way == "whole" else streamed(client, request, right)
        where = f"{prompt!r}, cap {cap}, {way}, {found.report.get('stopped_by')}: "
        where += difference(right.text, found.text) + (f"\n{json.dumps(found.report)}" if reports else "")
        return right, found, where

    with ThreadPoolExecutor(jobs) as pool:
        rights = list(pool.map(lambda prompt: uncapped(base_url, endpoint, model, prompt), asked))
        places = itertools.product(zip(asked, rights, strict=True), several, ("whole", "streamed"))
        for right, found, where in pool.map(answer, places):
            count(tally, right, found, where)
    return tally


def uncapped(base_url: str, endpoint: str, model: str, prompt: str) -> Right:
    """Ask for an answer in one piece, without the library."""
    with openai.OpenAI(base_url=base_url, api_key="none") as plain:
        answer = whole(plain, _request(endpoint, model, prompt, ENOUGH[model]))
    return Right(answer.text, is_cut=answer.finish_reason == "length")


def _request(endpoint: str, model: str, prompt: str, most: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "temperature": 0}
    if endpoint == "responses":
        return {**asked, "input": prompt, "max_output_tokens": most}
    return {**asked, "messages": [{"role": "user", "content": prompt}], "max_tokens": most}


def count(tally: Tally, right: Right, answer: Answer, where: str) -> None:
    """Put one answer into its class."""
    tally.asked += 1
    truth = right.text
    tally.alarms += answer.report.get("stopped_by") == "restart"
    if answer.text.startswith(truth) if right.is_cut else (answer.text == truth and answer.finish_reason == "stop"):
        tally.equal += 1
    elif truth.startswith(answer.text) and answer.finish_reason == "length":
        tally.stopped.append(where)
    else:
        tally.silent.append(where)


def whole(client: openai.OpenAI, request: dict[str, Any]) -> Answer:
    """Ask for a whole answer: a response, if the request has an input."""
    if "input" in request:
        return _answer(response_texts.whole(client.responses.create(**request)))
    completion = client.chat.completions.create(**request)
    choice = completion.choices[0]
    report: dict[str, Any] = (completion.model_extra or {}).get("continuation") or {}
    return Answer(text_of(choice.message), choice.finish_reason, report)


def streamed(client: openai.OpenAI, request: dict[str, Any], right: Right | None = None) -> Answer:
    """Ask for a stream. It is left where the right answer is cut, if it is."""
    if "input" in request:
        with client.responses.create(**request, stream=True) as events:
            return _answer(response_texts.joined(events, len(right.text) if right and right.is_cut else None))
    text, end, report = "", None, {}
    with client.chat.completions.create(**request, stream=True) as stream:
        for chunk in stream:
            report = (chunk.model_extra or {}).get("continuation") or report
            for choice in chunk.choices:
                text += text_of(choice.delta)
                end = choice.finish_reason or end
            if right is not None and right.is_cut and len(text) > len(right.text):
                break
    return Answer(text, end, report)


def _answer(read: response_texts.Read) -> Answer:
    return Answer(read.thoughts + read.text, read.finish_reason, read.report)


def server(engine: str, template: str, model: str = servers.MODEL) -> AbstractContextManager[str]:
    """Start an engine with a model and a chat template."""
    most = 8192 if model == servers.CHAT_MODEL else 16384
    start = servers.llama_server if engine == "llama.cpp" else servers.vllm
    return start(template, model=model, max_model_len=most)


def trims(engine: str, template: str) -> bool:
    """Whether the text that is sent back is trimmed. llama-server appends it as it is, whatever the template."""
    return template == "trim" and engine == "vllm"


def text_of(message: Any) -> str:
    """Return thoughts and answer of a message or delta."""
    thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
    return thoughts + (message.content or "")


def difference(truth: str, text: str) -> str:
    """Show where two texts part."""
    place = next((i for i, (a, b) in enumerate(zip(truth, text, strict=False)) if a != b), min(len(truth), len(text)))
    start = max(place - 24, 0)
    return f"at {place} of {len(truth)}: {truth[start : place + 16]!r} became {text[start : place + 16]!r}"


def show(tally: Tally) -> None:
    """Print every answer that is not equal."""
    for line in (*(f"stopped: {each}" for each in tally.stopped), *(f"SILENT: {each}" for each in tally.silent)):
        print(f"  {line}", flush=True)


def main() -> int:
    """Sweep and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--model", choices=sorted(PROMPTS), action="append")
    parser.add_argument("--template", choices=TEMPLATES[servers.MODEL], action="append")
    parser.add_argument("--endpoint", choices=ENDPOINTS["vllm"], action="append")
    parser.add_argument("--caps", type=int, nargs="+", help="the caps to ask at, in tokens")
    parser.add_argument("--prompts", type=int, help="how many of the prompts")
    parser.add_argument("--jobs", type=int, default=1, help="answers asked at a time: more tokens a second on vLLM")
    parser.add_argument("--trims", action="store_true", help="tell the library that the template trims")
    parser.add_argument("--report", action="store_true", help="print the rounds of each answer that is not equal")
    chosen = parser.parse_args()
    rows = [
        "| Engine | Endpoint | Model | Template | Caps | Answers | Equal | Stopped, and said so | Silent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    silent = alarms = 0
    for engine, model in itertools.product(chosen.engine or ENGINES, chosen.model or sorted(PROMPTS)):
        several = chosen.caps or caps_of(engine, model)
        asking = {
            "model": model,
            "prompts": PROMPTS[model][: chosen.prompts],
            "settings": Continuation(trims=True) if chosen.trims else None,
            "reports": chosen.report,
            "jobs": chosen.jobs,
        }
        endpoints = [endpoint for endpoint in ENDPOINTS[engine] if endpoint in (chosen.endpoint or ENDPOINTS[engine])]
        templates = [template for template in TEMPLATES[model] if template in (chosen.template or TEMPLATES[model])]
        for template in templates if endpoints else ():
            with server(engine, template, model) as url:
                for endpoint in endpoints:
                    began = time.monotonic()
                    tally = sweep(url, engine, several, endpoint=endpoint, **asking)
                    print(f"{engine}, {endpoint}, {model}, {template}: {time.monotonic() - began:.0f} s")
                    show(tally)
                    silent += len(tally.silent)
                    alarms += tally.alarms
                    spread = f"{len(several)} from {several[0]} to {several[-1]}"
                    counted = f"{tally.asked} | {tally.equal} | {len(tally.stopped)} | {len(tally.silent)}"
                    rows.append(f"| {engine} | {endpoint} | {model} | {template} | {spread} | {counted} |")
    print("\n".join(rows))
    print(f"taken for a restart: {alarms}")
    return 1 if silent or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
