"""
What the model in ``thoughts_model/`` knows: numbered items, with thoughts before them or without.

The item's number decides all of it. Thoughts and answers hold what is awkward at seams: runs of blanks, tabs, empty
lines, tags, characters that are cut into bytes. Some thoughts begin and end with blanks, and so do some answers.
"""

from __future__ import annotations

#: Answers end at the next number that ends in 0 or 5.
LAST = 95
ADJECTIVES = ["quiet", "crimson", "hollow", "bright", "ancient", "gentle", "frozen", "hidden", "restless", "golden"]
NOUNS = ["harbour", "lantern", "mountain", "engine", "garden", "mirror", "compass", "library", "orchard", "signal"]

OPEN, CLOSE = "<think>", "</think>"
#: What is between the tags and the texts, in the syntaxes that think.
SEAMS = {"qwen3": ("\n", "\n", "\n\n"), "r1": ("\n", "\n", "\n\n"), "glm": ("", "", "\n")}


def numbers(first: int) -> range:
    return range(first, (first + 4) // 5 * 5 + 1)


def item(n: int) -> str:
    a, o = ADJECTIVES[n % 10], NOUNS[n // 10]
    return (
        f"{n}. 한국어 {o} 👩‍🚀 {a}.",
        f"    {n}. The {a} {o} 🦊 — naïve café.\n",
        f"{n}. 日本語の{o}、{a}です。\n",
        f"\t{n}.\tcol\t{a}\t{o}\t\tend\n",
        f"{n}. code:\n\n    if x > {n}:\n        return   '{a}'\n\n",
        f"{n}. “{a}” — {o}, Zürich…  \n",
        f"  - {n}: {o} <b>{a}</b>  </{n}>\n",
        f"{n}. | {a} | {o} |\n   |---|---|\n\n\n",
        f'{n}. {{"k": {n}, "v": ["{a}", "{o}"]}}\n',
        f"{n}. 🏳️‍🌈   {a}    {o} 😀\n",
    )[n % 10]


def thought(n: int) -> str:
    a, o = ADJECTIVES[n % 10], NOUNS[n // 10]
    return (
        f"- {n}: {o}   {a}?",
        f"{n} → {a} 🦊 {o}\n",
        f"  {n}: 日本 </{o}>\n\n",
        f"\t{n} <b>{a}</b>  {o}…\n",
        f"    {n}:\n        {o} é\n",
        f"- {n}: {a} 👩‍🚀  ",
        f"{n} < {a}    {o}\n",
        f"\n  {n}. “{o}” <\n",
        f"{n}: 한국 {a}.\n\n\n",
        f"  {n} </ {a} 😀\n",
    )[n % 10]


def thoughts(first: int) -> str:
    opening = f"{'  ' * (first % 3 == 0)}I list items from {first}.\n\nThe last   is {numbers(first)[-1]}.\n"
    return opening + "".join(map(thought, numbers(first)))


def answer(first: int) -> str:
    return "".join(map(item, numbers(first)))


def thinking_prompt(first: int) -> str:
    return f"Think, then list items from {first}."


def plain_prompt(first: int) -> str:
    return f"List items from {first}."


def raw(syntax: str, first: int) -> str:
    """Return all that the model writes after a prompt that asks it to think, with the tags."""
    opening, closing, gap = SEAMS[syntax]
    tag = {"qwen3": OPEN, "r1": "", "glm": "\n" + OPEN}[syntax]
    return tag + (opening if tag else "") + thoughts(first) + closing + CLOSE + gap + answer(first)
