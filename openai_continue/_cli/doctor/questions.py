"""The questions to an endpoint about one model, as requests."""

from __future__ import annotations

from typing import Any

import openai

from ..._core.json import Json, as_object
from ..._core.text.reasoning import CLOSE, OPEN
from ..._tables import call_syntaxes, overflow
from ..._tables.providers import PROVIDERS, Provider, named
from . import judging
from .endpoint import NO_REPLY, TOKENS, UNMARKED, Continued, Endpoint, Reply, limited, written
from .judging import Cut
from .probes import Findings

#: The answer shows how far it has come, so a continuation and a restart look different.
PROMPT = "Count from 1 to 200 in words, one number a line, and write nothing else."
#: Output tokens of the first request. Two thirds of its text are sent back, which is more than TOKENS can hold: a reply
#: that begins with all of it has a copy of it, and is no restart.
FIRST_TOKENS = 3 * TOKENS
#: Output tokens of the first request to a model that thinks: enough for its thoughts and some answer to continue.
THINKING_TOKENS = 400
#: Chunks of text after which an answer without a limit is read no further.
MOST_BY_DEFAULT = 300
#: Its answer ends by itself.
SHORT_PROMPT = "Reply with OK and nothing else, in no more than 5 tokens."
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
# Statuses by which servers say that they have no such endpoint.
_NOT_THERE = (400, 404, 405, 413, 422, 501)


def mark_of(row: Provider) -> str:
    """Return the name of the last field with which a row marks a continuation, or "nothing" if it needs none."""
    return ["nothing", *row.body_marks, *row.message_marks][-1]


#: The ways to mark the message that is to be continued: by ``mark_of()``, the first row that marks it so, or no row's
#: marks. Servers ignore fields that they do not know, so the first way that works is the one to use.
MARKS: dict[str, Provider] = {"nothing": named(UNMARKED)}
for _row in PROVIDERS:
    if _row.continues:
        MARKS.setdefault(mark_of(_row), _row)


#: The ways to mark a message of ``/responses`` that is to be continued: by the last field of the body that marks it,
#: the row. The status of the message marks it too.
RESPONSE_MARKS: dict[str, Provider] = {
    ["status", *row.response_marks][-1]: row for row in PROVIDERS if row.response_marks is not None
}


class Doctor:
    """
    Asks one endpoint about one model. ``found`` holds what is known so far.

    ``streamed``: whether every answer is asked for as a stream.
    """

    def __init__(self, client: openai.OpenAI, model: str, *, streamed: bool = False) -> None:
        self.found = Findings()
        self._model = model
        self._endpoint = Endpoint(client, self.found, streamed=streamed)
        self._responses = Endpoint(client, self.found, streamed=False)
        # A long answer to PROMPT, and the same one cut after TOKENS tokens.
        self._first = self._begun = NO_REPLY
        # What came of the long text sent back, for each way of MARKS.
        self._replies: dict[str, Reply] = {}

    def examine(self) -> Findings:
        """
        Ask what the settings of every answer depend on. ``marks`` stays empty if the endpoint gave no answer.

        Raises the SDK's error if the endpoint cannot be reached.
        """
        first = self._ask(FIRST_TOKENS)
        if not first:
            return self.found
        self.found.reports_usage = any(first.usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        self.found.reasoning = judging.reasoning_form(first)
        if self.found.reasoning != "none":
            first = self._ask(THINKING_TOKENS) or first
        cut = self._ask_marks(first)
        if self.found.reasoning == "none" and not self.found.good_marks:
            # If the chat template opens the think block, only the closing tag shows it, further into the answer.
            longer = self._ask(THINKING_TOKENS) or first
            self.found.reasoning = judging.reasoning_form(longer)
            cut = self._ask_marks(longer) if self.found.reasoning != "none" else cut
        way = next(iter(self.found.good_marks), "nothing")
        self._ask_whitespace(way)
        self._ask_stream(cut, way)
        self._ask_end()
        self._ask_limits()
        self._ask_default()
        return self.found

    def _ask_marks(self, first: Reply) -> str:
        """Let the beginning of an answer be continued in each way; return that beginning."""
        whole = judging.answer_of(first)
        cut = judging.beginning_of(whole)
        self._first, self._begun = first, self._ask(TOKENS)
        for name, row in MARKS.items():
            call = self._endpoint.go_on(self._body(), judging.cut_off({"content": cut}), provider=row.name)
            self._replies[name] = call.last
            self.found.marks[name] = judging.judge_mark(call, cut, whole, self._begun.text)
        judging.find_new_turns(self.found.marks, self._replies)
        best = self._replies[next(iter(self.found.good_marks), "nothing")]
        if self.found.reasoning != "none" and self.found.good_marks:
            self.found.answer_arrives_in = best.text_in
        if judging.hides_cut(first, self._begun):
            self.found.hides_cuts = "streamed" if self._endpoint.streamed else "whole"
        return cut

    def _ask_whitespace(self, way: str) -> None:
        asked = [self._endpoint.send(self._sent_back(text, 1, way)) for text in ("a", "a\n\n\n")]
        counts = [reply.prompt_tokens for reply in asked]
        # A server whose count does not grow with the message counts something else, or nothing.
        if way in self.found.good_marks and min(counts) and self._replies[way].prompt_tokens > max(counts):
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
        self.found.streamed = judging.compare(cut, judging.answer_of(self._first), self._begun.text, reply.text)
        if not whole or self._endpoint.streamed:
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
        if not reply:
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

    # What depends on the row that fits, the model or the template.

    def cut_thoughts(self) -> Cut | None:
        """
        Return an answer that was cut in its thoughts, or None if there is none.

        It costs no request if the first answers hold one.
        """
        whole = self._first.thoughts.strip()
        found = Cut.of(self._begun, whole)
        if found is None and whole:
            # A token has eight characters at most, on the average.
            found = Cut.of(self._ask(max(1, min(TOKENS, len(whole) // 8))), whole)
        return found

    def ask_thoughts(self, row: Provider, cut: Cut) -> str:
        """Ask whether thoughts that were cut go on by the chat; return a result of "thoughts"."""
        return judging.judge_thoughts(self._go_on(row, cut.reply.completion), cut, is_raw=False)

    def ask_early_answer(self, row: Provider, cut: Cut) -> str:
        """Ask for an answer without more thoughts; return a result of "answer_after_thoughts"."""
        call = self._go_on(row, cut.reply.completion, on_reasoning_cut="answer")
        if not call.last:
            return call.outcome
        content, before = call.reply.content, cut.reply.thoughts.strip()
        if not content.strip():
            return "no answer" if len(call.reply.thoughts.strip()) <= len(before) else "thinks"
        # Some servers repeat the thoughts that were sent, some file the answer as thoughts.
        new = call.last.thoughts.strip().removeprefix(before).strip()
        # A parser that has seen no tag takes further thoughts for the answer.
        thinks = OPEN in content or CLOSE in content or (bool(cut.rest) and judging.agree(cut.rest, content.strip()))
        return "thinks" if thinks or (new and new not in content) else "answers"

    def ask_call(self, row: Provider) -> str:
        """Ask for a tool call, and let two thirds of it go on; return what becomes of it: a result of "tool_calls"."""
        syntax = call_syntaxes.of_model(self._model)
        if syntax is None:
            return "syntax unknown"
        body = {**self._body(CALL_PROMPT), "tools": [TOOL]}
        whole = self._endpoint.send({**body, "max_tokens": 4 * TOKENS})
        if not whole:
            return "failed"
        text, is_call = judging.call_in(whole.completion)
        if is_call and judging.is_json(text) and whole.finish_reason == "length":
            return "closed"
        cut = judging.cut_call(whole.completion)
        if cut is None or not (is_call or judging.opens_call(text, syntax)):
            return "no call"
        call = self._go_on(row, cut, body, continue_tool_calls=True)
        if call.outcome != "sent":
            return "not continued" if call.outcome == "no way" else "failed"
        joined = judging.call_in(call.reply.completion)[0]
        if len(joined) <= len(judging.call_in(cut)[0]):
            return "not continued"
        return "continues" if joined.startswith(text) or text.startswith(joined) else "differs"

    def ask_template(self, row: Provider, template: str, cut: Cut | None) -> str:
        """
        Ask whether the setting ``template`` works; return what becomes of it: a result of "template".

        ``cut``: an answer that was cut in its thoughts, if the model thinks in a field of its own.
        """
        begun = self._begun if cut is None else cut.reply
        if begun.finish_reason != "length":
            return "unknown"
        call = self._go_on(row, begun.completion, template=template)
        raw = next((one for one in call.sent if one.is_raw), None)
        if raw is None:
            return "not rendered"
        if not raw.reply:
            return "not there" if raw.status in _NOT_THERE else raw.outcome
        if not (raw.reply.prompt_tokens and begun.prompt_tokens):
            return "not counted"
        if raw.reply.text.strip() and not call.has_news and call.stopped_by != "restart":
            # The library takes nothing of a round whose prompt is another one.
            return "another prompt"
        if cut is not None:
            return judging.judge_thoughts(call, cut, is_raw=True)
        whole, place = self._first.text, len(begun.text.rstrip())
        rest = whole[place:] if whole.startswith(begun.text.rstrip()) else ""
        return judging.judge(rest, call.reply.text[place:])

    def ask_responses(self, row: Provider) -> str:
        """Let a cut answer at ``/responses`` go on in each way; return a result of "responses"."""
        body: Json = {"model": self._model, "input": PROMPT, "temperature": 0}
        errors, found, asked = len(self.found.errors), self.found, self._responses
        begun = asked.send(limited(body, TOKENS))
        if not begun:
            if asked.status not in _NOT_THERE:
                return asked.outcome
            # Many servers have none.
            del found.errors[errors:]
            return "not there"
        found.response_cap = _limit_in(asked.first_event(body))
        self._ask_response_marks(body)
        good = judging.good(found.response_marks)
        if judging.hides_cut(self._first, begun):
            return "hides"
        if good:
            return "continues" if any(RESPONSE_MARKS.get(name) == row for name in good) else "left alone"
        return "unknown" if {"unknown", "failed"} & set(found.response_marks.values()) else "not continued"

    def _ask_response_marks(self, body: Json) -> None:
        """Send the beginning of an answer back without a mark, and let the library do so in each way."""
        whole = judging.answer_of(self._first)
        cut = judging.beginning_of(whole)
        messages = [{"role": "user", "content": PROMPT}, {"type": "message", "role": "assistant", "content": cut}]
        unmarked = self._responses.send(limited({**body, "input": messages}, TOKENS))
        replies, marks = {"nothing": unmarked}, self.found.response_marks
        marks["nothing"] = judging.compare(cut, whole, self._begun.text, unmarked.text) if unmarked else "refused"
        for name, row in RESPONSE_MARKS.items():
            call = self._responses.go_on(body, judging.cut_response(cut), provider=row.name)
            replies[name] = call.last
            marks[name] = judging.judge_mark(call, cut, whole, self._begun.text)
        judging.find_new_turns(marks, replies)

    def _go_on(self, row: Provider, cut: Json, body: Json | None = None, **settings: Any) -> Continued:
        settings = {"provider": row.name, "trims": self.found.trims, **settings}
        return self._endpoint.go_on(body or self._body(), cut, **settings)

    def _ask(self, tokens: int, prompt: str = PROMPT) -> Reply:
        """Ask for an answer of this many tokens."""
        return self._endpoint.send(limited(self._body(prompt), tokens))

    def _body(self, prompt: str = PROMPT) -> Json:
        """Return the body of a request without a limit."""
        return {"model": self._model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}

    def _sent_back(self, text: str, tokens: int, marks: str) -> Json:
        """Return the body of a request that sends a text back as it is."""
        row, body = MARKS[marks], self._body()
        messages = [*body["messages"], {"role": "assistant", "content": text, **row.message_marks}]
        return {**body, "messages": messages, "max_tokens": tokens, **row.body_marks}


def _limit_in(event: Json) -> int | None:
    """Return the most output tokens of an answer that an event of its stream shows, or None if it shows none."""
    limit = (as_object(event.get("response")) or {}).get("max_output_tokens")
    return limit if isinstance(limit, int) else None
