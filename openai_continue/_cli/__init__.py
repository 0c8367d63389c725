"""The command ``openai-continue``: its arguments. The work of each subcommand is a module of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from ..errors import SettingsError
from .arguments import Parser, from_0, is_text, name, text
from .output import READER_GONE
from .wrapping import said, tell

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # pyright: ignore[reportPrivateUsage]

_INTERRUPTED = 130
_KEYS = (
    "The key of DeepInfra's hosts is read from DEEPINFRA_API_KEY, and goes to no other host. The key of any other host "
    "is read from OPENAI_API_KEY, or from the variable that --api-key-env names."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit code.

    ``arguments``: those of the command line by default. Bad ones end in SystemExit with code 2.
    """
    parser = Parser(prog="openai-continue", description="Whole answers from the OpenAI Python SDK.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_demo(commands)
    _add_write(commands)
    _add_doctor(commands)
    _add_journal(commands)
    _add_batch(commands)
    run = _add_run(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"] and given[1:2] not in ([], ["-h"], ["--help"]):
        # argparse would read the program's own options as ours. What the program does with its pipes is its own.
        return _run(run, given[1:])
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - print() would take stdout instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        return _answered(parser, given)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return READER_GONE
    except OSError as error:
        tell(f"openai-continue: {said(error)}")
        _drop_stdout()
        return 1


def _answered(parser: argparse.ArgumentParser, given: list[str]) -> int:
    """Run a command; return its exit code. Raise OSError if what it printed cannot be written."""
    # A name may have characters that the encoding does not have. What takes the place of stdout may not have this.
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    try:
        chosen = parser.parse_args(given)
        if sys.stdout is None and not (chosen.command == "write" and chosen.output):  # pyright: ignore[reportUnnecessaryComparison]
            tell("openai-continue: stdout is closed")
            return 1
        return int(chosen.function(chosen))
    finally:
        # Python would do it at its end, where nobody can take an error.
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stdout.flush()


def _drop_stdout() -> None:
    """Let what could not be written go nowhere, so that Python does not try it once more at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo", help="run the same SDK code with and without the library", usage="%(prog)s [OPTION ...]"
    )
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
        usage="%(prog)s\n       -m MODEL [OPTION ...] [prompt]",
        epilog="Tokens, rounds, speed and cost go to stderr. Exit codes: 0 if the answer is whole; 3 if it is cut; 1 "
        "if there is none, or if it could not be written; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 141 "
        f"if its reader has gone. {_KEYS}",
    )
    write.add_argument("prompt", nargs="?", help="the prompt; - or no prompt reads it from stdin")
    write.add_argument("-f", "--file", type=Path, help="read the prompt from this file")
    write.add_argument("-m", "--model", type=name, required=True, help="the model, by its name on the server")
    write.add_argument("-s", "--system", type=text, help="the system prompt")
    write.add_argument(
        "-o",
        "--output",
        type=Path,
        help="write to this file, as the text arrives; what is in it is replaced when the first round has ended",
    )
    write.add_argument(
        "--journal",
        metavar="FOLDER",
        help="keep an unfinished answer in this folder: the same command goes on with it, after a crash or Ctrl-C too",
    )
    write.add_argument("--resume", action=_Resume, nargs="?", help=argparse.SUPPRESS)
    _add_server(write)
    write.add_argument("--provider", help="row of the provider table; needed if the host is in none")
    write.add_argument("--max-tokens", type=int, help="most output tokens in total")
    write.add_argument("--max-seconds", type=float, help="most seconds; what has arrived by then is kept")
    write.add_argument("--max-cost", type=float, help="most cost, as the server reports it (DeepInfra: USD)")
    write.add_argument("--temperature", type=from_0, help="that of the request (default: the server's)")
    write.add_argument("--json", action="store_true", dest="as_json", help="print a summary as JSON")
    write.set_defaults(function=partial(_write, write))


class _Resume(argparse.Action):
    """An option that is gone."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            "--resume is gone; --journal FOLDER keeps an unfinished answer, and the same command goes on with it"
        )


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="test how an endpoint continues, and print the settings that fit it",
        epilog="Exit codes: 0 if answers are continued; 3 if they cannot be; 1 if that is unknown, if there is no "
        "answer, or no such template; 2 if nobody can be asked and --yes is not given; 130 if you say no. With --env: "
        f"0 if continuation is on, or patch() would switch it on; 1 if something keeps it from working. {_KEYS}",
    )
    doctor.add_argument("-m", "--model", type=name, help="needed without --env")
    doctor.add_argument(
        "--env", action="store_true", help="ask nobody; say what is switched on in this Python, and why it is not"
    )
    _add_server(doctor)
    doctor.add_argument("--stream", action="store_true", help="ask for streams only (default: for whole answers too)")
    doctor.add_argument(
        "--template",
        metavar="PATH|auto",
        help="ask whether the setting template works, with this chat template, or with the model's own on the Hub",
    )
    doctor.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    doctor.add_argument(
        "-y", "--yes", action="store_true", help="spend tokens without asking first; needed where nobody can be asked"
    )
    doctor.set_defaults(function=partial(_doctor, doctor))


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument("--base-url", metavar="URL", help="default: OPENAI_BASE_URL, else DeepInfra")
    command.add_argument("--api-key-env", metavar="NAME", type=name, help="the variable that holds the key")


def _add_journal(commands: Commands) -> None:
    journal = commands.add_parser("journal", help="list the unfinished answers in a folder, without their content")
    journal.add_argument("folder", type=Path, metavar="FOLDER")
    journal.add_argument(
        "--remove-older-than", type=from_0, metavar="DAYS", help="remove those that were not written since then"
    )
    journal.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    journal.set_defaults(function=_journal)


def _journal(chosen: argparse.Namespace) -> int:
    from .journal import run

    return run(chosen.folder, older_than=chosen.remove_older_than, as_json=chosen.as_json)


def _add_batch(commands: Commands) -> None:
    batch = commands.add_parser(
        "batch",
        help="continue the answers of a batch, by its files",
        epilog="Settings are read from OPENAI_CONTINUE_* by the first batch next, and hold until batch join.",
    )
    parts = batch.add_subparsers(dest="part", required=True)
    following = parts.add_parser(
        "next",
        help="write the requests that go on with the answers that were cut",
        description="Write a batch that goes on with the answers which were cut, and FILE.state, which has all answers "
        "so far. Run that batch, and give its files to batch next again, until nothing is left to ask.",
        epilog="Requests without an answer, and those whose error may pass, are asked again, at most twice. Of several "
        "choices (n) one goes on in each batch. Exit codes: 0 if FILE is written; 3 if nothing is left to ask; 1 if a "
        "file or a setting cannot be used, and then nothing is written.",
    )
    join = parts.add_parser(
        "join",
        help="write the answers as one batch without a cap would",
        description="Write a line for each answer, as one batch without a cap would. Give the files of the last batch.",
        epilog="Exit codes: 0 if all answers are whole; 3 if not; 1 if a file or a setting cannot be used, and then "
        "nothing is written.",
    )
    for part, what in ((following, "requests"), (join, "answers")):
        part.add_argument("requests", type=Path, metavar="INPUT", help="the batch: your own, or one of batch next")
        part.add_argument("answers", type=Path, nargs="+", metavar="OUTPUT", help="its output file, and its error file")
        part.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help=f"write the {what} here")
        part.add_argument("--provider", help="row of the provider table (default: deepinfra)")
        part.add_argument("--json", action="store_true", dest="as_json", help="print a summary as JSON")
    following.set_defaults(function=_batch)
    join.set_defaults(function=_batch)


def _batch(chosen: argparse.Namespace) -> int:
    from .batch.command import Task, run_join, run_next
    from .batch.lines import BatchError

    task = Task(chosen.requests, chosen.answers, chosen.output, chosen.provider, chosen.as_json)
    try:
        return (run_next if chosen.part == "next" else run_join)(task)
    except (BatchError, SettingsError) as error:
        tell(f"openai-continue batch: {error}")
        return 1


def _add_run(commands: Commands) -> argparse.ArgumentParser:
    run = commands.add_parser(
        "run",
        help="run a Python program with continuation switched on",
        usage="%(prog)s\n       PROGRAM [ARGUMENT ...]",
        epilog="The exit code is that of the program.",
    )
    run.add_argument("program", nargs="*", metavar="PROGRAM", help="app.py, or -m and a package; then its arguments")
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
        from .server import DEEPINFRA
    except ImportError as error:
        return _missing("demo", error)
    live = demo.LiveServer(DEEPINFRA, chosen.model) if chosen.live else None
    return demo.run(stream=chosen.stream, asynchronous=chosen.asynchronous, tokens=chosen.tokens, live=live)


def _write(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.prompt is not None and chosen.file is not None:
        parser.error("give the prompt as an argument or with --file, not both")
    if chosen.max_tokens is not None and chosen.max_tokens < 1:
        parser.error(f"--max-tokens: got {chosen.max_tokens}, accepted is a whole number from 1")
    from .journal import lacks_filelock
    from .server import server_of
    from .write import Task, run

    if chosen.journal is not None and lacks_filelock("write --journal"):
        return 2
    try:
        server = server_of(chosen.base_url, chosen.api_key_env)
        task = Task(
            prompt=_prompt(parser, chosen),
            model=chosen.model,
            server=server,
            system=chosen.system,
            output=chosen.output,
            max_tokens=chosen.max_tokens,
            temperature=chosen.temperature,
            settings={name: getattr(chosen, name) for name in ("provider", "journal", "max_seconds", "max_cost")},
            as_json=chosen.as_json,
        )
        return run(task)
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        tell(f"openai-continue write: {said(error)}")
        return 1


def _prompt(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> str:
    """Return the prompt. One that is empty, or is no text, is an error of the parser."""
    is_piped = chosen.file is None and chosen.prompt in (None, "-")
    source = "stdin" if is_piped else "the argument" if chosen.file is None else str(chosen.file)
    try:
        prompt = _read_prompt(chosen, is_piped=is_piped)
    except UnicodeDecodeError as error:
        parser.error(f"the prompt in {source} is no text in {error.encoding}")
    if not prompt.strip():
        parser.error(f"the prompt in {source} is empty; give one as an argument, with --file, or on stdin")
    if not is_text(prompt):
        parser.error(f"the prompt in {source} is no text in the encoding of the terminal")
    return prompt


def _read_prompt(chosen: argparse.Namespace, *, is_piped: bool) -> str:
    if chosen.file is not None:
        path: Path = chosen.file
        return path.read_text(encoding="utf-8")
    if is_piped:
        # It may be closed.
        return sys.stdin.read() if sys.stdin else ""
    return str(chosen.prompt)


def _doctor(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.env:
        from .environment import run

        return run(as_json=chosen.as_json)
    if not chosen.model:
        parser.error("name the model with --model; or look at this Python with --env")
    try:
        from .doctor import command
        from .server import server_of
    except ImportError as error:
        return _missing("doctor", error)
    try:
        server = server_of(chosen.base_url, chosen.api_key_env)
    except SettingsError as error:
        tell(f"openai-continue doctor: {error}")
        return 1
    task = command.Task(
        server=server,
        model=chosen.model,
        as_json=chosen.as_json,
        yes=chosen.yes,
        streamed=chosen.stream,
        template=chosen.template,
    )
    return command.run(task)


def _missing(command: str, error: ImportError) -> int:
    tell(f"openai-continue {command} needs {error.name}: pip install 'openai-continue[cli]'")
    return 2
