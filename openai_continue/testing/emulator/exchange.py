"""
One request and its answer, with the faults that it meets.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Any, cast

from . import replies as written
from .checks import Overflow, requested_tokens, stop_strings, token_limit, validated
from .model import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Receive, Scope, Send

    from .faults import Fault, Kind
    from .ledger import Line
    from .model import Body, Prompt, Reply
    from .server import Emulator

_HANG_SECONDS = 30.0
# What is on its way when the connection is reset may be lost; wait until the client has it.
_BEFORE_RESET_SECONDS = 0.03
_DRIP_BYTES = 7
_DRIPS = 500
_DRIP_SECONDS = 0.001
_SERVER_ERRORS: dict[str, str] = {
    "429": "Model busy, retry later",
    "500": "Internal server error",
    "503": "Service temporarily unavailable",
}
# Faults that a whole answer shows as a body that stops short.
_CUT_SHORT: set[Kind | None] = {"reset", "hang", "early_end", "half_frame", "no_done"}


class Exchange:
    """A request being answered."""

    def __init__(self, emulator: Emulator, scope: Scope, receive: Receive, send: Send, line: Line) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._receive = receive
        self._send = send
        self._line = line
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._accepts_gzip = emulator.habits.gzip and "gzip" in headers.get("accept-encoding", "")
        self._compressor = zlib.compressobj(wbits=31) if self._accepts_gzip else None
        self._logged = self._ledger.arrived(scope["path"], headers, tuple(scope["client"]))
        self._fault: Fault | None = None
        self._drips = _DRIPS

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
        """Read the request's body; None if the client goes before its end."""
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
            body = validated(raw)
            self._logged.body = body
            # A busy server turns requests away before it reads the prompt.
            self._fault = self._ledger.strike(self._logged)
            if self._fault and self._fault.kind in _SERVER_ERRORS:
                await self._fail(int(self._fault.kind), {"error": {"message": _SERVER_ERRORS[self._fault.kind]}})
                return
            prompt = self._emulator.model.prompt(body)
            self._logged.prompt_tokens = prompt.tokens
            replies = self._replies(body, prompt)
        except Overflow as overflow:
            wanted = self._emulator.habits.overflow or "frame"
            if wanted == "frame" and self._logged.body.get("stream"):
                await self._overflow_frame(overflow)
            else:
                await self._fail(overflow.status, overflow.body)
            return
        except Refused as refused:
            await self._fail(refused.status, refused.body)
            return
        answer = self._compose(body, prompt, replies)
        if body.get("stream"):
            await self._stream(body, answer)
        else:
            await self._whole(answer)

    def _replies(self, body: Body, prompt: Prompt) -> list[Reply]:
        emulator = self._emulator
        requested = requested_tokens(body, emulator.habits)
        limit = token_limit(
            requested, prompt.tokens, cap=emulator.cap, context=emulator.context, habits=emulator.habits
        )
        replies: list[Reply] = []
        for choice in range(body.get("n") or 1):
            turn = emulator.model.turn(body, prompt, choice)
            if turn.is_derailed:
                self._ledger.went_off()
            replies.append(emulator.model.reply(turn, limit, stop_strings(body)))
        return replies

    def _compose(self, body: Body, prompt: Prompt, replies: Sequence[Reply]) -> written.Answer:
        habits = self._emulator.habits
        completion = sum(reply.completion_tokens for reply in replies)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt.tokens,
            "completion_tokens": completion,
            "total_tokens": prompt.tokens + completion,
            "estimated_cost": round(prompt.tokens * 4e-8 + completion * 1.2e-7, 10),
            "prompt_tokens_details": {"cached_tokens": self._ledger.cached_tokens(body["messages"])},
        }
        if habits.thinks:
            thinking = sum(reply.reasoning_tokens for reply in replies)
            usage["completion_tokens_details"] = {"reasoning_tokens": thinking}
        streamed = bool(body.get("stream"))
        last = cast("Body", body["messages"][-1])
        echoes = {
            None: False,
            "always": True,
            "whole": not streamed,
            "unflagged": not (streamed and body.get("continue_final_message")),
        }
        # A reasoning parser that waits for the end of a block takes a continued answer, which holds none, for thought.
        is_answer = prompt.is_continued and all(reply.reasoning_tokens == 0 for reply in replies)
        top = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        return written.Answer(
            replies=replies,
            echo=prompt.prefill if prompt.is_continued and echoes[habits.echo] and last["role"] == "assistant" else "",
            misfiles=is_answer and (habits.misfiles == "both" or (habits.misfiles == "whole" and not streamed)),
            head={
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion.chunk" if streamed else "chat.completion",
                "created": int(time.time()),
                "model": body["model"],
                "system_fingerprint": "fp_emulator",
            },
            usage=usage,
            habits=habits,
            top_logprobs=top,
        )

    async def _whole(self, answer: written.Answer) -> None:
        fault = self._fault.kind if self._fault else None
        if fault in {"error_frame", "error_event"}:
            await self._fail(500, {"error": {"message": "The engine died", "type": "InternalServerError", "code": 500}})
            return
        await self._pause(sum(reply.completion_tokens for reply in answer.replies) * self._emulator.token_delay)
        if self._line.is_closed:
            return
        self._finish(answer)
        if fault == "not_json":
            await self._start(200, "text/html")
            await self._write(b"<html><body>502 Bad Gateway</body></html>", more=False)
            return
        data = written.dump(_spoilt(answer.whole(), fault))
        if self._accepts_gzip:
            data = gzip.compress(data)
            self._compressor = None
        await self._start(200, "application/json", length=len(data))
        if fault in _CUT_SHORT:
            await self._write(data[: len(data) // 2])
            if fault == "reset":
                await self._reset()
            await self._pause(_HANG_SECONDS if fault == "hang" else 0)
            self._line.transport.close()
            await self._line.closed.wait()
        elif fault == "slow":
            await self._drip(data)
            await self._write(b"", more=False)
        else:
            await self._write(data, more=False)

    def _finish(self, answer: written.Answer) -> None:
        self._logged.completion_tokens = sum(reply.completion_tokens for reply in answer.replies)
        self._logged.finish_reasons = tuple(reply.finish for reply in answer.replies)

    async def _stream(self, body: Body, answer: written.Answer) -> None:
        await self._start(200, "text/event-stream; charset=utf-8")
        if self._fault and await self._breaks_at_once(self._fault.kind, answer):
            return
        options = cast("Body", body.get("stream_options") or {})
        where = self._emulator.habits.usage
        wanted = options.get("include_usage", where != "asked") is not False
        events = answer.events(
            self._emulator.chunk_tokens,
            usage_on_finish=wanted and where in {"finish", "both"},
            usage_behind=wanted and where in {"trailing", "both", "asked"},
        )
        if await self._send_events(events):
            self._finish(answer)
            await self._write(written.DONE if not self._has("no_done") else b"", more=False)

    def _has(self, *kinds: Kind) -> bool:
        return self._fault is not None and self._fault.kind in kinds

    async def _send_events(self, events: Iterable[written.Event]) -> bool:
        """Send events at the pace of the model; False if the stream broke off."""
        delay = self._emulator.token_delay
        fault = self._fault
        breaks = self._has("reset", "early_end", "hang", "error_frame", "error_event", "half_frame")
        most = 1 if delay or fault else self._emulator.events_per_write
        started = time.monotonic()
        sent = written = 0
        batch: list[bytes] = []
        for number, event in enumerate(events):
            if self._emulator.habits.comments and number % 16 == 0:
                batch.append(b": keep-alive\n\n")
            if fault and breaks and (event.is_end or sent + event.tokens > fault.after_tokens):
                await self._write(b"".join(batch))
                await self._break(fault.kind, event)
                return False
            batch.append(event.data)
            sent += event.tokens
            if len(batch) < most:
                continue
            if delay:
                await self._pause(started + sent * delay - time.monotonic())
            if self._has("slow"):
                await self._drip(b"".join(batch))
            else:
                await self._write(b"".join(batch))
            batch.clear()
            self._logged.completion_tokens = sent
            written += 1
            if not delay:
                # Sending does not wait while there is room in the buffers, and others want their turn.
                await asyncio.sleep(0)
            if self._line.is_closed:
                return False
        await self._write(b"".join(batch))
        return True

    async def _breaks_at_once(self, kind: Kind, answer: written.Answer) -> bool:
        """Act out the faults that leave nothing of the stream but its beginning."""
        chunk: dict[str, Any] = {**answer.head, "choices": []}
        if kind == "not_json":
            await self._write(b"data: <html><body>502 Bad Gateway</body></html>\n\n", more=False)
            return True
        if kind == "empty":
            delta = {"role": "assistant", "content": ""}
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": "length"}
            chunk["choices"] = [choice]
        elif kind == "null_choices":
            chunk["choices"] = None
        elif kind != "no_choices":
            return False
        await self._write(written.event(chunk) + written.DONE, more=False)
        return True

    async def _break(self, kind: Kind, event: written.Event) -> None:
        """Break a stream off before an event."""
        if kind == "reset":
            await self._reset()
        elif kind == "hang":
            await self._pause(_HANG_SECONDS)
            self._line.transport.close()
        elif kind == "half_frame":
            await self._write(event.data[: len(event.data) // 2], more=False)
        elif kind == "early_end":
            await self._write(b"", more=False)
        else:
            error = {"error": {"message": "The engine died", "type": "InternalServerError", "param": None, "code": 500}}
            frame = {"error_type": "inference_error", "error_message": json.dumps(error)}
            await self._write(written.event(frame if kind == "error_frame" else error), more=False)

    async def _overflow_frame(self, overflow: Overflow) -> None:
        await self._start(200, "text/event-stream; charset=utf-8")
        frame = {"error_type": "validation_error", "error_message": json.dumps(overflow.body)}
        await self._write(written.event(frame), more=False)

    async def _fail(self, status: int, body: object) -> None:
        self._compressor = None
        data = written.dump(body)
        more = [(b"retry-after", b"0")] if status == 429 else []
        await self._start(status, "application/json", length=len(data), more=more, compressed=False)
        await self._write(data, more=False)

    async def _start(
        self,
        status: int,
        kind: str,
        *,
        length: int | None = None,
        more: Sequence[tuple[bytes, bytes]] = (),
        compressed: bool = True,
    ) -> None:
        self._logged.status = status
        headers = [(b"content-type", kind.encode()), (b"x-request-id", uuid.uuid4().hex.encode()), *more]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        if self._accepts_gzip and compressed:
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        if self._compressor:
            data = self._compressor.compress(data)
            data += self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _drip(self, data: bytes) -> None:
        """Write in drips that respect neither frames nor characters; after so many of them, the rest at once."""
        while data and self._drips:
            self._drips -= 1
            await self._write(data[:_DRIP_BYTES])
            data = data[_DRIP_BYTES:]
            await self._pause(_DRIP_SECONDS)
        await self._write(data)

    async def _reset(self) -> None:
        await self._pause(_BEFORE_RESET_SECONDS)
        self._line.reset()
        await self._line.closed.wait()

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than the client does."""
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._line.closed.wait(), seconds)
        except asyncio.TimeoutError:
            return


def _spoilt(completion: dict[str, Any], fault: Kind | None) -> dict[str, Any]:
    """Take out of a completion what a fault takes out."""
    if fault == "empty":
        for choice in completion["choices"]:
            choice.update(message={"role": "assistant", "content": ""}, finish_reason="length")
    elif fault in {"no_choices", "null_choices"}:
        completion["choices"] = [] if fault == "no_choices" else None
    return completion
