"""What type checkers say of code that uses the library: good.py has no error, bad.py those that it marks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GOOD, BAD = HERE / "good.py", HERE / "bad.py"


def of_mypy() -> set[tuple[Path, int, str]]:
    """Return file, line and text of each error that mypy finds. Its cache is that of the project."""
    said = run("mypy", "--strict", "--config-file=", "--no-error-summary", "--output=json")
    found = [json.loads(line) for line in said.splitlines()]
    return {(Path(each["file"]).resolve(), each["line"], each["message"]) for each in found}


def of_pyright() -> set[tuple[Path, int, str]]:
    """Return file, line and text of each error that pyright finds. Its settings in pyproject.toml are strict."""
    found = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable))["generalDiagnostics"]
    return {(Path(each["file"]).resolve(), each["range"]["start"]["line"] + 1, each["message"]) for each in found}


def run(checker: str, *options: str) -> str:
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed: pip install 'openai-continue[dev]'")
    done = subprocess.run(
        [sys.executable, "-m", checker, *options, str(GOOD), str(BAD)],
        cwd=HERE.parent.parent,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    # 0: no errors; 1: errors; else it did not run.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("checker", [of_mypy, of_pyright], ids=["mypy", "pyright"])
@pytest.mark.thorough
def test_errors(checker: Callable[[], set[tuple[Path, int, str]]]) -> None:
    """Each error that bad.py marks is found, and no other one."""
    found = checker()

    marked = {number for number, line in enumerate(BAD.read_text().splitlines(), 1) if line.endswith("# error")}
    assert [each for each in found if each[0] == GOOD] == []
    assert {(BAD, line) for line in marked} == {(path, line) for path, line, _ in found}, found
