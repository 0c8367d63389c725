"""The command ``openai-continue``: its arguments. The work of each subcommand is a module of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from ..errors import SettingsError

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]

DEEPINFRA = "https://api.deepinfra.com/v1/openai"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit code.

    ``arguments``: those of the command line by default. Bad ones end in SystemExit with code 2.
    """
    parser = argparse.ArgumentParser(prog="openai-continue", description="Whole answers from the OpenAI Python SDK.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_demo(commands)
    _add_write(commands)
    _add_doctor(commands)
    _add_journal(commands)
    run = _add_run(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"] and given[1:2] not in ([], ["-h"], ["--help"]):
        # argparse would read the program's own options as ours.
        return _run(run, given[1:])
    chosen = parser.parse_args(given)
    return int(chosen.function(chosen))


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="run the same SDK code with and without the library")
    demo.add_argument("--stream", action="store_true", help="stream the answer")
    demo.add_argument("--async", action="store_true", dest="asynchronous", help="use AsyncOpenAI")
    demo.add_argument(
        "--tokens", type=int, default=40_000, help="length of the answer in tokens (default: %(default)s)"
    )
    demo.add_argument("--live", action="store_true", help="ask DeepInfra; needs a key in DEEPINFRA_API_KEY")
    demo.add_argument("--model", help="the model that --live asks")
    demo.set_defaults(function=partial(_demo, demo))


def _add_write(commands: Commands) -> None:
    write = commands.add_parser(
        "write",
        help="write a long answer to stdout or a file",
        epilog="Tokens, rounds, speed and cost go to stderr. Exit codes: 0 if the answer is whole; 3 if it is cut; 1 "
        "if there is none; 130 after Ctrl-C. The key is read from DEEPINFRA_API_KEY or OPENAI_API_KEY.",
    )
    write.add_argument("prompt", nargs="?", help="the prompt; - or no prompt reads it from stdin")
    write.add_argument("-f", "--file", type=Path, help="read the prompt from this file")
    write.add_argument("-m", "--model", required=True)
    write.add_argument("-s", "--system", help="the system prompt")
    write.add_argument("-o", "--output", type=Path, help="write to this file, as the text arrives")
    write.add_argument("--resume", type=Path, metavar="FILE", help="continue the answer in this partly written file")
    write.add_argument("--base-url", default=DEEPINFRA, help="default: %(default)s")
    write.add_argument("--provider", help="row of the provider table; needed if the host is in none")
    write.add_argument("--max-tokens", type=int, help="most output tokens in total; with --resume, of the rest")
    write.add_argument("--max-seconds", type=float, help="most seconds; what has arrived by then is kept")
    write.add_argument("--max-cost", type=float, help="most cost, as the server reports it (DeepInfra: USD)")
    write.add_argument("--temperature", type=float)
    write.add_argument("--json", action="store_true", dest="as_json", help="print a summary as JSON")
    write.set_defaults(function=partial(_write, write))


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="test how an endpoint continues, and print the settings that fit it",
        epilog="Exit codes: 0 if answers are continued; 3 if they cannot be; 1 if that is unknown, if there is no "
        "answer, or no such template; 130 if you say no. With --env: 0 if continuation is on, or patch() would switch "
        "it on; 1 if something keeps it from working.",
    )
    doctor.add_argument("-m", "--model", help="needed without --env")
    doctor.add_argument(
        "--env", action="store_true", help="ask nobody; say what is switched on in this Python, and why it is not"
    )
    doctor.add_argument("--base-url", default=DEEPINFRA, help="default: %(default)s")
    doctor.add_argument("--stream", action="store_true", help="ask for streams only (default: for whole answers too)")
    doctor.add_argument(
        "--template",
        metavar="PATH|auto",
        help="ask whether the setting template works, with this chat template, or with the model's own on the Hub",
    )
    doctor.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    doctor.add_argument("-y", "--yes", action="store_true", help="spend tokens without asking first")
    doctor.set_defaults(function=partial(_doctor, doctor))


def _add_journal(commands: Commands) -> None:
    journal = commands.add_parser("journal", help="list the unfinished answers in a folder, without their content")
    journal.add_argument("folder", type=Path, metavar="FOLDER")
    journal.add_argument(
        "--remove-older-than", type=float, metavar="DAYS", help="remove those that were not written since then"
    )
    journal.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    journal.set_defaults(function=_journal)


def _journal(chosen: argparse.Namespace) -> int:
    from .unfinished import run

    return run(chosen.folder, older_than=chosen.remove_older_than, as_json=chosen.as_json)


def _add_run(commands: Commands) -> argparse.ArgumentParser:
    run = commands.add_parser("run", help="run a Python program with continuation switched on")
    run.add_argument("program", nargs="*", metavar="app.py ARGUMENT… | -m package ARGUMENT…")
    run.set_defaults(function=partial(_no_program, run))
    return run


def _run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    if arguments == ["-m"]:
        parser.error("-m: name a package")
    from .run import run

    return run(arguments)


def _no_program(parser: argparse.ArgumentParser, _chosen: argparse.Namespace) -> NoReturn:
    parser.error("name a program: app.py, or -m package")


def _demo(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.live and not chosen.model:
        parser.error("--live needs --model, such as --model deepseek-ai/DeepSeek-V3.2")
    if chosen.tokens < 1:
        parser.error(f"--tokens: got {chosen.tokens}, accepted is a whole number from 1")
    try:
        from . import demo
    except ImportError as error:
        return _missing("demo", error)
    live = demo.LiveServer(DEEPINFRA, chosen.model) if chosen.live else None
    return demo.run(stream=chosen.stream, asynchronous=chosen.asynchronous, tokens=chosen.tokens, live=live)


def _write(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.prompt is not None and chosen.file is not None:
        parser.error("give the prompt as an argument or with --file, not both")
    if chosen.output is not None and chosen.resume is not None:
        parser.error("--resume FILE writes to that file; leave out -o")
    if chosen.max_tokens is not None and chosen.max_tokens < 1:
        parser.error(f"--max-tokens: got {chosen.max_tokens}, accepted is a whole number from 1")
    try:
        from .write import Task, run
    except ImportError as error:
        return _missing("write", error)
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
            budgets={"max_seconds": chosen.max_seconds, "max_cost": chosen.max_cost},
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


def _doctor(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.env:
        from .environment import run

        return run(as_json=chosen.as_json)
    if chosen.model is None:
        parser.error("name the model with --model; or look at this Python with --env")
    try:
        from . import doctor
    except ImportError as error:
        return _missing("doctor", error)
    return doctor.run(
        base_url=chosen.base_url,
        model=chosen.model,
        as_json=chosen.as_json,
        yes=chosen.yes,
        streamed=chosen.stream,
        template=chosen.template,
    )


def _missing(command: str, error: ImportError) -> int:
    print(f"openai-continue {command} needs {error.name}: pip install 'openai-continue[cli]'", file=sys.stderr)
    return 2
