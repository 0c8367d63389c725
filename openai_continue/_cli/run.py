"""Run a Python program with continuation switched on. For environments that read no ``.pth`` files."""

from __future__ import annotations

import io
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from .. import startup


def run(arguments: Sequence[str]) -> int:
    """
    Run ``app.py ARGUMENT…`` or ``-m package ARGUMENT…`` as Python would; return 0, or 2 if there is no such file.

    Sets ``OPENAI_CONTINUE=1`` if it is not set, so child processes are continued too. What the program raises is
    raised here, SystemExit included.
    """
    os.environ.setdefault("OPENAI_CONTINUE", "1")
    startup.init()
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        _put_first(Path.cwd())
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
        print(f"openai-continue run: {app}: no such file", file=sys.stderr)
        return 2
    return 0


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
