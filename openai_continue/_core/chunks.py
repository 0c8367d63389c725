"""Reading, parting and cutting chunks, which are JSON objects. A chunk that came is never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from .json import Json, as_object, as_string
from .text.logprobs import add_logprobs, bytes_of, logprobs_of
from .text.reasoning import FIELDS
from .usage import usage_of, without_usage

# The fields of a choice in a chunk that are known.
_OF_CHOICE = ("index", "delta", "finish_reason", "logprobs", "usage")
_MAY_GROW: tuple[type, ...] = (list, dict)


def chunk_choices(chunk: Json) -> list[Json] | None:
    """Return the choices of a chunk, or None if it is none. A chunk of usage may have null, or no choices at all."""
    items = choices_of(chunk)
    return [] if items is None and chunk.get("choices") is None and usage_of(chunk) is not None else items


def choices_of(answer: object) -> list[Json] | None:
    """Return the choices of a completion or chunk, or None if it is neither."""
    if not isinstance(answer, dict):
        return None
    choices = cast(Json, answer).get("choices")
    if not isinstance(choices, list) or not all(isinstance(item, dict) for item in cast("list[Any]", choices)):
        return None
    return cast("list[Json]", choices)


def as_chunk(answer: object) -> object:
    """Return a completion as a chunk, whose deltas are its messages; anything else as it is."""
    items = choices_of(answer)
    if items is None:
        return answer
    renamed = [{"delta" if name == "message" else name: value for name, value in item.items()} for item in items]
    return {**cast(Json, answer), "choices": renamed}


def without_error(item: Json) -> tuple[Json, Json | None]:
    """Return a choice without the error that a gateway set on it, and that error; None if there is none."""
    error = item.get("error")
    if not error and item.get("finish_reason") != "error":
        return item, None
    of_end = ("error", "finish_reason", "native_finish_reason")
    return {name: value for name, value in item.items() if name not in of_end}, as_object(error) or {}


def without_errors(chunk: Json) -> tuple[Json, Json | None]:
    """Return the first choice of a chunk without the errors that a gateway set on it, and one of those, or None."""
    item, fault = without_error(chunk["choices"][0])
    if chunk.get("error"):
        fault = fault or as_object(chunk["error"]) or {}
        chunk = {name: value for name, value in chunk.items() if name != "error"}
    return {**chunk, "choices": [item]}, fault


def status_of(error: Json | None) -> int | None:
    """Return the HTTP status that an error names as its code, or None."""
    code = (error or {}).get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else None


def said_by(answer: object) -> str:
    """Return what a response that is no completion says: the size of a context may be in it."""
    known = as_object(answer) or {}
    return " ".join(str(known[name]) for name in ("error", "error_message") if name in known)


def index_of(item: Mapping[str, Any]) -> int:
    """Return the index of a choice, or 0 if the server left it out."""
    index = item.get("index")
    return index if isinstance(index, int) else 0


def singles(chunk: Json, items: Sequence[Json]) -> Iterator[Json]:
    """Give a chunk of several choices as chunks of one choice each; the last one keeps the usage."""
    if len(items) <= 1:
        yield chunk
        return
    for item in items[:-1]:
        yield {**without_usage(chunk), "choices": [item]}
    yield {**chunk, "choices": [items[-1]]}


def delta_of(chunk: Json) -> Json:
    """Return the delta of a chunk of one choice, or {} if it has none."""
    return as_object(chunk["choices"][0].get("delta")) or {}


def with_delta(chunk: Json, delta: Json) -> Json:
    """Return a chunk of one choice with another delta."""
    return {**chunk, "choices": [{**chunk["choices"][0], "delta": delta}]}


def text_of(chunk: Json, field: str = "content") -> str:
    """Return the text that a chunk of one choice adds."""
    return as_string(delta_of(chunk).get(field)) or ""


def has_news(chunk: Json) -> bool:
    """
    Whether a chunk of one choice adds to the answer, and not only a role, a usage or a ``finish_reason``.

    What stands beside a ``finish_reason`` belongs to the end, but for lists in the choice, which grow with the text.
    """
    item = chunk["choices"][0]
    if has_lists(chunk) and not item.get("finish_reason"):
        return True
    logprobs = item.get("logprobs")
    known = as_object(logprobs)
    if logprobs is not None and (known is None or any(known.values())):
        return True
    beside = {name: value for name, value in item.items() if name not in _OF_CHOICE}
    if any(grows(value) if item.get("finish_reason") else value for value in beside.values()):
        return True
    return any(value for name, value in delta_of(chunk).items() if name != "role")


def part_end(chunk: Json) -> tuple[Json, Json]:
    """
    Return the last chunk of a choice as two: what it adds to the answer, and the bare end.

    Lists beside the choices stay at the end.
    """
    chunk_news = without_lists(without_usage(chunk))
    item = chunk["choices"][0]
    adds: Json = {name: value for name, value in item.items() if name in _OF_CHOICE or grows(value)}
    adds.pop("usage", None)
    news: Json = {**chunk_news, "choices": [{**adds, "finish_reason": None}]}
    bare: Json = {name: None if grows(value) else value for name, value in item.items()}
    if "delta" in item:
        bare["delta"] = {}
    if "logprobs" in item:
        bare["logprobs"] = None
    return news, {**chunk, "choices": [bare]}


def without_lists(chunk: Json) -> Json:
    """Return a chunk without the lists beside its choices; the same object if it has none."""
    if not has_lists(chunk):
        return chunk
    return {name: value for name, value in chunk.items() if name == "choices" or not grows(value)}


def has_lists(chunk: Json) -> bool:
    """Whether a chunk has lists beside its choices."""
    # Asked of each whole answer several times, and most values are none of these.
    for name, value in chunk.items():
        if isinstance(value, _MAY_GROW) and name not in ("choices", "usage") and grows(value):
            return True
    return False


def lists_of(chunk: Json) -> Json:
    """Return a chunk of nothing but the lists beside its choices."""
    items = choices_of(chunk) or []
    bare: list[Json] = [{"index": index_of(item), "delta": {}, "finish_reason": None} for item in items]
    return {**without_usage(chunk), "choices": bare}


def grows(value: object) -> bool:
    """Whether a value grows with the text: a list, or an object with one in it, that is not empty."""
    if isinstance(value, dict):
        return any(map(grows, cast(Json, value).values()))
    return isinstance(value, list) and bool(cast("list[Any]", value))


def joined(so_far: Mapping[str, Any], more: Mapping[str, Any], *, apart: Sequence[str] = ()) -> Json:
    """
    Return the fields of two rounds as one, without those of the second that are named in ``apart``.

    Lists grow with the text, so those of both follow each other, also within objects. What is said of the prompt is as
    the first round has it, and anything else as the last one has it.
    """
    fields = {**so_far}
    for name, value in more.items():
        known = fields.get(name)
        if name not in apart and (known is None or not name.startswith("prompt")):
            fields[name] = _joined(known, value)
    return fields


def _joined(known: object, value: object) -> object:
    if value is None:
        return known
    old, new = as_object(known), as_object(value)
    if old is not None and new is not None:
        return {**new, **{name: _joined(each, new.get(name)) for name, each in old.items() if grows(each)}}
    if isinstance(known, list) and isinstance(value, list):
        return [*cast("list[Any]", known), *cast("list[Any]", value)]
    return value


def without_start(chunks: Sequence[Json], length: int, field: str) -> list[Json]:
    """Return a run of chunks of one choice without the first ``length`` characters of ``field``."""
    kept: list[Json] = []
    for chunk in chunks:
        size = len(text_of(chunk, field))
        if length == 0 or not size:
            kept.append(chunk)
        else:
            part = _between(chunk, min(length, size), size, field)
            if length >= size:
                # Its lists (token ids, logprobs) are a copy too.
                part = _without_copies(part)
            kept += [part] if has_news(part) else []
        length = max(length - size, 0)
    return kept


def without_end(chunks: Sequence[Json], length: int, field: str) -> list[Json]:
    """Return a run of chunks of one choice up to the last ``length`` characters of ``field``."""
    kept: list[Json] = []
    for chunk in reversed(chunks):
        size = len(text_of(chunk, field))
        if length == 0 or not size:
            kept.append(chunk)
        elif length < size:
            kept.append(_between(chunk, 0, size - length, field))
        length = max(length - size, 0)
    return kept[::-1]


def _without_copies(chunk: Json) -> Json:
    item = {name: value for name, value in chunk["choices"][0].items() if name in _OF_CHOICE}
    return {**without_lists(chunk), "choices": [{**item, "logprobs": None} if "logprobs" in item else item]}


def token_bytes_of(chunk: Json) -> bytes:
    """Return the bytes of the tokens in a chunk's logprobs."""
    return bytes_of(chunk["choices"][0].get("logprobs"))


def merged(chunks: Sequence[Json], field: str) -> list[Json]:
    """Return a run of chunks as one, without the logprobs of a cut character; [] if it has no text."""
    text = "".join(text_of(chunk, field) for chunk in chunks)
    logprobs: Json | None = None
    for chunk in chunks:
        logprobs = add_logprobs(logprobs, as_object(chunk["choices"][0].get("logprobs")))
    if not text:
        return []
    one: Json = {}
    item: Json = {}
    delta: Json = {}
    for chunk in chunks:
        one = joined(one, chunk, apart=("choices",))
        item = joined(item, chunk["choices"][0], apart=("delta", "logprobs"))
        delta = joined(delta, delta_of(chunk), apart=("content", *FIELDS) if delta else ())
    item = {**item, "logprobs": logprobs_of(logprobs, text, 0, len(text))}
    delta = _with_text(delta, field, text_of(chunks[0], field), text)
    return [{**one, "choices": [{**item, "delta": delta}]}]


def _with_text(delta: Json, field: str, old: str, new: str) -> Json:
    """Return a delta with another text, also where it has the same thoughts under a second name."""
    mirrors = [name for name in FIELDS if field in FIELDS and name != field and delta.get(name) == old]
    return {**delta, field: new, **dict.fromkeys(mirrors, new)}


def _between(chunk: Json, start: int, end: int, field: str) -> Json:
    item = chunk["choices"][0]
    text = text_of(chunk, field)
    part = {**item, "delta": _with_text(item["delta"], field, text, text[start:end])}
    if item.get("logprobs") is not None:
        part["logprobs"] = logprobs_of(item["logprobs"], text, start, end)
    return {**chunk, "choices": [part]}
