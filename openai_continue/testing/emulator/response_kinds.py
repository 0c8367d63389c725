"""
How servers differ on ``/responses``, as data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

ResponseKindName: TypeAlias = Literal["deepinfra", "vllm", "llama.cpp", "ollama", "sglang", "openai"]


@dataclass(frozen=True)
class ResponseKind:
    """How one kind of server answers on ``/responses``."""

    #: What makes the last item of the input the beginning of the answer. ``"status"``: its status ``"in_progress"`` or
    #: ``"incomplete"``. ``"flag"``: ``continue_final_message`` in the body, if the item is an assistant message.
    #: ``"always"``: nothing is needed. None: nothing does; the server begins a new turn.
    continues: Literal["status", "flag", "always"] | None

    #: What says that the token limit has cut an answer. ``"items"``: the status of the response and of its last item,
    #: and the name of the last event, ``response.incomplete``. ``"response"``: only the status of the response; the
    #: last event is ``response.completed``. None: nothing; each status is ``"completed"``.
    tells_cut: Literal["items", "response"] | None

    #: What becomes of ``previous_response_id``. ``"found"``: the server stores responses; 404 for an unknown one.
    #: ``"unknown"``: it stores none, so each one is a 404. ``"refused"``: a 400. ``"ignored"``: nothing.
    previous: Literal["found", "unknown", "refused", "ignored"]

    #: The fields of a request that have no effect.
    ignores: frozenset[str] = frozenset()

    #: Where thoughts are in a reasoning item. ``"reasoning"``: in its content. ``"summary"``: in its summary, and in
    #: ``encrypted_content``, the only place that is read of an item that comes back.
    thoughts: Literal["reasoning", "summary"] = "reasoning"

    #: Whether ``max_output_tokens`` in the response is the limit that held, and not the number asked for.
    shows_limit: bool = False

    #: ``Habits.overflow`` on this endpoint if the user of the emulator names none.
    overflow: Literal["clamp"] | None = None

    #: Whether only the first part of a message of the assistant is read.
    reads_one_part: bool = False

    #: Whether logprobs that were not asked for are null, and not an empty list.
    null_logprobs: bool = False

    #: Whether ``background`` is a 400.
    refuses_background: bool = False

    #: Whether events have no indexes and numbers, each end of an item comes at the end of the stream, the parsers
    #: repeat the beginning of the answer, items are read strictly, and any token limit is clamped.
    is_llama: bool = False


#: The key is ``Habits.responses``.
KINDS: Mapping[ResponseKindName, ResponseKind] = {
    # By its OpenAPI schema. Nobody has run it.
    "deepinfra": ResponseKind("flag", "items", "unknown", frozenset({"stop", "seed"})),
    # Version 0.32, run. It stores responses only if an environment variable says so.
    "vllm": ResponseKind(
        "status",
        "response",
        "unknown",
        shows_limit=True,
        overflow="clamp",
        reads_one_part=True,
        null_logprobs=True,
        refuses_background=True,
    ),
    # llama-server of llama-cpp-python 0.3.36, run.
    "llama.cpp": ResponseKind("always", None, "refused", frozenset({"text"}), overflow="clamp", is_llama=True),
    # Its source, openai/responses.go. Calls come as ``Habits`` says, and not in one piece.
    "ollama": ResponseKind("always", None, "ignored", frozenset({"stop", "seed", "include"}), "summary"),
    # Its source, early 2026.
    "sglang": ResponseKind(None, None, "found"),
    # Its documentation, and the specification of Open Responses.
    "openai": ResponseKind(None, "items", "found", frozenset({"stop", "seed"})),
}
