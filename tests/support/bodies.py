"""Bodies of requests."""

from __future__ import annotations

from typing import Any


def ask(prompt: str = "x", **fields: Any) -> dict[str, Any]:
    """Return the body of a request with one user message."""
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
