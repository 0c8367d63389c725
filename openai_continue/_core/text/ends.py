"""Where an answer may end, by its text."""

from __future__ import annotations

import re
import unicodedata

# The line of a list, a quote or a heading that has only its mark; and the line that opens or closes a block of code.
_MARKER = re.compile(r"\n[ \t]*(?:[-*+#>]+|\d+[.)])\Z")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
# What something must follow, in any line; and in the same line.
_OPEN_ENDS = ",:;([{<\\"
_OPEN_SIGNS = "-\u2013\u2014/=+&@#$^_~"


def may_end(text: str) -> bool:
    """Whether an answer may end with this text: not within a word, a sentence, a list or a block of code."""
    bare = text.rstrip()
    if not bare or _MARKER.search(bare) or len(_FENCE.findall(bare)) % 2:
        return False
    last = bare[-1]
    if "\n" in text[len(bare) :]:
        return last not in _OPEN_ENDS
    return unicodedata.category(last)[0] not in "LNM" and last not in _OPEN_ENDS + _OPEN_SIGNS
