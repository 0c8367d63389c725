"""
What becomes of JSON documents that are cut, on real engines with a small real model at temperature 0.

    python tests/measure/engine/documents.py                  # every engine and endpoint
    python tests/measure/engine/documents.py --engine vllm --endpoint chat --caps 64 --prompts 2

Each document is asked for with its schema at each cap, whole and streamed, and once in one piece without the library.
Prints a Markdown table, and what came of each answer. The exit code is 1 if any token was asked for after a document
that was lost or had ended: in a further round, or by the further chunks of a stream.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import openai_continue
from openai_continue import Continuation, report_of
from openai_continue._core.text.document import Document

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers
import sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
#: What is asked for, and the fields of each entry.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "three books": {"title": TEXT, "author": TEXT, "year": NUMBER},
    "five planets": {"name": TEXT, "moons": NUMBER, "description": TEXT},
    "four employees": {"name": TEXT, "department": TEXT, "salary": NUMBER},
    "three recipes": {"title": TEXT, "minutes": NUMBER, "ingredients": {"type": "array", "items": TEXT}},
    "five cities": {"name": TEXT, "country": TEXT, "population": NUMBER},
    "four animals": {"name": TEXT, "diet": {"enum": ["plants", "meat", "both"]}, "legs": NUMBER},
    "three films": {"title": TEXT, "director": TEXT, "summary": TEXT},
    "five languages": {"name": TEXT, "year": NUMBER, "is_compiled": {"type": "boolean"}},
    "four rivers": {"name": TEXT, "kilometres": NUMBER, "countries": {"type": "array", "items": TEXT}},
    "three inventions": {"name": TEXT, "inventor": TEXT, "purpose": TEXT},
}
#: Tokens of a document in one piece, at most. A continued one may have twice as many, as in sweep.py.
MOST = 300
CAPS = (48, 96)
#: What may come of an answer, in the order of the columns.
KINDS = ("equal", "whole, another", "invalid", "at its limit", "otherwise")


@dataclass(frozen=True)
class Answer:
    """A continued answer, in the pieces in which it came."""

    pieces: Sequence[str]
    report: openai_continue.Report | None
    #: The text that each request has sent back.
    sent: Sequence[str]

    @property
    def kind(self) -> str:
        """What came of it, apart from the text."""
        if self.report is None or self.report.stopped_by == "stop":
            return "whole, another"
        if self.report.error is not None and self.report.error.type == "invalid_document":
            return "invalid"
        return "at its limit" if self.report.stopped_by in ("max_tokens", "max_rounds") else "otherwise"

    @property
    def wasted(self) -> int:
        """The tokens that were asked for after the document was lost or had ended."""
        rounds = () if self.report is None else self.report.rounds
        later = [(each.usage or {}).get("completion_tokens", 0) for each in rounds]
        bought = sum(tokens for text, tokens in zip(self.sent, later, strict=False) if _is_over([text]) is not None)
        over = _is_over(self.pieces)
        # A chunk of a stream is a token, at least. Blanks may follow a document that is whole.
        return max(bought, 0 if over is None else sum(bool(piece.strip()) for piece in self.pieces[over + 1 :]))


def _is_over(pieces: Iterable[str]) -> int | None:
    """Return the place of the piece by which the document is lost or has ended, or None."""
    document = Document()
    for place, piece in enumerate(pieces):
        document.feed(piece)
        if document.is_lost or document.has_ended:
            return place
    return None


def request_for(endpoint: str, what: str, most: int) -> dict[str, Any]:
    """Return the request for a document."""
    fields = DOCUMENTS[what]
    entry = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    entries = {"type": "array", "items": entry}
    schema = {"type": "object", "properties": {"entries": entries}, "required": ["entries"]}
    prompt = f"Give me {what} as JSON: an object with the list `entries`, each with {', '.join(fields)}."
    asked: dict[str, Any] = {"model": servers.CHAT_MODEL, "temperature": 0}
    if endpoint == "responses":
        format_ = {"type": "json_schema", "name": "entries", "schema": schema}
        return {**asked, "input": prompt, "max_output_tokens": most, "text": {"format": format_}}
    format_ = {"type": "json_schema", "json_schema": {"name": "entries", "schema": schema}}
    messages = [{"role": "user", "content": prompt}]
    return {**asked, "messages": messages, "max_tokens": most, "response_format": format_}


def ask(client: openai.OpenAI, request: dict[str, Any], *, streamed: bool) -> tuple[list[str], Any]:
    """Return an answer in the pieces in which it came, and what its report is on."""
    resource: Any = client.responses if "input" in request else client.chat.completions
    if not streamed:
        answer = resource.create(**request)
        return [answer.output_text if "input" in request else answer.choices[0].message.content or ""], answer
    pieces, last = list[str](), None
    for each in resource.create(**request, stream=True):
        piece = _piece_of(each)
        pieces += [piece] if piece else []
        last = each if report_of(each) is not None else last
    return pieces, last


def _piece_of(each: Any) -> str:
    if hasattr(each, "choices"):
        return each.choices[0].delta.content or "" if each.choices else ""
    return each.delta if each.type == "response.output_text.delta" else ""


def sent_back(body: dict[str, Any]) -> str:
    """Return the text that a request sends back, "" if it is the first one."""
    last = (body.get("input") if isinstance(body.get("input"), list) else body.get("messages") or [{}])[-1]
    content = last.get("content") if last.get("role") == "assistant" else ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def measure(base_url: str, engine: str, endpoint: str, caps: Sequence[int], prompts: Sequence[str], jobs: int) -> str:
    """Ask for every document at every cap, whole and streamed; print what came, and return the cells of the table."""

    def uncapped(what: str) -> str:
        with openai.OpenAI(base_url=base_url, api_key="none") as plain:
            return "".join(ask(plain, request_for(endpoint, what, MOST), streamed=False)[0])

    def continued(place: tuple[str, int, bool]) -> Answer:
        what, cap, streamed = place
        sent = list[str]()
        hooks = {"request": [lambda request: sent.append(sent_back(json.loads(request.content)))]}
        settings = Continuation(provider=engine, round_tokens=cap, max_rounds=4 * MOST)
        with (
            openai.DefaultHttpxClient(event_hooks=hooks) as http_client,
            openai_continue.OpenAI(
                base_url=base_url, api_key="none", continuation=settings, http_client=http_client
            ) as client,
        ):
            pieces, last = ask(client, request_for(endpoint, what, 2 * MOST), streamed=streamed)
        return Answer(pieces, None if last is None else report_of(last), sent)

    found, wasted = Counter[str](), 0
    with ThreadPoolExecutor(jobs) as pool:
        truths = dict(zip(prompts, pool.map(uncapped, prompts), strict=True))
        places = list(itertools.product(prompts, caps, (False, True)))
        for (what, cap, streamed), answer in zip(places, pool.map(continued, places), strict=True):
            text = "".join(answer.pieces)
            kind = "equal" if text == truths[what] and answer.kind != "invalid" else answer.kind
            found[kind] += 1
            wasted += answer.wasted
            way = "streamed" if streamed else "whole"
            print(
                f"  {what}, cap {cap}, {way}: {kind}, {len(answer.sent)} requests, {answer.wasted} wasted", flush=True
            )
    return " | ".join(map(str, (sum(found.values()), *(found[kind] for kind in KINDS), wasted)))


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=sweep.ENGINES, action="append")
    parser.add_argument("--endpoint", choices=sweep.ENDPOINTS["vllm"], action="append")
    parser.add_argument("--caps", type=int, nargs="+", default=CAPS, help="the caps to ask at, in tokens")
    parser.add_argument("--prompts", type=int, help="how many of the documents")
    parser.add_argument("--jobs", type=int, default=1, help="answers asked at a time: more tokens a second on vLLM")
    chosen = parser.parse_args()
    rows, is_wasted = (
        [
            "| Engine | Endpoint | Answers | Equal | Whole, another text | Invalid | At their limit | Otherwise "
            "| Tokens asked for after it was lost or ended |",
            "|---|---|---|---|---|---|---|---|---|",
        ],
        False,
    )
    for engine in chosen.engine or sweep.ENGINES:
        endpoints = [one for one in sweep.ENDPOINTS[engine] if one in (chosen.endpoint or sweep.ENDPOINTS[engine])]
        if not endpoints:
            continue
        with sweep.server(engine, "plain", servers.CHAT_MODEL) as base_url:
            for endpoint in endpoints:
                began, prompts = time.monotonic(), [*DOCUMENTS][: chosen.prompts]
                print(f"{engine}, {endpoint}", flush=True)
                cells = measure(base_url, engine, endpoint, chosen.caps, prompts, chosen.jobs)
                print(f"{engine}, {endpoint}: {time.monotonic() - began:.0f} s", flush=True)
                rows.append(f"| {engine} | {endpoint} | {cells} |")
                is_wasted = is_wasted or not cells.endswith("| 0")
    print("\n".join(rows))
    return int(is_wasted)


if __name__ == "__main__":
    sys.exit(main())
