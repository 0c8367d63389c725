"""
The replies of the model as chat completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from .checks import Body
from .habits import Habits
from .model import Reply
from .parsing import Reading
from .replies import Piece, Response, common, grouped, head, logprob_of, said, token_text
from .segments import PartKind
from .template import Prompt


@dataclass(frozen=True)
class Completion(Response):
    """A chat completion."""

    #: The copy of the prefill that the content begins with.
    echo: str
    #: Whether the content goes into the reasoning field.
    misfiles: bool
    #: How many alternatives each token has in the logprobs; None if there are no logprobs.
    top_logprobs: int | None

    ids_in_choices: ClassVar[bool] = False

    def blank(self) -> dict[str, Any]:
        """Return the empty message of a choice without any text."""
        return {"delta" if self.body.get("stream") else "message": {"role": "assistant", "content": ""}}

    def choice(self, index: int) -> dict[str, Any]:
        """Return a choice of the whole answer."""
        reply = self.replies[index]
        content, reasoning = reply.text("content"), reply.text("reasoning")
        reading = self._reading(reply)
        raw, calls = reading.whole()
        if raw:
            content = (content or "") + raw
        if reading.echo is not None:
            content = reading.echo or None
        elif content is not None:
            content = self.echo + content
        if self.misfiles:
            content, reasoning = None, content
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._field != "content" and (reasoning or self.misfiles):
            message[self._field] = reasoning
        if calls:
            message["tool_calls"] = calls
        entries = [entry for part in reply.parts for entry in self._logprobs(part.kind, part.tokens)]
        logprobs = None if self.top_logprobs is None else {"content": entries}
        finish = said(reading.finish, self.habits)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def _reading(self, reply: Reply) -> Reading:
        return Reading(reply, self.body, self.prompts[0], self.habits)

    @property
    def finishes(self) -> tuple[str, ...]:
        """The finish reason of each choice."""
        return tuple(said(self._reading(reply).finish, self.habits) for reply in self.replies)

    @property
    def _field(self) -> str:
        """The name of the field for thoughts."""
        return self.habits.thinks if self.habits.thinks in {"reasoning", "reasoning_content"} else "content"

    def _logprobs(self, kind: PartKind, tokens: Sequence[bytes]) -> list[dict[str, Any]]:
        if self.top_logprobs is None or kind != "content":
            return []
        return [_logprob(token, self.top_logprobs) for token in tokens]

    def pieces(self, index: int, chunk_tokens: int) -> Iterator[Piece]:
        """Return the pieces of one choice of a stream. The last one has the finish reason."""
        reply = self.replies[index]
        yield _piece({"role": "assistant", "content": ""})
        reading = self._reading(reply)
        for text in _split(self.echo if reading.echo is None else "", self.habits.echo_pieces):
            yield _piece({"content": text})
        last = _piece({})
        for piece in self._written(reply, reading, chunk_tokens):
            if last.fields["delta"]:
                yield last
            last = piece
        delta = last.fields["delta"]
        if delta and not (self.habits.finish_with_text and "content" in delta):
            yield last
            last = _piece({})
        yield last._replace(finish=said(reading.finish, self.habits))

    def _written(self, reply: Reply, reading: Reading, chunk_tokens: int) -> Iterator[Piece]:
        """Return the pieces that the model wrote. The last one has an empty delta if its tokens show no text."""
        waiting: tuple[bytes, ...] = ()
        entries: list[dict[str, Any]] = []
        for part in reply.parts:
            for tokens, text in grouped(part, chunk_tokens):
                waiting += tokens
                entries += self._logprobs(part.kind, tokens)
                for delta in self._deltas(part.kind, text, reading):
                    yield _piece(delta, {"content": entries} if entries else None, waiting)
                    waiting, entries = (), []
        for delta in reading.deltas("", is_last=True):
            yield _piece(delta, None, waiting)
            waiting = ()
        if waiting or entries:
            yield _piece({}, {"content": entries} if entries else None, waiting)

    def _deltas(self, kind: PartKind, text: str, reading: Reading) -> Iterator[dict[str, Any]]:
        """Return what a stream shows for some tokens."""
        if kind == "calls":
            for delta in reading.deltas(text):
                yield self._delta("content", delta["content"]) if "content" in delta else delta
        elif kind != "hidden" and text:
            yield self._delta(kind, text)

    def _delta(self, kind: PartKind, text: str) -> dict[str, Any]:
        return {self._field if kind == "reasoning" or self.misfiles else "content": text}


def compose(body: Body, prompt: Prompt, replies: Sequence[Reply], *, habits: Habits, cached_tokens: int) -> Completion:
    """
    Return the response to a request that the model answers with ``replies``.

    ``cached_tokens`` is what its usage reports as the cached part of the prompt.
    """
    streamed = bool(body.get("stream"))
    return Completion(
        **common(body, [prompt], replies, habits=habits, cached_tokens=cached_tokens),
        head=head(body, "chat.completion.chunk" if streamed else "chat.completion", "chatcmpl"),
        echo=prompt.prefill if _echoes(body, prompt, habits) else "",
        misfiles=_misfiles(prompt, replies, habits, streamed=streamed),
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def _echoes(body: Body, prompt: Prompt, habits: Habits) -> bool:
    streamed = bool(body.get("stream"))
    echoes = {
        None: False,
        "always": True,
        "whole": not streamed,
        "unflagged": not (streamed and body.get("continue_final_message")),
    }
    last = cast("Body", body["messages"][-1])
    return prompt.is_continued and echoes[habits.echo] and last["role"] == "assistant"


def _misfiles(prompt: Prompt, replies: Sequence[Reply], habits: Habits, *, streamed: bool) -> bool:
    # A parser that waits for the end of a think block takes a continued answer without one for thoughts.
    is_answer = prompt.is_continued and all(reply.reasoning_tokens == 0 for reply in replies)
    return is_answer and (habits.misfiles == "both" or (habits.misfiles == "whole" and not streamed))


def _piece(delta: dict[str, Any], logprobs: dict[str, Any] | None = None, tokens: tuple[bytes, ...] = ()) -> Piece:
    return Piece({"delta": delta}, logprobs, tokens)


def _split(text: str, pieces: int) -> list[str]:
    size = -(-len(text) // pieces) or 1
    return [text[at : at + size] for at in range(0, len(text), size)]


def _logprob(token: bytes, top: int) -> dict[str, Any]:
    value = logprob_of(token)
    first = _top_logprob(token, value)
    others = [_top_logprob(f" other{rank}".encode(), value - rank) for rank in range(1, top)]
    return {**first, "top_logprobs": [first, *others][:top]}


def _top_logprob(token: bytes, value: float) -> dict[str, Any]:
    return {"token": token_text(token), "logprob": value, "bytes": list(token)}
