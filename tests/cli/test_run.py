"""``openai-continue run``. tests/activation runs it in environments of many kinds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys, openai_continue; print(openai_continue.is_patched(), __name__, sys.argv); sys.exit(3)"


@pytest.mark.parametrize("form", [["app.py"], ["-m", "app"]], ids=" ".join)
@pytest.mark.thorough
def test_run_patches_a_program(form: list[str], tmp_path: Path) -> None:
    """The program runs patched, as ``__main__``, with its own arguments and exit code."""
    app = tmp_path / "app.py"
    app.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "openai_continue", "run", *form, "--model", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    name = "app.py" if form == ["app.py"] else str(app)
    assert (3, f"True __main__ {[name, '--model', 'x']}\n") == (done.returncode, done.stdout), done.stderr


def test_run_of_a_missing_file(tmp_path: Path) -> None:
    """A file that is missing is one line on stderr, and exit code 2."""
    command = [sys.executable, "-m", "openai_continue", "run", "nowhere.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (2, "openai-continue run: nowhere.py: no such file\n")
