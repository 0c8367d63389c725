"""
The serializer ``chat.yaml`` for VCR: cassettes of chats that people can read, and much smaller than VCR's own.

A JSON body is written as a YAML tree. Events of a stream that differ only in some values are written once, as a form
with marks, followed by the values. Reading gives back every byte. If that fails for a body, the body is written as VCR
writes it, as one string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, cast

import yaml

from ..._core.json import Json, load

# The styles of JSON that servers and clients write, by the name of such a body in a cassette.
_JSON: dict[str, Json] = {
    "json": {"ensure_ascii": False, "separators": (",", ":")},
    "json, spaced": {"ensure_ascii": False},
    "json, indented": {"ensure_ascii": False, "indent": 2},
    "json, ascii": {"separators": (",", ":")},
    "json, spaced, ascii": {},
}
# The end of an event, by the name of such a stream in a cassette.
_STREAMS = {"stream": "\n\n", "stream, crlf": "\r\n\r\n"}
# A mark replaces a varying value in the form, and separates the values. The first mark that no event contains is used.
_MARKS = ("¦", "‖", "⁞")

# A value: a string that is not a name, a number, or a list of numbers (such as the bytes of a token).
_VALUE = re.compile(r'(?<=[:\[, ])("[^"\\]*(?:\\.[^"\\]*)*"(?!\s*:)|-?\d[\d.eE+-]*|\[[\d, ]*\])')
_ODD_ENDS = re.compile("[\x85\u2028\u2029]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def serialize(cassette: Json) -> str:
    """Return a cassette, as a dict of VCR's form, as YAML."""
    packed = {**cassette, "interactions": [_packed(one) for one in cassette["interactions"]]}
    # Some stubs of PyYAML do not know a type in it.
    dump: Any = cast("Any", yaml).dump
    text: str = dump(packed, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    return text


def deserialize(text: str) -> Json:
    """Return the cassette of a YAML text. VCR's own cassettes are read too."""
    cassette: Json = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    for one in cassette["interactions"]:
        one["request"]["body"] = _unpacked(one["request"]["body"])
        body = one["response"]["body"]
        one["response"]["body"] = body if "string" in body else {"string": _unpacked(body)}
    return cassette


def _packed(interaction: Json) -> Json:
    request, response = interaction["request"], interaction["response"]
    return {
        **interaction,
        "request": {**request, "body": _pack(request["body"]) or request["body"]},
        "response": {**response, "body": _pack(response["body"].get("string")) or response["body"]},
    }


def _pack(body: object) -> Json | None:
    """Return the short form of a body, or None if it has none that gives back every byte."""
    if not isinstance(body, str):
        return None
    try:
        packed = _pack_json(body) if body[:1] in ("{", "[") else _pack_stream(body)
        return packed if packed and _unpacked(packed) == body and _is_encodable(packed) else None
    except ValueError:
        return None


def _is_encodable(value: object) -> bool:
    """Return True if UTF-8 can encode a value, else raise ``UnicodeEncodeError``. JSON can escape half a character."""
    return bool(json.dumps(value, ensure_ascii=False).encode())


def _unpacked(body: object) -> object:
    if not isinstance(body, dict):
        return body
    ((name, value),) = cast("Json", body).items()
    if name in _JSON:
        return json.dumps(value, **_JSON[name])
    end = _STREAMS[name]
    return "".join(event + end for item in value for event in _events(item))


def _pack_json(body: str) -> Json | None:
    tree = load(body.encode())
    return next(({name: tree} for name, style in _JSON.items() if json.dumps(tree, **style) == body), None)


def _pack_stream(body: str) -> Json | None:
    for name, end in _STREAMS.items():
        if body.endswith(end):
            # Of each event, the text around its values at even places, its values at odd places.
            events = map(_VALUE.split, body[: -len(end)].split(end))
            return {name: [item for _, run in groupby(events, lambda event: event[::2]) for item in _run(list(run))]}
    return None


def _run(events: Sequence[list[str]]) -> list[str | Json]:
    """Return events that differ only in values as one item, or one item for each if that is not possible."""
    texts = ["".join(event) for event in events]
    columns = list(zip(*(event[1::2] for event in events), strict=True))
    varying = {at for at, column in enumerate(columns) if len(set(column)) > 1}
    mark = next((mark for mark in _MARKS if not any(mark in text for text in texts)), None)
    if not varying or mark is None:
        return list(texts)
    each = events[0].copy()
    values: list[str | Json] = []
    for at in sorted(varying):
        each[2 * at + 1], column = _column(columns[at], mark)
        values.append(column)
    return [{"each": "".join(each), "mark": mark, "values": values}]


def _column(values: Sequence[str], mark: str) -> tuple[str, str | Json]:
    """Return the placeholder for some values, and the values; as plain text if they are simple strings."""
    if any(value[0] != '"' for value in values):
        return mark, mark.join(values)
    read = [json.loads(value) for value in values]
    if [json.dumps(value, ensure_ascii=False) for value in read] == list(values):
        return f'"{mark}"', mark.join(read)
    return f'"{mark}"', {"escaped": mark.join(value[1:-1] for value in values)}


def _events(item: str | Json) -> Iterator[str]:
    """Return the events of one item of a stream."""
    if isinstance(item, str):
        yield item
        return
    mark = item["mark"]
    around = item["each"].split(mark)
    columns: list[list[str]] = []
    for at, column in enumerate(cast("list[str | Json]", item["values"])):
        if isinstance(column, dict):
            columns.append(column["escaped"].split(mark))
        elif around[at].endswith('"') and around[at + 1].startswith('"'):
            columns.append([json.dumps(value, ensure_ascii=False)[1:-1] for value in column.split(mark)])
        else:
            columns.append(column.split(mark))
    for row in zip(*columns, strict=True):
        yield around[0] + "".join(value + after for value, after in zip(row, around[1:], strict=True))


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, and short lists in one line. libyaml's dumper escapes every emoji."""


def _text(_: yaml.SafeDumper, text: str) -> yaml.Node:
    # YAML reads these as line ends and changes them. In double quotes they are escaped.
    style = '"' if _ODD_ENDS.search(text) else "|" if "\n" in text else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    is_short = len(items) < 20 and all(isinstance(item, (int, float)) or _is_word(item) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_short)


def _is_word(item: object) -> bool:
    return isinstance(item, str) and len(item) < 40 and "\n" not in item


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
