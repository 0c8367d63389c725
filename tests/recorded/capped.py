"""
A cap in front of a vLLM's ``/responses``: no response is longer, whatever is asked for.

All else is vLLM's own.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.ways import SYNC, http

#: Most tokens of a response, and of prompt and response together. What asks for more than the latter, vLLM refuses.
CAP, CONTEXT = 48, 16_384


class Capped:
    """Answers the requests that a client sends to a vLLM."""

    def __init__(self, engine: str, busy: int | None) -> None:
        #: The vLLM's ``base_url``, and the number of the request that finds it busy.
        self._engine, self._busy = engine, busy
        self._requests = 0

    def answer(self, request: Any) -> Any:
        self._requests += 1
        if self._requests == self._busy:
            return http.Response(429, json={"error": {"message": "Model busy, retry later"}})
        body = json.loads(request.content)
        asked = body.get("max_output_tokens") or CAP
        if asked <= CONTEXT:
            body["max_output_tokens"] = min(asked, CAP)
        with SYNC.http_client() as client:
            response = client.post(f"{self._engine}/responses", json=body)
        kept = {"content-type": response.headers["content-type"]}
        return http.Response(response.status_code, headers=kept, content=response.content)
