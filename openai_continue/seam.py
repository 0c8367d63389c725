"""
Where two rounds meet: what is sent back of the text so far, and how much of the new text is a copy of it.

Tokenizers fuse punctuation and the newlines behind it, and put a blank in front of the word it belongs to. So a
partial answer goes back with its newlines and without its trailing blanks; the model writes the blanks again, and one
copy is kept. Where the server's template trims the message, all trailing whitespace is treated as those blanks.
"""

from __future__ import annotations

from collections.abc import Sequence

CUT_CHARACTER = "\ufffd"
_BLANKS = " \t"


def without_cut_character(text: str) -> str:
    """Drop the U+FFFD (three at most, one a byte) that a server writes for a character that the cap cut."""
    bare = text[-3:].rstrip(CUT_CHARACTER)
    return text[: max(len(text) - 3, 0)] + bare


def held_back(text: str, *, trims: bool) -> str:
    """Return the end of the text that is not sent back; never the whole text."""
    bare = text.rstrip() if trims else text.rstrip(_BLANKS)
    return text[len(bare) :] if bare else ""


def copied(new: str, held: str, *, trims: bool, ended: bool) -> int | None:
    """
    Return how many leading characters of a round repeat what was held back.

    None: too little has come to tell. The new whitespace stands where it extends the old; else the old stands.
    """
    if not held:
        return 0
    if new.startswith(held):
        return len(held)
    rest = new.lstrip() if trims else new.lstrip(_BLANKS)
    if not rest and not ended:
        return None
    return len(new) - len(rest)


def ends_in_half(text: str, stops: Sequence[str]) -> bool:
    """Tell whether the text ends in the beginning of a stop string."""
    return any(text.endswith(stop[:length]) for stop in stops for length in range(1, len(stop)))


def straddling_stop(before: str, new: str, stops: Sequence[str]) -> int | None:
    """
    Return how many characters of ``before`` remain, where a stop string begins in it and ends in ``new``.

    Engines match stop strings on the text of one request alone; no engine sees these.
    """
    found: list[int] = []
    for stop in stops:
        start = max(len(before) - len(stop) + 1, 0)
        place = (before[start:] + new[: len(stop) - 1]).find(stop)
        if place >= 0:
            found.append(start + place)
    return min(found, default=None)
