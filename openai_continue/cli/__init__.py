"""The command ``openai-continue``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="openai-continue", description="Whole answers from the OpenAI Python SDK.")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="the same SDK code with and without the library, side by side")
    demo.add_argument("--stream", action="store_true", help="stream the answer")
    demo.add_argument("--async", action="store_true", dest="asynchronous", help="use AsyncOpenAI")
    demo.add_argument("--tokens", type=int, default=40_000, help="length of the answer (default: %(default)s)")
    demo.add_argument("--live", action="store_true", help="ask DeepInfra, with the key in DEEPINFRA_API_KEY")
    demo.add_argument("--model", help="the model to ask with --live")

    run = commands.add_parser("run", help="run a Python program with continuation switched on")
    run.add_argument("program", nargs="*", metavar="app.py ARGUMENT… | -m package ARGUMENT…")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"] and given[1:2] not in ([], ["-h"], ["--help"]):
        # argparse would take the program's own options for ours.
        if given[1:] == ["-m"]:
            run.error("-m: name a package")
        from .run import run as run_program

        return run_program(given[1:])
    chosen = parser.parse_args(given)
    if chosen.command == "run":
        run.error("name a program: app.py, or -m package")
    if chosen.live and not chosen.model:
        demo.error("--live needs --model, such as --model deepseek-ai/DeepSeek-V3.2")
    if chosen.tokens < 1:
        demo.error(f"--tokens: got {chosen.tokens}, accepted is a whole number from 1")
    try:
        from . import demo as command
    except ImportError as error:
        print(f"openai-continue demo needs {error.name}: pip install 'openai-continue[cli]'", file=sys.stderr)
        return 2
    return command.run(
        stream=chosen.stream,
        asynchronous=chosen.asynchronous,
        tokens=chosen.tokens,
        live_model=chosen.model if chosen.live else None,
    )
