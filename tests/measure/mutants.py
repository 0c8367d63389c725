"""
Which tests notice a mistake: mutants of the core and of the SDK's side, and what kills each of them.

    python -m tests.measure.mutants                       # --count 20 --seed 25 --whole

A mutant is the package with one mistake: a comparison, an ``and``, an ``or``, or the branches of a conditional
expression are turned round. The seed picks the places. Each mutant is met by the tests of its side, tests/core or
tests/sdk, then by ``pytest``, and with ``--whole`` by what ``pytest`` leaves out. Prints a table. The exit code is 1 if a mutant is killed
only by what ``pytest`` leaves out.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders, and the tests that meet a mutant of theirs first.
FOLDERS = {"openai_continue/_core": "tests/core", "openai_continue/_sdk": "tests/sdk"}
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
#: What meets a mutant then, one after the other.
RUNS = {"pytest": ["tests"]}
WHOLE = {"pytest -m thorough": ["tests", "-m", "thorough"]}


@dataclass(frozen=True)
class Mutant:
    """One mistake in one file."""

    path: Path
    #: The tests that meet it first.
    tests: str
    line: int
    before: str
    after: str
    #: The whole file with the mistake.
    source: bytes


def mutants_of(path: Path, tests: str) -> Iterator[Mutant]:
    """Yield each mutant of a file; ``tests`` meet it first."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        before = ast.unparse(node) if isinstance(node, (ast.Compare, ast.BoolOp, ast.IfExp)) else ""
        if not before or not _turn(node):
            continue
        after = ast.unparse(node)
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        yield Mutant(path, tests, node.lineno, before, after, source[:begin] + f"({after})".encode() + source[end:])
        _turn(node)


def _turn(node: ast.AST) -> bool:
    """Turn an expression round, in place; return whether it can be."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        node.ops = [TURNED[type(node.ops[0])]()]  # type: ignore[list-item]
    elif isinstance(node, ast.BoolOp):
        node.op = TURNED[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
    else:
        return False
    return True


def killer(mutant: Mutant, copy: Path, runs: dict[str, list[str]]) -> str:
    """Return the name of the first run that fails, or "" if none does."""
    file = copy / mutant.path.relative_to(ROOT)
    right = file.read_bytes()
    file.write_bytes(mutant.source)
    try:
        for name, words in runs.items():
            # A mutant may never end.
            command = ["timeout", "--kill-after", "10", "3600", sys.executable, "-m", "pytest", "-x", "-q", *words]
            if subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode:
                return name
    finally:
        file.write_bytes(right)
    return ""


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=25)
    parser.add_argument("--whole", action="store_true", help="ask what pytest leaves out, too")
    chosen = parser.parse_args()
    paths = [(path, tests) for folder, tests in FOLDERS.items() for path in sorted((ROOT / folder).rglob("*.py"))]
    every = [mutant for path, tests in paths for mutant in mutants_of(path, tests)]
    runs = {**RUNS, **(WHOLE if chosen.whole else {})}
    killers = []
    print(f"{chosen.count} of {len(every)} mutants\n\n| Place | Was | Became | Killed by |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
        for mutant in random.Random(chosen.seed).sample(every, chosen.count):
            killers.append(killer(mutant, copy, {mutant.tests: [mutant.tests], **runs}))
            place = f"{mutant.path.relative_to(ROOT / 'openai_continue')}:{mutant.line}"
            print(f"| {place} | `{mutant.before}` | `{mutant.after}` | {killers[-1] or '-'} |", flush=True)
    print(", ".join(f"{name or 'nothing'}: {killers.count(name)}" for name in (*FOLDERS.values(), *runs, "")))
    return 1 if set(killers) & set(WHOLE) else 0


if __name__ == "__main__":
    sys.exit(main())
