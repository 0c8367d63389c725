"""Whether a JSON document is of a JSON schema, checked by the package jsonschema if it is installed."""

from __future__ import annotations

from typing import Any

from .jsons import Json


def conforms(document: Any, schema: Json) -> bool:
    """
    Whether a document is of a schema.

    True if that cannot be told: jsonschema is not installed, or the schema is wrong or refers to another file.
    """
    try:
        from jsonschema.validators import validator_for
        from referencing import Registry
    except ImportError:
        return True
    # An empty registry: a reference to another file is not fetched over the network.
    check = validator_for(schema)(schema, registry=Registry())
    try:
        return bool(check.is_valid(document))
    except Exception:
        # jsonschema has no one class for what a wrong schema raises. The server took it, so the answer is not to blame.
        return True
