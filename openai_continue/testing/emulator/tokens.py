"""
The emulated tokenizer. A token is some bytes of UTF-8.

The pattern follows the pre-tokenizer of Qwen2 and Llama 3
(https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json): newlines fuse with the punctuation before them, and a
blank belongs to the word after it. This is what makes seams difficult. No part of the pattern looks back, so a cut at a
token boundary never changes the tokens after it.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

# Han, kana, hangul: scripts without blanks. A vocabulary has only short runs of them.
_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
# Symbols, joiners and variation selectors: the parts of emoji.
_SYMBOL = "\u200d\u20e3\u2600-\u27bf\ufe0f\U00010000-\U0010ffff"
# The special tokens of messages, thoughts and tool calls: each is one token in the vocabulary of its family.
_SPECIAL = r"""(?:<(?:/?(?:think|tool_call|arg_key|arg_value|minimax:tool_call)|\|[a-z_]+\||\|"\||\|tool_call
    |tool_call\||｜tool▁[a-z▁]+｜|escape|(?:start|end)_function_call)>|｜DSML｜)"""

_TOKEN = re.compile(
    rf"""
      {_SPECIAL}
    | [{_SYMBOL}]
    | '(?i:s|t|re|ve|m|ll|d)
    | [{_DENSE}]{{1,2}}
    | (?:[^\r\n\w{_SYMBOL}]|_)?(?:(?![{_DENSE}{_SYMBOL}])[^\W\d_]){{1,6}}
    | \d
    | [ ]?(?:(?![{_SYMBOL}]|{_SPECIAL})(?:[^\s\w]|_)){{1,8}}[\r\n]*
    | \s*[\r\n]+
    | \s+(?!\S)
    | \s+
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def tokenize(text: str, *, byte_fallback: bool = False) -> tuple[bytes, ...]:
    """
    Return the tokens of a text. Joined, they are the text in UTF-8.

    Each token is whole characters. With ``byte_fallback``, rare characters (all beyond the BMP, and every third Han
    character) take two or three tokens, as in a vocabulary without them.
    """
    pieces: list[str] = _TOKEN.findall(text)
    if not byte_fallback:
        # A JSON string can contain lone surrogates, so a prompt can too.
        return tuple(piece.encode("utf-8", "surrogatepass") for piece in pieces)
    tokens: list[bytes] = []
    for piece in pieces:
        tokens.extend(_spell(piece))
    return tuple(tokens)


def _spell(piece: str) -> list[bytes]:
    """Return the tokens of a piece that may contain rare characters."""
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
def count(text: str, *, byte_fallback: bool = False) -> int:
    """Return the number of tokens of a text."""
    if byte_fallback:
        return len(tokenize(text, byte_fallback=True))
    return sum(1 for _ in _TOKEN.finditer(text))


@lru_cache(maxsize=256)
def shown(tokens: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return the text that each token completes: "" if the token ends inside a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    return tuple(decoder.decode(token) for token in tokens)


def following(before: str, text: str, *, byte_fallback: bool = False) -> tuple[bytes, ...]:
    """
    Return the tokens of a text that the model goes on with after ``before``.

    They are those of the two texts together, if the cut is between two tokens.
    """
    left = len(before.encode("utf-8", "surrogatepass"))
    whole = tokenize(before + text, byte_fallback=byte_fallback) if left else ()
    for at, token in enumerate(whole):
        if left <= 0:
            return whole[at:] if left == 0 else tokenize(text, byte_fallback=byte_fallback)
        left -= len(token)
    return () if whole and left == 0 else tokenize(text, byte_fallback=byte_fallback)
