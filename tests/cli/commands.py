"""Run the command in a process of its own, with the pipes and terminals of a test."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai_continue.testing import Emulator

SECONDS = 300


def started(
    *arguments: str, closed: int | None = None, terminal: int | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """
    Start the command.

    ``env``: all variables that it gets. ``closed``: a descriptor that is closed, such as 1. ``terminal``: the terminal
    whose Ctrl-C it gets; it needs a session of its own.
    """

    def prepare() -> None:
        # A shell starts background jobs, perhaps this suite, with SIGINT ignored, and nohup ignores SIGHUP. Children
        # inherit that.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if closed is not None:
            os.close(closed)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    variables = {"PATH": "", **options.pop("env", {})}
    command = [sys.executable, "-m", "openai_continue", *arguments]
    return subprocess.Popen(command, **{**pipes, **options}, env=variables, preexec_fn=prepare)  # noqa: PLW1509


def ran(*arguments: str, encoding: str = "utf-8", **options: Any) -> tuple[int, str, str]:
    """Run the command; return its exit code, what it printed on stdout, and on stderr."""
    with started(*arguments, **options) as process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, (out or b"").decode(encoding), (err or b"").decode()


def writing(emulator: Emulator, *more: str, prompt: str = "Write it.", provider: str = "deepinfra") -> list[str]:
    """Return the arguments of ``write``."""
    row = ["--provider", provider] if provider else []
    return ["write", prompt, "--model", "m", "--base-url", emulator.base_url, *row, *more]


def uncapped(emulator: Emulator, prompt: str = "Write it.") -> str:
    """Return the whole answer to ``writing()``."""
    return emulator.uncapped({"model": "m", "messages": [{"role": "user", "content": prompt}]})


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds, or fail."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def size_of(path: Path) -> int:
    """Return the bytes in a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def read_terminal(descriptor: int) -> str:
    """Return all that a terminal shows, until its last writer has gone."""
    shown = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            # So Linux says that nobody writes any more.
            piece = b""
        if not piece:
            return shown.decode().replace("\r\n", "\n")
        shown += piece
