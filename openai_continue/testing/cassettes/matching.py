"""
The matcher ``chat_body`` for VCR: two requests are equal if their JSON is equal.

VCR compares each request with all recorded ones several times: 30,000 times at 100 rounds. So each body is parsed only
once. What replaced a secret of the recording equals any text.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, cast

from .scrubbing import SCRUBBED

# How many characters of a value a message shows after the first difference.
_SHOWN = 40


def chat_body(sent: Any, recorded: Any) -> None:
    """Raise ``AssertionError`` with the first difference if two VCR requests have different bodies."""
    found = difference(recorded.body, sent.body)
    if found is not None:
        raise AssertionError(found)


def difference(recorded: bytes | None, sent: bytes | None) -> str | None:
    """Return the first difference of two bodies as a message, or None if their JSON is equal."""
    return None if recorded == sent else _difference(read(recorded), read(sent), "")


@lru_cache(maxsize=256)
def read(body: bytes | None) -> object:
    """Return the JSON value of a body, or the body itself if it is not JSON."""
    try:
        return json.loads(body or b"")
    except ValueError:
        return body


def _difference(recorded: Any, sent: Any, where: str) -> str | None:
    if isinstance(recorded, dict) and isinstance(sent, dict):
        return _of_objects(cast("dict[str, object]", recorded), cast("dict[str, object]", sent), where)
    if isinstance(recorded, list) and isinstance(sent, list):
        return _of_lists(cast("list[object]", recorded), cast("list[object]", sent), where)
    if isinstance(recorded, bool) is isinstance(sent, bool) and recorded == sent:
        return None
    if isinstance(recorded, str) and isinstance(sent, str):
        if SCRUBBED in recorded and re.fullmatch(".*".join(map(re.escape, recorded.split(SCRUBBED))), sent, re.DOTALL):
            return None
        at = common(recorded, sent)
        return f"{where}, character {at}: recorded {_excerpt(recorded, at)}, sent {_excerpt(sent, at)}"
    return f"{where or 'the body'}: recorded {_short(recorded)}, sent {_short(sent)}"  # pyright: ignore[reportUnknownArgumentType]


def _of_objects(recorded: dict[str, object], sent: dict[str, object], where: str) -> str | None:
    for name in recorded.keys() | sent.keys() if recorded.keys() != sent.keys() else ():
        if name not in sent:
            return f"{where}.{name}".lstrip(".") + f": recorded {_short(recorded[name])}, not sent"
        if name not in recorded:
            return f"{where}.{name}".lstrip(".") + f": not recorded, sent {_short(sent[name])}"
    found = (_difference(recorded[name], sent[name], f"{where}.{name}".lstrip(".")) for name in recorded)
    return next(filter(None, found), None)


def _of_lists(recorded: list[object], sent: list[object], where: str) -> str | None:
    pairs = enumerate(zip(recorded, sent, strict=False))
    found = next(filter(None, (_difference(*pair, f"{where}[{at}]") for at, pair in pairs)), None)
    if found is None and len(recorded) != len(sent):
        return f"{where}: recorded {len(recorded)}, sent {len(sent)}"
    return found


def common(one: Any, other: Any) -> int:
    """Return the length of the beginning that two strings, or two bytes objects, have in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _excerpt(text: str, at: int) -> str:
    start, end = max(at - _SHOWN // 2, 0), at + _SHOWN
    return ("…" if start else "") + repr(text[start:end]) + ("…" if end < len(text) else "")


def _short(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return shown if len(shown) <= 2 * _SHOWN else f"{shown[: 2 * _SHOWN]}…"
