"""What a whole answer has beside its text, joined over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from .chunks import joined, text_of
from .json import Json, as_object
from .text import reasoning
from .text.logprobs import add_logprobs, logprobs_of
from .text.stops import NAMES_OF_STOP
from .text.text import Text

# Most bytes of a character. Each may be a token.
_BYTES_OF_CHARACTER = 4


def chunk_of(item: Json, message: Json) -> Json:
    """Return the choice of a whole answer, with this message, as a stream of one chunk."""
    chunk = {"choices": [{**item, "delta": message}]}
    text = text_of(chunk)
    if item.get("logprobs") is not None and text:
        # Without the tokens of a cut character, whose bytes are in no text.
        chunk["choices"][0]["logprobs"] = logprobs_of(item["logprobs"], text, 0, len(text))
    return chunk


class WholeFields:
    """The other fields of one choice: in its message, and beside it."""

    def __init__(self) -> None:
        self.of_message: Json = {}
        self.of_choice: Json = {}
        #: The logprobs of all text that is out.
        self.logprobs: Json | None = None
        # The choice of a round, its message, and the ids of its prompt, until it is known to be a part of the answer.
        self._item: tuple[Json, Json, Sequence[Any] | None] | None = None

    def take(self, item: Json, message: Json, sent: Sequence[Any] | None) -> None:
        """Take the choice of a whole round. ``sent``: the ids of its tokens in the prompt, if the server tells them."""
        self._item = item, message, sent

    def take_logprobs(self, chunks: Sequence[Json], answer: Text) -> None:
        """Add the logprobs of chunks that are out. ``answer``: the text that they are of."""
        if chunks and answer.replaced is not None:
            old, answer.replaced = answer.replaced, None
            self.logprobs = as_object(logprobs_of(self.logprobs, old, 0, len(old) - len(answer.seam.held)))
        for chunk in chunks:
            self.logprobs = add_logprobs(self.logprobs, as_object(chunk["choices"][0].get("logprobs")))

    def settle(self, text: Text, *, cut: int, is_part: bool, calling: bool) -> None:
        """
        Join the fields of the round if it is a part of the answer.

        ``text``: the text that the round continued; ``cut``: the characters that were dropped before it; ``calling``:
        whether it continued the tool calls, which are joined elsewhere.
        """
        taken, self._item = self._item, None
        if taken is None or not is_part:
            return
        item, message, sent = taken
        if sent is not None:
            self._drop_ids(sent, text, cut)
        apart = ("role", "content", *(("tool_calls",) if calling else ()), *reasoning.FIELDS)
        self.of_message = joined(self.of_message, message, apart=apart)
        of_choice = joined(self.of_choice, item, apart=("index", "message", "logprobs", "finish_reason"))
        self.of_choice = {**of_choice, **{name: item[name] for name in NAMES_OF_STOP if name in item}}

    def _drop_ids(self, sent: Sequence[Any], text: Text, cut: int) -> None:
        """Drop the ids of the tokens that were held back, and that the running round has written again."""
        ids, seam = self.of_choice.get("token_ids"), text.seam
        if not isinstance(ids, list) or text.dropped < len(seam.held) or list(sent) != ids[: len(sent)]:
            return
        # A token has one byte or more. If more are missing, the prompt is not what it seems to be.
        most = len(seam.held.encode("utf-8", "replace")) + _BYTES_OF_CHARACTER * cut
        if len(cast("list[Any]", ids)) - len(sent) <= most:
            self.of_choice["token_ids"] = ids[: len(sent)]
