"""The questions to an endpoint about one model, and what each result means."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import openai

from ..._core.json import Json, as_object
from ..._core.text.reasoning import CLOSE, OPEN, Inline
from ..._tables import call_syntaxes, overflow
from ..._tables.call_syntaxes import CallSyntax
from ..._tables.providers import PROVIDERS, Provider, named
from ...switches import VARIABLE
from .endpoint import TOKENS, UNMARKED, Continued, Endpoint, Reply, Spent, written

#: The answer shows how far it has come, so a continuation and a restart look different.
PROMPT = "Count from 1 to 200 in words, one number a line, and write nothing else."
#: Output tokens of the first request. Two thirds of its text are sent back, which is more than TOKENS can hold: a reply
#: that begins with all of it has a copy of it, and is no restart.
FIRST_TOKENS = 3 * TOKENS
#: Output tokens of the first request to a model that thinks: enough for its thoughts and some answer to continue.
THINKING_TOKENS = 400
#: Chunks of text after which an answer without a limit is read no further.
MOST_BY_DEFAULT = 300
#: The answer to it ends by itself.
SHORT_PROMPT = "Reply with OK and nothing else, in no more than 5 tokens."
#: A prompt longer than the blocks in which servers cache prompts.
LONG_PROMPT = "Reply with OK. " + "one two three four five six seven eight nine ten " * 130
#: Tokens of the shortest prompt that is sure to fill a block: OpenAI's is the longest, 1,024 and 128 more.
FILLS_A_BLOCK = 1152
#: The arguments of the call are long, and the same each time.
CALL_PROMPT = (
    "Please call the tool write_file: path numbers.txt, content the numbers from 1 to 200 in words, one number a line."
)
_PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
}
TOOL = {
    "type": "function",
    "function": {"name": "write_file", "description": "Write a file.", "parameters": _PARAMETERS},
}
#: What an examination costs.
COST = "up to 1,500 output tokens and about 4,500 input tokens in 14 to 24 requests"


def mark_of(row: Provider) -> str:
    """Return the name of the last field with which a row marks a continuation, or "nothing" if it needs none."""
    return ["nothing", *row.body_marks, *row.message_marks][-1]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a result means, and what to do about it."""

    #: What is in braces is filled in; ``{set}`` is the setting, as code and as a variable.
    sentence: str
    #: The field of Continuation to set, or ""; and its value.
    setting: str = ""
    value: Any = True


_MISFILES = "The server's parser files the rest of an answer as thoughts (in {field})"
ASKS_TEMPLATE = "openai-continue doctor --template auto (or a file) asks that"
_IS_OWN = "The chat template makes the server's own prompt"
_UNSET = f"Leave {VARIABLE}_TEMPLATE unset."
_CUT_END = "Thoughts that are cut end the answer:"
#: What is asked, by the field of Findings that has the result, or that the result is made from; and what each result
#: means. The order is that of the advice.
PROBES: dict[str, dict[str, Meaning]] = {
    # An answer that max_tokens has cut, whole and streamed.
    "hides_cuts": {
        "both": Meaning(
            "{what} that max_tokens has cut do not end in 'length' here, so nobody can see that they were cut, and "
            f"{VARIABLE}=1 leaves them as they are: name a larger max_tokens in the request."
        ),
        "whole": Meaning(
            "Whole answers that were cut do not end in 'length' here, but streams do: set {set}, which makes whole "
            "answers of streams.",
            "stream_rounds",
        ),
        "streamed": Meaning(
            "Streams that were cut do not end in 'length' here, but whole answers do: leave out stream=True where "
            "answers are long."
        ),
    },
    # A short answer, which ends by itself.
    "claims_cuts": {
        "yes": Meaning(
            "Answers that have ended by themselves say 'length' here. Each of them costs one more request, which may "
            'add text to it: switch calls with short answers off, with extra_body={{"continuation": False}}.'
        )
    },
    # Two thirds of an answer sent back, in each way of MARKS.
    "marks": {
        "continues": Meaning(
            f"{{host}} is in no row of the provider table, so {VARIABLE}=1 alone leaves its answers as they are: set "
            f"{VARIABLE}_PROVIDER={{row}} too, or provider={{row!r}} in the code.",
            "provider",
        ),
        "refused": Meaning("it refuses the text sent back"),
        "new turn": Meaning("it takes the text sent back as a finished turn"),
        "cannot": Meaning(
            f"This server cannot continue this model's answers: {{why}}. {VARIABLE}=1 leaves them as they are: name a "
            "larger max_tokens in the request."
        ),
        "elsewhere": Meaning(f"Perhaps they go on at /completions, with the setting template: {ASKS_TEMPLATE}."),
        "nowhere": Meaning("To have long answers continued, serve the model with vLLM, llama-server or SGLang."),
        "unknown": Meaning(
            "It could not be found out whether this server continues a trailing assistant message. Try again."
        ),
        "good": Meaning(
            f"Answers are continued here. Nothing needs to be set but {VARIABLE}=1, or patch() in the code."
        ),
    },
    # Two texts of one letter sent back, one of them with newlines.
    "trims": {
        "known": Meaning("The chat template trims the end of the text sent back: the row {row} knows that."),
        "yes": Meaning("The chat template trims the end of the text sent back: set {set}.", "trims"),
        "elsewhere": Meaning(f"Nothing is trimmed with the setting template: {ASKS_TEMPLATE}."),
    },
    # The field of what came after the text sent back.
    "answer_arrives_in": {
        "lost": Meaning(
            f"{_MISFILES}, so answers that were cut end there: start the server without its reasoning parser, or try "
            f"the setting template: {ASKS_TEMPLATE}."
        ),
        "known": Meaning(f"{_MISFILES}: the row {{row}} ({VARIABLE}_PROVIDER={{row}}) puts it back into the answer."),
        "whole": Meaning(f"{_MISFILES}: set {{set}}, since streams have it in the content.", "stream_rounds"),
    },
    # The same text sent back, and a stream asked for.
    "streamed": {
        "breaks": Meaning("Whole answers go on, but streams do not: leave out stream=True where answers are long.")
    },
    # An answer that was cut in its thoughts, to go on by the chat.
    "thoughts": {
        "continues": Meaning("Thoughts that are cut go on."),
        "differs": Meaning("Thoughts that are cut go on with other words than they would have had."),
        "not continued": Meaning(f"{_CUT_END} the server does not go on with them."),
        "no way": Meaning(f"{_CUT_END} no way is known to have them go on by the chat."),
        "refused": Meaning(f"{_CUT_END} the server refuses them."),
        "failed": Meaning("The question about thoughts that are cut got no answer."),
        "unknown": Meaning(
            "The model did not think the same twice, so it is unknown whether thoughts that are cut go on."
        ),
    },
    # The same, and no more thoughts wanted.
    "answer_after_thoughts": {
        "answers": Meaning("an answer comes without further thoughts", "on_reasoning_cut", "answer"),
        "thinks": Meaning("the model thinks on, or again"),
        "no answer": Meaning("no answer comes"),
        "no way": Meaning("no way is known to ask for it"),
        "refused": Meaning("the server refuses it"),
        "failed": Meaning("no answer came"),
        "unknown": Meaning("unknown"),
    },
    # An answer that was cut, or its thoughts, to go on with the setting template.
    "template": {
        "continues": Meaning(
            f"{_IS_OWN}, and answers go on at /completions. {{only}} {{set}}; nothing is trimmed or misfiled then.",
            "template",
        ),
        "differs": Meaning(f"{_IS_OWN}, but answers go on at /completions with other words. {_UNSET}"),
        "not continued": Meaning(f"{_IS_OWN}, but answers do not go on at /completions. {_UNSET}"),
        "unknown": Meaning(
            f"{_IS_OWN}, but the model did not write the same twice, so it is unknown whether answers go on at "
            f"/completions. {_UNSET}"
        ),
        "another prompt": Meaning(
            f"The chat template makes another prompt than the server's, so it is of another model or version. {_UNSET}"
        ),
        "not counted": Meaning(
            "The server does not count the tokens of prompts, so it is unknown whether the template is its own. "
            f"{_UNSET}"
        ),
        "not rendered": Meaning(f"The chat template could not be rendered for a plain question. {_UNSET}"),
        "no way": Meaning(f"This server is not known to continue a text at /completions. {_UNSET}"),
        "not there": Meaning(f"This server has no /completions. {_UNSET}"),
        "refused": Meaning(f"This server refuses the prompt at /completions. {_UNSET}"),
        "failed": Meaning(f"The question at /completions got no answer. {_UNSET}"),
    },
    # A long answer without max_tokens, and once more with a larger one.
    "default_tokens": {
        "stops": Meaning(
            "Without max_tokens this server ends an answer after about {tokens} tokens, and max_rounds={rounds} of "
            "them are {most:,}: name max_tokens in the request, or set {set}.",
            "round_tokens",
        ),
        "left alone": Meaning(
            "Without max_tokens this server ends an answer after about {tokens} tokens, and max_rounds={rounds} of "
            "them are {most:,}: name max_tokens in the request."
        ),
        "cap": Meaning(
            "Whatever max_tokens is, this server ends an answer after about {tokens} tokens, and max_rounds={rounds} "
            "of them are {most:,}: set a larger max_rounds for longer ones."
        ),
    },
    # A tool call that was cut at two thirds.
    "tool_calls": {
        "continues": Meaning("A tool call that was cut goes on."),
        "to be set": Meaning("A tool call that was cut goes on. Set {set} for that.", "continue_tool_calls"),
        "differs": Meaning(
            "A tool call that was cut goes on with other arguments than it would have had, so it is left as it is."
        ),
        "not continued": Meaning("A tool call that was cut does not go on, so it is left as it is."),
        "closed": Meaning(
            "This server closes the arguments of a call that was cut, so nobody can see where it was cut."
        ),
        "no call": Meaning("The model called no tool, so it is unknown whether a call that was cut goes on."),
        "syntax unknown": Meaning(
            "It is unknown how this model writes tool calls, so those that are cut are left as they are. If you know "
            "it, name its row of call_syntaxes.py in continue_tool_calls."
        ),
        "failed": Meaning("The question about tool calls got no answer."),
    },
}
# Statuses by which servers say that they have no such endpoint.
_NOT_THERE = (400, 404, 405, 413, 422, 501)


#: The ways to mark the message that is to be continued: by ``mark_of()``, the first row that marks it so, or no row's
#: marks. Servers ignore fields that they do not know, so the first way that works is the one to use.
MARKS: dict[str, Provider] = {"nothing": named(UNMARKED)}
for _row in PROVIDERS:
    if _row.continues:
        MARKS.setdefault(mark_of(_row), _row)


@dataclass(slots=True)
class Findings(Spent):
    """What the endpoint does. A field that could not be found out keeps its default; printed as JSON by ``--json``."""

    #: For each way of MARKS: "continues", "echoes" (continues after a copy), "restarts", "new turn", "refused",
    #: "failed" (an error that says nothing about the message) or "unknown" (the text fits several of these).
    marks: dict[str, str] = field(default_factory=dict[str, str])
    #: The same of a stream, marked in the best way.
    streamed: str | None = None
    #: Whether a stream begins with a copy of the message sent back.
    echoes_stream: bool | None = None
    #: Whether the chat template trims the end of the message sent back.
    trims: bool | None = None
    #: Where thoughts arrive: "none", "inline, as <think>" or "in the field ...".
    reasoning: str = "none"
    #: The field in which the text of a continued answer arrives. Known only for a model that thinks.
    answer_arrives_in: str | None = None
    #: The field in which the text of a continued stream arrives. Known only for a model that thinks.
    stream_arrives_in: str | None = None
    #: Whether thoughts that were cut go on by the chat (a result of PROBES). None: it was not asked.
    thoughts: str | None = None
    #: Whether ``on_reasoning_cut="answer"`` brings an answer (a result of PROBES). None: it was not asked.
    answer_after_thoughts: str | None = None
    #: What ``/completions`` makes of the chat template (a result of PROBES). None: it was not asked.
    template: str | None = None
    #: Which answers that the token limit cut end in something else than "length": "none", "whole", "streamed", "both".
    hides_cuts: str | None = None
    #: Whether an answer that has ended says "length".
    claims_cuts: bool | None = None
    #: Tokens, as the server's error about too large a request names them.
    context_length: int | None = None
    #: Output tokens of a request without ``max_tokens``, counted up to MOST_BY_DEFAULT.
    default_tokens: int = 0
    #: Whether the server stopped that request at its own default limit.
    stops_at_default: bool = False
    #: Whether it stops there too if a request names more.
    is_cap: bool = False
    #: Whether answers report usage. Numbers that are all zero are none.
    reports_usage: bool | None = None
    #: Whether streams report usage unasked: "never", "all zero", "on the last chunk" or "on a chunk of its own".
    usage_in_streams: str = "never"
    #: Whether the server caches the beginning of a prompt. None also if the prompt was too short to say "no".
    caches_prefix: bool | None = None
    #: What becomes of a cut tool call (a result of PROBES). None: it was not asked.
    tool_calls: str | None = None

    @property
    def good_marks(self) -> list[str]:
        """The ways to mark a message that work, in the order of MARKS."""
        return [name for name, judged in self.marks.items() if judged in ("continues", "echoes")]

    @property
    def cannot_continue(self) -> bool:
        """Whether each way to mark a message was tried, and none works."""
        return bool(self.marks) and not set(self.marks.values()) & {"continues", "echoes", "failed", "unknown"}

    @property
    def misfiles(self) -> bool:
        """Whether the rest of an answer arrives as thoughts."""
        return self.answer_arrives_in not in (None, "content")

    @property
    def thinks_apart(self) -> bool:
        """Whether thoughts arrive in a field of their own."""
        return self.reasoning.startswith("in the field")


class Doctor:
    """
    Asks one endpoint about one model. ``found`` holds what is known so far.

    ``streamed``: whether every answer is asked for as a stream.
    """

    def __init__(self, client: openai.OpenAI, model: str, *, streamed: bool = False) -> None:
        self.found = Findings()
        self._model = model
        self._endpoint = Endpoint(client, self.found, streamed=streamed)
        # A long answer to PROMPT, and the same one cut after TOKENS tokens; None if there is none.
        self._first: Reply | None = None
        self._begun: Reply | None = None
        # What came of the long text sent back, for each way of MARKS.
        self._replies: dict[str, Reply | None] = {}

    def examine(self) -> Findings:
        """
        Ask what the settings of every answer depend on. ``marks`` stays empty if the endpoint gave no answer.

        Raises the SDK's error if the endpoint cannot be reached.
        """
        first = self._ask(FIRST_TOKENS)
        if first is None:
            return self.found
        self.found.reports_usage = any(first.usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        self.found.reasoning = _reasoning_form(first)
        if self.found.reasoning != "none":
            first = self._ask(THINKING_TOKENS) or first
        cut = self._ask_marks(first)
        if self.found.reasoning == "none" and not self.found.good_marks:
            # If the chat template opens the think block, only the closing tag shows it, further into the answer.
            longer = self._ask(THINKING_TOKENS) or first
            self.found.reasoning = _reasoning_form(longer)
            cut = self._ask_marks(longer) if self.found.reasoning != "none" else cut
        way = next(iter(self.found.good_marks), "nothing")
        self._ask_whitespace(way)
        self._ask_stream(cut, way)
        self._ask_end()
        self._ask_limits()
        self._ask_default()
        self._ask_twice()
        return self.found

    def _ask_marks(self, first: Reply) -> str:
        """Let the beginning of an answer be continued in each way; return that beginning."""
        whole = _answer(first)
        cut = _beginning(whole)
        self._first, self._begun = first, self._ask(TOKENS)
        begun = "" if self._begun is None else self._begun.text
        for name, row in MARKS.items():
            call = self._endpoint.go_on(self._body(), _cut_off({"content": cut}), provider=row.name)
            self._replies[name] = call.last
            self.found.marks[name] = _mark_judged(call, cut, whole, begun)
        self._find_new_turns()
        best = self._replies[next(iter(self.found.good_marks), "nothing")]
        if self.found.reasoning != "none" and self.found.good_marks and best is not None:
            self.found.answer_arrives_in = best.text_in
        if self._begun is not None and _hides_cut(first, self._begun):
            self.found.hides_cuts = "streamed" if self._endpoint.streamed else "whole"
        return cut

    def _find_new_turns(self) -> None:
        """
        Tell a new turn from a continuation by the tokens of the prompt.

        A model may go on in a new turn, too: the end of the turn and the head of the next one are in the prompt then.
        """
        replies = {name: self._replies[name] for name in self.found.good_marks}
        counts = {name: 0 if reply is None else reply.prompt_tokens for name, reply in replies.items()}
        least = min(filter(None, counts.values()), default=0)
        for name, count in counts.items():
            if count > least + 1 > 1:
                self.found.marks[name] = "new turn"

    def _ask_whitespace(self, way: str) -> None:
        asked = [self._endpoint.send(self._sent_back(text, 1, way)) for text in ("a", "a\n\n\n")]
        counts = [0 if reply is None else reply.prompt_tokens for reply in asked]
        long = self._replies[way]
        # A server whose count does not grow with the message counts something else, or nothing.
        if way in self.found.good_marks and long is not None and min(counts) and long.prompt_tokens > max(counts):
            self.found.trims = counts[0] == counts[1]

    def _ask_stream(self, cut: str, way: str) -> None:
        """Ask for a continued stream, without any other wish, so that it shows what streams are like."""
        chunks = self._endpoint.stream(self._sent_back(cut, TOKENS, way))
        if not chunks:
            self.found.streamed = self._endpoint.outcome
            return
        for chunk in chunks:
            if not (usage := Reply.of([chunk]).usage):
                continue
            where = "on the last chunk" if chunk.get("choices") else "on a chunk of its own"
            self.found.usage_in_streams = where if usage.get("prompt_tokens") else "all zero"
        reply, whole = Reply.of(chunks), self._replies[way]
        if self.found.reasoning != "none" and reply.text:
            self.found.stream_arrives_in = reply.text_in
        self.found.echoes_stream = reply.text.startswith(cut)
        if self._first is not None:
            begun = "" if self._begun is None else self._begun.text
            self.found.streamed = _compared(cut, _answer(self._first), begun, reply.text)
        if whole is None or self._endpoint.streamed:
            self.found.hides_cuts = self.found.hides_cuts or "none"
            return
        # Two answers to the same request, with the same text, end alike.
        same = whole.text.removeprefix(cut).strip() == reply.text.removeprefix(cut).strip() != ""
        says_so = reply.finish_reason == "length"
        if self.found.hides_cuts is not None:
            self.found.hides_cuts = "whole" if same and says_so else "both"
        else:
            hides = same and whole.finish_reason == "length" and not says_so
            self.found.hides_cuts = "streamed" if hides else "none"

    def _ask_end(self) -> None:
        """Ask for an answer that ends by itself, to see whether it says so."""
        reply = self._ask(FIRST_TOKENS, SHORT_PROMPT)
        if reply is None:
            return
        is_cut = reply.finish_reason == "length"
        # A token has a character or more, so that fewer characters are fewer tokens.
        if not is_cut or (reply.content and len(reply.content + reply.thoughts) < FIRST_TOKENS):
            self.found.claims_cuts = is_cut

    def _ask_limits(self) -> None:
        # The server either refuses so many tokens, naming its context, or begins an answer. Its beginning is enough:
        # the whole one may fill the context.
        errors = len(self.found.errors)
        many = {**self._body(), "max_tokens": 1_000_000, "stop": ["e", "\n", " ", "o"]}
        came = self._endpoint.stream(many, most=1)
        # DeepInfra refuses a stream in the stream.
        texts = [str(chunk.get("error_message") or "") for chunk in came]
        error = self._endpoint.error
        if isinstance(error, openai.APIStatusError):
            # It was asked for.
            del self.found.errors[errors:]
            texts = [f"{error.message} {error.body}"]
        for said in map(overflow.read, texts):
            if isinstance(said, overflow.Overflow):
                self.found.context_length = said.context_length

    def _ask_default(self) -> None:
        came = self._endpoint.stream(self._body(), most=MOST_BY_DEFAULT)
        # Count a chunk as one token; a server that puts several into one is read a little further.
        self.found.default_tokens = limit = written(came)
        self.found.stops_at_default = Reply.of(came).finish_reason == "length"
        if self.found.stops_at_default:
            more = self._endpoint.stream({**self._body(), "max_tokens": 2 * limit + TOKENS}, most=limit + TOKENS // 2)
            self.found.is_cap = bool(more) and written(more) <= limit

    def _ask_twice(self) -> None:
        """Ask two times with a long prompt, to see whether the second finds it cached."""
        _, reply = self._ask(1, LONG_PROMPT), self._ask(1, LONG_PROMPT)
        details = as_object(reply.usage.get("prompt_tokens_details")) if reply is not None else None
        cached = (details or {}).get("cached_tokens")
        if cached:
            self.found.caches_prefix = True
        elif cached == 0 and reply is not None and reply.prompt_tokens >= FILLS_A_BLOCK:
            self.found.caches_prefix = False

    # What depends on the row that fits, the model or the template.

    def cut_thoughts(self) -> Cut | None:
        """
        Return an answer that was cut in its thoughts, or None if there is none.

        It costs no request if the first answers hold one.
        """
        whole = "" if self._first is None else self._first.thoughts.strip()
        found = Cut.of(self._begun, whole)
        if found is None and whole:
            # A token has eight characters at most, on the average.
            found = Cut.of(self._ask(max(1, min(TOKENS, len(whole) // 8))), whole)
        return found

    def ask_thoughts(self, row: Provider, cut: Cut) -> str:
        """Ask whether thoughts that were cut go on by the chat; return a result of "thoughts"."""
        return _thoughts_judged(self._go_on(row, cut.reply.completion), cut, is_raw=False)

    def ask_early_answer(self, row: Provider, cut: Cut) -> str:
        """Ask for an answer without more thoughts; return a result of "answer_after_thoughts"."""
        call = self._go_on(row, cut.reply.completion, on_reasoning_cut="answer")
        if call.last is None:
            return call.outcome
        content, before = call.reply.content, cut.reply.thoughts.strip()
        if not content.strip():
            return "no answer" if len(call.reply.thoughts.strip()) <= len(before) else "thinks"
        # Some servers repeat the thoughts that were sent, some file the answer as thoughts.
        new = call.last.thoughts.strip().removeprefix(before).strip()
        # A parser that has seen no tag takes further thoughts for the answer.
        thinks = OPEN in content or CLOSE in content or (bool(cut.rest) and _agree(cut.rest, content.strip()))
        return "thinks" if thinks or (new and new not in content) else "answers"

    def ask_call(self, row: Provider) -> str:
        """Ask for a tool call, and let two thirds of it go on; return what becomes of it: a result of "tool_calls"."""
        syntax = call_syntaxes.of_model(self._model)
        if syntax is None:
            return "syntax unknown"
        body = {**self._body(CALL_PROMPT), "tools": [TOOL]}
        whole = self._endpoint.send({**body, "max_tokens": 4 * TOKENS})
        if whole is None:
            return "failed"
        text, is_call = _written(whole.completion)
        if is_call and _is_json(text) and whole.finish_reason == "length":
            return "closed"
        cut = _cut_call(whole.completion)
        if cut is None or not (is_call or _opens_call(text, syntax)):
            return "no call"
        call = self._go_on(row, cut, body, continue_tool_calls=True)
        if call.outcome != "sent":
            return "not continued" if call.outcome == "no way" else "failed"
        joined = _written(call.reply.completion)[0]
        if len(joined) <= len(_written(cut)[0]):
            return "not continued"
        return "continues" if joined.startswith(text) or text.startswith(joined) else "differs"

    def ask_template(self, row: Provider, template: str, cut: Cut | None) -> str:
        """
        Ask whether the setting ``template`` works; return what becomes of it: a result of "template".

        ``cut``: an answer that was cut in its thoughts, if the model thinks in a field of its own.
        """
        begun = self._begun if cut is None else cut.reply
        if begun is None or begun.finish_reason != "length":
            return "unknown"
        call = self._go_on(row, begun.completion, template=template)
        raw = next((one for one in call.sent if one.is_raw), None)
        if raw is None:
            return "not rendered"
        if raw.reply is None:
            return "not there" if raw.status in _NOT_THERE else raw.outcome
        if not (raw.reply.prompt_tokens and begun.prompt_tokens):
            return "not counted"
        if raw.reply.text.strip() and not call.has_news and call.stopped_by != "restart":
            # The library takes nothing of a round whose prompt is another one.
            return "another prompt"
        if cut is not None:
            return _thoughts_judged(call, cut, is_raw=True)
        whole, place = "" if self._first is None else self._first.text, len(begun.text.rstrip())
        rest = whole[place:] if whole.startswith(begun.text.rstrip()) else ""
        return _judged(rest, call.reply.text[place:])

    def _go_on(self, row: Provider, cut: Json, body: Json | None = None, **settings: Any) -> Continued:
        settings = {"provider": row.name, "trims": self.found.trims, **settings}
        return self._endpoint.go_on(body or self._body(), cut, **settings)

    def _ask(self, tokens: int, prompt: str = PROMPT) -> Reply | None:
        """Ask for an answer of so many tokens; return it, or None if the server gave none."""
        return self._endpoint.send({**self._body(prompt), "max_tokens": tokens})

    def _body(self, prompt: str = PROMPT) -> Json:
        """Return the body of a request without a limit."""
        return {"model": self._model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}

    def _sent_back(self, text: str, tokens: int, marks: str) -> Json:
        """Return the body of a request that sends a text back as it is."""
        row, body = MARKS[marks], self._body()
        messages = [*body["messages"], {"role": "assistant", "content": text, **row.message_marks}]
        return {**body, "messages": messages, "max_tokens": tokens, **row.body_marks}


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that was cut in its thoughts, and the thoughts that would have followed; "" if that is not known."""

    reply: Reply
    rest: str

    @classmethod
    def of(cls, reply: Reply | None, whole: str) -> Cut | None:
        """Return an answer as one, or None if it is none. ``whole``: the thoughts of a longer answer."""
        if reply is None or reply.finish_reason != "length" or reply.content.strip() or not reply.thoughts.strip():
            return None
        begun = reply.thoughts.strip()
        return cls(reply, whole[len(begun) :].strip() if whole.startswith(begun) else "")


def _cut_off(message: Json) -> Json:
    """Return a completion of this message that the token limit ended."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "length"}
    return {"id": "cut", "object": "chat.completion", "created": 0, "model": "cut", "choices": [choice]}


def _answer(reply: Reply) -> str:
    """Return the text of an answer that is sent back: the content without a think block in it, or the thoughts."""
    return Inline.of(reply.content).answer or reply.text


def _hides_cut(longer: Reply, shorter: Reply) -> bool:
    """Whether the shorter one of two answers was cut, since the other goes on after it, and does not say so."""
    long, short = ((one.thoughts + one.content).strip() for one in (longer, shorter))
    is_cut = bool(short) and long.startswith(short) and len(long) > len(short)
    return is_cut and shorter.finish_reason != "length"


def _beginning(whole: str) -> str:
    """Return about two thirds of a text, up to the end of a word: a tokenizer splits half a word in its own way."""
    cut = whole[: max(2 * len(whole) // 3, 1)]
    place = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:place] if place > len(cut) // 2 else cut).rstrip()


def _mark_judged(call: Continued, cut: str, whole: str, begun: str) -> str:
    """Return what the server did with a text sent back in one way. See _compared."""
    if call.last is None:
        return "unknown" if call.outcome == "no way" else call.outcome
    said = _compared(cut, whole, begun, call.last.text)
    # Of a new turn the library judges too. An answer that a parser files as thoughts looks like one to it.
    is_new = said == "continues" and bool(call.last.content) and call.stopped_by == "restart"
    return "new turn" if is_new else said


def _compared(cut: str, whole: str, begun: str, reply: str) -> str:
    """
    Return what the server did with a text sent back: "continues", "echoes", "restarts", "new turn" or "unknown".

    ``cut`` was sent back, ``whole`` is the answer that it was cut from, ``begun`` is the same answer once more, with as
    many tokens as the reply has, ``reply`` is the new text.
    """
    whole, begun, fresh = whole.strip(), begun.strip(), reply.strip()
    if not fresh:
        return "new turn"
    if fresh.startswith(cut.strip()):
        # The answer begun again may be so long only if it is a short one. Then nothing shows which of the two it is.
        return "unknown" if begun.startswith(fresh) else "echoes"
    continues, restarts = _agree(whole[len(cut.strip()) :].strip(), fresh), _agree(whole, fresh)
    if continues and restarts:
        return "unknown"
    return "continues" if continues else "restarts" if restarts else "new turn"


def _thoughts_judged(call: Continued, cut: Cut, *, is_raw: bool) -> str:
    """Return what became of thoughts that were cut. ``is_raw``: whether they were to go on at ``/completions``."""
    if call.outcome != "sent":
        return call.outcome
    fresh = call.reply.thoughts[len(cut.reply.thoughts.rstrip()) :] if call.is_raw is is_raw else ""
    judged = _judged(cut.rest, fresh)
    return "differs" if judged == "continues" and OPEN in call.reply.content else judged


def _judged(rest: str, fresh: str) -> str:
    """Return what came of a cut. ``rest``: what a longer answer has after it, "" if unknown; ``fresh``: what came."""
    if not fresh.strip():
        return "not continued"
    if not rest.strip():
        return "unknown"
    return "continues" if _agree(rest.strip(), fresh.strip()) else "differs"


def _agree(one: str, other: str) -> bool:
    """Whether two texts begin alike, as far as both go and up to a few words."""
    length = min(len(one), len(other), 12)
    return length > 0 and one[:length].strip() == other[:length].strip()


def _reasoning_form(reply: Reply) -> str:
    if reply.thoughts_in is not None:
        return f"in the field {reply.thoughts_in}"
    return "inline, as <think>" if OPEN in reply.content or CLOSE in reply.content else "none"


def _written(completion: Json) -> tuple[str, bool]:
    """Return the arguments of a call, or the content that shows it as text, and whether it is a call."""
    message: Json = completion["choices"][0]["message"]
    calls: list[Json] = message.get("tool_calls") or []
    if calls:
        return str(calls[-1].get("function", {}).get("arguments") or ""), True
    return str(message.get("content") or ""), False


def _cut_call(whole: Json) -> Json | None:
    """Return an answer whose call is cut at two thirds, at the end of a word; None if there is not enough to cut."""
    text, is_call = _written(whole)
    end = 2 * len(text) // 3
    while end and not text[end - 1].isalnum():
        end -= 1
    if end < 2 * TOKENS // 3:
        return None
    message: Json = copy.deepcopy(whole["choices"][0]["message"])
    if is_call:
        message["tool_calls"][-1]["function"]["arguments"] = text[:end]
    else:
        message["content"] = text[:end]
    return _cut_off(message)


def _opens_call(text: str, syntax: CallSyntax) -> bool:
    """Whether a text has the mark that opens a call."""
    mark, _, _ = (syntax.opens or syntax.head).strip().partition("{")
    return mark.partition("\n")[0] in text if mark else text.lstrip().startswith("{")


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True
