"""Run a Python program with continuation switched on. For environments that read no ``.pth`` files."""

from __future__ import annotations

import io
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from .. import startup
from .wrapping import tell


def run(arguments: Sequence[str]) -> int:
    """
    Run ``app.py ARGUMENT…`` or ``-m package ARGUMENT…`` as Python would; return 0.

    Return 2 if there is no such file, 1 if there is no such module, as Python does.

    Sets ``OPENAI_CONTINUE=1`` if it is not set, so child processes are continued too. What the program raises is
    raised here, SystemExit included.
    """
    os.environ.setdefault("OPENAI_CONTINUE", "1")
    startup.init()
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        _put_first(Path.cwd())
        if not _is_runnable(arguments[1]):
            tell(f"openai-continue run: {arguments[1]}: no such module, or one that cannot be run")
            return 1
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return 0
    sys.argv = list(arguments)
    app = Path(arguments[0])
    if app.is_file() and app.suffix not in (".pyc", ".pyz", ".zip"):
        _put_first(app.resolve().parent)
        _run_file(app.absolute())
    elif app.exists():
        # A folder or an archive: Python runs the __main__.py inside.
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        tell(f"openai-continue run: {app}: no such file")
        return 2
    return 0


def _is_runnable(name: str) -> bool:
    """Whether there is such a module, or such a package with a ``__main__``."""
    try:
        spec = find_spec(name)
        is_package = spec is not None and spec.submodule_search_locations is not None
        return find_spec(f"{name}.__main__") is not None if is_package else spec is not None
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return False
        # Its own code imports another one.
        raise


def _run_file(app: Path) -> None:
    """Run a file as ``__main__``. Unlike runpy, leave that module in place for the program's exit handlers."""
    main = ModuleType("__main__")
    main.__file__ = str(app)
    main.__loader__ = SourceFileLoader("__main__", str(app))
    sys.modules["__main__"] = main
    with io.open_code(str(app)) as file:
        code = compile(file.read(), str(app), "exec", dont_inherit=True)
    exec(code, vars(main))  # noqa: S102


def _put_first(folder: Path) -> None:
    """Make a folder the first of ``sys.path``, in place of the one that Python put there for this command."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = str(folder)
