"""The command ``openai-continue``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import SettingsError

DEEPINFRA = "https://api.deepinfra.com/v1/openai"


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

    write = commands.add_parser("write", help="write a long answer to stdout or a file")
    write.add_argument("prompt", nargs="?", help="the prompt; - or nothing: stdin")
    write.add_argument("-f", "--file", type=Path, help="read the prompt from a file")
    write.add_argument("-m", "--model", required=True)
    write.add_argument("-s", "--system", help="the system prompt")
    write.add_argument("-o", "--output", type=Path, help="write to a file, as the text arrives")
    write.add_argument("--resume", type=Path, metavar="FILE", help="go on from a partly written file")
    write.add_argument("--base-url", default=DEEPINFRA, help="default: %(default)s")
    write.add_argument("--provider", help="row of the provider table, where the host does not tell")
    write.add_argument("--max-tokens", type=int, help="most output tokens in all")
    write.add_argument("--temperature", type=float)
    write.add_argument("--json", action="store_true", dest="as_json", help="print a JSON summary")

    doctor = commands.add_parser("doctor", help="ask an endpoint how it continues, and name the settings that fit")
    doctor.add_argument("-m", "--model", required=True)
    doctor.add_argument("--base-url", default=DEEPINFRA, help="default: %(default)s")
    doctor.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    doctor.add_argument("-y", "--yes", action="store_true", help="do not ask before spending tokens")

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
    if chosen.command == "write":
        return _write(write, chosen)
    if chosen.command == "doctor":
        return _doctor(chosen)
    return _demo(demo, chosen)


def _doctor(chosen: argparse.Namespace) -> int:
    try:
        from . import doctor as command
    except ImportError as error:
        return _lacking("doctor", error)
    return command.run(base_url=chosen.base_url, model=chosen.model, as_json=chosen.as_json, yes=chosen.yes)


def _write(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.prompt is not None and chosen.file is not None:
        parser.error("give the prompt as an argument or with --file, not both")
    if chosen.output is not None and chosen.resume is not None:
        parser.error("--resume FILE writes to that file; leave -o out")
    if chosen.max_tokens is not None and chosen.max_tokens < 1:
        parser.error(f"--max-tokens: got {chosen.max_tokens}, accepted is a whole number from 1")
    try:
        from .write import Task, run
    except ImportError as error:
        return _lacking("write", error)
    try:
        prompt = _prompt(chosen)
        if chosen.resume is not None and not chosen.resume.is_file():
            parser.error(f"--resume: there is no file {chosen.resume}")
        task = Task(
            prompt=prompt,
            model=chosen.model,
            base_url=chosen.base_url,
            system=chosen.system,
            provider=chosen.provider,
            output=chosen.resume or chosen.output,
            resume=chosen.resume is not None,
            max_tokens=chosen.max_tokens,
            temperature=chosen.temperature,
            as_json=chosen.as_json,
        )
        return run(task)
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        print(f"openai-continue write: {error}", file=sys.stderr)
        return 1


def _prompt(chosen: argparse.Namespace) -> str:
    if chosen.file is not None:
        path: Path = chosen.file
        return path.read_text(encoding="utf-8")
    return sys.stdin.read() if chosen.prompt in (None, "-") else str(chosen.prompt)


def _lacking(command: str, error: ImportError) -> int:
    print(f"openai-continue {command} needs {error.name}: pip install 'openai-continue[cli]'", file=sys.stderr)
    return 2


def _demo(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.live and not chosen.model:
        parser.error("--live needs --model, such as --model deepseek-ai/DeepSeek-V3.2")
    if chosen.tokens < 1:
        parser.error(f"--tokens: got {chosen.tokens}, accepted is a whole number from 1")
    try:
        from . import demo as command
    except ImportError as error:
        return _lacking("demo", error)
    return command.run(
        stream=chosen.stream,
        asynchronous=chosen.asynchronous,
        tokens=chosen.tokens,
        live_model=chosen.model if chosen.live else None,
    )
