"""
The shape of text completions (``/completions``) as that of chat completions, and back.

A text completion is a chat completion whose message is nothing but content. What came is never changed, and is given
back as the same object if the core did not change it.
"""

from __future__ import annotations

import re
from typing import Any, cast

from ..chunks import choices_of
from ..json import Json, as_object, as_string

_COLUMNS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
# OpenAI's spelling of a token that is no whole character: bytes: \\xe2\\x82, here with a blank before it.
_BYTES = re.compile(r"bytes:(?=.*\\x[0-9a-f]{2})", re.DOTALL)
_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


class AsChat(dict[str, Any]):
    """A text completion, or a chunk of one, in the shape of chat, with the object that came."""

    __slots__ = ("original",)

    def __init__(self, shaped: Json, original: Json) -> None:
        super().__init__(shaped)
        self.original = original


def as_chat(answer: object) -> object:
    """Return a text completion, or a chunk of one, as a chunk in the shape of chat; anything else as it is."""
    items = choices_of(answer)
    if items is None:
        return answer
    original = cast(Json, answer)
    return AsChat({**original, "choices": [_choice_as_chat(item) for item in items]}, original)


def _choice_as_chat(item: Json) -> Json:
    shaped = {name: value for name, value in item.items() if name != "text"}
    return {**shaped, "delta": {"content": as_string(item.get("text")) or ""}}


def as_completion(answer: Json, holder: str) -> Json:
    """
    Return a completion or chunk in the shape of text completions; the object that came, if it is unchanged.

    ``holder``: where it has the text: "message", or "delta" in a chunk.
    """
    if isinstance(answer, AsChat):
        return answer.original
    items = choices_of(answer)
    if items is None:
        return answer
    return {**answer, "object": "text_completion", "choices": [_choice_as_completion(item, holder) for item in items]}


def _choice_as_completion(item: Json, holder: str) -> Json:
    shaped = {name: value for name, value in item.items() if name != holder}
    return {**shaped, "text": as_string((as_object(item.get(holder)) or {}).get("content")) or ""}


def raw_as_chat(answer: object) -> object:
    """Return the answer to the raw prompt of a chat, or a chunk of it, as a chunk of chat, its logprobs too."""
    shaped = as_chat(answer)
    for item in choices_of(shaped) or ():
        if as_object(item.get("logprobs")) is not None:
            item["logprobs"] = _logprobs_as_chat(item["logprobs"])
    return shaped


def _logprobs_as_chat(logprobs: Json) -> Json:
    """Return the logprobs of a text in the shape of chat. llama.cpp gives them in that shape."""
    tokens = logprobs.get("tokens")
    if not isinstance(tokens, list):
        return logprobs
    columns = [_list(logprobs, name, len(cast("list[Any]", tokens))) for name in _COLUMNS[:3]]
    content = [
        {**_token(token, logprob), "top_logprobs": [_token(*each) for each in (as_object(top) or {}).items()]}
        for token, logprob, top in zip(*columns, strict=True)
    ]
    return {**{name: value for name, value in logprobs.items() if name not in _COLUMNS}, "content": content}


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
