"""
Continue an answer that stands partly in a file.

The file's text is a first round that the token limit cut, so the core writes the next request and joins its text, as
it does within one call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from .._core.chunks import choices_of, text_of
from .._core.json import Json
from .._core.learned import Learned
from .._core.rounds import Rounds
from .._tables.providers import Provider
from ..settings import Continuation

#: A server that is in no row of the provider table: it gets the text so far without marks.
_UNKNOWN = Provider(name="unknown")


class Resumption:
    """The rest of one answer. Iterate over ``texts()`` once."""

    def __init__(self, written: str, request: Json, provider: Provider | None, trims: bool | None) -> None:
        """
        ``written``: the answer so far. ``request``: arguments of ``create()``, those that brought ``written``.

        The token limits of the request hold for the rest of the answer, not for what is written.
        """
        self._request = request
        self._provider = provider or _UNKNOWN
        limits = ("max_tokens", "max_completion_tokens")
        body = {name: value for name, value in request.items() if name not in limits}
        self._rounds = Rounds(
            {**body, "stream": True}, self._provider, Continuation(trims=trims), Learned(resumed=True)
        )
        first = self._rounds.next_request()
        assert first is not None  # noqa: S101 (a new Rounds has a first request)
        cut = {"index": 0, "delta": {"content": written}, "finish_reason": "length"}
        self._rounds.feed(first, {"choices": [cut]})
        self._rounds.end_of_stream(first)
        #: Why the rest could not be taken ("restart", "reasoning", ...), or None if the last stream was read whole.
        self.stopped_by: str | None = None

    def texts(self, ask: Callable[[Json], Generator[Json, None, None]]) -> Generator[str, None, None]:
        """
        Yield the text that follows ``written``.

        ``ask`` sends a request, given as arguments of ``create()``, and yields the chunks of its stream as JSON
        objects. It continues a stream that is cut. A second request is sent only if the model did not write again,
        as it was, what the first one held back.
        """
        whole = False
        while not whole and (request := self._rounds.next_request()) is not None:
            marked = (*self._provider.body_marks, *self._provider.optional_marks)
            marks = {name: request.body[name] for name in marked if name in request.body}
            sent: Json = {**self._request, "messages": request.body["messages"], "extra_body": marks}
            with closing(ask(sent)) as chunks:
                for chunk in chunks:
                    yield from texts_of(self._rounds.feed(request, chunk))
                    if self._rounds.enough:
                        break
            whole = not self._rounds.enough
            yield from texts_of(self._rounds.end_of_stream(request))
        if not whole or self._rounds.stopped_by == "restart":
            self.stopped_by = self._rounds.stopped_by


def texts_of(chunks: Iterable[Json]) -> Iterator[str]:
    """Yield the text of the answer in these chunks, which have one choice or none."""
    yield from filter(None, map(text_of, filter(choices_of, chunks)))
