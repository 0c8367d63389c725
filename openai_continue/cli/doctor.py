"""Asking an endpoint with a handful of tiny requests how it continues, and naming the settings that fit it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import openai
from rich.console import Console
from rich.table import Table

from .. import disabled, providers
from ..core import overflow
from ..core.reasoning import CLOSE, OPEN, Inline, field_of
from ..providers import Provider

#: A question whose answer says where it stands, so that going on and beginning anew are told apart.
PROMPT = "Count from 1 to 200 in words, one number a line, and write nothing else."
TOKENS = 24
#: For a model that thinks first, so that there is an answer to continue.
THINKING_TOKENS = 400
#: How far an answer without a limit is read.
MOST_BY_DEFAULT = 300
COST = "500 to 1,000 output tokens in a dozen requests"

#: Ways to mark the message that is to be continued, by the fields on the body and on the message.
MARKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "continue_final_message": ({"add_generation_prompt": False, "continue_final_message": True}, {}),
    "prefix": ({}, {"prefix": True}),
    "partial": ({}, {"partial": True}),
}


@dataclass(slots=True)
class Findings:
    """What was found, in the words of the table."""

    #: For each way to mark the message: "continues", "echoes" (with a copy), "restarts", "new turn" or "refused".
    marks: dict[str, str] = field(default_factory=dict[str, str])
    echoes_stream: bool | None = None
    trims: bool | None = None
    reasoning: str = "none"
    #: Where the text of a continued answer arrives, for a model that thinks.
    answer_arrives_in: str | None = None
    context_length: int | None = None
    #: Tokens that a request without ``max_tokens`` gets, and whether the server stopped it there.
    default_tokens: int = 0
    stops_at_default: bool = False
    usage_in_streams: str = "never"
    caches_prefix: bool | None = None
    completion_tokens: int = 0
    requests: int = 0
    errors: list[str] = field(default_factory=list[str])


class Doctor:
    """Asks one endpoint about one model."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._client = client
        self._model = model
        self.found = Findings()

    def examine(self) -> Findings:
        """Ask everything."""
        first = self._ask([], TOKENS * 2)
        if first is None:
            return self.found
        self.found.reasoning = _reasoning_form(self._message(first))
        if self.found.reasoning != "none":
            first = self._ask([], THINKING_TOKENS) or first
        cut = self._ask_marks(first)
        if self.found.reasoning == "none" and not self._good():
            # Thoughts that the prompt opens are known by their closing tag alone.
            longer = self._ask([], THINKING_TOKENS) or first
            self.found.reasoning = _reasoning_form(self._message(longer))
            cut = self._ask_marks(longer) if self.found.reasoning != "none" else cut
        way = self._best_way()
        self._ask_whitespace(way)
        self._ask_stream(cut, way)
        self._ask_limits()
        self._ask_default()
        again = self._ask([], 1)
        details: dict[str, Any] = _usage(again).get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        self.found.caches_prefix = None if cached is None else cached > 0
        return self.found

    def _ask_marks(self, first: dict[str, Any]) -> str:
        """Find out what becomes of the beginning of an answer, sent back; return that beginning."""
        whole = _answer(self._message(first)) or _text(self._message(first))
        cut = whole[: max(len(whole) // 2, 1)].rstrip()
        for name in MARKS:
            reply = self._ask([cut], TOKENS, marks=name)
            message = {} if reply is None else self._message(reply)
            self.found.marks[name] = "refused" if reply is None else _judge(cut, whole, _text(message))
            if self.found.reasoning != "none" and self.found.marks[name] in ("continues", "echoes"):
                self.found.answer_arrives_in = "content" if message.get("content") else field_of(message)
        return cut

    def _good(self) -> list[str]:
        return [name for name, judged in self.found.marks.items() if judged in ("continues", "echoes")]

    def _best_way(self) -> str:
        # Fields that a server does not know are ignored: the fewest that work are the ones it needs.
        return next(iter(self._good()), "nothing")

    def _ask_whitespace(self, way: str) -> None:
        counts = [_usage(self._ask([text], 1, marks=way)).get("prompt_tokens") for text in ("a", "a\n\n\n")]
        if None not in counts:
            self.found.trims = counts[0] == counts[1]

    def _ask_stream(self, cut: str, way: str) -> None:
        body, mark = MARKS[way]
        try:
            with disabled():
                stream = self._client.chat.completions.create(
                    **cast("Any", self._request([cut], TOKENS, mark)), stream=True, extra_body=body
                )
                chunks = [chunk.to_dict() for chunk in cast("Any", stream)]
        except openai.OpenAIError as error:
            self._note(error)
            return
        self.found.requests += 1
        said = "".join(
            choice["delta"].get("content") or ""
            for chunk in chunks
            for choice in cast("Any", chunk.get("choices") or [])
        )
        self.found.echoes_stream = said.startswith(cut)
        for chunk in cast("list[dict[str, Any]]", chunks):
            if chunk.get("usage"):
                self.found.usage_in_streams = "on the last chunk" if chunk.get("choices") else "on a chunk of its own"
                self.found.completion_tokens += chunk["usage"].get("completion_tokens", 0)
        self.found.echoes_stream = said.startswith(cut)

    def _ask_limits(self) -> None:
        # Far too many tokens, and a stop string that ends the answer with its first line: refused or short.
        request = {**self._request([], 1_000_000, {}), "stop": ["e", "\n", " ", "o"]}
        try:
            with disabled():
                self._client.chat.completions.create(**cast("Any", request))
        except openai.APIStatusError as error:
            said = overflow.read(f"{error.message} {error.body}")
            self.found.context_length = None if said is None else said.context_length
        except openai.OpenAIError as error:
            self._note(error)
        self.found.requests += 1

    def _ask_default(self) -> None:
        request = self._request([], 0, {})
        del request["max_tokens"]
        try:
            with disabled(), self._client.chat.completions.create(**cast("Any", request), stream=True) as stream:
                for chunk in stream:
                    for choice in chunk.choices:
                        # A chunk is a token, or a few where the server bundles them.
                        self.found.default_tokens += any(_parts(choice.delta.to_dict()))
                        self.found.stops_at_default = choice.finish_reason == "length"
                    if self.found.default_tokens >= MOST_BY_DEFAULT:
                        break
        except openai.OpenAIError as error:
            self._note(error)
            return
        self.found.requests += 1
        self.found.completion_tokens += self.found.default_tokens

    def _ask(self, beginnings: list[str], tokens: int, *, marks: str = "nothing") -> dict[str, Any] | None:
        body, mark = MARKS[marks]
        try:
            with disabled():
                create = cast("Any", self._client.chat.completions.create)
                completion = create(**self._request(beginnings, tokens, mark), extra_body=body)
        except openai.APIStatusError as error:
            self._note(error)
            return None
        self.found.requests += 1
        reply: dict[str, Any] = completion.to_dict()
        self.found.completion_tokens += _usage(reply).get("completion_tokens") or 0
        return reply if reply.get("choices") else None

    def _request(self, beginnings: list[str], tokens: int, mark: dict[str, Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]
        messages += [{"role": "assistant", "content": text, **mark} for text in beginnings]
        return {"model": self._model, "messages": messages, "max_tokens": tokens, "temperature": 0}

    def _message(self, reply: dict[str, Any]) -> dict[str, Any]:
        return reply["choices"][0].get("message") or {}

    def _note(self, error: Exception) -> None:
        self.found.requests += 1
        status = error.status_code if isinstance(error, openai.APIStatusError) else ""
        self.found.errors.append(f"{type(error).__name__} {status}".strip())


def matching_row(found: Findings, host: str, path: str) -> Provider | None:
    """Return the row of the provider table that these findings fit: the host's own, or the one of like habits."""
    row = providers.at_address(host, path)
    if row is not None:
        return row
    judged = found.marks
    if not any(one in ("continues", "echoes") for one in judged.values()):
        return providers.named("openai")
    if judged.get("nothing") in ("continues", "echoes"):
        if judged["nothing"] == "echoes":
            return providers.named("llama.cpp")
        asks = found.usage_in_streams == "never"
        return providers.named("tgi" if asks and found.trims else "deepinfra")
    if judged.get("continue_final_message") in ("continues", "echoes"):
        return providers.named("llama.cpp" if judged["continue_final_message"] == "echoes" else "vllm")
    if judged.get("prefix") in ("continues", "echoes"):
        return providers.named("mistral" if judged["prefix"] == "echoes" else "deepseek")
    return providers.named("moonshot")


def run(*, base_url: str, model: str, as_json: bool, yes: bool) -> int:
    """Examine an endpoint and print what was found; return the exit code."""
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
        print(f"The endpoint gave no answer to examine: {', '.join(found.errors)}", file=sys.stderr)
        return 1
    row = matching_row(found, client.base_url.host, client.base_url.path)
    settings = _settings(found, row, host_known=providers.at_address(client.base_url.host, client.base_url.path) is row)
    if as_json:
        print(json.dumps({**asdict(found), "provider": row.name if row else None, "settings": settings}))
    else:
        _show(console, found, row, settings)
    return 0


def _settings(found: Findings, row: Provider | None, *, host_known: bool) -> dict[str, Any]:
    """Return the fields of Continuation that differ from what is recognised by itself."""
    settings: dict[str, Any] = {}
    if row is not None and not host_known:
        settings["provider"] = row.name
    if found.trims is not None and row is not None and row.trims is not found.trims and found.trims:
        settings["trims"] = True
    return settings


def _show(console: Console, found: Findings, row: Provider | None, settings: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name, judged in found.marks.items():
        table.add_row(f"trailing assistant message, marked by {name}", judged)
    unknown = "unknown"
    yes_no = {True: "yes", False: "no", None: unknown}
    table.add_row("a stream repeats what was sent back", yes_no[found.echoes_stream])
    table.add_row("whitespace at its end is trimmed", yes_no[found.trims])
    table.add_row("thoughts", found.reasoning)
    if found.answer_arrives_in is not None:
        table.add_row("a continued answer arrives in", found.answer_arrives_in)
    cap = row.cap if row is not None else None
    table.add_row(
        "most output tokens of one answer", f"{cap:,} (by the provider table)" if cap else "not told by small requests"
    )
    by_default = f"about {found.default_tokens}" if found.stops_at_default else "as many as the model writes"
    table.add_row("output tokens where none are asked for", by_default)
    table.add_row("context length", f"{found.context_length:,}" if found.context_length else unknown)
    table.add_row("usage in streams, unasked", found.usage_in_streams)
    table.add_row("the prompt's beginning is cached", yes_no[found.caches_prefix])
    table.add_row("spent", f"{found.completion_tokens} output tokens in {found.requests} requests")
    console.print(table)
    console.print(
        f"provider row: {row.name if row else 'none'}" + ("" if row is None or row.continues else " (passed through)")
    )
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    console.print(f"settings: Continuation({arguments})" if settings else "settings: none needed")


def _judge(cut: str, whole: str, reply: str) -> str:
    """Say what a reply to a text sent back is, by the uncut answer."""
    rest = whole[len(cut) :].strip()
    fresh = reply.strip()
    if not fresh:
        return "new turn"
    if fresh.startswith(cut.strip()):
        # A copy comes on top of the tokens that were asked for; an answer begun anew is made of them.
        behind = fresh[len(cut.strip()) :].strip()
        return "echoes" if rest.startswith(behind[:12]) and len(fresh) > len(cut) + TOKENS else "restarts"
    if rest.startswith(fresh[:12].strip()):
        return "continues"
    return "restarts" if whole.strip().startswith(fresh[:12].strip()) else "new turn"


def _answer(message: dict[str, Any]) -> str:
    """Return the answer without its thoughts."""
    return Inline.of(str(message.get("content") or "")).answer


def _parts(message: dict[str, Any]) -> tuple[str, str]:
    name = field_of(message)
    return str(message.get("content") or ""), str(message.get(name) or "") if name else ""


def _text(message: dict[str, Any]) -> str:
    content, thoughts = _parts(message)
    return content or thoughts


def _reasoning_form(message: dict[str, Any]) -> str:
    content, _ = _parts(message)
    name = field_of(message)
    if name is not None:
        return f"in the field {name}"
    return "inline, as <think>" if OPEN in content or CLOSE in content else "none"


def _usage(reply: dict[str, Any] | None) -> dict[str, Any]:
    return (reply or {}).get("usage") or {}
