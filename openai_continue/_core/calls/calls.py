"""
The tool calls of one choice, and how they can be cut: by the request, by the marks in a text, or by their arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..._tables.call_syntaxes import OPENINGS
from ..json import Json, as_object, as_string
from ..text.marks import overlap

# Fewer characters at the end of a text begin too many other things.
_SHORTEST_BEGINNING = 5


@dataclass(slots=True, repr=False)
class Call:
    """A tool call, as far as it has come."""

    #: The index that the server gave it.
    index: int
    id: str | None = None
    name: str = ""
    arguments: str = ""
    #: Whether its arguments are JSON. The text of a "custom" tool shows no cut.
    is_json: bool = False
    #: Whether it is in the list of tool calls, and no "function_call" of the old interface.
    is_listed: bool = True

    @property
    def said(self) -> Json:
        """Its name and arguments."""
        return {"name": self.name, "arguments": self.arguments}


class Calls:
    """The tool calls of one choice, as they come in whole messages or in deltas."""

    def __init__(self) -> None:
        # By index, and by how many calls came under it: some servers give several calls one index.
        self._by_key: dict[tuple[int, int], Call] = {}
        self._ids: dict[int, list[str]] = {}

    def take(self, delta: Json) -> int:
        """Take a message or delta; return how many characters of calls are in it, at least one for each call."""
        listed = calls_in(delta)
        for place, call in enumerate(listed):
            index = call.get("index")
            self._add(index if isinstance(index, int) else place, call, call.get("function"))
        old = as_object(delta.get("function_call"))
        if old:
            # The one call of the old interface.
            self._add(-1, {}, old)
        functions = [as_object(call.get("function")) or {} for call in listed] + ([old] if old else [])
        return sum(
            max(len(str(each.get("name") or "")) + len(str(each.get("arguments") or "")), 1) for each in functions
        )

    def _add(self, index: int, call: Json, function: object) -> None:
        ids, id_ = self._ids.setdefault(index, []), as_string(call.get("id"))
        if id_ and id_ not in ids:
            ids.append(id_)
        known = self._by_key.setdefault((index, len(ids)), Call(index, id_))
        said = as_object(function)
        if said is not None:
            known.is_json, known.is_listed = True, index >= 0
            known.name = known.name or as_string(said.get("name")) or ""
            known.arguments += as_string(said.get("arguments")) or ""

    def drop_from(self, count: int) -> None:
        """Drop all calls but the first ``count``."""
        self._by_key = dict(list(self._by_key.items())[:count])

    def __iter__(self) -> Iterator[Call]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def length(self) -> int:
        """The characters of all calls."""
        return sum(len(call.name) + len(call.arguments) for call in self)

    @property
    def last(self) -> Call:
        """The last call. There must be one."""
        return list(self)[-1]

    @property
    def are_broken(self) -> bool:
        """Whether the arguments of a call are no JSON. A call without any has none to be cut in."""
        return any(call.arguments.strip() and not is_json(call.arguments) for call in self)

    @property
    def show_cuts(self) -> bool:
        """Whether there are calls whose arguments show whether they were cut."""
        return any(call.is_json for call in self)

    def merged(self, first: object) -> list[Json]:
        """Return the calls as a message lists them; ``first``: the list of the first round's message, or None."""
        listed = calls_in({"tool_calls": first})
        listed += [{"type": "function"}] * (len(self) - len(listed))
        return [
            {**known, "id": call.id or known.get("id"), "function": {**_function_of(known), **call.said}}
            for known, call in zip(listed, self, strict=False)
        ]


def _function_of(call: Json) -> Json:
    return as_object(call.get("function")) or {}


def calls_in(delta: Mapping[str, Any]) -> list[Json]:
    """Return the tool calls of a message or delta."""
    calls = delta.get("tool_calls")
    return [as_object(call) or {} for call in cast("list[Any]", calls)] if isinstance(calls, list) else []


def functions_in(tools: object) -> list[Json]:
    """Return the functions of the list of tools in a request."""
    listed = cast("list[Any]", tools) if isinstance(tools, list) else []
    return [as_object((as_object(tool) or {}).get("function")) or {} for tool in listed]


def is_json(text: str) -> bool:
    """Whether a text is a JSON document. Servers let raw newlines pass within its strings."""
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def expects_value(text: str) -> bool:
    """Whether a text is the beginning of a JSON document that goes on with a value, such as ``{"name": ``."""
    try:
        json.loads(f"{text}!", strict=False)
    except json.JSONDecodeError as error:
        return error.msg == "Expecting value" and error.pos == len(text)
    except RecursionError:
        pass
    return False


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether a request leaves the model no choice but to call a tool. vLLM then gives half a call back as content."""
    choice = body.get("tool_choice")
    return choice == "required" or as_object(choice) is not None


def opens_call(text: str) -> bool:
    """Whether a text holds the opening of a tool call, or ends in the beginning of one."""
    return any(mark in text or overlap(text, mark) >= _SHORTEST_BEGINNING for mark in OPENINGS)
