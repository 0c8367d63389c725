"""
Which text may go back to a server so that every token of the prompt stays as it was generated?

    python tests/engine/install_tokenizers.py     # once
    python tests/engine/token_seams.py            # --failures 5 --tokenizer "Qwen3" --rule raw

No model is needed: a text is cut after each of its tokens, a rule says what is sent of it, and the tokens of that must
be a prefix of the text's own. Cuts inside a character are left out: no server sends half a character. Prints one table:
the share of token-exact cuts of each rule on each tokenizer, and how many characters the rule holds back on average.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The library of this checkout, and this folder's modules.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import install_tokenizers
from token_texts import TEXTS

from openai_continue.core import seam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_TAG = re.compile(r"</?\w+\Z")


def without_indentation(text: str) -> str:
    """Hold back trailing blanks, unless they follow a newline."""
    bare = text.rstrip(" \t")
    return "" if bare.endswith("\n") else text[len(bare) :]


def is_word(character: str) -> bool:
    """Whether a character belongs to a word. Unlike ``isalnum()`` this counts the marks of Arabic and of Hindi."""
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def to_word(text: str, *, tags: bool, always: bool = False) -> str:
    """
    Hold back trailing whitespace and the punctuation before it; trailing blanks only, if there is no word before.

    ``tags``: whether a tag goes with the punctuation that closes it: ``</li>`` is one token of Gemma's. ``always``:
    hold back punctuation that no whitespace follows too.
    """
    end = len(text)
    if not always and end == len(text.rstrip()):
        return ""
    while True:
        while end and not is_word(text[end - 1]):
            end -= 1
        tag = _TAG.search(text, max(0, end - 24), end) if tags and text[end : end + 1] == ">" else None
        if tag is None:
            break
        end = tag.start()
    return text[end:] if end else seam.held_whitespace(text, trims=False)


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
    "trailing blanks": lambda text: seam.held_whitespace(text, trims=False),
    "the same, but not indentation": without_indentation,
    "whitespace (template trims)": lambda text: seam.held_whitespace(text, trims=True),
    "to a word, if whitespace ends it": seam.held_to_word,
    "to a word, always": non_word_run,
    "the last word": last_word,
    "marks are words": functools.partial(to_word, tags=False),
    "and tags go too": functools.partial(to_word, tags=True),
    "the same, always": functools.partial(to_word, tags=True, always=True),
}


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
    parser.add_argument("--rule", choices=RULES, action="append")
    parser.add_argument("--failures", type=int, default=0, help="how many of the cuts that are not exact to print")
    chosen = parser.parse_args()
    if not install_tokenizers.installed():
        sys.exit("the tokenizers are not installed; run: python tests/engine/install_tokenizers.py")
    rules = {name: RULES[name] for name in chosen.rule or RULES}
    print(f"| Tokenizer | cuts | {' | '.join(rules)} |", f"|---|---|{'---|' * len(rules)}", sep="\n")
    held: Counter[str] = Counter()
    asked = 0
    for name in chosen.tokenizer or install_tokenizers.NAMES:
        tallies = sweep(open_tokenizer(name), rules)
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
