"""An answer that a server files as thoughts: the chunks of it, until the round shows what they are."""

from __future__ import annotations

from .chunks import delta_of, text_of
from .codec.chat import RESTART_EVIDENCE
from .json import Json
from .text import reasoning
from .text.evidence import CERTAIN, Weight
from .text.seam import Stopped, evidence
from .text.text import Text


class Filed:
    """
    Takes what comes as thoughts in the rounds that continue an answer.

    vLLM's deepseek_r1 parser takes all text before a ``</think>`` for thoughts, though the block was closed before the
    cut. If the answer comes too, the thoughts are an echo of the prefill, or new ones.
    """

    def __init__(self) -> None:
        self._chunks: list[Json] = []
        #: Whether the server is known to file the answer of a continuation as thoughts.
        self.is_known = False

    @property
    def waits(self) -> bool:
        """Whether chunks wait until the round shows what they are."""
        return bool(self._chunks)

    def keep(self, chunk: Json) -> None:
        """Keep a chunk without text, which came after such ones."""
        self._chunks.append(chunk)

    def take(self, chunk: Json, name: str, answer: Text) -> list[Json]:
        """Take a chunk whose field ``name`` holds thoughts; return the chunks that may go out now."""
        item, delta = chunk["choices"][0], delta_of(chunk)
        rest = {key: value for key, value in delta.items() if key not in reasoning.FIELDS}
        if delta.get("content"):
            return self.drop(answer) + answer.take({**chunk, "choices": [{**item, "delta": rest}]})
        chunk = {**chunk, "choices": [{**item, "delta": {**rest, "content": delta[name]}}]}
        if self.is_known:
            return answer.take(chunk)
        self._chunks.append(chunk)
        return []

    def drop(self, answer: Text) -> list[Json]:
        """Drop what came as thoughts: the answer goes on elsewhere, so they are no part of it."""
        chunks, self._chunks = self._chunks, []
        return [out for chunk in chunks if not text_of(chunk) for out in answer.take(chunk)]

    def settle(self, answer: Text, thoughts: str) -> list[Json]:
        """Take what came as thoughts for the answer, at the end of a round that brought no other answer."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return []
        known = evidence(thoughts, RESTART_EVIDENCE)
        if known and "".join(map(text_of, chunks)).lstrip().startswith(known):
            answer.stopped, answer.weight = Stopped.RESTARTED, Weight(CERTAIN)
            return []
        self.is_known = True
        return [out for chunk in chunks for out in answer.take(chunk)]
