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

from .. import providers
from ..providers import PROVIDERS, Provider
from .examination import COST, Doctor, Findings, mark_of


def matching_row(found: Findings, host: str, path: str) -> Provider:
    """
    Return the row of the provider table that fits: the row of the host, else a row with the habits that were found.

    Of rows that mark the message alike, the first one in the table is taken.
    """
    row = providers.at_address(host, path)
    if row is not None:
        return row
    if not found.good_marks:
        return providers.named("openai")
    way = found.good_marks[0]
    fit = [
        row for row in PROVIDERS if row.continues and (mark_of(row) == way or (way == "nothing" and row.needs_no_marks))
    ]
    fit = [row for row in fit if bool(row.echoes) == (found.marks[way] == "echoes")] or fit
    if found.trims and found.usage_in_streams == "never":
        fit = [row for row in fit if row.trims] or fit
    return fit[0]


def run(*, base_url: str, model: str, as_json: bool, yes: bool) -> int:
    """Examine an endpoint and print the findings; return 0, 1 if it gives no answer, or 130 if the user says no."""
    key = os.environ.get("DEEPINFRA_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    console = Console(stderr=as_json)
    console.print(f"This asks {model} at {base_url} for {COST}.")
    if not yes and sys.stdin.isatty() and input("Go on? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        return 130
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=1)
    try:
        found = Doctor(client, model).examine()
    except openai.OpenAIError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    if not found.marks:
        print(f"The endpoint gave no answer: {', '.join(found.errors)}", file=sys.stderr)
        return 1
    row = matching_row(found, client.base_url.host, client.base_url.path)
    settings = _settings(found, row, host_known=providers.at_address(client.base_url.host, client.base_url.path) is row)
    if as_json:
        print(json.dumps({**asdict(found), "provider": row.name, "settings": settings}))
    else:
        _show(console, found, row, settings)
    return 0


def _settings(found: Findings, row: Provider, *, host_known: bool) -> dict[str, Any]:
    """Return the fields of Continuation that the library would not set right by itself."""
    settings: dict[str, Any] = {}
    if not host_known:
        settings["provider"] = row.name
    if found.trims and not row.trims:
        settings["trims"] = True
    return settings


def _show(console: Console, found: Findings, row: Provider, settings: dict[str, Any]) -> None:
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
    table.add_row("most output tokens of one answer", f"{row.cap:,} (from the provider table)" if row.cap else unknown)
    by_default = f"about {found.default_tokens}" if found.stops_at_default else "no limit seen"
    table.add_row("output tokens without max_tokens", by_default)
    table.add_row("context length", f"{found.context_length:,}" if found.context_length else unknown)
    table.add_row("usage in streams without stream_options", found.usage_in_streams)
    table.add_row("the prompt's beginning is cached", yes_no[found.caches_prefix])
    table.add_row("spent", f"{found.completion_tokens} output tokens in {found.requests} requests")
    console.print(table)
    console.print(f"provider row: {row.name}{'' if row.continues else ' (does not continue; calls are left alone)'}")
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    console.print(f"settings: Continuation({arguments})" if settings else "settings: none needed")
