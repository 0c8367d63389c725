"""State of one choice: its answer and its thoughts so far, where new text goes, and what the rounds have used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .._tables.providers import Provider
from .calls.calls import Calls
from .calls.transcript import ENDS_OF_CALLS, CallEnd, CallTranscript
from .chunks import delta_of, grows, with_delta, without_lists
from .codec.draft import Hold
from .filed import Filed
from .json import Json
from .plan import Plan, Source
from .tally import Tally
from .text import reasoning
from .text.logprobs import are_fixed
from .text.seam import NOT_CONTINUED, Seam, Stopped
from .text.text import Text
from .whole import Whole

# Characters of the beginning of a round that show what it begins with, though blanks come first.
_OPENING = 8


@dataclass(slots=True, repr=False)
class Choice:
    """One choice over all rounds."""

    index: int
    answer: Text
    #: How much is held back at the next seam.
    hold: Hold
    #: The row of its server.
    provider: Provider
    #: What it has beside its texts, if the caller gets a whole answer; else None.
    whole: Whole | None = None
    thoughts: Text | None = None
    #: What the running round goes on from, and how.
    plan: Plan = field(default_factory=Plan)
    #: Whether a continuation brought text, so that the server is known to continue.
    joined: bool = False
    #: The server's ``finish_reason`` of the last round, or ours.
    finish_reason: str | None = None
    #: Why this choice must not be continued, or None.
    barred: str | None = None
    #: Why this choice has ended, or None while it goes on.
    stopped_by: str | None = None
    #: What the rounds have used, and how often one was tried.
    tally: Tally = field(default_factory=Tally)
    #: U+FFFD characters that were dropped at the last seam.
    cut: int = 0
    #: Whether the caller's stream has the end of this choice.
    ended: bool = False
    #: Whether its thoughts were cut, and the answer was asked for without more of them.
    answers: bool = False
    #: The first characters that the running round has written after it, some more than were held back.
    raw_opening: str = ""
    #: The tool calls that came.
    calls: Calls = field(default_factory=Calls)
    #: How those of the last round ended.
    call_end: CallEnd = CallEnd.NONE
    #: The answer with its tool calls as the model writes it, if a call was cut and can go on; else None.
    turn: CallTranscript | None = None
    # What came as thoughts in a round that continues the answer.
    _filed: Filed = field(default_factory=Filed)
    # Whether the running round continues the answer, and brought thoughts.
    _thought_anew: bool = False
    # The fields in which the first round brought its thoughts.
    _thought_fields: tuple[str, ...] = ()
    #: Characters of the tool calls that the running round began.
    called: int = 0

    @property
    def current(self) -> Text:
        """The text that the running round continues."""
        if self._transcript is not None:
            return self._transcript.raw
        return self.thoughts if self._is_thinking and self.thoughts is not None else self.answer

    @property
    def _transcript(self) -> CallTranscript | None:
        """The calls that the running round continues, or None."""
        return self.turn if self.plan.source is Source.CALL else None

    @property
    def _is_thinking(self) -> bool:
        """Whether the running round continues the thoughts, and not the answer."""
        return self.plan.source is Source.REASONING

    @property
    def thoughts_text(self) -> str:
        """The thoughts so far, or "" if there are none in a field of their own."""
        return "" if self.thoughts is None else self.thoughts.text

    @property
    def added(self) -> int:
        """Characters that the running round added."""
        return sum(text.added for text in self.texts) + self.called

    @property
    def stopped(self) -> Stopped | None:
        """Why no more of the running round is taken, or None."""
        return self.answer.stopped or self.current.stopped

    @property
    def added_text(self) -> str:
        """The text that the running round added."""
        return "".join(text.added_text for text in self.texts)

    @property
    def has_begun_calls(self) -> bool:
        """Whether the running round continues a text, and has begun a tool call after it."""
        return self.called > 0 and self.plan.source is not Source.CALL

    @property
    def texts(self) -> tuple[Text, ...]:
        """The texts that the running round may add to."""
        if self._transcript is not None:
            return (self._transcript.raw,)
        return (self.answer,) if self.thoughts is None else (self.answer, self.thoughts)

    # What another process goes on from.

    def kept(self) -> Json:
        """Return the state of this choice beside what its caller has, as JSON."""
        # Whether the caller has its end shows when the answer that was kept is taken.
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "ended"}
        # A tool call goes on from the calls that came.
        source = Source.ANSWER if self.plan.source is Source.CALL else self.plan.source
        return {
            "fields": {name: value for name, value in known.items() if isinstance(value, (int, str))},
            "plan": {"source": source.name, "is_raw": self.plan.is_raw},
            "tally": self.tally.kept(),
            "files_answers": self._filed.is_known,
            "untold": self.answer.untold,
            "is_plain": self.answer.is_plain,
            "lengths": [len(self.answer.text), len(self.thoughts_text), self.calls.length],
        }

    def restore(self, kept: Json) -> None:
        """Take the state of a choice that was kept with its text; what is more than that came after it."""
        for name, value in kept["fields"].items():
            setattr(self, name, value)
        self.hold, self.plan = Hold(self.hold), Plan(Source[kept["plan"]["source"]], is_raw=kept["plan"]["is_raw"])
        answer, thoughts, calls = kept["lengths"]
        self.tally = Tally.of(kept["tally"], self.answer.text[:answer])
        self._filed.is_known = kept["files_answers"]
        self.answer.untold, self.answer.is_plain = kept["untold"], kept["is_plain"]
        self.answer.added, self.called = max(len(self.answer.text) - answer, 0), self.calls.length - calls
        if self.thoughts is not None:
            self.thoughts.added = max(len(self.thoughts_text) - thoughts, 0)

    # The running round.

    def take_end(self, finish_reason: str) -> None:
        """Take how the server says that the running round ended."""
        self.finish_reason = finish_reason

    def bar(self, reason: str) -> None:
        """Note why this choice must not be continued (a value of ``Report.stopped_by``)."""
        self.barred = reason

    def add_flowing(self, flowing: Text, text: str, chunks: int) -> None:
        """Add the text of chunks that the fast path has passed on."""
        self.tally.add_chunks(chunks)
        flowing.add(text)

    def start_round(self, plan: Plan) -> None:
        """Begin a continuation."""
        self.plan, self._thought_anew = plan, False
        self.answers = self.answers or plan.source is Source.AFTER_REASONING
        self.answer.is_plain = plan.is_plain
        self.called, self.raw_opening, self.call_end = 0, "", CallEnd.NONE
        if self._transcript is not None:
            self._transcript.start_round(plan.seam)
            return
        if self.thoughts is not None:
            self.thoughts.start_round(plan.seam if self._is_thinking else Seam())
        self.answer.start_round(Seam() if self._is_thinking else plan.seam, document=plan.document)

    def take(self, chunk: Json, *, later: bool) -> list[Json]:
        """
        Take a chunk of this choice; return the chunks that may go out now.

        ``later``: whether the chunk is of a later round. Audio, a refusal, or logprobs that cannot be cut bar further
        rounds.
        """
        delta = delta_of(chunk)
        content = delta.get("content")
        if any(delta.get(name) for name in ("audio", "refusal")) or are_fixed(chunk["choices"][0].get("logprobs")):
            self.barred = "unsupported"
        if later and self._transcript is not None:
            return self._of_calls(self._take_calls(self._transcript, chunk))
        called = self.calls.take(delta)
        if called:
            self._thought_anew, self.called = False, self.called + called
        if content is not None and not isinstance(content, str):
            self.barred = "unsupported"
        if later and not self._is_thinking and delta.get(reasoning.DETAILS):
            delta = {name: value for name, value in delta.items() if name != reasoning.DETAILS}
            chunk = with_delta(chunk, delta)
        thought = reasoning.field_of(delta)
        if content or thought:
            self.tally.chunks += 1
        if thought is not None:
            return self._take_thoughts(chunk, thought, later=later)
        if content:
            self._thought_anew = False
            before = [] if self.thoughts is None else self.thoughts.end_round(goes_on=self.whole is not None)
            return before + self._filed.drop(self.answer) + self.answer.take(chunk)
        if self._filed.waits:
            self._filed.keep(chunk)
            return []
        return self.answer.take(chunk)

    def _take_calls(self, turn: CallTranscript, chunk: Json) -> list[Json]:
        """Take a chunk of a round that continues the tool calls."""
        delta = delta_of(chunk)
        if delta.get("content") or delta.get("tool_calls"):
            self.tally.chunks += 1
            self._thought_anew = False
            return turn.take(chunk)
        thought = reasoning.field_of(delta)
        if thought is None:
            return []
        if self.provider.misfiles and self.thoughts is not None:
            return turn.take(with_delta(chunk, {"content": delta[thought]}))
        self._thought_anew = True
        return []

    def take_ids(self, item: Json, sent: Sequence[Any] | None) -> None:
        """Take the ids of the tokens of a whole round. ``sent``: those of its prompt, if the server tells them."""
        if self.whole is not None:
            self.whole.take_ids(item, sent)

    def take_raw(self, text: str) -> None:
        """Note how the running round begins, which has a raw prompt."""
        self.raw_opening = (self.raw_opening + text)[: len(self.current.seam.held) + _OPENING]

    def _take_thoughts(self, chunk: Json, name: str, *, later: bool) -> list[Json]:
        """Take a chunk whose field ``name`` holds thoughts, or an answer that the server files there."""
        if later and not self._is_thinking:
            # A server that files answers as thoughts would have filed the first round there.
            files = self.provider.misfiles and self.thoughts is not None
            is_clear = self.plan.source is not Source.AFTER_REASONING or self.answer.seam.with_thoughts
            files = files and is_clear and not self.plan.is_raw
            return self._filed.take(chunk, name, self.answer) if files else self._take_new_thoughts(chunk)
        item, delta = chunk["choices"][0], delta_of(chunk)
        rest = {key: value for key, value in delta.items() if key not in reasoning.FIELDS}
        if self.thoughts is None:
            self.thoughts = self.answer.beside(name)
        self._thought_fields = self._thought_fields or reasoning.fields_of(delta)
        thoughts = dict.fromkeys(self._thought_fields if later else reasoning.fields_of(delta), delta[name])
        if not delta.get("content"):
            return self.thoughts.take(with_delta(chunk, {**rest, **thoughts}) if later else chunk)
        # A whole message, or the chunk in which the answer begins.
        # What grows goes with the answer.
        only_thoughts = {name: None if grows(value) else value for name, value in item.items()}
        first = {**without_lists(chunk), "choices": [{**only_thoughts, "delta": thoughts}]}
        out = self.thoughts.take(first) + self.thoughts.end_round(goes_on=self.whole is not None)
        if self.thoughts.stopped is not None:
            return out
        return out + self.answer.take(with_delta(chunk, rest))

    def _take_new_thoughts(self, chunk: Json) -> list[Json]:
        """Drop the thoughts of a round that continues the answer: an echo, or the model thinks again."""
        delta = delta_of(chunk)
        self.answer.note_new_thoughts()
        self._thought_anew = not any(delta.get(name) for name in ("content", "tool_calls", "function_call"))
        rest = with_delta(chunk, reasoning.without_thoughts(delta))
        return [] if self._thought_anew else self.answer.take(rest)

    # The end of a round.

    def settle(self, *, is_lost: bool) -> list[Json]:
        """Settle the seam at the end of a round. ``is_lost``: whether it failed, so that its end is not known."""
        self.finish_reason = "length" if is_lost else self.finish_reason
        out = self._settle_texts()
        if self._thought_anew and not self.added and self.current.stopped is None:
            self.current.refuse_round(Stopped.THOUGHT_ANEW)
        stopped = self.stopped
        if self.whole is not None and not is_lost and stopped not in NOT_CONTINUED:
            self.whole.settle_ids(self.current, self.cut)
        document_ended = self.answer.document_ended and self.plan.source is not Source.CALL
        if document_ended or stopped is Stopped.STOP_STRING:
            self.finish_reason = "stop"
        elif stopped not in (None, Stopped.DOCUMENT_LOST):
            self.finish_reason = "length"
        return out

    def leave_round(self) -> None:
        """Take the running round, which is left before its end, for one that was cut, if it has not ended."""
        self.finish_reason = self.finish_reason or "length"

    def _settle_texts(self) -> list[Json]:
        if self._transcript is not None:
            return self._of_calls(self._transcript.settle(natural=self.finish_reason in ENDS_OF_CALLS))
        thoughts = [] if self.thoughts is None else self.thoughts.settle()
        filed = self._filed.settle(self.answer, self.thoughts_text)
        return thoughts + filed + self.answer.settle(by_itself=self.finish_reason == "stop" and not self.tally.in_doubt)

    def find_cut_call(self, *, used_up: bool) -> None:
        """
        End a round in "length" if it is a tool call that was cut and is called something else.

        ``used_up``: whether the round used all tokens that it could. Some servers then close half arguments.
        """
        if self._transcript is not None:
            self._end_calls(self._transcript, used_up=used_up)
        elif self.stopped is not None or not self.calls.show_cuts:
            return
        elif self.finish_reason in ENDS_OF_CALLS and (used_up or self.calls.are_broken):
            self.finish_reason, self.call_end = "length", CallEnd.HIDDEN

    def _end_calls(self, turn: CallTranscript, *, used_up: bool) -> None:
        """Take the end of a round that continues the tool calls."""
        judged = turn.judged(self.finish_reason, used_up=used_up, trusted=self.provider.reads_calls)
        self.call_end = judged if self.current.stopped in (None, Stopped.REFUSED) else CallEnd.FAILED
        if self.call_end is CallEnd.FAILED:
            turn.fail()
        if self.call_end is not CallEnd.NONE:
            self.finish_reason = "tool_calls" if self.call_end is CallEnd.WHOLE else "length"

    def book_break(self) -> None:
        """Take a round that broke off for one that was cut."""
        self.finish_reason = "length"
        self.tally.book_break(added=self.added > 0)

    def end_texts(self, *, goes_on: bool) -> list[Json]:
        """End the round for answer, thoughts and calls; return the chunks that may go out now."""
        calls = [] if self._transcript is None else self._of_calls(self._transcript.end_round(goes_on=goes_on))
        thoughts = [] if self.thoughts is None else self.thoughts.end_round(goes_on=goes_on)
        return self._finished(thoughts + self.answer.end_round(goes_on=goes_on)) + calls

    @property
    def held_back(self) -> list[Json]:
        """The chunks of a whole answer as it is now, unless it has ended."""
        thoughts = [] if self.thoughts is None else self.thoughts.held_back
        return self._finished(thoughts + self.answer.held_back)

    def _finished(self, chunks: list[Json]) -> list[Json]:
        """Return the last chunks that go out of the texts, with all that a whole answer shows at its end."""
        if self.whole is None:
            return chunks
        turn = None if self.tally.rounds == 1 else self.turn
        return self.whole.finished(chunks, turn, is_cut=self.finish_reason == "length")

    def _of_calls(self, chunks: list[Json]) -> list[Json]:
        """Return those chunks of calls that go out now."""
        return chunks if self.whole is None else self.whole.take_calls(chunks)

    def flush(self) -> list[Json]:
        """End the last round; return all chunks that were held back."""
        return self._filed.settle(self.answer, self.thoughts_text) + self.end_texts(goes_on=False)

    def drop_cut_character(self) -> None:
        """Drop what the token limit left of a character at the end of answer and thoughts, and see what is left."""
        texts = self.texts if self.finish_reason == "length" else ()
        # The thoughts have ended where the answer begins.
        texts = texts[:1] if self.answer.text else texts
        self.cut = sum(text.drop_cut_character() for text in texts)
        self.tally.confirm(0 if self.current.ends_in_blank else self.current.confirmed, added=self.added > 0)

    def join(self) -> None:
        """Note that a continuation brought text."""
        self.joined = True

    def give_end(self) -> None:
        """Note that the caller's stream has the end of this choice."""
        self.ended = True

    def go_on_with_calls(self, turn: CallTranscript | None) -> None:
        """Go on from the tool calls that were cut; None: what the server has closed does not go on."""
        if turn is None and self.turn is not None:
            self.turn.fail()
            self.call_end = CallEnd.FAILED
        self.turn = turn or self.turn

    @property
    def has_joined(self) -> bool:
        """Whether the running round has gone on from a text, and brought more of it."""
        begins = self.answer.untold and self.answer.added == len(self.answer.text)
        return self.added > 0 and self.stopped not in NOT_CONTINUED and not begins

    def go_on(self, hold: Hold | None, room: int | None, *, untold: bool) -> None:
        """Wait for a round with this hold (None: as before), and most tokens; ``untold``: without stop strings."""
        self.hold = self.hold if hold is None else hold
        self.answer.untold = untold
        self.tally.limit_next(room)

    def end(self, stopped_by: str, *, by_itself: bool) -> None:
        """End this choice. ``by_itself``: whether the model ended it; else it ends in "length", or is whole: "stop"."""
        self.stopped_by, self.answer.untold = stopped_by, False
        self.finish_reason = self.finish_reason if by_itself else "stop" if stopped_by == "stop" else "length"
