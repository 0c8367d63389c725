"""What the number of tokens in a round's prompt shows: whether the server goes on from what it was sent."""

from __future__ import annotations

from . import restart
from .choice import Choice
from .seam import Stopped

# Characters of a token, roughly, of thoughts whose tokens the server does not count.
_TOKEN = 8
# A prompt may have one token more than it had as a chat, if its end is split into other tokens.
_MORE = 1
# Fewer: a character that was cut, or blanks before the answer that a parser left out (llama-server); the end that one
# left out, a tag and the whitespace beside it, or the beginning of a call with the name of its tool.
_CUT, _TAG, _CALL = 6, 12, 40
# Samples have tokens that a tokenizer would not choose: of so many one is missing when the text is read again.
_RARE = 50
# More, if the thoughts are closed: the tag and the newlines around it.
_CLOSING = 6


def check_prompt(choice: Choice, tokens: int, *, reads_calls: bool) -> None:
    """
    Refuse the first continuation if the tokens of its prompt show that the server did not go on from the text.

    ``reads_calls``: whether the server reads tool calls, so that it may have left out the beginning of one.
    """
    if choice.joined or choice.stopped is not None or choice.context is None or not choice.is_counted:
        return
    if choice.calling and choice.turn is not None and choice.turn.is_ahead:
        return
    seam, closes = choice.current.seam, choice.closes_thoughts
    if choice.is_raw:
        least = _CALL if reads_calls else _TAG if choice.thinking or closes else _CUT
        least = min(least, _most_left_out(choice, seam.held))
        if not _is_same_prompt(tokens, choice.context, choice.last_used, held=seam.held, least=least, closes=closes):
            choice.current.refuse_round(Stopped.WRONG_PROMPT)
    elif not closes and restart.opens_turn(tokens, choice.context, held=seam.held):
        choice.current.suspect_turn()
    elif seam.with_thoughts:
        missing = choice.context - tokens
        if missing > max(len(choice.thoughts_text) // _TOKEN, 8):
            choice.current.refuse_round(Stopped.WITHOUT_THOUGHTS)


def _most_left_out(choice: Choice, held: str) -> int:
    """
    Return how many tokens a server may have left out before the running round: it begins with them.

    Half a character, a tag and a call are several tokens, a blank is one. Blanks before thoughts and an answer are not
    written again. ``held``: what was held back, and comes first. While a round has brought no more than that and
    whitespace, it is not known.
    """
    opening = choice.raw_opening
    rest = "" if held.startswith(opening) else opening.removeprefix(held)
    new = rest.lstrip()[:1]
    if not new or not new.isascii() or new in "<[{":
        return _CALL
    if choice.thoughts is not None:
        return 2
    return (2 if rest[0] == "\n" else 1) if choice.loses_blanks else 0


def _is_same_prompt(  # noqa: PLR0913
    tokens: int, before: int, written: int, *, held: str, least: int, closes: bool
) -> bool:
    """
    Whether a raw prompt of ``tokens`` tokens is the prompt and the answer after the round before it.

    ``before``: the tokens of these two; ``written``: those of the answer. ``held``: the end of the answer that was not
    sent, of which each byte may have been a token; ``least``: how many may be missing in any case. ``closes``: whether
    a closing tag was sent after it.
    """
    fewer = len(held.encode("utf-8", "replace")) + least + written // _RARE
    return before - fewer <= tokens <= before + (_CLOSING if closes else _MORE)
