"""What a user should do about what the doctor has found: the settings that fit, and sentences that say why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..._tables import call_syntaxes
from ..._tables.providers import Provider
from ...settings import Continuation
from ...switches import VARIABLE
from ..server import DEEPINFRA
from .probes import ASKS_TEMPLATE, PROBES, Findings, Meaning

#: Output tokens to ask for where the server's own default is small.
ASKED = 16384
# Results for thoughts that were cut with which nothing is to be done.
_GOOD = (None, "continues", "unknown", "failed")


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
        meanings = [PROBES[name][result] for name, result in self._results] if self.continues else []
        found = {one.setting: self._value(one) for one in meanings if one.setting}
        if "template" in found:
            # Thoughts go on then.
            found.pop("on_reasoning_cut", None)
        return found

    @property
    def advice(self) -> list[str]:
        """What to do, in sentences that each name the setting or the variable."""
        if self.row is None:
            return [PROBES["marks"]["unknown"].sentence]
        good = [PROBES["marks"]["good"].sentence] if self.continues and not self.settings else []
        return good + [said for name, result in self._results if (said := self._said(name, result))]

    @property
    def _results(self) -> list[tuple[str, str]]:
        """The results from which something follows here, as names in PROBES, in the order of the advice."""
        return [] if self.row is None else [*self._of_end(), *self._of_server(self.row), *self._of_rest(self.row)]

    def _of_end(self) -> Iterator[tuple[str, str]]:
        """Yield the results of a server that lies about the end."""
        found = self.found
        if self._is_hidden:
            yield "hides_cuts", "both"
            if not self.host_known:
                yield "marks", "nowhere"
        elif found.hides_cuts == "streamed" or (found.hides_cuts == "whole" and not self.streamed):
            yield "hides_cuts", found.hides_cuts
        if found.claims_cuts:
            yield "claims_cuts", "yes"

    def _of_server(self, row: Provider) -> Iterator[tuple[str, str]]:
        if self.continues and not self.host_known:
            yield "marks", "continues"
        if self._is_lost and row.continues and not self.found.cannot_continue:
            yield "answer_arrives_in", "lost"
        elif not (self.continues or self._is_hidden):
            yield "marks", "cannot"
            if self.template is None and self.has_completions:
                yield "marks", "elsewhere"
            if not self.host_known:
                yield "marks", "nowhere"

    def _of_rest(self, row: Provider) -> Iterator[tuple[str, str]]:
        found = self.found
        if self.continues:
            yield from self._of_text(row)
            if found.thoughts is not None:
                yield "thoughts", found.thoughts
            if found.thoughts not in _GOOD and found.answer_after_thoughts is not None:
                yield "answer_after_thoughts", found.answer_after_thoughts
        if found.template is not None and self.template is not None:
            yield "template", found.template
        if found.stops_at_default:
            yield "default_tokens", "cap" if found.is_cap else "stops" if self.continues else "left alone"
        if found.tool_calls is not None and self.continues:
            syntax = call_syntaxes.of_model(self.model)
            is_new = found.tool_calls == "continues" and syntax is not None and syntax.name not in row.call_syntaxes
            yield "tool_calls", "to be set" if is_new else found.tool_calls
        if found.responses is not None and self.continues:
            yield "responses", found.responses
            if row.response_marks is not None and not row.measured_responses and self.host_known:
                yield "responses", "by schema"

    def _of_text(self, row: Provider) -> Iterator[tuple[str, str]]:
        """Yield the results of a template that trims, a parser that misfiles, and streams."""
        found = self.found
        if found.trims:
            yield "trims", "known" if row.trims else "yes"
            if row.continues_completions and found.template is None:
                yield "trims", "elsewhere"
        if found.misfiles and found.template != "continues":
            yield "answer_arrives_in", "known" if row.misfiles else "whole"
        if found.good_marks and found.streamed in ("restarts", "new turn", "refused") and not self.streamed:
            yield "streamed", "breaks"

    def _said(self, name: str, result: str) -> str:
        """Return the sentence for a result."""
        meaning, found = PROBES[name][result], self.found
        if name == "answer_after_thoughts":
            # What brings an answer is among what to do about the thoughts.
            return "" if meaning.setting else f"on_reasoning_cut='answer' does not help here: {meaning.sentence}."
        rounds = Continuation().max_rounds
        refused = set(found.marks.values()) == {"refused"}
        said = meaning.sentence.format(
            what="Streams" if self.streamed else "Answers",
            host=self.host,
            row=None if self.row is None else self.row.name,
            why=PROBES["marks"]["refused" if refused else "new turn"].sentence,
            field=found.answer_arrives_in,
            only="By the chat they cannot, so set" if found.cannot_continue else "Set",
            tokens=found.default_tokens,
            rounds=rounds,
            most=rounds * found.default_tokens,
            set=_named(meaning.setting, self._value(meaning)),
            url=DEEPINFRA,
            model=self.model,
        )
        return said if name != "thoughts" else f"{said}{self._about_thoughts()}"

    def _about_thoughts(self) -> str:
        """Return what to do about thoughts that were cut."""
        found, early = self.found, PROBES["answer_after_thoughts"]["answers"]
        if found.thoughts in _GOOD:
            return " Nothing needs to be set for that." if found.thoughts == "continues" else ""
        ways: list[str] = []
        if found.template == "continues" and self.template is not None:
            ways.append("with the chat template they go on, as said below")
        elif found.template is None and self.has_completions:
            ways.append(f"set {_named('template', 'auto')}, with which they may go on: {ASKS_TEMPLATE}")
        if found.answer_after_thoughts == "answers":
            ways.append(f"set {_named(early.setting, early.value)}, with which {early.sentence}")
        none = "no setting helps here, so name a max_tokens with room for the thoughts"
        return f" What to do: {'; or '.join(ways) or none}."

    def _value(self, meaning: Meaning) -> Any:
        """Return the value of the setting that a result calls for."""
        if meaning.setting == "provider":
            return None if self.row is None else self.row.name
        if meaning.setting == "round_tokens":
            # Half of a small context is left for the prompt.
            cap = None if self.row is None else self.row.cap
            return min(cap or ASKED, (self.found.context_length or 2 * ASKED) // 2)
        return self.template if meaning.setting == "template" else meaning.value


def _named(name: str, value: object) -> str:
    """Return a setting as code, and as a variable."""
    return f"{name}={value!r} ({variable(name, value)})"


def variable(name: str, value: object) -> str:
    """Return a setting as the assignment of its variable."""
    return f"{VARIABLE}_{name.upper()}={int(value) if isinstance(value, bool) else value}"
