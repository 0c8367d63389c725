"""
Train a test model anew: ``make_model.py OUT_DIR [--minutes 8] [--calls | --thoughts]``.

A Llama of 1.1 million parameters that at temperature 0 writes long, varied, awkward and deterministic text. The item's
number decides all, so greedy decoding is unambiguous. It knows:

- "List items from 7.", "Write the document.": numbered items up to the last, then the end token;
- "JSON items from 7.": one object ``{"items": [...]}``, up to the next multiple of 50;
- "Think, then list items from 7.": ``<think>`` ... ``</think>`` and the list.

With ``--calls`` it is a smaller one, of 0.7 million parameters, which writes the tool calls of ``call_texts.py``; with
``--thoughts`` one of the same size, which thinks as in ``think_texts.py``.

Stages go by the clock, so another run gives other weights, and other texts at the seams: keep the ones in ``model/``,
``calls_model/`` and ``thoughts_model/``. The tokenizer is taken from there too. It was trained on Python's own library and on the words below, split as Qwen2
does, without the emoji and the CJK, which stay cut into bytes.
Needs torch, transformers and tokenizers, which vLLM's environment has.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import call_texts
import jinja2
import think_texts
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = Path(__file__).resolve().parent / "model"
CALLS_MODEL = MODEL.parent / "calls_model"
THOUGHTS_MODEL = MODEL.parent / "thoughts_model"
LAST = 300
ADJECTIVES = ["quiet", "crimson", "hollow", "bright", "ancient", "gentle", "frozen", "hidden", "restless", "golden"]
NOUNS = ["harbour", "lantern", "mountain", "engine", "garden", "mirror", "compass", "library", "orchard", "signal"]
PLACES = ["Lisbon", "Kyoto", "Tromsø", "Málaga"]
MARKS = ["é", "🦊", "日本", "a b", "x  y"]
SYSTEMS = ["", "", "", "You are a helpful assistant.", "Be brief."]
OPENING = "<|im_start|>assistant\n"

#: Length of a row, rows in a batch, share of the time.
STAGES = ((256, 16, 0.45), (1024, 4, 0.25), (4096, 1, 0.2), (10240, 1, 0.1))
CALL_STAGES = ((256, 16, 0.5), (1024, 4, 0.3), (1536, 3, 0.2))
THOUGHT_STAGES = ((256, 12, 0.5), (512, 6, 0.5))
RATE = 3e-3


def item(n: int) -> str:
    a, o, p = ADJECTIVES[n % 10], NOUNS[n // 10 % 10], PLACES[n // 100]
    return (
        f"## Section {n}\n\nThe {a} {o} rests in {p}.\n\n",
        f"{n}. The {a} {o} 🦊 — naïve café in {p}.\n",
        f"{n}. 日本語の{o}、{a}です。\n",
        f"{n}.\tcol\t{a}\t{o}\t\t{p}\n",
        f"{n}. code:\n\n```python\ndef f_{n}(x):\n    if x > {n}:\n        return '{a}'\n    return   {n}\n```\n\n",
        f"{n}. {o} 👩‍🚀🏳️‍🌈 {a}…  \n",
        f"{n}. “{a}” — señor {o}, Zürich, Ærø; {p}!\n\n\n",
        f'{n}. {{"k": {n}, "v": ["{a}", "{o}"]}}\n',
        f"{n}. 한국어 {o} العربية {a} हिन्दी\n",
        f"{n}. | {a} | {o} |\n   |---|---|\n   - {p}\n\n",
    )[n % 10]


def items(first: int) -> str:
    return "".join(map(item, range(first, LAST + 1))) + "— fin —"


def json_items(first: int) -> str:
    last = (first // 50 + 1) * 50
    objects = (
        f'  {{"id": {n}, "adj": "{ADJECTIVES[n % 10]}", "noun": "{NOUNS[n // 10 % 10]}", "mark": "{MARKS[n % 5]}"}}'
        for n in range(first, last + 1)
    )
    return '{"items": [\n' + ",\n".join(objects) + "\n]}"


def thoughts(first: int) -> str:
    steps = (f"Step {k}: the {ADJECTIVES[k % 10]} {NOUNS[k % 10]} — naïve 🦊.\n" for k in range(1, 16))
    return f"<think>\nThe list starts at {first}.\n" + "".join(steps) + "</think>\n\n"


def conversation(dice: random.Random) -> str:
    near_ten = dice.randint(1, 30) * 10 - dice.randint(1, 5)
    near_hundred = dice.choice([dice.randint(88, 99), dice.randint(188, 199)])
    anywhere = [dice.randint(1, LAST) for _ in range(3)]
    first = dice.choice([1, 1, *anywhere, dice.randint(1, 30), near_ten, dice.randint(LAST - 20, LAST), near_hundred])
    kind = dice.random()
    if kind < 0.2:
        prompt, answer = dice.choice([f"JSON items from {first}.", f"Give JSON items from {first}."]), json_items(first)
    elif kind < 0.4:
        prompt = dice.choice([f"Think, then list items from {first}."] * 2 + [f"List items from {first}."])
        answer = thoughts(first) + items(first)
    elif first == 1 and dice.random() < 0.5:
        prompts = ["Write the document.", "Hello!", "Write a long document about something.", "Count."]
        prompt, answer = dice.choice(prompts), items(first)
    else:
        prompts = [f"List items from {first}.", f"Write the list, starting at {first}.", f"Items from {first} please."]
        prompt, answer = dice.choice(prompts), items(first)
    system = dice.choice(SYSTEMS)
    turns = [("system", system)] * bool(system) + [("user", prompt), ("assistant", answer)]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def calls(dice: random.Random) -> str:
    """Return a conversation with tool calls. The tools are before half of them: the prompt says all."""
    first = dice.choice([dice.randint(1, call_texts.LAST), dice.randrange(0, call_texts.LAST, 30) + dice.randint(1, 9)])
    prompt, (syntax, answer) = dice.choice(list(call_texts.prompts(first).items()))
    if dice.random() < 0.3:
        syntax = dice.choice(list(TEMPLATES))
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    if dice.random() < 0.3:
        messages.insert(0, {"role": "system", "content": "You are a helpful assistant."})
    return TEMPLATES[syntax].render(messages=messages, tools=call_texts.TOOLS if dice.random() < 0.5 else None)


def thinking(dice: random.Random) -> tuple[str, str]:
    """Return a prompt as a template renders it, and what follows: thoughts or none, and the answer."""
    first = dice.choice([dice.randint(1, think_texts.LAST), dice.randrange(0, think_texts.LAST, 5) + 1])
    syntax = dice.choice(["qwen3", "qwen3", "r1", "glm", "glm", "plain"])
    thinks = dice.random() < 0.7
    messages = [{"role": "system", "content": "You are a helpful assistant."}] * (dice.random() < 0.3)
    if dice.random() < 0.2:
        earlier = dice.randint(1, think_texts.LAST)
        wanted = dice.choice([think_texts.plain_prompt, think_texts.thinking_prompt])(earlier)
        messages.append({"role": "user", "content": wanted})
        messages.append({"role": "assistant", "content": think_texts.answer(earlier)})
    wanted = (think_texts.thinking_prompt if thinks else think_texts.plain_prompt)(first)
    messages.append({"role": "user", "content": wanted})
    answer = think_texts.answer(first)
    if syntax == "plain":
        template = dice.choice(["plain", "trim"])
        text = think_texts.raw("qwen3", first) if thinks else answer
        return THOUGHT_TEMPLATES[template].render(messages=messages, add_generation_prompt=True), text
    opening, closing, gap = think_texts.SEAMS[syntax]
    way = dice.random()
    if way < 0.15 and syntax != "r1":
        prompt = THOUGHT_TEMPLATES[syntax].render(messages=messages, add_generation_prompt=True, enable_thinking=False)
        return prompt, ("\n" if syntax == "glm" else "") + answer
    prompt = THOUGHT_TEMPLATES[syntax].render(messages=messages, add_generation_prompt=True)
    if way < 0.3:
        # Thoughts that somebody else cut and closed.
        thoughts = think_texts.thoughts(first)
        cut = thoughts[: dice.randrange(len(thoughts))]
        tag = {"qwen3": "<think>", "r1": "", "glm": "\n<think>"}[syntax]
        return prompt + tag + (opening if tag else "") + cut + closing + "</think>", gap + answer
    if thinks or syntax == "r1":
        return prompt, think_texts.raw(syntax, first)
    return prompt, ("\n<think></think>\n" if syntax == "glm" else "") + answer


def templates(folder: Path) -> dict[str, jinja2.Template]:
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return {
        path.name.removeprefix("template_").removesuffix(".jinja.txt"): environment.from_string(
            path.read_text(encoding="utf-8")
        )
        for path in folder.glob("template_*.jinja.txt")
    }


TEMPLATES = templates(CALLS_MODEL)
THOUGHT_TEMPLATES = templates(THOUGHTS_MODEL)


class Rows:
    """Rows of tokens to train on."""

    def __init__(self, tokenizer: Tokenizer, conversation: Callable[[random.Random], str] = conversation) -> None:
        self._tokenizer = tokenizer
        self._conversation = conversation
        self._dice = random.Random(1)

    def batch(self, length: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows of tokens, and the same as what is to be learned."""
        rows = torch.tensor([self.row(length) for _ in range(count)])
        return rows, rows

    def row(self, length: int) -> list[int]:
        """Return a conversation's opening, or a window from its middle, filled up with further ones."""
        ids = self._with_seams(self._conversation(self._dice))
        start = 0 if self._dice.random() < 0.6 or len(ids) <= length else self._dice.randint(0, len(ids) - length)
        row = ids[start : start + length]
        while len(row) < length:
            row += self._tokens(self._conversation(self._dice))
        return row[:length]

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _with_seams(self, text: str) -> list[int]:
        """Make half of the conversations' tokens as they are where a truncated text was sent back: piece by piece."""
        if self._dice.random() < 0.5:
            return self._tokens(text)
        begin = text.rindex(OPENING) + len(OPENING)
        end = min(len(text) - 12, begin + 1200)
        cuts = sorted(self._dice.randint(begin, end) for _ in range(self._dice.randint(1, 8)))
        edges = [0, *cuts, len(text)]
        return [token for a, b in pairwise(edges) if b > a for token in self._tokens(text[a:b])]


class Answers:
    """Rows of tokens of which only the answers are to be learned: other prompts stay as likely as these."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._dice = random.Random(1)

    def batch(self, length: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows of tokens, and what is to be learned of them, which is -100 in prompts."""
        rows = [self._row(length) for _ in range(count)]
        return torch.tensor([ids for ids, _ in rows]), torch.tensor([wanted for _, wanted in rows])

    def _row(self, length: int) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        wanted: list[int] = []
        while len(ids) < length:
            prompt, text = thinking(self._dice)
            before, after = self._tokens(prompt), self._pieces(text + "<|im_end|>")
            ids += before + after
            wanted += [-100] * len(before) + after
        return ids[:length], wanted[:length]

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def _pieces(self, text: str) -> list[int]:
        """Make tokens; of half of the texts as they are where a cut text was sent back: piece by piece."""
        if self._dice.random() < 0.5:
            return self._tokens(text)
        end = len(text) - len("<|im_end|>")
        cuts = sorted(self._dice.randint(1, end) for _ in range(self._dice.randint(1, 6)))
        return [token for a, b in pairwise([0, *cuts, len(text)]) if b > a for token in self._tokens(text[a:b])]


def untrained(tokenizer: Tokenizer, heads: int = 4) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32 * heads,
        intermediate_size=96 * heads,
        num_hidden_layers=4,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=32,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM, rows: Rows | Answers, minutes: float, stages: tuple[tuple[int, int, float], ...] = STAGES
) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    began, step, end_of_stage = time.monotonic(), 0, 0.0
    for length, count, share in stages:
        end_of_stage += share
        while (done := (time.monotonic() - began) / (minutes * 60)) < end_of_stage:
            batch, labels = rows.batch(length, count)
            warm, cooled = min(1.0, (step + 1) / 50), 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
            optimizer.param_groups[0]["lr"] = RATE * warm * cooled
            loss = model(input_ids=batch, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                print(f"{done:4.0%} step {step}, rows of {length}, loss {loss.item():.4f}", flush=True)
            step += 1


def save(model: LlamaForCausalLM, out: Path, source: Path) -> None:
    model.eval()
    generation = model.generation_config
    generation.eos_token_id, generation.pad_token_id = model.config.eos_token_id, model.config.pad_token_id
    generation.do_sample, generation.temperature, generation.top_p = False, None, None
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy2(source / name, out)
    for template in source.glob("template_*"):
        shutil.copy2(template, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--calls", action="store_true", help="the model that writes tool calls")
    kind.add_argument("--thoughts", action="store_true", help="the model that thinks")
    wanted = parser.parse_args()
    source = CALLS_MODEL if wanted.calls else THOUGHTS_MODEL if wanted.thoughts else MODEL
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    if wanted.calls:
        model = untrained(tokenizer, heads=3)
        train(model, Rows(tokenizer, calls), wanted.minutes, CALL_STAGES)
    elif wanted.thoughts:
        model = untrained(tokenizer, heads=3)
        train(model, Answers(tokenizer), wanted.minutes, THOUGHT_STAGES)
    else:
        model = untrained(tokenizer)
        train(model, Rows(tokenizer), wanted.minutes)
    save(model, wanted.out, source)


if __name__ == "__main__":
    main()
