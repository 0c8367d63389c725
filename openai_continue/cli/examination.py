"""Ask one endpoint about one model, with a dozen tiny requests, how it continues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import openai

from .. import disabled
from ..core import overflow
from ..core.jsons import as_object
from ..core.reasoning import CLOSE, OPEN, Inline, field_of
from ..providers import PROVIDERS, Provider
from .signs import Signs, recognized

#: The answer shows how far it has come, so a continuation and a restart look different.
PROMPT = "Count from 1 to 200 in words, one number a line, and write nothing else."
#: Output tokens of most requests.
TOKENS = 24
#: Output tokens of the first request. Two thirds of its text are sent back, which is more than TOKENS can hold: a reply
#: that begins with all of it has a copy of it, and is no restart.
FIRST_TOKENS = 3 * TOKENS
#: Output tokens of the first request to a model that thinks: enough for its thoughts and some answer to continue.
THINKING_TOKENS = 400
#: Chunks of text after which an answer without a limit is read no further.
MOST_BY_DEFAULT = 300
#: A prompt longer than the blocks in which servers cache prompts.
LONG_PROMPT = "Reply with OK. " + "one two three four five six seven eight nine ten " * 130
#: Tokens of the shortest prompt that is sure to fill a block: OpenAI's is the longest, 1,024 and 128 more.
FILLS_A_BLOCK = 1152
#: Statuses that say nothing about what was asked: a timeout, a conflict, too many requests.
PASSING = (408, 409, 429)
#: What an examination costs.
COST = "500 to 1,000 output tokens and about 4,000 input tokens in 17 requests"


def mark_of(row: Provider) -> str:
    """Return the name of the last field with which a row marks a continuation, or "nothing" if it needs none."""
    return ["nothing", *row.body_marks, *row.message_marks][-1]


#: The ways to mark the message that is to be continued: by ``mark_of()``, the first row that marks it so. The order is
#: that of the table. Servers ignore fields that they do not know, so the first way that works is the one to use.
MARKS: dict[str, Provider] = {}
for _row in PROVIDERS:
    if _row.continues:
        MARKS.setdefault(mark_of(_row), _row)


@dataclass(slots=True)
class Findings:
    """What the endpoint does. A field that could not be found out keeps its default; printed as JSON by ``--json``."""

    #: The row of a server that shows who it is. None: it does not show it, or it is one that continues.
    server: str | None = None
    #: For each way of MARKS: "continues", "echoes" (continues after a copy), "restarts", "new turn", "refused",
    #: "failed" (an error that says nothing about the message) or "unknown" (the text fits several of these).
    marks: dict[str, str] = field(default_factory=dict[str, str])
    #: Whether a stream begins with a copy of the message sent back.
    echoes_stream: bool | None = None
    #: Whether the chat template trims the end of the message sent back.
    trims: bool | None = None
    #: Where thoughts arrive: "none", "inline, as <think>" or "in the field ...".
    reasoning: str = "none"
    #: The field in which the text of a continued answer arrives. Known only for a model that thinks.
    answer_arrives_in: str | None = None
    #: Tokens, as the server's error about too large a request names them.
    context_length: int | None = None
    #: Output tokens of a request without ``max_tokens``, counted up to MOST_BY_DEFAULT.
    default_tokens: int = 0
    #: Whether the server stopped that request at its own default limit.
    stops_at_default: bool = False
    #: Whether whole answers report usage. Numbers that are all zero are none.
    reports_usage: bool | None = None
    #: Whether streams report usage unasked: "never", "all zero", "on the last chunk" or "on a chunk of its own".
    usage_in_streams: str = "never"
    #: Whether the server caches the beginning of a prompt. None also if the prompt was too short to say "no".
    caches_prefix: bool | None = None
    #: What becomes of a cut tool call (call_examination.py). None: it was not asked.
    tool_calls: str | None = None
    #: Output tokens and requests that the examination took.
    completion_tokens: int = 0
    requests: int = 0
    #: Type and status of each error.
    errors: list[str] = field(default_factory=list[str])

    @property
    def good_marks(self) -> list[str]:
        """The ways to mark a message that work, in the order of MARKS."""
        return [name for name, judged in self.marks.items() if judged in ("continues", "echoes")]

    @property
    def cannot_continue(self) -> bool:
        """Whether each way to mark a message was tried, and none works."""
        return bool(self.marks) and not set(self.marks.values()) & {"continues", "echoes", "failed", "unknown"}


class Doctor:
    """Asks one endpoint about one model. ``found`` holds what is known so far."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._client = client
        #: The model that is asked.
        self.model = model
        self._signs = Signs()
        #: Tokens of the prompts with the long text sent back, for each way of MARKS.
        self._long: dict[str, int | None] = {}
        #: What came of the last request if it brought no answer: "refused" or "failed".
        self._refusal = "failed"
        self.found = Findings()

    def examine(self) -> Findings:
        """
        Send all requests; return what was found. ``marks`` is empty if the endpoint gave no answer.

        Raises the SDK's error if the endpoint cannot be reached.
        """
        first = self._ask([], FIRST_TOKENS)
        if first is None:
            return self.found
        usage = _usage(first)
        self.found.reports_usage = any(usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        self.found.reasoning = _reasoning_form(self._message(first))
        if self.found.reasoning != "none":
            first = self._ask([], THINKING_TOKENS) or first
        cut = self._ask_marks(first)
        if self.found.reasoning == "none" and not self.found.good_marks:
            # If the chat template opens the think block, only the closing tag shows it, further into the answer.
            longer = self._ask([], THINKING_TOKENS) or first
            self.found.reasoning = _reasoning_form(self._message(longer))
            cut = self._ask_marks(longer) if self.found.reasoning != "none" else cut
        way = self._best_way()
        self._ask_whitespace(way)
        self._ask_stream(cut, way)
        self._ask_limits()
        self._ask_default()
        self._ask_twice()
        self._ask_models()
        self._signs.fingerprint = str(first.get("system_fingerprint") or "")
        self._signs.no_usage = self.found.reports_usage is False and bool(usage)
        self._signs.finish = str(first["choices"][0].get("finish_reason"))
        self.found.server = recognized(self._signs)
        return self.found

    def _ask_marks(self, first: dict[str, Any]) -> str:
        """Send the beginning of an answer back in each way; return that beginning."""
        whole = _answer(self._message(first)) or _text(self._message(first))
        cut = _cut(whole)
        once_more = self._ask([], TOKENS)
        begun = "" if once_more is None else _text(self._message(once_more))
        for name in MARKS:
            reply = self._ask([cut], TOKENS, marks=name)
            message = {} if reply is None else self._message(reply)
            self._long[name] = _usage(reply).get("prompt_tokens")
            self.found.marks[name] = self._refusal if reply is None else _judge(cut, whole, begun, _text(message))
            if self.found.reasoning != "none" and name in self.found.good_marks:
                self.found.answer_arrives_in = "content" if message.get("content") else field_of(message)
        return cut

    def _best_way(self) -> str:
        return next(iter(self.found.good_marks), "nothing")

    def _ask_whitespace(self, way: str) -> None:
        counts = [_usage(self._ask([text], 1, marks=way)).get("prompt_tokens") or 0 for text in ("a", "a\n\n\n")]
        # A server whose count does not grow with the message counts something else, or nothing.
        if way in self.found.good_marks and min(counts) and (self._long.get(way) or 0) > max(counts):
            self.found.trims = counts[0] == counts[1]

    def _ask_stream(self, cut: str, way: str) -> None:
        try:
            with disabled():
                stream = self._client.chat.completions.create(
                    **cast("Any", self._request([cut], TOKENS, way)), stream=True
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
        for chunk in cast("list[dict[str, Any]]", chunks):
            if not (usage := chunk.get("usage")):
                continue
            where = "on the last chunk" if chunk.get("choices") else "on a chunk of its own"
            self.found.usage_in_streams = where if usage.get("prompt_tokens") else "all zero"
            self.found.completion_tokens += usage.get("completion_tokens") or 0
        self.found.echoes_stream = said.startswith(cut)

    def _ask_limits(self) -> None:
        # The server either refuses so many tokens, naming its context, or ends the answer at the first stop string.
        request = {**self._request([], 1_000_000), "stop": ["e", "\n", " ", "o"]}
        try:
            with disabled():
                self._client.chat.completions.create(**cast("Any", request))
        except openai.APIStatusError as error:
            said = overflow.read(f"{error.message} {error.body}")
            self.found.context_length = said.context_length if isinstance(said, overflow.Overflow) else None
        except openai.OpenAIError as error:
            self._note(error)
        self.found.requests += 1

    def _ask_default(self) -> None:
        request = self._request([], 0)
        del request["max_tokens"]
        try:
            with disabled(), self._client.chat.completions.create(**cast("Any", request), stream=True) as stream:
                for chunk in stream:
                    for choice in chunk.choices:
                        # Count a chunk as one token; a server that puts several into one is read a little further.
                        self.found.default_tokens += any(_parts(choice.delta.to_dict()))
                        self.found.stops_at_default = choice.finish_reason == "length"
                    if self.found.default_tokens >= MOST_BY_DEFAULT:
                        break
        except openai.OpenAIError as error:
            self._note(error)
            return
        self.found.requests += 1
        self.found.completion_tokens += self.found.default_tokens

    def _ask_twice(self) -> None:
        """Ask two times with a long prompt, to see whether the second finds it cached."""
        messages = [{"role": "user", "content": LONG_PROMPT}]
        usage: dict[str, Any] = {}
        for _ in range(2):
            usage = _usage(self.send({**self._request([], 1), "messages": messages}))
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        if cached:
            self.found.caches_prefix = True
        elif cached == 0 and (usage.get("prompt_tokens") or 0) >= FILLS_A_BLOCK:
            self.found.caches_prefix = False

    def _ask_models(self) -> None:
        """Ask who owns the models; it costs no tokens. Servers without such a list are no error."""
        try:
            listed: Any = self._client.get("/models", cast_to=object)
        # mlx_lm.server without a cache of models: 200 with nothing in it.
        except (openai.OpenAIError, ValueError):
            return
        data = (as_object(listed) or {}).get("data")
        models = cast("list[object]", data) if isinstance(data, list) else []
        owners = [(as_object(model) or {}).get("owned_by") for model in models]
        self._signs.owners = frozenset(map(str, owners))

    def _ask(self, beginnings: list[str], tokens: int, *, marks: str = "nothing") -> dict[str, Any] | None:
        """Ask for a whole answer; return the completion, or None if the server refused or gave no choices."""
        return self.send(self._request(beginnings, tokens, marks))

    def send(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Send a request; return the completion, or None if the server refused or gave no choices."""
        self._refusal = "failed"
        try:
            with disabled():
                completion = cast("Any", self._client.chat.completions.create)(**request)
        except openai.APIStatusError as error:
            self._note(error)
            if error.status_code < 500 and error.status_code not in PASSING:
                self._refusal = "refused"
            self._signs.errors.append(f"{error.status_code} {error.message} {error.body}")
            return None
        self.found.requests += 1
        reply: dict[str, Any] = completion.to_dict()
        self.found.completion_tokens += _usage(reply).get("completion_tokens") or 0
        return reply if reply.get("choices") else None

    def _request(self, beginnings: list[str], tokens: int, marks: str = "nothing") -> dict[str, Any]:
        """Return the arguments of ``create()`` for a request whose answer has one beginning, or none."""
        row = MARKS[marks]
        messages: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]
        messages += [{"role": "assistant", "content": text, **row.message_marks} for text in beginnings]
        limits = {"max_tokens": tokens, "temperature": 0}
        return {"model": self.model, "messages": messages, **limits, "extra_body": dict(row.body_marks)}

    def _message(self, reply: dict[str, Any]) -> dict[str, Any]:
        return reply["choices"][0].get("message") or {}

    def _note(self, error: Exception) -> None:
        self.found.requests += 1
        status = error.status_code if isinstance(error, openai.APIStatusError) else ""
        self.found.errors.append(f"{type(error).__name__} {status}".strip())


def _cut(whole: str) -> str:
    """Return about two thirds of a text, up to the end of a word: a tokenizer splits half a word in its own way."""
    cut = whole[: max(2 * len(whole) // 3, 1)]
    place = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:place] if place > len(cut) // 2 else cut).rstrip()


def _judge(cut: str, whole: str, begun: str, reply: str) -> str:
    """
    Return what the server did with a text sent back: "continues", "echoes", "restarts", "new turn" or "unknown".

    ``cut`` was sent back, ``whole`` is the answer that it was cut from, ``begun`` is the same answer once more, with as
    many tokens as the reply has, ``reply`` is the new text.
    """
    whole, begun, fresh = whole.strip(), begun.strip(), reply.strip()
    rest = whole[len(cut.strip()) :].strip()
    if not fresh:
        return "new turn"
    if fresh.startswith(cut.strip()):
        # The answer begun anew may be so long only if it is a short one. Then nothing shows which of the two it is.
        return "unknown" if begun.startswith(fresh) else "echoes"
    continues, restarts = _agree(rest, fresh), _agree(whole, fresh)
    if continues and restarts:
        return "unknown"
    return "continues" if continues else "restarts" if restarts else "new turn"


def _agree(one: str, other: str) -> bool:
    """Whether two texts begin alike, as far as both go and up to a few words."""
    length = min(len(one), len(other), 12)
    return length > 0 and one[:length].strip() == other[:length].strip()


def _answer(message: dict[str, Any]) -> str:
    """Return the content of a message without the thoughts between ``<think>`` tags in it."""
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
