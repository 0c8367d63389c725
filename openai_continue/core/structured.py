"""
Structured answers: whether the joined text has the format that was asked for.

A server applies a grammar from its root to every request, so later rounds are sent without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .document import without_fence
from .jsons import as_object
from .schema import conforms

_JSON_TYPES = ("json_object", "json_schema")
# Fields that engines read besides response_format, and the kind of format that each asks for.
# vLLM: docs/features/structured_outputs; SGLang: sampling_params; llama-server: tools/server/README.md.
_ENGINE_FIELDS = {
    "guided_json": "json_schema",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "structured_outputs": "structured_outputs",
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf": "grammar",
    "grammar": "grammar",
    "structural_tag": "grammar",
}


class Format:
    """The format that a request asks for."""

    def __init__(self, kind: str, pattern: re.Pattern[str] | None, schema: object = None) -> None:
        self.is_json = kind in _JSON_TYPES
        #: Whether ``fits()`` can check an answer. If not, the answer is not continued.
        self.checkable = self.is_json or pattern is not None
        self._pattern = pattern
        # The JSON schema that was asked for, if it came as an object.
        self._schema = as_object(schema)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Format | None:
        """Return the format that a request asks for, or None for plain text."""
        wanted = as_object(body.get("response_format"))
        if wanted is not None and wanted.get("type") != "text":
            # https://docs.deepinfra.com/chat/structured-outputs: {"type": "regex", "regex": …}
            kind = str(wanted.get("type"))
            schema = (as_object(wanted.get("json_schema")) or {}).get("schema")
            return cls(kind, _compiled(wanted.get("regex")) if kind == "regex" else None, schema)
        for name, kind in _ENGINE_FIELDS.items():
            value = body.get(name)
            if value is None:
                continue
            parts = as_object(value) or {}
            if kind == "structured_outputs" and (parts.get("json") or parts.get("json_object")):
                return cls("json_schema", None, parts.get("json"))
            expression = value if kind == "regex" else parts.get("regex") if kind == "structured_outputs" else None
            return cls(kind, _compiled(expression), value)
        return None

    def fits(self, text: str) -> bool:
        """Whether the text is a whole document of this format."""
        if self._pattern is not None:
            return self._pattern.fullmatch(text) is not None
        try:
            document = json.loads(without_fence(text))
        except (ValueError, RecursionError):
            return False
        return self._schema is None or conforms(document, self._schema)


def without_format(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a body without the fields that constrain the format of the answer."""
    return {name: value for name, value in body.items() if name != "response_format" and name not in _ENGINE_FIELDS}


def _compiled(expression: object) -> re.Pattern[str] | None:
    try:
        return re.compile(expression) if isinstance(expression, str) else None
    except re.error:
        return None
