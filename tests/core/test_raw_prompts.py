"""
Chats that go on by raw prompts: the setting ``template``.

A cut within the thoughts, right at a tag, in the answer, in a call: what comes is the uncapped answer, or it ends and
says why.
"""

from __future__ import annotations

import copy
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from openai_continue._core.calls.reader import Reader
from openai_continue._core.learned import Learned
from openai_continue._core.outcome import REFUSED
from openai_continue._core.round import Failure
from openai_continue._core.rounds import Rounds
from openai_continue._core.shown import shows_messages
from openai_continue._sdk.chat_template import Template
from openai_continue.testing import Habits
from openai_continue.testing.emulator.chatml import source
from openai_continue.testing.emulator.tokens import tokenize
from tests.support.answers import Answer, Json
from tests.support.calls import dumped, row, tool, written
from tests.support.driving import DAY, DRIVES, Drive, drives, rounds_of, streamed
from tests.support.engine import AWKWARD, Engine

# The chat templates of the tiny models on which the parsers of vLLM and llama-server were measured.
QWEN3 = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and m.reasoning_content %}<think>
{{ m.reasoning_content.strip('\\n') }}
</think>

{{ m.content.lstrip('\\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
R1 = """{% for m in messages %}<|im_start|>{{ m.role }}
{% set c = m.content.split('</think>')[-1] if m.role == 'assistant' else m.content %}{{ c }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
GLM = """{% for m in messages %}<|{{ m.role }}|>
{% if m.role == 'assistant' and m.reasoning_content %}
<think>{{ m.reasoning_content.strip() }}</think>
{{ m.content.strip() }}{% else %}{{ m.content }}{% endif %}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
PLAIN = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TRIMS = PLAIN.replace("m.content", "m.content | trim")

THOUGHTS = "Okay, the user wants foxes.\nLet me list: 1. red, 2. grey.\n\nThen  I answer, fully."
ANSWER = "# Foxes\n\n- red: they run.\n- grey: they climb, too.\n\nThe end."
_TOKEN = re.compile(r"</?think>|<\|\w+\|>|</?tool_call>| ?\w+|\n+|[^\w\n]")


def tokens_of(text: str) -> list[str]:
    tokens: list[str] = _TOKEN.findall(text)
    assert "".join(tokens) == text
    return tokens


@dataclass(frozen=True)
class Form:
    """A chat template, and all that the model writes after its prompt."""

    template: str
    raw: str
    #: What a parser does with the thoughts: a name in ``parsed()``, or "" without one.
    parser: str = ""

    def parsed(self, raw: str, provider: str, *, is_whole: bool) -> tuple[str, str]:
        """Return thoughts and answer of what was written so far."""
        if self.parser or provider != "llama.cpp":
            return parsed(self.parser, raw, provider, is_whole=is_whole)
        # Without a parser, it shows the tag that the prompt has, and nothing before it.
        return "", ("<think>\n" if self.template == R1 and raw else "") + raw.lstrip("\n")


FORMS = {
    "qwen3": Form(QWEN3, f"<think>\n{THOUGHTS}\n</think>\n\n{ANSWER}", "qwen3"),
    "r1": Form(R1, f"{THOUGHTS}\n</think>\n\n{ANSWER}", "r1"),
    "glm": Form(GLM, f"\n<think>{THOUGHTS}</think>\n{ANSWER}", "glm"),
    "qwen3 without a parser": Form(QWEN3, f"<think>\n{THOUGHTS}\n</think>\n\n{ANSWER}"),
    "r1 without a parser": Form(R1, f"{THOUGHTS}\n</think>\n\n{ANSWER}"),
    "glm without a parser": Form(GLM, f"\n<think>{THOUGHTS}</think>\n{ANSWER}"),
    "plain": Form(PLAIN, ANSWER),
    "trims": Form(TRIMS, ANSWER),
}
each_form = pytest.mark.parametrize("form", FORMS)
each_row = pytest.mark.parametrize("provider", ["vllm", "llama.cpp"])


def parsed(parser: str, raw: str, provider: str, *, is_whole: bool) -> tuple[str, str]:
    """Return thoughts and answer of what was written so far, as the engines' parsers were measured to read it."""
    is_llama = provider == "llama.cpp"
    if parser == "":
        return "", raw
    if parser == "glm" and is_llama and is_whole and raw in ("\n", "\n<think>"):
        # Before its first word, a whole answer has the raw text as content.
        return "", raw
    before, opened, text = raw.partition("<think>") if parser != "r1" else ("", "", raw)
    if parser != "r1" and not opened:
        return ("\n", "") if parser == "glm" and raw and not is_llama else ("", "")
    thoughts, _, answer = text.partition("</think>")
    if not is_llama:
        return ((before + thoughts).rstrip() if parser == "glm" else thoughts), answer
    if parser == "r1":
        return "\n" + thoughts, answer
    return (thoughts.removeprefix("\n") if parser == "qwen3" else thoughts), answer.lstrip()


class Served:
    """A server with one of these forms, whose model goes on with all that it has written, ``caps`` tokens a round."""

    def __init__(self, form: Form, provider: str, *caps: int) -> None:
        self._form, self._provider, self._caps = form, provider, list(caps)
        self.bodies: list[Json] = []

    def prompt(self, body: Json) -> str:
        rendered = Template(self._form.template).render({"messages": body["messages"]}, DAY)
        assert rendered is not None
        return rendered.prompt

    def _written(self, body: Json) -> tuple[list[str], str, Json]:
        """Return the tokens of a round, how it ends, and its usage."""
        self.bodies.append(copy.deepcopy(body))
        cap = self._caps.pop(0) if len(self._caps) > 1 else self._caps[0]
        prompt = body["prompt"] if "prompt" in body else self.prompt(body)
        begun = prompt.removeprefix(self.prompt(self.bodies[0]))
        assert self._form.raw.startswith(begun), f"the model did not write {begun!r}"
        rest = tokens_of(self._form.raw[len(begun) :])
        used = {"prompt_tokens": len(tokens_of(prompt)), "completion_tokens": len(rest[:cap])}
        return rest[:cap], "length" if len(rest) > cap else "stop", used

    def _parsed(self, tokens: list[str], *, is_whole: bool) -> tuple[str, str]:
        return self._form.parsed("".join(tokens), self._provider, is_whole=is_whole)

    def completion(self, body: Json) -> Json:
        tokens, finish, usage = self._written(body)
        if "prompt" in body:
            item: Json = {"index": 0, "text": "".join(tokens), "finish_reason": finish}
            return {"id": "t", "object": "text_completion", "choices": [item], "usage": usage}
        thoughts, answer = self._parsed(tokens, is_whole=True)
        message = {"role": "assistant", "content": answer or None, "reasoning_content": thoughts or None}
        item = {"index": 0, "message": message, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion", "choices": [item], "usage": usage}

    def chunks(self, body: Json) -> list[Json]:
        tokens, finish, usage = self._written(body)
        items: list[Json] = []
        seen = ("", "")
        for count in range(1, len(tokens) + 1):
            if "prompt" in body:
                items.append({"text": tokens[count - 1]})
                continue
            now = self._parsed(tokens[:count], is_whole=False)
            delta: Json = {}
            for name, known, each in zip(("reasoning_content", "content"), seen, now, strict=True):
                if each.startswith(known) and each != known:
                    delta[name] = each[len(known) :]
            seen = now if all(map(str.startswith, now, seen)) else seen
            items.append({"delta": delta})
        items.append({"text": ""} if "prompt" in body else {"delta": {}})
        ends: list[Any] = [*[None] * (len(items) - 1), finish]
        chunks = [{"id": "c", "choices": [{"index": 0, **item, "finish_reason": end}]} for item, end in zip(items, ends, strict=True)]  # fmt: skip
        return [*chunks, {"id": "c", "choices": [], "usage": usage}]


def fox(**fields: Any) -> Json:
    """Return the body of a request."""
    return {"model": "m", "messages": [{"role": "user", "content": "foxes?"}], "temperature": 0, **fields}


@each_form
@each_row
@drives
@pytest.mark.spread(2)
def test_every_cut(form: str, provider: str, drive: Drive) -> None:
    """After each token, once or all the time, it goes on as the model writes; the first tag may be too little."""
    known = FORMS[form]
    want = known.parsed(known.raw, provider, is_whole=True)
    for cap in range(1, len(tokens_of(known.raw)) + 1):
        for caps in ((cap, 10**6), (cap,)):
            server = Served(known, provider, *caps)
            answer = drive(server, fox(), provider=provider, max_rounds=500, chat_template=Template(known.template))
            if answer.finish_reason == "length":
                assert answer.stopped_by in ("empty", "reasoning")
                assert cap <= 2
                assert (want[0].startswith(answer.thoughts), answer.text.strip() in ("", "<think>")) == (True, True)
                continue
            assert (want, "stop") == ((answer.thoughts, answer.text), answer.finish_reason), caps
            assert ["prompt" in body for body in server.bodies] == [False] + [True] * (len(server.bodies) - 1)


# On the emulator's model, whose texts are awkward.

_VLLM = Habits(
    marker="continue_final_message", usage="asked", finish_with_text=True, limit_field="both", overflow="clamp",
    default_text_tokens=16,
)  # fmt: skip
_THINKS: dict[str, Any] = {"thinks": "reasoning", "think_tokens": 12}


def engines() -> dict[str, tuple[str, Habits]]:
    """Return kinds of servers: the row of the provider table, and their habits."""
    found: dict[str, tuple[str, Habits]] = {}
    templates: Any = ("r1", "qwen3", "glm")
    for template in templates:
        kept = {**vars(_VLLM), **_THINKS, "template": template, "think_blanks": "kept"}
        found[f"vllm, {template}"] = "vllm", Habits(**kept)
        found[f"sglang, {template}"] = "sglang", Habits(**{**kept, "marker": None, "cut_characters": "replaced"})
        loose = Habits(**{**_THINKS, "thinks": "reasoning_content"}, template=template)
        found[f"deepinfra, {template}"] = "deepinfra", loose
    for name, habits in {"plain": {}, "trims": {"trims": True}, "inline": {"thinks": "inline", "think_tokens": 12}}.items():  # fmt: skip
        more: Any = habits
        found[f"deepinfra, {name}"] = "deepinfra", Habits(**more)
        found[f"llama.cpp, {name}"] = "llama.cpp", Habits(echo="unflagged", usage="asked", **more)
    return found


ENGINES = engines()
each_engine = pytest.mark.parametrize("name", ENGINES)


def template_of(habits: Habits) -> Template:
    return Template(source(habits))


def edges(answer: Answer, *, strips: bool) -> tuple[str, str]:
    """Return thoughts and text; if a parser strips, without the blanks between them."""
    return (answer.thoughts.rstrip(), answer.text.lstrip()) if strips else (answer.thoughts, answer.text)


@each_engine
@drives
@pytest.mark.spread(2)
def test_every_cut_of_awkward_texts(name: str, drive: Drive) -> None:
    """
    Whatever the text, it goes on as the model writes it.

    If a parser strips and the row does not say so, the blanks between thoughts and answer may be those of the model.
    """
    provider, habits = ENGINES[name]
    for text in (AWKWARD[1], AWKWARD[10]):
        body = fox(model="unknown")
        want = Engine(text, habits=habits).uncapped(body)
        size = len(tokenize(text, byte_fallback=habits.cut_characters is not None))
        strips = provider == "deepinfra" and habits.thinks == "reasoning_content"
        for cap in range(4, size + 12 * bool(habits.thinks) + 6):
            server = Engine(text, habits=habits, cap=(cap, cap, 10**6))
            answer = drive(server, body, provider=provider, chat_template=template_of(habits))
            assert (edges(want, strips=strips), "stop") == (edges(answer, strips=strips), answer.finish_reason), cap
            assert server.derailed == 0
            assert all("prompt" in later for later in server.bodies[1:])


@drives
def test_several_choices(drive: Drive) -> None:
    """Each choice has a prompt of its own."""
    provider, habits = ENGINES["vllm, qwen3"]
    for cap in (9, 30, 70):
        for index in range(3):
            server = Engine(habits=habits, cap=cap, tokens=60)
            answer = drive(server, fox(n=3), index, provider=provider, chat_template=template_of(habits))
            want = server.uncapped(fox(), index)
            assert (want.thoughts, want.text) == (answer.thoughts, answer.text)
            assert server.derailed == 0


# What is sent.


OF_CHAT: Json = {
    "logprobs": True,
    "top_logprobs": 3,
    "reasoning_effort": "high",
    "max_completion_tokens": 400,
    "chat_template_kwargs": {"x": 1},
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "verbosity": "low",
    "prediction": None,
    "add_generation_prompt": True,
    "continue_final_message": False,
    "return_token_ids": True,
    "include_reasoning": True,
    "separate_reasoning": True,
    "thinking": {"type": "enabled"},
}
OF_BOTH: Json = {"seed": 7, "stop": ["###"], "top_p": 0.5, "user": "u", "min_p": 0.1, "logit_bias": {"5": 1}}


@drives
@pytest.mark.parametrize("provider", ["vllm", "llama.cpp", "sglang", "deepinfra"])
def test_bodies(provider: str, drive: Drive) -> None:
    """Nothing of a chat's own goes to ``/completions``, all else does; the caller's body is not changed."""
    habits = Habits(limit_field="both", **_THINKS)
    body = {**fox(), **OF_CHAT, **OF_BOTH}
    before = copy.deepcopy(body)
    server = Engine(habits=habits, cap=30, tokens=60)
    drive(server, body, provider=provider, chat_template=template_of(habits))
    assert before == body
    assert len(server.bodies) > 1
    stream = {"stream": True} if drive is streamed else {}
    for place, later in enumerate(server.bodies[1:], start=1):
        of_row = {name for name in ("add_special_tokens", "skip_special_tokens") if name in later}
        assert of_row == ({"add_special_tokens", "skip_special_tokens"} if provider in ("vllm", "sglang") else set())
        sent = {name: value for name, value in later.items() if name not in (*of_row, "stream_options", "prompt")}
        assert {
            "model": "m",
            "temperature": 0,
            "logprobs": 3,
            "max_tokens": 400 - sum(server.given[:place]),
            **OF_BOTH,
            **stream,
        } == sent
        assert isinstance(later["prompt"], str)


@drives
def test_limits(drive: Drive) -> None:
    """Where a text has sixteen tokens by default, as many as a server gives are asked for."""
    for provider, limit in (("vllm", 16384), ("sglang", 16384), ("llama.cpp", None), ("deepinfra", None)):
        habits = Habits(limit_field="both", default_text_tokens=16 if limit else None)
        server = Engine(habits=habits, cap=30, tokens=80)
        drive(server, fox(), provider=provider, chat_template=template_of(habits))
        assert [limit, limit] == [later.get("max_tokens") for later in server.bodies[1:]]


BOS = "{{ bos_token }}" + PLAIN


@pytest.mark.parametrize(
    ("provider", "tokens", "start", "adds"),
    [
        ("vllm", {"bos_token": "<s>"}, "<s><|im_start|>", False),
        ("sglang", {"bos_token": "<s>"}, "<s><|im_start|>", False),
        ("llama.cpp", {"bos_token": "<s>"}, "<|im_start|>", None),
        ("deepinfra", {"bos_token": "<s>"}, "<s><|im_start|>", None),
        # A template by itself does not say which token that is, so the server is to add it.
        ("vllm", {}, "<|im_start|>", None),
        ("llama.cpp", {}, "<|im_start|>", None),
        ("deepinfra", {}, None, None),
    ],
)
def test_first_token(provider: str, tokens: dict[str, str], start: str | None, adds: bool | None) -> None:
    """The token that begins a text is there once, whoever puts it there; if nobody knows, the chat goes on as one."""
    rounds = rounds_of(fox(), provider, chat_template=Template(BOS, tokens))
    first = rounds.next_request()
    assert first is not None
    message = {"role": "assistant", "content": "One two"}
    rounds.receive(first, {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]})
    later = rounds.next_request()
    assert later is not None
    assert later.is_raw is (start is not None)
    assert (later.body.get("prompt") or "").startswith(start or "")
    assert adds == later.body.get("add_special_tokens")


# Where raw prompts cannot be used, the chat goes on as a chat, or says why it ends.


def goes_on(answer: Answer, server: Engine, body: Json) -> None:
    """Check that an answer is whole, and that its later rounds were those of a chat."""
    want = server.uncapped(body)
    assert (want.thoughts, want.text, "stop") == (answer.thoughts, answer.text, answer.finish_reason)
    assert server.derailed == 0
    assert "messages" in server.bodies[-1]


NOT_RENDERED: dict[str, tuple[Json, str]] = {
    "an image": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]}, PLAIN),
    "two parts": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 2}]}, PLAIN),
    "the caller's own beginning": ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}, PLAIN),
    "a template that raises": ({}, "{{ raise_exception('no') }}"),
    "a template that fails": ({}, "{{ messages[0].content.no.such }}"),
    "a template that wants out": ({}, "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a template of the request": ({"chat_template": PLAIN}, PLAIN),
}  # fmt: skip


@drives
@pytest.mark.parametrize("case", NOT_RENDERED)
def test_not_rendered(case: str, drive: Drive) -> None:
    """A prompt that cannot be said is not sent."""
    fields, template = NOT_RENDERED[case]
    body = {**fox(), **fields}
    server = Engine(cap=30, tokens=80)
    goes_on(drive(server, body, chat_template=Template(template)), server, body)
    assert all("messages" in one for one in server.bodies)


class Without(Engine):
    """An engine whose ``/completions`` answers an error."""

    status = 404

    def drive(self, body: Json, *, is_streamed: bool, learned: Learned, **settings: Any) -> Answer:
        """Drive rounds to their end."""
        rounds = rounds_of({**body, "stream": True} if is_streamed else body, learned=learned, **settings)
        out: list[Json] = []
        while (request := rounds.next_request()) is not None:
            if request.is_raw:
                self.bodies.append(request.body)
                out += rounds.fail(request, Failure("NotFoundError", self.status, text="Not here.")).chunks
            elif is_streamed:
                for chunk in self.chunks(request.body):
                    out += rounds.feed(request, chunk)
                out += rounds.end_of_stream(request)
            else:
                rounds.receive(request, self.completion(request.body))
        return Answer.of_chunks(out + rounds.last_chunks()) if is_streamed else Answer.of_completion(rounds.completion())  # fmt: skip


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [400, 404, 405, 422, 501])
def test_no_completions(status: int, is_streamed: bool) -> None:
    """
    A server that has no ``/completions``, or refuses the prompt, is asked as a chat.

    The next call knows that there is none. A refusal may speak of this prompt only, so the next call tries again.
    """
    learned = Learned()
    server = Without(cap=30, tokens=80)
    server.status = status
    template = template_of(server.habits)
    for raws in (1, int(status in REFUSED)):
        server.bodies.clear()
        answer = server.drive(fox(), is_streamed=is_streamed, learned=learned, chat_template=template)
        goes_on(answer, server, fox())
        assert raws == sum("prompt" in body for body in server.bodies)
        assert answer.stopped_by == "stop"


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [400, 404])
def test_no_completions_within_thoughts(status: int, is_streamed: bool) -> None:
    """Thoughts that cannot go on in a chat then end there, and the model is not derailed."""
    provider, habits = ENGINES["vllm, qwen3"]
    server = Without(cap=8, tokens=80, habits=habits)
    server.status = status
    answer = server.drive(
        fox(), is_streamed=is_streamed, learned=Learned(), chat_template=template_of(habits), provider=provider
    )
    assert answer.ending[1:] == ("length", "reasoning")
    assert server.uncapped(fox()).thoughts.startswith(answer.thoughts)
    assert server.derailed == 0


# The check of the prompt.

DATE = "<|im_start|>system\nToday is Friday, 2 January 2026.<|im_end|>\n"
SYSTEM = "<|im_start|>system\nYou are a kind helper, who answers in one sentence only.<|im_end|>\n"


class Mistaken(Engine):
    """An engine whose raw prompts have a start that its chat prompts do not have, or lack it."""

    def __init__(self, *args: Any, more: str = "", less: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._more, self._less = more, less

    def _text(self, body: Json) -> Any:
        assert body["prompt"].startswith(self._more)
        made = super()._text({**body, "prompt": body["prompt"].removeprefix(self._more)})
        made.usage["prompt_tokens"] += len(tokenize(self._more)) - self._less
        return made


@drives
@pytest.mark.parametrize("name", ["deepinfra, plain", "vllm, qwen3", "deepinfra, inline"])
@pytest.mark.parametrize(
    ("more", "less"), [(DATE, 0), (SYSTEM, 0), ("", 9), ("", 25)], ids=["date", "system", "no date", "no system"]
)
def test_another_template(more: str, less: int, name: str, drive: Drive) -> None:
    """
    A template that says more than the server's, or less, is given up at the first prompt that shows it.

    Nothing of that round is in a whole answer; a stream whose usage comes at its end may have text of it, and ends.
    """
    provider, habits = ENGINES[name]
    template = Template(f"{{{{ {json.dumps(more)} }}}}{source(habits)}")
    learned = Learned()
    server = Mistaken(habits=habits, cap=45, tokens=90, more=more, less=less)
    body = fox()
    answer = drive(server, body, provider=provider, chat_template=template, learned=learned)
    want = server.uncapped(body)
    assert learned.refuses_raw
    assert want.text.startswith(answer.text.rstrip())
    assert server.derailed == 0
    assert sum("prompt" in later for later in server.bodies) == 1
    if answer.finish_reason == "length":
        assert drive is streamed
        assert answer.stopped_by == "unsupported"
        assert answer.report is not None
        assert answer.report["error"]["type"] == "template_mismatch"
    else:
        assert want.text == answer.text

    server.bodies.clear()
    goes_on(drive(server, body, provider=provider, chat_template=template, learned=learned), server, body)
    assert all("messages" in later for later in server.bodies)


#: Chat templates that make nearly as many tokens of a short question as PLAIN does; its prompt has 10.
NEARLY = {
    "another syntax": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ",
    "no marks": PLAIN.replace("<|im_end|>", "").replace("<|im_start|>", ""),
    "no header": PLAIN.replace("<|im_start|>assistant\n", ""),
    "no syntax": "{{ messages[0].content }}",
    "a word more": "Question: " + PLAIN,
}


class Lenient(Served):
    """A server whose model goes on after any prompt that ends in its text."""

    def _written(self, body: Json) -> tuple[list[str], str, Json]:
        tokens, prompt = tokens_of(self._form.raw), body.get("prompt")
        own = self.prompt(self.bodies[0] if self.bodies else body)
        if prompt is None or prompt.startswith(own):
            return super()._written(body)
        self.bodies.append(body)
        count = next(n for n in range(len(tokens), -1, -1) if prompt.endswith("".join(tokens[:n])))
        usage = {"prompt_tokens": len(tokens_of(prompt)), "completion_tokens": len(tokens) - count}
        return tokens[count:], "stop", usage


@drives
def test_one_token_fewer(drive: Drive) -> None:
    """Where the server keeps all that the model writes, one token is enough to notice another template."""
    for cap in range(4, 20):
        learned = Learned()
        server = Lenient(Form(PLAIN, "one two three " * 9), "vllm", cap, 10**6)
        template = Template(PLAIN.replace("<|im_end|>", ""))
        answer: Answer | None = None
        with suppress(AssertionError):
            # The chat goes on as a chat, which this server does not know.
            answer = drive(server, fox(), provider="vllm", chat_template=template, learned=learned)
        assert learned.refuses_raw, cap
        assert answer is None or "unsupported" == answer.stopped_by


@drives
@pytest.mark.parametrize("provider", ["vllm", "llama.cpp"])
@pytest.mark.parametrize("kind", NEARLY)
def test_nearly_the_right_template(kind: str, provider: str, drive: Drive) -> None:
    """A wrong template that makes a few tokens fewer, or more, is noticed too, after most cuts."""
    noticed, caps = 0, range(3, 25)
    for cap in caps:
        server = Lenient(Form(PLAIN, ANSWER), provider, cap, 10**6)
        learned = Learned()
        with suppress(AssertionError):
            # The chat goes on as a chat, which this server does not know.
            drive(server, fox(), provider=provider, chat_template=Template(NEARLY[kind]), learned=learned)
        noticed += learned.refuses_raw
    assert noticed > len(caps) // 2


OTHER = PLAIN.replace("<|im_start|>", "<|turn_start|>").replace("<|im_end|>", "<|turn_end|>")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_marks_that_are_written_out(is_streamed: bool) -> None:
    """
    A template in another syntax, of as many tokens, is noticed by its marks: a model whose own they are shows none.

    Nothing of such a round is kept; what a stream has given out stays, and ends there.
    """
    for pieces in ([" three four", "<|turn_end|>\n<|turn_start|>user"], [" three four<|tur", "n_en", "d|>\n"]):
        learned = Learned()
        rounds = rounds_of(fox(stream=is_streamed), "vllm", chat_template=Template(OTHER), learned=learned)
        out = _ask(rounds, {"content": "One two"}, is_raw=False, is_streamed=is_streamed)
        out += _ask(rounds, *[{"text": piece} for piece in pieces], is_raw=True, is_streamed=is_streamed)
        if is_streamed:
            assert rounds.next_request() is None
            out += rounds.last_chunks()
            answer = Answer.of_chunks(out)
            assert answer.stopped_by == "unsupported"
            assert "<|turn_end|>" not in answer.text
            assert answer.text.startswith("One two three four")
        else:
            out += _ask(rounds, {"content": " three."}, is_raw=False, is_streamed=False)
            assert Answer.of_completion(rounds.completion()).text == "One two three."
        assert learned.refuses_raw


@pytest.mark.parametrize("said", ["messages", "answer"])
def test_marks_that_are_spoken_of(said: str) -> None:
    """An answer about chat templates may have the marks in its text."""
    question = "What is <|turn_end|>?" if said == "messages" else "foxes?"
    begun = "A mark " if said == "messages" else "<|turn_end|> is a mark "
    rounds = rounds_of(fox(messages=[{"role": "user", "content": question}]), "vllm", chat_template=Template(OTHER))
    _ask(rounds, {"content": begun}, is_raw=False, is_streamed=False)
    _ask(rounds, {"text": "like <|turn_end|>."}, is_raw=True, is_streamed=False)
    assert f"{begun}like <|turn_end|>." == Answer.of_completion(rounds.completion()).text


def _ask(rounds: Rounds, *parts: Json, is_raw: bool, is_streamed: bool) -> list[Json]:
    """Answer the next request of rounds with these parts; the first answer is cut."""
    request = rounds.next_request()
    assert request is not None
    assert is_raw is request.is_raw
    finish = "length" if request.number == 1 else "stop"
    if not is_streamed:
        text = "".join(part.get("text") or part.get("content") for part in parts)
        item: Json = {"text": text} if is_raw else {"message": {"role": "assistant", "content": text}}
        rounds.receive(request, {"id": "c", "choices": [{"index": 0, **item, "finish_reason": finish}]})
        return []
    items = [*(part if is_raw else {"delta": part} for part in parts), {"text": ""} if is_raw else {"delta": {}}]
    chunks = [{"id": "c", "choices": [{"index": 0, **item, "finish_reason": None}]} for item in items]
    chunks[-1]["choices"][0]["finish_reason"] = finish
    return [out for chunk in chunks for out in rounds.feed(request, chunk)] + rounds.end_of_stream(request)


DROPS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "nothing of the request": ("You are a helper.", [("user", "foxes?")]),
    "what the system says": ("{{ messages[-1].content }}", [("system", "Be kind."), ("user", "foxes?")]),
    "the last question": ("{{ messages[0].content }}", [("user", "foxes?"), ("assistant", "Red."), ("user", "more?")]),
    "what came before": ("{{ messages[-1].content }}", [("user", "foxes?"), ("assistant", "Red."), ("user", "more?")]),
    "all but the last": ("{% for m in messages[:-1] %}{{ m.content }}{% endfor %}", [("user", "foxes?"), ("user", "hares?")]),
    "the order": ("{% for m in messages[::-1] %}{{ m.content }}{% endfor %}", [("user", "foxes?"), ("user", "hares?")]),
    "what a tool said": ("{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}", [("tool", "12"), ("user", "foxes?")]),
    "half of a text": ("{{ messages[0].content[:3] }}", [("user", "foxes?")]),
    "a text that it says once": ("{{ messages[0].content }}", [("user", "foxes?"), ("assistant", "Red."), ("user", "foxes?")]),
}  # fmt: skip


@drives
@pytest.mark.parametrize("case", DROPS)
def test_templates_that_drop_messages(case: str, drive: Drive) -> None:
    """A template that does not show what was said is not used: no request is made with it."""
    template, said = DROPS[case]
    body = fox(messages=[{"role": role, "content": content} for role, content in said])
    server = Engine(cap=30, tokens=80)
    goes_on(drive(server, body, chat_template=Template(template)), server, body)
    assert all("messages" in one for one in server.bodies)


SHOWN: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "trimmed": ("{{ messages[0].content | trim }}", [("user", "  foxes?\n")]),
    "as JSON": ("{{ messages[0].content | tojson }}", [("user", 'the "é"\n\tfoxes?')]),
    "as ASCII": ("{{ messages[0].content | tojson(ensure_ascii=true) }}", [("user", 'the "é"\n foxes?')]),
    "indented": ("{{ messages[0].content | indent(4) }}", [("user", "a\nb\n  c")]),
    "without thoughts": ("{{ messages[0].content.split('</think>')[-1] }}{{ messages[1].content }}", [("assistant", "<think>Hm</think>\nRed."), ("user", "more?")]),
    "the system last": ("{{ messages[1].content }}{{ messages[0].content }}", [("system", "Be kind."), ("user", "foxes?")]),
    "the system first": ("{{ messages[1].content }}{{ messages[0].content }}", [("user", "foxes?"), ("system", "Be kind.")]),
    "equal texts": ("{% for m in messages %}{{ m.content }}|{% endfor %}", [("user", "a"), ("assistant", "a"), ("user", "a")]),
    "blank texts": ("{{ messages[1].content }}", [("system", " "), ("user", "foxes?")]),
}  # fmt: skip


@pytest.mark.parametrize("case", SHOWN)
def test_templates_that_show_messages(case: str) -> None:
    """What templates of real models do to a text is no reason not to use one."""
    template, said = SHOWN[case]
    body = fox(messages=[{"role": role, "content": content} for role, content in said])
    made = Template(template).render(body, DAY)
    assert made is not None
    assert shows_messages(made.prompt, body)


def test_calls_need_not_be_shown() -> None:
    """Templates leave out the text beside a call; a list of one text is a text."""
    call = {"role": "assistant", "content": "I call.", "tool_calls": [{"type": "function"}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "foxes?"}]}
    assert shows_messages("foxes?", {"messages": [parts, call, {"role": "assistant", "content": None}]})
    assert not shows_messages("hares?", {"messages": [parts]})


@drives
@pytest.mark.spread(1)
def test_the_right_template_is_not_given_up(drive: Drive) -> None:
    """A cut character, a tag that was left out, or a tail that is written again, is no other template."""
    for name in ("sglang, qwen3", "vllm, glm", "deepinfra, plain"):
        provider, habits = ENGINES[name]
        for cap in range(3, 60):
            learned = Learned()
            server = Engine(AWKWARD[10] + AWKWARD[8], habits=habits, cap=(cap, 10**6))
            drive(server, fox(), provider=provider, chat_template=template_of(habits), learned=learned)
            assert not learned.refuses_raw, (name, cap)


# Thoughts that are cut: the setting on_reasoning_cut.


@drives
@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES[name][1].thinks])
def test_stop(name: str, drive: Drive) -> None:
    """ "stop": an answer that is cut within its thoughts ends there, and says so."""
    provider, habits = ENGINES[name]
    server = Engine(habits=habits, cap=9, tokens=60)
    answer = drive(server, fox(), provider=provider, chat_template=template_of(habits), on_reasoning_cut="stop")
    assert answer.ending[1:] == ("length", "reasoning")
    assert len(server.bodies) == 1


@drives
@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES[name][1].thinks not in (None, "inline")])
def test_answer_by_a_raw_prompt(name: str, drive: Drive) -> None:
    """ "answer": the thoughts are closed, and the answer comes, in as many rounds as it takes; the report says so."""
    provider, habits = ENGINES[name]
    server = Answers(habits=habits, cap=9, tokens=40)
    answer = drive(server, fox(), provider=provider, chat_template=template_of(habits), on_reasoning_cut="answer")
    want = server.uncapped(fox())
    assert want.thoughts.startswith(answer.thoughts)
    assert len(answer.thoughts) < len(want.thoughts)
    assert (want.text.strip(), "stop") == (answer.text.strip(), answer.finish_reason)
    assert answer.report is not None
    assert answer.report["answered_early"] is True
    closes = "</think>"
    assert [1] * (len(server.bodies) - 1) == [later["prompt"].count(closes) for later in server.bodies[1:]]


class Answers(Engine):
    """An engine whose model answers after any thoughts, if they are closed."""

    def _text(self, body: Json) -> Any:
        head, _, raw = body["prompt"].partition("assistant\n")
        thoughts, closed, answer = raw.rpartition("</think>")
        whole = self.uncapped(fox())
        opened = "" if self.habits.template == "r1" else "<think>" if self.habits.template == "glm" else "<think>\n"
        if not closed or thoughts.removeprefix("<think>").strip() == whole.thoughts.strip():
            return super()._text(body)
        # The thoughts that the model knows, in place of those that were cut.
        known = whole.thoughts.strip() + ("" if self.habits.template == "glm" else "\n")
        opened = "<think>\n" if self.habits.template == "r1" else opened
        made = super()._text({**body, "prompt": f"{head}assistant\n{opened}{known}</think>{answer}"})
        made.usage["prompt_tokens"] = len(tokenize(body["prompt"]))
        return made


SWITCHES: dict[str, tuple[str, Habits]] = {
    "vllm": ("vllm", Habits(**{**vars(_VLLM), **_THINKS, "template": "qwen3"})),
    "deepinfra": ("deepinfra", Habits(**_THINKS, template="qwen3", thinking_switch="reasoning_effort")),
    "sglang": ("sglang", Habits(**_THINKS, template="qwen3", thinking_switch="enable_thinking")),
}


@drives
@pytest.mark.parametrize("name", SWITCHES)
def test_answer_by_the_chat(name: str, drive: Drive) -> None:
    """ "answer" without a template: the answer is asked for in the way of the row, and goes on in further rounds."""
    provider, habits = SWITCHES[name]
    server = Engine(habits=habits, cap=10, tokens=40)
    answer = drive(server, fox(), provider=provider, on_reasoning_cut="answer")
    want = server.uncapped(fox())
    assert want.thoughts.startswith(answer.thoughts)
    assert (want.text, "stop") == (answer.text, answer.finish_reason)
    assert answer.report is not None
    assert answer.report["answered_early"] is True
    assert all("messages" in later for later in server.bodies)


def test_answer_by_the_chat_on_llama_server() -> None:
    """llama-server closes the block if the field that goes on is the content (measured)."""
    rounds = rounds_of(fox(), "llama.cpp", on_reasoning_cut="answer")
    first = rounds.next_request()
    assert first is not None
    message = {"role": "assistant", "content": "", "reasoning_content": "Let me"}
    rounds.receive(first, {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]})
    later = rounds.next_request()
    assert later is not None
    assert {"continue_final_message": "content", "add_generation_prompt": False}.items() <= later.body.items()
    assert later.body["messages"][-1] == {"role": "assistant", "content": "", "reasoning_content": "Let me"}
    echo = {"role": "assistant", "content": "Foxes.", "reasoning_content": "Let me"}
    rounds.receive(later, {"id": "d", "choices": [{"index": 0, "message": echo, "finish_reason": "stop"}]})
    answer = Answer.of_completion(rounds.completion())
    assert (answer.thoughts, answer.text, answer.finish_reason) == ("Let me", "Foxes.", "stop")


# Tool calls and documents.

TOOLS = [tool("save", {"path": "", "content": ""}), tool("run", {"command": ""})]
SAVE = dumped({"path": "a.txt", "content": 'One two "three".\n  Four'})
RUN = dumped({"command": "ls -l"})
SYNTAXES = {"hermes": "Qwen/Qwen3-8B", "qwen3-coder": "Qwen/Qwen3-Coder-Next"}


class Calling(Served):
    """A server whose parser reads calls, and gives those that are cut with their arguments so far."""

    def __init__(self, syntax: str, form: Form, *caps: int) -> None:
        super().__init__(form, "vllm", *caps)
        self._syntax = syntax

    def prompt(self, body: Json) -> str:
        return super().prompt(self.bodies[0])

    def _deltas(self, tokens: list[str]) -> list[Json]:
        thoughts, answer = self._parsed(tokens, is_whole=False)
        deltas: list[Json] = [{"reasoning_content": thoughts}] if thoughts else []
        count = 0
        for event in Reader(row(self._syntax), TOOLS).feed(answer):
            if event.kind == "text":
                deltas.append({"content": event.text})
            elif event.kind == "name":
                function = {"name": event.text, "arguments": ""}
                deltas.append({"tool_calls": [{"index": count, "id": f"id-{count}", "type": "function", "function": function}]})  # fmt: skip
                count += 1
            elif event.kind == "arguments":
                deltas.append({"tool_calls": [{"index": count - 1, "function": {"arguments": event.text}}]})
        return deltas

    def chunks(self, body: Json) -> list[Json]:
        if "prompt" in body:
            return super().chunks(body)
        tokens, finish, usage = self._written(body)
        deltas = self._deltas(tokens)
        ends = [*((delta, None) for delta in deltas), ({}, _end_of(deltas, finish))]
        chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in ends]
        return [*chunks, {"id": "c", "choices": [], "usage": usage}]

    def completion(self, body: Json) -> Json:
        if "prompt" in body:
            return super().completion(body)
        tokens, finish, usage = self._written(body)
        deltas = self._deltas(tokens)
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        seen = Answer.of_chunks(chunks) if chunks else Answer()
        message: Json = {"role": "assistant", "content": seen.text, "reasoning_content": seen.thoughts or None}
        message |= {"tool_calls": seen.tool_calls} if seen.tool_calls else {}
        item = {"index": 0, "message": message, "finish_reason": _end_of(deltas, finish)}
        return {"id": "c", "choices": [item], "usage": usage}


def _end_of(deltas: list[Json], finish: str) -> str:
    return "tool_calls" if finish == "stop" and any("tool_calls" in delta for delta in deltas) else finish


CALLED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a call": ("", [("save", SAVE)]),
    "two calls": ("", [("save", SAVE), ("run", RUN)]),
    "a text and a call": ("I save it: \n- now.", [("save", SAVE)]),
    "a text": ("I save nothing, <tool> or not.\n\n- It < is < there.", []),
}


@drives
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("thinks", [False, True], ids=["", "thinks"])
@pytest.mark.parametrize("case", CALLED)
def test_calls(case: str, thinks: bool, syntax: str, drive: Drive) -> None:
    """Thoughts, a text or a call may be cut anywhere: the calls come as the model writes them, or the answer ends."""
    text, called = CALLED[case]
    raw = written(row(syntax), *called, text=text) if called else text
    form = Form(QWEN3, f"<think>\n{THOUGHTS}\n</think>\n\n{raw}", "qwen3") if thinks else Form(PLAIN, raw)
    body = fox(model=SYNTAXES[syntax], tools=TOOLS)
    gap = "\n\n" if thinks else ""
    whole_ones = 0
    for cap in range(1, len(tokens_of(form.raw)) + 1, 2):
        server = Calling(syntax, form, cap, 10**6)
        answer = drive(server, body, provider="vllm", chat_template=Template(form.template))
        got = [(one["function"]["name"], one["function"]["arguments"]) for one in answer.tool_calls]
        if answer.finish_reason == "length":
            assert answer.stopped_by in ("empty", "reasoning", "tool_call"), cap
            assert (gap + text).startswith(answer.text.rstrip()), cap
            continue
        whole_ones += 1
        assert [(name, json.loads(arguments)) for name, arguments in called] == [(name, json.loads(arguments)) for name, arguments in got], cap  # fmt: skip
        assert ((gap + text).rstrip(), "tool_calls" if called else "stop") == (answer.text.rstrip(), answer.finish_reason), cap  # fmt: skip
        assert (f"\n{THOUGHTS}\n" if thinks else "") == answer.thoughts
        assert len({one["id"] for one in answer.tool_calls}) == len(called)
    # Nothing shows of the beginning of a call that is cut.
    assert whole_ones > len(range(1, len(tokens_of(form.raw)) + 1, 2)) * 0.6


@drives
def test_tools_of_an_unknown_syntax(drive: Drive) -> None:
    """If nobody knows how the model writes calls, raw prompts are not used: a call in them could not be read."""
    server = Engine(cap=30, tokens=80)
    body = fox(tools=TOOLS)
    goes_on(drive(server, body, chat_template=template_of(server.habits)), server, body)
    assert all("messages" in later for later in server.bodies)


@drives
@pytest.mark.parametrize("name", ["deepinfra, plain", "vllm, qwen3", "llama.cpp, trims"])
def test_documents(name: str, drive: Drive) -> None:
    """A JSON document that is cut goes on as text, without the format, and ends where it ends."""
    provider, habits = ENGINES[name]
    body = fox(response_format={"type": "json_object"})
    for cap in (30, 41, 66):
        server = Engine(habits=habits, cap=cap, tokens=90)
        answer = drive(server, body, provider=provider, chat_template=template_of(habits))
        want = server.uncapped(body)
        assert (want.thoughts, want.text, "stop") == (answer.thoughts, answer.text, answer.finish_reason)
        assert json.loads(answer.text)
        assert not any("response_format" in later for later in server.bodies[1:])
        assert server.derailed == 0


# Logprobs and usage.


@drives
def test_logprobs(drive: Drive) -> None:
    """Logprobs have the shape of chat, and spell the answer."""
    habits = Habits()
    for cap in (20, 33):
        server = Engine(habits=habits, cap=cap, tokens=70)
        body = fox(logprobs=True, top_logprobs=2)
        answer = drive(server, body, chat_template=template_of(habits))
        want = server.uncapped(body)
        assert (want.text, want.text.encode()) == (answer.text, answer.spelled)
        assert [later["logprobs"] for later in server.bodies[1:3]] == [2, 2]
        chunks = answer.raw if drive is streamed else [answer.raw]
        listed = [token for one in chunks for item in one["choices"] for token in (item.get("logprobs") or {}).get("content") or ()]  # fmt: skip
        assert all({"token", "logprob", "bytes", "top_logprobs"} == token.keys() for token in listed)
        assert all(2 == len(token["top_logprobs"]) for token in listed)


@drives
def test_shape_and_usage(drive: Drive) -> None:
    """The merged answer is a chat answer with the names of the first round, and usage is the sum."""
    provider, habits = ENGINES["deepinfra, qwen3"]
    server = Engine(habits=habits, cap=20, tokens=60)
    answer = drive(server, fox(), provider=provider, chat_template=template_of(habits))
    assert answer.usage is not None
    assert sum(server.given) == answer.usage["completion_tokens"]
    for one in answer.raw if drive is streamed else [answer.raw]:
        assert {"chat.completion.chunk" if drive is streamed else "chat.completion"} == {one["object"]}
        assert one["id"] == answer.rounds[0]["id"]
        for item in one["choices"]:
            assert "text" not in item
            assert not {"reasoning"} & (item.get("delta") or item.get("message") or {}).keys()


@drives
def test_fields_of_thoughts(drive: Drive) -> None:
    """Thoughts stay in the field in which the first round had them."""
    for field in ("reasoning", "reasoning_content"):
        kind: Any = field
        habits = Habits(thinks=kind, template="qwen3", think_blanks="kept", think_tokens=40)
        server = Engine(habits=habits, cap=20, tokens=40)
        answer = drive(server, fox(), provider="vllm", chat_template=template_of(habits))
        want = server.uncapped(fox())
        assert (want.thoughts, want.text) == (answer.thoughts, answer.text)
        holders = [item.get("delta") or item.get("message") or {} for one in (answer.raw if drive is streamed else [answer.raw]) for item in one["choices"]]  # fmt: skip
        assert {field} == {name for holder in holders for name in ("reasoning", "reasoning_content") if holder.get(name)}  # fmt: skip


def test_a_stop_string_ends_the_answer() -> None:
    """A stop string over a seam ends the answer, as it does in a chat."""
    text = "one two three four END five six"
    for drive in DRIVES:
        body = fox(stop=["r END"])
        for cap in range(2, 8):
            server = Engine(text, cap=(cap, 10**6))
            answer = drive(server, body, chat_template=template_of(server.habits))
            assert (answer.text, answer.finish_reason) == ("one two three fou", "stop")


def test_a_broken_raw_round_is_healed() -> None:
    """A stream that breaks off after any chunk of a raw round goes on from there, within the thoughts too."""
    provider, habits = ENGINES["vllm, qwen3"]
    want = Engine(habits=habits, tokens=40).uncapped(fox())
    for place in range(24):
        server = Engine(habits=habits, cap=24, tokens=40)
        rounds = rounds_of(fox(stream=True), provider, chat_template=template_of(habits))
        out: list[Json] = []
        while (request := rounds.next_request()) is not None:
            chunks = list(server.chunks(request.body))
            is_broken = len(server.bodies) == 2
            for chunk in chunks[:place] if is_broken else chunks:
                out += rounds.feed(request, chunk)
            if is_broken:
                out += rounds.fail(request, Failure("APIConnectionError", broke_off=True)).chunks
            else:
                out += rounds.end_of_stream(request)
        answer = Answer.of_chunks(out + rounds.last_chunks())
        assert (want.thoughts, want.text, "stop") == (answer.thoughts, answer.text, answer.finish_reason), place
        assert server.derailed == 0


@drives
@pytest.mark.parametrize("most", range(10, 18))
def test_what_may_begin_a_call_is_not_lost(drive: Drive, most: int) -> None:
    """With tools, an answer that ends at the caller's limit has its last characters, though a call might begin so."""

    class Limited(Calling):
        def _written(self, body: Json) -> Any:
            self._caps = [min(9, body.get("max_tokens", 9))]
            return super()._written(body)

    text = "one two three four five six seven eight nine ten eleven <tool and more words"
    server = Limited("hermes", Form(PLAIN, text), 9)
    body = fox(model=SYNTAXES["hermes"], tools=TOOLS, max_tokens=most)
    answer = drive(server, body, provider="vllm", chat_template=Template(PLAIN))

    assert "".join(tokens_of(text)[:most]) == answer.text


@pytest.mark.parametrize("end", ["<", "</th"])
def test_thoughts_that_end_like_a_tag(end: str) -> None:
    """vLLM's parser of GLM drops the blank before it ("6<"), so thoughts that end so stop, and the report says why."""
    rounds = rounds_of(fox(model="glm"), "vllm", chat_template=Template(GLM))
    request = rounds.next_request()
    assert request is not None
    said = {"role": "assistant", "content": None, "reasoning": f"I list 6{end}"}
    rounds.receive(request, {"id": "a", "choices": [{"index": 0, "message": said, "finish_reason": "length"}]})

    assert rounds.next_request() is None
    assert rounds.stopped_by == "reasoning"
