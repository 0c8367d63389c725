"""Requests to one endpoint, whole or streamed: what came, what was refused, and what it took."""

from __future__ import annotations

from typing import Any, cast

import openai

from ... import disabled
from ..._core.folding import Folded
from ..._core.json import Json, as_object
from ..._core.text.reasoning import field_of
from .findings import Findings

#: Statuses that say nothing about what was asked: a timeout, a conflict, too many requests.
PASSING = (408, 409, 429)
_USAGE = {"stream_options": {"include_usage": True}}


class Endpoint:
    """
    Sends requests as they are, without the library.

    ``found`` counts them. ``streamed``: whether answers are asked for as streams.
    """

    def __init__(self, client: openai.OpenAI, found: Findings, *, streamed: bool) -> None:
        self.client = client
        self.found = found
        self.streamed = streamed
        #: The error of the last request, or None.
        self.error: openai.APIError | None = None
        #: Status and text of each error.
        self.refusals: list[str] = []
        # Whether streams are asked for usage.
        self._asks_usage = True

    @property
    def outcome(self) -> str:
        """What the last request that brought no answer came to: "refused" or "failed"."""
        status = self.error.status_code if isinstance(self.error, openai.APIStatusError) else 500
        return "refused" if status < 500 and status not in PASSING else "failed"

    def send(self, body: Json, *, is_raw: bool = False) -> Json | None:
        """Send a request; return the completion, or None if the server refused or gave no choices."""
        answers = self.answers(body, is_raw=is_raw)
        if not answers:
            return None
        reply = folded(answers) if self.streamed else answers[0]
        return reply if reply.get("choices") else None

    def answers(self, body: Json, *, is_raw: bool = False) -> list[Json]:
        """
        Send a request; return what came: the completion, or the chunks of a stream; nothing if the server refused.

        ``is_raw``: whether it goes to ``/completions``.
        """
        if not self.streamed:
            return self._sent(body, is_raw=is_raw)
        asks = self._asks_usage and "stream_options" not in body
        came = self._sent({**body, **(_USAGE if asks else {}), "stream": True}, is_raw=is_raw)
        if asks and not came and self.outcome == "refused" and isinstance(self.error, openai.APIStatusError):
            said = self.refusals[-1]
            if "stream_options" in said or "Extra inputs" in said:
                self._asks_usage = False
                return self.answers(body, is_raw=is_raw)
        return came

    def stream(self, body: Json, *, most: int | None = None) -> list[Json]:
        """
        Send a request for a stream as it is; return its chunks, up to ``most`` with text, or nothing.

        A server that breaks the connection here may be one that cannot stream.
        """
        try:
            return self._sent({**body, "stream": True}, is_raw=False, most=most)
        except openai.APIConnectionError as error:
            self._note(error)
            return []

    def _sent(self, body: Json, *, is_raw: bool, most: int | None = None) -> list[Json]:
        self.error = None
        self.found.requests += 1
        path = "/completions" if is_raw else "/chat/completions"
        try:
            with disabled():
                came = self._chunks(path, body, most) if body.get("stream") else self._whole(path, body)
        except openai.APIConnectionError:
            raise
        except openai.APIError as error:
            self._note(error)
            return []
        counted = [tokens for one in came if isinstance(tokens := usage_of(one).get("completion_tokens"), int)]
        written = sum(any(parts(delta)) for one in came for delta in deltas(one))
        # Streams may say it once or on each chunk; those that do not say it have about a token in each.
        self.found.completion_tokens += max(counted) if any(counted) else written if body.get("stream") else 0
        return came

    def _whole(self, path: str, body: Json) -> list[Json]:
        answer = as_object(self.client.post(path, body=body, cast_to=object))
        return [] if answer is None else [answer]

    def _chunks(self, path: str, body: Json, most: int | None) -> list[Json]:
        came: list[Json] = []
        stream: Any = self.client.post(path, body=body, cast_to=object, stream=True, stream_cls=openai.Stream[object])
        with stream:
            for event in stream:
                chunk = as_object(event)
                if chunk is None:
                    continue
                came.append(chunk)
                if most is not None:
                    most -= any(any(parts(delta)) for delta in deltas(chunk))
                    if most <= 0:
                        break
        return came

    def _note(self, error: openai.APIError) -> None:
        self.error = error
        status = error.status_code if isinstance(error, openai.APIStatusError) else ""
        self.found.errors.append(f"{type(error).__name__} {status}".strip())
        self.refusals.append(f"{status} {error.message} {error.body}")


def folded(chunks: list[Json]) -> Json:
    """Return the completion that a stream makes."""
    fold = Folded()
    for chunk in chunks:
        fold.take(chunk)
    return fold.completion()


def message_of(reply: Json) -> Json:
    """Return the message of a completion."""
    return as_object(reply["choices"][0].get("message")) or {}


def deltas(chunk: Json) -> list[Json]:
    """Return the deltas of a chunk."""
    return [as_object(choice.get("delta")) or {} for choice in cast("list[Json]", chunk.get("choices") or [])]


def usage_of(reply: Json | None) -> Json:
    """Return the usage of a completion or chunk, or {}."""
    return as_object((reply or {}).get("usage")) or {}


def parts(message: Json) -> tuple[str, str]:
    """Return the content and the thoughts of a message or delta, each "" if there is none."""
    name = field_of(message)
    return str(message.get("content") or ""), str(message.get(name) or "") if name else ""


def text_of(message: Json) -> str:
    """Return the content of a message, or its thoughts if it has none."""
    content, thoughts = parts(message)
    return content or thoughts
