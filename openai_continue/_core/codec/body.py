"""The bodies of the requests: the caller's own for the first round, and one for each later round."""

from __future__ import annotations

from dataclasses import replace

from ..._tables import families
from ..._tables.call_syntaxes import CallSyntax
from ..calls.calls import is_forced
from ..calls.tools import Tools, continued_syntax
from ..calls.transcript import CallEnd, CallTranscript
from ..choice import Choice
from ..choices import Choices
from ..json import Json, as_object
from ..limit import Limit
from ..outcome import GoOn, Part
from ..plan import Plan, Source
from ..setup import Setup
from ..shown import shows_messages
from ..text.document import goes_on
from ..text.evidence import ENOUGH, ENOUGH_IF_KNOWN
from ..text.formats import Format, without_format
from ..text.marks import ends_in_half
from ..text.prompt_check import short_prompts
from ..text.reasoning import CLOSE
from ..text.seam import Seam, Stopped
from .chat import ChatCodec
from .codec import Codec
from .draft import Draft, Hold
from .later import of_later_round
from .raw import RawCodec

# vLLM: the template has changed the message that was sent back, so the block before it is to blame and not the mark.
_TEMPLATE_CHANGES = "does not appear in the chat"


# How servers name the request for usage in a stream; the last one is FastAPI's for a field that it does not know.
_USAGE_NAMES = ("stream_options", "include_usage", "Extra inputs")


class Requests:
    """Writes the bodies of one call. The caller's body is never changed."""

    def __init__(self, setup: Setup) -> None:
        settings, provider = setup.settings, setup.endpoint.row(setup.provider)
        body = setup.endpoint.taken_body(setup.body)
        self._endpoint = setup.endpoint
        #: Whether a whole answer is made of streamed rounds.
        self.folds = settings.stream_rounds and not body.get("stream")
        body = {**body, "stream": True} if self.folds else body
        self._body = dict(body)
        self._learned = setup.learned
        self._max_repetition = settings.max_repetition
        #: Whether the rounds are streams.
        self.streamed = bool(body.get("stream"))
        #: The token limit of the call.
        self.limit = setup.limit or Limit.of(body, provider, settings, taken=self._learned.most(streamed=self.streamed))
        #: The format that the request asks for, or None for plain text.
        self.format = Format.of(body)
        self._trims = provider.trims if settings.trims is None else settings.trims
        #: Whether the request offers tools, and whether the model must call one.
        self.offers_tools = bool(body.get("tools"))
        self.forces_call = self.offers_tools and is_forced(body)
        self._chat: ChatCodec | None = None
        # The raw codecs, each at its first use: those of a text completion, by prompt, or that of a chat.
        self._texts: dict[int, RawCodec] = {}
        # The chat that raw prompts go on from.
        self._raw_body = setup.endpoint.raw_body(dict(body)) or {}
        self._render = setup.render if provider.continues_completions and self._raw_body else None
        self._raw: RawCodec | None = None
        #: Why raw prompts cannot be used, if this call has found that out; else None.
        self.gave_up_raw: str | None = None
        self._on_cut = settings.on_reasoning_cut
        # How the model writes tool calls, if those that were cut are continued; else None.
        self._calls = continued_syntax(body, provider, settings, is_raw=self._render is not None)
        self._call_fields: Json = {} if self._calls is None else dict(provider.call_fields)
        if self._calls is not None and not provider.reads_calls:
            self._call_fields["tool_choice"] = self._calls.choice
        self._trusted = self._calls is not None and self._calls.name in provider.call_syntaxes
        asked = (as_object(body.get("stream_options")) or {}).get("include_usage")
        #: Whether the caller may expect usage in a stream.
        self.expects_usage = provider.streams_usage or bool(asked)
        #: Whether usage is asked for though the caller did not ask: to count a total, or to see whether the chat
        #: template is the server's.
        may_ask = self.streamed and bool(provider.usage_options) and not self._learned.refuses_usage_options
        compares = settings.template is not None and provider.continues_completions and not self.is_completion
        counts = not self.expects_usage and (self.limit.total is not None or compares)
        self.asks_usage = may_ask and (self.folds or counts)
        # Whether the usage of the first continuation of a stream is asked for, to see whether it is one.
        self._checks_prompt = may_ask and not provider.streams_usage
        self._optional_marks = {} if self._learned.refuses_marks else dict(provider.optional_marks)
        self._usage_options = provider.usage_options
        #: The model that the first round names, or None.
        self.served_by: str | None = None
        self._provider = provider
        # Whether the server applies the format to the whole answer, so that it stays in later rounds.
        others = {name: body[name] for name in body if name not in provider.keeps_format}
        self._keeps_format = self.format is not None and Format.of(others) is None
        self._is_parsed = setup.is_parsed

    @property
    def chat(self) -> ChatCodec:
        """The codec by which a chat goes on, unless it goes on by a raw prompt."""
        if self._chat is None:
            self._chat = self._new_chat()
        return self._chat

    def _new_chat(self) -> ChatCodec:
        trims = families.trims(self._body.get("model")) if self._trims is None else self._trims
        structured, closes = self.format is not None, self._learned.closes_block
        codec = ChatCodec(self._body, self._provider, trims=trims, structured=structured, closes=closes)
        if self._learned.refuses_thoughts:
            codec.leave_out_thoughts()
        return codec

    def choices(self) -> Choices:
        """Return the choices of an answer to these requests, before any has begun."""
        return Choices(self._body, self._endpoint, self.chat.tail.hold, self._provider, self._max_repetition)

    def codec(self, choice: Choice) -> Codec:
        """Return the codec of the later rounds of this choice."""
        if self.is_completion:
            return self._codec_of_text(choice.index)
        if self._render is not None and self._raw is None:
            rendered = None if self.offers_tools and self._calls is None else self._render(self._raw_body)
            if rendered is not None and not shows_messages(rendered.prompt, self._raw_body):
                self.gave_up_raw, rendered = "the template does not show all messages of the request", None
            tools = None if self._calls is None else self._tools(self._calls)
            self._raw = None if rendered is None else RawCodec.of_chat(self._raw_body, self._provider, rendered, tools)
            self._render = self._render if self._raw is not None else None
        gave_up = self.gave_up_raw or self._learned.refuses_raw
        return self.chat if self._raw is None or gave_up else self._raw

    def _codec_of_text(self, index: int) -> Codec:
        """Return the codec of a text completion."""
        prompts = self._endpoint.prompts
        place = min(index * len(prompts) // self._endpoint.wanted, len(prompts) - 1)
        if place not in self._texts:
            self._texts[place] = RawCodec(self._body, self._provider, prompts[place])
        return self._texts[place]

    def is_raw(self, choice: Choice) -> bool:
        """Whether the later rounds of this choice of a chat have raw prompts."""
        return not self.is_completion and self.codec(choice).is_raw

    def bar(self, choice: Choice, content: str, thoughts: str) -> str | None:
        """Return why this text of a choice cannot go on (a value of ``Report.stopped_by``), or None if it can."""
        codec = self.codec(choice)
        if self._may_have_lost_blanks(choice, content, thoughts):
            return "reasoning"
        inline = not self.is_completion and self.chat.part(content, thoughts).thinking
        if (thoughts and not content) or inline:
            if self._on_cut == "answer" and not content and not choice.answers and codec.can_answer:
                return None
            if self._on_cut != "continue":
                return "reasoning"
        return codec.bar(self._draft(choice, content, thoughts))

    def _may_have_lost_blanks(self, choice: Choice, content: str, thoughts: str) -> bool:
        """
        Whether blanks may be missing before the end of thoughts that were cut, so that they cannot go on as text.

        vLLM's parser of GLM drops blanks before what may begin the closing tag (measured).
        """
        if choice.tally.rounds != 1 or not thoughts or content or self._on_cut != "continue" or not self.is_raw(choice):
            return False
        return not self._provider.strips_thoughts and ends_in_half(thoughts, [CLOSE])

    def _tools(self, syntax: CallSyntax) -> Tools:
        return Tools(syntax, self._raw_body.get("tools"), self._body.get("parallel_tool_calls") is False)

    def prepare(self, choice: Choice) -> None:
        """Give a choice that was cut in a tool call its turn, if the call can go on."""
        begins = choice.turn is None or choice.call_end is CallEnd.CLOSED
        if self._calls is None or not begins or choice.finish_reason not in (None, "length"):
            return
        text, turn = choice.answer.text, None
        tools = self._tools(self._calls)
        if choice.calls:
            trusted = self._trusted or choice.plan.is_raw
            turn = CallTranscript.of_calls(tools, choice.calls, text, streamed=self.streamed, trusted=trusted)
        elif not self.streamed and tools.may_open(text):
            turn = CallTranscript.of_text(tools, choice.calls, text)
        choice.go_on_with_calls(turn)

    @property
    def is_completion(self) -> bool:
        """Whether the call asks for a text completion."""
        return bool(self._endpoint.prompts)

    @property
    def continues_calls(self) -> bool:
        """Whether tool calls that were cut go on."""
        return self._calls is not None

    @property
    def has_stops(self) -> bool:
        """Whether the caller has named texts or tokens that end the answer."""
        return any(self._body.get(name) for name in ("stop", "stop_token_ids"))

    def is_truncated(self, choice: Choice) -> bool:
        """Whether the server would leave out the beginning of the next prompt, as the caller asks it to (vLLM)."""
        most = self._body.get("truncate_prompt_tokens")
        return isinstance(most, int) and 0 < most < (choice.tally.context or 0)

    @property
    def is_closed(self) -> bool:
        """Whether a later round would go to a closed model, which the server chose among several."""
        return bool(self._body.get("models")) and families.is_closed(
            self.served_by or "", resold=self._provider.resells
        )

    def first(self) -> Json:
        """Return the body of the first round."""
        return self._endpoint.given_body(self._first())

    def _first(self) -> Json:
        """Return the body of the first round in the shape of chat."""
        body = self.limit.on_first(self._body)
        if self.asks_usage:
            body["stream_options"] = {**(as_object(body.get("stream_options")) or {}), "include_usage": True}
        return body

    def later(self, choice: Choice) -> tuple[Json, Plan]:
        """Return the body of a round that continues this choice, and its plan."""
        codec, answer, turn = self.codec(choice), choice.answer, choice.turn
        asked = self._asked(choice)
        is_plain = answer.is_plain or self.is_followed(choice)
        body = self._later_body(choice, asked, keeps_format=self._keeps_format and not (codec.is_raw or is_plain))
        draft = self._draft(choice, answer.text if turn is None else turn.raw.text, choice.thoughts_text)
        if turn is not None:
            body.update(self._call_fields)
        is_raw, seam = self.is_raw(choice), Seam()
        body = (self._endpoint.raw_body(body) or {}) if is_raw else body
        # If there is nothing to send back, it is the same request once more.
        if draft.content or draft.thoughts or is_raw or not answer.untold:
            body, seam = codec.write(body, draft)
        if choice.tally.in_doubt:
            # It may have ended, so nothing of it is taken back.
            seam = replace(seam, replaces=False)
        if answer.untold:
            body = {name: value for name, value in body.items() if name != "stop"}
        if not codec.is_raw and turn is None:
            seam = self._watched(choice, seam, body)
        is_document = self.format is not None and self.format.is_json and turn is None and not is_plain
        return body if is_raw else self._endpoint.given_body(body), Plan(
            draft.source,
            seam=seam,
            asked=asked,
            is_raw=is_raw,
            reads_calls=is_raw and self._calls is not None and turn is None,
            is_plain=is_plain,
            document=self.own_text(choice) if is_document else None,
        )

    def _draft(self, choice: Choice, content: str, thoughts: str) -> Draft:
        """Return what is to go back of a choice, with this text."""
        source, tail = self._source(choice), self.codec(choice).tail
        ends_token = choice.turn is None or choice.turn.ends_token
        return Draft(
            content,
            thoughts,
            source,
            # A text that may end within a token goes back up to a word, whatever is known of the tokenizer.
            hold=choice.hold if ends_token or choice.hold is not tail.hold else Hold.TO_WORD,
            unproven=not choice.joined,
            confirmed=choice.tally.confirmed,
            ends_token=ends_token,
            early=choice.answers or source is Source.AFTER_REASONING,
            streamed=self.streamed,
        )

    def _source(self, choice: Choice) -> Source:
        """Return what the next round of a choice goes on from."""
        if choice.turn is not None:
            return Source.CALL
        if not choice.thoughts_text or choice.answer.text:
            return Source.ANSWER
        return Source.AFTER_REASONING if self._on_cut == "answer" else Source.REASONING

    def _later_body(self, choice: Choice, asked: int | None, *, keeps_format: bool) -> Json:
        """Return the body of a further round without the text so far."""
        body = self.limit.on_later(self._first(), asked)
        body = of_later_round(body if keeps_format else without_format(body), choice.tally.used, self.served_by)
        body.update({} if self.codec(choice).is_raw else self._optional_marks)
        if self._checks_prompt and (self._provider.drops_messages or not choice.joined):
            body["stream_options"] = {**(as_object(body.get("stream_options")) or {}), **self._usage_options}
        return body

    def own_text(self, choice: Choice) -> str | None:
        """Return the answer so far, with the caller's own beginning and without thoughts; None while it thinks."""
        inline = self.chat.part(choice.answer.text, choice.thoughts_text)
        return None if inline.thinking else self.chat.own(inline.answer) + inline.answer

    def is_followed(self, choice: Choice) -> bool:
        """Whether a JSON document was asked for, and the first round brought more, so that no grammar bound it."""
        if choice.tally.rounds != 1 or choice.turn is not None or self.format is None or not self.format.is_json:
            return False
        text = self.own_text(choice)
        return text is not None and goes_on(text)

    def is_checked_elsewhere(self, choice: Choice) -> bool:
        """Whether the document is checked by the server, which applied its format to all of it, or by the SDK."""
        return (self._keeps_format and not choice.plan.is_raw) or self._is_parsed

    def _watched(self, choice: Choice, seam: Seam, body: Json) -> Seam:
        """Return the seam of a chat with what shows that the server did not go on from the text."""
        is_known = self._provider.is_marked or self._learned.continues
        exact = self._provider.drops_messages and choice.tally.counts.may_be_full
        # A format may be a part of the first prompt only.
        compares = exact or self.format is None or self._keeps_format
        short = short_prompts(choice, body["messages"], exact=exact, held=seam.held) if compares else range(0)
        comes = self.streamed and (self._checks_prompt or self.expects_usage)
        return replace(
            seam, enough=ENOUGH_IF_KNOWN if is_known else ENOUGH, short=short, waits=bool(short) and exact and comes
        )

    def change(self, choice: Choice, step: GoOn) -> None:
        """Write the later rounds as a step of this choice says."""
        if step.hold is not None and choice.current.stopped is Stopped.REFUSED:
            # The model may refuse at each seam, and each time costs a round.
            self.codec(choice).tail.hold = step.hold
        if step.untold and not (choice.answer.text or choice.thoughts_text or self.is_raw(choice)):
            # There is nothing to send back.
            choice.tally.forget_context()
        if step.other_form:
            self.chat.change_form()

    def takes_fewer(self, most: int, *, known: bool) -> None:
        """
        Ask for ``most`` tokens at most from now on: the server refuses more.

        ``known``: whether it is known to take that many, so that the next calls ask for no more either.
        """
        self.limit = self.limit.taking(most)
        if known:
            self._learned.take_most(most, streamed=self.streamed)

    def give_up_raw(self, *, for_good: bool) -> None:
        """
        Go on without raw prompts: the server does not take them, or reads another prompt than the first one.

        ``for_good``: whether that holds for the next calls too.
        """
        when = "from now on" if for_good else "in this answer"
        self.gave_up_raw = f"{when}: the server takes no raw prompt, or reads another one than the template gives"
        self._learned.refuses_raw = self._learned.refuses_raw or for_good

    def refused_part(self, said: str, *, is_first: bool) -> Part | None:
        """
        Return what is to be left out of a request that the server has refused, or None if nothing is left.

        ``said``: the server's words. Of the first round, only what they name: all else is the caller's own.
        """
        if is_first:
            return Part.USAGE if self.asks_usage and _names_usage(said) else None
        refused = {
            Part.BLOCK: _TEMPLATE_CHANGES in said and self.chat.has_block,
            Part.THOUGHTS: self.chat.may_leave_out_thoughts(said),
            Part.MARKS: any(name in said for name in self._optional_marks),
            Part.USAGE: self._checks_prompt,
            Part.FORMAT: self._keeps_format,
        }
        last = Part.BLOCK if self.chat.has_block else None
        return next((part for part, is_so in refused.items() if is_so), last)

    def leave_out(self, part: Part, said: str) -> None:
        """Leave out a part of the requests from now on. ``said``: the words of the server that has refused it."""
        if part is Part.BLOCK:
            self.chat.drop_block()
        elif part is Part.THOUGHTS:
            self.chat.leave_out_thoughts()
            self._learned.refuses_thoughts = True
        elif part is Part.MARKS:
            self._optional_marks, self._learned.refuses_marks = {}, True
        elif part is Part.FORMAT:
            self._keeps_format = False
        else:
            self._checks_prompt = False
            if _names_usage(said):
                # Any other refusal says nothing of the usage of the next calls.
                self.asks_usage, self._learned.refuses_usage_options = False, True

    def _asked(self, choice: Choice) -> int | None:
        """Return the token limit to name in the next round of this choice, or None to name no limit."""
        limits = (self.limit.asked(choice.tally.used), choice.tally.room, self.limit.room(choice.tally.context))
        return min((limit for limit in limits if limit is not None), default=None)


def _names_usage(said: str) -> bool:
    return any(name in said for name in _USAGE_NAMES)


def first_body(setup: Setup) -> Json:
    """Return the body of the first round, as ``Rounds.next_request()`` does."""
    return Requests(setup).first()
