"""
Every field of a continued answer comes out as it does of an uncapped one, wherever the answer was cut.

An answer is a list of tokens, and each token brings its own values of the fields that its server sends. So an uncapped
answer, and the rounds of a cut one, are made of the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.support.bodies import ask
from tests.support.driving import streamed, whole

Json = dict[str, Any]

#: What becomes of a field over several rounds, by the kind of the field.
RULES = {
    "join": "A text or list that grows with the answer: what all rounds brought, in order, each once.",
    "sum": "An amount of usage: what all rounds used. Of the prompt, which each round sends again, the first round's.",
    "last": "Anything else, also a flag or a rate in usage: as the last round's server sent it.",
    "first": "What names the answer, or is said of the prompt: as the first chunk has it that has it.",
}
#: The rule of each field that is neither in a message or delta nor in usage; the SDK folds those.
TOP = {
    "citations": "join",
    "sources": "join",
    "timings": "last",
    "service_tier": "last",
    "from_cache": "last",
    "prompt_token_ids": "first",
}
CHOICE = {
    "token_ids": "join",
    "marks": "join",
    "stop_reason": "last",
    "flagged": "last",
    "safety": "last",
    "prompt_logprobs": "first",
}
#: Fields of a message or delta. Lists of them are joined by the SDK itself.
MESSAGE = ("references", "spans")
PLACES = ("top", "trailing", "trailing null", "trailing missing", "choice", "groq", "every chunk", "none")
_GROWS = ("citations", "sources", "token_ids", "marks", *MESSAGE)
_OF_FIRST = ("prompt_token_ids", "prompt_logprobs")


@dataclass(frozen=True)
class Server:
    """Answers each request with the tokens of the next round, whatever it is asked."""

    #: The fields that it sends, of those above.
    sends: frozenset[str]
    #: The names of the field of the thoughts; the number of tokens of thoughts, and of all tokens.
    thoughts: tuple[str, ...]
    thought: int
    tokens: int
    #: Before which tokens a round is cut.
    cuts: tuple[int, ...]
    #: Where usage is.
    usage: str
    #: Whether the chunk that ends a round has the last token; whether the first chunk has no id, model, ... yet.
    ends_with_text: bool
    names_late: bool
    logprobs: bool

    def rounds(self) -> Any:
        """Return what ``whole()`` and ``streamed()`` ask."""
        return _Asked(self)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Return the places of the tokens of each round."""
        return list(pairwise((0, *self.cuts, self.tokens)))

    # The values of a token.

    def _text(self, token: int) -> Json:
        text = f"thought{token}" if token < self.thought else f"word{token}"
        text = text if token in (0, self.thought) else f" {text}"
        return dict.fromkeys(self.thoughts, text) if token < self.thought else {"content": text}

    def _of(self, names: Iterable[str], token: int) -> Json:
        fields: Json = {}
        for name in names:
            if name not in self.sends:
                continue
            if name in _OF_FIRST:
                fields[name] = [1, 2, 3]
            elif name in _GROWS:
                # Not every token has a source.
                fields[name] = [token, token + 100] if name == "token_ids" or token % 2 else []
            else:
                fields[name] = {
                    "timings": {"predicted_n": token, "predicted_per_second": 1.5 * token},
                    "service_tier": f"tier {token}",
                    "from_cache": bool(token % 2),
                    "stop_reason": token,
                    "flagged": not token % 2,
                    "safety": {"level": token, "hits": [token]},
                }[name]
        return fields

    def _usage(self, start: int, end: int) -> Json:
        thoughts = max(min(end, self.thought) - start, 0)
        return {
            "prompt_tokens": 10 + start,
            "completion_tokens": end - start,
            "total_tokens": 10 + end,
            "prompt_tokens_details": {"cached_tokens": start},
            "completion_tokens_details": {"reasoning_tokens": thoughts, "audio_tokens": None},
            "cost": (end - start) * 0.5,
            "generation_duration": (end - start) * 2,
            "is_byok": bool(end % 2),
            "tokens_per_second": end * 2,
            "finished_at": 1_700_000_000 + end,
            "tier": f"tier {end}",
            "time_to_first_token": 5 + start,
        }

    # A round.

    def completion(self, number: int) -> Json:
        start, end = self.parts[number]
        message: Json = {"role": "assistant", "content": None}
        item: Json = {"index": 0, "message": message, "finish_reason": self._finish(number)}
        answer = self._head("chat.completion", number)
        for token in range(start, end):
            for name, text in self._text(token).items():
                message[name] = (message.get(name) or "") + text
            for fields, names in ((message, MESSAGE), (item, CHOICE), (answer, TOP)):
                _take(fields, self._of(names, token))
            if self.logprobs and token >= self.thought:
                item["logprobs"] = {"content": [*(item.get("logprobs") or {"content": []})["content"], _logprob(token)]}
        answer["choices"] = [item]
        _set_usage(answer, self.usage, self._usage(start, end))
        return answer

    def chunks(self, number: int) -> list[Json]:
        start, end = self.parts[number]
        head = self._head("chat.completion.chunk", number)
        none: Json = {"index": 0, "delta": {}, "finish_reason": None}
        chunks = [{**head, "choices": [{**none, "delta": {"role": "assistant", "content": ""}}]}]
        if self.names_late:
            chunks[0] |= {"id": "", "created": 0, "model": "", "system_fingerprint": None}
        chunks[0] |= {name: [1, 2, 3] for name in ("prompt_token_ids",) if name in self.sends}
        for token in range(start, end):
            delta = {**self._text(token), **self._of(MESSAGE, token)}
            beside = self._of([name for name in CHOICE if token == start or name not in _OF_FIRST], token)
            top = self._of([name for name in TOP if name not in _OF_FIRST], token)
            item = {**none, "delta": delta, **beside}
            if self.logprobs and token >= self.thought:
                item["logprobs"] = {"content": [_logprob(token)]}
            chunks.append({**head, **top, "choices": [item]})
            if self.usage == "every chunk":
                chunks[-1]["usage"] = self._usage(start, token + 1)
        if not self.ends_with_text:
            top = self._of([name for name in TOP if name not in (*_OF_FIRST, *_GROWS)], end - 1)
            beside = self._of([name for name in CHOICE if name not in (*_OF_FIRST, *_GROWS, "safety")], end - 1)
            chunks.append({**head, **top, "choices": [{**none, **beside}]})
        chunks[-1]["choices"][0]["finish_reason"] = self._finish(number)
        usage = self._usage(start, end)
        if self.usage.startswith("trailing"):
            chunks.append({**head, "usage": usage, "choices": None if self.usage.endswith("null") else []})
            if self.usage.endswith("missing"):
                del chunks[-1]["choices"]
        else:
            _set_usage(chunks[-1], self.usage, usage)
        return chunks

    def _finish(self, number: int) -> str:
        return "stop" if number == len(self.parts) - 1 else "length"

    def _head(self, kind: str, number: int) -> Json:
        return {"id": f"id-{number}", "object": kind, "created": 7 + number, "model": "m", "system_fingerprint": "f"}


def _take(fields: Json, more: Mapping[str, Any]) -> None:
    """Add the fields of one more token to those of a whole round."""
    for name, value in more.items():
        if name in _GROWS:
            fields[name] = [*fields.get(name, []), *value]
        elif name == "safety" and name in fields:
            fields[name] = {**value, "hits": [*fields[name]["hits"], *value["hits"]]}
        else:
            fields[name] = value


def _logprob(token: int) -> Json:
    text = f"word{token}" if token == 0 else f" word{token}"
    return {"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}


def _set_usage(answer: Json, place: str, usage: Json) -> None:
    if place == "choice":
        answer["choices"][0]["usage"] = usage
    elif place == "groq":
        answer["x_groq"] = {"id": "req", "usage": usage}
    elif place != "none":
        answer["usage"] = usage


class _Asked:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._number = -1

    def completion(self, _: Json) -> Json:
        self._number += 1
        return self._server.completion(self._number)

    def chunks(self, _: Json) -> list[Json]:
        self._number += 1
        return self._server.chunks(self._number)


def folded(chunks: list[Json]) -> Json:
    """Fold a stream: by the SDK's own accumulator, and what that does not know by the rules."""
    state = ChatCompletionStreamState()
    known: Json = {}
    for chunk in chunks:
        items = chunk.get("choices") or []
        # The SDK gives up at null; its users skip such a chunk, or read its usage.
        state.handle_chunk(construct_type(type_=ChatCompletionChunk, value={**chunk, "choices": items}))  # type: ignore
        for fields, rules in ((chunk, TOP), *[(item, CHOICE) for item in items]):
            for name, rule in rules.items():
                if fields.get(name) is not None:
                    known[name] = _folded(rule, known.get(name), fields[name])
        for found in (chunk.get("usage"), *[item.get("usage") for item in items]):
            known["usage"] = found or known.get("usage")
        known["usage"] = (chunk.get("x_groq") or {}).get("usage") or known["usage"]
    for name in ("id", "created", "model", "system_fingerprint"):
        known[name] = next((chunk[name] for chunk in chunks if chunk.get(name)), None)
    snapshot = state.current_completion_snapshot.to_dict()
    return {**known, "choices": [_without_extras(item) for item in snapshot["choices"]]}


def _without_extras(item: Any) -> Json:
    return {name: value for name, value in item.items() if name in ("index", "message", "finish_reason", "logprobs")}


def _folded(rule: str, known: Any, value: Any) -> Any:
    if known is None or rule == "last":
        return value
    return known if rule == "first" else [*known, *value]


@st.composite
def servers(draw: Any) -> Server:
    tokens = draw(st.integers(2, 9))
    thought = draw(st.integers(0, tokens - 1)) if draw(st.booleans()) else 0
    return Server(
        sends=draw(st.frozensets(st.sampled_from([*TOP, *CHOICE, *MESSAGE]))),
        thoughts=draw(st.sampled_from([("reasoning",), ("reasoning_content",), ("reasoning_content", "reasoning")])),
        thought=thought,
        tokens=tokens,
        cuts=tuple(sorted(draw(st.sets(st.integers(1, tokens - 1), min_size=1)))),
        usage=draw(st.sampled_from(PLACES)),
        ends_with_text=draw(st.booleans()),
        names_late=draw(st.booleans()),
        logprobs=draw(st.booleans()),
    )


def asked(server: Server) -> Json:
    options = {"stream_options": {"include_usage": True}}
    # DeepSeek continues thoughts too.
    return {"body": ask(**options), "provider": "deepseek", "max_rounds": 20, "usage": "one_call"}


@settings(max_examples=settings.default.max_examples * 3)
@given(server=servers())
def test_whole_answer(server: Server) -> None:
    """A merged whole answer is the uncapped one, field by field."""
    merged = whole(server.rounds(), **asked(server)).raw
    uncapped = replace(server, cuts=()).completion(0)
    # If usage is somewhere else, it is at the top too.
    apart = {"continuation"} if "usage" in uncapped else {"continuation", "usage"}

    assert uncapped == {name: value for name, value in merged.items() if name not in apart}


@settings(max_examples=settings.default.max_examples * 3)
@given(server=servers())
def test_stream(server: Server) -> None:
    """A merged stream, folded, is the uncapped one, folded."""
    merged = streamed(server.rounds(), **asked(server)).raw
    uncapped = replace(server, cuts=()).chunks(0)

    assert folded(uncapped) == folded(merged)
