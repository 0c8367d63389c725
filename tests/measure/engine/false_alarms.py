"""
How often is a server that goes on rightly taken for one that opens a new turn?

    python tests/measure/engine/install_tokenizers.py     # once
    python tests/measure/engine/false_alarms.py           # --cuts 20000 --tokenizer Qwen3 --show 5
    python tests/measure/engine/false_alarms.py --answers 500

The texts are those that Python and its installed packages ship. The first table has false alarms per 100,000 cuts. A
text is cut after one of its tokens, at random or at a sign (a capital within a word, or "#", "*", "`" or "<" after a
word); the library says what it would send, and then judges the rest, by usage that is absent, exact, with four tokens
for each message, or with a prompt that is wrong by up to 5 %; on a row that is known to continue, and on one that is
not. The second table is made with one client for each row and usage, as a long-lived service has one: how many answers
of a server that goes on rightly come whole.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The library, and this folder's modules. A path that is given before them (PYTHONPATH) wins: another checkout.
sys.path.append(str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import httpx2 as http
import install_tokenizers
from token_seams import MODELS, open_tokenizer

import openai_continue
from openai_continue import Continuation
from openai_continue._tables import families, providers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KINDS = (
    ".py",
    ".md",
    ".rst",
    ".txt",
    ".js",
    ".html",
    ".css",
    ".c",
    ".h",
    ".pyi",
    ".toml",
    ".json",
    "LICENSE",
    "METADATA",
)
LENGTH = 8_000
USAGES = ("absent", "exact", "+4", "±5 %")
# A capital within a word, or a sign after one, is where the next token begins.
_SIGN = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\w)(?=[#*`<])")
#: Characters from where a text is tokenized again, before the end that is sent: tokens depend on no more.
_NEAR = 300


def texts(number: int, seed: int) -> list[tuple[str, str]]:
    """Return pieces of public files with their names, evenly of each kind of file."""
    chosen = random.Random(seed)
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    files = sorted({path for root in roots for path in root.rglob("*") if path.name.endswith(KINDS)})
    by_kind: dict[str, list[Path]] = {}
    for path in files:
        by_kind.setdefault(path.suffix or path.name, []).append(path)
    found = list[tuple[str, str]]()
    while len(found) < number:
        path = chosen.choice(by_kind[chosen.choice(sorted(by_kind))])
        try:
            text = path.read_text("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if len(text) > LENGTH // 4:
            start = chosen.randrange(max(len(text) - LENGTH, 1))
            start = text.rfind("\n", 0, start) + 1
            found.append((path.name, text[start : start + LENGTH]))
    return found


# False alarms of the core.


@dataclass(frozen=True)
class Cut:
    """A place in a text: what is before it and after it, and how many tokens stand before it, near it."""

    before: str
    after: str
    tokens: int
    start: int


def cuts(text: str, ends: Sequence[int], number: int, chosen: random.Random, *, at_signs: bool) -> Iterator[Cut]:
    """Give so many cuts of a text, none within a character. ``ends``: where its tokens end."""
    if at_signs:
        signs = {found.start() for found in _SIGN.finditer(text)}
        places = [place for place, end in enumerate(ends) if end in signs]
    else:
        places = list(range(len(ends) // 8, len(ends) - 1))
    places = [place for place in places if place + 1 < len(ends) and ends[place] < ends[place + 1]]
    for place in chosen.sample(places, min(number, len(places))):
        end = ends[place]
        near = next((n for n in range(place, -1, -1) if ends[n] < end - _NEAR and text[ends[n]].isspace()), -1)
        start = ends[near] if near >= 0 else 0
        yield Cut(text[:end], text[end:], place - near, start)


class Judge:
    """What the library would say of a cut, for the model of one tokenizer."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        from openai_continue._core.codec import chat

        model = MODELS[name][0]
        body = {"model": model, "messages": [{"role": "user", "content": "?"}], "stream": True}
        row = providers.named("ollama")
        self._writer = chat.ChatCodec(body, row, trims=families.trims(model), structured=False)
        self._body, self._tokenizer = body, tokenizer

    def alarms(self, cut: Cut, chosen: random.Random) -> Iterator[tuple[str, str]]:
        """Give the usage and the row of each false alarm."""
        from openai_continue._core.codec.draft import Draft
        from openai_continue._core.text.evidence import ENOUGH_IF_KNOWN
        from openai_continue._core.text.seam import Stopped

        body, seam = self._writer.write(self._body, Draft(cut.before, hold=self._writer.tail.hold, streamed=True))
        sent = body["messages"][-1]["content"]
        new = (cut.before + cut.after)[len(sent) :]
        again = len(self._tokenizer.encode(sent[cut.start :], add_special_tokens=False).ids)
        exact = again - cut.tokens + bool(seam.held)
        prompt = chosen.randrange(20, 4_000)
        wrong = round(chosen.uniform(-0.05, 0.05) * prompt)
        for usage, surplus in zip(USAGES, (None, exact, exact + 4, exact + 4 + wrong), strict=True):
            if seam.copied(new, ended=True, surplus=surplus) is Stopped.RESTARTED:
                yield usage, "unknown"
                known = replace(seam, enough=ENOUGH_IF_KNOWN).copied(new, ended=True, surplus=surplus)
                if known is Stopped.RESTARTED:
                    yield usage, "known"


def count(names: Sequence[str], number: int, seed: int, *, show: int) -> None:
    """Count the false alarms of so many random cuts, and as many at signs, and print them."""
    public = texts(max(number // 200, 50), seed)
    each = -(-number // len(names) // len(public))
    chosen, found, totals = random.Random(seed), Counter[tuple[bool, str, str]](), [0, 0]
    shown = list[str]()
    for name in names:
        tokenizer = open_tokenizer(name)
        judge = Judge(name, tokenizer)
        for file, text in public:
            ends = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
            for at_signs in (False, True):
                for cut in cuts(text, ends, each, chosen, at_signs=at_signs):
                    totals[at_signs] += 1
                    alarms = list(judge.alarms(cut, chosen))
                    found.update((at_signs, *alarm) for alarm in alarms)
                    if alarms and alarms[0][0] != USAGES[-1]:
                        shown.append(f"    {name}, {file}: {cut.before[-40:]!r} | {cut.after[:40]!r}, {alarms}")
        print(f"{name}: {totals}, {dict(found)}", file=sys.stderr, flush=True)
    print(*shown[:show], sep="\n" if show else "")
    print("| Cuts | Number | Row | " + " | ".join(USAGES) + " |", "|---|---|---|---|---|---|---|", sep="\n")
    for at_signs in (False, True):
        for row in ("unknown", "known"):
            shares = (f"{100_000 * found[at_signs, usage, row] / max(totals[at_signs], 1):.1f}" for usage in USAGES)
            print(f"| {'at signs' if at_signs else 'random'} | {totals[at_signs]} | {row} | {' | '.join(shares)} |")


# Answers of one client.


class Server:
    """Writes the text of the answer under way; the first request of each gets its beginning, the next one the rest."""

    def __init__(self, usage: str, tokenizer: Any) -> None:
        self._usage, self._tokenizer = usage, tokenizer
        self.text, self.place, self.tokens = "", 0, 0

    def __call__(self, request: Any) -> Any:
        last = json.loads(request.content)["messages"][-1]
        sent = last["content"] if last["role"] == "assistant" else ""
        ended = bool(sent)
        said = self.text[len(sent) :] if ended else self.text[: self.place]
        item = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        item["finish_reason"] = "stop" if ended else "length"
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [item]}
        if self._usage != "absent":
            prompt = 14 + (len(self._tokenizer.encode(sent, add_special_tokens=False).ids) if sent else 0)
            # A gateway that estimates has four tokens for each message.
            prompt += 4 * (2 if sent else 1) if self._usage == "estimated" else 0
            written = len(self._tokenizer.encode(said, add_special_tokens=False).ids) if ended else self.tokens
            answer["usage"] = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        return http.Response(200, content=json.dumps(answer).encode())


def come_whole(number: int, seed: int) -> None:
    """Print how many answers of one client come whole, of a server that goes on rightly."""
    tokenizer = open_tokenizer("Qwen3")
    print("| Row | Usage | Answers | Whole | Stopped for good after |", "|---|---|---|---|---|", sep="\n")
    sums = [0, 0]
    for row in ("deepinfra", "vllm", "ollama"):
        for usage in ("absent", "exact", "estimated"):
            chosen, server = random.Random(seed), Server(usage, tokenizer)
            whole, last = 0, 0
            settings = Continuation(provider=row, request_limit="round")
            client = openai_continue.OpenAI(
                base_url="http://none/v1",
                api_key="none",
                continuation=settings,
                http_client=http.Client(transport=http.MockTransport(server)),
            )
            sources = [text for name, text in texts(200, seed) if name.endswith(".py")]
            for answer in range(1, number + 1):
                text = chosen.choice(sources)
                ends = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
                place = chosen.randrange(1, len(ends) - 1)
                server.text, server.place, server.tokens = text, ends[place], place + 1
                got = client.chat.completions.create(
                    model="deepseek-ai/DeepSeek-V3.2", messages=[{"role": "user", "content": "?"}], max_tokens=place + 1
                )
                if got.choices[0].message.content == text and got.choices[0].finish_reason == "stop":
                    whole, last = whole + 1, answer
            sums = [sums[0] + number, sums[1] + whole]
            print(f"| {row} | {usage} | {number} | {whole} | {'never' if last > number - 20 else last} |", flush=True)
    print(f"{sums[1]} of {sums[0]} came whole")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", choices=install_tokenizers.NAMES, action="append")
    parser.add_argument("--cuts", type=int, default=100_000, help="how many random cuts (default: %(default)s)")
    parser.add_argument("--answers", type=int, help="make the second table, of so many answers of each client")
    parser.add_argument("--seed", type=int, default=1, help="which pieces of the texts, and which cuts")
    parser.add_argument("--show", type=int, default=0, help="how many of the cuts to print whose text is to blame")
    chosen = parser.parse_args()
    if not install_tokenizers.installed():
        sys.exit("the tokenizers are not installed; run: python tests/measure/engine/install_tokenizers.py")
    if chosen.answers:
        come_whole(chosen.answers, chosen.seed)
    else:
        count(chosen.tokenizer or install_tokenizers.NAMES[:-1], chosen.cuts, chosen.seed, show=chosen.show)


if __name__ == "__main__":
    main()
