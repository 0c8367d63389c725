"""
The emulated tokenizer: text to tokens, each token being some bytes of UTF-8.

The pattern follows the pre-tokenizer of Qwen2 and Llama 3 (https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json),
so newlines fuse with the punctuation before them and a blank belongs to the word behind it: what makes seams hard.
No alternative looks behind itself, so cutting at a token boundary never changes the tokens that follow.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

# Han, kana, hangul: scripts without blanks, of which a vocabulary holds short runs only.
_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
# Symbols, joiners and variation selectors that emoji are built of.
_SYMBOL = "\u200d\u20e3\u2600-\u27bf\ufe0f\U00010000-\U0010ffff"

_TOKEN = re.compile(
    rf"""
      </?think>                                       # a special token of reasoning models
    | [{_SYMBOL}]
    | '(?i:s|t|re|ve|m|ll|d)
    | [{_DENSE}]{{1,2}}
    | (?:[^\r\n\w{_SYMBOL}]|_)?(?:(?![{_DENSE}{_SYMBOL}])[^\W\d_]){{1,6}}
    | \d
    | [ ]?(?:(?![{_SYMBOL}])(?:[^\s\w]|_)){{1,8}}[\r\n]*
    | \s*[\r\n]+
    | \s+(?!\S)
    | \s+
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def tokenize(text: str, *, byte_fallback: bool = False) -> tuple[bytes, ...]:
    """
    Split text into tokens; together they are the text in UTF-8.

    Every token is whole characters, unless `byte_fallback` spells rare ones (all beyond the BMP, every third Han
    character) in two or three tokens, as a vocabulary does that lacks them.
    """
    pieces: list[str] = _TOKEN.findall(text)
    if not byte_fallback:
        # Lone surrogates can stand in a JSON string, and so in a prompt.
        return tuple(piece.encode("utf-8", "surrogatepass") for piece in pieces)
    tokens: list[bytes] = []
    for piece in pieces:
        tokens.extend(_spell(piece))
    return tuple(tokens)


def _spell(piece: str) -> list[bytes]:
    """Split a piece at its rare characters, and those into bytes."""
    if not any(map(_is_rare, piece)):
        return [piece.encode("utf-8", "surrogatepass")]
    tokens: list[bytes] = []
    common = ""
    for character in piece:
        if not _is_rare(character):
            common += character
            continue
        if common:
            tokens.append(common.encode("utf-8", "surrogatepass"))
            common = ""
        code = character.encode()
        tokens += [code[:2], code[2:3], code[3:]] if len(code) == 4 else [code[:2], code[2:]]
    if common:
        tokens.append(common.encode("utf-8", "surrogatepass"))
    return tokens


def _is_rare(character: str) -> bool:
    return character > "\uffff" or ("\u4e00" <= character <= "\u9fff" and ord(character) % 3 == 0)


@lru_cache(maxsize=512)
def count(text: str) -> int:
    """Count the tokens of a text."""
    return sum(1 for _ in _TOKEN.finditer(text))


@lru_cache(maxsize=256)
def shown(tokens: tuple[bytes, ...]) -> tuple[str, ...]:
    """Give the text that each token completes: "" for one that ends inside a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    return tuple(decoder.decode(token) for token in tokens)
