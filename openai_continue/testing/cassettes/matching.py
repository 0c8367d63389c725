"""
The matcher ``chat_body`` for VCR: two requests are the same if their JSON is.

VCR compares each request with all that are recorded, several times: at 100 rounds 30,000 times. So bodies are read
once, and a difference is told in one line.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, cast

_SHOWN = 40


def chat_body(sent: Any, recorded: Any) -> None:
    """Raise an ``AssertionError`` that tells where a request first differs from the recorded one."""
    told = difference(recorded.body, sent.body)
    if told is not None:
        raise AssertionError(told)


def difference(recorded: bytes | None, sent: bytes | None) -> str | None:
    """Tell where two bodies first differ; None if they do not."""
    return None if recorded == sent else _difference(read(recorded), read(sent), "")


@lru_cache(maxsize=256)
def read(body: bytes | None) -> object:
    """Read a body; the body itself where it is no JSON."""
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
        at = common(recorded, sent)
        return f"{where}, character {at}: recorded {_excerpt(recorded, at)}, sent {_excerpt(sent, at)}"
    return f"{where or 'the body'}: recorded {_short(recorded)}, sent {_short(sent)}"  # pyright: ignore[reportUnknownArgumentType]


def _of_objects(recorded: dict[str, object], sent: dict[str, object], where: str) -> str | None:
    for name in recorded.keys() | sent.keys() if recorded.keys() != sent.keys() else ():
        if name not in sent:
            return f"{where}.{name}".lstrip(".") + f": recorded {_short(recorded[name])}, not sent"
        if name not in recorded:
            return f"{where}.{name}".lstrip(".") + f": not recorded, sent {_short(sent[name])}"
    told = (_difference(recorded[name], sent[name], f"{where}.{name}".lstrip(".")) for name in recorded)
    return next(filter(None, told), None)


def _of_lists(recorded: list[object], sent: list[object], where: str) -> str | None:
    pairs = enumerate(zip(recorded, sent, strict=False))
    told = next(filter(None, (_difference(*pair, f"{where}[{at}]") for at, pair in pairs)), None)
    if told is None and len(recorded) != len(sent):
        return f"{where}: recorded {len(recorded)}, sent {len(sent)}"
    return told


def common(one: Any, other: Any) -> int:
    """Count the characters that two strings begin with alike, or the bytes."""
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
