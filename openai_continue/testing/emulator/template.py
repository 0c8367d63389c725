"""
The emulated chat template: what a prompt is made of the messages of a request, and what the user asks for in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from .chatml import content_text, opening
from .checks import Body, Refused
from .habits import Habits
from .thinking import THINK_END, is_off, is_opened, tags
from .tokens import count

_SIZE = re.compile(r"(\d[\d_,]*)\s*tokens")
_CALL = re.compile(
    r"(?P<then>then )?call the tool(?: (?!twice\b|with\b)(?P<name>[\w.-]*\w))?(?P<twice> twice)?"
    r"(?: with (?P<size>\d[\d_,]*)\s*tokens)?"
)


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it writes."""

    #: The conversation without the prefill, and the tools that it lists.
    messages: tuple[Body, ...]
    tools: tuple[Body, ...]
    #: All of the prompt, and how much of it comes before what the model writes.
    text: str
    opening: str
    #: The length of the prompt, in tokens.
    tokens: int
    #: The part of the answer at the end of the prompt.
    prefill: str = ""
    #: The thoughts before it, if the template reads them from a field.
    thought: str = ""
    #: What is in the prompt of the think block of an answer that is not continued.
    block: Literal["nothing", "opening", "all"] = "nothing"
    #: Where the prompt is from. ``"chat"``: the messages of a request. Else it is the text that a request has, in which
    #: the prefill has all that the model has written, tags too: ``"raw"``: a conversation in the form of the chat
    #: template. ``"text"``: any text, to which the model thinks nothing.
    source: Literal["chat", "raw", "text"] = "chat"
    #: The token ids that the request has in place of a text.
    ids: tuple[int, ...] | None = None

    @property
    def is_continued(self) -> bool:
        """Whether the model has to go on with a text."""
        return bool(self.prefill or self.thought)


def rendered(body: Body, habits: Habits) -> Prompt:
    """
    Return the prompt of a chat request. A trailing assistant message is its prefill, if the server takes it for one.

    Raises ``Refused`` if the template or the server would refuse the messages.
    """
    messages = tuple(cast("Sequence[Body]", body["messages"]))
    last, before = messages[-1], messages[:-1]
    whole = _fresh(body, messages, habits)
    if last.get("role") != "assistant" or last.get("tool_calls"):
        # With its flags set, vLLM leaves out the header of the answer, and the model goes on with the user's words.
        is_lost = habits.marker == "continue_final_message" and _is_flagged(body)
        return replace(whole, prefill="\0") if is_lost else whole
    if habits.refuses_prefill:
        msg = "This model does not support assistant message prefill. The conversation must end with a user message."
        raise Refused(msg, kind="invalid_request_error")
    if habits.ignores_prefill:
        return replace(whole, messages=before)
    return _continued(body, before, last, habits) if _is_marked(body, last, habits) else whole


def _fresh(body: Body, messages: tuple[Body, ...], habits: Habits) -> Prompt:
    """Return a prompt whose answer has not begun."""
    tools = tuple(cast("Sequence[Body]", body.get("tools") or ()))
    conversation, (opened, closed) = opening(messages, tools), tags(habits)
    block: Literal["nothing", "opening", "all"] = "opening" if is_opened(habits) else "nothing"
    if is_off(body, habits):
        block = "all"
    text = conversation + {"nothing": "", "opening": opened, "all": opened + closed}[block]
    return Prompt(messages, tools, text, conversation, length(text, habits), block=block)


def _continued(body: Body, before: tuple[Body, ...], last: Body, habits: Habits) -> Prompt:
    """Return a prompt that ends in the message ``last``."""
    prefill, thought = content_text(last), ""
    if habits.thinks and habits.template == "qwen3":
        thought = str(last.get("reasoning_content") or last.get("reasoning") or "")
    if habits.thinks and habits.template in {"raises", "glm"} and THINK_END in prefill:
        msg = (
            "continue_final_message is set but the final message does not appear in the chat after applying the "
            "chat template! This can happen if the chat template deletes portions of the final message. "
            f"Final message to continue: {prefill}"
        )
        raise Refused(msg)
    if habits.trims:
        prefill = prefill.rstrip()
    whole, (opened, closed) = _fresh(body, before, habits), tags(habits)
    if thought and not prefill and body.get("continue_final_message") is True:
        # The template closes the block to go on with the content.
        text = whole.opening + opened + thought + closed
        return replace(whole, text=text, tokens=length(text, habits), block="all")
    written = (opened + thought + (closed if prefill else "") if thought else "") + prefill
    text = whole.opening + written
    tokens = length(text, habits)
    return Prompt(before, whole.tools, text, whole.opening, tokens, prefill=prefill, thought=thought)


def length(text: str, habits: Habits) -> int:
    """Return the number of tokens of a prompt."""
    return count(text, byte_fallback=habits.cut_characters is not None)


def _is_marked(body: Body, last: Body, habits: Habits) -> bool:
    """Whether a trailing assistant message has what this server needs to take it for a prefill."""
    if habits.marker is None:
        return True
    marked = _is_flagged(body) if habits.marker == "continue_final_message" else bool(last.get(habits.marker))
    if not marked and habits.strict_marker:
        msg = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
        raise Refused(msg, kind="invalid_request_error")
    return marked


def _is_flagged(body: Body) -> bool:
    """Whether vLLM's two flags are set. Raises ``Refused`` if they contradict each other."""
    if not body.get("continue_final_message"):
        return False
    if body.get("add_generation_prompt", True):
        msg = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise Refused(msg)
    return True


@dataclass(frozen=True)
class CalledTools:
    """The tools that the user tells the model to call."""

    #: The function of each call.
    functions: tuple[Body, ...]
    #: Whether a text comes before the calls.
    is_after_text: bool
    #: How many tokens the long argument of each call has, or None if the user says no number.
    size: int | None


def called_tools(prompt: Prompt) -> CalledTools | None:
    """
    Return the tools that the model calls, or None.

    With ``tools``, the words "call the tool" in the user's last message make the model call the first tool; the words
    "then call the tool" make it write a text first. The name of a tool may follow, then "twice" for two calls, of this
    tool and of the next one, and then "with 3000 tokens".
    """
    asked = _CALL.search(last_user_text(prompt.messages))
    if not prompt.tools or asked is None or prompt.messages[-1].get("role") == "tool":
        return None
    tools = [cast("Body", tool["function"]) for tool in prompt.tools]
    first = next((at for at, tool in enumerate(tools) if tool["name"] == asked["name"]), 0)
    functions = [tools[first], tools[(first + 1) % len(tools)]] if asked["twice"] else [tools[first]]
    size = int(re.sub(r"\D", "", asked["size"])) if asked["size"] else None
    return CalledTools(tuple(functions), bool(asked["then"]), size)


def wished_tokens(messages: Sequence[Body]) -> int | None:
    """Return the length that the user's last message asks the text to have, in tokens, or None if it names none."""
    asked = _SIZE.search(_CALL.sub("", last_user_text(messages)))
    return int(re.sub(r"\D", "", asked[1])) if asked else None


def wants_json(body: Body) -> bool:
    """Whether the request constrains the answer to a grammar."""
    wanted: Any = body.get("response_format")
    return isinstance(wanted, Mapping) and cast("Body", wanted).get("type") in {"json_object", "json_schema", "regex"}


def last_user_text(messages: Sequence[Body]) -> str:
    """Return the text of the user's last message, or "" if there is none."""
    return next((content_text(message) for message in reversed(messages) if message.get("role") == "user"), "")
