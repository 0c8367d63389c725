"""
Rounds: the state machine behind one logical completion. No I/O, no clock, no SDK: dicts in, dicts out.

A round is one request and its response; every round after the first is a continuation. The first round is the
caller's own request and may bring several choices; each later round continues one of them.

Order of calls. ``next_request()`` gives the request to send, or None at the end. What came of it is told by
``receive()`` (whole), or by ``feed()`` for each chunk and then ``end_of_stream()`` (streamed), or by ``fail()``.
At the end ``completion()`` gives the merged answer of whole rounds, ``last_chunks()`` the end of a merged stream.

Rules:
1. Only ``finish_reason == "length"`` calls for a further round.
2. The caller's token limit is a total: limits.py.
3. A continuation is the same body with one growing assistant message at its end.
4. Text is joined raw: seam.py says what is held back and what is dropped, prefill.py what goes back, answer.py joins.
5. The merged answer has the id, created, model and fingerprint of the first round, one role, the summed usage and the
   finish_reason of the last round. Chunks that need no change are given back as the objects that came.
6. Thoughts and answer are told apart by what had come before the cut, not by the field that new text arrives in.
7. A continued document of a known format ends where the document ends, and in "length" if the join is none.
8. A stream that breaks off is healed by a round that goes on from its text.
9. Where it is not safe to go on, the answer ends as the server ended it: "length". The report says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .. import providers
from ..providers import Provider
from ..report import Round, SeamReport, report
from ..settings import Continuation
from . import reasoning
from .characters import without_cut_character
from .choice import Choice
from .chunks import choices_of, delta_of, has_news, index_of, part_end, singles, text_of, without_usage
from .jsons import Json, as_object, as_string
from .limit import Limit
from .logprobs import add_logprobs, logprobs_of
from .overflow import Overflow
from .overflow import read as read_overflow
from .prefill import Prefill
from .repetition import is_looping
from .seam import Seam
from .structured import Format, without_format
from .text import Stopped, Text
from .usage import add_usage

NATURAL_ENDS = ("stop", "tool_calls", "function_call", "content_filter")
_NOT_CONTINUED = (Stopped.RESTARTED, Stopped.REFUSED)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send: ``number`` 1 is the caller's own, a later one continues ``choice``."""

    number: int
    choice: int | None
    body: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a round could not be had, as plain data."""

    type: str
    status: int | None = None
    request_id: str | None = None
    #: What the server said, read for the size of its context and told to nobody.
    text: str = field(default="", repr=False)
    #: Whether a stream broke off that had begun.
    broke_off: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What is to be done about a failure.

    Unless it is to be raised: give the caller these chunks, wait so many seconds, and ask for the next request.
    """

    raises: bool = False
    chunks: list[Json] = field(default_factory=list[Json], repr=False)
    after: float = 0.0


#: Heals in a row that bring no new text; and the seconds before the first and before any of them: the SDK's own.
MAX_HEALS = 3
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
#: How often a round is asked for again with fewer tokens, and by how many fewer, for a prompt is not counted exactly.
MAX_SHRINKS = 3
SHRINK_MARGIN = 16


@dataclass(slots=True, repr=False)
class _Running:
    """The round that is being received."""

    request: Request
    asked: int | None
    id: str | None = None
    request_id: str | None = None
    usage: Json | None = None
    #: By what index a later round calls its choice.
    index: int | None = None
    #: Whether anything of it came; and whether its choices came to their end.
    began: bool = False
    finished: bool = False


class Rounds:
    """See the module's docstring."""

    def __init__(
        self, body: Mapping[str, Any], provider: Provider, settings: Continuation, *, restarts: bool = False
    ) -> None:
        self._body = dict(body)
        self._provider = provider
        self._settings = settings
        #: Whether this model is known to begin anew instead of going on.
        self.restarts = restarts
        #: How many choices the caller wants.
        self.wanted = choices_wanted(body)
        self._limit = Limit.of(body, provider, settings)
        self._stops = _stop_strings(body)
        self._format = Format.of(body)
        trims = provider.trims if settings.trims is None else settings.trims
        self._prefill = Prefill(
            body,
            provider,
            trims=providers.trims(body.get("model")) if trims is None else trims,
            structured=self._format is not None,
        )
        self._hides_usage = _counts_unasked(body, provider, self._limit)
        self._choices: dict[int, Choice] = {}
        self._queue: list[Choice] = []
        self._running: _Running | None = None
        self._number = 0
        self._first: Json = {}
        self._usage: Json | None = None
        self._stopped_by: str | None = None
        self._error: Json | None = None
        # Streams: from a truncated end on, the chunks of a round as they came; then the ends that stand if no further
        # round can be had.
        self._held: list[Json] = []
        self._ends: dict[int, Json] = {}
        self._trailing: list[Json] = []
        # The choice and the text that the last chunk fed has added to, if the next one need not be seen.
        self._flowing: tuple[Choice, Text] | None = None
        #: The rounds that were had or tried, in order.
        self.history: list[Round] = []

    # Requests.

    def next_request(self) -> Request | None:
        """Return the request to send now; None where the answer has ended."""
        if self._running is not None:
            msg = f"round {self._running.request.number} is still being received"
            raise RuntimeError(msg)
        if self._number == 0:
            self._running = _Running(Request(1, None, self._first_body()), self._limit.asked(0, first=True))
        elif self._queue:
            choice = self._queue[0]
            request = Request(self._number + 1, choice.index, self._later_body(choice))
            self._running = _Running(request, self._asked(choice))
        else:
            return None
        self._number += 1
        return self._running.request

    @property
    def continued(self) -> bool:
        """Whether a further round was sent, or was called for and not sent for a reason that the report names."""
        return self._number > 1 or self._stopped_by is not None

    @property
    def finished(self) -> bool:
        """Whether every choice of the running round has come to its end, if not to the end mark of the stream."""
        if self._running is None or self._running.request.number > 1:
            return self._running is not None and self._running.finished
        return len(self._choices) >= self.wanted and all(choice.finish_reason for choice in self._choices.values())

    @property
    def report(self) -> Json:
        """The JSON object that stands as ``continuation`` on the merged answer."""
        return report(self.history, self.stopped_by, self._error)

    @property
    def stopped_by(self) -> str:
        """Why the merged answer ends where it ends."""
        return self._stopped_by or "length"

    def _first_body(self) -> Json:
        return _asking(self._body, self._limit, usage=self._hides_usage)

    def _later_body(self, choice: Choice) -> Json:
        body = self._limit.on_later(self._first_body(), self._asked(choice))
        body = _of_one_round(without_format(body), choice.used)
        thoughts = "" if choice.thoughts is None else choice.thoughts.text
        content = choice.answer.text
        body, joint = self._prefill.write(body, content, thoughts, choice.hold, first=not choice.joined)
        choice.thinking = bool(thoughts) and not content
        if choice.thoughts is not None:
            choice.thoughts.start_round(joint if choice.thinking else Seam())
        document = None
        if self._format is not None and self._format.is_json:
            inline = self._prefill.part(content, thoughts)
            document = None if inline.thinking else inline.answer
        choice.answer.start_round(Seam() if choice.thinking else joint, document=document)
        return body

    def _asked(self, choice: Choice) -> int | None:
        asked = self._limit.asked(choice.used, first=False)
        return asked if asked is None or choice.room is None else min(asked, choice.room)

    # Whole rounds.

    def receive(self, request: Request, completion: object, request_id: str | None = None) -> Decision:
        """Take the whole response of a round, a JSON object; anything else counts as a failed round."""
        running = self._expect(request)
        items = choices_of(completion)
        if items is None or len({index_of(item) for item in items}) < max(len(items), request.number > 1):
            said = "" if request.number == 1 else _said(completion)
            return self.fail(request, Failure("APIResponseValidationError", request_id=request_id, text=said))
        answer = cast(Json, completion)
        running.id, running.request_id = as_string(answer.get("id")), request_id
        running.usage = as_object(answer.get("usage"))
        if request.number == 1:
            self._first = answer
            for item in items:
                self._take_whole(running, self._choice(index_of(item)), item)
        else:
            choice = self._queue[0]
            self._take_whole(running, choice, items[0])
            if not running.finished:
                # Nobody knows whether more was to come; what came is kept.
                choice.rounds += 1
                decision = self.fail(request, Failure("APIResponseValidationError", request_id=request_id))
                self._collect(choice, decision.chunks)
                return decision
        for choice, chunks in self._close(running):
            self._collect(choice, chunks)
        return Decision()

    def _take_whole(self, running: _Running, choice: Choice, item: Json) -> None:
        """Take a choice as the one chunk of a stream."""
        message = as_object(item.get("message")) or {}
        chunk = {"choices": [{**item, "delta": message}]}
        text = text_of(chunk)
        if item.get("logprobs") is not None and text:
            # Tokens of a cut character, whose bytes are in no text.
            chunk["choices"][0]["logprobs"] = logprobs_of(item["logprobs"], text, 0, len(text))
        self._collect(choice, choice.take(chunk, later=running.request.number > 1))
        self._take_end(running, choice, item)
        if choice.stopped in _NOT_CONTINUED:
            return
        for name, value in message.items():
            if name not in ("role", "content", *reasoning.FIELDS) and value is not None:
                choice.extras.setdefault(name, value)
        choice.beside = {name: item[name] for name in item if name not in ("index", "message", "logprobs")}

    def _collect(self, choice: Choice, chunks: list[Json]) -> None:
        for chunk in chunks:
            choice.logprobs = add_logprobs(choice.logprobs, as_object(chunk["choices"][0].get("logprobs")))

    def completion(self) -> Json:
        """Return the merged answer; the first round's own object where nothing was continued."""
        if not self.continued:
            return self._first
        if "choices" not in self._first:
            return self._whole_of_stream()
        merged = {**self._first, "choices": [self._merged(item) for item in self._first["choices"]]}
        if self._usage is not None:
            merged["usage"] = self._usage
        merged["continuation"] = self.report
        return merged

    def _whole_of_stream(self) -> Json:
        choices = [
            {
                "index": choice.index,
                "finish_reason": choice.finish_reason,
                "message": {
                    "role": "assistant",
                    "content": choice.answer.text,
                    **({} if choice.thoughts is None else {choice.thoughts.field: choice.thoughts.text}),
                },
            }
            for choice in self._choices.values()
        ]
        whole = {**self._first, "object": "chat.completion", "choices": choices, "continuation": self.report}
        return whole if self._usage is None else {**whole, "usage": self._usage}

    def _merged(self, item: Json) -> Json:
        choice = self._choices[index_of(item)]
        if choice.rounds == 1 and not choice.cut:
            return item
        message = {**item["message"]}
        if choice.answer.text or message.get("content"):
            message["content"] = choice.answer.text
        if choice.thoughts is not None:
            # Some servers give them under both names.
            message.update({name: choice.thoughts.text for name in reasoning.FIELDS if as_string(message.get(name))})
            message[choice.thoughts.field] = choice.thoughts.text
        for name, value in choice.extras.items():
            if message.get(name) is None:
                message[name] = value
        merged = {**item, **choice.beside, "message": message, "finish_reason": choice.finish_reason}
        if item.get("logprobs") is not None or choice.logprobs is not None:
            merged["logprobs"] = choice.logprobs or {**(as_object(item.get("logprobs")) or {}), "content": []}
        return merged

    # Streamed rounds.

    def feed(self, request: Request, chunk: Json, request_id: str | None = None) -> list[Json]:
        """Take one chunk of a round; return the chunks of the merged stream that are certain by it."""
        running = self._expect(request)
        items = choices_of(chunk)
        if items is None:
            return [chunk] if request.number == 1 else []
        running.began = True
        if running.id is None:
            running.id, running.request_id = as_string(chunk.get("id")), request_id
            if request.number == 1:
                self._first = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        usage = as_object(chunk.get("usage"))
        if usage is not None:
            running.usage = usage
            if self._hides_usage and not items:
                return []
        if self._hides_usage:
            chunk = without_usage(chunk)
        if not items:
            return self._feed_without_choice(running, chunk)
        if request.number > 1:
            # One choice was asked for; whatever else is there belongs to no answer.
            running.index = index_of(items[0]) if running.index is None else running.index
            items = [item for item in items if index_of(item) == running.index]
            chunk = {**chunk, "choices": items}
            if not items:
                return []
        feed_one = self._feed_first if request.number == 1 else self._feed_later
        if len(items) == 1:
            return feed_one(running, chunk)
        parts = list(singles(chunk, items))
        certain = [feed_one(running, single) for single in parts]
        as_it_came = request.number == 1 and all(
            len(ready) == 1 and ready[0] is single for single, ready in zip(parts, certain, strict=True)
        )
        return [chunk] if as_it_came else [single for ready in certain for single in ready]

    def flows(self, request: Request, chunk: Json) -> str | None:
        """
        Return the field of the text that a chunk, just fed, is made of; None where there is more to it.

        Chunks that come next and differ from it in this text alone are certain as they come: ``feed_text`` takes them.
        """
        self._expect(request)
        self._flowing = None
        items = choices_of(chunk)
        if not items or len(items) > 1 or chunk.get("usage") is not None:
            return None
        item = items[0]
        news = [name for name, value in delta_of(chunk).items() if value and name != "role"]
        choice = self._queue[0] if request.number > 1 else self._choices.get(index_of(item))
        if choice is None or len(news) != 1 or item.get("finish_reason") or item.get("logprobs") is not None:
            return None
        as_thoughts = choice.thoughts if request.number == 1 or choice.thinking else None
        for answer in (choice.answer, as_thoughts):
            if answer is not None and answer.field == news[0] and answer.flows:
                self._flowing = choice, answer
                return answer.field
        return None

    def feed_text(self, request: Request, text: str, chunks: int) -> None:
        """Take the text of so many chunks like the last one, of which ``flows`` has said that they can be taken so."""
        self._expect(request)
        if self._flowing is None:
            msg = "no chunk of which it would be certain was fed before this text"
            raise RuntimeError(msg)
        choice, answer = self._flowing
        choice.chunks += chunks
        answer.add(text)

    def _feed_without_choice(self, running: _Running, chunk: Json) -> list[Json]:
        """Take a chunk of usage or of nothing (some servers send one to keep the connection open)."""
        if running.request.number == 1 and not self._held:
            return [chunk]
        if chunk.get("usage") is not None:
            self._held.append(chunk)
        return []

    def _feed_first(self, running: _Running, chunk: Json) -> list[Json]:
        choice = self._choice(index_of(chunk["choices"][0]))
        if not self._take_end(running, choice, chunk["choices"][0]):
            return choice.take(chunk, later=False)
        if choice.finish_reason == "length" or self._held:
            return self._take_held_end(running, choice, chunk)
        choice.ended = True
        return choice.take(chunk, later=False) + choice.end_texts(goes_on=False)

    def _feed_later(self, running: _Running, chunk: Json) -> list[Json]:
        choice = self._queue[0]
        item = cast(Json, chunk["choices"][0])
        delta = as_object(item.get("delta")) or {}
        item = {**item, "index": choice.index, "delta": {name: delta[name] for name in delta if name != "role"}}
        chunk = {**chunk, **self._identity(chunk), "choices": [item]}
        if choice.stopped is not None:
            return []
        if self._take_end(running, choice, item):
            return self._take_held_end(running, choice, chunk)
        if chunk.get("usage") is not None:
            chunk["usage"] = add_usage(self._usage, as_object(chunk["usage"]))
        return choice.take(chunk, later=True) if has_news(chunk) else []

    def _take_held_end(self, running: _Running, choice: Choice, chunk: Json) -> list[Json]:
        """Keep an end back until the round is over: whole where it may be the last one, else without its text."""
        if not has_news(chunk):
            self._held.append(chunk)
            return []
        news, end = part_end(chunk)
        ready = choice.take(news, later=running.request.number > 1)
        if running.request.number == 1 and ready and ready[-1] is news:
            self._held.append(chunk)
            return ready[:-1]
        self._held.append(end)
        return ready

    def _part_held(self) -> list[Json]:
        """Leave bare ends of what is kept back; return the text that came with them."""
        texts: list[Json] = []
        for place, chunk in enumerate(self._held):
            if chunk["choices"] and has_news(chunk):
                news, self._held[place] = part_end(chunk)
                texts.append(news)
        return texts

    def end_of_stream(self, request: Request) -> list[Json]:
        """Take the end of a round's stream; return the text that is certain by it."""
        return self._end_stream(self._expect(request))

    def _end_stream(self, running: _Running) -> list[Json]:
        ready = [chunk for _, certain in self._close(running) for chunk in certain]
        if self.continued or self._queue:
            ready = self._part_held() + ready
            held, self._held = self._held, []
            self._trailing = [chunk for chunk in held if not chunk["choices"]] or self._trailing
            self._ends.update({index_of(chunk["choices"][0]): chunk for chunk in held if chunk["choices"]})
        return ready

    def last_chunks(self) -> list[Json]:
        """Return the end of the merged stream: what was kept back, or the ends with the sums and the report."""
        if not self.continued:
            held, self._held = self._held, []
            return held
        for choice in self._choices.values():
            if not choice.ended and choice.index not in self._ends:
                # Its stream broke off, and no later round brought an end.
                self._ends[choice.index] = {**self._first, "choices": [{"index": choice.index, "delta": {}}]}
        ends = [self._end(index, chunk) for index, chunk in self._ends.items()]
        last = [without_usage(chunk) for chunk in ends]
        if self._usage is not None and not self._hides_usage:
            if any(chunk.get("usage") is not None for chunk in ends):
                last[-1] = {**last[-1], "usage": self._usage}
            last += [{**chunk, **self._identity(chunk), "usage": self._usage} for chunk in self._trailing]
        if last:
            last[-1] = {**last[-1], "continuation": self.report}
        self._ends, self._trailing = {}, []
        return last

    def _end(self, index: int, chunk: Json) -> Json:
        item = {**chunk["choices"][0], "index": index, "finish_reason": self._choices[index].finish_reason}
        return {**chunk, **self._identity(chunk), "choices": [item]}

    def _identity(self, chunk: Json) -> Json:
        """Return what the first round says of itself, for the fields that this chunk has."""
        return {name: value for name, value in self._first.items() if name in chunk}

    # Both.

    def fail(self, request: Request, failure: Failure) -> Decision:
        """
        Take the failure of a round: one that could not be had, or a stream that broke off.

        What has arrived stays. Where no further round can mend it, it ends in "length".
        """
        running = self._expect(request)
        running.request_id = running.request_id or failure.request_id
        if request.number > 1:
            self._queue[0].current.drop_opening(unless_text=True)
        overflow = read_overflow(failure.text) if failure.text else None
        if overflow is not None and self._shrinks(running, overflow):
            return Decision()
        if overflow is None and failure.status == 400 and request.number > 1 and self._prefill.drops_block():
            self._running, self._number = None, self._number - 1
            return Decision()
        if failure.broke_off and self._heals(running):
            return self._heal(running)
        self._running = None
        if request.number == 1:
            flushed = [ready for one in self._choices.values() for ready in one.flush()]
            return Decision(raises=True, chunks=self._part_held() + flushed)
        self._note(running, None)
        # A full context is this choice's affair; an error that the SDK's retries could not mend would be every one's.
        ended = self._queue[:1] if overflow is not None else self._queue
        self._queue = self._queue[len(ended) :]
        self._held = []
        self._stopped_by = "error" if overflow is None else "context"
        for choice in ended:
            choice.finish_reason, choice.stopped_by = "length", self._stopped_by
        if overflow is None:
            self._error = {"type": failure.type, "status": failure.status, "request_id": running.request_id}
        raises = overflow is None and self._settings.on_error == "raise"
        return Decision(raises=raises, chunks=[ready for choice in ended for ready in choice.flush()])

    def _shrinks(self, running: _Running, overflow: Overflow) -> bool:
        """Ask again for what fits, where the number of tokens was too large and not the prompt."""
        if running.began or overflow.full:
            return False
        if running.request.number == 1:
            # The caller's own number is answered by the caller's own error, on which frameworks act.
            if not self._limit.is_ours:
                return False
            self._limit = self._limit.fitting(_room(overflow, None))
            self._running, self._number = None, 0
            return True
        choice = self._queue[0]
        if running.asked is None or choice.shrinks == MAX_SHRINKS:
            return False
        room = _room(overflow, choice.context)
        room = None if room is None else room - SHRINK_MARGIN * choice.shrinks
        if room is None or room >= running.asked:
            # Nobody knows, or who knew was wrong.
            room = running.asked // 2
        if room < 1:
            return False
        choice.room, choice.shrinks = room, choice.shrinks + 1
        self._running, self._number = None, self._number - 1
        return True

    def _heals(self, running: _Running) -> bool:
        """Tell whether a stream that broke off can go on from the text that has arrived."""
        if not self._settings.heal_streams or self._format is not None:
            return False
        if running.request.number > 1:
            choice = self._queue[0]
            choice.heals = 0 if choice.added > 0 else choice.heals
            more = choice.rounds + 1 < self._settings.max_rounds
            return more and choice.barred is None and choice.heals < MAX_HEALS
        broken = [choice for choice in self._choices.values() if not choice.finish_reason]
        if len(self._choices) != self.wanted or not broken or self.restarts or self._settings.max_rounds == 1:
            return False
        return all(self._may_continue(choice) is None for choice in broken)

    def _heal(self, running: _Running) -> Decision:
        """Book a broken round as one that was cut."""
        parties = list(self._choices.values()) if running.request.number == 1 else [self._queue[0]]
        if running.request.number > 1:
            self._queue[0].current.drop_opening(unless_text=False)
        for choice in parties:
            if running.request.number > 1 or not choice.finish_reason:
                choice.finish_reason = "length"
                choice.heals += 1
        running.usage, running.finished = None, False
        heals = max(choice.heals for choice in parties)
        ready = self._end_stream(running)
        return Decision(chunks=ready, after=min(FIRST_WAIT * 2.0 ** (heals - 1), LONGEST_WAIT))

    def _take_end(self, running: _Running, choice: Choice, item: Json) -> bool:
        finish_reason = as_string(item.get("finish_reason"))
        if finish_reason:
            choice.finish_reason, running.finished = finish_reason, True
        return bool(finish_reason)

    @property
    def enough(self) -> bool:
        """Whether nothing more is taken of the running round; a stream may be closed."""
        if self._running is None or self._running.request.number == 1:
            return False
        return self._queue[0].stopped is not None

    def _close(self, running: _Running) -> list[tuple[Choice, list[Json]]]:
        """Book a round that was had, decide which of its choices go on, and give the chunks that are certain by it."""
        first = running.request.number == 1
        parties = list(self._choices.values()) if first else [self._queue[0]]
        certain = [(choice, choice.settle()) for choice in parties]
        self._running = None
        if not first:
            self._queue.pop(0)
        for choice in parties:
            choice.rounds += 1
            choice.room, choice.shrinks = None, 0
            used = self._used(running, choice, alone=len(parties) == 1)
            choice.context = _context(running.usage, choice.context, used)
            choice.heals = 0 if running.finished else choice.heals
            choice.used += used
            choice.chunks = 0
        cut = [choice for choice in parties if choice.finish_reason == "length"]
        self._note(running, self._finish_of(running, parties))
        for choice in parties:
            # The first answer is left as it came where nothing follows.
            choice.cut = 0 if first else choice.drop_cut_character()
            choice.stopped_by = self._verdict(choice, first=first)
            if choice.stopped_by is None:
                self._queue.append(choice)
                if first:
                    choice.cut = choice.drop_cut_character()
            choice.joined = choice.joined or (not first and choice.added > 0)
            certain.append((choice, choice.end_texts(goes_on=choice.stopped_by is None)))
        while self.restarts and self._queue:
            other = self._queue.pop()
            other.stopped_by = "restart"
            certain.append((other, other.end_texts(goes_on=False)))
        # A first round that ends by itself, or at the caller's own limit, called for nothing and leaves no report.
        if not first or any(choice.heals or choice.stopped_by not in (None, "max_tokens") for choice in cut):
            reasons = [choice.stopped_by for choice in self._choices.values() if choice.stopped_by]
            reasons.sort(key=NATURAL_ENDS.__contains__)
            self._stopped_by = reasons[0] if reasons else None
        return certain

    def _finish_of(self, running: _Running, parties: list[Choice]) -> str | None:
        """Return how a round ended: cut, if any of its choices was; None where it broke off."""
        reasons = [choice.finish_reason for choice in parties]
        if not running.finished and not any(choice.stopped for choice in parties):
            return None
        return "length" if "length" in reasons else reasons[0]

    def _note(self, running: _Running, finish_reason: str | None) -> None:
        self._usage = add_usage(self._usage, running.usage)
        crossed, index = None, running.request.choice
        if index is not None:
            choice = self._choices[index]
            current = choice.current
            crossed = SeamReport(held_back=len(current.joint.held), cut=choice.cut, dropped=current.dropped)
        elif len(self._choices) == 1:
            index = next(iter(self._choices))
        self.history.append(
            Round(
                id=running.id,
                request_id=running.request_id,
                choice=index,
                finish_reason=finish_reason,
                usage=running.usage,
                seam=crossed,
            )
        )

    def _used(self, running: _Running, choice: Choice, *, alone: bool) -> int:
        """Return the output tokens that a round spent on a choice."""
        tokens = (running.usage or {}).get("completion_tokens")
        if isinstance(tokens, int) and (alone or all(one.finish_reason == "length" for one in self._choices.values())):
            # Choices that were cut all have the same number.
            return max(tokens, 0) // (1 if alone else len(self._choices))
        if running.finished and choice.finish_reason == "length" and running.asked is not None:
            return running.asked
        return choice.chunks

    def _verdict(self, choice: Choice, *, first: bool) -> str | None:
        """Say why a choice ends here; None: it goes on."""
        if choice.finish_reason != "length":
            return self._natural(choice, first=first)
        stopped = None if first else choice.stopped
        if stopped is Stopped.RESTARTED:
            self.restarts = True
            return "restart"
        if self._limit.reached(choice.used):
            return "max_tokens"
        barred = self._may_continue(choice)
        if barred:
            return barred
        if self.restarts:
            return "restart"
        if not first and choice.added <= 0 and not choice.heals:
            if not self._holds_less(choice):
                return "empty"
        elif stopped is None:
            choice.hold = self._prefill.hold
        if is_looping(choice.current.text, choice.added if not first else len(choice.current.text)):
            return "repetition"
        return "max_rounds" if choice.rounds >= self._settings.max_rounds else None

    def _holds_less(self, choice: Choice) -> bool:
        """Hold less back where the cap left no room but for what was held back, or the model wrote something else."""
        less = self._prefill.less(choice.hold) if choice.current.joint.held else None
        if less is None:
            return False
        choice.hold = less
        if choice.current.stopped is Stopped.REFUSED:
            # It may do so again at each seam, and each time costs a round.
            self._prefill.hold = less
        return True

    def _may_continue(self, choice: Choice) -> str | None:
        """Say why a choice must not be continued, as far as its text and the request tell."""
        texts = ("" if text is None else without_cut_character(text.text) for text in (choice.answer, choice.thoughts))
        return choice.barred or self._barred() or self._prefill.bar(*texts)

    def _natural(self, choice: Choice, *, first: bool) -> str:
        """Say how an answer that ended by itself ended; a joined document must be one."""
        if first or self._format is None or choice.finish_reason != "stop":
            return choice.finish_reason or "error"
        thoughts = "" if choice.thoughts is None else choice.thoughts.text
        if self._format.fits(self._prefill.part(choice.answer.text, thoughts).answer):
            return "stop"
        choice.finish_reason = "length"
        self._error = {"type": "invalid_document", "status": None, "request_id": None}
        return "error"

    def _barred(self) -> str | None:
        """Say why the request, whatever its answer, must not be continued."""
        unknown = self._format is not None and not self._format.checkable
        return "unsupported" if unknown or not self._limit.valid else None

    def _choice(self, index: int) -> Choice:
        choice = self._choices.get(index)
        if choice is None:
            answer = Text("content", stops=self._stops)
            choice = self._choices[index] = Choice(index, answer, self._prefill.hold)
        return choice

    def _expect(self, request: Request) -> _Running:
        if self._running is None or self._running.request is not request:
            msg = f"round {request.number} is not the one that is being received"
            raise RuntimeError(msg)
        return self._running


def choices_wanted(body: Mapping[str, Any]) -> int:
    """Return how many choices a request is for."""
    wanted = body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def first_body(body: Mapping[str, Any], provider: Provider, settings: Continuation) -> Json:
    """Return the body of the first round, as ``next_request()`` gives it."""
    limit = Limit.of(body, provider, settings)
    return _asking(body, limit, usage=_counts_unasked(body, provider, limit))


def _asking(body: Mapping[str, Any], limit: Limit, *, usage: bool) -> Json:
    asking = limit.on_first(body)
    if usage:
        asking["stream_options"] = {**(as_object(body.get("stream_options")) or {}), "include_usage": True}
    return asking


def _of_one_round(body: Json, used: int) -> Json:
    """Return the body of a further round without what the caller asked of the whole answer."""
    if body.get("n") is not None:
        body["n"] = 1
    if isinstance(body.get("min_tokens"), int):
        # vLLM: so many tokens before the answer may end, counted anew in each request.
        body["min_tokens"] = max(body["min_tokens"] - used, 0)
    # vLLM: repeat the last message before the answer.
    body.pop("echo", None)
    return body


def _stop_strings(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    several = cast("list[Any]", stop) if isinstance(stop, (list, tuple)) else [stop]
    return tuple(one for one in several if isinstance(one, str) and one)


def _counts_unasked(body: Mapping[str, Any], provider: Provider, limit: Limit) -> bool:
    """Tell whether usage is to be asked for, to count a total, though the caller did not ask."""
    if not body.get("stream") or limit.total is None or provider.streams_usage:
        return False
    return not (as_object(body.get("stream_options")) or {}).get("include_usage")


def _context(usage: Json | None, before: int | None, used: int) -> int | None:
    """Return the tokens that prompt and answer have after a round that used so many; None where nobody counts."""
    prompt = before if usage is None else usage.get("prompt_tokens")
    return prompt + used if isinstance(prompt, int) else None


def _room(overflow: Overflow, context: int | None) -> int | None:
    """Return the tokens that a prompt leaves; an "at least" in the server's words is no number to reckon with."""
    prompt = overflow.prompt_tokens if overflow.exact else None
    prompt = context if prompt is None else prompt
    return None if prompt is None or overflow.context_length is None else overflow.context_length - prompt


def _said(answer: object) -> str:
    """Return what a response that is no completion says, for the size of a context may be in it."""
    known = as_object(answer) or {}
    return " ".join(str(known[name]) for name in ("error", "error_message") if name in known)
