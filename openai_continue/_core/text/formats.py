"""
Structured answers: whether the joined text has the format that was asked for.

A server applies a grammar from its root to every request, so later rounds are sent without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..json import Json, as_object
from ..schema import conforms
from .document import without_fence

# Where a request may ask for a format, and what is there: an object with a type; a JSON schema, as an object or as
# text; a switch for JSON of any schema; a regular expression; or a grammar that nothing here can check.
_PLACES: Mapping[str, str] = {
    # OpenAI, and nearly every server.
    "response_format": "typed",
    # vLLM up to 0.11, docs/features/structured_outputs; NIM, docs.nvidia.com/nim, "Structured Generation".
    "guided_json": "schema",
    "guided_regex": "regex",
    "guided_choice": "grammar",
    "guided_grammar": "grammar",
    # vLLM since 0.11, the same page.
    "structured_outputs.json": "schema",
    "structured_outputs.json_object": "json",
    "structured_outputs.regex": "regex",
    "structured_outputs.choice": "grammar",
    "structured_outputs.grammar": "grammar",
    "structured_outputs.structural_tag": "grammar",
    # SGLang, srt/entrypoints/openai/protocol.py; llama-server, tools/server/README.md: json_schema and grammar. TGI's
    # grammar is an object with a type.
    "json_schema": "schema",
    "regex": "regex",
    "ebnf": "grammar",
    "grammar": "grammar",
    "structural_tag": "grammar",
    # Ollama, docs/api.md: a schema, or "json". Elsewhere the name may mean something else.
    "format": "ollama",
}
# Objects in which some of these may be, and what the names of the places then begin with. NIM, "Structured Generation",
# and Dynamo: nvext. LiteLLM's proxy takes extra_body for what it adds to the body.
_HOLDERS: Mapping[str, str] = {"nvext": "", "extra_body": "", "structured_outputs": "structured_outputs."}
# Types of response_format. OpenAI: json_object, json_schema. TGI, router/src/lib.rs, and TensorRT-LLM,
# tensorrt_llm/serve/openai_protocol.py: json. regex_schema: LMDeploy, lmdeploy/serve/openai/protocol.py.
_JSON_TYPES = ("json_object", "json_schema", "json")
_REGEX_TYPES = ("regex", "regex_schema")
# Where such an object has its schema. json_schema: OpenAI; schema: Together, Fireworks, llama-server, TensorRT-LLM;
# value: TGI.
_SCHEMAS = ("json_schema", "schema", "value")
# Where it has its expression. regex: https://docs.deepinfra.com/chat/structured-outputs; pattern: Together.
_EXPRESSIONS = ("regex", "regex_schema", "pattern", "value", "schema")


@dataclass(frozen=True, slots=True)
class _Wish:
    """One format that a request asks for. If it is neither JSON nor an expression, it cannot be checked."""

    is_json: bool = False
    #: The JSON schema as it came; None: any JSON.
    schema: object = None
    pattern: re.Pattern[str] | None = None

    def fits(self, text: str) -> bool | None:
        """Whether the text is a whole document of this format; None if that cannot be checked."""
        if self.pattern is not None:
            return self.pattern.fullmatch(text) is not None
        try:
            document = json.loads(without_fence(text))
        except (ValueError, RecursionError):
            return False
        return self.schema is None or conforms(document, self.schema)


class Format:
    """What a request asks for. Some clients ask in several places, for several kinds of servers."""

    def __init__(self, wishes: list[_Wish]) -> None:
        self.is_json = any(wish.is_json for wish in wishes)
        #: Whether a schema is asked for, and not only JSON.
        self.has_schema = any(wish.schema not in (None, {}, True) for wish in wishes)
        #: Whether ``fits()`` can check an answer. If not, the answer is not continued.
        self.checkable = all(wish.is_json or wish.pattern is not None for wish in wishes)
        self._wishes = wishes

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Format | None:
        """Return the format that a request asks for, or None for plain text."""
        wishes = list(_wishes(body))
        return cls(wishes) if wishes else None

    def fits(self, text: str) -> bool | None:
        """Whether the text is a whole document of this format; None if its schema cannot be checked."""
        found = [wish.fits(text) for wish in self._wishes]
        return None if None in found and False not in found else all(found)


def without_format(fields: Mapping[str, Any]) -> Json:
    """Return a copy of a body without the fields that constrain the format of the answer."""
    kept: Json = {}
    for name, value in fields.items():
        held = as_object(value) if name in _HOLDERS else None
        if held is not None:
            rest = {} if _HOLDERS[name] else without_format(held)
            kept.update({name: rest} if rest or not held else {})
        elif name != "response_format" and _wish(name, value) is None:
            kept[name] = value
    return kept


def _wishes(fields: Mapping[str, Any], within: str = "") -> Iterator[_Wish]:
    for name, value in fields.items():
        held = as_object(value) if name in _HOLDERS else None
        if held is not None:
            yield from _wishes(held, _HOLDERS[name])
        else:
            wish = _wish(within + name, value)
            if wish is not None:
                yield wish


def _wish(place: str, value: object) -> _Wish | None:
    """Return the format that is asked for in this place, or None if there is none."""
    kind = _PLACES.get(place)
    known = as_object(value)
    if kind == "ollama":
        kind = "schema" if known is not None else "json" if value == "json" else None
    if kind is None or value in (None, False, ""):
        return None
    if kind == "typed" or (kind == "grammar" and known is not None):
        return None if known is None else _typed(known)
    found = {
        "json": _Wish(is_json=True),
        "schema": _Wish(is_json=True, schema=value),
        "regex": _Wish(pattern=_compiled(value)),
    }
    return found.get(kind, _Wish())


def _typed(wanted: Json) -> _Wish | None:
    """Return the format that an object with a type asks for."""
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind in _JSON_TYPES:
        return _Wish(is_json=True, schema=_schema_in(wanted))
    expression = next((wanted[name] for name in _EXPRESSIONS if name in wanted), None)
    return _Wish(pattern=_compiled(expression) if kind in _REGEX_TYPES else None)


def _schema_in(wanted: Json) -> object:
    found = next((wanted[name] for name in _SCHEMAS if wanted.get(name) is not None), None)
    # OpenAI's, and so TGI's, is an object with a name and the schema.
    return (as_object(found) or {}).get("schema", found)


def _compiled(expression: object) -> re.Pattern[str] | None:
    try:
        return re.compile(expression) if isinstance(expression, str) else None
    except re.error:
        return None
