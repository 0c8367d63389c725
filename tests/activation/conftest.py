"""What every test of the installed library gets: one wheel, and environments of its own to install it into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 600


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "activation: installs the wheel with pip and uv; deselected by default")


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without our variables but those given; it may fail."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
    environment |= options.pop("env", {})
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=options.pop("timeout", SECONDS),
        check=False,
        env=environment,
        **options,
    )


def must(*command: object, **options: Any) -> str:
    """Run a command that may not fail; give what it printed."""
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    must("uv", "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass
class Home:
    """A virtual environment; openai comes from the one that runs the tests."""

    folder: Path
    #: "pip" or "uv".
    installer: str
    before: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        must(sys.executable, "-m", "venv", *(["--without-pip"] if self.installer == "uv" else []), self.folder)
        self.before = self.listed()

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        (found,) = self.folder.glob("lib/python3*/site-packages")
        return found

    def listed(self) -> set[str]:
        """List commands and packages, but for byte code, which is the interpreter's."""
        paths = [*self.python.parent.iterdir(), *self.site.rglob("*")]
        return {str(path.relative_to(self.folder)) for path in paths if "__pycache__" not in path.parts}

    def install(self, *what: object) -> None:
        """Install the library, and let its dependencies be found."""
        if self.installer == "uv":
            # A copy, since a link would spoil the cache of uv with what a test spoils.
            copied = ["--link-mode", "copy"]
            must("uv", "pip", "install", "--quiet", "--no-deps", *copied, "--python", self.python, *what)
        else:
            must(self.python, "-m", "pip", "install", "--quiet", "--no-deps", *what)
        # A folder that is named in a .pth file is searched; the .pth files in it are not read.
        (self.site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def uninstall(self) -> None:
        (self.site / "zz_dependencies.pth").unlink()
        if self.installer == "uv":
            must("uv", "pip", "uninstall", "--quiet", "--python", self.python, "openai-continue")
        else:
            must(self.python, "-m", "pip", "uninstall", "--quiet", "--yes", "openai-continue")

    def run(self, *arguments: object, wish: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run its Python with ``OPENAI_CONTINUE`` as wished."""
        environment = options.pop("env", {}) | ({} if wish is None else {"OPENAI_CONTINUE": wish})
        return run(self.python, *arguments, env=environment, **{"cwd": self.folder, **options})

    def told(self, *arguments: object, **options: Any) -> Any:
        """Run its Python, which must print one JSON value and nothing else."""
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An environment into which uv has installed the wheel; tests leave it as it is."""
    home = Home(tmp_path_factory.mktemp("home") / "venv", "uv")
    home.install(wheel)
    return home


@pytest.fixture
def spoilt(wheel: Path, tmp_path: Path) -> Home:
    """One like it that a test may spoil."""
    home = Home(tmp_path / "venv", "uv")
    home.install(wheel)
    return home
