"""Characters that a token limit cut in half: U+FFFD in their place, or their first bytes."""

from __future__ import annotations

#: What servers write for bytes that are no whole character.
CUT_CHARACTER = "\ufffd"
#: Most of them for one character.
MOST_CUT = 3


def paired(text: str) -> str:
    """Return the text with the halves of a character outside the basic plane, which came apart, made one."""
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def has_lone_surrogates(text: str) -> bool:
    """Whether the text has halves of characters that no other half follows."""
    return has_surrogates(text) and has_surrogates(paired(text))


def ends_in_surrogate(text: str) -> bool:
    """Whether the text ends in the first half of a surrogate pair."""
    return "\ud800" <= text[-1:] <= "\udbff"


def has_surrogates(text: str) -> bool:
    """Whether the text has halves of characters, which may belong together."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def half_character(written: bytes) -> bytes:
    """Return the UTF-8 bytes at the end that begin a character and do not complete it."""
    for length in range(1, min(len(written), 3) + 1):
        tail = written[-length:]
        if tail[0] < 0x80:
            return b""
        if tail[0] >= 0xC0:
            return tail if length < (2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4) else b""
    return b""


def without_cut_character(text: str) -> str:
    """Return the text without the U+FFFD (one to three), or half surrogate pair, at its end of a cut character."""
    if ends_in_surrogate(text):
        return text[:-1]
    if not text.endswith(CUT_CHARACTER):
        return text
    bare = text[-MOST_CUT:].rstrip(CUT_CHARACTER)
    return text[: max(len(text) - MOST_CUT, 0)] + bare
