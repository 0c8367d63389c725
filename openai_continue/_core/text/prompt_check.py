"""What the number of tokens in a round's prompt shows: whether the server has read what it was sent."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..choice import Choice
from ..json import as_object
from ..plan import Source
from ..usage import Counts
from .reasoning import OPEN
from .seam import Stopped, start_of

# Characters of a token, roughly, of thoughts whose tokens the server does not count.
_TOKEN = 8
# A prompt may have one token more than it had as a chat, if its end is split into other tokens.
_MORE = 1
# Fewer: a character that was cut, or blanks before the answer that a parser left out (llama-server); the end that one
# left out, a tag and the whitespace beside it, or the beginning of a call with the name of its tool.
_CUT, _TAG, _CALL = 6, 12, 40
# Samples have tokens that a tokenizer would not choose: of so many one is missing when the text is read again.
_RARE = 50
# Contexts of fewer tokens are nobody's; such counts are made up.
_LEAST_CONTEXT = 64
# How many tokens fewer a prompt may have than a server's own counts say, and the share that it has by a gateway's.
_OWN, _SHARE = 4, 0.9
# A smaller share of what was sent is the part that was not in the server's cache.
_CACHED = 4
# Words in the names of tokens that were not read from a cache.
_NOT_READ = ("miss", "write", "creat")
# Bytes of a token, at most, of text of more words than that.
_MOST_BYTES = 8
# More, if the thoughts are closed: the tag and the newlines around it.
_CLOSING = 6


def check_prompt(choice: Choice, usage: Mapping[str, Any]) -> None:
    """Refuse a continuation if the tokens of its prompt show that the server did not go on from the text."""
    tokens = usage.get("prompt_tokens")
    if choice.stopped is not None or not isinstance(tokens, int) or tokens <= 0:
        return
    if _is_short(choice, tokens, usage):
        choice.current.refuse_round(Stopped.SHORT_PROMPT)
        return
    surplus = None
    if not choice.joined and choice.tally.context is not None and choice.tally.is_counted:
        surplus = _check_first(choice, tokens, choice.tally.context)
    choice.current.take_count(surplus)


def _check_first(choice: Choice, tokens: int, context: int) -> int | None:
    """
    Check the prompt of the first continuation.

    Return by how many tokens it is too long, or None if that says nothing of a new turn.
    """
    if choice.plan.source is Source.CALL and choice.turn is not None and choice.turn.is_ahead:
        return None
    seam, source = choice.current.seam, choice.plan.source
    closes = source is Source.AFTER_REASONING
    if choice.plan.is_raw:
        if not _is_same_prompt(choice, tokens, context):
            choice.current.refuse_round(Stopped.WRONG_PROMPT)
        return None
    if seam.with_thoughts and context - tokens > max(len(choice.thoughts_text) // _TOKEN, 8):
        choice.current.refuse_round(Stopped.WITHOUT_THOUGHTS)
        return None
    # What was held back is a token at least. To guess more would make new turns of tails that have fewer.
    return tokens - context + bool(seam.held) if choice.tally.counts.is_own and not closes else None


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
    loses_blanks = choice.provider.strips_thoughts is not False
    return (2 if rest[0] == "\n" else 1) if loses_blanks else 0


def _is_same_prompt(choice: Choice, tokens: int, before: int) -> bool:
    """
    Whether a raw prompt of ``tokens`` tokens is the prompt and the answer after the round before it.

    ``before``: the tokens of these two. Of the end of the answer that was not sent, each byte may have been a token.
    """
    source, held = choice.plan.source, choice.current.seam.held
    # The server may have left out the beginning of a call that it reads. A closing tag was sent after what it has.
    closes = source is Source.AFTER_REASONING
    least = _CALL if choice.plan.reads_calls else _TAG if source is Source.REASONING or closes else _CUT
    least = min(least, _most_left_out(choice, held))
    fewer = len(held.encode("utf-8", "replace")) + least + choice.tally.last_used // _RARE
    return before - fewer <= tokens <= before + (_CLOSING if closes else _MORE)


# Prompts that did not fit.


def short_prompts(choice: Choice, messages: Sequence[Any], *, exact: bool, held: str) -> ShortPrompts:
    """
    Return the counts of tokens that show that the server has not read all of the prompt of a chat.

    ``exact``: whether the server, which may leave out its beginning, counts by its own tokenizer. ``held``: the end of
    the answer that is not sent.
    """
    last, counts = _text_of(messages[-1]), choice.tally.counts
    if choice.tally.context is None or _has_thought(choice):
        # Thoughts are in some of the prompts, and not in others.
        return ShortPrompts(_least_tokens("\n".join(map(_text_of, messages))) if exact else 0, last)
    if choice.tally.context < _LEAST_CONTEXT or counts.prompt is None:
        return ShortPrompts(0, last)
    if exact and choice.tally.is_counted:
        return ShortPrompts(choice.tally.context - len(held) - _OWN, last)
    # The last prompt, and what was written after it. Gateways count both by other tokenizers.
    return ShortPrompts(int(_SHARE * (counts.prompt + counts.used)), last, counts)


@dataclass(frozen=True, slots=True, repr=False)
class ShortPrompts(Container[int]):
    """
    Counts of tokens that show that the server has not read all of a prompt.

    Words are counted only for a count that may be one of them: that takes long, and nearly every prompt is read.
    """

    #: The fewest tokens that the prompt has if the server reads all of it, or a number above; 0: that is not known.
    most: int
    #: The last message. It is always read, so fewer tokens are those that were not in the server's cache.
    last: str
    #: What the round before shows, if the words of its text must be counted to know the fewest.
    counts: Counts | None = None

    def __bool__(self) -> bool:
        """Whether there is any such count."""
        return self.most > 0

    def __contains__(self, tokens: object) -> bool:
        """Whether this count is one of them."""
        if not isinstance(tokens, int) or tokens >= self.most:
            return False
        least, counts = self.most, self.counts
        if counts is not None and counts.prompt is not None:
            least = int(_SHARE * (counts.prompt + min(counts.used, _least_tokens(counts.text))))
        return min(least // _CACHED, _least_tokens(self.last)) <= tokens < least


def _least_tokens(text: str) -> int:
    """Return the fewest tokens that any server counts for a text: one for each word, or for eight bytes of it."""
    return min(len(text.split()), len(text.encode("utf-8", "replace")) // _MOST_BYTES)


def _is_short(choice: Choice, tokens: int, usage: Mapping[str, Any]) -> bool:
    """Whether the server has not read all of a prompt that has ``tokens``. Made-up counts are the same each time."""
    return tokens != choice.tally.counts.prompt and tokens + _cached(usage) in choice.current.seam.short


def _cached(usage: Mapping[str, Any]) -> int:
    """Return the tokens of the prompt that were in the server's cache, by whatever name it has; 0 if it says none."""
    found = [0]
    for name, value in usage.items():
        inner = as_object(value)
        if inner is not None:
            found.append(_cached(inner))
        elif isinstance(value, int) and "cache" in name and not any(word in name for word in _NOT_READ):
            found.append(value)
    return max(found)


def _text_of(message: Any) -> str:
    content = (as_object(message) or {}).get("content")
    parts = cast("list[Any]", content) if isinstance(content, list) else [{"text": content}]
    return "\n".join(str((as_object(part) or {}).get("text") or "") for part in parts)


def _has_thought(choice: Choice) -> bool:
    """Whether the model thought before the answer."""
    return choice.thoughts is not None or choice.answer.text.startswith(OPEN, start_of(choice.answer.text))
