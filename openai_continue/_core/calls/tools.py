"""What a request says of its tools, and how its model calls them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..._tables import call_syntaxes
from ..._tables.call_syntaxes import CallSyntax
from ..._tables.providers import Provider
from ...settings import Continuation
from ..json import as_object
from ..schema import conforms
from .calls import Call, functions_in, is_json
from .reader import Reader, first_mark


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one request."""

    #: How the model writes calls.
    syntax: CallSyntax
    #: The request's list.
    listed: object
    #: Whether the caller wants one call only (``parallel_tool_calls``). Servers drop further ones.
    wants_one: bool = False

    def reader(self, strings: Sequence[Mapping[str, bool]] = (), *, compact: bool = False) -> Reader:
        """Return a new reader of the calls of one answer. ``strings``, ``compact``: as in ``Reader``."""
        return Reader(self.syntax, self.listed, strings=strings, compact=compact)

    def has(self, name: str) -> bool:
        """Whether there is a tool of this name."""
        return any(function.get("name") == name for function in functions_in(self.listed))

    def fits(self, call: Call) -> bool:
        """Whether the arguments of a call are JSON, and of its tool's schema as far as that can be checked."""
        if not is_json(call.arguments):
            return False
        found = next((each for each in functions_in(self.listed) if each.get("name") == call.name), None)
        schema = None if found is None else as_object(found.get("parameters"))
        return schema is None or conforms(json.loads(call.arguments, strict=False), schema) is not False

    def may_open(self, text: str) -> bool:
        """Whether a text has what opens a call."""
        mark = first_mark(self.syntax)
        return text.lstrip().startswith("{") if mark.startswith("{") else mark in text

    def after(self, text: str) -> str:
        """Return the text before the first call, with what parts the two."""
        if not text:
            return ""
        ends = len(text) - len(text.rstrip("\n"))
        return text + self.syntax.gap[min(ends, len(self.syntax.gap)) :]


def continued_syntax(
    body: Mapping[str, Any], provider: Provider, settings: Continuation, *, is_raw: bool
) -> CallSyntax | None:
    """Return how the model writes tool calls, or None if those that were cut are not continued."""
    wish = settings.continue_tool_calls
    if wish is False or not body.get("tools") or body.get("logprobs"):
        # The logprobs of a call are those of the model's own text, of which the caller sees a part.
        return None
    known = call_syntaxes.named(wish) if isinstance(wish, str) else call_syntaxes.of_model(str(body.get("model")))
    sure = known is not None and (is_raw or wish is not None or known.name in provider.call_syntaxes)
    return known if sure else None
