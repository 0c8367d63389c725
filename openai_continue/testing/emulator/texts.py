"""
The texts of the emulated model: long, awkward, and the same on every machine.

They contain everything that has broken a join of cut answers: many scripts, emoji of several code points, both Unicode
normal forms, every kind of white space, lines that repeat, and ends of blocks that look alike.
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from .tokens import shown, tokenize

_ADJECTIVES = ("amber", "brisk", "calm", "distant", "early", "frozen", "gentle", "hollow", "idle", "jagged", "keen")
_NOUNS = (
    "harbour",
    "lantern",
    "orchard",
    "kettle",
    "bridge",
    "compass",
    "meadow",
    "anchor",
    "quarry",
    "violin",
    "tram",
)
_VERBS = ("carries", "forgets", "measures", "repairs", "follows", "paints", "borrows", "counts", "answers", "keeps")

_NFC = "Crème brûlée, naïve façade, Ångström, Übergröße, señor, Łódź"
_FAMILIES = "👩‍👩‍👧‍👦 👨‍👩‍👦 🧑‍🚀 🏳️‍🌈 ❤️‍🔥"
_FLAGS = "🇨🇦🇯🇵🇧🇷🇺🇦 🏴󠁧󠁢󠁳󠁣󠁴󠁿"
_SKIN_TONES = "👍🏽👋🏿🤝🏻 🧑🏾‍🔬"
_KEYCAPS = "1️⃣ 2️⃣ #️⃣ *️⃣"


class _Dice:
    """
    Random choices that a key decides, the same on every Python.

    Python promises a stable sequence only for ``Random.random()``.
    """

    def __init__(self, key: str) -> None:
        seed = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        self._random = random.Random(int.from_bytes(seed, "big"))  # noqa: S311 - no secret

    def below(self, end: int) -> int:
        return int(self._random.random() * end)

    def of(self, options: tuple[str, ...]) -> str:
        return options[self.below(len(options))]

    def sentence(self) -> str:
        adjective, noun, verb, other = self.of(_ADJECTIVES), self.of(_NOUNS), self.of(_VERBS), self.of(_NOUNS)
        return f"The {adjective} {noun} {verb} the {other} at {self.below(24)}:{self.below(60):02d}"


def _paragraph(dice: _Dice, number: int) -> str:
    end = dice.of((".", "…", "?!", ' — "so be it".', "; it doesn't, they'd say, and we'll see."))
    return (
        f"\n\n## {number}. {dice.sentence()}\n\n"
        f"{dice.sentence()}, *however* **{dice.of(_NOUNS)}**s don't{end}\n{dice.sentence()}.  \n"
    )


def _scripts(dice: _Dice, number: int) -> str:
    number += dice.below(90)
    return (
        f"\n- 日本語の文章、第{number}章：「吾輩は猫である。名前はまだ無い。」カタカナと漢字。"
        f"\n- 中文段落{number}：天地玄黄，宇宙洪荒。日月盈昃，辰宿列张……"
        f"\n- 한국어 {number}번 문장입니다."
        f"\n- العربية {number}: السلامُ عليكم ورحمةُ الله، كيف الحال؟"
        f"\n- हिन्दी {number}: क्षत्रिय ज्ञान और श्रीमान् नमस्ते।"
        f"\n- {_NFC} ({number}, NFC)\n- {unicodedata.normalize('NFD', _NFC)} ({number}, NFD)\n"
    )


def _emoji(dice: _Dice, number: int) -> str:
    return (
        f"\n{_FAMILIES} {_FLAGS} {_SKIN_TONES} {_KEYCAPS} №{number} 🎉🎉🎉 "
        f"{dice.of(_NOUNS)}👩🏻‍💻{dice.of(_NOUNS)} 𝔘𝔫𝔦 𠮷野家\n"
    )


def _code(dice: _Dice, number: int) -> str:
    name = dice.of(_NOUNS)
    return (
        f"\n```python\ndef {name}_{number}(x, y=None):\n    if x:\n        for i in range({number}):\n"
        f"            yield  i,\t'{dice.of(_VERBS)}'\n\n    return   {{'{name}': [0, 0, 0, {dice.below(9)}]}}\n\n\n"
        f"class {name.title()}:\n    pass\n```\n"
    )


def _braces(dice: _Dice, number: int) -> str:
    inner = "".join(
        f"        {{\n            zero: [0, 0, 0, 0, 0, 0],\n            id: {dice.below(10)}\n        }},\n"
        for _ in range(3)
    )
    return f"\n```js\nconst {dice.of(_NOUNS)}{number} = {{\n    rows: {{\n{inner}        }}\n    }}\n}}\n}}\n}}\n```\n"


def _table(dice: _Dice, number: int) -> str:
    rows = "".join(f"| {number}.{row} | {dice.of(_NOUNS)} |   {dice.below(100):>4} |  |\n" for row in range(4))
    return f"\n| № | what | how many |  |\n|---|:-----|---------:|--|\n{rows}\n---\n\n{'=' * 60}\n"


def _repeats(dice: _Dice, number: int) -> str:
    line = f"{dice.of(_NOUNS)}: 0, 0, 0, 0, 0,\n"
    return f"\n{line * (4 + number % 3)}" + "ha" * 12 + "\n...\n...\n...\n" + "- [ ] \n" * 4


def _white_space(dice: _Dice, number: int) -> str:
    noun = dice.of(_NOUNS)
    return (
        f"\r\nName:\t{noun}\r\nNumber:\t\t{number}\r\n\r\nend of mail  \r\n\n\n\n\n"
        "   three blanks, a no-break\u00a0space, trailing ones  \n\t\ttabs\t\n \n  \n"
        f"    {dice.of(_NOUNS)}   {noun}\n\n\n\n"
    )


def _embedded_json(dice: _Dice, number: int) -> str:
    value: dict[str, Any] = {
        "id": number,
        "name": dice.of(_NOUNS),
        "quote": 'she said "‘no’"',
        "path": "C:\\new\\table",
        "none": [None, {}, []],
    }
    quoted = f"> «{dice.sentence()}» — “quoted”, `code`, 'single'\n"
    return f"\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n{quoted}"


_SECTIONS: tuple[Callable[[_Dice, int], str], ...] = (
    _paragraph,
    _scripts,
    _emoji,
    _code,
    _table,
    _white_space,
    _paragraph,
    _repeats,
    _embedded_json,
    _braces,
)


def _sections(dice: _Dice) -> Iterator[str]:
    number = 0
    while True:
        yield _SECTIONS[number % len(_SECTIONS)](dice, number + 1)
        number += 1


@lru_cache(maxsize=256)
def document(key: str, size: int, *, byte_fallback: bool = False) -> str:
    """
    Return the text that the model writes for a key: ``size`` of the emulator's tokens, with no whitespace at its end.

    Texts of different keys differ within their first few characters. ``byte_fallback``: whether rare characters are
    several tokens, one for each of their bytes.
    """
    if size <= 0:
        return ""
    dice = _Dice(key)
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    text = f"# {dice.of(_ADJECTIVES).title()} {digest[:6]}: notes"
    parts, have = [text], len(tokenize(text, byte_fallback=byte_fallback))
    # Tokens can fuse where sections meet, so the sum is only an estimate. The last section is long enough to cover it.
    for section in _sections(dice):
        parts.append(section)
        have += len(tokenize(section, byte_fallback=byte_fallback))
        if have > size + len(parts) * 4:
            break
    return _cut("".join(parts), size, byte_fallback=byte_fallback)


def _cut(text: str, size: int, *, byte_fallback: bool) -> str:
    """Return the first ``size`` tokens of a text. Digits replace white space or half a character at its end."""
    tokens = tokenize(text, byte_fallback=byte_fallback)
    pieces = shown(tokens)
    keep = size
    while keep and (not pieces[keep - 1] or pieces[keep - 1][-1].isspace()):
        keep -= 1
    filler = "".join(str((digit + 1) % 10) for digit in range(size - keep))
    return "".join(pieces[:keep]) + filler


@lru_cache(maxsize=256)
def thought(key: str, size: int, *, byte_fallback: bool = False) -> str:
    """Return the thoughts of a reasoning model before the document of a key. They have ``size`` tokens."""
    dice = _Dice(f"thought {key}")
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    steps = "".join(f"\n\nStep {step + 1}: {dice.sentence()}… so what? 🤔 考えよう." for step in range(size // 20 + 2))
    return _cut(f"Okay, {digest[-6:]}.{steps}", size, byte_fallback=byte_fallback)


@lru_cache(maxsize=256)
def awkward_document(key: str, size: int, *, byte_fallback: bool = False) -> str:
    """
    Return the content of a file that the model passes to a tool: about ``size`` tokens, with a newline at its end.

    With 200 tokens or more, it begins with what JSON escapes, and with beginnings of the tags that could close it.
    """
    start = _AWKWARD if size >= 200 else ""
    room = max(1, size - len(tokenize(start, byte_fallback=byte_fallback)))
    return f"{start}{document(key, room, byte_fallback=byte_fallback)}\n"


@lru_cache(maxsize=256)
def json_document(key: str, size: int, *, byte_fallback: bool = False) -> str:
    """
    Return a JSON object of exactly ``size`` tokens, or the smallest one if that is longer.

    Its form is ``{"title": str, "items": [{"id": int, "name": str, "note": str, "flags": [bool | null],
    "values": [int], "nested": {"a": {"b": {}}}}], "check": str}``.
    """
    dice = _Dice(f"json {key}")
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

    def length(text: str) -> int:
        return len(tokenize(text, byte_fallback=byte_fallback))

    head = f'{{\n  "title": "{dice.of(_NOUNS)} {digest[:6]}",\n  "items": ['
    tail = '\n  ],\n  "check": "'
    end = '"\n}'
    items: list[str] = []
    # Tokens can fuse where parts meet. A generous estimate is fine, because "check" fills the spare room.
    room = size - length(head) - length(tail) - length(end) - 4
    while True:
        written = ("," if items else "") + "\n" + _item(dice, len(items) + 1)
        room -= length(written) + 1
        if room < 0:
            break
        items.append(written)
    body = head + "".join(items) + tail
    # A digit is always a token of its own, so the count is exact. Without a digit the two quotes would fuse.
    filler = max(1, size + 1 - length(f"{body}0{end}"))
    return body + "".join(str(digit % 10) for digit in range(filler)) + end


_AWKWARD = (
    'say "hi" \\ C:\\new\\table\t{"a": [1, "b\\n"]}\n\n</param\n</arg\n</｜DSML｜p\n<|"|\r\n'
    "\u2028é \u0007 👩🏽\u200d🚀 \\u00e9 </tool_call\n"
)
_NOTES = (
    '"}]}\n{"',
    "tab\tand \\ back",
    "日本語の文字列…",
    "👩‍👩‍👧‍👦 🇨🇦",
    "0, 0, 0, 0,",
    "  blanks  ",
    "it’s “fine”",
    "\u2028é",
)


def _item(dice: _Dice, number: int) -> str:
    """Return one of the items of a JSON document, indented."""
    item: dict[str, Any] = {
        "id": number,
        "name": f"{dice.of(_ADJECTIVES)} {dice.of(_NOUNS)}",
        "note": dice.of(_NOTES),
        "flags": [True, None, False],
        "values": [0, 0, 0, dice.below(100)],
        "nested": {"a": {"b": {}}},
    }
    lines = json.dumps(item, indent=2, ensure_ascii=False).split("\n")
    return "\n".join("    " + line for line in lines)
