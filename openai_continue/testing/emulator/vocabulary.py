"""
The ids of the emulated tokens. An id is a number with the bytes of its token, so it is the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .checks import Refused

#: The token that ends a message.
END = b"<|im_end|>"
# The first byte of each id keeps the zeros at the beginning of its token.
_MARK = b"\x01"


def ids_of(tokens: Iterable[bytes]) -> list[int]:
    """Return the ids of tokens."""
    return [int.from_bytes(_MARK + token, "big") for token in tokens]


def decoded(ids: Sequence[int]) -> str:
    """Return the text of ids. Raises ``Refused`` if no text has these tokens."""
    try:
        return b"".join(map(_token, ids)).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        msg = "The token ids of the prompt are no UTF-8 together."
        raise Refused(msg, param="prompt") from None


def _token(number: int) -> bytes:
    marked = number.to_bytes((max(0, number).bit_length() + 7) // 8, "big") if number > 0 else b""
    if marked[:1] != _MARK or len(marked) == 1:
        msg = f"Token id {number} is out of vocabulary"
        raise Refused(msg, param="prompt")
    return marked[1:]
