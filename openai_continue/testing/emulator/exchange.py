"""
One request and its answer, with the fault that it meets.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from .chat_replies import compose
from .checks import ContextOverflow, Endpoint, Refused, endpoint_of, granted_tokens, stop_strings, validated
from .faults import Fault, Kind
from .habits import Habits
from .ledger import Ledger, Line
from .model import Model, Reply
from .replies import DIED, StreamEvent, dump, event
from .response_kinds import KINDS
from .response_replies import ResponseReply
from .response_requests import as_chat, response_habits
from .sender import Sender
from .template import Prompt, rendered
from .text_prompts import text_prompts
from .text_replies import compose_text

_HANG_SECONDS = 30.0
_SERVER_ERRORS: dict[str, str] = {
    "402": "You have reached your spending limit",
    "429": "Model busy, retry later",
    "500": "Internal server error",
    "503": "Service temporarily unavailable",
}
# Faults that a whole answer shows as a body that stops short.
_CUT_SHORT: set[Kind | None] = {"reset", "hang", "early_end", "half_frame", "no_done"}
# Faults that break a stream after some tokens.
_BREAKING: set[Kind | None] = {"reset", "early_end", "hang", "error_frame", "error_event", "half_frame", "choice_error"}


class Served(Protocol):
    """What an exchange reads of the server: its parts, and the settings that ``Emulator`` documents."""

    cap: int
    context: int
    model: Model
    habits: Habits
    ledger: Ledger
    token_delay: float
    chunk_tokens: int
    events_per_write: int


class Answer(Protocol):
    """What the model answers, in the shape of an endpoint."""

    @property
    def replies(self) -> Sequence[Reply]: ...

    @property
    def head(self) -> dict[str, Any]: ...

    @property
    def finishes(self) -> tuple[str, ...]: ...

    @property
    def end(self) -> bytes: ...

    def whole(self, fault: Kind | None = None) -> dict[str, Any]: ...

    def events(self, chunk_tokens: int) -> Iterator[StreamEvent]: ...

    def spoilt_stream(self, fault: Kind | None) -> bytes | None: ...

    def failure(self, fault: Kind | None) -> bytes: ...


class Exchange:
    """A request being answered."""

    def __init__(self, server: Served, scope: Scope, receive: Receive, send: Send, line: Line) -> None:
        self._server = server
        self._ledger = server.ledger
        self._receive = receive
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._logged = self._ledger.arrived(scope["path"], headers, tuple(scope["client"]))
        compresses = server.habits.gzip and "gzip" in headers.get("accept-encoding", "")
        self._sender = Sender(send, line, self._logged, compresses=compresses)
        self._fault: Fault | None = None
        self._endpoint: Endpoint = endpoint_of(scope["path"])
        self._habits = response_habits(server.habits) if self._endpoint == "response" else server.habits

    @property
    def _kind(self) -> Kind | None:
        """The kind of the fault that this request meets."""
        return self._fault.kind if self._fault else None

    async def answer(self) -> None:
        """Read the request and answer it."""
        self._ledger.began()
        try:
            raw = await self._read()
            if raw is not None:
                await self._answer(raw)
        finally:
            self._ledger.ended()

    async def _read(self) -> bytes | None:
        """Return the body of the request, or None if the client leaves before its end."""
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        # DeepInfra takes compressed requests: docs.deepinfra.com/chat/request-compression.
        return gzip.decompress(body) if self._logged.headers.get("content-encoding") == "gzip" else body

    async def _answer(self, raw: bytes) -> None:
        try:
            body = validated(raw, self._endpoint)
            self._logged.body = body
            # A busy server turns requests away before it reads the prompt.
            self._fault = self._ledger.strike(self._logged)
            if self._fault and self._fault.kind in _SERVER_ERRORS:
                await self._fail(int(self._fault.kind), {"error": {"message": _SERVER_ERRORS[self._fault.kind]}})
                return
            completion = self._completion(body)
        except ContextOverflow as overflow:
            wanted = self._habits.overflow or "frame"
            if wanted == "frame" and self._logged.body.get("stream"):
                await self._overflow_frame(overflow)
            else:
                await self._fail(overflow.status, overflow.body)
            return
        except Refused as refused:
            await self._fail(refused.status, refused.body)
            return
        if body.get("stream"):
            await self._stream(completion)
        else:
            await self._whole(completion)

    def _completion(self, request: dict[str, Any]) -> Answer:
        """Have the model answer. Raises ``Refused``."""
        model, habits, body = self._server.model, self._habits, request
        if self._endpoint == "response":
            body = as_chat(request, habits, self._ledger.stored)
        prompts = self._prompts(body)
        self._logged.prompt_tokens = sum(prompt.tokens for prompt in prompts)
        limits = [self._limit(body, prompt) for prompt in prompts]
        if self._kind == "thinks_anew" and any(prompt.is_continued for prompt in prompts):
            habits = replace(habits, thinks=habits.thinks or "reasoning_content")
            model = replace(model, habits=habits)
            prompts = [replace(prompt, prefill="", thought="") for prompt in prompts]
        replies = [
            reply
            for prompt, limit in zip(prompts, limits, strict=True)
            for reply in model.replies(body, prompt, limit, stop_strings(body))
        ]
        self._ledger.went_off(sum(reply.turn.is_derailed for reply in replies))
        cached = self._ledger.cached_tokens(prompts, habits)
        if self._endpoint == "text":
            response: Answer = compose_text(body, prompts, replies, habits=habits, cached_tokens=cached)
        else:
            response = completion = compose(body, prompts[0], replies, habits=habits, cached_tokens=cached)
            if self._endpoint == "response":
                response = ResponseReply(request, completion, limits[0], KINDS[habits.responses])
        if self._kind == "other_model":
            response.head["model"] = "another/model"
        return response

    def _prompts(self, body: dict[str, Any]) -> list[Prompt]:
        """Return the prompts of a request: one of a chat, or those of text completions. Raises ``Refused``."""
        if self._endpoint != "text":
            return [rendered(body, self._habits)]
        prompts = text_prompts(body, self._server.model, self._ledger.texts)
        self._ledger.began_texts(prompts)
        return prompts

    def _limit(self, body: dict[str, Any], prompt: Prompt) -> int:
        """Return how many tokens an answer may have. Raises ``Refused``."""
        limit = granted_tokens(
            body, prompt.tokens, cap=self._server.cap, context=self._server.context, habits=self._habits
        )
        if self._fault is not None and self._kind == "choice_error" and not body.get("stream"):
            return min(limit, self._fault.after_tokens)
        return limit

    async def _whole(self, completion: Answer) -> None:
        """Answer with a whole completion."""
        if self._kind in {"error_frame", "error_event"}:
            await self._fail(500, {"error": {"message": "The engine died", "type": "InternalServerError", "code": 500}})
            return
        await self._sender.pause(
            sum(reply.completion_tokens for reply in completion.replies) * self._server.token_delay
        )
        if self._sender.is_closed:
            return
        self._finish(completion)
        if self._kind == "not_json":
            await self._sender.start(200, "text/html")
            await self._sender.write(b"<html><body>502 Bad Gateway</body></html>", more=False)
            return
        data = self._sender.packed(dump(completion.whole(self._kind)))
        self._keep(completion)
        await self._sender.start(200, "application/json", length=len(data))
        if self._kind in _CUT_SHORT:
            await self._cut_short(data)
        elif self._kind == "slow":
            await self._sender.drip(data)
            await self._sender.write(b"", more=False)
        else:
            await self._sender.write(data, more=False)

    async def _cut_short(self, data: bytes) -> None:
        """Send half of a body, and close the connection."""
        await self._sender.write(data[: len(data) // 2])
        if self._kind == "reset":
            await self._sender.reset()
        await self._sender.pause(_HANG_SECONDS if self._kind == "hang" else 0)
        await self._sender.close()

    def _finish(self, completion: Answer) -> None:
        self._logged.completion_tokens = sum(reply.completion_tokens for reply in completion.replies)
        self._logged.finish_reasons = completion.finishes

    def _keep(self, completion: Answer) -> None:
        """Store a response, if the server stores it."""
        if isinstance(completion, ResponseReply) and completion.is_stored:
            self._ledger.stored[completion.head["id"]] = completion.conversation(self._ledger.stored)

    async def _stream(self, completion: Answer) -> None:
        """Answer with a stream."""
        await self._sender.start(200, "text/event-stream; charset=utf-8")
        spoilt = completion.spoilt_stream(self._kind)
        if self._kind == "not_json":
            spoilt = b"data: <html><body>502 Bad Gateway</body></html>\n\n"
        if spoilt is not None:
            await self._sender.write(spoilt, more=False)
        elif await self._send_events(completion):
            self._finish(completion)
            self._keep(completion)
            await self._sender.write(b"" if self._kind == "no_done" else completion.end, more=False)

    async def _send_events(self, completion: Answer) -> bool:
        """Send the events of a stream at the pace of the model. Return whether they were all sent."""
        delay, fault = self._server.token_delay, self._fault
        most = 1 if delay or fault else self._server.events_per_write
        started = time.monotonic()
        sent = 0
        batch: list[bytes] = []
        for number, following in enumerate(completion.events(self._server.chunk_tokens)):
            if self._server.habits.comments and number % 16 == 0:
                batch.append(b": keep-alive\n\n")
            if self._kind == "data_null":
                batch.append(b"data: null\n\n")
            is_due = fault is not None and (following.is_end or sent + following.tokens > fault.after_tokens)
            if is_due and self._kind in _BREAKING:
                await self._sender.write(b"".join(batch))
                await self._break(following, completion)
                return False
            batch.append(following.data)
            sent += following.tokens
            if len(batch) < most:
                continue
            await self._sender.pause(started + sent * delay - time.monotonic())
            await (self._sender.drip if self._kind == "slow" else self._sender.write)(b"".join(batch))
            batch.clear()
            self._logged.completion_tokens = sent
            if not delay:
                # Sending does not wait while the buffers have room. This lets the other exchanges run.
                await asyncio.sleep(0)
            if self._sender.is_closed:
                return False
        await self._sender.write(b"".join(batch))
        return True

    async def _break(self, following: StreamEvent, completion: Answer) -> None:
        """Break a stream off before an event."""
        if self._kind == "reset":
            await self._sender.reset()
        elif self._kind == "hang":
            await self._sender.pause(_HANG_SECONDS)
            await self._sender.close()
        elif self._kind == "half_frame":
            await self._sender.write(following.data[: len(following.data) // 2], more=False)
        elif self._kind == "early_end":
            await self._sender.write(b"", more=False)
        elif self._kind == "error_frame":
            frame = {"error_type": "inference_error", "error_message": json.dumps({"error": DIED})}
            await self._sender.write(event(frame), more=False)
        else:
            await self._sender.write(completion.failure(self._kind), more=False)

    async def _overflow_frame(self, overflow: ContextOverflow) -> None:
        await self._sender.start(200, "text/event-stream; charset=utf-8")
        frame = {"error_type": "validation_error", "error_message": json.dumps(overflow.body)}
        await self._sender.write(event(frame), more=False)

    async def _fail(self, status: int, body: object) -> None:
        self._sender.leave_plain()
        data = dump(body)
        headers = [(b"retry-after", b"0")] if status == 429 else []
        await self._sender.start(status, "application/json", length=len(data), headers=headers)
        await self._sender.write(data, more=False)
