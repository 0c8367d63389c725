"""
Which text may go back to a server so that every token of the prompt stays as it was generated?

    python tests/measure/engine/install_tokenizers.py     # once
    python tests/measure/engine/token_seams.py            # --failures 5 --tokenizer "Qwen3" --rule raw

No model is needed: a text is cut after each of its tokens, a rule says what is sent of it, and the tokens of that must
be a prefix of the text's own. Cuts inside a character are left out: no server sends half a character. Prints one table:
the share of token-exact cuts of each rule on each tokenizer, and how many characters the rule holds back on average.

The last columns are what the library sends by default, by the model's name, as the model's chat template renders it. A
stream whose tail does not come back is asked again with less held back, as a whole answer is from the beginning.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The library of this checkout, and this folder's modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import install_tokenizers
from token_texts import TEXTS

from openai_continue._core.codec import chat
from openai_continue._core.codec.draft import Draft
from openai_continue._core.text import seam
from openai_continue._tables import families, providers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: What a request calls each model, and whether its chat template trims the message sent back. No name: unknown.
MODELS = {
    "DeepSeek V3": ("deepseek-ai/DeepSeek-V3.1", False),
    "DeepSeek V4": ("deepseek-ai/DeepSeek-V4", False),
    "Gemma 3": ("google/gemma-3-27b-it", True),
    "gpt-oss": ("openai/gpt-oss-120b", False),
    "Llama 3.1": ("meta-llama/Llama-3.1-70B-Instruct", True),
    "Qwen3": ("Qwen/Qwen3-32B", False),
    "SmolLM2": ("HuggingFaceTB/SmolLM2-135M-Instruct", False),
    "our tiny model": ("tinylist", False),
}


def without_indentation(text: str) -> str:
    """Hold back trailing blanks, unless they follow a newline."""
    bare = text.rstrip(" \t")
    return "" if bare.endswith("\n") else text[len(bare) :]


def non_word_run(text: str) -> str:
    """Hold back all that follows the last letter or digit, whether or not it ends in whitespace."""
    found = re.search(r"\W*\Z", text)
    assert found is not None
    return found.group() if found.start() else ""


def last_word(text: str) -> str:
    """Hold back the last word, and what follows it (the AI SDK, version 4)."""
    found = re.search(r"\S*\s*\Z", text)
    assert found is not None
    return found.group() if found.start() else ""


#: What each rule holds back of a text.
RULES: dict[str, Callable[[str], str]] = {
    "raw": lambda _: "",
    "without blanks": lambda text: seam.held_whitespace(text, trims=False),
    "the same, but not indentation": without_indentation,
    "without whitespace": lambda text: seam.held_whitespace(text, trims=True),
    "to a word": lambda text: seam.held_to_word(text, trims=False),
    "any punctuation": non_word_run,
    "the last word": last_word,
}
#: Temperature and streaming of the requests whose prefill is measured.
REQUESTS = {
    "library, temperature 0": (0, False),
    "above 0, whole": (0.8, False),
    "above 0, streamed": (0.8, True),
}


def library(name: str, temperature: float, *, stream: bool) -> Callable[[str], str]:
    """Return the library's own rule for a model: what the server's prompt does not have of the text."""
    model, template_trims = MODELS[name]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "?"}],
        "temperature": temperature,
        "stream": stream,
    }
    writer = chat.ChatCodec(body, providers.named("vllm"), trims=families.trims(model), structured=False)

    def held(text: str) -> str:
        draft = Draft(text, hold=writer.tail.hold, unproven=False, streamed=stream)
        sent = writer.write(body, draft)[0]["messages"][-1]["content"]
        return text[len(sent.rstrip() if template_trims else sent) :]

    return held


def rules_for(name: str) -> dict[str, Callable[[str], str]]:
    """Return all rules for one tokenizer."""
    asked = {rule: library(name, temperature, stream=stream) for rule, (temperature, stream) in REQUESTS.items()}
    return {**RULES, **asked}


@dataclass
class Tally:
    """What came of one rule on one tokenizer."""

    cuts: int = 0
    exact: int = 0
    held: int = 0
    failures: list[str] = field(default_factory=list)


def cuts(tokenizer: Any, text: str) -> tuple[list[int], list[str]]:
    """Return the tokens of a text, and its beginnings that end with a token, without those inside a character."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = (tokenizer.decode(ids[:end], skip_special_tokens=False) for end in range(1, len(ids)))
    return ids, [beginning for beginning in decoded if text.startswith(beginning)]


def measure(tokenizer: Any, rules: dict[str, Callable[[str], str]]) -> Iterator[tuple[str, str, str, str, bool]]:
    """Give rule, kind of text, the beginning, what is held back of it, and whether the rest is token-exact."""
    for kind, text in TEXTS.items():
        ids, beginnings = cuts(tokenizer, text)
        rows = [(name, cut, rule(cut)) for cut in beginnings for name, rule in rules.items()]
        # Most rules send the same of most cuts.
        sent = list(dict.fromkeys(cut[: len(cut) - len(held)] for _, cut, held in rows))
        encoded = tokenizer.encode_batch(sent, add_special_tokens=False)
        exact = {one: all_.ids == ids[: len(all_.ids)] for one, all_ in zip(sent, encoded, strict=True)}
        for name, cut, held in rows:
            yield name, kind, cut, held, exact[cut[: len(cut) - len(held)]]


def sweep(tokenizer: Any, rules: dict[str, Callable[[str], str]]) -> dict[str, Tally]:
    """Return the tally of each rule on one tokenizer."""
    tallies = {name: Tally() for name in rules}
    for name, kind, cut, held, exact in measure(tokenizer, rules):
        tally = tallies[name]
        tally.cuts += 1
        tally.exact += exact
        tally.held += len(held)
        if not exact:
            text = TEXTS[kind]
            tally.failures.append(f"{kind}: {cut[-24:]!r} | {text[len(cut) : len(cut) + 16]!r}, held {held!r}")
    return tallies


def open_tokenizer(name: str) -> Any:
    """Open one of the installed tokenizers."""
    sys.path.append(str(install_tokenizers.PACKAGES))
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(install_tokenizers.file(name)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", choices=install_tokenizers.NAMES, action="append")
    parser.add_argument("--rule", choices=[*RULES, *REQUESTS], action="append")
    parser.add_argument("--failures", type=int, default=0, help="how many of the cuts that are not exact to print")
    chosen = parser.parse_args()
    if not install_tokenizers.installed():
        sys.exit("the tokenizers are not installed; run: python tests/measure/engine/install_tokenizers.py")
    rules = chosen.rule or [*RULES, *REQUESTS]
    print(f"| Tokenizer | cuts | {' | '.join(rules)} |", f"|---|---|{'---|' * len(rules)}", sep="\n")
    held: Counter[str] = Counter()
    asked = 0
    for name in chosen.tokenizer or install_tokenizers.NAMES:
        tallies = sweep(open_tokenizer(name), {rule: rules_for(name)[rule] for rule in rules})
        number = next(iter(tallies.values())).cuts
        asked += number
        held.update({rule: tally.held for rule, tally in tallies.items()})
        shares = (f"{100 * tally.exact / tally.cuts:.2f}" for tally in tallies.values())
        print(f"| {name} | {number} | {' | '.join(shares)} |", flush=True)
        for rule, tally in tallies.items() if chosen.failures else ():
            print(*(f"    {rule}: {failure}" for failure in tally.failures[: chosen.failures]), sep="\n")
    print(f"| characters held back, mean | | {' | '.join(f'{held[rule] / asked:.2f}' for rule in rules)} |")


if __name__ == "__main__":
    main()
