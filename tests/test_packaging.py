"""What importing costs, what is public, and which way the imports point."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import openai_continue
from openai_continue import testing
from openai_continue._cli import main

ROOT = Path(openai_continue.__file__).parent
#: Each folder, and the package's own modules, with what they may import of the package. Imports never point back.
MAY_IMPORT = {
    "errors": set[str](),
    "switches": set[str](),
    "startup": {"patching", "switches"},
    "report": set[str](),
    "_tables": {"_tables", "errors"},
    "settings": {"_tables", "errors", "switches", "report"},
    "_core": {"_core", "_tables", "errors", "report", "settings"},
    "_sdk": {"_sdk", "_core", "_tables", "errors", "report", "settings", "switches"},
    "patching": {"_sdk", "errors", "settings"},
    "client_options": set[str](),
    "clients": {"client_options", "_sdk", "errors", "settings"},
    "auto": {"patching"},
}
#: What the commands may use of the core: JSON, and the words for thoughts. They ask through the clients.
CORE_OF_CLI = {"._core.json", "._core.text.reasoning"}
IMPURE = {
    "anyio",
    "asyncio",
    "httpx",
    "httpx2",
    "io",
    "logging",
    "openai",
    "os",
    "random",
    "socket",
    "sys",
    "threading",
    "time",
    "wrapt",
}
CORE = sorted((ROOT / "_core").rglob("*.py"))
ALL = sorted(ROOT.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """Return the dotted name of a module within the package; a folder's ``__init__`` has the folder's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(node: ast.AST, module: str) -> Iterator[str]:
    """Give what a piece of code imports when it runs: ours as dotted names in the package after a dot."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level:
            folder = module.split(".")[: -child.level] if child.level <= module.count(".") + 1 else []
            base = ".".join([*folder, *([child.module] if child.module else [])])
            yield from (_found(base, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").partition(".")[0]
        else:
            yield from imports_of(child, module)


def _found(base: str, name: str) -> str:
    full = f"{base}.{name}".lstrip(".")
    path = ROOT.joinpath(*full.split("."))
    return "." + (full if path.with_suffix(".py").exists() or path.is_dir() else base)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    """No module imports what stands above it, and the core imports nothing of the SDK's side."""
    name = name_of(path)
    room = name.partition(".")[0]
    ours = {one[1:].partition(".")[0] for one in imports_of(tree_of(path), name) if one.startswith(".")}

    if room in MAY_IMPORT:
        assert ours <= MAY_IMPORT[room]
        assert "openai_continue" not in imports_of(tree_of(path), name)


def test_commands_stay_out_of_the_core() -> None:
    """The commands ask through public names, so that the core may change within."""
    used = {
        one for path in (ROOT / "_cli").rglob("*.py") for one in imports_of(tree_of(path), name_of(path))
        if one.startswith("._core")
    }  # fmt: skip

    assert used == CORE_OF_CLI


def test_no_circle_of_imports() -> None:
    """No module imports itself, through however many others."""
    graph = {
        name_of(path): {one[1:] for one in imports_of(tree_of(path), name_of(path)) if one[:1] == "."} for path in ALL
    }
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_is_pure(path: Path) -> None:
    """The core does no I/O, knows no clock and no SDK."""
    assert set() == IMPURE.intersection(imports_of(tree_of(path), name_of(path)))


def test_who_reads_the_environment() -> None:
    """Only the settings and the switches read the environment."""
    readers = {
        name_of(path)
        for path in ALL
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) in ("os.environ", "os.getenv", "environ")
    }

    ours = {name for name in readers if name.partition(".")[0] not in ("_cli", "testing")}
    assert ours == {"settings", "switches"}


IMPORT = """
import sys
before = set(sys.modules)
import openai_continue
dir(openai_continue)
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
print(sorted(name for name in sys.modules if name.startswith("openai_continue.")))
"""


def test_import_costs_nothing() -> None:
    """Importing the package imports nothing else, neither the SDK nor wrapt nor a module of its own."""
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT.parent, capture_output=True, text=True, check=True)

    assert done.stdout == "['openai_continue']\n[]\n"


def test_public_names() -> None:
    """What ``__all__`` lists is there, documented, and shown by ``dir()``; nothing else is found."""
    assert sorted(openai_continue.__all__) == openai_continue.__all__
    assert {*openai_continue.__all__} <= {*dir(openai_continue)}
    for name in openai_continue.__all__:
        assert getattr(openai_continue, name).__doc__
        assert name in dir(openai_continue)
    with pytest.raises(AttributeError, match="module 'openai_continue' has no attribute 'nothing'"):
        _ = openai_continue.nothing
    with pytest.raises(ImportError):
        exec("from openai_continue import nothing")


def test_what_is_public(capsys: pytest.CaptureFixture[str]) -> None:
    """Public are these names, those of ``testing``, and the commands; a user's code may rely on nothing else."""
    assert openai_continue.__all__ == [
        "AsyncOpenAI",
        "Continuation",
        "ErrorReport",
        "OpenAI",
        "PromptTokens",
        "Report",
        "Round",
        "SeamReport",
        "SettingsError",
        "disabled",
        "is_patched",
        "patch",
        "report_of",
        "unpatch",
    ]
    assert testing.__all__ == ["Emulator", "Fault", "Habits", "Logged"]
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.search(r"\{(.*?)\}", capsys.readouterr().out)
    assert commands is not None
    assert sorted(commands[1].split(",")) == ["batch", "demo", "doctor", "journal", "run", "write"]


def test_public_names_are_those_of_type_checkers() -> None:
    """The names that type checkers see are those that are found at run time."""
    checked, hidden = [node for node in tree_of(ROOT / "__init__.py").body if isinstance(node, ast.If)]
    assert [ast.unparse(checked.test), ast.unparse(hidden.test)] == ["TYPE_CHECKING", "not TYPE_CHECKING"]
    seen = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }

    assert sorted(seen) == openai_continue.__all__
    for name, module in seen.items():
        home = importlib.import_module(f"openai_continue.{module}")
        assert getattr(home, name) is getattr(openai_continue, name)


def test_version() -> None:
    """``__version__`` is that of the distribution."""
    try:
        expected = version("openai-continue")
    except PackageNotFoundError:
        pytest.skip("runs from the source tree, not installed")

    assert openai_continue.__version__ == expected


def test_typed() -> None:
    """The package says that it is typed."""
    assert (ROOT / "py.typed").exists()


def test_the_emulator_names_its_extra() -> None:
    """Without starlette or uvicorn, the error says what to install, and the records need neither."""
    code = """
import sys
sys.modules["uvicorn"] = None
from openai_continue.testing import Fault, Habits
try:
    from openai_continue.testing import Emulator
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    expected = "Emulator needs the module uvicorn. Install the extra: pip install 'openai-continue[testing]'\n"
    assert done.stdout == expected
