"""Test how an endpoint continues; print the provider row and the settings that fit it."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from dataclasses import asdict, dataclass

import openai
from rich.table import Table

from ..._sdk.template_files import template_of
from ..._tables import providers
from ..._tables.providers import PROVIDERS, Provider
from ...errors import SettingsError
from ...switches import VARIABLE
from ..console import Console
from ..server import Server
from ..wrapping import tell
from .advice import Case, variable
from .probes import COST, Findings
from .questions import Doctor, mark_of

#: The exit code if answers cannot be continued.
CANNOT_CONTINUE = 3
#: The exit codes if nobody can be asked whether to spend tokens, and if the user says no.
NOBODY, DECLINED = 2, 130
NOT_CONTINUED = " (does not continue; calls are left alone)"


def matching_row(found: Findings, known: Provider | None) -> Provider | None:
    """
    Return the row of the provider table that fits: ``known``, the row of the host, else one with the habits found.

    Of rows that mark the message alike, the first one in the table is taken. None if it is unknown whether the server
    continues.
    """
    if known is not None:
        return known
    if not found.good_marks:
        # Any row that does not continue leaves calls alone.
        return providers.named("openai") if found.cannot_continue else None
    way = found.good_marks[0]
    if found.misfiles:
        # A row that knows of it, if the server takes its marks.
        for row in PROVIDERS:
            if row.misfiles and mark_of(row) in found.good_marks:
                return row
    fit = [
        row for row in PROVIDERS if row.continues and (mark_of(row) == way or (way == "nothing" and row.needs_no_marks))
    ]
    fit = [row for row in fit if bool(row.echoes) == (found.marks[way] == "echoes")] or fit
    if found.trims and found.usage_in_streams == "never":
        fit = [row for row in fit if row.trims] or fit
    return fit[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to examine and how: the command's arguments."""

    server: Server
    model: str
    as_json: bool
    #: Whether tokens are spent without asking first.
    yes: bool
    #: Whether every answer is asked for as a stream.
    streamed: bool
    #: The chat template to try, or None.
    template: str | None


def run(task: Task) -> int:
    """
    Examine an endpoint and print the findings.

    Returns 0 if answers are continued, 3 if they cannot be, 1 if the endpoint gives no answer, if it is unknown whether
    they can be, or if there is no such template, 2 if nobody can be asked whether to spend tokens, or 130 if the user
    says no.
    """
    server, model = task.server, task.model
    console = Console(stderr=task.as_json)
    try:
        read = None if task.template is None else template_of(task.template, model)
    except SettingsError as error:
        tell(str(error))
        return 1
    if task.template is not None and read is None:
        tell(f"template: the Hugging Face Hub has none for {model}; name a file")
        return 1
    _print(console, f"This asks {model} at {server.address} for {COST}.")
    if not task.yes and not _may_ask():
        tell("Nothing was asked: stdin is no terminal, so add --yes to spend these tokens.")
        return NOBODY
    if not task.yes and not _is_wanted():
        return DECLINED
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=1)
    try:
        _prepare()
        doctor = Doctor(client, model, streamed=task.streamed)
        found = doctor.examine()
        case = _examined_further(doctor, task) if found.marks else None
    except openai.OpenAIError as error:
        tell(server.said(error))
        return 1
    finally:
        client.close()
    if case is None:
        tell(f"The endpoint gave no answer: {', '.join(found.errors)} ({server.address})")
        return 1
    row = case.row
    if task.as_json:
        known = {"continues": None if row is None else case.continues, "provider": None if row is None else row.name}
        print(json.dumps({**asdict(found), **known, "settings": case.settings, "advice": case.advice}))
    else:
        _show(console, found, row)
        _say(console, case)
    if row is None:
        return 1
    return 0 if case.continues else CANNOT_CONTINUE


def _prepare() -> None:
    """Let answers be continued in this process, whatever its variables say, and print nothing of it."""
    os.environ.pop(VARIABLE, None)
    logger = logging.getLogger("openai_continue")
    if not logger.hasHandlers():
        # Python would print warnings. What they say is among the findings.
        logger.addHandler(logging.NullHandler())


def _may_ask() -> bool:
    """Whether there is somebody at the terminal."""
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def _is_wanted() -> bool:
    """Ask whether to spend tokens. The question goes to stderr, since stdout may be a pipe."""
    print("Go on? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    # Without a line end, the input has ended.
    return answer.endswith("\n") and answer.strip().lower() in ("", "y", "yes")


def _examined_further(doctor: Doctor, task: Task) -> Case:
    """Ask about the rest, as far as the row that fits allows; return what follows."""
    found, server = doctor.found, task.server
    row = matching_row(found, server.row)
    cut = doctor.cut_thoughts() if found.thinks_apart else None
    if row is not None and row.continues and not found.cannot_continue:
        found.tool_calls = doctor.ask_call(row)
        found.responses = doctor.ask_responses(row)
        if cut is not None:
            found.thoughts = doctor.ask_thoughts(row, cut)
            found.answer_after_thoughts = doctor.ask_early_answer(row, cut)
    rows = _rows_for_template(found, row, host_known=server.row is not None)
    if task.template is not None:
        found.template = "no way"
        for one in rows:
            found.template = doctor.ask_template(one, task.template, cut)
            row = one if found.template == "continues" else row
            if found.template in ("continues", "not there"):
                break
    return Case(
        found,
        row,
        host=server.host,
        host_known=server.row is not None,
        model=task.model,
        template=task.template,
        streamed=task.streamed,
        has_completions=bool(rows),
    )


def _rows_for_template(found: Findings, row: Provider | None, *, host_known: bool) -> list[Provider]:
    """Return the rows by which ``/completions`` may be asked: the one that fits, or those of servers at any host."""
    if row is not None and row.continues_completions:
        return [row]
    if host_known or not found.cannot_continue:
        return []
    return [one for one in PROVIDERS if one.continues_completions and not one.hosts]


def _say(console: Console, case: Case) -> None:
    """Print which row fits, what to do, and the settings, each in a line that can be copied."""
    row, settings = case.row, case.settings
    if row is not None:
        _print(console, f"provider row: {row.name}{'' if row.continues else NOT_CONTINUED}")
    for sentence in case.advice:
        _print(console, f"- {sentence}")
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    lines = [f"settings: Continuation({arguments})" if settings else "settings: none needed"]
    if settings:
        assigned = [f"{VARIABLE}=1", *(shlex.quote(variable(*setting)) for setting in settings.items())]
        lines.append(f"variables: {' '.join(assigned)}")
    console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)


def _print(console: Console, sentence: str) -> None:
    """Print a sentence, broken between words on a terminal, and in one line elsewhere."""
    console.print(sentence, soft_wrap=not console.is_terminal, markup=False, highlight=False)


def _show(console: Console, found: Findings, row: Provider | None) -> None:
    table = Table(show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, judged in found.marks.items():
        table.add_row(f"trailing assistant message, marked by {name}", judged)
    unknown = "unknown"
    yes_no = {True: "yes", False: "no", None: unknown}
    table.add_row("the same in a stream", found.streamed or unknown)
    table.add_row("a stream begins with a copy of that message", yes_no[found.echoes_stream])
    table.add_row("the end of that message is trimmed", yes_no[found.trims])
    table.add_row("thoughts", found.reasoning)
    if found.answer_arrives_in is not None:
        table.add_row("a continued answer arrives in", found.answer_arrives_in)
    if found.thinks_apart:
        table.add_row("thoughts that were cut", found.thoughts or "not asked")
        table.add_row("the answer to thoughts that were cut", found.answer_after_thoughts or "not asked")
    table.add_row("the chat template at /completions", found.template or "not asked")
    table.add_row("answers that were cut and do not say so", found.hides_cuts or unknown)
    table.add_row("answers that have ended say that they were cut", yes_no[found.claims_cuts])
    cap = f"{row.cap:,} (from the provider table)" if row is not None and row.cap else unknown
    table.add_row("most output tokens of one answer", cap)
    by_default = f"about {found.default_tokens}" if found.stops_at_default else "no limit seen"
    table.add_row("output tokens without max_tokens", by_default)
    table.add_row("context length", f"{found.context_length:,}" if found.context_length else unknown)
    table.add_row("usage in streams without stream_options", found.usage_in_streams)
    table.add_row("an answer that was cut at /responses", found.responses or "not asked")
    for name, judged in found.response_marks.items():
        table.add_row(f"sent back at /responses, marked by {name}", judged)
    if found.response_cap is not None:
        table.add_row("most output tokens of one answer at /responses", f"{found.response_cap:,}")
    spent = f"{found.completion_tokens} output tokens" if found.reports_usage else "an unknown number of output tokens"
    table.add_row("a tool call that was cut", found.tool_calls or "not asked")
    table.add_row("spent", f"{spent} in {found.requests} requests")
    console.print(table)
