"""Whether a JSON document is of a JSON schema, checked by the package jsonschema if it is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any


def is_installed() -> bool:
    """Whether jsonschema is there, the extra ``schema``."""
    return find_spec("jsonschema") is not None


def conforms(document: Any, schema: Any) -> bool | None:
    """
    Whether a document is of a schema, which may come as text.

    None if that cannot be checked: jsonschema is not installed, or the schema is wrong or refers to another file.
    """
    try:
        schema = json.loads(schema) if isinstance(schema, str) else schema
    except (ValueError, RecursionError):
        return None
    if schema in ({}, True):
        return True
    try:
        from jsonschema.validators import validator_for
        from referencing import Registry
    except ImportError:
        return None
    try:
        kind = validator_for(schema)
        kind.check_schema(schema)
        # An empty registry: a reference to another file is not fetched over the network.
        return bool(kind(schema, registry=Registry()).is_valid(document))
    except Exception:
        # jsonschema has no one class for what a wrong schema raises.
        return None
