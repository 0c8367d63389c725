"""What importing costs, what is public, and which way the imports point."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import openai_continue

ROOT = Path(openai_continue.__file__).parent
#: Imports point down this list and never up.
ORDER = (
    "auto",
    "patching",
    "clients",
    "doors",
    "drivers",
    "calls",
    "bodies",
    "flow",
    "wire",
    "rounds",
    "choice",
    "answer",
    "prefill",
    "overflow",
    "limits",
    "structured",
    "reasoning",
    "repetition",
    "seam",
    "chunks",
    "merge",
    "report",
    "switches",
    "settings",
    "providers",
    "errors",
)
#: From here on down, modules are pure: no SDK, no I/O, no clock.
PURE = ORDER[ORDER.index("rounds") :]
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
#: Beside the order: what starts it, and what is no part of a call.
ASIDE = {"__init__", "__main__", "startup"}
NAMES = sorted({path.stem for path in ROOT.glob("*.py")} - ASIDE)


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))


def imports_of(node: ast.AST) -> Iterator[str]:
    """Give the modules that a piece of code imports when it runs, ours with a dot before their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level:
            module = child.module or ""
            yield from [f".{module}"] if module else [f".{alias.name}" for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").partition(".")[0]
        else:
            yield from imports_of(child)


def test_every_module_has_its_place() -> None:
    """A new module is entered in the order of imports."""
    assert [] == sorted(set(NAMES) - set(ORDER))


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name: str) -> None:
    """A module imports only those below it."""
    below = ORDER[ORDER.index(name) + 1 :]

    known = {*below, *ASIDE}
    assert [] == [one for one in imports_of(tree_of(name)) if one.startswith(".") and one[1:] not in known]
    assert "openai_continue" not in imports_of(tree_of(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name in PURE])
def test_what_decides_is_pure(name: str) -> None:
    """From Rounds on down nothing does I/O or knows the SDK; only the settings read the environment."""
    allowed = {"os"} if name == "settings" else set()

    assert set() == IMPURE.intersection(imports_of(tree_of(name))) - allowed


def test_who_reads_the_environment() -> None:
    """Only the settings, and what runs at the start of Python, read the environment."""
    readers = {
        name
        for name in [*NAMES, *ASIDE]
        if (ROOT / f"{name}.py").exists()
        and any(
            isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) in ("os.environ", "os.getenv", "environ")
            for node in ast.walk(tree_of(name))
        )
    }

    assert "settings" in readers
    assert readers <= {"settings", "startup"}


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

    assert "['openai_continue']\n[]\n" == done.stdout


def test_public_names() -> None:
    """What ``__all__`` lists is there, documented, and shown by ``dir()``; nothing else is found."""
    assert sorted(openai_continue.__all__) == openai_continue.__all__
    assert {*openai_continue.__all__} <= {*dir(openai_continue)}
    for name in openai_continue.__all__:
        assert getattr(openai_continue, name).__doc__
        assert name in dir(openai_continue)
    with pytest.raises(AttributeError, match="module 'openai_continue' has no attribute 'nothing'"):
        _ = openai_continue.nothing  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from openai_continue import nothing")


def test_public_names_are_those_of_type_checkers() -> None:
    """The names that type checkers see are those that are found at run time."""
    (checked,) = [node for node in tree_of("__init__").body if isinstance(node, ast.If)]
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

    assert expected == openai_continue.__version__


def test_typed() -> None:
    """The package says that it is typed."""
    assert (ROOT / "py.typed").exists()
