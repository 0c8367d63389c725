"""
The shape of text completions (``/completions``) as that of chat completions, and back.

The core knows one shape, that of chat: a text completion is a chat completion whose message is nothing but content.
What came is never changed, and is given back as the same object if the core did not change it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, cast

from ..chunks import choices_of, index_of
from ..json import Json, as_object, as_string
from ..text.characters import half_character
from ..text.logprobs import names_ids

_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
# OpenAI's spelling of a token that is no whole character: bytes: \\xe2\\x82, here with a blank before it.
_BYTES = re.compile(r"bytes:(?=.*\\x[0-9a-f]{2})", re.DOTALL)
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


class AsChat(dict[str, Any]):
    """A text completion, or a chunk of one, in the shape of chat, with the object that came."""

    __slots__ = ("original",)

    def __init__(self, shaped: Json, original: Json) -> None:
        super().__init__(shaped)
        self.original = original


def as_chat(answer: object, *, holder: str, is_completion: bool = True) -> object:
    """
    Return a text completion, or a chunk of one, in the shape of chat; anything else as it is.

    ``holder``: where chat has the text: "message", or "delta" in a chunk. ``is_completion``: whether it is to become a
    text completion again, so that tokens keep the place where they begin.
    """
    items = choices_of(answer)
    if items is None:
        return answer
    original = cast(Json, answer)
    return AsChat(
        {**original, "choices": [_choice_as_chat(item, holder, is_completion=is_completion) for item in items]},
        original,
    )


def _choice_as_chat(item: Json, holder: str, *, is_completion: bool) -> Json:
    shaped = {name: value for name, value in item.items() if name != "text"}
    shaped[holder] = {"content": as_string(item.get("text")) or ""}
    if as_object(item.get("logprobs")) is not None:
        shaped["logprobs"] = _logprobs_as_chat(item["logprobs"], shaped[holder]["content"], is_completion=is_completion)
    return shaped


def _logprobs_as_chat(logprobs: Json, text: str, *, is_completion: bool) -> Json:
    """Return the logprobs of a text in the shape of chat. llama.cpp gives them in that shape."""
    tokens = logprobs.get("tokens")
    if not isinstance(tokens, list):
        return logprobs
    several = [_list(logprobs, name, len(cast("list[Any]", tokens))) for name in _LISTS]
    content: list[Json] = []
    for token, logprob, top, offset in zip(*several, strict=True):
        others = as_object(top)
        listed = [_token(name, value) for name, value in (others or {}).items()]
        made = {**_token(token, logprob), "top_logprobs": listed if others is not None or not is_completion else None}
        content.append({**made, "text_offset": offset} if is_completion else made)
    for token, written in zip(
        content, _texts(several[-1], text) if names_ids({"content": content}) else (), strict=False
    ):
        token["bytes"] = list(written.encode("utf-8", "surrogatepass"))
    return {**{name: value for name, value in logprobs.items() if name not in _LISTS}, "content": content}


def _texts(offsets: list[Any], text: str) -> list[str]:
    """Return the texts of tokens that begin at ``offsets``, or [] if these are no places in the text."""
    if len(offsets) == 1:
        return [text]
    if not all(isinstance(offset, int) for offset in offsets):
        return []
    places = [offset - offsets[0] for offset in offsets] + [len(text)]
    return [text[at:end] for at, end in pairwise(places)] if places == sorted(places) else []


def _list(logprobs: Json, name: str, length: int) -> list[Any]:
    found = logprobs.get(name)
    values = cast("list[Any]", found) if isinstance(found, list) else []
    return (values + [None] * length)[:length]


def _token(token: object, logprob: object) -> Json:
    text = as_string(token) or ""
    return {"token": text, "logprob": logprob, "bytes": list(_bytes_of(text))}


def _bytes_of(token: str) -> bytes:
    spelled = _BYTES.match(token)
    written = token[spelled.end() if spelled else 0 :].encode("utf-8", "surrogatepass")
    return _BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), written) if spelled else written


class CompletionShape:
    """Gives the answers of one call back in the shape of text completions."""

    def __init__(self) -> None:
        # By index of the choice: where the next token begins in its text, as far as logprobs say; and the first bytes
        # of a character whose other bytes are in that token.
        self._places: dict[int, tuple[int, bytes]] = {}

    def of_chunks(self, chunks: list[Json]) -> list[Json]:
        """Return chunks in the shape of text completions."""
        return [self.of(chunk, "delta") for chunk in chunks]

    def of(self, answer: Json, holder: str) -> Json:
        """Return a completion or chunk in the shape of text completions; the object that came, if it is unchanged."""
        if isinstance(answer, AsChat):
            for item in choices_of(answer) or []:
                self._numbered(item)
            return answer.original
        items = choices_of(answer)
        if items is None:
            return answer
        return {**answer, "object": "text_completion", "choices": [self._choice(item, holder) for item in items]}

    def _choice(self, item: Json, holder: str) -> Json:
        shaped = {name: value for name, value in item.items() if name != holder}
        shaped["text"] = as_string((as_object(item.get(holder)) or {}).get("content")) or ""
        content = self._numbered(item)
        if content is not None:
            logprobs = {name: value for name, value in item["logprobs"].items() if name != "content"}
            shaped["logprobs"] = {**logprobs, **_columns(content)}
        return shaped

    def _numbered(self, item: Json) -> list[Json] | None:
        """Return the tokens of a choice, each with the place where it begins; None if they came in another shape."""
        content = (as_object(item.get("logprobs")) or {}).get("content")
        tokens = cast("list[Json]", content) if isinstance(content, list) else []
        if content is None or any("text_offset" not in token for token in tokens):
            return None
        numbered: list[Json] = []
        place, half = self._places.get(index_of(item), (0, b""))
        for token in tokens:
            given = token["text_offset"]
            place = given if isinstance(given, int) else place
            numbered.append({**token, "text_offset": place})
            written = half + bytes(token["bytes"])
            half = half_character(written)
            place += len(written[: len(written) - len(half)].decode("utf-8", "replace"))
        self._places[index_of(item)] = place, half
        return numbered


def _columns(content: list[Json]) -> Json:
    """Return tokens as the four lists of a text completion."""
    return {
        "tokens": [token["token"] for token in content],
        "token_logprobs": [token.get("logprob") for token in content],
        "top_logprobs": [_by_token(token.get("top_logprobs")) for token in content],
        "text_offset": [token["text_offset"] for token in content],
    }


def _by_token(listed: object) -> Json | None:
    if not isinstance(listed, list):
        return None
    return {token["token"]: token["logprob"] for token in cast("list[Json]", listed)}


def without_offsets(answer: object) -> object:
    """Return an answer in the shape of chat, in which no token says where it begins in the text of its round."""
    for item in choices_of(answer) or []:
        content = (as_object(item.get("logprobs")) or {}).get("content")
        for token in cast("list[Json]", content) if isinstance(content, list) else []:
            if "text_offset" in token:
                token["text_offset"] = None
    return answer
