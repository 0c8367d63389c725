"""Requests to one endpoint, as they are or as a call that the library continues: what came, and what it took."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import openai

from ... import disabled, report_of
from ..._core.json import Json, as_object, dump, load
from ..._core.text.reasoning import field_of
from ..._sdk.response import module_of
from ...clients import OpenAI
from ...settings import Continuation

#: Output tokens of most requests.
TOKENS = 24
#: Statuses that say nothing about what was asked: a timeout, a conflict, too many requests.
PASSING = (408, 409, 429)
#: The row by which a message goes back without marks.
UNMARKED = "groq"
_CHAT, _RESPONSES = "/chat/completions", "/responses"
# The status, type and body of a response.
_Answer: TypeAlias = tuple[int, str, bytes]


def _as_chat(answer: Json) -> Json:
    """Return what a response says in the shape of chat; anything else as it is."""
    if not isinstance(answer.get("output"), list):
        return answer
    texts = {"message": "", "reasoning": ""}
    for item in cast("list[Json]", answer["output"]):
        if item.get("type") in texts:
            texts[item["type"]] += "".join(part.get("text") or "" for part in item.get("content") or ())
    message = {"content": texts["message"], **({"reasoning": texts["reasoning"]} if texts["reasoning"] else {})}
    is_cut = (as_object(answer.get("incomplete_details")) or {}).get("reason") == "max_output_tokens"
    counts = as_object(answer.get("usage")) or {}
    usage = {"prompt_tokens": counts.get("input_tokens"), "completion_tokens": counts.get("output_tokens")}
    choice = {"message": message, "finish_reason": "length" if is_cut else "stop"}
    return {"choices": [choice] if texts["message"] or texts["reasoning"] else [], "usage": usage}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as the server gave it. It is false if there was none."""

    content: str
    thoughts: str
    #: The field in which the thoughts are, or None.
    thoughts_in: str | None
    usage: Json
    finish_reason: str | None
    #: The whole answer, or the last chunk of a stream, in the shape of chat.
    completion: Json

    @classmethod
    def of(cls, objects: Iterable[Json]) -> Reply:
        """Return what a completion or response says, or all chunks of a stream."""
        content, thoughts = list[str](), list[str]()
        name, usage, finish, last = None, Json(), None, Json()
        for last in map(_as_chat, objects):
            usage = as_object(last.get("usage")) or usage
            for choice in cast("list[Json]", last.get("choices") or []):
                said = as_object(choice.get("message") or choice.get("delta")) or {"content": choice.get("text")}
                name = field_of(said) or name
                content.append(str(said.get("content") or ""))
                thoughts.append(str(said.get(name) or "") if name else "")
                finish = choice.get("finish_reason") or finish
        return cls("".join(content), "".join(thoughts), name, usage, finish, last)

    def __bool__(self) -> bool:
        """Return whether the server gave an answer."""
        return bool(self.completion)

    @property
    def text(self) -> str:
        """The content, or the thoughts if there is none."""
        return self.content or self.thoughts

    @property
    def text_in(self) -> str | None:
        """The field in which the text is, or None if there is none."""
        return "content" if self.content else self.thoughts_in

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the prompt; 0 if the server does not count them."""
        return self.usage.get("prompt_tokens") or 0


#: That of a server that gave none.
NO_REPLY = Reply.of([])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was sent, and what came."""

    path: str
    #: None if the server did not answer.
    status: int | None
    #: Nothing after an error, and if there were no choices.
    reply: Reply

    @property
    def is_raw(self) -> bool:
        """Whether it went to ``/completions`` with a prompt of its own."""
        return not self.path.endswith((_CHAT, _RESPONSES))

    @property
    def outcome(self) -> str:
        """What came of the request: "sent", "refused" or "failed"."""
        if self.reply:
            return "sent"
        return "refused" if self.status in range(400, 500) and self.status not in PASSING else "failed"


@dataclass(frozen=True, slots=True)
class Continued:
    """An answer that the library was to continue."""

    reply: Reply
    #: Whether it has more text than before.
    has_news: bool
    #: Why it ends: ``Report.stopped_by``.
    stopped_by: str
    #: The requests that were sent for it after the first round.
    sent: list[Exchange]

    @property
    def outcome(self) -> str:
        """What came of it: "sent", "refused", "failed", or "no way" if the library sends no such request."""
        return self.sent[-1].outcome if self.sent else "no way"

    @property
    def is_raw(self) -> bool:
        """Whether it went on at ``/completions``."""
        return bool(self.sent) and self.sent[-1].is_raw

    @property
    def last(self) -> Reply:
        """What the server gave last."""
        return self.sent[-1].reply if self.sent else NO_REPLY


@dataclass(slots=True)
class Spent:
    """What was asked, and what went wrong."""

    #: Output tokens and requests that the examination took.
    completion_tokens: int = 0
    requests: int = 0
    #: Type and status of each error.
    errors: list[str] = field(default_factory=list[str])

    def count(self, reply: Reply, written: int) -> None:
        """Count an answer. ``written``: the chunks of its stream with text, if the server does not count tokens."""
        self.completion_tokens += reply.usage.get("completion_tokens") or written


class Endpoint:
    """
    Asks one endpoint.

    ``spent`` counts what it takes. ``streamed``: whether whole answers are made of streams.
    """

    def __init__(self, client: openai.OpenAI, spent: Spent, *, streamed: bool) -> None:
        self.client = client
        self.spent = spent
        self.streamed = streamed
        #: The error of the last request, or None.
        self.error: openai.APIError | None = None
        plain = Continuation(provider=UNMARKED, max_rounds=1, stream_rounds=streamed, heal_streams=False)
        self._wire = _Wire(client, spent, [])
        self._plain = self._client(plain, self._wire)
        # How the server refused what the library can leave out, such as stream_options.
        self._refused: list[_Answer] = []

    @property
    def status(self) -> int | None:
        """The HTTP status of the last request, if it was an error."""
        return getattr(self.error, "status_code", None)

    @property
    def outcome(self) -> str:
        """What the last request that brought no answer came to: "refused" or "failed"."""
        return Exchange(_CHAT, self.status, NO_REPLY).outcome

    def send(self, body: Json) -> Reply:
        """Send a request as it is; return the answer, or nothing if the server refused or gave no choices."""
        self.error, self._wire.refused = None, []
        try:
            reply = Reply.of([_asked(self._plain, body)])
        except openai.APIConnectionError:
            raise
        except openai.APIError as error:
            self._note(error)
            return NO_REPLY
        self._refused = self._refused or self._wire.refused
        return reply if reply.completion.get("choices") else NO_REPLY

    def go_on(self, body: Json, cut: Json, **settings: Any) -> Continued:
        """
        Let the library continue an answer by TOKENS more tokens.

        ``cut``: the answer to ``body`` that the token limit ended. ``settings``: fields of Continuation.
        """
        first: _Answer = (200, *_streamed(cut)) if self.streamed else (200, "application/json", dump(cut))
        wire = _Wire(self.client, self.spent, [*self._refused, first])
        asks = Continuation(
            request_limit="round",
            round_tokens=TOKENS,
            max_rounds=2,
            heal_streams=False,
            stream_rounds=self.streamed,
            **settings,
        )
        # What one call learns of the server must not change what the next one asks.
        with self._client(asks, wire) as client:
            answer = _asked(client, limited(body, TOKENS))
        reply, report = Reply.of([answer]), report_of(answer)
        if report is not None and report.error is not None:
            self.spent.errors.append(f"{report.error.type} {report.error.status or ''}".strip())
        before = Reply.of([cut])
        has_news = len(reply.content + reply.thoughts) > len(before.content + before.thoughts)
        return Continued(reply, has_news, "" if report is None else report.stopped_by, wire.sent)

    def _client(self, settings: Continuation, wire: _Wire) -> OpenAI:
        return OpenAI(
            api_key=self.client.api_key,
            base_url=self.client.base_url,
            max_retries=self.client.max_retries,
            http_client=openai.DefaultHttpxClient(transport=cast("Any", wire), trust_env=False),
            continuation=settings,
        )

    def stream(self, body: Json, *, most: int | None = None) -> list[Json]:
        """
        Send a request for a stream as it is; return its chunks, up to ``most`` with text, or nothing.

        A server that breaks the connection here may be one that cannot stream.
        """
        self.error = None
        self.spent.requests += 1
        came: list[Json] = []
        texts = 0
        try:
            with closing(self._chunks({**body, "stream": True})) as chunks:
                for chunk in chunks:
                    came.append(chunk)
                    texts += written([chunk])
                    if texts == most:
                        break
        except openai.APIError as error:
            self._note(error)
            return []
        self.spent.count(Reply.of(came), texts)
        return came

    def first_event(self, body: Json) -> Json:
        """Send a request for a stream as it is; return what comes first, or nothing, and read no further."""
        self.error = None
        self.spent.requests += 1
        try:
            with closing(self._chunks({**body, "stream": True})) as events:
                return next(events, None) or {}
        except openai.APIError as error:
            self._note(error)
            return {}

    def _chunks(self, body: Json) -> Generator[Json, None, None]:
        with disabled():
            stream: Any = self.client.post(
                _path_of(body), body=body, cast_to=object, stream=True, stream_cls=openai.Stream[object]
            )
        with stream:
            yield from filter(None, map(as_object, stream))

    def _note(self, error: openai.APIError) -> None:
        self.error = error
        self.spent.errors.append(f"{type(error).__name__} {getattr(error, 'status_code', '')}".strip())


def _asked(client: OpenAI, body: Json) -> Json:
    return as_object(client.post(_path_of(body), body=body, cast_to=object)) or {}


def _path_of(body: Json) -> str:
    return _RESPONSES if "input" in body else _CHAT


def limited(body: Json, tokens: int) -> Json:
    """Return the body of a request for this many output tokens."""
    return {**body, "max_output_tokens" if "input" in body else "max_tokens": tokens}


class _Wire:
    """
    A transport that sends through a client's own HTTP client, and notes what comes.

    ``first``: what answers the first requests in place of the server.
    """

    def __init__(self, client: openai.OpenAI, spent: Spent, first: list[_Answer]) -> None:
        self._http: Any = cast("Any", client)._client
        self._spent = spent
        self._first = first
        self.sent: list[Exchange] = []
        #: What the server refused.
        self.refused: list[_Answer] = []

    def handle_request(self, request: Any) -> Any:
        """Return the response to a request."""
        make = module_of(request).Response
        if self._first:
            prepared, kind, content = self._first.pop(0)
            return make(prepared, headers={"content-type": kind}, content=content)
        self._spent.requests += 1
        path, status, reply = request.url.path, None, NO_REPLY
        try:
            came = self._http.send(request)
            status = came.status_code
            if came.is_success:
                objects = _objects(came.content)
                self._spent.count(Reply.of(objects), written(objects))
                has_answer = any(one.get("choices") or one.get("output") for one in objects)
                reply = Reply.of(objects) if has_answer else NO_REPLY
        finally:
            self.sent.append(Exchange(path, status, reply))
        if self.sent[-1].outcome == "refused":
            self.refused.append((came.status_code, str(came.headers.get("content-type")), came.content))
        headers = [(name, value) for name, value in came.headers.multi_items() if name not in _OF_THE_BODY]
        return make(status, headers=headers, content=came.content)

    def close(self) -> None:
        """Leave the client's own HTTP client open."""


_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


def _objects(content: bytes) -> list[Json]:
    """Return the completion in a body, or the chunks of a stream."""
    lines = [line.removeprefix(b"data:") for line in content.split(b"\n") if line.startswith(b"data:")]
    return list(filter(None, map(as_object, map(load, lines or [content]))))


def _streamed(completion: Json) -> tuple[str, bytes]:
    """Return a completion as a stream of one chunk, with its type."""
    choice: Json = completion["choices"][0]
    message: Json = choice["message"]
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or [])]
    delta = {**message, **({"tool_calls": calls} if calls else {})}
    chunk = {**completion, "object": "chat.completion.chunk", "choices": [{**choice, "delta": delta}]}
    return "text/event-stream", b"data: " + dump(chunk) + b"\n\ndata: [DONE]\n\n"


def written(chunks: Iterable[Json]) -> int:
    """Return how many chunks have text. Each is about a token, if the server does not count them."""
    choices = [choice for chunk in chunks for choice in cast("list[Json]", chunk.get("choices") or [])]
    deltas = [as_object(choice.get("delta")) or {} for choice in choices]
    return sum(bool(delta.get("content") or field_of(delta)) for delta in deltas)
