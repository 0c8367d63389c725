"""
DeepInfra's behavior in front of a vLLM: its cap, its errors, and the fields that it adds to answers.

The texts are the model's. The errors are the emulator's.
"""

from __future__ import annotations

import json
from typing import Any

from openai_continue.testing.emulator.checks import ContextOverflow, requested_tokens, token_limit
from openai_continue.testing.emulator.habits import DEEPINFRA
from openai_continue.testing.emulator.replies import DONE, dump, event
from tests.support.ways import SYNC, http

#: Most tokens of a response, whatever is asked for.
CAP = 48
#: The context of each model that has a small one at DeepInfra, in tokens.
CONTEXTS = {"Gryphe/MythoMax-L2-13b": 4096}


class DeepInfra:
    """Answers the requests that a client sends to DeepInfra."""

    def __init__(self, engine: str, model: str, busy: int | None) -> None:
        #: The vLLM's ``base_url``, its name for the model, and the number of the request that finds it busy.
        self._engine, self._model, self._busy = engine, model, busy
        self._requests = 0

    def answer(self, request: Any) -> Any:
        self._requests += 1
        if self._requests == self._busy:
            return http.Response(429, json={"error": {"message": "Model busy, retry later"}})
        body = json.loads(request.content)
        asked = {**body, "model": self._model}
        if body["messages"][-1]["role"] == "assistant":
            # DeepInfra continues every trailing assistant message. vLLM needs two flags.
            asked |= {"add_generation_prompt": False, "continue_final_message": True}
        try:
            asked["max_tokens"] = self._limit(body, asked)
        except ContextOverflow as overflow:
            return self._refused(overflow, streamed=bool(body.get("stream")))
        if body.get("stream"):
            asked["stream_options"] = {"include_usage": True}
        response = self._post(f"{self._engine}/chat/completions", asked)
        given = self._streamed(body, response.text) if body.get("stream") else self._whole(body, response.json())
        return http.Response(response.status_code, headers={"content-type": response.headers["content-type"]}, **given)

    def _limit(self, body: dict[str, Any], asked: dict[str, Any]) -> int:
        names = ("model", "messages", "add_generation_prompt", "continue_final_message")
        prompt = {name: asked[name] for name in names if name in asked}
        counted = self._post(f"{self._engine.removesuffix('/v1')}/tokenize", prompt).json()["count"]
        context = CONTEXTS.get(body["model"], 163_840)
        asked = requested_tokens(body, DEEPINFRA)
        return token_limit(asked, counted, cap=CAP, context=context, habits=DEEPINFRA)

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        with SYNC.http_client() as client:
            response = client.post(url, json=body)
        response.raise_for_status()
        return response

    def _refused(self, overflow: ContextOverflow, *, streamed: bool) -> Any:
        if not streamed:
            return http.Response(overflow.status, json=overflow.body)
        frame = {"error_type": "validation_error", "error_message": json.dumps(overflow.body)}
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=event(frame))

    def _whole(self, body: dict[str, Any], completion: dict[str, Any]) -> dict[str, Any]:
        return {"content": dump(_like_deepinfra(body, completion))}

    def _streamed(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        """Return a stream with the usage on the last chunk of the text, where DeepInfra sends it."""
        chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        *chunks, usage = chunks
        chunks[-1]["usage"] = usage["usage"]
        events = [event(_like_deepinfra(body, chunk)) for chunk in chunks]
        return {"content": b"".join([*events, DONE])}


def _like_deepinfra(body: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    usage = given.get("usage")
    if usage:
        usage["estimated_cost"] = round(usage["prompt_tokens"] * 4e-8 + usage["completion_tokens"] * 1.2e-7, 10)
    return given | ({"model": body["model"]} if "model" in given else {})
