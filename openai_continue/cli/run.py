"""Running a program with continuation switched on, where no .pth file is read."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from openai_continue import startup


def run(arguments: Sequence[str]) -> int:
    """Run ``app.py ARGUMENT…`` or ``-m package ARGUMENT…`` as Python would; its children inherit the switch."""
    os.environ.setdefault("OPENAI_CONTINUE", "1")
    startup.init()
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        _put_first(str(Path.cwd()))
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        _put_first(str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


def _put_first(folder: str) -> None:
    """Put a folder where Python has put ours: that of this command, or with ``-m`` the current one."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = folder
