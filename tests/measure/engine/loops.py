"""
How many loops are noticed, how late, and how often is repetition for a reason taken for one?

    python tests/measure/engine/loops.py                      # --files 3000 --show 5
    python tests/measure/engine/loops.py --engine vllm        # the loops of small models, too; --model chat --prompts 4

Loops are blocks of many sizes and prose with a counter or a date; ``tests/support/loops.py`` writes them. The texts
that repeat themselves for a reason are made there too, and read from the files that Python and its packages ship. Each
text comes as a stream does, in pieces of 1,024 characters, under several values of ``max_repetition``. A loop is noticed
if the stream is left within 2,000 characters after so many of it that it is one; a false alarm is any text that is
left. Rows of data with a counter are counted apart: nothing tells them from data, and they are not to be noticed.

With an engine, models are asked at temperature 0 for answers that they do not end. Those that fall into a loop, by how
far they can be compressed, are asked for again with ``max_repetition``. The exit code is 1 if less than 95 % of the
loops are noticed, or if there is a false alarm, at the default or above.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import openai
import servers
import sweep

import openai_continue
from openai_continue import Continuation
from tests.support import loops
from tests.support.loops import LOOP_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHARACTERS = (1_000, 4_096, LOOP_CHARACTERS)
#: Characters after which a loop is noticed late.
LATE = 2_000
WANTED = 0.95
#: Of the answers of models: the setting, the tokens of an answer, the characters at its end that are looked at, and how
# much of them is left of a loop that is compressed.
SMALL, TOKENS, END, REST = 1_000, 3_000, 4_000, 0.04


@dataclass
class Tally:
    """What came of the texts of one kind."""

    texts: int = 0
    noticed: int = 0
    latest: int = 0
    others: list[str] = field(default_factory=list)


def count_loops(several: Iterable[loops.Loop], characters: int) -> dict[str, Tally]:
    """Return how many loops of each kind are noticed in time."""
    tallies: dict[str, Tally] = {}
    for loop in several:
        tally = tallies.setdefault(loop.kind, Tally())
        tally.texts += 1
        place = loops.noticed_at(loop.text, characters)
        late = None if place is None else place - loop.start - loop.needed(characters)
        if late is not None and late <= LATE:
            tally.noticed += 1
            tally.latest = max(tally.latest, late)
        else:
            tally.others.append(f"{late} late: {loop.text[loop.start : loop.start + 80]!r}")
    return tallies


def count_alarms(texts: Iterable[tuple[str, str]], characters: int) -> Tally:
    """Return how many texts that repeat themselves for a reason are left."""
    tally = Tally()
    for name, text in texts:
        tally.texts += 1
        place = loops.noticed_at(text, characters)
        if place is not None:
            tally.others.append(f"{name}, at {place}: {text[max(place - 80, 0) : place]!r}")
    return tally


# The loops of models.


def of_engine(engine: str, models: Sequence[str], prompts: int | None, jobs: int) -> Iterator[tuple[str, str, Tally]]:
    """Ask each model; give the engine, the model, and what came of its loops."""
    for model in models:
        tally = Tally()
        with sweep.server(engine, "plain", model) as base_url, ThreadPoolExecutor(jobs) as pool:
            for start, late in pool.map(lambda one: _asked(base_url, engine, *one), _asking(model, prompts)):
                if start is None:
                    continue
                tally.texts += 1
                if isinstance(late, str):
                    tally.others.append(late)
                else:
                    tally.noticed, tally.latest = tally.noticed + 1, max(tally.latest, late)
        yield engine, model, tally


def _asking(model: str, prompts: int | None) -> list[tuple[str, str]]:
    return [(model, prompt) for prompt in sweep.PROMPTS[model][:prompts]]


def _asked(base_url: str, engine: str, model: str, prompt: str) -> tuple[int | None, int | str]:
    """Return where the loop of an answer starts, or None if it has none; and how late it is noticed, or what is wrong."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": TOKENS,
        # The models end their answers too early to fall into a loop.
        "extra_body": {"ignore_eos": True},
    }
    with openai.OpenAI(base_url=base_url, api_key="none", timeout=1200) as plain:
        truth = sweep.text_of(plain.chat.completions.create(**request).choices[0].message)
    if not _is_loop(truth[-END:]):
        return None, 0
    start = next(place for place in range(0, len(truth), 64) if _is_loop(truth[place : place + END]))
    settings = Continuation(provider=engine, max_repetition=SMALL)
    with openai_continue.OpenAI(base_url=base_url, api_key="none", timeout=1200, continuation=settings) as client:
        answer = sweep.streamed(client, request)
    if not truth.startswith(answer.text) or answer.report.get("stopped_by") != "repetition":
        return start, f"{prompt!r}: {answer.report.get('stopped_by')}: {sweep.difference(truth, answer.text)}"
    # The first characters that compress as a loop may begin with some that do not belong to it.
    late = len(answer.text) - start - SMALL
    return start, late if late <= LATE else f"{prompt!r}: {late} late: {truth[start : start + 80]!r}"


def _is_loop(text: str) -> bool:
    """Whether next to nothing of a text is left when it is compressed."""
    data = text.encode()
    return len(text) >= END // 2 and len(zlib.compress(data)) < REST * len(data)


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3_000, help="how many files of packages (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=60, help="how many blocks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which files and blocks")
    parser.add_argument("--show", type=int, default=5, help="how many of the others to print, of each kind")
    parser.add_argument("--engine", choices=sweep.ENGINES, help="ask an engine for loops of its models, too")
    parser.add_argument("--model", choices=sorted(sweep.PROMPTS), action="append")
    parser.add_argument("--prompts", type=int, help="how many of the prompts")
    parser.add_argument("--jobs", type=int, help="prompts asked at a time (default: what the engine makes)")
    chosen = parser.parse_args()
    rows = [
        "| `max_repetition` | Texts | Number | Noticed | Latest, in characters | Left, by mistake |",
        "|---|---|---|---|---|---|",
    ]
    counts: Counter[str] = Counter()
    for characters in CHARACTERS:
        several = [*loops.loops(chosen.blocks, chosen.seed), *loops.rows(chosen.seed)]
        for kind, tally in count_loops(several, characters).items():
            rows.append(f"| {characters:,} | {kind} | {tally.texts} | {tally.noticed} | {tally.latest:,} | |")
            _show(kind, characters, tally, chosen.show)
            if kind != loops.ROWS_KIND:
                counts.update(loops=tally.texts, noticed=tally.noticed)
        for kind, texts in (
            ("tables, data, drawings, logs, verse", loops.made(characters * 3 // 4)),
            ("notices of packages", loops.licences()),
            ("files of packages", loops.files(chosen.files, chosen.seed)),
        ):
            tally = count_alarms(texts, characters)
            rows.append(f"| {characters:,} | {kind} | {tally.texts} | | | {len(tally.others)} |")
            _show(kind, characters, tally, chosen.show)
            counts["alarms"] += len(tally.others) * (characters >= LOOP_CHARACTERS)
    if chosen.engine:
        jobs = chosen.jobs or servers.AT_A_TIME[chosen.engine]
        for engine, model, tally in of_engine(
            chosen.engine, chosen.model or sorted(sweep.PROMPTS), chosen.prompts, jobs
        ):
            rows.append(f"| {SMALL:,} | {engine}, {model} | {tally.texts} | {tally.noticed} | {tally.latest:,} | |")
            _show(model, SMALL, tally, chosen.show)
            counts.update(loops=tally.texts, noticed=tally.noticed)
    print("\n".join(rows))
    print(f"{counts['noticed']} of {counts['loops']} noticed, {counts['alarms']} false alarms at the default")
    return 0 if counts["noticed"] >= WANTED * counts["loops"] and not counts["alarms"] else 1


def _show(kind: str, characters: int, tally: Tally, most: int) -> None:
    for each in tally.others[:most]:
        print(f"{characters}, {kind}: {each}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
