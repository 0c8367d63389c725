"""Ask one endpoint about one model, with a dozen tiny requests, how it continues."""

from __future__ import annotations

import openai

from ..._core.chunks import choices_of
from ..._core.json import Json
from ..._core.text.reasoning import CLOSE, OPEN, Inline, field_of
from ..._tables import overflow
from ..._tables.providers import PROVIDERS, Provider
from .endpoint import Endpoint, deltas, folded, message_of, parts, text_of, usage_of
from .findings import Findings

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
#: The answer to it ends by itself.
SHORT_PROMPT = "Reply with OK and nothing else, in no more than 5 tokens."
#: A prompt longer than the blocks in which servers cache prompts.
LONG_PROMPT = "Reply with OK. " + "one two three four five six seven eight nine ten " * 130
#: Tokens of the shortest prompt that is sure to fill a block: OpenAI's is the longest, 1,024 and 128 more.
FILLS_A_BLOCK = 1152
#: What an examination costs.
COST = "up to 1,500 output tokens and about 4,500 input tokens in 14 to 24 requests"


def mark_of(row: Provider) -> str:
    """Return the name of the last field with which a row marks a continuation, or "nothing" if it needs none."""
    return ["nothing", *row.body_marks, *row.message_marks][-1]


#: The ways to mark the message that is to be continued: by ``mark_of()``, the first row that marks it so. The order is
#: that of the table. Servers ignore fields that they do not know, so the first way that works is the one to use.
MARKS: dict[str, Provider] = {}
for _row in PROVIDERS:
    if _row.continues:
        MARKS.setdefault(mark_of(_row), _row)


class Doctor:
    """
    Asks one endpoint about one model. ``found`` holds what is known so far.

    ``streamed``: whether every answer is asked for as a stream.
    """

    def __init__(self, client: openai.OpenAI, model: str, *, streamed: bool = False) -> None:
        self.found = Findings()
        #: The model that is asked, and what sends the requests.
        self.model = model
        self.endpoint = Endpoint(client, self.found, streamed=streamed)
        #: A long answer to PROMPT, and the same one cut after TOKENS tokens; None if there is none.
        self.first: Json | None = None
        self.begun: Json | None = None
        # What came of the long text sent back, for each way of MARKS.
        self._replies: dict[str, Json | None] = {}

    def examine(self) -> Findings:
        """
        Send all requests; return what was found. ``marks`` is empty if the endpoint gave no answer.

        Raises the SDK's error if the endpoint cannot be reached.
        """
        first = self._ask([], FIRST_TOKENS)
        if first is None:
            return self.found
        self.found.reports_usage = any(usage_of(first).get(name) for name in ("prompt_tokens", "completion_tokens"))
        self.found.reasoning = _reasoning_form(message_of(first))
        if self.found.reasoning != "none":
            first = self._ask([], THINKING_TOKENS) or first
        cut = self._ask_marks(first)
        if self.found.reasoning == "none" and not self.found.good_marks:
            # If the chat template opens the think block, only the closing tag shows it, further into the answer.
            longer = self._ask([], THINKING_TOKENS) or first
            self.found.reasoning = _reasoning_form(message_of(longer))
            cut = self._ask_marks(longer) if self.found.reasoning != "none" else cut
        way = self._best_way
        self._ask_whitespace(way)
        self._ask_stream(cut, way)
        self._ask_end()
        self._ask_limits()
        self._ask_default()
        self._ask_twice()
        return self.found

    def _ask_marks(self, first: Json) -> str:
        """Send the beginning of an answer back in each way; return that beginning."""
        whole = _whole(first)
        cut = _cut(whole)
        self.first, self.begun = first, self._ask([], TOKENS)
        begun = self._begun_text
        for name in MARKS:
            reply = self._replies[name] = self._ask([cut], TOKENS, marks=name)
            message = {} if reply is None else message_of(reply)
            self.found.marks[name] = (
                self.endpoint.outcome if reply is None else _judge(cut, whole, begun, text_of(message))
            )
        self._find_new_turns()
        best = self._replies[self._best_way]
        if self.found.reasoning != "none" and self.found.good_marks and best is not None:
            self.found.answer_arrives_in = _place_of(message_of(best))
        if self.begun is not None and _hides_cut(self.first, self.begun):
            self.found.hides_cuts = "streamed" if self.endpoint.streamed else "whole"
        return cut

    def _find_new_turns(self) -> None:
        """
        Tell a new turn from a continuation by the tokens of the prompt.

        A model may go on in a new turn, too: the end of the turn and the head of the next one are in the prompt then.
        """
        good = self.found.good_marks
        counts = {name: usage_of(self._replies[name]).get("prompt_tokens") or 0 for name in good}
        least = min((count for count in counts.values() if count), default=0)
        for name in good:
            if counts[name] > least + 1 > 1:
                self.found.marks[name] = "new turn"

    @property
    def _best_way(self) -> str:
        return next(iter(self.found.good_marks), "nothing")

    @property
    def _begun_text(self) -> str:
        return "" if self.begun is None else text_of(message_of(self.begun))

    def _ask_whitespace(self, way: str) -> None:
        counts = [usage_of(self._ask([text], 1, marks=way)).get("prompt_tokens") or 0 for text in ("a", "a\n\n\n")]
        long = usage_of(self._replies[way]).get("prompt_tokens") or 0
        # A server whose count does not grow with the message counts something else, or nothing.
        if way in self.found.good_marks and min(counts) and long > max(counts):
            self.found.trims = counts[0] == counts[1]

    def _ask_stream(self, cut: str, way: str) -> None:
        """Ask for a continued stream, without any other wish, so that it shows what streams are like."""
        chunks = self.endpoint.stream(self._request([cut], TOKENS, way))
        if not chunks:
            self.found.streamed = self.endpoint.outcome
            return
        for chunk in chunks:
            if not (usage := usage_of(chunk)):
                continue
            where = "on the last chunk" if chunk.get("choices") else "on a chunk of its own"
            self.found.usage_in_streams = where if usage.get("prompt_tokens") else "all zero"
        reply = folded(chunks)
        said = text_of(message_of(reply)) if reply["choices"] else ""
        if self.found.reasoning != "none" and said:
            self.found.stream_arrives_in = _place_of(message_of(reply))
        self.found.echoes_stream = said.startswith(cut)
        if self.first is not None:
            self.found.streamed = _judge(cut, _whole(self.first), self._begun_text, said)
        whole = self._replies[way]
        if whole is None or self.endpoint.streamed:
            self.found.hides_cuts = self.found.hides_cuts or "none"
            return
        # Two answers to the same request, with the same text, end alike.
        same = text_of(message_of(whole)).removeprefix(cut).strip() == said.removeprefix(cut).strip() != ""
        ends = [one["choices"][0].get("finish_reason") for one in (whole, reply)] if same else []
        if self.found.hides_cuts is not None:
            self.found.hides_cuts = "whole" if ends[1:] == ["length"] else "both"
        else:
            self.found.hides_cuts = "streamed" if same and ends[0] == "length" != ends[1] else "none"

    def _ask_end(self) -> None:
        """Ask for an answer that ends by itself, to see whether it says so."""
        reply = self.endpoint.send({**self._request([], FIRST_TOKENS), "messages": _user(SHORT_PROMPT)})
        if reply is None:
            return
        is_cut = reply["choices"][0].get("finish_reason") == "length"
        written = "".join(parts(message_of(reply)))
        # A token has a character or more, so that fewer characters are fewer tokens.
        if not is_cut or (message_of(reply).get("content") and len(written) < FIRST_TOKENS):
            self.found.claims_cuts = is_cut

    def _ask_limits(self) -> None:
        # The server either refuses so many tokens, naming its context, or begins an answer. Its beginning is enough:
        # the whole one may fill the context.
        errors = len(self.found.errors)
        came = self.endpoint.stream({**self._request([], 1_000_000), "stop": ["e", "\n", " ", "o"]}, most=1)
        error = self.endpoint.error
        for chunk in came:
            # DeepInfra refuses a stream in the stream.
            said = overflow.read(str(chunk.get("error_message") or ""))
            if isinstance(said, overflow.Overflow):
                self.found.context_length = said.context_length
        if isinstance(error, openai.APIStatusError):
            # It was asked for.
            del self.found.errors[errors:]
            said = overflow.read(f"{error.message} {error.body}")
            self.found.context_length = said.context_length if isinstance(said, overflow.Overflow) else None

    def _ask_default(self) -> None:
        request = self._request([], 0)
        del request["max_tokens"]
        for chunk in self.endpoint.stream(request, most=MOST_BY_DEFAULT):
            # Count a chunk as one token; a server that puts several into one is read a little further.
            self.found.default_tokens += any(any(parts(delta)) for delta in deltas(chunk))
            for choice in choices_of(chunk) or []:
                self.found.stops_at_default = choice.get("finish_reason") == "length"
        if self.found.stops_at_default:
            limit = self.found.default_tokens
            more = self.endpoint.stream(self._request([], 2 * limit + TOKENS), most=limit + TOKENS // 2)
            self.found.is_cap = bool(more) and sum(any(map(any, map(parts, deltas(one)))) for one in more) <= limit

    def _ask_twice(self) -> None:
        """Ask two times with a long prompt, to see whether the second finds it cached."""
        usage: Json = {}
        for _ in range(2):
            usage = usage_of(self.endpoint.send({**self._request([], 1), "messages": _user(LONG_PROMPT)}))
        details: Json = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        if cached:
            self.found.caches_prefix = True
        elif cached == 0 and (usage.get("prompt_tokens") or 0) >= FILLS_A_BLOCK:
            self.found.caches_prefix = False

    def _ask(self, beginnings: list[str], tokens: int, *, marks: str = "nothing") -> Json | None:
        """Ask for an answer; return the completion, or None if the server refused or gave no choices."""
        return self.endpoint.send(self._request(beginnings, tokens, marks))

    def _request(self, beginnings: list[str], tokens: int, marks: str = "nothing") -> Json:
        """Return the body of a request whose answer has one beginning, or none."""
        row = MARKS[marks]
        messages = _user(PROMPT)
        messages += [{"role": "assistant", "content": text, **row.message_marks} for text in beginnings]
        return {**self.body(), "messages": messages, "max_tokens": tokens, **row.body_marks}

    def ask(self, tokens: int) -> Json | None:
        """Ask for an answer of so many tokens; return the completion, or None if the server gave none."""
        return self._ask([], tokens)

    def body(self) -> Json:
        """Return the body of a request without a limit."""
        return {"model": self.model, "messages": _user(PROMPT), "temperature": 0}


def _user(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def _place_of(message: Json) -> str | None:
    """Return the field in which the text of a message is."""
    return "content" if message.get("content") else field_of(message)


def _whole(reply: Json) -> str:
    """Return the text of an answer that is sent back."""
    return _answer(message_of(reply)) or text_of(message_of(reply))


def _hides_cut(longer: Json, shorter: Json) -> bool:
    """Whether the shorter one of two answers was cut, since the other goes on after it, and does not say so."""
    long, short = ("".join(reversed(parts(message_of(one)))).strip() for one in (longer, shorter))
    is_cut = bool(short) and long.startswith(short) and len(long) > len(short)
    return is_cut and shorter["choices"][0].get("finish_reason") != "length"


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
    continues, restarts = agree(rest, fresh), agree(whole, fresh)
    if continues and restarts:
        return "unknown"
    return "continues" if continues else "restarts" if restarts else "new turn"


def agree(one: str, other: str) -> bool:
    """Whether two texts begin alike, as far as both go and up to a few words."""
    length = min(len(one), len(other), 12)
    return length > 0 and one[:length].strip() == other[:length].strip()


def _answer(message: Json) -> str:
    """Return the content of a message without the thoughts between ``<think>`` tags in it."""
    return Inline.of(str(message.get("content") or "")).answer


def _reasoning_form(message: Json) -> str:
    content, _ = parts(message)
    name = field_of(message)
    if name is not None:
        return f"in the field {name}"
    return "inline, as <think>" if OPEN in content or CLOSE in content else "none"
