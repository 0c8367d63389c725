"""
Are the seams of sampled answers right? At temperature 0.8 there is no uncapped answer to compare with.

    python tests/measure/engine/sampled.py                    # --template trim --caps 16 --prompts 4 --temperature 0

vLLM returns the token ids of each prompt and of each answer. The prompt of a further round is token-exact if it is a
beginning of an earlier prompt and its answer. A model sometimes samples a word in other pieces than the tokenizer would
split it into; no rule can send those back, so they are counted by themselves. And the whole answer must read as the
last prompt and its answer do: a character that was lost, doubled or invented at a seam shows there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

import openai_continue
from openai_continue import Continuation

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers
import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = servers.CHAT_MODEL
LONGEST = 200


@dataclass(frozen=True)
class Exchange:
    """The tokens of one round."""

    prompt: list[int]
    answer: list[int]


@dataclass
class Tally:
    """What came of the answers of one template and way."""

    answers: int = 0
    seams: int = 0
    exact: int = 0
    #: Seams of text that the tokenizer would have split otherwise.
    odd: int = 0
    #: Other seams whose prompt has other tokens than were generated.
    retokenized: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Tee(httpx.HTTPTransport):
    """Keeps the bytes of each response as they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytearray] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        body = bytearray()
        self.bodies.append(body)
        assert isinstance(response.stream, httpx.SyncByteStream)
        return httpx.Response(response.status_code, headers=response.headers, stream=Copied(response.stream, body))

    def exchanges(self) -> list[Exchange]:
        """Return the tokens of each round that answered."""
        return [exchange for body in self.bodies if (exchange := exchange_of(bytes(body))) is not None]


class Copied(httpx.SyncByteStream):
    """A response's stream, copied as it is read."""

    def __init__(self, stream: httpx.SyncByteStream, copy: bytearray) -> None:
        self._stream = stream
        self._copy = copy

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._copy += part
            yield part

    def close(self) -> None:
        self._stream.close()


def exchange_of(body: bytes) -> Exchange | None:
    """Return the tokens of a response, whole or streamed. A stream may have been left in the middle of a line."""
    if body.startswith(b"{"):
        documents = [json.loads(body)]
    else:
        lines = body.split(b"\n\n")[:-1]
        documents = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    prompt: list[int] = []
    answer: list[int] = []
    for document in documents:
        prompt = document.get("prompt_token_ids") or prompt
        for choice in document.get("choices", ()):
            answer += choice.get("token_ids") or []
    return Exchange(prompt, answer) if prompt else None


def text_of(base_url: str, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without the end of the turn and without half a character."""
    text: str = _post(base_url, "detokenize", tokens=list(tokens))["prompt"]
    return text.removesuffix("<|im_end|>").rstrip("\ufffd")


def pieces_of(base_url: str, tokens: Sequence[int], one: Sequence[int], other: Sequence[int]) -> list[str]:
    """Return the texts of the tokens around the place where two lists of tokens part."""
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return [text_of(base_url, [token]) for token in tokens[max(place - 3, 0) : place + 5]]


def is_odd(base_url: str, exchange: Exchange) -> bool:
    """Whether the tokenizer would split the text of a prompt and its answer otherwise."""
    text = text_of(base_url, exchange.prompt + exchange.answer)
    tokens: list[int] = _post(base_url, "tokenize", prompt=text, add_special_tokens=False)["tokens"]
    return tokens != (exchange.prompt + exchange.answer)[: len(tokens)]


def _post(base_url: str, name: str, **wanted: Any) -> Any:
    body = json.dumps({"model": MODEL, **wanted}).encode()
    url = f"{base_url.removesuffix('/v1')}/{name}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)


def ask(base_url: str, prompt: str, cap: int, *, streams: bool, temperature: float) -> tuple[str, list[Exchange]]:
    """Return an answer's text and the tokens of its rounds."""
    tee = Tee()
    settings = Continuation(provider="vllm", round_tokens=cap, max_rounds=4 * LONGEST)
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": temperature,
        "seed": 20261125,
        "max_tokens": LONGEST,
        "extra_body": {"return_token_ids": True},
    }
    http = httpx.Client(transport=tee, timeout=600)
    with openai_continue.OpenAI(base_url=base_url, api_key="none", continuation=settings, http_client=http) as client:
        answer = sweep.streamed(client, request) if streams else sweep.whole(client, request)
    return answer.text, tee.exchanges()


def check(base_url: str, tally: Tally, where: str, text: str, rounds: list[Exchange]) -> None:
    """Count the seams of one answer, and compare its text with what its last round shows."""
    tally.answers += 1
    for number, exchange in enumerate(rounds[1:], 1):
        tally.seams += 1
        before = [earlier.prompt + earlier.answer for earlier in rounds[:number]]
        if any(exchange.prompt == all_[: len(exchange.prompt)] for all_ in before):
            tally.exact += 1
        elif is_odd(base_url, rounds[number - 1]):
            tally.odd += 1
        else:
            pieces = (
                pieces_of(base_url, tokens, before[-1], exchange.prompt) for tokens in (before[-1], exchange.prompt)
            )
            tally.retokenized.append(f"{where}: {' became '.join(map(repr, pieces))}")
    # The first prompt ends with the header of the answer, and so does each other one before the text sent back.
    last = rounds[-1]
    shown = text_of(base_url, (last.prompt + last.answer)[len(rounds[0].prompt) :])
    if shown != text:
        tally.wrong.append(f"{where}: {sweep.difference(shown, text)}")


def main() -> int:
    """Ask, check and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", choices=sweep.TEMPLATES[MODEL], action="append")
    parser.add_argument("--caps", type=int, nargs="+", default=[11, 16, 40])
    parser.add_argument("--prompts", type=int, help="how many of the sweep's prompts")
    parser.add_argument("--temperature", type=float, default=0.8)
    chosen = parser.parse_args()
    rows = [
        "| Template | Temperature | Way | Answers | Text right | Seams | Token-exact | Sampled in other pieces |",
        "|---|---|---|---|---|---|---|---|",
    ]
    wrong = 0
    for template in chosen.template or sweep.TEMPLATES[MODEL]:
        with sweep.server("vllm", template, MODEL) as base_url, ThreadPoolExecutor(8) as pool:
            for way in ("whole", "streamed"):
                asked = list(itertools.product(sweep.PROMPTS[MODEL][: chosen.prompts], chosen.caps))
                answers = pool.map(
                    lambda one, way=way, url=base_url: ask(
                        url, *one, streams=way == "streamed", temperature=chosen.temperature
                    ),
                    asked,
                )
                tally = Tally()
                for (prompt, cap), (text, rounds) in zip(asked, answers, strict=True):
                    check(base_url, tally, f"{prompt!r}, cap {cap}, {way}", text, rounds)
                for line in (
                    *(f"tokens: {each}" for each in tally.retokenized),
                    *(f"TEXT: {each}" for each in tally.wrong),
                ):
                    print(f"  {line}", flush=True)
                wrong += len(tally.wrong)
                counted = f"{tally.answers} | {tally.answers - len(tally.wrong)} | {tally.seams} | {tally.exact} | {tally.odd}"
                rows.append(f"| {template} | {chosen.temperature} | {way} | {counted} |")
    print("\n".join(rows))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
