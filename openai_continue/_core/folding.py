"""The chunks of an answer folded into its completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from .calls.calls import calls_in
from .chunks import choices_of, delta_of, index_of, joined
from .json import Json, as_object, as_string
from .text.reasoning import FIELDS

# Fields of a delta whose pieces are joined to one text.
_TEXTS = ("content", "refusal", *FIELDS)
_CALLS = ("tool_calls", "function_call")


class _Fields:
    """Fields of many chunks, joined. A list grows in place: to copy it for each chunk would cost the square of it."""

    def __init__(self) -> None:
        self._others: Json = {}
        self._lists: dict[str, list[Any]] = {}

    def take(self, more: Mapping[str, Any], *, apart: Sequence[str] = ()) -> None:
        """Take the fields of a chunk, without those that are named in ``apart``."""
        lists = {name: cast("list[Any]", value) for name, value in more.items() if isinstance(value, list)}
        for name, value in lists.items():
            if name not in apart and not (name in self._lists and name.startswith("prompt")):
                self._lists.setdefault(name, []).extend(value)
        self._others = joined(self._others, more, apart=(*apart, *lists))

    def get(self, name: str) -> Any:
        """Return the value of a field that is no list, or None."""
        return self._others.get(name)

    @property
    def all(self) -> Json:
        """All fields."""
        return {**self._others, **self._lists}


class Folded:
    """
    Takes chunks; gives the completion.

    ``streams``: whether they are a server's stream. Else each was made of a whole answer: what it has not is not there
    in the completion either, and no tool call comes in pieces.
    """

    def __init__(self, *, streams: bool = True) -> None:
        self._streams = streams
        self._fields = _Fields()
        self._choices: dict[int, _Choice] = {}

    def take(self, chunk: Json) -> None:
        """Take a chunk."""
        # What names the answer comes first; anything else is as it came last.
        known = [name for name in ("id", "created", "model") if self._fields.get(name)]
        self._fields.take(chunk, apart=("choices", *known))
        for item in choices_of(chunk) or []:
            if index_of(item) not in self._choices:
                self._choices[index_of(item)] = _StreamedChoice() if self._streams else _Choice()
            self._choices[index_of(item)].take(item)

    @property
    def is_empty(self) -> bool:
        """Whether no choice has come."""
        return not self._choices

    @property
    def is_open(self) -> bool:
        """Whether a choice has no ``finish_reason``, because the stream just ended."""
        return any(choice.is_open for choice in self._choices.values())

    def completion(self) -> Json:
        """Return the completion."""
        choices = [choice.folded(index) for index, choice in sorted(self._choices.items())]
        made = {**self._fields.all, "choices": choices}
        if self._streams or made.get("object") == "chat.completion.chunk":
            made["object"] = "chat.completion"
        return made


class _Choice:
    """The choice of chunks that were made of whole answers."""

    def __init__(self) -> None:
        self._fields, self._message = _Fields(), _Fields()
        self._texts: dict[str, list[str]] = {}
        self._logprobs: _Fields | None = None

    @property
    def is_open(self) -> bool:
        """Whether its end has not come."""
        return not self._fields.get("finish_reason")

    def take(self, item: Json) -> None:
        """Take the choice of one chunk."""
        delta, logprobs = delta_of({"choices": [item]}), as_object(item.get("logprobs"))
        self._fields.take(item, apart=("index", "delta", *(() if logprobs is None else ("logprobs",))))
        if logprobs is not None:
            self._logprobs = self._logprobs or _Fields()
            self._logprobs.take(logprobs)
        texts = {name: text for name in _TEXTS if (text := as_string(delta.get(name))) is not None}
        for name, text in texts.items():
            self._texts.setdefault(name, []).append(text)
        self._take_others({name: value for name, value in delta.items() if name not in texts})

    def _take_others(self, delta: Json) -> None:
        """Take the fields of a delta that are no texts."""
        self._message.take(delta)

    def folded(self, index: int) -> Json:
        """Return the choice of the completion."""
        message = {**self._message.all, **{name: "".join(pieces) for name, pieces in self._texts.items()}}
        logprobs: Json = {} if self._logprobs is None else {"logprobs": self._logprobs.all}
        return {**self._fields.all, "index": index, "message": message, **logprobs}


class _StreamedChoice(_Choice):
    """The choice of a server's stream. Its completion has a null where that of a whole answer has one."""

    def __init__(self) -> None:
        super().__init__()
        # By index, and by how many calls came under it.
        self._calls: list[Json] = []
        self._arguments: list[list[str]] = []
        self._old: Json = {}

    def _take_others(self, delta: Json) -> None:
        self._message.take(delta, apart=(*_TEXTS, *_CALLS))
        for call in calls_in(delta):
            self._take_call(call)
        old = as_object(delta.get("function_call"))
        if old:
            arguments = (self._old.get("arguments") or "") + (old.get("arguments") or "")
            self._old = {**self._old, **{name: value for name, value in old.items() if value}, "arguments": arguments}

    def _take_call(self, call: Json) -> None:
        function = as_object(call.get("function")) or {}
        pieces = self._pieces(call)
        if isinstance(function.get("arguments"), str):
            pieces.append(function["arguments"])
        known = self._calls[-1]
        for place, other in enumerate(self._arguments):
            known = self._calls[place] if other is pieces else known
        said = as_object(known.get("function")) or {}
        said = {**said, **{name: value for name, value in function.items() if value and name != "arguments"}}
        known.update({name: value for name, value in call.items() if value is not None and name != "function"})
        if "function" in call:
            known["function"] = said

    def _pieces(self, call: Json) -> list[str]:
        """Return the pieces of the arguments of the call that a delta adds to; a new one if it begins another."""
        index, id_ = call.get("index"), call.get("id")
        for known, pieces in zip(reversed(self._calls), reversed(self._arguments), strict=True):
            if known.get("index") == index and (not id_ or known.get("id") in (None, id_)):
                return pieces
        self._calls.append({})
        self._arguments.append([])
        return self._arguments[-1]

    def folded(self, index: int) -> Json:
        made = super().folded(index)
        calls = [_call(call, pieces) for call, pieces in zip(self._calls, self._arguments, strict=True)]
        message: Json = {"role": "assistant", **made["message"]}
        if calls:
            message["tool_calls"] = calls
        if self._old:
            message["function_call"] = self._old
        if not message.get("content"):
            # A whole answer without text has null for it if it has something else.
            others = calls or self._old or any(message.get(name) for name in (*FIELDS, "refusal"))
            message["content"] = None if others else ""
        return {"logprobs": None, **made, "message": message}


def _call(call: Json, pieces: list[str]) -> Json:
    made = {name: value for name, value in call.items() if name != "index"}
    if "function" in call:
        made["function"] = {**call["function"], "arguments": "".join(pieces)}
    return made
