"""
Ask the frameworks that use the SDK for long answers, with ``OPENAI_CONTINUE=1`` and no change of code; print a table.

Agents of some of them write a file by one tool call that is three caps long, with the library and without it.

    python tests/measure/frameworks/measure.py [--newest] [NAME…]

Each framework has its own environment in the cache, with this checkout installed as a wheel. Needs uv. Exits with 0 if
no way failed. The lines below the table name the ways that are known to bypass the SDK.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-continue" / "frameworks"
#: Ten times the seconds that the slowest check takes on an idle machine.
CHECK_SECONDS = 600.0

#: The first requirement is the framework itself.
FRAMEWORKS = {
    "litellm": ("litellm[proxy]==1.109.1",),
    "langchain-openai": ("langchain-openai==1.7.4", "langchain==1.5.2"),
    "openai-agents": ("openai-agents==0.24.0",),
    "pydantic-ai": ("pydantic-ai-slim[openai]==2.68.0",),
    "llama-index": ("llama-index-llms-openai==0.8.3", "llama-index-llms-openai-like==0.8.1"),
    # With what the extra "schema" brings: one of its modes hands its schema to the server, and parses the text itself.
    "instructor": ("instructor==1.17.0", "jsonschema"),
    "dspy": ("dspy==3.4.1",),
    "haystack": ("haystack-ai==3.4.1",),
    "smolagents": ("smolagents[openai,litellm]==1.26.0",),
    "autogen": ("autogen-ext[openai]==0.7.5", "autogen-agentchat==0.7.5"),
    "semantic-kernel": ("semantic-kernel==1.45.0",),
    "agno": ("agno==3.1.10", "openai"),
    "ray": ("ray[data]", "filelock", "psutil"),
    "deepagents": ("deepagents==0.7.32", "langchain-openai==1.7.4"),
    # As Instructor.
    "chatlas": ("chatlas==0.23.0", "openai", "jsonschema"),
    "llm": ("llm==0.36",),
}

#: Packages whose lowest version is ignored, since a mirror of the registry may not have it yet. None matters here: the
#: certificates, since all is on loopback, and the migrations of a database that the proxy here does not have.
OVERRIDES = ("certifi", "litellm-proxy-extras")

#: OPENAI_CONTINUE switches the library on. The variables after the keys keep frameworks from calling home.
ENVIRONMENT = {
    "OPENAI_CONTINUE": "1",
    "OPENAI_CONTINUE_PROVIDER": "deepinfra",
    "OPENAI_CONTINUE_CONTINUE_TOOL_CALLS": "1",
    "OPENAI_API_KEY": "none",
    "DEEPINFRA_API_KEY": "none",
    "NO_PROXY": "127.0.0.1,localhost",
    "AGNO_TELEMETRY": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGCHAIN_TRACING_V2": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(FRAMEWORKS)}")
    parser.add_argument("--newest", action="store_true", help="newest instead of pinned versions")
    parser.add_argument("--install-only", action="store_true", help="make the environments, ask nothing")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in FRAMEWORKS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(FRAMEWORKS)}")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        wheel = built_wheel(Path(scratch))
        for name in arguments.names or FRAMEWORKS:
            began = time.monotonic()
            python = install(name, wheel, newest=arguments.newest)
            installed = time.monotonic() - began
            if not arguments.install_only:
                results.append(check(name, python))
            seconds = time.monotonic() - began
            print(f"{name}: installed in {installed:.0f} s, {seconds:.0f} s in all", file=sys.stderr, flush=True)
    if not arguments.install_only:
        print(table(results))
    return 0 if all(is_yes(result) for result in results) else 1


def built_wheel(folder: Path) -> Path:
    run("uv", "build", "--quiet", "--wheel", "--out-dir", folder, CHECKOUT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(name: str, wheel: Path, *, newest: bool) -> Path:
    """Return the Python of an environment with the framework and this wheel; make the environment if needed."""
    wanted = FRAMEWORKS[name]
    if newest:
        wanted = tuple(requirement.partition("==")[0] for requirement in wanted)
    environment = CACHE / (f"{name}-newest" if newest else name)
    python, finished, ours = environment / "bin" / "python", environment / "finished", environment / "wheel"
    content = hashlib.sha256(wheel.read_bytes()).hexdigest()
    # The Python that made the environment may be gone; then the link to it leads nowhere.
    done = python.exists() and finished.is_file() and finished.read_text(encoding="utf-8") == "\n".join(wanted)
    if not done:
        shutil.rmtree(environment, ignore_errors=True)
        run("uv", "venv", "--quiet", "--python", sys.executable, environment)
    if not done or ours.read_text(encoding="utf-8") != content:
        ours.write_text("", encoding="utf-8")
        overrides = wheel.with_name("overrides.txt")
        overrides.write_text("\n".join(OVERRIDES), encoding="utf-8")
        pip = ("uv", "pip", "install", "--quiet", "--python", python, "--override", overrides)
        requirements = (f"openai-continue[testing] @ {wheel.as_uri()}", *wanted)
        run(*pip, "--reinstall-package", "openai-continue", *requirements)
        ours.write_text(content, encoding="utf-8")
        finished.write_text("\n".join(wanted), encoding="utf-8")
    return python


def check(name: str, python: Path) -> dict[str, Any]:
    """Run the check of a framework; return the result, which is its last line on stdout."""
    script = HERE / f"{name.replace('-', '_')}_check.py"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    environment = {**inherited, **ENVIRONMENT, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    # In its own session, so that all processes that it started end with it.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty,
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
    ):
        process = subprocess.Popen(
            [python, script],
            env=environment,
            cwd=empty,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=CHECK_SECONDS)
            problem = f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            output, problem = "", f"not done in {CHECK_SECONDS:.0f} s"
        finally:
            end_session(process)
        result = json_of(output)
        if result is None or not is_yes(result):
            log.seek(0)
            print(output, log.read()[-10_000:], sep="\n", file=sys.stderr)
    return {"framework": name, "versions": {}, "ways": [], "problem": problem, **(result or {})}


def end_session(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def json_of(output: str) -> dict[str, Any] | None:
    lines = output.strip().splitlines()
    try:
        result: dict[str, Any] = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return result


def is_yes(result: dict[str, Any]) -> bool:
    return bool(result["ways"]) and not any(way["reason"] for way in result["ways"])


#: The verdicts on each way; None: not applicable.
ASKED = ("whole", "rounds", "usage", "opt_out")


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| Framework | openai | Asked by | Whole text | Several rounds | Usage summed | Opt-out "
        "| An agent writes a file of three caps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for result in results:
        versions = dict(result["versions"])
        openai = versions.pop("openai", "?")
        name = ", ".join(f"{package} {version}" for package, version in versions.items()) or result["framework"]
        asked = ", ".join(way["way"] for way in result["ways"] if way["rounds"] is not None)
        cells = [*(verdict(result, what) for what in ASKED), file_verdict(result)]
        lines.append(f"| {name} | {openai} | {asked or result['problem']} | {' | '.join(cells)} |")
        for way in result["ways"]:
            why = way["reason"] or (f"no; {way['cannot']}" if "cannot" in way else "")
            notes += [f"- {result['framework']}, {way['way']}: {why}"] if why else []
    return "\n".join([*lines, *([""] if notes else []), *notes])


def verdict(result: dict[str, Any], what: str) -> str:
    wrong = [way["way"] for way in result["ways"] if way[what] is False]
    if wrong or not result["ways"]:
        return f"no: {', '.join(wrong)}" if wrong else "no"
    if what == "opt_out":
        return ", ".join(dict.fromkeys(way["switch"] for way in result["ways"] if way[what])) or "not asked"
    silent = [way["way"] for way in result["ways"] if way[what] is None and way["rounds"] is not None]
    if not silent:
        return "yes"
    return "not shown" if not any(way[what] for way in result["ways"]) else f"yes; not shown by {', '.join(silent)}"


def file_verdict(result: dict[str, Any]) -> str:
    """Return whether agents wrote the whole file, and what they wrote without the library."""
    agents = [way for way in result["ways"] if way["file"] is not None]
    wrong = [way["way"] for way in agents if not way["file"]]
    if wrong or not agents:
        return f"no: {', '.join(wrong)}" if wrong else "not asked"
    without: dict[str, list[str]] = {}
    for way in agents:
        without.setdefault(way["without"], []).append(way["way"])
    return "yes; without the library " + "; ".join(f"{wrote} ({', '.join(ways)})" for wrote, ways in without.items())


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
