"""Test how an endpoint continues; print the provider row and the settings that fit it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import openai
from rich.console import Console
from rich.table import Table

from .. import call_syntaxes, providers
from ..providers import PROVIDERS, Provider
from .call_examination import SAID, examine_calls
from .examination import COST, Doctor, Findings, mark_of
from .signs import SERVERS

#: What to use instead of a server that cannot continue.
INSTEAD = "To have long answers continued, serve the model with vLLM, llama-server or SGLang."
#: The exit code if answers cannot be continued.
CANNOT_CONTINUE = 3


def matching_row(found: Findings, host: str, path: str) -> Provider | None:
    """
    Return the row of the provider table that fits: the row of the host, else a row with the habits that were found.

    Of rows that mark the message alike, the first one in the table is taken. None if it is unknown whether the server
    continues.
    """
    row = providers.at_address(host, path)
    if row is not None:
        return row
    if not found.good_marks:
        # Any row that does not continue leaves calls alone.
        return providers.named(found.server or "openai") if found.cannot_continue else None
    way = found.good_marks[0]
    fit = [
        row for row in PROVIDERS if row.continues and (mark_of(row) == way or (way == "nothing" and row.needs_no_marks))
    ]
    fit = [row for row in fit if bool(row.echoes) == (found.marks[way] == "echoes")] or fit
    if found.trims and found.usage_in_streams == "never":
        fit = [row for row in fit if row.trims] or fit
    return fit[0]


def run(*, base_url: str, model: str, as_json: bool, yes: bool) -> int:
    """
    Examine an endpoint and print the findings.

    Returns 0 if answers are continued, 3 if they cannot be, 1 if the endpoint gives no answer or it is unknown whether
    they can be, or 130 if the user says no.
    """
    key = os.environ.get("DEEPINFRA_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    console = Console(stderr=as_json)
    console.print(f"This asks {model} at {base_url} for {COST}.")
    if not yes and sys.stdin.isatty() and input("Go on? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        return 130
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=1)
    try:
        doctor = Doctor(client, model)
        found = doctor.examine()
        row = matching_row(found, client.base_url.host, client.base_url.path) if found.marks else None
        if row is not None and row.continues and not found.cannot_continue:
            found.tool_calls = examine_calls(doctor, row)
    except openai.OpenAIError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    if not found.marks:
        print(f"The endpoint gave no answer: {', '.join(found.errors)}", file=sys.stderr)
        return 1
    at_host = providers.at_address(client.base_url.host, client.base_url.path)
    settings = _settings(found, row, model, host_known=at_host is not None)
    continues = row is not None and row.continues and not found.cannot_continue
    if as_json:
        known = {"continues": None, "provider": None} if row is None else {"continues": continues, "provider": row.name}
        print(json.dumps({**asdict(found), **known, "settings": settings}))
    else:
        _show(console, found, row)
        console.print(_verdict(found, row, host_known=at_host is not None, continues=continues), soft_wrap=True)
        arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        console.print(f"settings: Continuation({arguments})" if settings else "settings: none needed")
    if row is None:
        return 1
    return 0 if continues else CANNOT_CONTINUE


def _settings(found: Findings, row: Provider | None, model: str, *, host_known: bool) -> dict[str, Any]:
    """Return the fields of Continuation that the library would not set right by itself."""
    settings: dict[str, Any] = {}
    if row is None or not row.continues:
        return settings
    if not host_known:
        settings["provider"] = row.name
    if found.trims and not row.trims:
        settings["trims"] = True
    syntax = call_syntaxes.of_model(model)
    if found.tool_calls == "continues" and syntax is not None and syntax.name not in row.call_syntaxes:
        settings["continue_tool_calls"] = True
    return settings


def _show(console: Console, found: Findings, row: Provider | None) -> None:
    table = Table(show_header=False)
    for name, judged in found.marks.items():
        table.add_row(f"trailing assistant message, marked by {name}", judged)
    unknown = "unknown"
    yes_no = {True: "yes", False: "no", None: unknown}
    table.add_row("a stream begins with a copy of that message", yes_no[found.echoes_stream])
    table.add_row("the end of that message is trimmed", yes_no[found.trims])
    table.add_row("thoughts", found.reasoning)
    if found.answer_arrives_in is not None:
        table.add_row("a continued answer arrives in", found.answer_arrives_in)
    cap = f"{row.cap:,} (from the provider table)" if row is not None and row.cap else unknown
    table.add_row("most output tokens of one answer", cap)
    by_default = f"about {found.default_tokens}" if found.stops_at_default else "no limit seen"
    table.add_row("output tokens without max_tokens", by_default)
    table.add_row("context length", f"{found.context_length:,}" if found.context_length else unknown)
    table.add_row("usage in streams without stream_options", found.usage_in_streams)
    table.add_row("the prompt's beginning is cached", yes_no[found.caches_prefix])
    spent = f"{found.completion_tokens} output tokens" if found.reports_usage else "an unknown number of output tokens"
    table.add_row("a tool call that was cut", found.tool_calls or "not asked")
    table.add_row("spent", f"{spent} in {found.requests} requests")
    console.print(table)


def _verdict(found: Findings, row: Provider | None, *, host_known: bool, continues: bool) -> str:
    """Return in words which row fits, and whether answers are continued."""
    if row is None:
        return "It could not be found out whether this server continues a trailing assistant message. Try again."
    said = [f"provider row: {row.name}{'' if row.continues else ' (does not continue; calls are left alone)'}"]
    if continues:
        return "\n".join([*said, SAID[found.tool_calls]] if found.tool_calls else said)
    if found.server == row.name:
        said.append(f"This looks like {SERVERS[row.name]}.")
    refused = set(found.marks.values()) == {"refused"}
    way = "it refuses the text sent back" if refused else "it takes the text sent back as a finished turn"
    said.append(f"This server cannot continue this model's answers: {way}.")
    return "\n".join(said if host_known else [*said, INSTEAD])
