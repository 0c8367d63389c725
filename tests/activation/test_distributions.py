"""What is uploaded: the wheel and the sdist hold what they should and nothing else, and the page on PyPI renders."""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.activation.conftest import ROOT, Home, must, run

pytestmark = pytest.mark.activation

#: What a checkout may have beside its files.
LEFT_OVER = {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def files_of(*folders: str) -> set[str]:
    """Return the files of this checkout in these folders."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if not LEFT_OVER.intersection(path.parts)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    must("uv", "build", "--quiet", "--sdist", "--out-dir", folder, ROOT)
    (found,) = folder.glob("*.tar.gz")
    return found


def test_wheel(wheel: Path) -> None:
    """The wheel holds the package, the two lines of the start of Python, and its own data."""
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
        info = next(name.partition("/")[0] for name in found if ".dist-info/" in name)
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))

    lines = {"openai_continue.pth", "openai_continue.start"}
    data = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert (files_of("openai_continue") - {f"openai_continue/{name}" for name in lines}) | lines | data == found
    # No model, document or recording has got into it: all its files are source.
    assert wheel.stat().st_size < 500_000
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in metadata.get_all("Classifier", [])
    assert (
        metadata["License-Expression"],
        metadata["Requires-Python"],
        metadata["Description-Content-Type"],
    ) == ("MIT", ">=3.10", "text/markdown")


def test_sdist(sdist: Path) -> None:
    """The sdist holds the tests too, but for those with real engines, whose models are large."""
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in (member.name for member in archive if member.isfile())}

    own = {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    expected = files_of("openai_continue", "tests", "cassettes")
    engines = files_of("tests/measure/engine")
    assert expected - engines | own == found
    assert sdist.stat().st_size < 1_000_000


def test_page(wheel: Path, sdist: Path) -> None:
    """PyPI accepts and renders both."""
    must("uvx", "--quiet", "twine", "check", "--strict", wheel, sdist)
    must("uvx", "--quiet", "check-wheel-contents", "--config", ROOT / "pyproject.toml", wheel)


def test_demo_of_a_fresh_install(wheel: Path, tmp_path: Path) -> None:
    """With the extra ``cli``, from the registry, the demo runs; without it, the command says what is missing."""
    home = Home(tmp_path / "venv", "uv")
    must("uv", "pip", "install", "--quiet", "--python", home.python, wheel)
    command = [home.folder / "bin" / "openai-continue", "demo", "--tokens", "17000"]
    missing = run(*command)
    assert (2, "pip install 'openai-continue[cli]'" in missing.stderr) == (missing.returncode, True), missing.stderr

    must("uv", "pip", "install", "--quiet", "--python", home.python, f"{wheel}[cli]")
    assert "equals the uncapped text" in must(*command, cwd=tmp_path)
