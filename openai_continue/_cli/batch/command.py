"""Continue the answers of a batch: write the requests that go on, and in the end the whole answers."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from ... import switches
from ..._core.json import Json, as_object, dump, load
from ..._sdk.replay import Replay, has_succeeded
from ...errors import SettingsError
from ...settings import Continuation
from ..wrapping import tell
from .lines import ANSWER, KEPT, REQUEST, BatchError, by_custom_id, lines_of, refuse_in_use, replacing

#: Exit codes of ``batch next``: whether there are requests to run.
REQUESTS, NO_REQUESTS = 0, 3
#: Exit codes of ``batch join``: whether all answers are whole.
WHOLE, NOT_ALL_WHOLE = 0, 3
_ENDING = ".state"
#: The settings that hold for a batch, and those that have no place in one.
FIELDS = (
    "provider",
    "max_tokens",
    "request_limit",
    "usage",
    "max_rounds",
    "max_cost",
    "max_repetition",
    "trims",
    "continue_tool_calls",
    "on_reasoning_cut",
)
PLACELESS = ("round_tokens", "max_seconds", "template")


@dataclass(frozen=True, slots=True)
class Task:
    """The command's arguments."""

    requests: Path
    answers: Sequence[Path]
    output: Path
    provider: str | None = None
    as_json: bool = False


def run_next(task: Task) -> int:
    """
    Write the requests that are still to be sent, and the state beside them; return the exit code.

    Raises BatchError, SettingsError or OSError, and then nothing is written.
    """
    batch, tally = _Batch(task), _Tally()
    with replacing(task.output, _state_of(task.output)) as (requests, state):
        state.write(batch.header() + b"\n")
        for replay, kept in batch.replays():
            tally.note(replay)
            state.write(dump(kept) + b"\n")
            if replay.request is not None:
                requests.write(replay.written_request() + b"\n")
        is_written = requests.tell() > 0
    _report(task, batch, tally, is_written=is_written)
    if not task.as_json:
        print(_what_to_do(task, tally) if is_written else _what_is_left(task))
    return REQUESTS if is_written else NO_REQUESTS


def _what_to_do(task: Task, tally: _Tally) -> str:
    asked = tally.became["to go on"] + tally.became["asked again"]
    name = shlex.quote(str(task.output))
    return f"Requests in {task.output}: {asked}. Run them, then: openai-continue batch next {name} OUTPUT -o NEXT"


def _what_is_left(task: Task) -> str:
    names = " ".join(shlex.quote(str(path)) for path in (task.requests, *task.answers))
    return f"No request is left, so {task.output} is not written. Then: openai-continue batch join {names} -o JOINED"


def run_join(task: Task) -> int:
    """
    Write the answers, as one batch without a cap would have; return the exit code.

    Raises BatchError, SettingsError or OSError, and then nothing is written.
    """
    batch, tally = _Batch(task), _Tally()
    with replacing(task.output) as (answers,):
        for replay, _ in batch.replays():
            replay.give_up()
            tally.note(replay)
            if (answer := replay.answer()) is not None:
                answers.write(answer + b"\n")
        is_written = answers.tell() > 0
    _report(task, batch, tally, is_written=is_written)
    return WHOLE if tally.became["whole"] == tally.lines else NOT_ALL_WHOLE


@dataclass(slots=True)
class _Tally:
    """What became of the lines."""

    lines: int = 0
    became: Counter[str] = field(default_factory=Counter[str])
    #: The same, with the reason.
    why: Counter[str] = field(default_factory=Counter[str])

    def note(self, replay: Replay) -> None:
        """Count a line."""
        became, why = _outcome(replay)
        self.lines += 1
        self.became[became] += 1
        if why is not None:
            self.why[f"{became}: {why}"] += 1

    def text(self) -> str:
        """Return the counts for people."""
        parts = [f"{count} {what}" for what, count in sorted(self.became.items())]
        reasons = [f"  {why} ({count})" for why, count in sorted(self.why.items())]
        return "\n".join([f"Lines: {self.lines} ({', '.join(parts)})", *reasons])


def _outcome(replay: Replay) -> tuple[str, str | None]:
    """Return what became of a line, and why."""
    if replay.request is not None:
        return ("asked again", None) if replay.tries else ("to go on", None)
    if not replay.is_answered:
        return "without an answer", None
    if replay.error is not None:
        return "failed", replay.error
    if replay.left_alone is not None:
        return "left alone", replay.left_alone
    return ("whole", None) if replay.stopped_by is None else ("cut", replay.stopped_by)


def _report(task: Task, batch: _Batch, tally: _Tally, *, is_written: bool) -> None:
    if batch.begun:
        what = f"{batch.begun} requests go on from a message of the assistant, and {batch.state} is not there"
        tell(f"{what}. If batch next wrote them, put it back: without it their answers begin in the middle")
    if task.as_json:
        summary = {"lines": tally.lines, **tally.became, "why": tally.why}
        print(json.dumps({**summary, "written": str(task.output) if is_written else None}))
    else:
        print(tally.text())


def _state_of(path: Path) -> Path:
    return path.with_name(path.name + _ENDING)


class _Batch:
    """
    The lines of a batch with all answers so far, the newest ones too.

    A batch that ``batch next`` has written has a state beside it: the settings in its first line, then each line of the
    caller's own input, with the answers of the earlier batches, all as they came.
    """

    def __init__(self, task: Task) -> None:
        self._requests, self.state = task.requests, _state_of(task.requests)
        self._is_later = self.state.exists()
        refuse_in_use([task.output, _state_of(task.output)], [task.requests, self.state, *task.answers])
        #: The settings of the first pass, which hold for all.
        self.settings = _kept_settings(self.state, task.provider) if self._is_later else _settings(task.provider)
        #: How many requests of the caller's own input, as far as it was read, end in a message of the assistant.
        self.begun = 0
        self._asked = by_custom_id([task.requests], REQUEST, "url", "body")
        if not self._asked:
            msg = f"{task.requests}: it is empty; accepted are lines such as {REQUEST}"
            raise BatchError(msg)
        self._answered = by_custom_id(task.answers, ANSWER, "response")
        for name, line in self._answered.items():
            if name not in self._asked:
                what = f'its "custom_id" is in no line of {task.requests}. Is it the output of another batch?'
                raise line.refusal(what, "the output of that one")

    def header(self) -> bytes:
        """Return the first line of the state."""
        return dump({"settings": {name: value for name, value in asdict(self.settings).items() if name in FIELDS}})

    def replays(self) -> Iterator[tuple[Replay, Json]]:
        """Give each line, brought to where it is now, and what the state keeps of it."""
        for name, text, answers in self._kept() if self._is_later else self._new():
            try:
                replay = Replay(text, self.settings)
            except SettingsError as error:
                msg = f"{self._asked.get(name, self._requests)}: {error}"
                raise BatchError(msg) from None
            for answer in answers:
                replay.take(answer)
            if replay.request is not None:
                answers.append(self._newest(name, replay.request, answers))
                replay.take(answers[-1])
            yield replay, {"input": text, "answers": answers}

    def _new(self) -> Iterator[tuple[str, str, list[str | None]]]:
        """Give the ``custom_id`` and the text of each line of the caller's own input, none of which has an answer."""
        for line, text, fields in lines_of(self._requests, REQUEST):
            if not isinstance(fields["url"], str) or as_object(fields["body"]) is None:
                raise line.refusal('its "url" is no text, or its "body" no object', REQUEST)
            self.begun += _ends_in_assistant(fields["body"])
            yield fields["custom_id"], text, []

    def _kept(self) -> Iterator[tuple[str, str, list[str | None]]]:
        """Give the same of the state, with the answers so far."""
        lines = lines_of(self.state, KEPT)
        next(lines)
        for _, _, kept in lines:
            yield (as_object(load(kept["input"].encode())) or {})["custom_id"], kept["input"], kept["answers"]

    def _newest(self, name: str, request: Json, before: list[str | None]) -> str | None:
        """Return the answer to a request, or None. Raise BatchError if it is the answer to another one."""
        asked, answered = self._asked.get(name), self._answered.get(name)
        if self._is_later and asked is not None and load(asked.text().encode()) != request:
            what = (
                f"it is not the request that {self.state} leads to. Has a file changed, or the version of "
                "openai-continue? Write both again"
            )
            raise asked.refusal(what, KEPT)
        if answered is None:
            return None
        answer = answered.text()
        if answer in before and has_succeeded(answer):
            raise answered.refusal("it is an answer of an earlier batch", f"the output of {self._requests}")
        return answer


def _ends_in_assistant(body: Json) -> bool:
    messages = body.get("messages")
    last = as_object(cast("list[object]", messages)[-1]) if isinstance(messages, list) and messages else None
    return last is not None and last.get("role") == "assistant"


def _settings(provider: str | None) -> Continuation:
    """Return the settings of the environment. ``provider``: the one that the command names, or None."""
    if switches.killed():
        msg = f"{switches.VARIABLE} switches continuation off. Unset it"
        raise SettingsError(msg)
    known = Continuation.from_env()
    for name in PLACELESS:
        if getattr(known, name) is not None:
            msg = f"{switches.VARIABLE}_{name.upper()}: this setting has no place in a batch. Unset it"
            raise SettingsError(msg)
    fields: Json = {name: getattr(known, name) for name in FIELDS}
    fields["provider"] = provider or known.provider or "deepinfra"
    return Continuation(**fields)


def _kept_settings(state: Path, provider: str | None) -> Continuation:
    """Return the settings in a state."""
    first = next(lines_of(state, KEPT), None)
    kept = None if first is None else as_object(first[2].get("settings"))
    if kept is None:
        msg = f"{state}: it is no state of a batch; accepted is {KEPT}"
        raise BatchError(msg)
    if provider not in (None, kept.get("provider")):
        msg = f"--provider: got {provider!r}, accepted is that of the first pass, {kept.get('provider')!r}"
        raise SettingsError(msg)
    return Continuation(**kept)
