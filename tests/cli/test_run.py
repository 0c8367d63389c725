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


@pytest.mark.parametrize("name", ["nowhere", "nowhere.app", "sys.app", "empty"])
def test_run_of_a_missing_module(name: str, tmp_path: Path) -> None:
    """A module that is missing, or a package without ``__main__``, is one line on stderr, and exit code 1."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "__init__.py").touch()
    command = [sys.executable, "-m", "openai_continue", "run", "-m", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    said = f"openai-continue run: {name}: no such module, or one that cannot be run\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_run_of_a_module_that_lacks_another(tmp_path: Path) -> None:
    """A module that cannot import another one ends in the traceback that Python shows."""
    (tmp_path / "app.py").write_text("import nowhere", encoding="utf-8")
    command = [sys.executable, "-m", "openai_continue", "run", "-m", "app"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stderr.endswith("ModuleNotFoundError: No module named 'nowhere'\n")
