"""What a user should do about what the doctor has found: the settings that fit, and sentences that say why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..._tables import call_syntaxes
from ..._tables.providers import Provider
from ...settings import Continuation
from ...switches import VARIABLE
from . import call_examination, template_examination
from .findings import Findings
from .thought_examination import ANSWER, ON

#: What to use instead of a server that cannot continue.
INSTEAD = "To have long answers continued, serve the model with vLLM, llama-server or SGLang."
#: Output tokens to ask for where the server's own default is small.
ASKED = 16384
# Results for thoughts that were cut with which nothing is to be done.
_GOOD = (None, "continues", "unknown", "failed")
_MISFILED = "The server's parser files the rest of an answer as thoughts"
_TRY_TEMPLATE = "openai-continue doctor --template auto (or a file) asks that"


@dataclass(frozen=True, slots=True)
class Case:
    """What was found, at which address, and what follows from it."""

    found: Findings
    #: The row that fits, or None if that is unknown.
    row: Provider | None
    host: str
    #: Whether the host has a row in the provider table.
    host_known: bool
    model: str
    #: The chat template that was asked about, or None.
    template: str | None = None
    #: Whether streams are all that was asked for.
    streamed: bool = False
    #: Whether the server may be asked about a template.
    has_completions: bool = False

    @property
    def continues(self) -> bool:
        """Whether answers are continued, with the settings that fit."""
        if self.row is None or self._is_hidden or self._is_lost:
            return False
        return self.found.template == "continues" or (self.row.continues and not self.found.cannot_continue)

    @property
    def _is_hidden(self) -> bool:
        """Whether nobody can see that an answer was cut."""
        return self.found.hides_cuts == "both" or (self.streamed and self.found.hides_cuts == "streamed")

    @property
    def _is_lost(self) -> bool:
        """Whether the rest of an answer is taken for thoughts, whatever is set."""
        if not self.found.misfiles or self.found.template == "continues":
            return False
        return not (self.row is not None and self.row.misfiles) and not self._streams_are_right

    @property
    def _streams_are_right(self) -> bool:
        return self.found.stream_arrives_in == "content"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of Continuation that the library would not set right by itself."""
        found, row, settings = self.found, self.row, dict[str, Any]()
        if row is None or not self.continues:
            return settings
        if not self.host_known:
            settings["provider"] = row.name
        if found.trims and not row.trims:
            settings["trims"] = True
        syntax = call_syntaxes.of_model(self.model)
        if found.tool_calls == "continues" and syntax is not None and syntax.name not in row.call_syntaxes:
            settings["continue_tool_calls"] = True
        if found.template == "continues" and self.template is not None:
            settings["template"] = self.template
        elif found.thoughts not in _GOOD and found.answer_after_thoughts == "answers":
            settings["on_reasoning_cut"] = "answer"
        if found.stops_at_default and not found.is_cap:
            # Half of a small context is left for the prompt.
            settings["round_tokens"] = min(row.cap or ASKED, (found.context_length or 2 * ASKED) // 2)
        if self._needs_streams:
            settings["stream_rounds"] = True
        return settings

    @property
    def _needs_streams(self) -> bool:
        """Whether whole answers are continued only if they are made of streams."""
        misfiled = self.found.misfiles and self.row is not None and not self.row.misfiles and self._streams_are_right
        return not self.streamed and (self.found.hides_cuts == "whole" or misfiled)

    @property
    def advice(self) -> list[str]:
        """What to do, in sentences that each name the setting or the variable."""
        if self.row is None:
            return ["It could not be found out whether this server continues a trailing assistant message. Try again."]
        said = [*self._of_end(), *self._of_server(self.row)]
        if self.continues:
            said += [*self._of_text(self.row), *self._of_thoughts()]
        said += [*self._of_template(), *self._of_others()]
        if self.continues and not self.settings:
            said.insert(
                0, f"Answers are continued here. Nothing needs to be set but {VARIABLE}=1, or patch() in the code."
            )
        return said

    def _of_server(self, row: Provider) -> Iterator[str]:
        found = self.found
        if self.continues and not self.host_known:
            yield (
                f"{self.host} is in no row of the provider table, so {VARIABLE}=1 alone leaves its answers as they "
                f"are: set {VARIABLE}_PROVIDER={row.name} too, or provider={row.name!r} in the code."
            )
        if self._is_lost and row.continues and not found.cannot_continue:
            yield (
                f"{_MISFILED} (in {found.answer_arrives_in}), so answers that were cut end there: start the server "
                f"without its reasoning parser, or try the setting template: {_TRY_TEMPLATE}."
            )
            return
        if self.continues or self._is_hidden:
            return
        refused = set(found.marks.values()) == {"refused"}
        way = "it refuses the text sent back" if refused else "it takes the text sent back as a finished turn"
        yield (
            f"This server cannot continue this model's answers: {way}. {VARIABLE}=1 leaves them as they are: name a "
            "larger max_tokens in the request."
        )
        if self.template is None and self.has_completions:
            yield f"Perhaps they go on at /completions, with the setting template: {_TRY_TEMPLATE}."
        if not self.host_known:
            yield INSTEAD

    def _of_end(self) -> Iterator[str]:
        """What to do about a server that lies about the end."""
        if self._is_hidden:
            which = "Streams" if self.streamed else "Answers"
            yield (
                f"{which} that max_tokens has cut do not end in 'length' here, so nobody can see that they were cut, "
                f"and {VARIABLE}=1 leaves them as they are: name a larger max_tokens in the request."
            )
            if not self.host_known:
                yield INSTEAD
        elif self.found.hides_cuts == "whole":
            yield (
                "Whole answers that were cut do not end in 'length' here, but streams do: "
                f"set {_named('stream_rounds', True)}, which makes whole answers of streams."
            )
        elif self.found.hides_cuts == "streamed":
            yield (
                "Streams that were cut do not end in 'length' here, but whole answers do: leave out stream=True where "
                "answers are long."
            )
        if self.found.claims_cuts:
            yield (
                "Answers that have ended by themselves say 'length' here. Each of them costs one more request, which "
                'may add text to it: switch calls with short answers off, with extra_body={"continuation": False}.'
            )

    def _of_text(self, row: Provider) -> Iterator[str]:
        """What to do about a template that trims, and a parser that misfiles."""
        found = self.found
        if found.trims:
            known = f"the row {row.name} knows that" if row.trims else f"set {_named('trims', True)}"
            yield f"The chat template trims the end of the text sent back: {known}."
            if row.continues_completions and found.template is None:
                yield f"Nothing is trimmed with the setting template: {_TRY_TEMPLATE}."
        if found.misfiles and found.template != "continues":
            if row.misfiles:
                do = f"the row {row.name} ({VARIABLE}_PROVIDER={row.name}) puts it back into the answer"
            else:
                do = f"set {_named('stream_rounds', True)}, since streams have it in the content"
            yield f"{_MISFILED} (in {found.answer_arrives_in}): {do}."
        if found.good_marks and found.streamed in ("restarts", "new turn", "refused") and not self.streamed:
            yield "Whole answers go on, but streams do not: leave out stream=True where answers are long."

    def _of_thoughts(self) -> Iterator[str]:
        found = self.found
        if found.thoughts is None:
            return
        if found.thoughts in _GOOD:
            yield ON[found.thoughts] + (" Nothing needs to be set for that." if found.thoughts == "continues" else "")
            return
        ways: list[str] = []
        if found.template == "continues" and self.template is not None:
            ways.append("with the chat template they go on, as said below")
        elif found.template is None and self.has_completions:
            ways.append(f"set {_named('template', 'auto')}, with which they may go on: {_TRY_TEMPLATE}")
        if found.answer_after_thoughts == "answers":
            ways.append(f"set {_named('on_reasoning_cut', 'answer')}, with which {ANSWER['answers']}")
        advised = "; or ".join(ways) or "no setting helps here, so name a max_tokens with room for the thoughts"
        yield f"{ON[found.thoughts]} What to do: {advised}."
        if found.answer_after_thoughts not in (None, "answers"):
            yield f"on_reasoning_cut='answer' does not help here: {ANSWER[str(found.answer_after_thoughts)]}."

    def _of_template(self) -> Iterator[str]:
        said = None if self.found.template is None else template_examination.SAID[self.found.template]
        if said is None or self.template is None:
            return
        if self.found.template == "continues":
            only = "By the chat they cannot, so set" if self.found.cannot_continue else "Set"
            yield f"{said} {only} {_named('template', self.template)}; nothing is trimmed or misfiled then."
        else:
            yield f"{said} Leave {VARIABLE}_TEMPLATE unset."

    def _of_others(self) -> Iterator[str]:
        """What to do about a small default, and tool calls."""
        found, settings = self.found, self.settings
        if found.stops_at_default:
            most, asks = Continuation().max_rounds, settings.get("round_tokens")
            if found.is_cap:
                when, do = "Whatever max_tokens is,", "set a larger max_rounds for longer ones"
            else:
                when, do = "Without max_tokens", "name max_tokens in the request"
            do += f", or set {_named('round_tokens', asks)}" if asks is not None else ""
            yield (
                f"{when} this server ends an answer after about {found.default_tokens} tokens, and max_rounds={most} "
                f"of them are {most * found.default_tokens:,}: {do}."
            )
        if found.tool_calls is not None and self.continues:
            said = call_examination.SAID[found.tool_calls]
            calls = "continue_tool_calls"
            yield f"{said} Set {_named(calls, True)} for that." if calls in settings else said


def _named(name: str, value: object) -> str:
    """Return a setting as code, and as a variable."""
    return f"{name}={value!r} ({variable(name, value)})"


def variable(name: str, value: object) -> str:
    """Return a setting as the assignment of its variable."""
    return f"{VARIABLE}_{name.upper()}={int(value) if isinstance(value, bool) else value}"
