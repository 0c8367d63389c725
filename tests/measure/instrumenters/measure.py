"""
Measures whether the library and the instrumenters that patch the same SDK work together; prints a Markdown table.

    python tests/measure/instrumenters/measure.py             # all of them
    python tests/measure/instrumenters/measure.py sentry mlflow

Run it from a checkout installed with ``pip install -e '.[test]'``, with uv on the PATH. Each instrumenter gets its own
virtual environment, with this checkout as a wheel. The environments are kept in
``~/.cache/openai-continue/instrumenters``, and each run installs only the wheel again: delete that folder to get the
newest versions. Spans stay in memory and the server is the emulator, so nothing leaves loopback.
The last line is about recipe.py, which notes a span event for each round.

Exits with 1 if a cell says no.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai_continue.testing import Emulator, Habits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CACHE = Path.home() / ".cache" / "openai-continue" / "instrumenters"
INSTALL_SECONDS, CHECK_SECONDS = 900, 300
#: An answer of this prompt takes four rounds.
CAP, TOKENS, ROUNDS = 48, 180, 4
BODY = {"model": "m", "messages": [{"role": "user", "content": "Instrumented."}]}
INPUT = {"model": "m", "input": "Instrumented."}
COLUMNS = (
    "Instrumenter",
    "openai",
    "Right text, installed before us",
    "… after us",
    "Spans of one call",
    "Spans of one response",
    "The span of a response has",
    "Its uninstall leaves us working",
    "Our `unpatch()` leaves it working",
)
#: The recipe runs in the environment of this instrumenter.
RECIPE_ON = "genai-openai"
WAYS = ("sync", "sync stream", "async", "async stream")
RESPONSES = ("response", "response stream", "async response", "async response stream")


@dataclass(frozen=True)
class Instrumenter:
    """The packages of one row."""

    #: The distribution, whose version the table shows.
    distribution: str
    #: Other packages that its environment needs.
    more: tuple[str, ...] = ()


INSTRUMENTERS = {
    "openai-v2": Instrumenter(
        "opentelemetry-instrumentation-openai-v2",
        # 2.4b0 imports what newer ones of util-genai no longer have, and httpx, which openai 3 no longer brings.
        ("opentelemetry-sdk", "opentelemetry-util-genai<1", "httpx"),
    ),
    "genai-openai": Instrumenter("opentelemetry-instrumentation-genai-openai", ("opentelemetry-sdk",)),
    "openinference": Instrumenter("openinference-instrumentation-openai", ("opentelemetry-sdk",)),
    "logfire": Instrumenter("logfire"),
    "langfuse": Instrumenter("langfuse"),
    "langsmith": Instrumenter("langsmith"),
    "sentry": Instrumenter("sentry-sdk"),
    "ddtrace": Instrumenter("ddtrace"),
    "mlflow": Instrumenter("mlflow"),
    "traceloop": Instrumenter("opentelemetry-instrumentation-openai", ("opentelemetry-sdk",)),
}


def run(command: list[str], seconds: float, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **options)


def must(command: list[str], seconds: float = INSTALL_SECONDS) -> str:
    done = run(command, seconds)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    must(["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def python_with(name: str, wheel: Path) -> Path:
    """Return the Python of an instrumenter's environment, made if it is missing, with the wheel installed."""
    this = INSTRUMENTERS[name]
    home = CACHE / name
    python = home / "bin" / "python"
    wanted = ["openai>=1.92,<4", "wrapt>=1.17,<3", this.distribution, *this.more]
    finished = home / "finished"
    mark = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    if not finished.exists() or finished.read_text() != mark:
        shutil.rmtree(home, ignore_errors=True)
        must(["uv", "venv", "--quiet", "--python", sys.executable, str(home)])
        # Instrumenters of OpenTelemetry have never had a final release.
        prerelease = ["--prerelease", "if-necessary-or-explicit"]
        must(["uv", "pip", "install", "--quiet", "--python", str(python), *prerelease, *wanted])
        finished.write_text(mark)
    fresh = ["--no-deps", "--reinstall-package", "openai-continue"]
    must(["uv", "pip", "install", "--quiet", "--python", str(python), *fresh, str(wheel)])
    return python


def version(python: Path, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return must([str(python), "-c", code], CHECK_SECONDS).strip()


Ways = dict[str, dict[str, Any]]


def checked(python: Path, script: str, *arguments: str, base_url: str) -> dict[str, Any]:
    """Run a check; return its result, or ``{"crash": ...}`` if it failed."""
    what = json.dumps({"base_url": base_url, "body": BODY, **({"input": INPUT} if script == "check.py" else {})})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    command = [str(python), str(HERE / script), *arguments]
    try:
        done = run(command, CHECK_SECONDS, input=what, env=environment)
    except subprocess.TimeoutExpired:
        return {"crash": f"more than {CHECK_SECONDS} s"}
    if done.returncode:
        return {"crash": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def faults(ways: Ways, text: str, *, whole: bool) -> str:
    """
    Return what is wrong with the answers; "" if nothing is.

    ``whole``: they must be the whole text; else they must be the SDK's own, truncated.
    """
    found: list[str] = []
    for name, way in ways.items():
        if whole:
            good = (way["text"], way["finish"], way["continued"]) == (text, "stop", True)
        else:
            good = way["finish"] == "length" and text.startswith(way["text"]) and not way["continued"]
        if not good:
            found.append(f"{name}: {way['error'] or 'truncated' * whole or 'not as without us'}")
    return "; ".join(found)


def spans(ways: Ways, names: tuple[str, ...] = WAYS) -> str:
    """Return the spans of one call: sync / sync stream / async / async stream, or one number if all are equal."""
    counts = [str(len(ways[name]["spans"])) for name in names]
    return counts[0] if len(set(counts)) == 1 else " / ".join(counts)


def shown(way: dict[str, Any]) -> list[str]:
    """Return what the spans of a response have of it: the sum of its output tokens, and its text up to the end."""
    end = way["text"][-12:]
    # Some put JSON into their attributes.
    has_text = any(form in way["said"] for form in (end, json.dumps(end)[1:-1], json.dumps(json.dumps(end))[3:-3]))
    has_usage = re.search(rf"\b{way['tokens']}\b", way["said"])
    return ["usage"] * bool(has_usage) + ["text"] * has_text


def of_responses(ways: Ways, alone: Ways) -> tuple[str, str]:
    """Return the spans of one response, one or as many as without us, and what they have of it, no less than then."""
    counts, as_alone = spans(ways, RESPONSES), spans(alone, RESPONSES)
    # Some have no span of a response that is cut.
    if any(len(ways[name]["spans"]) not in {1, len(alone[name]["spans"])} for name in RESPONSES):
        counts = f"no: {counts}, {as_alone} without us"
    missing = [name for name in RESPONSES if set(shown(alone[name])) - set(shown(ways[name]))]
    has = list(dict.fromkeys(" and ".join(shown(ways[name])) or "neither" for name in RESPONSES))
    return counts, f"no: less than without us: {', '.join(missing)}" if missing else " / ".join(has)


def row(name: str, python: Path, text: str, base_url: str) -> tuple[str, bool]:
    """Measure one instrumenter; return its row, and whether all is well."""
    check = functools.partial(checked, python, "check.py", name, base_url=base_url)
    this = INSTRUMENTERS[name]
    title = f"{this.distribution} {version(python, this.distribution)} | {version(python, 'openai')}"
    alone = check("alone", "uninstall")
    if "crash" in alone:
        return f"| {title} | no: it does not work without us: {alone['crash']} | | | | | | |", False
    cells: dict[str, list[str]] = {name: [] for name in ("text", "spans", "responses", "shown", "uninstall", "unpatch")}
    for order in ("before", "after"):
        unpatch = check(order, "unpatch")
        if "crash" in unpatch:
            crash = f"no: {unpatch['crash']}"
            for cell in cells.values():
                cell.append(crash)
            continue
        fault = faults(unpatch["both"], text, whole=True)
        cells["text"].append(f"no: {fault}" if fault else "yes")
        cells["spans"].append(spans(unpatch["both"]))
        counts, has = of_responses(unpatch["both"], alone["both"])
        cells["responses"].append(counts)
        cells["shown"].append(has)
        fault = faults(unpatch["then"], text, whole=False)
        if not fault and spans(unpatch["then"]) != spans(alone["both"]):
            fault = f"{spans(unpatch['then'])} spans, {spans(alone['both'])} without us"
        cells["unpatch"].append(f"no: {fault}" if fault else "yes")
        if not alone["can_uninstall"]:
            cells["uninstall"].append("it has none")
            continue
        uninstall = check(order, "uninstall")
        fault = uninstall.get("crash") or faults(uninstall["then"], text, whole=True)
        left = "" if fault else spans(uninstall["then"])
        if left != spans(alone["then"]):
            fault = fault or f"{left} spans left, {spans(alone['then'])} without us"
        remark = "" if left == "0" else " (its spans go on, without us too)"
        cells["uninstall"].append(f"no: {fault}" if fault else f"yes{remark}")
    merged = {
        cell: both[0] if both[0] == both[1] else f"{both[0]}, after us: {both[1]}"
        for cell, both in cells.items()
        if cell != "text"
    }
    found = [*cells["text"], *merged.values()]
    return f"| {title} | {' | '.join(found)} |", not any("no: " in cell for cell in found)


def recipe(python: Path, text: str, base_url: str) -> tuple[str, bool]:
    """Run the recipe; return a line about it, and whether all is well."""
    found: list[str] = []
    lines: list[str] = []
    for mode in ("without", "with"):
        ways = checked(python, "check_recipe.py", mode, base_url=base_url)
        fault = ways.get("crash") or faults(ways, text, whole=True)
        if fault:
            found.append(fault)
            continue
        found += [
            f"{mode}, {name}: {way['spans']}"
            for name, way in ways.items()
            if len(way["spans"]) != ROUNDS or len(set(way["spans"])) != 1
        ]
        lines.append(f"{mode} an instrumenter on: " + ", ".join(f"{name}: {ways[name]['spans'][:1]}" for name in WAYS))
    verdict = f"no: {'; '.join(found)}" if found else f"yes, {ROUNDS} of {ROUNDS}"
    return f"Recipe, a span event per round: {verdict}. Their spans, {'; '.join(lines)}.", not found


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the instrumenters; print a Markdown table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(INSTRUMENTERS))
    names = parser.parse_args().names or list(INSTRUMENTERS)
    unknown = sorted(set(names) - set(INSTRUMENTERS))
    if unknown:
        parser.error(f"no such instrumenter: {', '.join(unknown)}; there are {', '.join(INSTRUMENTERS)}")
    with (
        tempfile.TemporaryDirectory() as scratch,
        Emulator(cap=CAP, tokens=TOKENS, habits=Habits(responses="vllm")) as emulator,
        ThreadPoolExecutor(2) as pool,
    ):
        # The text of a response is the same.
        text = emulator.uncapped(BODY)
        assert emulator.uncapped(INPUT) == text
        wheel = build(Path(scratch))
        pythons = {name: python_with(name, wheel) for name in dict.fromkeys([*names, RECIPE_ON])}
        rows = pool.map(lambda name: row(name, pythons[name], text, emulator.base_url), names)
        print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
        good = True
        for line, well in rows:
            print(line, flush=True)
            good &= well
        line, well = recipe(pythons[RECIPE_ON], text, emulator.base_url)
        print(f"\n{line}")
    return 0 if good and well else 1


if __name__ == "__main__":
    sys.exit(main())
