"""
Batches of many kinds of lines, run on the emulator's model until nothing is left to ask.

    python -m tests.measure.batches                 # the table; --lines 20 for each kind
    python -m tests.measure.batches --large 3000    # the time and the memory of one command, by lines of 64 kB

An answer is equal if text, thoughts, tool calls, logprobs and finish reason of each choice are those of a server without
a cap.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai_continue.testing import Habits
from tests.support.answers import Answer, Json
from tests.support.batches import Batch, Change, answer, line
from tests.support.bodies import ask
from tests.support.engine import AWKWARD, Engine
from tests.support.servers import SERVERS, Kind

CAPS = range(30, 80)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}}  # fmt: skip
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
LLAMA = Habits(grammar_follows=True, echo="unflagged", usage="asked")
TEXTS = {"deepinfra": Habits(), "vllm": SERVERS["vllm"].habits, "sglang": SERVERS["sglang"].habits}


@dataclass(frozen=True)
class Lines:
    """A kind of lines: one for each number, and the server of each."""

    name: str
    body: Callable[[int], Json]
    engine: Callable[[int, int], Engine]
    provider: str = "deepinfra"
    environment: tuple[tuple[str, str], ...] = ()
    choices: int = 1
    change: Change | None = None


def chats(name: str, kind: Kind) -> Lines:
    """Return the lines for a kind of server."""
    trims = () if kind.trims is None else (("OPENAI_CONTINUE_TRIMS", str(int(kind.trims))),)
    return Lines(
        f"chats, {name}",
        lambda number: kind.ask(f"Question {number}: 150 tokens", temperature=0),
        lambda _, cap: Engine(habits=kind.habits, cap=kind.pattern(cap)),
        kind.provider,
        trims,
    )


def question(number: int, **fields: Any) -> Json:
    return ask(f"Question {number}: 150 tokens", **fields)


def plain(_: int, cap: int) -> Engine:
    return Engine(cap=cap)


def awkward(number: int, cap: int) -> Engine:
    return Engine(AWKWARD[number % len(AWKWARD)] * 8, cap=cap)


def middle(number: int) -> str:
    """Return eight characters of an answer, which some cap cuts."""
    return Engine().uncapped(question(number)).text[250:258]


def document(number: int) -> str:
    return json.dumps({"number": number, "items": [{"id": each, "text": "x y"} for each in range(12)]})


def unreliable(seed: int) -> Change:
    """Return what makes a third of the lines fail for now, never more than twice in a row."""
    failed: dict[str, int] = {}
    generator = random.Random(seed)
    expired = {"code": "batch_expired", "message": "expired"}

    def change(name: str, one: Json) -> Json | None:
        if failed.get(name, 0) < 2 and generator.random() < 0.33:
            failed[name] = failed.get(name, 0) + 1
            kinds = [
                None,
                {**one, "response": None, "error": expired},
                answer(name, {"error": {"message": "busy"}}, 503),
            ]
            return generator.choice(kinds)
        failed[name] = 0
        return one

    return change


KINDS = [
    *(chats(name, SERVERS[name]) for name in ("deepinfra", "vllm", "vllm, trimming", "sglang", "llama.cpp", "mistral")),
    *(chats(name, SERVERS[name]) for name in ("moonshot", "deepseek, thinking")),
    Lines("chats, awkward texts", question, awkward),
    Lines("chats of three choices", lambda number: question(number, n=3), plain, choices=3),
    Lines("chats with a stop string", lambda number: question(number, stop=[middle(number)]), plain),
    Lines("chats with logprobs", lambda number: question(number, logprobs=True), plain),
    Lines("JSON by a schema (llama.cpp)", lambda number: question(number, response_format=SCHEMA),
          lambda number, cap: Engine(document(number), habits=LLAMA, cap=cap), "llama.cpp"),
    Lines("tool calls (vLLM, hermes)",
          lambda number: ask(f"Please call the tool with {60 + number} tokens.", model="Qwen/Qwen3-32B", tools=[TOOL]),
          lambda _, cap: Engine(habits=SERVERS["vllm"].habits, cap=cap), "vllm",
          (("OPENAI_CONTINUE_CONTINUE_TOOL_CALLS", "1"),)),
    *(
        Lines(f"text completions, {name}", lambda number: {"model": "m", "prompt": f"Tale {number}: ", "max_tokens": 400},
              lambda _, cap, habits=habits: Engine(habits=habits, cap=cap), name)
        for name, habits in TEXTS.items()
    ),
    Lines("text completions of two prompts, two choices each",
          lambda number: {"model": "m", "prompt": [f"Tale {number}: ", f"Song {number}: "], "n": 2}, plain, choices=4),
    Lines("chats, a third of the answers missing, expired or 503", question, plain, change=unreliable(1)),
]  # fmt: skip


def row(kind: Lines, count: int) -> tuple[str, bool]:
    """Run the lines of a kind; return the row of the table, and whether all are equal."""
    numbers = {f"{number}": number for number in range(count)}
    bodies = {name: kind.body(number) for name, number in numbers.items()}
    engines = {name: kind.engine(number, CAPS[number % len(CAPS)]) for name, number in numbers.items()}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ.update(kind.environment)
        batch = Batch(
            Path(folder), [line(name, body) for name, body in bodies.items()], engines, "--provider", kind.provider
        )
        _, joined = batch.finish(kind.change)
        for variable, _ in kind.environment:
            del os.environ[variable]
    answers = {one["custom_id"]: one["response"]["body"] for one in joined}
    tally = dict.fromkeys(("equal", "said", "silent"), 0)
    for name, body in bodies.items():
        tally[_compare(answers[name], [engines[name].uncapped(body, index) for index in range(kind.choices)])] += 1
    rounds = sum(len(one.get("continuation", {}).get("rounds", [0])) for one in answers.values())
    cells = (kind.name, count, rounds, len(batch.ran), tally["equal"], tally["said"], tally["silent"])
    return f"| {' | '.join(map(str, cells))} |", tally["silent"] == 0


def _compare(got: Json, expected: list[Answer]) -> str:
    found = [Answer.of_completion(got, index) for index in range(len(expected))]
    if [_shown(one) for one in found] == [_shown(one) for one in expected]:
        return "equal"
    return "said" if any(one.finish_reason == "length" and one.report for one in found) else "silent"


def _shown(one: Answer) -> tuple[Any, ...]:
    calls = [{**call, "id": None} for call in one.tool_calls]
    return one.text, one.thoughts, one.finish_reason, calls, one.spelled


def measure_large(count: int) -> None:
    """Print the time and the peak of memory of ``batch next`` and ``batch join`` on large files, in their own processes."""
    dice = random.Random(1)
    text = "".join(f"word{dice.randrange(10**6)} " for _ in range(6_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {each: str(folder / each) for each in ("input", "output", "next", "join")}
        cut = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}]}
        with (
            open(files["input"], "w", encoding="utf-8") as requests,
            open(files["output"], "w", encoding="utf-8") as answers,
        ):
            for number in range(count):
                requests.write(json.dumps(line(f"line-{number}", ask(str(number)))) + "\n")
                answers.write(json.dumps(answer(f"line-{number}", {**cut, "model": "m"})) + "\n")
        for part in ("next", "join"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            words = ["batch", part, files["input"], files["output"], "-o", files[part]]
            subprocess.run([sys.executable, "-m", "openai_continue", *words], stdout=subprocess.DEVNULL, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = Path(files["output"]).stat().st_size / 2**20
            print(
                f"{part}: {count} lines, {size:.0f} MB, {seconds:.1f} s of CPU time, peak {after.ru_maxrss / 1024:.0f} MB"
            )


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--large", type=int, metavar="LINES")
    chosen = parser.parse_args()
    if chosen.large is not None:
        measure_large(chosen.large)
        return 0
    print(
        "| Lines | Count | Rounds | Batches | Equal | Stopped, and reported | Silent |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    is_good = True
    for kind in KINDS:
        shown, good = row(kind, chosen.lines)
        print(shown, flush=True)
        is_good = is_good and good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
