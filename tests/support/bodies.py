"""Bodies of requests."""

from __future__ import annotations

from typing import Any

#: A model whose chat template is known to keep the message that is sent back, so that it goes without trailing blanks.
KNOWN = "deepseek-ai/DeepSeek-V3.2"


def ask(prompt: str = "x", **fields: Any) -> dict[str, Any]:
    """Return the body of a request with one user message."""
    return {"model": KNOWN, "messages": [{"role": "user", "content": prompt}], **fields}
