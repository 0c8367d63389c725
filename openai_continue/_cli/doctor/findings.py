"""What the doctor finds out about an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """What the endpoint does. A field that could not be found out keeps its default; printed as JSON by ``--json``."""

    #: For each way of MARKS: "continues", "echoes" (continues after a copy), "restarts", "new turn", "refused",
    #: "failed" (an error that says nothing about the message) or "unknown" (the text fits several of these).
    marks: dict[str, str] = field(default_factory=dict[str, str])
    #: The same of a stream, marked in the best way.
    streamed: str | None = None
    #: Whether a stream begins with a copy of the message sent back.
    echoes_stream: bool | None = None
    #: Whether the chat template trims the end of the message sent back.
    trims: bool | None = None
    #: Where thoughts arrive: "none", "inline, as <think>" or "in the field ...".
    reasoning: str = "none"
    #: The field in which the text of a continued answer arrives. Known only for a model that thinks.
    answer_arrives_in: str | None = None
    #: The same of a stream.
    stream_arrives_in: str | None = None
    #: Whether thoughts that were cut go on by the chat (a key of thought_examination.ON). None: it was not asked.
    thoughts: str | None = None
    #: Whether ``on_reasoning_cut="answer"`` brings an answer (a key of thought_examination.ANSWER). None: not asked.
    answer_after_thoughts: str | None = None
    #: What ``/completions`` makes of the chat template (a key of template_examination.SAID). None: it was not asked.
    template: str | None = None
    #: Which answers that the token limit cut end in something else than "length": "none", "whole", "streamed", "both".
    hides_cuts: str | None = None
    #: Whether an answer that has ended says "length".
    claims_cuts: bool | None = None
    #: Tokens, as the server's error about too large a request names them.
    context_length: int | None = None
    #: Output tokens of a request without ``max_tokens``, counted up to MOST_BY_DEFAULT.
    default_tokens: int = 0
    #: Whether the server stopped that request at its own default limit.
    stops_at_default: bool = False
    #: Whether it stops there too if a request names more.
    is_cap: bool = False
    #: Whether answers report usage. Numbers that are all zero are none.
    reports_usage: bool | None = None
    #: Whether streams report usage unasked: "never", "all zero", "on the last chunk" or "on a chunk of its own".
    usage_in_streams: str = "never"
    #: Whether the server caches the beginning of a prompt. None also if the prompt was too short to say "no".
    caches_prefix: bool | None = None
    #: What becomes of a cut tool call (call_examination.py). None: it was not asked.
    tool_calls: str | None = None
    #: Output tokens and requests that the examination took.
    completion_tokens: int = 0
    requests: int = 0
    #: Type and status of each error.
    errors: list[str] = field(default_factory=list[str])

    @property
    def good_marks(self) -> list[str]:
        """The ways to mark a message that work, in the order of MARKS."""
        return [name for name, judged in self.marks.items() if judged in ("continues", "echoes")]

    @property
    def cannot_continue(self) -> bool:
        """Whether each way to mark a message was tried, and none works."""
        return bool(self.marks) and not set(self.marks.values()) & {"continues", "echoes", "failed", "unknown"}

    @property
    def misfiles(self) -> bool:
        """Whether the rest of an answer arrives as thoughts."""
        return self.answer_arrives_in not in (None, "content")

    @property
    def thinks_apart(self) -> bool:
        """Whether thoughts arrive in a field of their own."""
        return self.reasoning.startswith("in the field")
