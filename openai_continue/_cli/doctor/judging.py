"""What an answer shows of a server, by comparing texts. It sends nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..._core.json import Json
from ..._core.text.reasoning import CLOSE, OPEN, Inline
from ..._tables.call_syntaxes import CallSyntax
from .endpoint import TOKENS, Continued, Reply


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that was cut in its thoughts, and the thoughts that would have followed; "" if that is not known."""

    reply: Reply
    rest: str

    @classmethod
    def of(cls, reply: Reply, whole: str) -> Cut | None:
        """Return an answer that was cut in its thoughts, else None. ``whole``: the thoughts of a longer answer."""
        if reply.finish_reason != "length" or reply.content.strip() or not reply.thoughts.strip():
            return None
        begun = reply.thoughts.strip()
        return cls(reply, whole[len(begun) :].strip() if whole.startswith(begun) else "")


def cut_off(message: Json) -> Json:
    """Return a completion of this message that the token limit ended."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "length"}
    return {"id": "cut", "object": "chat.completion", "created": 0, "model": "cut", "choices": [choice]}


def cut_response(text: str) -> Json:
    """Return a response of this text that the token limit ended."""
    part: Json = {"type": "output_text", "text": text, "annotations": []}
    item: Json = {"id": "msg_cut", "type": "message", "role": "assistant", "status": "incomplete", "content": [part]}
    ended = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return {"id": "resp_cut", "object": "response", "created_at": 0, "model": "cut", **ended, "output": [item]}


def answer_of(reply: Reply) -> str:
    """Return the text of an answer that is sent back: the content without a think block in it, or the thoughts."""
    return Inline.of(reply.content).answer or reply.text


def hides_cut(longer: Reply, shorter: Reply) -> bool:
    """Whether the shorter of two answers was cut and does not say so: the longer one goes on after it."""
    long, short = ((one.thoughts + one.content).strip() for one in (longer, shorter))
    is_cut = bool(short) and long.startswith(short) and len(long) > len(short)
    return is_cut and shorter.finish_reason != "length"


def beginning_of(whole: str) -> str:
    """Return about two thirds of a text, up to the end of a word: a tokenizer splits half a word in its own way."""
    cut = whole[: max(2 * len(whole) // 3, 1)]
    place = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:place] if place > len(cut) // 2 else cut).rstrip()


def judge_mark(call: Continued, cut: str, whole: str, begun: str) -> str:
    """Return what the server did with a text sent back in one way. See compare."""
    if not call.last:
        return "unknown" if call.outcome == "no way" else call.outcome
    said = compare(cut, whole, begun, call.last.text)
    # Of a new turn the library judges too. An answer that a parser files as thoughts looks like one to it.
    is_new = said == "continues" and bool(call.last.content) and call.stopped_by == "restart"
    return "new turn" if is_new else said


def compare(cut: str, whole: str, begun: str, reply: str) -> str:
    """
    Return what the server did with a text sent back: "continues", "echoes", "restarts", "new turn" or "unknown".

    ``cut`` was sent back, ``whole`` is the answer that it was cut from, ``begun`` is the same answer once more, with as
    many tokens as the reply has, ``reply`` is the new text.
    """
    whole, begun, fresh = whole.strip(), begun.strip(), reply.strip()
    if not fresh:
        return "new turn"
    if fresh.startswith(cut.strip()):
        # The answer begun again may be so long only if it is a short one. Then nothing shows which of the two it is.
        return "unknown" if begun.startswith(fresh) else "echoes"
    continues, restarts = agree(whole[len(cut.strip()) :].strip(), fresh), agree(whole, fresh)
    if continues and restarts:
        return "unknown"
    return "continues" if continues else "restarts" if restarts else "new turn"


def good(marks: Mapping[str, str]) -> list[str]:
    """Return the ways to mark a message that work, in the order of their table."""
    return [name for name, judged in marks.items() if judged in ("continues", "echoes")]


def find_new_turns(marks: dict[str, str], replies: Mapping[str, Reply]) -> None:
    """
    Tell a new turn from a continuation by the tokens of the prompt.

    A model may go on in a new turn, too: the end of the turn and the head of the next one are in the prompt then.
    """
    counts = {name: replies[name].prompt_tokens for name in good(marks)}
    least = min(filter(None, counts.values()), default=0)
    for name, count in counts.items():
        if count > least + 1 > 1:
            marks[name] = "new turn"


def judge_thoughts(call: Continued, cut: Cut, *, is_raw: bool) -> str:
    """Return what became of thoughts that were cut. ``is_raw``: whether they were to go on at ``/completions``."""
    if call.outcome != "sent":
        return call.outcome
    fresh = call.reply.thoughts[len(cut.reply.thoughts.rstrip()) :] if call.is_raw is is_raw else ""
    judged = judge(cut.rest, fresh)
    return "differs" if judged == "continues" and OPEN in call.reply.content else judged


def judge(rest: str, fresh: str) -> str:
    """
    Return whether a cut answer went on: a result of PROBES.

    ``rest``: the text that a longer answer has after the cut, or "" if unknown. ``fresh``: the text that came.
    """
    if not fresh.strip():
        return "not continued"
    if not rest.strip():
        return "unknown"
    return "continues" if agree(rest.strip(), fresh.strip()) else "differs"


def agree(one: str, other: str) -> bool:
    """Whether two texts begin alike, as far as both go and up to a few words."""
    length = min(len(one), len(other), 12)
    return length > 0 and one[:length].strip() == other[:length].strip()


def reasoning_form(reply: Reply) -> str:
    if reply.thoughts_in is not None:
        return f"in the field {reply.thoughts_in}"
    return "inline, as <think>" if OPEN in reply.content or CLOSE in reply.content else "none"


def call_in(completion: Json) -> tuple[str, bool]:
    """Return the arguments of a call, or the content that shows it as text, and whether it is a call."""
    message: Json = completion["choices"][0]["message"]
    calls: list[Json] = message.get("tool_calls") or []
    if calls:
        return str(calls[-1].get("function", {}).get("arguments") or ""), True
    return str(message.get("content") or ""), False


def cut_call(whole: Json) -> Json | None:
    """Return an answer whose call is cut at two thirds, at the end of a word; None if there is not enough to cut."""
    text, is_call = call_in(whole)
    end = 2 * len(text) // 3
    while end and not text[end - 1].isalnum():
        end -= 1
    if end < 2 * TOKENS // 3:
        return None
    message: Json = copy.deepcopy(whole["choices"][0]["message"])
    if is_call:
        message["tool_calls"][-1]["function"]["arguments"] = text[:end]
    else:
        message["content"] = text[:end]
    return cut_off(message)


def opens_call(text: str, syntax: CallSyntax) -> bool:
    """Whether a text has the mark that opens a call."""
    mark, _, _ = (syntax.opens or syntax.head).strip().partition("{")
    return mark.partition("\n")[0] in text if mark else text.lstrip().startswith("{")


def is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True
