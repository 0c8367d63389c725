"""A command-line application that knows nothing of us, installed and packed by the tools that people use."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openai_continue.testing import Emulator
from tests.activation.conftest import must, run

pytestmark = pytest.mark.activation

#: The application: simonw's llm, which asks by the SDK.
APP, APP_VERSION = "llm", "0.36"
APP_AS_RELEASED = f"{APP}=={APP_VERSION}"
PROMPT = "Write what is installed."
#: PyInstaller takes 20 seconds of one core that has nothing else to do.
PACKING_SECONDS = 1800


@dataclass(frozen=True)
class Workshop:
    """Where an installer works: its folders are in ours, and it uses the Python that runs the tests."""

    wheel: Path
    folder: Path
    #: An environment with the application and the library, for what packs one.
    packed: Path
    homes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        names = ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR", "UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "SHIV_ROOT", "PEX_ROOT")
        homes = {name: str(self.folder / name.lower()) for name in names}
        object.__setattr__(self, "homes", {**homes, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"})

    def tool(self, *words: object) -> None:
        """Run a tool that uv gets from the registry."""
        must("uvx", "--quiet", *words, env=self.homes, cwd=self.folder, timeout=PACKING_SECONDS)


def pipx_inject(shop: Workshop) -> list[Path | str]:
    """Start the application with ``python -E``, as pipx does."""
    shop.tool("pipx", "install", "--python", sys.executable, APP_AS_RELEASED)
    shop.tool("pipx", "inject", APP, shop.wheel)
    return [Path(shop.homes["PIPX_BIN_DIR"]) / APP]


def uv_tool_install(shop: Workshop) -> list[Path | str]:
    must("uv", "tool", "install", "--quiet", "--with", shop.wheel, APP_AS_RELEASED, env=shop.homes)
    return [Path(shop.homes["UV_TOOL_BIN_DIR"]) / APP]


def uvx_with(shop: Workshop) -> list[Path | str]:
    return ["uvx", "--quiet", "--with", shop.wheel, f"{APP}@{APP_VERSION}"]


def shiv(shop: Workshop) -> list[Path | str]:
    (site,) = shop.packed.glob("lib/python3*/site-packages")
    shop.tool("shiv", "--site-packages", site, "--console-script", APP, "--output-file", "app.pyz")
    return [shop.packed / "bin" / "python", shop.folder / "app.pyz"]


def pex(shop: Workshop, *more: str) -> list[Path | str]:
    wanted = ("--venv-repository", shop.packed, APP, "openai-continue")
    shop.tool("pex", *wanted, *more, "--console-script", APP, "--output-file", "app.pex")
    return [shop.packed / "bin" / "python", shop.folder / "app.pex"]


def pex_venv(shop: Workshop) -> list[Path | str]:
    """Start the application with ``python -I``, as such a file does."""
    return pex(shop, "--venv")


def pyinstaller(shop: Workshop) -> list[Path | str]:
    """Freeze the application with the import: no .pth is read in what PyInstaller makes."""
    (shop.folder / "app.py").write_text("import openai_continue.auto\nfrom llm.cli import cli\n\ncli()\n")
    # The plugins of llm are imported by name. Without pip and setuptools it takes less time.
    finds = ("--collect-submodules", APP, "--copy-metadata", APP)
    leaves = ("--exclude-module", "pip", "--exclude-module", "setuptools")
    must("uv", "pip", "install", "--quiet", "--python", shop.packed, "pyinstaller")
    freeze = (shop.packed / "bin" / "pyinstaller", "--log-level", "ERROR", *finds, *leaves, "app.py")
    must(*freeze, cwd=shop.folder, env={"PYINSTALLER_CONFIG_DIR": str(shop.folder)}, timeout=PACKING_SECONDS)
    return [shop.folder / "dist" / "app" / "app"]


INSTALLERS: list[Callable[[Workshop], list[Path | str]]] = [
    pyinstaller,
    pex_venv,
    pex,
    shiv,
    pipx_inject,
    uv_tool_install,
    uvx_with,
]


@pytest.fixture(scope="session")
def packed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the application, the library, and what both need."""
    folder = tmp_path_factory.mktemp("packed") / "venv"
    must("uv", "venv", "--quiet", "--python", sys.executable, folder)
    must("uv", "pip", "install", "--quiet", "--python", folder, APP_AS_RELEASED, wheel)
    return folder


@pytest.fixture
def shop(wheel: Path, packed: Path, tmp_path: Path) -> Iterator[Workshop]:
    folder = tmp_path / "shop"
    folder.mkdir()
    yield Workshop(wheel, folder, packed)
    # pytest keeps the folders of three runs, and these are large.
    shutil.rmtree(folder)


@pytest.mark.parametrize("installer", INSTALLERS, ids=lambda installer: installer.__name__)
def test_installed_application(
    shop: Workshop, tmp_path: Path, installer: Callable[[Workshop], list[Path | str]]
) -> None:
    """Streamed and whole, the application prints the whole answer; switched off, it prints the first round."""
    command = installer(shop)
    with Emulator(cap=48, tokens=180) as emulator:
        model = f"- model_id: emulated\n  model_name: m\n  api_base: {emulator.base_url}\n"
        (tmp_path / "extra-openai-models.yaml").write_text(model)
        text = emulator.uncapped({"model": "m", "messages": [{"role": "user", "content": PROMPT}]})
        variables = {**shop.homes, "LLM_USER_PATH": str(tmp_path), "OPENAI_CONTINUE_PROVIDER": "deepinfra"}

        def printed(*more: str, wish: str = "1") -> str:
            asked = (*command, "-m", "emulated", *more, PROMPT)
            done = run(*asked, env={**variables, "OPENAI_CONTINUE": wish}, cwd=tmp_path)
            assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
            return done.stdout.removesuffix("\n")

        assert [text, text] == [printed(), printed("--no-stream")]
        first = printed(wish="0")
        assert text.startswith(first)
        assert len(first) < len(text)
