"""The questions to an endpoint about one model: what is found out, and what each result means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...switches import VARIABLE
from .endpoint import Spent
from .judging import good

#: What an examination costs.
COST = "up to 1,600 output tokens and about 2,500 input tokens in 12 to 28 requests"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a result means, and what to do about it."""

    #: What is in braces is filled in; ``{set}`` is the setting, as code and as a variable.
    sentence: str
    #: The field of Continuation to set, or ""; and its value.
    setting: str = ""
    value: Any = True


_MISFILES = "The server's parser files the rest of an answer as thoughts (in {field})"
ASKS_TEMPLATE = "openai-continue doctor --template auto (or a file) asks that"
_IS_OWN = "The chat template makes the server's own prompt"
_UNSET = f"Leave {VARIABLE}_TEMPLATE unset."
_BY_CHAT = "Let your framework ask for chat completions."
_CUT_END = "Thoughts that are cut end the answer:"
#: By the field of Findings that has a result, or that it is made from: what each result means, in the order of the
#: advice. The comments say what is asked.
PROBES: dict[str, dict[str, Meaning]] = {
    # An answer that max_tokens has cut, whole and streamed.
    "hides_cuts": {
        "both": Meaning(
            "{what} that max_tokens has cut do not end in 'length' here, so nobody can see that they were cut, and "
            f"{VARIABLE}=1 leaves them as they are: name a larger max_tokens in the request."
        ),
        "whole": Meaning(
            "Whole answers that were cut do not end in 'length' here, but streams do: set {set}, which makes whole "
            "answers of streams.",
            "stream_rounds",
        ),
        "streamed": Meaning(
            "Streams that were cut do not end in 'length' here, but whole answers do: leave out stream=True where "
            "answers are long."
        ),
    },
    # A short answer, which ends by itself.
    "claims_cuts": {
        "yes": Meaning(
            "Answers that have ended by themselves say 'length' here. Each of them costs one more request, which may "
            'add text to it: switch calls with short answers off, with extra_body={{"continuation": False}}.'
        )
    },
    # Two thirds of an answer sent back, in each way of MARKS.
    "marks": {
        "continues": Meaning(
            f"{{host}} is in no row of the provider table, so {VARIABLE}=1 alone leaves its answers as they are: set "
            f"{VARIABLE}_PROVIDER={{row}} too, or provider={{row!r}} in the code.",
            "provider",
        ),
        "refused": Meaning("it refuses the text sent back"),
        "new turn": Meaning("it takes the text sent back as a finished turn"),
        "cannot": Meaning(
            f"This server cannot continue this model's answers: {{why}}. {VARIABLE}=1 leaves them as they are: name a "
            "larger max_tokens in the request."
        ),
        "elsewhere": Meaning(f"Perhaps they go on at /completions, with the setting template: {ASKS_TEMPLATE}."),
        "nowhere": Meaning("To have long answers continued, serve the model with vLLM, llama-server or SGLang."),
        "unknown": Meaning(
            "It could not be found out whether this server continues a trailing assistant message. Try again."
        ),
        "good": Meaning(
            f"Answers are continued here. Nothing needs to be set but {VARIABLE}=1, or patch() in the code."
        ),
    },
    # Two texts of one letter sent back, one of them with newlines.
    "trims": {
        "known": Meaning("The chat template trims the end of the text sent back: the row {row} knows that."),
        "yes": Meaning("The chat template trims the end of the text sent back: set {set}.", "trims"),
        "elsewhere": Meaning(f"Nothing is trimmed with the setting template: {ASKS_TEMPLATE}."),
    },
    # The field of what came after the text sent back.
    "answer_arrives_in": {
        "lost": Meaning(
            f"{_MISFILES}, so answers that were cut end there: start the server without its reasoning parser, or try "
            f"the setting template: {ASKS_TEMPLATE}."
        ),
        "known": Meaning(f"{_MISFILES}: the row {{row}} ({VARIABLE}_PROVIDER={{row}}) puts it back into the answer."),
        "whole": Meaning(f"{_MISFILES}: set {{set}}, since streams have it in the content.", "stream_rounds"),
    },
    # The same text sent back, and a stream asked for.
    "streamed": {
        "breaks": Meaning("Whole answers go on, but streams do not: leave out stream=True where answers are long.")
    },
    # An answer that was cut in its thoughts, to go on by the chat.
    "thoughts": {
        "continues": Meaning("Thoughts that are cut go on."),
        "differs": Meaning("Thoughts that are cut go on with other words than they would have had."),
        "not continued": Meaning(f"{_CUT_END} the server does not go on with them."),
        "no way": Meaning(f"{_CUT_END} no way is known to have them go on by the chat."),
        "refused": Meaning(f"{_CUT_END} the server refuses them."),
        "failed": Meaning("The question about thoughts that are cut got no answer."),
        "unknown": Meaning(
            "The model did not think the same twice, so it is unknown whether thoughts that are cut go on."
        ),
    },
    # The same, and no more thoughts wanted.
    "answer_after_thoughts": {
        "answers": Meaning("an answer comes without further thoughts", "on_reasoning_cut", "answer"),
        "thinks": Meaning("the model thinks on, or again"),
        "no answer": Meaning("no answer comes"),
        "no way": Meaning("no way is known to ask for it"),
        "refused": Meaning("the server refuses it"),
        "failed": Meaning("no answer came"),
        "unknown": Meaning("unknown"),
    },
    # An answer that was cut, or its thoughts, to go on with the setting template.
    "template": {
        "continues": Meaning(
            f"{_IS_OWN}, and answers go on at /completions. {{only}} {{set}}; nothing is trimmed or misfiled then.",
            "template",
        ),
        "differs": Meaning(f"{_IS_OWN}, but answers go on at /completions with other words. {_UNSET}"),
        "not continued": Meaning(f"{_IS_OWN}, but answers do not go on at /completions. {_UNSET}"),
        "unknown": Meaning(
            f"{_IS_OWN}, but the model did not write the same twice, so it is unknown whether answers go on at "
            f"/completions. {_UNSET}"
        ),
        "another prompt": Meaning(
            f"The chat template makes another prompt than the server's, so it is of another model or version. {_UNSET}"
        ),
        "not counted": Meaning(
            "The server does not count the tokens of prompts, so it is unknown whether the template is its own. "
            f"{_UNSET}"
        ),
        "not rendered": Meaning(f"The chat template could not be rendered for a plain question. {_UNSET}"),
        "no way": Meaning(f"This server is not known to continue a text at /completions. {_UNSET}"),
        "not there": Meaning(f"This server has no /completions. {_UNSET}"),
        "refused": Meaning(f"This server refuses the prompt at /completions. {_UNSET}"),
        "failed": Meaning(f"The question at /completions got no answer. {_UNSET}"),
    },
    # A long answer without max_tokens, and once more with a larger one.
    "default_tokens": {
        "stops": Meaning(
            "Without max_tokens this server ends an answer after about {tokens} tokens, and max_rounds={rounds} of "
            "them are {most:,}: name max_tokens in the request, or set {set}.",
            "round_tokens",
        ),
        "left alone": Meaning(
            "Without max_tokens this server ends an answer after about {tokens} tokens, and max_rounds={rounds} of "
            "them are {most:,}: name max_tokens in the request."
        ),
        "cap": Meaning(
            "Whatever max_tokens is, this server ends an answer after about {tokens} tokens, and max_rounds={rounds} "
            "of them are {most:,}: set a larger max_rounds for longer ones."
        ),
    },
    # A tool call that was cut at two thirds.
    "tool_calls": {
        "continues": Meaning("A tool call that was cut goes on."),
        "to be set": Meaning("A tool call that was cut goes on. Set {set} for that.", "continue_tool_calls"),
        "differs": Meaning(
            "A tool call that was cut goes on with other arguments than it would have had, so it is left as it is."
        ),
        "not continued": Meaning("A tool call that was cut does not go on, so it is left as it is."),
        "closed": Meaning(
            "This server closes the arguments of a call that was cut, so nobody can see where it was cut."
        ),
        "no call": Meaning("The model called no tool, so it is unknown whether a call that was cut goes on."),
        "syntax unknown": Meaning(
            "It is unknown how this model writes tool calls, so those that are cut are left as they are. If you know "
            "it, name its row of call_syntaxes.py in continue_tool_calls."
        ),
        "failed": Meaning("The question about tool calls got no answer."),
    },
    # An answer at /responses that was cut, and its beginning sent back in each way of RESPONSE_MARKS.
    "responses": {
        "continues": Meaning(
            "Answers at /responses, where openai-agents and others ask by default, are continued with the row {row}."
        ),
        "left alone": Meaning(
            f"Answers at /responses would go on here, but the row {{row}} leaves them as they are. {_BY_CHAT}"
        ),
        "hides": Meaning(
            "Answers at /responses that max_output_tokens has cut say 'completed' here, so they are left as they are. "
            f"{_BY_CHAT}"
        ),
        "not continued": Meaning(f"Answers at /responses that are cut do not go on here. {_BY_CHAT}"),
        "not there": Meaning(f"This server has no /responses. {_BY_CHAT}"),
        "refused": Meaning(f"This server refuses the question at /responses. {_BY_CHAT}"),
        "failed": Meaning("The question at /responses got no answer."),
        "unknown": Meaning("It could not be found out whether answers at /responses go on."),
        "by schema": Meaning(
            "The row {row} has /responses by the server's schema. The output of this command settles it, so please "
            "open an issue with it: openai-continue doctor --base-url {url} --model {model} --yes --json"
        ),
    },
}


@dataclass(slots=True)
class Findings(Spent):
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
    #: The field in which the text of a continued stream arrives. Known only for a model that thinks.
    stream_arrives_in: str | None = None
    #: Whether thoughts that were cut go on by the chat (a result of PROBES). None: it was not asked.
    thoughts: str | None = None
    #: Whether ``on_reasoning_cut="answer"`` brings an answer (a result of PROBES). None: it was not asked.
    answer_after_thoughts: str | None = None
    #: What ``/completions`` makes of the chat template (a result of PROBES). None: it was not asked.
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
    #: What becomes of a cut tool call (a result of PROBES). None: it was not asked.
    tool_calls: str | None = None
    #: What becomes of a cut answer at ``/responses`` (a result of PROBES). None: it was not asked.
    responses: str | None = None
    #: The same for each way of RESPONSE_MARKS, in the words of ``marks``.
    response_marks: dict[str, str] = field(default_factory=dict[str, str])
    #: Most output tokens of an answer there, as a response without a limit shows it.
    response_cap: int | None = None

    @property
    def good_marks(self) -> list[str]:
        """The ways to mark a message that work, in the order of MARKS."""
        return good(self.marks)

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
