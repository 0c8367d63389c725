"""
The replies of the model as text completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .checks import Body
from .habits import Habits
from .model import Reply
from .replies import Piece, Response, common, grouped, head, logprob_of, said, token_text
from .template import Prompt
from .tokens import shown, tokenize


@dataclass(frozen=True)
class TextCompletion(Response):
    """A text completion."""

    #: Whether the text of a choice begins with its prompt.
    echoes: bool
    #: How many alternatives each token has in the logprobs; None if there are no logprobs.
    top_logprobs: int | None

    ids_in_choices: ClassVar[bool] = True

    @property
    def finishes(self) -> tuple[str, ...]:
        """The finish reason of each choice."""
        return tuple(said("length" if one.finish == "length" else "stop", self.habits) for one in self.replies)

    def blank(self) -> dict[str, Any]:
        """Return the empty text of a choice."""
        return {"text": ""}

    def choice(self, index: int) -> dict[str, Any]:
        """Return a choice of the whole answer."""
        texts: list[str] = []
        entries = _Entries(self.top_logprobs)
        if self.echoes:
            texts.append(self.prompt(index).text)
            entries.add_prompt(*self._echo(index))
        for part in self.replies[index].parts:
            texts += part.texts
            entries.add(part.tokens, part.texts)
        return {
            "index": index,
            "text": "".join(texts),
            "logprobs": entries.taken(),
            "finish_reason": self.finishes[index],
        }

    def pieces(self, index: int, chunk_tokens: int) -> Iterator[Piece]:
        """Return the pieces of one choice of a stream. The last one has the finish reason."""
        entries = _Entries(self.top_logprobs)
        if self.echoes:
            entries.add_prompt(*self._echo(index))
            yield _piece(self.prompt(index).text, entries.taken())
        last = _piece("")
        waiting: tuple[bytes, ...] = ()
        for part in self.replies[index].parts:
            for at, (tokens, text) in enumerate(grouped(part, chunk_tokens)):
                waiting += tokens
                entries.add(tokens, part.texts[at * chunk_tokens : (at + 1) * chunk_tokens])
                if text:
                    if last.tokens:
                        yield last
                    last, waiting = _piece(text, entries.taken(), waiting), ()
        if last.tokens and (waiting or not self.habits.finish_with_text):
            yield last
            last = _piece("")
        if waiting:
            last = _piece("", entries.taken(), waiting)
        yield last._replace(finish=self.finishes[index])

    def _echo(self, index: int) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """Return the tokens of a prompt, and their texts."""
        tokens = tokenize(self.prompt(index).text, byte_fallback=self.habits.cut_characters is not None)
        return tokens, shown(tokens)


class _Entries:
    """The logprobs of a choice, as lists that grow."""

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._offset = 0
        self._lists: dict[str, list[Any]] = {}

    def add_prompt(self, tokens: Sequence[bytes], texts: Sequence[str]) -> None:
        """Add the tokens of a prompt. The first one has no probability."""
        self.add(tokens, texts)
        for name in ("token_logprobs", "top_logprobs"):
            self._lists.get(name, [])[:1] = [None]

    def add(self, tokens: Sequence[bytes], texts: Sequence[str]) -> None:
        """Add some tokens, and the texts that they show."""
        for token, text in zip(tokens, texts, strict=True) if self._top is not None else ():
            value = logprob_of(token)
            self._append("tokens", token_text(token))
            self._append("token_logprobs", value)
            self._append("top_logprobs", self._alternatives(token_text(token), value))
            self._append("text_offset", self._offset)
            self._offset += len(text)

    def _alternatives(self, token: str, value: float) -> dict[str, float] | None:
        """Return the most probable tokens."""
        others = {f" other{rank}": value - rank for rank in range(1, self._top or 0)}
        return {token: value, **others} if self._top else None

    def _append(self, name: str, value: object) -> None:
        self._lists.setdefault(name, []).append(value)

    def taken(self) -> dict[str, Any] | None:
        """Return the lists, and begin new ones. None: the request wants no logprobs."""
        lists, self._lists = self._lists, {}
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        return None if self._top is None else {name: lists.get(name, []) for name in names}


def compose_text(
    body: Body, prompts: Sequence[Prompt], replies: Sequence[Reply], *, habits: Habits, cached_tokens: int
) -> TextCompletion:
    """Return the response to a request for text completions."""
    return TextCompletion(
        **common(body, prompts, replies, habits=habits, cached_tokens=cached_tokens),
        head=head(body, "text_completion", "cmpl"),
        echoes=bool(body.get("echo")),
        top_logprobs=body.get("logprobs"),
    )


def _piece(text: str, logprobs: dict[str, Any] | None = None, tokens: tuple[bytes, ...] = ()) -> Piece:
    return Piece({"text": text}, logprobs, tokens)
